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
        detail->lo = node->act_lo;
        detail->hi = node->act_hi;
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
 * A binary operator, and where an Add follows that, too: nested loops over `rank` dimensions, in
 * the order of the output's memory, the innermost by kernel. Operands step by their strides, 0
 * where they are broadcast.
 */
enum { BINARY_X, BINARY_Y, BINARY_ADD, BINARY_OPERANDS };

struct binary_detail {
    kern_binary_f32_fn kernel;
    kern_binary_f32_fn add; /* of the third operand; NULL: there is none */
    int rank;               /* at least 1 */
    size_t dim[LEGO_MAX_RANK];
    ptrdiff_t stride[BINARY_OPERANDS][LEGO_MAX_RANK]; /* elements */
    float lo, hi;
    kern_unary_f32_fn activation;
    float act_lo, act_hi;
};

struct binary_call {
    const struct plan_run *run;
    const struct binary_detail *detail;
    const float *operands[BINARY_OPERANDS];
    float *out;
    size_t rows;
    size_t chunk, chunks; /* of the innermost dimension */
    size_t item_rows;     /* that one item goes through */
};

/* Operands with another step than the kernel takes are gathered here, part by part. */
#define BINARY_GATHER_ELEMS 512

/* What the first of two kernels writes has to be near for the second one. */
#define BINARY_TWO_ELEMS 4096

static const float *binary_gather(const float *from, ptrdiff_t step, size_t n, float *to)
{
    if (step == 1)
        return from;
    for (size_t i = 0; i < n; i++)
        to[i] = from[(ptrdiff_t)i * step];
    return to;
}

static void binary_inner(kern_binary_f32_fn kernel, size_t n, const float *x, ptrdiff_t sx,
                         const float *y, ptrdiff_t sy, float *out, float lo, float hi)
{
    float gathered[2][BINARY_GATHER_ELEMS];

    if (sx == 1 && (sy == 0 || sy == 1)) {
        kernel(n, x, y, (size_t)sy, out, lo, hi);
        return;
    }
    for (size_t at = 0; at < n; at += BINARY_GATHER_ELEMS) {
        size_t count = lego_min_size(BINARY_GATHER_ELEMS, n - at);
        kernel(count, binary_gather(x + (ptrdiff_t)at * sx, sx, count, gathered[0]),
               binary_gather(y + (ptrdiff_t)at * sy, sy, count, gathered[1]), 1, out + at, lo, hi);
    }
}

/* Where a row is in each operand. */
struct binary_row {
    size_t index[LEGO_MAX_RANK];
    ptrdiff_t at[BINARY_OPERANDS];
};

static void binary_seek(const struct binary_detail *detail, size_t row, struct binary_row *ret_row)
{
    *ret_row = (struct binary_row){0};
    for (int i = detail->rank - 2; i >= 0; i--) {
        ret_row->index[i] = row % detail->dim[i];
        row /= detail->dim[i];
        for (int k = 0; k < BINARY_OPERANDS; k++)
            ret_row->at[k] += (ptrdiff_t)ret_row->index[i] * detail->stride[k][i];
    }
}

static void binary_next(const struct binary_detail *detail, struct binary_row *row)
{
    for (int i = detail->rank - 2; i >= 0; i--) {
        bool wraps = ++row->index[i] == detail->dim[i];
        ptrdiff_t steps = wraps ? 1 - (ptrdiff_t)detail->dim[i] : 1;
        for (int k = 0; k < BINARY_OPERANDS; k++)
            row->at[k] += steps * detail->stride[k][i];
        if (!wraps)
            return;
        row->index[i] = 0;
    }
}

