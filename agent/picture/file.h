/*
 * Small files: reading them whole, and those that lie beside a model. For programs and tools, not
 * for the library's users.
 */
#ifndef LEGO_PICTURE_FILE_H
#define LEGO_PICTURE_FILE_H

#include "codec/base/diag.h"

#include <stddef.h>
#include <stdint.h>

/* Reads a file of at most `limit_bytes` (E_LIMIT) into a malloc'ed block, never NULL on success. */
int picture_read_file(const char *path, size_t limit_bytes, uint8_t **ret_data, size_t *ret_bytes,
                      struct lego_diag *diag);

/* DIR/NAME + ending for the model DIR/NAME.onnx, malloc'ed; NULL when out of memory. */
char *picture_file_beside(const char *model_path, const char *ending);

#endif
