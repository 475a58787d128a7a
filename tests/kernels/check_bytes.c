/*
 * Drivers of what works with integers of a byte: brick_decode_s8, fixed_digits and
 * brick_gemv_fixed, against the formulas of coded.h.
 */
#include "tests/kernels/check_brick.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns of bricks, padded. */
static uint32_t fixed_padded(const struct kern_brick_decode *d)
{
    return (d->tile_brick_columns + KERN_FIXED_BLOCK - 1) / KERN_FIXED_BLOCK * KERN_FIXED_BLOCK;
}

/* Numbers for a case's columns, as random digits, with zeros for those that there are not. */
static int8_t *fixed_draw(struct guard *guard, const struct kern_brick_decode *d,
                          int32_t sum[KERN_FIXED_DIGITS])
{
    const uint32_t padded = fixed_padded(d), count = padded * d->brick_columns;
    int8_t *digits =
        guard_alloc(guard, (size_t)count * KERN_FIXED_DIGITS, KERN_FIXED_BLOCK, rng_below(2));

    memset(sum, 0, KERN_FIXED_DIGITS * sizeof(*sum));
    for (uint32_t i = 0; i < count * KERN_FIXED_DIGITS; i++) {
        const uint32_t block = i / (KERN_FIXED_BLOCK * KERN_FIXED_DIGITS);
        const uint32_t place = block * KERN_FIXED_BLOCK + i % KERN_FIXED_BLOCK;
        const bool real = place % padded * d->brick_columns + place / padded < d->columns;
        digits[i] = (int8_t)(real ? (int32_t)rng_below(256) - 128 : 0);
        sum[i / KERN_FIXED_BLOCK % KERN_FIXED_DIGITS] += digits[i];
    }
    return digits;
}

/* Number c of them. */
static double fixed_value(const int8_t *digits, uint32_t c)
{
    const int8_t *digit =
        digits + c / KERN_FIXED_BLOCK * KERN_FIXED_BLOCK * KERN_FIXED_DIGITS + c % KERN_FIXED_BLOCK;
    double value = 0.0;

    for (uint32_t d = KERN_FIXED_DIGITS; d > 0; d--)
        value = value * 256.0 + digit[(d - 1) * KERN_FIXED_BLOCK];
    return value;
}

static void gemv_fixed_case(const struct check_entry *entry, uint32_t brick_rows,
                            uint32_t brick_columns, uint32_t index_bits)
{
    const struct kern_brick_gemv_fixed_variant *tested = entry->tested;
    struct brick_case b = {0};
    const struct kern_brick_decode *d = &b.args;
    struct guard digits, gy;
    int32_t sum[KERN_FIXED_DIGITS];

    brick_draw(&b, brick_rows, brick_columns, index_bits, 8, rng_below(4) | 8);
    struct kern_brick_gemv_fixed g = {
        .bricks = *d, .digits = fixed_draw(&digits, d, sum), .sum = sum, .scale = 1e-9f};
    g.y = guard_alloc(&gy, d->rows * sizeof(float), sizeof(float), rng_below(2));
    g.bricks.catalogue = NULL;
    g.bricks.panel = NULL;
    float *expected = malloc(d->rows * sizeof(float)), *scale = malloc(d->rows * sizeof(float));
    fill_floats(g.y, d->rows, FILL_PLAIN);
    for (uint32_t r = 0; r < d->rows; r++) {
        double total = 0.0, before = d->accumulate ? g.y[r] : 0.0;
        for (uint32_t c = 0; c < d->columns; c++)
            total += brick_integer(&b, r, c) *
                     fixed_value(g.digits, c % brick_columns * fixed_padded(d) + c / brick_columns);
        total *= (double)g.scale * d->catalogue_step * (d->row_scale ? d->row_scale[r] : 1.0f);
        expected[r] = (float)(before + total);
        scale[r] = (float)(fabs(before) + fabs(total));
    }
    tested->run(&g);
    check_compare(entry, g.y, expected, scale, d->rows);
    if (tested->faster(&g.bricks) && entry->isa[0] == 'c')
        check_fail("the reference is no faster way");
    free(expected);
    free(scale);
    guard_free(&digits);
    guard_free(&gy);
    brick_close(&b);
}

