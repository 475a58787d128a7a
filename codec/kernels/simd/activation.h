/*
 * Activations that need an exponential, and softmax: a template over the vectors of an ISA's vec.h.
 *
 * exp and tanh near 0 use the polynomials of Cephes' expf and tanhf; the normal distribution's tail
 * is a polynomial in 1 / (1 + y / 2) fitted to exp(y^2) erfc(y), relative error below 2e-7 in fp32.
 */
#ifndef LEGO_KERNELS_SIMD_ACTIVATION_H
#define LEGO_KERNELS_SIMD_ACTIVATION_H

#include "codec/kernels/simd/elementwise.h"

#include <math.h>

/* c[0] + c[1] x + ... + c[n - 1] x^(n - 1). */
VEC_INLINE vec activation_polynomial(vec x, const float *c, const int n)
{
    vec p = vec_set1(c[n - 1]);

    for (int i = n - 2; i >= 0; i--)
        p = vec_fma(p, x, vec_set1(c[i]));
    return p;
}

VEC_INLINE vec activation_exp(vec x)
{
    static const float c[] = {5.0000001201e-1f, 1.6666665459e-1f, 4.1665795894e-2f,
                              8.3334519073e-3f, 1.3981999507e-3f, 1.9875691500e-4f};

    /* Beyond these the result is 0 and infinity, and 2^n is out of reach of vec_scale2. */
    x = vec_clamp(x, vec_set1(-104.0f), vec_set1(89.0f));
    vec n = vec_round(vec_mul(x, vec_set1(1.44269504088896341f)));
    vec r = vec_fma(n, vec_set1(-0.693359375f), x);
    r = vec_fma(n, vec_set1(2.12194440e-4f), r);
    vec p = vec_fma(activation_polynomial(r, c, 6), vec_mul(r, r), r);
    return vec_scale2(vec_add(p, vec_set1(1.0f)), n);
}

/* By exp(-|x|), which cannot overflow and keeps the small results' digits. */
VEC_INLINE vec activation_sigmoid(vec x)
{
    vec zero = vec_set1(0.0f), one = vec_set1(1.0f);
    vec e = activation_exp(vec_sub(zero, vec_abs(x)));
    return vec_div(vec_select_less(x, zero, e, one), vec_add(one, e));
}

VEC_INLINE vec activation_tanh(vec x)
{
    static const float c[] = {-3.33332819422e-1f, 1.33314422036e-1f, -5.37397155531e-2f,
                              2.06390887954e-2f, -5.70498872745e-3f};
    vec one = vec_set1(1.0f), y = vec_abs(x), square = vec_mul(x, x);
    vec small = vec_fma(vec_mul(activation_polynomial(square, c, 5), square), y, y);
    vec e = activation_exp(vec_add(y, y));
    vec large = vec_sub(one, vec_div(vec_set1(2.0f), vec_add(e, one)));

    return vec_sign_of(vec_select_less(y, vec_set1(0.625f), small, large), x);
}

/* x times the normal distribution's share below x. */
VEC_INLINE vec activation_gelu(vec x)
{
    static const float c[] = {2.82087684e-1f,  2.82353491e-1f,  2.43261039e-1f,
                              2.02069715e-1f,  -2.51774620e-2f, 2.75977910e-1f,
                              -4.85383540e-1f, 2.83701926e-1f,  -5.88907711e-2f};
    vec one = vec_set1(1.0f), half = vec_set1(0.5f);
    vec y = vec_mul(vec_abs(x), vec_set1(0.707106781186547524f));
    vec t = vec_div(one, vec_fma(y, half, one));
    vec e = activation_exp(vec_mul(vec_mul(x, x), vec_set1(-0.5f)));
    vec tail = vec_mul(vec_mul(vec_mul(activation_polynomial(t, c, 9), t), half), e);

    return vec_mul(x, vec_select_less(x, vec_set1(0.0f), tail, vec_sub(one, tail)));
}

VEC_INLINE vec activation_silu(vec x)
{
    return vec_mul(x, activation_sigmoid(x));
}

#define SIMD_ACTIVATION(name)                                                                   \
    static void simd_##name(size_t n, const float *x, float *out, float lo, float hi)           \
    {                                                                                           \
        (void)lo, (void)hi;                                                                     \
        SIMD_FOR(n, vec_store(out + i, activation_##name(vec_load(x + i))),                     \
                 vec_store_mask(out + i, activation_##name(vec_load_mask(x + i, mask)), mask)); \
    }                                                                                           \
    const kern_unary_f32_fn KERN_ISA(name##_f32) = simd_##name;

SIMD_ACTIVATION(exp)
SIMD_ACTIVATION(sigmoid)
SIMD_ACTIVATION(tanh)
SIMD_ACTIVATION(gelu)
SIMD_ACTIVATION(silu)

static void simd_softmax(size_t n, const float *x, float *out)
{
    vec most = vec_set1(KERN_ISA(rowmax_f32)(n, x)), sums = vec_set1(0.0f);

    SIMD_FOR(n, vec e = activation_exp(vec_sub(vec_load(x + i), most)); vec_store(out + i, e);
             sums = vec_add(sums, e), vec tail = vec_load_mask(x + i, mask);
             vec e = activation_exp(vec_sub(tail, most)); vec_store_mask(out + i, e, mask);
             sums = vec_add(sums, vec_keep(e, mask)));
    vec share = vec_set1(1.0f / vec_sum(sums));
    SIMD_FOR(n, vec_store(out + i, vec_mul(vec_load(out + i), share)),
             vec_store_mask(out + i, vec_mul(vec_load_mask(out + i, mask), share), mask));
}

const kern_softmax_f32_fn KERN_ISA(softmax_f32) = simd_softmax;

#endif
