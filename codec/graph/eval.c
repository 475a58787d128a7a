/*
 * Evaluation of one node: the table from operators.def, checks, and half types by way of fp32.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int (*const evaluators[LEGO_OP_COUNT])(const struct eval_context *c) = {
#define LEGO_OPERATOR(op, domain, imin, imax, omin, omax, infer, eval, ...) \
    [LEGO_OP_##op] = eval_##eval,
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
};

bool lego_op_evaluates(enum lego_op op)
{
    return op > LEGO_OP_NONE && op < LEGO_OP_COUNT && evaluators[op] != NULL;
}

int eval_fail(const struct eval_context *c, int status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return lego_fail(c->diag, status, "node '%s' (%s): %s", c->node->name,
                     lego_op_name(c->node->op), text);
}

const struct lego_array *eval_in(const struct eval_context *c, uint32_t input)
{
    return input < c->node->input_count && c->node->inputs[input] >= 0 ? c->inputs[input] : NULL;
}

struct lego_array *eval_out(const struct eval_context *c, uint32_t output)
{
    return output < c->node->output_count && c->node->outputs[output] >= 0 ? &c->outputs[output]
                                                                           : NULL;
}

void *eval_scratch(const struct eval_context *c, size_t count, size_t size)
{
    void *memory = lego_arena_calloc(c->scratch, count > 0 ? count : 1, size);
    if (!memory)
        eval_fail(c, LEGO_E_NOMEM, "no memory for %zu temporaries of %zu bytes", count, size);
    return memory;
}

/* Any floating array as fp32, in scratch. */
static const float *convert_to_f32(const struct eval_context *c, const struct lego_array *array)
{
    double chunk[256];
    size_t count = eval_elems(array);
    float *out = eval_scratch(c, count, sizeof(*out));
    if (!out)
        return NULL;
    for (size_t at = 0; at < count; at += 256) {
        size_t n = lego_min_size(256, count - at);
        eval_load_real(array, (int64_t)at, 1, n, chunk);
        for (size_t i = 0; i < n; i++)
            out[at + i] = (float)chunk[i];
    }
    return out;
}

const float *eval_floats(const struct eval_context *c, const struct lego_array *array)
{
    static const float none;
    if (array->dtype == LEGO_DTYPE_FLOAT32)
        return array->data ? array->data : &none;
    return convert_to_f32(c, array);
}

static void convert_from_f32(const float *values, struct lego_array *out)
{
    double chunk[256];
    size_t count = eval_elems(out);
    for (size_t at = 0; at < count; at += 256) {
        size_t n = lego_min_size(256, count - at);
        for (size_t i = 0; i < n; i++)
            chunk[i] = (double)values[at + i];
        eval_store_real(out, at, n, chunk);
    }
}

static bool is_half(enum lego_dtype dtype)
{
    return dtype == LEGO_DTYPE_FLOAT16 || dtype == LEGO_DTYPE_BFLOAT16;
}

/* Runs the evaluator with all half-precision arrays as fp32. */
static int eval_promoted(const struct eval_context *c)
{
    uint32_t ins = c->node->input_count, outs = c->node->output_count;
    struct lego_array *copies = eval_scratch(c, ins, sizeof(*copies));
    const struct lego_array **inputs = eval_scratch(c, ins, sizeof(const struct lego_array *));
    struct lego_array *outputs = eval_scratch(c, outs, sizeof(*outputs));
    if (!copies || !inputs || !outputs)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < ins; i++) {
        const struct lego_array *in = eval_in(c, i);
        inputs[i] = in;
        if (!in || !is_half(in->dtype))
            continue;
        copies[i] = (struct lego_array){LEGO_DTYPE_FLOAT32, in->shape, NULL};
        copies[i].data = (void *)(uintptr_t)convert_to_f32(c, in);
        if (!copies[i].data)
            return LEGO_E_NOMEM;
        inputs[i] = &copies[i];
    }
    for (uint32_t i = 0; i < outs; i++) {
        if (!eval_out(c, i))
            continue;
        outputs[i] = c->outputs[i];
        if (is_half(outputs[i].dtype)) {
            outputs[i].dtype = LEGO_DTYPE_FLOAT32;
            outputs[i].data = eval_scratch(c, eval_elems(&outputs[i]), sizeof(float));
            if (!outputs[i].data)
                return LEGO_E_NOMEM;
        }
    }
    struct eval_context promoted = *c;
    promoted.inputs = inputs;
    promoted.outputs = outputs;
    int status = evaluators[c->node->op](&promoted);
    for (uint32_t i = 0; i < outs && status == LEGO_OK; i++) {
        if (eval_out(c, i) && is_half(c->outputs[i].dtype))
            convert_from_f32(outputs[i].data, &c->outputs[i]);
    }
    return status;
}

static bool any_half(const struct eval_context *c)
{
    for (uint32_t i = 0; i < c->node->input_count; i++) {
        const struct lego_array *in = eval_in(c, i);
        if (in && is_half(in->dtype))
            return true;
    }
    return false;
}

