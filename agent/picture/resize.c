/*
 * The method is that of Pillow's Resample.c: a triangle filter whose support grows with the scale,
 * its weights normalised in double and rounded to fixed point, a horizontal pass to 8 bits, then a
 * vertical one. A pass that would change nothing is left out.
 */
#include "agent/picture/resize.h"

#include "codec/base/arith.h"
#include "codec/kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct resize_passes {
    kern_resample_across_u8_fn across;
    kern_resample_down_u8_fn down;
};

/* The taps of one axis: output i is a weighted sum of `count[i]` inputs from `first[i]` on. */
struct taps {
    uint32_t outputs, stride;
    uint32_t *first, *count;
    int16_t *weights; /* as the kernels want them: groups of [outputs][stride] */
    double *scratch;  /* [stride] */
};

static void taps_clear(struct taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weights);
    free(taps->scratch);
}

static bool taps_allocate(struct taps *taps, uint32_t outputs, double support)
{
    size_t weights;
    taps->outputs = outputs;
    taps->stride = (uint32_t)lego_div_up((uint32_t)ceil(support) * 2 + 1, KERN_RESAMPLE_TAPS) *
                   KERN_RESAMPLE_TAPS;
    if (!lego_mul_size(outputs, (size_t)taps->stride * 2, &weights))
        return false;
    taps->first = calloc(outputs, sizeof(*taps->first));
    taps->count = calloc(outputs, sizeof(*taps->count));
    taps->weights = calloc(weights, sizeof(*taps->weights));
    taps->scratch = calloc(taps->stride, sizeof(*taps->scratch));
    return taps->first && taps->count && taps->weights && taps->scratch;
}

static int16_t *taps_of(const struct taps *taps, uint32_t output)
{
    return taps->weights + (size_t)output * taps->stride * 2;
}

/* Both halves of a weight into its group. */
static void set_weight(int16_t *weights, uint32_t tap, double weight)
{
    int32_t fixed = (int32_t)(0.5 + weight * (1 << KERN_RESAMPLE_BITS));
    int16_t *group = weights + (size_t)(tap / KERN_RESAMPLE_TAPS) * 2 * KERN_RESAMPLE_TAPS +
                     tap % KERN_RESAMPLE_TAPS;
    group[0] = (int16_t)(fixed >> KERN_RESAMPLE_LOW);
    group[KERN_RESAMPLE_TAPS] = (int16_t)(fixed & ((1 << KERN_RESAMPLE_LOW) - 1));
}

/* The taps of output `at` into slot `slot`. */
static void taps_fill(struct taps *taps, uint32_t slot, uint32_t at, uint32_t input_size,
                      double scale, double support)
{
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double centre = (at + 0.5) * scale;
    double inverse = 1.0 / filter_scale, sum = 0.0;
    int64_t first = (int64_t)(centre - support + 0.5);
    int64_t end = (int64_t)(centre + support + 0.5);

    if (first < 0)
        first = 0;
    if (end > (int64_t)input_size)
        end = input_size;
    taps->first[slot] = (uint32_t)first;
    taps->count[slot] = (uint32_t)(end - first);
    for (int64_t i = first; i < end; i++) {
        double distance = fabs(((double)i - centre + 0.5) * inverse);
        double weight = distance < 1.0 ? 1.0 - distance : 0.0;
        taps->scratch[i - first] = weight;
        sum += weight;
    }
    for (int64_t i = 0; i < end - first; i++) {
        double weight = sum != 0.0 ? taps->scratch[i] / sum : taps->scratch[i];
        set_weight(taps_of(taps, slot), (uint32_t)i, weight);
    }
}

/* Taps of outputs from `start` on, `outputs` of them, of an axis that goes from in to out sizes. */
static bool taps_make(struct taps *taps, uint32_t input_size, uint32_t output_size, uint32_t start,
                      uint32_t outputs)
{
    double scale = (double)input_size / output_size;
    double support = scale < 1.0 ? 1.0 : scale;
    if (!taps_allocate(taps, outputs, support))
        return false;
    for (uint32_t i = 0; i < outputs; i++)
        taps_fill(taps, i, start + i, input_size, scale, support);
    return true;
}

/*
 * The horizontal pass. Kernels read beyond the pixels that they use: the last rows, behind which
 * the picture ends, go through a row that is long enough.
 */
