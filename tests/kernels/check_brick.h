/* A tile of random bricks, for the drivers of kernels that take them. */
#ifndef LEGO_TESTS_KERNELS_CHECK_BRICK_H
#define LEGO_TESTS_KERNELS_CHECK_BRICK_H

#include "tests/kernels/check.h"

struct brick_case {
    struct kern_brick_decode args;
    uint32_t tile_columns; /* columns of bricks in the whole stream */
    uint32_t *index;
    struct guard stream, catalogue, integers, scale, column_k, panel;
    size_t panel_elems;
    float *expected, *magnitude;
};

/* Draws a case with bricks of this size, and names it. Flags: 1 accumulate, 2 scales, 4 a map of
 * columns, 8 a catalogue of integers (else it may have one). */
void brick_draw(struct brick_case *b, uint32_t brick_rows, uint32_t brick_columns,
                uint32_t index_bits, uint32_t nr, uint32_t flags);
void brick_close(struct brick_case *b);

/* The integer that element (r, c) of the case's matrix is made of. */
double brick_integer(const struct brick_case *b, uint32_t r, uint32_t c);

#endif
