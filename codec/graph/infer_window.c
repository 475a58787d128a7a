/*
 * Inference of convolution and pooling: the arithmetic of sliding windows.
 */
#include "codec/graph/infer_node.h"

#include <string.h>

/* Sizes and attributes past this cannot be real and would overflow the arithmetic. */
#define WINDOW_MAX (INT64_C(1) << 31)

/* Reads `count` ints of an attribute into `out`, `otherwise` where the node has none. */
static int read_ints(const struct infer_context *c, const char *name, size_t count, int64_t min,
                     int64_t otherwise, int64_t *out)
{
    size_t have;
    const int64_t *values = lego_node_ints(c->io->node, name, &have);
    if (values && have != count)
        return infer_fail(c, LEGO_E_INVALID, "%s has %zu values, not %zu", name, have, count);
    for (size_t i = 0; i < count; i++) {
        out[i] = values ? values[i] : otherwise;
        if (out[i] < min || out[i] > WINDOW_MAX)
            return infer_fail(c, LEGO_E_INVALID, "%s has the value %lld", name, (long long)out[i]);
    }
    return LEGO_OK;
}

static int read_window(const struct infer_context *c, const struct lego_shape *x,
                       const int64_t *kernel, struct infer_window *w, int64_t *pads)
{
    if (x->rank < 3 || x->rank > 2 + INFER_MAX_SPATIAL)
        return infer_fail(c, x->rank < 3 ? LEGO_E_SHAPE : LEGO_E_UNSUPPORTED,
                          "the input has rank %d; 3 to %d are supported", x->rank,
                          2 + INFER_MAX_SPATIAL);
    *w = (struct infer_window){.axes = x->rank - 2};
    size_t axes = (size_t)w->axes;
    int status = read_ints(c, "kernel_shape", axes, 1, 1, w->kernel);
    if (kernel && status == LEGO_OK) {
        bool given = lego_node_attr(c->io->node, "kernel_shape") != NULL;
        for (int i = 0; i < w->axes; i++) {
            if (given && kernel[i] != w->kernel[i])
                return infer_fail(c, LEGO_E_SHAPE, "kernel_shape contradicts the weights");
            w->kernel[i] = kernel[i];
            if (kernel[i] < 1 || kernel[i] > WINDOW_MAX)
                return infer_fail(c, LEGO_E_SHAPE, "the weights' kernel is empty");
        }
    }
    if (status == LEGO_OK)
        status = read_ints(c, "strides", axes, 1, 1, w->stride);
    if (status == LEGO_OK)
        status = read_ints(c, "dilations", axes, 1, 1, w->dilation);
    if (status == LEGO_OK)
        status = read_ints(c, "pads", 2 * axes, 0, 0, pads);
    for (int i = 0; i < w->axes && status == LEGO_OK; i++) {
        if (x->dim[2 + i] > WINDOW_MAX)
            status = infer_fail(c, LEGO_E_LIMIT, "dimension %d is too large", 2 + i);
    }
    return status;
}

enum auto_pad { PAD_NOTSET, PAD_VALID, PAD_SAME_UPPER, PAD_SAME_LOWER };

static int read_auto_pad(const struct infer_context *c, enum auto_pad *ret_mode)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *name = lego_node_string(c->io->node, "auto_pad", "NOTSET");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_mode = (enum auto_pad)i;
            return LEGO_OK;
        }
    }
    return infer_fail(c, LEGO_E_INVALID, "auto_pad '%s' is not known", name);
}

/* Splits `total` padding, the odd one at the end or at the beginning. */
static void split_pad(struct infer_window *w, int axis, int64_t total, bool odd_at_end)
{
    int64_t small = total / 2, large = total - small;
    w->begin[axis] = odd_at_end ? small : large;
    w->end[axis] = odd_at_end ? large : small;
}

