/*
 * Gemm and MatMul: constant right sides (dense or coded) go through panels; two computed operands
 * are packed while running.
 */
#include "agent/runtime/step_gemm_f16.h"
#include "agent/runtime/step_gemm_s8.h"
#include "agent/runtime/step_gemv.h"

#include "codec/base/arith.h"

#include <string.h>

/* Does constant `index` of the node have the view in which the node uses it? */
static bool matmul_weights_fit(const struct plan_builder *b, const struct lego_node *node,
                               enum lego_matrix_view view)
{
    const struct lego_tensor *weights = lego_node_constant(b->graph, node, 1);

    return weights && weights->dtype == LEGO_DTYPE_FLOAT32 && weights->shape.rank == 2 &&
           (!weights->coded || (weights->coded->view == view && weights->coded->groups == 1));
}

/* Are the weights bricks of which nothing is decoded before it is used? */
static bool matmul_keeps_bricks(const struct plan_builder *b, const struct lego_tensor *weights)
{
    return weights->coded && !weights->coded->trellis && b->model->resident != LEGO_RESIDENT_PANELS;
}

/* A step for `pixels` rows of `k` floats times constant weights. */
static int matmul_constant(struct plan_builder *b, const struct lego_node *node,
                           struct gemm_detail detail, enum lego_matrix_view view, int32_t add)
{
    const struct lego_tensor *weights = lego_node_constant(b->graph, node, 1);
    const struct lego_shape *shape = &weights->shape;
    int64_t n = shape->dim[view == LEGO_VIEW_OUT_FIRST ? 0 : 1];
    int64_t k = shape->dim[view == LEGO_VIEW_OUT_FIRST ? 1 : 0];
    struct weights_key key = {.view = view, .groups = 1};
    bool integers = gemm_s8_takes(b, weights, 1, (size_t)k, 1);
    /* One row of inputs is bound by memory, and coded weights are smaller than halves. */
    const bool halves = !integers && detail.pixels > 1 && gemm_f16_takes(b, weights, 1, (size_t)k);
    int32_t a, out;
    int status = LEGO_OK;

    detail.variant = gemm_choose(&b->model->kernels, (uint32_t)n, detail.pixels);
    detail.source = GEMM_ROWS;
    key.nr = detail.variant->nr;
    if ((!integers && !halves) ||
        (integers && detail.pixels == 1 && matmul_keeps_bricks(b, weights)))
        status = plan_weights(b, node, 1, key, &detail.weights);
    if (status)
        return status;
    /* In fixed point a row is as fast as in integers, and exact. */
    if (integers && detail.weights)
        integers = !gemv_takes(&b->model->kernels, &detail) ||
                   !weights_gemv_fixed(&b->model->kernels, detail.weights);
    detail.a_stride = (ptrdiff_t)k;
    detail.out_stride = (ptrdiff_t)n;
    a = plan_operand(b, node->inputs[0], PLAN_PLAIN);
    out = a < 0 ? a : plan_output(b, node->outputs[0], PLAN_PLAIN);
    if (out < 0)
        return out;
    if (halves)
        return gemm_f16_step(b, node, &detail, view, a, add, out);
    return integers ? gemm_s8_step(b, node, &detail, view, a, add, out)
                    : gemm_step(b, node, detail, a, add, out);
}

/*
 * Gemm's third input: a constant of [n] (or broadcast from it) is the bias, a value of the
 * output's shape is added; the rest is declined.
 */
static int gemm_third(struct plan_builder *b, const struct lego_node *node, int64_t n,
                      const float **ret_bias, int32_t *ret_add)
{
    int32_t value = node->input_count > 2 ? node->inputs[2] : -1;
    const struct lego_shape *shape, *output = &b->graph->values[node->outputs[0]].shape;
    const void *data;
    int status;

    if (value < 0)
        return LEGO_OK;
    if (lego_node_float(node, "beta", 1.0f) != 1.0f)
        return PLAN_DECLINED;
    shape = &b->graph->values[value].shape;
    if (plan_is_constant(b, value) && shape->rank >= 1 && shape->dim[shape->rank - 1] == n &&
        (shape->rank == 1 || shape->dim[0] == 1)) {
        status = plan_constant_data(b, value, &data);
        *ret_bias = data;
        return status;
    }
    if (plan_is_constant(b, value) || !lego_shape_equal(shape, output))
        return PLAN_DECLINED;
    *ret_add = plan_operand(b, value, PLAN_PLAIN);
    return *ret_add < 0 ? *ret_add : LEGO_OK;
}