static void decode_s8_case(const struct check_entry *entry, uint32_t brick_rows,
                           uint32_t brick_columns, uint32_t index_bits, uint32_t nr, uint32_t kg)
{
    const struct kern_brick_decode_s8_variant *tested = entry->tested;
    struct brick_case b = {0};
    struct kern_brick_decode *d = &b.args;
    struct guard gpanel, gsum, gbytes, gstored;

    brick_draw(&b, brick_rows, brick_columns, index_bits, 32, (rng_below(2) << 2) | 8);
    d->tile_brick_columns += (uint32_t)d->first_index / d->tile_brick_rows;
    d->columns += (uint32_t)d->first_index / d->tile_brick_rows * brick_columns;
    d->first_index = 0;
    struct kern_brick_decode_s8 s = {.bricks = *d, .nr = nr, .kg = kg};
    const bool mapped = rng_below(2) || d->columns % kg;
    s.depth = (d->columns + (mapped ? rng_below(20) : 0) + kg - 1) / kg * kg;
    uint32_t *stored =
        guard_alloc(&gstored, s.depth * sizeof(uint32_t), sizeof(uint32_t), GUARD_END);
    const size_t blocks = (d->rows + nr - 1) / nr, bytes = blocks * s.depth * nr;
    int8_t *expected = malloc(bytes);
    int32_t *sum = calloc(d->rows, sizeof(*sum));
    for (uint32_t k = 0; k < s.depth; k++) /* columns backwards, and none between them */
        stored[k] = k % 7 == 6 ? UINT32_MAX : k < d->columns ? d->columns - 1 - k : d->columns;
    s.stored = mapped ? stored : NULL;
    s.bytes = guard_alloc(&gbytes, KERN_S8_BYTES(d->columns), 64, GUARD_END);
    s.panel = guard_alloc(&gpanel, bytes, 64, GUARD_END);
    s.sum = guard_alloc(&gsum, d->rows * sizeof(int32_t), sizeof(int32_t), GUARD_END);
    s.bricks.catalogue = NULL;
    s.bricks.panel = NULL;
    tested->run(&s);
    memcpy(expected, s.panel, bytes); /* rows that there are not may hold anything */
    for (uint32_t r = 0; r < d->rows; r++)
        for (uint32_t k = 0; k < s.depth; k++) {
            const uint32_t c = mapped ? stored[k] : k;
            const int8_t integer = c < d->columns ? (int8_t)brick_integer(&b, r, c) : 0;
            expected[((size_t)(r / nr) * s.depth / kg + k / kg) * nr * kg + r % nr * kg + k % kg] =
                integer;
            sum[r] += integer;
        }
    if (memcmp(s.panel, expected, bytes) != 0)
        check_fail("%u k's by %u, nr %u, %s: the panel differs", s.depth, kg, nr,
                   mapped ? "mapped" : "in order");
    if (memcmp(s.sum, sum, d->rows * sizeof(*sum)) != 0)
        check_fail("sums differ");
    free(expected);
    free(sum);
    guard_free(&gpanel);
    guard_free(&gsum);
    guard_free(&gbytes);
    guard_free(&gstored);
    brick_close(&b);
}

void check_brick_decode_s8(const struct check_entry *entry)
{
    static const uint32_t widths[] = {1, 2, 3, 9, 16};

    for (uint32_t rows = 1; rows <= 16; rows++)
        for (uint32_t i = 0; i < 12; i++)
            decode_s8_case(entry, rows, widths[i % 5], rng_below(9), i & 1 ? 32 : 8, i & 2 ? 4 : 8);
    for (uint32_t bits = 1; bits <= 8; bits++) /* the blocks that GEMMs have */
        for (uint32_t i = 0; i < 360; i++)
            decode_s8_case(entry, 1u << i % 4, widths[rng_below(5)], bits, i % 3 ? 8 : 32,
                           i % 3 == 2 ? 8 : 4);
}

void check_brick_gemv_fixed(const struct check_entry *entry)
{
    for (uint32_t rows = 1; rows <= 16; rows++)
        for (uint32_t columns = 1; columns <= 4; columns++)
            gemv_fixed_case(entry, rows, columns, rng_below(9));
    for (uint32_t bits = 1; bits <= 8; bits++)
        for (uint32_t i = 0; i < 120; i++)
            gemv_fixed_case(entry, 1u << i % 3, i % 2 ? 1 : 1 + rng_below(16), bits);
}

static void fixed_digits_case(const struct check_entry *entry, uint32_t count, enum guard_side side)
{
    const size_t bytes = (size_t)(count + KERN_FIXED_BLOCK - 1) / KERN_FIXED_BLOCK *
                         KERN_FIXED_BLOCK * KERN_FIXED_DIGITS;
    int32_t sum[KERN_FIXED_DIGITS], expected_sum[KERN_FIXED_DIGITS];
    struct guard in, out;
    float *x = guard_alloc(&in, count * sizeof(float), sizeof(float), side);
    int8_t *expected = malloc(bytes);
    struct kern_fixed_digits f = {.count = count, .x = x, .sum = expected_sum, .digits = expected};

    fill_floats(x, count, FILL_PLAIN);
    x[rng_below(count)] = rng_below(2) ? 1.0f : -1.0f; /* the ends of the range */
    f.inverse = rng_below(2) ? KERN_FIXED_MAX : 0.5f + (float)rng_below(40000);
    (*(const kern_fixed_digits_fn *)entry->reference)(&f);
    for (uint32_t c = 0; c < count; c++)
        if (fixed_value(expected, c) != (double)rintf(x[c] * f.inverse))
            check_fail("%g is %.0f", (double)x[c], fixed_value(expected, c));
    f.sum = sum;
    f.digits = guard_alloc(&out, bytes, KERN_FIXED_BLOCK, side);
    check_case("%u numbers, by %g, side %d", count, (double)f.inverse, side);
    (*(const kern_fixed_digits_fn *)entry->tested)(&f);
    if (memcmp(f.digits, expected, bytes) != 0)
        check_fail("digits differ");
    if (memcmp(sum, expected_sum, sizeof(sum)) != 0)
        check_fail("sums differ");
    free(expected);
    guard_free(&in);
    guard_free(&out);
}

void check_fixed_digits(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 16; variant++)
            fixed_digits_case(entry, check_sizes[s] ? check_sizes[s] : 1, variant & 1);
}
