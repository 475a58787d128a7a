/* Frequency tables: the four bytes that code given counts best. */
#include "codec/encode/trellis.h"
#include "codec/encode/trellis_math.h"

#include <math.h>
#include <string.h>

/* Counts by magnitude. */
struct histogram {
    uint32_t count[LEGO_TRELLIS_MAX_LEVEL + 1];
    uint32_t most;
};

static void fold(const uint32_t *counts, struct histogram *ret_histogram)
{
    const uint32_t *middle = counts + LEGO_TRELLIS_MAX_LEVEL;
    uint32_t most = 1;

    ret_histogram->count[0] = middle[0];
    for (int k = 1; k <= LEGO_TRELLIS_MAX_LEVEL; k++) {
        ret_histogram->count[k] = middle[k] + middle[-k];
        if (ret_histogram->count[k])
            most = (uint32_t)k;
    }
    ret_histogram->most = most;
}

static double histogram_bits(const struct lego_trellis_table *table, const struct histogram *h)
{
    double bits = 0;

    if (h->most > table->most)
        return INFINITY;
    for (uint32_t k = 0; k <= h->most; k++)
        if (h->count[k])
            bits += h->count[k] * (12 - trellis_log2(table->frequency[k]));
    return bits;
}

double trellis_table_bits(const struct lego_trellis_table *table, const uint32_t *counts)
{
    struct histogram h;

    fold(counts, &h);
    return histogram_bits(table, &h);
}

static double try_bytes(const struct histogram *h, int zero, int ratio, int bend,
                        struct lego_trellis_table *ret_table)
{
    *ret_table = (struct lego_trellis_table){.zero = (uint8_t)zero,
                                             .ratio = (uint8_t)ratio,
                                             .bend = (uint8_t)bend,
                                             .most = (uint8_t)h->most};
    lego_trellis_table_fill(ret_table);
    return histogram_bits(ret_table, h);
}

static int limit_byte(int x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

/* The best of a coarse grid of curves. */
static double try_grid(const struct histogram *h, int at[3], struct lego_trellis_table *ret_table)
{
    static const int ratios[] = {0, 64, 128, 192, 224, 240, 250},
                     bends[] = {58, 64, 68, 74, 86, 128};
    double best = INFINITY;

    for (size_t i = 0; i < sizeof(ratios) / sizeof(ratios[0]); i++) {
        for (size_t j = 0; j < sizeof(bends) / sizeof(bends[0]); j++) {
            struct lego_trellis_table table;
            const double bits = try_bytes(h, at[0], ratios[i], bends[j], &table);
            if (bits >= best)
                continue;
            best = bits;
            at[1] = ratios[i];
            at[2] = bends[j];
            *ret_table = table;
        }
    }
    return best;
}

/* Walks to a better neighbour in one byte after the other, in shrinking strides. */
double trellis_table_fit(const uint32_t *counts, struct lego_trellis_table *ret_table)
{
    struct histogram h;
    double total = 0, best;
    int at[3] = {128};

    fold(counts, &h);
    for (uint32_t k = 0; k <= h.most; k++)
        total += h.count[k];
    if (total > 0)
        at[0] = limit_byte((int)lrint(256 * h.count[0] / total));
    best = try_grid(&h, at, ret_table);
    for (int stride = 16; stride >= 1; stride = best == 0 ? 0 : stride / 2) {
        for (bool better = true; better;) {
            better = false;
            for (int i = 0; i < 6; i++) {
                struct lego_trellis_table table;
                int to[3] = {at[0], at[1], at[2]};
                to[i / 2] = limit_byte(to[i / 2] + (i % 2 ? stride : -stride));
                const double bits = try_bytes(&h, to[0], to[1], to[2], &table);
                if (bits >= best)
                    continue;
                best = bits;
                memcpy(at, to, sizeof(at));
                *ret_table = table;
                better = true;
            }
        }
    }
    return best;
}
