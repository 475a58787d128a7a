/*
 * GEMM in half precision: 8 x 16 by FMLA with an element. Eight k's of each row are one register:
 * 16 sums, 8 registers of a and 8 of the panel fill the 32. Runs of KERN_F16_RUN products are
 * summed in halves, the runs in fp32.
 */
#include "kernels-arm/fp16/fp16.h"

#include <arm_neon.h>
#include <string.h>

#define HALF_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define HALF_UNROLL _Pragma("clang loop unroll(full)")
#else
#define HALF_UNROLL _Pragma("GCC unroll 8")
#endif

enum { MR = 8, NR = 16, GROUP = KERN_F16_GROUP };

HALF_INLINE float16x8_t half_load(const uint16_t *x)
{
    return vreinterpretq_f16_u16(vld1q_u16(x));
}

/* Eight halves more to eight sums. */
HALF_INLINE void half_add(float *sums, float16x8_t x)
{
    vst1q_f32(sums, vaddq_f32(vld1q_f32(sums), vcvt_f32_f16(vget_low_f16(x))));
    vst1q_f32(sums + 4, vaddq_f32(vld1q_f32(sums + 4), vcvt_high_f32_f16(x)));
}

/* One k of eight: `lane` of each row's register, to one of `chains` (a constant) sums of a row. */
#define HALF_LANE(lane)                                          \
    do {                                                         \
        const float16x8_t b0 = half_load(panel + (lane)*NR);     \
        const float16x8_t b1 = half_load(panel + (lane)*NR + 8); \
        HALF_UNROLL                                              \
        for (uint32_t i = 0; i < m; i++) {                       \
            float16x8_t *to = acc[i * chains + (lane) % chains]; \
            to[0] = vfmaq_laneq_f16(to[0], b0, x[i], lane);      \
            to[1] = vfmaq_laneq_f16(to[1], b1, x[i], lane);      \
        }                                                        \
    } while (0)

/* `groups` groups of k's of m (a constant) rows, from k on; returns the panel behind them. */
HALF_INLINE const uint16_t *half_run(const uint16_t *const *rows, uint32_t k, uint32_t groups,
                                     const uint16_t *panel, const uint32_t m, const uint32_t chains,
                                     float16x8_t acc[MR][2])
{
    const uint16_t *a[MR];

    HALF_UNROLL
    for (uint32_t i = 0; i < m; i++)
        a[i] = rows[i] + k;
    for (; groups > 0; groups--, panel += GROUP * NR) {
        float16x8_t x[MR];

        HALF_UNROLL
        for (uint32_t i = 0; i < m; i++) {
            x[i] = half_load(a[i]);
            a[i] += GROUP;
        }
        HALF_LANE(0);
        HALF_LANE(1);
        HALF_LANE(2);
        HALF_LANE(3);
        HALF_LANE(4);
        HALF_LANE(5);
        HALF_LANE(6);
        HALF_LANE(7);
    }
    return panel;
}

HALF_INLINE void half_zero(float16x8_t acc[MR][2], const uint32_t count)
{
    HALF_UNROLL
    for (uint32_t i = 0; i < count; i++)
        acc[i][0] = acc[i][1] = vreinterpretq_f16_u16(vdupq_n_u16(0));
}

/* What the chains of each row have summed up. */
HALF_INLINE void half_flush(float sums[MR][NR], float16x8_t acc[MR][2], const uint32_t count,
                            const uint32_t chains)
{
    HALF_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        half_add(sums[i / chains], acc[i][0]);
        half_add(sums[i / chains] + 8, acc[i][1]);
    }
}

