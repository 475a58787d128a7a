#include "agent/picture/layout.h"
#include "agent/picture/resize.h"

#include "codec/base/arith.h"

#include <stdlib.h>

size_t preprocess_elems(const struct lego_preprocess *preprocess)
{
    return (size_t)preprocess->channels * preprocess->height * preprocess->width;
}

static int check(const struct lego_preprocess *preprocess, const struct lego_picture *picture,
                 size_t elems, struct lego_diag *diag)
{
    if (!preprocess->present)
        return lego_fail(diag, LEGO_E_INVALID, "there is no preprocessing for pictures");
    if ((preprocess->channels != 1 && preprocess->channels != 3) || preprocess->width == 0 ||
        preprocess->height == 0 || preprocess->width > PICTURE_MAX_SIDE ||
        preprocess->height > PICTURE_MAX_SIDE || preprocess->resize_side > PICTURE_MAX_SIDE)
        return lego_fail(diag, LEGO_E_INVALID, "preprocessing to %ux%ux%u is out of range",
                         preprocess->channels, preprocess->height, preprocess->width);
    if ((picture->channels != 1 && picture->channels != 3) || picture->width == 0 ||
        picture->height == 0 || picture->width > PICTURE_MAX_SIDE ||
        picture->height > PICTURE_MAX_SIDE)
        return lego_fail(diag, LEGO_E_INVALID, "a picture of %ux%ux%u is out of range",
                         picture->channels, picture->height, picture->width);
    if (elems != preprocess_elems(preprocess))
        return lego_fail(diag, LEGO_E_SHAPE,
                         "the input has %zu elements, the preprocessing makes %zu (%ux%ux%u)",
                         elems, preprocess_elems(preprocess), preprocess->channels,
                         preprocess->height, preprocess->width);
    return LEGO_OK;
}

/* Half of a difference, halves to even, as Python's round. */
static uint32_t half_even(uint32_t difference)
{
    uint32_t half = difference / 2;
    return half + ((difference & 1) && (half & 1));
}

/* Lays a resized side over an input side, both centred. */
static struct span centre(uint32_t resized, uint32_t input)
{
    struct span span = {.resized = resized, .count = resized};
    if (resized >= input) {
        span.from = half_even(resized - input);
        span.count = input;
    } else {
        span.to = (input - resized) / 2;
    }
    return span;
}

static uint32_t round_ratio(uint32_t size, uint32_t numerator, uint32_t denominator)
{
    uint64_t rounded = ((uint64_t)size * numerator * 2 + denominator) / ((uint64_t)denominator * 2);
    return rounded == 0 ? 1 : (uint32_t)rounded;
}

void preprocess_place(const struct lego_preprocess *p, uint32_t picture_width,
                      uint32_t picture_height, bool corner, struct span *ret_x, struct span *ret_y)
{
    uint32_t width = p->width, height = p->height;

    if (p->resize == LEGO_RESIZE_SHORTEST) {
        uint32_t side =
            p->resize_side ? p->resize_side : (p->width < p->height ? p->width : p->height);
        bool upright = picture_width <= picture_height;
        uint32_t shorter = upright ? picture_width : picture_height;
        uint32_t longer = upright ? picture_height : picture_width;
        uint32_t scaled = (uint32_t)((uint64_t)side * longer / shorter);
        width = upright ? side : scaled;
        height = upright ? scaled : side;
    } else if (p->resize == LEGO_RESIZE_LETTERBOX) {
        if ((uint64_t)p->width * picture_height <= (uint64_t)p->height * picture_width)
            height = round_ratio(picture_height, p->width, picture_width);
        else
            width = round_ratio(picture_width, p->height, picture_height);
    }
    *ret_x = centre(width, p->width);
    *ret_y = centre(height, p->height);
    if (corner)
        ret_x->to = ret_y->to = 0;
}

