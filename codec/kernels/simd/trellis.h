/*
 * Entropy-coded trellis levels into panels: a template over the vectors of an ISA's vec.h.
 *
 * The includer defines trellis_rows(): it decodes rows of a whole group of lanes as far as vectors
 * go, and returns how many; what is left goes lane by lane. Values of a group lie [row][lane] until
 * they are transposed into the panel's columns.
 */
#ifndef LEGO_KERNELS_SIMD_TRELLIS_H
#define LEGO_KERNELS_SIMD_TRELLIS_H

#include "codec/kernels/ref/ref.h"
#include "codec/kernels/trellis.h"

#include <string.h>

enum { TRELLIS_MAX_ROWS = 256 };

struct trellis_scratch {
    _Alignas(64) float scale[TRELLIS_MAX_ROWS + VEC_LANES]; /* 0 behind the last row */
    /* [row][KERN_TRELLIS_MAX_LANES], 0 behind the last row: of vectors there is no NaN times 0 */
    _Alignas(64) float value[(TRELLIS_MAX_ROWS + VEC_LANES) * KERN_TRELLIS_MAX_LANES];
};

VEC_INLINE float *trellis_column(const struct kern_trellis_decode *d, uint32_t column)
{
    size_t k = d->column_k ? d->column_k[column] : column;

    return d->panel + k * d->panel_nr;
}

/* A square of values to VEC_LANES columns of the panel, or those of them that exist. */
VEC_INLINE void trellis_square(const struct kern_trellis_decode *d, const struct trellis_scratch *s,
                               uint32_t row, uint32_t lane, uint32_t column, uint32_t count)
{
    size_t block = (size_t)(row / d->panel_nr) * d->panel_k * d->panel_nr + row % d->panel_nr;
    vec scale = vec_load(s->scale + row), square[VEC_LANES];

    for (uint32_t i = 0; i < VEC_LANES; i++)
        square[i] = vec_load(s->value + (row + i) * KERN_TRELLIS_MAX_LANES + lane);
    vec_transpose(square);
    for (uint32_t i = 0; i < count; i++)
        vec_store(trellis_column(d, column + i) + block, vec_mul(square[i], scale));
}

/* Few lanes, or row blocks that vectors do not divide. */
static void trellis_scatter(const struct kern_trellis_decode *d, const struct trellis_scratch *s,
                            uint32_t end, uint32_t column, uint32_t count)
{
    uint32_t nr = d->panel_nr;

    for (uint32_t i = 0; i < count; i++) {
        float *out = trellis_column(d, column + i);
        for (uint32_t row = 0; row < end; row += nr, out += (size_t)d->panel_k * nr)
            for (uint32_t j = 0; j < nr; j++)
                out[j] = row + j < d->rows
                             ? s->value[(row + j) * KERN_TRELLIS_MAX_LANES + i] * s->scale[row + j]
                             : 0.0f;
    }
}

/* The values of a group to its columns of the panel. */
static void trellis_store(const struct kern_trellis_decode *d, const struct trellis_scratch *s,
                          uint32_t column, uint32_t count)
{
    uint32_t end = (d->rows + d->panel_nr - 1) / d->panel_nr * d->panel_nr, row = 0;

    if (count < VEC_LANES / 2 || d->panel_nr % VEC_LANES) {
        trellis_scatter(d, s, end, column, count);
        return;
    }
    for (; row < d->rows; row += VEC_LANES)
        for (uint32_t lane = 0; lane < count; lane += VEC_LANES)
            trellis_square(d, s, row, lane, column + lane,
                           count - lane < VEC_LANES ? count - lane : VEC_LANES);
    for (; row < end; row += VEC_LANES)
        for (uint32_t i = 0; i < count; i++)
            vec_store(trellis_column(d, column + i) +
                          (size_t)(row / d->panel_nr) * d->panel_k * d->panel_nr +
                          row % d->panel_nr,
                      vec_set1(0.0f));
}

/* From coefficients to elements, in place: VEC_LANES rows of a channel at `offset`. */
VEC_INLINE void trellis_rotate(const struct kern_trellis_decode *d, uint32_t column, size_t offset)
{
    uint32_t taps = d->taps;
    vec coefficient[KERN_TRELLIS_MAX_TAPS];

    for (uint32_t j = 0; j < taps; j++)
        coefficient[j] = vec_load(trellis_column(d, column + j) + offset);
    for (uint32_t tap = 0; tap < taps; tap++) {
        vec sum = vec_mul(coefficient[0], vec_set1(d->rotation[tap]));
        for (uint32_t j = 1; j < taps; j++)
            sum = vec_fma(coefficient[j], vec_set1(d->rotation[j * taps + tap]), sum);
        vec_store(trellis_column(d, column + tap) + offset, sum);
    }
}

static void trellis_rotate_all(const struct kern_trellis_decode *d)
{
    uint32_t step = d->panel_nr;

    for (uint32_t row = 0; row < d->rows; row += step)
        for (uint32_t part = 0; part < step; part += VEC_LANES)
            for (uint32_t column = 0; column < d->columns; column += d->taps)
                trellis_rotate(d, column, (size_t)row * d->panel_k + part);
}

static void trellis_scratch_open(struct trellis_scratch *s, const struct kern_trellis_decode *d)
{
    for (uint32_t row = 0; row < d->rows; row++)
        s->scale[row] = d->row_scale[row];
    for (uint32_t row = d->rows; row % VEC_LANES; row++) {
        s->scale[row] = 0.0f;
        memset(s->value + row * KERN_TRELLIS_MAX_LANES, 0, KERN_TRELLIS_MAX_LANES * sizeof(float));
    }
}

static void simd_trellis_decode(const struct kern_trellis_decode *d)
{
    struct kern_trellis_lanes lanes;
    struct trellis_scratch scratch;

    if (d->rotation && d->panel_nr % VEC_LANES) {
        kern_ref_trellis_decode(d);
        return;
    }
    trellis_scratch_open(&scratch, d);
    kern_trellis_open(&lanes, d);
    for (uint32_t column = 0; column < d->columns; column += d->lanes) {
        uint32_t count = d->columns - column < d->lanes ? d->columns - column : d->lanes;
        kern_trellis_group(&lanes, d, column, count);
        uint32_t row = count == d->lanes ? trellis_rows(&lanes, d, scratch.value) : 0;
        for (; row < d->rows; row++)
            kern_trellis_row(&lanes, d->slots, count, scratch.value + row * KERN_TRELLIS_MAX_LANES);
        trellis_store(d, &scratch, column, count);
    }
    if (d->rotation)
        trellis_rotate_all(d);
}

const kern_trellis_decode_fn KERN_ISA(trellis_decode) = simd_trellis_decode;

#endif
