/* Drivers of the kernels that resize pictures and turn colours into a model's input. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 40, MAX_WIDTH = 150, MAX_OUTPUTS = 40, MAX_TAPS = 64, SUM = 1 << 14 };

/* `used` weights with the sum of 1, some of them 0, then zeros. */
static void fill_weights(int16_t *weights, uint32_t taps, uint32_t used)
{
    uint32_t left = SUM;
    memset(weights, 0, taps * sizeof(*weights));
    for (uint32_t t = 0; t + 1 < used; t++) {
        uint32_t share = rng_below(4) ? rng_below(2 * left / used + 1) : 0;
        weights[t] = (int16_t)share;
        left -= share;
    }
    weights[used - 1] = (int16_t)left;
}

static uint8_t random_pixel(void)
{
    return rng_below(3) ? (uint8_t)rng_below(256) : rng_below(2) ? 255 : 0;
}

static void compare_fixed(const int16_t *got, const int16_t *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != expected[i]) {
            check_fail("output %zu is %d, expected %d", i, got[i], expected[i]);
            return;
        }
    }
}

static void rows_case(const struct check_entry *entry, size_t n, uint32_t taps)
{
    kern_resize_rows_u8_fn run = *(const kern_resize_rows_u8_fn *)entry->tested;
    kern_resize_rows_u8_fn reference = *(const kern_resize_rows_u8_fn *)entry->reference;
    struct guard grows, gout;
    enum guard_side side = rng_below(2);
    int16_t weights[MAX_ROWS], expected[MAX_WIDTH];
    size_t stride = n + rng_below(20), bytes = (taps - 1) * stride + n;
    uint8_t *rows = guard_alloc(&grows, bytes, 1, side);
    int16_t *out = guard_alloc(&gout, n * sizeof(*out), sizeof(*out), side);
    for (size_t i = 0; i < bytes; i++)
        rows[i] = random_pixel();
    fill_weights(weights, taps, taps);
    reference(n, taps, weights, rows, stride, expected);
    check_case("n %zu, taps %u, stride %zu, side %d", n, taps, stride, side);
    run(n, taps, weights, rows, stride, out);
    compare_fixed(out, expected, n);
    guard_free(&grows);
    guard_free(&gout);
}

void check_resize_rows(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++) {
        if (check_sizes[s] == 0 || check_sizes[s] > MAX_WIDTH)
            continue;
        for (uint32_t taps = 1; taps <= MAX_ROWS; taps += taps < 4 ? 1 : 9)
            rows_case(entry, check_sizes[s], taps);
    }
}

static void columns_case(const struct check_entry *entry, uint32_t n, uint32_t taps)
{
    kern_resize_columns_i16_fn run = *(const kern_resize_columns_i16_fn *)entry->tested;
    kern_resize_columns_i16_fn reference = *(const kern_resize_columns_i16_fn *)entry->reference;
    struct guard gx, gout, gweights;
    enum guard_side side = rng_below(2);
    int16_t expected[MAX_OUTPUTS];
    uint32_t first[MAX_OUTPUTS], width = taps + 50;
    int16_t *x = guard_alloc(&gx, width * sizeof(*x), sizeof(*x), side);
    int16_t *weights = guard_alloc(&gweights, (size_t)n * taps * sizeof(*weights), 2, side);
    int16_t *out = guard_alloc(&gout, n * sizeof(*out), sizeof(*out), side);
    for (uint32_t i = 0; i < width; i++)
        x[i] = (int16_t)(random_pixel() * 128);
    for (uint32_t i = 0; i < n; i++) {
        first[i] = rng_below(51);
        fill_weights(weights + (size_t)i * taps, taps, 1 + rng_below(taps));
    }
    reference(n, taps, weights, first, x, expected);
    check_case("n %u, taps %u, side %d", n, taps, side);
    run(n, taps, weights, first, x, out);
    compare_fixed(out, expected, n);
    guard_free(&gx);
    guard_free(&gweights);
    guard_free(&gout);
}

