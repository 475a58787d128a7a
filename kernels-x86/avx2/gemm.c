/* GEMM for AVX2: 6 x 16 and 12 x 8 are 12 of 16 registers. */
#include "kernels-x86/avx2/vec.h"

#define GEMM_WIDE_MR   6
#define GEMM_NARROW_MR 12
#include "codec/kernels/simd/gemm.h"