/* `n` elements of a row from `first` on. */
static void binary_part(const struct binary_call *call, const struct binary_row *row, size_t first,
                        size_t n, float *out)
{
    const struct binary_detail *detail = call->detail;
    const float *from[BINARY_OPERANDS];
    ptrdiff_t step[BINARY_OPERANDS];
    bool both = detail->add != NULL;

    for (int k = 0; k < BINARY_OPERANDS; k++) {
        step[k] = detail->stride[k][detail->rank - 1];
        from[k] = call->operands[k] + row->at[k] + (ptrdiff_t)first * step[k];
    }
    binary_inner(detail->kernel, n, from[BINARY_X], step[BINARY_X], from[BINARY_Y], step[BINARY_Y],
                 out, both ? -INFINITY : detail->lo, both ? INFINITY : detail->hi);
    if (both)
        binary_inner(detail->add, n, out, 1, from[BINARY_ADD], step[BINARY_ADD], out, detail->lo,
                     detail->hi);
}

/* A part of one row, or some rows: item counts groups of rows by chunks. */
static void binary_task(void *context, uint32_t slot, size_t item)
{
    const struct binary_call *call = context;
    const struct binary_detail *detail = call->detail;
    size_t inner = detail->dim[detail->rank - 1], first = item % call->chunks * call->chunk;
    size_t n = lego_min_size(call->chunk, inner - first);
    size_t row = item / call->chunks * call->item_rows;
    size_t end = lego_min_size(row + call->item_rows, call->rows);
    float *out = call->out + row * inner + first;
    struct binary_row at;

    (void)slot;
    binary_seek(detail, row, &at);
    for (size_t r = row; r < end; r++, binary_next(detail, &at))
        binary_part(call, &at, first, n, out + (r - row) * inner);
    /* Where there are several rows they are whole. */
    n = end - row > 1 ? (end - row) * inner : n;
    if (detail->activation)
        detail->activation(n, out, out, detail->act_lo, detail->act_hi);
}

static int binary_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct binary_detail *detail = step->detail;
    size_t inner = detail->dim[detail->rank - 1], items;
    size_t most = detail->add ? BINARY_TWO_ELEMS : PLAN_CHUNK_ELEMS;
    struct binary_call call = {
        .run = run,
        .detail = detail,
        .out = run_floats(run, step->outputs[0]),
        .rows = 1,
        .chunk = lego_min_size(inner, most),
    };

    (void)diag;
    for (uint32_t k = 0; k < BINARY_OPERANDS; k++)
        call.operands[k] = run_floats(run, step->inputs[k < step->input_count ? k : 0]);
    for (int i = 0; i < detail->rank - 1; i++)
        call.rows *= detail->dim[i];
    call.chunks = lego_div_up(inner, call.chunk);
    call.item_rows = lego_max_size(1, most / inner);
    items = lego_div_up(call.rows, call.item_rows) * call.chunks;
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

/* True where all operands walk through dimensions `kept` and, behind it, `i` in one stride. */
static bool binary_joins(const struct binary_detail *detail, int kept, int i)
{
    for (int k = 0; k < BINARY_OPERANDS; k++)
        if (detail->stride[k][kept] != detail->stride[k][i] * (ptrdiff_t)detail->dim[i])
            return false;
    return true;
}

