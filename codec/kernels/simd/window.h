/* Depthwise convolution and pooling: a template over the vectors of an ISA's vec.h. */
#ifndef LEGO_KERNELS_SIMD_WINDOW_H
#define LEGO_KERNELS_SIMD_WINDOW_H

enum { DWCONV_SLIDE_TAPS = 9 }; /* of 3x3: their weights stay in registers from pixel to pixel */

VEC_INLINE vec dwconv_load(const float *x, vec_mask mask, const bool whole)
{
    return whole ? vec_load(x) : vec_load_mask(x, mask);
}

enum { DWCONV_PIXELS = 4 }; /* that share the loads of weights */

/* `width` vectors of channels of `pixels` neighbours, both constants, from `a` to `out`. */
VEC_INLINE void dwconv_block(const struct kern_dwconv_f32 *d, const uint32_t pixels,
                             const uint32_t width, const float *const *a, uint32_t c, float *out,
                             vec_mask mask, const bool whole)
{
    vec lo = vec_set1(d->lo), hi = vec_set1(d->hi), sum[DWCONV_PIXELS][2];

    for (uint32_t v = 0; v < width; v++)
        for (uint32_t i = 0; i < pixels; i++)
            sum[i][v] =
                d->bias ? dwconv_load(d->bias + c + v * VEC_LANES, mask, whole) : vec_set1(0.0f);
    for (uint32_t t = 0; t < d->taps; t++) {
        const float *from = d->weights + (size_t)t * d->weight_stride + c;
        vec weights[2];
        for (uint32_t v = 0; v < width; v++)
            weights[v] = dwconv_load(from + v * VEC_LANES, mask, whole);
        for (uint32_t i = 0; i < pixels; i++) {
            const float *x = a[(size_t)i * d->a_step + t] + c;
            for (uint32_t v = 0; v < width; v++)
                sum[i][v] =
                    vec_fma(dwconv_load(x + v * VEC_LANES, mask, whole), weights[v], sum[i][v]);
        }
    }
    for (uint32_t i = 0; i < pixels; i++, out += d->out_stride)
        for (uint32_t v = 0; v < width; v++) {
            vec result = vec_clamp(sum[i][v], lo, hi);
            if (whole)
                vec_store(out + v * VEC_LANES, result);
            else
                vec_store_mask(out + v * VEC_LANES, result, mask);
        }
}

/* The same of all pixels. */
VEC_INLINE void dwconv_blocks(const struct kern_dwconv_f32 *d, const uint32_t width, uint32_t c,
                              vec_mask mask, const bool whole)
{
    const float *const *a = d->a;
    float *out = d->out + c;
    uint32_t p = 0;

    for (; p + DWCONV_PIXELS <= d->pixels; p += DWCONV_PIXELS) {
        dwconv_block(d, DWCONV_PIXELS, width, a, c, out, mask, whole);
        a += (size_t)DWCONV_PIXELS * d->a_step;
        out += DWCONV_PIXELS * d->out_stride;
    }
    for (; p < d->pixels; p++, a += d->a_step, out += d->out_stride)
        dwconv_block(d, 1, width, a, c, out, mask, whole);
}

/* A sum and one column of three taps. */
VEC_INLINE vec dwconv_add3(vec sum, const vec x[3], const vec weights[3])
{
    return vec_fma(x[2], weights[2], vec_fma(x[1], weights[1], vec_fma(x[0], weights[0], sum)));
}

VEC_INLINE void dwconv_load3(const float *const *a, uint32_t c, vec_mask mask, const bool whole,
                             vec ret_x[3])
{
    for (uint32_t i = 0; i < 3; i++)
        ret_x[i] = dwconv_load(a[i] + c, mask, whole);
}

/*
 * 3x3 taps of pixels that share columns (`stride`, a constant, 1 or 2): a column is loaded once and
 * goes into the sums of each pixel that covers it.
 */
