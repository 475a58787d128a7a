/*
 * Operators that work element by element, with broadcasting.
 */
#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <math.h>
#include <string.h>

struct unary_detail {
    kern_unary_f32_fn kernel;
    size_t elems;
    float lo, hi;
};

struct unary_call {
    const struct unary_detail *detail;
    const float *x;
    float *out;
};

static void unary_task(void *context, uint32_t slot, size_t item)
{
    const struct unary_call *call = context;
    size_t at = item * PLAN_CHUNK_ELEMS;

    (void)slot;
    call->detail->kernel(lego_min_size(PLAN_CHUNK_ELEMS, call->detail->elems - at), call->x + at,
                         call->out + at, call->detail->lo, call->detail->hi);
}

static int unary_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct unary_detail *detail = step->detail;
    struct unary_call call = {.detail = detail,
                              .x = run_floats(run, step->inputs[0]),
                              .out = run_floats(run, step->outputs[0])};
    size_t items = lego_div_up(detail->elems, PLAN_CHUNK_ELEMS);

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, items, step->work), items, unary_task,
                &call);
    return LEGO_OK;
}

/* A limit of Clip: `otherwise` where absent; false where it is computed. */
static bool clip_limit(const struct plan_builder *b, const struct lego_node *node, uint32_t index,
                       float otherwise, float *ret_limit)
{
    const struct lego_tensor *limit;

    *ret_limit = otherwise;
    if (node->input_count <= index || node->inputs[index] < 0)
        return true;
    limit = lego_node_constant(b->graph, node, index);
    if (!limit || limit->dtype != LEGO_DTYPE_FLOAT32 || limit->coded || limit->bytes != 4)
        return false;
    memcpy(ret_limit, limit->data, sizeof(*ret_limit));
    return true;
}

static bool unary_setup(const struct plan_builder *b, const struct lego_node *node,
                        struct unary_detail *detail)
{
    const struct kern_table *kernels = &b->model->kernels;

    switch (node->op) {
    case LEGO_OP_Relu:
        detail->kernel = kernels->clamp_f32;
        detail->hi = INFINITY;
        return true;
    case LEGO_OP_Clip:
        detail->kernel = kernels->clamp_f32;
        return clip_limit(b, node, 1, -INFINITY, &detail->lo) &&
               clip_limit(b, node, 2, INFINITY, &detail->hi);
    case LEGO_OP_LeakyRelu:
        detail->kernel = kernels->leaky_relu_f32;
        detail->lo = lego_node_float(node, "alpha", 0.01f);
        return true;
    case LEGO_OP_Sigmoid:
        detail->kernel = kernels->sigmoid_f32;
        return true;
    case LEGO_OP_Tanh:
        detail->kernel = kernels->tanh_f32;
        return true;
    case LEGO_OP_HardSigmoid:
        detail->kernel = kernels->hard_sigmoid_f32;
        detail->lo = lego_node_float(node, "alpha", 0.2f);
        detail->hi = lego_node_float(node, "beta", 0.5f);
        return true;
    case LEGO_OP_HardSwish:
        detail->kernel = kernels->hard_swish_f32;
        return true;
    case LEGO_OP_Gelu:
        detail->kernel = kernels->gelu_f32;
        return !strcmp(lego_node_string(node, "approximate", "none"), "none");
    case LEGO_OP_Exp:
        detail->kernel = kernels->exp_f32;
        return true;
    default:
        return false;
    }
}

int plan_unary(struct plan_builder *b, const struct lego_node *node)
{
    struct unary_detail detail = {0};
    enum plan_layout layout = plan_native(b, node->inputs[0]);
    struct plan_step *step;
    int32_t x, out;

    if (plan_is_constant(b, node->inputs[0]) || !unary_setup(b, node, &detail))
        return PLAN_DECLINED;
    x = plan_operand(b, node->inputs[0], layout);
    out = x < 0 ? x : plan_output(b, node->outputs[0], layout);
    if (out < 0)
        return out;
    detail.elems = plan_elems(&b->plan->values[out]);
    step = plan_step_add(b, node, unary_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct unary_detail *)step->detail = detail;
    b->plan->values[out].reuse = x;
    return LEGO_OK;
}

/*
 * A binary operator: nested loops over `rank` dimensions, in the order of the output's memory, the
 * innermost by kernel. Operands step by their strides, 0 where they are broadcast.
 */
struct binary_detail {
    kern_binary_f32_fn kernel;
    int rank; /* at least 1 */
    size_t dim[LEGO_MAX_RANK];
    ptrdiff_t x[LEGO_MAX_RANK], y[LEGO_MAX_RANK]; /* elements */
    float lo, hi;
    kern_unary_f32_fn activation;
    float act_lo, act_hi;
};

