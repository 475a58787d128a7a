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
