#include "agent/runtime/step_gemv.h"
#include "agent/runtime/step_partial.h"

#include "codec/base/arith.h"

#include <math.h>
#include <string.h>

/* Bricks of these rows (and multiples) in tiles of these keep their sums in registers. */
#define GEMV_ROWS  4
#define GEMV_TILE  32
#define GEMV_ALIGN 16 /* floats */

/* One call of a step, shared by its threads. */
struct gemv_call {
    const struct plan_run *run;
    const struct gemm_detail *detail;
    struct weights_vector x;
    const float *add;
    float *out;
};

bool gemv_takes(const struct kern_table *kernels, const struct gemm_detail *detail)
{
    const struct weights *weights = detail->weights;
    const struct lego_coded *coded = weights->coded;

    if (!kernels->cpu || detail->pixels != 1 || detail->source != GEMM_ROWS || !coded ||
        coded->trellis || weights->groups > 1)
        return false;
    /* Decoded weights that lie in a cache are faster than indices. */
    if (weights->panels &&
        weights_tile_elems(weights) * weights->tile_count * sizeof(float) <= WEIGHTS_PANEL_BYTES)
        return false;
    return coded->brick_rows == 1 || weights_gemv_fixed(kernels, weights) ||
           (coded->brick_rows % GEMV_ROWS == 0 && coded->tile_rows == GEMV_TILE);
}

const uint32_t *gemv_order(const struct weights *weights)
{
    return weights->split_count == 1 ? weights->splits[0].column_k : NULL;
}

void gemv_finish(const struct gemm_detail *detail, const float *add, uint32_t row, size_t rows,
                 float *out)
{
    for (size_t r = 0; r < rows; r++) {
        float value = out[r];
        if (detail->bias)
            value += detail->bias[row + r];
        if (add)
            value += add[row + r];
        value = value < detail->lo ? detail->lo : value;
        out[r] = value > detail->hi ? detail->hi : value;
    }
    if (detail->activation)
        detail->activation(rows, out, out, detail->act_lo, detail->act_hi);
}

static void gemv_task(void *context, uint32_t slot, size_t item)
{
    const struct gemv_call *call = context;
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t row = (uint32_t)item * weights->tile_rows;
    size_t rows = lego_min_size(weights->rows - row, weights->tile_rows);
    float *out = call->out + row;

    (void)slot;
    weights_gemv(call->run->kernels, weights, (uint32_t)item, &call->x, out);
    gemv_finish(detail, call->add, row, rows, out);
}

/* Numbers in fixed point for each column of a brick. */
static size_t gemv_padded(const struct weights *weights)
{
    const size_t bricks = lego_div_up(weights->channels, weights->coded->brick_columns);

    return lego_div_up(bricks, KERN_FIXED_BLOCK) * KERN_FIXED_BLOCK;
}

/* Of the shared scratch: inputs in the order of the stored columns (at 0), the same in that of
 * fixed point, their digits. The first two only where they are needed. */
struct gemv_scratch {
    size_t fixed_at, digits_at, bytes;
};

static struct gemv_scratch gemv_scratch(const struct weights *weights)
{
    const size_t fixed = gemv_padded(weights) * weights->coded->brick_columns;
    struct gemv_scratch at = {0};

    if (gemv_order(weights))
        at.fixed_at = lego_div_up(weights->channels, GEMV_ALIGN) * GEMV_ALIGN * sizeof(float);
    at.digits_at = at.fixed_at;
    if (weights->coded->brick_columns > 1)
        at.digits_at += lego_div_up(fixed, GEMV_ALIGN) * GEMV_ALIGN * sizeof(float);
    at.bytes = at.digits_at + fixed * KERN_FIXED_DIGITS;
    return at;
}

/* Inputs that the same column of bricks sees, together; what sticks out sees 0. */
static void gemv_regroup(const struct weights *weights, const float *x, float *ret_x)
{
    const size_t padded = gemv_padded(weights), width = weights->coded->brick_columns;

    memset(ret_x, 0, padded * width * sizeof(*ret_x));
    for (size_t c = 0, j = 0; c < weights->channels; j++)
        for (size_t i = 0; i < width && c < weights->channels; i++, c++)
            ret_x[i * padded + j] = x[c];
}

/* Brings a vector to fixed point, unless its range is none or too small. */
static void gemv_fix(const struct kern_table *kernels, const struct weights *weights, char *scratch,
                     struct weights_vector *vector)
{
    const struct gemv_scratch at = gemv_scratch(weights);
    int8_t *digits = (int8_t *)scratch + at.digits_at;
    float *regrouped = (float *)(void *)(scratch + at.fixed_at);
    struct kern_fixed_digits fixed = {
        .count = weights->channels, .x = vector->x, .digits = digits, .sum = vector->sum};
    float range[2], largest;

    if (weights->coded->brick_columns > 1) {
        gemv_regroup(weights, vector->x, regrouped);
        fixed.x = regrouped;
        fixed.count = gemv_padded(weights) * weights->coded->brick_columns;
    }
    kernels->range_f32(fixed.count, fixed.x, range);
    largest = range[1] > -range[0] ? range[1] : -range[0];
    fixed.inverse = KERN_FIXED_MAX / largest;
    if (!(largest > 0.0f) || isinf(fixed.inverse))
        return;
    kernels->fixed_digits(&fixed);
    vector->scale = largest / KERN_FIXED_MAX;
    vector->digits = digits;
}

static int gemv_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_detail *detail = step->detail;
    const struct weights *weights = detail->weights;
    const uint32_t *order = gemv_order(weights);
    struct gemv_call call = {
        .run = run,
        .detail = detail,
        .x = {.x = run_floats(run, step->inputs[0])},
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
    };
    float *stored = (float *)run->shared;

    (void)diag;
    for (uint32_t c = 0; order && c < weights->channels; c++)
        stored[c] = call.x.x[order[c]];
    if (order)
        call.x.x = stored;
    if (detail->fixed)
        gemv_fix(run->kernels, weights, run->shared, &call.x);
    workers_run(run->workers, workers_worth(run->workers, SIZE_MAX, step->work),
                weights->tile_count, gemv_task, &call);
    return LEGO_OK;
}

int gemv_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
              int32_t a, int32_t add, int32_t out)
{
    int32_t inputs[2] = {a, add};
    const struct weights *weights = detail.weights;
    struct plan_step *step;

    detail.fixed = weights_gemv_fixed(&b->model->kernels, weights);
    if (!detail.fixed && partial_takes(weights))
        return partial_step(b, node, detail, a, add, out);
    gemm_finish(b, node, &detail);
    plan_need_shared(b, gemv_scratch(weights).bytes);
    step = plan_step_add(b, node, gemv_run, sizeof(detail), inputs, add >= 0 ? 2 : 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->macs = (uint64_t)weights->rows * weights->channels;
    step->work = step->macs;
    return LEGO_OK;
}
