/*
 * The products of a few tiles with weights that are transformed on the way, for ISAs of 16
 * registers: a row of six positions of a block of channels is transformed into a buffer that L1
 * holds and multiplied at once.
 */
#ifndef LEGO_KERNELS_SIMD_WINOGRAD_FEW_BUFFER_H
#define LEGO_KERNELS_SIMD_WINOGRAD_FEW_BUFFER_H

#include "codec/kernels/simd/gemm_step.h"
#include "codec/kernels/simd/winograd_few.h"

enum {
    FEW_LANES = 2 * VEC_LANES,
    FEW_CHANNELS = 256 / VEC_LANES, /* of a block: 12 KiB, made of 18 KiB of taps */
};

/* Positions of a row for a block of channels, FEW_LANES elements of each. */
struct few_points {
    _Alignas(64) float at[FEW_CHANNELS][WINOGRAD_IN][FEW_LANES];
};

/* The row, a constant, of channels [first, first + count) and two vectors of elements from `lane`
 * on. */
GEMM_INLINE void few_transform(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                               uint32_t count, const bool whole, struct few_points *points,
                               const int row)
{
    const uint32_t left = w->elems - lane, second = left > VEC_LANES ? VEC_LANES : 0;
    const vec_mask mask[2] = {vec_mask_first(left), vec_mask_first(left - second)};
    const size_t step = w->elems, stride = w->tap_stride;
    const float *taps = w->taps + first * step + lane;
    float *to = points->at[0][0];

    /* Where there is no second vector, it is the first again. */
    for (uint32_t c = 0; c < count; c++, taps += step, to += WINOGRAD_IN * FEW_LANES) {
        GEMM_UNROLL
        for (uint32_t v = 0; v < 2; v++) {
            vec half[WINOGRAD_KERNEL], out[WINOGRAD_IN], odd, near, far;
            few_half(taps + v * (whole ? VEC_LANES : second), stride, row, mask[v], whole, half);
            odd = vec_mul(vec_set1(WINOGRAD_B), half[1]);
            near = few_even(half[0], half[2], false);
            far = few_even(half[0], half[2], true);
            out[0] = half[0];
            out[1] = vec_add(near, odd);
            out[2] = vec_sub(near, odd);
            out[3] = vec_add(far, odd);
            out[4] = vec_sub(far, odd);
            out[5] = half[2];
            GEMM_UNROLL
            for (int column = 0; column < WINOGRAD_IN; column++)
                vec_store(to + column * FEW_LANES + v * VEC_LANES, out[column]);
        }
    }
}

/* Products of one position with the block: lanes from `lane` on. */
GEMM_INLINE void few_multiply(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                              uint32_t count, size_t position, const float *points)
{
    const bool whole = w->elems - lane >= FEW_LANES, add = w->accumulate || first;
    const uint32_t left = w->elems - lane;
    const vec_mask mask[2] = {vec_mask_first(left),
                              vec_mask_first(left > VEC_LANES ? left - VEC_LANES : 0)};
    const float *x[FEW_TILES];
    vec acc[FEW_TILES][2];

    for (uint32_t t = 0; t < FEW_TILES; t++) {
        x[t] = w->input + (size_t)first * FEW_CHANNEL + position * FEW_TILES + t;
        acc[t][0] = acc[t][1] = vec_set1(0.0f);
    }
    for (ptrdiff_t c = 0; c < (ptrdiff_t)count; c++, points += WINOGRAD_IN * FEW_LANES)
        gemm_step(x, c * FEW_CHANNEL, FEW_TILES, points, acc);
    for (uint32_t t = 0; t < FEW_TILES && t < w->tiles; t++) {
        float *to = w->products + position * w->product_stride + (size_t)t * w->elems + lane;
        for (uint32_t v = 0; v < 2; v++)
            few_give(to + v * VEC_LANES, acc[t][v], position, add, mask[v], whole);
    }
}

static void simd_winograd_few(const struct kern_winograd_few_f32 *w)
{
    struct few_points points;

    for (uint32_t lane = 0; lane < w->elems; lane += FEW_LANES) {
        for (uint32_t first = 0; first < w->channels; first += FEW_CHANNELS) {
            const uint32_t left = w->channels - first;
            const uint32_t count = left < FEW_CHANNELS ? left : FEW_CHANNELS;
            for (int row = 0; row < WINOGRAD_IN; row++) {
                if (w->elems - lane >= FEW_LANES)
                    FEW_ROWS(row, few_transform, w, lane, first, count, true, &points)
                else
                    FEW_ROWS(row, few_transform, w, lane, first, count, false, &points)
                for (int column = 0; column < WINOGRAD_IN; column++)
                    few_multiply(w, lane, first, count, (size_t)row * WINOGRAD_IN + (size_t)column,
                                 points.at[0][column]);
            }
        }
    }
}

const kern_winograd_few_f32_fn KERN_ISA(winograd_few_f32) = simd_winograd_few;

#endif
