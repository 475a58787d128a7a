#include "agent/runtime/window.h"

#include <string.h>

/* One axis of the window. */
struct axis {
    int64_t in, out, kernel, stride, dilation, before, after;
};

static int64_t attribute_at(const struct lego_node *node, const char *name, size_t index,
                            int64_t otherwise)
{
    size_t count;
    const int64_t *values = lego_node_ints(node, name, &count);

    return index < count ? values[index] : otherwise;
}

static void axis_pads(struct axis *axis, const struct lego_node *node, size_t index, size_t axes)
{
    const char *automatic = lego_node_string(node, "auto_pad", "NOTSET");
    int64_t total =
        (axis->out - 1) * axis->stride + (axis->kernel - 1) * axis->dilation + 1 - axis->in;

    total = total > 0 ? total : 0;
    if (!strcmp(automatic, "SAME_UPPER") || !strcmp(automatic, "SAME_LOWER")) {
        axis->before = !strcmp(automatic, "SAME_UPPER") ? total / 2 : total - total / 2;
        axis->after = total - axis->before;
    } else if (!strcmp(automatic, "NOTSET") || !*automatic) {
        axis->before = attribute_at(node, "pads", index, 0);
        axis->after = attribute_at(node, "pads", axes + index, 0);
    }
}

/* The pads of an axis of a transposed convolution, as inference has made its size. */
static void axis_transposed_pads(struct axis *axis, const struct lego_node *node, size_t index,
                                 size_t axes)
{
    const char *automatic = lego_node_string(node, "auto_pad", "NOTSET");
    bool upper = !strcmp(automatic, "SAME_UPPER"), lower = !strcmp(automatic, "SAME_LOWER");
    int64_t total = (axis->in - 1) * axis->stride + (axis->kernel - 1) * axis->dilation + 1 +
                    attribute_at(node, "output_padding", index, 0) - axis->out;

    total = total > 0 ? total : 0;
    if (upper || lower || lego_node_attr(node, "output_shape")) {
        axis->before = upper ? total / 2 : total - total / 2;
        axis->after = total - axis->before;
    } else if (!strcmp(automatic, "NOTSET")) {
        axis->before = attribute_at(node, "pads", index, 0);
        axis->after = attribute_at(node, "pads", axes + index, 0);
    }
}

static bool axis_fits(const struct axis *axis)
{
    const int64_t limit = INT32_MAX / 4;

    return axis->in > 0 && axis->in < limit && axis->out > 0 && axis->out < limit &&
           axis->kernel > 0 && axis->kernel < limit && axis->stride > 0 && axis->stride < limit &&
           axis->dilation > 0 && axis->dilation < limit && axis->before >= 0 &&
           axis->before < limit && axis->after >= 0 && axis->after < limit &&
           axis->kernel * axis->dilation < limit && axis->out * axis->stride < limit;
}

