/*
 * What a model's outputs mean, from a file into a package.
 */
#ifndef LEGO_CLI_HEADS_H
#define LEGO_CLI_HEADS_H

#include "codec/format/package.h"

/* Reads and checks a description (agent/results/HEADS.md) and puts it into the package's metadata.
 * E_NOT_FOUND, E_IO, E_FORMAT, E_LIMIT, E_NOMEM. */
int heads_load(const char *path, struct lego_package *package, struct lego_diag *diag);

/* The same from NAME.postprocess.json beside the model NAME.onnx; where it is not there, nothing
 * happens. */
int heads_load_beside(const char *model, struct lego_package *package, struct lego_diag *diag);

#endif
