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

/* The same by indices of 4 or 2 bits (a constant), packed; of 2 bits three are looked at. */
VEC_INLINE vec brick_lookup_bits(const float *table, const uint8_t *at, const uint32_t bits)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    int32_t word = 0;
    __m256i x;

    __builtin_memcpy(&word, at, bits);
    x = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_slli_epi32(lane, bits / 2));
    return bits == 4 ? brick_lookup16(table, x) : _mm256_permutevar8x32_ps(vec_load(table), x);
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

#define BRICK_MEDIUM 32
#define BRICK_LARGE  32

/* Eight lookups in a table of 32: of each register, then halves by the bits above. */
VEC_INLINE vec brick_lookup_large(const vec *table, const uint32_t kind, __m256i i)
{
    const vec third = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));
    const vec fourth = _mm256_castsi256_ps(_mm256_slli_epi32(i, 27));
    vec x[BRICK_LARGE / VEC_LANES];

    for (uint32_t n = 0; n < kind / VEC_LANES; n++)
        x[n] = _mm256_permutevar8x32_ps(table[n], i);
    return _mm256_blendv_ps(_mm256_blendv_ps(x[0], x[1], third),
                            _mm256_blendv_ps(x[2], x[3], third), fourth);
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
