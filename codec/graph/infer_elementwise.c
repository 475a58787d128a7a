/*
 * Inference of elementwise operators, reductions and softmax.
 */
#include "codec/graph/infer_node.h"

#include <string.h>

int infer_same(const struct infer_context *c)
{
    infer_set(c, 0, infer_dtype(c, 0), infer_input(c, 0));
    return LEGO_OK;
}

int infer_predicate(const struct infer_context *c)
{
    infer_set(c, 0, LEGO_DTYPE_BOOL, infer_input(c, 0));
    return LEGO_OK;
}

int infer_clip(const struct infer_context *c)
{
    /* Bounds that were attributes before opset 11 are FP32 whatever they bound. */
    bool real = infer_dtype(c, 0) == LEGO_DTYPE_FLOAT16 || infer_dtype(c, 0) == LEGO_DTYPE_FLOAT64;
    int status = LEGO_OK;
    for (uint32_t i = 1; i < 3 && status == LEGO_OK; i++) {
        size_t count;
        if (!infer_has(c, i) || !real || infer_dtype(c, i) != LEGO_DTYPE_FLOAT32)
            status = infer_want_same_type(c, 0, i, i);
        if (status != LEGO_OK)
            break;
        if (infer_has(c, i) && infer_count(c, i, &count) && count != 1)
            status = infer_fail(c, LEGO_E_SHAPE, "bound %u has %zu elements, not one", i, count);
    }
    return status == LEGO_OK ? infer_same(c) : status;
}

int infer_cast(const struct infer_context *c)
{
    int64_t to = lego_node_int(c->io->node, "to", LEGO_DTYPE_UNKNOWN);
    if (to < 0 || to > 31 || !infer_type_in((enum lego_dtype)to, LEGO_TYPES_ANY))
        return infer_fail(c, LEGO_E_UNSUPPORTED, "element type %lld is not supported",
                          (long long)to);
    infer_set(c, 0, (enum lego_dtype)to, infer_input(c, 0));
    return LEGO_OK;
}

int infer_cast_like(const struct infer_context *c)
{
    infer_set(c, 0, infer_dtype(c, 1), infer_input(c, 0));
    return LEGO_OK;
}

int infer_dropout(const struct infer_context *c)
{
    struct infer_elem training = infer_element(c, 2, 0);
    double ratio = 0.5;
    bool open = infer_has(c, 1) && infer_real(c, 1, 0, &ratio) == 0;
    if (training.kind == INFER_VALUE && training.value != 0 && !open && ratio != 0)
        return infer_fail(c, LEGO_E_UNSUPPORTED,
                          "training mode drops at random; only a ratio of 0 is supported");
    infer_set(c, 1, LEGO_DTYPE_BOOL, infer_input(c, 0));
    return infer_same(c);
}

static int broadcast_all(const struct infer_context *c, uint32_t first, enum lego_dtype dtype)
{
    struct lego_shape shape;
    int status = infer_broadcast(c, first, c->io->node->input_count - first, &shape);
    if (status == LEGO_OK)
        infer_set(c, 0, dtype, &shape);
    return status;
}

int infer_binary(const struct infer_context *c)
{
    int status = infer_want_same_type(c, 0, 1, 1);
    if (status == LEGO_OK && c->io->node->op == LEGO_OP_Mod &&
        infer_type_in(infer_dtype(c, 0), LEGO_TYPES_REAL) && !lego_node_int(c->io->node, "fmod", 0))
        return infer_fail(c, LEGO_E_INVALID, "fmod must be 1 for floating types");
    return status == LEGO_OK ? broadcast_all(c, 0, infer_dtype(c, 0)) : status;
}

int infer_pow(const struct infer_context *c)
{
    int status = infer_want_types(c, 1, LEGO_TYPES_NUMBER);
    return status == LEGO_OK ? broadcast_all(c, 0, infer_dtype(c, 0)) : status;
}

int infer_compare(const struct infer_context *c)
{
    int status = infer_want_same_type(c, 0, 1, 1);
    return status == LEGO_OK ? broadcast_all(c, 0, LEGO_DTYPE_BOOL) : status;
}

/* The slope broadcasts to x, never the other way. */
int infer_prelu(const struct infer_context *c)
{
    int status = infer_binary(c);
    const struct lego_shape *x = infer_input(c, 0), *out = &c->io->ret_shapes[0];
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || out->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (out->rank != x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "the slope has more dimensions than the input");
    for (int d = 0; d < x->rank; d++) {
        if (x->dim[d] >= 0 && out->dim[d] >= 0 && x->dim[d] != out->dim[d])
            return infer_fail(c, LEGO_E_SHAPE, "the slope does not broadcast to the input");
    }
    return LEGO_OK;
}

int infer_variadic(const struct infer_context *c)
{
    for (uint32_t i = 0; i < c->io->node->input_count; i++) {
        if (!infer_has(c, i))
            return infer_fail(c, LEGO_E_FORMAT, "input %u is missing", i);
    }
    int status = infer_want_same_type(c, 0, 1, UINT32_MAX - 1);
    return status == LEGO_OK ? broadcast_all(c, 0, infer_dtype(c, 0)) : status;
}

