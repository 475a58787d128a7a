/*
 * Inference of gathering, scattering and of what selects by content.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <string.h>

int infer_gather(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0), *indices = infer_input(c, 1);
    int status = infer_want_types(c, 1, LEGO_TYPES_INDEX), axis;
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || indices->rank == LEGO_RANK_UNKNOWN)
        return status;
    status = infer_axis(c, lego_node_int(c->io->node, "axis", 0), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = x->rank + indices->rank - 1};
    if (out.rank > LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "%d dimensions", out.rank);
    int at = 0;
    for (int d = 0; d < axis; d++)
        out.dim[at++] = x->dim[d];
    for (int d = 0; d < indices->rank; d++)
        out.dim[at++] = indices->dim[d];
    for (int d = axis + 1; d < x->rank; d++)
        out.dim[at++] = x->dim[d];
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

/* Sizes of `indices` that may not exceed those of x outside `axis`. */
static int check_elements(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0), *indices = infer_input(c, 1);
    int axis, status = infer_want_types(c, 1, LEGO_TYPES_INDEX);
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || indices->rank == LEGO_RANK_UNKNOWN)
        return status;
    status = infer_axis(c, lego_node_int(c->io->node, "axis", 0), x->rank, &axis);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 1, x->rank);
    for (int d = 0; d < x->rank && status == LEGO_OK; d++) {
        if (d != axis && x->dim[d] >= 0 && indices->dim[d] > x->dim[d])
            status = infer_fail(c, LEGO_E_SHAPE, "the indices are larger than axis %d", d);
    }
    return status;
}

int infer_gather_elements(const struct infer_context *c)
{
    infer_set(c, 0, infer_dtype(c, 0), infer_input(c, 1));
    return check_elements(c);
}

static const char *const reductions[] = {"none", "add", "mul", "max", "min"};

static int check_reduction(const struct infer_context *c)
{
    const char *name = lego_node_string(c->io->node, "reduction", "none");
    for (size_t i = 0; i < sizeof(reductions) / sizeof(reductions[0]); i++) {
        if (strcmp(name, reductions[i]) == 0)
            return LEGO_OK;
    }
    return infer_fail(c, LEGO_E_INVALID, "reduction '%s' is not known", name);
}

int infer_scatter_elements(const struct infer_context *c)
{
    const struct lego_shape *indices = infer_input(c, 1), *updates = infer_input(c, 2);
    int status = check_elements(c);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 2, 2);
    if (status == LEGO_OK)
        status = check_reduction(c);
    if (status == LEGO_OK && lego_shape_is_static(indices) && lego_shape_is_static(updates) &&
        !lego_shape_equal(indices, updates))
        status = infer_fail(c, LEGO_E_SHAPE, "indices and updates differ in shape");
    return status == LEGO_OK ? infer_same(c) : status;
}

int infer_gather_nd(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0), *indices = infer_input(c, 1);
    int64_t batch = lego_node_int(c->io->node, "batch_dims", 0);
    int status = infer_want_types(c, 1, LEGO_TYPES_INDEX);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || indices->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (x->rank < 1 || indices->rank < 1 || batch < 0 || batch >= x->rank || batch >= indices->rank)
        return infer_fail(c, LEGO_E_INVALID, "batch_dims %lld", (long long)batch);
    int64_t depth = indices->dim[indices->rank - 1];
    if (depth < 0)
        return LEGO_OK;
    if (depth < 1 || depth > x->rank - batch)
        return infer_fail(c, LEGO_E_SHAPE, "indices of %lld dimensions", (long long)depth);
    struct lego_shape out = {.rank = indices->rank - 1};
    for (int d = 0; d < out.rank; d++) {
        out.dim[d] = indices->dim[d];
        if (d < batch && !infer_dim_merge(x->dim[d], out.dim[d], &out.dim[d]))
            return infer_fail(c, LEGO_E_SHAPE, "batch dimension %d differs", d);
    }
    for (int d = (int)(batch + depth); d < x->rank; d++) {
        if (out.rank == LEGO_MAX_RANK)
            return infer_fail(c, LEGO_E_LIMIT, "too many dimensions");
        out.dim[out.rank++] = x->dim[d];
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_scatter_nd(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0), *indices = infer_input(c, 1);
    const struct lego_shape *updates = infer_input(c, 2);
    int status = infer_want_types(c, 1, INFER_TYPE(INT64));
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 2, 2);
    if (status == LEGO_OK)
        status = check_reduction(c);
    infer_set(c, 0, infer_dtype(c, 0), x);
    if (status != LEGO_OK || !lego_shape_is_static(x) || !lego_shape_is_static(indices) ||
        !lego_shape_is_static(updates))
        return status;
    int64_t depth = indices->rank > 0 ? indices->dim[indices->rank - 1] : 0;
    if (depth < 1 || depth > x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "indices of %lld dimensions", (long long)depth);
    bool fits = updates->rank == indices->rank - 1 + x->rank - (int)depth;
    for (int d = 0; fits && d < updates->rank; d++) {
        int behind = d - (indices->rank - 1);
        fits = updates->dim[d] == (behind < 0 ? indices->dim[d] : x->dim[depth + behind]);
    }
    return fits ? LEGO_OK : infer_fail(c, LEGO_E_SHAPE, "the updates do not fit the indices");
}