int eval_inference(const struct eval_context *c, struct lego_infer_io *ret_io,
                   struct infer_context *ret_infer)
{
    uint32_t ins = c->node->input_count;
    enum lego_dtype *dtypes = eval_scratch(c, ins, sizeof(*dtypes));
    struct lego_shape *shapes = eval_scratch(c, ins, sizeof(*shapes));
    if (!dtypes || !shapes)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < ins; i++) {
        const struct lego_array *in = eval_in(c, i);
        shapes[i].rank = LEGO_RANK_UNKNOWN;
        if (in) {
            shapes[i] = in->shape;
            dtypes[i] = in->dtype;
        }
    }
    *ret_io = (struct lego_infer_io){
        .graph = c->graph,
        .node = c->node,
        .dtypes = dtypes,
        .shapes = shapes,
        .constants = c->inputs,
    };
    *ret_infer = (struct infer_context){.io = ret_io, .diag = c->diag};
    return LEGO_OK;
}

/* Infers with everything known, so that evaluators may trust what they are given. */
static int infer_again(const struct eval_context *c, enum lego_dtype *ret_dtypes,
                       struct lego_shape *ret_shapes)
{
    struct lego_infer_io io;
    struct infer_context infer;
    for (uint32_t i = 0; i < c->node->input_count; i++) {
        const struct lego_array *in = eval_in(c, i);
        size_t elems;
        if (c->node->inputs[i] >= 0 &&
            (!in || !lego_shape_is_static(&in->shape) || !infer_type_in(in->dtype, LEGO_TYPES_ANY)))
            return eval_fail(c, LEGO_E_INVALID, "input %u is not given", i);
        if (in && (lego_shape_elems(&in->shape, &elems) != LEGO_OK || (elems > 0 && !in->data)))
            return eval_fail(c, LEGO_E_INVALID, "input %u has no data", i);
    }
    int status = eval_inference(c, &io, &infer);
    if (status != LEGO_OK)
        return status;
    io.ret_dtypes = ret_dtypes;
    io.ret_shapes = ret_shapes;
    return lego_infer_node(&io, c->diag);
}

/* Compares what inference says with the arrays that the caller brought. */
static int check_outputs(const struct eval_context *c, const enum lego_dtype *dtypes,
                         const struct lego_shape *shapes)
{
    for (uint32_t i = 0; i < c->node->output_count; i++) {
        const struct lego_array *out = eval_out(c, i);
        size_t elems;
        if (!out)
            continue;
        if (dtypes[i] != out->dtype)
            return eval_fail(c, LEGO_E_TYPE, "output %u is %s, the array given is %s", i,
                             lego_dtype_name(dtypes[i]), lego_dtype_name(out->dtype));
        if (!lego_shape_equal(&shapes[i], &out->shape)) {
            char is[128], given[128];
            return eval_fail(c, LEGO_E_SHAPE, "output %u is %s, the array given is %s", i,
                             lego_shape_format(&shapes[i], c->graph, is, sizeof(is)),
                             lego_shape_format(&out->shape, c->graph, given, sizeof(given)));
        }
        int status = lego_shape_elems(&out->shape, &elems);
        if (status != LEGO_OK || (elems > 0 && !out->data))
            return eval_fail(c, status ? status : LEGO_E_INVALID, "output %u has no memory", i);
    }
    return LEGO_OK;
}

static int evaluate_typed(const struct eval_context *c)
{
    if (infer_rule(c->node->op)->types == LEGO_TYPES_FLOAT && any_half(c))
        return eval_promoted(c);
    return evaluators[c->node->op](c);
}

/* Empty arrays may come without memory; evaluators get a valid address, so that they may compute
 * with it. */
static int evaluate(const struct eval_context *c)
{
    static int64_t nowhere;
    uint32_t ins = c->node->input_count, outs = c->node->output_count;
    bool whole = true;
    for (uint32_t i = 0; i < ins; i++)
        whole &= !eval_in(c, i) || eval_in(c, i)->data;
    for (uint32_t i = 0; i < outs; i++)
        whole &= !eval_out(c, i) || eval_out(c, i)->data;
    if (whole)
        return evaluate_typed(c);
    struct lego_array *copies = eval_scratch(c, ins + outs, sizeof(*copies));
    const struct lego_array **inputs = eval_scratch(c, ins, sizeof(const struct lego_array *));
    if (!copies || !inputs)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < ins + outs; i++) {
        const struct lego_array *from = i < ins ? eval_in(c, i) : eval_out(c, i - ins);
        if (!from)
            continue;
        copies[i] = *from;
        copies[i].data = from->data ? from->data : &nowhere;
        if (i < ins)
            inputs[i] = &copies[i];
    }
    struct eval_context placed = *c;
    placed.inputs = inputs;
    placed.outputs = copies + ins;
    return evaluate_typed(&placed);
}

