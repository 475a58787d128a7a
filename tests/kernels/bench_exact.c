/* Benches of what sums in one order, on the shapes of calibration and clustering. */
#include "tests/kernels/bench.h"

#include <stdlib.h>

static const size_t shapes[][3] = {{64, 256, 256}, {16, 256, 144}, {64, 64, 256}, {10, 8, 64}};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void run_single(const void *entry, void *context)
{
    (*(const kern_gemm_exact_f32_fn *)entry)(context);
}

static void run_double(const void *entry, void *context)
{
    (*(const kern_gemm_exact_f64_fn *)entry)(context);
}

void bench_gemm_exact(const struct check_entry *entry)
{
    char shape[64];

    for (size_t i = 0; i < SHAPES; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], depth = shapes[i][2];
        float *a = bench_floats(depth * m), *b = bench_floats(depth * (n + 16));
        float *c = bench_floats(m * n);
        struct kern_gemm_exact_f32 g = {.m = m,
                                        .n = n,
                                        .depth = depth,
                                        .a = a,
                                        .a_stride = m,
                                        .b = b,
                                        .b_stride = n + 16,
                                        .c = c,
                                        .c_stride = n};

        snprintf(shape, sizeof(shape), "m %zu, n %zu, depth %zu", m, n, depth);
        bench_report(entry, shape, "GFLOP/s", 2.0 * (double)(m * n * depth), run_single, &g);
        free(a);
        free(b);
        free(c);
    }
}

static double *doubles(size_t count)
{
    float *values = bench_floats(count);
    double *wide = malloc(count * sizeof(*wide));

    for (size_t i = 0; wide && i < count; i++)
        wide[i] = (double)values[i];
    free(values);
    if (!wide)
        abort();
    return wide;
}

void bench_gemm_exact_double(const struct check_entry *entry)
{
    char shape[64];

    for (size_t i = 0; i < SHAPES; i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], depth = shapes[i][2];
        double *a = doubles(depth * m), *b = doubles(depth * (n + 8)), *c = doubles(m * n);
        struct kern_gemm_exact_f64 g = {.m = m,
                                        .n = n,
                                        .depth = depth,
                                        .a = a,
                                        .a_stride = m,
                                        .b = b,
                                        .b_stride = n + 8,
                                        .c = c,
                                        .c_stride = n};

        snprintf(shape, sizeof(shape), "m %zu, n %zu, depth %zu", m, n, depth);
        bench_report(entry, shape, "GFLOP/s", 2.0 * (double)(m * n * depth), run_double, &g);
        free(a);
        free(b);
        free(c);
    }
}

enum { ENTRIES = 256, VECTORS = 64 };

struct clustering {
    uint32_t dim;
    const float *x, *table;
    float *distance;
};

static void run_nearest(const void *entry, void *context)
{
    const struct clustering *c = context;

    for (uint32_t i = 0; i < VECTORS; i++)
        (*(const kern_nearest_f32_fn *)entry)(c->dim, c->x + i * c->dim, ENTRIES, c->table, ENTRIES,
                                              c->distance);
}

void bench_nearest(const struct check_entry *entry)
{
    static const uint32_t dims[] = {1, 4, 9};
    char shape[64];

    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
        const uint32_t dim = dims[i];
        float *x = bench_floats(VECTORS * dim), *table = bench_floats(ENTRIES * dim);
        float *distance = bench_floats(ENTRIES);
        struct clustering c = {.dim = dim, .x = x, .table = table, .distance = distance};

        snprintf(shape, sizeof(shape), "dim %u, %d entries", dim, ENTRIES);
        bench_report(entry, shape, "GFLOP/s", 3.0 * VECTORS * ENTRIES * dim, run_nearest, &c);
        free(x);
        free(table);
        free(distance);
    }
}