/* Rows of fewer than NR columns. */
static __attribute__((noinline)) void half_end_cut(const struct kern_gemm_f16 *g,
                                                   float sums[MR][NR])
{
    for (uint32_t i = 0; i < g->m; i++) {
        float *c = g->c + (ptrdiff_t)i * g->c_stride;
        const float *add = g->add ? g->add + (ptrdiff_t)i * g->add_stride : NULL;

        for (uint32_t j = 0; j < g->n; j++) {
            const float x = add ? sums[i][j] + add[j] : sums[i][j];
            c[j] = x < g->lo ? g->lo : x > g->hi ? g->hi : x;
        }
    }
}

static void half_end(const struct kern_gemm_f16 *g, float sums[MR][NR])
{
    const float32x4_t lo = vdupq_n_f32(g->lo), hi = vdupq_n_f32(g->hi);

    if (g->n < NR) {
        half_end_cut(g, sums);
        return;
    }
    for (uint32_t i = 0; i < g->m; i++) {
        float *c = g->c + (ptrdiff_t)i * g->c_stride;

        for (uint32_t j = 0; j < NR; j += 4) {
            float32x4_t x = vld1q_f32(sums[i] + j);

            if (g->add)
                x = vaddq_f32(x, vld1q_f32(g->add + (ptrdiff_t)i * g->add_stride + j));
            vst1q_f32(c + j, vminq_f32(vmaxq_f32(x, lo), hi));
        }
    }
}

/* Few rows, `m` (a constant). One has four sums, so that no FMLA waits for the last. */
HALF_INLINE void half_few(const struct kern_gemm_f16 *g, const uint32_t m, float sums[MR][NR])
{
    const uint32_t chains = m == 1 ? 4 : m == 2 ? 2 : 1;
    const uint16_t *panel = g->panel;
    uint32_t left = KERN_F16_RUN;
    float16x8_t acc[MR][2];

    half_zero(acc, m * chains);
    for (uint32_t t = 0; t < g->taps; t++) {
        for (uint32_t k = 0, count; k < g->channels; k += count) {
            count = g->channels - k < left ? g->channels - k : left;
            panel = half_run(g->a + (size_t)t * MR, k, count / GROUP, panel, m, chains, acc);
            left -= count;
            if (left > 0)
                continue;
            half_flush(sums, acc, m * chains, chains);
            half_zero(acc, m * chains);
            left = KERN_F16_RUN;
        }
    }
    half_flush(sums, acc, m * chains, chains);
}

/* clang-format off */
#define FULL_ROW(c0, c1, b0, b1, x, lane) \
    "fmla v" c0 ".8h, v" b0 ".8h, v" x ".h[" lane "]\n\t" \
    "fmla v" c1 ".8h, v" b1 ".8h, v" x ".h[" lane "]\n\t"
#define FULL_LANE(b0, b1, lane) \
    FULL_ROW("16", "17", b0, b1, "0", lane) FULL_ROW("18", "19", b0, b1, "1", lane) \
    FULL_ROW("20", "21", b0, b1, "2", lane) FULL_ROW("22", "23", b0, b1, "3", lane) \
    FULL_ROW("24", "25", b0, b1, "4", lane) FULL_ROW("26", "27", b0, b1, "5", lane) \
    FULL_ROW("28", "29", b0, b1, "6", lane) FULL_ROW("30", "31", b0, b1, "7", lane)
#define FULL_SUMS(move) \
    move " q16, q17, [%[acc]]\n\t" move " q18, q19, [%[acc], #32]\n\t" \
    move " q20, q21, [%[acc], #64]\n\t" move " q22, q23, [%[acc], #96]\n\t" \
    move " q24, q25, [%[acc], #128]\n\t" move " q26, q27, [%[acc], #160]\n\t" \
    move " q28, q29, [%[acc], #192]\n\t" move " q30, q31, [%[acc], #224]\n\t"
#define FULL_A(q, x) "ldr q" q ", [" x "], #16\n\t"

/*
 * half_run of eight rows, `groups` > 0. In assembly: an element must be in v0 to v15, which
 * compilers mend by a copy for each.
 */
