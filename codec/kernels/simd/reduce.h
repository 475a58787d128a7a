/* Sums, maxima and transposition: a template over the vectors of an ISA's vec.h. */
#ifndef LEGO_KERNELS_SIMD_REDUCE_H
#define LEGO_KERNELS_SIMD_REDUCE_H

#include "codec/kernels/simd/elementwise.h"

#include <math.h>

/* Rows or vectors that are summed before their sum joins the total: it keeps long sums precise. */
enum { REDUCE_BLOCK = 64 };

static float simd_sum(size_t n, const float *x)
{
    vec total = vec_set1(0.0f);

    while (n >= 2 * VEC_LANES) {
        size_t pairs = n / (2 * VEC_LANES) < REDUCE_BLOCK ? n / (2 * VEC_LANES) : REDUCE_BLOCK;
        vec even = vec_set1(0.0f), odd = vec_set1(0.0f);
        n -= pairs * 2 * VEC_LANES;
        for (; pairs > 0; pairs--, x += 2 * VEC_LANES) {
            even = vec_add(even, vec_load(x));
            odd = vec_add(odd, vec_load(x + VEC_LANES));
        }
        total = vec_add(total, vec_add(even, odd));
    }
    SIMD_FOR(n, total = vec_add(total, vec_load(x + i)),
             total = vec_add(total, vec_load_mask(x + i, mask)));
    return vec_sum(total);
}

static float simd_rowmax(size_t n, const float *x)
{
    float lane[VEC_LANES], most = -INFINITY;
    vec v = vec_set1(-INFINITY), second = v, third = v;
    size_t i = 0;

    for (; i + 3 * VEC_LANES <= n; i += 3 * VEC_LANES) {
        v = vec_max(v, vec_load(x + i));
        second = vec_max(second, vec_load(x + i + VEC_LANES));
        third = vec_max(third, vec_load(x + i + 2 * VEC_LANES));
    }
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        v = vec_max(v, vec_load(x + i));
    vec_store(lane, vec_max(v, vec_max(second, third)));
    for (size_t j = 0; j < VEC_LANES; j++)
        most = most > lane[j] || most != most ? most : lane[j];
    for (; i < n; i++)
        most = most > x[i] || most != most ? most : x[i];
    return most;
}

/* The sums of the first lanes' columns. */
VEC_INLINE vec reduce_columns(size_t rows, const float *x, size_t x_stride, vec_mask mask)
{
    vec total = vec_set1(0.0f);

    while (rows > 0) {
        size_t block = rows < REDUCE_BLOCK ? rows : REDUCE_BLOCK;
        vec sum = vec_set1(0.0f);
        rows -= block;
        for (; block > 0; block--, x += x_stride)
            sum = vec_add(sum, vec_load_mask(x, mask));
        total = vec_add(total, sum);
    }
    return total;
}

static void simd_colsum(size_t rows, size_t columns, const float *x, size_t x_stride, float *sums)
{
    for (size_t c = 0; c < columns; c += VEC_LANES) {
        vec_mask mask = vec_mask_first(columns - c);
        vec_store_mask(sums + c, reduce_columns(rows, x + c, x_stride, mask), mask);
    }
}

/* A square, of which `height` rows and `width` columns exist. */
VEC_INLINE void transpose_load(const float *x, size_t x_stride, size_t height, size_t width,
                               vec square[VEC_LANES])
{
    vec_mask mask = vec_mask_first(width);

    if (height == VEC_LANES && width == VEC_LANES) {
        for (size_t i = 0; i < VEC_LANES; i++)
            square[i] = vec_load(x + i * x_stride);
    } else {
        for (size_t i = 0; i < VEC_LANES; i++)
            square[i] = i < height ? vec_load_mask(x + i * x_stride, mask) : vec_set1(0.0f);
    }
    vec_transpose(square);
}

/* Three rows, which a picture's colours are, to pixels: the columns of whole vectors. Returns how
 * many. */
VEC_INLINE size_t transpose_triples(size_t columns, const float *x, size_t x_stride, float *out)
{
    const float *y = x + x_stride, *z = y + x_stride;
    size_t c = 0;

    for (; c + VEC_LANES <= columns; c += VEC_LANES)
        vec_store_triples(out + 3 * c, vec_load(x + c), vec_load(y + c), vec_load(z + c));
    return c;
}

/*
 * Masked stores are slow. Where a few rows become pixels without gaps, a whole vector may go beyond
 * its pixel: what it spoils is written later.
 */
static void simd_transpose(size_t rows, size_t columns, const float *x, size_t x_stride, float *out,
                           size_t out_stride)
{
    bool gapless = rows == out_stride && rows < VEC_LANES;
    const size_t first = gapless && rows == 3 ? transpose_triples(columns, x, x_stride, out) : 0;

    for (size_t r = 0; r < rows; r += VEC_LANES) {
        size_t height = rows - r < VEC_LANES ? rows - r : VEC_LANES;
        vec_mask mask = vec_mask_first(height);
        for (size_t c = first; c < columns; c += VEC_LANES) {
            size_t width = columns - c < VEC_LANES ? columns - c : VEC_LANES, i = 0;
            vec square[VEC_LANES];
            transpose_load(x + r * x_stride + c, x_stride, height, width, square);
            for (; i < width &&
                   (height == VEC_LANES || (gapless && (columns - c - i) * rows >= VEC_LANES));
                 i++)
                vec_store(out + (c + i) * out_stride + r, square[i]);
            for (; i < width; i++)
                vec_store_mask(out + (c + i) * out_stride + r, square[i], mask);
        }
    }
}

const kern_reduce_f32_fn KERN_ISA(sum_f32) = simd_sum;
const kern_reduce_f32_fn KERN_ISA(rowmax_f32) = simd_rowmax;
const kern_colsum_f32_fn KERN_ISA(colsum_f32) = simd_colsum;
const kern_transpose_f32_fn KERN_ISA(transpose_f32) = simd_transpose;

#endif
