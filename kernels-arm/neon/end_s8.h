/* How rows of integer sums become floats: the same for all integer GEMMs of the family. */
#ifndef LEGO_KERNELS_ARM_NEON_END_S8_H
#define LEGO_KERNELS_ARM_NEON_END_S8_H

#include "codec/kernels/simd/unroll.h"
#include "kernels-arm/neon/vec.h"

VEC_INLINE float32x4_t end_s8_clamp(const struct kern_gemm_s8 *g, float32x4_t x)
{
    return vminq_f32(vmaxq_f32(x, vdupq_n_f32(g->lo)), vdupq_n_f32(g->hi));
}

/* Columns [column, column + 4) of row i, all below g->n. */
VEC_INLINE void end_s8(const struct kern_gemm_s8 *g, uint32_t i, uint32_t column, int32x4_t sum)
{
    float32x4_t x = vcvtq_f32_s32(vaddq_s32(sum, vld1q_s32(g->start + column)));

    x = vaddq_f32(vmulq_f32(x, vld1q_f32(g->scale + column)), vld1q_f32(g->bias + column));
    if (g->add)
        x = vaddq_f32(x, vld1q_f32(g->add + (ptrdiff_t)i * g->add_stride + column));
    vst1q_f32(g->c + (ptrdiff_t)i * g->c_stride + column, end_s8_clamp(g, x));
}

/* Rows of `width` sums of which not all are wanted: not worth an instance each. */
static __attribute__((noinline)) void end_s8_cut(const struct kern_gemm_s8 *g, const int32_t *sums,
                                                 uint32_t width)
{
    for (uint32_t i = 0; i < g->m; i++) {
        const float *add = g->add ? g->add + (ptrdiff_t)i * g->add_stride : NULL;
        float *c = g->c + (ptrdiff_t)i * g->c_stride;
        for (uint32_t j = 0; j < g->n; j++) {
            float x = (float)(sums[i * width + j] + g->start[j]) * g->scale[j] + g->bias[j];
            if (add)
                x += add[j];
            c[j] = vgetq_lane_f32(end_s8_clamp(g, vdupq_n_f32(x)), 0);
        }
    }
}

/* `count` rows of sums, 8 at most, of 8 columns each. */
VEC_INLINE void end_s8_rows(const struct kern_gemm_s8 *g, const uint32_t count, int32x4_t rows[][2])
{
    if (g->n < 8) {
        int32_t sums[64]; /* a copy, so that `rows` itself may stay in registers */
        GEMM_UNROLL
        for (uint32_t i = 0; i < count; i++) {
            vst1q_s32(sums + i * 8, rows[i][0]);
            vst1q_s32(sums + i * 8 + 4, rows[i][1]);
        }
        end_s8_cut(g, sums, 8);
        return;
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < count; i++) {
        end_s8(g, i, 0, rows[i][0]);
        end_s8(g, i, 4, rows[i][1]);
    }
}

#endif
