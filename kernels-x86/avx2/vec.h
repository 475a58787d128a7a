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

#define VEC_INLINE static inline __attribute__((always_inline))

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

VEC_INLINE vec vec_set1(float x)
{
    return _mm256_set1_ps(x);
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

#endif
