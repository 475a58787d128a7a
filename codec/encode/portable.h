/*
 * exp, log, sine and normal deviates in plain arithmetic: the C library's differ in the last bit
 * between machines with and without fused multiply-add, and what the encoder writes may not.
 * Accurate to a few units in the last place.
 */
#ifndef LEGO_ENCODE_PORTABLE_H
#define LEGO_ENCODE_PORTABLE_H

#include "codec/encode/random.h"

/* e^x; 0 below -700, e^700 above 700. */
double portable_exp(double x);

/* The natural logarithm of x > 0. */
double portable_log(double x);

/* x^y for x > 0. */
double portable_pow(double x, double y);

/* Sine and cosine of `turns` whole turns (2 pi each). */
void portable_sincos(double turns, double *ret_sine, double *ret_cosine);

/* A normal deviate of mean 0 and deviation 1 (Marsaglia's polar method). */
double random_normal(struct encode_random *random);

/* An exponential deviate of mean 1; a uniform one in [low, high); a whole one in [low, high). */
double random_exponential(struct encode_random *random);
double random_uniform(struct encode_random *random, double low, double high);
int random_integer(struct encode_random *random, int low, int high);

#endif
