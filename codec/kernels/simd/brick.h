/*
 * Bricks into panels: a template over the vectors of an ISA's vec.h and the hooks of its brick.c:
 * struct brick_bits, brick_unpack8(), brick_lookup(), brick_lookup_bits() and BRICK_TABLE, the
 * entries that its largest table takes; where registers hold more, BRICK_MEDIUM and BRICK_LARGE of
 * them and brick_lookup_large().
 *
 * Indices are unpacked in batches to 32 bits each, in L1. Bricks are then copied by patches: some
 * columns of bricks of the tile by one row block of the panel, so that the inner loops know
 * everything but the indices.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_H
#define LEGO_KERNELS_SIMD_BRICK_H

#include "codec/kernels/simd/brick_flat.h"
#include "codec/kernels/simd/brick_tall.h"

/*
 * Unpacks `count` indices from number `first` on, and zeroes a vector behind them: what the last
 * bytes hold beyond them may be no index.
 */
static void brick_unpack(const struct kern_brick_decode *d, uint64_t first, uint32_t count,
                         uint32_t *ret_index)
{
    const uint32_t width = d->index_bits; /* which stores do not change */
    struct brick_bits bits = {.mask = (1u << width) - 1};
    uint64_t bit = first * width;
    const uint8_t *at = d->stream + bit / 8;

    if (width == 0) {
        memset(ret_index, 0, (count + VEC_LANES) * sizeof(*ret_index));
        return;
    }
    if (width == 8) { /* which compilers widen well */
        for (uint32_t i = 0; i < count; i++)
            ret_index[i] = at[i];
        memset(ret_index + count, 0, VEC_LANES * sizeof(*ret_index));
        return;
    }
    /* Eight indices fill index_bits whole bytes: each eight start at the same bit of a byte. */
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t from = (uint32_t)(bit % 8) + i * width;
        uint32_t byte = from / 8 < 12 ? from / 8 : 12;
        bits.shift[i] = from - byte * 8;
        for (uint32_t j = 0; j < 4; j++)
            bits.byte[4 * i + j] = (uint8_t)(byte + j);
    }
    for (uint32_t i = 0; i < count; i += 8, at += width)
        brick_unpack8(&bits, at, ret_index + i);
    memset(ret_index + count, 0, VEC_LANES * sizeof(*ret_index));
}

/* Bricks of 2x1, whose indices are unpacked. */
static void brick_patch_two(const struct brick_patch *p)
{
#ifdef BRICK_LARGE
    if (brick_is_twos(p->d) && p->count % VEC_LANES == 0 && !p->bytes) {
        brick_twos(p);
        return;
    }
#endif
    brick_patch_2x1(p);
}

/* The function for bricks of these rows and `columns` (0: any). */
static brick_patch_fn brick_choose(uint32_t rows, uint32_t columns)
{
    switch (rows) {
    case 1:
        return brick_patch_1x0;
    case 2:
        return columns == 1 ? brick_patch_two : columns == 2 ? brick_patch_2x2 : brick_patch_2x0;
    case 4:
        return columns == 1   ? brick_patch_4x1
               : columns == 2 ? brick_patch_4x2
               : columns == 4 ? brick_patch_4x4
                              : brick_patch_4x0;
    case 8:
        return columns == 1 ? brick_patch_8x1 : brick_patch_8x0;
    default:
        return brick_patch_16x0;
    }
}

/* Scales of the rows of one row block from `row` on. */
static void brick_scales(struct brick_patch *p, uint32_t row)
{
    const struct kern_brick_decode *d = p->d;
    const uint32_t nr = d->panel_nr, left = d->rows - row;

    if (p->plain)
        return;
    if (d->row_scale && left >= nr) {
        memcpy(p->scale, d->row_scale + row, nr * sizeof(*p->scale));
        return;
    }
    for (uint32_t i = 0; i < nr; i++)
        p->scale[i] = !d->row_scale ? 1.0f : i < left ? d->row_scale[row + i] : 0.0f;
}