static int pass_across(const struct resize_passes *passes, const struct lego_picture *picture,
                       const struct taps *taps, uint32_t first_row, struct lego_picture *narrow)
{
    const size_t row_bytes = (size_t)picture->width * picture->channels;
    uint32_t last = 0, direct = 0;
    for (uint32_t i = 0; i < taps->outputs; i++)
        last = taps->first[i] > last ? taps->first[i] : last;
    const size_t reach = ((size_t)last + taps->stride) * picture->channels + KERN_RESAMPLE_OVER;
    uint8_t *row = calloc(1, reach > row_bytes ? reach : row_bytes);
    if (!row)
        return LEGO_E_NOMEM;
    while (direct < narrow->height &&
           (picture->height - 1 - (size_t)(first_row + direct)) * picture->stride + row_bytes >=
               reach)
        direct++;
    struct kern_resample_u8 resample = {.n = taps->outputs,
                                        .channels = picture->channels,
                                        .taps = taps->stride,
                                        .weights = taps->weights,
                                        .first = taps->first,
                                        .rows = direct,
                                        .x = picture->pixels + first_row * picture->stride,
                                        .x_stride = picture->stride,
                                        .out = narrow->pixels,
                                        .out_stride = narrow->stride};
    passes->across(&resample);
    resample.rows = 1;
    resample.x = row;
    for (uint32_t y = direct; y < narrow->height; y++) {
        memcpy(row, picture->pixels + (size_t)(first_row + y) * picture->stride, row_bytes);
        resample.out = narrow->pixels + y * narrow->stride;
        passes->across(&resample);
    }
    free(row);
    return LEGO_OK;
}

/*
 * A picture of `rows` rows, the window's columns wide: rows [first_row, first_row + rows) of
 * `picture`, resized along x only.
 */
static int resize_horizontally(const struct resize_passes *passes,
                               const struct lego_picture *picture, uint32_t width,
                               const struct resize_window *window, uint32_t first_row,
                               uint32_t rows, struct lego_picture *ret_narrow)
{
    struct taps taps = {0};
    size_t stride = (size_t)window->width * picture->channels, bytes;
    if (!lego_mul_size(stride, rows, &bytes))
        return LEGO_E_OVERFLOW;
    struct lego_picture narrow = {.width = window->width,
                                  .height = rows,
                                  .channels = picture->channels,
                                  .stride = stride,
                                  .pixels = malloc(bytes)};
    int status = narrow.pixels ? LEGO_OK : LEGO_E_NOMEM;
    if (status == LEGO_OK && width != picture->width) {
        status = taps_make(&taps, picture->width, width, window->x, window->width)
                     ? pass_across(passes, picture, &taps, first_row, &narrow)
                     : LEGO_E_NOMEM;
    } else if (status == LEGO_OK) {
        for (uint32_t y = 0; y < rows; y++)
            memcpy(narrow.pixels + y * stride,
                   picture->pixels + (size_t)(first_row + y) * picture->stride +
                       (size_t)window->x * picture->channels,
                   stride);
    }
    taps_clear(&taps);
    if (status != LEGO_OK)
        picture_clear(&narrow);
    else
        *ret_narrow = narrow;
    return status;
}

/* Resizes both ways: the horizontal pass over the rows that the vertical taps touch, then those. */
static int resize_both(const struct resize_passes *passes, const struct lego_picture *picture,
                       uint32_t width, const struct resize_window *window,
                       const struct taps *vertical, struct lego_picture *ret_resized)
{
    uint32_t last = vertical->outputs - 1;
    uint32_t first_row = vertical->first[0];
    uint32_t rows = vertical->first[last] + vertical->count[last] - first_row;
    struct lego_picture narrow = {0}, resized = {0};
    size_t bytes;

    int status = resize_horizontally(passes, picture, width, window, first_row, rows, &narrow);
    if (status != LEGO_OK)
        return status;
    if (!lego_mul_size(narrow.stride, window->height, &bytes)) {
        picture_clear(&narrow);
        return LEGO_E_OVERFLOW;
    }
    resized = narrow;
    resized.height = window->height;
    resized.pixels = malloc(bytes);
    if (!resized.pixels) {
        picture_clear(&narrow);
        return LEGO_E_NOMEM;
    }
    for (uint32_t y = 0; y < window->height; y++)
        passes->down(resized.stride, vertical->count[y], taps_of(vertical, y),
                     narrow.pixels + (vertical->first[y] - first_row) * narrow.stride,
                     narrow.stride, resized.pixels + y * resized.stride);
    picture_clear(&narrow);
    *ret_resized = resized;
    return LEGO_OK;
}

int resize_picture(const struct kern_table *kernels, const struct lego_picture *picture,
                   uint32_t width, uint32_t height, const struct resize_window *window,
                   struct lego_picture *ret_resized, struct lego_diag *diag)
{
    const struct resize_passes passes = {
        .across = kernels ? kernels->resample_across_u8 : kern_ref_resample_across_u8,
        .down = kernels ? kernels->resample_down_u8 : kern_ref_resample_down_u8};
    struct taps vertical = {0};
    int status;

    if (height == picture->height)
        status = resize_horizontally(&passes, picture, width, window, window->y, window->height,
                                     ret_resized);
    else if (!taps_make(&vertical, picture->height, height, window->y, window->height))
        status = LEGO_E_NOMEM;
    else
        status = resize_both(&passes, picture, width, window, &vertical, ret_resized);
    taps_clear(&vertical);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "cannot resize a picture of %ux%u to %ux%u: %s",
                         picture->width, picture->height, width, height, lego_status_text(status));
    return LEGO_OK;
}
