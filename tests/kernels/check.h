/*
 * The checker of kernels, in the manner of checkasm: every entry of kernels.def has a driver that
 * feeds it seeded random and extreme inputs in buffers that end at unreadable pages, and compares
 * with the reference or with a plain formula.
 */
#ifndef LEGO_TESTS_KERNELS_CHECK_H
#define LEGO_TESTS_KERNELS_CHECK_H

#include "codec/kernels/ref/ref.h"

#include <stdio.h>

/* What a driver gets: pointers to the entry of the table under test and of the reference's. */
struct check_entry {
    const char *name, *isa;
    double tolerance;
    const void *tested, *reference;
};

typedef void (*check_driver)(const struct check_entry *entry);

/* Random numbers: the same for a seed on every machine. */
void rng_seed(uint64_t seed);
uint32_t rng_next(void);
uint32_t rng_below(uint32_t n);
float rng_float(void); /* in [-1, 1) */

enum fill {
    FILL_PLAIN,   /* in [-1, 1) */
    FILL_WIDE,    /* magnitudes from denormal to 100 */
    FILL_EXTREME, /* sprinkled with infinities, NaN, zeros of both signs, denormals, huge */
    FILL_KINDS
};

void fill_floats(float *x, size_t n, enum fill fill);

/* A buffer that touches a PROT_NONE page on one side, with canaries on the other. */
enum guard_side { GUARD_END, GUARD_START };

struct guard {
    unsigned char *map;
    size_t map_bytes;
    unsigned char *data;
    size_t bytes;
};

/*
 * `bytes` bytes, aligned to `align`; at GUARD_END they end at the unreadable page, unless `align`
 * keeps them up to align - 1 bytes from it: those are canaries.
 */
void *guard_alloc(struct guard *guard, size_t bytes, size_t align, enum guard_side side);
/* Fails the case when a canary has changed; frees. */
void guard_free(struct guard *guard);

/* Names the case that runs now, for failures and faults; counts it. */
void check_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Reports a failure of the running case. */
void check_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Compares n results. Each may differ by tolerance * scale[i] (scale NULL: |expected|) and two
 * steps of the smallest denormal; infinities and NaN must match.
 */
void check_compare(const struct check_entry *entry, const float *got, const float *expected,
                   const float *scale, size_t n);

/* Lengths around the tiles of every ISA. */
extern const uint32_t check_sizes[];
extern const size_t check_size_count;

/* The drivers, from the list. */
#define KERN_ENTRY(name, type, tolerance, check) \
    void check_##check(const struct check_entry *entry);
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

#endif
