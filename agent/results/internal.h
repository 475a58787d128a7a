/* For this module's own use. */
#ifndef LEGO_RESULTS_INTERNAL_H
#define LEGO_RESULTS_INTERNAL_H

#include "agent/results/heads.h"

/* The tensor of that name, or NULL. */
const struct head_tensor *head_find(const char *name, const struct head_tensor *tensors,
                                    uint32_t count);

#endif
