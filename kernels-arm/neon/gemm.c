/*
 * GEMM for NEON: 7 x 8 by FMLA with an element. Eight k's of each row are one load of two
 * registers: 14 sums, 14 registers of a and 4 of the panel fill the 32, and 112 FMLA need 11 loads.
 * Pictures' sides are multiples of 7 more often than not.
 */
#include "codec/kernels/simd/unroll.h"
#include "kernels-arm/neon/vec.h"

#include <math.h>

enum { MR = 7, NR = 8, STEP = 4, LONG_STEP = 8 };

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

/* clang-format off */
#define FULL_EACH_ROW(step) \
    step("18", "19") step("20", "21") step("22", "23") step("24", "25") \
    step("26", "27") step("28", "29") step("30", "31")
#define FULL_BEGIN(c0, c1) \
    "ldp q" c0 ", q" c1 ", [%[begin]]\n\t" \
    "add %[begin], %[begin], %[begin_stride]\n\t"
#define FULL_ADD(c0, c1) \
    "ldp q0, q1, [%[add]]\n\t" \
    "add %[add], %[add], %[add_stride]\n\t" \
    "fadd v" c0 ".4s, v" c0 ".4s, v0.4s\n\t" \
    "fadd v" c1 ".4s, v" c1 ".4s, v1.4s\n\t"
#define FULL_CLAMP(c0, c1) \
    "fmax v" c0 ".4s, v" c0 ".4s, v2.4s\n\t" \
    "fmax v" c1 ".4s, v" c1 ".4s, v2.4s\n\t" \
    "fmin v" c0 ".4s, v" c0 ".4s, v3.4s\n\t" \
    "fmin v" c1 ".4s, v" c1 ".4s, v3.4s\n\t"
#define FULL_END(c0, c1) \
    "stp q" c0 ", q" c1 ", [%[c]]\n\t" \
    "add %[c], %[c], %[c_stride]\n\t"

/* One k: its row of the panel is in b0 and b1, its element of each row of a in a lane of x. */
#define FULL_ROW(c0, c1, b0, b1, x, lane) \
    "fmla v" c0 ".4s, v" b0 ".4s, v" x ".s[" lane "]\n\t" \
    "fmla v" c1 ".4s, v" b1 ".4s, v" x ".s[" lane "]\n\t"
#define FULL_ROWS(b0, b1, lane, x0, x1, x2, x3, x4, x5, x6) \
    FULL_ROW("18", "19", b0, b1, x0, lane) FULL_ROW("20", "21", b0, b1, x1, lane) \
    FULL_ROW("22", "23", b0, b1, x2, lane) FULL_ROW("24", "25", b0, b1, x3, lane) \
    FULL_ROW("26", "27", b0, b1, x4, lane) FULL_ROW("28", "29", b0, b1, x5, lane) \
    FULL_ROW("30", "31", b0, b1, x6, lane)
#define FULL_EVEN(b0, b1, lane) FULL_ROWS(b0, b1, lane, "0", "2", "4", "6", "8", "10", "12")
#define FULL_ODD(b0, b1, lane) FULL_ROWS(b0, b1, lane, "1", "3", "5", "7", "9", "11", "13")
#define FULL_PANEL "ld1 {v14.4s-v17.4s}, [%[panel]], #64\n\t"
#define FULL_STEP \
    FULL_PANEL \
    "ldp q0, q1, [x9], #32\n\t" "ldp q2, q3, [x10], #32\n\t" "ldp q4, q5, [x11], #32\n\t" \
    "ldp q6, q7, [x12], #32\n\t" "ldp q8, q9, [x13], #32\n\t" "ldp q10, q11, [x14], #32\n\t" \
    "ldp q12, q13, [x15], #32\n\t" \
    FULL_EVEN("14", "15", "0") FULL_EVEN("16", "17", "1") FULL_PANEL \
    FULL_EVEN("14", "15", "2") FULL_EVEN("16", "17", "3") FULL_PANEL \
    FULL_ODD("14", "15", "0") FULL_ODD("16", "17", "1") FULL_PANEL \
    FULL_ODD("14", "15", "2") FULL_ODD("16", "17", "3")

