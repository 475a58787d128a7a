/* The rANS encoder of one tile. */
#ifndef LEGO_ENCODE_TRELLIS_STREAM_H
#define LEGO_ENCODE_TRELLIS_STREAM_H

#include "codec/encode/trellis.h"

/* A tile's levels and what codes them. */
struct trellis_tile {
    const int8_t *levels; /* [rows][columns] */
    uint32_t rows, columns, lanes;
    uint32_t taps;                                 /* of the classes; 1: none */
    const uint8_t *classes;                        /* [taps] */
    const struct lego_trellis_table *(*tables)[2]; /* [class] */
};

/* Adds the tile's levels to the counts. */
void trellis_tile_count(const struct trellis_tile *tile, struct trellis_counts *counts);

/* Encodes: `ret_stream` is malloc'ed. LEGO_E_NOMEM. */
int trellis_tile_encode(const struct trellis_tile *tile, uint8_t **ret_stream, size_t *ret_bytes);

#endif
