/*
 * Bricks into panels: a template over the vectors of an ISA's vec.h and the hooks of its brick.c:
 * struct brick_bits, brick_unpack8(), brick_lookup() and BRICK_TABLE, the entries that its largest
 * table takes.
 *
 * Indices are unpacked in batches to 32 bits each, in L1. Bricks are then copied by patches: some
 * columns of bricks of the tile by one row block of the panel, so that the inner loops know
 * everything but the indices.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_H
#define LEGO_KERNELS_SIMD_BRICK_H

#include "codec/kernels/simd/brick_any.h"
#include "codec/kernels/simd/quads.h"
#include "codec/kernels/simd/unroll.h"

#include <string.h>

enum {
    BRICK_BATCH = 512, /* a multiple of any row block's bricks */
    BRICK_MAX_NR = 32,
    BRICK_PAD = VEC_LANES > 8 ? VEC_LANES : 8,
};

/* The lookup tables of one-row bricks: a table for each column of theirs. */
struct brick_tables {
    float column[BRICK_SIDE][BRICK_TABLE];
};

/* Bricks of one row block: `count` below each other in each of `columns` columns of bricks. */
struct brick_patch {
    const struct kern_brick_decode *d;
    const struct brick_tables *tables;
    const uint32_t *index; /* of the first; a full vector is readable behind the last */
    const uint8_t *bytes;  /* the same indices in place, where they are bytes that are so read */
    uint32_t index_step;   /* from one column's first to the next's */
    uint32_t count, columns;
    uint32_t width;            /* columns of a brick, without what sticks out of the tile */
    uint32_t column;           /* matrix column of the first */
    float *out;                /* k 0, lane of the first brick's first row */
    bool plain;                /* no scales, no accumulation: copies */
    float scale[BRICK_MAX_NR]; /* of each row from the first brick's on, 0 in padding */
};

typedef void (*brick_patch_fn)(const struct brick_patch *patch);

