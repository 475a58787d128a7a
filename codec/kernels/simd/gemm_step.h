/*
 * One k of a block of m rows (a constant) by two vectors: a[i][k] times the panel's two vectors
 * onto sums in registers. For ISAs that broadcast from memory, over the vectors of an ISA's vec.h.
 */
#ifndef LEGO_KERNELS_SIMD_GEMM_STEP_H
#define LEGO_KERNELS_SIMD_GEMM_STEP_H

#include "codec/kernels/simd/unroll.h"

GEMM_INLINE void gemm_step_by(const float *const *a, ptrdiff_t k, const uint32_t m, vec b0, vec b1,
                              vec acc[][2])
{
    GEMM_UNROLL
    for (uint32_t i = 0; i < m; i++) {
        vec x = vec_set1(a[i][k]);
        acc[i][0] = vec_fma(x, b0, acc[i][0]);
        acc[i][1] = vec_fma(x, b1, acc[i][1]);
    }
}

GEMM_INLINE void gemm_step(const float *const *a, ptrdiff_t k, const uint32_t m, const float *panel,
                           vec acc[][2])
{
    gemm_step_by(a, k, m, vec_load(panel), vec_load(panel + VEC_LANES), acc);
}

#endif
