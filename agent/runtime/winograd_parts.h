/*
 * How threads share the tiles of a Winograd step (step_winograd.h): parts of the tiles, each with
 * all weights, or parts of the weights' units (tiles of the weight matrix), each with all tiles.
 *
 * A part's transformed inputs have an area of their own. Where each thread has one part, the area
 * lies where it lies for every layer: it stays in that thread's cache, and no other cache has to
 * give up what it replaces.
 */
#ifndef LEGO_RUNTIME_WINOGRAD_PARTS_H
#define LEGO_RUNTIME_WINOGRAD_PARTS_H

#include "codec/kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What it costs to transform one element of one position, in multiply-accumulates of a GEMM: the
 * weights come from far and go through a cache. */
#define WINOGRAD_PIXEL_COST   4.0
#define WINOGRAD_WEIGHTS_COST 8.0
/* A GEMM of few k's runs slower than the direct one. */
#define WINOGRAD_GEMM_COST 1.25

#define WINOGRAD_POSITIONS (KERN_WINOGRAD_IN * KERN_WINOGRAD_IN)
/* Floats behind each position: keeps the 36 of them off the same sets of a cache. */
#define WINOGRAD_PAD   16
#define WINOGRAD_PARTS 8 /* at most */

/* What there is to share. */
struct winograd_whole {
    size_t tiles;
    uint32_t units, unit_rows; /* of weights */
    uint32_t channels;
    size_t elems; /* floats of the room for inputs, at least winograd_room() of them */
};

struct winograd_parts {
    struct winograd_whole whole;
    uint32_t count;
    bool by_units;
    size_t tiles; /* of a part, at most */
    uint32_t units;
    size_t area; /* floats from one part's inputs to the next part's */
};

struct winograd_part {
    size_t first, tiles;
    uint32_t unit, units;
    size_t at;     /* floats before its inputs: [position][tile of the part][channel] */
    size_t stride; /* floats from one position to the next */
};

/* Floats of inputs that one part of so many tiles needs at least. */
size_t winograd_room(size_t tiles, uint32_t channels);

/* The parts that take the least time on `slots` threads: as many as there are threads, or fewer,
 * which then share them. */
struct winograd_parts winograd_cut(const struct winograd_whole *whole, uint32_t slots);

/* Part `number` < count; some of those by units may have none. */
struct winograd_part winograd_part(const struct winograd_parts *parts, size_t number);

#endif
