/* Bricks for NEON: lookups by TBL, or loaded lane by lane. */
#include "kernels-arm/neon/vec.h"

enum { BRICK_TABLE = 32 };

/* Where each of eight packed indices lies: its four bytes of sixteen, and its bit in those. */
struct brick_bits {
    uint8_t byte[32];
    uint32_t shift[8];
    uint32_t mask;
};

VEC_INLINE void brick_unpack8(const struct brick_bits *bits, const uint8_t *at, uint32_t *out)
{
    uint8x16_t x = vld1q_u8(at);

    for (int i = 0; i < 2; i++) {
        uint32x4_t v = vreinterpretq_u32_u8(vqtbl1q_u8(x, vld1q_u8(bits->byte + 16 * i)));
        int32x4_t shift = vreinterpretq_s32_u32(vld1q_u32(bits->shift + 4 * i));
        v = vandq_u32(vshlq_u32(v, vnegq_s32(shift)), vdupq_n_u32(bits->mask));
        vst1q_u32(out + 4 * i, v);
    }
}

VEC_INLINE uint8x16x4_t brick_table(const float *table)
{
    const uint8_t *x = (const uint8_t *)table;
    return (uint8x16x4_t){{vld1q_u8(x), vld1q_u8(x + 16), vld1q_u8(x + 32), vld1q_u8(x + 48)}};
}

/* Four lookups: an index becomes the numbers of its entry's four bytes. */
VEC_INLINE float32x4_t brick_table_lookup(const float *table, const uint32_t kind, uint32x4_t index)
{
    uint8x16_t byte =
        vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404)));
    uint8x16_t x = vqtbl4q_u8(brick_table(table), byte);

    if (kind > 16)
        x = vqtbx4q_u8(x, brick_table(table + 16), vsubq_u8(byte, vdupq_n_u8(64)));
    return vreinterpretq_f32_u8(x);
}

/* Four loads from x[index[i] * pitch]. */
VEC_INLINE float32x4_t brick_gather(const float *x, uint32_t pitch, const uint32_t *index)
{
    float32x4_t v = vld1q_dup_f32(x + (size_t)index[0] * pitch);

    v = vld1q_lane_f32(x + (size_t)index[1] * pitch, v, 1);
    v = vld1q_lane_f32(x + (size_t)index[2] * pitch, v, 2);
    return vld1q_lane_f32(x + (size_t)index[3] * pitch, v, 3);
}

/* Eight lookups in a table of `kind` entries; kind 0: x[index * pitch]. */
VEC_INLINE vec brick_lookup(const float *x, const uint32_t kind, uint32_t pitch,
                            const uint32_t *index)
{
    if (kind)
        return VEC_PAIR(brick_table_lookup(x, kind, vld1q_u32(index)),
                        brick_table_lookup(x, kind, vld1q_u32(index + 4)));
    return VEC_PAIR(brick_gather(x, pitch, index), brick_gather(x, pitch, index + 4));
}

/* Eight lookups in a table of sixteen by indices of 4 or 2 bits (a constant), packed. */
VEC_INLINE vec brick_lookup_bits(const float *table, const uint8_t *at, const uint32_t bits)
{
    static const int32_t by4[8] = {0, -4, -8, -12, -16, -20, -24, -28};
    static const int32_t by2[8] = {0, -2, -4, -6, -8, -10, -12, -14};
    const int32_t *shift = bits == 4 ? by4 : by2;
    const uint32x4_t mask = vdupq_n_u32((1u << bits) - 1);
    uint32x4_t eight;
    uint32_t word = 0;

    __builtin_memcpy(&word, at, bits);
    eight = vdupq_n_u32(word);
    return VEC_PAIR(
        brick_table_lookup(table, 16, vandq_u32(vshlq_u32(eight, vld1q_s32(shift)), mask)),
        brick_table_lookup(table, 16, vandq_u32(vshlq_u32(eight, vld1q_s32(shift + 4)), mask)));
}

#include "codec/kernels/simd/brick.h"
#include "codec/kernels/simd/gemv.h"
#include "codec/kernels/simd/pack.h"
#include "codec/kernels/simd/partial.h"
