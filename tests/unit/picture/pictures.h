/*
 * Pictures for the tests: a known pattern, and encoders for it.
 */
#ifndef TEST_PICTURES_H
#define TEST_PICTURES_H

#include "agent/picture/picture.h"

/* What make_vectors.py's pattern() makes: interleaved, rows without gaps. malloc'ed pixels. */
struct lego_picture pattern(uint32_t width, uint32_t height, uint32_t channels);

/* A smooth picture, which survives JPEG. */
struct lego_picture smooth(uint32_t width, uint32_t height, uint32_t channels);

struct encoded {
    uint8_t *data; /* malloc'ed */
    size_t bytes;
};

/* A PNG of libpng's colour type, bit depth and interlacing; every sample is made from the picture's
 * first channels by dropping low bits or, for 16 bits, with a lower byte of 0x5a. A palette picture
 * has 256 greys. Alpha is a gradient. */
struct encoded encode_png(const struct lego_picture *picture, int colour_type, int bit_depth,
                          bool interlaced);

enum jpeg_kind { JPEG_BASELINE, JPEG_PROGRESSIVE, JPEG_CMYK };
struct encoded encode_jpeg(const struct lego_picture *picture, enum jpeg_kind kind);

#endif
