/*
 * A pointwise convolution that only a depthwise one reads, as inverted residuals have (Sandler et
 * al., "MobileNetV2", CVPR 2018), in bands: some rows of the first stay in L2 until the second has
 * read them, and the large value between them never is in memory.
 */
#ifndef LEGO_RUNTIME_STEP_EXPAND_H
#define LEGO_RUNTIME_STEP_EXPAND_H

#include "agent/runtime/step_gemm.h"

/*
 * Adds the step for both, and takes the second node, `next`; PLAN_DECLINED where the value between
 * them is small. `expand` is the first's product with its weights, of a window that is pointwise
 * and without a residual; `next` has none either, and plan_conv has checked its shapes.
 */
int expand_step(struct plan_builder *b, const struct lego_node *node, const struct lego_node *next,
                const struct gemm_detail *expand);

#endif
