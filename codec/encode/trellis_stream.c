/*
 * rANS, backwards: what is encoded last is decoded first.
 *
 * The decoder takes a word whenever a state falls below 2^16 and words are left. So the encoder may
 * begin with states far below that, which saves most of what a state costs, as long as no such
 * state meets the decoder while words are left: where one would, its beginning is raised.
 */
#include "codec/encode/trellis_stream.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

struct symbol {
    uint16_t frequency, first;
};

/* Calls back nothing, returns nothing: the tile's symbols in the order in which they are decoded.
 */
static void list_symbols(const struct trellis_tile *t, struct symbol *symbols)
{
    uint32_t state[KERN_TRELLIS_MAX_LANES];

    for (uint32_t column = 0; column < t->columns; column += t->lanes) {
        const uint32_t count = (uint32_t)lego_min_size(t->columns - column, t->lanes);
        memset(state, 0, sizeof(state));
        for (uint32_t row = 0; row < t->rows; row++) {
            for (uint32_t i = 0; i < count; i++) {
                const uint32_t class = t->classes[(column + i) % t->taps];
                const struct lego_trellis_table *table = t->tables[class][state[i] & 1];
                const int32_t level = t->levels[(size_t)row * t->columns + column + i];
                *symbols++ = (struct symbol){
                    .frequency = table->frequency[abs(level)],
                    .first = (uint16_t)lego_trellis_first_slot(table, level),
                };
                state[i] = kern_trellis_next(state[i], level);
            }
        }
    }
}

void trellis_tile_count(const struct trellis_tile *t, struct trellis_counts *counts)
{
    for (uint32_t column = 0; column < t->columns; column++) {
        const uint32_t class = t->classes[column % t->taps];
        uint32_t state = 0;
        for (uint32_t row = 0; row < t->rows; row++) {
            const int32_t level = t->levels[(size_t)row * t->columns + column];
            counts->count[class][state & 1][level + LEGO_TRELLIS_MAX_LEVEL]++;
            state = kern_trellis_next(state, level);
        }
    }
}

/* Lane of symbol number i: groups but the last are full. */
static uint32_t lane_of(const struct trellis_tile *t, size_t i)
{
    const size_t group = (size_t)t->rows * t->lanes, whole = t->columns / t->lanes * group;

    return (uint32_t)(i < whole ? i % t->lanes : (i - whole) % (t->columns % t->lanes));
}

/*
 * Encodes from these first states; words in the order in which they are made. Returns the lane
 * whose state the decoder would misread, or `lanes`.
 */
static uint32_t encode(const struct trellis_tile *t, const struct symbol *symbols,
                       const uint32_t *begin, uint32_t *x, uint16_t *words, size_t *ret_words)
{
    size_t count = 0;

    memcpy(x, begin, t->lanes * sizeof(*x));
    for (size_t i = (size_t)t->rows * t->columns; i-- > 0;) {
        const struct symbol s = symbols[i];
        const uint32_t lane = lane_of(t, i);
        uint32_t state = x[lane];

        if (state >= (uint32_t)s.frequency << 20) {
            words[count++] = (uint16_t)state;
            state >>= 16;
        } else if (count > 0 && state < KERN_TRELLIS_LOW) {
            return lane;
        }
        x[lane] = state / s.frequency * KERN_TRELLIS_SLOTS + state % s.frequency + s.first;
    }
    *ret_words = count;
    return t->lanes;
}

static uint8_t *put(uint8_t *at, uint32_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> (8 * i));
    return at;
}

int trellis_tile_encode(const struct trellis_tile *t, uint8_t **ret_stream, size_t *ret_bytes)
{
    const size_t count = (size_t)t->rows * t->columns;
    uint32_t begin[KERN_TRELLIS_MAX_LANES] = {0}, x[KERN_TRELLIS_MAX_LANES], lane;
    struct symbol *symbols = malloc(count * sizeof(*symbols));
    uint16_t *words = malloc(count * sizeof(*words));
    uint8_t *stream = NULL;
    size_t word_count = 0;

    if (symbols && words) {
        list_symbols(t, symbols);
        while ((lane = encode(t, symbols, begin, x, words, &word_count)) < t->lanes)
            begin[lane] = begin[lane] ? begin[lane] << 2 : 1u << 8;
        *ret_bytes = 4 * (size_t)t->lanes + 2 * word_count;
        stream = malloc(*ret_bytes);
    }
    if (stream) {
        uint8_t *at = stream;
        for (uint32_t i = 0; i < t->lanes; i++)
            at = put(at, x[i], 4);
        while (word_count > 0)
            at = put(at, words[--word_count], 2);
        *ret_stream = stream;
    }
    free(symbols);
    free(words);
    return stream ? LEGO_OK : LEGO_E_NOMEM;
}
