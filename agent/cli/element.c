#include "agent/cli/element.h"

#include <math.h>
#include <string.h>

static float bits_to_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static double half_to_double(uint16_t half)
{
    int exponent = half >> 10 & 31;
    int mantissa = half & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = mantissa ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(mantissa, -24);
    else
        magnitude = ldexp(mantissa + 1024, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

double element_value(enum lego_dtype dtype, const void *data, size_t index)
{
    switch (dtype) {
    case LEGO_DTYPE_FLOAT32:
        return ((const float *)data)[index];
    case LEGO_DTYPE_FLOAT64:
        return ((const double *)data)[index];
    case LEGO_DTYPE_FLOAT16:
        return half_to_double(((const uint16_t *)data)[index]);
    case LEGO_DTYPE_BFLOAT16:
        return bits_to_float((uint32_t)((const uint16_t *)data)[index] << 16);
    case LEGO_DTYPE_UINT8:
    case LEGO_DTYPE_BOOL:
        return ((const uint8_t *)data)[index];
    case LEGO_DTYPE_INT8:
        return ((const int8_t *)data)[index];
    case LEGO_DTYPE_UINT16:
        return ((const uint16_t *)data)[index];
    case LEGO_DTYPE_INT16:
        return ((const int16_t *)data)[index];
    case LEGO_DTYPE_UINT32:
        return ((const uint32_t *)data)[index];
    case LEGO_DTYPE_INT32:
        return ((const int32_t *)data)[index];
    case LEGO_DTYPE_UINT64:
        return (double)((const uint64_t *)data)[index];
    case LEGO_DTYPE_INT64:
        return (double)((const int64_t *)data)[index];
    case LEGO_DTYPE_UNKNOWN:
        break;
    }
    return (double)NAN;
}
