/*
 * Attention: batch by batch K^T and V are packed into panels, then for some rows at a time scores,
 * their softmax and the sum of values.
 */
#include "agent/runtime/attention.h"
#include "agent/runtime/step_gemm.h"

#include "codec/base/arith.h"

#include <math.h>
#include <string.h>

/* Scores of so many rows have to stay in a core's first cache. */
#define ATTENTION_SCORE_BYTES (32u << 10)

struct attention_detail {
    struct attention a;
    const struct kern_gemm_variant *scores, *values; /* of the two products */
    size_t block_rows;
    size_t score_stride; /* floats from one row of scores to the next */
    /* Where in a slot's scratch, behind the panel of K^T: */
    size_t values_at, scores_at, pointers_at;
};

struct attention_call {
    const struct plan_run *run;
    const struct attention_detail *detail;
    const float *inputs[ATTENTION_INPUTS];
    float *out;
    size_t chunks;            /* of the rows of each batch */
    size_t held[WORKERS_MAX]; /* the batch whose panels each slot holds */
};

/* Where an operand begins in a batch. */
static ptrdiff_t batch_at(const struct attention *a, const ptrdiff_t *stride, size_t batch)
{
    ptrdiff_t at = 0;

    for (int i = a->rank - 3; i >= 0; i--) {
        at += (ptrdiff_t)(batch % a->dim[i]) * stride[i];
        batch /= a->dim[i];
    }
    return at;
}

/* `k` by `n` floats, column j of row i at source + i * row_stride + j * column_stride. */
static void attention_pack(const struct kern_table *kernels, uint32_t nr, const float *source,
                           size_t k, ptrdiff_t row_stride, size_t n, ptrdiff_t column_stride,
                           float *panel)
{
    const struct kern_panel_pack pack = {
        .source = source,
        .rows = (uint32_t)n,
        .channels = (uint32_t)k,
        .taps = 1,
        .row_stride = column_stride,
        .channel_stride = row_stride,
        .panel = panel,
        .panel_nr = nr,
        .panel_k = (uint32_t)k,
    };

    kernels->panel_pack(&pack);
}

static void attention_panels(const struct attention_call *call, size_t batch, char *scratch)
{
    const struct attention_detail *detail = call->detail;
    const struct attention *a = &detail->a;
    const ptrdiff_t *k = a->stride[ATTENTION_K], *v = a->stride[ATTENTION_V];
    const struct kern_table *kernels = call->run->kernels;
    int last = a->rank - 1;

    attention_pack(kernels, detail->scores->nr, call->inputs[ATTENTION_K] + batch_at(a, k, batch),
                   a->depth, k[last - 1], a->columns, k[last], (float *)scratch);
    attention_pack(kernels, detail->values->nr, call->inputs[ATTENTION_V] + batch_at(a, v, batch),
                   a->columns, v[last - 1], a->width, v[last],
                   (float *)(scratch + detail->values_at));
}

/* c [m][n] = a [m][k] times the panel. */
static void attention_product(const struct kern_gemm_variant *variant, size_t m, size_t n, size_t k,
                              const float *a, ptrdiff_t a_stride, const float *panel, float *c,
                              ptrdiff_t c_stride, const float **pointers)
{
    uint32_t mr = variant->mr, nr = variant->nr;
    struct kern_gemm_f32 args = {
        .taps = 1,
        .channels = (uint32_t)k,
        .a = pointers,
        .c_stride = c_stride,
        .lo = -INFINITY,
        .hi = INFINITY,
    };

    for (size_t column = 0; column < n; column += nr) {
        args.n = (uint32_t)lego_min_size(nr, n - column);
        args.panel = panel + column * k;
        for (size_t row = 0; row < m; row += mr) {
            args.m = (uint32_t)lego_min_size(mr, m - row);
            for (uint32_t i = 0; i < mr; i++)
                pointers[i] = a + (ptrdiff_t)(row + (i < args.m ? i : args.m - 1)) * a_stride;
            args.c = c + (ptrdiff_t)row * c_stride + column;
            variant->run(&args);
        }
    }
}

/* Scores of one row to weights. */
static void attention_softmax(const struct attention_call *call, const float *mask, float *scores)
{
    const struct attention *a = &call->detail->a;
    const struct kern_table *kernels = call->run->kernels;
    size_t n = a->columns;

    if (a->scale != 1.0f)
        kernels->mul_f32(n, scores, &a->scale, 0, scores, -INFINITY, INFINITY);
    if (mask)
        kernels->add_f32(n, scores, mask, a->stride[ATTENTION_MASK][a->rank - 1] != 0, scores,
                         -INFINITY, INFINITY);
    kernels->softmax_f32(n, scores, scores);
}