void check_resize_columns(const struct check_entry *entry)
{
    for (uint32_t n = 1; n <= MAX_OUTPUTS; n += n < 18 ? 1 : 5)
        for (uint32_t taps = KERN_RESIZE_TAPS; taps <= MAX_TAPS; taps += KERN_RESIZE_TAPS)
            columns_case(entry, n, taps);
}

/* The groups of `used` taps that sum to 1, then zeros, into weights[2 * taps]. */
static void fill_resample_weights(int16_t *weights, uint32_t taps, uint32_t used)
{
    uint32_t left = 1 << KERN_RESAMPLE_BITS;
    memset(weights, 0, 2 * taps * sizeof(*weights));
    for (uint32_t t = 0; t < used; t++) {
        uint32_t share = t + 1 == used ? left : rng_below(4) ? rng_below(2 * left / used + 1) : 0;
        int16_t *group = weights + (t / KERN_RESAMPLE_TAPS) * 2 * KERN_RESAMPLE_TAPS;
        group[t % KERN_RESAMPLE_TAPS] = (int16_t)(share >> KERN_RESAMPLE_LOW);
        group[KERN_RESAMPLE_TAPS + t % KERN_RESAMPLE_TAPS] =
            (int16_t)(share & ((1 << KERN_RESAMPLE_LOW) - 1));
        left -= share;
    }
}

static void compare_bytes(const uint8_t *got, const uint8_t *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != expected[i]) {
            check_fail("output %zu is %d, expected %d", i, got[i], expected[i]);
            return;
        }
    }
}

static void across_case(const struct check_entry *entry, uint32_t n, uint32_t taps,
                        uint32_t channels, uint32_t rows)
{
    kern_resample_across_u8_fn run = *(const kern_resample_across_u8_fn *)entry->tested;
    kern_resample_across_u8_fn reference = *(const kern_resample_across_u8_fn *)entry->reference;
    struct guard gx, gout, gweights;
    enum guard_side side = rng_below(2);
    static uint8_t expected[9 * (3 * MAX_OUTPUTS + 4)];
    uint32_t first[MAX_OUTPUTS];
    struct kern_resample_u8 r = {
        .n = n, .channels = channels, .taps = taps, .first = first, .rows = rows};
    r.x_stride = (size_t)(taps + 50) * channels + rng_below(9);
    r.out_stride = (size_t)n * channels + rng_below(5);
    size_t bytes = r.x_stride * (rows - 1) + (size_t)(taps + 50) * channels + KERN_RESAMPLE_OVER;
    size_t out_bytes = r.out_stride * (rows - 1) + (size_t)n * channels;
    uint8_t *x = guard_alloc(&gx, bytes, 1, side);
    int16_t *weights = guard_alloc(&gweights, (size_t)2 * n * taps * sizeof(*weights), 2, side);
    uint8_t *out = guard_alloc(&gout, out_bytes, 1, side);
    for (size_t i = 0; i < bytes; i++)
        x[i] = random_pixel();
    for (uint32_t i = 0; i < n; i++) {
        first[i] = rng_below(51);
        fill_resample_weights(weights + (size_t)2 * i * taps, taps, 1 + rng_below(taps));
    }
    memset(out, 77, out_bytes);
    memset(expected, 77, sizeof(expected)); /* between rows nothing is written */
    r.x = x;
    r.weights = weights;
    r.out = expected;
    reference(&r);
    r.out = out;
    check_case("n %u, taps %u, channels %u, rows %u, side %d", n, taps, channels, rows, side);
    run(&r);
    compare_bytes(out, expected, out_bytes);
    guard_free(&gx);
    guard_free(&gweights);
    guard_free(&gout);
}

void check_resample_across(const struct check_entry *entry)
{
    for (uint32_t n = 1; n <= MAX_OUTPUTS; n += 13)
        for (uint32_t taps = KERN_RESAMPLE_TAPS; taps <= MAX_TAPS; taps += KERN_RESAMPLE_TAPS)
            for (uint32_t channels = 1; channels <= 3; channels += 2)
                across_case(entry, n, taps, channels, 1 + rng_below(9));
}

