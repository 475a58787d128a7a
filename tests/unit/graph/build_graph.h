/*
 * Small graphs and nodes for tests, from text.
 */
#ifndef TESTS_GRAPH_BUILD_GRAPH_H
#define TESTS_GRAPH_BUILD_GRAPH_H

#include "codec/graph/infer.h"

/* An array literal: type, shape and values. */
struct lego_array make_array(struct lego_arena *arena, enum lego_dtype dtype, const char *shape,
                             const double *values);
#define F32(shape, ...) make_array(arena, LEGO_DTYPE_FLOAT32, shape, (const double[]){__VA_ARGS__})
#define I64(shape, ...) make_array(arena, LEGO_DTYPE_INT64, shape, (const double[]){__VA_ARGS__})

/*
 * A shape from "2,N,?": names are symbols of `graph` (NULL: none), "" is a scalar, "*" an open
 * rank.
 */
struct lego_shape make_shape(struct lego_graph *graph, const char *text);

/*
 * Arrays from "f2,2=1,2,3,4 - l=7": type, shape, values; ret_numbers[i] is i, or -1 for "-".
 * Returns their number.
 */
uint32_t make_arrays(struct lego_arena *arena, const char *text, struct lego_array *arrays,
                     int32_t *ret_numbers);

/* Attributes from "axis=1 pads=[0,1] alpha=0.5 mode='edge'", in `arena`. */
void make_attrs(struct lego_arena *arena, const char *text, struct lego_node *node);

/* Adds a node whose inputs and outputs are values by name ("x,w,-" : - is absent). */
void add_node(struct lego_graph *graph, enum lego_op op, const char *inputs, const char *outputs,
              const char *attrs);
/* Adds a graph input; a constant; marks a graph output. */
void add_input(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
               const char *shape);
void add_constant(struct lego_graph *graph, const char *name, struct lego_array array);
void add_output(struct lego_graph *graph, const char *name);

#endif
