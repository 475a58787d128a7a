/*
 * Operators that move elements by regular steps.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <string.h>

static char *element(const struct lego_array *array, int64_t index)
{
    return (char *)array->data + index * (int64_t)lego_dtype_bytes(array->dtype);
}

int eval_transpose(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    int64_t from[LEGO_MAX_RANK], own[LEGO_MAX_RANK], to[LEGO_MAX_RANK];
    size_t count;
    const int64_t *perm = lego_node_ints(c->node, "perm", &count);
    int rank = x->shape.rank;
    if (!out)
        return LEGO_OK;
    eval_strides(&x->shape, own);
    eval_strides(&out->shape, to);
    for (int d = 0; d < rank; d++) {
        int64_t axis = perm ? perm[d] : rank - 1 - d;
        from[d] = own[axis < 0 ? axis + rank : axis];
    }
    eval_copy_strided(lego_dtype_bytes(x->dtype), rank, out->shape.dim, out->data, to, x->data,
                      from);
    return LEGO_OK;
}

static int normal_axis(const struct eval_context *c, int64_t otherwise, int rank)
{
    int64_t axis = lego_node_int(c->node, "axis", otherwise);
    return (int)(axis < 0 ? axis + rank : axis);
}

int eval_concat(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int axis = normal_axis(c, 0, out->shape.rank);
    size_t bytes = lego_dtype_bytes(out->dtype), outer = eval_extent(&out->shape, 0, axis);
    size_t pitch = eval_extent(&out->shape, axis, out->shape.rank) * bytes;
    char *to = out->data;
    for (uint32_t i = 0; i < c->node->input_count; i++) {
        const struct lego_array *x = eval_in(c, i);
        size_t line = eval_extent(&x->shape, axis, x->shape.rank) * bytes;
        for (size_t o = 0; o < outer && line > 0; o++)
            memcpy(to + o * pitch, (const char *)x->data + o * line, line);
        to += line;
    }
    return LEGO_OK;
}

int eval_split(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_infer_io io;
    struct infer_context infer;
    int rank = x->shape.rank, axis = normal_axis(c, 0, rank);
    int status = eval_inference(c, &io, &infer);
    if (status != LEGO_OK)
        return status;
    uint32_t parts = c->node->output_count;
    io.ret_dtypes = eval_scratch(c, parts, sizeof(*io.ret_dtypes));
    io.ret_shapes = eval_scratch(c, parts, sizeof(*io.ret_shapes));
    if (!io.ret_dtypes || !io.ret_shapes)
        return LEGO_E_NOMEM;
    status = infer_split(&infer); /* sizes of the parts that nobody wants, too */
    if (status != LEGO_OK)
        return status;
    size_t bytes = lego_dtype_bytes(x->dtype), outer = eval_extent(&x->shape, 0, axis);
    size_t pitch = eval_extent(&x->shape, axis, rank) * bytes, offset = 0;
    for (uint32_t i = 0; i < parts; i++) {
        struct lego_array *out = eval_out(c, i);
        size_t line = eval_extent(&io.ret_shapes[i], axis, rank) * bytes;
        for (size_t o = 0; out && o < outer && line > 0; o++)
            memcpy((char *)out->data + o * line, (const char *)x->data + o * pitch + offset, line);
        offset += line;
    }
    return LEGO_OK;
}

int eval_slice(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *axes = eval_in(c, 3), *steps = eval_in(c, 4);
    struct lego_array *out = eval_out(c, 0);
    int64_t from[LEGO_MAX_RANK], to[LEGO_MAX_RANK], start = 0;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    eval_strides(&x->shape, from);
    eval_strides(&out->shape, to);
    for (size_t i = 0; i < eval_elems(eval_in(c, 1)); i++) {
        int64_t axis = axes ? eval_get_int(axes, i) : (int64_t)i;
        axis = axis < 0 ? axis + x->shape.rank : axis;
        struct infer_slice slice =
            infer_slice_axis(x->shape.dim[axis], eval_get_int(eval_in(c, 1), i),
                             eval_get_int(eval_in(c, 2), i), steps ? eval_get_int(steps, i) : 1);
        start += slice.start * from[axis];
        /* with one element the step does not matter, and might overflow */
        from[axis] = slice.count > 1 ? from[axis] * slice.step : 0;
    }
    eval_copy_strided(lego_dtype_bytes(x->dtype), x->shape.rank, out->shape.dim, out->data, to,
                      element(x, start), from);
    return LEGO_OK;
}