static bool window_read(const struct lego_node *node, const struct lego_shape *input,
                        const struct lego_shape *output, const struct lego_shape *weights,
                        bool transposed, struct window *ret_window)
{
    /* Axis 0 is the height, 1 the width; a missing height is 1. */
    struct axis axes[2] = {{.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1}};
    size_t count = (size_t)(input->rank - 2), skip;

    if (input->rank < 3 || input->rank > 4 || output->rank != input->rank ||
        input->dim[0] > INT32_MAX || input->dim[1] > INT32_MAX)
        return false;
    skip = 2 - count;
    for (size_t i = 0; i < count; i++) {
        struct axis *axis = &axes[skip + i];
        int64_t kernel = weights ? weights->dim[2 + i] : 1;
        *axis = (struct axis){
            .in = input->dim[2 + i],
            .out = output->dim[2 + i],
            .kernel = attribute_at(node, "kernel_shape", i, kernel),
            .stride = attribute_at(node, "strides", i, 1),
            .dilation = attribute_at(node, "dilations", i, 1),
        };
        if (transposed)
            axis_transposed_pads(axis, node, i, count);
        else
            axis_pads(axis, node, i, count);
        if (!axis_fits(axis))
            return false;
    }
    *ret_window = (struct window){
        .batch = (uint32_t)input->dim[0],
        .channels = (uint32_t)input->dim[1],
        .in_height = (uint32_t)axes[0].in,
        .in_width = (uint32_t)axes[1].in,
        .out_height = (uint32_t)axes[0].out,
        .out_width = (uint32_t)axes[1].out,
        .kernel_height = (uint32_t)axes[0].kernel,
        .kernel_width = (uint32_t)axes[1].kernel,
        .stride_y = (uint32_t)axes[0].stride,
        .stride_x = (uint32_t)axes[1].stride,
        .dilation_y = (uint32_t)axes[0].dilation,
        .dilation_x = (uint32_t)axes[1].dilation,
        .pad_top = (int32_t)axes[0].before,
        .pad_left = (int32_t)axes[1].before,
        .pad_bottom = (int32_t)axes[0].after,
        .pad_right = (int32_t)axes[1].after,
    };
    return true;
}

bool window_make(const struct lego_node *node, const struct lego_shape *input,
                 const struct lego_shape *output, const struct lego_shape *weights,
                 struct window *ret_window)
{
    return window_read(node, input, output, weights, false, ret_window);
}

bool window_make_transposed(const struct lego_node *node, const struct lego_shape *input,
                            const struct lego_shape *output, const struct lego_shape *weights,
                            struct window *ret_window)
{
    return window_read(node, input, output, weights, true, ret_window);
}

/* One axis of a phase: of the taps k with k * dilation % stride == phase, which lie `step` apart.
 */
struct phase_axis {
    uint32_t taps, last, step; /* last: the greatest k */
};

static struct phase_axis phase_axis(uint32_t kernel, uint32_t stride, uint32_t dilation,
                                    uint32_t phase)
{
    struct phase_axis axis = {.step = 1};

    while ((uint64_t)axis.step * dilation % stride)
        axis.step++;
    for (uint32_t k = 0; k < kernel; k++)
        if ((uint64_t)k * dilation % stride == phase) {
            axis.taps++;
            axis.last = k;
        }
    return axis;
}

/* The first output of an axis in that phase, and how many follow at `stride`. */
static uint32_t phase_outputs(uint32_t out, uint32_t stride, int32_t pad, uint32_t phase,
                              uint32_t *ret_first)
{
    uint32_t first = (phase + stride - (uint32_t)pad % stride) % stride;

    *ret_first = first;
    return first < out ? (out - first - 1) / stride + 1 : 0;
}

/* How far before the first input the phase's window begins. */
static int32_t phase_pad(const struct phase_axis *axis, uint32_t first, int32_t pad,
                         uint32_t stride, uint32_t dilation)
{
    return ((int32_t)(axis->last * dilation) - (int32_t)first - pad) / (int32_t)stride;
}

static struct window_phase window_phase(const struct window *w, const struct phase_axis *y,
                                        uint32_t phase_y, const struct phase_axis *x,
                                        uint32_t phase_x)
{
    struct window_phase phase = {.window = *w};
    struct window *window = &phase.window;

    window->out_height =
        phase_outputs(w->out_height, w->stride_y, w->pad_top, phase_y, &phase.first_y);
    window->out_width =
        phase_outputs(w->out_width, w->stride_x, w->pad_left, phase_x, &phase.first_x);
    window->kernel_height = y->taps;
    window->kernel_width = x->taps;
    window->pad_top = phase_pad(y, phase.first_y, w->pad_top, w->stride_y, w->dilation_y);
    window->pad_left = phase_pad(x, phase.first_x, w->pad_left, w->stride_x, w->dilation_x);
    window->dilation_y = (uint32_t)((uint64_t)y->step * w->dilation_y / w->stride_y);
    window->dilation_x = (uint32_t)((uint64_t)x->step * w->dilation_x / w->stride_x);
    window->stride_y = window->stride_x = 1;
    window->pad_bottom = window->pad_right = 0;
    if (!y->taps || !x->taps) { /* no tap reaches it: one that sees padding alone stands in */
        window->kernel_height = window->kernel_width = 1;
        window->pad_top = (int32_t)window->out_height;
    }
    return phase;
}

