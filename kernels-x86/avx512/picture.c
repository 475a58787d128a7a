#include "kernels-x86/avx512/vec.h"

#include "kernels-x86/avx2/picture.h"

static void resize_rows(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                        size_t stride, int16_t *out)
{
    picture_rows(n, taps, weights, rows, stride, out);
}
const kern_resize_rows_u8_fn KERN_ISA(resize_rows_u8) = resize_rows;

static void resize_columns(size_t n, uint32_t taps, const int16_t *weights, const uint32_t *first,
                           const int16_t *x, int16_t *out)
{
    picture_columns(n, taps, weights, first, x, out);
}
const kern_resize_columns_i16_fn KERN_ISA(resize_columns_i16) = resize_columns;

static void resample_across(const struct kern_resample_u8 *resample)
{
    picture_across(resample);
}
const kern_resample_across_u8_fn KERN_ISA(resample_across_u8) = resample_across;

static void resample_down(size_t n, uint32_t taps, const int16_t *weights, const uint8_t *rows,
                          size_t stride, uint8_t *out)
{
    picture_down(n, taps, weights, rows, stride, out);
}
const kern_resample_down_u8_fn KERN_ISA(resample_down_u8) = resample_down;

static void colour(const struct kern_colour_f32 *c)
{
    picture_colour(c);
}
const kern_colour_f32_fn KERN_ISA(colour_f32) = colour;
