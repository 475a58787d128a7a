/*
 * Integer GEMM for AVX-VNNI: one instruction multiplies and adds four k's of a column. 5 x 16 is 10
 * of 16 registers; the rest hold the panel's four and two of a.
 */
#include "kernels-x86/avx2/vec.h"
#include "kernels-x86/avxvnni/avxvnni.h"

VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec b)
{
    return _mm256_dpbusd_avx_epi32(sum, a, b);
}

VEC_INLINE ivec ivec_dot8(ivec sum, ivec a0, ivec b0, ivec a1, ivec b1)
{
    return ivec_dot4(ivec_dot4(sum, a0, b0), a1, b1);
}

#define GEMM_S8_MR 5
#include "codec/kernels/simd/gemm_s8.h"

const struct kern_gemm_s8_variant kern_avxvnni_gemm_s8 = {gemm_s8, GEMM_S8_MR, GEMM_S8_NR,
                                                          GEMM_S8_KG, true};
