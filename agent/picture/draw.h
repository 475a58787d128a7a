/*
 * Drawing results into pictures, and keeping them. Everything is cut off at the picture's edges.
 */
#ifndef LEGO_PICTURE_DRAW_H
#define LEGO_PICTURE_DRAW_H

#include "agent/picture/frame.h"

struct draw_color {
    uint8_t red, green, blue; /* of a grey picture their mean is drawn */
};

/* A frame of a rectangle, `line` pixels wide, its outer edges at these. */
void draw_box(struct lego_picture *picture, int64_t left, int64_t top, int64_t right,
              int64_t bottom, uint32_t line, struct draw_color color);

/*
 * One line of text in black or white, whichever reads better, on a bar of the colour whose upper
 * left corner is at (x, y). A pixel of the font is `scale` x `scale` pixels. Of UTF-8 what is not
 * ASCII is shown as '?'. Returns the bar's height.
 */
uint32_t draw_text(struct lego_picture *picture, int64_t x, int64_t y, uint32_t scale,
                   const char *text, struct draw_color color);

/* Which class each pixel of a part of a picture shows: [left, right) x [top, bottom), in width x
 * height values, 0 for none and k + 1 for class k. */
struct draw_mask {
    uint32_t left, top, right, bottom, width, height;
    const uint16_t *values;
};

/* Mixes every pixel that is of a class with the colour of that class, half and half. */
void draw_shade(struct lego_picture *picture, const struct draw_mask *mask);

/* Colours that are told apart, those of PASCAL VOC's masks from the second on. */
struct draw_color draw_class_color(uint32_t index);

/* A scale at which text is legible in a picture of that size. */
uint32_t draw_scale(const struct lego_picture *picture);

/* Writes a PNG beside `path` and renames it, so that who reads it never finds half of it. E_IO,
 * E_PERMISSION, E_NOT_FOUND. */
int picture_save(const struct lego_picture *picture, const char *path, struct lego_diag *diag);

/* A checked frame, MJPEG too, as an RGB picture (picture_clear). Errors as picture_frame_apply. */
int picture_of_frame(const struct kern_table *kernels, const struct picture_frame *frame,
                     const char *name, struct lego_picture *ret_picture, struct lego_diag *diag);

#endif
