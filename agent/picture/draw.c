#include "agent/picture/draw.h"

#include "agent/picture/decode.h"
#include "agent/picture/font.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAP        1   /* pixels of the font around text */
#define LARGE_SIDE 320 /* a shorter side of that has text of twice the size */
#define DARK_BELOW 128
#define MAX_PATH   4096

static uint8_t brightness(struct draw_color color)
{
    return (uint8_t)((color.red + color.green + color.blue) / 3);
}

/* Fills from (left, top) to before (right, bottom). */
static void fill(struct lego_picture *picture, int64_t left, int64_t top, int64_t right,
                 int64_t bottom, struct draw_color color)
{
    left = left < 0 ? 0 : left;
    top = top < 0 ? 0 : top;
    right = right > picture->width ? picture->width : right;
    bottom = bottom > picture->height ? picture->height : bottom;
    for (int64_t y = top; y < bottom; y++) {
        uint8_t *row = picture->pixels + (size_t)y * picture->stride;
        for (int64_t x = left; x < right; x++) {
            if (picture->channels == 1) {
                row[x] = brightness(color);
                continue;
            }
            row[3 * x] = color.red;
            row[3 * x + 1] = color.green;
            row[3 * x + 2] = color.blue;
        }
    }
}

void draw_box(struct lego_picture *picture, int64_t left, int64_t top, int64_t right,
              int64_t bottom, uint32_t line, struct draw_color color)
{
    fill(picture, left, top, right, top + line, color);
    fill(picture, left, bottom - line, right, bottom, color);
    fill(picture, left, top, left + line, bottom, color);
    fill(picture, right - line, top, right, bottom, color);
}

static void draw_character(struct lego_picture *picture, int64_t x, int64_t y, uint32_t scale,
                           unsigned char character, struct draw_color color)
{
    const uint8_t *columns = font_columns(character);
    for (int64_t column = 0; column < FONT_WIDTH; column++) {
        for (int64_t row = 0; row < FONT_HEIGHT; row++) {
            if (columns[column] >> row & 1)
                fill(picture, x + column * scale, y + row * scale, x + (column + 1) * scale,
                     y + (row + 1) * scale, color);
        }
    }
}

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

uint32_t draw_text(struct lego_picture *picture, int64_t x, int64_t y, uint32_t scale,
                   const char *text, struct draw_color color)
{
    const uint32_t height = (FONT_HEIGHT + 2 * GAP) * scale;
    const struct draw_color ink = brightness(color) < DARK_BELOW
                                      ? (struct draw_color){255, 255, 255}
                                      : (struct draw_color){0, 0, 0};
    int64_t count = 0;
    for (const char *c = text; *c; c++)
        count += !continues(*c);
    fill(picture, x, y, x + (count * (FONT_WIDTH + GAP) + GAP) * scale, y + height, color);
    x += GAP * scale;
    for (const char *c = text; *c && x < picture->width; c++) {
        if (continues(*c))
            continue;
        draw_character(picture, x, y + GAP * scale, scale, (unsigned char)*c, ink);
        x += (FONT_WIDTH + GAP) * scale;
    }
    return height;
}

struct draw_color draw_class_color(uint32_t index)
{
    uint8_t parts[3] = {0};
    for (uint32_t bits = index + 1, shift = 7; bits; bits >>= 3, shift--)
        for (uint32_t part = 0; part < 3; part++)
            parts[part] = (uint8_t)(parts[part] | (bits >> part & 1) << shift);
    return (struct draw_color){parts[0], parts[1], parts[2]};
}

static uint8_t mix(uint8_t a, uint8_t b)
{
    return (uint8_t)((a + b + 1) / 2);
}

void draw_shade(struct lego_picture *picture, const struct draw_mask *mask)
{
    uint32_t right = mask->right < picture->width ? mask->right : picture->width;
    uint32_t bottom = mask->bottom < picture->height ? mask->bottom : picture->height;
    uint64_t columns = mask->right - mask->left, rows = mask->bottom - mask->top;
    for (uint32_t y = mask->top; y < bottom; y++) {
        const uint16_t *values =
            mask->values + (y - mask->top) * (uint64_t)mask->height / rows * mask->width;
        uint8_t *pixel =
            picture->pixels + y * picture->stride + (size_t)mask->left * picture->channels;
        for (uint32_t x = mask->left; x < right; x++, pixel += picture->channels) {
            uint16_t value = values[(x - mask->left) * (uint64_t)mask->width / columns];
            if (value == 0)
                continue;
            struct draw_color color = draw_class_color(value - 1u);
            if (picture->channels == 1) {
                pixel[0] = mix(pixel[0], brightness(color));
                continue;
            }
            pixel[0] = mix(pixel[0], color.red);
            pixel[1] = mix(pixel[1], color.green);
            pixel[2] = mix(pixel[2], color.blue);
        }
    }
}

uint32_t draw_scale(const struct lego_picture *picture)
{
    uint32_t side = picture->width < picture->height ? picture->width : picture->height;
    return 1 + side / LARGE_SIDE;
}

int picture_save(const struct lego_picture *picture, const char *path, struct lego_diag *diag)
{
    char part[MAX_PATH];
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = picture->width,
                       .height = picture->height,
                       .format = picture->channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    int length = snprintf(part, sizeof(part), "%s.part-%d", path, (int)getpid());
    if (length < 0 || (size_t)length >= sizeof(part))
        return lego_fail(diag, LEGO_E_LIMIT, "the path of the picture is too long");
    FILE *file = fopen(part, "wbe");
    if (!file)
        return lego_fail_errno(diag, errno, "%s", path);
    bool good = png_image_write_to_stdio(&image, file, 0, picture->pixels,
                                         (png_int_32)picture->stride, NULL);
    good = fclose(file) == 0 && good;
    if (!good || rename(part, path) != 0) {
        int error = errno;
        unlink(part);
        return good ? lego_fail_errno(diag, error, "%s", path)
                    : lego_fail(diag, LEGO_E_IO, "%s cannot be written: %s", path, image.message);
    }
    return LEGO_OK;
}

/* The frame as the input of a model that wants all of it, in numbers from 0 to 255. */
static int frame_pixels(const struct kern_table *kernels, const struct picture_frame *frame,
                        const char *name, struct lego_picture *picture, struct lego_diag *diag)
{
    const struct lego_preprocess all = {.present = true,
                                        .nhwc = true,
                                        .channels = 3,
                                        .width = picture->width,
                                        .height = picture->height,
                                        .scale = 1,
                                        .std = {1, 1, 1}};
    size_t elems = preprocess_elems(&all);
    float *values = malloc(elems * sizeof(*values));
    if (!values)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory for its pixels", name);
    int status = picture_frame_apply(kernels, &all, frame, name, values, elems, NULL, diag);
    for (size_t i = 0; status == LEGO_OK && i < elems; i++)
        picture->pixels[i] = (uint8_t)(values[i] + 0.5f);
    free(values);
    return status;
}

int picture_of_frame(const struct kern_table *kernels, const struct picture_frame *frame,
                     const char *name, struct lego_picture *ret_picture, struct lego_diag *diag)
{
    struct lego_picture picture;
    if (frame->fourcc == PICTURE_MJPEG)
        return picture_decode(frame->data, frame->bytes, name, ret_picture, diag);
    int status = picture_allocate(&picture, frame->width, frame->height, 3, name, diag);
    if (status != LEGO_OK)
        return status;
    status = frame_pixels(kernels, frame, name, &picture, diag);
    if (status != LEGO_OK)
        picture_clear(&picture);
    else
        *ret_picture = picture;
    return status;
}
