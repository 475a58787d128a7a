/*
 * Bilinear resampling with antialiasing, equal to the bit to PIL's. For this module's own use.
 */
#ifndef LEGO_PICTURE_RESIZE_H
#define LEGO_PICTURE_RESIZE_H

#include "agent/picture/picture.h"
#include "codec/kernels/kernels.h"

/* The part of the resized picture that is computed. */
struct resize_window {
    uint32_t x, y, width, height;
};

/*
 * Resizes `picture` to `width` x `height` and stores the window of it, rows without gaps, in a new
 * picture (picture_clear). The window lies inside, neither side of it is over 16384. Only what the
 * window needs is computed: a cut from a picture that would be huge costs no more than the cut.
 * `kernels` NULL: the references, which give the same.
 */
int resize_picture(const struct kern_table *kernels, const struct lego_picture *picture,
                   uint32_t width, uint32_t height, const struct resize_window *window,
                   struct lego_picture *ret_resized, struct lego_diag *diag);

#endif