/* Joins neighbouring dimensions. */
static void binary_collapse(struct binary_detail *detail)
{
    int kept = 0;

    for (int i = 0; i < detail->rank; i++) {
        bool joins = kept && binary_joins(detail, kept - 1, i);
        if (detail->dim[i] == 1)
            continue;
        kept += !joins;
        detail->dim[kept - 1] = joins ? detail->dim[kept - 1] * detail->dim[i] : detail->dim[i];
        for (int k = 0; k < BINARY_OPERANDS; k++)
            detail->stride[k][kept - 1] = detail->stride[k][i];
    }
    if (!kept) {
        detail->dim[0] = 1;
        for (int k = 0; k < BINARY_OPERANDS; k++)
            detail->stride[k][0] = 1;
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

/* Channels-last where an operand of the output's shape already is. */
static enum plan_layout binary_layout(const struct plan_builder *b, const int32_t *operands,
                                      uint32_t count, const struct lego_shape *out)
{
    for (uint32_t k = 0; k < count; k++)
        if (!plan_is_constant(b, operands[k]) &&
            lego_shape_equal(&b->graph->values[operands[k]].shape, out) &&
            plan_native(b, operands[k]) == PLAN_CHANNELS_LAST)
            return PLAN_CHANNELS_LAST;
    return PLAN_PLAIN;
}

/* Operands of the output's shape come in its layout; others as they are. */
static int32_t binary_operand(struct plan_builder *b, int32_t value, const struct lego_shape *out,
                              enum plan_layout layout)
{
    bool whole = lego_shape_equal(&b->graph->values[value].shape, out);
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
    int32_t operand = operands[BINARY_X];

    operands[BINARY_X] = operands[BINARY_Y];
    operands[BINARY_Y] = operand;
    for (int i = 0; i < detail->rank; i++) {
        ptrdiff_t stride = detail->stride[BINARY_X][i];
        detail->stride[BINARY_X][i] = detail->stride[BINARY_Y][i];
        detail->stride[BINARY_Y][i] = stride;
    }
}

/* Fills in the loops for operands and output, plan values all. */
static void binary_loops(const struct plan_builder *b, const int32_t *operands, uint32_t count,
                         int32_t out, struct binary_detail *detail)
{
    const struct plan_value *to = &b->plan->values[out];
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];

    detail->rank = to->shape.rank;
    plan_physical(to, dims, order);
    for (int i = 0; i < detail->rank; i++)
        detail->dim[i] = (size_t)dims[i];
    for (uint32_t k = 0; k < count; k++)
        binary_strides(&b->plan->values[operands[k]], detail->rank, order, detail->stride[k]);
    binary_collapse(detail);
}

/* The output may lie where an operand dies, unless that is still to be added when it is written. */
static void binary_reuse(struct plan_builder *b, const int32_t *operands, uint32_t count,
                         int32_t out)
{
    struct plan_value *values = b->plan->values;
    size_t offset;

    for (int i = 0; i < 2 && values[out].reuse < 0; i++)
        if (values[operands[i]].layout == values[out].layout &&
            lego_shape_equal(&values[operands[i]].shape, &values[out].shape) &&
            (count < BINARY_OPERANDS || plan_root(b->plan, operands[i], &offset) !=
                                            plan_root(b->plan, operands[BINARY_ADD], &offset)))
            values[out].reuse = operands[i];
}

int plan_binary(struct plan_builder *b, const struct lego_node *node)
{
    struct binary_detail detail = {.kernel = binary_kernel(&b->model->kernels, node->op)};
    struct lego_node whole = *node;
    int32_t of[BINARY_OPERANDS], operands[BINARY_OPERANDS], out;
    uint32_t count = 2;
    const struct lego_shape *shape = &b->graph->values[node->outputs[0]].shape;
    enum plan_layout layout;
    struct plan_step *step;

    if (node->input_count != 2 || node->inputs[1] < 0 || !plan_is_float(b, node->inputs[1]))
        return PLAN_DECLINED;
    memcpy(of, node->inputs, 2 * sizeof(*of));
    if (plan_take_add(b, &whole, &of[BINARY_ADD])) {
        detail.add = b->model->kernels.add_f32;
        count = BINARY_OPERANDS;
    }
    layout = binary_layout(b, of, count, shape);
    for (uint32_t k = 0; k < count; k++)
        if ((operands[k] = binary_operand(b, of[k], shape, layout)) < 0)
            return operands[k];
    out = plan_output(b, whole.outputs[0], layout);
    if (out < 0)
        return out;
    binary_loops(b, operands, count, out, &detail);
    if (detail.stride[BINARY_X][detail.rank - 1] != 1 &&
        (node->op == LEGO_OP_Add || node->op == LEGO_OP_Mul))
        binary_swap(&detail, operands);
    plan_clamp(&whole, &detail.lo, &detail.hi);
    detail.activation = plan_activation(&b->model->kernels, &whole, &detail.act_lo, &detail.act_hi);
    step = plan_step_add(b, node, binary_run, sizeof(detail), operands, count, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct binary_detail *)step->detail = detail;
    if (detail.add)
        step->op = lego_arena_printf(b->plan->memory, "%s+Add", step->op);
    if (!step->op)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    binary_reuse(b, operands, count, out);
    return LEGO_OK;
}
