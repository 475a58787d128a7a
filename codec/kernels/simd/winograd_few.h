/*
 * The products of a few tiles with weights that are transformed on the way: a template over the
 * vectors of an ISA's vec.h, behind simd/winograd.h.
 *
 * A row of six positions of a block of channels is transformed into a buffer that L1 holds and
 * multiplied at once; the whole transform would go through L2 and be read once. The factors of the
 * points (1, -2/3, 1/6) are left out of the weights and multiplied with the products.
 */
#ifndef LEGO_KERNELS_SIMD_WINOGRAD_FEW_H
#define LEGO_KERNELS_SIMD_WINOGRAD_FEW_H

#include "codec/kernels/simd/gemm_step.h"
#include "codec/kernels/simd/winograd.h"

enum {
    FEW_TILES = KERN_WINOGRAD_FEW,
    FEW_LANES = 2 * VEC_LANES,
    FEW_CHANNELS = 256 / VEC_LANES, /* of a block: 12 KiB, made of 18 KiB of taps */
};

static const float few_factor[WINOGRAD_IN] = {1, 1 / -1.5f, 1 / -1.5f, 1 / 6.0f, 1 / 6.0f, 1};

/* Positions of a row for a block of channels, FEW_LANES elements of each. */
struct few_points {
    _Alignas(64) float at[FEW_CHANNELS][WINOGRAD_IN][FEW_LANES];
};

/* Taps at +-1/sqrt(2), or +-sqrt(2) where `far`, but for the factor. */
GEMM_INLINE void few_pair(vec g0, vec g1, vec g2, const bool far, vec *ret_plus, vec *ret_minus)
{
    const vec even = vec_fma(vec_set1(far ? 2.0f : 0.5f), g2, g0);

    *ret_plus = vec_fma(vec_set1(far ? WINOGRAD_B : WINOGRAD_A), g1, even);
    *ret_minus = vec_fma(vec_set1(far ? -WINOGRAD_B : -WINOGRAD_A), g1, even);
}

/* A row, a constant, of the half transform of one vector of one channel. */
GEMM_INLINE void few_half(const float *taps, size_t stride, const int row, vec_mask mask,
                          const bool whole, vec half[WINOGRAD_KERNEL])
{
    GEMM_UNROLL
    for (int column = 0; column < WINOGRAD_KERNEL; column++) {
        const float *at = taps + (size_t)column * stride;
        const float *last = at + 2 * WINOGRAD_KERNEL * stride;
        vec plus, minus;

        if (row == 0 || row == WINOGRAD_IN - 1) {
            half[column] = winograd_load(row ? last : at, mask, whole);
            continue;
        }
        few_pair(winograd_load(at, mask, whole),
                 winograd_load(at + WINOGRAD_KERNEL * stride, mask, whole),
                 winograd_load(last, mask, whole), row > 2, &plus, &minus);
        half[column] = row % 2 ? plus : minus;
    }
}

/* The row, a constant, of channels [first, first + count) and two vectors of elements from `lane`
 * on. */
GEMM_INLINE void few_transform(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                               uint32_t count, const int row, const bool whole,
                               struct few_points *points)
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
            vec half[WINOGRAD_KERNEL], out[WINOGRAD_IN];
            few_half(taps + v * (whole ? VEC_LANES : second), stride, row, mask[v], whole, half);
            out[0] = half[0];
            few_pair(half[0], half[1], half[2], false, &out[1], &out[2]);
            few_pair(half[0], half[1], half[2], true, &out[3], &out[4]);
            out[WINOGRAD_IN - 1] = half[2];
            GEMM_UNROLL
            for (int column = 0; column < WINOGRAD_IN; column++)
                vec_store(to + column * FEW_LANES + v * VEC_LANES, out[column]);
        }
    }
}

static void few_row(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                    uint32_t count, int row, struct few_points *points)
{
    const bool whole = w->elems - lane >= FEW_LANES;

#define FEW_ROW(row)                                                  \
    case row:                                                         \
        if (whole)                                                    \
            few_transform(w, lane, first, count, row, true, points);  \
        else                                                          \
            few_transform(w, lane, first, count, row, false, points); \
        break;
    switch (row) {
        FEW_ROW(0)
        FEW_ROW(1)
        FEW_ROW(2)
        FEW_ROW(3)
        FEW_ROW(4)
        FEW_ROW(5)
    }
#undef FEW_ROW
}

/* Products of one position with the block: lanes from `lane` on. */
GEMM_INLINE void few_multiply(const struct kern_winograd_few_f32 *w, uint32_t lane, uint32_t first,
                              uint32_t count, size_t position, const float *points)
{
    const bool whole = w->elems - lane >= FEW_LANES, add = w->accumulate || first;
    const uint32_t left = w->elems - lane;
    const vec_mask mask[2] = {vec_mask_first(left),
                              vec_mask_first(left > VEC_LANES ? left - VEC_LANES : 0)};
    const vec factor =
        vec_set1(few_factor[position / WINOGRAD_IN] * few_factor[position % WINOGRAD_IN]);
    float *products = w->products + position * w->product_stride + lane;
    const float *x[FEW_TILES];
    vec acc[FEW_TILES][2];

    for (uint32_t t = 0; t < FEW_TILES; t++) {
        const uint32_t tile = t < w->tiles ? t : w->tiles - 1;
        x[t] = w->input + position * w->input_stride + tile * w->tile_stride + first;
        acc[t][0] = acc[t][1] = vec_set1(0.0f);
    }
    for (ptrdiff_t c = 0; c < (ptrdiff_t)count; c++, points += WINOGRAD_IN * FEW_LANES)
        gemm_step(x, c, FEW_TILES, points, acc);
    for (uint32_t t = 0; t < FEW_TILES && t < w->tiles; t++, products += w->elems) {
        for (uint32_t v = 0; v < 2; v++) {
            float *to = products + v * VEC_LANES;
            vec before = add ? winograd_load(to, mask[v], whole) : vec_set1(0.0f);
            winograd_store(to, vec_fma(factor, acc[t][v], before), mask[v], whole);
        }
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
                few_row(w, lane, first, count, row, &points);
                for (int column = 0; column < WINOGRAD_IN; column++)
                    few_multiply(w, lane, first, count, (size_t)row * WINOGRAD_IN + (size_t)column,
                                 points.at[0][column]);
            }
        }
    }
}

const kern_winograd_few_f32_fn KERN_ISA(winograd_few_f32) = simd_winograd_few;

#endif
