/*
 * Moving boxes of floats: what layout conversions, transposes, slices, concatenations and paddings
 * are made of.
 */
#ifndef LEGO_RUNTIME_STEP_MOVE_H
#define LEGO_RUNTIME_STEP_MOVE_H

#include "agent/runtime/plan.h"

/* Element (i0, i1, ...) goes from from_at + sum i * from[] to to_at + sum i * to[]; all in
 * elements. */
struct move_box {
    int rank;
    size_t dim[LEGO_MAX_RANK];
    ptrdiff_t from[LEGO_MAX_RANK], to[LEGO_MAX_RANK];
    ptrdiff_t from_at, to_at;
};

/* The box of all elements of plan value `to`, in the order of its memory; from[] is 0 so far. */
struct move_box move_box_of(const struct plan_value *to);

/* Strides in elements of the logical dimensions of a value. */
void move_strides(const struct plan_value *value, ptrdiff_t *ret_strides);

/*
 * A step that moves boxes[i] from inputs[i] to `out`, which is first filled with `fill` where
 * `filled`. Boxes with no elements are left out.
 */
int move_step(struct plan_builder *b, const struct lego_node *node, const int32_t *inputs,
              const struct move_box *boxes, uint32_t count, int32_t out, bool filled, float fill);

#endif
