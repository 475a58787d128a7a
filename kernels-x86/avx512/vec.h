/* The vectors that the templates of codec/kernels/simd are written in, for AVX-512. */
#ifndef LEGO_KERNELS_X86_AVX512_VEC_H
#define LEGO_KERNELS_X86_AVX512_VEC_H

#include "codec/kernels/kernels.h"

#include <immintrin.h>

#define KERN_ISA(name)              kern_avx512_##name
#define KERN_ENTRY(name, type, ...) extern const type kern_avx512_##name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

enum { VEC_LANES = 16 };

typedef __m512 vec;
typedef __mmask16 vec_mask;
typedef __m512i ivec; /* of VEC_LANES 32-bit integers, or of bytes */

#define VEC_INLINE static inline __attribute__((always_inline))

#include "kernels-x86/quad.h"

/* The first n lanes; n may be VEC_LANES or more. */
VEC_INLINE vec_mask vec_mask_first(size_t n)
{
    return n >= VEC_LANES ? 0xffff : (vec_mask)((1u << n) - 1);
}

VEC_INLINE vec vec_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

/* From and to halves, rounded to nearest. */
VEC_INLINE vec vec_load_half(const uint16_t *x)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}

VEC_INLINE void vec_store_half(uint16_t *x, vec v)
{
    _mm256_storeu_si256((__m256i *)x, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

VEC_INLINE void half_to_floats(const uint16_t x[8], float out[8])
{
    _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)));
}

VEC_INLINE vec vec_load_mask(const float *x, vec_mask mask)
{
    return _mm512_maskz_loadu_ps(mask, x);
}

VEC_INLINE void vec_store(float *x, vec v)
{
    _mm512_storeu_ps(x, v);
}

VEC_INLINE void vec_store_mask(float *x, vec v, vec_mask mask)
{
    _mm512_mask_storeu_ps(x, mask, v);
}

/* The lanes of the mask, 0 in the others. */
VEC_INLINE vec vec_keep(vec x, vec_mask mask)
{
    return _mm512_maskz_mov_ps(mask, x);
}

/* Four quads, from x[0] on and so on. */
VEC_INLINE vec vec_quads(const float *const *x)
{
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(x[0]));

    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(x[1]));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(x[2]));
    return _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(x[3]));
}

/* Eight pairs of floats, from x[0] on and so on. */
VEC_INLINE vec vec_doubles(const float *const *x)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(quad_doubles(x)), quad_doubles(x + 4), 1);
}

/* The first three of each quad side by side; what comes behind them is any. */
VEC_INLINE vec vec_threes(vec x)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0, 0, 0, 0);

    return _mm512_permutexvar_ps(lane, x);
}

/* Quad j of vector i becomes quad i of vector j. */
VEC_INLINE void vec_turn_quads(vec v[4])
{
    const vec a = _mm512_shuffle_f32x4(v[0], v[1], 0x44),
              b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
    const vec c = _mm512_shuffle_f32x4(v[0], v[1], 0xee),
              d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);

    v[0] = _mm512_shuffle_f32x4(a, b, 0x88);
    v[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
    v[2] = _mm512_shuffle_f32x4(c, d, 0x88);
    v[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}

VEC_INLINE vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
}

/* x[0], x[1], x[0], x[1], ... */
VEC_INLINE vec vec_set2(const float *x)
{
    double pair;

    __builtin_memcpy(&pair, x, sizeof(pair));
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}

/* a0, b0, a1, b1, a4, b4, ...: the first two lanes of each four of a and b. */
VEC_INLINE vec vec_interleave_low(vec a, vec b)
{
    return _mm512_unpacklo_ps(a, b);
}

/* a2, b2, a3, b3, a6, b6, ...: the last two lanes of each four. */
VEC_INLINE vec vec_interleave_high(vec a, vec b)
{
    return _mm512_unpackhi_ps(a, b);
}

/* a0, b0, a1, b1, ... of the first half of both, and of the second. */
VEC_INLINE vec vec_zip_low(vec a, vec b)
{
    const __m512i lane = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);

    return _mm512_permutex2var_ps(a, lane, b);
}

VEC_INLINE vec vec_zip_high(vec a, vec b)
{
    const __m512i lane =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);

    return _mm512_permutex2var_ps(a, lane, b);
}

