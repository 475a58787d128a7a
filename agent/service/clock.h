/* The monotonic clock in nanoseconds, and deadlines by it. */
#ifndef LEGO_SERVICE_CLOCK_H
#define LEGO_SERVICE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A look at those who wait: which deadlines have passed, and the earliest of the others. */
struct expiry {
    uint64_t now_ns, next_ns;
};

/* True where a deadline (0: none) has passed. */
static inline bool expiry_passed(struct expiry *expiry, uint64_t deadline_ns)
{
    if (deadline_ns && deadline_ns <= expiry->now_ns)
        return true;
    if (deadline_ns && deadline_ns < expiry->next_ns)
        expiry->next_ns = deadline_ns;
    return false;
}

#endif
