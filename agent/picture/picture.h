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

#define PICTURE_MAX_SIDE       16384u
#define PICTURE_MAX_PIXELS     (64u << 20)
#define PICTURE_MAX_FILE_BYTES ((size_t)256 << 20)

/*
 * Decodes a PNG or JPEG by its content, whatever the name. Transparency is dropped, 16 bits become
 * 8 by their upper byte, colour profiles, gamma and EXIF orientation are not applied: as PIL's
 * Image.open(..).convert("RGB"), on which training pipelines stand. Any thread.
 *
 * Errors: E_IO, E_NOT_FOUND, E_PERMISSION (load only); E_FORMAT: neither of the two, broken or cut
 * short; E_UNSUPPORTED; E_LIMIT: over the limits above; E_NOMEM. The diag begins with the path or
 * `name`.
 */
int picture_load(const char *path, struct lego_picture *ret_picture, struct lego_diag *diag);
int picture_decode(const void *data, size_t bytes, const char *name,
                   struct lego_picture *ret_picture, struct lego_diag *diag);
void picture_clear(struct lego_picture *picture);

/* True where the bytes begin as a PNG or JPEG does. */
bool picture_recognise(const void *data, size_t bytes);

/*
 * Reads a preprocess.json: one object with the keys layout, channels, width, height (the only two
 * that must be there), scale, mean, std, resize, resize_side, pad_value, class_offset and input,
 * which mean what struct lego_preprocess says. Strings are copied into `arena`. Unknown keys,
 * wrong types and values out of range are errors (E_FORMAT) that name file, line and key.
 */
int preprocess_load(const char *path, struct lego_arena *arena,
                    struct lego_preprocess *ret_preprocess, struct lego_diag *diag);

/* The same from JSON text; `name` stands for the file in the diag. */
int preprocess_parse(const char *text, size_t bytes, const char *name, struct lego_arena *arena,
                     struct lego_preprocess *ret_preprocess, struct lego_diag *diag);

/*
 * Reads the preprocess.json beside a model: `DIR/NAME.preprocess.json` for `DIR/NAME.onnx`.
 * E_NOT_FOUND where there is none.
 */
int preprocess_load_beside(const char *model_path, struct lego_arena *arena,
                           struct lego_preprocess *ret_preprocess, struct lego_diag *diag);

/*
 * The JSON text that preprocess_parse reads back to the same values, every key present, on one
 * line: a malloc'ed string. E_NOMEM.
 */
int preprocess_format(const struct lego_preprocess *preprocess, char **ret_text);

/* Elements of the input that preprocess_apply fills: channels * height * width. */
size_t preprocess_elems(const struct lego_preprocess *preprocess);

/*
 * Resizes (bilinear, antialiased when it shrinks: the support grows with the scale, as PIL's
 * BILINEAR, computed in the same 8-bit fixed point, so that results agree to the bit with PIL's),
 * crops, converts and normalises into `out` in the preprocess's layout.
 *
 * LEGO_RESIZE_SHORTEST: the shorter side becomes resize_side, the longer one is rounded down, then
 * width x height is cut at the centre, halves rounded to even (as torchvision's Resize and
 * CenterCrop do on PIL pictures). LEGO_RESIZE_LETTERBOX: sizes are rounded to nearest, the picture
 * lies in the middle, the odd pixel of padding right or below. Where a cut is larger than the
 * picture, `pad_value` fills it, too.
 *
 * `elems` is what preprocess_elems says, else E_SHAPE; E_INVALID for values out of range; E_NOMEM.
 * Any thread.
 */
int preprocess_apply(const struct lego_preprocess *preprocess, const struct lego_picture *picture,
                     float *out, size_t elems, struct lego_diag *diag);

#endif
