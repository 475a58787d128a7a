/*
 * Bricks of integers for AVX-512 VBMI, by the vector of bytes: their indices, lookups, and tiles of
 * 32 rows decoded to bytes.
 */
#ifndef LEGO_KERNELS_X86_VBMI_BYTES_H
#define LEGO_KERNELS_X86_VBMI_BYTES_H

#include "kernels-x86/avx512/vec.h"

#include "codec/kernels/simd/unroll.h"

enum {
    BYTES_GROUP = 64,    /* indices at a time */
    BYTES_ROWS = 32,     /* of a tile */
    BYTES_TALLEST = 8,   /* rows of a brick */
    BYTES_AT_ONCE = 512, /* columns */
    BYTES_AHEAD = 4096,  /* of indices, to fetch: processors themselves stop at the end of a page */
};

/* Columns of bricks that a group of indices is. */
#define BYTE_COLUMNS(rows) (BYTES_GROUP * (rows) / BYTES_ROWS)

/* The indices of a tile as they are read; `order`: what byte_columns() makes of them. */
struct byte_stream {
    const uint8_t *at;
    size_t left, each; /* bytes: in all, of a group */
    __m512i spread, shift, mask, order;
};

/*
 * The order of a group's indices from which byte_zip() makes columns. It works in each lane of 128
 * bits by itself: of what `rows` lookups say of a lane's sixteen bricks, vector n gets all rows of
 * the n-th 16 / rows of them, half a column. Lanes 0 and 1 therefore begin with the halves of
 * column 2 * n, lanes 2 and 3 with those of the next: vector n is two columns one after the other.
 */
VEC_INLINE __m512i byte_order(const uint32_t rows)
{
    const uint32_t bricks = BYTES_ROWS / rows, half = bricks / 2;
    uint8_t order[BYTES_GROUP];

    for (uint32_t i = 0; i < BYTES_GROUP; i++) {
        const uint32_t lane = i / 16, n = i % 16 / half;
        order[i] = (uint8_t)((2 * n + lane / 2) * bricks + lane % 2 * half + i % half);
    }
    return _mm512_loadu_si512(order);
}

/* Columns of bricks that are decoded at a time, whole groups: their bytes fit L1. */
VEC_INLINE uint32_t byte_at_once(const uint32_t rows, uint32_t width)
{
    return BYTES_AT_ONCE / width / BYTE_COLUMNS(rows) * BYTE_COLUMNS(rows);
}

/* In each byte of lane l what `base` has there and l. */
VEC_INLINE __m512i byte_ramp32(uint32_t base)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    return _mm512_add_epi32(_mm512_set1_epi32((int32_t)base),
                            _mm512_mullo_epi32(lane, _mm512_set1_epi32(0x01010101)));
}

/* From four columns of 32 bytes: those of the same row together, rows from 0 or, for half 1, 16. */
VEC_INLINE __m512i byte_fours(const uint32_t half)
{
    return byte_ramp32(half ? 0x70503010 : 0x60402000);
}

/* By lanes of eight bytes, with l times `step`. */
VEC_INLINE __m512i byte_ramp64(uint64_t base, uint64_t step)
{
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);

    return _mm512_add_epi64(
        _mm512_set1_epi64((int64_t)base),
        _mm512_mullo_epi64(lane, _mm512_set1_epi64((int64_t)(step * 0x0101010101010101u))));
}

VEC_INLINE struct byte_stream byte_stream_make(const struct kern_brick_decode *d,
                                               const uint32_t rows)
{
    const uint32_t bits = d->index_bits;
    const uint64_t eight = 0x0706050403020100u;
    const size_t bricks = (size_t)d->tile_brick_columns * d->tile_brick_rows;

    /* Eight indices are `bits` whole bytes. */
    return (struct byte_stream){
        .at = d->stream + d->first_index * bits / 8,
        .left = (bricks * bits + 7) / 8,
        .each = (size_t)8 * bits,
        .spread = byte_ramp64(eight, bits),
        .shift = _mm512_set1_epi64((int64_t)(bits * eight)),
        .mask = _mm512_set1_epi8((char)((1u << bits) - 1)),
        .order = byte_order(rows),
    };
}

/* The next 64 indices, 0 for those behind the last. `whole`, a constant: they are bytes. */
VEC_INLINE __m512i byte_stream_next(struct byte_stream *s, const bool whole)
{
    const size_t bytes = s->left < s->each ? s->left : s->each;
    const __mmask64 first = bytes < BYTES_GROUP ? ((__mmask64)1 << bytes) - 1 : ~(__mmask64)0;
    const __m512i loaded = _mm512_maskz_loadu_epi8(first, s->at);
    const __m512i packed = _mm512_permutexvar_epi8(s->spread, loaded);

    __builtin_prefetch(s->at + BYTES_AHEAD);
    s->at += bytes;
    s->left -= bytes;
    return whole ? loaded
                 : _mm512_and_si512(_mm512_multishift_epi64_epi8(s->shift, packed), s->mask);
}

/* The smallest table that has all entries: for more than 128, indices are whole bytes. */
VEC_INLINE uint32_t byte_kind(const struct kern_brick_decode *d)
{
    const uint32_t named = 1u << d->index_bits;
    const uint32_t most = d->entries < named ? d->entries : named;

    return most <= 64 ? 64 : most <= 128 ? 128 : 256;
}

