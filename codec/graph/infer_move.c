/*
 * Inference of operators that move elements: transpose, join, cut, pad, gather, scatter.
 */
#include "codec/graph/infer_node.h"

#include <string.h>

int infer_transpose(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    size_t count;
    const int64_t *perm = lego_node_ints(c->io->node, "perm", &count);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    unsigned mask;
    if (perm && count != (size_t)x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "perm has %zu axes for rank %d", count, x->rank);
    int status = infer_axes(c, perm, perm ? count : 0, x->rank, &mask);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = x->rank};
    for (int d = 0; d < x->rank; d++) {
        int64_t from = perm ? perm[d] : x->rank - 1 - d;
        out.dim[d] = x->dim[from < 0 ? from + x->rank : from];
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_concat(const struct infer_context *c)
{
    uint32_t inputs = c->io->node->input_count;
    struct lego_shape out = *infer_input(c, 0);
    int axis = 0, status = infer_want_same_type(c, 0, 1, UINT32_MAX - 1);
    infer_set_open(c, 0, infer_dtype(c, 0));
    for (uint32_t i = 0; i < inputs && status == LEGO_OK; i++) {
        if (!infer_has(c, i))
            return infer_fail(c, LEGO_E_FORMAT, "input %u is missing", i);
        if (infer_rank(c, i) == LEGO_RANK_UNKNOWN)
            return LEGO_OK;
    }
    if (status == LEGO_OK)
        status = infer_axis(c, lego_node_int(c->io->node, "axis", 0), out.rank, &axis);
    for (uint32_t i = 1; i < inputs && status == LEGO_OK; i++) {
        const struct lego_shape *x = infer_input(c, i);
        status = infer_want_rank(c, i, out.rank);
        for (int d = 0; d < out.rank && status == LEGO_OK; d++) {
            if (d != axis && !infer_dim_merge(out.dim[d], x->dim[d], &out.dim[d]))
                status = infer_fail(c, LEGO_E_SHAPE, "input %u has size %lld in axis %d, not %lld",
                                    i, (long long)x->dim[d], d, (long long)out.dim[d]);
        }
        if (status != LEGO_OK)
            break;
        if (x->dim[axis] == 0)
            continue;
        if (out.dim[axis] == 0)
            out.dim[axis] = x->dim[axis];
        else if (out.dim[axis] < 0 || x->dim[axis] < 0)
            out.dim[axis] = LEGO_DIM_UNKNOWN;
        else if (!lego_add_i64(out.dim[axis], x->dim[axis], &out.dim[axis]))
            status = infer_fail(c, LEGO_E_OVERFLOW, "the output is too large");
    }
    if (status == LEGO_OK)
        infer_set(c, 0, infer_dtype(c, 0), &out);
    return status;
}

/* Size of part `index` when the axis of `total` is cut in `parts`: the last one is smaller. */
static int64_t even_part(int64_t total, int64_t parts, int64_t index)
{
    int64_t each = total / parts + (total % parts != 0);
    int64_t from = index * each;
    return from >= total ? 0 : total - from < each ? total - from : each;
}

int infer_split(const struct infer_context *c)
{
    const struct lego_node *node = c->io->node;
    const struct lego_shape *x = infer_input(c, 0);
    int axis = 0, status = LEGO_OK;
    size_t count = node->output_count;
    for (uint32_t i = 0; i < node->output_count; i++)
        infer_set_open(c, i, infer_dtype(c, 0));
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    status = infer_axis(c, lego_node_int(node, "axis", 0), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    if (infer_has(c, 1) && infer_count(c, 1, &count) && count != node->output_count)
        return infer_fail(c, LEGO_E_SHAPE, "%zu sizes for %u outputs", count, node->output_count);
    int64_t parts = lego_node_int(node, "num_outputs", node->output_count);
    if (parts != (int64_t)node->output_count)
        return infer_fail(c, LEGO_E_INVALID, "num_outputs is not the number of outputs");
    int64_t sum = 0;
    bool open = false;
    for (uint32_t i = 0; i < node->output_count; i++) {
        struct lego_shape out = *x;
        struct infer_elem size = infer_element(c, 1, i);
        if (infer_has(c, 1))
            out.dim[axis] = size.kind == INFER_OPEN ? LEGO_DIM_UNKNOWN : size.value;
        else
            out.dim[axis] = x->dim[axis] < 0 ? LEGO_DIM_UNKNOWN : even_part(x->dim[axis], parts, i);
        if (size.kind == INFER_VALUE && size.value < 0)
            return infer_fail(c, LEGO_E_INVALID, "size %lld", (long long)size.value);
        open |= out.dim[axis] < 0;
        if (!open && !lego_add_i64(sum, out.dim[axis], &sum))
            return infer_fail(c, LEGO_E_OVERFLOW, "the sizes are too large");
        infer_set(c, i, infer_dtype(c, 0), &out);
    }
    if (!open && x->dim[axis] >= 0 && sum != x->dim[axis])
        return infer_fail(c, LEGO_E_SHAPE, "sizes sum up to %lld, axis %d has %lld", (long long)sum,
                          axis, (long long)x->dim[axis]);
    return LEGO_OK;
}

struct infer_slice infer_slice_axis(int64_t size, int64_t start, int64_t end, int64_t step)
{
    struct infer_slice s = {.step = step};
    start = start < 0 ? start + size : start;
    end = end < 0 ? (end < -size ? -1 : end + size) : end;
    /* Exporters write the largest number for "to the end" backwards, too, as ONNX Runtime reads it;
     * taken as a position it would select nothing. */
    if (step < 0 && (end == INT64_MAX || end == INT32_MAX))
        end = -1;
    if (step > 0) {
        start = start < 0 ? 0 : start > size ? size : start;
        end = end < 0 ? 0 : end > size ? size : end;
        s.count = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
        start = start < 0 ? 0 : start;
        start = start >= size ? size - 1 : start;
        end = end < -1 ? -1 : end >= size ? size - 1 : end;
        /* -(step + 1) + 1 would overflow only for a step whose count is one anyway */
        s.count = start > end ? (step == INT64_MIN ? 1 : (start - end - 1) / -step + 1) : 0;
    }
    s.start = start;
    return s;
}

/* One sliced axis of which perhaps not all is known. */
static int slice_axis(const struct infer_context *c, size_t index, int64_t size, int64_t *ret_dim)
{
    struct infer_elem start = infer_element(c, 1, index), end = infer_element(c, 2, index);
    struct infer_elem step = {INFER_VALUE, 1};
    if (infer_has(c, 4))
        step = infer_element(c, 4, index);
    if (step.kind == INFER_VALUE && step.value == 0)
        return infer_fail(c, LEGO_E_INVALID, "step 0");
    *ret_dim = LEGO_DIM_UNKNOWN;
    if (start.kind == INFER_VALUE && step.kind == INFER_VALUE && end.kind == INFER_VALUE) {
        if (size >= 0)
            *ret_dim = infer_slice_axis(size, start.value, end.value, step.value).count;
        else if (start.value == 0 && step.value == 1 && end.value >= INT32_MAX)
            *ret_dim = size; /* all of it */
    } else if (start.kind == INFER_VALUE && start.value == 0 && step.kind == INFER_VALUE &&
               step.value == 1 && end.kind == INFER_SYMBOL && end.value == size) {
        *ret_dim = size;
    }
    return LEGO_OK;
}

int infer_slice(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t axes[LEGO_MAX_RANK];
    size_t count, other;
    unsigned mask;
    infer_set_open(c, 0, infer_dtype(c, 0));
    for (uint32_t i = 1; i < 5; i++) {
        int status = infer_want_types(c, i, LEGO_TYPES_INDEX);
        if (status == LEGO_OK && infer_rank(c, i) != LEGO_RANK_UNKNOWN)
            status = infer_want_rank(c, i, 1);
        if (status != LEGO_OK)
            return status;
    }
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    struct lego_shape out = infer_open_shape(x->rank);
    infer_set(c, 0, infer_dtype(c, 0), &out);
    if (!infer_count(c, 1, &count))
        return LEGO_OK;
    for (uint32_t i = 2; i < 5; i++) {
        if (infer_has(c, i) && infer_count(c, i, &other) && other != count)
            return infer_fail(c, LEGO_E_SHAPE, "%zu starts, but input %u has %zu", count, i, other);
    }
    if (count > (size_t)x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "%zu starts for rank %d", count, x->rank);
    for (size_t i = 0; i < count; i++)
        axes[i] = (int64_t)i;
    if (infer_has(c, 3)) {
        int known = infer_ints(c, 3, LEGO_MAX_RANK, axes, &count);
        if (known <= 0)
            return known;
    }
    int status = infer_axes(c, axes, count, x->rank, &mask);
    out = *x;
    for (size_t i = 0; i < count && status == LEGO_OK; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        status = slice_axis(c, i, x->dim[axis], &out.dim[axis]);
    }
    if (status == LEGO_OK)
        infer_set(c, 0, infer_dtype(c, 0), &out);
    return status;
}

int infer_pad_mode(const struct lego_node *node)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = lego_node_string(node, "mode", "constant");
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

/* What each axis gets before and after it; `known` like infer_ints. */
int infer_pads(const struct infer_context *c, int rank, struct infer_elem *before,
               struct infer_elem *after)
{
    int64_t axes[LEGO_MAX_RANK];
    size_t count = (size_t)rank, pads;
    unsigned mask;
    for (int d = 0; d < rank; d++) {
        before[d] = after[d] = (struct infer_elem){INFER_VALUE, 0};
        axes[d] = d;
    }
    if (infer_has(c, 3)) {
        int known = infer_ints(c, 3, LEGO_MAX_RANK, axes, &count);
        if (known <= 0)
            return known;
    }
    int status = infer_axes(c, axes, count, rank, &mask);
    if (status != LEGO_OK)
        return status;
    if (!infer_count(c, 1, &pads))
        return 0;
    if (pads != 2 * count)
        return infer_fail(c, LEGO_E_SHAPE, "%zu pads for %zu axes", pads, count);
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        before[axis] = infer_element(c, 1, i);
        after[axis] = infer_element(c, 1, count + i);
    }
    return 1;
}

/* The size of one padded axis. */
static int padded_axis(const struct infer_context *c, int axis, int64_t size, int64_t before,
                       int64_t after, int64_t *ret_dim)
{
    int64_t out;
    int mode = infer_pad_mode(c->io->node);
    if (!lego_add_i64(size, before, &out) || !lego_add_i64(out, after, &out))
        return infer_fail(c, LEGO_E_OVERFLOW, "axis %d is too large", axis);
    int64_t left = size + (before < 0 ? before : 0);
    if (out < 0 || left < 0 || left + (after < 0 ? after : 0) < 0)
        return infer_fail(c, LEGO_E_SHAPE, "axis %d of size %lld with pads %lld and %lld", axis,
                          (long long)size, (long long)before, (long long)after);
    if (mode > 0 && size == 0 && out > 0)
        return infer_fail(c, LEGO_E_SHAPE, "axis %d is empty: nothing to repeat", axis);
    if (mode == 1 && out > size && size < 2 && (before > 0 || after > 0))
        return infer_fail(c, LEGO_E_SHAPE, "axis %d of size %lld cannot be reflected", axis,
                          (long long)size);
    *ret_dim = out;
    return LEGO_OK;
}

int infer_pad(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    struct infer_elem before[LEGO_MAX_RANK], after[LEGO_MAX_RANK];
    size_t count;
    infer_set_open(c, 0, infer_dtype(c, 0));
    int status = infer_want_same_type(c, 0, 2, 2);
    if (status == LEGO_OK)
        status = infer_want_types(c, 1, INFER_TYPE(INT64));
    if (status != LEGO_OK)
        return status;
    if (infer_pad_mode(c->io->node) < 0)
        return infer_fail(c, LEGO_E_INVALID, "mode '%s' is not known",
                          lego_node_string(c->io->node, "mode", ""));
    if (infer_has(c, 2) && infer_count(c, 2, &count) && count != 1)
        return infer_fail(c, LEGO_E_SHAPE, "constant_value is not one element");
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    int known = infer_pads(c, x->rank, before, after);
    if (known < 0)
        return known;
    struct lego_shape out = infer_open_shape(x->rank);
    for (int d = 0; known && d < x->rank && status == LEGO_OK; d++) {
        bool values = before[d].kind == INFER_VALUE && after[d].kind == INFER_VALUE;
        if (values && before[d].value == 0 && after[d].value == 0)
            out.dim[d] = x->dim[d];
        else if (values && x->dim[d] >= 0)
            status = padded_axis(c, d, x->dim[d], before[d].value, after[d].value, &out.dim[d]);
    }
    if (status == LEGO_OK)
        infer_set(c, 0, infer_dtype(c, 0), &out);
    return status;
}

static int block_size(const struct infer_context *c, int64_t *ret_block)
{
    int status = infer_want_rank(c, 0, 4);
    if (status == LEGO_OK)
        status = infer_int_in(c, "blocksize", 0, 1, 1 << 15, ret_block);
    return status;
}

int infer_depth_to_space(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t b;
    int status = block_size(c, &b);
    const char *mode = lego_node_string(c->io->node, "mode", "DCR");
    if (status == LEGO_OK && strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0)
        return infer_fail(c, LEGO_E_INVALID, "mode '%s' is not known", mode);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    struct lego_shape out = infer_open_shape(4);
    if (x->dim[1] >= 0 && x->dim[1] % (b * b) != 0)
        return infer_fail(c, LEGO_E_SHAPE, "%lld channels with blocks of %lld",
                          (long long)x->dim[1], (long long)b);
    out.dim[0] = x->dim[0];
    out.dim[1] = x->dim[1] >= 0 ? x->dim[1] / (b * b) : LEGO_DIM_UNKNOWN;
    for (int d = 2; d < 4; d++) {
        if (x->dim[d] >= 0 && !lego_mul_i64(x->dim[d], b, &out.dim[d]))
            return infer_fail(c, LEGO_E_OVERFLOW, "the output is too large");
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_space_to_depth(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t b;
    int status = block_size(c, &b);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    struct lego_shape out = infer_open_shape(4);
    out.dim[0] = x->dim[0];
    if (x->dim[1] >= 0 && !lego_mul_i64(x->dim[1], b * b, &out.dim[1]))
        return infer_fail(c, LEGO_E_OVERFLOW, "the output is too large");
    for (int d = 2; d < 4; d++) {
        if (x->dim[d] >= 0 && x->dim[d] % b != 0)
            return infer_fail(c, LEGO_E_SHAPE, "axis %d of %lld with blocks of %lld", d,
                              (long long)x->dim[d], (long long)b);
        out.dim[d] = x->dim[d] >= 0 ? x->dim[d] / b : LEGO_DIM_UNKNOWN;
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_trilu(const struct infer_context *c)
{
    int rank = infer_rank(c, 0);
    size_t count;
    int status = infer_want_types(c, 1, INFER_TYPE(INT64));
    if (status == LEGO_OK && infer_has(c, 1) && infer_count(c, 1, &count) && count != 1)
        status = infer_fail(c, LEGO_E_SHAPE, "k is not one number");
    if (status == LEGO_OK && rank != LEGO_RANK_UNKNOWN && rank < 2)
        status = infer_fail(c, LEGO_E_SHAPE, "the input has rank %d", rank);
    infer_set(c, 0, infer_dtype(c, 0), infer_input(c, 0));
    return status;
}

int infer_reverse_sequence(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t batch = lego_node_int(c->io->node, "batch_axis", 1);
    int64_t time = lego_node_int(c->io->node, "time_axis", 0);
    int status = infer_want_types(c, 1, INFER_TYPE(INT64));
    if (status == LEGO_OK && (batch < 0 || batch > 1 || time < 0 || time > 1 || batch == time))
        status = infer_fail(c, LEGO_E_INVALID, "time_axis and batch_axis must be 0 and 1");
    if (status == LEGO_OK && x->rank != LEGO_RANK_UNKNOWN) {
        if (x->rank < 2)
            return infer_fail(c, LEGO_E_SHAPE, "the input has rank %d", x->rank);
        status = infer_want_vector(c, 1, x->dim[batch]);
    }
    infer_set(c, 0, infer_dtype(c, 0), x);
    return status;
}
