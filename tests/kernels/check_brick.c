/*
 * Drivers of brick_decode, brick_gemv and panel_pack: against the formulas of kernels.h, from
 * indices that the driver has drawn and packed itself.
 */
#include "tests/kernels/check_brick.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void brick_stream(struct brick_case *b)
{
    struct kern_brick_decode *d = &b->args;
    size_t count = (size_t)d->tile_brick_rows * b->tile_columns;
    size_t bytes = (count * d->index_bits + 7) / 8 + 16;
    uint8_t *stream = guard_alloc(&b->stream, bytes, 1, GUARD_END);

    /* What lies behind the indices is no zero: a kernel may read it, and must not use it. */
    memset(stream, 0xff, bytes);
    memset(stream, 0, count * d->index_bits / 8);
    b->index = malloc(count * sizeof(*b->index));
    for (size_t i = 0; i < count; i++) {
        b->index[i] =
            rng_below(d->entries < 1u << d->index_bits ? d->entries : 1u << d->index_bits);
        for (uint32_t bit = 0; bit < d->index_bits; bit++) {
            size_t at = i * d->index_bits + bit;
            stream[at / 8] &= (uint8_t) ~(1u << at % 8);
            stream[at / 8] |= (uint8_t)((b->index[i] >> bit & 1) << at % 8);
        }
    }
    d->stream = stream;
}

/* A catalogue of integers, and the floats that it stands for. */
static void brick_integers(struct brick_case *b, float *catalogue)
{
    struct kern_brick_decode *d = &b->args;
    const uint32_t brick = d->brick_rows * d->brick_columns;
    int8_t *integers = guard_alloc(&b->integers, (size_t)brick * KERN_CATALOGUE_S8, 64, GUARD_END);

    d->catalogue_step = 0.01f + fabsf(rng_float());
    memset(integers, 0, (size_t)brick * KERN_CATALOGUE_S8);
    for (uint32_t e = 0; e < d->entries; e++)
        for (uint32_t i = 0; i < brick; i++) {
            const int8_t integer = (int8_t)(rng_below(256) - 128);
            integers[i * KERN_CATALOGUE_S8 + e] = integer;
            catalogue[e * brick + i] = (float)integer * d->catalogue_step;
        }
    d->catalogue_s8 = integers;
}

/* The buffers of a case whose sizes are set. */
static void brick_open(struct brick_case *b, bool scaled, bool permuted, bool integers)
{
    struct kern_brick_decode *d = &b->args;
    size_t brick = (size_t)d->brick_rows * d->brick_columns;
    /* 16 floats behind the catalogue may be read. */
    float *catalogue =
        guard_alloc(&b->catalogue, (d->entries * brick + 16) * sizeof(float), 64, GUARD_END);
    float *scale = guard_alloc(&b->scale, d->rows * sizeof(float), sizeof(float), rng_below(2));
    uint32_t *column_k =
        guard_alloc(&b->column_k, d->columns * sizeof(uint32_t), sizeof(uint32_t), GUARD_END);

    brick_stream(b);
    fill_floats(catalogue, d->entries * brick + 16, FILL_PLAIN);
    fill_floats(scale, d->rows, FILL_PLAIN);
    if (integers || (d->entries <= KERN_CATALOGUE_S8 && rng_below(2)))
        brick_integers(b, catalogue);
    for (uint32_t c = 0; c < d->columns; c++) { /* a shuffle of the panel's first k's */
        uint32_t other = rng_below(c + 1);
        column_k[c] = column_k[other];
        column_k[other] = c;
        if (other == c)
            column_k[c] = c;
    }
    d->catalogue = catalogue;
    d->row_scale = scaled ? scale : NULL;
    d->column_k = permuted ? column_k : NULL;
    b->panel_elems = (size_t)((d->rows + d->panel_nr - 1) / d->panel_nr) * d->panel_k * d->panel_nr;
    d->panel = guard_alloc(&b->panel, b->panel_elems * sizeof(float), 64, GUARD_END);
    fill_floats(d->panel, b->panel_elems, FILL_PLAIN);
    b->expected = malloc(b->panel_elems * sizeof(float));
    b->magnitude = calloc(b->panel_elems, sizeof(float));
    memcpy(b->expected, d->panel, b->panel_elems * sizeof(float));
}

