/*
 * Pictures for the tools, the client library and the agent: decoding files, and from pixels to a
 * model's input.
 */
#ifndef LEGO_PICTURE_PICTURE_H
#define LEGO_PICTURE_PICTURE_H

#include "codec/format/package.h"

/* 8-bit pixels, interleaved. */
struct lego_picture {
    uint32_t width, height; /* 1 to 16384 */
    uint32_t channels;      /* 1 (grey) or 3 (RGB) */
    size_t stride;          /* bytes from row to row */
    uint8_t *pixels;        /* malloc'ed by picture_load; picture_clear frees */
};

/* Decodes a PNG or JPEG by its content. At most 16384 on a side and 64 Mpixel: E_LIMIT. */
int picture_load(const char *path, struct lego_picture *ret_picture, struct lego_diag *diag);
int picture_decode(const void *data, size_t bytes, const char *name,
                   struct lego_picture *ret_picture, struct lego_diag *diag);
void picture_clear(struct lego_picture *picture);

/*
 * Reads a preprocess.json. Strings are copied into `arena`. Unknown keys, wrong types and values
 * out of range are errors that name file, line and key.
 */
int preprocess_load(const char *path, struct lego_arena *arena,
                    struct lego_preprocess *ret_preprocess, struct lego_diag *diag);

/* Elements of the input that preprocess_apply fills: channels * height * width. */
size_t preprocess_elems(const struct lego_preprocess *preprocess);

/*
 * Resizes (bilinear, antialiased when it shrinks: the support grows with the scale, as PIL's
 * BILINEAR, computed in the same 8-bit fixed point, so that results agree to the bit with PIL's),
 * crops, converts and normalises into `out` in the preprocess's layout.
 */
int preprocess_apply(const struct lego_preprocess *preprocess, const struct lego_picture *picture,
                     float *out, size_t elems, struct lego_diag *diag);

#endif
