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
PICTURE_INLINE __m256i picture_pair(const int16_t *two)
{
    int32_t pair;
    memcpy(&pair, two, sizeof(pair));
    return _mm256_set1_epi32(pair);
}

/* Adds two rows' 16 pixels, weighted, to both halves of the sums. */
PICTURE_INLINE void picture_add_rows(__m128i a, __m128i b, __m256i weights, __m256i sums[2])
{
    __m256i x = _mm256_cvtepu8_epi16(a), y = _mm256_cvtepu8_epi16(b);
    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), weights));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), weights));
}

PICTURE_INLINE __m128i picture_load(const uint8_t *x)
{
    return _mm_loadu_si128((const __m128i *)x);
}

/* 16 * `blocks` pixels of all rows; sums are packed in the order in which they were unpacked. */
PICTURE_INLINE void picture_rows_of(size_t blocks, uint32_t taps, const int16_t *weights,
                                    const uint8_t *rows, size_t stride, int16_t *out)
{
    __m256i sums[2][2];
    uint32_t t = 0;
    for (size_t k = 0; k < blocks; k++)
        sums[k][0] = sums[k][1] = _mm256_set1_epi32(1 << (ROWS_SHIFT - 1));
    for (; t + 2 <= taps; t += 2, rows += 2 * stride) {
        __m256i pair = picture_pair(weights + t);
        for (size_t k = 0; k < blocks; k++)
            picture_add_rows(picture_load(rows + 16 * k), picture_load(rows + stride + 16 * k),
                             pair, sums[k]);
    }
    for (size_t k = 0; t < taps && k < blocks; k++)
        picture_add_rows(picture_load(rows + 16 * k), _mm_setzero_si128(),
                         _mm256_set1_epi32(weights[t]), sums[k]);
    for (size_t k = 0; k < blocks; k++)
        _mm256_storeu_si256((__m256i *)(out + 16 * k),
                            _mm256_packs_epi32(_mm256_srai_epi32(sums[k][0], ROWS_SHIFT),
                                               _mm256_srai_epi32(sums[k][1], ROWS_SHIFT)));
}

PICTURE_INLINE void picture_rows(size_t n, uint32_t taps, const int16_t *weights,
                                 const uint8_t *rows, size_t stride, int16_t *out)
{
    size_t x = 0;
    for (; x + 32 <= n; x += 32)
        picture_rows_of(2, taps, weights, rows + x, stride, out + x);
    for (; x + 16 <= n; x += 16)
        picture_rows_of(1, taps, weights, rows + x, stride, out + x);
    for (; x < n; x++) {
        int32_t sum = 1 << (ROWS_SHIFT - 1);
        for (uint32_t t = 0; t < taps; t++)
            sum += weights[t] * rows[t * stride + x];
        out[x] = (int16_t)(sum >> ROWS_SHIFT);
    }
}

PICTURE_INLINE __m256i picture_products(const int16_t *weights, const int16_t *x)
{
    return _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)x),
                             _mm256_loadu_si256((const __m256i *)weights));
}

PICTURE_INLINE __m256i picture_dot(uint32_t taps, const int16_t *weights, const int16_t *x)
{
    __m256i sum = picture_products(weights, x);
    for (uint32_t t = KERN_RESIZE_TAPS; t < taps; t += KERN_RESIZE_TAPS)
        sum = _mm256_add_epi32(sum, picture_products(weights + t, x + t));
    return sum;
}

/* Two outputs' sums, to be added up across lanes. */
PICTURE_INLINE __m256i picture_dots(uint32_t taps, const int16_t *weights, const uint32_t *first,
                                    const int16_t *x)
{
    return _mm256_hadd_epi32(picture_dot(taps, weights, x + first[0]),
                             picture_dot(taps, weights + taps, x + first[1]));
}

/* Eight outputs: their sums are added up across lanes together. */
PICTURE_INLINE __m128i picture_columns_8(uint32_t taps, const int16_t *weights,
                                         const uint32_t *first, const int16_t *x)
{
    __m256i a = _mm256_hadd_epi32(picture_dots(taps, weights, first, x),
                                  picture_dots(taps, weights + 2 * taps, first + 2, x));
    __m256i b = _mm256_hadd_epi32(picture_dots(taps, weights + 4 * taps, first + 4, x),
                                  picture_dots(taps, weights + 6 * taps, first + 6, x));
    __m128i half = _mm_set1_epi32(1 << (COLUMNS_SHIFT - 1));
    __m128i left = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    __m128i right = _mm_add_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    return _mm_packs_epi32(_mm_srai_epi32(_mm_add_epi32(left, half), COLUMNS_SHIFT),
                           _mm_srai_epi32(_mm_add_epi32(right, half), COLUMNS_SHIFT));
}

