/*
 * A small font. For this module's own use.
 */
#ifndef LEGO_PICTURE_FONT_H
#define LEGO_PICTURE_FONT_H

#include <stdbool.h>
#include <stdint.h>

#define FONT_WIDTH  5
#define FONT_HEIGHT 8

/* FONT_WIDTH columns, the lowest bit on top; of what is no printable ASCII, those of '?'. */
const uint8_t *font_columns(unsigned char character);

#endif
