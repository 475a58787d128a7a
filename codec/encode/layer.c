#include "codec/encode/layer.h"
#include "codec/base/arith.h"
#include "codec/encode/linear.h"

#include <string.h>

#define POSITIONS_AT_ONCE 256
#define TAPS_AT_ONCE      64
#define SCRATCH_STRIDE    (POSITIONS_AT_ONCE + 16) /* no power of 2: a cache holds all rows */

static const struct lego_shape *value_shape(const struct lego_graph *graph, int32_t value)
{
    return &graph->values[value].shape;
}

static int32_t node_input(const struct lego_node *node, uint32_t index)
{
    return index < node->input_count ? node->inputs[index] : -1;
}

/* Padding in front for auto_pad, or as given. */
static int32_t pad_before(const struct lego_node *node, int axis, int axes, int64_t in, int64_t out,
                          int64_t kernel, int64_t stride, int64_t dilation)
{
    const char *automatic = lego_node_string(node, "auto_pad", "NOTSET");
    size_t count;
    const int64_t *pads = lego_node_ints(node, "pads", &count);
    const int64_t needed = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;

    if (strcmp(automatic, "SAME_UPPER") == 0)
        return (int32_t)(needed > 0 ? needed / 2 : 0);
    if (strcmp(automatic, "SAME_LOWER") == 0)
        return (int32_t)(needed > 0 ? (needed + 1) / 2 : 0);
    if (strcmp(automatic, "VALID") == 0 || !pads || count != 2 * (size_t)axes)
        return 0;
    return (int32_t)pads[axis];
}

static int64_t axis_int(const struct lego_node *node, const char *name, int axis)
{
    size_t count;
    const int64_t *values = lego_node_ints(node, name, &count);

    return values && (size_t)axis < count ? values[axis] : 1;
}

/* Of a transposed convolution: what goes before the first output is said, not derived. */
static bool pads_are_given(const struct lego_node *node)
{
    size_t count;

    return !lego_node_ints(node, "output_shape", &count) &&
           strcmp(lego_node_string(node, "auto_pad", "NOTSET"), "NOTSET") == 0;
}

/* One spatial axis of a convolution. */
struct axis {
    uint32_t in, out, kernel, stride, dilation;
    int32_t pad;
};

#define MAX_AXES 3

static struct axis describe_axis(const struct lego_graph *graph, const struct lego_node *node,
                                 int axis, int axes)
{
    const struct lego_shape *w = &graph->tensors[graph->values[node->inputs[1]].tensor].shape;
    struct axis a = {.in = (uint32_t)value_shape(graph, node->inputs[0])->dim[2 + axis],
                     .out = (uint32_t)value_shape(graph, node->outputs[0])->dim[2 + axis],
                     .kernel = (uint32_t)w->dim[2 + axis],
                     .stride = (uint32_t)axis_int(node, "strides", axis),
                     .dilation = (uint32_t)axis_int(node, "dilations", axis)};

    a.pad = pad_before(node, axis, axes, a.in, a.out, a.kernel, a.stride, a.dilation);
    return a;
}

static bool describe_window(const struct lego_graph *graph, const struct lego_node *node,
                            const struct encode_weight *weight, struct layer *layer)
{
    const struct lego_shape *x = value_shape(graph, node->inputs[0]);
    const struct lego_shape *y = value_shape(graph, node->outputs[0]);
    const struct axis none = {1, 1, 1, 1, 1, 0};
    struct axis a[MAX_AXES] = {none, none, none};
    const int axes = x->rank - 2;

    if (axes < 1 || axes > MAX_AXES || x->dim[0] != 1 || y->rank != x->rank)
        return false;
    layer->window = true;
    layer->transposed = node->op == LEGO_OP_ConvTranspose;
    if (layer->transposed && !pads_are_given(node))
        return false;
    for (int i = 0; i < axes; i++)
        a[MAX_AXES - axes + i] = describe_axis(graph, node, i, axes);
    layer->in_d = a[0].in;
    layer->in_h = a[1].in;
    layer->in_w = a[2].in;
    layer->out_h = a[1].out;
    layer->out_w = a[2].out;
    layer->k_d = a[0].kernel;
    layer->k_h = a[1].kernel;
    layer->k_w = a[2].kernel;
    layer->stride_d = a[0].stride;
    layer->stride_h = a[1].stride;
    layer->stride_w = a[2].stride;
    layer->dilation_d = a[0].dilation;
    layer->dilation_h = a[1].dilation;
    layer->dilation_w = a[2].dilation;
    layer->pad_front = a[0].pad;
    layer->pad_top = a[1].pad;
    layer->pad_left = a[2].pad;
    layer->positions = a[0].out * a[1].out * a[2].out;
    layer->groups = weight->groups;
    layer->residual = node_input(node, 3);
    return true;
}