void window_phases(const struct window *w, struct window_phase *ret_phases)
{
    uint32_t tap = 0;

    for (uint32_t i = 0; i < w->stride_y; i++) {
        struct phase_axis y = phase_axis(w->kernel_height, w->stride_y, w->dilation_y, i);
        for (uint32_t j = 0; j < w->stride_x; j++) {
            struct phase_axis x = phase_axis(w->kernel_width, w->stride_x, w->dilation_x, j);
            ret_phases[i * w->stride_x + j] = window_phase(w, &y, i, &x, j);
            ret_phases[i * w->stride_x + j].first_tap = y.taps && x.taps ? tap : 0;
            tap += y.taps * x.taps;
        }
    }
}

/* The window's first tap is the last one of the kernel. */
static void phase_taps(const struct window *w, const struct phase_axis *y,
                       const struct phase_axis *x, uint32_t first, bool down, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < y->taps; i++)
        for (uint32_t j = 0; j < x->taps; j++) {
            uint32_t ky = y->last - i * y->step, kx = x->last - j * x->step;
            ret_at[ky * w->kernel_width + kx] = first + (down ? j * y->taps + i : i * x->taps + j);
        }
}

void window_phase_taps(const struct window *w, bool down, uint32_t *ret_at)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < w->stride_y; i++) {
        struct phase_axis y = phase_axis(w->kernel_height, w->stride_y, w->dilation_y, i);
        for (uint32_t j = 0; j < w->stride_x; j++) {
            struct phase_axis x = phase_axis(w->kernel_width, w->stride_x, w->dilation_x, j);
            phase_taps(w, &y, &x, first, down, ret_at);
            first += y.taps * x.taps;
        }
    }
}

size_t window_pixels(const struct window *w)
{
    return (size_t)w->batch * w->out_height * w->out_width;
}

bool window_is_pointwise(const struct window *w)
{
    return w->kernel_height == 1 && w->kernel_width == 1 && w->stride_y == 1 && w->stride_x == 1 &&
           !w->pad_top && !w->pad_left && w->out_height == w->in_height &&
           w->out_width == w->in_width;
}

/* A run of `count` neighbouring output pixels of one row. */
struct run {
    uint32_t image, y, x, count;
};

static struct run window_run(const struct window *w, size_t pixel, uint32_t most)
{
    size_t row = pixel / w->out_width;
    struct run run = {
        .image = (uint32_t)(row / w->out_height),
        .y = (uint32_t)(row % w->out_height),
        .x = (uint32_t)(pixel % w->out_width),
    };

    run.count = w->out_width - run.x < most ? w->out_width - run.x : most;
    return run;
}

/* The input row under kernel row `ky`, NULL outside. */
static const float *window_input_row(const struct window *w, const float *x, uint32_t image,
                                     uint32_t y, uint32_t ky)
{
    int32_t row = (int32_t)(y * w->stride_y + ky * w->dilation_y) - w->pad_top;

    if (row < 0 || row >= (int32_t)w->in_height)
        return NULL;
    return x + ((size_t)image * w->in_height + (uint32_t)row) * w->in_width * w->channels;
}

/* Neighbours that are all inside, or with a step of 0 all outside. */
static void run_step(const float *from, ptrdiff_t step, uint32_t count, const float **ret_pointers)
{
    for (uint32_t i = 0; i < count; i++, from += step)
        ret_pointers[i] = from;
}

