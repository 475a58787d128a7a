/*
 * The matrix product of step_gemm.h in integers. A value that such a product reads is first
 * quantised by a step of its own, once for all its readers: to 7 bits, with a scale and a zero
 * point for the whole tensor that follow from its smallest and its greatest element in each run.
 * Products and sums are exact; what comes out is fp32 again. A tensor with an infinity or a NaN
 * gives NaN everywhere.
 */
#ifndef LEGO_RUNTIME_STEP_GEMM_S8_H
#define LEGO_RUNTIME_STEP_GEMM_S8_H

#include "agent/runtime/step_gemm.h"

/*
 * Whether the product of a node with constant `tensor` of `groups` groups goes in integers: the
 * model is asked to, or the file says so, and the kernel fits.
 */
bool gemm_s8_takes(const struct plan_builder *b, const struct lego_tensor *tensor, uint32_t groups,
                   size_t channels, size_t taps);

/*
 * Adds the steps, as gemm_step, for weight input 1 of the node in `view`; of the detail source,
 * window, pixels, out_stride and bias are used. `a` holds `channels` floats for each of its pixels.
 */
int gemm_s8_step(struct plan_builder *b, const struct lego_node *node,
                 const struct gemm_detail *conv, enum lego_matrix_view view, int32_t a, int32_t add,
                 int32_t out);

#endif
