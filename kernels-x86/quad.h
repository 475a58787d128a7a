/* Vectors of four, which are the same for AVX2 and AVX-512: a part of both vec.h. */
#ifndef LEGO_KERNELS_X86_QUAD_H
#define LEGO_KERNELS_X86_QUAD_H

#include <immintrin.h>

/* Four floats, whatever the width of a vec. */
typedef __m128 vec_quad;

VEC_INLINE vec_quad vec_quad_load(const float *x)
{
    return _mm_loadu_ps(x);
}

VEC_INLINE void vec_quad_store(float *x, vec_quad v)
{
    _mm_storeu_ps(x, v);
}

/* a * b + c, b for all four. */
VEC_INLINE vec_quad vec_quad_fma(vec_quad a, float b, vec_quad c)
{
    return _mm_fmadd_ps(a, _mm_set1_ps(b), c);
}

#endif
