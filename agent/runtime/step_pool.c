/*
 * Pooling over windows, row by row of the output.
 */
#include "agent/runtime/plan.h"
#include "agent/runtime/window.h"

#include "codec/base/arith.h"

#include <math.h>

struct pool_detail {
    struct window window;
    bool average;
    const float *scale; /* average: of each output pixel of an image */
};

struct pool_call {
    const struct plan_run *run;
    const struct pool_detail *detail;
    const float *x;
    float *out;
};

static void pool_task(void *context, uint32_t slot, size_t item)
{
    const struct pool_call *call = context;
    const struct pool_detail *detail = call->detail;
    const struct window *w = &detail->window;
    const struct kern_table *kernels = call->run->kernels;
    const float **pointers = run_slot(call->run, slot);
    uint32_t y = (uint32_t)(item % w->out_height);
    struct kern_pool_f32 args = {
        .pixels = w->out_width,
        .channels = w->channels,
        .taps = w->kernel_height * w->kernel_width,
        .a = pointers,
        .a_step = window_row_step(w),
        .scale = detail->average ? detail->scale + (size_t)y * w->out_width : NULL,
        .out = call->out + item * w->out_width * w->channels,
        .out_stride = w->channels,
        .lo = -INFINITY,
        .hi = INFINITY,
    };

    window_row(w, call->x, detail->average ? call->run->zeros : NULL,
               (uint32_t)(item / w->out_height), y, pointers);
    if (detail->average)
        kernels->avgpool_f32(&args);
    else
        kernels->maxpool_f32(&args);
}

static int pool_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct pool_detail *detail = step->detail;
    size_t rows = (size_t)detail->window.batch * detail->window.out_height;
    struct pool_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .out = run_floats(run, step->outputs[0]),
    };

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, rows, step->work), rows, pool_task,
                &call);
    return LEGO_OK;
}

/* Window positions along one axis that lie in [low, high). */
static uint32_t taps_between(uint32_t at, uint32_t stride, uint32_t kernel, uint32_t dilation,
                             int32_t pad, int64_t low, int64_t high)
{
    uint32_t count = 0;

    for (uint32_t k = 0; k < kernel; k++) {
        int64_t position = (int64_t)at * stride + (int64_t)k * dilation - pad;
        count += position >= low && position < high;
    }
    return count;
}

static uint32_t taps_down(const struct window *w, uint32_t y, bool padding)
{
    return taps_between(y, w->stride_y, w->kernel_height, w->dilation_y, w->pad_top,
                        padding ? -w->pad_top : 0,
                        (int64_t)w->in_height + (padding ? w->pad_bottom : 0));
}

static uint32_t taps_across(const struct window *w, uint32_t x, bool padding)
{
    return taps_between(x, w->stride_x, w->kernel_width, w->dilation_x, w->pad_left,
                        padding ? -w->pad_left : 0,
                        (int64_t)w->in_width + (padding ? w->pad_right : 0));
}

/* Every window covers a pixel of the image: otherwise its result is no number. */
static bool pool_covers(const struct window *w)
{
    for (uint32_t y = 0; y < w->out_height; y++)
        if (!taps_down(w, y, false))
            return false;
    for (uint32_t x = 0; x < w->out_width; x++)
        if (!taps_across(w, x, false))
            return false;
    return true;
}

static const float *pool_scales(struct plan_builder *b, const struct window *w, bool padding)
{
    float *scale =
        lego_arena_calloc(b->plan->memory, (size_t)w->out_height * w->out_width, sizeof(*scale));

    for (uint32_t y = 0; scale && y < w->out_height; y++)
        for (uint32_t x = 0; x < w->out_width; x++)
            scale[(size_t)y * w->out_width + x] =
                1.0f / (float)(taps_down(w, y, padding) * taps_across(w, x, padding));
    return scale;
}

int plan_pool(struct plan_builder *b, const struct lego_node *node)
{
    struct pool_detail detail = {.average = node->op == LEGO_OP_AveragePool};
    int32_t x, out;
    struct plan_step *step;

    if ((node->output_count > 1 && node->outputs[1] >= 0) ||
        !window_make(node, &b->graph->values[node->inputs[0]].shape,
                     &b->graph->values[node->outputs[0]].shape, NULL, &detail.window) ||
        !pool_covers(&detail.window) || plan_is_constant(b, node->inputs[0]))
        return PLAN_DECLINED;
    if (detail.average) {
        detail.scale =
            pool_scales(b, &detail.window, lego_node_int(node, "count_include_pad", 0) != 0);
        if (!detail.scale)
            return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    }
    x = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    out = x < 0 ? x : plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (out < 0)
        return out;
    plan_need_slot(b, window_row_count(&detail.window) * sizeof(float *));
    plan_need_zeros(b, detail.window.channels);
    step = plan_step_add(b, node, pool_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct pool_detail *)step->detail = detail;
    step->work = (uint64_t)window_pixels(&detail.window) * detail.window.channels *
                 detail.window.kernel_height * detail.window.kernel_width;
    return LEGO_OK;
}
