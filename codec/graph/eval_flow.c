/*
 * Evaluation of If, Loop and Scan: their subgraphs by lego_graph_evaluate, with bounds on what a
 * model can make them do.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <stdlib.h>
#include <string.h>

struct lego_arena *flow_arena_open(const struct flow_budget *budget)
{
    /* 0 would be no limit */
    return lego_arena_create(!budget ? 0 : budget->bytes > 0 ? budget->bytes : 1);
}

void flow_arena_keep(struct flow_budget *budget, const struct lego_arena *arena)
{
    if (budget)
        budget->bytes -= lego_min_size(budget->bytes, lego_arena_used_bytes(arena));
}

void flow_arena_close(struct flow_budget *budget, struct lego_arena *arena)
{
    if (budget && arena)
        budget->bytes += lego_arena_used_bytes(arena);
    lego_arena_destroy(arena);
}

int flow_step(struct flow_budget *budget, const struct lego_node *node, struct lego_diag *diag)
{
    if (!budget || budget->steps-- > 0)
        return LEGO_OK;
    budget->steps = 0;
    return lego_fail(diag, LEGO_E_LIMIT, "node '%s' (%s): a loop of more than %u steps", node->name,
                     lego_op_name(node->op), FLOW_MAX_STEPS);
}

/* A copy in `arena`. */
static int copy_array(const struct eval_context *c, const struct lego_array *from,
                      struct lego_arena *arena, struct lego_array *ret_array)
{
    int status = eval_new_array(arena, from->dtype, &from->shape, ret_array);
    if (status != LEGO_OK)
        return eval_fail(c, status, "no memory for an output");
    if (ret_array->data)
        memcpy(ret_array->data, from->data, eval_elems(from) * lego_dtype_bytes(from->dtype));
    return LEGO_OK;
}

/* The single element of a present input of the type, E_TYPE or E_SHAPE for any other. */
static int scalar_input(const struct eval_context *c, uint32_t input, enum lego_dtype dtype,
                        int64_t *ret_value)
{
    const struct lego_array *in = eval_in(c, input);
    size_t elems;
    if (in->dtype != dtype)
        return eval_fail(c, LEGO_E_TYPE, "input %u is %s, not %s", input,
                         lego_dtype_name(in->dtype), lego_dtype_name(dtype));
    if (lego_shape_elems(&in->shape, &elems) != LEGO_OK || elems != 1)
        return eval_fail(c, LEGO_E_SHAPE, "input %u must have one element", input);
    *ret_value = eval_get_int(in, 0);
    return LEGO_OK;
}

static int eval_branch(const struct eval_context *c, struct lego_arena *arena,
                       struct lego_array *ret_outputs)
{
    struct flow_if flow;
    int64_t condition = 0;
    int status = flow_read_if(c->node, &flow, c->diag);
    if (status == LEGO_OK)
        status = scalar_input(c, 0, LEGO_DTYPE_BOOL, &condition);
    if (status != LEGO_OK)
        return status;
    const struct lego_graph *branch = flow.branch[condition != 0];
    struct lego_array *inputs = eval_scratch(c, branch->input_count, sizeof(*inputs));
    struct lego_array *outputs = eval_scratch(c, branch->output_count, sizeof(*outputs));
    if (!inputs || !outputs)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < branch->input_count; i++)
        inputs[i] = *c->inputs[flow.first_input[condition != 0] + i];
    status = eval_graph_within(branch, inputs, outputs, arena, c->budget, c->diag);
    if (status == LEGO_OK)
        memcpy(ret_outputs, outputs, c->node->output_count * sizeof(*outputs));
    return status;
}

/* What the iterations gave for one output, one after the other. */
struct stack {
    struct lego_array each; /* type and shape of one; the first decides */
    char *data;             /* malloc'ed */
    size_t bytes, capacity;
    int64_t count;
};

/* A Loop or Scan while it runs. */
struct iteration {
    const struct eval_context *c;
    struct flow_body flow;
    struct flow_budget *budget;
    struct lego_array *inputs, *outputs; /* of the body */
    struct stack *stacks;
    struct lego_arena *held; /* what is carried, from the second iteration on */
};

