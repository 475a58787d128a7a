/*
 * Integer indirect GEMM for ISAs that broadcast from memory: a template over the vectors of an
 * ISA's vec.h. Panels hold four k's of a column side by side: one 32-bit lane.
 *
 * The includer sets GEMM_S8_MR, at most 14, and gives
 *   ivec_dot8(sum, a0, b0, a1, b1): sum + the products of 4 bytes of a0 and b0 and of a1 and b1
 *   ivec_dot4(sum, a, b): the same of one pair
 * with bytes of a unsigned and of b signed, in the ranges that kernels.h states.
 */
#ifndef LEGO_KERNELS_SIMD_GEMM_S8_H
#define LEGO_KERNELS_SIMD_GEMM_S8_H

#define GEMM_S8_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define GEMM_S8_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_S8_UNROLL _Pragma("GCC unroll 16")
#endif

enum { GEMM_S8_KG = 4, GEMM_S8_NR = 2 * VEC_LANES, GEMM_S8_ROW = GEMM_S8_NR * GEMM_S8_KG };

/* Four bytes of a row in every lane. */
GEMM_S8_INLINE ivec gemm_s8_set(const uint8_t *a)
{
    int32_t four;

    __builtin_memcpy(&four, a, sizeof(four));
    return ivec_set1(four);
}

GEMM_S8_INLINE void gemm_s8_end(const struct kern_gemm_s8 *g, const uint32_t m, const uint32_t nv,
                                ivec acc[GEMM_S8_MR][2])
{
    vec lo = vec_set1(g->lo), hi = vec_set1(g->hi);

    GEMM_S8_UNROLL
    for (uint32_t v = 0; v < nv; v++) {
        size_t at = v * VEC_LANES;
        vec_mask mask = vec_mask_first(g->n - at);
        vec scale = vec_load_mask(g->scale + at, mask), bias = vec_load_mask(g->bias + at, mask);
        ivec start = ivec_load_mask(g->start + at, mask);
        GEMM_S8_UNROLL
        for (uint32_t i = 0; i < m; i++) {
            vec x = vec_from_ints(ivec_add(acc[i][v], start));
            x = vec_add(vec_mul(x, scale), bias);
            if (g->add)
                x = vec_add(x, vec_load_mask(g->add + (ptrdiff_t)i * g->add_stride + at, mask));
            vec_store_mask(g->c + (ptrdiff_t)i * g->c_stride + at, vec_clamp(x, lo, hi), mask);
        }
    }
}

GEMM_S8_INLINE void gemm_s8_block(const struct kern_gemm_s8 *g, const uint32_t m, const uint32_t nv)
{
    ivec acc[GEMM_S8_MR][2];
    const int8_t *b = g->panel;
    const uint8_t *const *rows = g->a;

    GEMM_S8_UNROLL
    for (uint32_t i = 0; i < m; i++)
        acc[i][0] = acc[i][1] = ivec_set1(0);
    for (uint32_t t = 0; t < g->taps; t++, rows += GEMM_S8_MR) {
        const uint8_t *a[GEMM_S8_MR];
        ptrdiff_t k = -(ptrdiff_t)(g->channels & ~7u);
        GEMM_S8_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = rows[i] - k;
        for (; k != 0; k += 8, b += 2 * GEMM_S8_ROW) {
            ivec b0[2], b1[2];
            GEMM_S8_UNROLL
            for (uint32_t v = 0; v < nv; v++) {
                b0[v] = ivec_load(b + v * sizeof(ivec));
                b1[v] = ivec_load(b + GEMM_S8_ROW + v * sizeof(ivec));
            }
            GEMM_S8_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                ivec a0 = gemm_s8_set(a[i] + k), a1 = gemm_s8_set(a[i] + k + 4);
                GEMM_S8_UNROLL
                for (uint32_t v = 0; v < nv; v++)
                    acc[i][v] = ivec_dot8(acc[i][v], a0, b0[v], a1, b1[v]);
            }
        }
        if (g->channels & 4) {
            GEMM_S8_UNROLL
            for (uint32_t v = 0; v < nv; v++) {
                ivec b0 = ivec_load(b + v * sizeof(ivec));
                GEMM_S8_UNROLL
                for (uint32_t i = 0; i < m; i++)
                    acc[i][v] = ivec_dot4(acc[i][v], gemm_s8_set(a[i]), b0);
            }
            b += GEMM_S8_ROW;
        }
    }
    gemm_s8_end(g, m, nv, acc);
}

#define GEMM_S8_CASE(m)                                   \
    case m:                                               \
        if (m <= GEMM_S8_MR && g->n > VEC_LANES)          \
            gemm_s8_block(g, m <= GEMM_S8_MR ? m : 1, 2); \
        else if (m <= GEMM_S8_MR)                         \
            gemm_s8_block(g, m <= GEMM_S8_MR ? m : 1, 1); \
        break;

static void gemm_s8(const struct kern_gemm_s8 *g)
{
    switch (g->m) {
        GEMM_S8_CASE(1)
        GEMM_S8_CASE(2)
        GEMM_S8_CASE(3)
        GEMM_S8_CASE(4)
        GEMM_S8_CASE(5)
        GEMM_S8_CASE(6)
        GEMM_S8_CASE(7)
        GEMM_S8_CASE(8)
        GEMM_S8_CASE(9)
        GEMM_S8_CASE(10)
        GEMM_S8_CASE(11)
        GEMM_S8_CASE(12)
        GEMM_S8_CASE(13)
        GEMM_S8_CASE(14)
    }
}

#endif
