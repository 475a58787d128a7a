/*
 * Bricks of one row, a vector of them at a time, for ISAs whose vectors are several quads: a part
 * of brick.h, of the same template. Before brick.h.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_WIDE_H
#define LEGO_KERNELS_SIMD_BRICK_WIDE_H

#include "codec/kernels/simd/quads.h"

#define BRICK_WIDE

/*
 * VEC_LANES bricks below each other, from number j on, with their scales; `out`: for each of
 * `width` columns. Four columns at a time: quads of bricks that are apart by four are turned
 * together, so that lanes come out in order. Reads up to three floats behind a brick.
 */
VEC_INLINE void brick_singles_wide(const float *const x[VEC_LANES], uint32_t width, uint32_t j,
                                   const float *scale, const bool plain, const bool accumulate,
                                   float *const *out)
{
    const vec by = plain ? vec_set1(1.0f) : vec_load(scale);

    for (uint32_t i = 0; i < width; i += 4) {
        const uint32_t left = width - i;
        vec v[4], a, b;

        for (uint32_t n = 0; n < 4; n++) {
            const float *from[QUADS];
            for (uint32_t q = 0; q < QUADS; q++)
                from[q] = x[4 * q + n] + i;
            v[n] = vec_quads(from);
        }
        a = vec_interleave_low(v[0], v[1]);
        b = vec_interleave_low(v[2], v[3]);
        brick_vector_put(vec_pairs_low(a, b), by, plain, accumulate, out[i] + j);
        if (left > 1)
            brick_vector_put(vec_pairs_high(a, b), by, plain, accumulate, out[i + 1] + j);
        if (left <= 2)
            return;
        a = vec_interleave_high(v[0], v[1]);
        b = vec_interleave_high(v[2], v[3]);
        brick_vector_put(vec_pairs_low(a, b), by, plain, accumulate, out[i + 2] + j);
        if (left > 3)
            brick_vector_put(vec_pairs_high(a, b), by, plain, accumulate, out[i + 3] + j);
    }
}

#endif
