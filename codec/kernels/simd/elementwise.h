/* Arithmetic and comparisons, element by element: a template over the vectors of an ISA's vec.h. */
#ifndef LEGO_KERNELS_SIMD_ELEMENTWISE_H
#define LEGO_KERNELS_SIMD_ELEMENTWISE_H

/* Runs `statement` for each vector at i; `mask` is what is left of the last one. */
#define SIMD_FOR(n, full, tail)                        \
    do {                                               \
        size_t i = 0;                                  \
        for (; i + VEC_LANES <= (n); i += VEC_LANES) { \
            full;                                      \
        }                                              \
        if (i < (n)) {                                 \
            vec_mask mask = vec_mask_first((n)-i);     \
            tail;                                      \
        }                                              \
    } while (0)

#define SIMD_BINARY(name, operation)                                                             \
    static void simd_##name(size_t n, const float *x, const float *y, size_t ystep, float *out,  \
                            float lo, float hi)                                                  \
    {                                                                                            \
        vec low = vec_set1(lo), high = vec_set1(hi);                                             \
        if (ystep == 0) {                                                                        \
            vec b = vec_set1(*y);                                                                \
            SIMD_FOR(n, vec_store(out + i, vec_clamp(operation(vec_load(x + i), b), low, high)), \
                     vec a = vec_load_mask(x + i, mask);                                         \
                     vec_store_mask(out + i, vec_clamp(operation(a, b), low, high), mask));      \
            return;                                                                              \
        }                                                                                        \
        SIMD_FOR(n, vec a = vec_load(x + i); vec b = vec_load(y + i);                            \
                 vec_store(out + i, vec_clamp(operation(a, b), low, high)),                      \
                 vec a = vec_load_mask(x + i, mask);                                             \
                 vec b = vec_load_mask(y + i, mask);                                             \
                 vec_store_mask(out + i, vec_clamp(operation(a, b), low, high), mask));          \
    }                                                                                            \
    const kern_binary_f32_fn KERN_ISA(name##_f32) = simd_##name;

SIMD_BINARY(add, vec_add)
SIMD_BINARY(sub, vec_sub)
SIMD_BINARY(mul, vec_mul)
SIMD_BINARY(div, vec_div)
SIMD_BINARY(max, vec_max)
SIMD_BINARY(min, vec_min)

/* operation(x, lo, hi) on vectors. */
#define SIMD_UNARY(name, operation)                                                   \
    static void simd_##name(size_t n, const float *x, float *out, float lo, float hi) \
    {                                                                                 \
        vec low = vec_set1(lo), high = vec_set1(hi);                                  \
        SIMD_FOR(n, vec_store(out + i, operation(vec_load(x + i), low, high)),        \
                 vec a = vec_load_mask(x + i, mask);                                  \
                 vec_store_mask(out + i, operation(a, low, high), mask));             \
    }                                                                                 \
    const kern_unary_f32_fn KERN_ISA(name##_f32) = simd_##name;

VEC_INLINE vec unary_leaky_relu(vec x, vec lo, vec hi)
{
    (void)hi;
    return vec_select_less(x, vec_set1(0.0f), vec_mul(lo, x), x);
}

VEC_INLINE vec unary_hard_sigmoid(vec x, vec lo, vec hi)
{
    return vec_clamp(vec_add(vec_mul(lo, x), hi), vec_set1(0.0f), vec_set1(1.0f));
}

VEC_INLINE vec unary_hard_swish(vec x, vec lo, vec hi)
{
    vec gate = vec_fma(x, vec_set1(1.0f / 6.0f), vec_set1(0.5f));
    return vec_fma(vec_mul(x, vec_clamp(gate, vec_set1(0.0f), vec_set1(1.0f))), lo, hi);
}

SIMD_UNARY(clamp, vec_clamp)
SIMD_UNARY(leaky_relu, unary_leaky_relu)
SIMD_UNARY(hard_sigmoid, unary_hard_sigmoid)
SIMD_UNARY(hard_swish, unary_hard_swish)

#endif
