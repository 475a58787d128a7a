/* Indices of bricks as vectors of bytes, and lookups of bytes by them. */
#ifndef LEGO_KERNELS_X86_VBMI_BYTES_H
#define LEGO_KERNELS_X86_VBMI_BYTES_H

#include "kernels-x86/avx512/vec.h"

enum {
    BYTES_GROUP = 64,   /* indices at a time */
    BYTES_ROWS = 32,    /* of a tile */
    BYTES_AHEAD = 4096, /* of indices, to fetch: processors themselves stop at the end of a page */
};

/* How the packed indices of a group become bytes. */
struct byte_indices {
    __m512i spread, shift, mask;
};

VEC_INLINE struct byte_indices byte_indices_make(uint32_t bits)
{
    uint8_t spread[BYTES_GROUP], shift[BYTES_GROUP];

    /* Eight indices are `bits` whole bytes. */
    for (uint32_t i = 0; i < BYTES_GROUP; i++) {
        spread[i] = (uint8_t)(i / 8 * bits + i % 8);
        shift[i] = (uint8_t)(i % 8 * bits);
    }
    return (struct byte_indices){_mm512_loadu_si512(spread), _mm512_loadu_si512(shift),
                                 _mm512_set1_epi8((char)((1u << bits) - 1))};
}

/* 64 indices from `bytes` bytes; 0 for those that do not lie there. `whole`, a constant: they are
 * bytes. */
VEC_INLINE __m512i byte_indices_load(const struct byte_indices *how, const uint8_t *at,
                                     size_t bytes, const bool whole)
{
    const __mmask64 first = bytes < BYTES_GROUP ? ((__mmask64)1 << bytes) - 1 : ~(__mmask64)0;
    const __m512i loaded = _mm512_maskz_loadu_epi8(first, at);
    const __m512i packed = _mm512_permutexvar_epi8(how->spread, loaded);

    return whole ? loaded
                 : _mm512_and_si512(_mm512_multishift_epi64_epi8(how->shift, packed), how->mask);
}

/* The smallest table that has all entries: for more than 128, indices are whole bytes. */
VEC_INLINE uint32_t byte_kind(const struct kern_brick_decode *d)
{
    const uint32_t named = 1u << d->index_bits;
    const uint32_t most = d->entries < named ? d->entries : named;

    return most <= 64 ? 64 : most <= 128 ? 128 : 256;
}

/* Calls name_<rows>_<kind> of args for bricks of 1, 2 or 4 rows. */
#define BYTE_KIND(name, rows, kind, args) \
    (kind == 64    ? name##_##rows##_64   \
     : kind == 128 ? name##_##rows##_128  \
                   : name##_##rows##_256)(args)
#define BYTE_CALL(name, d, args)            \
    {                                       \
        const uint32_t kind = byte_kind(d); \
        if ((d)->brick_rows == 1)           \
            BYTE_KIND(name, 1, kind, args); \
        else if ((d)->brick_rows == 2)      \
            BYTE_KIND(name, 2, kind, args); \
        else                                \
            BYTE_KIND(name, 4, kind, args); \
    }
/* Defines them, by name of args and constants. */
#define BYTE_INSTANCE(name, type, rows, kind)                                      \
    static __attribute__((noinline)) void name##_##rows##_##kind(const type *args) \
    {                                                                              \
        name(args, rows, kind);                                                    \
    }
#define BYTE_INSTANCES(name, type)    \
    BYTE_INSTANCE(name, type, 1, 64)  \
    BYTE_INSTANCE(name, type, 1, 128) \
    BYTE_INSTANCE(name, type, 1, 256) \
    BYTE_INSTANCE(name, type, 2, 64)  \
    BYTE_INSTANCE(name, type, 2, 128) \
    BYTE_INSTANCE(name, type, 2, 256) \
    BYTE_INSTANCE(name, type, 4, 64)  \
    BYTE_INSTANCE(name, type, 4, 128) \
    BYTE_INSTANCE(name, type, 4, 256)

/* Indices in columns of bricks of 1, 2 or 4 rows that fill 32 rows, of up to eight bits. */
VEC_INLINE bool byte_tile_fits(const struct kern_brick_decode *d)
{
    const uint32_t rows = d->brick_rows;

    return (rows == 1 || rows == 2 || rows == 4) && d->index_bits && d->index_bits <= 8 &&
           d->rows == BYTES_ROWS && d->tile_brick_rows * rows == BYTES_ROWS;
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

#endif
