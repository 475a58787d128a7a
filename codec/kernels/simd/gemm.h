/*
 * Indirect GEMM for ISAs that broadcast from memory: a template over the vectors of an ISA's vec.h.
 *
 * A block keeps m x 2 accumulators in registers. m is a constant of each instance, so that the last
 * rows of an image cost what they are and not a full block; a block whose n fits one vector takes
 * half the work, whatever the panel's width.
 *
 * The includer sets GEMM_MR, at most 14.
 */
#ifndef LEGO_KERNELS_SIMD_GEMM_H
#define LEGO_KERNELS_SIMD_GEMM_H

#include "codec/kernels/simd/gemm_step.h"
#include "codec/kernels/simd/quads.h"

/* Vector v of nv at x; `last` masks the last one. */
GEMM_INLINE vec gemm_load(const float *x, uint32_t v, const uint32_t nv, vec_mask last)
{
    x += v * VEC_LANES;
    return v + 1 < nv ? vec_load(x) : vec_load_mask(x, last);
}

GEMM_INLINE void gemm_begin(const struct kern_gemm_f32 *g, const uint32_t m, const uint32_t nv,
                            vec_mask last, vec acc[GEMM_MR][2])
{
    if (g->accumulate) {
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            GEMM_UNROLL
        for (uint32_t v = 0; v < nv; v++)
            acc[i][v] = gemm_load(g->c + (ptrdiff_t)i * g->c_stride, v, nv, last);
        return;
    }
    for (uint32_t v = 0; v < nv; v++) {
        vec bias = g->bias ? gemm_load(g->bias, v, nv, last) : vec_set1(0.0f);
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            acc[i][v] = bias;
    }
}

/* What the end of a block adds to and writes comes while it multiplies: rows are apart, which hides
 * them from a processor's own prefetching. */
GEMM_INLINE void gemm_prefetch(const struct kern_gemm_f32 *g, const uint32_t m)
{
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        __builtin_prefetch(g->c + (ptrdiff_t)i * g->c_stride);
    if (!g->add || g->add == g->c)
        return;
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        __builtin_prefetch(g->add + (ptrdiff_t)i * g->add_stride);
}

GEMM_INLINE void gemm_end(const struct kern_gemm_f32 *g, const uint32_t m, const uint32_t nv,
                          vec_mask last, vec acc[GEMM_MR][2])
{
    vec lo = vec_set1(g->lo), hi = vec_set1(g->hi);

    if (g->add) {
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t v = 0; v < nv; v++)
                acc[i][v] = vec_add(acc[i][v],
                                    gemm_load(g->add + (ptrdiff_t)i * g->add_stride, v, nv, last));
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t v = 0; v < nv; v++)
            acc[i][v] = vec_clamp(acc[i][v], lo, hi);
    /* A masked store is microcode on some processors. */
    if (g->n == nv * VEC_LANES) {
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            for (uint32_t v = 0; v < nv; v++)
                vec_store(g->c + (ptrdiff_t)i * g->c_stride + v * VEC_LANES, acc[i][v]);
        return;
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++) {
        float *c = g->c + (ptrdiff_t)i * g->c_stride;
        if (nv == 2)
            vec_store(c, acc[i][0]);
        vec_store_mask(c + (nv - 1) * VEC_LANES, acc[i][nv - 1], last);
    }
}

/*
 * A block of two vectors. The a pointers are read at a negative index that rises to 0, which is
 * also the loop's counter: together with the panel's pointer that leaves a register for each row.
 */
GEMM_INLINE void gemm_block_wide(const struct kern_gemm_f32 *g, const uint32_t m, const uint32_t nr)
{
    vec_mask last = vec_mask_first(g->n - VEC_LANES);
    vec acc[GEMM_MR][2];
    const float *b = g->panel;
    const float *const *rows = g->a;

    gemm_begin(g, m, 2, last, acc);
    gemm_prefetch(g, m);
    for (uint32_t t = 0; t < g->taps; t++, rows += GEMM_MR) {
        const float *a[GEMM_MR];
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = rows[i] + g->channels;
        for (ptrdiff_t k = -(ptrdiff_t)g->channels; k != 0; k++, b += nr)
            gemm_step(a, k, m, b, acc);
    }
    gemm_end(g, m, 2, last, acc);
}

