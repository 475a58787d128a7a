/* What GEMMs are written with: loops that must be unrolled, so that sums stay in registers. */
#ifndef LEGO_KERNELS_SIMD_UNROLL_H
#define LEGO_KERNELS_SIMD_UNROLL_H

#define GEMM_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define GEMM_UNROLL  _Pragma("clang loop unroll(full)")
#define MAYBE_UNROLL /* it does, and complains of loops that it cannot */
#else
#define GEMM_UNROLL  _Pragma("GCC unroll 16")
#define MAYBE_UNROLL GEMM_UNROLL /* a loop that is as long as a constant in some instances */
#endif

#endif
