/* Bricks and dense weights into panels. */
#include "codec/kernels/ref/ref.h"

#include <math.h>

/* Index `position` of a stream; reads only the bytes that hold it. */
static uint32_t read_index(const uint8_t *stream, uint32_t bits, uint64_t position)
{
    uint64_t bit = position * bits;
    const uint8_t *byte = stream + bit / 8;
    uint32_t shift = bit % 8, value = 0;

    for (uint32_t have = 0; have < shift + bits; have += 8)
        value |= (uint32_t)*byte++ << have;
    return (value >> shift) & ((1u << bits) - 1);
}

/* One column of one brick: rows from `row` on, into the panel at `k`. */
static void decode_column(const struct kern_brick_decode *d, const float *column, uint32_t row,
                          size_t k)
{
    uint32_t nr = d->panel_nr;
    uint32_t end = (d->rows + nr - 1) / nr * nr;

    for (uint32_t i = 0; i < d->brick_rows && row + i < end; i++) {
        uint32_t r = row + i;
        float *out = d->panel + ((size_t)(r / nr) * d->panel_k + k) * nr + r % nr;
        float value = column[i];
        if (d->row_scale && r < d->rows)
            value *= d->row_scale[r];
        *out = d->accumulate ? *out + value : value;
    }
}

static void brick_decode(const struct kern_brick_decode *d)
{
    uint32_t elems = d->brick_rows * d->brick_columns;

    for (uint32_t bc = 0; bc < d->tile_brick_columns; bc++) {
        for (uint32_t br = 0; br < d->tile_brick_rows; br++) {
            uint64_t position = d->first_index + (uint64_t)bc * d->tile_brick_rows + br;
            uint32_t index = read_index(d->stream, d->index_bits, position);
            const float *brick = d->catalogue + (size_t)index * elems;
            for (uint32_t i = 0; i < d->brick_columns; i++) {
                uint32_t c = bc * d->brick_columns + i;
                if (c >= d->columns)
                    break;
                decode_column(d, brick + i * d->brick_rows, br * d->brick_rows,
                              d->column_k ? d->column_k[c] : c);
            }
        }
    }
}

/* Element (r, c) of the integers. */
static int8_t brick_integer(const struct kern_brick_decode *d, uint32_t r, uint32_t c)
{
    const uint32_t width = d->brick_columns;
    const uint64_t column = (uint64_t)(c / width) * d->tile_brick_rows;
    const uint64_t position = d->first_index + column + r / d->brick_rows;
    const size_t element = (size_t)c % width * d->brick_rows + r % d->brick_rows;

    return d->catalogue_s8[element * KERN_CATALOGUE_S8 +
                           read_index(d->stream, d->index_bits, position)];
}

static void brick_gemv(const struct kern_brick_gemv_f32 *g)
{
    const struct kern_brick_decode *d = &g->bricks;
    uint32_t width = d->brick_columns, elems = d->brick_rows * width;

    for (uint32_t r = 0; r < d->rows; r++) {
        float sum = 0.0f;
        for (uint32_t c = 0; c < d->columns; c++) {
            uint64_t column = (uint64_t)(c / width) * d->tile_brick_rows;
            uint64_t position = d->first_index + column + r / d->brick_rows;
            size_t index = read_index(d->stream, d->index_bits, position);
            sum += d->catalogue[index * elems + c % width * d->brick_rows + r % d->brick_rows] *
                   g->x[c];
        }
        if (d->row_scale)
            sum *= d->row_scale[r];
        g->y[r] = d->accumulate ? g->y[r] + sum : sum;
    }
}

static void brick_decode_s8(const struct kern_brick_decode_s8 *s)
{
    const struct kern_brick_decode *d = &s->bricks;
    const uint32_t nr = s->nr, kg = s->kg;

    for (uint32_t r = 0; r < d->rows; r++) {
        int8_t *row = s->panel + (size_t)(r / nr) * s->depth * nr + (size_t)(r % nr) * kg;

        s->sum[r] = 0;
        for (uint32_t k = 0; k < s->depth; k++) {
            const uint32_t c = s->stored ? s->stored[k] : k;
            const int8_t integer = c < d->columns ? brick_integer(d, r, c) : 0;

            row[(size_t)(k / kg) * nr * kg + k % kg] = integer;
            s->sum[r] += integer;
        }
    }
}

