/*
 * The matrix product of step_gemm.h in half precision. A value that such a product reads is first
 * rounded to halves by a step of its own, once for all its readers; what comes out is fp32 again.
 * Machines with half-precision arithmetic (ARMv8.2) also sum up to KERN_F16_RUN products so; others
 * compute in fp32 and save no time, only memory beside decoded fp32 weights. What is beyond 65504
 * becomes infinite.
 */
#ifndef LEGO_RUNTIME_STEP_GEMM_F16_H
#define LEGO_RUNTIME_STEP_GEMM_F16_H

#include "agent/runtime/step_gemm.h"

/* Whether the product of a node with constant `tensor` of `groups` groups goes in halves: the model
 * is asked to, and the kernel fits. */
bool gemm_f16_takes(const struct plan_builder *b, const struct lego_tensor *tensor, uint32_t groups,
                    size_t channels);

/* Adds the steps, as gemm_s8_step. */
int gemm_f16_step(struct plan_builder *b, const struct lego_node *node,
                  const struct gemm_detail *conv, enum lego_matrix_view view, int32_t a,
                  int32_t add, int32_t out);

#endif
