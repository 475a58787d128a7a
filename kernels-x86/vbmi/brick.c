/*
 * Bricks of few rows from catalogues of bytes for AVX-512 VBMI: an instruction looks 64 bytes up in
 * a table of 64 or 128, where floats are 16 in one of 32. Bytes are put in the panel's order first,
 * in L1, and become floats by the vector.
 */
#include "kernels-x86/vbmi/bytes.h"
#include "kernels-x86/vbmi/vbmi.h"

#include "codec/kernels/simd/quads.h"
#include "codec/kernels/simd/unroll.h"

enum {
    BYTES_BUFFER = 16384, /* of decoded bytes; a multiple of any group's */
    BYTES_TALLEST = 4,    /* rows of a brick */
    BYTES_LANE = 16,
};

/* One column of a group's bricks, of `rows` rows: row by row to the order of the panel. */
VEC_INLINE void byte_column(const int8_t *table, const uint32_t rows, const uint32_t kind,
                            __m512i i, int8_t *out)
{
    __m512i x[BYTES_TALLEST], y[BYTES_TALLEST];

    for (uint32_t r = 0; r < rows; r++)
        x[r] = byte_lookup(table + r * KERN_CATALOGUE_S8, kind, i);
    if (rows == 2) {
        y[0] = _mm512_unpacklo_epi8(x[0], x[1]);
        y[1] = _mm512_unpackhi_epi8(x[0], x[1]);
    } else if (rows == 4) {
        const __m512i a = _mm512_unpacklo_epi8(x[0], x[1]), b = _mm512_unpacklo_epi8(x[2], x[3]);
        const __m512i c = _mm512_unpackhi_epi8(x[0], x[1]), d = _mm512_unpackhi_epi8(x[2], x[3]);
        y[0] = _mm512_unpacklo_epi16(a, b);
        y[1] = _mm512_unpackhi_epi16(a, b);
        y[2] = _mm512_unpacklo_epi16(c, d);
        y[3] = _mm512_unpackhi_epi16(c, d);
    } else {
        y[0] = x[0];
    }
    for (uint32_t r = 0; r < rows; r++)
        _mm512_store_si512(out + r * BYTES_GROUP, y[r]);
}

/* Where half `half` (of 16 rows) of column of bricks `b` of a group lies in what byte_column()
 * stores. */
VEC_INLINE size_t byte_place(const uint32_t rows, uint32_t b, uint32_t half)
{
    if (rows == 1)
        return (2 * b + half) * BYTES_LANE;
    if (rows == 2)
        return half * BYTES_GROUP + b * BYTES_LANE;
    return (b % 2 * 2 + half) * BYTES_GROUP + b / 2 * BYTES_LANE;
}

/* Groups of indices from `first` on, `bricks` in all, to `out`. */
VEC_INLINE void byte_groups(const struct kern_brick_decode *d, const struct byte_indices *how,
                            const uint8_t *first, size_t bricks, const uint32_t rows,
                            const uint32_t kind, int8_t *out)
{
    const uint32_t bits = d->index_bits, columns = d->brick_columns;
    const int8_t *catalogue = d->catalogue_s8;
    size_t bytes = (bricks * bits + 7) / 8;

    for (size_t done = 0; done < bytes; done += (size_t)8 * bits) {
        const __m512i i = byte_indices_load(
            how, first + done, bytes - done < 8 * bits ? bytes - done : (size_t)8 * bits,
            kind == 256);

        __builtin_prefetch(first + done + BYTES_AHEAD);
        for (uint32_t c = 0; c < columns; c++, out += rows * BYTES_GROUP)
            byte_column(catalogue + c * rows * KERN_CATALOGUE_S8, rows, kind, i, out);
    }
}

VEC_INLINE void byte_put(const int8_t *bytes, vec by, const bool accumulate, float *out)
{
    const __m128i x = _mm_load_si128((const __m128i *)bytes);

    brick_vector_put(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)), by, false, accumulate, out);
}

