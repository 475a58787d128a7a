#include "agent/picture/decode.h"

#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>

/* A progressive file may claim any number of scans over all its pixels. */
#define MAX_SCANS 128

/*
 * All that must survive a longjmp lies here, outside the frame of the function that calls setjmp.
 */
struct jpeg_decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    const char *name;
    struct lego_diag *diag;
    int status;
    struct lego_picture picture;
    uint8_t *cmyk_row;
};

static struct jpeg_decoder *decoder_of(j_common_ptr common)
{
    return common->client_data;
}

static void on_error(j_common_ptr common)
{
    struct jpeg_decoder *decoder = decoder_of(common);
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    int status = common->err->msg_code == JERR_OUT_OF_MEMORY ? LEGO_E_NOMEM : LEGO_E_FORMAT;
    decoder->status =
        lego_fail(decoder->diag, status, "%s: broken JPEG picture: %s", decoder->name, text);
    longjmp(decoder->escape, 1);
}

/* Warnings are let pass, but for a file that ends early: its lower part would be made up. */
static void on_message(j_common_ptr common, int level)
{
    if (level < 0 && common->err->msg_code == JWRN_JPEG_EOF) {
        struct jpeg_decoder *decoder = decoder_of(common);
        decoder->status = lego_fail(decoder->diag, LEGO_E_FORMAT,
                                    "%s: broken JPEG picture: the file ends early", decoder->name);
        longjmp(decoder->escape, 1);
    }
}

static void on_progress(j_common_ptr common)
{
    struct jpeg_decoder *decoder = decoder_of(common);
    if (decoder->jpeg.input_scan_number > MAX_SCANS) {
        decoder->status =
            lego_fail(decoder->diag, LEGO_E_LIMIT, "%s: the JPEG picture has more than %d scans",
                      decoder->name, MAX_SCANS);
        longjmp(decoder->escape, 1);
    }
}

/* Chooses what the library converts to; true where it is CMYK, which is left to us. */
static bool set_colours(struct jpeg_decompress_struct *jpeg)
{
    switch (jpeg->jpeg_color_space) {
    case JCS_GRAYSCALE:
        jpeg->out_color_space = JCS_GRAYSCALE;
        return false;
    case JCS_CMYK:
    case JCS_YCCK:
        jpeg->out_color_space = JCS_CMYK;
        return true;
    default:
        jpeg->out_color_space = JCS_RGB;
        return false;
    }
}

static uint8_t scale_255(unsigned a, unsigned b)
{
    unsigned product = a * b + 128;
    return (uint8_t)((product + (product >> 8)) >> 8);
}

/* Adobe's files hold the complement: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, uint32_t width, bool complement)
{
    unsigned flip = complement ? 0 : 255;
    for (uint32_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        for (int c = 0; c < 3; c++)
            rgb[c] = scale_255(cmyk[c] ^ flip, cmyk[3] ^ flip);
    }
}

static void read_rows(struct jpeg_decoder *decoder, bool cmyk)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *row = decoder->picture.pixels + jpeg->output_scanline * decoder->picture.stride;
        JSAMPROW target = cmyk ? decoder->cmyk_row : row;
        jpeg_read_scanlines(jpeg, &target, 1);
        if (cmyk)
            cmyk_to_rgb(decoder->cmyk_row, row, jpeg->output_width, jpeg->saw_Adobe_marker);
    }
}

static void read_pixels(struct jpeg_decoder *decoder)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg_read_header(jpeg, TRUE);
    bool cmyk = set_colours(jpeg);
    jpeg_calc_output_dimensions(jpeg);

    decoder->status = picture_allocate(&decoder->picture, jpeg->output_width, jpeg->output_height,
                                       jpeg->out_color_space == JCS_GRAYSCALE ? 1 : 3,
                                       decoder->name, decoder->diag);
    if (decoder->status != LEGO_OK)
        longjmp(decoder->escape, 1);
    if (cmyk) {
        decoder->cmyk_row = malloc((size_t)jpeg->output_width * 4);
        if (!decoder->cmyk_row) {
            decoder->status =
                lego_fail(decoder->diag, LEGO_E_NOMEM, "%s: out of memory", decoder->name);
            longjmp(decoder->escape, 1);
        }
    }
    jpeg_start_decompress(jpeg);
    read_rows(decoder, cmyk);
    jpeg_finish_decompress(jpeg);
}

/* Holds no local that changes after setjmp. */
static int run(struct jpeg_decoder *decoder, const uint8_t *data, size_t bytes)
{
    if (setjmp(decoder->escape))
        return decoder->status;
    jpeg_create_decompress(&decoder->jpeg);
    decoder->jpeg.progress = &decoder->progress;
    jpeg_mem_src(&decoder->jpeg, data, bytes);
    read_pixels(decoder);
    return LEGO_OK;
}

int picture_decode_jpeg(const uint8_t *data, size_t bytes, const char *name,
                        struct lego_picture *ret_picture, struct lego_diag *diag)
{
    struct jpeg_decoder decoder = {.name = name, .diag = diag};
    decoder.jpeg.err = jpeg_std_error(&decoder.errors);
    decoder.jpeg.client_data = &decoder;
    decoder.errors.error_exit = on_error;
    decoder.errors.emit_message = on_message;
    decoder.progress.progress_monitor = on_progress;

    int status = run(&decoder, data, bytes);
    jpeg_destroy_decompress(&decoder.jpeg); /* legal, too, where creating it failed */
    free(decoder.cmyk_row);
    if (status != LEGO_OK) {
        picture_clear(&decoder.picture);
        return status;
    }
    *ret_picture = decoder.picture;
    return LEGO_OK;
}