static void fixed_digits(const struct kern_fixed_digits *f)
{
    const size_t padded = (f->count + KERN_FIXED_BLOCK - 1) / KERN_FIXED_BLOCK * KERN_FIXED_BLOCK;

    for (uint32_t d = 0; d < KERN_FIXED_DIGITS; d++)
        f->sum[d] = 0;
    for (size_t c = 0; c < padded; c++) {
        int8_t *digit = f->digits + c / KERN_FIXED_BLOCK * KERN_FIXED_BLOCK * KERN_FIXED_DIGITS +
                        c % KERN_FIXED_BLOCK;
        int64_t left = c < f->count ? (int64_t)rintf(f->x[c] * f->inverse) : 0;

        for (uint32_t d = 0; d < KERN_FIXED_DIGITS; d++, digit += KERN_FIXED_BLOCK) {
            *digit = (int8_t)(((left + 128) & 255) - 128);
            f->sum[d] += *digit;
            left = (left - *digit) / 256;
        }
    }
}

/* The number in column c. */
static int64_t fixed_number(const struct kern_brick_gemv_fixed *g, uint32_t c)
{
    const uint32_t width = g->bricks.brick_columns;
    const size_t blocks = (g->bricks.tile_brick_columns + KERN_FIXED_BLOCK - 1) / KERN_FIXED_BLOCK;
    const size_t block = c % width * blocks + c / width / KERN_FIXED_BLOCK;
    const int8_t *digit =
        g->digits + block * KERN_FIXED_BLOCK * KERN_FIXED_DIGITS + c / width % KERN_FIXED_BLOCK;
    int64_t number = 0;

    for (uint32_t d = KERN_FIXED_DIGITS; d > 0; d--)
        number = number * 256 + digit[(d - 1) * KERN_FIXED_BLOCK];
    return number;
}

static void brick_gemv_fixed(const struct kern_brick_gemv_fixed *g)
{
    const struct kern_brick_decode *d = &g->bricks;

    for (uint32_t r = 0; r < d->rows; r++) {
        int64_t sum = 0;
        float y;

        for (uint32_t c = 0; c < d->columns; c++)
            sum += fixed_number(g, c) * brick_integer(d, r, c);
        y = (float)((double)sum * ((double)g->scale * d->catalogue_step));
        if (d->row_scale)
            y *= d->row_scale[r];
        g->y[r] = d->accumulate ? g->y[r] + y : y;
    }
}

/* They are references. */
static bool never(const struct kern_brick_decode *bricks)
{
    (void)bricks;
    return false;
}

static void brick_products(const struct kern_brick_products_f32 *p)
{
    const uint32_t rows = p->brick_rows, width = p->brick_columns;
    const float *x = p->x;
    float *out = p->products;

    for (uint32_t j = 0; j < p->columns; j++, x += width) {
        const float *column = p->catalogue;

        for (uint32_t e = 0; e < p->entries; e++, column += (size_t)rows * width, out += rows) {
            for (uint32_t r = 0; r < rows; r++) {
                float sum = 0.0f;
                for (uint32_t c = 0; c < width; c++)
                    sum += column[c * rows + r] * x[c];
                out[r] = sum;
            }
        }
    }
}

static void brick_sums(const struct kern_brick_sums_f32 *s)
{
    const struct kern_brick_decode *d = &s->bricks;
    const size_t rows = d->brick_rows;
    uint64_t position = d->first_index;

    for (uint32_t j = 0; j < d->tile_brick_columns; j++) {
        const float *products = s->products + (size_t)j * d->entries * rows;

        for (uint32_t b = 0; b < d->tile_brick_rows; b++, position++) {
            const size_t index = read_index(d->stream, d->index_bits, position);

            for (uint32_t r = 0; r < rows; r++)
                s->sums[b * rows + r] += products[index * rows + r];
        }
    }
}

static void panel_pack(const struct kern_panel_pack *p)
{
    uint32_t nr = p->panel_nr;
    uint32_t end = (p->rows + nr - 1) / nr * nr;

    for (uint32_t r = 0; r < end; r++) {
        float *out = p->panel + (size_t)(r / nr) * p->panel_k * nr + r % nr;
        for (uint32_t t = 0; t < p->taps; t++) {
            for (uint32_t c = 0; c < p->channels; c++, out += nr)
                *out =
                    r < p->rows
                        ? p->source[(ptrdiff_t)r * p->row_stride +
                                    (ptrdiff_t)c * p->channel_stride + (ptrdiff_t)t * p->tap_stride]
                        : 0.0f;
        }
    }
}

const kern_brick_decode_fn kern_ref_brick_decode = brick_decode;
const kern_brick_gemv_f32_fn kern_ref_brick_gemv_f32 = brick_gemv;
const kern_fixed_digits_fn kern_ref_fixed_digits = fixed_digits;
const struct kern_brick_gemv_fixed_variant kern_ref_brick_gemv_fixed = {brick_gemv_fixed, never};
const struct kern_brick_decode_s8_variant kern_ref_brick_decode_s8 = {brick_decode_s8, never};
const kern_brick_products_f32_fn kern_ref_brick_products_f32 = brick_products;
const kern_brick_sums_f32_fn kern_ref_brick_sums_f32 = brick_sums;
const kern_panel_pack_fn kern_ref_panel_pack = panel_pack;