/* PIL's conversion to "L": ITU-R 601 luma in 16-bit fixed point. */
static int to_grey(const struct lego_picture *picture, struct lego_picture *ret_grey,
                   struct lego_diag *diag)
{
    struct lego_picture grey = {.width = picture->width,
                                .height = picture->height,
                                .channels = 1,
                                .stride = picture->width,
                                .pixels = malloc((size_t)picture->width * picture->height)};
    if (!grey.pixels)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a grey picture of %ux%u",
                         picture->width, picture->height);
    for (uint32_t y = 0; y < picture->height; y++) {
        const uint8_t *rgb = picture->pixels + y * picture->stride;
        uint8_t *out = grey.pixels + y * grey.stride;
        for (uint32_t x = 0; x < picture->width; x++, rgb += 3)
            out[x] =
                (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
    }
    *ret_grey = grey;
    return LEGO_OK;
}

/* Step from channel to channel and from pixel to pixel in the model's layout. */
static void strides(const struct lego_preprocess *p, size_t *ret_channel, size_t *ret_pixel)
{
    *ret_channel = p->nhwc ? 1 : (size_t)p->width * p->height;
    *ret_pixel = p->nhwc ? p->channels : 1;
}

static float normalise(const struct lego_preprocess *p, float x, uint32_t channel)
{
    return (x * p->scale - p->mean[channel]) / p->std[channel];
}

void preprocess_fill_padding(const struct lego_preprocess *p, float *out)
{
    size_t channel_step, pixel_step, pixels = (size_t)p->width * p->height;
    strides(p, &channel_step, &pixel_step);
    for (uint32_t c = 0; c < p->channels; c++) {
        float value = normalise(p, p->pad_value, c);
        for (size_t i = 0; i < pixels; i++)
            out[c * channel_step + i * pixel_step] = value;
    }
}

/* Model channel c takes picture channel c, mirrored for BGR, the only one of a grey picture. */
static void store(const struct lego_preprocess *p, const struct lego_picture *resized,
                  uint32_t to_x, uint32_t to_y, float *out)
{
    size_t channel_step, pixel_step;
    strides(p, &channel_step, &pixel_step);
    for (uint32_t c = 0; c < p->channels; c++) {
        uint32_t source = resized->channels == 1 ? 0 : p->bgr ? 2 - c : c;
        float table[256];
        for (int x = 0; x < 256; x++)
            table[x] = normalise(p, (float)x, c);
        for (uint32_t y = 0; y < resized->height; y++) {
            const uint8_t *in = resized->pixels + y * resized->stride + source;
            float *row =
                out + c * channel_step + ((size_t)(to_y + y) * p->width + to_x) * pixel_step;
            for (uint32_t x = 0; x < resized->width; x++)
                row[x * pixel_step] = table[in[(size_t)x * resized->channels]];
        }
    }
}

int preprocess_apply_placed(const struct kern_table *kernels,
                            const struct lego_preprocess *preprocess,
                            const struct lego_picture *picture, bool corner, float *out,
                            size_t elems, struct lego_diag *diag)
{
    int status = check(preprocess, picture, elems, diag);
    if (status != LEGO_OK)
        return status;

    struct lego_picture grey = {0}, resized = {0};
    if (preprocess->channels == 1 && picture->channels == 3) {
        status = to_grey(picture, &grey, diag);
        if (status != LEGO_OK)
            return status;
        picture = &grey;
    }
    struct span x, y;
    preprocess_place(preprocess, picture->width, picture->height, corner, &x, &y);
    struct resize_window window = {x.from, y.from, x.count, y.count};
    status = resize_picture(kernels, picture, x.resized, y.resized, &window, &resized, diag);
    if (status == LEGO_OK) {
        if (x.count < preprocess->width || y.count < preprocess->height)
            preprocess_fill_padding(preprocess, out);
        store(preprocess, &resized, x.to, y.to, out);
    }
    picture_clear(&resized);
    picture_clear(&grey);
    return status;
}

int preprocess_apply(const struct lego_preprocess *preprocess, const struct lego_picture *picture,
                     float *out, size_t elems, struct lego_diag *diag)
{
    return preprocess_apply_placed(NULL, preprocess, picture, false, out, elems, diag);
}
