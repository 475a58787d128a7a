/*
 * GEMM for NEON: 8 x 8 by FMLA with an element. Four k's of each row are one load: 16 sums, 8
 * registers of a and 2 of the panel fit the 32, and 64 FMLA need 16 loads.
 */
#include "kernels-arm/neon/vec.h"

#define GEMM_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif

enum { MR = 8, NR = 8, STEP = 4 };

/* The old rows of c, out of line as gemm_end_cut. */
static __attribute__((noinline)) void gemm_begin_cut(const struct kern_gemm_f32 *g, vec acc[MR])
{
    for (uint32_t i = 0; i < g->m; i++)
        acc[i] = vec_load_mask(g->c + (ptrdiff_t)i * g->c_stride, vec_mask_first(g->n));
}

GEMM_INLINE void gemm_begin(const struct kern_gemm_f32 *g, const uint32_t m, vec acc[MR])
{
    if (g->accumulate) {
        vec rows[MR];
        gemm_begin_cut(g, rows);
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            acc[i] = rows[i];
        return;
    }
    vec bias = g->bias ? vec_load_mask(g->bias, vec_mask_first(g->n)) : vec_set1(0.0f);
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        acc[i] = bias;
}

/* Rows of fewer than NR columns: not worth an instance each. */
static __attribute__((noinline)) void gemm_end_cut(const struct kern_gemm_f32 *g, const vec acc[MR])
{
    vec lo = vec_set1(g->lo), hi = vec_set1(g->hi);
    vec_mask mask = vec_mask_first(g->n);

    for (uint32_t i = 0; i < g->m; i++) {
        vec x = acc[i];
        if (g->add)
            x = vec_add(x, vec_load_mask(g->add + (ptrdiff_t)i * g->add_stride, mask));
        vec_store_mask(g->c + (ptrdiff_t)i * g->c_stride, vec_clamp(x, lo, hi), mask);
    }
}

GEMM_INLINE void gemm_end(const struct kern_gemm_f32 *g, const uint32_t m, const vec acc[MR])
{
    vec lo = vec_set1(g->lo), hi = vec_set1(g->hi);

    if (g->n < NR) {
        vec rows[MR]; /* a copy, so that acc itself may stay in registers */
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            rows[i] = acc[i];
        gemm_end_cut(g, rows);
        return;
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++) {
        vec x = acc[i];
        if (g->add)
            x = vec_add(x, vec_load(g->add + (ptrdiff_t)i * g->add_stride));
        vec_store(g->c + (ptrdiff_t)i * g->c_stride, vec_clamp(x, lo, hi));
    }
}

/* One k of four: `lane` of each row's register. */
#define GEMM_LANE(lane)                                                           \
    do {                                                                          \
        vec b = vec_load(panel + lane * NR);                                      \
        GEMM_UNROLL                                                               \
        for (uint32_t i = 0; i < m; i++) {                                        \
            acc[i].val[0] = vfmaq_laneq_f32(acc[i].val[0], b.val[0], x[i], lane); \
            acc[i].val[1] = vfmaq_laneq_f32(acc[i].val[1], b.val[1], x[i], lane); \
        }                                                                         \
    } while (0)

GEMM_INLINE void gemm_block(const struct kern_gemm_f32 *g, const uint32_t m)
{
    const float *panel = g->panel;
    vec acc[MR];

    gemm_begin(g, m, acc);
    for (uint32_t t = 0; t < g->taps; t++) {
        const float *a[MR];
        uint32_t k = g->channels;
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = g->a[t * MR + i];
        for (; k >= STEP; k -= STEP, panel += STEP * NR) {
            float32x4_t x[MR];
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                x[i] = vld1q_f32(a[i]);
                a[i] += STEP;
            }
            GEMM_LANE(0);
            GEMM_LANE(1);
            GEMM_LANE(2);
            GEMM_LANE(3);
        }
        for (; k > 0; k--, panel += NR) {
            vec b = vec_load(panel);
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++)
                acc[i] = vec_fma(vec_set1(*a[i]++), b, acc[i]);
        }
    }
    gemm_end(g, m, acc);
}

static void gemm(const struct kern_gemm_f32 *g)
{
    switch (g->m) {
    case 1:
        gemm_block(g, 1);
        break;
    case 2:
        gemm_block(g, 2);
        break;
    case 3:
        gemm_block(g, 3);
        break;
    case 4:
        gemm_block(g, 4);
        break;
    case 5:
        gemm_block(g, 5);
        break;
    case 6:
        gemm_block(g, 6);
        break;
    case 7:
        gemm_block(g, 7);
        break;
    default:
        gemm_block(g, MR);
    }
}

/* One row: each of four k's has sums of its own, so that no FMLA waits for the last. */
static void gemm_row(const struct kern_gemm_f32 *g)
{
    const float *panel = g->panel;
    vec acc[MR]; /* STEP of them */

    gemm_begin(g, 1, acc);
    for (uint32_t i = 1; i < STEP; i++)
        acc[i] = vec_set1(0.0f);
    for (uint32_t t = 0; t < g->taps; t++) {
        const float *a = g->a[t];
        uint32_t k = g->channels;
        for (; k >= STEP; k -= STEP, a += STEP, panel += STEP * NR) {
            GEMM_UNROLL
            for (uint32_t i = 0; i < STEP; i++)
                acc[i] = vec_fma(vec_set1(a[i]), vec_load(panel + i * NR), acc[i]);
        }
        for (; k > 0; k--, panel += NR)
            acc[0] = vec_fma(vec_set1(*a++), vec_load(panel), acc[0]);
    }
    acc[0] = vec_add(vec_add(acc[0], acc[1]), vec_add(acc[2], acc[3]));
    gemm_end(g, 1, acc);
}

const struct kern_gemm_variant KERN_ISA(gemm_f32) = {gemm, MR, NR};
const struct kern_gemm_variant KERN_ISA(gemm_f32_narrow) = {gemm, MR, NR};
const struct kern_gemm_variant KERN_ISA(gemm_f32_row) = {gemm_row, 1, NR};