/* The same, whose panel is decoded, scaled where `scaled` (a constant), and stored on the way. */
GEMM_INLINE void gemm_block_bricks(const struct kern_gemm_bricks_f32 *w, const uint32_t m,
                                   const bool scaled)
{
    enum { NR = 2 * VEC_LANES };
    const struct kern_gemm_f32 *g = &w->gemm;
    const float *const *rows = g->a;
    const float *catalogue = w->catalogue;
    const uint8_t *index = w->index;
    const size_t step = w->index_step;
    float *panel = w->panel;
    vec acc[GEMM_MR][2];

    gemm_begin(g, m, 2, vec_mask_first(VEC_LANES), acc);
    gemm_prefetch(g, m);
    for (uint32_t t = 0; t < g->taps; t++, rows += GEMM_MR) {
        const float *a[GEMM_MR];
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = rows[i] + g->channels;
        for (ptrdiff_t k = -(ptrdiff_t)g->channels; k != 0; k++, index += step, panel += NR) {
            vec b0 = quads_by_bytes(catalogue, index);
            vec b1 = quads_by_bytes(catalogue, index + QUADS);
            if (scaled) {
                b0 = vec_mul(b0, vec_load(w->scale));
                b1 = vec_mul(b1, vec_load(w->scale + VEC_LANES));
            }
            vec_store(panel, b0);
            vec_store(panel + VEC_LANES, b1);
            gemm_step_by(a, k, m, b0, b1, acc);
        }
    }
    gemm_end(g, m, 2, vec_mask_first(VEC_LANES), acc);
}

/*
 * A block of one vector. A load for each FMA would be the limit: so two k's go at once. Their rows
 * of the panel are interleaved, a pair of a's is broadcast by one load, and lanes 2j and 2j + 1 of
 * the sums meet at the end.
 */
GEMM_INLINE void gemm_block_thin(const struct kern_gemm_f32 *g, const uint32_t m, const uint32_t nr)
{
    vec_mask last = vec_mask_first(g->n);
    vec acc[GEMM_MR][2], pair[GEMM_MR][2];
    const float *b = g->panel;
    const float *const *rows = g->a;

    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        pair[i][0] = pair[i][1] = vec_set1(0.0f);
    for (uint32_t t = 0; t < g->taps; t++, rows += GEMM_MR) {
        const float *a[GEMM_MR];
        ptrdiff_t k = -(ptrdiff_t)(g->channels & ~1u);
        GEMM_UNROLL
        for (uint32_t i = 0; i < m; i++)
            a[i] = rows[i] - k;
        for (; k != 0; k += 2, b += 2 * nr) {
            vec even = vec_load(b), odd = vec_load(b + nr);
            vec b0 = vec_interleave_low(even, odd), b1 = vec_interleave_high(even, odd);
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                vec x = vec_set2(a[i] + k);
                pair[i][0] = vec_fma(x, b0, pair[i][0]);
                pair[i][1] = vec_fma(x, b1, pair[i][1]);
            }
        }
        if (g->channels & 1) {
            vec even = vec_load(b), zero = vec_set1(0.0f);
            vec b0 = vec_interleave_low(even, zero), b1 = vec_interleave_high(even, zero);
            GEMM_UNROLL
            for (uint32_t i = 0; i < m; i++) {
                vec x = vec_interleave_low(vec_set1(*a[i]), zero);
                pair[i][0] = vec_fma(x, b0, pair[i][0]);
                pair[i][1] = vec_fma(x, b1, pair[i][1]);
            }
            b += nr;
        }
    }
    gemm_begin(g, m, 1, last, acc);
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++)
        acc[i][0] = vec_add(acc[i][0], vec_add_pairs(pair[i][0], pair[i][1]));
    gemm_end(g, m, 1, last, acc);
}

#define GEMM_CASE(m, block, args, last)              \
    case m:                                          \
        if (m <= GEMM_MR)                            \
            block(args, m <= GEMM_MR ? m : 1, last); \
        break;

