/*
 * Elements of any type as numbers.
 */
#ifndef LEGO_CLI_ELEMENT_H
#define LEGO_CLI_ELEMENT_H

#include "codec/graph/graph.h"

/* Element `index` of a dense array as a double; 64-bit integers beyond 2^53 are rounded. */
double element_value(enum lego_dtype dtype, const void *data, size_t index);

#endif
