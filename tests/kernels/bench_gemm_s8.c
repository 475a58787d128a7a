/* Benches of the integer GEMM and of what quantises its input. */
#include "tests/kernels/bench.h"

#include <math.h>
#include <stdlib.h>

enum { ELEMS = 16384 };

struct s8_bench {
    struct kern_gemm_s8 args;
    uint32_t pixels;
    const uint8_t **rows; /* [blocks][taps][mr] */
    uint8_t *x;
    int8_t *panel;
    int32_t *start;
    float *scale;
};

static void *s8_memory(size_t bytes)
{
    unsigned char *memory = (unsigned char *)bench_floats(bytes / sizeof(float) + 1);

    for (size_t i = 0; i < bytes; i++)
        memory[i] = (unsigned char)rng_below(KERN_S8_MAX);
    return memory;
}

static void run_gemm_s8(const void *entry, void *context)
{
    const struct kern_gemm_s8_variant *v = entry;
    const struct s8_bench *b = context;
    struct kern_gemm_s8 args = b->args;

    for (uint32_t p = 0; p < b->pixels; p += v->mr) {
        args.m = b->pixels - p < v->mr ? b->pixels - p : v->mr;
        args.a = b->rows + (size_t)p * args.taps;
        args.c = b->args.c + (ptrdiff_t)p * args.c_stride;
        v->run(&args);
    }
}

static void s8_open(struct s8_bench *b, const struct kern_gemm_s8_variant *v, uint32_t taps,
                    uint32_t channels, uint32_t pixels, uint32_t n)
{
    uint32_t blocks = (pixels + v->mr - 1) / v->mr;
    uint32_t padded = (channels + v->kg - 1) / v->kg * v->kg;

    b->pixels = pixels;
    b->x = s8_memory((size_t)(pixels + taps) * padded);
    b->panel = s8_memory((size_t)taps * padded * v->nr);
    b->start = calloc(v->nr, sizeof(*b->start));
    b->scale = bench_floats(v->nr);
    b->rows = malloc((size_t)blocks * taps * v->mr * sizeof(*b->rows));
    for (uint32_t p = 0; p < blocks * v->mr; p++)
        for (uint32_t t = 0; t < taps; t++)
            b->rows[((size_t)(p / v->mr) * taps + t) * v->mr + p % v->mr] =
                b->x + (size_t)((p < pixels ? p : pixels - 1) + t) * padded;
    b->args = (struct kern_gemm_s8){.n = n < v->nr ? n : v->nr,
                                    .taps = taps,
                                    .channels = padded,
                                    .panel = b->panel,
                                    .start = b->start,
                                    .scale = b->scale,
                                    .bias = b->scale,
                                    .c = bench_floats((size_t)pixels * v->nr),
                                    .c_stride = v->nr,
                                    .lo = 0.0f,
                                    .hi = INFINITY};
}

static void s8_close(struct s8_bench *b)
{
    free(b->rows);
    free(b->x);
    free(b->panel);
    free(b->start);
    free(b->scale);
    free(b->args.c);
}

void bench_gemm_s8(const struct check_entry *entry)
{
    static const struct {
        uint32_t taps, channels, pixels;
    } shapes[] = {{9, 64, 196}, {9, 256, 196}, {1, 256, 196}, {9, 16, 1024}, {1, 24, 784}};
    const struct kern_gemm_s8_variant *tested = entry->tested, *reference = entry->reference;
    char shape[64];

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        uint32_t taps = shapes[i].taps, channels = shapes[i].channels, pixels = shapes[i].pixels;
        struct s8_bench ours, theirs;
        s8_open(&ours, tested, taps, channels, pixels, tested->nr);
        s8_open(&theirs, reference, taps, channels, pixels, tested->nr);
        double work = 2.0 * taps * channels * pixels * tested->nr;
        double share = (double)theirs.args.n / tested->nr;
        snprintf(shape, sizeof(shape), "%u taps, %u channels, %u pixels", taps, channels, pixels);
        bench_report_share(entry, shape, "GOP/s", work, share, run_gemm_s8, &ours, &theirs);
        s8_close(&ours);
        s8_close(&theirs);
    }
}

struct quantize_bench {
    float *x, range[2];
    uint8_t *out;
};

static void run_range(const void *entry, void *context)
{
    struct quantize_bench *b = context;
    (*(const kern_range_f32_fn *)entry)(ELEMS, b->x, b->range);
}

static void run_quantize(const void *entry, void *context)
{
    const struct quantize_bench *b = context;
    struct kern_quantize_u7 q = {.rows = 1,
                                 .channels = ELEMS,
                                 .x = b->x,
                                 .inverse = 63.0f,
                                 .zero = 64,
                                 .out = b->out,
                                 .out_stride = ELEMS};
    (*(const kern_quantize_u7_fn *)entry)(&q);
}

static void bench_quantized(const struct check_entry *entry, const char *shape, bench_run run)
{
    struct quantize_bench b = {.x = bench_floats(ELEMS), .out = malloc(ELEMS)};

    bench_report(entry, shape, "GB/s", 4.0 * ELEMS, run, &b);
    free(b.x);
    free(b.out);
}

void bench_range(const struct check_entry *entry)
{
    bench_quantized(entry, "64 KiB", run_range);
}

void bench_quantize(const struct check_entry *entry)
{
    bench_quantized(entry, "64 KiB in, 16 KiB out", run_quantize);
}
