/* Benches of what weights go through: decoding, packing, GEMM. */
#include "tests/kernels/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void run_brick_decode(const void *entry, void *context)
{
    (*(const kern_brick_decode_fn *)entry)(context);
}

enum { TILE_ROWS = 32, DECODED_COLUMNS = 576, GEMV_COLUMNS = 4096 };

/* What the bricks of a tile lie in. */
struct tile {
    float *catalogue;
    int8_t *integers;
    uint8_t *stream;
};

/* A tile of random bricks; catalogues of up to 256 entries are of integers, as in most files. */
static struct kern_brick_decode tile_make(uint32_t rows, uint32_t columns, uint32_t bits,
                                          uint32_t tile_columns, struct tile *ret_tile)
{
    const size_t area = (size_t)rows * columns, entries = (size_t)1 << bits;
    const size_t bytes = (size_t)TILE_ROWS * tile_columns / area * bits / 8 + 32;

    *ret_tile = (struct tile){
        .catalogue = bench_floats(entries * area + 16),
        .integers = (int8_t *)bench_floats(area * KERN_CATALOGUE_S8 / sizeof(float)),
        .stream = (uint8_t *)bench_floats((bytes + 3) / sizeof(float)),
    };
    for (size_t i = 0; i < area * KERN_CATALOGUE_S8; i++)
        ret_tile->integers[i] = (int8_t)rng_next();
    for (size_t i = 0; i < bytes; i++)
        ret_tile->stream[i] = (uint8_t)rng_next();
    return (struct kern_brick_decode){
        .stream = ret_tile->stream,
        .index_bits = bits,
        .brick_rows = rows,
        .brick_columns = columns,
        .tile_brick_rows = TILE_ROWS / rows,
        .tile_brick_columns = tile_columns / columns,
        .rows = TILE_ROWS,
        .columns = tile_columns,
        .catalogue = ret_tile->catalogue,
        .entries = (uint32_t)entries,
        .catalogue_s8 = entries <= KERN_CATALOGUE_S8 ? ret_tile->integers : NULL,
        .catalogue_step = 0.01f,
    };
}

static void tile_free(struct tile *tile)
{
    free(tile->catalogue);
    free(tile->integers);
    free(tile->stream);
}

/* A tile of 576 columns; rate in bytes of decoded fp32. */
static void decode_shape(const struct check_entry *entry, uint32_t rows, uint32_t columns,
                         uint32_t bits, uint32_t nr, bool scaled)
{
    struct tile tile;
    struct kern_brick_decode d = tile_make(rows, columns, bits, DECODED_COLUMNS, &tile);
    float *scale = bench_floats(TILE_ROWS);
    char shape[64];

    d.row_scale = scaled ? scale : NULL;
    d.panel_nr = nr;
    d.panel_k = DECODED_COLUMNS;
    d.panel = bench_floats((size_t)TILE_ROWS * DECODED_COLUMNS);
    snprintf(shape, sizeof(shape), "%ux%u, %u bits, nr %u%s", rows, columns, bits, nr,
             scaled ? ", row scales" : "");
    bench_report(entry, shape, "GB/s", (double)TILE_ROWS * DECODED_COLUMNS * sizeof(float),
                 run_brick_decode, &d);
    free(scale);
    free(d.panel);
    tile_free(&tile);
}