/* Small catalogues of one-row bricks become a table for each of their columns. */
static void brick_tables_init(struct brick_tables *tables, const struct kern_brick_decode *d)
{
    if (d->brick_rows != 1 || d->entries > BRICK_TABLE)
        return;
    for (uint32_t e = 0; e < d->entries; e++)
        for (uint32_t c = 0; c < d->brick_columns; c++)
            tables->column[c][e] = d->catalogue[e * d->brick_columns + c];
}

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
    if (d->index_bits == 8) { /* which compilers widen well */
        for (uint32_t i = 0; i < count; i++)
            ret_index[i] = at[i];
        memset(ret_index + count, 0, VEC_LANES * sizeof(*ret_index));
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

/* A column of a brick of `rows` (a constant), four at a time by scales, over or onto what is there.
 */
VEC_INLINE void brick_put(const float *column, const vec_quad *by, const uint32_t rows,
                          const bool accumulate, float *out)
{
    for (uint32_t i = 0; i < rows / 4; i++) {
        vec_quad x = vec_quad_load(column + 4 * i) * by[i];

        if (accumulate)
            x += vec_quad_load(out + 4 * i);
        vec_quad_store(out + 4 * i, x);
    }
}

/* One brick of `rows` (a constant, as `plain` and `accumulate`) by `width`, its columns to out[]
 * from `lane` on. */
VEC_INLINE void brick_move(const float *brick, float *const *out, size_t lane, const float *scale,
                           const uint32_t rows, const uint32_t width, const bool plain,
                           const bool accumulate)
{
    vec_quad by[BRICK_SIDE / 4];

    /* One addition, not one for each load. */
    if (width > 1)
        __asm__("" : "+r"(brick));
    for (uint32_t i = 0; i < rows / 4 && !plain; i++)
        by[i] = vec_quad_load(scale + lane + 4 * i);
    for (uint32_t i = 0; i < width; i++) {
        const float *from = brick + i * rows;
        float *to = out[i] + lane;

        if (plain)
            brick_copy(to, from, rows);
        else if (rows % 4 == 0)
            brick_put(from, by, rows, accumulate, to);
        else
            brick_copy_scaled(to, from, scale + lane, accumulate, rows);
    }
}

/* Columns of QUADS bricks of four rows and `columns` (a constant, 0: any) columns as vectors, from
 * column c on; returns how many there are. */
VEC_INLINE uint32_t brick_vectors(const float *const brick[QUADS], uint32_t c,
                                  const uint32_t columns, vec ret_column[QUADS])
{
    const float *from[QUADS];

    for (uint32_t i = 0; i < QUADS; i++)
        from[i] = brick[i] + 4 * c;
    if (!columns || columns % QUADS) {
        ret_column[0] = vec_quads(from);
        return 1;
    }
    for (uint32_t i = 0; i < QUADS; i++)
        ret_column[i] = vec_load(from[i]);
    vec_turn_quads(ret_column);
    return QUADS;
}

/* QUADS bricks of four rows, from number j on. */
VEC_INLINE void brick_quads(const struct brick_patch *p, const float *const brick[QUADS], size_t j,
                            const uint32_t columns, const uint32_t width, const bool plain,
                            const bool accumulate, float *const *out)
{
    const vec by = plain ? vec_set1(1.0f) : vec_load(p->scale + 4 * j);
    vec x[QUADS];

    for (uint32_t c = 0, made; c < width; c += made) {
        made = brick_vectors(brick, c, columns, x);
        for (uint32_t i = 0; i < made; i++) {
            float *to = out[c + i] + 4 * j;
            if (!plain)
                x[i] = vec_mul(x[i], by);
            if (accumulate)
                x[i] = vec_add(x[i], vec_load(to));
            vec_store(to, x[i]);
        }
    }
}

/* `rows`, `bytes` (the indices are read in place), `plain` and `accumulate` are constants, and
 * `columns` but for 0: as many as p says. */
VEC_INLINE void brick_patch_how(const struct brick_patch *p, const uint32_t rows,
                                const uint32_t columns, const bool bytes, const bool plain,
                                const bool accumulate)
{
    enum { EACH = 4 }; /* bricks at a time: one by one, most of the work is counting them */
    const struct kern_brick_decode *d = p->d;
    const size_t brick_columns = columns ? columns : d->brick_columns;
    const size_t width = columns ? columns : p->width, count = p->count, step = p->index_step;
    const size_t nr = d->panel_nr, pitch = rows * brick_columns, whole = count - count % EACH;
    const uint32_t *index = p->index, *k = d->column_k ? d->column_k + p->column : NULL;
    const uint8_t *byte = p->bytes;
    const float *catalogue = d->catalogue;
    float *next = p->out + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++) {
        float *out[BRICK_SIDE];
        size_t j = 0;

        for (uint32_t i = 0; i < width; i++)
            out[i] = k ? p->out + k[i] * nr : next + i * nr;
        for (; rows == 4 && j < whole; j += QUADS) {
            const float *brick[QUADS];
            for (uint32_t n = 0; n < QUADS; n++)
                brick[n] = catalogue + (bytes ? byte[j + n] : index[j + n]) * pitch;
            brick_quads(p, brick, j, columns, width, plain, accumulate, out);
        }
        for (; j < whole; j += EACH)
            GEMM_UNROLL
        for (size_t n = j; n < j + EACH; n++)
            brick_move(catalogue + (bytes ? byte[n] : index[n]) * pitch, out, n * rows, p->scale,
                       rows, width, plain, accumulate);
        for (; j < count; j++)
            brick_move(catalogue + (bytes ? byte[j] : index[j]) * pitch, out, j * rows, p->scale,
                       rows, width, plain, accumulate);
        index += bytes ? 0 : step;
        byte += bytes ? step : 0;
        next += brick_columns * nr;
        k = k ? k + brick_columns : NULL;
    }
}

/*
 * Whole columns of bricks in order: what panels of convolutions are, where all that is not a copy
 * would take as long as the copies. `count` bricks below each other, a constant, too; bricks of
 * four rows are put together in registers.
 */
