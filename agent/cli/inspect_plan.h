/*
 * What `legonet inspect --plan` shows: the steps that the runtime makes of a model.
 */
#ifndef LEGO_CLI_INSPECT_PLAN_H
#define LEGO_CLI_INSPECT_PLAN_H

#include "codec/base/diag.h"

#include <stdbool.h>

/*
 * Opens the model at `path`, runs it once on zeros (open sizes are those of calibration's
 * examples) and prints its steps in order, how many of them only bring a value to another layout,
 * and the bytes of the session, on standard output. Returns an exit status.
 */
int cli_inspect_plan(const char *path, bool json);

#endif