static bool describe_product(const struct lego_graph *graph, const struct lego_node *node,
                             struct layer *layer)
{
    size_t elems;

    if (graph->tensors[graph->values[node->inputs[1]].tensor].shape.rank != 2) /* a stack of them */
        return false;
    if (node->op == LEGO_OP_Gemm &&
        (lego_node_float(node, "alpha", 1) != 1 || lego_node_float(node, "beta", 1) != 1 ||
         lego_node_int(node, "transA", 0)))
        return false;
    if (lego_shape_elems(value_shape(graph, node->outputs[0]), &elems) != LEGO_OK)
        return false;
    layer->groups = 1;
    layer->positions = (uint32_t)(elems / layer->rows);
    layer->residual = -1;
    layer->pooled = -1;
    return layer->positions > 0;
}

bool layer_describe(const struct lego_graph *graph, uint32_t node_index,
                    const struct encode_weight *weight, uint32_t index, struct layer *ret_layer)
{
    const struct lego_node *node = &graph->nodes[node_index];
    struct layer layer = {.node = node_index,
                          .weight = index,
                          .rows = weight->rows,
                          .columns = weight->columns,
                          .taps = weight->taps,
                          .bias = node->op == LEGO_OP_MatMul ? -1 : node_input(node, 2),
                          .can_bias = node->op != LEGO_OP_MatMul};
    bool good = false;

    if (!lego_shape_is_static(value_shape(graph, node->inputs[0])) ||
        !lego_shape_is_static(value_shape(graph, node->outputs[0])))
        return false;
    if (node->op == LEGO_OP_Conv || node->op == LEGO_OP_ConvTranspose)
        good = describe_window(graph, node, weight, &layer);
    else if (node->op == LEGO_OP_Gemm || node->op == LEGO_OP_MatMul)
        good = describe_product(graph, node, &layer);
    if (!good || layer.positions == 0)
        return false;
    if (layer.bias >= 0) { /* one constant for each row */
        const struct lego_value *bias = &graph->values[layer.bias];
        size_t elems;

        if (bias->tensor < 0 || bias->dtype != LEGO_DTYPE_FLOAT32 ||
            lego_shape_elems(&bias->shape, &elems) != LEGO_OK || elems != layer.rows)
            return false;
    }
    layer.group_rows = layer.rows / layer.groups;
    *ret_layer = layer;
    return true;
}

/*
 * The input's line or column that tap `k` of output line or column `at` sees; what lies outside, or
 * between those of a transposed convolution, is -1.
 */
static int64_t input_at(bool transposed, uint32_t at, uint32_t k, uint32_t stride,
                        uint32_t dilation, int32_t pad, uint32_t size)
{
    int64_t in = transposed ? (int64_t)at + pad - (int64_t)k * dilation
                            : (int64_t)at * stride + (int64_t)k * dilation - pad;

    if (transposed && in % stride != 0)
        return -1;
    if (transposed)
        in /= stride;
    return in >= 0 && in < size ? in : -1;
}

/*
 * Where in a plane the input line begins that a kernel's line number k_line (of all its planes) of
 * output line `line` (of all planes) sees; -1: outside.
 */
static int64_t input_line(const struct layer *l, uint32_t line, uint32_t k_line)
{
    const int64_t z = input_at(l->transposed, line / l->out_h, k_line / l->k_h, l->stride_d,
                               l->dilation_d, l->pad_front, l->in_d);
    const int64_t y = input_at(l->transposed, line % l->out_h, k_line % l->k_h, l->stride_h,
                               l->dilation_h, l->pad_top, l->in_h);

    return z < 0 || y < 0 ? -1 : (z * l->in_h + y) * l->in_w;
}

static size_t plane_elems(const struct layer *l)
{
    return (size_t)l->in_d * l->in_h * l->in_w;
}

static uint32_t layer_taps(const struct layer *l)
{
    return l->window ? l->k_d * l->k_h * l->k_w : 1;
}

static int64_t input_x(const struct layer *l, uint32_t at, uint32_t k)
{
    return input_at(l->transposed, at, k, l->stride_w, l->dilation_w, l->pad_left, l->in_w);
}

