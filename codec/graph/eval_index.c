/*
 * Gathering, scattering and selecting: operators whose indices are data.
 */
#include "codec/graph/eval_node.h"

#include <string.h>

static int normal_axis(const struct eval_context *c, int rank)
{
    int64_t axis = lego_node_int(c->node, "axis", 0);
    return (int)(axis < 0 ? axis + rank : axis);
}

/* Element `at` of an index tensor for an axis of `size`; counts from the end when negative. */
static int read_index(const struct eval_context *c, const struct lego_array *indices, size_t at,
                      int64_t size, int64_t *ret_index)
{
    int64_t index = eval_get_int(indices, at);
    if (index < -size || index >= size)
        return eval_fail(c, LEGO_E_INVALID, "index %lld is outside an axis of %lld",
                         (long long)index, (long long)size);
    *ret_index = index < 0 ? index + size : index;
    return LEGO_OK;
}

int eval_gather(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *indices = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int axis = normal_axis(c, x->shape.rank);
    int64_t size = x->shape.dim[axis];
    size_t outer = eval_extent(&x->shape, 0, axis), count = eval_elems(indices);
    size_t line = eval_extent(&x->shape, axis + 1, x->shape.rank) * lego_dtype_bytes(x->dtype);
    for (size_t i = 0; i < count; i++) {
        int64_t index = 0;
        int status = read_index(c, indices, i, size, &index);
        if (status != LEGO_OK)
            return status;
        for (size_t o = 0; o < outer; o++)
            memcpy((char *)out->data + (o * count + i) * line,
                   (const char *)x->data + (o * (size_t)size + (size_t)index) * line, line);
    }
    return LEGO_OK;
}

/* How ScatterElements and ScatterND combine. */
enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN };

static enum reduction reduction_of(const struct lego_node *node)
{
    const char *name = lego_node_string(node, "reduction", "none");
    return strcmp(name, "add") == 0   ? REDUCE_ADD
           : strcmp(name, "mul") == 0 ? REDUCE_MUL
           : strcmp(name, "max") == 0 ? REDUCE_MAX
           : strcmp(name, "min") == 0 ? REDUCE_MIN
                                      : REDUCE_NONE;
}

static void combine(enum reduction reduction, struct lego_array *out, size_t at,
                    const struct lego_array *updates, size_t from)
{
    size_t bytes = lego_dtype_bytes(out->dtype);
    if (reduction == REDUCE_NONE) {
        memcpy((char *)out->data + at * bytes, (const char *)updates->data + from * bytes, bytes);
    } else if (eval_is_real(out->dtype)) {
        double a = eval_get_real(out, at), b = eval_get_real(updates, from);
        a = reduction == REDUCE_ADD   ? a + b
            : reduction == REDUCE_MUL ? a * b
            : reduction == REDUCE_MAX ? (b > a ? b : a)
                                      : (b < a ? b : a);
        eval_store_real(out, at, 1, &a);
    } else {
        int64_t a = eval_get_int(out, at), b = eval_get_int(updates, from);
        a = reduction == REDUCE_ADD   ? (int64_t)((uint64_t)a + (uint64_t)b)
            : reduction == REDUCE_MUL ? (int64_t)((uint64_t)a * (uint64_t)b)
            : reduction == REDUCE_MAX ? (b > a ? b : a)
                                      : (b < a ? b : a);
        eval_store_int(out, at, 1, &a);
    }
}

/* Flat position in x of element `i` of an index tensor whose axis is replaced by its content. */
static int element_position(const struct eval_context *c, const struct lego_array *x,
                            const struct lego_array *indices, int axis, size_t i,
                            const int64_t *strides, size_t *ret_at)
{
    int64_t index = 0, at = 0;
    size_t rest = i;
    int status = read_index(c, indices, i, x->shape.dim[axis], &index);
    if (status != LEGO_OK)
        return status;
    for (int d = x->shape.rank - 1; d >= 0; d--) {
        size_t size = (size_t)indices->shape.dim[d];
        at += strides[d] * (d == axis ? index : (int64_t)(rest % size));
        rest /= size;
    }
    *ret_at = (size_t)at;
    return LEGO_OK;
}

int eval_gather_elements(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *indices = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    int64_t strides[LEGO_MAX_RANK];
    int axis = normal_axis(c, x->shape.rank);
    size_t bytes = lego_dtype_bytes(x->dtype), count = eval_elems(out), at;
    eval_strides(&x->shape, strides);
    for (size_t i = 0; i < count; i++) {
        int status = element_position(c, x, indices, axis, i, strides, &at);
        if (status != LEGO_OK)
            return status;
        memcpy((char *)out->data + i * bytes, (const char *)x->data + at * bytes, bytes);
    }
    return LEGO_OK;
}

