/*
 * The weights of a resize for the kernels: each output is a weighted sum of neighbouring inputs.
 * For this module's own use.
 */
#ifndef LEGO_PICTURE_TAPS_H
#define LEGO_PICTURE_TAPS_H

#include "agent/picture/frame.h"

/* One axis of a plane: which part of it becomes which part of how many outputs. */
struct taps_axis {
    double start, size;   /* of what is resized, in samples; may cut through some */
    uint32_t samples;     /* that the axis has */
    uint32_t outputs;     /* that `size` becomes */
    uint32_t from, count; /* of the outputs: those that are wanted */
    enum picture_filter filter;
    uint32_t step;  /* elements from sample to sample; between them weights are zero */
    uint32_t align; /* the taps of an output are filled up to a multiple of this */
};

struct resize_taps {
    uint32_t taps;     /* of each output, filled up with zeros */
    uint32_t *first;   /* [count] the first sample of each output, in samples */
    uint32_t *samples; /* [count] how many have a weight */
    int16_t *weights;  /* [count][taps] the sum of each is 1 << KERN_RESIZE_WEIGHT_BITS */
};

/* E_NOMEM, E_OVERFLOW; frees nothing of the old contents. */
int resize_taps_make(const struct taps_axis *axis, struct resize_taps *ret_taps);
void resize_taps_clear(struct resize_taps *taps);

#endif