static void run_pointers(const struct window *w, const float *row, const float *zeros,
                         const struct run *run, uint32_t kx, const float **ret_pointers)
{
    int32_t x = (int32_t)(run->x * w->stride_x + kx * w->dilation_x) - w->pad_left;
    int32_t last = x + (int32_t)((run->count - 1) * w->stride_x);
    ptrdiff_t step = (ptrdiff_t)w->stride_x * w->channels;

    if (row && x >= 0 && last < (int32_t)w->in_width) {
        run_step(row + (ptrdiff_t)x * w->channels, step, run->count, ret_pointers);
        return;
    }
    for (uint32_t i = 0; i < run->count; i++, x += (int32_t)w->stride_x)
        ret_pointers[i] =
            row && x >= 0 && x < (int32_t)w->in_width ? row + (ptrdiff_t)x * w->channels : zeros;
}

static void repeat_last(const float **pointers, uint32_t taps, uint32_t m, uint32_t mr)
{
    for (uint32_t tap = 0; m < mr && tap < taps; tap++)
        for (uint32_t i = m; i < mr; i++)
            pointers[tap * mr + i] = pointers[tap * mr + m - 1];
}

void window_pointers(const struct window *w, const float *x, const float *zeros, size_t first,
                     uint32_t m, uint32_t mr, const float **ret_pointers)
{
    for (uint32_t done = 0; done < m;) {
        struct run run = window_run(w, first + done, m - done);
        const float **pointers = ret_pointers + done;
        for (uint32_t ky = 0; ky < w->kernel_height; ky++) {
            const float *row = window_input_row(w, x, run.image, run.y, ky);
            for (uint32_t kx = 0; kx < w->kernel_width; kx++, pointers += mr)
                run_pointers(w, row, zeros, &run, kx, pointers);
        }
        done += run.count;
    }
    repeat_last(ret_pointers, w->kernel_height * w->kernel_width, m, mr);
}

/* Copies the part of a kernel row that lies in the image, zeros elsewhere. */
static void edge_copy(const struct window *w, const float *row, int32_t x, float *edge)
{
    for (uint32_t kx = 0; kx < w->kernel_width; kx++, x++, edge += w->channels) {
        bool inside = x >= 0 && x < (int32_t)w->in_width;
        for (uint32_t c = 0; c < w->channels; c++)
            edge[c] = inside ? row[(ptrdiff_t)x * w->channels + c] : 0.0f;
    }
}

void window_row_pointers(const struct window *w, const float *x, const float *zeros, float *edge,
                         size_t first, uint32_t m, uint32_t mr, const float **ret_pointers)
{
    size_t edge_elems = (size_t)w->kernel_width * w->channels;
    ptrdiff_t step = (ptrdiff_t)w->stride_x * w->channels;

    for (uint32_t done = 0; done < m;) {
        struct run run = window_run(w, first + done, m - done);
        for (uint32_t ky = 0; ky < w->kernel_height; ky++) {
            const float *row = window_input_row(w, x, run.image, run.y, ky);
            const float **pointers = ret_pointers + ky * mr + done;
            int32_t at = (int32_t)(run.x * w->stride_x) - w->pad_left;
            int32_t last = at + (int32_t)((run.count - 1) * w->stride_x);
            if (!row || (at >= 0 && last + (int32_t)w->kernel_width <= (int32_t)w->in_width)) {
                run_step(row ? row + (ptrdiff_t)at * w->channels : zeros, row ? step : 0, run.count,
                         pointers);
                continue;
            }
            for (uint32_t i = 0; i < run.count; i++, at += (int32_t)w->stride_x) {
                if (at >= 0 && at + (int32_t)w->kernel_width <= (int32_t)w->in_width) {
                    pointers[i] = row + (ptrdiff_t)at * w->channels;
                } else {
                    float *copy = edge + (ky * mr + done + i) * edge_elems;
                    edge_copy(w, row, at, copy);
                    pointers[i] = copy;
                }
            }
        }
        done += run.count;
    }
    repeat_last(ret_pointers, w->kernel_height, m, mr);
}

