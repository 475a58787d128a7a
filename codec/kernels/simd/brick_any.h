/*
 * Bricks whose rows do not divide a row block of the panel, of any size: a part of brick.h, of the
 * same template.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_ANY_H
#define LEGO_KERNELS_SIMD_BRICK_ANY_H

#include "codec/kernels/simd/quads.h"
#include "codec/kernels/simd/unroll.h"

#include <string.h>

enum { BRICK_SIDE = 16 }; /* at most */

/* `count` rows of one column of a brick, all in one row block. */
VEC_INLINE void brick_copy_run(const struct kern_brick_decode *d, bool plain, uint32_t row,
                               uint32_t count, const float *column, float *out)
{
    if (plain) {
        for (; count >= 4; count -= 4, column += 4, out += 4)
            memcpy(out, column, 4 * sizeof(*out));
        if (count & 2)
            memcpy(out, column, 2 * sizeof(*out));
        if (count & 1)
            out[count & 2] = column[count & 2];
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        float value = column[i];
        if (d->row_scale && row + i < d->rows)
            value *= d->row_scale[row + i];
        out[i] = d->accumulate ? out[i] + value : value;
    }
}

/* Where bricks lie beside each other whose rows do not divide a row block. */
struct brick_row {
    const struct kern_brick_decode *d;
    const uint32_t *index;    /* of the first */
    uint32_t column, columns; /* of bricks */
    uint32_t row, count;      /* of the rows that lie in one row block */
    const float *first;       /* those of the catalogue's first brick */
    float *out;               /* of the first row, at k 0 */
};

/*
 * Column by column with its scales, and by fours, which may spoil what comes after the last row.
 * `quads` and `width` are constants for bricks of 3 x 3.
 */
VEC_INLINE void brick_row_wide(const struct brick_row *r, const uint32_t quads,
                               const uint32_t width)
{
    const struct kern_brick_decode *d = r->d;
    const uint32_t height = d->brick_rows, step = d->tile_brick_rows, columns = r->columns;
    const uint32_t *index = r->index, *k = d->column_k;
    const size_t nr = d->panel_nr, pitch = (size_t)height * width;
    const float *first = r->first;
    float scale[BRICK_SIDE], *out = r->out;
    uint32_t c = r->column * width, left = d->columns - c;

    for (uint32_t i = 0; i < 4 * quads; i++)
        scale[i] =
            d->row_scale && i < r->count && r->row + i < d->rows ? d->row_scale[r->row + i] : 1;
    for (uint32_t b = 0; b < columns; b++) {
        const float *x = first + *index * pitch;

        for (uint32_t i = 0; i < width && i < left; i++, c++, x += height) {
            float *to = out + (k ? k[c] : c) * nr;

            for (uint32_t q = 0; q < quads; q++)
                vec_quad_store(to + 4 * q, vec_quad_load(x + 4 * q) * vec_quad_load(scale + 4 * q));
        }
        left -= width;
        index += step;
    }
}

/* Exactly those rows. */
static void brick_row_tight(const struct brick_row *r)
{
    const struct kern_brick_decode *d = r->d;
    const uint32_t width = d->brick_columns, height = d->brick_rows;
    const bool plain = !d->row_scale && !d->accumulate;

    for (uint32_t b = 0; b < r->columns; b++) {
        const float *x = r->first + (size_t)r->index[b * d->tile_brick_rows] * height * width;
        uint32_t c = (r->column + b) * width;

        for (uint32_t i = 0; i < width && c < d->columns; i++, c++, x += height) {
            const size_t k = d->column_k ? d->column_k[c] : c;

            brick_copy_run(d, plain, r->row, r->count, x, r->out + k * d->panel_nr);
        }
    }
}

/*
 * Bricks of 3x3 without scales, `r->count` below each other in one row block: what a vector holds
 * quads of at a time, whose fourth floats go. A store may spoil what the next one mends; the last
 * brick is copied as it is.
 */