struct binary_call {
    const struct plan_run *run;
    const struct binary_detail *detail;
    const float *x, *y;
    float *out;
    size_t chunk, chunks; /* of the innermost dimension */
};

/* Operands with another step than the kernel takes are gathered here, part by part. */
#define BINARY_GATHER_ELEMS 512

static const float *binary_gather(const float *from, ptrdiff_t step, size_t n, float *to)
{
    if (step == 1)
        return from;
    for (size_t i = 0; i < n; i++)
        to[i] = from[(ptrdiff_t)i * step];
    return to;
}

static void binary_inner(const struct binary_detail *detail, size_t n, const float *x,
                         const float *y, float *out)
{
    ptrdiff_t sx = detail->x[detail->rank - 1], sy = detail->y[detail->rank - 1];
    float gathered[2][BINARY_GATHER_ELEMS];

    if (sx == 1 && (sy == 0 || sy == 1)) {
        detail->kernel(n, x, y, (size_t)sy, out, detail->lo, detail->hi);
        return;
    }
    for (size_t at = 0; at < n; at += BINARY_GATHER_ELEMS) {
        size_t count = lego_min_size(BINARY_GATHER_ELEMS, n - at);
        detail->kernel(count, binary_gather(x + (ptrdiff_t)at * sx, sx, count, gathered[0]),
                       binary_gather(y + (ptrdiff_t)at * sy, sy, count, gathered[1]), 1, out + at,
                       detail->lo, detail->hi);
    }
}

/* One part of one row: item counts rows by chunks. */
static void binary_task(void *context, uint32_t slot, size_t item)
{
    const struct binary_call *call = context;
    const struct binary_detail *detail = call->detail;
    int inner = detail->rank - 1;
    size_t row = item / call->chunks, at = item % call->chunks * call->chunk, left = row;
    size_t n = lego_min_size(call->chunk, detail->dim[inner] - at);
    ptrdiff_t x = (ptrdiff_t)at * detail->x[inner], y = (ptrdiff_t)at * detail->y[inner];
    float *out = call->out + row * detail->dim[inner] + at;

    (void)slot;
    for (int i = inner - 1; i >= 0; i--) {
        ptrdiff_t index = (ptrdiff_t)(left % detail->dim[i]);
        left /= detail->dim[i];
        x += index * detail->x[i];
        y += index * detail->y[i];
    }
    binary_inner(detail, n, call->x + x, call->y + y, out);
    if (detail->activation)
        detail->activation(n, out, out, detail->act_lo, detail->act_hi);
}

static int binary_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct binary_detail *detail = step->detail;
    size_t inner = detail->dim[detail->rank - 1], rows = 1, items;
    struct binary_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .y = run_floats(run, step->inputs[1]),
        .out = run_floats(run, step->outputs[0]),
        .chunk = lego_min_size(inner, PLAN_CHUNK_ELEMS),
    };

    (void)diag;
    for (int i = 0; i < detail->rank - 1; i++)
        rows *= detail->dim[i];
    call.chunks = lego_div_up(inner, call.chunk);
    items = rows * call.chunks;
    workers_run(run->workers, workers_worth(run->workers, items, step->work), items, binary_task,
                &call);
    return LEGO_OK;
}

/* Strides of an operand for the output's dimensions in their order in memory. */
static void binary_strides(const struct plan_value *operand, int out_rank, const int *out_order,
                           ptrdiff_t *ret_strides)
{
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK], rank = operand->shape.rank;
    ptrdiff_t logical[LEGO_MAX_RANK] = {0}, stride = 1;

    plan_physical(operand, dims, order);
    for (int i = rank - 1; i >= 0; i--) {
        if (dims[i] != 1)
            logical[out_rank - rank + order[i]] = stride;
        stride *= (ptrdiff_t)dims[i];
    }
    for (int i = 0; i < out_rank; i++)
        ret_strides[i] = logical[out_order[i]];
}

/* Joins neighbouring dimensions that both operands walk through in one stride. */
static void binary_collapse(struct binary_detail *detail)
{
    int kept = 0;

    for (int i = 0; i < detail->rank; i++) {
        ptrdiff_t size = (ptrdiff_t)detail->dim[i];
        if (size == 1)
            continue;
        if (kept && detail->x[kept - 1] == detail->x[i] * size &&
            detail->y[kept - 1] == detail->y[i] * size) {
            detail->dim[kept - 1] *= (size_t)size;
            detail->x[kept - 1] = detail->x[i];
            detail->y[kept - 1] = detail->y[i];
            continue;
        }
        detail->dim[kept] = (size_t)size;
        detail->x[kept] = detail->x[i];
        detail->y[kept++] = detail->y[i];
    }
    if (!kept) {
        detail->dim[0] = 1;
        detail->x[0] = detail->y[0] = 1;
        kept = 1;
    }
    detail->rank = kept;
}