int plan_gemm(struct plan_builder *b, const struct lego_node *node)
{
    enum lego_matrix_view view =
        lego_node_int(node, "transB", 0) ? LEGO_VIEW_OUT_FIRST : LEGO_VIEW_OUT_LAST;
    const struct lego_shape *output = &b->graph->values[node->outputs[0]].shape;
    struct gemm_detail detail = {.pixels = (size_t)output->dim[0]};
    int32_t add = -1;
    int status;

    if (output->rank != 2 || lego_node_int(node, "transA", 0) ||
        lego_node_float(node, "alpha", 1.0f) != 1.0f || !matmul_weights_fit(b, node, view) ||
        plan_is_constant(b, node->inputs[0]))
        return PLAN_DECLINED;
    status = gemm_third(b, node, output->dim[1], &detail.bias, &add);
    return status ? status : matmul_constant(b, node, detail, view, add);
}

/* Two computed operands: [batch...][m][k] times [batch...][k][n], batches equal or one of them 1.
 */
struct matmul_detail {
    const struct kern_gemm_variant *variant;
    size_t batch, m, n, k;
    size_t a_batch_stride, b_batch_stride; /* elements; 0: the same for all */
    float lo, hi;
    kern_unary_f32_fn activation;
    float act_lo, act_hi;
};

struct matmul_call {
    const struct plan_run *run;
    const struct matmul_detail *detail;
    const float *a, *b;
    float *out;
};

/* One row block of one batch: packs its panel, then multiplies all rows with it. */
static void matmul_task(void *context, uint32_t slot, size_t item)
{
    const struct matmul_call *call = context;
    const struct matmul_detail *detail = call->detail;
    uint32_t mr = detail->variant->mr, nr = detail->variant->nr;
    size_t blocks = lego_div_up(detail->n, nr), batch = item / blocks, column = item % blocks * nr;
    float *panel = run_slot(call->run, slot);
    const float **pointers = (const float **)(panel + detail->k * nr);
    const float *a = call->a + batch * detail->a_batch_stride;
    float *out = call->out + batch * detail->m * detail->n + column;
    struct kern_panel_pack pack = {
        .source = call->b + batch * detail->b_batch_stride + column,
        .rows = (uint32_t)lego_min_size(nr, detail->n - column),
        .channels = (uint32_t)detail->k,
        .taps = 1,
        .row_stride = 1,
        .channel_stride = (ptrdiff_t)detail->n,
        .panel = panel,
        .panel_nr = nr,
        .panel_k = (uint32_t)detail->k,
    };
    struct kern_gemm_f32 args = {
        .n = pack.rows,
        .taps = 1,
        .channels = (uint32_t)detail->k,
        .a = pointers,
        .panel = panel,
        .c_stride = (ptrdiff_t)detail->n,
        .lo = detail->lo,
        .hi = detail->hi,
    };

    call->run->kernels->panel_pack(&pack);
    for (size_t row = 0; row < detail->m; row += mr) {
        args.m = (uint32_t)lego_min_size(mr, detail->m - row);
        for (uint32_t i = 0; i < mr; i++)
            pointers[i] = a + (row + (i < args.m ? i : args.m - 1)) * detail->k;
        args.c = out + row * detail->n;
        detail->variant->run(&args);
        for (uint32_t i = 0; detail->activation && i < args.m; i++)
            detail->activation(args.n, args.c + i * detail->n, args.c + i * detail->n,
                               detail->act_lo, detail->act_hi);
    }
}

