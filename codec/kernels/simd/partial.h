/*
 * A matrix of bricks times a vector by partial products: a template over the vectors of an ISA's
 * vec.h, for the includer of brick.h and gemv.h.
 */
#ifndef LEGO_KERNELS_SIMD_PARTIAL_H
#define LEGO_KERNELS_SIMD_PARTIAL_H

/* All entries with one column of bricks' x; `rows` is a constant, and `columns` but for 0. */
VEC_INLINE void partial_products(const struct kern_brick_products_f32 *p, const float *x,
                                 const uint32_t rows, const uint32_t columns, float *out)
{
    const uint32_t width = columns ? columns : p->brick_columns;
    const uint32_t parts = rows / GEMV_LANES;
    const float *column = p->catalogue;

    for (uint32_t e = 0; e < p->entries; e++, out += rows) {
        vec_quad sum[BRICK_SIDE / GEMV_LANES];

        GEMV_UNROLL
        for (uint32_t part = 0; part < parts; part++)
            sum[part] = vec_quad_load(column + part * GEMV_LANES) * x[0];
        column += rows;
        for (uint32_t c = 1; c < width; c++, column += rows)
            gemv_column(column, x[c], parts, sum);
        GEMV_UNROLL
        for (uint32_t part = 0; part < parts; part++)
            vec_quad_store(out + part * GEMV_LANES, sum[part]);
    }
}

static void simd_brick_products(const struct kern_brick_products_f32 *p)
{
    const float *x = p->x;
    float *out = p->products;

    for (uint32_t j = 0; j < p->columns; j++, x += p->brick_columns) {
        if (p->brick_rows == 4 && p->brick_columns == 4)
            partial_products(p, x, 4, 4, out);
        else if (p->brick_rows == 4)
            partial_products(p, x, 4, 0, out);
        else if (p->brick_rows == 8)
            partial_products(p, x, 8, 0, out);
        else if (p->brick_rows == 12)
            partial_products(p, x, 12, 0, out);
        else
            partial_products(p, x, 16, 0, out);
        out += (size_t)p->entries * p->brick_rows;
    }
}

/*
 * Tiles of 32 rows, whose sums stay in registers: bricks of `rows` (a constant) rows. The indices
 * are `index`, or where that is NULL (a constant, too) bytes.
 */
VEC_INLINE void partial_registers(const struct kern_brick_sums_f32 *s, const float *products,
                                  const uint32_t *index, const uint8_t *bytes, uint32_t columns,
                                  const uint32_t rows)
{
    const uint32_t parts = rows / GEMV_LANES, count = GEMV_SUMS / parts;
    const size_t step = (size_t)s->bricks.entries * rows;
    vec_quad sum[GEMV_SUMS];

    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        sum[i] = vec_quad_load(s->sums + i * GEMV_LANES);
    for (uint32_t j = 0; j < columns; j++, products += step) {
        GEMV_UNROLL
        for (uint32_t b = 0; b < count; b++) {
            const size_t at = index ? index[b] : bytes[b];

            GEMV_UNROLL
            for (uint32_t part = 0; part < parts; part++)
                sum[b * parts + part] += vec_quad_load(products + at * rows + part * GEMV_LANES);
        }
        if (index)
            index += count;
        else
            bytes += count;
    }
    GEMV_UNROLL
    for (uint32_t i = 0; i < GEMV_SUMS; i++)
        vec_quad_store(s->sums + i * GEMV_LANES, sum[i]);
}

static void partial_any(const struct kern_brick_sums_f32 *s, const float *products,
                        const uint32_t *index, uint32_t columns)
{
    const uint32_t rows = s->bricks.brick_rows;

    for (uint32_t j = 0; j < columns; j++, products += (size_t)s->bricks.entries * rows) {
        float *sums = s->sums;

        for (uint32_t b = 0; b < s->bricks.tile_brick_rows; b++, sums += rows) {
            const float *from = products + (size_t)*index++ * rows;
            for (uint32_t r = 0; r < rows; r += GEMV_LANES)
                vec_quad_store(sums + r, vec_quad_load(sums + r) + vec_quad_load(from + r));
        }
    }
}

static void simd_brick_sums(const struct kern_brick_sums_f32 *s)
{
    const struct kern_brick_decode *d = &s->bricks;
    const uint32_t tile_rows = d->tile_brick_rows;
    const bool registers = tile_rows * d->brick_rows == GEMV_SUMS * GEMV_LANES;
    uint32_t index[BRICK_BATCH + BRICK_PAD], step;

    if (tile_rows > BRICK_BATCH) {
        kern_ref_brick_sums_f32(s);
        return;
    }
    if (registers && d->index_bits == 8 && d->brick_rows <= 8) {
        const uint8_t *bytes = d->stream + d->first_index;

        if (d->brick_rows == 4)
            partial_registers(s, s->products, NULL, bytes, d->tile_brick_columns, 4);
        else
            partial_registers(s, s->products, NULL, bytes, d->tile_brick_columns, 8);
        return;
    }
    for (uint32_t column = 0; column < d->tile_brick_columns; column += step) {
        const float *products = s->products + (size_t)column * d->entries * d->brick_rows;

        step = BRICK_BATCH / tile_rows;
        if (step > d->tile_brick_columns - column)
            step = d->tile_brick_columns - column;
        brick_unpack(d, d->first_index + (uint64_t)column * tile_rows, step * tile_rows, index);
        if (registers && d->brick_rows == 4)
            partial_registers(s, products, index, NULL, step, 4);
        else if (registers && d->brick_rows == 8)
            partial_registers(s, products, index, NULL, step, 8);
        else
            partial_any(s, products, index, step);
    }
}

const kern_brick_products_f32_fn KERN_ISA(brick_products_f32) = simd_brick_products;
const kern_brick_sums_f32_fn KERN_ISA(brick_sums_f32) = simd_brick_sums;

#endif
