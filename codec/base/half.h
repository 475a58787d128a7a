/*
 * IEEE 754 binary16 <-> binary32, in portable C: exact upwards, round to nearest even downwards.
 */
#ifndef LEGO_BASE_HALF_H
#define LEGO_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* The fp32 value of a half; NaN payloads keep their upper bits. */
static inline float lego_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    uint32_t bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        /* Subnormal: mantissa * 2^-24 is exact in fp32. */
        float magnitude = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &magnitude, sizeof(bits));
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The nearest half; what is too large becomes infinity, NaN stays a (quiet) NaN. */
static inline uint16_t lego_half_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520, half way to the first number that is too large */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 0x38800000u) { /* normal: 2^-14 and up */
        uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
    }
    /* Subnormal: adding 0.5 makes the FPU round at 2^-24, ties to even. */
    float shifted;
    memcpy(&shifted, &magnitude, sizeof(shifted));
    shifted += 0.5f;
    memcpy(&magnitude, &shifted, sizeof(magnitude));
    return (uint16_t)(sign | (magnitude - 0x3f000000u));
}

#endif