/* Neighbouring windows share columns where the dilation lets them. */
uint32_t window_row_step(const struct window *w)
{
    uint32_t columns =
        w->dilation_x == 1 && w->stride_x < w->kernel_width ? w->stride_x : w->kernel_width;

    return columns * w->kernel_height;
}

size_t window_row_count(const struct window *w)
{
    return (size_t)(w->out_width - 1) * window_row_step(w) +
           (size_t)w->kernel_width * w->kernel_height;
}

/* Coordinate `at` of a window that starts at `start`, or for pooling the nearest that is inside. */
static int32_t window_inside(int32_t at, int32_t start, uint32_t kernel, uint32_t dilation,
                             uint32_t size)
{
    int32_t step = (int32_t)dilation, end = start + (int32_t)(kernel - 1) * step;

    while (at < 0 && at + step <= end)
        at += step;
    while (at >= (int32_t)size && at - step >= start)
        at -= step;
    return at;
}

/* One line of the columns that neighbouring windows share: column c is input pixel c - pad_left.
 * For pooling (no `outside`) the border's pixel stands for those beyond: every window that sticks
 * out covers it. */
static void shared_columns(const struct window *w, const float *line, const float *outside,
                           size_t columns, const float **ret_pointers)
{
    ptrdiff_t pad = w->pad_left, inside = (ptrdiff_t)w->in_width + pad;
    size_t before = pad > 0 ? (size_t)pad : 0, end = inside > 0 ? (size_t)inside : 0, column = 0;
    size_t height = w->kernel_height;
    const float *last = outside ? outside : line + (ptrdiff_t)(w->in_width - 1) * w->channels;

    before = before < columns ? before : columns;
    end = end < columns ? end : columns;
    for (; column < before; column++)
        ret_pointers[column * height] = outside ? outside : line;
    for (; column < end; column++)
        ret_pointers[column * height] = line + ((ptrdiff_t)column - pad) * w->channels;
    for (; column < columns; column++)
        ret_pointers[column * height] = last;
}

/* One line of windows that share nothing. */
static void own_columns(const struct window *w, const float *line, const float *outside,
                        const float **ret_pointers)
{
    for (uint32_t x = 0; x < w->out_width; x++) {
        int32_t start = (int32_t)(x * w->stride_x) - w->pad_left;
        for (uint32_t kx = 0; kx < w->kernel_width; kx++, ret_pointers += w->kernel_height) {
            int32_t at = start + (int32_t)(kx * w->dilation_x);
            if (!outside)
                at = window_inside(at, start, w->kernel_width, w->dilation_x, w->in_width);
            *ret_pointers =
                at >= 0 && at < (int32_t)w->in_width ? line + (ptrdiff_t)at * w->channels : outside;
        }
    }
}

void window_row(const struct window *w, const float *x, const float *outside, uint32_t image,
                uint32_t y, const float **ret_pointers)
{
    bool shared = window_row_step(w) != w->kernel_width * w->kernel_height;
    size_t columns = window_row_count(w) / w->kernel_height;
    const float *base = x + (size_t)image * w->in_height * w->in_width * w->channels;
    int32_t top = (int32_t)(y * w->stride_y) - w->pad_top;

    for (uint32_t ky = 0; ky < w->kernel_height; ky++, ret_pointers++) {
        int32_t row = top + (int32_t)(ky * w->dilation_y);
        const float *line;
        if (!outside)
            row = window_inside(row, top, w->kernel_height, w->dilation_y, w->in_height);
        if (row < 0 || row >= (int32_t)w->in_height) {
            for (size_t column = 0; column < columns; column++)
                ret_pointers[column * w->kernel_height] = outside;
            continue;
        }
        line = base + (size_t)row * w->in_width * w->channels;
        if (shared)
            shared_columns(w, line, outside, columns, ret_pointers);
        else
            own_columns(w, line, outside, ret_pointers);
    }
}