static kern_binary_f32_fn binary_kernel(const struct kern_table *kernels, enum lego_op op)
{
    switch (op) {
    case LEGO_OP_Add:
        return kernels->add_f32;
    case LEGO_OP_Sub:
        return kernels->sub_f32;
    case LEGO_OP_Mul:
        return kernels->mul_f32;
    case LEGO_OP_Div:
        return kernels->div_f32;
    case LEGO_OP_Max:
        return kernels->max_f32;
    case LEGO_OP_Min:
        return kernels->min_f32;
    default:
        return NULL;
    }
}

/* Channels-last where an operand of the output's rank already is. */
static enum plan_layout binary_layout(const struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape *out = &b->graph->values[node->outputs[0]].shape;

    for (int i = 0; i < 2; i++) {
        int32_t value = node->inputs[i];
        if (!plan_is_constant(b, value) && lego_shape_equal(&b->graph->values[value].shape, out) &&
            plan_native(b, value) == PLAN_CHANNELS_LAST)
            return PLAN_CHANNELS_LAST;
    }
    return PLAN_PLAIN;
}

/* Operands of the output's shape come in its layout; others as they are. */
static int32_t binary_operand(struct plan_builder *b, const struct lego_node *node, int index,
                              enum plan_layout layout)
{
    int32_t value = node->inputs[index];
    bool whole =
        lego_shape_equal(&b->graph->values[value].shape, &b->graph->values[node->outputs[0]].shape);
    int32_t operand;
    int status;

    if (!plan_is_constant(b, value))
        return plan_operand(b, value, whole ? layout : plan_native(b, value));
    operand = plan_operand(b, value, PLAN_PLAIN);
    if (operand < 0)
        return operand;
    status = plan_constant_data(b, value, &b->plan->values[operand].constant);
    return status ? status : operand;
}

static void binary_swap(struct binary_detail *detail, int32_t *operands)
{
    int32_t operand = operands[0];

    operands[0] = operands[1];
    operands[1] = operand;
    for (int i = 0; i < detail->rank; i++) {
        ptrdiff_t stride = detail->x[i];
        detail->x[i] = detail->y[i];
        detail->y[i] = stride;
    }
}

int plan_binary(struct plan_builder *b, const struct lego_node *node)
{
    struct binary_detail detail = {.kernel = binary_kernel(&b->model->kernels, node->op)};
    enum plan_layout layout;
    int32_t operands[2], out;
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    struct plan_step *step;

    if (node->input_count != 2 || node->inputs[1] < 0 || !plan_is_float(b, node->inputs[1]))
        return PLAN_DECLINED;
    layout = binary_layout(b, node);
    for (int i = 0; i < 2; i++)
        if ((operands[i] = binary_operand(b, node, i, layout)) < 0)
            return operands[i];
    out = plan_output(b, node->outputs[0], layout);
    if (out < 0)
        return out;
    detail.rank = b->plan->values[out].shape.rank;
    plan_physical(&b->plan->values[out], dims, order);
    for (int i = 0; i < detail.rank; i++)
        detail.dim[i] = (size_t)dims[i];
    binary_strides(&b->plan->values[operands[0]], detail.rank, order, detail.x);
    binary_strides(&b->plan->values[operands[1]], detail.rank, order, detail.y);
    binary_collapse(&detail);
    if (detail.x[detail.rank - 1] != 1 && (node->op == LEGO_OP_Add || node->op == LEGO_OP_Mul))
        binary_swap(&detail, operands);
    plan_clamp(node, &detail.lo, &detail.hi);
    detail.activation = plan_activation(&b->model->kernels, node->activation);
    detail.act_lo = node->act_lo;
    detail.act_hi = node->act_hi;
    step = plan_step_add(b, node, binary_run, sizeof(detail), operands, 2, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct binary_detail *)step->detail = detail;
    for (int i = 0; i < 2 && b->plan->values[out].reuse < 0; i++)
        if (b->plan->values[operands[i]].layout == b->plan->values[out].layout &&
            lego_shape_equal(&b->plan->values[operands[i]].shape, &b->plan->values[out].shape))
            b->plan->values[out].reuse = operands[i];
    return LEGO_OK;
}
