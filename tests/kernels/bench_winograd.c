/* Benches of Winograd's transforms; rates in bytes of what they read and write. */
#include "tests/kernels/bench.h"

#include <math.h>
#include <stdlib.h>

enum {
    POSITIONS = KERN_WINOGRAD_IN * KERN_WINOGRAD_IN,
    PIXELS = KERN_WINOGRAD_OUT * KERN_WINOGRAD_OUT,
    TAPS = 9,
    CHANNELS = 64,
};

static void run_input(const void *entry, void *context)
{
    (*(const kern_winograd_input_f32_fn *)entry)(context);
}

void bench_winograd_input(const struct check_entry *entry)
{
    const float *pointers[POSITIONS];
    float *x = bench_floats(POSITIONS * CHANNELS), *out = bench_floats(POSITIONS * CHANNELS);
    struct kern_winograd_input_f32 w = {pointers, CHANNELS, out, CHANNELS};

    for (int p = 0; p < POSITIONS; p++)
        pointers[p] = x + (size_t)p * CHANNELS;
    bench_report(entry, "64 channels", "GB/s", 2.0 * POSITIONS * CHANNELS * sizeof(float),
                 run_input, &w);
    free(x);
    free(out);
}

static void run_weights(const void *entry, void *context)
{
    (*(const kern_winograd_weights_f32_fn *)entry)(context);
}

void bench_winograd_weights(const struct check_entry *entry)
{
    enum { ELEMS = 64 * 16, PAD = 16 }; /* the pad keeps positions off the same sets of a cache */
    float *taps = bench_floats(TAPS * ELEMS), *out = bench_floats(POSITIONS * (ELEMS + PAD));
    struct kern_winograd_weights_f32 w = {taps, ELEMS, ELEMS, out, ELEMS + PAD};

    bench_report(entry, "64 channels, nr 16", "GB/s",
                 (double)(TAPS + POSITIONS) * ELEMS * sizeof(float), run_weights, &w);
    free(taps);
    free(out);
}

static void run_few(const void *entry, void *context)
{
    (*(const kern_winograd_few_f32_fn *)entry)(context);
}

/* Its rate is that of the multiplications of the products: a GEMM's of stored weights. */
void bench_winograd_few(const struct check_entry *entry)
{
    enum { MANY = 256, NR = 32, TILES = KERN_WINOGRAD_FEW, PAD = 16 }; /* as above */
    float *input = bench_floats(POSITIONS * TILES * MANY),
          *taps = bench_floats(TAPS * (MANY * NR + PAD));
    float *products = bench_floats(POSITIONS * TILES * NR);
    struct kern_winograd_few_f32 w = {.tiles = TILES,
                                      .channels = MANY,
                                      .elems = NR,
                                      .input = input,
                                      .taps = taps,
                                      .tap_stride = MANY * NR + PAD,
                                      .products = products,
                                      .product_stride = TILES * NR};

    bench_report(entry, "4 tiles, 256 channels, nr 32", "GFLOP/s",
                 2.0 * POSITIONS * TILES * MANY * NR, run_few, &w);
    free(input);
    free(taps);
    free(products);
}

static void run_output(const void *entry, void *context)
{
    (*(const kern_winograd_output_f32_fn *)entry)(context);
}

void bench_winograd_output(const struct check_entry *entry)
{
    float *products = bench_floats(POSITIONS * CHANNELS), *out = bench_floats(PIXELS * CHANNELS);
    float *bias = bench_floats(CHANNELS), *pixels[PIXELS];
    struct kern_winograd_output_f32 w = {.products = products,
                                         .product_stride = CHANNELS,
                                         .channels = CHANNELS,
                                         .bias = bias,
                                         .out = pixels,
                                         .lo = 0.0f,
                                         .hi = INFINITY};

    for (int p = 0; p < PIXELS; p++)
        pixels[p] = out + (size_t)p * CHANNELS;
    bench_report(entry, "64 channels", "GB/s",
                 (double)(POSITIONS + PIXELS) * CHANNELS * sizeof(float), run_output, &w);
    free(products);
    free(out);
    free(bias);
}
