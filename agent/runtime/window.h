/*
 * The windows of a convolution or pooling over channels-last images, and the pointers to the
 * pixels they cover. One-dimensional operators are images of height 1.
 */
#ifndef LEGO_RUNTIME_WINDOW_H
#define LEGO_RUNTIME_WINDOW_H

#include "codec/graph/graph.h"

struct window {
    uint32_t batch, channels; /* of the input, all groups: floats from one pixel to the next */
    uint32_t in_height, in_width, out_height, out_width;
    uint32_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x;
    int32_t pad_top, pad_left, pad_bottom, pad_right;
};

/*
 * Reads strides, dilations, pads and auto_pad of a node whose input and output have these shapes
 * (rank 3 or 4, static). The kernel's size comes from kernel_shape, else from `weights` (may be
 * NULL). False where the rank or a number is beyond what windows hold.
 */
bool window_make(const struct lego_node *node, const struct lego_shape *input,
                 const struct lego_shape *output, const struct lego_shape *weights,
                 struct window *ret_window);

/*
 * The same of a transposed convolution (ConvTranspose): strides, dilations and pads are those that
 * its kernel makes in the output.
 */
bool window_make_transposed(const struct lego_node *node, const struct lego_shape *input,
                            const struct lego_shape *output, const struct lego_shape *weights,
                            struct window *ret_window);

/*
 * A phase of a transposed convolution: output pixels (first_y + i * stride_y, first_x + j *
 * stride_x). The taps that reach them are those of a plain convolution with stride 1.
 */
struct window_phase {
    struct window window; /* (i, j) are its outputs; pads may be negative */
    uint32_t first_y, first_x;
    uint32_t first_tap; /* in the order of window_phase_taps */
};

/* The phases [stride_y][stride_x] of the transposed `w`: output row y is one of phase (y + pad_top)
 * % stride_y, columns alike. Some may have no pixels. */
void window_phases(const struct window *w, struct window_phase *ret_phases);

/*
 * The order in which the taps of each phase lie together, as its window counts them, along the rows
 * or `down` the columns: tap ky * kernel_width + kx is at ret_at[]. Follows from w's kernel,
 * strides and dilations alone.
 */
void window_phase_taps(const struct window *w, bool down, uint32_t *ret_at);

/* Output pixels of the whole batch. */
size_t window_pixels(const struct window *w);

/* True where output pixel p reads just input pixel p: a 1x1 window, stride 1, no padding. */
bool window_is_pointwise(const struct window *w);

/*
 * Pointers for output pixels [first, first + m), m <= mr: ret_pointers[tap * mr + i], with tap = ky
 * * kernel_width + kx; for i >= m those of the last pixel. Pixels outside point to `zeros`.
 */
void window_pointers(const struct window *w, const float *x, const float *zeros, size_t first,
                     uint32_t m, uint32_t mr, const float **ret_pointers);

/*
 * The same for whole rows of the kernel: ret_pointers[ky * mr + i] to kernel_width * channels
 * floats. Needs dilation_x 1. Rows that stick out at a side are copied to `edge` (kernel_height *
 * mr rows). `zeros` holds kernel_width * channels.
 */
void window_row_pointers(const struct window *w, const float *x, const float *zeros, float *edge,
                         size_t first, uint32_t m, uint32_t mr, const float **ret_pointers);

/*
 * Pointers for one output row (image, y): the window of output x starts at ret_pointers[x *
 * window_row_step()], taps down the columns: tap = kx * kernel_height + ky. Pixels outside point to
 * `outside`; NULL: to a pixel of the same window that is inside.
 */
uint32_t window_row_step(const struct window *w);
size_t window_row_count(const struct window *w);
void window_row(const struct window *w, const float *x, const float *outside, uint32_t image,
                uint32_t y, const float **ret_pointers);

#endif
