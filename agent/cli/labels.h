/*
 * Class labels from text files.
 */
#ifndef LEGO_CLI_LABELS_H
#define LEGO_CLI_LABELS_H

#include "codec/format/package.h"

/*
 * Reads labels, one a line (UTF-8, LF or CRLF; empty lines at the end are dropped), into
 * package->labels. At most 16 MiB and 1,000,000 lines. Errors: E_NOT_FOUND, E_IO, E_LIMIT, E_FORMAT
 * (no label, a NUL byte), E_NOMEM.
 */
int labels_load(const char *path, struct lego_package *package, struct lego_diag *diag);

/* The same from NAME.labels.txt beside the model NAME.onnx, else labels.txt in its folder; where
 * neither is there, nothing happens. */
int labels_load_beside(const char *model, struct lego_package *package, struct lego_diag *diag);

#endif
