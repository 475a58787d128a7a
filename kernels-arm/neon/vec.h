/*
 * The vectors that the templates of codec/kernels/simd are written in, for NEON on ARMv8-A.
 *
 * A vector is a pair of registers: two independent operations in a row hide half of the latency on
 * the small cores, and eight lanes are a row of the panel.
 */
#ifndef LEGO_KERNELS_ARM_NEON_VEC_H
#define LEGO_KERNELS_ARM_NEON_VEC_H

#include "codec/kernels/kernels.h"

#include <arm_neon.h>

#define KERN_ISA(name)              kern_neon_##name
#define KERN_ENTRY(name, type, ...) extern const type kern_neon_##name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

enum { VEC_LANES = 8 };

typedef float32x4x2_t vec;
typedef uint32_t vec_mask; /* the number of lanes */

#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_PAIR(low, high) \
    (vec)                   \
    {                       \
        {                   \
            low, high       \
        }                   \
    }

/* The first n lanes; n may be VEC_LANES or more. */
VEC_INLINE vec_mask vec_mask_first(size_t n)
{
    return n < VEC_LANES ? (vec_mask)n : VEC_LANES;
}

VEC_INLINE vec vec_load(const float *x)
{
    return VEC_PAIR(vld1q_f32(x), vld1q_f32(x + 4));
}

VEC_INLINE void vec_store(float *x, vec v)
{
    vst1q_f32(x, v.val[0]);
    vst1q_f32(x + 4, v.val[1]);
}

/* From and to halves, rounded to nearest. */
VEC_INLINE vec vec_load_half(const uint16_t *x)
{
    const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(x));

    return VEC_PAIR(vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v));
}

VEC_INLINE void vec_store_half(uint16_t *x, vec v)
{
    vst1q_u16(x, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.val[0]), v.val[1])));
}

VEC_INLINE void half_to_floats(const uint16_t x[8], float out[8])
{
    vec_store(out, vec_load_half(x));
}

/* The first n of four floats, 0 in the others. */
VEC_INLINE float32x4_t vec_load_part(const float *x, uint32_t n)
{
    float32x4_t zero = vdupq_n_f32(0.0f);

    switch (n) {
    case 0:
        return zero;
    case 1:
        return vld1q_lane_f32(x, zero, 0);
    case 2:
        return vcombine_f32(vld1_f32(x), vget_low_f32(zero));
    case 3:
        return vld1q_lane_f32(x + 2, vcombine_f32(vld1_f32(x), vget_low_f32(zero)), 2);
    default:
        return vld1q_f32(x);
    }
}

VEC_INLINE void vec_store_part(float *x, float32x4_t v, uint32_t n)
{
    if (n >= 4) {
        vst1q_f32(x, v);
        return;
    }
    if (n & 2) {
        vst1_f32(x, vget_low_f32(v));
        if (n & 1)
            vst1q_lane_f32(x + 2, v, 2);
    } else if (n & 1) {
        vst1q_lane_f32(x, v, 0);
    }
}

VEC_INLINE vec vec_load_mask(const float *x, vec_mask mask)
{
    return VEC_PAIR(vec_load_part(x, mask), vec_load_part(x + 4, mask > 4 ? mask - 4 : 0));
}

VEC_INLINE void vec_store_mask(float *x, vec v, vec_mask mask)
{
    vec_store_part(x, v.val[0], mask);
    if (mask > 4)
        vec_store_part(x + 4, v.val[1], mask - 4);
}

/* The lanes of the mask, 0 in the others. */
VEC_INLINE vec vec_keep(vec x, vec_mask mask)
{
    static const uint32_t lane[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32x4_t n = vdupq_n_u32(mask);
    uint32x4_t low = vcltq_u32(vld1q_u32(lane), n), high = vcltq_u32(vld1q_u32(lane + 4), n);

    return VEC_PAIR(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.val[0]), low)),
                    vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.val[1]), high)));
}

