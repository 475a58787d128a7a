/*
 * Integer GEMM by SDOT with an element, 8 x 8: sixteen k's of each row are one load, and 64 SDOT of
 * 16 products each need 16 loads. 16 sums, 8 registers of a and 2 of the panel fit the 32.
 */
#include "kernels-arm/dotprod/dotprod.h"
#include "kernels-arm/neon/end_s8.h"

enum { MR = 8, NR = 8, KG = 4, STEP = 16 };

/* Four k's: `lane` of each row's register. */
#define GEMM_LANE(lane)                                             \
    do {                                                            \
        int8x16_t b0 = vld1q_s8(panel + lane * NR * KG);            \
        int8x16_t b1 = vld1q_s8(panel + lane * NR * KG + 16);       \
        GEMM_UNROLL                                                 \
        for (uint32_t i = 0; i < m; i++) {                          \
            acc[i][0] = vdotq_laneq_s32(acc[i][0], b0, x[i], lane); \
            acc[i][1] = vdotq_laneq_s32(acc[i][1], b1, x[i], lane); \
        }                                                           \
    } while (0)

GEMM_INLINE int8x16_t gemm_four(const uint8_t *a)
{
    int32_t four;

    __builtin_memcpy(&four, a, sizeof(four));
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

GEMM_INLINE void gemm_block(const struct kern_gemm_s8 *g, const uint32_t m)
{
    const int8_t *panel = g->panel;
    int32x4_t acc[MR][2];

    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        acc[i][0] = acc[i][1] = vdupq_n_s32(0);
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint8_t *a[MR];
        uint32_t k = g->channels;
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = g->a[t * MR + i];
        for (; k >= STEP; k -= STEP, panel += STEP * NR) {
            int8x16_t x[MR];
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                x[i] = vreinterpretq_s8_u8(vld1q_u8(a[i]));
                a[i] += STEP;
            }
            GEMM_LANE(0);
            GEMM_LANE(1);
            GEMM_LANE(2);
            GEMM_LANE(3);
        }
        for (; k > 0; k -= KG, panel += KG * NR) {
            int8x16_t b0 = vld1q_s8(panel), b1 = vld1q_s8(panel + 16);
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                int8x16_t x = gemm_four(a[i]);
                a[i] += KG;
                acc[i][0] = vdotq_s32(acc[i][0], b0, x);
                acc[i][1] = vdotq_s32(acc[i][1], b1, x);
            }
        }
    }
    end_s8_rows(g, m, acc);
}

static void gemm(const struct kern_gemm_s8 *g)
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

const struct kern_gemm_s8_variant kern_dotprod_gemm_s8 = {gemm, MR, NR, KG, true};
