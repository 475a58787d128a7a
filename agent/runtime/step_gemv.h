/*
 * A matrix product for one row of inputs straight from the indices of bricks (brick_gemv_f32): a
 * batch of 1 uses each weight once, and to decode it first would cost more than to use it.
 */
#ifndef LEGO_RUNTIME_STEP_GEMV_H
#define LEGO_RUNTIME_STEP_GEMV_H

#include "agent/runtime/step_gemm.h"

/*
 * Whether the product is one: a single pixel, one group, and weights of bricks whose rows fill
 * vectors, which is where this beats decoding. Never for the C references alone: they are the
 * yardstick.
 */
bool gemv_takes(const struct kern_table *kernels, const struct gemm_detail *detail);

/* Adds the step, as gemm_step; by partial products where those win (step_partial.h). */
int gemv_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
              int32_t a, int32_t add, int32_t out);

/* The order of the stored columns, NULL where it is that of k. Columns are split only then. */
const uint32_t *gemv_order(const struct weights *weights);

/* Bias, residual sum, clamp and activation of rows [row, row + rows) of sums in `out`. */
void gemv_finish(const struct gemm_detail *detail, const float *add, uint32_t row, size_t rows,
                 float *out);

#endif
