/* Benches of the GEMM in half precision and of what halves its input. */
#include "codec/base/half.h"
#include "tests/kernels/bench.h"

#include <math.h>
#include <stdlib.h>

enum { ELEMS = 16384 };

struct half_bench {
    struct kern_gemm_f16 args;
    uint32_t pixels;
    const uint16_t **rows; /* [blocks][taps][mr] */
    uint16_t *x, *panel;
};

static uint16_t *half_memory(size_t count)
{
    uint16_t *memory = (uint16_t *)(void *)bench_floats(count / 2 + 1);

    for (size_t i = 0; i < count; i++)
        memory[i] = lego_half_from_float(rng_float() - 0.5f);
    return memory;
}

static void run_gemm_f16(const void *entry, void *context)
{
    const struct kern_gemm_f16_variant *v = entry;
    const struct half_bench *b = context;
    struct kern_gemm_f16 args = b->args;

    for (uint32_t p = 0; p < b->pixels; p += v->mr) {
        args.m = b->pixels - p < v->mr ? b->pixels - p : v->mr;
        args.a = b->rows + (size_t)p * args.taps;
        args.c = b->args.c + (ptrdiff_t)p * args.c_stride;
        v->run(&args);
    }
}

static void half_open(struct half_bench *b, const struct kern_gemm_f16_variant *v, uint32_t taps,
                      uint32_t channels, uint32_t pixels, uint32_t n)
{
    const uint32_t blocks = (pixels + v->mr - 1) / v->mr;

    b->pixels = pixels;
    b->x = half_memory((size_t)(pixels + taps) * channels);
    b->panel = half_memory((size_t)taps * channels * v->nr);
    b->rows = malloc((size_t)blocks * v->mr * taps * sizeof(*b->rows));
    if (!b->rows)
        exit(2);
    for (uint32_t p = 0; p < blocks * v->mr; p++)
        for (uint32_t t = 0; t < taps; t++)
            b->rows[((size_t)(p / v->mr) * taps + t) * v->mr + p % v->mr] =
                b->x + (size_t)((p < pixels ? p : pixels - 1) + t) * channels;
    b->args = (struct kern_gemm_f16){.n = n < v->nr ? n : v->nr,
                                     .taps = taps,
                                     .channels = channels,
                                     .panel = b->panel,
                                     .c = bench_floats((size_t)pixels * v->nr),
                                     .c_stride = v->nr,
                                     .lo = 0.0f,
                                     .hi = INFINITY};
}

static void half_close(struct half_bench *b)
{
    free(b->rows);
    free(b->x);
    free(b->panel);
    free(b->args.c);
}

void bench_gemm_f16(const struct check_entry *entry)
{
    static const struct {
        uint32_t taps, channels, pixels;
    } shapes[] = {{9, 64, 196}, {9, 256, 196}, {1, 256, 196}, {9, 16, 1024}, {1, 24, 784}};
    const struct kern_gemm_f16_variant *tested = entry->tested, *reference = entry->reference;
    char shape[64];

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const uint32_t taps = shapes[i].taps, channels = shapes[i].channels;
        const uint32_t pixels = shapes[i].pixels;
        struct half_bench ours, theirs;

        half_open(&ours, tested, taps, channels, pixels, tested->nr);
        half_open(&theirs, reference, taps, channels, pixels, tested->nr);
        snprintf(shape, sizeof(shape), "%u taps, %u channels, %u pixels", taps, channels, pixels);
        bench_report_share(entry, shape, "GFLOP/s", 2.0 * taps * channels * pixels * tested->nr,
                           (double)theirs.args.n / tested->nr, run_gemm_f16, &ours, &theirs);
        half_close(&ours);
        half_close(&theirs);
    }
}

static void run_halve(const void *entry, void *context)
{
    (*(const kern_halve_f32_fn *)entry)(context);
}

void bench_halve(const struct check_entry *entry)
{
    float *x = bench_floats(ELEMS);
    struct kern_halve_f32 h = {
        .rows = 1, .channels = ELEMS, .x = x, .out = half_memory(ELEMS), .out_stride = ELEMS};

    bench_report(entry, "16384 floats", "GB/s", ELEMS * sizeof(float), run_halve, &h);
    free(x);
    free(h.out);
}
