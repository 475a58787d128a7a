/*
 * Signs that memory is short: a PSI trigger (Documentation/accounting/psi.rst) or what systemd
 * passes (systemd.io/MEMORY_PRESSURE). Where a trigger cannot be set, as in a file that may only be
 * read, the file's total is looked at every second.
 */
#ifndef LEGO_SERVICE_PRESSURE_H
#define LEGO_SERVICE_PRESSURE_H

#include "agent/service/config.h"

#include <uv.h>

struct pressure;

/*
 * Watches what memory.pressure says; `relieve` is called on the loop at each sign. NULL where there
 * is nothing to watch, which is logged where a path was given.
 */
struct pressure *pressure_start(uv_loop_t *loop, const struct config *config,
                                void (*relieve)(void *context), void *context);

/* Looks at the total where no trigger is set; call every second. NULL is ignored. */
void pressure_tick(struct pressure *pressure);

/* Its handle is closed, and it goes with it. NULL is ignored. */
void pressure_stop(struct pressure *pressure);

#endif
