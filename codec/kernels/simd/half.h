/*
 * Half-precision numbers where only their conversion is fast: a template over the vectors of an
 * ISA's vec.h. Everything is computed in fp32.
 */
#ifndef LEGO_KERNELS_SIMD_HALF_H
#define LEGO_KERNELS_SIMD_HALF_H

#include "codec/base/half.h"
#include "codec/kernels/kernels.h"

#ifdef __clang__
#define HALF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HALF_UNROLL _Pragma("GCC unroll 8")
#endif

enum { HALF_MR = 4, HALF_NR = 16, HALF_VECS = HALF_NR / VEC_LANES };

/* A group of channels of the rows to floats. */
VEC_INLINE void half_rows(const uint16_t *const *a, uint32_t k, const uint32_t m,
                          float x[HALF_MR][KERN_F16_GROUP])
{
    HALF_UNROLL
    for (uint32_t i = 0; i < m; i++)
        half_to_floats(a[i] + k, x[i]);
}

/* `m` is a constant. */
VEC_INLINE void half_block(const struct kern_gemm_f16 *g, const uint32_t m)
{
    const uint16_t *panel = g->panel;
    vec acc[HALF_MR][HALF_VECS], lo = vec_set1(g->lo), hi = vec_set1(g->hi);

    for (uint32_t v = 0; v < HALF_VECS; v++) {
        const uint32_t at = v * VEC_LANES, left = g->n > at ? g->n - at : 0;
        const vec bias = g->bias ? vec_load_mask(g->bias + (left ? at : 0), vec_mask_first(left))
                                 : vec_set1(0.0f);
        HALF_UNROLL
        for (uint32_t i = 0; i < m; i++)
            acc[i][v] = bias;
    }
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint16_t *const *a = g->a + (size_t)t * HALF_MR;

        for (uint32_t k = 0; k < g->channels; k += KERN_F16_GROUP) {
            float x[HALF_MR][KERN_F16_GROUP];

            half_rows(a, k, m, x);
            for (uint32_t l = 0; l < KERN_F16_GROUP; l++, panel += HALF_NR)
                HALF_UNROLL
            for (uint32_t v = 0; v < HALF_VECS; v++) {
                const vec b = vec_load_half(panel + v * VEC_LANES);
                HALF_UNROLL
                for (uint32_t i = 0; i < m; i++)
                    acc[i][v] = vec_fma(vec_set1(x[i][l]), b, acc[i][v]);
            }
        }
    }
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t at = 0, v = 0; at < g->n; at += VEC_LANES, v++) {
            const vec_mask mask = vec_mask_first(g->n - at);
            vec x = acc[i][v];

            if (g->add)
                x = vec_add(x, vec_load_mask(g->add + (ptrdiff_t)i * g->add_stride + at, mask));
            vec_store_mask(g->c + (ptrdiff_t)i * g->c_stride + at, vec_clamp(x, lo, hi), mask);
        }
    }
}

static void simd_gemm_f16(const struct kern_gemm_f16 *g)
{
    if (g->m == 1)
        half_block(g, 1);
    else if (g->m == 2)
        half_block(g, 2);
    else if (g->m == 3)
        half_block(g, 3);
    else
        half_block(g, HALF_MR);
}

static void simd_halve(const struct kern_halve_f32 *h)
{
    for (size_t r = 0; r < h->rows; r++) {
        const float *x = h->x + r * h->channels;
        uint16_t *out = h->out + r * h->out_stride;
        size_t c = 0;

        for (; c + VEC_LANES <= h->channels; c += VEC_LANES)
            vec_store_half(out + c, vec_load(x + c));
        for (; c < h->channels; c++)
            out[c] = lego_half_from_float(x[c]);
        for (; c < h->out_stride; c++)
            out[c] = 0;
    }
}

const struct kern_gemm_f16_variant KERN_ISA(gemm_f16) = {simd_gemm_f16, HALF_MR, HALF_NR};
const kern_halve_f32_fn KERN_ISA(halve_f32) = simd_halve;

#endif
