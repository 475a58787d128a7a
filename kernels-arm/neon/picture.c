/* Pictures, for NEON. */
#include "kernels-arm/neon/vec.h"

#include <string.h>

enum {
    ROWS_SHIFT = KERN_RESIZE_WEIGHT_BITS - KERN_RESIZE_VALUE_BITS,
    COLUMNS_SHIFT = KERN_RESIZE_WEIGHT_BITS
};

static void resize_rows(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                        size_t stride, int16_t *out)
{
    size_t x = 0;
    for (; x + 8 <= n; x += 8) {
        int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);
        for (uint32_t t = 0; t < taps; t++) {
            int16x8_t pixels = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(rows + t * stride + x)));
            low = vmlal_n_s16(low, vget_low_s16(pixels), weights[t]);
            high = vmlal_n_s16(high, vget_high_s16(pixels), weights[t]);
        }
        vst1q_s16(out + x,
                  vcombine_s16(vrshrn_n_s32(low, ROWS_SHIFT), vrshrn_n_s32(high, ROWS_SHIFT)));
    }
    for (; x < n; x++) {
        int32_t sum = 1 << (ROWS_SHIFT - 1);
        for (uint32_t t = 0; t < taps; t++)
            sum += weights[t] * rows[t * stride + x];
        out[x] = (int16_t)(sum >> ROWS_SHIFT);
    }
}
const kern_resize_rows_u8_fn KERN_ISA(resize_rows_u8) = resize_rows;

static void resize_columns(size_t n, uint32_t taps, const int16_t *weights, const uint32_t *first,
                           const int16_t *x, int16_t *out)
{
    for (size_t i = 0; i < n; i++, weights += taps) {
        const int16_t *from = x + first[i];
        int32x4_t a = vdupq_n_s32(0), b = vdupq_n_s32(0);
        for (uint32_t t = 0; t < taps; t += 8) {
            int16x8_t values = vld1q_s16(from + t), w = vld1q_s16(weights + t);
            a = vmlal_s16(a, vget_low_s16(values), vget_low_s16(w));
            b = vmlal_s16(b, vget_high_s16(values), vget_high_s16(w));
        }
        int32_t sum = vaddvq_s32(vaddq_s32(a, b));
        out[i] = (int16_t)((sum + (1 << (COLUMNS_SHIFT - 1))) >> COLUMNS_SHIFT);
    }
}
const kern_resize_columns_i16_fn KERN_ISA(resize_columns_i16) = resize_columns;

/* Four pixels as floats of 0 to 255. */
static inline float32x4_t floats(const int16_t *x)
{
    return vcvtq_n_f32_s32(vmovl_s16(vld1_s16(x)), KERN_RESIZE_VALUE_BITS);
}

static inline float32x4_t colour_4(const struct kern_colour_f32 *c, uint32_t channel,
                                   const int16_t *const x[3])
{
    float32x4_t y = vdupq_n_f32(c->offset[channel]);
    for (size_t k = 0; k < 3; k++)
        y = vfmaq_n_f32(y, floats(x[k]), c->matrix[channel][k]);
    y = vminq_f32(vmaxq_f32(y, vdupq_n_f32(0.0f)), vdupq_n_f32(255.0f));
    return vfmaq_n_f32(vdupq_n_f32(c->shift[channel]), y, c->scale[channel]);
}

static void colour(const struct kern_colour_f32 *c)
{
    size_t i = 0;
    for (; i + 4 <= c->n; i += 4) {
        const int16_t *const x[3] = {c->x[0] + i, c->x[1] + i, c->x[2] + i};
        for (uint32_t channel = 0; channel < c->channels; channel++)
            vst1q_f32(c->out[channel] + i, colour_4(c, channel, x));
    }
    if (i == c->n)
        return;
    int16_t rest[3][4] = {{0}};
    float out[4];
    for (size_t k = 0; k < 3; k++)
        memcpy(rest[k], c->x[k] + i, (c->n - i) * sizeof(int16_t));
    const int16_t *const x[3] = {rest[0], rest[1], rest[2]};
    for (uint32_t channel = 0; channel < c->channels; channel++) {
        vst1q_f32(out, colour_4(c, channel, x));
        memcpy(c->out[channel] + i, out, (c->n - i) * sizeof(float));
    }
}
const kern_colour_f32_fn KERN_ISA(colour_f32) = colour;
