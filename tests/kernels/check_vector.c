/* Drivers of what works element by element, of reductions, softmax and transposition. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float rows_magnitude(const float *x, size_t n)
{
    double total = 0.0;

    for (size_t i = 0; i < n; i++)
        total += fabsf(x[i]);
    return (float)total;
}

/* What enters the result of a unary kernel: see kernels.def. */
static float unary_scale(const char *name, float x, float expected, float lo, float hi)
{
    if (!strcmp(name, "hard_sigmoid_f32"))
        return fabsf(lo * x) + fabsf(hi);
    if (!strcmp(name, "hard_swish_f32"))
        return fabsf(lo * x) + fabsf(hi);
    if (!strcmp(name, "silu_f32") || !strcmp(name, "gelu_f32"))
        return fabsf(x);
    return fabsf(expected);
}

/* Numbers that cross every range of an activation. */
static void fill_unary(float *x, size_t n, enum fill fill)
{
    fill_floats(x, n, fill);
    for (size_t i = 0; i < n && fill == FILL_PLAIN; i++)
        x[i] *= rng_below(2) ? 8.0f : 110.0f;
}

static void unary_case(const struct check_entry *entry, size_t n, enum fill fill,
                       enum guard_side side, bool in_place)
{
    kern_unary_f32_fn run = *(const kern_unary_f32_fn *)entry->tested;
    kern_unary_f32_fn reference = *(const kern_unary_f32_fn *)entry->reference;
    float lo = rng_below(2) ? -0.2f : 0.1f, hi = rng_below(2) ? INFINITY : 0.5f;
    struct guard in, out;
    float *x = guard_alloc(&in, n * sizeof(float), sizeof(float), side);
    float *y = guard_alloc(&out, n * sizeof(float), sizeof(float), side);
    float expected[2048], scale[2048];

    if (!strcmp(entry->name, "hard_sigmoid_f32"))
        lo = 0.2f, hi = 0.5f;
    if (!strcmp(entry->name, "hard_swish_f32"))
        lo = rng_below(2) ? 1.0f : -0.7f, hi = rng_below(2) ? 0.0f : 0.3f;
    fill_unary(x, n, fill);
    reference(n, x, expected, lo, hi);
    for (size_t i = 0; i < n; i++)
        scale[i] = unary_scale(entry->name, x[i], expected[i], lo, hi);
    check_case("n %zu, fill %d, side %d, in place %d", n, fill, side, in_place);
    if (in_place)
        memcpy(y, x, n * sizeof(float));
    run(n, in_place ? y : x, y, lo, hi);
    check_compare(entry, y, expected, scale, n);
    guard_free(&in);
    guard_free(&out);
}

void check_unary(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 4 * FILL_KINDS; variant++)
            unary_case(entry, check_sizes[s], variant / 4, variant & 1, variant & 2);
    for (int i = 0; i < 8; i++)
        unary_case(entry, 2048, FILL_PLAIN, GUARD_END, false);
}

static void binary_case(const struct check_entry *entry, size_t n, enum fill fill, int variant)
{
    kern_binary_f32_fn run = *(const kern_binary_f32_fn *)entry->tested;
    kern_binary_f32_fn reference = *(const kern_binary_f32_fn *)entry->reference;
    size_t ystep = variant & 1;
    enum guard_side side = (variant >> 1) & 1;
    int place = variant >> 2; /* the output: its own, x, y */
    float lo = rng_below(2) ? -INFINITY : -0.5f, hi = rng_below(2) ? INFINITY : 0.5f;
    struct guard gx, gy, gout;
    size_t y_elems = ystep ? n : 1;
    float *x = guard_alloc(&gx, n * sizeof(float), sizeof(float), side);
    float *y = guard_alloc(&gy, y_elems * sizeof(float), sizeof(float), side);
    float *own = guard_alloc(&gout, n * sizeof(float), sizeof(float), side);
    float *out = place == 0 ? own : place == 1 ? x : y;
    float expected[256];

    fill_floats(x, n, fill);
    fill_floats(y, y_elems, fill);
    reference(n, x, y, ystep, expected, lo, hi);
    check_case("n %zu, fill %d, ystep %zu, side %d, place %d", n, fill, ystep, side, place);
    run(n, x, y, ystep, out, lo, hi);
    check_compare(entry, out, expected, NULL, n);
    guard_free(&gx);
    guard_free(&gy);
    guard_free(&gout);
}

void check_binary(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (enum fill fill = 0; fill < FILL_KINDS; fill++)
            for (int variant = 0; variant < 12; variant++)
                if (variant < 8 || (variant & 1)) /* in place of a scalar y: no room */
                    binary_case(entry, check_sizes[s], fill, variant);
}

static void reduce_case(const struct check_entry *entry, size_t n, enum fill fill,
                        enum guard_side side)
{
    kern_reduce_f32_fn run = *(const kern_reduce_f32_fn *)entry->tested;
    kern_reduce_f32_fn reference = *(const kern_reduce_f32_fn *)entry->reference;
    struct guard in;
    float *x = guard_alloc(&in, n * sizeof(float), sizeof(float), side);