VEC_INLINE void brick_columns(const struct brick_patch *p, const uint32_t rows,
                              const uint32_t columns, const uint32_t count, const bool bytes)
{
    const size_t nr = p->d->panel_nr, step = p->index_step, pitch = (size_t)rows * columns;
    const float *catalogue = p->d->catalogue;
    const uint8_t *byte = p->bytes;
    const uint32_t *index = p->index;
    float *out = p->out + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++, out += columns * nr) {
        GEMM_UNROLL
        for (uint32_t n = 0; n < count; n += rows == 4 ? QUADS : 1) {
            const float *brick[QUADS];
            vec x[QUADS];

            if (rows == 4 && columns == 1 && bytes) {
                vec_store(out + 4 * n, quads_by_bytes(catalogue, byte + n));
                continue;
            }
            for (uint32_t i = 0; i < (rows == 4 ? QUADS : 1); i++)
                brick[i] = catalogue + (bytes ? byte[n + i] : index[n + i]) * pitch;
            GEMM_UNROLL
            for (uint32_t c = 0; c < columns && rows != 4; c++)
                brick_copy(out + c * nr + n * rows, brick[0] + c * rows, rows);
            GEMM_UNROLL
            for (uint32_t c = 0, made; c < columns && rows == 4; c += made) {
                made = brick_vectors(brick, c, columns, x);
                for (uint32_t i = 0; i < made; i++)
                    vec_store(out + (c + i) * nr + 4 * n, x[i]);
            }
        }
        byte += bytes ? step : 0;
        index += bytes ? 0 : step;
    }
}

VEC_INLINE void brick_patch(const struct brick_patch *p, const uint32_t rows,
                            const uint32_t columns)
{
    const bool in_place = columns <= 1 && p->plain && p->bytes;
    const bool in_order = columns && p->plain && !p->d->column_k && p->width == columns;

    if (in_order && in_place && p->count == 16 / rows)
        brick_columns(p, rows, columns, 16 / rows, true);
    else if (in_order && in_place && p->count == 32 / rows)
        brick_columns(p, rows, columns, 32 / rows, true);
    else if (in_order && p->count == 16 / rows)
        brick_columns(p, rows, columns, 16 / rows, false);
    else if (in_order && p->count == 32 / rows)
        brick_columns(p, rows, columns, 32 / rows, false);
    else if (in_place)
        brick_patch_how(p, rows, columns, true, true, false);
    else if (p->plain)
        brick_patch_how(p, rows, columns, false, true, false);
    else if (p->d->accumulate)
        brick_patch_how(p, rows, columns, false, false, true);
    else
        brick_patch_how(p, rows, columns, false, false, false);
}

#define BRICK_PATCH(rows, columns)                                          \
    static void brick_patch_##rows##x##columns(const struct brick_patch *p) \
    {                                                                       \
        brick_patch(p, rows, columns);                                      \
    }

BRICK_PATCH(2, 1)
BRICK_PATCH(2, 2)
BRICK_PATCH(2, 0)
BRICK_PATCH(4, 1)
BRICK_PATCH(4, 2)
BRICK_PATCH(4, 4)
BRICK_PATCH(4, 0)
BRICK_PATCH(8, 1)
BRICK_PATCH(8, 0)
BRICK_PATCH(16, 0)

/* A whole vector of bricks from number j on, one of their columns. */
VEC_INLINE void brick_lanes_put(const struct brick_patch *p, const float *table,
                                const uint32_t kind, uint32_t pitch, const uint32_t *index,
                                uint32_t j, const bool plain, const bool accumulate, float *out)
{
    vec x = brick_lookup(table, kind, pitch, index + j);

    if (!plain)
        x = vec_mul(x, vec_load(p->scale + j));
    if (accumulate)
        x = vec_add(vec_load(out + j), x);
    vec_store(out + j, x);
}

/*
 * Bricks of one row: lanes are bricks, each of their columns a lookup. `kind`, a constant, is the
 * size of the table that the lookup takes; 0: the catalogue itself. So are `plain` and
 * `accumulate`.
 */
