/*
 * Operators that only move: views where the bytes already lie right, boxes where not.
 */
#include "agent/runtime/step_move.h"

#include <stdlib.h>
#include <string.h>

int plan_reshape(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *in = &b->graph->values[node->inputs[0]].shape;
    const struct lego_shape *out = &b->graph->values[node->outputs[0]].shape;
    enum plan_layout layout = PLAN_PLAIN;
    int32_t x, view;

    if (plan_is_constant(b, node->inputs[0]) || (node->output_count > 1 && node->outputs[1] >= 0))
        return PLAN_DECLINED;
    if (lego_shape_equal(in, out))
        layout = plan_native(b, node->inputs[0]);
    x = plan_operand(b, node->inputs[0], layout);
    view = x < 0 ? x : plan_view(b, node->outputs[0], x, 0, layout);
    return view < 0 ? view : LEGO_OK;
}

/* True where walking the box in the target's order walks the source without gaps: a view. */
static bool box_is_view(const struct move_box *box)
{
    for (int i = 0; i < box->rank; i++)
        if (box->dim[i] != 1 && box->from[i] != box->to[i])
            return false;
    return true;
}

/* Output dimension i is input dimension perm[i]. */
static bool transpose_perm(const struct lego_node *node, int rank, int *ret_perm)
{
    size_t count;
    const int64_t *perm = lego_node_ints(node, "perm", &count);

    for (int i = 0; i < rank; i++)
        ret_perm[i] = perm ? (int)perm[i] : rank - 1 - i;
    return !perm || count == (size_t)rank;
}

static struct move_box transpose_box(const struct plan_value *from, const struct plan_value *to,
                                     const int *perm)
{
    struct move_box box = move_box_of(to);
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    ptrdiff_t strides[LEGO_MAX_RANK];

    plan_physical(to, dims, order);
    move_strides(from, strides);
    for (int i = 0; i < box.rank; i++)
        box.from[i] = strides[perm[order[i]]];
    return box;
}

int plan_transpose(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *shape = &b->graph->values[node->outputs[0]].shape;
    int32_t x = plan_operand(b, node->inputs[0], plan_native(b, node->inputs[0])), out;
    int perm[LEGO_MAX_RANK];
    struct move_box box;

    if (plan_is_constant(b, node->inputs[0]) || !transpose_perm(node, shape->rank, perm))
        return PLAN_DECLINED;
    if (x < 0)
        return x;
    for (int layout = PLAN_LAYOUTS - 1; layout >= 0; layout--) {
        struct plan_value to = {.shape = *shape, .layout = (enum plan_layout)layout};
        if (layout == PLAN_CHANNELS_LAST && shape->rank < 3)
            continue;
        box = transpose_box(&b->plan->values[x], &to, perm);
        if (box_is_view(&box)) {
            out = plan_view(b, node->outputs[0], x, 0, (enum plan_layout)layout);
            return out < 0 ? out : LEGO_OK;
        }
    }
    out = plan_output(b, node->outputs[0], PLAN_PLAIN);
    if (out < 0)
        return out;
    box = transpose_box(&b->plan->values[x], &b->plan->values[out], perm);
    return move_step(b, node, &x, &box, 1, out, false, 0.0f);
}

/* The box that fills `value` from `from`, both in the same layout, whose element at 0 of each
 * dimension is at start[]; step[] may be NULL. */
static struct move_box part_box(const struct plan_value *from, const struct plan_value *to,
                                const int64_t *start, const int64_t *step)
{
    struct move_box box = move_box_of(to);
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    ptrdiff_t strides[LEGO_MAX_RANK];

    plan_physical(to, dims, order);
    move_strides(from, strides);
    for (int i = 0; i < box.rank; i++)
        box.from[i] = strides[order[i]] * (step ? (ptrdiff_t)step[order[i]] : 1);
    for (int i = 0; i < box.rank; i++)
        box.from_at += (ptrdiff_t)start[i] * strides[i];
    return box;
}

/* Swaps the sides of a box: what would take a part out puts it in. */
static struct move_box box_reverse(struct move_box box)
{
    struct move_box reversed = box;

    memcpy(reversed.from, box.to, sizeof(box.to));
    memcpy(reversed.to, box.from, sizeof(box.from));
    reversed.from_at = box.to_at;
    reversed.to_at = box.from_at;
    return reversed;
}

/* Takes a part of plan value `x` out: a view where it lies in one piece, else a step. */
static int plan_part(struct plan_builder *b, const struct lego_node *node, int32_t x,
                     int32_t graph_output, const int64_t *start, const int64_t *step)
{
    enum plan_layout layout = b->plan->values[x].layout;
    struct plan_value to = {.shape = b->graph->values[graph_output].shape, .layout = layout};
    struct move_box box = part_box(&b->plan->values[x], &to, start, step);
    int32_t out;

    if (box_is_view(&box)) {
        out = plan_view(b, graph_output, x, (size_t)box.from_at * sizeof(float), layout);
        return out < 0 ? out : LEGO_OK;
    }
    out = plan_output(b, graph_output, layout);
    return out < 0 ? out : move_step(b, node, &x, &box, 1, out, false, 0.0f);
}

