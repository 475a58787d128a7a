#include "pictures.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

static struct lego_picture allocate(uint32_t width, uint32_t height, uint32_t channels)
{
    struct lego_picture picture = {
        .width = width, .height = height, .channels = channels, .stride = (size_t)width * channels};
    picture.pixels = malloc(picture.stride * height);
    ck_assert_ptr_nonnull(picture.pixels);
    return picture;
}

struct lego_picture pattern(uint32_t width, uint32_t height, uint32_t channels)
{
    struct lego_picture picture = allocate(width, height, channels);
    uint8_t *out = picture.pixels;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < channels; c++)
                *out++ =
                    (uint8_t)(x * 7 + y * 13 + c * 29 + x * y % 11 * 17 + (x / 5 + y / 3) % 2 * 90);
        }
    }
    return picture;
}

struct lego_picture smooth(uint32_t width, uint32_t height, uint32_t channels)
{
    struct lego_picture picture = allocate(width, height, channels);
    uint8_t *out = picture.pixels;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            for (uint32_t c = 0; c < channels; c++)
                *out++ = (uint8_t)(40 + (x * 100 / width) + (y * 80 / height) + c * 10);
        }
    }
    return picture;
}

static void append_png(png_structp png, png_bytep data, size_t bytes)
{
    struct encoded *encoded = png_get_io_ptr(png);
    encoded->data = realloc(encoded->data, encoded->bytes + bytes);
    ck_assert_ptr_nonnull(encoded->data);
    memcpy(encoded->data + encoded->bytes, data, bytes);
    encoded->bytes += bytes;
}

static void put_sample(uint8_t *row, size_t index, int bit_depth, uint8_t value)
{
    if (bit_depth == 16) {
        row[2 * index] = value;
        row[2 * index + 1] = 0x5a;
    } else if (bit_depth == 8) {
        row[index] = value;
    } else {
        size_t bit = index * (size_t)bit_depth;
        int shift = 8 - bit_depth - (int)(bit % 8);
        row[bit / 8] |= (uint8_t)(value >> (8 - bit_depth) << shift);
    }
}

static uint8_t *make_rows(const struct lego_picture *picture, int colour_type, int bit_depth,
                          size_t row_bytes)
{
    bool alpha = colour_type & PNG_COLOR_MASK_ALPHA;
    uint32_t colours =
        colour_type & PNG_COLOR_MASK_COLOR && !(colour_type & PNG_COLOR_MASK_PALETTE) ? 3 : 1;
    uint8_t *rows = calloc(picture->height, row_bytes);
    ck_assert_ptr_nonnull(rows);
    for (uint32_t y = 0; y < picture->height; y++) {
        for (uint32_t x = 0; x < picture->width; x++) {
            const uint8_t *in = picture->pixels + y * picture->stride + x * picture->channels;
            for (uint32_t c = 0; c < colours; c++)
                put_sample(rows + y * row_bytes, (size_t)x * (colours + alpha) + c, bit_depth,
                           in[c]);
            if (alpha)
                put_sample(rows + y * row_bytes, (size_t)x * (colours + 1) + colours, bit_depth,
                           (uint8_t)(x * 3));
        }
    }
    return rows;
}

struct encoded encode_png(const struct lego_picture *picture, int colour_type, int bit_depth,
                          bool interlaced)
{
    struct encoded encoded = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &encoded, append_png, NULL);
    png_set_IHDR(png, info, picture->width, picture->height, bit_depth, colour_type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (colour_type == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[256];
        for (int i = 0; i < 256; i++)
            palette[i] = (png_color){(png_byte)i, (png_byte)i, (png_byte)i};
        png_set_PLTE(png, info, palette, 256);
    }
    size_t row_bytes = png_get_rowbytes(png, info);
    uint8_t *rows = make_rows(picture, colour_type, bit_depth, row_bytes);
    png_bytep *row_list = calloc(picture->height, sizeof(*row_list));
    for (uint32_t y = 0; y < picture->height; y++)
        row_list[y] = rows + y * row_bytes;
    png_set_rows(png, info, row_list);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    free(row_list);
    free(rows);
    return encoded;
}

struct encoded encode_jpeg(const struct lego_picture *picture, enum jpeg_kind kind)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long bytes = 0;

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &bytes);
    jpeg.image_width = picture->width;
    jpeg.image_height = picture->height;
    jpeg.input_components = kind == JPEG_CMYK ? 4 : (int)picture->channels;
    jpeg.in_color_space = kind == JPEG_CMYK        ? JCS_CMYK
                          : picture->channels == 1 ? JCS_GRAYSCALE
                                                   : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    if (kind == JPEG_PROGRESSIVE)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    uint8_t *row = malloc((size_t)picture->width * 4);
    ck_assert_ptr_nonnull(row);
    while (jpeg.next_scanline < jpeg.image_height) {
        const uint8_t *in = picture->pixels + jpeg.next_scanline * picture->stride;
        JSAMPROW rows[1] = {row};
        if (kind == JPEG_CMYK) {
            /* As Adobe writes it: complements, no black. */
            for (uint32_t x = 0; x < picture->width; x++) {
                memcpy(row + (size_t)4 * x, in + (size_t)3 * x, 3);
                row[4 * x + 3] = 255;
            }
        } else {
            memcpy(row, in, picture->stride);
        }
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    return (struct encoded){.data = data, .bytes = bytes};
}