static int push(struct iteration *it, struct stack *stack, const struct lego_array *array)
{
    size_t bytes = eval_elems(array) * lego_dtype_bytes(array->dtype), need;
    if (stack->count == 0)
        stack->each = (struct lego_array){array->dtype, array->shape, NULL};
    if (array->dtype != stack->each.dtype || !lego_shape_equal(&array->shape, &stack->each.shape))
        return eval_fail(it->c, LEGO_E_SHAPE, "iteration %lld gives another type or shape",
                         (long long)stack->count);
    if (!lego_add_size(stack->bytes, bytes, &need))
        return eval_fail(it->c, LEGO_E_OVERFLOW, "too many iterations");
    if (need > stack->capacity) {
        size_t capacity = need < SIZE_MAX / 2 ? 2 * need : need;
        if (capacity - stack->capacity > it->budget->bytes)
            return eval_fail(it->c, LEGO_E_LIMIT, "its outputs take more than %zu bytes",
                             FLOW_MAX_BYTES);
        char *data = realloc(stack->data, capacity);
        if (!data)
            return eval_fail(it->c, LEGO_E_NOMEM, "no memory for %zu bytes of outputs", capacity);
        it->budget->bytes -= capacity - stack->capacity;
        stack->data = data;
        stack->capacity = capacity;
    }
    if (bytes > 0)
        memcpy(stack->data + stack->bytes, array->data, bytes);
    stack->bytes = need;
    stack->count++;
    return LEGO_OK;
}

/* Runs the body once on `it->inputs`: carried values become inputs, the others are stacked. */
static int run_once(struct iteration *it)
{
    const struct flow_body *flow = &it->flow;
    int status = flow_step(it->budget, it->c->node, it->c->diag);
    struct lego_arena *arena = status == LEGO_OK ? flow_arena_open(it->budget) : NULL;
    if (status == LEGO_OK && !arena)
        status = eval_fail(it->c, LEGO_E_NOMEM, "no memory for an iteration");
    if (status == LEGO_OK)
        status =
            eval_graph_within(flow->body, it->inputs, it->outputs, arena, it->budget, it->c->diag);
    if (status != LEGO_OK) {
        lego_arena_destroy(arena);
        return status;
    }
    flow_arena_keep(it->budget, arena);
    for (uint32_t i = 0; i < flow->carried && status == LEGO_OK; i++) {
        struct lego_array *carried = &it->inputs[flow->fixed + i];
        const struct lego_array *next = &it->outputs[flow->conditions + i];
        if (next->dtype != carried->dtype)
            status = eval_fail(it->c, LEGO_E_TYPE, "what is carried as %s comes back as %s",
                               lego_dtype_name(carried->dtype), lego_dtype_name(next->dtype));
        *carried = *next;
    }
    for (uint32_t i = 0; i < flow->stacked && status == LEGO_OK; i++)
        status = push(it, &it->stacks[i], &it->outputs[flow->conditions + flow->carried + i]);
    flow_arena_close(it->budget, it->held);
    it->held = arena;
    return status;
}

/* The type of a stacked output of no iterations is what inference says. */
static int empty_stack(const struct iteration *it, uint32_t index, int64_t axis,
                       struct lego_arena *arena, struct lego_array *ret_array)
{
    const struct eval_context *c = it->c;
    uint32_t output = it->flow.carried + index;
    struct lego_infer_io io;
    struct infer_context infer;
    enum lego_dtype *dtypes = eval_scratch(c, c->node->output_count, sizeof(*dtypes));
    struct lego_shape *shapes = eval_scratch(c, c->node->output_count, sizeof(*shapes));
    int status = dtypes && shapes ? eval_inference(c, &io, &infer) : LEGO_E_NOMEM;
    if (status != LEGO_OK)
        return status;
    io.ret_dtypes = dtypes;
    io.ret_shapes = shapes;
    status = lego_infer_node(&io, c->diag);
    if (status != LEGO_OK)
        return status;
    struct lego_shape *shape = &shapes[output];
    if (shape->rank == LEGO_RANK_UNKNOWN || dtypes[output] == LEGO_DTYPE_UNKNOWN)
        return eval_fail(c, LEGO_E_SHAPE, "output %u has no iterations, and so no known shape",
                         output);
    shape->dim[axis < 0 ? axis + shape->rank : axis] = 0;
    for (int d = 0; d < shape->rank; d++)
        shape->dim[d] = shape->dim[d] < 0 ? 0 : shape->dim[d];
    status = eval_new_array(arena, dtypes[output], shape, ret_array);
    return status ? eval_fail(c, status, "no memory for output %u", output) : LEGO_OK;
}

