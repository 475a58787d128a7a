/* Trellis levels for AVX2: eight rANS states a register, slots gathered. */
#include "codec/kernels/trellis.h"
#include "kernels-x86/avx2/vec.h"

/* Which of the next words a lane takes, for each set of lanes that need one. */
#define WORD(b, lane) (uint8_t) __builtin_popcount((b) & ((1u << (lane)) - 1))
#define WORDS(b)                                                                            \
    {                                                                                       \
        WORD(b, 0), WORD(b, 1), WORD(b, 2), WORD(b, 3), WORD(b, 4), WORD(b, 5), WORD(b, 6), \
            WORD(b, 7)                                                                      \
    }
#define WORDS4(b)  WORDS(b), WORDS((b) + 1), WORDS((b) + 2), WORDS((b) + 3)
#define WORDS16(b) WORDS4(b), WORDS4((b) + 4), WORDS4((b) + 8), WORDS4((b) + 12)
#define WORDS64(b) WORDS16(b), WORDS16((b) + 16), WORDS16((b) + 32), WORDS16((b) + 48)
static const uint8_t trellis_words[256][8] = {WORDS64(0), WORDS64(64), WORDS64(128), WORDS64(192)};

struct trellis_vector {
    __m256i x, state, even, odd; /* tables of even and odd states */
};

VEC_INLINE const uint8_t *trellis_step(struct trellis_vector *v, const uint32_t *slots,
                                       const uint8_t *at, float *out)
{
    const __m256i one = _mm256_set1_epi32(1), zero = _mm256_setzero_si256();
    __m256i odd = _mm256_and_si256(v->state, one);
    __m256i table = _mm256_blendv_epi8(v->even, v->odd, _mm256_cmpeq_epi32(odd, one));
    __m256i position = _mm256_and_si256(v->x, _mm256_set1_epi32(KERN_TRELLIS_SLOTS - 1));
    __m256i slot = _mm256_i32gather_epi32((const int *)slots, _mm256_add_epi32(table, position), 4);
    __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(slot, 12), _mm256_set1_epi32(0xfff));
    __m256i x = _mm256_mullo_epi32(frequency, _mm256_srli_epi32(v->x, 12));
    x = _mm256_add_epi32(x, _mm256_and_si256(slot, _mm256_set1_epi32(0xfff)));

    __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), zero);
    uint32_t lanes = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(low));
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at));
    __m256i take = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)trellis_words[lanes]));
    words = _mm256_or_si256(_mm256_slli_epi32(x, 16), _mm256_permutevar8x32_epi32(words, take));
    v->x = _mm256_blendv_epi8(x, words, low);

    __m256i level = _mm256_srai_epi32(slot, 24);
    __m256i value = _mm256_sub_epi32(_mm256_add_epi32(level, level), _mm256_sign_epi32(odd, level));
    __m256i shift = _mm256_slli_epi32(v->state, 2);
    __m256i next = _mm256_srlv_epi32(_mm256_set1_epi32(KERN_TRELLIS_NEXT), shift);
    next = _mm256_and_si256(next, _mm256_set1_epi32(7));
    v->state = _mm256_xor_si256(next, _mm256_and_si256(level, one));
    _mm256_storeu_ps(out, _mm256_cvtepi32_ps(value));
    return at + 2 * __builtin_popcount(lanes);
}

/* `count`, a constant: vectors in a group. */
VEC_INLINE uint32_t trellis_vectors(struct kern_trellis_lanes *lanes,
                                    const struct kern_trellis_decode *d, float *out,
                                    const uint32_t count)
{
    struct trellis_vector v[4];
    const uint8_t *at = lanes->at;
    uint32_t row = 0;

    for (uint32_t i = 0; i < count; i++) {
        v[i].x = _mm256_loadu_si256((const __m256i *)(lanes->x + 8 * i));
        v[i].state = _mm256_setzero_si256();
        v[i].even = _mm256_loadu_si256((const __m256i *)(lanes->table[0] + 8 * i));
        v[i].odd = _mm256_loadu_si256((const __m256i *)(lanes->table[1] + 8 * i));
    }
    for (; row < d->rows && lanes->end - at >= 16 * (ptrdiff_t)count; row++)
        for (uint32_t i = 0; i < count; i++)
            at = trellis_step(&v[i], d->slots, at, out + row * KERN_TRELLIS_MAX_LANES + 8 * i);
    for (uint32_t i = 0; i < count; i++) {
        _mm256_storeu_si256((__m256i *)(lanes->x + 8 * i), v[i].x);
        _mm256_storeu_si256((__m256i *)(lanes->state + 8 * i), v[i].state);
    }
    lanes->at = at;
    return row;
}

static uint32_t trellis_rows(struct kern_trellis_lanes *lanes, const struct kern_trellis_decode *d,
                             float *out)
{
    switch (d->lanes) {
    case 8:
        return trellis_vectors(lanes, d, out, 1);
    case 16:
        return trellis_vectors(lanes, d, out, 2);
    case 32:
        return trellis_vectors(lanes, d, out, 4);
    default:
        return 0;
    }
}

#include "codec/kernels/simd/trellis.h"
