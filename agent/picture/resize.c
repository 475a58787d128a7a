/*
 * The method is that of Pillow's Resample.c: a triangle filter whose support grows with the scale,
 * its weights normalised in double and rounded to fixed point, a horizontal pass to 8 bits, then a
 * vertical one. A pass that would change nothing is left out.
 */
#include "agent/picture/resize.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION_BITS (32 - 8 - 2)

/* The taps of one axis: output i is a weighted sum of `count[i]` inputs from `first[i]` on. */
struct taps {
    uint32_t outputs, stride;
    uint32_t *first, *count;
    int32_t *weights; /* [outputs][stride] */
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
    taps->stride = (uint32_t)ceil(support) * 2 + 1;
    if (!lego_mul_size(outputs, taps->stride, &weights))
        return false;
    taps->first = calloc(outputs, sizeof(*taps->first));
    taps->count = calloc(outputs, sizeof(*taps->count));
    taps->weights = calloc(weights, sizeof(*taps->weights));
    taps->scratch = calloc(taps->stride, sizeof(*taps->scratch));
    return taps->first && taps->count && taps->weights && taps->scratch;
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
    int32_t *weights = taps->weights + (size_t)slot * taps->stride;

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
        weights[i] = (int32_t)(0.5 + weight * (1 << PRECISION_BITS));
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

static uint8_t to_8_bits(int32_t sum)
{
    int32_t value = sum >> PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row, all outputs of the horizontal pass. */
static void pass_row(const struct taps *taps, const uint8_t *in, uint8_t *out, uint32_t channels)
{
    for (uint32_t i = 0; i < taps->outputs; i++) {
        const int32_t *weights = taps->weights + (size_t)i * taps->stride;
        const uint8_t *from = in + (size_t)taps->first[i] * channels;
        int32_t sums[3] = {1 << (PRECISION_BITS - 1), 1 << (PRECISION_BITS - 1),
                           1 << (PRECISION_BITS - 1)};
        for (uint32_t t = 0; t < taps->count[i]; t++, from += channels) {
            for (uint32_t c = 0; c < channels; c++)
                sums[c] += from[c] * weights[t];
        }
        for (uint32_t c = 0; c < channels; c++)
            *out++ = to_8_bits(sums[c]);
    }
}

/* One output row of the vertical pass; `in` is the first row that it needs, `sums` scratch. */
static void pass_column(const int32_t *weights, uint32_t count, const uint8_t *in, size_t stride,
                        uint8_t *out, size_t row_bytes, int32_t *sums)
{
    for (size_t x = 0; x < row_bytes; x++)
        sums[x] = 1 << (PRECISION_BITS - 1);
    for (uint32_t t = 0; t < count; t++, in += stride) {
        for (size_t x = 0; x < row_bytes; x++)
            sums[x] += in[x] * weights[t];
    }
    for (size_t x = 0; x < row_bytes; x++)
        out[x] = to_8_bits(sums[x]);
}

/*
 * A picture of `rows` rows, the window's columns wide: rows [first_row, first_row + rows) of
 * `picture`, resized along x only.
 */
static int resize_horizontally(const struct lego_picture *picture, uint32_t width,
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
    bool resizes = width != picture->width;
    if (!narrow.pixels ||
        (resizes && !taps_make(&taps, picture->width, width, window->x, window->width))) {
        taps_clear(&taps);
        picture_clear(&narrow);
        return LEGO_E_NOMEM;
    }
    for (uint32_t y = 0; y < rows; y++) {
        const uint8_t *in = picture->pixels + (size_t)(first_row + y) * picture->stride;
        uint8_t *out = narrow.pixels + y * stride;
        if (resizes)
            pass_row(&taps, in, out, picture->channels);
        else
            memcpy(out, in + (size_t)window->x * picture->channels, stride);
    }
    taps_clear(&taps);
    *ret_narrow = narrow;
    return LEGO_OK;
}

/* Resizes both ways: the horizontal pass over the rows that the vertical taps touch, then those. */
static int resize_both(const struct lego_picture *picture, uint32_t width,
                       const struct resize_window *window, const struct taps *vertical,
                       struct lego_picture *ret_resized)
{
    uint32_t last = vertical->outputs - 1;
    uint32_t first_row = vertical->first[0];
    uint32_t rows = vertical->first[last] + vertical->count[last] - first_row;
    struct lego_picture narrow = {0}, resized = {0};
    size_t bytes;

    int status = resize_horizontally(picture, width, window, first_row, rows, &narrow);
    if (status != LEGO_OK)
        return status;
    if (!lego_mul_size(narrow.stride, window->height, &bytes)) {
        picture_clear(&narrow);
        return LEGO_E_OVERFLOW;
    }
    int32_t *sums = calloc(narrow.stride, sizeof(*sums));
    resized = narrow;
    resized.height = window->height;
    resized.pixels = malloc(bytes);
    if (!sums || !resized.pixels) {
        free(sums);
        picture_clear(&resized);
        picture_clear(&narrow);
        return LEGO_E_NOMEM;
    }
    for (uint32_t y = 0; y < window->height; y++)
        pass_column(vertical->weights + (size_t)y * vertical->stride, vertical->count[y],
                    narrow.pixels + (vertical->first[y] - first_row) * narrow.stride, narrow.stride,
                    resized.pixels + y * resized.stride, resized.stride, sums);
    free(sums);
    picture_clear(&narrow);
    *ret_resized = resized;
    return LEGO_OK;
}

int resize_picture(const struct lego_picture *picture, uint32_t width, uint32_t height,
                   const struct resize_window *window, struct lego_picture *ret_resized,
                   struct lego_diag *diag)
{
    struct taps vertical = {0};
    int status;

    if (height == picture->height)
        status =
            resize_horizontally(picture, width, window, window->y, window->height, ret_resized);
    else if (!taps_make(&vertical, picture->height, height, window->y, window->height))
        status = LEGO_E_NOMEM;
    else
        status = resize_both(picture, width, window, &vertical, ret_resized);
    taps_clear(&vertical);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "cannot resize a picture of %ux%u to %ux%u: %s",
                         picture->width, picture->height, width, height, lego_status_text(status));
    return LEGO_OK;
}
