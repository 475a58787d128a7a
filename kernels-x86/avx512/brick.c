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

/*
 * A table of 256 floats as the words of their upper and their lower halves: a permutation of words
 * looks 32 of them up among 64, one of floats 16 among 32.
 */
#define BRICK_HALVES
struct brick_halves {
    __m512i lower[8], upper[8];
};

VEC_INLINE void brick_halves_init(struct brick_halves *halves, const float table[256])
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);

    /* Packing goes by lanes of 128 bits; upper halves are words of either sign. */
    for (int n = 0; n < 8; n++) {
        const __m512i a = _mm512_castps_si512(vec_load(table + 32 * n));
        const __m512i b = _mm512_castps_si512(vec_load(table + 32 * n + 16));
        const __m512i low = _mm512_set1_epi32(0xffff);
        const __m512i lower =
            _mm512_packus_epi32(_mm512_and_si512(a, low), _mm512_and_si512(b, low));
        const __m512i upper =
            _mm512_packs_epi32(_mm512_srai_epi32(a, 16), _mm512_srai_epi32(b, 16));

        halves->lower[n] = _mm512_permutexvar_epi64(order, lower);
        halves->upper[n] = _mm512_permutexvar_epi64(order, upper);
    }
}

VEC_INLINE __m512i brick_half(const __m512i table[8], __m512i i, __mmask32 upper, __mmask32 second)
{
    const __m512i a = _mm512_permutex2var_epi16(table[0], i, table[1]);
    const __m512i b = _mm512_permutex2var_epi16(table[2], i, table[3]);
    const __m512i c = _mm512_permutex2var_epi16(table[4], i, table[5]);
    const __m512i d = _mm512_permutex2var_epi16(table[6], i, table[7]);

    return _mm512_mask_mov_epi16(_mm512_mask_mov_epi16(a, second, b), upper,
                                 _mm512_mask_mov_epi16(c, second, d));
}

/* 32 lookups by bytes. They are put in the order that makes neighbours of what interleaving words
 * of lanes of 128 bits gives. */
VEC_INLINE void brick_lookup_halves(const struct brick_halves *halves, const uint8_t *at,
                                    vec ret_x[2])
{
    const __m256i fours = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)at);
    const __m512i i = _mm512_cvtepu8_epi16(_mm256_permutevar8x32_epi32(bytes, fours));
    const __mmask32 upper = _mm512_test_epi16_mask(i, _mm512_set1_epi16(128));
    const __mmask32 second = _mm512_test_epi16_mask(i, _mm512_set1_epi16(64));
    const __m512i low = brick_half(halves->lower, i, upper, second);
    const __m512i high = brick_half(halves->upper, i, upper, second);

    ret_x[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high));
    ret_x[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high));
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