VEC_INLINE void brick_lanes_how(const struct brick_patch *p, const uint32_t kind, const bool plain,
                                const bool accumulate)
{
    const struct kern_brick_decode *d = p->d;
    const uint32_t pitch = d->brick_columns, width = p->width, step = p->index_step;
    const uint32_t count = p->count, whole = count - count % VEC_LANES;
    const uint32_t *index = p->index, *k = d->column_k ? d->column_k + p->column : NULL;
    const vec_mask mask = vec_mask_first(count - whole);
    const size_t nr = d->panel_nr;
    float *next = p->out + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++, index += step, next += pitch * nr) {
        for (uint32_t i = 0; i < width; i++) {
            const float *table = p->tables->column[i];
            float *out = k ? p->out + k[i] * nr : next + i * nr;

            uint32_t j = 0;

            for (; j + 2 * VEC_LANES <= whole; j += 2 * VEC_LANES) {
                brick_lanes_put(p, table, kind, pitch, index, j, plain, accumulate, out);
                brick_lanes_put(p, table, kind, pitch, index, j + VEC_LANES, plain, accumulate,
                                out);
            }
            if (j < whole)
                brick_lanes_put(p, table, kind, pitch, index, j, plain, accumulate, out);
            if (whole == count)
                continue;
            vec x = brick_lookup(table, kind, pitch, index + whole);
            if (!plain)
                x = vec_mul(x, vec_load_mask(p->scale + whole, mask));
            if (accumulate)
                x = vec_add(vec_load_mask(out + whole, mask), x);
            vec_store_mask(out + whole, x, mask);
        }
        k = k ? k + pitch : NULL;
    }
}

VEC_INLINE void brick_lanes(const struct brick_patch *p, const uint32_t kind)
{
    if (p->plain)
        brick_lanes_how(p, kind, true, false);
    else if (p->d->accumulate)
        brick_lanes_how(p, kind, false, true);
    else
        brick_lanes_how(p, kind, false, false);
}

/* Four rows' column by their scales, and onto what is there, as brick_patch_how. */
VEC_INLINE void brick_singles_put(vec_quad x, const float *scale, const bool plain,
                                  const bool accumulate, float *out)
{
    if (!plain)
        x *= vec_quad_load(scale);
    if (accumulate)
        x += vec_quad_load(out);
    vec_quad_store(out, x);
}

