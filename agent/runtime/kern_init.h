/*
 * Makes the kernel table for this machine: the only place that knows the machine's family.
 */
#ifndef LEGO_RUNTIME_KERN_INIT_H
#define LEGO_RUNTIME_KERN_INIT_H

#include "codec/base/diag.h"
#include "codec/kernels/kernels.h"

/*
 * Detects the machine's features, keeps those that `mask` allows (as LEGO_CPU: "avx2", "c",
 * "all,-avx512"; NULL: the environment's LEGO_CPU, else all) and fills the table. Errors:
 * E_INVALID, where the mask has an unknown word.
 */
int kern_init(struct kern_table *ret_table, const char *mask, struct lego_diag *diag);

#endif
