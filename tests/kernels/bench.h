/*
 * The bench of kernels: every entry of kernels.def on typical shapes, each ISA beside the
 * reference.
 */
#ifndef LEGO_TESTS_KERNELS_BENCH_H
#define LEGO_TESTS_KERNELS_BENCH_H

#include "tests/kernels/check.h"

/* What one measurement runs: `entry` points to the table's entry, of either table. */
typedef void (*bench_run)(const void *entry, void *context);

/*
 * Measures the tested and the reference entry and prints a line. `work` is what one call does,
 * in bytes or operations as `unit` ("GB/s", "GFLOP/s") says.
 */
void bench_report(const struct check_entry *entry, const char *shape, const char *unit, double work,
                  bench_run run, void *context);

/* The same for a kernel whose arguments depend on the variant: the reference gets its own and does
 * `share` of the work in a call. */
void bench_report_share(const struct check_entry *entry, const char *shape, const char *unit,
                        double work, double share, bench_run run, void *context,
                        void *reference_context);

/* `count` floats in [-1, 1), 64-byte aligned; ends the program when out of memory. */
float *bench_floats(size_t count);

#define KERN_ENTRY(name, type, tolerance, check) \
    void bench_##check(const struct check_entry *entry);
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

#endif