/* Where index `i` of a padded axis comes from: 0..size-1, or -1 for the constant. */
static int64_t pad_source(int mode, int64_t i, int64_t size)
{
    if (i >= 0 && i < size)
        return i;
    if (mode == 0)
        return -1;
    if (mode == 2)
        return i < 0 ? 0 : size - 1;
    if (mode == 3)
        return (i % size + size) % size;
    int64_t period = 2 * (size - 1);
    int64_t at = (i % period + period) % period;
    return at < size ? at : period - at;
}

/* One row of the output from a row of the input; NULL: all padding. */
static void pad_row(char *to, const char *from, const int64_t *source, int64_t count, size_t bytes,
                    const char *fill)
{
    for (int64_t i = 0; i < count;) {
        int64_t run = 1;
        if (!from || source[i] < 0) {
            memcpy(to, fill, bytes);
        } else {
            while (i + run < count && source[i + run] == source[i] + run)
                run++;
            memcpy(to, from + (size_t)source[i] * bytes, (size_t)run * bytes);
        }
        to += (size_t)run * bytes;
        i += run;
    }
}

/* source[d][i]: where index i of axis d comes from, -1 for the constant. */
static void pad_rows(const struct lego_array *x, struct lego_array *out, int64_t *const *source,
                     const int64_t *strides, const char *fill)
{
    int last = out->shape.rank - 1;
    int64_t columns = out->shape.dim[last], at[LEGO_MAX_RANK] = {0};
    size_t bytes = lego_dtype_bytes(x->dtype), rows = eval_extent(&out->shape, 0, last);
    for (size_t row = 0; row < rows; row++) {
        int64_t from = 0;
        for (int d = 0; d < last && from >= 0; d++)
            from = source[d][at[d]] < 0 ? -1 : from + source[d][at[d]] * strides[d];
        pad_row((char *)out->data + row * (size_t)columns * bytes,
                from < 0 || !x->data ? NULL : element(x, from), source[last], columns, bytes, fill);
        for (int d = last - 1; d >= 0 && ++at[d] == out->shape.dim[d]; d--)
            at[d] = 0;
    }
}

int eval_pad(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *value = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    struct infer_elem before[LEGO_MAX_RANK], after[LEGO_MAX_RANK];
    struct lego_infer_io io;
    struct infer_context infer;
    int rank = x->shape.rank, mode = infer_pad_mode(c->node);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int status = eval_inference(c, &io, &infer);
    if (status == LEGO_OK)
        status = infer_pads(&infer, rank, before, after) < 0 ? LEGO_E_INVALID : LEGO_OK;
    if (status != LEGO_OK)
        return status;
    int64_t *source[LEGO_MAX_RANK], strides[LEGO_MAX_RANK];
    static const char zeros[8];
    const char *fill = value ? value->data : zeros;
    if (rank == 0)
        return eval_copy(c);
    eval_strides(&x->shape, strides);
    for (int d = 0; d < rank; d++) {
        source[d] = eval_scratch(c, (size_t)out->shape.dim[d], sizeof(int64_t));
        if (!source[d])
            return LEGO_E_NOMEM;
        for (int64_t i = 0; i < out->shape.dim[d]; i++)
            source[d][i] = pad_source(mode, i - before[d].value, x->shape.dim[d]);
    }
    pad_rows(x, out, source, strides, fill);
    return LEGO_OK;
}

int eval_expand(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    int64_t from[LEGO_MAX_RANK], to[LEGO_MAX_RANK];
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    eval_broadcast_strides(&x->shape, &out->shape, from);
    eval_strides(&out->shape, to);
    eval_copy_strided(lego_dtype_bytes(x->dtype), out->shape.rank, out->shape.dim, out->data, to,
                      x->data, from);
    return LEGO_OK;
}

int eval_tile(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    int64_t dims[2 * LEGO_MAX_RANK], from[2 * LEGO_MAX_RANK], to[2 * LEGO_MAX_RANK];
    int64_t own[LEGO_MAX_RANK], far[LEGO_MAX_RANK];
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    eval_strides(&x->shape, own);
    eval_strides(&out->shape, far);
    for (int d = 0; d < x->shape.rank; d++) { /* each axis: repeats, then what is repeated */
        int64_t size = x->shape.dim[d];
        dims[2 * d] = out->shape.dim[d] / size;
        dims[2 * d + 1] = size;
        from[2 * d] = 0;
        from[2 * d + 1] = own[d];
        to[2 * d] = far[d] * size;
        to[2 * d + 1] = far[d];
    }
    eval_copy_strided(lego_dtype_bytes(x->dtype), 2 * x->shape.rank, dims, out->data, to, x->data,
                      from);
    return LEGO_OK;
}

