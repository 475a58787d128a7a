/*
 * Operators that make tensors: from shapes, from numbers, from positions.
 */
#include "codec/graph/eval_node.h"

#include <string.h>

int eval_shape(const struct eval_context *c)
{
    const struct lego_shape *x = &eval_in(c, 0)->shape;
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    if (c->node->op == LEGO_OP_Size) {
        *(int64_t *)out->data = (int64_t)eval_elems(eval_in(c, 0));
        return LEGO_OK;
    }
    int64_t start = lego_node_int(c->node, "start", 0);
    start = start < 0 ? start + x->rank : start;
    start = start < 0 ? 0 : start;
    if (out->shape.dim[0] > 0)
        memcpy(out->data, x->dim + start, sizeof(int64_t) * (size_t)out->shape.dim[0]);
    return LEGO_OK;
}

/* Repeats one element over the whole array. */
static void fill(struct lego_array *out, const void *value)
{
    size_t bytes = lego_dtype_bytes(out->dtype), count = eval_elems(out);
    char *to = out->data;
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * bytes, value, bytes);
}

int eval_constant_of_shape(const struct eval_context *c)
{
    static const char zeros[8];
    const struct lego_attr *value = lego_node_attr(c->node, "value");
    bool given = value && value->type == LEGO_ATTR_TENSOR;
    if (eval_out(c, 0))
        fill(eval_out(c, 0), given ? c->graph->tensors[value->tensor].data : zeros);
    return LEGO_OK;
}

int eval_range(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    size_t count = eval_elems(out);
    if (eval_is_real(out->dtype)) {
        double start = eval_get_real(eval_in(c, 0), 0), delta = eval_get_real(eval_in(c, 2), 0);
        for (size_t i = 0; i < count; i++) {
            double value = start + (double)i * delta;
            eval_store_real(out, i, 1, &value);
        }
        return LEGO_OK;
    }
    uint64_t value = (uint64_t)eval_get_int(eval_in(c, 0), 0);
    uint64_t delta = (uint64_t)eval_get_int(eval_in(c, 2), 0);
    for (size_t i = 0; i < count; i++, value += delta) {
        int64_t stored = (int64_t)value;
        eval_store_int(out, i, 1, &stored);
    }
    return LEGO_OK;
}

int eval_eye_like(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    const int64_t one = 1;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    memset(out->data, 0, eval_elems(out) * lego_dtype_bytes(out->dtype));
    int64_t k = lego_node_int(c->node, "k", 0);
    int64_t rows = out->shape.dim[0], columns = out->shape.dim[1];
    for (int64_t r = k < 0 && k > -rows ? -k : 0; r < rows && k < columns && k > -rows; r++) {
        if (r + k >= columns)
            break;
        if (r + k >= 0)
            eval_store_int(out, (size_t)(r * columns + r + k), 1, &one);
    }
    return LEGO_OK;
}

int eval_one_hot(const struct eval_context *c)
{
    const struct lego_array *indices = eval_in(c, 0), *values = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int rank = out->shape.rank;
    int64_t axis = lego_node_int(c->node, "axis", -1);
    axis = axis < 0 ? axis + rank : axis;
    int64_t depth = out->shape.dim[axis];
    size_t bytes = lego_dtype_bytes(out->dtype);
    size_t inner = eval_extent(&out->shape, (int)axis + 1, rank), count = eval_elems(indices);
    const char *on = (const char *)values->data + bytes;
    fill(out, values->data);
    for (size_t i = 0; i < count; i++) {
        int64_t hot = eval_get_int(indices, i);
        hot = hot < 0 ? hot + depth : hot;
        if (hot < 0 || hot >= depth) /* out of range: all off */
            continue;
        size_t at = (i / inner * (size_t)depth + (size_t)hot) * inner + i % inner;
        memcpy((char *)out->data + at * bytes, on, bytes);
    }
    return LEGO_OK;
}
