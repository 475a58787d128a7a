/*
 * Inside the encoder: what can be said of a package's inputs before examples are made.
 */
#ifndef LEGO_ENCODE_EXAMPLES_SHAPE_H
#define LEGO_ENCODE_EXAMPLES_SHAPE_H

#include "codec/format/package.h"
#include "codec/graph/infer.h"

/* True where the preprocessing says how a picture becomes input number `input`. */
bool examples_is_picture(const struct lego_package *package, uint32_t input);

/* Rows of the smallest constant table that a Gather looks the value `input` up in; 0: in none. */
uint64_t examples_rows(const struct lego_graph *graph, int32_t input);

/* What integers and truth values that are no indices are in every example: what the model compares
 * the value `input` with, else 1, as in the mask of a text without gaps. */
int64_t examples_number(const struct lego_graph *graph, int32_t input);
bool examples_is_integer(enum lego_dtype dtype);

/* What all examples have in input number `input`, where that is one integer or truth value: the
 * array, whose content is *number. */
bool examples_is_known(const struct lego_graph *graph, uint32_t input,
                       const struct lego_shape *shape, int64_t *number,
                       struct lego_array *ret_array);

#endif