/* 64 lookups in a table of `kind` (a constant) entries. */
VEC_INLINE __m512i byte_lookup(const int8_t *table, const uint32_t kind, __m512i i)
{
    const __m512i *t = (const __m512i *)table;
    __m512i low, high;

    if (kind == 64)
        return _mm512_permutexvar_epi8(i, _mm512_load_si512(t));
    low = _mm512_permutex2var_epi8(_mm512_load_si512(t), i, _mm512_load_si512(t + 1));
    if (kind == 128)
        return low;
    high = _mm512_permutex2var_epi8(_mm512_load_si512(t + 2), i, _mm512_load_si512(t + 3));
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(i), high);
}

/* Rows of bricks, one in each x[], come together: to pairs, pairs to fours, fours to eights. */
VEC_INLINE void byte_zip(const uint32_t rows, const __m512i x[BYTES_TALLEST],
                         __m512i ret_y[BYTES_TALLEST])
{
    __m512i a[BYTES_TALLEST], b[BYTES_TALLEST];

    MAYBE_UNROLL
    for (uint32_t i = 0; i < rows / 2; i++) {
        a[i] = _mm512_unpacklo_epi8(x[2 * i], x[2 * i + 1]);
        a[rows / 2 + i] = _mm512_unpackhi_epi8(x[2 * i], x[2 * i + 1]);
    }
    if (rows == 1)
        a[0] = x[0];
    for (uint32_t i = 0; i < rows; i++)
        ret_y[i] = a[i];
    if (rows <= 2)
        return;
    for (uint32_t h = 0; h < 2; h++)
        for (uint32_t i = 0; i < rows / 4; i++) {
            const __m512i *pair = a + h * rows / 2 + 2 * i;
            b[h * rows / 2 + i] = _mm512_unpacklo_epi16(pair[0], pair[1]);
            b[h * rows / 2 + rows / 4 + i] = _mm512_unpackhi_epi16(pair[0], pair[1]);
        }
    for (uint32_t i = 0; i < rows; i++)
        ret_y[i] = b[i];
    if (rows == 4)
        return;
    for (uint32_t i = 0; i < rows / 2; i++) {
        ret_y[2 * i] = _mm512_unpacklo_epi32(b[2 * i], b[2 * i + 1]);
        ret_y[2 * i + 1] = _mm512_unpackhi_epi32(b[2 * i], b[2 * i + 1]);
    }
}

/*
 * The next columns of a tile, `count` columns of bricks (a multiple of a group's, or what is left),
 * as bytes: [column][BYTES_ROWS], to whole groups. `rows` of bricks and `kind` are constants.
 */
VEC_INLINE void byte_columns(const struct kern_brick_decode *d, struct byte_stream *stream,
                             uint32_t count, const uint32_t rows, const uint32_t kind, int8_t *out)
{
    const uint32_t width = d->brick_columns;
    const size_t pitch = (size_t)width * BYTES_ROWS;

    for (uint32_t done = 0; done < count && stream->left; done += BYTE_COLUMNS(rows)) {
        const __m512i next = byte_stream_next(stream, kind == 256);
        const __m512i index = _mm512_permutexvar_epi8(stream->order, next);
        const int8_t *table = d->catalogue_s8;

        for (uint32_t i = 0; i < width; i++, table += rows * KERN_CATALOGUE_S8) {
            __m512i x[BYTES_TALLEST], y[BYTES_TALLEST];

            MAYBE_UNROLL
            for (uint32_t r = 0; r < rows; r++)
                x[r] = byte_lookup(table + r * KERN_CATALOGUE_S8, kind, index);
            byte_zip(rows, x, y);
            MAYBE_UNROLL
            for (uint32_t n = 0; n < rows; n++) {
                int8_t *to = out + 2 * n * pitch + i * BYTES_ROWS;

                if (width == 1) {
                    _mm512_store_si512(to, y[n]);
                    continue;
                }
                _mm256_store_si256((__m256i *)to, _mm512_castsi512_si256(y[n]));
                _mm256_store_si256((__m256i *)(to + pitch), _mm512_extracti64x4_epi64(y[n], 1));
            }
        }
        out += BYTE_COLUMNS(rows) * pitch;
    }
}

/* Calls name_<rows>_<kind> of args for bricks d. */
#define BYTE_KIND(name, rows, kind, args) \
    {                                     \
        if (kind == 64)                   \
            name##_##rows##_64(args);     \
        else if (kind == 128)             \
            name##_##rows##_128(args);    \
        else                              \
            name##_##rows##_256(args);    \
    }
#define BYTE_CALL(name, d, args)            \
    {                                       \
        const uint32_t kind = byte_kind(d); \
        if ((d)->brick_rows == 1)           \
            BYTE_KIND(name, 1, kind, args)  \
        else if ((d)->brick_rows == 2)      \
            BYTE_KIND(name, 2, kind, args)  \
        else if ((d)->brick_rows == 4)      \
            BYTE_KIND(name, 4, kind, args)  \
        else                                \
            BYTE_KIND(name, 8, kind, args)  \
    }
/* Defines them, by name() of args and constants. */
#define BYTE_INSTANCE(name, type, rows, kind)                                      \
    static __attribute__((noinline)) void name##_##rows##_##kind(const type *args) \
    {                                                                              \
        name(args, rows, kind);                                                    \
    }
#define BYTE_ROWS_INSTANCES(name, type, rows) \
    BYTE_INSTANCE(name, type, rows, 64)       \
    BYTE_INSTANCE(name, type, rows, 128)      \
    BYTE_INSTANCE(name, type, rows, 256)
#define BYTE_INSTANCES(name, type)     \
    BYTE_ROWS_INSTANCES(name, type, 1) \
    BYTE_ROWS_INSTANCES(name, type, 2) \
    BYTE_ROWS_INSTANCES(name, type, 4) \
    BYTE_ROWS_INSTANCES(name, type, 8)

#endif
