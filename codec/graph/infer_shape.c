/*
 * Inference of operators that read, change and make shapes.
 */
#include "codec/graph/infer_node.h"

#include <string.h>

static int infer_shape_range(const struct infer_context *c, int rank, int *ret_start, int *ret_end)
{
    int64_t start = lego_node_int(c->io->node, "start", 0);
    int64_t end = lego_node_int(c->io->node, "end", rank);
    start = start < 0 ? start + rank : start;
    end = end < 0 ? end + rank : end;
    start = start < 0 ? 0 : start > rank ? rank : start;
    end = end < 0 ? 0 : end > rank ? rank : end;
    *ret_start = (int)start;
    *ret_end = (int)(end < start ? start : end);
    return LEGO_OK;
}

int infer_shape(const struct infer_context *c)
{
    int rank = infer_rank(c, 0), start, end;
    struct lego_shape out = infer_open_shape(1);
    if (rank != LEGO_RANK_UNKNOWN) {
        infer_shape_range(c, rank, &start, &end);
        out.dim[0] = end - start;
    }
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

int infer_size(const struct infer_context *c)
{
    struct lego_shape out = {.rank = 0};
    infer_set(c, 0, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

/* A product of sizes with its symbols kept apart; `open` when something is not known at all. */
struct extent {
    int64_t sizes;
    int64_t symbols[LEGO_MAX_RANK];
    int symbol_count;
    bool open, overflow;
};

static void extent_add(struct extent *e, int64_t dim)
{
    if (dim >= 0)
        e->overflow |= !lego_mul_i64(e->sizes, dim, &e->sizes);
    else if (dim == LEGO_DIM_UNKNOWN)
        e->open = true;
    else
        e->symbols[e->symbol_count++] = dim;
}

/* Takes a symbol out of the product; false where it has none. */
static bool extent_cancel(struct extent *e, int64_t symbol)
{
    for (int i = 0; i < e->symbol_count; i++) {
        if (e->symbols[i] == symbol) {
            e->symbols[i] = e->symbols[--e->symbol_count];
            return true;
        }
    }
    return false;
}

static struct extent extent_of(const struct lego_shape *shape, int from, int to)
{
    struct extent e = {.sizes = 1};
    for (int d = from; d < to; d++)
        extent_add(&e, shape->dim[d]);
    return e;
}

/* The product as one dimension. */
static int64_t extent_dim(const struct extent *e)
{
    if (e->sizes == 0)
        return 0;
    if (e->open || e->overflow || e->symbol_count > 1 || (e->symbol_count == 1 && e->sizes != 1))
        return LEGO_DIM_UNKNOWN;
    return e->symbol_count == 1 ? e->symbols[0] : e->sizes;
}

/* What is left for the -1 of a Reshape: all of x over the other dimensions. */
static int reshape_rest(const struct infer_context *c, const struct lego_shape *x,
                        const struct lego_shape *out, int at, int64_t *ret_dim)
{
    struct extent all = extent_of(x, 0, x->rank);
    struct extent rest = {.sizes = 1};
    for (int d = 0; d < out->rank; d++) {
        int64_t dim = out->dim[d];
        if (d != at && (dim >= 0 || dim == LEGO_DIM_UNKNOWN || !extent_cancel(&all, dim)))
            extent_add(&rest, dim);
    }
    if (all.overflow || rest.overflow)
        return infer_fail(c, LEGO_E_OVERFLOW, "the shape is too large");
    *ret_dim = LEGO_DIM_UNKNOWN;
    if (all.open || rest.open || rest.symbol_count > 0)
        return LEGO_OK;
    if (rest.sizes == 0 && all.symbol_count == 0)
        return infer_fail(c, LEGO_E_SHAPE, "-1 beside an empty dimension");
    if (all.symbol_count == 0 && all.sizes % rest.sizes != 0)
        return infer_fail(c, LEGO_E_SHAPE, "%lld elements do not divide by %lld",
                          (long long)all.sizes, (long long)rest.sizes);
    if (rest.sizes > 0 && all.sizes % rest.sizes == 0) {
        all.sizes /= rest.sizes;
        *ret_dim = extent_dim(&all);
    }
    return LEGO_OK;
}

static int reshape_check(const struct infer_context *c, const struct lego_shape *x,
                         const struct lego_shape *out)
{
    size_t before, after;
    if (x->rank == LEGO_RANK_UNKNOWN || lego_shape_elems(x, &before) != LEGO_OK ||
        !lego_shape_is_static(out))
        return LEGO_OK;
    if (lego_shape_elems(out, &after) == LEGO_OK && before == after)
        return LEGO_OK;
    char from[128], to[128];
    return infer_fail(c, LEGO_E_SHAPE, "%s cannot become %s",
                      lego_shape_format(x, c->io->graph, from, sizeof(from)),
                      lego_shape_format(out, c->io->graph, to, sizeof(to)));
}

int infer_reshape(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    size_t rank;
    int rest = -1, status = infer_want_types(c, 1, INFER_TYPE(INT64));
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || !infer_count(c, 1, &rank))
        return status;
    if (rank > LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "%zu dimensions", rank);
    bool allow_zero = lego_node_int(c->io->node, "allowzero", 0) != 0, open = false;
    struct lego_shape out = infer_open_shape((int)rank);
    for (int d = 0; d < (int)rank; d++) {
        struct infer_elem elem = infer_element(c, 1, (size_t)d);
        if (elem.kind == INFER_OPEN)
            open = true;
        else if (elem.kind == INFER_SYMBOL || elem.value > 0 || (elem.value == 0 && allow_zero))
            out.dim[d] = elem.value;
        else if (elem.value == 0 && x->rank != LEGO_RANK_UNKNOWN && d >= x->rank)
            return infer_fail(c, LEGO_E_SHAPE, "dimension %d copies one that the input lacks", d);
        else if (elem.value == 0)
            out.dim[d] = x->rank == LEGO_RANK_UNKNOWN ? LEGO_DIM_UNKNOWN : x->dim[d];
        else if (elem.value != -1 || rest >= 0)
            return infer_fail(c, LEGO_E_INVALID, "dimension %d is %lld", d, (long long)elem.value);
        else
            rest = d;
    }
    if (rest >= 0 && !open && x->rank != LEGO_RANK_UNKNOWN) {
        status = reshape_rest(c, x, &out, rest, &out.dim[rest]);
        if (status != LEGO_OK)
            return status;
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return reshape_check(c, x, &out);
}

int infer_flatten(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    struct lego_shape out = infer_open_shape(2);
    if (x->rank != LEGO_RANK_UNKNOWN) {
        int64_t axis = lego_node_int(c->io->node, "axis", 1);
        if (axis < -x->rank || axis > x->rank)
            return infer_fail(c, LEGO_E_INVALID, "axis %lld is outside rank %d", (long long)axis,
                              x->rank);
        axis = axis < 0 ? axis + x->rank : axis;
        struct extent left = extent_of(x, 0, (int)axis), right = extent_of(x, (int)axis, x->rank);
        out.dim[0] = extent_dim(&left);
        out.dim[1] = extent_dim(&right);
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_squeeze(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t axes[LEGO_MAX_RANK];
    size_t count = 0;
    unsigned mask = 0;
    int known = 1;
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (infer_has(c, 1))
        known = infer_ints(c, 1, LEGO_MAX_RANK, axes, &count);
    if (known <= 0 || x->rank == LEGO_RANK_UNKNOWN)
        return known < 0 ? known : LEGO_OK;
    int status = infer_axes(c, axes, count, x->rank, &mask);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = 0};
    for (int d = 0; d < x->rank; d++) {
        bool chosen = infer_has(c, 1) ? (mask >> d & 1u) : x->dim[d] == 1;
        if (!infer_has(c, 1) && x->dim[d] < 0)
            return LEGO_OK; /* it may be one */
        if (chosen && x->dim[d] >= 0 && x->dim[d] != 1)
            return infer_fail(c, LEGO_E_SHAPE, "axis %d has size %lld, not 1", d,
                              (long long)x->dim[d]);
        if (!chosen)
            out.dim[out.rank++] = x->dim[d];
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_unsqueeze(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t axes[LEGO_MAX_RANK];
    size_t count = 0;
    unsigned mask = 0;
    infer_set_open(c, 0, infer_dtype(c, 0));
    int known = infer_ints(c, 1, LEGO_MAX_RANK, axes, &count);
    if (known <= 0 || x->rank == LEGO_RANK_UNKNOWN)
        return known < 0 ? known : LEGO_OK;
    int rank = x->rank + (int)count;
    if (rank > LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "%d dimensions", rank);
    int status = infer_axes(c, axes, count, rank, &mask);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = rank};
    for (int d = 0, from = 0; d < rank; d++)
        out.dim[d] = mask >> d & 1u ? 1 : x->dim[from++];
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_expand(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    size_t rank;
    int status = infer_want_types(c, 1, INFER_TYPE(INT64));
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || !infer_count(c, 1, &rank))
        return status;
    if (rank > LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "%zu dimensions", rank);
    int out_rank = (int)rank > x->rank ? (int)rank : x->rank;
    struct lego_shape out = infer_open_shape(out_rank);
    for (int d = 0; d < out_rank; d++) {
        int at_x = d - (out_rank - x->rank), at_shape = d - (out_rank - (int)rank);
        int64_t have = at_x >= 0 ? x->dim[at_x] : 1;
        struct infer_elem want = {INFER_VALUE, 1};
        if (at_shape >= 0)
            want = infer_element(c, 1, (size_t)at_shape);
        if (want.kind == INFER_VALUE && want.value < 0)
            return infer_fail(c, LEGO_E_INVALID, "size %lld", (long long)want.value);
        int64_t dim = want.kind == INFER_OPEN ? LEGO_DIM_UNKNOWN : want.value;
        if (dim == 1 || dim == have)
            out.dim[d] = have;
        else if (have == 1)
            out.dim[d] = dim;
        else if (have >= 0 && dim >= 0)
            return infer_fail(c, LEGO_E_SHAPE, "size %lld does not expand to %lld", (long long)have,
                              (long long)dim);
        else
            out.dim[d] = have >= 0 ? have : dim;
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_tile(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t repeats[LEGO_MAX_RANK];
    size_t count;
    infer_set_open(c, 0, infer_dtype(c, 0));
    int known = infer_ints(c, 1, LEGO_MAX_RANK, repeats, &count);
    if (known < 0 || x->rank == LEGO_RANK_UNKNOWN)
        return known < 0 ? known : LEGO_OK;
    struct lego_shape out = infer_open_shape(x->rank);
    if (known && count != (size_t)x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "%zu repeats for rank %d", count, x->rank);
    for (int d = 0; known && d < x->rank; d++) {
        if (repeats[d] < 0)
            return infer_fail(c, LEGO_E_INVALID, "negative repeats");
        if (repeats[d] == 1)
            out.dim[d] = x->dim[d];
        else if (x->dim[d] >= 0 && !lego_mul_i64(x->dim[d], repeats[d], &out.dim[d]))
            return infer_fail(c, LEGO_E_OVERFLOW, "the output is too large");
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_constant_of_shape(const struct infer_context *c)
{
    const struct lego_attr *attr = lego_node_attr(c->io->node, "value");
    enum lego_dtype dtype = LEGO_DTYPE_FLOAT32;
    size_t rank, elems;
    if (attr && attr->type == LEGO_ATTR_TENSOR) {
        const struct lego_tensor *tensor = &c->io->graph->tensors[attr->tensor];
        dtype = tensor->dtype;
        if (!tensor->data || lego_shape_elems(&tensor->shape, &elems) != LEGO_OK || elems != 1)
            return infer_fail(c, LEGO_E_INVALID, "value must be one element");
    }
    infer_set_open(c, 0, dtype);
    int status = infer_want_types(c, 0, INFER_TYPE(INT64));
    if (status != LEGO_OK || !infer_count(c, 0, &rank))
        return status;
    if (rank > LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "%zu dimensions", rank);
    struct lego_shape out = infer_open_shape((int)rank);
    for (size_t d = 0; d < rank; d++) {
        struct infer_elem elem = infer_element(c, 0, d);
        if (elem.kind == INFER_VALUE && elem.value < 0)
            return infer_fail(c, LEGO_E_INVALID, "size %lld", (long long)elem.value);
        if (elem.kind != INFER_OPEN)
            out.dim[d] = elem.value;
    }
    infer_set(c, 0, dtype, &out);
    return LEGO_OK;
}

int infer_range(const struct infer_context *c)
{
    double start, limit, delta;
    struct lego_shape out = infer_open_shape(1);
    int status = infer_want_same_type(c, 0, 1, 2);
    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 0; i < 3; i++) {
        size_t count;
        if (infer_count(c, i, &count) && count != 1)
            return infer_fail(c, LEGO_E_SHAPE, "input %u is not one number", i);
    }
    if (infer_real(c, 0, 0, &start) > 0 && infer_real(c, 1, 0, &limit) > 0 &&
        infer_real(c, 2, 0, &delta) > 0) {
        if (!(delta != 0))
            return infer_fail(c, LEGO_E_INVALID, "delta must not be 0");
        double count = (limit - start) / delta;
        if (!(count < 9e15)) /* NaN too */
            return infer_fail(c, LEGO_E_LIMIT, "too many elements");
        int64_t whole = count > 0 ? (int64_t)count : 0;
        out.dim[0] = whole + (count > 0 && (double)whole < count);
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_eye_like(const struct infer_context *c)
{
    int64_t dtype = lego_node_int(c->io->node, "dtype", infer_dtype(c, 0));
    if (dtype < 0 || dtype > 31 ||
        (dtype && !infer_type_in((enum lego_dtype)dtype, LEGO_TYPES_ANY)))
        return infer_fail(c, LEGO_E_UNSUPPORTED, "dtype %lld", (long long)dtype);
    int status = infer_want_rank(c, 0, 2);
    infer_set(c, 0, (enum lego_dtype)dtype, infer_input(c, 0));
    return status;
}

int infer_one_hot(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    double depth = 0;
    int known = infer_real(c, 1, 0, &depth);
    infer_set_open(c, 0, infer_dtype(c, 2));
    int status = infer_want_vector(c, 2, 2);
    size_t count;
    if (status == LEGO_OK && infer_count(c, 1, &count) && count != 1)
        status = infer_fail(c, LEGO_E_SHAPE, "depth is not one number");
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (x->rank == LEGO_MAX_RANK || (known && !(depth >= 1 && depth < 1e15)))
        return infer_fail(c, LEGO_E_INVALID, "the depth or the rank is out of range");
    int axis;
    status = infer_axis(c, lego_node_int(c->io->node, "axis", -1), x->rank + 1, &axis);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = x->rank + 1};
    for (int d = 0, from = 0; d < out.rank; d++)
        out.dim[d] = d == axis ? (known ? (int64_t)depth : LEGO_DIM_UNKNOWN) : x->dim[from++];
    infer_set(c, 0, infer_dtype(c, 2), &out);
    return LEGO_OK;
}
