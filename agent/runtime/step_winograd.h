/*
 * 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3) (codec/kernels/kernels.h): inputs are
 * transformed tile by tile, weights panel by panel while they are used, and a GEMM for each of 36
 * positions lies between. No transformed weight outlives its use: compressed ones stay compressed.
 *
 * Results are those of the direct method to some 1e-6 of the magnitudes that enter; an infinity or
 * a NaN spreads to the 4x4 outputs of its tile.
 */
#ifndef LEGO_RUNTIME_STEP_WINOGRAD_H
#define LEGO_RUNTIME_STEP_WINOGRAD_H

#include "agent/runtime/step_gemm.h"

/*
 * Whether it is worth it: the kernel, stride and dilation fit, and the estimated work is less than
 * the direct method's. Never for the C references alone: they are the yardstick.
 */
bool winograd_wins(const struct kern_table *kernels, const struct window *w, uint32_t groups,
                   uint32_t rows);

/* The channels of which its weights want to be decoded together (weights_key); 0: all. */
uint32_t winograd_part_channels(const struct kern_table *kernels, const struct window *w);

/* The kernel of its GEMM, which decides the weights' nr. */
const struct kern_gemm_variant *winograd_variant(const struct kern_table *kernels,
                                                 const struct window *w, uint32_t rows);

/* Adds the step, as gemm_step; the weights are whole (weights_key). */
int winograd_step(struct plan_builder *b, const struct lego_node *node,
                  const struct gemm_detail *conv, int32_t a, int32_t add, int32_t out);

#endif
