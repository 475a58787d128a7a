/* log2 of x > 0, and 2^x (0 far below), the same on every machine. */
#ifndef LEGO_ENCODE_TRELLIS_MATH_H
#define LEGO_ENCODE_TRELLIS_MATH_H

#include "codec/encode/portable.h"

#define TRELLIS_LN2 0.6931471805599453

static inline double trellis_log2(double x)
{
    return portable_log(x) / TRELLIS_LN2;
}

static inline double trellis_exp2(double x)
{
    return portable_exp(x * TRELLIS_LN2);
}

#endif