VEC_INLINE void dwconv_slide(const struct kern_dwconv_f32 *d, const uint32_t stride, uint32_t c,
                             vec_mask mask, const bool whole)
{
    vec lo = vec_set1(d->lo), hi = vec_set1(d->hi), w[DWCONV_SLIDE_TAPS], x[3], sum, next;
    vec bias = d->bias ? dwconv_load(d->bias + c, mask, whole) : vec_set1(0.0f);
    const float *const *a = d->a;
    float *out = d->out + c;

    for (uint32_t t = 0; t < DWCONV_SLIDE_TAPS; t++)
        w[t] = dwconv_load(d->weights + (size_t)t * d->weight_stride + c, mask, whole);
    dwconv_load3(a, c, mask, whole, x);
    next = dwconv_add3(bias, x, w);
    if (stride == 1) {
        dwconv_load3(a += 3, c, mask, whole, x);
        sum = dwconv_add3(next, x, w + 3);
        next = dwconv_add3(bias, x, w);
    }
    for (uint32_t p = 0; p < d->pixels; p++, out += d->out_stride) {
        if (stride == 2) {
            dwconv_load3(a += 3, c, mask, whole, x);
            sum = dwconv_add3(next, x, w + 3);
        }
        dwconv_load3(a += 3, c, mask, whole, x);
        vec result = vec_clamp(dwconv_add3(sum, x, w + 6), lo, hi);
        if (stride == 1)
            sum = dwconv_add3(next, x, w + 3);
        next = dwconv_add3(bias, x, w);
        if (whole)
            vec_store(out, result);
        else
            vec_store_mask(out, result, mask);
    }
}

VEC_INLINE void dwconv_slides(const struct kern_dwconv_f32 *d, const uint32_t stride)
{
    uint32_t c = 0;

    for (; c + VEC_LANES <= d->channels; c += VEC_LANES)
        dwconv_slide(d, stride, c, vec_mask_first(0), true);
    if (c < d->channels)
        dwconv_slide(d, stride, c, vec_mask_first(d->channels - c), false);
}

VEC_INLINE void dwconv_taps(const struct kern_dwconv_f32 *d)
{
    vec_mask none = vec_mask_first(0);
    uint32_t c = 0;

    for (; c + 2 * VEC_LANES <= d->channels; c += 2 * VEC_LANES)
        dwconv_blocks(d, 2, c, none, true);
    for (; c + VEC_LANES <= d->channels; c += VEC_LANES)
        dwconv_blocks(d, 1, c, none, true);
    if (c < d->channels)
        dwconv_blocks(d, 1, c, vec_mask_first(d->channels - c), false);
}

static void simd_dwconv(const struct kern_dwconv_f32 *d)
{
    if (d->taps == DWCONV_SLIDE_TAPS && d->a_step == 3)
        dwconv_slides(d, 1);
    else if (d->taps == DWCONV_SLIDE_TAPS && d->a_step == 6)
        dwconv_slides(d, 2);
    else
        dwconv_taps(d);
}

/* One vector of channels of one pixel. */
VEC_INLINE vec pool_window(const float *const *a, uint32_t taps, uint32_t c, vec_mask mask,
                           const bool whole, const bool average)
{
    vec x = whole ? vec_load(a[0] + c) : vec_load_mask(a[0] + c, mask);

    for (uint32_t t = 1; t < taps; t++) {
        vec y = whole ? vec_load(a[t] + c) : vec_load_mask(a[t] + c, mask);
        x = average ? vec_add(x, y) : vec_max(x, y);
    }
    return x;
}

VEC_INLINE void pool(const struct kern_pool_f32 *d, const bool average)
{
    vec lo = vec_set1(d->lo), hi = vec_set1(d->hi);
    uint32_t whole = d->channels - d->channels % VEC_LANES;
    vec_mask rest = vec_mask_first(d->channels - whole);

    for (uint32_t p = 0; p < d->pixels; p++) {
        const float *const *a = d->a + (size_t)p * d->a_step;
        vec scale = vec_set1(average ? d->scale[p] : 1.0f);
        float *out = d->out + (ptrdiff_t)p * d->out_stride;
        for (uint32_t c = 0; c < d->channels; c += VEC_LANES) {
            vec x = pool_window(a, d->taps, c, rest, c < whole, average);
            x = vec_clamp(average ? vec_mul(x, scale) : x, lo, hi);
            if (c < whole)
                vec_store(out + c, x);
            else
                vec_store_mask(out + c, x, rest);
        }
    }
}

static void simd_maxpool(const struct kern_pool_f32 *d)
{
    pool(d, false);
}

static void simd_avgpool(const struct kern_pool_f32 *d)
{
    pool(d, true);
}

const kern_dwconv_f32_fn KERN_ISA(dwconv_f32) = simd_dwconv;
const kern_pool_f32_fn KERN_ISA(maxpool_f32) = simd_maxpool;
const kern_pool_f32_fn KERN_ISA(avgpool_f32) = simd_avgpool;

#endif
