/*
 * A matrix of bricks times a vector: a template over the vectors of an ISA's vec.h, for the
 * includer of brick.h, whose unpacking and lookups it uses.
 *
 * Nothing is decoded to memory: an index is a row of factors that lie in the catalogue, in L1.
 */
#ifndef LEGO_KERNELS_SIMD_GEMV_H
#define LEGO_KERNELS_SIMD_GEMV_H

#include "codec/kernels/ref/ref.h"

#ifdef __clang__
#define GEMV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMV_UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    GEMV_TILE_ROWS = 256 + BRICK_SIDE, /* sums of a tile; bricks may stick out of it */
    GEMV_LANES = 4,
    GEMV_SUMS = 8, /* vectors of four that stay in registers: a tile of 32 rows */
};

/* Some columns of bricks of a tile. */
struct gemv_patch {
    const struct kern_brick_decode *d;
    const struct brick_tables *tables;
    const uint32_t *index; /* of the first; a full vector is readable behind the last */
    const uint8_t *bytes;  /* the same indices in place, where all are so read */
    uint32_t columns;      /* of bricks */
    uint32_t width;        /* columns of a brick, without what sticks out of the matrix */
    const float *x;        /* of the first column */
    float *sums;
};

/* sum += x times a column of a brick. */
VEC_INLINE void gemv_column(const float *column, float x, const uint32_t parts, vec_quad *sum)
{
    GEMV_UNROLL
    for (uint32_t part = 0; part < parts; part++)
        sum[part] = vec_quad_fma(vec_quad_load(column + part * GEMV_LANES), x, sum[part]);
}

/*
 * Bricks of `rows` rows, `columns` columns, all of a brick's (0: as many as the patch says), in
 * tiles of 32 rows or less: what a lower tile lacks is computed from the bricks that follow, and
 * nobody reads it.
 */
VEC_INLINE void gemv_registers(const struct gemv_patch *p, const uint32_t rows,
                               const uint32_t columns)
{
    const uint32_t parts = rows / GEMV_LANES, count = GEMV_SUMS / parts;
    const uint32_t width = columns ? columns : p->width;
    const uint32_t brick_columns = columns ? columns : p->d->brick_columns;
    const size_t pitch = (size_t)rows * brick_columns;
    const float *catalogue = p->d->catalogue, *x = p->x;
    const uint32_t *index = p->index, step = p->d->tile_brick_rows;
    vec_quad sum[GEMV_SUMS];

    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        sum[i] = vec_quad_load(p->sums + i * GEMV_LANES);
    for (uint32_t column = 0; column < p->columns; column++, index += step, x += brick_columns) {
        const float *brick[GEMV_SUMS];

        GEMV_UNROLL
        for (uint32_t j = 0; j < count; j++) {
            brick[j] = catalogue + index[j] * pitch;
            /* One addition, not one for each load. */
            __asm__("" : "+r"(brick[j]));
        }
        if (columns) {
            GEMV_UNROLL
            for (uint32_t j = 0; j < count; j++)
                GEMV_UNROLL
            for (uint32_t i = 0; i < columns; i++)
                gemv_column(brick[j] + i * rows, x[i], parts, sum + j * parts);
        } else {
            for (uint32_t i = 0; i < width; i++)
                GEMV_UNROLL
            for (uint32_t j = 0; j < count; j++)
                gemv_column(brick[j] + i * rows, x[i], parts, sum + j * parts);
        }
    }
    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        vec_quad_store(p->sums + i * GEMV_LANES, sum[i]);
}

#define GEMV_REGISTERS(rows, columns)                                                         \
    static __attribute__((noinline)) void gemv_##rows##x##columns(const struct gemv_patch *p) \
    {                                                                                         \
        gemv_registers(p, rows, columns);                                                     \
    }

GEMV_REGISTERS(4, 1)
GEMV_REGISTERS(4, 2)
GEMV_REGISTERS(4, 4)
GEMV_REGISTERS(4, 0)
GEMV_REGISTERS(8, 1)
GEMV_REGISTERS(8, 0)
GEMV_REGISTERS(16, 0)

#ifdef VEC_QUAD_AT
/* Bricks of 4x1 in whole tiles of 32 rows, indices in place: an index, its place and its product
 * are all that there is to do for a brick. */