void brick_close(struct brick_case *b)
{
    guard_free(&b->stream);
    guard_free(&b->catalogue);
    if (b->args.catalogue_s8)
        guard_free(&b->integers);
    guard_free(&b->scale);
    guard_free(&b->column_k);
    guard_free(&b->panel);
    free(b->index);
    free(b->expected);
    free(b->magnitude);
}

/* The index of the brick that has element (r, c) of the case's matrix, and which of its elements
 * that is. */
static uint32_t brick_index(const struct brick_case *b, uint32_t r, uint32_t c, size_t *ret_element)
{
    const struct kern_brick_decode *d = &b->args;
    size_t first = d->first_index / d->tile_brick_rows;

    *ret_element = (size_t)c % d->brick_columns * d->brick_rows + r % d->brick_rows;
    return b->index[(first + c / d->brick_columns) * d->tile_brick_rows + r / d->brick_rows];
}

/* The element. */
static float brick_element(const struct brick_case *b, uint32_t r, uint32_t c)
{
    const struct kern_brick_decode *d = &b->args;
    size_t element, index = brick_index(b, r, c, &element);
    float value = d->catalogue[index * d->brick_rows * d->brick_columns + element];

    return d->row_scale ? value * d->row_scale[r] : value;
}

double brick_integer(const struct brick_case *b, uint32_t r, uint32_t c)
{
    size_t element, index = brick_index(b, r, c, &element);

    return b->args.catalogue_s8[element * KERN_CATALOGUE_S8 + index];
}

/* One element of the matrix into the expected panel. */
static void brick_expect(struct brick_case *b, uint32_t r, uint32_t c)
{
    struct kern_brick_decode *d = &b->args;
    size_t k = d->column_k ? d->column_k[c] : c;
    size_t at = ((size_t)(r / d->panel_nr) * d->panel_k + k) * d->panel_nr + r % d->panel_nr;
    float value = brick_element(b, r, c);

    b->magnitude[at] = fabsf(value) + (d->accumulate ? fabsf(b->expected[at]) : 0.0f);
    b->expected[at] = d->accumulate ? b->expected[at] + value : value;
}

/* Padding that bricks cover may hold anything. */
static void brick_forget_padding(struct brick_case *b)
{
    struct kern_brick_decode *d = &b->args;
    uint32_t end = (d->rows + d->panel_nr - 1) / d->panel_nr * d->panel_nr;
    uint32_t covered = d->tile_brick_rows * d->brick_rows;

    for (uint32_t r = d->rows; r < end && r < covered; r++) {
        for (uint32_t c = 0; c < d->columns; c++) {
            size_t k = d->column_k ? d->column_k[c] : c;
            size_t at =
                ((size_t)(r / d->panel_nr) * d->panel_k + k) * d->panel_nr + r % d->panel_nr;
            b->expected[at] = d->panel[at];
        }
    }
}

static void brick_run(const struct check_entry *entry, struct brick_case *b)
{
    kern_brick_decode_fn run = *(const kern_brick_decode_fn *)entry->tested;
    struct check_entry exact = *entry;
    struct kern_brick_decode *d = &b->args;

    for (uint32_t r = 0; r < d->rows; r++)
        for (uint32_t c = 0; c < d->columns; c++)
            brick_expect(b, r, c);
    run(d);
    brick_forget_padding(b);
    if (!d->row_scale && !d->accumulate)
        exact.tolerance = 0.0; /* a mere copy */
    check_compare(&exact, d->panel, b->expected, b->magnitude, b->panel_elems);
}

