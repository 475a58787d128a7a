/*
 * Resize along one axis or two that lie side by side in memory, each output from one input or
 * between two of an axis: nearest and linear. Line by line of the output: first the two lines that
 * it lies between become one, then the pixels of that.
 */
#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <string.h>

struct resize_detail {
    size_t planes, in_lines, in_pixels, out_lines, out_pixels;
    size_t pixel_elems;
    const struct lego_resize_tap *down, *across; /* [out_lines], [out_pixels]; NULL: all the same */
    bool nearest;                                /* no output lies between two inputs */
};

struct resize_call {
    const struct plan_run *run;
    const struct resize_detail *detail;
    const float *x;
    float *out;
    size_t chunks;
};

static bool is_copy(const struct lego_resize_tap *tap)
{
    return tap->index[0] == tap->index[1];
}

static void blend(size_t n, const struct lego_resize_tap *tap, const float *a, const float *b,
                  float *restrict out)
{
    float first = tap->weight[0], second = tap->weight[1];

    for (size_t i = 0; i < n; i++)
        out[i] = a[i] * first + b[i] * second;
}

/* The outputs of a line that lies between no two others. */
static void resize_pixels(const struct resize_detail *detail, const float *line, float *out)
{
    const struct lego_resize_tap *taps = detail->across;
    size_t n = detail->pixel_elems;

    if (!taps) {
        memcpy(out, line, detail->out_pixels * n * sizeof(*out));
    } else if (n == 1 && detail->nearest) {
        for (size_t i = 0; i < detail->out_pixels; i++)
            out[i] = line[taps[i].index[0]];
    } else if (n == 1) {
        for (size_t i = 0; i < detail->out_pixels; i++)
            out[i] = line[taps[i].index[0]] * taps[i].weight[0] +
                     line[taps[i].index[1]] * taps[i].weight[1];
    } else {
        for (size_t i = 0; i < detail->out_pixels; i++, out += n) {
            const float *first = line + (size_t)taps[i].index[0] * n;
            if (is_copy(&taps[i]))
                memcpy(out, first, n * sizeof(*out));
            else
                blend(n, &taps[i], first, line + (size_t)taps[i].index[1] * n, out);
        }
    }
}

static void resize_task(void *context, uint32_t slot, size_t item)
{
    const struct resize_call *call = context;
    const struct resize_detail *detail = call->detail;
    size_t lines = detail->planes * detail->out_lines, line = lines * item / call->chunks;
    size_t end = lines * (item + 1) / call->chunks;
    size_t in_elems = detail->in_pixels * detail->pixel_elems;
    size_t out_elems = detail->out_pixels * detail->pixel_elems;
    float *between = run_slot(call->run, slot), *out = call->out + line * out_elems;
    const float *last = NULL;

    for (; line < end; line++, out += out_elems) {
        size_t at = line % detail->out_lines;
        const float *plane = call->x + line / detail->out_lines * detail->in_lines * in_elems;
        const struct lego_resize_tap same = {{(int64_t)at, (int64_t)at}, {0.5f, 0.5f}};
        const struct lego_resize_tap *tap = detail->down ? &detail->down[at] : &same;
        const float *first = plane + (size_t)tap->index[0] * in_elems;
        if (!is_copy(tap)) {
            blend(in_elems, tap, first, plane + (size_t)tap->index[1] * in_elems, between);
            first = between;
        } else if (first == last) { /* what the line before came from */
            memcpy(out, out - out_elems, out_elems * sizeof(*out));
            continue;
        }
        resize_pixels(detail, first, out);
        last = first == between ? NULL : first;
    }
}

static int resize_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct resize_detail *detail = step->detail;
    size_t lines = detail->planes * detail->out_lines;
    uint32_t slots = workers_worth(run->workers, lines, step->work);
    struct resize_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .out = run_floats(run, step->outputs[0]),
        .chunks = slots > 1 ? lego_min_size(lines, (size_t)3 * slots) : 1,
    };

    (void)diag;
    workers_run(run->workers, slots, call.chunks, resize_task, &call);
    return LEGO_OK;
}

/* The taps of an axis, NULL where it stays as it is. */
static int resize_taps(struct plan_builder *b, const struct lego_infer_io *io, int axis,
                       const struct lego_resize_tap **ret_taps)
{
    int64_t in = io->shapes[0].dim[axis], out, i = 0;
    struct lego_resize_tap *taps;

    out = b->graph->values[io->node->outputs[0]].shape.dim[axis];
    taps = lego_arena_calloc(b->plan->memory, (size_t)out, sizeof(*taps));
    if (!taps)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    if (!lego_resize_taps(io, axis, out, taps))
        return PLAN_DECLINED;
    while (in == out && i < out && is_copy(&taps[i]) && taps[i].index[0] == i)
        i++;
    *ret_taps = i == out ? NULL : taps;
    return LEGO_OK;
}

