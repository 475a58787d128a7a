/*
 * Arithmetic and activations, element by element. What needs an exponential is computed in double:
 * the rounded result is then as good as a float can be, whatever libm's expf does.
 */
#include "codec/kernels/ref/ref.h"

#include <math.h>

#define BINARY(name, expression)                                                               \
    static void ref_##name(size_t n, const float *x, const float *y, size_t ystep, float *out, \
                           float lo, float hi)                                                 \
    {                                                                                          \
        float scalar = ystep == 0 ? *y : 0.0f; /* before out overwrites it */                  \
        for (size_t i = 0; i < n; i++) {                                                       \
            float a = x[i], b = ystep == 0 ? scalar : y[i];                                    \
            out[i] = kern_ref_clamp(expression, lo, hi);                                       \
        }                                                                                      \
    }                                                                                          \
    const kern_binary_f32_fn kern_ref_##name##_f32 = ref_##name;

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(max, a > b || a != a ? a : b)
BINARY(min, a < b || a != a ? a : b)

#define UNARY(name, expression)                                                       \
    static void ref_##name(size_t n, const float *in, float *out, float lo, float hi) \
    {                                                                                 \
        (void)lo, (void)hi;                                                           \
        for (size_t i = 0; i < n; i++) {                                              \
            float x = in[i];                                                          \
            out[i] = (float)(expression);                                             \
        }                                                                             \
    }                                                                                 \
    const kern_unary_f32_fn kern_ref_##name##_f32 = ref_##name;

static double sigmoid_f64(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double gelu_f64(double x)
{
    return x * 0.5 * erfc(-x * M_SQRT1_2);
}

UNARY(clamp, kern_ref_clamp(x, lo, hi))
UNARY(leaky_relu, x < 0.0f ? lo * x : x)
UNARY(sigmoid, sigmoid_f64(x))
UNARY(tanh, tanh((double)x))
UNARY(hard_sigmoid, kern_ref_clamp(lo *x + hi, 0.0f, 1.0f))
UNARY(hard_swish, lo *(x *kern_ref_clamp(x / 6.0f + 0.5f, 0.0f, 1.0f)) + hi)
UNARY(silu, x *sigmoid_f64(x))
UNARY(gelu, gelu_f64(x))
UNARY(exp, exp((double)x))
