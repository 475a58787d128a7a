#include "codec/encode/portable.h"

#include <math.h>

#define LN2_HIGH 0x1.62e42fee00000p-1 /* 33 bits: times an exponent it is exact */
#define LN2_LOW  0x1.a39ef35793c76p-33

double portable_exp(double x)
{
    if (x < -700)
        return 0;
    if (x > 700)
        x = 700;
    const double k = rint(x * 1.4426950408889634);
    const double r = x - k * LN2_HIGH - k * LN2_LOW;
    double sum = 1;

    for (int i = 14; i > 0; i--)
        sum = 1 + sum * r / i;
    return ldexp(sum, (int)k);
}

double portable_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent);

    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    const double s = (m - 1) / (m + 1), s2 = s * s;
    double sum = 0;
    for (int i = 21; i > 0; i -= 2) /* 2 artanh(s) */
        sum = sum * s2 + 2.0 / i;
    return exponent * LN2_HIGH + (exponent * LN2_LOW + sum * s);
}

double portable_pow(double x, double y)
{
    return portable_exp(y * portable_log(x));
}

void portable_sincos(double turns, double *ret_sine, double *ret_cosine)
{
    const double quarter = rint(turns * 4);
    const double a = (turns - quarter / 4) * 6.283185307179586, a2 = a * a;
    const long turn = (long)fmod(quarter, 4);
    double sine = 1, cosine = 1;

    for (int i = 20; i > 0; i -= 2) { /* |a| <= pi/4 */
        sine = 1 - sine * a2 / (i * (i + 1));
        cosine = 1 - cosine * a2 / (i * (i - 1));
    }
    sine *= a;
    switch ((turn + 4) % 4) {
    case 0:
        *ret_sine = sine;
        *ret_cosine = cosine;
        break;
    case 1:
        *ret_sine = cosine;
        *ret_cosine = -sine;
        break;
    case 2:
        *ret_sine = -sine;
        *ret_cosine = -cosine;
        break;
    default:
        *ret_sine = -cosine;
        *ret_cosine = sine;
        break;
    }
}

double random_normal(struct encode_random *random)
{
    for (;;) {
        const double u = 2 * encode_random_unit(random) - 1;
        const double v = 2 * encode_random_unit(random) - 1;
        const double s = u * u + v * v;

        if (s > 0 && s < 1)
            return u * sqrt(-2 * portable_log(s) / s);
    }
}

double random_exponential(struct encode_random *random)
{
    return -portable_log(1 - encode_random_unit(random));
}

double random_uniform(struct encode_random *random, double low, double high)
{
    return low + (high - low) * encode_random_unit(random);
}

int random_integer(struct encode_random *random, int low, int high)
{
    return low + (int)(encode_random_unit(random) * (high - low));
}
