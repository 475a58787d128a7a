/*
 * Depthwise convolution and its transpose: one output channel for each input channel, row by row of
 * the output; in a transposed one each phase of a row is a plain convolution.
 */
#include "agent/runtime/step_depthwise.h"

#include "codec/base/arith.h"

struct depthwise_call {
    const struct plan_run *run;
    const struct depthwise_detail *detail;
    const float *x, *add;
    float *out;
    float *sums; /* of each row of pixels, NULL: not wanted */
};

void depthwise_row(const struct plan_run *run, const struct depthwise_detail *detail,
                   const struct window *w, const float *x, uint32_t image, uint32_t row,
                   const float *add, const float **pointers, float *out, float *sums)
{
    const size_t row_elems = (size_t)w->out_width * w->channels;
    const struct kern_dwconv_f32 args = {
        .pixels = w->out_width,
        .channels = w->channels,
        .taps = w->kernel_height * w->kernel_width,
        .a = pointers,
        .a_step = window_row_step(w),
        .weights = detail->weights->panels,
        .weight_stride = w->channels,
        .bias = detail->bias,
        .out = out,
        .out_stride = w->channels,
        .lo = add ? -__builtin_inff() : detail->lo,
        .hi = add ? __builtin_inff() : detail->hi,
    };

    window_row(w, x, run->zeros, image, row, pointers);
    run->kernels->dwconv_f32(&args);
    if (add)
        run->kernels->add_f32(row_elems, out, add, 1, out, detail->lo, detail->hi);
    if (detail->activation)
        detail->activation(row_elems, out, out, detail->act_lo, detail->act_hi);
    if (sums)
        run->kernels->colsum_f32(w->out_width, w->channels, out, w->channels, sums);
}

static void depthwise_task(void *context, uint32_t slot, size_t item)
{
    const struct depthwise_call *call = context;
    const struct window *w = &call->detail->window;
    const size_t at = item * w->out_width * w->channels;
    float *sums = call->sums ? call->sums + item * w->channels : NULL;

    depthwise_row(call->run, call->detail, w, call->x, (uint32_t)(item / w->out_height),
                  (uint32_t)(item % w->out_height), call->add ? call->add + at : NULL,
                  run_slot(call->run, slot), call->out + at, sums);
}

/* All rows of the output by `task`. */
static int depthwise_rows(const struct plan_step *step, struct plan_run *run, workers_task task)
{
    const struct depthwise_detail *detail = step->detail;
    size_t rows = (size_t)detail->window.batch * detail->window.out_height;
    struct depthwise_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .sums = step->output_count > 1 ? run_floats(run, step->outputs[1]) : NULL,
    };

    workers_run(run->workers, workers_worth(run->workers, rows, step->work), rows, task, &call);
    return LEGO_OK;
}

static int depthwise_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    (void)diag;
    return depthwise_rows(step, run, depthwise_task);
}

static void depthwise_transposed_task(void *context, uint32_t slot, size_t item)
{
    const struct depthwise_call *call = context;
    const struct depthwise_detail *detail = call->detail;
    const struct window *w = &detail->window;
    const float **pointers = run_slot(call->run, slot);
    uint32_t y = (uint32_t)(item % w->out_height), image = (uint32_t)(item / w->out_height);
    size_t row_elems = (size_t)w->out_width * w->channels;
    float *out = call->out + item * row_elems;
    const struct window_phase *phase =
        detail->phases + (y + (uint32_t)w->pad_top) % w->stride_y * w->stride_x;

    for (uint32_t i = 0; i < w->stride_x; i++, phase++) {
        const struct window *window = &phase->window;
        struct kern_dwconv_f32 args = {
            .pixels = window->out_width,
            .channels = w->channels,
            .taps = window->kernel_height * window->kernel_width,
            .a = pointers,
            .a_step = window_row_step(window),
            .weights = detail->weights->panels + (size_t)phase->first_tap * w->channels,
            .weight_stride = w->channels,
            .bias = detail->bias,
            .out = out + (size_t)phase->first_x * w->channels,
            .out_stride = (ptrdiff_t)w->stride_x * w->channels,
            .lo = detail->lo,
            .hi = detail->hi,
        };
        if (!window->out_width)
            continue;
        window_row(window, call->x, call->run->zeros, image, (y - phase->first_y) / w->stride_y,
                   pointers);
        call->run->kernels->dwconv_f32(&args);
    }
    if (detail->activation)
        detail->activation(row_elems, out, out, detail->act_lo, detail->act_hi);
}