int infer_where(const struct infer_context *c)
{
    int status = infer_want_same_type(c, 1, 2, 2);
    return status == LEGO_OK ? broadcast_all(c, 0, infer_dtype(c, 1)) : status;
}

/* The shape after reducing the axes of `mask`. */
static struct lego_shape reduced(const struct lego_shape *x, unsigned mask, bool keep)
{
    struct lego_shape out = {.rank = 0};
    for (int d = 0; d < x->rank; d++) {
        if (!(mask >> d & 1u))
            out.dim[out.rank++] = x->dim[d];
        else if (keep)
            out.dim[out.rank++] = 1;
    }
    return out;
}

int infer_reduce_mask(const struct infer_context *c, int rank, unsigned *ret_mask)
{
    int64_t axes[LEGO_MAX_RANK];
    size_t count = 0;
    unsigned mask = 0;
    if (infer_has(c, 1)) {
        int known = infer_ints(c, 1, LEGO_MAX_RANK, axes, &count);
        if (known <= 0)
            return known;
    }
    int status = infer_axes(c, axes, count, rank, &mask);
    if (status != LEGO_OK)
        return status;
    if (count == 0 && !lego_node_int(c->io->node, "noop_with_empty_axes", 0))
        mask = (1u << rank) - 1;
    *ret_mask = mask;
    return 1;
}

int infer_reduce(const struct infer_context *c)
{
    const struct lego_node *node = c->io->node;
    const struct lego_shape *x = infer_input(c, 0);
    bool min_max = node->op == LEGO_OP_ReduceMax || node->op == LEGO_OP_ReduceMin;
    int status = infer_want_types(c, 0, min_max ? LEGO_TYPES_ANY : LEGO_TYPES_NUMBER);
    if (status != LEGO_OK)
        return status;
    bool keep = lego_node_int(node, "keepdims", 1) != 0;
    unsigned mask = 0;
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    int known = infer_reduce_mask(c, x->rank, &mask);
    if (known < 0)
        return known;
    struct lego_shape out = reduced(x, mask, keep);
    if (known == 0) {
        if (!keep)
            return LEGO_OK;
        out = infer_open_shape(x->rank);
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_arg_reduce(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    infer_set_open(c, 0, LEGO_DTYPE_INT64);
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    int axis, status = infer_axis(c, lego_node_int(c->io->node, "axis", 0), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    if (x->dim[axis] == 0)
        return infer_fail(c, LEGO_E_SHAPE, "axis %d is empty", axis);
    struct lego_shape out = reduced(x, 1u << axis, lego_node_int(c->io->node, "keepdims", 1) != 0);
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

int infer_cumsum(const struct infer_context *c)
{
    int64_t axis;
    size_t count;
    int normal, known = infer_ints(c, 1, 1, &axis, &count);
    if (known < 0)
        return known;
    int rank = infer_rank(c, 0);
    if (known && count != 1)
        return infer_fail(c, LEGO_E_SHAPE, "the axis must be one number");
    if (known && rank != LEGO_RANK_UNKNOWN) {
        int status = infer_axis(c, axis, rank, &normal);
        if (status != LEGO_OK)
            return status;
    }
    return infer_same(c);
}

int infer_topk(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    infer_set_open(c, 0, infer_dtype(c, 0));
    infer_set_open(c, 1, LEGO_DTYPE_INT64);
    int64_t k = LEGO_DIM_UNKNOWN;
    size_t count = 1;
    int known = infer_ints(c, 1, 1, &k, &count);
    if (known < 0 || x->rank == LEGO_RANK_UNKNOWN)
        return known < 0 ? known : LEGO_OK;
    int axis, status = infer_axis(c, lego_node_int(c->io->node, "axis", -1), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    if (known && (count != 1 || k < 0 || (x->dim[axis] >= 0 && k > x->dim[axis])))
        return infer_fail(c, LEGO_E_INVALID, "k does not fit axis %d", axis);
    struct lego_shape out = *x;
    out.dim[axis] = known ? k : LEGO_DIM_UNKNOWN;
    infer_set(c, 0, infer_dtype(c, 0), &out);
    infer_set(c, 1, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

int infer_softmax(const struct infer_context *c)
{
    int rank = infer_rank(c, 0), axis;
    if (rank != LEGO_RANK_UNKNOWN) {
        int64_t asked = lego_node_int(c->io->node, "axis", -1);
        /* coerced to two dimensions, the axis may be behind the last one */
        bool behind = lego_node_int(c->io->node, "lego.coerce_2d", 0) && asked == rank;
        int status = behind || rank == 0 ? LEGO_OK : infer_axis(c, asked, rank, &axis);
        if (status != LEGO_OK)
            return status;
    }
    return infer_same(c);
}
