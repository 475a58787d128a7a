/* Benches of windows, elementwise kernels and reductions, on data that fits L2. */
#include "tests/kernels/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMS = 16384 };

struct vectors {
    size_t n, rows, columns;
    float *x, *y, *out;
};

static struct vectors vectors_open(void)
{
    return (struct vectors){.n = ELEMS,
                            .rows = 128,
                            .columns = 128,
                            .x = bench_floats(ELEMS),
                            .y = bench_floats(ELEMS),
                            .out = bench_floats(ELEMS)};
}

static void vectors_close(struct vectors *v)
{
    free(v->x);
    free(v->y);
    free(v->out);
}

static void run_unary(const void *entry, void *context)
{
    const struct vectors *v = context;
    (*(const kern_unary_f32_fn *)entry)(v->n, v->x, v->out, 0.1f, 0.5f);
}

static void run_binary(const void *entry, void *context)
{
    const struct vectors *v = context;
    (*(const kern_binary_f32_fn *)entry)(v->n, v->x, v->y, 1, v->out, -INFINITY, INFINITY);
}

static void run_reduce(const void *entry, void *context)
{
    struct vectors *v = context;
    v->out[0] = (*(const kern_reduce_f32_fn *)entry)(v->n, v->x);
}

static void run_softmax(const void *entry, void *context)
{
    const struct vectors *v = context;
    (*(const kern_softmax_f32_fn *)entry)(1000, v->x, v->out);
}

static void run_colsum(const void *entry, void *context)
{
    const struct vectors *v = context;
    (*(const kern_colsum_f32_fn *)entry)(v->rows, v->columns, v->x, v->columns, v->out);
}

static void run_transpose(const void *entry, void *context)
{
    const struct vectors *v = context;
    (*(const kern_transpose_f32_fn *)entry)(v->rows, v->columns, v->x, v->columns, v->out, v->rows);
}

static void bench_vectors(const struct check_entry *entry, const char *shape, double bytes,
                          bench_run run)
{
    struct vectors v = vectors_open();

    bench_report(entry, shape, "GB/s", bytes, run, &v);
    vectors_close(&v);
}

void bench_unary(const struct check_entry *entry)
{
    bench_vectors(entry, "64 KiB in, 64 KiB out", 8.0 * ELEMS, run_unary);
}

void bench_binary(const struct check_entry *entry)
{
    bench_vectors(entry, "2 x 64 KiB in, 64 KiB out", 12.0 * ELEMS, run_binary);
}

void bench_reduce(const struct check_entry *entry)
{
    bench_vectors(entry, "64 KiB", 4.0 * ELEMS, run_reduce);
}

void bench_softmax(const struct check_entry *entry)
{
    bench_vectors(entry, "1000 classes", 8.0 * 1000, run_softmax);
}

void bench_colsum(const struct check_entry *entry)
{
    bench_vectors(entry, "128 x 128", 4.0 * ELEMS, run_colsum);
}

void bench_transpose(const struct check_entry *entry)
{
    bench_vectors(entry, "128 x 128", 8.0 * ELEMS, run_transpose);
}

/* An image of 14 x 14 with a border, stride 1. */
struct window_bench {
    struct kern_dwconv_f32 dwconv;
    struct kern_pool_f32 pool;
    float *x, *weights, *scale, *out;
    const float **a;
};

enum { SIDE = 14, MAX_SIDE = SIDE + 6 };

static void window_open(struct window_bench *w, uint32_t kernel, uint32_t channels)
{
    uint32_t pitch = SIDE + kernel - 1, taps = kernel * kernel, n = 0;

    w->x = bench_floats((size_t)MAX_SIDE * MAX_SIDE * channels);
    w->weights = bench_floats((size_t)taps * channels);
    w->scale = bench_floats(SIDE * SIDE);
    w->out = bench_floats((size_t)SIDE * SIDE * channels);
    w->a = malloc((size_t)SIDE * SIDE * taps * sizeof(*w->a));
    for (uint32_t y = 0; y < SIDE; y++)
        for (uint32_t x = 0; x < SIDE; x++)
            for (uint32_t t = 0; t < taps; t++)
                w->a[n++] = w->x + (size_t)((y + t / kernel) * pitch + x + t % kernel) * channels;
    w->dwconv = (struct kern_dwconv_f32){SIDE * SIDE, channels, taps,   w->a,     taps, w->weights,
                                         channels,    NULL,     w->out, channels, 0.0f, 6.0f};
    w->pool = (struct kern_pool_f32){SIDE * SIDE, channels, taps,     w->a,      taps,
                                     w->scale,    w->out,   channels, -INFINITY, INFINITY};
}

static void window_close(struct window_bench *w)
{
    free(w->x);
    free(w->weights);
    free(w->scale);
    free(w->out);
    free(w->a);
}

static void run_dwconv(const void *entry, void *context)
{
    (*(const kern_dwconv_f32_fn *)entry)(&((struct window_bench *)context)->dwconv);
}

static void run_pool(const void *entry, void *context)
{
    (*(const kern_pool_f32_fn *)entry)(&((struct window_bench *)context)->pool);
}

static void bench_windows(const struct check_entry *entry, uint32_t kernel, uint32_t channels,
                          double operations, bench_run run)
{
    struct window_bench w;
    char shape[64];

    window_open(&w, kernel, channels);
    snprintf(shape, sizeof(shape), "%ux%u, 14x14, %u channels", kernel, kernel, channels);
    bench_report(entry, shape, "GFLOP/s", operations * SIDE * SIDE * channels * kernel * kernel,
                 run, &w);
    window_close(&w);
}

void bench_dwconv(const struct check_entry *entry)
{
    bench_windows(entry, 3, 96, 2.0, run_dwconv);
    bench_windows(entry, 3, 24, 2.0, run_dwconv);
    bench_windows(entry, 5, 96, 2.0, run_dwconv);
    bench_windows(entry, 7, 96, 2.0, run_dwconv);
}

void bench_pool_max(const struct check_entry *entry)
{
    bench_windows(entry, 3, 64, 1.0, run_pool);
}

void bench_pool_average(const struct check_entry *entry)
{
    bench_windows(entry, 3, 64, 1.0, run_pool);
}
