/*
 * Trellis levels for NEON. There is no gather, and lanes are independent: slots are looked up lane
 * by lane, rANS states and the trellis advance in registers of four.
 */
#include "codec/kernels/trellis.h"
#include "kernels-arm/neon/vec.h"

struct trellis_vector {
    uint32x4_t x, state;
};

VEC_INLINE uint32x4_t trellis_slots(const struct trellis_vector *v, const uint32_t *slots,
                                    const uint32_t *even, const uint32_t *odd)
{
    uint32x4_t is_odd = vtstq_u32(v->state, vdupq_n_u32(1));
    uint32x4_t table = vbslq_u32(is_odd, vld1q_u32(odd), vld1q_u32(even));
    uint32x4_t at = vaddq_u32(table, vandq_u32(v->x, vdupq_n_u32(KERN_TRELLIS_SLOTS - 1)));
    uint32x4_t slot = vld1q_dup_u32(slots + vgetq_lane_u32(at, 0));

    slot = vld1q_lane_u32(slots + vgetq_lane_u32(at, 1), slot, 1);
    slot = vld1q_lane_u32(slots + vgetq_lane_u32(at, 2), slot, 2);
    return vld1q_lane_u32(slots + vgetq_lane_u32(at, 3), slot, 3);
}

/* The words that the lanes below the limit take, in order. */
VEC_INLINE const uint8_t *trellis_words(struct trellis_vector *v, const uint8_t *at)
{
    uint16x4_t low = vmovn_u32(vcltq_u32(v->x, vdupq_n_u32(KERN_TRELLIS_LOW)));
    uint64_t lanes = vget_lane_u64(vreinterpret_u64_u16(low), 0);
    uint32_t x[4];

    if (!lanes)
        return at;
    vst1q_u32(x, v->x);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t need = (uint32_t)(lanes >> (16 * i)) & 1;
        uint32_t word = x[i] << 16 | at[0] | (uint32_t)at[1] << 8;
        x[i] = need ? word : x[i];
        at += 2 * need;
    }
    v->x = vld1q_u32(x);
    return at;
}

VEC_INLINE const uint8_t *trellis_step(struct trellis_vector *v, uint32x4_t slot, const uint8_t *at,
                                       float *out)
{
    const uint32x4_t one = vdupq_n_u32(1);
    uint32x4_t odd = vandq_u32(v->state, one), mask = vdupq_n_u32(0xfff);
    int32x4_t level = vshrq_n_s32(vreinterpretq_s32_u32(slot), 24);
    int32x4_t above = vreinterpretq_s32_u32(vandq_u32(vcgtzq_s32(level), odd));
    int32x4_t below = vreinterpretq_s32_u32(vandq_u32(vcltzq_s32(level), odd));
    int32x4_t value = vaddq_s32(vsubq_s32(vaddq_s32(level, level), above), below);
    int32x4_t shift = vnegq_s32(vreinterpretq_s32_u32(vshlq_n_u32(v->state, 2)));
    uint32x4_t next = vandq_u32(vshlq_u32(vdupq_n_u32(KERN_TRELLIS_NEXT), shift), vdupq_n_u32(7));

    v->x = vmlaq_u32(vandq_u32(slot, mask), vandq_u32(vshrq_n_u32(slot, 12), mask),
                     vshrq_n_u32(v->x, 12));
    v->state = veorq_u32(next, vandq_u32(vreinterpretq_u32_s32(level), one));
    vst1q_f32(out, vcvtq_f32_s32(value));
    return trellis_words(v, at);
}

static uint32_t trellis_rows(struct kern_trellis_lanes *lanes, const struct kern_trellis_decode *d,
                             float *out)
{
    struct trellis_vector v[KERN_TRELLIS_MAX_LANES / 4];
    uint32_t count = d->lanes / 4, row = 0;
    const uint8_t *at = lanes->at;

    for (uint32_t i = 0; i < count; i++)
        v[i] = (struct trellis_vector){vld1q_u32(lanes->x + 4 * i), vdupq_n_u32(0)};
    /* Two bytes more than the lanes take: the last word that is looked at may be nobody's. */
    for (; row < d->rows && lanes->end - at >= 8 * (ptrdiff_t)count + 2 && count; row++) {
        for (uint32_t i = 0; i < count; i++) {
            uint32x4_t slot =
                trellis_slots(&v[i], d->slots, lanes->table[0] + 4 * i, lanes->table[1] + 4 * i);
            at = trellis_step(&v[i], slot, at, out + row * KERN_TRELLIS_MAX_LANES + 4 * i);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        vst1q_u32(lanes->x + 4 * i, v[i].x);
        vst1q_u32(lanes->state + 4 * i, v[i].state);
    }
    lanes->at = at;
    return row;
}

#include "codec/kernels/simd/trellis.h"
