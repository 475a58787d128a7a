/* Bench of trellis_decode. */
#include "tests/kernels/bench.h"
#include "tests/kernels/trellis_tables.h"

#include <stdlib.h>

static void run_trellis_decode(const void *entry, void *context)
{
    (*(const kern_trellis_decode_fn *)entry)(context);
}

/* A tile of 32 rows and 576 columns, random bytes; rate in bytes of decoded fp32. */
static void trellis_shape(const struct check_entry *entry, uint32_t lanes, uint32_t peak,
                          bool rotated)
{
    enum { ROWS = 32, COLUMNS = 576, TAPS = 9 };
    uint32_t table[2 * TAPS], *slots;
    uint8_t *stream = malloc((size_t)ROWS * COLUMNS * 2);
    float *scale = bench_floats(ROWS), *rotation = bench_floats(TAPS * TAPS);
    struct kern_trellis_decode d = {.stream = stream,
                                    .stream_bytes = (size_t)ROWS * COLUMNS * 2,
                                    .lanes = lanes,
                                    .rows = ROWS,
                                    .columns = COLUMNS,
                                    .taps = TAPS,
                                    .table = table,
                                    .row_scale = scale,
                                    .rotation = rotated ? rotation : NULL,
                                    .panel = bench_floats((size_t)ROWS * COLUMNS),
                                    .panel_nr = 32,
                                    .panel_k = COLUMNS};
    char shape[64];

    slots = malloc(2 * KERN_TRELLIS_SLOTS * sizeof(*slots));
    for (uint32_t i = 0; i < 2; i++)
        trellis_table(slots + i * KERN_TRELLIS_SLOTS, 6, peak);
    for (uint32_t i = 0; i < 2 * TAPS; i++)
        table[i] = i % 2 * KERN_TRELLIS_SLOTS;
    for (size_t i = 0; i < d.stream_bytes; i++)
        stream[i] = (uint8_t)rng_next();
    d.slots = slots;
    snprintf(shape, sizeof(shape), "%u lanes, p(0) > %u %%%s", lanes,
             100 * peak / KERN_TRELLIS_SLOTS, rotated ? ", rotated" : "");
    bench_report(entry, shape, "GB/s", (double)ROWS * COLUMNS * sizeof(float), run_trellis_decode,
                 &d);
    free(slots);
    free(stream);
    free(scale);
    free(rotation);
    free(d.panel);
}

void bench_trellis_decode(const struct check_entry *entry)
{
    for (uint32_t lanes = 1; lanes <= KERN_TRELLIS_MAX_LANES; lanes *= 2)
        trellis_shape(entry, lanes, 2048, false);
    trellis_shape(entry, 32, 512, false);
    trellis_shape(entry, 32, 3600, false);
    trellis_shape(entry, 32, 2048, true);
}
