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

/* Four pairs of floats, from x[0] on and so on. */
VEC_INLINE __m256 quad_doubles(const float *const *x)
{
    const __m128d low = _mm_loadh_pd(_mm_load_sd((const double *)x[0]), (const double *)x[1]);
    const __m128d high = _mm_loadh_pd(_mm_load_sd((const double *)x[2]), (const double *)x[3]);

    return _mm256_castpd_ps(_mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1));
}

/* The quad that byte i, a constant, of `bytes` numbers: two instructions make its place. */
#define VEC_QUAD_AT
VEC_INLINE const float *vec_quad_at(const float *x, uint64_t bytes, const uint32_t i)
{
    return (const float *)((const char *)x + ((i ? bytes >> (8 * i - 4) : bytes << 4) & 0xff0));
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
