/*
 * Integer GEMM by SMMLA, 8 x 8: each multiplies eight k's of two rows with those of two columns, 32
 * products. Sixteen k's of a row are one load; rows are put together in pairs by ZIP, columns lie
 * so in the panel. 16 sums of 2 x 2, 4 pairs of rows and 4 of columns fit the 32 registers.
 */
#include "kernels-arm/i8mm/i8mm.h"
#include "kernels-arm/neon/end_s8.h"

enum { MR = 8, NR = 8, KG = 8, STEP = 16, PAIRS = NR / 2 };

/* Eight k's: x[p] of rows 2p and 2p + 1. */
GEMM_INLINE void gemm_eight(const uint32_t pairs, const int8x16_t *x, const int8_t *panel,
                            int32x4_t acc[][PAIRS])
{
    GEMM_UNROLL
    for (uint32_t q = 0; q < PAIRS; q++) {
        const int8x16_t b = vld1q_s8(panel + 16 * q);
        GEMM_UNROLL
        for (uint32_t p = 0; p < pairs; p++)
            acc[p][q] = vmmlaq_s32(acc[p][q], x[p], b);
    }
}

/* From sums of 2 x 2 to rows. */
GEMM_INLINE void gemm_end(const struct kern_gemm_s8 *g, const uint32_t pairs,
                          int32x4_t acc[][PAIRS])
{
    int32x4_t rows[MR][2];

    GEMM_UNROLL
    for (uint32_t p = 0; p < pairs; p++) {
        GEMM_UNROLL
        for (uint32_t h = 0; h < 2; h++) {
            const int64x2_t left = vreinterpretq_s64_s32(acc[p][2 * h]);
            const int64x2_t right = vreinterpretq_s64_s32(acc[p][2 * h + 1]);

            rows[2 * p][h] = vreinterpretq_s32_s64(vzip1q_s64(left, right));
            rows[2 * p + 1][h] = vreinterpretq_s32_s64(vzip2q_s64(left, right));
        }
    }
    if (g->m == 2 * pairs)
        end_s8_rows(g, 2 * pairs, rows);
    else
        end_s8_rows(g, 2 * pairs - 1, rows);
}

/* Sixteen k's of two rows; of one row, which then is both. */
GEMM_INLINE void gemm_pair(const bool single, const uint8_t *const *a, int8x16_t *ret_x,
                           int8x16_t *ret_next)
{
    if (single) {
        const int64_t *k = (const int64_t *)(const void *)a[0];

        *ret_x = vreinterpretq_s8_s64(vld1q_dup_s64(k));
        *ret_next = vreinterpretq_s8_s64(vld1q_dup_s64(k + 1));
        return;
    }
    const int64x2_t even = vreinterpretq_s64_u8(vld1q_u8(a[0]));
    const int64x2_t odd = vreinterpretq_s64_u8(vld1q_u8(a[1]));

    *ret_x = vreinterpretq_s8_s64(vzip1q_s64(even, odd));
    *ret_next = vreinterpretq_s8_s64(vzip2q_s64(even, odd));
}

GEMM_INLINE void gemm_block(const struct kern_gemm_s8 *g, const uint32_t pairs, const bool single)
{
    const int8_t *panel = g->panel;
    int32x4_t acc[MR / 2][PAIRS];

    GEMM_UNROLL
    for (uint32_t p = 0; p < pairs; p++) {
        GEMM_UNROLL
        for (uint32_t q = 0; q < PAIRS; q++)
            acc[p][q] = vdupq_n_s32(0);
    }
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint8_t *a[MR];
        uint32_t k = g->channels;
        int8x16_t x[MR / 2], next[MR / 2];
        GEMM_UNROLL
        for (uint32_t i = 0; i < 2 * pairs; i++)
            a[i] = g->a[t * MR + i];
        for (; k >= STEP; k -= STEP, panel += STEP * NR) {
            GEMM_UNROLL
            for (uint32_t p = 0; p < pairs; p++) {
                gemm_pair(single, a + 2 * p, &x[p], &next[p]);
                a[2 * p] += STEP;
                a[2 * p + 1] += STEP;
            }
            gemm_eight(pairs, x, panel, acc);
            gemm_eight(pairs, next, panel + KG * NR, acc);
        }
        if (k > 0) {
            GEMM_UNROLL
            for (uint32_t p = 0; p < pairs; p++)
                x[p] = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(a[2 * p]), vld1_u8(a[2 * p + 1])));
            gemm_eight(pairs, x, panel, acc);
            panel += KG * NR;
        }
    }
    gemm_end(g, pairs, acc);
}

static void gemm(const struct kern_gemm_s8 *g)
{
    if (g->m == 1)
        gemm_block(g, 1, true);
    else if (g->m == 2)
        gemm_block(g, 1, false);
    else if (g->m <= 4)
        gemm_block(g, 2, false);
    else if (g->m <= 6)
        gemm_block(g, 3, false);
    else
        gemm_block(g, MR / 2, false);
}

const struct kern_gemm_s8_variant kern_i8mm_gemm_s8 = {gemm, MR, NR, KG, true};
