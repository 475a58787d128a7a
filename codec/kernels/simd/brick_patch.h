/*
 * What the loops over bricks share, parts of brick.h: a patch, some columns of bricks of the tile
 * by one row block of the panel.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_PATCH_H
#define LEGO_KERNELS_SIMD_BRICK_PATCH_H

#include "codec/kernels/simd/brick_any.h"
#include "codec/kernels/simd/quads.h"
#include "codec/kernels/simd/unroll.h"

#include <string.h>

enum {
    BRICK_BATCH = 512, /* a multiple of any row block's bricks */
    BRICK_MAX_NR = 32,
    BRICK_PAD = VEC_LANES > 8 ? VEC_LANES : 8,
    BRICK_LARGE_COLUMNS = 2, /* of bricks with a large table; of more, loads are faster */
};

/* The lookup tables of one-row bricks: a table for each column of theirs. */
struct brick_tables {
    float column[BRICK_SIDE][BRICK_TABLE];
#ifdef BRICK_LARGE
    float large[BRICK_LARGE_COLUMNS][BRICK_LARGE];
#endif
};

/* Bricks of one row block: `count` below each other in each of `columns` columns of bricks. */
struct brick_patch {
    const struct kern_brick_decode *d;
    const struct brick_tables *tables;
    const uint32_t *index; /* of the first; a full vector is readable behind the last */
    const uint8_t *bytes;  /* the same indices in place, where they are bytes, or 4 or 2 bits of
                              one-row bricks, that are so read; else NULL */
    uint32_t index_step;   /* from one column's first to the next's */
    uint32_t count, columns;
    uint32_t width;            /* columns of a brick, without what sticks out of the tile */
    uint32_t column;           /* matrix column of the first */
    float *out;                /* k 0, lane of the first brick's first row */
    bool plain;                /* no scales, no accumulation: copies */
    float scale[BRICK_MAX_NR]; /* of each row from the first brick's on, 0 in padding */
};

/* Runs `how` of the patch p with `plain` and `accumulate` for last arguments, constants both. */
#define BRICK_HOW(how, p, ...)                   \
    {                                            \
        if ((p)->plain)                          \
            how(p, ##__VA_ARGS__, true, false);  \
        else if ((p)->d->accumulate)             \
            how(p, ##__VA_ARGS__, false, true);  \
        else                                     \
            how(p, ##__VA_ARGS__, false, false); \
    }

typedef void (*brick_patch_fn)(const struct brick_patch *patch);

#endif
