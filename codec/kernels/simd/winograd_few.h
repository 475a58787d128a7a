/*
 * What both kernels for few tiles share, behind simd/winograd.h: a template over the vectors of an
 * ISA's vec.h. Both transform the taps where they are used, a row of six positions at a time; the
 * whole transform would go through L2 and be read once. The factors of the points (1, -1/3, 1/6)
 * are left out of the weights and multiplied with the products.
 */
#ifndef LEGO_KERNELS_SIMD_WINOGRAD_FEW_H
#define LEGO_KERNELS_SIMD_WINOGRAD_FEW_H

#include "codec/kernels/simd/unroll.h"
#include "codec/kernels/simd/winograd.h"

enum {
    FEW_TILES = KERN_WINOGRAD_FEW,
    FEW_POSITIONS = WINOGRAD_IN * WINOGRAD_IN,
    FEW_CHANNEL =
        FEW_POSITIONS * FEW_TILES, /* elements of the input from one channel to the next */
};

static const float few_factor[WINOGRAD_IN] = {1, 1 / -3.0f, 1 / -3.0f, 1 / 6.0f, 1 / 6.0f, 1};

/* The even part of a pair of points: of those at +-1/sqrt(2), or of those at +-sqrt(2). */
GEMM_INLINE vec few_even(vec g0, vec g2, const bool far)
{
    return far ? vec_fma(vec_set1(2.0f), g2, g0) : vec_fma(vec_set1(2.0f), g0, g2);
}

/* A row, a constant, of the half transform of one vector of one channel. */
GEMM_INLINE void few_half(const float *taps, size_t stride, const int row, vec_mask mask,
                          const bool whole, vec half[WINOGRAD_KERNEL])
{
    GEMM_UNROLL
    for (int column = 0; column < WINOGRAD_KERNEL; column++) {
        const float *first = taps + (size_t)column * stride;
        const float *middle = first + WINOGRAD_KERNEL * stride;
        const float *last = first + 2 * WINOGRAD_KERNEL * stride;

        if (row == 0)
            half[column] = winograd_load(first, mask, whole);
        else if (row == WINOGRAD_IN - 1)
            half[column] = winograd_load(last, mask, whole);
        else
            half[column] = vec_fma(vec_set1(row % 2 ? WINOGRAD_B : -WINOGRAD_B),
                                   winograd_load(middle, mask, whole),
                                   few_even(winograd_load(first, mask, whole),
                                            winograd_load(last, mask, whole), row > 2));
    }
}

/* Products of one position and tile: the sum by its factor, onto what `add` says is there. */
GEMM_INLINE void few_give(float *to, vec sum, size_t position, bool add, vec_mask mask,
                          const bool whole)
{
    const float factor = few_factor[position / WINOGRAD_IN] * few_factor[position % WINOGRAD_IN];
    const vec before = add ? winograd_load(to, mask, whole) : vec_set1(0.0f);

    winograd_store(to, vec_fma(vec_set1(factor), sum, before), mask, whole);
}

#define FEW_ROW(row, run, ...) \
    case row:                  \
        run(__VA_ARGS__, row); \
        break;
/* Calls `run` with a row that is a constant. */
#define FEW_ROWS(row, run, ...)      \
    switch (row) {                   \
        FEW_ROW(0, run, __VA_ARGS__) \
        FEW_ROW(1, run, __VA_ARGS__) \
        FEW_ROW(2, run, __VA_ARGS__) \
        FEW_ROW(3, run, __VA_ARGS__) \
        FEW_ROW(4, run, __VA_ARGS__) \
        FEW_ROW(5, run, __VA_ARGS__) \
    }

#endif