VEC_INLINE void brick_threes_how(const struct brick_row *r, const size_t stores, const size_t count)
{
    /* BEHIND: bricks that mend what a vector spoils behind its own. */
    enum { SIDE = 3, MOST = 32 / SIDE, EACH = SIDE * QUADS };
    enum { BEHIND = (VEC_LANES - EACH + SIDE - 1) / SIDE };
    const struct kern_brick_decode *d = r->d;
    const size_t nr = d->panel_nr, by_count = count > BEHIND ? (count - BEHIND) / QUADS : 0;
    const size_t by_stores = stores >= VEC_LANES ? (stores - VEC_LANES) / EACH + 1 : 0;
    const size_t vectors = by_count < by_stores ? by_count : by_stores;

    for (uint32_t b = 0; b < r->columns; b++) {
        const uint32_t *index = r->index + (size_t)b * d->tile_brick_rows;
        const float *brick[MOST];
        uint32_t c = (r->column + b) * SIDE;

        MAYBE_UNROLL
        for (size_t j = 0; j < count; j++)
            brick[j] = r->first + (size_t)index[j] * SIDE * SIDE;
        for (uint32_t i = 0; i < SIDE && c < d->columns; i++, c++) {
            float *out = r->out + (d->column_k ? d->column_k[c] : c) * nr;

            MAYBE_UNROLL
            for (size_t v = 0; v < vectors; v++) {
                const float *from[QUADS];
                for (uint32_t n = 0; n < QUADS; n++)
                    from[n] = brick[v * QUADS + n] + i * SIDE;
                vec_store(out + v * EACH, vec_threes(vec_quads(from)));
            }
            MAYBE_UNROLL
            for (size_t j = vectors * QUADS; j < count; j++)
                memcpy(out + SIDE * j, brick[j] + i * SIDE,
                       (j + 1 < count ? 4 : SIDE) * sizeof(*out));
        }
    }
}

static void brick_threes(const struct brick_row *r, uint32_t lane)
{
    if (lane == 0 && r->count == 10 && r->d->panel_nr == 32) /* a tile that most files have */
        brick_threes_how(r, 32, 10);
    else
        brick_threes_how(r, r->d->panel_nr - lane, r->count);
}

/* Bricks whose rows do not divide a row block: as brick_rows(), brick by brick. */
static void brick_rows_any(const struct kern_brick_decode *d, uint32_t column, uint32_t columns,
                           uint32_t from, uint32_t count, const uint32_t *index)
{
    uint32_t nr = d->panel_nr, height = d->brick_rows, end = (d->rows + nr - 1) / nr * nr;
    const bool threes =
        height == 3 && d->brick_columns == 3 && nr <= 32 && !d->row_scale && !d->accumulate;

    for (uint32_t j = 0; j < count; j++) {
        uint32_t row = (from + j) * height, part;

        if (threes && row < end && row % nr + height <= nr) {
            const uint32_t inside = (nr - row % nr) / height;
            const struct brick_row r = {.d = d,
                                        .index = index + j,
                                        .column = column,
                                        .columns = columns,
                                        .count = inside < count - j ? inside : count - j,
                                        .first = d->catalogue,
                                        .out = d->panel + (size_t)(row - row % nr) * d->panel_k +
                                               row % nr};
            brick_threes(&r, row % nr);
            j += r.count - 1;
            continue;
        }
        for (uint32_t done = 0; done < height && row + done < end; done += part) {
            uint32_t lane = (row + done) % nr;
            part = nr - lane < height - done ? nr - lane : height - done;
            const uint32_t quads = (part + 3) / 4;
            const struct brick_row r = {.d = d,
                                        .index = index + j,
                                        .column = column,
                                        .columns = columns,
                                        .row = row + done,
                                        .count = part,
                                        .first = d->catalogue + done,
                                        .out = d->panel + (size_t)(row + done - lane) * d->panel_k +
                                               lane};
            /* The next brick mends what this one spoils. */
            const bool wide = j + 1 < count && part == height - done && lane + quads * 4 <= nr;
            if (!wide || d->accumulate)
                brick_row_tight(&r);
            else if (height == 3 && d->brick_columns == 3)
                brick_row_wide(&r, 1, 3);
            else
                brick_row_wide(&r, quads, d->brick_columns);
        }
    }
}

#endif
