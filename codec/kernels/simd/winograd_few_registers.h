/*
 * The products of a few tiles with weights that are transformed on the way, for ISAs of 32
 * registers: the sums of a row of positions stay in registers, and so do its weights.
 */
#ifndef LEGO_KERNELS_SIMD_WINOGRAD_FEW_REGISTERS_H
#define LEGO_KERNELS_SIMD_WINOGRAD_FEW_REGISTERS_H

#include "codec/kernels/simd/winograd_few.h"

enum { FEW_CHANNELS = 32 }; /* of a block: its taps stay in L1 for all rows */

/* One channel of a position, whose tiles' inputs are at x, onto the position's sums. */
GEMM_INLINE void few_step(const float *x, vec weights, vec sums[FEW_TILES])
{
    GEMM_UNROLL
    for (int t = 0; t < FEW_TILES; t++)
        sums[t] = vec_fma(vec_set1(x[t]), weights, sums[t]);
}

/* A row, a constant, of positions for `count` channels from `first` on and the vector of elements
 * that begins with `lane`. */
GEMM_INLINE void few_block(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                           uint32_t count, const bool whole, const int row)
{
    const vec_mask mask = vec_mask_first(w->elems - lane);
    const bool add = w->accumulate || first;
    const size_t step = w->elems, stride = w->tap_stride;
    const float *taps = w->taps + first * step + lane;
    const float *x = w->input + (size_t)first * FEW_CHANNEL + row * WINOGRAD_IN * FEW_TILES;
    vec sums[WINOGRAD_IN][FEW_TILES];

    GEMM_UNROLL
    for (int column = 0; column < WINOGRAD_IN; column++)
        GEMM_UNROLL
    for (int t = 0; t < FEW_TILES; t++)
        sums[column][t] = vec_set1(0.0f);
    for (uint32_t c = 0; c < count; c++, taps += step, x += FEW_CHANNEL) {
        vec half[WINOGRAD_KERNEL], odd, even;

        few_half(taps, stride, row, mask, whole, half);
        few_step(x, half[0], sums[0]);
        few_step(x + 5 * FEW_TILES, half[2], sums[5]);
        odd = vec_mul(vec_set1(WINOGRAD_B), half[1]);
        even = few_even(half[0], half[2], false);
        few_step(x + 1 * FEW_TILES, vec_add(even, odd), sums[1]);
        few_step(x + 2 * FEW_TILES, vec_sub(even, odd), sums[2]);
        even = few_even(half[0], half[2], true);
        few_step(x + 3 * FEW_TILES, vec_add(even, odd), sums[3]);
        few_step(x + 4 * FEW_TILES, vec_sub(even, odd), sums[4]);
    }
    GEMM_UNROLL
    for (int column = 0; column < WINOGRAD_IN; column++) {
        const size_t position = (size_t)(row * WINOGRAD_IN + column);
        float *products = w->products + position * w->product_stride + lane;
        GEMM_UNROLL
        for (uint32_t t = 0; t < FEW_TILES; t++)
            if (t < w->tiles)
                few_give(products + t * w->elems, sums[column][t], position, add, mask, whole);
    }
}

static void simd_winograd_few(const struct kern_winograd_few_f32 *w)
{
    for (uint32_t first = 0; first < w->channels; first += FEW_CHANNELS) {
        const uint32_t left = w->channels - first;
        const uint32_t count = left < FEW_CHANNELS ? left : FEW_CHANNELS;
        for (uint32_t lane = 0; lane < w->elems; lane += VEC_LANES) {
            for (int row = 0; row < WINOGRAD_IN; row++) {
                if (w->elems - lane >= VEC_LANES)
                    FEW_ROWS(row, few_block, w, lane, first, count, true)
                else
                    FEW_ROWS(row, few_block, w, lane, first, count, false)
            }
        }
    }
}

const kern_winograd_few_f32_fn KERN_ISA(winograd_few_f32) = simd_winograd_few;

#endif