/* The taps of all axes, from what is known of the node: shapes and constants. */
static int resize_axes(struct plan_builder *b, const struct lego_node *node,
                       const struct lego_resize_tap **ret_taps)
{
    enum lego_dtype dtypes[4];
    struct lego_shape shapes[4];
    struct lego_array arrays[4];
    const struct lego_array *constants[4] = {NULL};
    const struct lego_infer_io io = {.graph = b->graph,
                                     .node = node,
                                     .dtypes = dtypes,
                                     .shapes = shapes,
                                     .constants = constants};
    int status = LEGO_OK;

    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct lego_tensor *tensor = lego_node_constant(b->graph, node, i);
        dtypes[i] = LEGO_DTYPE_UNKNOWN;
        shapes[i] = (struct lego_shape){.rank = LEGO_RANK_UNKNOWN};
        if (node->inputs[i] < 0)
            continue;
        dtypes[i] = b->graph->values[node->inputs[i]].dtype;
        shapes[i] = b->graph->values[node->inputs[i]].shape;
        if (i > 0 && (!tensor || tensor->coded))
            return PLAN_DECLINED;
        if (i > 0) {
            arrays[i] = (struct lego_array){dtypes[i], shapes[i], (void *)(uintptr_t)tensor->data};
            constants[i] = &arrays[i];
        }
    }
    for (int axis = 0; !status && axis < shapes[0].rank; axis++)
        status = resize_taps(b, &io, axis, &ret_taps[axis]);
    return status;
}

/* Fills in what follows from the order in which the dimensions lie; false where those that change
 * are not one or two side by side. */
static bool resize_order(const struct plan_value *from, const struct plan_value *to,
                         const struct lego_resize_tap *const *taps, struct resize_detail *detail)
{
    int64_t in[LEGO_MAX_RANK], out[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK], rank = from->shape.rank, first = rank - 1, last = first;

    plan_physical(from, in, order);
    plan_physical(to, out, order);
    for (int i = rank - 1; i >= 0; i--)
        first = taps[order[i]] ? i : first;
    for (int i = first; i < rank; i++)
        last = taps[order[i]] || i == first ? i : last;
    if (last > first + 1)
        return false;
    *detail = (struct resize_detail){.planes = 1, .in_lines = 1, .out_lines = 1, .pixel_elems = 1};
    if (last > first) {
        detail->in_lines = (size_t)in[first];
        detail->out_lines = (size_t)out[first];
        detail->down = taps[order[first]];
    }
    detail->in_pixels = (size_t)in[last];
    detail->out_pixels = (size_t)out[last];
    detail->across = taps[order[last]];
    for (int i = 0; i < rank; i++) {
        detail->planes *= i < first ? (size_t)in[i] : 1;
        detail->pixel_elems *= i > last ? (size_t)in[i] : 1;
    }
    detail->nearest = true;
    for (size_t i = 0; detail->across && i < detail->out_pixels; i++)
        detail->nearest = detail->nearest && is_copy(&detail->across[i]);
    return true;
}

int plan_resize(struct plan_builder *b, const struct lego_node *node)
{
    struct plan_value from = {.shape = b->graph->values[node->inputs[0]].shape,
                              .layout = plan_native(b, node->inputs[0])};
    struct plan_value to = {.shape = b->graph->values[node->outputs[0]].shape,
                            .layout = from.layout};
    const struct lego_resize_tap *taps[LEGO_MAX_RANK];
    struct resize_detail detail;
    struct plan_step *step;
    int32_t x, out;
    int status;

    if (plan_is_constant(b, node->inputs[0]) || from.shape.rank < 1)
        return PLAN_DECLINED;
    status = resize_axes(b, node, taps);
    if (status)
        return status;
    if (!resize_order(&from, &to, taps, &detail)) {
        from.layout = to.layout = PLAN_PLAIN;
        if (!resize_order(&from, &to, taps, &detail))
            return PLAN_DECLINED;
    }
    x = plan_operand(b, node->inputs[0], from.layout);
    out = x < 0 ? x : plan_output(b, node->outputs[0], to.layout);
    if (out < 0)
        return out;
    plan_need_slot(b, detail.in_pixels * detail.pixel_elems * sizeof(float));
    step = plan_step_add(b, node, resize_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct resize_detail *)step->detail = detail;
    return LEGO_OK;
}
