/*
 * Winograd's transforms: a template over the vectors of an ISA's vec.h. A vector holds channels (or
 * elements) of one pixel; a square goes down its columns, then along its rows.
 */
#ifndef LEGO_KERNELS_SIMD_WINOGRAD_H
#define LEGO_KERNELS_SIMD_WINOGRAD_H

#define WINOGRAD_A 0.70710678118654752f
#define WINOGRAD_B 1.41421356237309505f

enum {
    WINOGRAD_IN = KERN_WINOGRAD_IN,
    WINOGRAD_OUT = KERN_WINOGRAD_OUT,
    WINOGRAD_KERNEL = 3,
};

#ifdef __clang__
#define WINOGRAD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WINOGRAD_UNROLL _Pragma("GCC unroll 16")
#endif

/* Six pixels to six points, in place. */
VEC_INLINE void winograd_input6(vec x[WINOGRAD_IN])
{
    vec a = vec_set1(WINOGRAD_A), b = vec_set1(WINOGRAD_B), half = vec_set1(-0.5f);
    vec two = vec_set1(-2.0f), sum = vec_set1(-2.5f);
    vec even_a = vec_fma(two, x[2], x[4]), odd_a = vec_mul(a, vec_fma(two, x[1], x[3]));
    vec even_b = vec_fma(half, x[2], x[4]), odd_b = vec_mul(b, vec_fma(half, x[1], x[3]));

    x[0] = vec_fma(sum, x[2], vec_add(x[0], x[4]));
    x[5] = vec_fma(sum, x[3], vec_add(x[1], x[5]));
    x[1] = vec_add(even_a, odd_a);
    x[2] = vec_sub(even_a, odd_a);
    x[3] = vec_add(even_b, odd_b);
    x[4] = vec_sub(even_b, odd_b);
}

/* Three taps to six points. */
VEC_INLINE void winograd_weights6(const vec g[WINOGRAD_KERNEL], vec out[WINOGRAD_IN])
{
    vec third = vec_set1(1 / -1.5f), sixth = vec_set1(1 / 6.0f);
    vec even_a = vec_mul(third, vec_fma(vec_set1(0.5f), g[2], g[0]));
    vec even_b = vec_mul(sixth, vec_fma(vec_set1(2.0f), g[2], g[0]));
    vec odd_a = vec_mul(vec_set1(WINOGRAD_A / -1.5f), g[1]);
    vec odd_b = vec_mul(vec_set1(WINOGRAD_B / 6.0f), g[1]);

    out[0] = g[0];
    out[1] = vec_add(even_a, odd_a);
    out[2] = vec_sub(even_a, odd_a);
    out[3] = vec_add(even_b, odd_b);
    out[4] = vec_sub(even_b, odd_b);
    out[5] = g[2];
}

/* Six points to four pixels. */
VEC_INLINE void winograd_output4(const vec m[WINOGRAD_IN], vec out[WINOGRAD_OUT])
{
    vec even_a = vec_add(m[1], m[2]), odd_a = vec_mul(vec_set1(WINOGRAD_A), vec_sub(m[1], m[2]));
    vec even_b = vec_add(m[3], m[4]), odd_b = vec_mul(vec_set1(WINOGRAD_B), vec_sub(m[3], m[4]));
    vec half = vec_set1(0.5f), two = vec_set1(2.0f);

    out[0] = vec_add(m[0], vec_add(even_a, even_b));
    out[1] = vec_add(odd_a, odd_b);
    out[2] = vec_fma(half, even_a, vec_mul(two, even_b));
    out[3] = vec_fma(half, odd_a, vec_fma(two, odd_b, m[5]));
}

VEC_INLINE vec winograd_load(const float *x, vec_mask mask, const bool whole)
{
    return whole ? vec_load(x) : vec_load_mask(x, mask);
}

VEC_INLINE void winograd_store(float *x, vec v, vec_mask mask, const bool whole)
{
    if (whole)
        vec_store(x, v);
    else
        vec_store_mask(x, v, mask);
}

VEC_INLINE void winograd_input_vector(const struct kern_winograd_input_f32 *w, uint32_t c,
                                      vec_mask mask, const bool whole)
{
    vec half[WINOGRAD_IN][WINOGRAD_IN];

    for (int column = 0; column < WINOGRAD_IN; column++) {
        vec x[WINOGRAD_IN];
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_IN; row++)
            x[row] = winograd_load(w->a[row * WINOGRAD_IN + column] + c, mask, whole);
        winograd_input6(x);
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_IN; row++)
            half[row][column] = x[row];
    }
    for (int row = 0; row < WINOGRAD_IN; row++) {
        float *out = w->out + (size_t)row * WINOGRAD_IN * w->out_stride + c;
        vec x[WINOGRAD_IN];
        WINOGRAD_UNROLL
        for (int column = 0; column < WINOGRAD_IN; column++)
            x[column] = half[row][column];
        winograd_input6(x);
        WINOGRAD_UNROLL
        for (int column = 0; column < WINOGRAD_IN; column++, out += w->out_stride)
            winograd_store(out, x[column], mask, whole);
    }
}

