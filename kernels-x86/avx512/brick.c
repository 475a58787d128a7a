/* Bricks for AVX-512: lookups in one or two registers, or gathered. */
#include "kernels-x86/avx512/vec.h"
#include "kernels-x86/bits.h"

enum { BRICK_TABLE = 32 };

/* Sixteen lookups in a table of `kind` entries; kind 0: x[index * pitch]. */
VEC_INLINE vec brick_lookup(const float *x, const uint32_t kind, uint32_t pitch,
                            const uint32_t *index)
{
    __m512i i = _mm512_loadu_si512(index);

    if (kind == 16)
        return _mm512_permutexvar_ps(i, vec_load(x));
    if (kind == 32)
        return _mm512_permutex2var_ps(vec_load(x), i, vec_load(x + 16));
    return _mm512_i32gather_ps(_mm512_mullo_epi32(i, _mm512_set1_epi32((int)pitch)), x, 4);
}

#include "codec/kernels/simd/brick_wide.h"

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
