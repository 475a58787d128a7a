/*
 * What commands print.
 */
#ifndef LEGO_CLI_OUTPUT_H
#define LEGO_CLI_OUTPUT_H

#include <jansson.h>

/*
 * Prints one JSON document and a newline to stdout and drops the reference to `root` (a NULL root,
 * as jansson makes it when out of memory, is an error). Returns CLI_DONE or CLI_FAILED.
 */
int cli_print_json(const char *command, json_t *root);

/* The same on one line. */
int cli_print_json_line(const char *command, json_t *root);

/*
 * Flushes stdout, so that a full disk or a closed pipe is noticed. Returns `code`, or CLI_FAILED
 * with the reason printed.
 */
int cli_finish(const char *command, int code);

/* A JSON number from a double; NaN and infinities, which JSON lacks, become null. New reference. */
json_t *cli_json_real(double value);

#endif