/* All iterations of an output as one array, with `axis` over them. */
static int give_stack(const struct iteration *it, uint32_t index, int64_t axis, bool backwards,
                      struct lego_arena *arena, struct lego_array *ret_array)
{
    const struct stack *stack = &it->stacks[index];
    if (stack->count == 0)
        return empty_stack(it, index, axis, arena, ret_array);
    struct lego_shape from = {.rank = stack->each.shape.rank + 1, .dim = {stack->count}}, to;
    if (from.rank > LEGO_MAX_RANK || axis < -from.rank || axis >= from.rank)
        return eval_fail(it->c, LEGO_E_SHAPE, "axis %lld of an output of rank %d", (long long)axis,
                         from.rank);
    int at = (int)(axis < 0 ? axis + from.rank : axis);
    memcpy(from.dim + 1, stack->each.shape.dim, (size_t)stack->each.shape.rank * sizeof(int64_t));
    to.rank = from.rank;
    for (int d = 0; d < to.rank; d++)
        to.dim[d] = d == at ? from.dim[0] : from.dim[d < at ? d + 1 : d];
    int status = eval_new_array(arena, stack->each.dtype, &to, ret_array);
    if (status != LEGO_OK)
        return eval_fail(it->c, status, "no memory for an output");
    if (!ret_array->data)
        return LEGO_OK;
    int64_t from_strides[LEGO_MAX_RANK], to_strides[LEGO_MAX_RANK], strides[LEGO_MAX_RANK];
    size_t bytes = lego_dtype_bytes(stack->each.dtype);
    const char *data = stack->data;
    eval_strides(&from, from_strides);
    eval_strides(&to, to_strides);
    for (int d = 0; d < to.rank; d++)
        strides[d] = d == at ? from_strides[0] : from_strides[d < at ? d + 1 : d];
    if (backwards) {
        data += (size_t)(stack->count - 1) * (size_t)from_strides[0] * bytes;
        strides[at] = -strides[at];
    }
    eval_copy_strided(bytes, to.rank, to.dim, ret_array->data, to_strides, data, strides);
    return LEGO_OK;
}

static int give_outputs(const struct iteration *it, struct lego_arena *arena,
                        struct lego_array *ret_outputs)
{
    const struct lego_node *node = it->c->node;
    int status = LEGO_OK;
    for (uint32_t i = 0; i < node->output_count && status == LEGO_OK; i++) {
        if (node->outputs[i] < 0)
            continue;
        if (i < it->flow.carried) {
            status = copy_array(it->c, &it->inputs[it->flow.fixed + i], arena, &ret_outputs[i]);
            continue;
        }
        uint32_t index = i - it->flow.carried;
        status = give_stack(it, index, flow_axis(node, "scan_output_axes", index),
                            flow_backwards(node, "scan_output_directions", index), arena,
                            &ret_outputs[i]);
    }
    return status;
}

/* True where the body hands its condition on, or has a constant for it that is true: only the
 * number of trips ends such a loop. */