/* One axis, its padding known: the output size, or 0 where the window does not fit. */
static int64_t window_out(const struct infer_window *w, int i, int64_t in, bool ceil_mode)
{
    int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
    int64_t room = in + w->begin[i] + w->end[i] - extent;
    if (room < 0)
        return 0;
    int64_t out = (ceil_mode ? (room + w->stride[i] - 1) / w->stride[i] : room / w->stride[i]) + 1;
    /* a window that would start in the padding behind the input is left out */
    if (ceil_mode && (out - 1) * w->stride[i] >= in + w->begin[i])
        out--;
    return out;
}

int infer_window(const struct infer_context *c, const struct lego_shape *x, const int64_t *kernel,
                 struct infer_window *ret_window)
{
    struct infer_window w;
    int64_t pads[2 * INFER_MAX_SPATIAL];
    enum auto_pad mode = PAD_NOTSET;
    int status = read_window(c, x, kernel, &w, pads);
    if (status == LEGO_OK)
        status = read_auto_pad(c, &mode);
    if (status != LEGO_OK)
        return status;
    bool ceil_mode = lego_node_int(c->io->node, "ceil_mode", 0) != 0;
    for (int i = 0; i < w.axes; i++) {
        int64_t in = x->dim[2 + i];
        int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        if (mode == PAD_NOTSET) {
            w.begin[i] = pads[i];
            w.end[i] = pads[w.axes + i];
        }
        bool same = mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER;
        if (!infer_dim_known(in)) {
            /* a symbolic size survives where the window keeps the size */
            bool keeps = w.stride[i] == 1 && (same || w.begin[i] + w.end[i] == extent - 1);
            w.out[i] = keeps ? in : LEGO_DIM_UNKNOWN;
            continue;
        }
        if (same) {
            w.out[i] = (in + w.stride[i] - 1) / w.stride[i];
            int64_t total = (w.out[i] - 1) * w.stride[i] + extent - in;
            split_pad(&w, i, in > 0 && total > 0 ? total : 0, mode == PAD_SAME_UPPER);
        } else {
            w.out[i] = window_out(&w, i, in, ceil_mode);
        }
        if (w.out[i] <= 0)
            return infer_fail(c, LEGO_E_SHAPE,
                              "the window of %lld does not fit axis %d of size %lld",
                              (long long)extent, 2 + i, (long long)in);
    }
    *ret_window = w;
    return LEGO_OK;
}

int infer_transposed_window(const struct infer_context *c, const struct lego_shape *x,
                            const int64_t *kernel, struct infer_window *ret_window)
{
    struct infer_window w;
    int64_t pads[2 * INFER_MAX_SPATIAL], extra[INFER_MAX_SPATIAL], wanted[INFER_MAX_SPATIAL];
    enum auto_pad mode = PAD_NOTSET;
    int status = read_window(c, x, kernel, &w, pads);
    if (status == LEGO_OK)
        status = read_ints(c, "output_padding", (size_t)w.axes, 0, 0, extra);
    bool has_shape = lego_node_attr(c->io->node, "output_shape") != NULL;
    if (status == LEGO_OK)
        status = read_ints(c, "output_shape", (size_t)w.axes, has_shape, 0, wanted);
    if (status == LEGO_OK)
        status = read_auto_pad(c, &mode);
    if (status != LEGO_OK)
        return status;
    bool same = mode == PAD_SAME_UPPER || mode == PAD_SAME_LOWER;
    for (int i = 0; i < w.axes; i++) {
        int64_t in = x->dim[2 + i];
        int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        if (!infer_dim_known(in) || in == 0) {
            w.out[i] = has_shape ? wanted[i] : in == 0 ? 0 : LEGO_DIM_UNKNOWN;
            continue;
        }
        int64_t full;
        if (!lego_mul_i64(in - 1, w.stride[i], &full) ||
            !lego_add_i64(full, extent + extra[i], &full))
            return infer_fail(c, LEGO_E_OVERFLOW, "the output of axis %d is too large", 2 + i);
        if (has_shape || same) {
            int64_t target = has_shape ? wanted[i] : in * w.stride[i];
            split_pad(&w, i, full > target ? full - target : 0, mode == PAD_SAME_UPPER);
            w.out[i] = target;
        } else {
            w.begin[i] = mode == PAD_NOTSET ? pads[i] : 0;
            w.end[i] = mode == PAD_NOTSET ? pads[w.axes + i] : 0;
            w.out[i] = full - w.begin[i] - w.end[i];
        }
        if (w.out[i] <= 0)
            return infer_fail(c, LEGO_E_SHAPE, "axis %d of the output would be empty", 2 + i);
    }
    *ret_window = w;
    return LEGO_OK;
}

