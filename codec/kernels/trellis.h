/*
 * Lanes of the trellis decoder, one symbol at a time: the reference, and what the vector kernels
 * leave over (few lanes, the last columns, the stream's end).
 *
 * Entropy coding is rANS (Duda, arXiv 1311.2540) with states of 32 bits and words of 16,
 * interleaved over lanes (Giesen, arXiv 1402.3392). The trellis is that of dependent quantisation
 * in VVC (Schwarz et al., DCC 2019), with eight states.
 */
#ifndef LEGO_KERNELS_TRELLIS_H
#define LEGO_KERNELS_TRELLIS_H

#include "codec/kernels/kernels.h"

#define KERN_TRELLIS_LOW  (1u << 16)  /* a rANS state below it takes a word */
#define KERN_TRELLIS_NEXT 0x64317520u /* nibble s: the next state after an even level */

struct kern_trellis_lanes {
    uint32_t x[KERN_TRELLIS_MAX_LANES];
    uint32_t state[KERN_TRELLIS_MAX_LANES];    /* of the trellis */
    uint32_t table[2][KERN_TRELLIS_MAX_LANES]; /* offsets for even and odd states */
    const uint8_t *at, *end;                   /* words that are left */
};

static inline uint32_t kern_trellis_load(const uint8_t *at, uint32_t bytes)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

static inline void kern_trellis_open(struct kern_trellis_lanes *lanes,
                                     const struct kern_trellis_decode *d)
{
    lanes->at = d->stream;
    lanes->end = d->stream + d->stream_bytes;
    for (uint32_t i = 0; i < d->lanes; i++, lanes->at += 4)
        lanes->x[i] = kern_trellis_load(lanes->at, 4);
}

/* Points the lanes at a group of columns, whose first is `column`. */
static inline void kern_trellis_group(struct kern_trellis_lanes *lanes,
                                      const struct kern_trellis_decode *d, uint32_t column,
                                      uint32_t count)
{
    uint32_t tap = column % d->taps;

    for (uint32_t i = 0; i < count; i++) {
        lanes->state[i] = 0;
        lanes->table[0][i] = d->table[2 * tap];
        lanes->table[1][i] = d->table[2 * tap + 1];
        tap = tap + 1 == d->taps ? 0 : tap + 1;
    }
}

/* The value of a level, in steps: odd states have the levels in between. */
static inline int32_t kern_trellis_value(int32_t level, uint32_t state)
{
    int32_t sign = (level > 0) - (level < 0);

    return 2 * level - (state & 1 ? sign : 0);
}

static inline uint32_t kern_trellis_next(uint32_t state, int32_t level)
{
    return (KERN_TRELLIS_NEXT >> (4 * state) & 7) ^ ((uint32_t)level & 1);
}

/* One row of the first `count` lanes; values go to out[lane]. */
static inline void kern_trellis_row(struct kern_trellis_lanes *lanes, const uint32_t *slots,
                                    uint32_t count, float *out)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t x = lanes->x[i], state = lanes->state[i];
        uint32_t slot = slots[lanes->table[state & 1][i] + x % KERN_TRELLIS_SLOTS];
        int32_t level = (int32_t)slot >> 24;
        x = (slot >> 12 & 0xfff) * (x / KERN_TRELLIS_SLOTS) + (slot & 0xfff);
        if (x < KERN_TRELLIS_LOW && lanes->end - lanes->at >= 2) {
            x = x << 16 | kern_trellis_load(lanes->at, 2);
            lanes->at += 2;
        }
        lanes->x[i] = x;
        lanes->state[i] = kern_trellis_next(state, level);
        out[i] = (float)kern_trellis_value(level, state);
    }
}

#endif
