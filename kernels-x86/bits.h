/* Unpacking of brick indices, the same for AVX2 and AVX-512. */
#ifndef LEGO_KERNELS_X86_BITS_H
#define LEGO_KERNELS_X86_BITS_H

#include <immintrin.h>
#include <stdint.h>

/* Where each of eight packed indices lies: its four bytes of sixteen, and its bit in those. */
struct brick_bits {
    _Alignas(32) uint8_t byte[32];
    _Alignas(32) uint32_t shift[8];
    uint32_t mask;
};

static inline __attribute__((always_inline)) void brick_unpack8(const struct brick_bits *bits,
                                                                const uint8_t *at, uint32_t *out)
{
    __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at));

    x = _mm256_shuffle_epi8(x, _mm256_load_si256((const __m256i *)bits->byte));
    x = _mm256_srlv_epi32(x, _mm256_load_si256((const __m256i *)bits->shift));
    x = _mm256_and_si256(x, _mm256_set1_epi32((int)bits->mask));
    _mm256_storeu_si256((__m256i *)out, x);
}

#endif
