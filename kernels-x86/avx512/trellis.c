/* Trellis levels for AVX-512: sixteen rANS states a register, slots gathered, words expanded. */
#include "codec/kernels/trellis.h"
#include "kernels-x86/avx512/vec.h"

struct trellis_vector {
    __m512i x, state, even, odd; /* tables of even and odd states */
};

/* `lanes`: those that exist. */
VEC_INLINE const uint8_t *trellis_step(struct trellis_vector *v, const uint32_t *slots,
                                       const uint8_t *at, __mmask16 lanes, float *out)
{
    const __m512i one = _mm512_set1_epi32(1), zero = _mm512_setzero_si512();
    __mmask16 odd = _mm512_test_epi32_mask(v->state, one);
    __m512i table = _mm512_mask_mov_epi32(v->even, odd, v->odd);
    __m512i position = _mm512_and_si512(v->x, _mm512_set1_epi32(KERN_TRELLIS_SLOTS - 1));
    __m512i slot = _mm512_i32gather_epi32(_mm512_add_epi32(table, position), slots, 4);
    __m512i frequency = _mm512_and_si512(_mm512_srli_epi32(slot, 12), _mm512_set1_epi32(0xfff));
    __m512i x = _mm512_mullo_epi32(frequency, _mm512_srli_epi32(v->x, 12));
    x = _mm512_add_epi32(x, _mm512_and_si512(slot, _mm512_set1_epi32(0xfff)));

    __mmask16 low = _mm512_mask_cmplt_epu32_mask(lanes, x, _mm512_set1_epi32(KERN_TRELLIS_LOW));
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
    words = _mm512_maskz_expand_epi32(low, words);
    v->x = _mm512_mask_or_epi32(x, low, _mm512_slli_epi32(x, 16), words);

    __m512i level = _mm512_srai_epi32(slot, 24), value = _mm512_add_epi32(level, level);
    value = _mm512_mask_sub_epi32(value, odd & _mm512_cmpgt_epi32_mask(level, zero), value, one);
    value = _mm512_mask_add_epi32(value, odd & _mm512_cmplt_epi32_mask(level, zero), value, one);
    __m512i shift = _mm512_slli_epi32(v->state, 2);
    __m512i next = _mm512_srlv_epi32(_mm512_set1_epi32(KERN_TRELLIS_NEXT), shift);
    next = _mm512_and_si512(next, _mm512_set1_epi32(7));
    v->state = _mm512_xor_si512(next, _mm512_and_si512(level, one));
    _mm512_storeu_ps(out, _mm512_cvtepi32_ps(value));
    return at + 2 * __builtin_popcount(low);
}

/* `count`, a constant: vectors in a group. Eight lanes are half a vector. */
VEC_INLINE uint32_t trellis_vectors(struct kern_trellis_lanes *lanes,
                                    const struct kern_trellis_decode *d, float *out,
                                    const uint32_t count)
{
    __mmask16 exist = d->lanes < VEC_LANES ? (__mmask16)((1u << d->lanes) - 1) : 0xffff;
    struct trellis_vector v[2];
    const uint8_t *at = lanes->at;
    uint32_t row = 0;

    for (uint32_t i = 0; i < count; i++) {
        v[i].x = _mm512_maskz_loadu_epi32(exist, lanes->x + 16 * i);
        v[i].state = _mm512_setzero_si512();
        v[i].even = _mm512_maskz_loadu_epi32(exist, lanes->table[0] + 16 * i);
        v[i].odd = _mm512_maskz_loadu_epi32(exist, lanes->table[1] + 16 * i);
    }
    for (; row < d->rows && lanes->end - at >= 32 * (ptrdiff_t)count; row++)
        for (uint32_t i = 0; i < count; i++)
            at = trellis_step(&v[i], d->slots, at, exist,
                              out + row * KERN_TRELLIS_MAX_LANES + 16 * i);
    for (uint32_t i = 0; i < count; i++) {
        _mm512_mask_storeu_epi32(lanes->x + 16 * i, exist, v[i].x);
        _mm512_mask_storeu_epi32(lanes->state + 16 * i, exist, v[i].state);
    }
    lanes->at = at;
    return row;
}

static uint32_t trellis_rows(struct kern_trellis_lanes *lanes, const struct kern_trellis_decode *d,
                             float *out)
{
    if (d->lanes == 32)
        return trellis_vectors(lanes, d, out, 2);
    return d->lanes >= 8 ? trellis_vectors(lanes, d, out, 1) : 0;
}

#include "codec/kernels/simd/trellis.h"
