/* The vectors that the templates of codec/kernels/simd are written in, for AVX2 with FMA. */
#ifndef LEGO_KERNELS_X86_AVX2_VEC_H
#define LEGO_KERNELS_X86_AVX2_VEC_H

#include "codec/kernels/kernels.h"

#include <immintrin.h>

#define KERN_ISA(name)              kern_avx2_##name
#define KERN_ENTRY(name, type, ...) extern const type kern_avx2_##name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

enum { VEC_LANES = 8 };

typedef __m256 vec;
typedef __m256i vec_mask;
typedef __m256i ivec; /* of VEC_LANES 32-bit integers, or of bytes */

#define VEC_INLINE static inline __attribute__((always_inline))

#include "kernels-x86/quad.h"

/* The first n lanes; n may be VEC_LANES or more. */
VEC_INLINE vec_mask vec_mask_first(size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < VEC_LANES ? (int)n : VEC_LANES), lane);
}

VEC_INLINE vec vec_load(const float *x)
{
    return _mm256_loadu_ps(x);
}

/* From and to halves, rounded to nearest. */
VEC_INLINE vec vec_load_half(const uint16_t *x)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}

VEC_INLINE void vec_store_half(uint16_t *x, vec v)
{
    _mm_storeu_si128((__m128i *)x, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

VEC_INLINE void half_to_floats(const uint16_t x[8], float out[8])
{
    _mm256_storeu_ps(out, vec_load_half(x));
}

VEC_INLINE vec vec_load_mask(const float *x, vec_mask mask)
{
    return _mm256_maskload_ps(x, mask);
}

VEC_INLINE void vec_store(float *x, vec v)
{
    _mm256_storeu_ps(x, v);
}

VEC_INLINE void vec_store_mask(float *x, vec v, vec_mask mask)
{
    _mm256_maskstore_ps(x, mask, v);
}

/* The lanes of the mask, 0 in the others. */
VEC_INLINE vec vec_keep(vec x, vec_mask mask)
{
    return _mm256_and_ps(x, _mm256_castsi256_ps(mask));
}

/* Two quads, from x[0] on and so on. */
VEC_INLINE vec vec_quads(const float *const *x)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x[0])), _mm_loadu_ps(x[1]), 1);
}

/* Four pairs of floats, from x[0] on and so on. */
VEC_INLINE vec vec_doubles(const float *const *x)
{
    return quad_doubles(x);
}

/* The first three of each quad side by side; what comes behind them is any. */
VEC_INLINE vec vec_threes(vec x)
{
    return _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 0, 0));
}

/* Quad j of vector i becomes quad i of vector j. */
VEC_INLINE void vec_turn_quads(vec v[2])
{
    const vec low = _mm256_permute2f128_ps(v[0], v[1], 0x20);

    v[1] = _mm256_permute2f128_ps(v[0], v[1], 0x31);
    v[0] = low;
}

VEC_INLINE vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
}

/* x[0], x[1], x[0], x[1], ... */
VEC_INLINE vec vec_set2(const float *x)
{
    double pair;

    __builtin_memcpy(&pair, x, sizeof(pair));
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}

/* a0, b0, a1, b1, a4, b4, ...: the first two lanes of each four of a and b. */
VEC_INLINE vec vec_interleave_low(vec a, vec b)
{
    return _mm256_unpacklo_ps(a, b);
}

/* a2, b2, a3, b3, a6, b6, ...: the last two lanes of each four. */
VEC_INLINE vec vec_interleave_high(vec a, vec b)
{
    return _mm256_unpackhi_ps(a, b);
}

/* a0, b0, a1, b1, ... of the first half of both, and of the second. */
VEC_INLINE vec vec_zip_low(vec a, vec b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}

VEC_INLINE vec vec_zip_high(vec a, vec b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}

/* a0, a1, b0, b1, a4, a5, b4, b5, ...: the first two lanes of each four. */
VEC_INLINE vec vec_pairs_low(vec a, vec b)
{
    return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

/* a2, a3, b2, b3, a6, a7, b6, b7, ...: the last two lanes of each four. */
VEC_INLINE vec vec_pairs_high(vec a, vec b)
{
    return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

/* Sums of neighbouring lanes, in the order that the two interleavings had taken them from. */
VEC_INLINE vec vec_add_pairs(vec low, vec high)
{
    return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd));
}

