/*
 * The decoders behind picture_decode. For this module's own use.
 */
#ifndef LEGO_PICTURE_DECODE_H
#define LEGO_PICTURE_DECODE_H

#include "agent/picture/picture.h"

/* Each decodes bytes that begin as its format does. Errors as picture_decode. */
int picture_decode_png(const uint8_t *data, size_t bytes, const char *name,
                       struct lego_picture *ret_picture, struct lego_diag *diag);
int picture_decode_jpeg(const uint8_t *data, size_t bytes, const char *name,
                        struct lego_picture *ret_picture, struct lego_diag *diag);

/* E_FORMAT where the picture has no pixels, E_LIMIT where it is over the limits. */
int picture_check_size(uint32_t width, uint32_t height, const char *name, struct lego_diag *diag);

/*
 * Checks the size as picture_check_size and allocates `picture->pixels`, rows without gaps. On
 * failure the picture is unchanged.
 */
int picture_allocate(struct lego_picture *picture, uint32_t width, uint32_t height,
                     uint32_t channels, const char *name, struct lego_diag *diag);

#endif