/* `columns` columns of the matrix from `column` on, which is a group's first, by `by`. */
VEC_INLINE void byte_widen(const struct kern_brick_decode *d, const int8_t *bytes, uint32_t column,
                           uint32_t columns, const vec by[2], const uint32_t rows,
                           const bool accumulate)
{
    const uint32_t width = d->brick_columns, in_group = BYTES_GROUP * rows / BYTES_ROWS;
    const uint32_t *k = d->column_k ? d->column_k + column : NULL;
    const vec by0 = by[0], by1 = by[1];
    float *panel = d->panel + (k ? 0 : (size_t)column * BYTES_ROWS);
    uint32_t c = 0, b = 0, i = 0;

    for (; width == 1 && c + in_group <= columns; c += in_group, bytes += rows * BYTES_GROUP) {
        GEMM_UNROLL
        for (uint32_t n = 0; n < in_group; n++) {
            float *out = panel + (size_t)(k ? k[c + n] : c + n) * BYTES_ROWS;

            byte_put(bytes + byte_place(rows, n, 0), by0, accumulate, out);
            byte_put(bytes + byte_place(rows, n, 1), by1, accumulate, out + VEC_LANES);
        }
    }
    for (; c < columns; c++) {
        float *out = panel + (size_t)(k ? k[c] : c) * BYTES_ROWS;
        const int8_t *at = bytes + (size_t)i * rows * BYTES_GROUP;

        byte_put(at + byte_place(rows, b, 0), by0, accumulate, out);
        byte_put(at + byte_place(rows, b, 1), by1, accumulate, out + VEC_LANES);
        if (++i == width) {
            i = 0;
            b++;
        }
        if (b == in_group) {
            b = 0;
            bytes += (size_t)width * rows * BYTES_GROUP;
        }
    }
}

VEC_INLINE void byte_tile(const struct kern_brick_decode *d, const uint32_t rows,
                          const uint32_t kind)
{
    const uint32_t tile_rows = BYTES_ROWS / rows, width = d->brick_columns;
    const uint32_t groups = BYTES_BUFFER / (BYTES_GROUP * rows * width);
    const uint32_t at_once = groups * (BYTES_GROUP / tile_rows); /* columns of bricks */
    const struct byte_indices how = byte_indices_make(d->index_bits);
    const uint8_t *stream = d->stream + d->first_index * d->index_bits / 8;
    const vec step = vec_set1(d->catalogue_step);
    const vec by[2] = {d->row_scale ? vec_mul(step, vec_load(d->row_scale)) : step,
                       d->row_scale ? vec_mul(step, vec_load(d->row_scale + VEC_LANES)) : step};
    int8_t bytes[BYTES_BUFFER] __attribute__((aligned(64)));

    for (uint32_t done = 0; done < d->tile_brick_columns; done += at_once) {
        const uint32_t left = d->tile_brick_columns - done;
        const uint32_t count = left < at_once ? left : at_once;
        const uint32_t column = done * width, end = (done + count) * width;
        const uint32_t columns = (end < d->columns ? end : d->columns) - column;

        byte_groups(d, &how, stream + (size_t)done * tile_rows * d->index_bits / 8,
                    (size_t)count * tile_rows, rows, kind, bytes);
        if (d->accumulate)
            byte_widen(d, bytes, column, columns, by, rows, true);
        else
            byte_widen(d, bytes, column, columns, by, rows, false);
    }
}

BYTE_INSTANCES(byte_tile, struct kern_brick_decode)

/* Bricks of four rows and columns are as fast when floats are moved. */
static bool byte_takes(const struct kern_brick_decode *d)
{
    return d->catalogue_s8 && d->panel_nr == BYTES_ROWS && byte_tile_fits(d) &&
           (d->brick_rows < 4 || d->brick_columns % 4);
}

static void byte_decode(const struct kern_brick_decode *d)
{
    if (!byte_takes(d))
        kern_avx512_brick_decode(d);
    else
        BYTE_CALL(byte_tile, d, d)
}

const kern_brick_decode_fn kern_vbmi_brick_decode = byte_decode;