static bool never_stops(const struct lego_graph *body)
{
    int32_t value = body->outputs[0];
    for (uint32_t n = body->node_count; n-- > 0;) {
        const struct lego_node *node = &body->nodes[n];
        if (node->op == LEGO_OP_Identity && node->outputs[0] == value)
            value = node->inputs[0];
    }
    if (value == body->inputs[1])
        return true;
    int32_t tensor = value < 0 ? -1 : body->values[value].tensor;
    return tensor >= 0 && body->tensors[tensor].dtype == LEGO_DTYPE_BOOL &&
           body->tensors[tensor].bytes == 1 && body->tensors[tensor].data &&
           *(const uint8_t *)body->tensors[tensor].data;
}

static int run_loop(struct iteration *it)
{
    int64_t trips = INT64_MAX, running = 1;
    int status = LEGO_OK;
    if (eval_in(it->c, 0))
        status = scalar_input(it->c, 0, LEGO_DTYPE_INT64, &trips);
    if (status == LEGO_OK && eval_in(it->c, 1))
        status = scalar_input(it->c, 1, LEGO_DTYPE_BOOL, &running);
    if (status == LEGO_OK && running && trips > (int64_t)FLOW_MAX_STEPS &&
        never_stops(it->flow.body))
        return eval_fail(it->c, LEGO_E_LIMIT, "a loop of more than %u steps", FLOW_MAX_STEPS);
    for (int64_t i = 0; status == LEGO_OK && running && i < trips; i++) {
        uint8_t yes = 1;
        it->inputs[0] = (struct lego_array){.dtype = LEGO_DTYPE_INT64, .data = &i};
        it->inputs[1] = (struct lego_array){.dtype = LEGO_DTYPE_BOOL, .data = &yes};
        status = run_once(it);
        if (status != LEGO_OK)
            break;
        const struct lego_array *condition = &it->outputs[0];
        if (condition->dtype != LEGO_DTYPE_BOOL || eval_elems(condition) != 1)
            return eval_fail(it->c, LEGO_E_TYPE, "its condition is not one BOOL");
        running = *(const uint8_t *)condition->data;
    }
    return status;
}

/* Slice `t` of the inputs that are scanned, in `arena`. */
static int slice_inputs(struct iteration *it, int64_t t, int64_t length, struct lego_arena *arena)
{
    const struct lego_node *node = it->c->node;
    for (uint32_t i = 0; i < it->flow.scanned; i++) {
        const struct lego_array *whole = it->c->inputs[it->flow.carried + i];
        struct lego_array *slice = &it->inputs[it->flow.carried + i];
        int64_t axis = flow_axis(node, "scan_input_axes", i), strides[LEGO_MAX_RANK];
        int at = (int)(axis < 0 ? axis + whole->shape.rank : axis);
        int64_t index = flow_backwards(node, "scan_input_directions", i) ? length - 1 - t : t;
        struct lego_shape shape = {.rank = whole->shape.rank - 1};
        for (int d = 0; d < shape.rank; d++)
            shape.dim[d] = whole->shape.dim[d < at ? d : d + 1];
        int status = eval_new_array(arena, whole->dtype, &shape, slice);
        if (status != LEGO_OK)
            return eval_fail(it->c, status, "no memory for a slice of input %u", i);
        if (!slice->data)
            continue;
        size_t bytes = lego_dtype_bytes(whole->dtype);
        int64_t from[LEGO_MAX_RANK];
        eval_strides(&whole->shape, strides);
        const char *data = (const char *)whole->data + (size_t)(index * strides[at]) * bytes;
        for (int d = 0; d < shape.rank; d++)
            from[d] = strides[d < at ? d : d + 1];
        eval_strides(&shape, strides);
        eval_copy_strided(bytes, shape.rank, shape.dim, slice->data, strides, data, from);
    }
    return LEGO_OK;
}

