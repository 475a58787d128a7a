/* What the checker's main knows beyond its drivers. */
#ifndef LEGO_TESTS_KERNELS_HARNESS_H
#define LEGO_TESTS_KERNELS_HARNESS_H

#include "tests/kernels/check.h"

struct check_report {
    const char *name, *isa;
    unsigned long cases, failures;
    bool failed_case; /* the running one */
};

/* Starts the report of one entry on one ISA; valid until the next. */
struct check_report *check_begin(const char *name, const char *isa);

/* Turns faults of a kernel into a failure that names its case. */
void check_catch_faults(void);

/* Fills a table as the runtime does, for a mask. */
void harness_table(struct kern_table *table, uint32_t cpu);

#endif