static int matmul_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct matmul_detail *detail = step->detail;
    size_t items = detail->batch * lego_div_up(detail->n, detail->variant->nr);
    struct matmul_call call = {
        .run = run,
        .detail = detail,
        .a = run_floats(run, step->inputs[0]),
        .b = run_floats(run, step->inputs[1]),
        .out = run_floats(run, step->outputs[0]),
    };

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, items, step->work), items, matmul_task,
                &call);
    return LEGO_OK;
}

/* Product of the dimensions before the last two. */
static size_t batch_of(const struct lego_shape *shape)
{
    size_t batch = 1;

    for (int i = 0; i < shape->rank - 2; i++)
        batch *= (size_t)shape->dim[i];
    return batch;
}

static bool matmul_sizes(const struct lego_shape *a, const struct lego_shape *b,
                         const struct lego_shape *out, struct matmul_detail *detail)
{
    size_t a_batch, b_batch;

    if (a->rank < 2 || b->rank < 2 || out->rank < 2)
        return false;
    a_batch = batch_of(a);
    b_batch = batch_of(b);
    detail->batch = batch_of(out);
    detail->m = (size_t)a->dim[a->rank - 2];
    detail->k = (size_t)a->dim[a->rank - 1];
    detail->n = (size_t)b->dim[b->rank - 1];
    detail->a_batch_stride = a_batch == 1 ? 0 : detail->m * detail->k;
    detail->b_batch_stride = b_batch == 1 ? 0 : detail->k * detail->n;
    return detail->k <= INT32_MAX / 64 && (a_batch == detail->batch || a_batch == 1) &&
           (b_batch == detail->batch || b_batch == 1);
}

static int matmul_computed(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_value *values = b->graph->values;
    struct matmul_detail detail = {0};
    struct plan_step *step;
    int32_t operands[2], out;

    if (!plan_is_float(b, node->inputs[1]) ||
        !matmul_sizes(&values[node->inputs[0]].shape, &values[node->inputs[1]].shape,
                      &values[node->outputs[0]].shape, &detail))
        return PLAN_DECLINED;
    for (int i = 0; i < 2; i++) {
        const struct lego_tensor *constant = lego_node_constant(b->graph, node, (uint32_t)i);
        if (constant && constant->coded)
            return PLAN_DECLINED;
        operands[i] = plan_operand(b, node->inputs[i], PLAN_PLAIN);
        if (operands[i] < 0)
            return operands[i];
    }
    out = plan_output(b, node->outputs[0], PLAN_PLAIN);
    if (out < 0)
        return out;
    detail.variant =
        gemm_choose(&b->model->kernels, (uint32_t)lego_min_size(detail.n, INT32_MAX), detail.m);
    plan_clamp(node, &detail.lo, &detail.hi);
    detail.activation = plan_activation(&b->model->kernels, node, &detail.act_lo, &detail.act_hi);
    plan_need_slot(b, detail.k * detail.variant->nr * sizeof(float) +
                          detail.variant->mr * sizeof(float *));
    step = plan_step_add(b, node, matmul_run, sizeof(detail), operands, 2, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct matmul_detail *)step->detail = detail;
    step->macs = (uint64_t)detail.batch * detail.m * detail.n * detail.k;
    step->work = step->macs;
    return LEGO_OK;
}

int plan_matmul(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *a = &b->graph->values[node->inputs[0]].shape;
    struct gemm_detail detail = {0};
    struct lego_node product = *node;
    int32_t add = -1;
    int status;

    if (!matmul_weights_fit(b, node, LEGO_VIEW_OUT_LAST) || plan_is_constant(b, node->inputs[0]) ||
        a->rank < 1)
        return matmul_computed(b, node);
    detail.pixels = 1;
    for (int i = 0; i < a->rank - 1; i++)
        detail.pixels *= (size_t)a->dim[i];
    status = plan_take_tail(b, &product, lego_node_constant(b->graph, node, 1)->shape.dim[1],
                            &detail.bias, &add);
    return status ? status : matmul_constant(b, &product, detail, LEGO_VIEW_OUT_LAST, add);
}