/* A constant list of integers; false where it is none. */
static bool integers(const struct plan_builder *b, const struct lego_node *node, uint32_t index,
                     int64_t *ret_values, size_t *ret_count)
{
    const struct lego_tensor *tensor = lego_node_constant(b->graph, node, index);
    size_t size, count;

    if (!tensor || tensor->coded ||
        (tensor->dtype != LEGO_DTYPE_INT64 && tensor->dtype != LEGO_DTYPE_INT32))
        return false;
    size = lego_dtype_bytes(tensor->dtype);
    count = tensor->bytes / size;
    if (count > 2 * LEGO_MAX_RANK)
        return false;
    for (size_t i = 0; i < count; i++) {
        int32_t narrow;
        if (size == sizeof(int64_t)) {
            memcpy(&ret_values[i], (const char *)tensor->data + i * size, size);
            continue;
        }
        memcpy(&narrow, (const char *)tensor->data + i * size, size);
        ret_values[i] = narrow;
    }
    *ret_count = count;
    return true;
}

static bool present(const struct lego_node *node, uint32_t index)
{
    return index < node->input_count && node->inputs[index] >= 0;
}

/* Start and step of a Slice in each dimension. */
static bool slice_box(const struct plan_builder *b, const struct lego_node *node,
                      const struct lego_shape *in, int64_t *ret_start, int64_t *ret_step)
{
    int64_t starts[2 * LEGO_MAX_RANK], axes[2 * LEGO_MAX_RANK], steps[2 * LEGO_MAX_RANK];
    size_t count, axis_count, step_count;

    if (!integers(b, node, 1, starts, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        axes[i] = (int64_t)i;
        steps[i] = 1;
    }
    if ((present(node, 3) && (!integers(b, node, 3, axes, &axis_count) || axis_count != count)) ||
        (present(node, 4) && (!integers(b, node, 4, steps, &step_count) || step_count != count)))
        return false;
    for (int i = 0; i < in->rank; i++) {
        ret_start[i] = 0;
        ret_step[i] = 1;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + in->rank : axes[i], size, start, last;
        if (axis < 0 || axis >= in->rank || !steps[i])
            return false;
        size = in->dim[axis];
        start = starts[i] < 0 ? starts[i] + size : starts[i];
        last = steps[i] > 0 ? size : size - 1;
        ret_start[axis] = start < 0 ? 0 : start > last ? last : start;
        ret_step[axis] = steps[i];
    }
    return true;
}

int plan_slice(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *in = &b->graph->values[node->inputs[0]].shape;
    int64_t start[LEGO_MAX_RANK], step[LEGO_MAX_RANK];
    int32_t x;

    if (plan_is_constant(b, node->inputs[0]) || !slice_box(b, node, in, start, step))
        return PLAN_DECLINED;
    x = plan_operand(b, node->inputs[0], plan_native(b, node->inputs[0]));
    return x < 0 ? x : plan_part(b, node, x, node->outputs[0], start, step);
}

/* One constant index, before whose axis all sizes are 1: what it takes lies together. */
int plan_gather(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *in = &b->graph->values[node->inputs[0]].shape;
    int64_t index[2 * LEGO_MAX_RANK], axis = lego_node_int(node, "axis", 0);
    size_t count, inner = sizeof(float);
    int32_t x, out;

    axis = axis < 0 ? axis + in->rank : axis;
    if (plan_is_constant(b, node->inputs[0]) || !integers(b, node, 1, index, &count) ||
        count != 1 || axis < 0 || axis >= in->rank)
        return PLAN_DECLINED;
    for (int i = 0; i < axis; i++)
        if (in->dim[i] != 1)
            return PLAN_DECLINED;
    for (int i = (int)axis + 1; i < in->rank; i++)
        inner *= (size_t)in->dim[i];
    index[0] = index[0] < 0 ? index[0] + in->dim[axis] : index[0];
    if (index[0] < 0 || index[0] >= in->dim[axis])
        return PLAN_DECLINED; /* the evaluation says what is wrong */
    x = plan_operand(b, node->inputs[0], PLAN_PLAIN);
    out = x < 0 ? x : plan_view(b, node->outputs[0], x, (size_t)index[0] * inner, PLAN_PLAIN);
    return out < 0 ? out : LEGO_OK;
}

int plan_split(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *in = &b->graph->values[node->inputs[0]].shape;
    int64_t start[LEGO_MAX_RANK] = {0}, axis = lego_node_int(node, "axis", 0);
    int32_t x;

    axis = axis < 0 ? axis + in->rank : axis;
    if (plan_is_constant(b, node->inputs[0]) || axis < 0 || axis >= in->rank)
        return PLAN_DECLINED;
    x = plan_operand(b, node->inputs[0], plan_native(b, node->inputs[0]));
    if (x < 0)
        return x;
    for (uint32_t i = 0; i < node->output_count; i++) {
        int status;
        if (node->outputs[i] < 0)
            return lego_fail(b->diag, LEGO_E_FORMAT, "Split without output %u", i);
        status = plan_part(b, node, x, node->outputs[i], start, NULL);
        if (status)
            return status;
        start[axis] += b->graph->values[node->outputs[i]].shape.dim[axis];
    }
    return LEGO_OK;
}

int plan_pad(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *in = &b->graph->values[node->inputs[0]].shape;
    int64_t pads[2 * LEGO_MAX_RANK], start[LEGO_MAX_RANK];
    const struct lego_tensor *constant = NULL;
    struct move_box box;
    float fill = 0.0f;
    size_t count;
    int32_t x, out;

    if (plan_is_constant(b, node->inputs[0]) || present(node, 3) ||
        strcmp(lego_node_string(node, "mode", "constant"), "constant") != 0 ||
        !integers(b, node, 1, pads, &count) || count != 2 * (size_t)in->rank)
        return PLAN_DECLINED;
    for (size_t i = 0; i < count; i++)
        if (pads[i] < 0)
            return PLAN_DECLINED;
    if (present(node, 2)) {
        constant = lego_node_constant(b->graph, node, 2);
        if (!constant || constant->coded || constant->bytes != sizeof(fill))
            return PLAN_DECLINED;
        memcpy(&fill, constant->data, sizeof(fill));
    }
    memcpy(start, pads, (size_t)in->rank * sizeof(*start));
    x = plan_operand(b, node->inputs[0], plan_native(b, node->inputs[0]));
    out = x < 0 ? x : plan_output(b, node->outputs[0], b->plan->values[x].layout);
    if (out < 0)
        return out;
    box = box_reverse(part_box(&b->plan->values[out], &b->plan->values[x], start, NULL));
    return move_step(b, node, &x, &box, 1, out, true, fill);
}

/* Lets an input be computed where it lies in the concatenation: nothing is left to move. */
static bool concat_in_place(struct plan_builder *b, int32_t x, int32_t out,
                            const struct move_box *box)
{
    struct plan_value *value = &b->plan->values[x];

    if (!box_is_view(box) || value->alias >= 0 || value->storage != PLAN_ARENA || x == out)
        return false;
    value->alias = out;
    value->alias_offset = (size_t)box->to_at * sizeof(float);
    return true;
}

/* An input of a concatenation: a computed one in its layout, a constant as it is. */
static int32_t concat_operand(struct plan_builder *b, int32_t graph_value, enum plan_layout layout)
{
    int32_t x =
        plan_operand(b, graph_value, plan_is_constant(b, graph_value) ? PLAN_PLAIN : layout);
    int status;

    if (x < 0 || !plan_is_constant(b, graph_value))
        return x;
    status = plan_constant_data(b, graph_value, &b->plan->values[x].constant);
    return status ? status : x;
}

/* Channels-last where a computed input is. */
static enum plan_layout concat_layout(const struct plan_builder *b, const struct lego_node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++)
        if (plan_native(b, node->inputs[i]) == PLAN_CHANNELS_LAST)
            return PLAN_CHANNELS_LAST;
    return PLAN_PLAIN;
}