/* The content of an input where it is known. */
static const struct lego_array *content(const struct infer_context *c, uint32_t input)
{
    return infer_has(c, input) && c->io->constants ? c->io->constants[input] : NULL;
}

int infer_non_zero(const struct infer_context *c)
{
    const struct lego_array *x = content(c, 0);
    int rank = infer_rank(c, 0);
    struct lego_shape out = infer_open_shape(2);
    if (rank != LEGO_RANK_UNKNOWN)
        out.dim[0] = rank;
    size_t count;
    if (x && infer_count(c, 0, &count)) {
        out.dim[1] = 0;
        for (size_t i = 0; i < count; i++)
            out.dim[1] += eval_get_real(x, i) != 0;
    }
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

int infer_compress(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    const struct lego_array *condition = content(c, 1);
    bool flat = !lego_node_attr(c->io->node, "axis");
    int axis = 0, status = infer_want_types(c, 1, LEGO_TYPES_BOOL);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 1, 1);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (!flat)
        status = infer_axis(c, lego_node_int(c->io->node, "axis", 0), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = flat ? infer_open_shape(1) : *x;
    out.dim[axis] = LEGO_DIM_UNKNOWN;
    size_t count, size;
    if (condition && infer_count(c, 1, &count) && infer_count(c, 0, &size)) {
        size_t room = flat ? size : (size_t)x->dim[axis];
        if (count > room)
            return infer_fail(c, LEGO_E_SHAPE, "the condition is longer than the axis");
        out.dim[axis] = 0;
        for (size_t i = 0; i < count; i++)
            out.dim[axis] += eval_get_int(condition, i) != 0;
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_nms(const struct infer_context *c)
{
    const struct lego_shape *boxes = infer_input(c, 0), *scores = infer_input(c, 1);
    struct lego_shape out = infer_open_shape(2);
    out.dim[1] = 3;
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    int64_t merged;
    int status = infer_want_rank(c, 0, 3);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 1, 3);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 1, 1);
    if (status == LEGO_OK)
        status = infer_want_types(c, 2, INFER_TYPE(INT64));
    for (uint32_t i = 2; i < 5 && status == LEGO_OK; i++) {
        size_t count;
        if (i > 2)
            status = infer_want_types(c, i, INFER_TYPE(FLOAT32));
        if (status == LEGO_OK && infer_has(c, i) && infer_count(c, i, &count) && count != 1)
            status = infer_fail(c, LEGO_E_SHAPE, "input %u is not one number", i);
    }
    if (status != LEGO_OK || boxes->rank == LEGO_RANK_UNKNOWN || scores->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (!infer_dim_merge(boxes->dim[2], 4, &merged) ||
        !infer_dim_merge(boxes->dim[0], scores->dim[0], &merged) ||
        !infer_dim_merge(boxes->dim[1], scores->dim[2], &merged))
        return infer_fail(c, LEGO_E_SHAPE, "boxes and scores do not fit");
    bool known = content(c, 0) && content(c, 1);
    for (uint32_t i = 2; i < 5; i++)
        known &= !infer_has(c, i) || content(c, i) != NULL;
    if (known) {
        size_t count;
        status = eval_nms_count(c, &count);
        if (status != LEGO_OK)
            return status;
        out.dim[0] = (int64_t)count;
    }
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}