/* a0, a1, b0, b1, a4, a5, b4, b5, ...: the first two lanes of each four. */
VEC_INLINE vec vec_pairs_low(vec a, vec b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* a2, a3, b2, b3, a6, a7, b6, b7, ...: the last two lanes of each four. */
VEC_INLINE vec vec_pairs_high(vec a, vec b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* Sums of neighbouring lanes, in the order that the two interleavings had taken them from. */
VEC_INLINE vec vec_add_pairs(vec low, vec high)
{
    return _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xdd));
}

VEC_INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

VEC_INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

VEC_INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

VEC_INLINE vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c, rounded once. */
VEC_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* min(max(x, lo), hi) that lets NaN pass: the instructions return their second operand then. */
VEC_INLINE vec vec_clamp(vec x, vec lo, vec hi)
{
    return _mm512_min_ps(hi, _mm512_max_ps(lo, x));
}

/* The greater and the smaller one; NaN where one of them is. */
VEC_INLINE vec vec_max(vec a, vec b)
{
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}

VEC_INLINE vec vec_min(vec a, vec b)
{
    return _mm512_mask_mov_ps(_mm512_min_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}

/* a < b ? x : y, lane by lane. */
VEC_INLINE vec vec_select_less(vec a, vec b, vec x, vec y)
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
}

VEC_INLINE vec vec_abs(vec x)
{
    return _mm512_abs_ps(x);
}

/* |x| with the sign of y, for x >= 0. */
VEC_INLINE vec vec_sign_of(vec x, vec y)
{
    return _mm512_or_ps(x, _mm512_and_ps(y, _mm512_set1_ps(-0.0f)));
}

/* To the nearest integer. */
VEC_INLINE vec vec_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x * 2^n for integers n of -252 to 254, rounded once or twice where the result is denormal. */
VEC_INLINE vec vec_scale2(vec x, vec n)
{
    return _mm512_scalef_ps(x, n);
}

/* The smaller and the greater one of two numbers; of NaN either. */
VEC_INLINE vec vec_least(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

VEC_INLINE vec vec_most(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

VEC_INLINE ivec ivec_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

VEC_INLINE ivec ivec_load(const void *x)
{
    return _mm512_loadu_si512(x);
}

/* Sixteen bytes, a lane each. */
VEC_INLINE ivec ivec_load_bytes(const uint8_t *x)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)x));
}

VEC_INLINE ivec ivec_add(ivec a, ivec b)
{
    return _mm512_add_epi32(a, b);
}

VEC_INLINE ivec ivec_load_mask(const int32_t *x, vec_mask mask)
{
    return _mm512_maskz_loadu_epi32(mask, x);
}

VEC_INLINE vec vec_from_ints(ivec x)
{
    return _mm512_cvtepi32_ps(x);
}

/* Four vectors of integers from 0 to 127 as bytes. */
VEC_INLINE void vec_store_bytes(uint8_t *out, const vec v[4])
{
    for (size_t i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(out + i * VEC_LANES),
                         _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v[i])));
}

VEC_INLINE float vec_sum(vec x)
{
    return _mm512_reduce_add_ps(x);
}

/* a0, b0, c0, a1, b1, c1, ... */
VEC_INLINE void vec_store_triples(float *out, vec a, vec b, vec c)
{
    /* Of a and b first, where c's lanes hold anything; then c's between. */
    const __m512i ab0 = _mm512_setr_epi32(0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5);
    const __m512i ab1 = _mm512_setr_epi32(21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26);
    const __m512i ab2 = _mm512_setr_epi32(0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0);
    const __m512i c0 = _mm512_setr_epi32(0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15);
    const __m512i c1 = _mm512_setr_epi32(0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15);
    const __m512i c2 = _mm512_setr_epi32(26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31);

    vec_store(out, _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab0, b), c0, c));
    vec_store(out + 16, _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab1, b), c1, c));
    vec_store(out + 32, _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab2, b), c2, c));
}

/* Transposes a square of VEC_LANES vectors. */
VEC_INLINE void vec_transpose(vec r[VEC_LANES])
{
    vec t[16];

    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + 2 + j]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        t[8 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
        r[4 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0x88);
        r[12 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0xdd);
    }
}

#endif
