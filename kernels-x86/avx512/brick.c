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

/* Sixteen lookups in a table of sixteen by halves of bytes; a lookup takes no more than four bits
 * of a lane. */
VEC_INLINE vec brick_lookup_halves(const float *table, const uint8_t *at)
{
    const __m512i shift =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    int32_t eight[2];
    __m512i x;

    __builtin_memcpy(eight, at, sizeof(eight));
    x = _mm512_mask_set1_epi32(_mm512_set1_epi32(eight[0]), 0xff00, eight[1]);
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(x, shift), vec_load(table));
}

#define BRICK_LARGE 256

/* Sixteen lookups in a table of 256 by bytes: of each two registers, then halves by three bits. */
VEC_INLINE vec brick_lookup_large(const vec table[16], const uint8_t *at)
{
    const __m512i i = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at));
    const __mmask16 half = _mm512_test_epi32_mask(i, _mm512_set1_epi32(128));
    const __mmask16 quarter = _mm512_test_epi32_mask(i, _mm512_set1_epi32(64));
    const __mmask16 eighth = _mm512_test_epi32_mask(i, _mm512_set1_epi32(32));
    vec x[8];

    for (int n = 0; n < 8; n++)
        x[n] = _mm512_permutex2var_ps(table[2 * n], i, table[2 * n + 1]);
    for (int n = 0; n < 4; n++)
        x[n] = _mm512_mask_mov_ps(x[2 * n], eighth, x[2 * n + 1]);
    for (int n = 0; n < 2; n++)
        x[n] = _mm512_mask_mov_ps(x[2 * n], quarter, x[2 * n + 1]);
    return _mm512_mask_mov_ps(x[0], half, x[1]);
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
