/*
 * Small models for the encoder's tests. Every function ends the test on failure.
 */
#ifndef TESTS_ENCODE_MODELS_H
#define TESTS_ENCODE_MODELS_H

#include "codec/format/package.h"

/* A package whose graph has one input "x" and no nodes yet. */
struct lego_package *model_create(void);

/* Adds a constant with values of about N(0, spread^2), the same for the same name; its value. */
int32_t model_constant(struct lego_package *package, const char *name, double spread, int rank,
                       const int64_t *dims);

/* Adds a node over the last node's output (or "x") and a constant. attr may be NULL. */
void model_node(struct lego_package *package, const char *name, enum lego_op op, int32_t constant,
                const char *attr, int64_t attr_value);

/* Makes the last node's output the graph's. */
void model_finish(struct lego_package *package);

/* Conv 16x3x3x3, depthwise 16x1x3x3, Conv 24x16x1x1, Gemm 10x24 (transB), MatMul 10x7: weights
 * stem.w, dw.w, pw.w, fc.w, out.w. */
struct lego_package *model_small(void);

/* The tensor of that name, and its dense data, writable. */
const struct lego_tensor *model_tensor(const struct lego_package *package, const char *name);
float *model_data(struct lego_package *package, const char *name);

#endif
