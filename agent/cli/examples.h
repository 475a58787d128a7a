/*
 * Real examples for calibration, from a file or a folder that the user names.
 */
#ifndef LEGO_CLI_EXAMPLES_H
#define LEGO_CLI_EXAMPLES_H

#include "codec/encode/examples.h"

struct cli_examples;

/*
 * Opens `path`: a CIFAR-10 binary file, a folder of PNG and JPEG pictures, or a folder of tensors
 * (dataset.h). Draws examples at random (`seed`) and tries each: what cannot be read, or does not
 * fit the model, is skipped with a warning on stderr that names it. Up to `wanted` are for
 * calibration and up to `held` others are held out, a quarter of all where there are few. They are
 * read again whenever they are asked for: memory does not grow with their number. The package must
 * outlive them. Errors: E_NOT_FOUND and E_FORMAT (no example is left), E_UNSUPPORTED (several
 * inputs), E_NOT_FOUND (pictures, but no preprocessing), E_IO, E_NOMEM.
 */
int cli_examples_open(const char *path, const struct lego_package *package, uint64_t seed,
                      uint32_t wanted, uint32_t held, struct cli_examples **ret_examples,
                      struct lego_diag *diag);
void cli_examples_close(struct cli_examples *examples);

/* The two parts; the second is the first where there are too few to hold any out. */
const struct encode_examples *cli_examples_calibration(const struct cli_examples *examples);
const struct encode_examples *cli_examples_held(const struct cli_examples *examples);

/* True where they are the same. */
bool cli_examples_reused(const struct cli_examples *examples);

/* How many were skipped. */
uint32_t cli_examples_skipped(const struct cli_examples *examples);

#endif