VEC_INLINE vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

VEC_INLINE vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

VEC_INLINE vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

VEC_INLINE vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* a * b + c, rounded once. */
VEC_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* min(max(x, lo), hi) that lets NaN pass: the instructions return their second operand then. */
VEC_INLINE vec vec_clamp(vec x, vec lo, vec hi)
{
    return _mm256_min_ps(hi, _mm256_max_ps(lo, x));
}

/* The greater and the smaller one; NaN where one of them is. */
VEC_INLINE vec vec_max(vec a, vec b)
{
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}

VEC_INLINE vec vec_min(vec a, vec b)
{
    return _mm256_blendv_ps(_mm256_min_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}

/* a < b ? x : y, lane by lane. */
VEC_INLINE vec vec_select_less(vec a, vec b, vec x, vec y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

VEC_INLINE vec vec_abs(vec x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* |x| with the sign of y, for x >= 0. */
VEC_INLINE vec vec_sign_of(vec x, vec y)
{
    return _mm256_or_ps(x, _mm256_and_ps(y, _mm256_set1_ps(-0.0f)));
}

/* To the nearest integer. */
VEC_INLINE vec vec_round(vec x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/*
 * x * 2^n for integers n of -252 to 254, rounded once or twice where the result is denormal: two
 * factors, since 2^n itself may be out of range.
 */
VEC_INLINE vec vec_scale2(vec x, vec n)
{
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), one = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, one), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), one), 23);
    return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

/* The smaller and the greater one of two numbers; of NaN either. */
VEC_INLINE vec vec_least(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

VEC_INLINE vec vec_most(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

VEC_INLINE ivec ivec_set1(int32_t x)
{
    return _mm256_set1_epi32(x);
}

VEC_INLINE ivec ivec_load(const void *x)
{
    return _mm256_loadu_si256((const __m256i *)x);
}

/* Eight bytes, a lane each. */
VEC_INLINE ivec ivec_load_bytes(const uint8_t *x)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)x));
}

VEC_INLINE ivec ivec_add(ivec a, ivec b)
{
    return _mm256_add_epi32(a, b);
}

VEC_INLINE ivec ivec_load_mask(const int32_t *x, vec_mask mask)
{
    return _mm256_maskload_epi32(x, mask);
}

VEC_INLINE vec vec_from_ints(ivec x)
{
    return _mm256_cvtepi32_ps(x);
}

/* Four vectors of integers from 0 to 127 as bytes. */
VEC_INLINE void vec_store_bytes(uint8_t *out, const vec v[4])
{
    __m256i a = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
    __m256i b = _mm256_packs_epi32(_mm256_cvtps_epi32(v[2]), _mm256_cvtps_epi32(v[3]));
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

    _mm256_storeu_si256((__m256i *)out,
                        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}

VEC_INLINE float vec_sum(vec x)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    a = _mm_add_ss(a, _mm_movehdup_ps(a));
    return _mm_cvtss_f32(a);
}

/* a0, b0, c0, a1, b1, c1, ... */
VEC_INLINE void vec_store_triples(float *out, vec a, vec b, vec c)
{
    const vec ab = _mm256_shuffle_ps(a, b, 0x88); /* a0 a2 b0 b2 */
    const vec bc = _mm256_shuffle_ps(b, c, 0xdd); /* b1 b3 c1 c3 */
    const vec ca = _mm256_shuffle_ps(c, a, 0xd8); /* c0 c2 a1 a3 */
    const vec first = _mm256_shuffle_ps(ab, ca, 0x88), second = _mm256_shuffle_ps(bc, ab, 0xd8);
    const vec third = _mm256_shuffle_ps(ca, bc, 0xdd);

    vec_store(out, _mm256_permute2f128_ps(first, second, 0x20));
    vec_store(out + 8, _mm256_permute2f128_ps(third, first, 0x30));
    vec_store(out + 16, _mm256_permute2f128_ps(second, third, 0x31));
}

/* Transposes a square of VEC_LANES vectors. */
VEC_INLINE void vec_transpose(vec r[VEC_LANES])
{
    vec t[8];

    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0xee);
        }
    }
    for (int j = 0; j < 4; j++) {
        vec low = r[j], high = r[4 + j];
        r[j] = _mm256_permute2f128_ps(low, high, 0x20);
        r[4 + j] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

#endif
