/*
 * In which numbers the layers of a compressed model compute: marks the weights whose products are
 * of integers (FORMAT.md, section 8b).
 */
#ifndef LEGO_CLI_COMPUTE_H
#define LEGO_CLI_COMPUTE_H

#include "agent/runtime/legonet.h"
#include "codec/encode/examples.h"

/* Marks every constant that an integer product can have. Returns how many. */
uint32_t compute_mark(struct lego_package *package);

/*
 * Takes the mark from those layers that would cost too much: each marked layer alone, then all that
 * are left together, beside the same model in fp32 on some of `examples`; together their outputs
 * stay within COMPUTE_LIMIT_PERCENT. By the C references, so that every machine decides the same.
 * `trial` is a file that is written and removed. Returns the layers left in *ret_count.
 */
#define COMPUTE_LIMIT_PERCENT 3.0 /* RMS, of the outputs' RMS */

int compute_choose(struct lego_package *package, const struct encode_examples *examples,
                   const char *trial, uint32_t threads, uint32_t *ret_count,
                   struct lego_diag *diag);

#endif
