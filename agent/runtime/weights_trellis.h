/*
 * Weights behind an entropy coder: what the kernel needs beside the stream.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_TRELLIS_H
#define LEGO_RUNTIME_WEIGHTS_TRELLIS_H

#include "agent/runtime/weights.h"

/* Fills the slots of a package's tables; the catalogues, made before, own them. LEGO_E_NOMEM. */
int weights_slots_make(struct weights_catalogues *catalogues, const struct lego_package *package,
                       struct lego_diag *diag);

/* Prepares trellis-coded weights, whose coded is set. LEGO_E_NOMEM. */
int weights_trellis_make(struct weights *weights, const struct weights_catalogues *catalogues);

/* Decodes tile `tile`, all columns. */
void weights_trellis_tile(const struct kern_table *kernels, const struct weights *weights,
                          uint32_t tile, const struct weights_split *split, float *panel);

#endif
