/*
 * The cores that the engines keep to (engines.cpus): a word for each engine, as "0-1" or "2,3", in
 * turns where there are fewer words than engines.
 */
#ifndef LEGO_SERVICE_CPUS_H
#define LEGO_SERVICE_CPUS_H

#include "codec/base/diag.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* E_CONFIG with the word that is no list of cores, or none of this machine's. */
int cpus_check(const char *text, struct lego_diag *diag);

/*
 * Moves this thread to the cores of an engine; false, and nothing has changed, where none are
 * configured or the system forbids it. `ret_before` (may be NULL) is for cpus_leave.
 */
bool cpus_enter(const char *text, uint32_t engine, cpu_set_t *ret_before);
void cpus_leave(const cpu_set_t *before);

#endif
