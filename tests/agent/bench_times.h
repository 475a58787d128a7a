/*
 * What the agent's benchmarks share: a clock, and times in order.
 */
#ifndef LEGO_TESTS_AGENT_BENCH_TIMES_H
#define LEGO_TESTS_AGENT_BENCH_TIMES_H

#include <stdlib.h>
#include <time.h>

static inline double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static inline int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static inline void sort_times(double *times, size_t count)
{
    qsort(times, count, sizeof(*times), compare_times);
}

#endif
