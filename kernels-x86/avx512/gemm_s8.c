/*
 * Integer GEMM for AVX-512 without VNNI: as AVX2's, wider. 12 x 32 is 24 of 32 registers; the rest
 * hold the panel's four, two of a and one of ones.
 */
#include "kernels-x86/avx512/vec.h"

VEC_INLINE ivec ivec_dot8(ivec sum, ivec a0, ivec b0, ivec a1, ivec b1)
{
    __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(a0, b0), _mm512_maddubs_epi16(a1, b1));

    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec b)
{
    __m512i pairs = _mm512_maddubs_epi16(a, b);

    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

#define GEMM_S8_MR 12
#include "codec/kernels/simd/gemm_s8.h"

const struct kern_gemm_s8_variant KERN_ISA(gemm_s8) = {gemm_s8, GEMM_S8_MR, GEMM_S8_NR, GEMM_S8_KG,
                                                       false};
