/*
 * GEMM in one order of sums: a template over the vectors of an ISA's vec.h. Each result has a lane
 * of its own, so that the width of the vectors changes nothing.
 */
#ifndef LEGO_KERNELS_SIMD_EXACT_H
#define LEGO_KERNELS_SIMD_EXACT_H

#include <stddef.h>

/* Rows of a block: 12 sums, two vectors of b, one of a and a product fit 16 registers. */
enum { EXACT_MR = 6 };

#define EXACT_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define EXACT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EXACT_UNROLL _Pragma("GCC unroll 8")
#endif

/* Vector v of nv at x; where the block is cut, `last` masks the last one. */
EXACT_INLINE vec exact_load(const float *x, int v, const int nv, const bool cut, vec_mask last)
{
    return cut && v + 1 == nv ? vec_load_mask(x + v * VEC_LANES, last)
                              : vec_load(x + v * VEC_LANES);
}

EXACT_INLINE void exact_store(float *x, int v, const int nv, const bool cut, vec_mask last, vec y)
{
    if (cut && v + 1 == nv)
        vec_store_mask(x + v * VEC_LANES, y, last);
    else
        vec_store(x + v * VEC_LANES, y);
}

EXACT_INLINE void exact_block(const struct kern_gemm_exact_f32 *g, size_t i0, size_t j0,
                              const int m, const int nv, const bool cut)
{
    const float *a = g->a + i0, *b = g->b + j0;
    float *c = g->c + i0 * g->c_stride + j0;
    const vec_mask last = vec_mask_first(g->n - j0 - (size_t)(nv - 1) * VEC_LANES);
    vec acc[EXACT_MR][2];

    EXACT_UNROLL
    for (int i = 0; i < m; i++)
        EXACT_UNROLL
    for (int v = 0; v < nv; v++)
        acc[i][v] = g->accumulate ? exact_load(c + (size_t)i * g->c_stride, v, nv, cut, last)
                                  : vec_set1(0.0f);
    for (size_t k = g->depth; k > 0; k--, a += g->a_stride, b += g->b_stride) {
        vec y[2];

        EXACT_UNROLL
        for (int v = 0; v < nv; v++)
            y[v] = exact_load(b, v, nv, cut, last);
        EXACT_UNROLL
        for (int i = 0; i < m; i++) {
            const vec x = vec_set1(a[i]);

            EXACT_UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = vec_add(acc[i][v], vec_mul(x, y[v]));
        }
    }
    EXACT_UNROLL
    for (int i = 0; i < m; i++)
        EXACT_UNROLL
    for (int v = 0; v < nv; v++)
        exact_store(c + (size_t)i * g->c_stride, v, nv, cut, last, acc[i][v]);
}

#define EXACT_CASE(m)                       \
    case m:                                 \
        exact_block(g, i, j, (m), nv, cut); \
        break;

/* All rows of the nv vectors of columns from j on. */
EXACT_INLINE void exact_columns(const struct kern_gemm_exact_f32 *g, size_t j, const int nv,
                                const bool cut)
{
    size_t i = 0;

    for (; i + EXACT_MR <= g->m; i += EXACT_MR)
        exact_block(g, i, j, EXACT_MR, nv, cut);
    switch (g->m - i) {
        EXACT_CASE(1)
        EXACT_CASE(2)
        EXACT_CASE(3)
        EXACT_CASE(4)
        EXACT_CASE(5)
    }
}

static void exact_gemm(const struct kern_gemm_exact_f32 *g)
{
    size_t j = 0;

    for (; j + 2 * VEC_LANES <= g->n; j += 2 * VEC_LANES)
        exact_columns(g, j, 2, false);
    if (g->n - j > VEC_LANES)
        exact_columns(g, j, 2, true);
    else if (g->n > j)
        exact_columns(g, j, 1, true);
}

const kern_gemm_exact_f32_fn KERN_ISA(gemm_exact_f32) = exact_gemm;

#endif
