/*
 * Bricks and dense weights into panels: a template over the vectors of an ISA's vec.h and the two
 * hooks of its brick.c: brick_unpack8() and brick_lookup().
 *
 * Indices are unpacked in batches to 32 bits each, in L1; bricks are then copied by runs: bricks
 * that lie below each other in one column of the tile and in one row block of the panel.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_H
#define LEGO_KERNELS_SIMD_BRICK_H

#include "codec/kernels/ref/ref.h"

#include <string.h>

enum { BRICK_BATCH = 512, BRICK_SIDE = 16, BRICK_PAD = VEC_LANES > 8 ? VEC_LANES : 8 };

/* One run: `count` bricks from brick (row, column) of the tile on; out[i] is where its column i
 * begins. */
struct brick_run {
    const uint32_t *index; /* readable to a full vector */
    uint32_t count;
    uint32_t row;     /* matrix row of the first brick's first */
    uint32_t columns; /* of the bricks, without what sticks out */
    float *out[BRICK_SIDE];
};

struct brick_state {
    const struct kern_brick_decode *d;
    struct brick_tables tables;
};

typedef void (*brick_run_fn)(const struct brick_state *state, const struct brick_run *run);

/*
 * Unpacks `count` indices from number `first` on, and zeroes a vector behind them: what the last
 * bytes hold beyond them may be no index.
 */
static void brick_unpack(const struct kern_brick_decode *d, uint64_t first, uint32_t count,
                         uint32_t *ret_index)
{
    struct brick_bits bits = {.mask = (1u << d->index_bits) - 1};
    uint64_t bit = first * d->index_bits;
    const uint8_t *at = d->stream + bit / 8;

    if (d->index_bits == 0) {
        memset(ret_index, 0, (count + VEC_LANES) * sizeof(*ret_index));
        return;
    }
    /* Eight indices fill index_bits whole bytes: each eight start at the same bit of a byte. */
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t from = (uint32_t)(bit % 8) + i * d->index_bits;
        uint32_t byte = from / 8 < 12 ? from / 8 : 12;
        bits.shift[i] = from - byte * 8;
        for (uint32_t j = 0; j < 4; j++)
            bits.byte[4 * i + j] = (uint8_t)(byte + j);
    }
    for (uint32_t i = 0; i < count; i += 8, at += d->index_bits)
        brick_unpack8(&bits, at, ret_index + i);
    memset(ret_index + count, 0, VEC_LANES * sizeof(*ret_index));
}

/* One column of a brick of `rows` (a constant) to `out`; a compiler makes it vector moves. */
VEC_INLINE void brick_copy(float *restrict out, const float *restrict column, const uint32_t rows)
{
    memcpy(out, column, rows * sizeof(*out));
}

VEC_INLINE void brick_copy_scaled(float *restrict out, const float *restrict column,
                                  const float *restrict scale, bool accumulate, const uint32_t rows)
{
    if (accumulate) {
        for (uint32_t i = 0; i < rows; i++)
            out[i] += column[i] * scale[i];
    } else {
        for (uint32_t i = 0; i < rows; i++)
            out[i] = column[i] * scale[i];
    }
}

/* The scales of `rows` rows from `row` on: where they lie, or copied when padding follows them. */
VEC_INLINE const float *brick_scales(const struct kern_brick_decode *d, uint32_t row,
                                     const uint32_t rows, float buffer[BRICK_SIDE])
{
    if (!d->row_scale) {
        for (uint32_t i = 0; i < rows; i++)
            buffer[i] = 1.0f;
        return buffer;
    }
    if (row + rows <= d->rows)
        return d->row_scale + row;
    for (uint32_t i = 0; i < rows; i++)
        buffer[i] = row + i < d->rows ? d->row_scale[row + i] : 0.0f;
    return buffer;
}

/* `rows` and `columns` are constants; columns 0 means as many as the run says. */
VEC_INLINE void brick_run(const struct brick_state *state, const struct brick_run *run,
                          const uint32_t rows, const uint32_t columns)
{
    const struct kern_brick_decode *d = state->d;
    uint32_t pitch = rows * (columns ? columns : d->brick_columns);
    uint32_t width = columns ? columns : run->columns;

    if (!d->row_scale && !d->accumulate) {
        for (uint32_t j = 0; j < run->count; j++) {
            const float *brick = d->catalogue + (size_t)run->index[j] * pitch;
            for (uint32_t i = 0; i < width; i++)
                brick_copy(run->out[i] + j * rows, brick + i * rows, rows);
        }
        return;
    }
    for (uint32_t j = 0; j < run->count; j++) {
        const float *brick = d->catalogue + (size_t)run->index[j] * pitch;
        float buffer[BRICK_SIDE];
        const float *scale = brick_scales(d, run->row + j * rows, rows, buffer);
        for (uint32_t i = 0; i < width; i++)
            brick_copy_scaled(run->out[i] + j * rows, brick + i * rows, scale, d->accumulate, rows);
    }
}

#define BRICK_RUN(rows, columns)                                              \
    static void brick_run_##rows##x##columns(const struct brick_state *state, \
                                             const struct brick_run *run)     \
    {                                                                         \
        brick_run(state, run, rows, columns);                                 \
    }

