/* Drivers of what sums in one order: the reference's bits. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { MAX_SIDE = 160 };

/* A factor or the result: `rows` rows of `columns`, a few elements of something else between. */
struct matrix {
    struct guard guard;
    void *data;
    size_t stride, elems;
};

/* Of floats, or of doubles with the same values. */
static struct matrix matrix_open(size_t rows, size_t columns, size_t size, enum fill fill,
                                 enum guard_side side)
{
    static float values[MAX_SIDE * (MAX_SIDE + 4)];
    struct matrix m = {.stride = columns + rng_below(4)};

    m.elems = (rows - 1) * m.stride + columns;
    m.data = guard_alloc(&m.guard, m.elems * size, size, side);
    fill_floats(values, m.elems, fill);
    for (size_t i = 0; i < m.elems; i++) {
        if (size == sizeof(float))
            ((float *)m.data)[i] = values[i];
        else
            ((double *)m.data)[i] = (double)values[i] / 3; /* more bits than a float has */
    }
    return m;
}

static void compare_doubles(const double *got, const double *expected, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != expected[i] && !(isnan(got[i]) && isnan(expected[i]))) {
            check_fail("element %zu of %zu is %a, not %a", i, n, got[i], expected[i]);
            return;
        }
    }
}

static void run_single(const struct check_entry *entry, struct kern_gemm_exact_f32 g,
                       const struct matrix *c)
{
    static float expected[MAX_SIDE * (MAX_SIDE + 4)];

    memcpy(expected, c->data, c->elems * sizeof(float)); /* what lies between the rows stays */
    g.c = expected;
    (*(const kern_gemm_exact_f32_fn *)entry->reference)(&g);
    g.c = c->data;
    (*(const kern_gemm_exact_f32_fn *)entry->tested)(&g);
    check_compare(entry, c->data, expected, NULL, c->elems);
}

static void run_double(const struct check_entry *entry, struct kern_gemm_exact_f64 g,
                       const struct matrix *c)
{
    static double expected[MAX_SIDE * (MAX_SIDE + 4)];

    memcpy(expected, c->data, c->elems * sizeof(double));
    g.c = expected;
    (*(const kern_gemm_exact_f64_fn *)entry->reference)(&g);
    g.c = c->data;
    (*(const kern_gemm_exact_f64_fn *)entry->tested)(&g);
    compare_doubles(c->data, expected, c->elems);
}

static void exact_case(const struct check_entry *entry, size_t size, size_t m, size_t n,
                       size_t depth, enum fill fill)
{
    const enum guard_side side = rng_below(2);
    struct matrix a = matrix_open(depth, m, size, fill, side);
    struct matrix b = matrix_open(depth, n, size, fill, side);
    struct matrix c = matrix_open(m, n, size, FILL_PLAIN, side);
    const bool accumulate = rng_below(2);

    check_case("m %zu, n %zu, depth %zu, fill %d, accumulate %d, side %d", m, n, depth, fill,
               accumulate, side);
    if (size == sizeof(float))
        run_single(entry,
                   (struct kern_gemm_exact_f32){.m = m,
                                                .n = n,
                                                .depth = depth,
                                                .a = a.data,
                                                .a_stride = a.stride,
                                                .b = b.data,
                                                .b_stride = b.stride,
                                                .c_stride = c.stride,
                                                .accumulate = accumulate},
                   &c);
    else
        run_double(entry,
                   (struct kern_gemm_exact_f64){.m = m,
                                                .n = n,
                                                .depth = depth,
                                                .a = a.data,
                                                .a_stride = a.stride,
                                                .b = b.data,
                                                .b_stride = b.stride,
                                                .c_stride = c.stride,
                                                .accumulate = accumulate},
                   &c);
    guard_free(&a.guard);
    guard_free(&b.guard);
    guard_free(&c.guard);
}

static void exact_cases(const struct check_entry *entry, size_t size)
{
    for (size_t s = 0; s < check_size_count; s++) {
        const size_t n = check_sizes[s] < MAX_SIDE ? check_sizes[s] : MAX_SIDE;

        for (size_t m = 1; m <= 14; m++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                exact_case(entry, size, m, n, 1 + rng_below(40), fill);
    }
}

void check_gemm_exact(const struct check_entry *entry)
{
    exact_cases(entry, sizeof(float));
}

void check_gemm_exact_double(const struct check_entry *entry)
{
    exact_cases(entry, sizeof(double));
}

static void nearest_case(const struct check_entry *entry, uint32_t entries, uint32_t dim,
                         enum fill fill, bool equal)
{
    static float expected[MAX_SIDE + 4];
    const enum guard_side side = rng_below(2);
    struct matrix table = matrix_open(dim, entries, sizeof(float), fill, side);
    struct matrix x = matrix_open(1, dim, sizeof(float), FILL_PLAIN, side);
    struct matrix distance = matrix_open(1, entries, sizeof(float), FILL_PLAIN, side);

    /* Entries that repeat others: the first of equals is meant. */
    for (size_t i = 0; equal && i < table.elems; i++)
        ((float *)table.data)[i] = (float)rng_below(2);
    check_case("entries %u, dim %u, fill %d, equal %d, side %d", entries, dim, fill, equal, side);
    const uint32_t want = (*(const kern_nearest_f32_fn *)entry->reference)(
        dim, x.data, entries, table.data, table.stride, expected);
    const uint32_t got = (*(const kern_nearest_f32_fn *)entry->tested)(
        dim, x.data, entries, table.data, table.stride, distance.data);
    if (got != want)
        check_fail("entry %u, not %u", got, want);
    check_compare(entry, distance.data, expected, NULL, entries);
    guard_free(&table.guard);
    guard_free(&x.guard);
    guard_free(&distance.guard);
}

void check_nearest(const struct check_entry *entry)
{
    static const uint32_t dims[] = {1, 2, 3, 4, 8, 9, 16};

    for (size_t s = 0; s < check_size_count; s++)
        for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                nearest_case(entry, check_sizes[s], dims[d], fill, rng_below(2));
}
