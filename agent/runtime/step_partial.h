/*
 * A matrix of bricks times a vector by tables of partial products: what each entry of the catalogue
 * makes of the inputs of a column of bricks is computed once (brick_products_f32), and every brick
 * of that column adds one entry (brick_sums_f32).
 */
#ifndef LEGO_RUNTIME_STEP_PARTIAL_H
#define LEGO_RUNTIME_STEP_PARTIAL_H

#include "agent/runtime/step_gemm.h"

/* Whether that beats adding the bricks' own products (step_gemv.h), which takes what this takes. */
bool partial_takes(const struct weights *weights);

/* Adds the step, as gemm_step. */
int partial_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
                 int32_t a, int32_t add, int32_t out);

#endif