int eval_depth_to_space(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int64_t b = lego_node_int(c->node, "blocksize", 1), channels = out->shape.dim[1];
    int64_t h = x->shape.dim[2], w = x->shape.dim[3], plane = h * w;
    bool crd = strcmp(lego_node_string(c->node, "mode", "DCR"), "CRD") == 0;
    /* output axes [n][channel][h][block row][w][block column] */
    const int64_t dims[] = {x->shape.dim[0], channels, h, b, w, b};
    const int64_t to[] = {channels * b * b * plane, b * b * plane, b * b * w, b * w, b, 1};
    const int64_t from[] = {channels * b * b * plane,
                            plane * (crd ? b * b : 1),
                            w,
                            plane * b * (crd ? 1 : channels),
                            1,
                            plane * (crd ? 1 : channels)};
    eval_copy_strided(lego_dtype_bytes(x->dtype), 6, dims, out->data, to, x->data, from);
    return LEGO_OK;
}

int eval_space_to_depth(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int64_t b = lego_node_int(c->node, "blocksize", 1), channels = x->shape.dim[1];
    int64_t h = out->shape.dim[2], w = out->shape.dim[3], plane = h * w;
    /* output axes [n][block row][block column][channel][h][w] */
    const int64_t dims[] = {x->shape.dim[0], b, b, channels, h, w};
    const int64_t to[] = {
        channels * b * b * plane, b * channels * plane, channels * plane, plane, w, 1};
    const int64_t from[] = {channels * b * b * plane, b * w, 1, b * b * plane, b * b * w, b};
    eval_copy_strided(lego_dtype_bytes(x->dtype), 6, dims, out->data, to, x->data, from);
    return LEGO_OK;
}

int eval_trilu(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int rank = out->shape.rank;
    int64_t rows = out->shape.dim[rank - 2], columns = out->shape.dim[rank - 1];
    int64_t k = eval_in(c, 1) ? eval_get_int(eval_in(c, 1), 0) : 0;
    bool upper = lego_node_int(c->node, "upper", 1) != 0;
    size_t bytes = lego_dtype_bytes(out->dtype), planes = eval_extent(&out->shape, 0, rank - 2);
    /* column `edge` of row r is the first on or right of the diagonal (upper), or right of it */
    k = k > columns ? columns : k < -rows ? -rows : k;
    eval_copy(c);
    for (size_t p = 0; p < planes; p++) {
        for (int64_t r = 0; r < rows; r++) {
            int64_t edge = r + k + (upper ? 0 : 1);
            edge = edge < 0 ? 0 : edge > columns ? columns : edge;
            char *row = element(out, ((int64_t)p * rows + r) * columns);
            if (upper)
                memset(row, 0, (size_t)edge * bytes);
            else
                memset(row + (size_t)edge * bytes, 0, (size_t)(columns - edge) * bytes);
        }
    }
    return LEGO_OK;
}

int eval_reverse_sequence(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *lengths = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    bool time_first = lego_node_int(c->node, "time_axis", 0) == 0;
    int64_t times = out->shape.dim[time_first ? 0 : 1],
            batches = out->shape.dim[!time_first ? 0 : 1];
    int64_t time_pitch = time_first ? batches : 1, batch_pitch = time_first ? 1 : times;
    size_t line = eval_extent(&out->shape, 2, out->shape.rank);
    for (int64_t b = 0; b < batches; b++) {
        int64_t length = eval_get_int(lengths, (size_t)b);
        if (length < 0 || length > times)
            return eval_fail(c, LEGO_E_INVALID, "sequence length %lld of %lld", (long long)length,
                             (long long)times);
        for (int64_t t = 0; t < times; t++) {
            int64_t source = t < length ? length - 1 - t : t;
            memcpy(element(out, (t * time_pitch + b * batch_pitch) * (int64_t)line),
                   element(x, (source * time_pitch + b * batch_pitch) * (int64_t)line),
                   line * lego_dtype_bytes(x->dtype));
        }
    }
    return LEGO_OK;
}
