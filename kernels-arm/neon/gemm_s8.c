/*
 * Integer GEMM for cores without a dot product: SMULL and SMLAL add four products in each 16-bit
 * lane, and SADALP brings them to 32 bits: five instructions for 32 products. 4 x 4 is 16 sums; the
 * rest hold 8 registers of a, 2 of the panel and the products.
 */
#include "kernels-arm/neon/end_s8.h"

enum { MR = 4, NR = 4, KG = 16 };

GEMM_INLINE int16x8_t gemm_products(int8x16_t a, int8x16_t b)
{
    return vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b);
}

/* The five: compilers copy the products where a register of a is done with. */
GEMM_INLINE int32x4_t gemm_more(int32x4_t sum, int8x16_t a0, int8x16_t b0, int8x16_t a1,
                                int8x16_t b1)
{
    int16x8_t products;

    __asm__("smull %[p].8h, %[a0].8b, %[b0].8b\n\t"
            "smlal2 %[p].8h, %[a0].16b, %[b0].16b\n\t"
            "smlal %[p].8h, %[a1].8b, %[b1].8b\n\t"
            "smlal2 %[p].8h, %[a1].16b, %[b1].16b\n\t"
            "sadalp %[sum].4s, %[p].8h"
            : [sum] "+w"(sum), [p] "=&w"(products)
            : [a0] "w"(a0), [b0] "w"(b0), [a1] "w"(a1), [b1] "w"(b1));
    return sum;
}

GEMM_INLINE int8x16_t gemm_load(const uint8_t *a)
{
    return vreinterpretq_s8_u8(vld1q_u8(a));
}

GEMM_INLINE void gemm_end(const struct kern_gemm_s8 *g, const uint32_t m, int32x4_t acc[MR][NR])
{
    int32x4_t sum[MR];

    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        sum[i] = vpaddq_s32(vpaddq_s32(acc[i][0], acc[i][1]), vpaddq_s32(acc[i][2], acc[i][3]));
    if (g->n < NR) {
        int32_t sums[MR * NR];
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            vst1q_s32(sums + i * NR, sum[i]);
        end_s8_cut(g, sums, NR);
        return;
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        end_s8(g, i, 0, sum[i]);
}

GEMM_INLINE void gemm_block(const struct kern_gemm_s8 *g, const uint32_t m)
{
    const int8_t *panel = g->panel;
    int32x4_t acc[MR][NR];

    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        GEMM_UNROLL
    for (uint32_t j = 0; j < NR; j++)
        acc[i][j] = vdupq_n_s32(0);
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint8_t *a[MR];
        uint32_t k = g->channels;
        int8x16_t x[MR][2];
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = g->a[t * MR + i];
        for (; k >= 2 * KG; k -= 2 * KG, panel += 2 * KG * NR) {
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                x[i][0] = gemm_load(a[i]);
                x[i][1] = gemm_load(a[i] + KG);
                a[i] += 2 * KG;
            }
            GEMM_UNROLL
            for (uint32_t j = 0; j < NR; j++) {
                int8x16_t b0 = vld1q_s8(panel + j * KG), b1 = vld1q_s8(panel + (NR + j) * KG);
                GEMM_UNROLL
                for (uint32_t i = 0; i < m; i++)
                    acc[i][j] = gemm_more(acc[i][j], x[i][0], b0, x[i][1], b1);
            }
        }
        if (!k)
            continue;
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            x[i][0] = gemm_load(a[i]);
        GEMM_UNROLL
        for (uint32_t j = 0; j < NR; j++, panel += KG) {
            int8x16_t b = vld1q_s8(panel);
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++)
                acc[i][j] = vpadalq_s16(acc[i][j], gemm_products(x[i][0], b));
        }
    }
    gemm_end(g, m, acc);
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
    default:
        gemm_block(g, MR);
    }
}

const struct kern_gemm_s8_variant KERN_ISA(gemm_s8) = {gemm, MR, NR, KG, false};