void bench_brick_decode(const struct check_entry *entry)
{
    static const struct {
        uint32_t rows, columns, bits, nr;
        bool scaled;
    } shapes[] = {
        {4, 4, 8, 32, false},  {4, 4, 8, 16, false}, {4, 4, 8, 8, false},  {4, 4, 5, 32, false},
        {4, 4, 11, 32, false}, {4, 4, 8, 32, true},  {1, 1, 4, 32, false}, {1, 1, 4, 8, false},
        {1, 1, 8, 32, false},  {1, 1, 4, 32, true},  {2, 1, 8, 32, false}, {2, 1, 6, 32, false},
        {2, 1, 6, 32, true},   {4, 1, 8, 32, false}, {4, 1, 8, 16, false}, {8, 1, 8, 32, false},
        {4, 2, 8, 32, false},  {1, 2, 8, 32, false}, {1, 4, 8, 32, false}, {1, 9, 8, 32, false},
        {1, 4, 4, 32, false},  {2, 2, 8, 32, false}, {8, 8, 8, 32, false}, {3, 3, 8, 32, false},
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        decode_shape(entry, shapes[i].rows, shapes[i].columns, shapes[i].bits, shapes[i].nr,
                     shapes[i].scaled);
}

static void run_brick_decode_s8(const void *entry, void *context)
{
    ((const struct kern_brick_decode_s8_variant *)entry)->run(context);
}

/* As decode_shape(), into blocks as the ISA's gemm_s8 has them; rate in bytes of integers. */
static void decode_s8_shape(const struct check_entry *entry, uint32_t rows, uint32_t columns,
                            uint32_t bits, bool mapped)
{
    struct tile tile;
    struct kern_brick_decode_s8 s = {.bricks =
                                         tile_make(rows, columns, bits, DECODED_COLUMNS, &tile),
                                     .depth = DECODED_COLUMNS,
                                     .nr = strcmp(entry->isa, "dotprod") == 0 ? 8 : 32,
                                     .kg = 4};
    uint32_t stored[DECODED_COLUMNS];
    int32_t sum[TILE_ROWS];
    char shape[64];

    for (uint32_t k = 0; k < DECODED_COLUMNS; k++)
        stored[k] = k % (DECODED_COLUMNS / columns) * columns + k / (DECODED_COLUMNS / columns);
    s.stored = mapped ? stored : NULL;
    s.bytes = (int8_t *)bench_floats(KERN_S8_BYTES(DECODED_COLUMNS) / sizeof(float));
    s.panel = (int8_t *)bench_floats((size_t)TILE_ROWS * DECODED_COLUMNS / sizeof(float));
    s.sum = sum;
    snprintf(shape, sizeof(shape), "%ux%u, %u bits%s", rows, columns, bits,
             mapped ? ", by a map" : "");
    bench_report(entry, shape, "GB/s", (double)TILE_ROWS * DECODED_COLUMNS, run_brick_decode_s8,
                 &s);
    free(s.bytes);
    free(s.panel);
    tile_free(&tile);
}

void bench_brick_decode_s8(const struct check_entry *entry)
{
    static const struct {
        uint32_t rows, columns, bits;
        bool mapped;
    } shapes[] = {{4, 1, 8, false}, {4, 4, 8, false}, {2, 1, 6, false}, {2, 1, 8, false},
                  {1, 1, 4, false}, {1, 1, 6, false}, {8, 1, 8, false}, {1, 9, 8, true}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        decode_s8_shape(entry, shapes[i].rows, shapes[i].columns, shapes[i].bits, shapes[i].mapped);
}

static void run_brick_gemv(const void *entry, void *context)
{
    (*(const kern_brick_gemv_f32_fn *)entry)(context);
}

/* A tile of 4096 columns; rate in bytes of what fp32 weights would be. */
static void gemv_shape(const struct check_entry *entry, uint32_t rows, uint32_t columns,
                       uint32_t bits)
{
    struct tile tile;
    struct kern_brick_gemv_f32 g = {.bricks = tile_make(rows, columns, bits, GEMV_COLUMNS, &tile)};
    float *x = bench_floats(GEMV_COLUMNS);
    char shape[64];

    g.x = x;
    g.y = bench_floats(TILE_ROWS);
    snprintf(shape, sizeof(shape), "%ux%u, %u bits, 32x4096", rows, columns, bits);
    bench_report(entry, shape, "GB/s", (double)TILE_ROWS * GEMV_COLUMNS * sizeof(float),
                 run_brick_gemv, &g);
    free(x);
    free(g.y);
    tile_free(&tile);
}

void bench_brick_gemv(const struct check_entry *entry)
{
    static const uint32_t shapes[][3] = {{4, 4, 8}, {4, 1, 8}, {4, 2, 8}, {8, 1, 8}, {16, 1, 8},
                                         {1, 1, 4}, {1, 1, 2}, {1, 4, 8}, {2, 1, 8}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        gemv_shape(entry, shapes[i][0], shapes[i][1], shapes[i][2]);
}

static void run_brick_gemv_fixed(const void *entry, void *context)
{
    ((const struct kern_brick_gemv_fixed_variant *)entry)->run(context);
}

/* As gemv_shape(). */
static void gemv_fixed_shape(const struct check_entry *entry, uint32_t rows, uint32_t columns,
                             uint32_t bits)
{
    struct tile tile;
    int32_t sum[KERN_FIXED_DIGITS] = {0};
    float *digits = bench_floats(GEMV_COLUMNS); /* of four bytes each, they too */
    struct kern_brick_gemv_fixed g = {.bricks = tile_make(rows, columns, bits, GEMV_COLUMNS, &tile),
                                      .digits = (const int8_t *)digits,
                                      .sum = sum,
                                      .scale = 1e-9f};
    char shape[64];

    g.y = bench_floats(TILE_ROWS);
    snprintf(shape, sizeof(shape), "%ux%u, %u bits, 32x4096", rows, columns, bits);
    bench_report(entry, shape, "GB/s", (double)TILE_ROWS * GEMV_COLUMNS * sizeof(float),
                 run_brick_gemv_fixed, &g);
    free(digits);
    free(g.y);
    tile_free(&tile);
}

void bench_brick_gemv_fixed(const struct check_entry *entry)
{
    static const uint32_t shapes[][3] = {{4, 1, 8}, {4, 1, 6}, {4, 4, 8}, {2, 1, 8}, {2, 1, 6},
                                         {2, 1, 4}, {1, 1, 8}, {1, 1, 4}, {1, 1, 2}, {1, 4, 8}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        gemv_fixed_shape(entry, shapes[i][0], shapes[i][1], shapes[i][2]);
}

static void run_fixed_digits(const void *entry, void *context)
{
    (*(const kern_fixed_digits_fn *)entry)(context);
}

void bench_fixed_digits(const struct check_entry *entry)
{
    enum { COUNT = 4096 };
    int32_t sum[KERN_FIXED_DIGITS];
    float *x = bench_floats(COUNT), *digits = bench_floats(COUNT);
    struct kern_fixed_digits f = {
        .count = COUNT, .x = x, .inverse = 1e6f, .digits = (int8_t *)digits, .sum = sum};

    bench_report(entry, "16 KiB", "GB/s", COUNT * sizeof(float), run_fixed_digits, &f);
    free(x);
    free(digits);
}

static void run_brick_products(const void *entry, void *context)
{
    (*(const kern_brick_products_f32_fn *)entry)(context);
}

/* Eight columns of bricks. */
void bench_brick_products(const struct check_entry *entry)
{
    static const uint32_t shapes[][3] = {{4, 4, 256}, {4, 4, 16}, {8, 2, 256}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct kern_brick_products_f32 p = {.brick_rows = shapes[i][0],
                                            .brick_columns = shapes[i][1],
                                            .entries = shapes[i][2],
                                            .columns = 8};
        const size_t elems = (size_t)p.brick_rows * p.brick_columns * p.entries;
        float *catalogue = bench_floats(elems + 16);
        float *x = bench_floats((size_t)p.columns * p.brick_columns);
        char shape[64];

        p.catalogue = catalogue;
        p.x = x;
        p.products = bench_floats((size_t)p.columns * p.entries * p.brick_rows);
        snprintf(shape, sizeof(shape), "%ux%u, %u entries, 8 columns", p.brick_rows,
                 p.brick_columns, p.entries);
        bench_report(entry, shape, "GMAC/s", (double)elems * p.columns, run_brick_products, &p);
        free(catalogue);
        free(x);
        free(p.products);
    }
}

static void run_brick_sums(const void *entry, void *context)
{
    (*(const kern_brick_sums_f32_fn *)entry)(context);
}

/* A tile of 32 rows and eight columns of bricks; rate in bytes of what fp32 weights of four columns
 * a brick would be. */
void bench_brick_sums(const struct check_entry *entry)
{
    static const uint32_t shapes[][2] = {{4, 8}, {4, 4}, {8, 8}};
    enum { COLUMNS = 8, WIDTH = 4 };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct kern_brick_sums_f32 s = {.bricks = {.index_bits = shapes[i][1],
                                                   .brick_rows = shapes[i][0],
                                                   .brick_columns = WIDTH,
                                                   .tile_brick_rows = TILE_ROWS / shapes[i][0],
                                                   .tile_brick_columns = COLUMNS,
                                                   .entries = 1u << shapes[i][1]}};
        uint8_t stream[TILE_ROWS * COLUMNS + 16];
        float *products = bench_floats((size_t)COLUMNS * s.bricks.entries * s.bricks.brick_rows);
        char shape[64];

        for (size_t j = 0; j < sizeof(stream); j++)
            stream[j] = (uint8_t)rng_next();
        s.bricks.stream = stream;
        s.products = products;
        s.sums = bench_floats(TILE_ROWS);
        snprintf(shape, sizeof(shape), "%ux%u, %u bits, 32x32", s.bricks.brick_rows, WIDTH,
                 s.bricks.index_bits);
        bench_report(entry, shape, "GB/s", (double)TILE_ROWS * COLUMNS * WIDTH * sizeof(float),
                     run_brick_sums, &s);
        free(products);
        free(s.sums);
    }
}

static void run_panel_pack(const void *entry, void *context)
{
    (*(const kern_panel_pack_fn *)entry)(context);
}

void bench_panel_pack(const struct check_entry *entry)
{
    enum { ROWS = 64, CHANNELS = 64 };
    static const uint32_t taps[] = {9, 1};
    char shape[64];

    for (size_t i = 0; i < sizeof(taps) / sizeof(taps[0]); i++) {
        size_t elems = (size_t)ROWS * CHANNELS * taps[i];
        float *source = bench_floats(elems);
        struct kern_panel_pack p = {.source = source,
                                    .rows = ROWS,
                                    .channels = CHANNELS,
                                    .taps = taps[i],
                                    .row_stride = CHANNELS * taps[i],
                                    .channel_stride = taps[i],
                                    .tap_stride = 1,
                                    .panel = bench_floats(elems),
                                    .panel_nr = 16,
                                    .panel_k = CHANNELS * taps[i]};
        snprintf(shape, sizeof(shape), "%ux%ux%u, nr 16", ROWS, CHANNELS, taps[i]);
        bench_report(entry, shape, "GB/s", (double)elems * sizeof(float), run_panel_pack, &p);
        free(source);
        free(p.panel);
    }
}

/* A convolution of one panel: all blocks of `pixels` rows by `n` columns. */
struct gemm_bench {
    struct kern_gemm_f32 args;
    uint32_t pixels;
    const float **rows; /* [blocks][taps][mr] */
};

static void run_gemm(const void *entry, void *context)
{
    const struct kern_gemm_variant *v = entry;
    const struct gemm_bench *b = context;
    struct kern_gemm_f32 args = b->args;

    for (uint32_t p = 0; p < b->pixels; p += v->mr) {
        args.m = b->pixels - p < v->mr ? b->pixels - p : v->mr;
        args.a = b->rows + (size_t)p * args.taps;
        args.c = b->args.c + (ptrdiff_t)p * args.c_stride;
        v->run(&args);
    }
}

static void gemm_open(struct gemm_bench *b, const struct kern_gemm_variant *v, uint32_t taps,
                      uint32_t channels, uint32_t pixels, uint32_t n, const float *x)
{
    uint32_t blocks = (pixels + v->mr - 1) / v->mr;

    b->pixels = pixels;
    b->rows = malloc((size_t)blocks * taps * v->mr * sizeof(*b->rows));
    for (uint32_t p = 0; p < blocks * v->mr; p++)
        for (uint32_t t = 0; t < taps; t++)
            b->rows[((size_t)(p / v->mr) * taps + t) * v->mr + p % v->mr] =
                x + (size_t)((p < pixels ? p : pixels - 1) + t) * channels;
    b->args = (struct kern_gemm_f32){.n = n < v->nr ? n : v->nr,
                                     .taps = taps,
                                     .channels = channels,
                                     .panel = bench_floats((size_t)taps * channels * v->nr),
                                     .c = bench_floats((size_t)pixels * v->nr),
                                     .c_stride = v->nr,
                                     .lo = 0.0f,
                                     .hi = INFINITY};
}

static void gemm_close(struct gemm_bench *b)
{
    free(b->rows);
    free((float *)b->args.panel);
    free(b->args.c);
}

void bench_gemm(const struct check_entry *entry)
{
    static const struct {
        uint32_t taps, channels, pixels;
    } shapes[] = {{9, 64, 196}, {1, 256, 196}, {9, 16, 1024}, {9, 64, 64}, {1, 24, 784}};
    const struct kern_gemm_variant *tested = entry->tested, *reference = entry->reference;
    char shape[64];

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        uint32_t taps = shapes[i].taps, channels = shapes[i].channels;
        uint32_t pixels = tested->mr == 1 ? 1 : shapes[i].pixels;
        float *x = bench_floats((size_t)(pixels + taps) * channels);
        struct gemm_bench ours, theirs;
        gemm_open(&ours, tested, taps, channels, pixels, tested->nr, x);
        gemm_open(&theirs, reference, taps, channels, pixels, tested->nr, x);
        /* The reference covers the columns in several panels: its time counts for its share. */
        double work = 2.0 * taps * channels * pixels * tested->nr;
        double share = (double)theirs.args.n / tested->nr;
        snprintf(shape, sizeof(shape), "%u taps, %u channels, %u pixels", taps, channels, pixels);
        bench_report_share(entry, shape, "GFLOP/s", work, share, run_gemm, &ours, &theirs);
        gemm_close(&ours);
        gemm_close(&theirs);
        free(x);
    }
}

static void run_bricks(const void *entry, void *context)
{
    const struct kern_gemm_bricks_variant *v = entry;

    v->run(context);
}

/* One block, whose rate is that of its multiplications: beside gemm_f32's it shows what decoding
 * costs between them. */
void bench_gemm_bricks(const struct check_entry *entry)
{
    enum { ENTRIES = 256, CHANNELS = 256 };
    const struct kern_gemm_bricks_variant *v = entry->tested, *reference = entry->reference;
    const struct kern_gemm_variant shape = {.mr = v->mr, .nr = v->nr};
    float *x = bench_floats((size_t)(v->mr + 1) * CHANNELS), *catalogue = bench_floats(4 * ENTRIES);
    uint8_t *index = malloc((size_t)CHANNELS * v->nr / 4);
    struct gemm_bench block;
    struct kern_gemm_bricks_f32 ours, theirs;

    for (size_t i = 0; i < (size_t)CHANNELS * v->nr / 4; i++)
        index[i] = (uint8_t)(i * 7919 >> 3);
    gemm_open(&block, &shape, 1, CHANNELS, v->mr, v->nr, x);
    ours = (struct kern_gemm_bricks_f32){.gemm = block.args,
                                         .index = index,
                                         .index_step = v->nr / 4,
                                         .catalogue = catalogue,
                                         .panel = bench_floats((size_t)CHANNELS * v->nr)};
    ours.gemm.m = v->mr;
    ours.gemm.a = block.rows;
    theirs = ours;
    theirs.gemm.m = reference->mr < v->mr ? reference->mr : v->mr;
    theirs.gemm.n = reference->nr;
    bench_report_share(entry, "1 tap, 256 channels, one block", "GFLOP/s",
                       2.0 * CHANNELS * v->mr * v->nr,
                       (double)theirs.gemm.m * theirs.gemm.n / ((double)v->mr * v->nr), run_bricks,
                       &ours, &theirs);
    gemm_close(&block);
    free(ours.panel);
    free(index);
    free(catalogue);
    free(x);
}