/* Every stride_w-th element of an input line from `x` on; 0 outside. */
static void copy_line(const struct layer *layer, const float *line, int64_t x, uint32_t count,
                      float *to)
{
    const int64_t stride = layer->stride_w;
    uint32_t i = 0;

    for (; i < count && x < 0; i++, x += stride)
        to[i] = 0;
    const int64_t left = x < layer->in_w ? (layer->in_w - x + stride - 1) / stride : 0;
    const uint32_t end = left < count - i ? i + (uint32_t)left : count;
    for (; i < end; i++, x += stride)
        to[i] = line[x];
    memset(to + end, 0, (count - end) * sizeof(*to));
}

/* Copies and zeros of a few floats: a call would cost more than the work. */
static inline void copy_few(float *to, const float *from, size_t count)
{
    size_t i = 0;

    for (; i + 8 <= count; i += 8)
        memcpy(to + i, from + i, 8 * sizeof(*to));
    if (i < count && count >= 8) {
        memcpy(to + count - 8, from + count - 8, 8 * sizeof(*to));
        return;
    }
    for (; i < count; i++)
        to[i] = from[i];
}

static inline void zero_few(float *to, size_t count)
{
    if (count > 0)
        to[0] = 0;
    if (count > 1)
        memset(to + 1, 0, (count - 1) * sizeof(*to));
}

/* One run of an output line where the stride is 1: in_x is the input's column for its start. */
static inline void copy_run(const struct layer *layer, const float *line, int64_t in_x,
                            uint32_t count, float *to)
{
    const int64_t left = in_x < 0 ? -in_x : 0, end = (int64_t)layer->in_w - in_x;
    const uint32_t before = left < count ? (uint32_t)left : count;
    const uint32_t until = end < before ? before : end < count ? (uint32_t)end : count;

    zero_few(to, before);
    if (until > before)
        copy_few(to + before, line + (in_x + before), until - before);
    zero_few(to + until, count - until);
}

/* One run of an output line of a transposed convolution, from column x on. */
static void copy_between(const struct layer *layer, const float *line, uint32_t k_x, uint32_t x,
                         uint32_t count, float *to)
{
    for (uint32_t i = 0; i < count; i++) {
        const int64_t in_x = input_x(layer, x + i, k_x);

        to[i] = in_x < 0 ? 0 : line[in_x];
    }
}

/* Whether a tap sees a plane as it is, but moved: lines that come out are as long as those that go
 * in, and follow each other as those do. */
static bool window_shifts(const struct layer *l)
{
    return !l->transposed && l->stride_w == 1 && l->stride_h == 1 && l->out_w == l->in_w &&
           l->in_d == 1 && l->k_d == 1 && l->pad_front == 0 && l->positions == l->out_h * l->out_w;
}

/* Columns of `count` neighbouring positions where taps only move: one copy, and zeros where the tap
 * leaves the plane. */
static void window_shifted(const struct layer *l, const float *plane, uint32_t tap, uint32_t first,
                           uint32_t count, float *to)
{
    const int64_t right = (int64_t)(tap % l->k_w) * l->dilation_w - l->pad_left;
    const int64_t down = (int64_t)(tap / l->k_w) * l->dilation_h - l->pad_top;
    const int64_t from = first + down * l->in_w + right, width = l->in_w;
    const int64_t begin = from >= 0 ? 0 : -from < count ? -from : count;
    const int64_t left = (int64_t)plane_elems(l) - from;
    const int64_t end = left < begin ? begin : left < count ? left : count;

    memset(to, 0, (size_t)begin * sizeof(*to));
    if (end > begin)
        memcpy(to + begin, plane + (from + begin), (size_t)(end - begin) * sizeof(*to));
    memset(to + end, 0, (size_t)(count - end) * sizeof(*to));
    /* Beside a line's ends lie those of its neighbours. */
    const int64_t last = right < 0 ? (-right < width ? -right : width) : width;
    for (int64_t x = right < 0 ? 0 : right < width ? width - right : 0; x < last; x++)
        for (int64_t p = (x + width - first % width) % width; p < count; p += width)
            to[p] = 0;
}

/* Columns of `count` neighbouring positions: whole runs of an output line at a time. */
static void window_run(const struct layer *layer, const float *plane, uint32_t tap, uint32_t first,
                       uint32_t count, float *to)
{
    const uint32_t k_line = tap / layer->k_w, k_x = tap % layer->k_w;
    const int64_t right = (int64_t)k_x * layer->dilation_w - layer->pad_left;
    uint32_t line = first / layer->out_w, x = first % layer->out_w;

    for (uint32_t done = 0; done < count; line++, x = 0) {
        const uint32_t run = (uint32_t)lego_min_size(layer->out_w - x, count - done);
        const int64_t start = input_line(layer, line, k_line);
        const int64_t in_x = (int64_t)x * layer->stride_w + right;
        const float *from = plane + (start < 0 ? 0 : start);

        if (start < 0)
            memset(to + done, 0, run * sizeof(*to));
        else if (layer->transposed)
            copy_between(layer, from, k_x, x, run, to + done);
        else if (layer->stride_w == 1)
            copy_run(layer, from, in_x, run, to + done);
        else
            copy_line(layer, from, in_x, run, to + done);
        done += run;
    }
}