void brick_draw(struct brick_case *b, uint32_t brick_rows, uint32_t brick_columns,
                uint32_t index_bits, uint32_t nr, uint32_t flags)
{
    struct kern_brick_decode *d = &b->args;
    uint32_t most = 1u << index_bits;

    d->index_bits = index_bits;
    d->entries = rng_below(2) ? most : most / 2 + 1 + rng_below(most - most / 2);
    if (d->entries > most)
        d->entries = most;
    /* What no writer makes, but a reader accepts: more entries than indices name, or far fewer. */
    if (rng_below(6) == 0)
        d->entries = rng_below(2) ? most + 1 + rng_below(300) : 1 + rng_below(most);
    if ((flags & 8) && d->entries > KERN_CATALOGUE_S8)
        d->entries = KERN_CATALOGUE_S8;
    d->brick_rows = brick_rows;
    d->brick_columns = brick_columns;
    d->tile_brick_rows = 1 + rng_below(40 / brick_rows);
    if (rng_below(3) == 0) /* what most files have */
        d->tile_brick_rows = (32 + brick_rows - 1) / brick_rows;
    if (rng_below(8) == 0) /* longer than a batch of any implementation */
        d->tile_brick_rows += 1100 / brick_rows;
    d->tile_brick_columns = 1 + rng_below(12);
    d->rows = d->tile_brick_rows * brick_rows - rng_below(brick_rows);
    d->columns = d->tile_brick_columns * brick_columns - rng_below(brick_columns);
    uint32_t skipped = rng_below(2) ? 0 : rng_below(6);
    d->first_index = (uint64_t)skipped * d->tile_brick_rows;
    b->tile_columns = d->tile_brick_columns + skipped;
    d->panel_nr = nr;
    d->panel_k = d->columns + rng_below(3);
    d->accumulate = flags & 1;
    check_case("%ux%u bricks of %u entries, %u bits, %u+%u columns of %u bricks, matrix %ux%u, "
               "nr %u, flags %u",
               brick_rows, brick_columns, d->entries, index_bits, skipped, d->tile_brick_columns,
               d->tile_brick_rows, d->rows, d->columns, nr, flags);
    brick_open(b, flags & 2, flags & 4, flags & 8);
}

static void brick_case(const struct check_entry *entry, uint32_t brick_rows, uint32_t brick_columns,
                       uint32_t index_bits, uint32_t nr)
{
    struct brick_case b = {0};

    brick_draw(&b, brick_rows, brick_columns, index_bits, nr, rng_below(8));
    brick_run(entry, &b);
    brick_close(&b);
}

void check_brick_decode(const struct check_entry *entry)
{
    static const uint32_t nrs[] = {8, 16, 32};

    for (uint32_t rows = 1; rows <= 16; rows++)
        for (uint32_t columns = 1; columns <= 16; columns++)
            for (uint32_t i = 0; i < 12; i++)
                brick_case(entry, rows, columns, rng_below(11), nrs[i % 3]);
    for (uint32_t bits = 0; bits <= 16; bits++)
        for (uint32_t i = 0; i < 24; i++) {
            brick_case(entry, 4, 1 + 3 * (i & 1), bits, nrs[i % 3]);
            brick_case(entry, 1, 1 + (i & 3), bits, nrs[i % 3]);
            brick_case(entry, 2, 1 + (i & 1), bits, nrs[i % 3]);
        }
}

static void gemv_case(const struct check_entry *entry, uint32_t brick_rows, uint32_t brick_columns,
                      uint32_t index_bits)
{
    struct brick_case b = {0};
    const struct kern_brick_decode *d = &b.args;
    enum guard_side side = rng_below(2);
    struct guard gx, gy;

    brick_draw(&b, brick_rows, brick_columns, index_bits, 8, rng_below(4));
    float *x = guard_alloc(&gx, d->columns * sizeof(float), sizeof(float), side);
    float *y = guard_alloc(&gy, d->rows * sizeof(float), sizeof(float), side);
    float *expected = malloc(d->rows * sizeof(float)), *scale = malloc(d->rows * sizeof(float));
    fill_floats(x, d->columns, rng_below(2) ? FILL_PLAIN : FILL_WIDE);
    fill_floats(y, d->rows, FILL_PLAIN);
    for (uint32_t r = 0; r < d->rows; r++) {
        double sum = d->accumulate ? y[r] : 0.0, magnitude = fabs(sum);
        for (uint32_t c = 0; c < d->columns; c++) {
            double product = (double)brick_element(&b, r, c) * x[c];
            sum += product;
            magnitude += fabs(product);
        }
        expected[r] = (float)sum;
        scale[r] = (float)magnitude;
    }
    struct kern_brick_gemv_f32 g = {.bricks = *d, .x = x, .y = y};
    g.bricks.panel = NULL;
    (*(const kern_brick_gemv_f32_fn *)entry->tested)(&g);
    check_compare(entry, y, expected, scale, d->rows);
    free(expected);
    free(scale);
    guard_free(&gx);
    guard_free(&gy);
    brick_close(&b);
}