/* [n, channels, window's output] */
static struct lego_shape window_shape(int64_t n, int64_t channels, const struct infer_window *w)
{
    struct lego_shape out = {.rank = 2 + w->axes, .dim = {n, channels}};
    memcpy(out.dim + 2, w->out, sizeof(int64_t) * (size_t)w->axes);
    return out;
}

/*
 * Shared by Conv, ConvInteger and QLinearConv: x and w at these inputs. Sets output 0 unless a
 * shape is open.
 */
static int conv_shape(const struct infer_context *c, uint32_t x_input, uint32_t w_input,
                      enum lego_dtype dtype)
{
    const struct lego_shape *x = infer_input(c, x_input), *weight = infer_input(c, w_input);
    infer_set_open(c, 0, dtype);
    if (x->rank == LEGO_RANK_UNKNOWN || !lego_shape_is_static(weight))
        return LEGO_OK;
    int64_t group, channels;
    int status = infer_int_in(c, "group", 1, 1, WINDOW_MAX, &group);
    if (status != LEGO_OK)
        return status;
    if (weight->rank != x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "weights of rank %d for an input of rank %d",
                          weight->rank, x->rank);
    struct infer_window w;
    status = infer_window(c, x, weight->dim + 2, &w);
    if (status != LEGO_OK)
        return status;
    int64_t merged;
    if (!lego_mul_i64(weight->dim[1], group, &channels) ||
        !infer_dim_merge(x->dim[1], channels, &merged))
        return infer_fail(c, LEGO_E_SHAPE,
                          "the input has %lld channels, the weights want %lld groups of %lld",
                          (long long)x->dim[1], (long long)group, (long long)weight->dim[1]);
    if (weight->dim[0] % group != 0)
        return infer_fail(c, LEGO_E_SHAPE, "%lld output channels in %lld groups",
                          (long long)weight->dim[0], (long long)group);
    struct lego_shape out = window_shape(x->dim[0], weight->dim[0], &w);
    infer_set(c, 0, dtype, &out);
    return LEGO_OK;
}

int infer_conv(const struct infer_context *c)
{
    int status = infer_want_same_type(c, 0, 1, 3);
    if (status == LEGO_OK)
        status = conv_shape(c, 0, 1, infer_dtype(c, 0));
    const struct lego_shape *out = &c->io->ret_shapes[0];
    if (status != LEGO_OK || out->rank == LEGO_RANK_UNKNOWN)
        return status;
    status = infer_want_vector(c, 2, out->dim[1]);
    if (status != LEGO_OK || !infer_has(c, 3) || infer_rank(c, 3) == LEGO_RANK_UNKNOWN)
        return status;
    /* the fused residual has the output's shape, no broadcasting */
    const struct lego_shape *residual = infer_input(c, 3);
    struct lego_shape merged = *out;
    bool fits = residual->rank == out->rank;
    for (int d = 0; fits && d < out->rank; d++)
        fits = infer_dim_merge(out->dim[d], residual->dim[d], &merged.dim[d]);
    if (!fits)
        return infer_fail(c, LEGO_E_SHAPE, "the residual does not have the output's shape");
    infer_set(c, 0, infer_dtype(c, 0), &merged);
    return LEGO_OK;
}

