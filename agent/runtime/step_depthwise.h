/*
 * Transposed convolution with one output channel for each input channel, for the planner of the
 * others.
 */
#ifndef LEGO_RUNTIME_STEP_DEPTHWISE_H
#define LEGO_RUNTIME_STEP_DEPTHWISE_H

#include "agent/runtime/plan.h"
#include "agent/runtime/window.h"

/* Adds the step; `key` is that of the weights, w->channels groups and no nr, `bias` may be NULL. */
int plan_depthwise_transposed(struct plan_builder *b, const struct lego_node *node,
                              const struct window *w, const struct weights_key *key,
                              const float *bias);

#endif