/*
 * A whole block, of a multiple of LONG_STEP channels: the sums in v18 to v31. In assembly: compilers
 * neither keep 32 registers apart nor load two with one instruction.
 */
static void gemm_full(const struct kern_gemm_f32 *g)
{
    static const float zeros[NR];
    const float *panel = g->panel, *const *a = g->a, *add = g->add;
    const float *begin = g->accumulate ? g->c : g->bias ? g->bias : zeros;
    const ptrdiff_t begin_stride = g->accumulate ? g->c_stride * (ptrdiff_t)sizeof(float) : 0;
    const ptrdiff_t add_stride = g->add_stride * (ptrdiff_t)sizeof(float);
    const ptrdiff_t c_stride = g->c_stride * (ptrdiff_t)sizeof(float);
    const size_t steps = g->channels / LONG_STEP, clamps = g->lo > -INFINITY || g->hi < INFINITY;
    size_t taps = g->taps, pairs;
    float *c = g->c;

    __asm__ volatile(
        FULL_EACH_ROW(FULL_BEGIN)
        "1:\n\t"
        "ldp x9, x10, [%[a]], #56\n\t"
        "ldp x11, x12, [%[a], #-40]\n\t"
        "ldp x13, x14, [%[a], #-24]\n\t"
        "ldr x15, [%[a], #-8]\n\t"
        "add %[pairs], %[steps], #1\n\t"
        "lsr %[pairs], %[pairs], #1\n\t"
        "tbnz %[steps], #0, 3f\n\t"
        "2:\n\t"
        FULL_STEP
        "3:\n\t"
        FULL_STEP
        "subs %[pairs], %[pairs], #1\n\t"
        "b.ne 2b\n\t"
        "subs %[taps], %[taps], #1\n\t"
        "b.ne 1b\n\t"
        "cbz %[add], 4f\n\t"
        FULL_EACH_ROW(FULL_ADD)
        "4:\n\t"
        "cbz %[clamps], 5f\n\t"
        "ld1r {v2.4s}, [%[lo]]\n\t"
        "ld1r {v3.4s}, [%[hi]]\n\t"
        FULL_EACH_ROW(FULL_CLAMP)
        "5:\n\t"
        FULL_EACH_ROW(FULL_END)
        : [a] "+r"(a), [panel] "+r"(panel), [taps] "+r"(taps), [pairs] "=&r"(pairs),
          [begin] "+r"(begin), [add] "+r"(add), [c] "+r"(c)
        : [steps] "r"(steps), [begin_stride] "r"(begin_stride), [add_stride] "r"(add_stride),
          [c_stride] "r"(c_stride), [clamps] "r"(clamps), [lo] "r"(&g->lo), [hi] "r"(&g->hi)
        : "cc", "memory", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "v0", "v1", "v2", "v3",
          "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",
          "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28",
          "v29", "v30", "v31");
}
/* clang-format on */

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
    default:
        if (g->n == NR && g->channels > 0 && g->channels % LONG_STEP == 0)
            gemm_full(g);
        else
            gemm_block(g, MR);
    }
}

/* One k of four. */
#define GEMM_ROW_LANE(lane)                                                      \
    do {                                                                         \
        const vec b = vec_load(panel + lane * NR);                               \
        acc[lane].val[0] = vfmaq_laneq_f32(acc[lane].val[0], b.val[0], x, lane); \
        acc[lane].val[1] = vfmaq_laneq_f32(acc[lane].val[1], b.val[1], x, lane); \
    } while (0)

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
            const float32x4_t x = vld1q_f32(a);
            GEMM_ROW_LANE(0);
            GEMM_ROW_LANE(1);
            GEMM_ROW_LANE(2);
            GEMM_ROW_LANE(3);
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
