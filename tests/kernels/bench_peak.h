/* The peak of fp32 multiply-accumulates on one core. */
#ifndef LEGO_TESTS_KERNELS_BENCH_PEAK_H
#define LEGO_TESTS_KERNELS_BENCH_PEAK_H

#include <stdint.h>

/* Computes as many multiply-accumulates as it returns. */
typedef uint64_t (*bench_peak_fn)(void);

/* The one with this machine's widest vectors, whose name goes to *ret_isa. */
bench_peak_fn bench_peak_choose(const char **ret_isa);

#endif
