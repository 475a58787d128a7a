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
