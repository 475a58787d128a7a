/* Benches of the picture kernels, on what 1080p to 224x224 asks of them. */
#include "tests/kernels/bench.h"

#include <stdlib.h>

enum { WIDTH = 1920, ROWS = 10, OUTPUTS = 224, TAPS = 32 };

static void *zeroed(size_t count, size_t size)
{
    void *data = calloc(count, size);
    if (!data)
        abort();
    return data;
}

struct rows_context {
    int16_t weights[ROWS];
    uint8_t *rows;
    int16_t *out;
};

static void run_rows(const void *entry, void *context)
{
    struct rows_context *c = context;
    (*(const kern_resize_rows_u8_fn *)entry)(WIDTH, ROWS, c->weights, c->rows, WIDTH, c->out);
}

void bench_resize_rows(const struct check_entry *entry)
{
    struct rows_context c = {.rows = zeroed(WIDTH, ROWS), .out = zeroed(WIDTH, sizeof(*c.out))};
    bench_report(entry, "10 rows of 1920", "GB/s", (double)WIDTH * ROWS, run_rows, &c);
    free(c.rows);
    free(c.out);
}

struct columns_context {
    int16_t *weights, *x, *out;
    uint32_t first[OUTPUTS];
};

static void run_columns(const void *entry, void *context)
{
    struct columns_context *c = context;
    (*(const kern_resize_columns_i16_fn *)entry)(OUTPUTS, TAPS, c->weights, c->first, c->x, c->out);
}

void bench_resize_columns(const struct check_entry *entry)
{
    struct columns_context c = {.weights = zeroed((size_t)OUTPUTS * TAPS, sizeof(int16_t)),
                                .x = zeroed(WIDTH + TAPS, sizeof(int16_t)),
                                .out = zeroed(OUTPUTS, sizeof(int16_t))};
    for (uint32_t i = 0; i < OUTPUTS; i++)
        c.first[i] = i * WIDTH / OUTPUTS;
    bench_report(entry, "1920 to 224", "GB/s", (double)WIDTH * sizeof(int16_t), run_columns, &c);
    free(c.weights);
    free(c.x);
    free(c.out);
}

enum { ACROSS_TAPS = 20 };

static void run_across(const void *entry, void *context)
{
    (*(const kern_resample_across_u8_fn *)entry)(context);
}

void bench_resample_across(const struct check_entry *entry)
{
    static uint32_t first[OUTPUTS];
    int16_t *weights = zeroed((size_t)2 * OUTPUTS * ACROSS_TAPS, sizeof(*weights));
    uint8_t *x = zeroed((size_t)ROWS * 3 * WIDTH + 3 * ACROSS_TAPS + KERN_RESAMPLE_OVER, 1);
    uint8_t *out = zeroed((size_t)ROWS * 3 * OUTPUTS, 1);
    struct kern_resample_u8 r = {.n = OUTPUTS,
                                 .channels = 3,
                                 .taps = ACROSS_TAPS,
                                 .weights = weights,
                                 .first = first,
                                 .rows = ROWS,
                                 .x = x,
                                 .x_stride = 3 * WIDTH,
                                 .out = out,
                                 .out_stride = 3 * OUTPUTS};
    for (uint32_t i = 0; i < OUTPUTS; i++)
        first[i] = i * WIDTH / OUTPUTS;
    bench_report(entry, "10 rows of 1920 to 224", "GB/s", 3.0 * WIDTH * ROWS, run_across, &r);
    free(weights);
    free(x);
    free(out);
}

struct down_context {
    int16_t weights[24];
    uint8_t *rows, *out;
};

static void run_down(const void *entry, void *context)
{
    struct down_context *c = context;
    (*(const kern_resample_down_u8_fn *)entry)(3 * OUTPUTS, ROWS, c->weights, c->rows, 3 * OUTPUTS,
                                               c->out);
}

void bench_resample_down(const struct check_entry *entry)
{
    struct down_context c = {.rows = zeroed((size_t)3 * OUTPUTS, ROWS),
                             .out = zeroed((size_t)3 * OUTPUTS, 1)};
    bench_report(entry, "10 rows of 672", "GB/s", 3.0 * OUTPUTS * ROWS, run_down, &c);
    free(c.rows);
    free(c.out);
}

static void run_colour(const void *entry, void *context)
{
    (*(const kern_colour_f32_fn *)entry)(context);
}

void bench_colour(const struct check_entry *entry)
{
    int16_t *x = zeroed((size_t)3 * OUTPUTS, sizeof(*x));
    float *out = zeroed((size_t)3 * OUTPUTS, sizeof(*out));
    struct kern_colour_f32 c = {.n = OUTPUTS, .channels = 3};
    for (size_t k = 0; k < 3; k++) {
        c.x[k] = x + k * OUTPUTS;
        c.out[k] = out + k * OUTPUTS;
        c.matrix[k][k] = 1.0f;
    }
    bench_report(entry, "224 pixels", "GB/s", 3.0 * OUTPUTS * (sizeof(int16_t) + sizeof(float)),
                 run_colour, &c);
    free(x);
    free(out);
}
