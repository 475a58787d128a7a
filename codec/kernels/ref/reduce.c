/* Sums, maxima, softmax, transposition. Sums run in double: they are what others are held to. */
#include "codec/kernels/ref/ref.h"

#include <math.h>

static float sum(size_t n, const float *x)
{
    double total = 0.0;

    for (size_t i = 0; i < n; i++)
        total += x[i];
    return (float)total;
}

static float rowmax(size_t n, const float *x)
{
    float most = -INFINITY;

    for (size_t i = 0; i < n; i++)
        most = most > x[i] || most != most ? most : x[i];
    return most;
}

static void colsum(size_t rows, size_t columns, const float *x, size_t x_stride, float *sums)
{
    enum { BLOCK = 64 };

    for (size_t from = 0; from < columns; from += BLOCK) {
        double total[BLOCK] = {0};
        size_t n = columns - from < BLOCK ? columns - from : BLOCK;
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < n; c++)
                total[c] += x[r * x_stride + from + c];
        for (size_t c = 0; c < n; c++)
            sums[from + c] = (float)total[c];
    }
}

static void softmax(size_t n, const float *x, float *out)
{
    double most = rowmax(n, x), total = 0.0;

    for (size_t i = 0; i < n; i++)
        total += exp(x[i] - most);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(exp(x[i] - most) / total);
}

static void transpose(size_t rows, size_t columns, const float *x, size_t x_stride, float *out,
                      size_t out_stride)
{
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < rows; r++)
            out[c * out_stride + r] = x[r * x_stride + c];
}

const kern_reduce_f32_fn kern_ref_sum_f32 = sum;
const kern_reduce_f32_fn kern_ref_rowmax_f32 = rowmax;
const kern_colsum_f32_fn kern_ref_colsum_f32 = colsum;
const kern_softmax_f32_fn kern_ref_softmax_f32 = softmax;
const kern_transpose_f32_fn kern_ref_transpose_f32 = transpose;
