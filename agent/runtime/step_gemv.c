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

/* Where digits lie in the shared scratch, behind the inputs in their order. */
static size_t gemv_digits_at(const struct weights *weights)
{
    return gemv_order(weights)
               ? lego_div_up(weights->channels, GEMV_ALIGN) * GEMV_ALIGN * sizeof(float)
               : 0;
}

static size_t gemv_digits_bytes(const struct weights *weights)
{
    return lego_div_up(weights->channels, KERN_FIXED_BLOCK) * KERN_FIXED_BLOCK * KERN_FIXED_DIGITS;
}

/* Brings a vector of `count` numbers to fixed point, unless its range is none or too small. */
static void gemv_fix(const struct kern_table *kernels, size_t count, int8_t *digits,
                     struct weights_vector *vector)
{
    struct kern_fixed_digits fixed = {
        .count = count, .x = vector->x, .digits = digits, .sum = vector->sum};
    float range[2], largest;

    kernels->range_f32(count, vector->x, range);
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
    if (weights_gemv_fixed(run->kernels, weights))
        gemv_fix(run->kernels, weights->channels, (int8_t *)run->shared + gemv_digits_at(weights),
                 &call.x);
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

    if (partial_takes(weights))
        return partial_step(b, node, detail, a, add, out);
    gemm_finish(b, node, &detail);
    plan_need_shared(b, gemv_digits_at(weights) + gemv_digits_bytes(weights));
    step = plan_step_add(b, node, gemv_run, sizeof(detail), inputs, add >= 0 ? 2 : 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->macs = (uint64_t)weights->rows * weights->channels;
    step->work = step->macs;
    return LEGO_OK;
}
