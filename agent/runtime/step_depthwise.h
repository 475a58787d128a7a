/*
 * Depthwise convolution, row by row of the output, for steps that compute rows themselves, and its
 * transpose, for the planner of the others.
 */
#ifndef LEGO_RUNTIME_STEP_DEPTHWISE_H
#define LEGO_RUNTIME_STEP_DEPTHWISE_H

#include "agent/runtime/plan.h"
#include "agent/runtime/window.h"

struct depthwise_detail {
    const struct weights *weights;
    struct window window;
    const struct window_phase *phases; /* transposed: [stride_y][stride_x] */
    const float *bias;
    float lo, hi;
    kern_unary_f32_fn activation;
    float act_lo, act_hi;
};

/* Fills in what a node says whose shapes plan_conv has checked, and asks for zeros; PLAN_DECLINED
 * where it cannot be planned. */
int depthwise_describe(struct plan_builder *b, const struct lego_node *node,
                       struct depthwise_detail *ret_detail);

/* Fills in what the node does behind the convolution: clamp and activation. */
void depthwise_finish(const struct plan_builder *b, const struct lego_node *node,
                      struct depthwise_detail *detail);

/*
 * Output row `row` of image `image` of input `x`, whose window is `window` (the detail's, or that
 * of some rows). `pointers`: window_row_count of them; `add`: what is added to the row, NULL:
 * nothing. `sums`: becomes the sum of the row's pixels, [channels], NULL: is not wanted.
 */
void depthwise_row(const struct plan_run *run, const struct depthwise_detail *detail,
                   const struct window *window, const float *x, uint32_t image, uint32_t row,
                   const float *add, const float **pointers, float *out, float *sums);

/* The step's outputs, of which the second one, the sums of each row, may be -1. */
int depthwise_outputs(struct plan_builder *b, const struct lego_node *node,
                      const struct depthwise_detail *detail, int32_t ret_outputs[2]);

/* Adds the step; `key` is that of the weights, w->channels groups and no nr, `bias` may be NULL. */
int plan_depthwise_transposed(struct plan_builder *b, const struct lego_node *node,
                              const struct window *w, const struct weights_key *key,
                              const float *bias);

#endif