void layer_columns(const struct layer *layer, const float *input, uint32_t group, uint32_t first,
                   uint32_t count, float *out, size_t stride)
{
    const uint32_t taps = layer_taps(layer), channels = layer->columns / taps;
    const bool shifts = layer->window && window_shifts(layer);

    for (uint32_t column = 0; column < layer->columns; column++) {
        const float *plane = input + (group * channels + column / taps) * plane_elems(layer);
        float *to = out + column * stride;

        if (shifts)
            window_shifted(layer, plane, column % taps, first, count, to);
        else if (layer->window)
            window_run(layer, plane, column % taps, first, count, to);
        for (uint32_t i = 0; !layer->window && i < count; i++)
            to[i] = input[(size_t)(first + i) * layer->columns + column];
    }
}

/* All columns at one position of a convolution; 0 in the padding. */
static void window_at(const struct layer *layer, const float *planes, uint32_t position, float *to)
{
    const uint32_t line = position / layer->out_w, out_x = position % layer->out_w;
    const uint32_t taps = layer_taps(layer), channels = layer->columns / taps;
    const size_t elems = plane_elems(layer);
    int64_t at[TAPS_AT_ONCE]; /* in any plane; -1: outside */

    for (uint32_t first = 0; first < taps; first += TAPS_AT_ONCE) {
        const uint32_t count = (uint32_t)lego_min_size(TAPS_AT_ONCE, taps - first);
        const float *plane = planes;

        for (uint32_t t = 0; t < count; t++) {
            const int64_t start = input_line(layer, line, (first + t) / layer->k_w);
            const int64_t x = input_x(layer, out_x, (first + t) % layer->k_w);

            at[t] = start >= 0 && x >= 0 ? start + x : -1;
        }
        for (uint32_t c = 0; c < channels; c++, plane += elems)
            for (uint32_t t = 0; t < count; t++)
                to[c * taps + first + t] = at[t] < 0 ? 0 : plane[at[t]];
    }
}

void layer_samples(const struct layer *layer, const float *input, uint32_t group,
                   const uint32_t *places, uint32_t count, float *out)
{
    const size_t columns = layer->columns;

    for (uint32_t i = 0; i < count; i++, out += columns) {
        if (layer->window) {
            const size_t channels = columns / layer_taps(layer);

            window_at(layer, input + group * channels * plane_elems(layer), places[i], out);
        } else {
            memcpy(out, input + places[i] * columns, columns * sizeof(*out));
        }
    }
}

size_t layer_scratch(const struct layer *layer)
{
    return (size_t)SCRATCH_STRIDE * (layer->columns + (layer->window ? 0 : layer->rows));
}

/* z is [row][position] for a convolution; a product's output has its rows last. */
static void store_transposed(const struct layer *layer, const float *part, uint32_t first,
                             uint32_t count, float *z)
{
    for (uint32_t p = 0; p < count; p++) {
        for (uint32_t row = 0; row < layer->rows; row++)
            z[(size_t)(first + p) * layer->rows + row] = part[(size_t)row * SCRATCH_STRIDE + p];
    }
}

void layer_forward(const struct layer *layer, const struct kern_table *kernels,
                   const float *weights_t, const float *input, float *scratch, float *z)
{
    const size_t depth = layer->columns, rows = layer->group_rows;
    float *part = scratch + (size_t)SCRATCH_STRIDE * depth;

    for (uint32_t first = 0; first < layer->positions; first += POSITIONS_AT_ONCE) {
        const uint32_t count = (uint32_t)lego_min_size(POSITIONS_AT_ONCE, layer->positions - first);

        for (uint32_t group = 0; group < layer->groups; group++) {
            struct kern_gemm_exact_f32 gemm = {.m = rows,
                                               .n = count,
                                               .depth = depth,
                                               .a = weights_t + group * depth * rows,
                                               .a_stride = rows,
                                               .b = scratch,
                                               .b_stride = SCRATCH_STRIDE,
                                               .c = part,
                                               .c_stride = SCRATCH_STRIDE};

            layer_columns(layer, input, group, first, count, scratch, SCRATCH_STRIDE);
            if (layer->window) {
                gemm.c = z + (size_t)group * rows * layer->positions + first;
                gemm.c_stride = layer->positions;
            }
            linear_gemm(kernels, &gemm);
        }
        if (!layer->window)
            store_transposed(layer, part, first, count, z);
    }
}

