/*
 * Comparing a tensor with what is expected, and showing one.
 */
#ifndef LEGO_CLI_COMPARE_H
#define LEGO_CLI_COMPARE_H

#include "agent/runtime/legonet.h"

enum compare_rule {
    COMPARE_DEFAULT = 0,  /* COMPARE_LARGEST with COMPARE_TOLERANCE for floats, exact otherwise */
    COMPARE_LARGEST = 1,  /* |a-b| <= tolerance * max(1, largest |expected| of the tensor) */
    COMPARE_RELATIVE = 2, /* |a-b| <= absolute + relative * |expected| */
};

#define COMPARE_TOLERANCE 1e-4

struct compare_tolerance {
    enum compare_rule rule;
    double tolerance, absolute, relative;
};

struct compare_result {
    bool ok;
    double max_abs_error; /* largest |a-b|; infinite where only one side is NaN or infinite */
    double max_rel_error; /* max_abs_error over the largest finite |expected|, at least 1e-30 */
    size_t wrong;         /* elements out of tolerance */
    size_t first_wrong;   /* index of the first of them */
    double first_got, first_expected;
};

/*
 * Compares `got` with `expected`. NaN equals NaN, infinities equal those of their sign. E_TYPE or
 * E_SHAPE where type or shape differ: the diag says how.
 */
int compare_tensors(const struct lego_io *got, const struct lego_tensor *expected,
                    const struct compare_tolerance *tolerance, struct compare_result *ret_result,
                    struct lego_diag *diag);

#endif
