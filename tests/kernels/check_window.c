/* Drivers of depthwise convolution and pooling. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TAPS = 49, MAX_PIXELS = 7, MAX_CHANNELS = 128, MAX_OUT = MAX_PIXELS * 132 };

/* Input pixels and the pointers to them, with a second set to the magnitudes of the first. */
struct window {
    struct guard pixels;
    float *x, *magnitudes;
    const float *a[MAX_PIXELS * MAX_TAPS], *magnitude_a[MAX_PIXELS * MAX_TAPS];
    uint32_t a_step;
    ptrdiff_t out_stride;
    size_t out_elems;
    enum guard_side side;
    struct guard out_guard;
    float *out;
    float expected[MAX_OUT], scale[MAX_OUT];
};

static void window_open(struct window *w, uint32_t pixels, uint32_t taps, uint32_t channels,
                        enum fill fill)
{
    uint32_t count = taps + 4;

    w->side = rng_below(2);
    w->x =
        guard_alloc(&w->pixels, (size_t)count * channels * sizeof(float), sizeof(float), w->side);
    w->magnitudes = malloc((size_t)count * channels * sizeof(float));
    fill_floats(w->x, (size_t)count * channels, fill);
    for (size_t i = 0; i < (size_t)count * channels; i++)
        w->magnitudes[i] = fabsf(w->x[i]);
    /* As for stride 1: neighbouring pixels share taps; also steps with none shared, with gaps. */
    w->a_step = rng_below(2) ? taps : rng_below(taps) + 1;
    if (taps == 9 && rng_below(2))
        w->a_step = 3 + 3 * rng_below(2); /* strides 1 and 2 of 3x3 */
    for (size_t i = 0; i < (size_t)(pixels - 1) * w->a_step + taps; i++) {
        size_t pixel = rng_below(count);
        w->a[i] = w->x + pixel * channels;
        w->magnitude_a[i] = w->magnitudes + pixel * channels;
    }
    w->out_stride = channels + rng_below(4);
    w->out_elems = (size_t)(pixels - 1) * w->out_stride + channels;
    w->out = guard_alloc(&w->out_guard, w->out_elems * sizeof(float), sizeof(float), w->side);
    fill_floats(w->out, w->out_elems, FILL_PLAIN);
    memcpy(w->expected, w->out, w->out_elems * sizeof(float)); /* gaps stay */
}

static void window_close(struct window *w)
{
    guard_free(&w->pixels);
    guard_free(&w->out_guard);
    free(w->magnitudes);
}

static void dwconv_case(const struct check_entry *entry, uint32_t pixels, uint32_t taps,
                        uint32_t channels, enum fill fill)
{
    kern_dwconv_f32_fn run = *(const kern_dwconv_f32_fn *)entry->tested;
    kern_dwconv_f32_fn reference = *(const kern_dwconv_f32_fn *)entry->reference;
    struct window w;
    struct guard gweights, gbias;
    uint32_t weight_stride = channels + rng_below(3);
    size_t weights_elems = (size_t)(taps - 1) * weight_stride + channels;
    float magnitudes[MAX_TAPS * 132], bias_magnitudes[MAX_CHANNELS];

    window_open(&w, pixels, taps, channels, fill);
    float *weights = guard_alloc(&gweights, weights_elems * sizeof(float), sizeof(float), w.side);
    float *bias = guard_alloc(&gbias, channels * sizeof(float), sizeof(float), w.side);
    fill_floats(weights, weights_elems, FILL_PLAIN);
    fill_floats(bias, channels, FILL_PLAIN);
    bool relu = rng_below(2);
    struct kern_dwconv_f32 d = {.pixels = pixels,
                                .channels = channels,
                                .taps = taps,
                                .a = w.a,
                                .a_step = w.a_step,
                                .weights = weights,
                                .weight_stride = weight_stride,
                                .bias = rng_below(3) ? bias : NULL,
                                .out = w.expected,
                                .out_stride = w.out_stride,
                                .lo = relu ? 0.0f : -INFINITY,
                                .hi = relu ? 6.0f : INFINITY};
    reference(&d);
    struct kern_dwconv_f32 magnitude = d;
    for (size_t i = 0; i < weights_elems; i++)
        magnitudes[i] = fabsf(weights[i]);
    for (size_t i = 0; i < channels; i++)
        bias_magnitudes[i] = fabsf(bias[i]);
    magnitude.a = w.magnitude_a;
    magnitude.weights = magnitudes;
    magnitude.bias = bias_magnitudes;
    magnitude.out = w.scale;
    magnitude.lo = -INFINITY;
    magnitude.hi = INFINITY;
    memset(w.scale, 0, sizeof(w.scale));
    reference(&magnitude);
    check_case("pixels %u, taps %u, channels %u, fill %d, a_step %u, side %d", pixels, taps,
               channels, fill, w.a_step, w.side);
    d.out = w.out;
    run(&d);
    check_compare(entry, w.out, w.expected, w.scale, w.out_elems);
    guard_free(&gweights);
    guard_free(&gbias);
    window_close(&w);
}