void check_brick_gemv(const struct check_entry *entry)
{
    for (uint32_t rows = 1; rows <= 16; rows++)
        for (uint32_t columns = 1; columns <= 16; columns++)
            for (uint32_t i = 0; i < 4; i++)
                gemv_case(entry, rows, columns, rng_below(11));
    for (uint32_t bits = 0; bits <= 16; bits++)
        for (uint32_t i = 0; i < 40; i++)
            gemv_case(entry, 1u << rng_below(5), 1 + rng_below(4), bits);
}

/* What entry e makes of the columns of x that the bricks of column j see, in row r. */
static double partial_product(const struct kern_brick_decode *d, const float *x, uint32_t j,
                              uint32_t e, uint32_t r, double *ret_magnitude)
{
    double sum = 0.0;

    *ret_magnitude = 0.0;
    for (uint32_t c = 0; c < d->brick_columns; c++) {
        const size_t at = ((size_t)e * d->brick_columns + c) * d->brick_rows + r;
        const double product = (double)d->catalogue[at] * (double)x[j * d->brick_columns + c];

        sum += product;
        *ret_magnitude += fabs(product);
    }
    return sum;
}

static void products_case(const struct check_entry *entry, uint32_t brick_rows,
                          uint32_t brick_columns, uint32_t index_bits)
{
    struct brick_case b = {0};
    struct guard gx, gp;
    enum guard_side side = rng_below(2);

    brick_draw(&b, brick_rows, brick_columns, index_bits, 8, 0);
    struct kern_brick_products_f32 p = {.catalogue = b.args.catalogue,
                                        .brick_rows = brick_rows,
                                        .brick_columns = brick_columns,
                                        .entries = b.args.entries,
                                        .columns = 1 + rng_below(5)};
    const size_t count = (size_t)p.columns * p.entries * brick_rows;
    float *x = guard_alloc(&gx, p.columns * brick_columns * sizeof(float), sizeof(float), side);
    float *expected = malloc(count * sizeof(float)), *scale = malloc(count * sizeof(float));

    fill_floats(x, p.columns * brick_columns, rng_below(2) ? FILL_PLAIN : FILL_WIDE);
    p.x = x;
    p.products = guard_alloc(&gp, count * sizeof(float), sizeof(float), side);
    for (size_t i = 0; i < count; i++) {
        double magnitude;
        const uint32_t e = (uint32_t)(i / brick_rows % p.entries);

        expected[i] = (float)partial_product(&b.args, x, (uint32_t)(i / brick_rows / p.entries), e,
                                             i % brick_rows, &magnitude);
        scale[i] = (float)magnitude;
    }
    (*(const kern_brick_products_f32_fn *)entry->tested)(&p);
    check_compare(entry, p.products, expected, scale, count);
    free(expected);
    free(scale);
    guard_free(&gx);
    guard_free(&gp);
    brick_close(&b);
}

void check_brick_products(const struct check_entry *entry)
{
    for (uint32_t rows = 4; rows <= 16; rows += 4)
        for (uint32_t columns = 1; columns <= 16; columns++)
            for (uint32_t i = 0; i < 8; i++)
                products_case(entry, rows, columns, rng_below(10));
}

static void sums_case(const struct check_entry *entry, uint32_t brick_rows, uint32_t index_bits)
{
    struct brick_case b = {0};
    const struct kern_brick_decode *d = &b.args;
    struct guard gp, gs;
    enum guard_side side = rng_below(2);

    brick_draw(&b, brick_rows, 2, index_bits, 8, 0);
    const size_t rows = (size_t)d->tile_brick_rows * brick_rows;
    const size_t count = (size_t)d->tile_brick_columns * d->entries * brick_rows;
    float *products = guard_alloc(&gp, count * sizeof(float), sizeof(float), side);
    float *sums = guard_alloc(&gs, rows * sizeof(float), sizeof(float), side);
    float *expected = malloc(rows * sizeof(float)), *scale = malloc(rows * sizeof(float));
    const uint32_t *index = b.index + d->first_index;

    fill_floats(products, count, rng_below(2) ? FILL_PLAIN : FILL_WIDE);
    fill_floats(sums, rows, FILL_PLAIN);
    for (size_t r = 0; r < rows; r++) {
        double sum = sums[r], magnitude = fabs(sum);

        for (uint32_t j = 0; j < d->tile_brick_columns; j++) {
            const size_t e = index[j * d->tile_brick_rows + r / brick_rows];
            const double x = products[(j * d->entries + e) * brick_rows + r % brick_rows];

            sum += x;
            magnitude += fabs(x);
        }
        expected[r] = (float)sum;
        scale[r] = (float)magnitude;
    }
    const struct kern_brick_sums_f32 s = {.bricks = *d, .products = products, .sums = sums};
    (*(const kern_brick_sums_f32_fn *)entry->tested)(&s);
    check_compare(entry, sums, expected, scale, rows);
    free(expected);
    free(scale);
    guard_free(&gp);
    guard_free(&gs);
    brick_close(&b);
}