/* Two quads, from x[0] on and so on. */
VEC_INLINE vec vec_quads(const float *const *x)
{
    return VEC_PAIR(vld1q_f32(x[0]), vld1q_f32(x[1]));
}

/* Four pairs of floats, from x[0] on and so on. */
VEC_INLINE vec vec_doubles(const float *const *x)
{
    return VEC_PAIR(vcombine_f32(vld1_f32(x[0]), vld1_f32(x[1])),
                    vcombine_f32(vld1_f32(x[2]), vld1_f32(x[3])));
}

/* The first three of each quad side by side; what comes behind them is any. */
VEC_INLINE vec vec_threes(vec x)
{
    return VEC_PAIR(vcopyq_laneq_f32(x.val[0], 3, x.val[1], 0), vextq_f32(x.val[1], x.val[1], 1));
}

/* Quad j of vector i becomes quad i of vector j. */
VEC_INLINE void vec_turn_quads(vec v[2])
{
    const float32x4_t high = v[0].val[1];

    v[0].val[1] = v[1].val[0];
    v[1].val[0] = high;
}

VEC_INLINE vec vec_set1(float x)
{
    return VEC_PAIR(vdupq_n_f32(x), vdupq_n_f32(x));
}

#define VEC_EACH(operation, a, b) \
    VEC_PAIR(operation((a).val[0], (b).val[0]), operation((a).val[1], (b).val[1]))

VEC_INLINE vec vec_add(vec a, vec b)
{
    return VEC_EACH(vaddq_f32, a, b);
}

VEC_INLINE vec vec_sub(vec a, vec b)
{
    return VEC_EACH(vsubq_f32, a, b);
}

VEC_INLINE vec vec_mul(vec a, vec b)
{
    return VEC_EACH(vmulq_f32, a, b);
}

VEC_INLINE vec vec_div(vec a, vec b)
{
    return VEC_EACH(vdivq_f32, a, b);
}

/* a * b + c, rounded once. */
VEC_INLINE vec vec_fma(vec a, vec b, vec c)
{
    return VEC_PAIR(vfmaq_f32(c.val[0], a.val[0], b.val[0]),
                    vfmaq_f32(c.val[1], a.val[1], b.val[1]));
}

/* Four floats, whatever the width of a vec. */
typedef float32x4_t vec_quad;

VEC_INLINE vec_quad vec_quad_load(const float *x)
{
    return vld1q_f32(x);
}

VEC_INLINE void vec_quad_store(float *x, vec_quad v)
{
    vst1q_f32(x, v);
}

/* a * b + c, b for all four. */
VEC_INLINE vec_quad vec_quad_fma(vec_quad a, float b, vec_quad c)
{
    return vfmaq_n_f32(c, a, b);
}

/* The greater and the smaller one; NaN where one of them is. */
VEC_INLINE vec vec_max(vec a, vec b)
{
    return VEC_EACH(vmaxq_f32, a, b);
}

VEC_INLINE vec vec_min(vec a, vec b)
{
    return VEC_EACH(vminq_f32, a, b);
}

/* min(max(x, lo), hi) that lets NaN pass. */
VEC_INLINE vec vec_clamp(vec x, vec lo, vec hi)
{
    return vec_min(vec_max(x, lo), hi);
}

/* a < b ? x : y, lane by lane. */
VEC_INLINE vec vec_select_less(vec a, vec b, vec x, vec y)
{
    return VEC_PAIR(vbslq_f32(vcltq_f32(a.val[0], b.val[0]), x.val[0], y.val[0]),
                    vbslq_f32(vcltq_f32(a.val[1], b.val[1]), x.val[1], y.val[1]));
}

VEC_INLINE vec vec_abs(vec x)
{
    return VEC_PAIR(vabsq_f32(x.val[0]), vabsq_f32(x.val[1]));
}

