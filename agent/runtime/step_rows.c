/*
 * Operators along one axis: softmax over the axis that lies last in memory.
 */
#include "agent/runtime/plan.h"

#include <string.h>

struct rows_detail {
    size_t rows, elems; /* of a row */
};

struct rows_call {
    const struct plan_run *run;
    const struct rows_detail *detail;
    const float *x;
    float *out;
};

static void softmax_task(void *context, uint32_t slot, size_t item)
{
    const struct rows_call *call = context;
    size_t at = item * call->detail->elems;

    (void)slot;
    call->run->kernels->softmax_f32(call->detail->elems, call->x + at, call->out + at);
}

static int softmax_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct rows_detail *detail = step->detail;
    struct rows_call call = {.run = run,
                             .detail = detail,
                             .x = run_floats(run, step->inputs[0]),
                             .out = run_floats(run, step->outputs[0])};

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, detail->rows, step->work), detail->rows,
                softmax_task, &call);
    return LEGO_OK;
}

int plan_softmax(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape shape = b->graph->values[node->inputs[0]].shape;
    enum plan_layout layout = plan_native(b, node->inputs[0]);
    int64_t axis = lego_node_int(node, "axis", -1), last;
    struct rows_detail detail = {.rows = 1};
    struct plan_step *step;
    int32_t x, out;

    /* An older Softmax over a matrix (see the importer) spans several axes. */
    if (shape.rank < 1 || plan_is_constant(b, node->inputs[0]) ||
        lego_node_int(node, "lego.coerce_2d", 0))
        return PLAN_DECLINED;
    axis = axis < 0 ? axis + shape.rank : axis;
    last = layout == PLAN_CHANNELS_LAST ? 1 : shape.rank - 1;
    if (axis != last && axis == shape.rank - 1) {
        layout = PLAN_PLAIN;
        last = axis;
    } else if (axis != last && axis == 1) {
        layout = PLAN_CHANNELS_LAST;
        last = axis;
    }
    if (axis != last)
        return PLAN_DECLINED;
    detail.elems = (size_t)shape.dim[axis];
    for (int i = 0; i < shape.rank; i++)
        detail.rows *= i == axis ? 1 : (size_t)shape.dim[i];
    x = plan_operand(b, node->inputs[0], layout);
    out = x < 0 ? x : plan_output(b, node->outputs[0], layout);
    step = out < 0 ? NULL : plan_step_add(b, node, softmax_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return out < 0 ? out : LEGO_E_NOMEM;
    *(struct rows_detail *)step->detail = detail;
    b->plan->values[out].reuse = x;
    return LEGO_OK;
}
