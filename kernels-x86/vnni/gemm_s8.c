/* Integer GEMM for AVX-512 VNNI: one instruction multiplies and adds four k's of a column. */
#include "kernels-x86/avx512/vec.h"
#include "kernels-x86/vnni/vnni.h"

VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec b)
{
    return _mm512_dpbusd_epi32(sum, a, b);
}

VEC_INLINE ivec ivec_dot8(ivec sum, ivec a0, ivec b0, ivec a1, ivec b1)
{
    return ivec_dot4(ivec_dot4(sum, a0, b0), a1, b1);
}

#define GEMM_S8_MR 12
#include "codec/kernels/simd/gemm_s8.h"

const struct kern_gemm_s8_variant kern_vnni_gemm_s8 = {gemm_s8, GEMM_S8_MR, GEMM_S8_NR, GEMM_S8_KG,
                                                       true};