/* |x| with the sign of y, for x >= 0. */
VEC_INLINE vec vec_sign_of(vec x, vec y)
{
    uint32x4_t sign = vdupq_n_u32(0x80000000u);
    return VEC_PAIR(vbslq_f32(sign, y.val[0], x.val[0]), vbslq_f32(sign, y.val[1], x.val[1]));
}

/* To the nearest integer. */
VEC_INLINE vec vec_round(vec x)
{
    return VEC_PAIR(vrndnq_f32(x.val[0]), vrndnq_f32(x.val[1]));
}

VEC_INLINE float32x4_t vec_scale2_half(float32x4_t x, float32x4_t n)
{
    int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), one = vdupq_n_s32(127);
    int32x4_t a = vshlq_n_s32(vaddq_s32(half, one), 23);
    int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(i, half), one), 23);
    return vmulq_f32(vmulq_f32(x, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
}

/*
 * x * 2^n for integers n of -252 to 254, rounded once or twice where the result is denormal: two
 * factors, since 2^n itself may be out of range.
 */
VEC_INLINE vec vec_scale2(vec x, vec n)
{
    return VEC_EACH(vec_scale2_half, x, n);
}

/* The smaller and the greater one of two numbers. */
VEC_INLINE vec vec_least(vec a, vec b)
{
    return vec_min(a, b);
}

VEC_INLINE vec vec_most(vec a, vec b)
{
    return vec_max(a, b);
}

/* Four vectors of integers from 0 to 127 as bytes. */
VEC_INLINE void vec_store_bytes(uint8_t *out, const vec v[4])
{
    for (size_t i = 0; i < 4; i += 2) {
        uint16x8_t low = vcombine_u16(vmovn_u32(vcvtq_u32_f32(v[i].val[0])),
                                      vmovn_u32(vcvtq_u32_f32(v[i].val[1])));
        uint16x8_t high = vcombine_u16(vmovn_u32(vcvtq_u32_f32(v[i + 1].val[0])),
                                       vmovn_u32(vcvtq_u32_f32(v[i + 1].val[1])));
        vst1q_u8(out + i * VEC_LANES, vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
    }
}

VEC_INLINE float vec_sum(vec x)
{
    return vaddvq_f32(vaddq_f32(x.val[0], x.val[1]));
}

/* Transposes rows r[0..4) of half `from` into half `to` of out[0..4). */
VEC_INLINE void vec_transpose_quarter(const vec *r, int from, vec *out, int to)
{
    float32x4x2_t a = vtrnq_f32(r[0].val[from], r[1].val[from]);
    float32x4x2_t b = vtrnq_f32(r[2].val[from], r[3].val[from]);

    for (int i = 0; i < 2; i++) {
        out[i].val[to] = vcombine_f32(vget_low_f32(a.val[i]), vget_low_f32(b.val[i]));
        out[i + 2].val[to] = vcombine_f32(vget_high_f32(a.val[i]), vget_high_f32(b.val[i]));
    }
}

/* a0, b0, c0, a1, b1, c1, ... */
VEC_INLINE void vec_store_triples(float *out, vec a, vec b, vec c)
{
    vst3q_f32(out, ((float32x4x3_t){{a.val[0], b.val[0], c.val[0]}}));
    vst3q_f32(out + 12, ((float32x4x3_t){{a.val[1], b.val[1], c.val[1]}}));
}

/* Transposes a square of VEC_LANES vectors. */
VEC_INLINE void vec_transpose(vec r[VEC_LANES])
{
    vec t[VEC_LANES];

    vec_transpose_quarter(r, 0, t, 0);
    vec_transpose_quarter(r + 4, 0, t, 1);
    vec_transpose_quarter(r, 1, t + 4, 0);
    vec_transpose_quarter(r + 4, 1, t + 4, 1);
    for (int i = 0; i < VEC_LANES; i++)
        r[i] = t[i];
}

#endif
