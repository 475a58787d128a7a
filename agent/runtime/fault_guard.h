/*
 * Survives a mapped file that shrinks: a process-wide SIGBUS handler, installed with the first
 * region, that recognises faults inside registered mappings, puts zero pages there and marks the
 * region, so that the thread goes on and only the model of that mapping fails. Other faults go to
 * the handler that was there before.
 *
 * Threads: every function may be called from any thread. Zero pages are safe for readers of
 * validated weights: index 0 exists in every catalogue. They may be written, too, where the region
 * could.
 */
#ifndef LEGO_RUNTIME_FAULT_GUARD_H
#define LEGO_RUNTIME_FAULT_GUARD_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>

struct fault_region;

/* Guards [start, start + bytes), which stays mapped until it is removed. Errors: E_NOMEM, E_IO. */
int fault_guard_add(const void *start, size_t bytes, struct fault_region **ret_region,
                    struct lego_diag *diag);

/* Ends the guard, before the mapping goes; NULL is ignored. */
void fault_guard_remove(struct fault_region *region);

/* True once a fault was met in the region; it stays true. NULL: false. */
bool fault_guard_faulted(const struct fault_region *region);

#endif