/*
 * Bricks `from` to `from + count` of `columns` columns of the tile, the first of which is number
 * `column`: row block by row block. `from` is the first of a row block.
 */
static void brick_rows(struct brick_patch *p, uint32_t column, uint32_t columns, uint32_t from,
                       uint32_t count, const uint32_t *index)
{
    const struct kern_brick_decode *d = p->d;
    uint32_t nr = d->panel_nr, each = nr / d->brick_rows;
    uint32_t whole = d->columns / d->brick_columns;
    uint32_t full = column >= whole ? 0 : whole - column < columns ? whole - column : columns;
    const uint8_t *bytes = p->bytes;
    const uint32_t each_byte = bytes ? 8 / d->index_bits : 1; /* indices */

    p->index_step = d->tile_brick_rows;
    for (uint32_t done = 0; done < count; done += each) {
        uint32_t row = (from + done) * d->brick_rows;
        if (row >= d->rows)
            return;
        brick_scales(p, row);
        p->out = d->panel + (size_t)row * d->panel_k;
        p->count = count - done < each ? count - done : each;
        p->index = index + done;
        p->bytes = bytes ? bytes + done / each_byte : NULL;
        p->columns = full;
        p->width = d->brick_columns;
        p->column = column * d->brick_columns;
        brick_choose(d->brick_rows, d->brick_columns)(p);
        if (full == columns || (column + full) * d->brick_columns >= d->columns)
            continue;
        /* One more that sticks out. */
        p->index += (size_t)full * p->index_step;
        p->bytes += bytes ? (size_t)full * p->index_step / each_byte : 0;
        p->columns = 1;
        p->column += full * d->brick_columns;
        p->width = d->columns - p->column;
        brick_choose(d->brick_rows, 0)(p);
    }
}

static void simd_brick_decode(const struct kern_brick_decode *d)
{
    uint32_t index[BRICK_BATCH + BRICK_PAD], tile_rows = d->tile_brick_rows;
    struct brick_tables tables;
    struct brick_patch patch = {
        .d = d, .tables = &tables, .plain = !d->row_scale && !d->accumulate};
    /* Whole bricks in each row block, and whole row blocks in each batch. */
    bool fits = d->panel_nr <= BRICK_MAX_NR && (d->panel_nr & (d->panel_nr - 1)) == 0 &&
                d->panel_nr % d->brick_rows == 0;
    /* In place where that is faster: bricks of several columns take a third longer so on a Xeon. */
    const bool single = patch.plain && d->brick_columns == 1;
    const bool packed = fits && (d->index_bits == 4 || d->index_bits == 2) && d->entries <= 16 &&
                        d->brick_rows == 1 && tile_rows * d->index_bits % 8 == 0;
    const bool bytes =
        fits && d->index_bits == 8 && (d->brick_rows == 1 ? d->entries > BRICK_TABLE : single);

    brick_tables_init(&tables, d);
    uint32_t step = tile_rows < BRICK_BATCH ? BRICK_BATCH / tile_rows : 1;
    for (uint32_t column = 0; column < d->tile_brick_columns; column += step) {
        uint64_t first = d->first_index + (uint64_t)column * tile_rows;
        if (step > d->tile_brick_columns - column)
            step = d->tile_brick_columns - column;
        for (uint32_t row = 0; row < tile_rows; row += BRICK_BATCH) {
            uint32_t rows = tile_rows - row < BRICK_BATCH ? tile_rows - row : BRICK_BATCH;
            if (bytes)
                patch.bytes = d->stream + first + row;
            else if (packed)
                patch.bytes = d->stream + (first + row) * d->index_bits / 8;
            else
                brick_unpack(d, first + row, rows * step, index);
            if (fits)
                brick_rows(&patch, column, step, row, rows, index);
            else
                brick_rows_any(d, column, step, row, rows, index);
        }
    }
}

const kern_brick_decode_fn KERN_ISA(brick_decode) = simd_brick_decode;

#endif
