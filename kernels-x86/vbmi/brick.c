/*
 * Bricks of few rows from catalogues of bytes for AVX-512 VBMI: an instruction looks 64 bytes up in
 * a table of 64 or 128, where floats are 16 in one of 32. Bytes are put in the panel's order first,
 * in L1, and become floats by the vector.
 */
#include "kernels-x86/vbmi/bytes.h"
#include "kernels-x86/vbmi/vbmi.h"

#include "codec/kernels/simd/quads.h"

VEC_INLINE void byte_put(const int8_t *bytes, vec by, const bool accumulate, float *out)
{
    const __m128i x = _mm_load_si128((const __m128i *)bytes);

    brick_vector_put(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)), by, false, accumulate, out);
}

/* `columns` columns of the matrix from `column` on, by `by`. */
VEC_INLINE void byte_widen(const struct kern_brick_decode *d, const int8_t *bytes, uint32_t column,
                           uint32_t columns, const vec by[2], const bool accumulate)
{
    const uint32_t *k = d->column_k ? d->column_k + column : NULL;
    const vec by0 = by[0], by1 = by[1];
    float *panel = d->panel + (k ? 0 : (size_t)column * BYTES_ROWS);

    for (uint32_t c = 0; c < columns; c++, bytes += BYTES_ROWS) {
        float *out = panel + (size_t)(k ? k[c] : c) * BYTES_ROWS;

        byte_put(bytes, by0, accumulate, out);
        byte_put(bytes + VEC_LANES, by1, accumulate, out + VEC_LANES);
    }
}

VEC_INLINE void byte_tile(const struct kern_brick_decode *d, const uint32_t rows,
                          const uint32_t kind)
{
    const uint32_t width = d->brick_columns;
    const uint32_t at_once = byte_at_once(rows, width);
    const vec step = vec_set1(d->catalogue_step);
    const vec by[2] = {d->row_scale ? vec_mul(step, vec_load(d->row_scale)) : step,
                       d->row_scale ? vec_mul(step, vec_load(d->row_scale + VEC_LANES)) : step};
    int8_t bytes[BYTES_AT_ONCE * BYTES_ROWS] __attribute__((aligned(64)));
    struct byte_stream stream = byte_stream_make(d, rows);

    for (uint32_t done = 0; done < d->tile_brick_columns; done += at_once) {
        const uint32_t column = done * width, end = column + at_once * width;
        const uint32_t columns = (end < d->columns ? end : d->columns) - column;

        byte_columns(d, &stream, at_once, rows, kind, bytes);
        if (d->accumulate)
            byte_widen(d, bytes, column, columns, by, true);
        else
            byte_widen(d, bytes, column, columns, by, false);
    }
}

BYTE_INSTANCES(byte_tile, struct kern_brick_decode)

/* Bricks of four rows and columns are as fast when floats are moved. */
static bool byte_takes(const struct kern_brick_decode *d)
{
    return d->panel_nr == BYTES_ROWS && kern_bricks_are_bytes(d) &&
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
