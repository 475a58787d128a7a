/*
 * Pictures, for AVX2: the fixed-point passes by multiplications of pairs of 16-bit numbers. Also
 * what AVX-512 uses: rows of pictures are short.
 */
#ifndef LEGO_KERNELS_X86_AVX2_PICTURE_H
#define LEGO_KERNELS_X86_AVX2_PICTURE_H

#include "codec/kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define PICTURE_INLINE static inline __attribute__((always_inline))

enum {
    ROWS_SHIFT = KERN_RESIZE_WEIGHT_BITS - KERN_RESIZE_VALUE_BITS,
    COLUMNS_SHIFT = KERN_RESIZE_WEIGHT_BITS
};

/* Weights of two rows, for products of their interleaved pixels. */
PICTURE_INLINE __m256i picture_pair(int16_t a, int16_t b)
{
    return _mm256_set1_epi32((int32_t)((uint32_t)(uint16_t)a | (uint32_t)(uint16_t)b << 16));
}

/* Adds two rows' 16 pixels, weighted, to both halves of the sums. */
PICTURE_INLINE void picture_add_rows(__m128i a, __m128i b, __m256i weights, __m256i *low,
                                     __m256i *high)
{
    __m256i x = _mm256_cvtepu8_epi16(a), y = _mm256_cvtepu8_epi16(b);
    *low = _mm256_add_epi32(*low, _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), weights));
    *high = _mm256_add_epi32(*high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), weights));
}

/* 16 pixels of all rows; sums are packed in the order in which they were unpacked. */
PICTURE_INLINE __m256i picture_rows_16(uint32_t taps, const int16_t *weights, const uint8_t *rows,
                                       size_t stride)
{
    __m256i low = _mm256_set1_epi32(1 << (ROWS_SHIFT - 1)), high = low;
    uint32_t t = 0;
    for (; t + 2 <= taps; t += 2)
        picture_add_rows(_mm_loadu_si128((const __m128i *)(rows + t * stride)),
                         _mm_loadu_si128((const __m128i *)(rows + (t + 1) * stride)),
                         picture_pair(weights[t], weights[t + 1]), &low, &high);
    if (t < taps)
        picture_add_rows(_mm_loadu_si128((const __m128i *)(rows + t * stride)), _mm_setzero_si128(),
                         picture_pair(weights[t], 0), &low, &high);
    return _mm256_packs_epi32(_mm256_srai_epi32(low, ROWS_SHIFT),
                              _mm256_srai_epi32(high, ROWS_SHIFT));
}

PICTURE_INLINE void picture_rows(size_t n, uint32_t taps, const int16_t *weights,
                                 const uint8_t *rows, size_t stride, int16_t *out)
{
    size_t x = 0;
    for (; x + 16 <= n; x += 16)
        _mm256_storeu_si256((__m256i *)(out + x), picture_rows_16(taps, weights, rows + x, stride));
    for (; x < n; x++) {
        int32_t sum = 1 << (ROWS_SHIFT - 1);
        for (uint32_t t = 0; t < taps; t++)
            sum += weights[t] * rows[t * stride + x];
        out[x] = (int16_t)(sum >> ROWS_SHIFT);
    }
}

PICTURE_INLINE __m256i picture_dot(uint32_t taps, const int16_t *weights, const int16_t *x)
{
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t t = 0; t < taps; t += KERN_RESIZE_TAPS)
        sum = _mm256_add_epi32(
            sum, _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(x + t)),
                                   _mm256_loadu_si256((const __m256i *)(weights + t))));
    return sum;
}

/* Eight outputs: their sums are added up across lanes together. */
PICTURE_INLINE __m128i picture_columns_8(uint32_t taps, const int16_t *weights,
                                         const uint32_t *first, const int16_t *x)
{
    __m256i sums[8];
    for (size_t i = 0; i < 8; i++)
        sums[i] = picture_dot(taps, weights + i * taps, x + first[i]);
    __m256i a =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    __m256i b =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
    __m128i half = _mm_set1_epi32(1 << (COLUMNS_SHIFT - 1));
    __m128i left = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    __m128i right = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    return _mm_packs_epi32(_mm_srai_epi32(_mm_add_epi32(left, half), COLUMNS_SHIFT),
                           _mm_srai_epi32(_mm_add_epi32(right, half), COLUMNS_SHIFT));
}

PICTURE_INLINE void picture_columns(size_t n, uint32_t taps, const int16_t *weights,
                                    const uint32_t *first, const int16_t *x, int16_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(out + i),
                         picture_columns_8(taps, weights + i * taps, first + i, x));
    for (; i < n; i++) {
        __m256i sum = picture_dot(taps, weights + i * taps, x + first[i]);
        __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        four = _mm_hadd_epi32(four, four);
        four = _mm_hadd_epi32(four, four);
        out[i] = (int16_t)((_mm_cvtsi128_si32(four) + (1 << (COLUMNS_SHIFT - 1))) >> COLUMNS_SHIFT);
    }
}

PICTURE_INLINE __m256 picture_floats(const int16_t *x)
{
    return _mm256_mul_ps(
        _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)x))),
        _mm256_set1_ps(1.0f / (1 << KERN_RESIZE_VALUE_BITS)));
}

/* Eight pixels of one channel. */
PICTURE_INLINE __m256 picture_colour_8(const struct kern_colour_f32 *c, uint32_t channel, __m256 a,
                                       __m256 b, __m256 d)
{
    const float *m = c->matrix[channel];
    __m256 y = _mm256_set1_ps(c->offset[channel]);
    y = _mm256_fmadd_ps(_mm256_set1_ps(m[0]), a, y);
    y = _mm256_fmadd_ps(_mm256_set1_ps(m[1]), b, y);
    y = _mm256_fmadd_ps(_mm256_set1_ps(m[2]), d, y);
    y = _mm256_min_ps(_mm256_max_ps(y, _mm256_setzero_ps()), _mm256_set1_ps(255.0f));
    return _mm256_fmadd_ps(y, _mm256_set1_ps(c->scale[channel]), _mm256_set1_ps(c->shift[channel]));
}

/* `left` pixels at i, 8 at most. */
PICTURE_INLINE void picture_colour_tail(const struct kern_colour_f32 *c, size_t i, size_t left)
{
    int16_t x[3][8] = {{0}};
    float out[8];
    for (size_t k = 0; k < 3; k++)
        memcpy(x[k], c->x[k] + i, left * sizeof(int16_t));
    for (uint32_t channel = 0; channel < c->channels; channel++) {
        _mm256_storeu_ps(out, picture_colour_8(c, channel, picture_floats(x[0]),
                                               picture_floats(x[1]), picture_floats(x[2])));
        memcpy(c->out[channel] + i, out, left * sizeof(float));
    }
}

PICTURE_INLINE void picture_colour(const struct kern_colour_f32 *c)
{
    size_t i = 0;
    for (; i + 8 <= c->n; i += 8) {
        __m256 a = picture_floats(c->x[0] + i), b = picture_floats(c->x[1] + i);
        __m256 d = picture_floats(c->x[2] + i);
        for (uint32_t channel = 0; channel < c->channels; channel++)
            _mm256_storeu_ps(c->out[channel] + i, picture_colour_8(c, channel, a, b, d));
    }
    if (i < c->n)
        picture_colour_tail(c, i, c->n - i);
}

#endif
