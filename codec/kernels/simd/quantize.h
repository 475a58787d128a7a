/* From fp32 to 7 bits: a template over the vectors of an ISA's vec.h. */
#ifndef LEGO_KERNELS_SIMD_QUANTIZE_H
#define LEGO_KERNELS_SIMD_QUANTIZE_H

#include "codec/kernels/kernels.h"

#include <math.h>

/* Anything times 0 is 0, but for what is not finite: one sum tells of all. */
static void simd_range(size_t n, const float *x, float ret_range[2])
{
    float lane[3][VEC_LANES], least = x[0], most = x[0], check = 0.0f;
    vec zero = vec_set1(0.0f), lo = vec_set1(x[0]), hi = lo, odd_lo = lo, odd_hi = lo, test = zero;
    size_t i = 0;

    for (; i + 2 * VEC_LANES <= n; i += 2 * VEC_LANES) {
        vec even = vec_load(x + i), odd = vec_load(x + i + VEC_LANES);
        lo = vec_least(lo, even);
        hi = vec_most(hi, even);
        odd_lo = vec_least(odd_lo, odd);
        odd_hi = vec_most(odd_hi, odd);
        test = vec_fma(even, zero, test);
        test = vec_fma(odd, zero, test);
    }
    vec_store(lane[0], vec_least(lo, odd_lo));
    vec_store(lane[1], vec_most(hi, odd_hi));
    vec_store(lane[2], test);
    for (size_t j = 0; j < VEC_LANES; j++) {
        least = lane[0][j] < least ? lane[0][j] : least;
        most = lane[1][j] > most ? lane[1][j] : most;
        check += lane[2][j];
    }
    for (; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        check += x[i] * 0.0f;
    }
    ret_range[0] = check == 0.0f ? least : NAN;
    ret_range[1] = check == 0.0f ? most : NAN;
}

static void simd_quantize(const struct kern_quantize_u7 *q)
{
    float least = (float)-q->zero, most = (float)(KERN_U7_MAX - q->zero), offset = (float)q->zero;
    vec lo = vec_set1(least), hi = vec_set1(most), inverse = vec_set1(q->inverse);
    vec zero = vec_set1(offset);

    for (size_t r = 0; r < q->rows; r++) {
        const float *x = q->x + r * q->channels;
        uint8_t *out = q->out + r * q->out_stride;
        size_t c = 0;
        for (; c + 4 * VEC_LANES <= q->channels; c += 4 * VEC_LANES) {
            vec v[4];
            for (size_t i = 0; i < 4; i++) {
                vec y = vec_mul(vec_load(x + c + i * VEC_LANES), inverse);
                v[i] = vec_add(vec_round(vec_clamp(y, lo, hi)), zero);
            }
            vec_store_bytes(out + c, v);
        }
        for (; c < q->channels; c++) {
            float y = x[c] * q->inverse;
            y = y < least ? least : y > most ? most : y;
            out[c] = (uint8_t)(rintf(y) + offset);
        }
        for (; c < q->out_stride; c++)
            out[c] = 0;
    }
}

const kern_range_f32_fn KERN_ISA(range_f32) = simd_range;
const kern_quantize_u7_fn KERN_ISA(quantize_u7) = simd_quantize;

#endif