static const uint16_t *full_run(const uint16_t *const *rows, uint32_t k, uint32_t groups,
                                const uint16_t *panel, float16x8_t acc[MR][2])
{
    const size_t offset = k * sizeof(uint16_t);
    size_t left = groups;

    __asm__ volatile(
        FULL_SUMS("ldp")
        "ldp x9, x10, [%[rows]]\n\t"
        "ldp x11, x12, [%[rows], #16]\n\t"
        "ldp x13, x14, [%[rows], #32]\n\t"
        "ldp x15, x16, [%[rows], #48]\n\t"
        "add x9, x9, %[offset]\n\t" "add x10, x10, %[offset]\n\t"
        "add x11, x11, %[offset]\n\t" "add x12, x12, %[offset]\n\t"
        "add x13, x13, %[offset]\n\t" "add x14, x14, %[offset]\n\t"
        "add x15, x15, %[offset]\n\t" "add x16, x16, %[offset]\n\t"
        "1:\n\t"
        "ld1 {v8.8h-v11.8h}, [%[panel]], #64\n\t"
        FULL_A("0", "x9") FULL_A("1", "x10") FULL_A("2", "x11") FULL_A("3", "x12")
        FULL_A("4", "x13") FULL_A("5", "x14") FULL_A("6", "x15") FULL_A("7", "x16")
        "ld1 {v12.8h-v15.8h}, [%[panel]], #64\n\t"
        FULL_LANE("8", "9", "0") FULL_LANE("10", "11", "1")
        "ld1 {v8.8h-v11.8h}, [%[panel]], #64\n\t"
        FULL_LANE("12", "13", "2") FULL_LANE("14", "15", "3")
        "ld1 {v12.8h-v15.8h}, [%[panel]], #64\n\t"
        FULL_LANE("8", "9", "4") FULL_LANE("10", "11", "5")
        FULL_LANE("12", "13", "6") FULL_LANE("14", "15", "7")
        "subs %[left], %[left], #1\n\t"
        "b.ne 1b\n\t"
        FULL_SUMS("stp")
        : [panel] "+r"(panel), [left] "+r"(left)
        : [rows] "r"(rows), [offset] "r"(offset), [acc] "r"(acc)
        : "cc", "memory", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "v0", "v1", "v2",
          "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
          "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27",
          "v28", "v29", "v30", "v31");
    return panel;
}
/* clang-format on */

/* Eight rows, of which those from m on repeat the last. */
static void half_full(const struct kern_gemm_f16 *g, float sums[MR][NR])
{
    const uint16_t *panel = g->panel;
    uint32_t left = KERN_F16_RUN;
    float16x8_t acc[MR][2];

    memset(acc, 0, sizeof(acc));
    for (uint32_t t = 0; t < g->taps; t++) {
        for (uint32_t k = 0, count; k < g->channels; k += count) {
            count = g->channels - k < left ? g->channels - k : left;
            panel = full_run(g->a + (size_t)t * MR, k, count / GROUP, panel, acc);
            left -= count;
            if (left > 0)
                continue;
            half_flush(sums, acc, g->m, 1);
            memset(acc, 0, sizeof(acc));
            left = KERN_F16_RUN;
        }
    }
    half_flush(sums, acc, g->m, 1);
}

static void gemm(const struct kern_gemm_f16 *g)
{
    float sums[MR][NR];

    memset(sums, 0, g->m * sizeof(sums[0]));
    for (uint32_t i = 0; g->bias && i < g->m; i++)
        memcpy(sums[i], g->bias, (g->n < NR ? g->n : NR) * sizeof(float));
    if (g->m == 1)
        half_few(g, 1, sums);
    else if (g->m == 2)
        half_few(g, 2, sums);
    else if (g->m == 3)
        half_few(g, 3, sums);
    else
        half_full(g, sums);
    half_end(g, sums);
}

const struct kern_gemm_f16_variant kern_fp16_gemm_f16 = {gemm, MR, NR};