BRICK_RUN(2, 1)
BRICK_RUN(2, 2)
BRICK_RUN(2, 0)
BRICK_RUN(4, 1)
BRICK_RUN(4, 2)
BRICK_RUN(4, 4)
BRICK_RUN(4, 0)
BRICK_RUN(8, 1)
BRICK_RUN(8, 0)
BRICK_RUN(16, 0)

/* Bricks of one row: lanes are bricks, each of their columns a lookup. */
static void brick_run_1x0(const struct brick_state *state, const struct brick_run *run)
{
    const struct kern_brick_decode *d = state->d;

    for (uint32_t i = 0; i < run->columns; i++) {
        for (uint32_t j = 0; j < run->count; j += VEC_LANES) {
            vec_mask mask = vec_mask_first(run->count - j);
            vec x = brick_lookup(&state->tables, d, i, run->index + j);
            float *out = run->out[i] + j;
            if (d->row_scale) {
                uint32_t row = run->row + j, left = row < d->rows ? d->rows - row : 0;
                uint32_t lanes = left < run->count - j ? left : run->count - j;
                x = vec_mul(x, vec_load_mask(d->row_scale + row, vec_mask_first(lanes)));
            }
            if (d->accumulate)
                x = vec_add(vec_load_mask(out, mask), x);
            if (run->count - j >= VEC_LANES)
                vec_store(out, x);
            else
                vec_store_mask(out, x, mask);
        }
    }
}

static brick_run_fn brick_choose(const struct kern_brick_decode *d)
{
    switch (d->brick_rows) {
    case 1:
        return brick_run_1x0;
    case 2:
        return d->brick_columns == 1   ? brick_run_2x1
               : d->brick_columns == 2 ? brick_run_2x2
                                       : brick_run_2x0;
    case 4:
        return d->brick_columns == 4   ? brick_run_4x4
               : d->brick_columns == 1 ? brick_run_4x1
               : d->brick_columns == 2 ? brick_run_4x2
                                       : brick_run_4x0;
    case 8:
        return d->brick_columns == 1 ? brick_run_8x1 : brick_run_8x0;
    default:
        return brick_run_16x0;
    }
}

/* The widest function of the same rows, for the last bricks of a tile that stick out. */
static brick_run_fn brick_choose_cut(const struct kern_brick_decode *d)
{
    switch (d->brick_rows) {
    case 1:
        return brick_run_1x0;
    case 2:
        return brick_run_2x0;
    case 4:
        return brick_run_4x0;
    case 8:
        return brick_run_8x0;
    default:
        return brick_run_16x0;
    }
}

/*
 * Bricks `from` to `from + count` of column `column` of the tile, run by run. Each run ends with a
 * row block of the panel.
 */
static void brick_column(const struct brick_state *state, brick_run_fn decode, uint32_t column,
                         uint32_t from, uint32_t count, const uint32_t *index)
{
    const struct kern_brick_decode *d = state->d;
    uint32_t nr = d->panel_nr, c = column * d->brick_columns;
    uint32_t blocks = (d->rows + nr - 1) / nr;
    struct brick_run run = {.columns = d->columns - c};

    if (run.columns > d->brick_columns)
        run.columns = d->brick_columns;
    for (; count > 0; count -= run.count, from += run.count, index += run.count) {
        run.row = from * d->brick_rows;
        uint32_t block = run.row / nr, first = run.row % nr;
        if (block >= blocks)
            return;
        run.count = (nr - first) / d->brick_rows;
        if (run.count > count)
            run.count = count;
        run.index = index;
        float *base = d->panel + (size_t)block * d->panel_k * nr + first;
        for (uint32_t i = 0; i < run.columns; i++)
            run.out[i] = base + (size_t)(d->column_k ? d->column_k[c + i] : c + i) * nr;
        decode(state, &run);
    }
}

static void simd_brick_decode(const struct kern_brick_decode *d)
{
    uint32_t index[BRICK_BATCH + BRICK_PAD];
    uint32_t whole = d->columns / d->brick_columns, column = 0, row = 0;
    uint64_t left = (uint64_t)d->tile_brick_rows * d->tile_brick_columns, first = d->first_index;
    struct brick_state state = {.d = d};

    if (d->panel_nr % d->brick_rows != 0 || (d->brick_rows & (d->brick_rows - 1)) != 0) {
        kern_ref_brick_decode(d);
        return;
    }
    if (d->brick_rows == 1)
        brick_tables_init(&state.tables, d);
    while (left > 0) {
        uint32_t batch = left < BRICK_BATCH ? (uint32_t)left : BRICK_BATCH;
        brick_unpack(d, first, batch, index);
        first += batch;
        left -= batch;
        for (uint32_t done = 0; done < batch;) {
            uint32_t count = d->tile_brick_rows - row;
            if (count > batch - done)
                count = batch - done;
            if (column * d->brick_columns < d->columns)
                brick_column(&state, column < whole ? brick_choose(d) : brick_choose_cut(d), column,
                             row, count, index + done);
            done += count;
            row += count;
            if (row == d->tile_brick_rows) {
                row = 0;
                column++;
            }
        }
    }
}

const kern_brick_decode_fn KERN_ISA(brick_decode) = simd_brick_decode;

#endif
