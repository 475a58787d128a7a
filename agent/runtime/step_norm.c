/*
 * LayerNormalization over the last axis, row by row, with a constant scale and shift.
 */
#include "agent/runtime/plan.h"

#include <math.h>

/* Sums are kept in so many parts, which vector registers hold whatever the instruction set. */
#define PARTS 8

struct norm_detail {
    size_t rows, elems;         /* of a row */
    const float *scale, *shift; /* [elems]; shift may be NULL */
    float epsilon;
};

struct norm_call {
    const struct norm_detail *detail;
    const float *x;
    float *out;
};

static float sum_parts(const float *parts)
{
    return ((parts[0] + parts[4]) + (parts[1] + parts[5])) +
           ((parts[2] + parts[6]) + (parts[3] + parts[7]));
}

static float row_mean(const float *x, size_t elems)
{
    float parts[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= elems; i += PARTS)
        for (int p = 0; p < PARTS; p++)
            parts[p] += x[i + (size_t)p];
    for (; i < elems; i++)
        parts[i % PARTS] += x[i];
    return sum_parts(parts) / (float)elems;
}

static float row_variance(const float *x, size_t elems, float mean)
{
    float parts[PARTS] = {0};
    size_t i = 0;

    for (; i + PARTS <= elems; i += PARTS)
        for (int p = 0; p < PARTS; p++) {
            const float d = x[i + (size_t)p] - mean;
            parts[p] += d * d;
        }
    for (; i < elems; i++)
        parts[i % PARTS] += (x[i] - mean) * (x[i] - mean);
    return sum_parts(parts) / (float)elems;
}

static void norm_task(void *context, uint32_t slot, size_t item)
{
    const struct norm_call *call = context;
    const struct norm_detail *detail = call->detail;
    const size_t elems = detail->elems;
    const float *x = call->x + item * elems;
    float *out = call->out + item * elems;
    const float mean = row_mean(x, elems);
    const float factor = 1.0f / sqrtf(row_variance(x, elems, mean) + detail->epsilon);

    (void)slot;
    if (detail->shift)
        for (size_t i = 0; i < elems; i++)
            out[i] = (x[i] - mean) * factor * detail->scale[i] + detail->shift[i];
    else
        for (size_t i = 0; i < elems; i++)
            out[i] = (x[i] - mean) * factor * detail->scale[i];
}

static int norm_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct norm_detail *detail = step->detail;
    struct norm_call call = {.detail = detail,
                             .x = run_floats(run, step->inputs[0]),
                             .out = run_floats(run, step->outputs[0])};

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, detail->rows, step->work), detail->rows,
                norm_task, &call);
    return LEGO_OK;
}

/* A constant vector of a row's size, NULL in *ret_row where the input is absent. */
static int norm_row(struct plan_builder *b, const struct lego_node *node, uint32_t index,
                    size_t elems, const float **ret_row)
{
    const void *data;
    int status;

    *ret_row = NULL;
    if (index >= node->input_count || node->inputs[index] < 0)
        return LEGO_OK;
    const struct lego_value *value = &b->graph->values[node->inputs[index]];
    if (!plan_is_constant(b, node->inputs[index]) || value->dtype != LEGO_DTYPE_FLOAT32 ||
        value->shape.rank != 1 || (size_t)value->shape.dim[0] != elems)
        return PLAN_DECLINED;
    status = plan_constant_data(b, node->inputs[index], &data);
    *ret_row = data;
    return status;
}

int plan_layer_norm(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *shape = &b->graph->values[node->inputs[0]].shape;
    const int64_t axis = lego_node_int(node, "axis", -1);
    struct norm_detail detail = {.rows = 1, .epsilon = lego_node_float(node, "epsilon", 1e-5f)};
    struct plan_step *step;
    int32_t x, out;
    int status;

    if (shape->rank < 1 || (axis != -1 && axis != shape->rank - 1) || node->output_count != 1 ||
        plan_is_constant(b, node->inputs[0]))
        return PLAN_DECLINED;
    detail.elems = (size_t)shape->dim[shape->rank - 1];
    for (int i = 0; i + 1 < shape->rank; i++)
        detail.rows *= (size_t)shape->dim[i];
    status = norm_row(b, node, 1, detail.elems, &detail.scale);
    if (!status)
        status = norm_row(b, node, 2, detail.elems, &detail.shift);
    if (status || !detail.scale)
        return status ? status : PLAN_DECLINED;
    x = plan_operand(b, node->inputs[0], PLAN_PLAIN);
    out = x < 0 ? x : plan_output(b, node->outputs[0], PLAN_PLAIN);
    step = out < 0 ? NULL : plan_step_add(b, node, norm_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return out < 0 ? out : LEGO_E_NOMEM;
    *(struct norm_detail *)step->detail = detail;
    b->plan->values[out].reuse = x;
    return LEGO_OK;
}
