/* Bricks for AVX-512: lookups in one or two registers, or gathered. */
#include "kernels-x86/avx512/vec.h"
#include "kernels-x86/bits.h"

enum { TABLE_ENTRIES = 32 };

/* Small catalogues of one-row bricks, column by column. */
struct brick_tables {
    bool small;
    float column[16][TABLE_ENTRIES];
};

static void brick_tables_init(struct brick_tables *t, const struct kern_brick_decode *d)
{
    t->small = d->entries <= TABLE_ENTRIES;
    for (uint32_t e = 0; t->small && e < d->entries; e++)
        for (uint32_t c = 0; c < d->brick_columns; c++)
            t->column[c][e] = d->catalogue[e * d->brick_columns + c];
}

/* Column c of the bricks of sixteen indices. */
VEC_INLINE vec brick_lookup(const struct brick_tables *t, const struct kern_brick_decode *d,
                            uint32_t c, const uint32_t *index)
{
    __m512i i = _mm512_loadu_si512(index);

    if (t->small && d->entries <= 16)
        return _mm512_permutexvar_ps(i, vec_load(t->column[c]));
    if (t->small)
        return _mm512_permutex2var_ps(vec_load(t->column[c]), i, vec_load(t->column[c] + 16));
    i = _mm512_mullo_epi32(i, _mm512_set1_epi32((int)d->brick_columns));
    return _mm512_i32gather_ps(i, d->catalogue + c, 4);
}

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/pack.h"