int plan_concat(struct plan_builder *b, const struct lego_node *node)
{
    enum plan_layout layout = concat_layout(b, node);
    int64_t start[LEGO_MAX_RANK] = {0}, axis = lego_node_int(node, "axis", 0);
    int32_t *inputs = lego_arena_calloc(b->plan->memory, node->input_count, sizeof(*inputs));
    struct move_box *boxes = lego_arena_calloc(b->plan->memory, node->input_count, sizeof(*boxes));
    uint32_t moved = 0;
    int32_t out;

    if (!inputs || !boxes)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] < 0)
            return PLAN_DECLINED;
    out = plan_output(b, node->outputs[0], layout);
    axis = axis < 0 && out >= 0 ? axis + b->plan->values[out].shape.rank : axis;
    for (uint32_t i = 0; out >= 0 && i < node->input_count; i++) {
        int32_t x = concat_operand(b, node->inputs[i], layout);
        const struct plan_value *value;
        if (x < 0)
            return x;
        value = &b->plan->values[x];
        boxes[moved] = box_reverse(part_box(&b->plan->values[out], value, start, NULL));
        start[axis] += value->shape.dim[axis];
        if (!concat_in_place(b, x, out, &boxes[moved]))
            inputs[moved++] = x;
    }
    return out < 0 ? out : move_step(b, node, inputs, boxes, moved, out, false, 0.0f);
}