/* `taps` is a constant where it is inlined. */
PICTURE_INLINE void picture_columns_of(size_t n, uint32_t taps, const int16_t *weights,
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

PICTURE_INLINE void picture_columns(size_t n, uint32_t taps, const int16_t *weights,
                                    const uint32_t *first, const int16_t *x, int16_t *out)
{
    if (taps == KERN_RESIZE_TAPS)
        picture_columns_of(n, KERN_RESIZE_TAPS, weights, first, x, out);
    else if (taps == 2 * KERN_RESIZE_TAPS)
        picture_columns_of(n, 2 * KERN_RESIZE_TAPS, weights, first, x, out);
    else
        picture_columns_of(n, taps, weights, first, x, out);
}

/*
 * Resampling as PIL does it: pixels are multiplied by both halves of the weights, in the two lanes
 * of a register, and what comes of them is put together at the end.
 */
PICTURE_INLINE __m256i picture_twice(const void *x)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(x));
}

/* Sums of the weights' upper halves in the lower lane, of the lower ones in the upper. */
PICTURE_INLINE __m128i picture_resampled(__m256i sums)
{
    __m128i sum = _mm_add_epi32(_mm_slli_epi32(_mm256_castsi256_si128(sums), KERN_RESAMPLE_LOW),
                                _mm256_extracti128_si256(sums, 1));
    sum = _mm_add_epi32(sum, _mm_set1_epi32(1 << (KERN_RESAMPLE_BITS - 1)));
    sum = _mm_srai_epi32(sum, KERN_RESAMPLE_BITS);
    return _mm_packus_epi16(_mm_packs_epi32(sum, sum), _mm_setzero_si128());
}

/* One output of three channels in `count` rows. */
PICTURE_INLINE void picture_across_3(const struct kern_resample_u8 *r, size_t i, uint32_t y,
                                     uint32_t count)
{
    const __m256i pixels_a =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 0, -1, 3, -1, 1,
                         -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m256i pixels_b =
        _mm256_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1, 6, -1, 9, -1,
                         7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i weights_a = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 8, 9,
                                               10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11);
    const __m256i weights_b = _mm256_add_epi8(weights_a, _mm256_set1_epi8(4));
    const int16_t *weights = r->weights + 2 * i * r->taps;
    const uint8_t *x = r->x + y * r->x_stride + (size_t)r->first[i] * 3;
    __m256i sums[4];
    for (uint32_t row = 0; row < count; row++)
        sums[row] = _mm256_setzero_si256();
    for (uint32_t t = 0; t < r->taps; t += KERN_RESAMPLE_TAPS, x += 3 * KERN_RESAMPLE_TAPS) {
        __m256i w = picture_twice(weights + 2 * t);
        __m256i wa = _mm256_shuffle_epi8(w, weights_a), wb = _mm256_shuffle_epi8(w, weights_b);
        for (uint32_t row = 0; row < count; row++) {
            __m256i v = picture_twice(x + row * r->x_stride);
            __m256i a = _mm256_madd_epi16(_mm256_shuffle_epi8(v, pixels_a), wa);
            __m256i b = _mm256_madd_epi16(_mm256_shuffle_epi8(v, pixels_b), wb);
            sums[row] = _mm256_add_epi32(sums[row], _mm256_add_epi32(a, b));
        }
    }
    for (uint32_t row = 0; row < count; row++) {
        int32_t pixel = _mm_cvtsi128_si32(picture_resampled(sums[row]));
        memcpy(r->out + (y + row) * r->out_stride + 3 * i, &pixel, 3);
    }
}

/* One output of one channel in `count` rows. */
PICTURE_INLINE void picture_across_1(const struct kern_resample_u8 *r, size_t i, uint32_t y,
                                     uint32_t count)
{
    const int16_t *weights = r->weights + 2 * i * r->taps;
    const uint8_t *x = r->x + y * r->x_stride + r->first[i];
    __m256i sums[4];
    for (uint32_t row = 0; row < count; row++)
        sums[row] = _mm256_setzero_si256();
    for (uint32_t t = 0; t < r->taps; t += KERN_RESAMPLE_TAPS) {
        __m256i w = _mm256_permute4x64_epi64(
            _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)(weights + 2 * t))), 0xd8);
        for (uint32_t row = 0; row < count; row++) {
            int32_t four;
            memcpy(&four, x + row * r->x_stride + t, sizeof(four));
            __m256i v = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
            sums[row] = _mm256_add_epi32(sums[row], _mm256_madd_epi16(v, w));
        }
    }
    for (uint32_t row = 0; row < count; row++) {
        __m256i sum = _mm256_add_epi32(sums[row], _mm256_shuffle_epi32(sums[row], 0xb1));
        r->out[(y + row) * r->out_stride + i] = (uint8_t)_mm_cvtsi128_si32(picture_resampled(sum));
    }
}

