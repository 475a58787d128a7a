/*
 * Driver of trellis_decode: any bytes are a stream, so random ones of any length are; the reference
 * is the yardstick. That streams which an encoder wrote decode to what went in is tested with the
 * container.
 */
#include "tests/kernels/trellis_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLES = 4 };

struct trellis_case {
    struct kern_trellis_decode args;
    struct guard stream, slots, table, scale, rotation, column_k, panel;
    size_t panel_elems;
    float *before, *expected, *magnitude;
};

static void trellis_inputs(struct trellis_case *t, bool rotated, bool permuted)
{
    struct kern_trellis_decode *d = &t->args;
    uint8_t *stream = guard_alloc(&t->stream, d->stream_bytes, 1, GUARD_END);
    uint32_t *slots =
        guard_alloc(&t->slots, TABLES * KERN_TRELLIS_SLOTS * sizeof(*slots), 64, GUARD_END);
    uint32_t *table =
        guard_alloc(&t->table, 2 * d->taps * sizeof(*table), sizeof(*table), GUARD_END);
    uint32_t *column_k =
        guard_alloc(&t->column_k, d->columns * sizeof(*column_k), sizeof(*column_k), GUARD_END);
    float *scale = guard_alloc(&t->scale, d->rows * sizeof(*scale), sizeof(*scale), GUARD_END);
    size_t square = rotated ? (size_t)d->taps * d->taps : 1;
    float *rotation = guard_alloc(&t->rotation, square * sizeof(float), sizeof(float), GUARD_END);

    for (size_t i = 0; i < d->stream_bytes; i++)
        stream[i] = (uint8_t)rng_next();
    for (uint32_t i = 0; i < TABLES; i++)
        trellis_table(slots + i * KERN_TRELLIS_SLOTS, 1 + rng_below(i ? 16 : 120),
                      rng_below(KERN_TRELLIS_SLOTS));
    for (uint32_t i = 0; i < 2 * d->taps; i++)
        table[i] = rng_below(TABLES) * KERN_TRELLIS_SLOTS;
    for (uint32_t c = 0; c < d->columns; c++) {
        uint32_t other = rng_below(c + 1);
        column_k[c] = c;
        column_k[c] = column_k[other];
        column_k[other] = c;
    }
    fill_floats(scale, d->rows, FILL_PLAIN);
    fill_floats(rotation, square, FILL_PLAIN);
    d->stream = stream;
    d->slots = slots;
    d->table = table;
    d->row_scale = scale;
    d->rotation = rotated ? rotation : NULL;
    d->column_k = permuted ? column_k : NULL;
}

/* What rounding may depend on: the sum of magnitudes of what is rotated. */
static void trellis_magnitude(struct trellis_case *t)
{
    struct kern_trellis_decode plain = t->args;

    plain.panel = t->magnitude;
    plain.rotation = NULL;
    kern_ref_trellis_decode(&plain);
    for (size_t i = 0; i < t->panel_elems; i++)
        t->magnitude[i] = fabsf(t->magnitude[i]);
    if (!t->args.rotation)
        return;
    float most = 0.0f;
    for (size_t i = 0; i < t->panel_elems; i++)
        most = fmaxf(most, t->magnitude[i]);
    for (size_t i = 0; i < t->panel_elems; i++)
        t->magnitude[i] = most * (float)t->args.taps;
}

static void trellis_run(const struct check_entry *entry, struct trellis_case *t)
{
    struct kern_trellis_decode *d = &t->args;
    struct kern_trellis_decode reference = *d;
    size_t bytes = t->panel_elems * sizeof(float);

    memcpy(t->expected, d->panel, bytes);
    memcpy(t->magnitude, d->panel, bytes);
    reference.panel = t->expected;
    (*(const kern_trellis_decode_fn *)entry->reference)(&reference);
    trellis_magnitude(t);
    (*(const kern_trellis_decode_fn *)entry->tested)(d);
    check_compare(entry, d->panel, t->expected, t->magnitude, t->panel_elems);
}

static void trellis_case(const struct check_entry *entry, uint32_t lanes, uint32_t taps,
                         uint32_t nr)
{
    struct trellis_case t = {0};
    struct kern_trellis_decode *d = &t.args;
    bool rotated = taps > 1 && rng_below(2), permuted = rng_below(2);

    d->lanes = lanes;
    d->taps = taps;
    d->rows = rng_below(4) ? 32 : 1 + rng_below(rng_below(4) ? 40 : 256);
    d->columns = taps * (1 + rng_below(100 / taps + 1));
    /* From none to more than all levels can take. */
    d->stream_bytes = 4 * lanes + rng_below(2 + rng_below(2 * d->rows * d->columns));
    d->panel_nr = nr;
    d->panel_k = d->columns + rng_below(3);
    check_case("%u lanes, matrix %ux%u, %u taps, %zu bytes, nr %u%s%s", lanes, d->rows, d->columns,
               taps, d->stream_bytes, nr, rotated ? ", rotated" : "", permuted ? ", mapped" : "");
    trellis_inputs(&t, rotated, permuted);
    t.panel_elems = (size_t)((d->rows + nr - 1) / nr) * d->panel_k * nr;
    d->panel = guard_alloc(&t.panel, t.panel_elems * sizeof(float), 64, GUARD_END);
    fill_floats(d->panel, t.panel_elems, FILL_PLAIN);
    t.expected = malloc(t.panel_elems * sizeof(float));
    t.magnitude = malloc(t.panel_elems * sizeof(float));
    trellis_run(entry, &t);
    free(t.expected);
    free(t.magnitude);
    guard_free(&t.stream);
    guard_free(&t.slots);
    guard_free(&t.table);
    guard_free(&t.scale);
    guard_free(&t.rotation);
    guard_free(&t.column_k);
    guard_free(&t.panel);
}

void check_trellis_decode(const struct check_entry *entry)
{
    static const uint32_t taps[] = {1, 9, 25, 3};

    for (uint32_t lanes = 1; lanes <= KERN_TRELLIS_MAX_LANES; lanes *= 2)
        for (uint32_t i = 0; i < 96; i++)
            trellis_case(entry, lanes, taps[i % 4], 8u << (i % 3));
}
