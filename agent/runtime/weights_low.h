/*
 * What weights in fewer bits share (weights_s8.h, weights_f16.h): they are made once, from fp32
 * blocks that are decoded tile by tile.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_LOW_H
#define LEGO_RUNTIME_WEIGHTS_LOW_H

#include "agent/runtime/weights.h"

/* 64-byte aligned and zeroed, for free(); NULL where it does not fit. */
void *weights_zeroed(size_t count, size_t size);

/* Rows [row, row + count), from a block [taps * channels][nr]. */
typedef void (*weights_block_fn)(void *context, uint32_t row, uint32_t count, const float *block);

/* Calls it for each block of weights that are not split. Error: E_NOMEM. */
int weights_each_block(const struct kern_table *kernels, const struct weights *weights,
                       weights_block_fn block, void *context);

#endif
