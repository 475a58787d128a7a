/* Bricks for AVX2: lookups in two registers, or gathered. */
#include "kernels-x86/avx2/vec.h"
#include "kernels-x86/bits.h"

enum { BRICK_TABLE = 16 };

/* Eight lookups in a table of sixteen. Bit 3 of an index, moved to the sign, picks the table's
 * half; bits from 4 on are not looked at. */
VEC_INLINE vec brick_lookup16(const float *x, __m256i i)
{
    vec low = _mm256_permutevar8x32_ps(vec_load(x), i);
    vec high = _mm256_permutevar8x32_ps(vec_load(x + 8), i);

    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

/* The same by halves of bytes. */
VEC_INLINE vec brick_lookup_halves(const float *table, const uint8_t *at)
{
    int32_t eight;

    __builtin_memcpy(&eight, at, sizeof(eight));
    return brick_lookup16(table, _mm256_srlv_epi32(_mm256_set1_epi32(eight),
                                                   _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28)));
}

/* Eight lookups in a table of `kind` entries; kind 0: x[index * pitch]. */
VEC_INLINE vec brick_lookup(const float *x, const uint32_t kind, uint32_t pitch,
                            const uint32_t *index)
{
    __m256i i = _mm256_loadu_si256((const __m256i *)index);

    if (kind == 16)
        return brick_lookup16(x, i);
    return _mm256_i32gather_ps(x, _mm256_mullo_epi32(i, _mm256_set1_epi32((int)pitch)), 4);
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