/* Rows [row, end) of a batch. */
static void attention_rows(const struct attention_call *call, size_t batch, size_t row, size_t end,
                           char *scratch)
{
    const struct attention_detail *detail = call->detail;
    const struct attention *a = &detail->a;
    int down = a->rank - 2;
    ptrdiff_t q_stride = a->stride[ATTENTION_Q][down], out_stride = a->out_stride[down];
    ptrdiff_t mask_stride = a->stride[ATTENTION_MASK][down];
    const float *q = call->inputs[ATTENTION_Q] + batch_at(a, a->stride[ATTENTION_Q], batch);
    const float *mask = call->inputs[ATTENTION_MASK];
    float *out = call->out + batch_at(a, a->out_stride, batch);
    float *scores = (float *)(scratch + detail->scores_at);
    const float **pointers = (const float **)(scratch + detail->pointers_at);

    if (mask)
        mask += batch_at(a, a->stride[ATTENTION_MASK], batch);
    for (; row < end; row += detail->block_rows) {
        size_t m = lego_min_size(detail->block_rows, end - row);
        ptrdiff_t at = (ptrdiff_t)row;
        attention_product(detail->scores, m, a->columns, a->depth, q + at * q_stride, q_stride,
                          (const float *)scratch, scores, (ptrdiff_t)detail->score_stride,
                          pointers);
        for (size_t i = 0; i < m; i++)
            attention_softmax(call, mask ? mask + (at + (ptrdiff_t)i) * mask_stride : NULL,
                              scores + i * detail->score_stride);
        attention_product(detail->values, m, a->width, a->columns, scores,
                          (ptrdiff_t)detail->score_stride,
                          (const float *)(scratch + detail->values_at), out + at * out_stride,
                          out_stride, pointers);
    }
}

static void attention_task(void *context, uint32_t slot, size_t item)
{
    struct attention_call *call = context;
    const struct attention_detail *detail = call->detail;
    size_t batch = item / call->chunks, chunk = item % call->chunks;
    size_t blocks = lego_div_up(detail->a.rows, detail->block_rows);
    size_t row = blocks * chunk / call->chunks * detail->block_rows;
    size_t end = blocks * (chunk + 1) / call->chunks * detail->block_rows;
    char *scratch = run_slot(call->run, slot);

    if (call->held[slot] != batch)
        attention_panels(call, batch, scratch);
    call->held[slot] = batch;
    attention_rows(call, batch, row, lego_min_size(end, detail->a.rows), scratch);
}

static int attention_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct attention_detail *detail = step->detail;
    struct attention_call call = {
        .run = run, .detail = detail, .out = run_floats(run, step->outputs[0])};
    uint32_t slots = workers_worth(run->workers, SIZE_MAX, step->work);
    size_t wanted = slots > 1 ? 3 * slots : 1;

    (void)diag;
    for (uint32_t i = 0; i < step->input_count; i++)
        call.inputs[i] = run_floats(run, step->inputs[i]);
    memset(call.held, -1, sizeof(call.held));
    call.chunks = lego_min_size(lego_div_up(wanted, detail->a.batch),
                                lego_div_up(detail->a.rows, detail->block_rows));
    workers_run(run->workers, slots, detail->a.batch * call.chunks, attention_task, &call);
    return LEGO_OK;
}

static size_t panel_bytes(const struct kern_gemm_variant *variant, size_t k, size_t n)
{
    return (lego_div_up(n, variant->nr) * variant->nr * k * sizeof(float) + 63) & ~(size_t)63;
}

static void attention_scratch(struct plan_builder *b, struct attention_detail *detail)
{
    const struct kern_table *kernels = &b->model->kernels;
    const struct attention *a = &detail->a;
    uint32_t mr;

    detail->scores = gemm_choose(kernels, (uint32_t)a->columns, a->rows);
    detail->values = gemm_choose(kernels, (uint32_t)a->width, a->rows);
    mr = detail->scores->mr > detail->values->mr ? detail->scores->mr : detail->values->mr;
    detail->score_stride = (a->columns + 15) & ~(size_t)15;
    detail->block_rows =
        lego_max_size(1, ATTENTION_SCORE_BYTES / (detail->score_stride * sizeof(float)) / mr);
    detail->block_rows = lego_min_size(detail->block_rows, 8) * mr;
    detail->values_at = panel_bytes(detail->scores, a->depth, a->columns);
    detail->scores_at = detail->values_at + panel_bytes(detail->values, a->columns, a->width);
    detail->pointers_at =
        detail->scores_at + detail->block_rows * detail->score_stride * sizeof(float);
    plan_need_slot(b, detail->pointers_at + mr * sizeof(float *));
}

int plan_attention(struct plan_builder *b, const struct attention *attention)
{
    struct attention_detail detail = {.a = *attention};
    const struct attention *a = &detail.a;
    int32_t inputs[ATTENTION_INPUTS], out;
    uint32_t count = ATTENTION_INPUTS;
    struct plan_step *step;
    int status;

    if (a->inputs[ATTENTION_MASK] < 0)
        count--;
    for (uint32_t i = 0; i < count; i++) {
        inputs[i] = plan_operand(b, a->inputs[i], PLAN_PLAIN);
        if (inputs[i] < 0)
            return inputs[i];
        if (plan_is_constant(b, a->inputs[i])) {
            status = plan_constant_data(b, a->inputs[i], &b->plan->values[inputs[i]].constant);
            if (status)
                return status;
        }
    }
    out = plan_output(b, a->output, PLAN_PLAIN);
    if (out < 0)
        return out;
    attention_scratch(b, &detail);
    step = plan_step_add(b, a->node, attention_run, sizeof(detail), inputs, count, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    step->op = "Attention";
    *(struct attention_detail *)step->detail = detail;
    step->macs = (uint64_t)a->batch * a->rows * a->columns * (a->depth + a->width);
    step->work = step->macs;
    return LEGO_OK;
}
