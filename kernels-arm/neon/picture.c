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

/* What the weights' upper and lower halves make, put together. */
static inline uint8_t resampled(int32_t upper, int32_t lower)
{
    int32_t value = (upper * (1 << KERN_RESAMPLE_LOW) + lower + (1 << (KERN_RESAMPLE_BITS - 1))) >>
                    KERN_RESAMPLE_BITS;
    return (uint8_t)(value > 255 ? 255 : value);
}

struct resample_sums {
    int32x4_t upper, lower;
};

/* Adds four taps of one channel. */
static inline void add_taps(struct resample_sums *sums, int16x4_t x, int16x8_t weights)
{
    sums->upper = vmlal_s16(sums->upper, x, vget_low_s16(weights));
    sums->lower = vmlal_s16(sums->lower, x, vget_high_s16(weights));
}

static inline int16x8_t widened(uint8x8_t x)
{
    return vreinterpretq_s16_u16(vmovl_u8(x));
}

/* One output of three channels. */
static inline void across_3(uint32_t taps, const int16_t *weights, const uint8_t *x, uint8_t *out)
{
    struct resample_sums sums[3];
    for (size_t c = 0; c < 3; c++)
        sums[c].upper = sums[c].lower = vdupq_n_s32(0);
    uint32_t t = 0;
    for (; t + 8 <= taps; t += 8) {
        uint8x8x3_t pixels = vld3_u8(x + 3 * t);
        int16x8_t first = vld1q_s16(weights + 2 * t), second = vld1q_s16(weights + 2 * t + 8);
        for (size_t c = 0; c < 3; c++) {
            int16x8_t values = widened(pixels.val[c]);
            add_taps(&sums[c], vget_low_s16(values), first);
            add_taps(&sums[c], vget_high_s16(values), second);
        }
    }
    if (t < taps) {
        uint8x8x3_t pixels = vld3_u8(x + 3 * t);
        int16x8_t last = vld1q_s16(weights + 2 * t);
        for (size_t c = 0; c < 3; c++)
            add_taps(&sums[c], vget_low_s16(widened(pixels.val[c])), last);
    }
    for (size_t c = 0; c < 3; c++)
        out[c] = resampled(vaddvq_s32(sums[c].upper), vaddvq_s32(sums[c].lower));
}

static inline uint8_t across_1(uint32_t taps, const int16_t *weights, const uint8_t *x)
{
    struct resample_sums sums = {vdupq_n_s32(0), vdupq_n_s32(0)};
    for (uint32_t t = 0; t < taps; t += KERN_RESAMPLE_TAPS)
        add_taps(&sums, vget_low_s16(widened(vld1_u8(x + t))), vld1q_s16(weights + 2 * t));
    return resampled(vaddvq_s32(sums.upper), vaddvq_s32(sums.lower));
}

static void resample_across(const struct kern_resample_u8 *r)
{
    for (uint32_t y = 0; y < r->rows; y++) {
        const uint8_t *x = r->x + y * r->x_stride;
        uint8_t *out = r->out + y * r->out_stride;
        for (size_t i = 0; i < r->n; i++) {
            const int16_t *weights = r->weights + 2 * i * r->taps;
            if (r->channels == 3)
                across_3(r->taps, weights, x + 3 * (size_t)r->first[i], out + 3 * i);
            else
                out[i] = across_1(r->taps, weights, x + r->first[i]);
        }
    }
}
const kern_resample_across_u8_fn KERN_ISA(resample_across_u8) = resample_across;

/* Eight pixels of all rows. */
static inline uint8x8_t down_8(uint32_t taps, const int16_t *weights, const uint8_t *rows,
                               size_t stride)
{
    struct resample_sums sums[2];
    uint16x4_t ends[2];
    for (size_t k = 0; k < 2; k++) {
        sums[k].upper = vdupq_n_s32(0);
        sums[k].lower = vdupq_n_s32(1 << (KERN_RESAMPLE_BITS - 1));
    }
    for (uint32_t t = 0; t < taps; t++) {
        const int16_t *group = weights + (t / 4) * 8 + t % 4;
        int16x8_t x = widened(vld1_u8(rows + t * stride));
        sums[0].upper = vmlal_n_s16(sums[0].upper, vget_low_s16(x), group[0]);
        sums[0].lower = vmlal_n_s16(sums[0].lower, vget_low_s16(x), group[4]);
        sums[1].upper = vmlal_n_s16(sums[1].upper, vget_high_s16(x), group[0]);
        sums[1].lower = vmlal_n_s16(sums[1].lower, vget_high_s16(x), group[4]);
    }
    for (size_t k = 0; k < 2; k++) {
        int32x4_t sum = vaddq_s32(vshlq_n_s32(sums[k].upper, KERN_RESAMPLE_LOW), sums[k].lower);
        ends[k] = vqmovun_s32(vshrq_n_s32(sum, KERN_RESAMPLE_BITS));
    }
    return vqmovn_u16(vcombine_u16(ends[0], ends[1]));
}

static void resample_down(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                          size_t stride, uint8_t *out)
{
    size_t x = 0;
    for (; x + 8 <= n; x += 8)
        vst1_u8(out + x, down_8(taps, weights, rows + x, stride));
    for (; x < n; x++) {
        int32_t sums[2] = {0, 0};
        for (uint32_t t = 0; t < taps; t++)
            for (size_t k = 0; k < 2; k++)
                sums[k] += weights[(t / 4) * 8 + k * 4 + t % 4] * rows[t * stride + x];
        out[x] = resampled(sums[0], sums[1]);
    }
}
const kern_resample_down_u8_fn KERN_ISA(resample_down_u8) = resample_down;

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
