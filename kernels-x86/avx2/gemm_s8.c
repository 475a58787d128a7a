/*
 * Integer GEMM for AVX2: VPMADDUBSW adds pairs of products in 16 bits; two of those fit there, so
 * that the widening VPMADDWD comes once for eight k's. 4 x 16 is 8 of 16 registers; the panel's
 * four and one of ones leave three.
 */
#include "kernels-x86/avx2/vec.h"

VEC_INLINE ivec ivec_dot8(ivec sum, ivec a0, ivec b0, ivec a1, ivec b1)
{
    __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(a0, b0), _mm256_maddubs_epi16(a1, b1));

    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec b)
{
    __m256i pairs = _mm256_maddubs_epi16(a, b);

    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#define GEMM_S8_MR 4
#include "codec/kernels/simd/gemm_s8.h"

const struct kern_gemm_s8_variant KERN_ISA(gemm_s8) = {gemm_s8, GEMM_S8_MR, GEMM_S8_NR, GEMM_S8_KG,
                                                       false};