int eval_scatter_elements(const struct eval_context *c)
{
    const struct lego_array *indices = eval_in(c, 1), *updates = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    int64_t strides[LEGO_MAX_RANK];
    int axis = normal_axis(c, out->shape.rank);
    enum reduction reduction = reduction_of(c->node);
    size_t count = eval_elems(indices), at;
    eval_copy(c);
    eval_strides(&out->shape, strides);
    for (size_t i = 0; i < count; i++) {
        int status = element_position(c, out, indices, axis, i, strides, &at);
        if (status != LEGO_OK)
            return status;
        combine(reduction, out, at, updates, i);
    }
    return LEGO_OK;
}

/* Flat position of tuple `i` of `depth` indices into the axes of x from `first` on. */
static int tuple_position(const struct eval_context *c, const struct lego_shape *x, int first,
                          int64_t depth, const struct lego_array *indices, size_t i, size_t *ret_at)
{
    size_t at = 0;
    for (int64_t k = 0; k < depth; k++) {
        int64_t index = 0, size = x->dim[first + k];
        int status = read_index(c, indices, i * (size_t)depth + (size_t)k, size, &index);
        if (status != LEGO_OK)
            return status;
        at = at * (size_t)size + (size_t)index;
    }
    *ret_at = at;
    return LEGO_OK;
}

int eval_gather_nd(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *indices = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int batch = (int)lego_node_int(c->node, "batch_dims", 0);
    int64_t depth = indices->shape.dim[indices->shape.rank - 1];
    size_t batches = eval_extent(&x->shape, 0, batch);
    size_t tuples = eval_elems(indices) / (size_t)depth / batches, at;
    size_t block = eval_extent(&x->shape, batch, x->shape.rank);
    size_t slice = eval_extent(&x->shape, batch + (int)depth, x->shape.rank);
    size_t bytes = lego_dtype_bytes(x->dtype);
    for (size_t i = 0; i < tuples * batches; i++) {
        int status = tuple_position(c, &x->shape, batch, depth, indices, i, &at);
        if (status != LEGO_OK)
            return status;
        memcpy((char *)out->data + i * slice * bytes,
               (const char *)x->data + (i / tuples * block + at * slice) * bytes, slice * bytes);
    }
    return LEGO_OK;
}

int eval_scatter_nd(const struct eval_context *c)
{
    const struct lego_array *indices = eval_in(c, 1), *updates = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    int64_t depth = indices->shape.dim[indices->shape.rank - 1];
    size_t tuples = eval_elems(indices) / (size_t)depth, at;
    size_t slice = eval_extent(&out->shape, (int)depth, out->shape.rank);
    enum reduction reduction = reduction_of(c->node);
    eval_copy(c);
    for (size_t i = 0; i < tuples; i++) {
        int status = tuple_position(c, &out->shape, 0, depth, indices, i, &at);
        if (status != LEGO_OK)
            return status;
        for (size_t k = 0; k < slice; k++)
            combine(reduction, out, at * slice + k, updates, i * slice + k);
    }
    return LEGO_OK;
}

int eval_non_zero(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    size_t count = eval_elems(x), found = 0, width = (size_t)out->shape.dim[1];
    int64_t *to = out->data;
    for (size_t i = 0; i < count; i++) {
        if (eval_get_real(x, i) == 0)
            continue;
        size_t rest = i;
        for (int d = x->shape.rank - 1; d >= 0; d--) {
            to[(size_t)d * width + found] = (int64_t)(rest % (size_t)x->shape.dim[d]);
            rest /= (size_t)x->shape.dim[d];
        }
        found++;
    }
    return LEGO_OK;
}

int eval_compress(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *condition = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    bool flat = !lego_node_attr(c->node, "axis");
    int axis = flat ? 0 : normal_axis(c, x->shape.rank);
    size_t outer = flat ? 1 : eval_extent(&x->shape, 0, axis);
    size_t size = flat ? eval_elems(x) : (size_t)x->shape.dim[axis];
    size_t line =
        (flat ? 1 : eval_extent(&x->shape, axis + 1, x->shape.rank)) * lego_dtype_bytes(x->dtype);
    char *to = out->data;
    for (size_t o = 0; o < outer; o++) {
        for (size_t i = 0; i < eval_elems(condition); i++) {
            if (!eval_get_int(condition, i))
                continue;
            memcpy(to, (const char *)x->data + (o * size + i) * line, line);
            to += line;
        }
    }
    return LEGO_OK;
}
