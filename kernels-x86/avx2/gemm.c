/* GEMM for AVX2: 6 x 16 is 12 of 16 registers; the rest hold the panel's two and one of a. */
#include "kernels-x86/avx2/vec.h"

#define GEMM_MR 6
#include "codec/kernels/simd/gemm.h"
