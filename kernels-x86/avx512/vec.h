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

#define VEC_INLINE static inline __attribute__((always_inline))

/* The first n lanes; n may be VEC_LANES or more. */
VEC_INLINE vec_mask vec_mask_first(size_t n)
{
    return n >= VEC_LANES ? 0xffff : (vec_mask)((1u << n) - 1);
}

VEC_INLINE vec vec_load(const float *x)
{
    return _mm512_loadu_ps(x);
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

VEC_INLINE vec vec_set1(float x)
{
    return _mm512_set1_ps(x);
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

#endif