/* Runs the instance for m rows, with `last` for its last argument. */
#define GEMM_INSTANCE(m, block, args, last) \
    switch (m) {                            \
        GEMM_CASE(1, block, args, last)     \
        GEMM_CASE(2, block, args, last)     \
        GEMM_CASE(3, block, args, last)     \
        GEMM_CASE(4, block, args, last)     \
        GEMM_CASE(5, block, args, last)     \
        GEMM_CASE(6, block, args, last)     \
        GEMM_CASE(7, block, args, last)     \
        GEMM_CASE(8, block, args, last)     \
        GEMM_CASE(9, block, args, last)     \
        GEMM_CASE(10, block, args, last)    \
        GEMM_CASE(11, block, args, last)    \
        GEMM_CASE(12, block, args, last)    \
        GEMM_CASE(13, block, args, last)    \
        GEMM_CASE(14, block, args, last)    \
    }

/* A function that runs the instance for g->m. */
#define GEMM_DISPATCH(name, block, nr)              \
    static void name(const struct kern_gemm_f32 *g) \
    {                                               \
        GEMM_INSTANCE(g->m, block, g, nr)           \
    }

GEMM_DISPATCH(gemm_wide_full, gemm_block_wide, 2 * VEC_LANES)
GEMM_DISPATCH(gemm_wide_half, gemm_block_thin, 2 * VEC_LANES)
GEMM_DISPATCH(gemm_narrow, gemm_block_thin, VEC_LANES)

static void gemm_bricks(const struct kern_gemm_bricks_f32 *w)
{
    if (w->scale)
        GEMM_INSTANCE(w->gemm.m, gemm_block_bricks, w, true)
    else
        GEMM_INSTANCE(w->gemm.m, gemm_block_bricks, w, false)
}

static void gemm_wide(const struct kern_gemm_f32 *g)
{
    if (g->n > VEC_LANES)
        gemm_wide_full(g);
    else
        gemm_wide_half(g);
}

/* One row: four k's at a time, each with sums of its own, so that no FMA waits for the last. */
GEMM_INLINE void gemm_row_block(const struct kern_gemm_f32 *g, const uint32_t nv)
{
    enum { CHAINS = 4, NR = 2 * VEC_LANES };
    vec_mask last = vec_mask_first(g->n - (nv - 1) * VEC_LANES);
    vec acc[GEMM_MR][2];
    const float *b = g->panel;

    gemm_begin(g, 1, nv, last, acc);
    GEMM_UNROLL
    for (uint32_t i = 1; i < CHAINS; i++)
        acc[i][0] = acc[i][1] = vec_set1(0.0f);
    for (uint32_t t = 0; t < g->taps; t++) {
        const float *a = g->a[t];
        uint32_t k = 0;
        for (; k + CHAINS <= g->channels; k += CHAINS) {
            GEMM_UNROLL
            for (uint32_t i = 0; i < CHAINS; i++, b += NR) {
                vec x = vec_set1(a[k + i]);
                acc[i][0] = vec_fma(x, vec_load(b), acc[i][0]);
                if (nv == 2)
                    acc[i][1] = vec_fma(x, vec_load(b + VEC_LANES), acc[i][1]);
            }
        }
        for (; k < g->channels; k++, b += NR) {
            vec x = vec_set1(a[k]);
            acc[0][0] = vec_fma(x, vec_load(b), acc[0][0]);
            if (nv == 2)
                acc[0][1] = vec_fma(x, vec_load(b + VEC_LANES), acc[0][1]);
        }
    }
    acc[0][0] = vec_add(vec_add(acc[0][0], acc[1][0]), vec_add(acc[2][0], acc[3][0]));
    if (nv == 2)
        acc[0][1] = vec_add(vec_add(acc[0][1], acc[1][1]), vec_add(acc[2][1], acc[3][1]));
    gemm_end(g, 1, nv, last, acc);
}

static void gemm_row(const struct kern_gemm_f32 *g)
{
    if (g->n > VEC_LANES)
        gemm_row_block(g, 2);
    else
        gemm_row_block(g, 1);
}

const struct kern_gemm_variant KERN_ISA(gemm_f32) = {gemm_wide, GEMM_MR, 2 * VEC_LANES};
const struct kern_gemm_bricks_variant KERN_ISA(gemm_bricks_f32) = {gemm_bricks, GEMM_MR,
                                                                   2 * VEC_LANES};
const struct kern_gemm_variant KERN_ISA(gemm_f32_narrow) = {gemm_narrow, GEMM_MR, VEC_LANES};
const struct kern_gemm_variant KERN_ISA(gemm_f32_row) = {gemm_row, 1, 2 * VEC_LANES};

#endif