static void down_case(const struct check_entry *entry, size_t n, uint32_t taps)
{
    kern_resample_down_u8_fn run = *(const kern_resample_down_u8_fn *)entry->tested;
    kern_resample_down_u8_fn reference = *(const kern_resample_down_u8_fn *)entry->reference;
    struct guard grows, gout;
    enum guard_side side = rng_below(2);
    int16_t weights[2 * (MAX_ROWS + KERN_RESAMPLE_TAPS)];
    uint8_t expected[MAX_WIDTH];
    size_t stride = n + rng_below(20), bytes = (taps - 1) * stride + n;
    uint8_t *rows = guard_alloc(&grows, bytes, 1, side);
    uint8_t *out = guard_alloc(&gout, n, 1, side);
    for (size_t i = 0; i < bytes; i++)
        rows[i] = random_pixel();
    fill_resample_weights(weights, MAX_ROWS + KERN_RESAMPLE_TAPS, taps);
    reference(n, taps, weights, rows, stride, expected);
    check_case("n %zu, taps %u, stride %zu, side %d", n, taps, stride, side);
    run(n, taps, weights, rows, stride, out);
    compare_bytes(out, expected, n);
    guard_free(&grows);
    guard_free(&gout);
}

void check_resample_down(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++) {
        if (check_sizes[s] == 0 || check_sizes[s] > MAX_WIDTH)
            continue;
        for (uint32_t taps = 1; taps <= MAX_ROWS; taps += taps < 6 ? 1 : 9)
            down_case(entry, check_sizes[s], taps);
    }
}

/* Everything that a result is made of, without signs: what its tolerance is relative to. */
static float colour_magnitude(const struct kern_colour_f32 *c, uint32_t channel, size_t i)
{
    float sum = fabsf(c->offset[channel]);
    for (size_t k = 0; k < 3; k++)
        sum += fabsf(c->matrix[channel][k]) * (float)c->x[k][i] / 128;
    return sum * fabsf(c->scale[channel]) + fabsf(c->shift[channel]);
}

static void colour_case(const struct check_entry *entry, size_t n, uint32_t channels)
{
    kern_colour_f32_fn run = *(const kern_colour_f32_fn *)entry->tested;
    kern_colour_f32_fn reference = *(const kern_colour_f32_fn *)entry->reference;
    struct guard gx[3], gout[3];
    float expected[3][MAX_WIDTH], scale[MAX_WIDTH];
    enum guard_side side = rng_below(2);
    struct kern_colour_f32 c = {.n = n, .channels = channels};
    for (uint32_t k = 0; k < 3; k++) {
        int16_t *x = guard_alloc(&gx[k], n * sizeof(*x), sizeof(*x), side);
        for (size_t i = 0; i < n; i++)
            x[i] = (int16_t)(rng_below(4) ? rng_below(255 * 128 + 1) : rng_below(2) * 255 * 128);
        c.x[k] = x;
        c.out[k] = expected[k];
        c.offset[k] = 300 * rng_float();
        c.scale[k] = rng_float();
        c.shift[k] = rng_float();
        for (size_t j = 0; j < 3; j++)
            c.matrix[k][j] = 2 * rng_float();
    }
    reference(&c);
    check_case("n %zu, channels %u, side %d", n, channels, side);
    for (uint32_t k = 0; k < channels; k++)
        c.out[k] = guard_alloc(&gout[k], n * sizeof(float), sizeof(float), side);
    run(&c);
    for (uint32_t k = 0; k < channels; k++) {
        for (size_t i = 0; i < n; i++)
            scale[i] = colour_magnitude(&c, k, i);
        check_compare(entry, c.out[k], expected[k], scale, n);
        guard_free(&gout[k]);
    }
    for (uint32_t k = 0; k < 3; k++)
        guard_free(&gx[k]);
}

void check_colour(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++) {
        if (check_sizes[s] == 0 || check_sizes[s] > MAX_WIDTH)
            continue;
        for (uint32_t channels = 1; channels <= 3; channels += 2)
            colour_case(entry, check_sizes[s], channels);
    }
}
