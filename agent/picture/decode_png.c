#include "agent/picture/decode.h"

#include "codec/base/arith.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

/* Of one ancillary chunk: enough for text and profiles, which are skipped. */
#define CHUNK_MAX_BYTES (8u << 20)

/*
 * All that must survive a longjmp lies here, outside the frame of the function that calls setjmp.
 */
struct png_decoder {
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t bytes, position;
    const char *name;
    struct lego_diag *diag;
    int status;
    struct lego_picture picture;
    png_bytepp rows;
};

static void on_error(png_structp png, png_const_charp text)
{
    struct png_decoder *decoder = png_get_error_ptr(png);
    if (decoder->status == LEGO_OK)
        decoder->status = lego_fail(decoder->diag, LEGO_E_FORMAT, "%s: broken PNG picture: %s",
                                    decoder->name, text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t wanted)
{
    struct png_decoder *decoder = png_get_io_ptr(png);
    if (wanted > decoder->bytes - decoder->position)
        png_error(png, "the file ends early");
    memcpy(to, decoder->data + decoder->position, wanted);
    decoder->position += wanted;
}

/* Whatever the file holds becomes 8-bit grey or RGB without alpha. Returns the channels. */
static uint32_t set_transforms(struct png_decoder *decoder)
{
    png_structp png = decoder->png;
    png_byte colour = png_get_color_type(png, decoder->info);

    png_set_strip_16(png);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, decoder->info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    return png_get_channels(png, decoder->info);
}

static void read_pixels(struct png_decoder *decoder)
{
    png_read_info(decoder->png, decoder->info);
    uint32_t width = png_get_image_width(decoder->png, decoder->info);
    uint32_t height = png_get_image_height(decoder->png, decoder->info);
    /* Before the library makes rows of that width. */
    decoder->status = picture_check_size(width, height, decoder->name, decoder->diag);
    if (decoder->status != LEGO_OK)
        png_longjmp(decoder->png, 1);
    decoder->status = picture_allocate(&decoder->picture, width, height, set_transforms(decoder),
                                       decoder->name, decoder->diag);
    if (decoder->status != LEGO_OK)
        png_longjmp(decoder->png, 1);
    if (png_get_rowbytes(decoder->png, decoder->info) != decoder->picture.stride)
        png_error(decoder->png, "rows of an unexpected size");
    decoder->rows = malloc(height * sizeof(*decoder->rows));
    if (!decoder->rows) {
        decoder->status =
            lego_fail(decoder->diag, LEGO_E_NOMEM, "%s: out of memory", decoder->name);
        png_longjmp(decoder->png, 1);
    }
    for (uint32_t y = 0; y < height; y++)
        decoder->rows[y] = decoder->picture.pixels + y * decoder->picture.stride;
    png_read_image(decoder->png, decoder->rows);
    png_read_end(decoder->png, NULL);
}

/* Holds no local that changes after setjmp. */
static int run(struct png_decoder *decoder)
{
    if (setjmp(png_jmpbuf(decoder->png)))
        return decoder->status;
    png_set_read_fn(decoder->png, decoder, on_read);
    png_set_user_limits(decoder->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours say more */
    png_set_chunk_malloc_max(decoder->png, CHUNK_MAX_BYTES);
    read_pixels(decoder);
    return LEGO_OK;
}

int picture_decode_png(const uint8_t *data, size_t bytes, const char *name,
                       struct lego_picture *ret_picture, struct lego_diag *diag)
{
    struct png_decoder decoder = {.data = data, .bytes = bytes, .name = name, .diag = diag};
    int status;

    decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
    if (decoder.png)
        decoder.info = png_create_info_struct(decoder.png);
    if (!decoder.png || !decoder.info)
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", name);
    else
        status = run(&decoder);
    png_destroy_read_struct(&decoder.png, &decoder.info, NULL);
    free(decoder.rows);
    if (status != LEGO_OK) {
        picture_clear(&decoder.picture);
        return status;
    }
    *ret_picture = decoder.picture;
    return LEGO_OK;
}