int infer_conv_transpose(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0), *weight = infer_input(c, 1);
    int64_t group, channels, merged;
    int status = infer_want_same_type(c, 0, 1, 2);
    if (status == LEGO_OK)
        status = infer_int_in(c, "group", 1, 1, WINDOW_MAX, &group);
    if (status != LEGO_OK)
        return status;
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (x->rank == LEGO_RANK_UNKNOWN || !lego_shape_is_static(weight))
        return LEGO_OK;
    struct infer_window w;
    if (weight->rank != x->rank)
        return infer_fail(c, LEGO_E_SHAPE, "weights of rank %d for an input of rank %d",
                          weight->rank, x->rank);
    status = infer_transposed_window(c, x, weight->dim + 2, &w);
    if (status != LEGO_OK)
        return status;
    if (!infer_dim_merge(x->dim[1], weight->dim[0], &merged) || weight->dim[0] % group != 0 ||
        !lego_mul_i64(weight->dim[1], group, &channels))
        return infer_fail(c, LEGO_E_SHAPE,
                          "the input has %lld channels, the weights want %lld in %lld groups",
                          (long long)x->dim[1], (long long)weight->dim[0], (long long)group);
    status = infer_want_vector(c, 2, channels);
    struct lego_shape out = window_shape(x->dim[0], channels, &w);
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return status;
}

int infer_conv_integer(const struct infer_context *c)
{
    int status = infer_want_types(c, 1, LEGO_TYPES_BYTE);
    if (status == LEGO_OK)
        status = infer_want_types(c, 0, LEGO_TYPES_BYTE);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 2, 2);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 1, 3, 3);
    return status == LEGO_OK ? conv_shape(c, 0, 1, LEGO_DTYPE_INT32) : status;
}

int infer_qlinear_conv(const struct infer_context *c)
{
    static const unsigned types[9] = {
        LEGO_TYPES_BYTE,     INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,
        LEGO_TYPES_BYTE,     INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,
        INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,     INFER_TYPE(INT32),
    };
    for (uint32_t i = 0; i < 9; i++) {
        int status = infer_want_types(c, i, types[i]);
        if (status != LEGO_OK)
            return status;
    }
    int status = conv_shape(c, 0, 3, infer_dtype(c, 7));
    const struct lego_shape *out = &c->io->ret_shapes[0];
    if (status == LEGO_OK && out->rank != LEGO_RANK_UNKNOWN)
        status = infer_want_vector(c, 8, out->dim[1]);
    return status;
}

int infer_pool(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    infer_set_open(c, 0, infer_dtype(c, 0));
    infer_set_open(c, 1, LEGO_DTYPE_INT64);
    if (!lego_node_attr(c->io->node, "kernel_shape"))
        return infer_fail(c, LEGO_E_INVALID, "kernel_shape is missing");
    if (c->io->node->op == LEGO_OP_MaxPool) {
        int status = infer_want_types(c, 0, LEGO_TYPES_REAL | LEGO_TYPES_BYTE);
        if (status != LEGO_OK)
            return status;
    }
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    struct infer_window w;
    int status = infer_window(c, x, NULL, &w);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = window_shape(x->dim[0], x->dim[1], &w);
    infer_set(c, 0, infer_dtype(c, 0), &out);
    infer_set(c, 1, LEGO_DTYPE_INT64, &out);
    return LEGO_OK;
}

int infer_global_pool(const struct infer_context *c)
{
    struct lego_shape out = *infer_input(c, 0);
    if (out.rank != LEGO_RANK_UNKNOWN && out.rank < 2)
        return infer_fail(c, LEGO_E_SHAPE, "the input has rank %d", out.rank);
    for (int d = 2; d < out.rank; d++) {
        if (out.dim[d] == 0)
            return infer_fail(c, LEGO_E_SHAPE, "axis %d is empty", d);
        out.dim[d] = 1;
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}