/* The length of all sequences. */
static int scan_length(const struct iteration *it, int64_t *ret_length)
{
    for (uint32_t i = 0; i < it->flow.scanned; i++) {
        const struct lego_shape *shape = &it->c->inputs[it->flow.carried + i]->shape;
        int64_t axis = flow_axis(it->c->node, "scan_input_axes", i);
        if (axis < -shape->rank || axis >= shape->rank)
            return eval_fail(it->c, LEGO_E_INVALID, "axis %lld is outside rank %d", (long long)axis,
                             shape->rank);
        int64_t length = shape->dim[axis < 0 ? axis + shape->rank : axis];
        if (i > 0 && length != *ret_length)
            return eval_fail(it->c, LEGO_E_SHAPE, "sequences of %lld and %lld elements",
                             (long long)*ret_length, (long long)length);
        *ret_length = length;
    }
    return LEGO_OK;
}

static int run_scan(struct iteration *it)
{
    int64_t length = 0;
    int status = scan_length(it, &length);
    for (int64_t t = 0; status == LEGO_OK && t < length; t++) {
        struct lego_arena *arena = flow_arena_open(it->budget);
        if (!arena)
            return eval_fail(it->c, LEGO_E_NOMEM, "no memory for an iteration");
        status = slice_inputs(it, t, length, arena);
        if (status == LEGO_OK) {
            flow_arena_keep(it->budget, arena);
            status = run_once(it);
            flow_arena_close(it->budget, arena);
        } else {
            lego_arena_destroy(arena);
        }
    }
    return status;
}

static int eval_iterations(const struct eval_context *c, struct lego_arena *arena,
                           struct lego_array *ret_outputs)
{
    struct flow_budget own = {.steps = FLOW_MAX_STEPS, .bytes = FLOW_MAX_BYTES};
    struct iteration it = {.c = c, .budget = c->budget ? c->budget : &own};
    int status = flow_read_body(c->node, &it.flow, c->diag);
    if (status != LEGO_OK)
        return status;
    it.inputs = eval_scratch(c, it.flow.body->input_count, sizeof(*it.inputs));
    it.outputs = eval_scratch(c, it.flow.body->output_count, sizeof(*it.outputs));
    it.stacks = eval_scratch(c, it.flow.stacked, sizeof(*it.stacks));
    if (!it.inputs || !it.outputs || !it.stacks)
        return LEGO_E_NOMEM;
    for (uint32_t i = it.flow.fixed; i < it.flow.body->input_count; i++)
        it.inputs[i] = *c->inputs[i];
    status = c->node->op == LEGO_OP_Loop ? run_loop(&it) : run_scan(&it);
    if (status == LEGO_OK)
        status = give_outputs(&it, arena, ret_outputs);
    for (uint32_t i = 0; i < it.flow.stacked; i++) {
        it.budget->bytes += it.stacks[i].capacity;
        free(it.stacks[i].data);
    }
    flow_arena_close(it.budget, it.held);
    return status;
}

int eval_flow_alloc(const struct eval_context *c, struct lego_arena *arena,
                    struct lego_array *ret_outputs)
{
    for (uint32_t i = 0; i < c->node->input_count; i++) {
        const struct lego_array *in = c->inputs[i];
        if (c->node->inputs[i] >= 0 && (!in || !lego_shape_is_static(&in->shape)))
            return eval_fail(c, LEGO_E_INVALID, "input %u is not given", i);
    }
    return c->node->op == LEGO_OP_If ? eval_branch(c, arena, ret_outputs)
                                     : eval_iterations(c, arena, ret_outputs);
}

/* With outputs whose types and shapes are decided already. */
int eval_flow(const struct eval_context *c)
{
    struct lego_array *made = eval_scratch(c, c->node->output_count, sizeof(*made));
    int status = made ? eval_flow_alloc(c, c->scratch, made) : LEGO_E_NOMEM;
    for (uint32_t i = 0; i < c->node->output_count && status == LEGO_OK; i++) {
        struct lego_array *out = eval_out(c, i);
        if (!out)
            continue;
        if (out->dtype != made[i].dtype || !lego_shape_equal(&out->shape, &made[i].shape))
            return eval_fail(c, LEGO_E_SHAPE, "output %u has another type or shape than planned",
                             i);
        if (made[i].data)
            memcpy(out->data, made[i].data, eval_elems(out) * lego_dtype_bytes(out->dtype));
    }
    return status;
}
