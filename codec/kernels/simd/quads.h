/*
 * Quads and pairs of floats put together to vectors: columns of bricks of four or two rows, which
 * lie anywhere in a catalogue. A vector is stored at once, where stores are what limits.
 */
#ifndef LEGO_KERNELS_SIMD_QUADS_H
#define LEGO_KERNELS_SIMD_QUADS_H

#include <string.h>

enum { QUADS = VEC_LANES / 4, DOUBLES = VEC_LANES / 2 };

/* One vector of weights by its scales, unless it is plain, and onto what is there. */
VEC_INLINE void brick_vector_put(vec x, vec scale, const bool plain, const bool accumulate,
                                 float *out)
{
    if (!plain)
        x = vec_mul(x, scale);
    if (accumulate)
        x = vec_add(vec_load(out), x);
    vec_store(out, x);
}

/* The quads x[4 * index[0]] and so on. */
VEC_INLINE vec quads_by_bytes(const float *x, const uint8_t *index)
{
    const float *from[QUADS];

#ifdef VEC_QUAD_AT
    uint32_t four = 0;

    memcpy(&four, index, QUADS);
    for (uint32_t i = 0; i < QUADS; i++)
        from[i] = vec_quad_at(x, four, i);
#else
    for (uint32_t i = 0; i < QUADS; i++)
        from[i] = x + (size_t)4 * index[i];
#endif
    return vec_quads(from);
}

#endif