void check_dwconv(const struct check_entry *entry)
{
    static const uint32_t taps[] = {1, 2, 3, 5, 9, 10, 25, 49};

    for (size_t s = 0; s < check_size_count; s++)
        for (size_t t = 0; t < sizeof(taps) / sizeof(taps[0]); t++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                dwconv_case(entry, 1 + rng_below(MAX_PIXELS), taps[t], check_sizes[s], fill);
}

static void pool_case(const struct check_entry *entry, uint32_t taps, uint32_t channels,
                      enum fill fill, bool average)
{
    kern_pool_f32_fn run = *(const kern_pool_f32_fn *)entry->tested;
    kern_pool_f32_fn reference = *(const kern_pool_f32_fn *)entry->reference;
    uint32_t pixels = 1 + rng_below(MAX_PIXELS);
    struct window w;
    float scale[MAX_PIXELS];
    bool relu = rng_below(2);

    window_open(&w, pixels, taps, channels, fill);
    for (uint32_t p = 0; p < pixels; p++)
        scale[p] = 1.0f / (float)(1 + rng_below(taps));
    struct kern_pool_f32 d = {.pixels = pixels,
                              .channels = channels,
                              .taps = taps,
                              .a = w.a,
                              .a_step = w.a_step,
                              .scale = average ? scale : NULL,
                              .out = w.expected,
                              .out_stride = w.out_stride,
                              .lo = relu ? 0.0f : -INFINITY,
                              .hi = relu ? 0.75f : INFINITY};
    reference(&d);
    struct kern_pool_f32 magnitude = d;
    magnitude.a = w.magnitude_a;
    magnitude.out = w.scale;
    magnitude.lo = -INFINITY;
    magnitude.hi = INFINITY;
    memset(w.scale, 0, sizeof(w.scale));
    reference(&magnitude);
    check_case("pixels %u, taps %u, channels %u, fill %d, a_step %u, side %d", pixels, taps,
               channels, fill, w.a_step, w.side);
    d.out = w.out;
    run(&d);
    check_compare(entry, w.out, w.expected, w.scale, w.out_elems);
    window_close(&w);
}

static void check_pool(const struct check_entry *entry, bool average)
{
    static const uint32_t taps[] = {1, 2, 4, 9, 49};

    for (size_t s = 0; s < check_size_count; s++)
        for (size_t t = 0; t < sizeof(taps) / sizeof(taps[0]); t++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                pool_case(entry, taps[t], check_sizes[s], fill, average);
}

void check_pool_max(const struct check_entry *entry)
{
    check_pool(entry, false);
}

void check_pool_average(const struct check_entry *entry)
{
    check_pool(entry, true);
}