    fill_floats(x, n, fill);
    float expected = reference(n, x), scale = rows_magnitude(x, n);
    check_case("n %zu, fill %d, side %d", n, fill, side);
    float got = run(n, x);
    check_compare(entry, &got, &expected, &scale, 1);
    guard_free(&in);
}

void check_reduce(const struct check_entry *entry)
{
    reduce_case(entry, 0, FILL_PLAIN, GUARD_END);
    for (int round = 0; round < 8; round++)
        for (size_t s = 0; s < check_size_count; s++)
            for (int variant = 0; variant < 2 * FILL_KINDS; variant++)
                reduce_case(entry, check_sizes[s], variant / 2, variant & 1);
    reduce_case(entry, 100003, FILL_PLAIN, GUARD_END);
    reduce_case(entry, 100003, FILL_WIDE, GUARD_START);
}

static void softmax_case(const struct check_entry *entry, size_t n, enum fill fill, int variant)
{
    kern_softmax_f32_fn run = *(const kern_softmax_f32_fn *)entry->tested;
    kern_softmax_f32_fn reference = *(const kern_softmax_f32_fn *)entry->reference;
    struct guard in, own;
    float *x = guard_alloc(&in, n * sizeof(float), sizeof(float), variant & 1);
    float *out = guard_alloc(&own, n * sizeof(float), sizeof(float), variant & 1);
    float expected[2048], scale[2048], most = -INFINITY;

    fill_unary(x, n, fill);
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, x[i]);
    reference(n, x, expected);
    /* The distance to the maximum is rounded before it goes into the exponential. */
    for (size_t i = 0; i < n; i++)
        scale[i] = expected[i] * (1.0f + (expected[i] > 0.0f ? most - x[i] : 0.0f));
    check_case("n %zu, fill %d, variant %d", n, fill, variant);
    run(n, x, variant & 2 ? x : out);
    check_compare(entry, variant & 2 ? x : out, expected, scale, n);
    guard_free(&in);
    guard_free(&own);
}

void check_softmax(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 4 * FILL_KINDS; variant++)
            softmax_case(entry, check_sizes[s], variant / 4, variant & 3);
    softmax_case(entry, 1000, FILL_PLAIN, 0);
    softmax_case(entry, 2048, FILL_WIDE, 1);
}

static void colsum_case(const struct check_entry *entry, size_t rows, size_t columns,
                        enum fill fill, enum guard_side side)
{
    kern_colsum_f32_fn run = *(const kern_colsum_f32_fn *)entry->tested;
    kern_colsum_f32_fn reference = *(const kern_colsum_f32_fn *)entry->reference;
    size_t stride = columns + rng_below(3), elems = (rows - 1) * stride + columns;
    struct guard in, out;
    float *x = guard_alloc(&in, elems * sizeof(float), sizeof(float), side);
    float *sums = guard_alloc(&out, columns * sizeof(float), sizeof(float), side);
    float *magnitude = malloc(elems * sizeof(float));
    float expected[128], scale[128];

    fill_floats(x, elems, fill);
    for (size_t i = 0; i < elems; i++)
        magnitude[i] = fabsf(x[i]);
    reference(rows, columns, x, stride, expected);
    reference(rows, columns, magnitude, stride, scale);
    check_case("%zu rows, %zu columns, stride %zu, fill %d, side %d", rows, columns, stride, fill,
               side);
    run(rows, columns, x, stride, sums);
    check_compare(entry, sums, expected, scale, columns);
    free(magnitude);
    guard_free(&in);
    guard_free(&out);
}

void check_colsum(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 2 * FILL_KINDS; variant++) {
            colsum_case(entry, 1 + rng_below(9), check_sizes[s], variant / 2, variant & 1);
            colsum_case(entry, 49, check_sizes[s], variant / 2, variant & 1);
        }
    colsum_case(entry, 20001, 19, FILL_PLAIN, GUARD_END);
}

static void transpose_case(const struct check_entry *entry, size_t rows, size_t columns,
                           enum guard_side side)
{
    kern_transpose_f32_fn run = *(const kern_transpose_f32_fn *)entry->tested;
    size_t x_stride = columns + rng_below(3), out_stride = rows + rng_below(3);
    size_t in_elems = (rows - 1) * x_stride + columns, elems = (columns - 1) * out_stride + rows;
    struct guard in, own;
    float *x = guard_alloc(&in, in_elems * sizeof(float), sizeof(float), side);
    float *out = guard_alloc(&own, elems * sizeof(float), sizeof(float), side);
    float *expected = malloc(elems * sizeof(float));

    fill_floats(x, in_elems, FILL_EXTREME);
    fill_floats(out, elems, FILL_PLAIN);
    memcpy(expected, out, elems * sizeof(float));
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            expected[c * out_stride + r] = x[r * x_stride + c];
    check_case("%zu rows of stride %zu, %zu columns to stride %zu, side %d", rows, x_stride,
               columns, out_stride, side);
    run(rows, columns, x, x_stride, out, out_stride);
    check_compare(entry, out, expected, NULL, elems);
    free(expected);
    guard_free(&in);
    guard_free(&own);
}

void check_transpose(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (size_t t = 0; t < check_size_count; t++)
            transpose_case(entry, check_sizes[s], check_sizes[t], (s + t) & 1);
}