static int depthwise_transposed_run(const struct plan_step *step, struct plan_run *run,
                                    struct lego_diag *diag)
{
    (void)diag;
    return depthwise_rows(step, run, depthwise_transposed_task);
}

void depthwise_finish(const struct plan_builder *b, const struct lego_node *node,
                      struct depthwise_detail *detail)
{
    plan_clamp(node, &detail->lo, &detail->hi);
    detail->activation =
        plan_activation(&b->model->kernels, node, &detail->act_lo, &detail->act_hi);
}

int plan_depthwise_transposed(struct plan_builder *b, const struct lego_node *node,
                              const struct window *w, const struct weights_key *key,
                              const float *bias)
{
    struct depthwise_detail detail = {.window = *w, .bias = bias};
    struct window_phase *phases =
        lego_arena_calloc(b->plan->memory, (size_t)w->stride_y * w->stride_x, sizeof(*phases));
    int32_t x, out;
    struct plan_step *step;
    int status;

    if (!phases)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    status = plan_weights(b, node, 1, *key, &detail.weights);
    if (status)
        return status;
    window_phases(w, phases);
    detail.phases = phases;
    for (uint32_t i = 0; i < w->stride_y * w->stride_x; i++)
        if (phases[i].window.out_width)
            plan_need_slot(b, window_row_count(&phases[i].window) * sizeof(float *));
    plan_need_zeros(b, w->channels);
    x = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    out = x < 0 ? x : plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (out < 0)
        return out;
    depthwise_finish(b, node, &detail);
    step = plan_step_add(b, node, depthwise_transposed_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct depthwise_detail *)step->detail = detail;
    step->macs =
        (uint64_t)w->batch * w->in_height * w->in_width * w->channels * detail.weights->taps;
    step->work = 4 * step->macs;
    return LEGO_OK;
}

int depthwise_describe(struct plan_builder *b, const struct lego_node *node,
                       struct depthwise_detail *ret_detail)
{
    struct depthwise_detail detail = {0};
    struct weights_key key = {.view = LEGO_VIEW_OUT_FIRST};
    const struct lego_tensor *tensor = lego_node_constant(b->graph, node, 1);
    int status = plan_bias(b, node, 2, (uint32_t)tensor->shape.dim[0], &detail.bias);

    if (status)
        return status;
    if (!window_make(node, &b->graph->values[node->inputs[0]].shape,
                     &b->graph->values[node->outputs[0]].shape, &tensor->shape, &detail.window))
        return PLAN_DECLINED;
    key.groups = detail.window.channels;
    key.kernel_height = detail.window.kernel_height;
    key.kernel_width = detail.window.kernel_width;
    status = plan_weights(b, node, 1, key, &detail.weights);
    if (status)
        return status;
    depthwise_finish(b, node, &detail);
    plan_need_zeros(b, detail.window.channels);
    *ret_detail = detail;
    return LEGO_OK;
}

int depthwise_outputs(struct plan_builder *b, const struct lego_node *node,
                      const struct depthwise_detail *detail, int32_t ret_outputs[2])
{
    size_t rows = (size_t)detail->window.batch * detail->window.out_height;

    ret_outputs[0] = plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (ret_outputs[0] < 0)
        return ret_outputs[0];
    ret_outputs[1] = plan_row_sums(b, node->outputs[0], rows);
    return ret_outputs[1] < -1 ? ret_outputs[1] : LEGO_OK;
}

int plan_depthwise(struct plan_builder *b, const struct lego_node *node)
{
    struct depthwise_detail detail;
    int32_t values[2] = {-1, -1}, outputs[2] = {-1, -1};
    struct plan_step *step;
    int status = depthwise_describe(b, node, &detail);

    if (status)
        return status;
    values[0] = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    if (values[0] >= 0 && node->input_count > 3 && node->inputs[3] >= 0)
        values[1] = plan_operand(b, node->inputs[3], PLAN_CHANNELS_LAST);
    if (values[0] < 0 || values[1] < -1)
        return values[0] < 0 ? values[0] : values[1];
    status = depthwise_outputs(b, node, &detail, outputs);
    if (status)
        return status;
    plan_need_slot(b, window_row_count(&detail.window) * sizeof(float *));
    step = plan_step_add(b, node, depthwise_run, sizeof(detail), values, values[1] >= 0 ? 2 : 1,
                         outputs, outputs[1] >= 0 ? 2 : 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct depthwise_detail *)step->detail = detail;
    step->macs =
        (uint64_t)window_pixels(&detail.window) * detail.window.channels * detail.weights->taps;
    step->work = 4 * step->macs; /* it moves more than it multiplies */
    return LEGO_OK;
}