/* Columns become rows. */
VEC_INLINE void brick_turn(vec_quad x[4])
{
    const vec_quad a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    const vec_quad b = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    const vec_quad c = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    const vec_quad d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);

    x[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    x[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    x[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    x[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* Two floats from each of two places. */
VEC_INLINE vec_quad brick_pairs(const float *first, const float *second)
{
    typedef double doubles __attribute__((vector_size(16))); /* which are moved and no more */
    doubles both;

    memcpy(&both, first, 2 * sizeof(*first));
    memcpy((char *)&both + sizeof(both) / 2, second, 2 * sizeof(*second));
    return (vec_quad)both;
}

/* Four bricks below each other, from number j on, with their scales; `out`: for each of `width`
 * columns. */
VEC_INLINE void brick_singles_four(const float *const x[4], uint32_t width, uint32_t j,
                                   const float *scale, const bool plain, const bool accumulate,
                                   float *const *out)
{
    uint32_t i = 0;

    for (; i + 4 <= width; i += 4) {
        vec_quad v[4] = {vec_quad_load(x[0] + i), vec_quad_load(x[1] + i), vec_quad_load(x[2] + i),
                         vec_quad_load(x[3] + i)};

        brick_turn(v);
        for (uint32_t n = 0; n < 4; n++)
            brick_singles_put(v[n], scale, plain, accumulate, out[i + n] + j);
    }
    if (i + 2 <= width) {
        const vec_quad a = brick_pairs(x[0] + i, x[1] + i), b = brick_pairs(x[2] + i, x[3] + i);

        brick_singles_put(__builtin_shufflevector(a, b, 0, 2, 4, 6), scale, plain, accumulate,
                          out[i] + j);
        brick_singles_put(__builtin_shufflevector(a, b, 1, 3, 5, 7), scale, plain, accumulate,
                          out[i + 1] + j);
        i += 2;
    }
    if (i < width)
        brick_singles_put((vec_quad){x[0][i], x[1][i], x[2][i], x[3][i]}, scale, plain, accumulate,
                          out[i] + j);
}

/*
 * Bricks of one row and `columns` (a constant, 0: as many as p says) columns from a catalogue that
 * fits no table, four bricks at a time: loads of single floats, which are faster than what gathers.
 * `bytes` (a constant, too): the indices are read in place.
 */
VEC_INLINE void brick_singles_how(const struct brick_patch *p, const uint32_t columns,
                                  const bool bytes, const bool plain, const bool accumulate)
{
    const struct kern_brick_decode *d = p->d;
    const size_t pitch = columns ? columns : d->brick_columns, nr = d->panel_nr;
    const uint32_t width = columns ? columns : p->width, count = p->count;
    const uint32_t *k = d->column_k ? d->column_k + p->column : NULL;
    const float *catalogue = d->catalogue, *scale = p->scale;
    const uint32_t *index = p->index;
    const uint8_t *byte = p->bytes;
    float *base = p->out, *next = base + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++) {
        float *out[BRICK_SIDE];
        uint32_t j = 0;

        for (uint32_t i = 0; i < width; i++)
            out[i] = k ? base + k[i] * nr : next + i * nr;
#ifdef BRICK_WIDE
        for (; j + VEC_LANES <= count; j += VEC_LANES) {
            const float *x[VEC_LANES];

            for (uint32_t n = 0; n < VEC_LANES; n++)
                x[n] = catalogue + pitch * (bytes ? byte[j + n] : index[j + n]);
            brick_singles_wide(x, width, j, scale + j, plain, accumulate, out);
        }
#endif
        for (; j + 4 <= count; j += 4) {
            const float *x[4];

            for (uint32_t n = 0; n < 4; n++)
                x[n] = catalogue + pitch * (bytes ? byte[j + n] : index[j + n]);
            brick_singles_four(x, width, j, scale + j, plain, accumulate, out);
        }
        for (; j < count; j++) {
            const float *x = catalogue + pitch * (bytes ? byte[j] : index[j]);

            for (uint32_t i = 0; i < width; i++) {
                const float value = x[i] * (plain ? 1.0f : scale[j]);
                out[i][j] = accumulate ? out[i][j] + value : value;
            }
        }
        index += p->index_step;
        byte += bytes ? p->index_step : 0;
        next += pitch * nr;
        k = k ? k + pitch : NULL;
    }
}

VEC_INLINE void brick_singles(const struct brick_patch *p, const uint32_t columns, const bool bytes)
{
    if (p->plain)
        brick_singles_how(p, columns, bytes, true, false);
    else if (p->d->accumulate)
        brick_singles_how(p, columns, bytes, false, true);
    else
        brick_singles_how(p, columns, bytes, false, false);
}

static void brick_patch_1x0(const struct brick_patch *p)
{
    if (p->d->entries <= 16)
        brick_lanes(p, 16);
    else if (p->d->entries <= BRICK_TABLE)
        brick_lanes(p, BRICK_TABLE);
    else if (p->bytes && p->d->brick_columns == 1)
        brick_singles(p, 1, true);
    else if (p->bytes && p->d->brick_columns == 2 && p->width == 2)
        brick_singles(p, 2, true);
    else if (p->bytes && p->d->brick_columns == 4 && p->width == 4)
        brick_singles(p, 4, true);
    else if (p->bytes)
        brick_singles(p, 0, true);
    else
        brick_singles(p, 0, false);
}

/* The function for bricks of these rows and `columns` (0: any). */
static brick_patch_fn brick_choose(uint32_t rows, uint32_t columns)
{
    switch (rows) {
    case 1:
        return brick_patch_1x0;
    case 2:
        return columns == 1 ? brick_patch_2x1 : columns == 2 ? brick_patch_2x2 : brick_patch_2x0;
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

    for (uint32_t i = 0; i < d->panel_nr && !p->plain; i++)
        p->scale[i] = !d->row_scale ? 1.0f : row + i < d->rows ? d->row_scale[row + i] : 0.0f;
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

    p->index_step = d->tile_brick_rows;
    for (uint32_t done = 0; done < count; done += each) {
        uint32_t row = (from + done) * d->brick_rows;
        if (row >= d->rows)
            return;
        brick_scales(p, row);
        p->out = d->panel + (size_t)row * d->panel_k;
        p->count = count - done < each ? count - done : each;
        p->index = index + done;
        p->bytes = bytes ? bytes + done : NULL;
        p->columns = full;
        p->width = d->brick_columns;
        p->column = column * d->brick_columns;
        brick_choose(d->brick_rows, d->brick_columns)(p);
        if (full == columns || (column + full) * d->brick_columns >= d->columns)
            continue;
        /* One more that sticks out. */
        p->index += (size_t)full * p->index_step;
        p->bytes += bytes ? (size_t)full * p->index_step : 0;
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