static __attribute__((noinline)) void gemv_bytes(const struct gemv_patch *p)
{
    const float *catalogue = p->d->catalogue;
    const uint8_t *byte = p->bytes;
    vec_quad sum[GEMV_SUMS];

    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        sum[i] = vec_quad_load(p->sums + i * GEMV_LANES);
    for (uint32_t column = 0; column < p->columns; column++, byte += GEMV_SUMS) {
        const float x = p->x[column];
        uint64_t eight;

        memcpy(&eight, byte, sizeof(eight));
        GEMV_UNROLL
        for (uint32_t i = 0; i < GEMV_SUMS; i++)
            gemv_column(vec_quad_at(catalogue, eight, i), x, 1, sum + i);
    }
    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        vec_quad_store(p->sums + i * GEMV_LANES, sum[i]);
}
#endif

/* Bricks of one row, `vectors` (a constant) vectors of them from brick `from` on. */
VEC_INLINE void gemv_lookups(const struct gemv_patch *p, const uint32_t kind, uint32_t from,
                             const uint32_t vectors)
{
    uint32_t step = p->d->tile_brick_rows, pitch = p->d->brick_columns;
    const uint32_t *index = p->index + from;
    const float *x = p->x;
    vec sum[4];

    for (uint32_t v = 0; v < vectors; v++)
        sum[v] = vec_load(p->sums + from + v * VEC_LANES);
    for (uint32_t column = 0; column < p->columns; column++, index += step, x += pitch) {
        for (uint32_t i = 0; i < p->width; i++) {
            const float *table = kind ? p->tables->column[i] : p->d->catalogue + i;
            vec factor = vec_set1(x[i]);
            for (uint32_t v = 0; v < vectors; v++)
                sum[v] = vec_fma(brick_lookup(table, kind, pitch, index + v * VEC_LANES), factor,
                                 sum[v]);
        }
    }
    for (uint32_t v = 0; v < vectors; v++)
        vec_store(p->sums + from + v * VEC_LANES, sum[v]);
}

/*
 * Bricks of 1x1 in whole tiles of 32 rows from a table of sixteen, indices of `bits` (a constant)
 * in place. Some columns at a time, each with sums of its own, so that no FMA waits for the last.
 */
VEC_INLINE void gemv_packed(const struct gemv_patch *p, const uint32_t bits)
{
    enum { VECTORS = GEMV_SUMS * GEMV_LANES / VEC_LANES, CHAINS = 8 / VECTORS };
    const float *table = p->tables->column[0], *x = p->x;
    const uint8_t *at = p->bytes;
    uint32_t columns = p->columns;
    vec sum[CHAINS][VECTORS];

    GEMV_UNROLL
    for (uint32_t v = 0; v < CHAINS * VECTORS; v++)
        sum[v / VECTORS][v % VECTORS] = vec_set1(0.0f);
    for (; columns >= CHAINS; columns -= CHAINS, x += CHAINS) {
        GEMV_UNROLL
        for (uint32_t v = 0; v < CHAINS * VECTORS; v++, at += VEC_LANES * bits / 8)
            sum[v / VECTORS][v % VECTORS] =
                vec_fma(brick_lookup_bits(table, at, bits), vec_set1(x[v / VECTORS]),
                        sum[v / VECTORS][v % VECTORS]);
    }
    for (; columns; columns--, x++) {
        GEMV_UNROLL
        for (uint32_t v = 0; v < VECTORS; v++, at += VEC_LANES * bits / 8)
            sum[0][v] = vec_fma(brick_lookup_bits(table, at, bits), vec_set1(*x), sum[0][v]);
    }
    GEMV_UNROLL
    for (uint32_t v = 0; v < VECTORS; v++) {
        for (uint32_t c = 1; c < CHAINS; c++)
            sum[0][v] = vec_add(sum[0][v], sum[c][v]);
        vec_store(p->sums + v * VEC_LANES, sum[0][v]);
    }
}

/* Whole tiles whose indices need not be unpacked; false: other code must do it. */
static bool gemv_in_place(const struct gemv_patch *p)
{
    const struct kern_brick_decode *d = p->d;
    const bool whole =
        d->brick_columns == 1 && d->tile_brick_rows * d->brick_rows == GEMV_SUMS * GEMV_LANES;

    if (whole && d->brick_rows == 1 && d->index_bits == 4 && d->entries <= 16)
        gemv_packed(p, 4);
    else if (whole && d->brick_rows == 1 && d->index_bits == 2 && d->entries <= 16)
        gemv_packed(p, 2);
#ifdef VEC_QUAD_AT
    else if (whole && d->brick_rows == 4 && d->index_bits == 8)
        gemv_bytes(p);
#endif
    else
        return false;
    return true;
}

