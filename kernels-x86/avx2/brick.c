/* Bricks for AVX2: lookups in two registers, or gathered. */
#include "kernels-x86/avx2/vec.h"
#include "kernels-x86/bits.h"

enum { TABLE_ENTRIES = 16 };

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

/* Column c of the bricks of eight indices. Bit 3 of an index, moved to the sign, picks the half. */
VEC_INLINE vec brick_lookup(const struct brick_tables *t, const struct kern_brick_decode *d,
                            uint32_t c, const uint32_t *index)
{
    __m256i i = _mm256_loadu_si256((const __m256i *)index);

    if (t->small) {
        vec low = _mm256_permutevar8x32_ps(vec_load(t->column[c]), i);
        vec high = _mm256_permutevar8x32_ps(vec_load(t->column[c] + 8), i);
        return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
    }
    i = _mm256_mullo_epi32(i, _mm256_set1_epi32((int)d->brick_columns));
    return _mm256_i32gather_ps(d->catalogue + c, i, 4);
}

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/pack.h"