void check_brick_sums(const struct check_entry *entry)
{
    for (uint32_t rows = 4; rows <= 16; rows += 4)
        for (uint32_t i = 0; i < 60; i++)
            sums_case(entry, rows, rng_below(10));
}

/* The strides of a case: each layout that the runtime has, and one that nobody has. */
static void pack_strides(struct kern_panel_pack *p, uint32_t layout)
{
    switch (layout) {
    case 0: /* Conv: [row][channel][tap] */
        p->row_stride = p->channels * p->taps;
        p->channel_stride = p->taps;
        p->tap_stride = 1;
        break;
    case 1: /* [row][tap][channel] */
        p->row_stride = p->channels * p->taps;
        p->channel_stride = 1;
        p->tap_stride = p->channels;
        break;
    case 2: /* MatMul: [k][row] */
        p->row_stride = 1;
        p->channel_stride = p->rows;
        p->tap_stride = (ptrdiff_t)p->rows * p->channels;
        break;
    case 3: /* ConvTranspose: [channel][row][tap] */
        p->row_stride = p->taps;
        p->channel_stride = (ptrdiff_t)p->rows * p->taps;
        p->tap_stride = 1;
        break;
    default: /* the same, taps backwards */
        p->row_stride = p->taps;
        p->channel_stride = (ptrdiff_t)p->rows * p->taps;
        p->tap_stride = -1;
        break;
    }
}

static void pack_case(const struct check_entry *entry, uint32_t rows, uint32_t channels,
                      uint32_t taps, uint32_t layout, uint32_t nr)
{
    kern_panel_pack_fn run = *(const kern_panel_pack_fn *)entry->tested;
    struct guard gsource, gpanel;
    size_t elems = (size_t)rows * channels * taps;
    uint32_t end = (rows + nr - 1) / nr * nr, panel_k = taps * channels + rng_below(3);
    float *source = guard_alloc(&gsource, elems * sizeof(float), sizeof(float), rng_below(2));
    float *panel = guard_alloc(&gpanel, (size_t)end * panel_k * sizeof(float), 64, GUARD_END);
    float *expected = malloc((size_t)end * panel_k * sizeof(float));
    struct kern_panel_pack p = {.source = source,
                                .rows = rows,
                                .channels = channels,
                                .taps = taps,
                                .panel = panel,
                                .panel_nr = nr,
                                .panel_k = panel_k};

    pack_strides(&p, layout);
    if (p.tap_stride < 0)
        p.source += taps - 1;
    fill_floats(source, elems, FILL_EXTREME);
    fill_floats(panel, (size_t)end * panel_k, FILL_PLAIN);
    memcpy(expected, panel, (size_t)end * panel_k * sizeof(float));
    for (uint32_t r = 0; r < end; r++)
        for (uint32_t t = 0; t < taps; t++)
            for (uint32_t c = 0; c < channels; c++)
                expected[((size_t)(r / nr) * panel_k + t * channels + c) * nr + r % nr] =
                    r < rows
                        ? p.source[(ptrdiff_t)r * p.row_stride + (ptrdiff_t)c * p.channel_stride +
                                   (ptrdiff_t)t * p.tap_stride]
                        : 0.0f;
    check_case("%u rows, %u channels, %u taps, layout %u, nr %u", rows, channels, taps, layout, nr);
    run(&p);
    check_compare(entry, panel, expected, NULL, (size_t)end * panel_k);
    free(expected);
    guard_free(&gsource);
    guard_free(&gpanel);
}

void check_panel_pack(const struct check_entry *entry)
{
    static const uint32_t taps[] = {1, 2, 9, 25};

    for (size_t s = 0; s < check_size_count; s++)
        for (uint32_t layout = 0; layout < 5; layout++)
            for (uint32_t i = 0; i < 12; i++)
                pack_case(entry, check_sizes[rng_below((uint32_t)check_size_count)], check_sizes[s],
                          taps[i % 4], layout, 8u << (i % 3));
}