/* Lanes beyond the tile's last brick compute what nobody reads. */
VEC_INLINE void gemv_lanes_of(const struct gemv_patch *p, const uint32_t kind)
{
    uint32_t from = 0, count = p->d->tile_brick_rows;

    for (; from + 4 * VEC_LANES <= count; from += 4 * VEC_LANES)
        gemv_lookups(p, kind, from, 4);
    for (; from < count; from += VEC_LANES)
        gemv_lookups(p, kind, from, 1);
}

static void gemv_1x0(const struct gemv_patch *p)
{
    if (p->d->entries <= 16)
        gemv_lanes_of(p, 16);
    else if (p->d->entries <= BRICK_TABLE)
        gemv_lanes_of(p, BRICK_TABLE);
    else
        gemv_lanes_of(p, 0);
}

static void gemv_any(const struct gemv_patch *p)
{
    const struct kern_brick_decode *d = p->d;
    uint32_t rows = d->brick_rows;
    const uint32_t *index = p->index;

    for (uint32_t column = 0; column < p->columns; column++) {
        const float *x = p->x + (size_t)column * d->brick_columns;
        for (uint32_t j = 0; j < d->tile_brick_rows; j++, index++) {
            const float *brick = d->catalogue + (size_t)*index * rows * d->brick_columns;
            float *sums = p->sums + (size_t)j * rows;
            for (uint32_t i = 0; i < p->width; i++, brick += rows)
                for (uint32_t r = 0; r < rows; r++)
                    sums[r] += brick[r] * x[i];
        }
    }
}

static void gemv_run(const struct gemv_patch *p)
{
    const uint32_t rows = p->d->brick_rows;
    const uint32_t columns = p->width == p->d->brick_columns ? p->width : 0;
    const bool registers = rows * p->d->tile_brick_rows <= GEMV_SUMS * GEMV_LANES;

    if (rows == 1)
        gemv_1x0(p);
    else if (registers && rows == 4)
        (columns == 1 ? gemv_4x1 : columns == 2 ? gemv_4x2 : columns == 4 ? gemv_4x4 : gemv_4x0)(p);
    else if (registers && rows == 8)
        (columns == 1 ? gemv_8x1 : gemv_8x0)(p);
    else if (registers && rows == 16)
        gemv_16x0(p);
    else
        gemv_any(p);
}

static void gemv_give(const struct kern_brick_gemv_f32 *g, const float *sums)
{
    const struct kern_brick_decode *d = &g->bricks;

    for (uint32_t r = 0; r < d->rows; r++) {
        float sum = d->row_scale ? sums[r] * d->row_scale[r] : sums[r];
        g->y[r] = d->accumulate ? g->y[r] + sum : sum;
    }
}

static void simd_brick_gemv(const struct kern_brick_gemv_f32 *g)
{
    const struct kern_brick_decode *d = &g->bricks;
    uint32_t index[BRICK_BATCH + BRICK_PAD], tile_rows = d->tile_brick_rows, width;
    float sums[GEMV_TILE_ROWS + VEC_LANES] = {0.0f};
    struct brick_tables tables;
    struct gemv_patch patch = {.d = d, .tables = &tables, .index = index, .sums = sums};
    uint32_t whole = d->columns / d->brick_columns, step;

    if (tile_rows * d->brick_rows > GEMV_TILE_ROWS || tile_rows > BRICK_BATCH) {
        kern_ref_brick_gemv_f32(g);
        return;
    }
    brick_tables_init(&tables, d);
    patch.bytes = d->stream + d->first_index * d->index_bits / 8;
    patch.columns = d->tile_brick_columns;
    patch.x = g->x;
    if (gemv_in_place(&patch)) {
        gemv_give(g, sums);
        return;
    }
    for (uint32_t column = 0; column < d->tile_brick_columns; column += step) {
        step = BRICK_BATCH / tile_rows;
        width = d->brick_columns;
        if (column < whole && step > whole - column)
            step = whole - column;
        if (column >= whole) { /* the one that sticks out */
            step = 1;
            width = d->columns - column * d->brick_columns;
        }
        brick_unpack(d, d->first_index + (uint64_t)column * tile_rows, step * tile_rows, index);
        patch.columns = step;
        patch.width = width;
        patch.x = g->x + (size_t)column * d->brick_columns;
        gemv_run(&patch);
    }
    gemv_give(g, sums);
}

const kern_brick_gemv_f32_fn KERN_ISA(brick_gemv_f32) = simd_brick_gemv;

#endif