/* One run of an output line, from column x on, back to an input line. */
static void add_line(const struct layer *layer, const float *from, uint32_t k_x, uint32_t x,
                     uint32_t count, float *line)
{
    const int64_t stride = layer->stride_w;
    const int64_t in_x = (int64_t)x * stride + (int64_t)k_x * layer->dilation_w - layer->pad_left;
    const int64_t before = in_x < 0 ? (-in_x + stride - 1) / stride : 0;
    const int64_t inside = in_x < layer->in_w ? (layer->in_w - in_x + stride - 1) / stride : 0;
    const int64_t end = inside < (int64_t)count ? inside : (int64_t)count;

    for (int64_t i = before; i < end; i++)
        line[in_x + i * stride] += from[i];
}

/* The same of a transposed convolution. */
static void add_between(const struct layer *layer, const float *from, uint32_t k_x, uint32_t x,
                        uint32_t count, float *line)
{
    for (uint32_t i = 0; i < count; i++) {
        const int64_t in_x = input_x(layer, x + i, k_x);

        if (in_x >= 0)
            line[in_x] += from[i];
    }
}

/* Adds one column's values to where layer_columns takes them from. */
static void scatter_run(const struct layer *layer, float *plane, uint32_t tap, uint32_t first,
                        uint32_t count, const float *from)
{
    const uint32_t k_line = tap / layer->k_w, k_x = tap % layer->k_w;
    uint32_t line = first / layer->out_w, x = first % layer->out_w;

    for (uint32_t done = 0; done < count; line++, x = 0) {
        const uint32_t run = (uint32_t)lego_min_size(layer->out_w - x, count - done);
        const int64_t start = input_line(layer, line, k_line);

        if (start >= 0 && layer->transposed)
            add_between(layer, from + done, k_x, x, run, plane + start);
        else if (start >= 0)
            add_line(layer, from + done, k_x, x, run, plane + start);
        done += run;
    }
}

size_t layer_back_scratch(const struct layer *layer)
{
    return (size_t)SCRATCH_STRIDE * (layer->columns + (layer->window ? 0 : layer->rows));
}

/* What W^T gives at `count` positions, [column][SCRATCH_STRIDE], goes back to the input. */
static void scatter(const struct layer *layer, uint32_t group, uint32_t first, uint32_t count,
                    const float *from, float *to)
{
    const uint32_t taps = layer_taps(layer), channels = layer->columns / taps;

    for (uint32_t column = 0; column < layer->columns; column++, from += SCRATCH_STRIDE) {
        if (layer->window) {
            scatter_run(layer, to + (group * channels + column / taps) * plane_elems(layer),
                        column % taps, first, count, from);
            continue;
        }
        for (uint32_t i = 0; i < count; i++)
            to[(size_t)(first + i) * layer->columns + column] += from[i];
    }
}

void layer_backward(const struct layer *layer, const struct kern_table *kernels,
                    const float *weights, const float *gradient, float *scratch, float *to)
{
    const size_t depth = layer->group_rows, columns = layer->columns;
    float *turned = scratch + (size_t)SCRATCH_STRIDE * columns;

    for (uint32_t first = 0; first < layer->positions; first += POSITIONS_AT_ONCE) {
        const uint32_t count = (uint32_t)lego_min_size(POSITIONS_AT_ONCE, layer->positions - first);

        for (uint32_t p = 0; !layer->window && p < count; p++)
            for (uint32_t row = 0; row < layer->rows; row++)
                turned[(size_t)row * SCRATCH_STRIDE + p] =
                    gradient[(size_t)(first + p) * layer->rows + row];
        for (uint32_t group = 0; group < layer->groups; group++) {
            const float *b =
                layer->window ? gradient + group * depth * layer->positions + first : turned;
            const struct kern_gemm_exact_f32 gemm = {.m = columns,
                                                     .n = count,
                                                     .depth = depth,
                                                     .a = weights + group * depth * columns,
                                                     .a_stride = columns,
                                                     .b = b,
                                                     .b_stride = layer->window ? layer->positions
                                                                               : SCRATCH_STRIDE,
                                                     .c = scratch,
                                                     .c_stride = SCRATCH_STRIDE};

            linear_gemm(kernels, &gemm);
            scatter(layer, group, first, count, scratch, to);
        }
    }
}
