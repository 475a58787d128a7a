#include "agent/runtime/step_partial.h"
#include "agent/runtime/step_gemv.h"

#include "codec/base/arith.h"

#include <string.h>

/* Bricks of these rows and multiples. */
#define PARTIAL_ROWS 4
/* The columns of bricks are cut in parts with sums of their own, the same for any number of
 * threads, so that these do not change the order of additions. */
#define PARTIAL_PARTS      8
#define PARTIAL_LEAST_PART 32 /* columns of bricks */
/* Bricks below each other for each entry of the catalogue from which on this wins. Measured: at 16
 * of them it takes 0.6 to 0.9 of the other way's time, at 4 as long or longer: then a catalogue is
 * so large that few columns of bricks have products that fit, and each visit to a tile reads few
 * indices. */
#define PARTIAL_LEAST_BRICKS 8

struct partial_detail {
    struct gemm_detail product;
    uint32_t parts, columns; /* of bricks */
    size_t padded;           /* inputs, to whole bricks */
    size_t sums;             /* of a part */
};

/* One call of a step, shared by its threads. */
struct partial_call {
    const struct plan_run *run;
    const struct partial_detail *detail;
    const float *x; /* in the order in which the columns are stored, padded */
    float *sums;    /* [parts][sums] */
};

bool partial_takes(const struct weights *weights)
{
    const struct lego_coded *coded = weights->coded;
    const uint32_t bricks = weights->rows / coded->brick_rows;

    if (coded->brick_rows % PARTIAL_ROWS != 0 || coded->brick_columns < 2)
        return false;
    for (uint32_t s = 0; s < coded->stage_count; s++) {
        const uint32_t entries = coded->stages[s].catalogue->entries;

        if (bricks / PARTIAL_LEAST_BRICKS < entries ||
            (size_t)entries * coded->brick_rows * sizeof(float) > WEIGHTS_PRODUCT_BYTES)
            return false;
    }
    return true;
}

static void partial_task(void *context, uint32_t slot, size_t item)
{
    const struct partial_call *call = context;
    const struct partial_detail *detail = call->detail;
    const uint32_t first = (uint32_t)((uint64_t)detail->columns * item / detail->parts);
    const uint32_t end = (uint32_t)((uint64_t)detail->columns * (item + 1) / detail->parts);
    float *sums = call->sums + item * detail->sums;

    memset(sums, 0, detail->sums * sizeof(*sums));
    weights_sums(call->run->kernels, detail->product.weights, first, end - first, call->x,
                 run_slot(call->run, slot), sums);
}

static int partial_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct partial_detail *detail = step->detail;
    const struct weights *weights = detail->product.weights;
    const uint32_t *order = gemv_order(weights);
    const float *x = run_floats(run, step->inputs[0]);
    const float *add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL;
    float *out = run_floats(run, step->outputs[0]), *stored = (float *)run->shared;
    struct partial_call call = {
        .run = run, .detail = detail, .x = stored, .sums = stored + detail->padded};

    (void)diag;
    for (size_t c = 0; c < detail->padded; c++)
        stored[c] = c >= weights->channels ? 0.0f : x[order ? order[c] : c];
    workers_run(run->workers, workers_worth(run->workers, SIZE_MAX, step->work), detail->parts,
                partial_task, &call);
    for (uint32_t r = 0; r < weights->rows; r++) {
        float sum = call.sums[r];

        for (uint32_t part = 1; part < detail->parts; part++)
            sum += call.sums[part * detail->sums + r];
        out[r] = weights->row_scale ? sum * weights->row_scale[r] : sum;
    }
    gemv_finish(&detail->product, add, 0, weights->rows, out);
    return LEGO_OK;
}

int partial_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail product,
                 int32_t a, int32_t add, int32_t out)
{
    const struct weights *weights = product.weights;
    const uint32_t width = weights->coded->brick_columns;
    struct partial_detail detail = {
        .columns = (uint32_t)lego_div_up(weights->channels, width),
        .sums = (size_t)weights->tile_count * weights->tile_rows,
    };
    int32_t inputs[2] = {a, add};
    struct plan_step *step;

    gemm_finish(b, node, &product);
    detail.product = product;
    detail.padded = (size_t)detail.columns * width;
    detail.parts = (uint32_t)lego_max_size(
        1, lego_min_size(PARTIAL_PARTS, detail.columns / PARTIAL_LEAST_PART));
    plan_need_shared(b, (detail.padded + detail.parts * detail.sums) * sizeof(float));
    plan_need_slot(b, WEIGHTS_PRODUCT_BYTES);
    step = plan_step_add(b, node, partial_run, sizeof(detail), inputs, add >= 0 ? 2 : 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->macs = (uint64_t)weights->rows * weights->channels;
    step->work = step->macs / 2;
    return LEGO_OK;
}
