/*
 * Bricks of 2, 4, 8 or 16 rows into panels: a part of brick.h, of the same template.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_TALL_H
#define LEGO_KERNELS_SIMD_BRICK_TALL_H

#include "codec/kernels/simd/brick_patch.h"

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

/* How many bricks of `rows` a vector holds a column of, where they are put together: else 1. */
#define BRICK_GROUP(rows) ((rows) == 4 ? QUADS : (rows) == 2 ? DOUBLES : 1)

/* Columns of a group of bricks of four or two rows and `columns` (constants both, 0: any) columns
 * as vectors, from column c on; returns how many there are. */
VEC_INLINE uint32_t brick_vectors(const float *const brick[DOUBLES], uint32_t c,
                                  const uint32_t rows, const uint32_t columns,
                                  vec ret_column[QUADS])
{
    const float *from[DOUBLES];

    for (uint32_t i = 0; i < BRICK_GROUP(rows); i++)
        from[i] = brick[i] + rows * c;
    if (rows == 2 || !columns || columns % QUADS) {
        ret_column[0] = rows == 2 ? vec_doubles(from) : vec_quads(from);
        return 1;
    }
    for (uint32_t i = 0; i < QUADS; i++)
        ret_column[i] = vec_load(from[i]);
    vec_turn_quads(ret_column);
    return QUADS;
}

/* A group of bricks from number j on. */
VEC_INLINE void brick_group(const struct brick_patch *p, const float *const brick[DOUBLES],
                            size_t j, const uint32_t rows, const uint32_t columns,
                            const uint32_t width, const bool plain, const bool accumulate,
                            float *const *out)
{
    const vec by = plain ? vec_set1(1.0f) : vec_load(p->scale + rows * j);
    vec x[QUADS];

    for (uint32_t c = 0, made; c < width; c += made) {
        made = brick_vectors(brick, c, rows, columns, x);
        for (uint32_t i = 0; i < made; i++)
            brick_vector_put(x[i], by, plain, accumulate, out[c + i] + rows * j);
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
    const uint32_t group = BRICK_GROUP(rows);
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
        for (; group > 1 && j + group <= count; j += group) {
            const float *brick[DOUBLES];
            for (uint32_t n = 0; n < group; n++)
                brick[n] = catalogue + (bytes ? byte[j + n] : index[j + n]) * pitch;
            brick_group(p, brick, j, rows, columns, width, plain, accumulate, out);
        }
        for (; group == 1 && j < whole; j += EACH)
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
 * would take as long as the copies. `count` bricks below each other, a constant, too.
 */
VEC_INLINE void brick_columns(const struct brick_patch *p, const uint32_t rows,
                              const uint32_t columns, const uint32_t count, const bool bytes)
{
    const uint32_t group = BRICK_GROUP(rows);
    const size_t nr = p->d->panel_nr, step = p->index_step, pitch = (size_t)rows * columns;
    const float *catalogue = p->d->catalogue;
    const uint8_t *byte = p->bytes;
    const uint32_t *index = p->index;
    float *out = p->out + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++, out += columns * nr) {
        GEMM_UNROLL
        for (uint32_t n = 0; n < count; n += group) {
            const float *brick[DOUBLES];
            vec x[QUADS];

            if (rows == 4 && columns == 1 && bytes) {
                vec_store(out + 4 * n, quads_by_bytes(catalogue, byte + n));
                continue;
            }
            for (uint32_t i = 0; i < group; i++)
                brick[i] = catalogue + (bytes ? byte[n + i] : index[n + i]) * pitch;
            GEMM_UNROLL
            for (uint32_t c = 0, made; c < columns; c += made) {
                made = group > 1 ? brick_vectors(brick, c, rows, columns, x) : 1;
                if (group == 1)
                    brick_copy(out + c * nr + n * rows, brick[0] + c * rows, rows);
                for (uint32_t i = 0; i < made && group > 1; i++)
                    vec_store(out + (c + i) * nr + rows * n, x[i]);
            }
        }
        byte += bytes ? step : 0;
        index += bytes ? 0 : step;
    }
}

/* Whole columns of a row block of `nr` (a constant) lanes; returns whether the patch is that. */
VEC_INLINE bool brick_block(const struct brick_patch *p, const uint32_t rows,
                            const uint32_t columns, const uint32_t nr, const bool bytes)
{
    const uint32_t count = nr / rows;

    if (p->count != count || !count || count % BRICK_GROUP(rows))
        return false;
    brick_columns(p, rows, columns, count, bytes);
    return true;
}

VEC_INLINE void brick_patch(const struct brick_patch *p, const uint32_t rows,
                            const uint32_t columns)
{
    const bool in_place = columns <= 1 && p->plain && p->bytes;
    const bool in_order = columns && p->plain && !p->d->column_k && p->width == columns;

    if (in_order && in_place &&
        (brick_block(p, rows, columns, 32, true) || brick_block(p, rows, columns, 16, true) ||
         brick_block(p, rows, columns, 8, true)))
        return;
    if (in_order && !in_place &&
        (brick_block(p, rows, columns, 32, false) || brick_block(p, rows, columns, 16, false) ||
         brick_block(p, rows, columns, 8, false)))
        return;
    if (in_place)
        brick_patch_how(p, rows, columns, true, true, false);
    else
        BRICK_HOW(brick_patch_how, p, rows, columns, false)
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

#endif