/* Constants are known where it is inlined; its own copy of `r` no byte that is stored can change.
 */
PICTURE_INLINE void picture_across_rows(struct kern_resample_u8 r, uint32_t channels, uint32_t y,
                                        uint32_t count)
{
    for (size_t i = 0; i < r.n; i++) {
        if (channels == 3)
            picture_across_3(&r, i, y, count);
        else
            picture_across_1(&r, i, y, count);
    }
}

/* Four rows at a time share what is done to the weights. */
PICTURE_INLINE void picture_across(const struct kern_resample_u8 *r)
{
    uint32_t y = 0;
    for (; y + 4 <= r->rows; y += 4) {
        if (r->channels == 3)
            picture_across_rows(*r, 3, y, 4);
        else
            picture_across_rows(*r, 1, y, 4);
    }
    for (; y < r->rows; y++) {
        if (r->channels == 3)
            picture_across_rows(*r, 3, y, 1);
        else
            picture_across_rows(*r, 1, y, 1);
    }
}

/* Adds two rows' 16 pixels to the sums of both halves of the weights. */
PICTURE_INLINE void picture_add_down(__m128i a, __m128i b, const int16_t *upper,
                                     const int16_t *lower, __m256i sums[2][2])
{
    __m256i x = _mm256_cvtepu8_epi16(a), y = _mm256_cvtepu8_epi16(b);
    __m256i low = _mm256_unpacklo_epi16(x, y), high = _mm256_unpackhi_epi16(x, y);
    __m256i w[2] = {picture_pair(upper), picture_pair(lower)};
    for (size_t k = 0; k < 2; k++) {
        sums[k][0] = _mm256_add_epi32(sums[k][0], _mm256_madd_epi16(low, w[k]));
        sums[k][1] = _mm256_add_epi32(sums[k][1], _mm256_madd_epi16(high, w[k]));
    }
}

PICTURE_INLINE __m128i picture_down_16(uint32_t taps, const int16_t *weights, const uint8_t *rows,
                                       size_t stride)
{
    const __m256i half = _mm256_set1_epi32(1 << (KERN_RESAMPLE_BITS - 1));
    __m256i sums[2][2] = {{_mm256_setzero_si256(), _mm256_setzero_si256()}, {half, half}}, ends[2];
    for (uint32_t t = 0; t < taps; t += 2) {
        const int16_t *group = weights + (t / 4) * 8 + t % 4;
        __m128i a = _mm_loadu_si128((const __m128i *)(rows + t * stride));
        __m128i b = t + 1 < taps ? _mm_loadu_si128((const __m128i *)(rows + (t + 1) * stride))
                                 : _mm_setzero_si128();
        picture_add_down(a, b, group, group + KERN_RESAMPLE_TAPS, sums);
    }
    for (size_t k = 0; k < 2; k++)
        ends[k] = _mm256_srai_epi32(
            _mm256_add_epi32(_mm256_slli_epi32(sums[0][k], KERN_RESAMPLE_LOW), sums[1][k]),
            KERN_RESAMPLE_BITS);
    __m256i packed = _mm256_packs_epi32(ends[0], ends[1]);
    return _mm_packus_epi16(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
}

PICTURE_INLINE void picture_down(size_t n, uint32_t taps, const int16_t *weights,
                                 const uint8_t *rows, size_t stride, uint8_t *out)
{
    size_t x = 0;
    for (; x + 16 <= n; x += 16)
        _mm_storeu_si128((__m128i *)(out + x), picture_down_16(taps, weights, rows + x, stride));
    for (; x < n; x++) {
        int32_t sums[2] = {0, 1 << (KERN_RESAMPLE_BITS - 1)};
        for (uint32_t t = 0; t < taps; t++)
            for (size_t k = 0; k < 2; k++)
                sums[k] += weights[(t / 4) * 8 + k * 4 + t % 4] * rows[t * stride + x];
        int32_t value = (sums[0] * (1 << KERN_RESAMPLE_LOW) + sums[1]) >> KERN_RESAMPLE_BITS;
        out[x] = (uint8_t)(value > 255 ? 255 : value);
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