static void simd_winograd_input(const struct kern_winograd_input_f32 *w)
{
    uint32_t c = 0;

    for (; c + VEC_LANES <= w->channels; c += VEC_LANES)
        winograd_input_vector(w, c, vec_mask_first(0), true);
    if (c < w->channels)
        winograd_input_vector(w, c, vec_mask_first(w->channels - c), false);
}

VEC_INLINE void winograd_weights_vector(const struct kern_winograd_weights_f32 *w, size_t at,
                                        vec_mask mask, const bool whole)
{
    vec half[WINOGRAD_IN][WINOGRAD_KERNEL];

    WINOGRAD_UNROLL
    for (int column = 0; column < WINOGRAD_KERNEL; column++) {
        vec g[WINOGRAD_KERNEL], points[WINOGRAD_IN];
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_KERNEL; row++) {
            size_t tap = (size_t)(row * WINOGRAD_KERNEL + column) * w->tap_stride;
            g[row] = winograd_load(w->taps + tap + at, mask, whole);
        }
        winograd_weights6(g, points);
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_IN; row++)
            half[row][column] = points[row];
    }
    for (int row = 0; row < WINOGRAD_IN; row++) {
        float *out = w->out + (size_t)row * WINOGRAD_IN * w->out_stride + at;
        vec points[WINOGRAD_IN];
        winograd_weights6(half[row], points);
        WINOGRAD_UNROLL
        for (int column = 0; column < WINOGRAD_IN; column++, out += w->out_stride)
            winograd_store(out, points[column], mask, whole);
    }
}

static void simd_winograd_weights(const struct kern_winograd_weights_f32 *w)
{
    size_t at = 0;

    for (; at + VEC_LANES <= w->elems; at += VEC_LANES)
        winograd_weights_vector(w, at, vec_mask_first(0), true);
    if (at < w->elems)
        winograd_weights_vector(w, at, vec_mask_first(w->elems - at), false);
}

VEC_INLINE void winograd_output_vector(const struct kern_winograd_output_f32 *w, uint32_t c,
                                       vec_mask mask, const bool whole)
{
    vec half[WINOGRAD_OUT][WINOGRAD_IN];
    vec lo = vec_set1(w->lo), hi = vec_set1(w->hi);
    vec bias = w->bias ? winograd_load(w->bias + c, mask, whole) : vec_set1(0.0f);

    for (int column = 0; column < WINOGRAD_IN; column++) {
        const float *from = w->products + (size_t)column * w->product_stride + c;
        vec m[WINOGRAD_IN], pixels[WINOGRAD_OUT];
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_IN; row++, from += WINOGRAD_IN * w->product_stride)
            m[row] = winograd_load(from, mask, whole);
        winograd_output4(m, pixels);
        WINOGRAD_UNROLL
        for (int row = 0; row < WINOGRAD_OUT; row++)
            half[row][column] = pixels[row];
    }
    for (int row = 0; row < WINOGRAD_OUT; row++) {
        vec pixels[WINOGRAD_OUT];
        winograd_output4(half[row], pixels);
        WINOGRAD_UNROLL
        for (int column = 0; column < WINOGRAD_OUT; column++) {
            int p = row * WINOGRAD_OUT + column;
            vec sum = vec_add(pixels[column], bias);
            if (!w->out[p])
                continue;
            if (w->add)
                sum = vec_add(sum, winograd_load(w->add[p] + c, mask, whole));
            winograd_store(w->out[p] + c, vec_clamp(sum, lo, hi), mask, whole);
        }
    }
}

static void simd_winograd_output(const struct kern_winograd_output_f32 *w)
{
    uint32_t c = 0;

    for (; c + VEC_LANES <= w->channels; c += VEC_LANES)
        winograd_output_vector(w, c, vec_mask_first(0), true);
    if (c < w->channels)
        winograd_output_vector(w, c, vec_mask_first(w->channels - c), false);
}

const kern_winograd_input_f32_fn KERN_ISA(winograd_input_f32) = simd_winograd_input;
const kern_winograd_weights_f32_fn KERN_ISA(winograd_weights_f32) = simd_winograd_weights;
const kern_winograd_output_f32_fn KERN_ISA(winograd_output_f32) = simd_winograd_output;

#endif
