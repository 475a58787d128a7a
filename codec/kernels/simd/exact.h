/*
 * What the encoder needs in one order of sums: templates over the vectors of an ISA's vec.h. Each
 * result has a lane of its own, so that the width of the vectors changes nothing.
 */
#ifndef LEGO_KERNELS_SIMD_EXACT_H
#define LEGO_KERNELS_SIMD_EXACT_H

#include <math.h>
#include <stddef.h>

/* Rows of a block: 12 sums, two vectors of b, one of a and a product fit 16 registers. */
enum { EXACT_MR = 6 };

#define EXACT_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define EXACT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EXACT_UNROLL _Pragma("GCC unroll 8")
#endif

/* Doubles of a vector's size, as the compiler's own vectors: what they need is plain arithmetic. */
typedef double exact_f64_vec __attribute__((vector_size(VEC_LANES * sizeof(float))));
typedef size_t exact_f64_mask; /* how many lanes */
enum { EXACT_F64_LANES = VEC_LANES / 2 };

EXACT_INLINE exact_f64_vec exact_f64_set1(double x)
{
    return x - (exact_f64_vec){0};
}

EXACT_INLINE exact_f64_vec exact_f64_load(const double *x)
{
    exact_f64_vec y;

    __builtin_memcpy(&y, x, sizeof(y));
    return y;
}

EXACT_INLINE exact_f64_vec exact_f64_load_mask(const double *x, exact_f64_mask lanes)
{
    exact_f64_vec y = {0};

    __builtin_memcpy(&y, x, lanes * sizeof(*x));
    return y;
}

EXACT_INLINE void exact_f64_store(double *x, exact_f64_vec y)
{
    __builtin_memcpy(x, &y, sizeof(y));
}

EXACT_INLINE void exact_f64_store_mask(double *x, exact_f64_vec y, exact_f64_mask lanes)
{
    __builtin_memcpy(x, &y, lanes * sizeof(*x));
}

EXACT_INLINE exact_f64_mask exact_f64_mask_first(size_t n)
{
    return n < EXACT_F64_LANES ? n : EXACT_F64_LANES;
}

EXACT_INLINE exact_f64_vec exact_f64_mul(exact_f64_vec a, exact_f64_vec b)
{
    return a * b;
}

EXACT_INLINE exact_f64_vec exact_f64_add(exact_f64_vec a, exact_f64_vec b)
{
    return a + b;
}

#define EXACT(name)  exact_f64_##name
#define EXACT_VEC    exact_f64_vec
#define EXACT_MASK   exact_f64_mask
#define EXACT_LANES  EXACT_F64_LANES
#define EXACT_REAL   double
#define EXACT_ARGS   struct kern_gemm_exact_f64
#define EXACT_OP(op) exact_f64_##op
#include "codec/kernels/simd/exact_gemm.h"
#undef EXACT
#undef EXACT_VEC
#undef EXACT_MASK
#undef EXACT_LANES
#undef EXACT_REAL
#undef EXACT_ARGS
#undef EXACT_OP

#define EXACT(name)  exact_f32_##name
#define EXACT_VEC    vec
#define EXACT_MASK   vec_mask
#define EXACT_LANES  VEC_LANES
#define EXACT_REAL   float
#define EXACT_ARGS   struct kern_gemm_exact_f32
#define EXACT_OP(op) vec_##op
#include "codec/kernels/simd/exact_gemm.h"
#undef EXACT
#undef EXACT_VEC
#undef EXACT_MASK
#undef EXACT_LANES
#undef EXACT_REAL
#undef EXACT_ARGS
#undef EXACT_OP

/* The smallest distances of each lane and which entries have them. */
struct exact_best {
    vec distance, index;
};

/* nv vectors of entries from k on. */
EXACT_INLINE void exact_distances(uint32_t dim, const float *x, const float *table, size_t stride,
                                  uint32_t k, const int nv, const bool cut, vec_mask last,
                                  float *distance, struct exact_best *best)
{
    vec sum[4];

    EXACT_UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = vec_set1(0.0f);
    for (uint32_t d = 0; d < dim; d++) {
        const vec at = vec_set1(x[d]);

        EXACT_UNROLL
        for (int v = 0; v < nv; v++) {
            const vec e = vec_sub(at, exact_f32_take(table + d * stride + k, v, nv, cut, last));
            sum[v] = vec_add(sum[v], vec_mul(e, e));
        }
    }
    EXACT_UNROLL
    for (int v = 0; v < nv; v++) {
        /* The first entry of the vector: which lane it was in is known at the end. */
        const vec index = vec_set1((float)(k + (uint32_t)v * VEC_LANES));

        exact_f32_give(distance + k, v, nv, cut, last, sum[v]);
        best->index = vec_select_less(sum[v], best->distance, index, best->index);
        best->distance = vec_select_less(sum[v], best->distance, sum[v], best->distance);
    }
}

static uint32_t exact_nearest(uint32_t dim, const float *x, uint32_t entries, const float *table,
                              size_t stride, float *distance)
{
    struct exact_best best = {vec_set1(INFINITY), vec_set1(0.0f)};
    const vec_mask none = vec_mask_first(0);
    float lane_distance[VEC_LANES], lane_index[VEC_LANES], least = INFINITY;
    uint32_t k = 0, least_k = 0;

    for (; k + 4 * VEC_LANES <= entries; k += 4 * VEC_LANES)
        exact_distances(dim, x, table, stride, k, 4, false, none, distance, &best);
    for (; k + VEC_LANES <= entries; k += VEC_LANES)
        exact_distances(dim, x, table, stride, k, 1, false, none, distance, &best);
    vec_store(lane_distance, best.distance);
    vec_store(lane_index, best.index);
    for (uint32_t lane = 0; lane < VEC_LANES; lane++) {
        const uint32_t at = (uint32_t)lane_index[lane] + lane;

        if (lane_distance[lane] < least || (lane_distance[lane] == least && at < least_k)) {
            least = lane_distance[lane];
            least_k = at;
        }
    }
    if (k < entries) {
        exact_distances(dim, x, table, stride, k, 1, true, vec_mask_first(entries - k), distance,
                        &best);
        for (; k < entries; k++) {
            if (distance[k] < least) {
                least = distance[k];
                least_k = k;
            }
        }
    }
    return least < INFINITY ? least_k : 0;
}

const kern_gemm_exact_f32_fn KERN_ISA(gemm_exact_f32) = exact_f32_gemm;
const kern_gemm_exact_f64_fn KERN_ISA(gemm_exact_f64) = exact_f64_gemm;
const kern_nearest_f32_fn KERN_ISA(nearest_f32) = exact_nearest;

#endif
