/* Integer GEMM, and what brings activations to its integers. */
#include "codec/kernels/ref/ref.h"

#include <math.h>

enum { MR = 4, NR = 8, KG = 4 };

static void gemm(const struct kern_gemm_s8 *g)
{
    int32_t acc[MR][NR];
    const int8_t *b = g->panel;

    for (uint32_t i = 0; i < MR; i++)
        for (uint32_t j = 0; j < NR; j++)
            acc[i][j] = j < g->n ? g->start[j] : 0;
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint8_t *const *a = g->a + (size_t)t * MR;
        for (uint32_t k = 0; k < g->channels; k += KG, b += NR * KG)
            for (uint32_t i = 0; i < MR; i++)
                for (uint32_t j = 0; j < NR; j++)
                    for (uint32_t l = 0; l < KG; l++)
                        acc[i][j] += a[i][k + l] * b[j * KG + l];
    }
    for (uint32_t i = 0; i < g->m; i++) {
        float *c = g->c + (ptrdiff_t)i * g->c_stride;
        const float *add = g->add ? g->add + (ptrdiff_t)i * g->add_stride : NULL;
        for (uint32_t j = 0; j < g->n; j++) {
            float x = (float)acc[i][j] * g->scale[j] + g->bias[j];
            c[j] = kern_ref_clamp(add ? x + add[j] : x, g->lo, g->hi);
        }
    }
}

static void range(size_t n, const float *x, float ret_range[2])
{
    float lo = x[0], hi = x[0], check = 0.0f;

    for (size_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        check += x[i] * 0.0f;
    }
    ret_range[0] = check == 0.0f ? lo : NAN;
    ret_range[1] = check == 0.0f ? hi : NAN;
}

static void quantize(const struct kern_quantize_u7 *q)
{
    float lo = (float)-q->zero, hi = (float)(KERN_U7_MAX - q->zero);

    for (size_t r = 0; r < q->rows; r++) {
        const float *x = q->x + r * q->channels;
        uint8_t *out = q->out + r * q->out_stride;
        for (size_t c = 0; c < q->out_stride; c++) {
            float y = c < q->channels ? kern_ref_clamp(x[c] * q->inverse, lo, hi) : 0.0f;
            out[c] = c < q->channels ? (uint8_t)((int32_t)rintf(y) + q->zero) : 0;
        }
    }
}

const struct kern_gemm_s8_variant kern_ref_gemm_s8 = {gemm, MR, NR, KG, false};
const kern_range_f32_fn kern_ref_range_f32 = range;
const kern_quantize_u7_fn kern_ref_quantize_u7 = quantize;