int lego_eval_node(const struct lego_graph *graph, const struct lego_node *node,
                   const struct lego_array *const *inputs, struct lego_array *outputs,
                   struct lego_arena *scratch, struct lego_diag *diag)
{
    struct eval_context c = {graph, node, inputs, outputs, scratch, diag, NULL, NULL};
    enum lego_dtype *dtypes = eval_scratch(&c, node->output_count, sizeof(*dtypes));
    struct lego_shape *shapes = eval_scratch(&c, node->output_count, sizeof(*shapes));
    if (!dtypes || !shapes)
        return LEGO_E_NOMEM;
    int status = infer_again(&c, dtypes, shapes);
    if (status == LEGO_OK)
        status = check_outputs(&c, dtypes, shapes);
    return status == LEGO_OK ? evaluate(&c) : status;
}

int lego_eval_recurrent_states(const struct lego_graph *graph, const struct lego_node *node,
                               const struct lego_array *const *inputs, float *ret_states,
                               struct lego_arena *scratch, struct lego_diag *diag)
{
    int32_t none[3] = {-1, -1, -1};
    struct lego_node quiet = *node;
    enum lego_dtype dtypes[3];
    struct lego_shape shapes[3];
    struct eval_context c = {graph, &quiet, inputs, NULL, scratch, diag, NULL, ret_states};
    if (!lego_recurrent_kinds(node) || node->output_count > 3)
        return eval_fail(&c, LEGO_E_INVALID, "no recurrent node");
    quiet.outputs = none;
    int status = infer_again(&c, dtypes, shapes);
    for (uint32_t i = 0; i < 3 && status == LEGO_OK; i++) {
        if (eval_in(&c, i)->dtype != LEGO_DTYPE_FLOAT32)
            status = eval_fail(&c, LEGO_E_TYPE, "states of %s are not known",
                               lego_dtype_name(eval_in(&c, i)->dtype));
    }
    return status == LEGO_OK ? evaluate(&c) : status;
}

int eval_new_array(struct lego_arena *arena, enum lego_dtype dtype, const struct lego_shape *shape,
                   struct lego_array *ret_array)
{
    size_t elems, bytes;
    int status = lego_shape_elems(shape, &elems);
    if (status != LEGO_OK || !lego_mul_size(elems, lego_dtype_bytes(dtype), &bytes) ||
        !lego_add_size(bytes, 64, &bytes))
        return status ? status : LEGO_E_OVERFLOW;
    char *memory = lego_arena_calloc(arena, 1, bytes);
    if (!memory)
        return LEGO_E_NOMEM;
    uintptr_t address = ((uintptr_t)memory + 63) & ~(uintptr_t)63;
    *ret_array = (struct lego_array){dtype, *shape,
                                     elems > 0 ? memory + (address - (uintptr_t)memory) : NULL};
    return LEGO_OK;
}

/* Infers the outputs and makes arrays for them. */
static int make_outputs(const struct eval_context *c, struct lego_array *outputs,
                        struct lego_arena *arena)
{
    enum lego_dtype *dtypes = eval_scratch(c, c->node->output_count, sizeof(*dtypes));
    struct lego_shape *shapes = eval_scratch(c, c->node->output_count, sizeof(*shapes));
    if (!dtypes || !shapes)
        return LEGO_E_NOMEM;
    int status = infer_again(c, dtypes, shapes);
    for (uint32_t i = 0; i < c->node->output_count && status == LEGO_OK; i++) {
        if (c->node->outputs[i] < 0)
            continue;
        status = eval_new_array(arena, dtypes[i], &shapes[i], &outputs[i]);
        if (status == LEGO_E_NOMEM)
            eval_fail(c, status, "no memory for output %u", i);
        else if (status != LEGO_OK)
            eval_fail(c, status, "output %u has no size that can be computed", i);
    }
    return status;
}

int eval_node_within(const struct lego_graph *graph, const struct lego_node *node,
                     const struct lego_array *const *inputs, struct lego_array *ret_outputs,
                     struct lego_arena *arena, struct lego_arena *scratch,
                     struct flow_budget *budget, struct lego_diag *diag)
{
    struct eval_context c = {graph, node, inputs, NULL, scratch, diag, budget, NULL};
    struct lego_array *outputs = eval_scratch(&c, node->output_count, sizeof(*outputs));
    int status = outputs ? LEGO_OK : LEGO_E_NOMEM;
    c.outputs = outputs;
    if (status == LEGO_OK && flow_is(node->op)) {
        status = eval_flow_alloc(&c, arena, outputs);
    } else if (status == LEGO_OK) {
        status = make_outputs(&c, outputs, arena);
        if (status == LEGO_OK)
            status = evaluate(&c);
    }
    if (status == LEGO_OK)
        memcpy(ret_outputs, outputs, node->output_count * sizeof(*outputs));
    return status;
}

int lego_eval_node_alloc(const struct lego_graph *graph, const struct lego_node *node,
                         const struct lego_array *const *inputs, struct lego_array *ret_outputs,
                         struct lego_arena *arena, struct lego_arena *scratch,
                         struct lego_diag *diag)
{
    return eval_node_within(graph, node, inputs, ret_outputs, arena, scratch, NULL, diag);
}
