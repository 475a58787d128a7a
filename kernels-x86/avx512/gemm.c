/* GEMM for AVX-512: 14 x 32 is 28 of 32 registers; the rest hold the panel's two and one of a. */
#include "kernels-x86/avx512/vec.h"

#define GEMM_MR 14
#include "codec/kernels/simd/gemm.h"
