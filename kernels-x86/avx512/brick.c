/* Bricks for AVX-512: lookups in one or two registers, or gathered. */
#include "kernels-x86/avx512/vec.h"
#include "kernels-x86/bits.h"

enum { BRICK_TABLE = 32 };

/* Sixteen lookups in a table of `kind` entries; kind 0: x[index * pitch]. */
VEC_INLINE vec brick_lookup(const float *x, const uint32_t kind, uint32_t pitch,
                            const uint32_t *index)
{
    __m512i i = _mm512_loadu_si512(index);

    if (kind == 16)
        return _mm512_permutexvar_ps(i, vec_load(x));
    if (kind == 32)
        return _mm512_permutex2var_ps(vec_load(x), i, vec_load(x + 16));
    return _mm512_i32gather_ps(_mm512_mullo_epi32(i, _mm512_set1_epi32((int)pitch)), x, 4);
}

/* Sixteen lookups in a table of sixteen by indices of 4 or 2 bits (a constant), packed; a lookup
 * takes the last four bits of a lane. Bytes first go to the lanes that have bits of theirs. */
VEC_INLINE vec brick_lookup_bits(const float *table, const uint8_t *at, const uint32_t bits)
{
    const __m512i byte = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i by4 = _mm512_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
    const __m512i by2 =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    int64_t packed = 0;
    __m512i x;

    __builtin_memcpy(&packed, at, 2 * bits);
    if (bits == 4)
        x = _mm512_srlv_epi32(_mm512_shuffle_epi8(_mm512_set1_epi64(packed), byte), by4);
    else
        x = _mm512_srlv_epi32(_mm512_set1_epi32((int32_t)packed), by2);
    return _mm512_permutexvar_ps(x, vec_load(table));
}

#define BRICK_MEDIUM 64
#define BRICK_LARGE  256

/* Sixteen lookups in a table of 64 or 256: of each two registers, then halves by the bits above. */
VEC_INLINE vec brick_lookup_large(const vec *table, const uint32_t kind, __m512i i)
{
    const uint32_t pairs = kind / 32;
    vec x[BRICK_LARGE / 32];

    for (uint32_t n = 0; n < pairs; n++)
        x[n] = _mm512_permutex2var_ps(table[2 * n], i, table[2 * n + 1]);
    for (uint32_t half = pairs / 2, bit = 32; half; half /= 2, bit *= 2) {
        const __mmask16 upper = _mm512_test_epi32_mask(i, _mm512_set1_epi32((int)bit));
        for (uint32_t n = 0; n < half; n++)
            x[n] = _mm512_mask_mov_ps(x[2 * n], upper, x[2 * n + 1]);
    }
    return x[0];
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
