/*
 * Weights as levels of a trellis-coded quantiser behind an entropy coder: the smallest files.
 *
 * A matrix is cut in tiles as for bricks. In a tile each column starts in state 0 of the trellis;
 * going down its rows, an even state means level k stands for 2 k steps and an odd one for
 * 2 k - sign(k), and the level's parity picks the next state (dependent quantisation: Schwarz et
 * al., DCC 2019). Levels are coded by interleaved rANS, one stream of each tile, with a frequency
 * table for even and one for odd states. Tables take 4 bytes in the file, and layers share them.
 *
 * Optionally the elements of each kernel are rotated, so that few coefficients matter; coefficients
 * then belong to classes with tables of their own.
 *
 * kernels.h has the decoder (trellis_decode), FORMAT.md the bytes.
 */
#ifndef LEGO_FORMAT_TRELLIS_H
#define LEGO_FORMAT_TRELLIS_H

#include "codec/format/bricks.h"
#include "codec/kernels/trellis.h"

#define LEGO_TRELLIS_MAX_LEVEL   120
#define LEGO_TRELLIS_MAX_CLASSES 4
#define LEGO_TRELLIS_STATES      8

/*
 * Frequencies of levels -most to most, out of KERN_TRELLIS_SLOTS: a share for 0, and a falling
 * curve for the others, alike for both signs.
 */
struct lego_trellis_table {
    uint8_t zero;  /* share of level 0 beyond one slot: zero / 256 */
    uint8_t ratio; /* level 2 to level 1: 1 - (255 - ratio)^2 / 65536 */
    uint8_t bend;  /* each further ratio to the one before: 1 - b |b| / 65536, b = bend - 64 */
    uint8_t most;  /* 1 to LEGO_TRELLIS_MAX_LEVEL */
    uint16_t frequency[LEGO_TRELLIS_MAX_LEVEL + 1]; /* of |level|: lego_trellis_table_fill */
};

struct lego_rotation {
    uint32_t taps;          /* 2 to KERN_TRELLIS_MAX_TAPS */
    uint32_t class_count;   /* 1 + the largest class */
    const uint16_t *matrix; /* [taps][taps] fp16: element = coefficients * matrix */
    const uint8_t *classes; /* [taps] below LEGO_TRELLIS_MAX_CLASSES */
};

struct lego_trellis {
    uint32_t lanes;                       /* 1, 2, 4, 8, 16 or 32 */
    const struct lego_rotation *rotation; /* NULL: none; one class */
    const struct lego_trellis_table *tables[LEGO_TRELLIS_MAX_CLASSES][2]; /* even, odd states */
    const uint8_t *stream;
    size_t stream_bytes;
    const uint64_t *tile_offsets; /* [tiles + 1] bytes from `stream`, ascending */
};

static inline uint32_t lego_trellis_classes(const struct lego_trellis *trellis)
{
    return trellis->rotation ? trellis->rotation->class_count : 1;
}

/* Computes the frequencies from the four bytes; false where `most` is out of range. */
bool lego_trellis_table_fill(struct lego_trellis_table *table);

/* First slot of a level. Levels lie in the order 0, 1, -1, 2, -2, ... */
uint32_t lego_trellis_first_slot(const struct lego_trellis_table *table, int32_t level);

/* Fills the KERN_TRELLIS_SLOTS slots of a table as kernels.h wants them. */
void lego_trellis_slots(const struct lego_trellis_table *table, uint32_t *ret_slots);

/* True where layer, rotation, tables and stream fit together; sizes of tiles included. */
bool lego_trellis_is_sound(const struct lego_coded *coded);

/* What the kernel needs to know of a tile, but for slots, row_scale, rotation, column_k, panel. */
void lego_trellis_tile(const struct lego_coded *coded, uint32_t tile,
                       struct kern_trellis_decode *ret_decode);

/* lego_coded_decode of a trellis. LEGO_E_NOMEM. */
int lego_trellis_decode(const struct lego_tensor *tensor, float *ret_dense, struct lego_diag *diag);

#endif
