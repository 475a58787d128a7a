/* Pictures: the two passes of a resize, and colours to the model's input. */
#include "codec/kernels/ref/ref.h"

static int16_t rounded(int32_t sum, unsigned bits)
{
    return (int16_t)((sum + (1 << (bits - 1))) >> bits);
}

static void resize_rows(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                        size_t stride, int16_t *out)
{
    for (size_t x = 0; x < n; x++) {
        int32_t sum = 0;
        for (uint32_t t = 0; t < taps; t++)
            sum += weights[t] * rows[t * stride + x];
        out[x] = rounded(sum, KERN_RESIZE_WEIGHT_BITS - KERN_RESIZE_VALUE_BITS);
    }
}
const kern_resize_rows_u8_fn kern_ref_resize_rows_u8 = resize_rows;

static void resize_columns(size_t n, uint32_t taps, const int16_t *weights, const uint32_t *first,
                           const int16_t *x, int16_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const int16_t *from = x + first[i];
        int32_t sum = 0;
        for (uint32_t t = 0; t < taps; t++)
            sum += weights[i * taps + t] * from[t];
        out[i] = rounded(sum, KERN_RESIZE_WEIGHT_BITS);
    }
}
const kern_resize_columns_i16_fn kern_ref_resize_columns_i16 = resize_columns;

/* A weight of its two halves; `weights` is where its group's upper half has it. */
static inline int32_t resample_weight(const int16_t *weights)
{
    return weights[0] * (1 << KERN_RESAMPLE_LOW) + weights[KERN_RESAMPLE_TAPS];
}

static inline uint8_t resampled(int32_t sum)
{
    int32_t value = sum >> KERN_RESAMPLE_BITS;
    return (uint8_t)(value > 255 ? 255 : value);
}

/* One output; `channels` is a constant where it is inlined. */
static inline void resample_pixel(uint32_t taps, uint32_t channels, const int16_t *weights,
                                  const uint8_t *x, uint8_t *out)
{
    const int32_t half = 1 << (KERN_RESAMPLE_BITS - 1);
    int32_t sums[3] = {half, half, half};
    for (uint32_t t = 0; t < taps; t += KERN_RESAMPLE_TAPS, weights += 2 * KERN_RESAMPLE_TAPS) {
        for (uint32_t k = 0; k < KERN_RESAMPLE_TAPS; k++, x += channels) {
            int32_t weight = resample_weight(weights + k);
            for (uint32_t c = 0; c < channels; c++)
                sums[c] += weight * x[c];
        }
    }
    for (uint32_t c = 0; c < channels; c++)
        out[c] = resampled(sums[c]);
}

static void resample_across(const struct kern_resample_u8 *r)
{
    for (uint32_t y = 0; y < r->rows; y++) {
        const uint8_t *x = r->x + y * r->x_stride;
        uint8_t *out = r->out + y * r->out_stride;
        for (size_t i = 0; i < r->n; i++) {
            const int16_t *weights = r->weights + 2 * i * r->taps;
            if (r->channels == 3)
                resample_pixel(r->taps, 3, weights, x + 3 * (size_t)r->first[i], out + 3 * i);
            else
                resample_pixel(r->taps, 1, weights, x + r->first[i], out + i);
        }
    }
}
const kern_resample_across_u8_fn kern_ref_resample_across_u8 = resample_across;

static void resample_down(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                          size_t stride, uint8_t *out)
{
    enum { BLOCK = 64 };
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t count = n - from < BLOCK ? n - from : BLOCK;
        int32_t sums[BLOCK];
        for (size_t x = 0; x < count; x++)
            sums[x] = 1 << (KERN_RESAMPLE_BITS - 1);
        for (uint32_t t = 0; t < taps; t++) {
            const uint32_t k = t % KERN_RESAMPLE_TAPS;
            const int32_t weight = resample_weight(weights + 2 * (t - k) + k);
            for (size_t x = 0; x < count; x++)
                sums[x] += weight * rows[t * stride + from + x];
        }
        for (size_t x = 0; x < count; x++)
            out[from + x] = resampled(sums[x]);
    }
}
const kern_resample_down_u8_fn kern_ref_resample_down_u8 = resample_down;

static void colour(const struct kern_colour_f32 *c)
{
    const float unit = 1.0f / (1 << KERN_RESIZE_VALUE_BITS);
    for (uint32_t channel = 0; channel < c->channels; channel++) {
        const float *m = c->matrix[channel];
        for (size_t i = 0; i < c->n; i++) {
            float y = c->offset[channel] + m[0] * (unit * c->x[0][i]) + m[1] * (unit * c->x[1][i]) +
                      m[2] * (unit * c->x[2][i]);
            c->out[channel][i] =
                kern_ref_clamp(y, 0.0f, 255.0f) * c->scale[channel] + c->shift[channel];
        }
    }
}
const kern_colour_f32_fn kern_ref_colour_f32 = colour;
