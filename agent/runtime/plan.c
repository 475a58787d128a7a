#include "agent/runtime/attention.h"
#include "agent/runtime/squeeze.h"

#include <stdlib.h>
#include <string.h>

/* The fast paths; what is not here, or what they decline, goes to the reference evaluation. */
static const plan_node_fn plan_nodes[LEGO_OP_COUNT] = {
    [LEGO_OP_Conv] = plan_conv,
    [LEGO_OP_Gemm] = plan_gemm,
    [LEGO_OP_MatMul] = plan_matmul,
    [LEGO_OP_MaxPool] = plan_pool,
    [LEGO_OP_AveragePool] = plan_pool,
    [LEGO_OP_GlobalAveragePool] = plan_mean,
    [LEGO_OP_Relu] = plan_unary,
    [LEGO_OP_LeakyRelu] = plan_unary,
    [LEGO_OP_Clip] = plan_unary,
    [LEGO_OP_Sigmoid] = plan_unary,
    [LEGO_OP_Tanh] = plan_unary,
    [LEGO_OP_HardSigmoid] = plan_unary,
    [LEGO_OP_HardSwish] = plan_unary,
    [LEGO_OP_Gelu] = plan_unary,
    [LEGO_OP_Exp] = plan_unary,
    [LEGO_OP_Add] = plan_binary,
    [LEGO_OP_Sub] = plan_binary,
    [LEGO_OP_Mul] = plan_mul,
    [LEGO_OP_Div] = plan_binary,
    [LEGO_OP_Max] = plan_binary,
    [LEGO_OP_Min] = plan_binary,
    [LEGO_OP_Softmax] = plan_softmax,
    [LEGO_OP_ReduceMean] = plan_mean,
    [LEGO_OP_Identity] = plan_reshape,
    [LEGO_OP_Dropout] = plan_reshape,
    [LEGO_OP_Reshape] = plan_reshape,
    [LEGO_OP_Flatten] = plan_reshape,
    [LEGO_OP_Squeeze] = plan_reshape,
    [LEGO_OP_Unsqueeze] = plan_reshape,
    [LEGO_OP_Transpose] = plan_transpose,
    [LEGO_OP_Concat] = plan_concat,
    [LEGO_OP_Split] = plan_split,
    [LEGO_OP_Slice] = plan_slice,
    [LEGO_OP_Pad] = plan_pad,
    [LEGO_OP_Gather] = plan_gather,
    [LEGO_OP_LayerNormalization] = plan_layer_norm,
    [LEGO_OP_ConvTranspose] = plan_conv_transpose,
    [LEGO_OP_Resize] = plan_resize,
};

static bool node_is_static(const struct lego_graph *graph, const struct lego_node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0 && !lego_shape_is_static(&graph->values[node->inputs[i]].shape))
            return false;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] >= 0 && !lego_shape_is_static(&graph->values[node->outputs[i]].shape))
            return false;
    return true;
}

/* Fast paths want floats at their first input and output, and something to compute. */
static bool node_is_fast(const struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_value *output;

    /* A Dropout that may be asked for training is no plain copy: the evaluation looks. */
    if (node->op == LEGO_OP_Dropout && node->input_count > 2)
        return false;
    if (!plan_nodes[node->op] || !node_is_static(b->graph, node) || node->inputs[0] < 0 ||
        node->outputs[0] < 0)
        return false;
    output = &b->graph->values[node->outputs[0]];
    for (int i = 0; i < output->shape.rank; i++)
        if (!output->shape.dim[i])
            return false;
    return plan_is_float(b, node->inputs[0]) && output->dtype == LEGO_DTYPE_FLOAT32;
}

static int plan_fast(struct plan_builder *b, const struct lego_node *node)
{
    struct lego_node scaled = *node;
    struct plan_scale taken = plan_take_scale(b, &scaled);
    int status = plan_nodes[node->op](b, &scaled);

    if (status == PLAN_DECLINED)
        plan_give_scale(b, &taken);
    return status;
}

int plan_node(struct plan_builder *b, const struct lego_node *node)
{
    const struct attention *attention = b->attention[node - b->graph->nodes];
    int status = PLAN_DECLINED;

    if (attention)
        status = plan_attention(b, attention);
    else if (b->squeeze[node - b->graph->nodes])
        return plan_squeeze(b, b->squeeze[node - b->graph->nodes]);
    else if (node_is_fast(b, node))
        status = plan_fast(b, node);
    if (status == PLAN_DECLINED)
        status = plan_eval(b, node);
    return status < 0
               ? lego_diag_prefix(b->diag, status, "%s (%s)", node->name, lego_op_name(node->op))
               : LEGO_OK;
}

static int plan_inputs(struct plan_builder *b)
{
    for (uint32_t i = 0; i < b->graph->input_count; i++) {
        int32_t value = plan_output(b, b->graph->inputs[i], PLAN_PLAIN);
        if (value < 0)
            return value;
        b->plan->values[value].storage = PLAN_INPUT;
        b->plan->values[value].input = i;
        b->plan->inputs[i] = value;
    }
    return LEGO_OK;
}

static int plan_constants(struct plan_builder *b)
{
    for (uint32_t i = 0; i < b->graph->value_count; i++) {
        int32_t tensor = b->graph->values[i].tensor, value;
        if (tensor < 0)
            continue;
        value = plan_output(b, (int32_t)i, PLAN_PLAIN);
        if (value < 0)
            return value;
        b->plan->values[value].storage = PLAN_CONSTANT;
        b->plan->values[value].constant = b->graph->tensors[tensor].data;
    }
    return LEGO_OK;
}

static int plan_outputs(struct plan_builder *b)
{
    for (uint32_t i = 0; i < b->graph->output_count; i++) {
        int32_t of = b->graph->outputs[i], value = plan_operand(b, of, PLAN_PLAIN);
        if (value < 0)
            return value;
        if (plan_is_constant(b, of)) {
            int status = plan_constant_data(b, of, &b->plan->values[value].constant);
            if (status)
                return status;
        }
        b->plan->outputs[i] = value;
    }
    return LEGO_OK;
}

static bool plan_is_parallel(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->step_count; i++)
        if (plan->steps[i].work >= WORKERS_WAKE_WORK)
            return true;
    return false;
}

static int plan_build(struct plan_builder *b)
{
    int status = plan_inputs(b);

    if (!status)
        status = plan_constants(b);
    if (!status)
        status = plan_find_attention(b);
    if (!status)
        status = plan_find_means(b);
    if (!status)
        status = plan_find_squeezes(b);
    for (uint32_t i = 0; !status && i < b->graph->node_count; i++)
        if (!b->taken[i])
            status = plan_node(b, &b->graph->nodes[i]);
    if (!status)
        status = plan_outputs(b);
    return status < 0 ? status : plan_place(b->plan, b->diag);
}

static int plan_allocate(struct plan_builder *b, const struct plan_key *key)
{
    struct plan *plan = b->plan;
    const struct lego_graph *graph = b->graph;

    plan->memory = lego_arena_create(0);
    b->of = malloc((graph->value_count + 1) * sizeof(*b->of));
    b->native = calloc(graph->value_count + 1, sizeof(*b->native));
    if (!plan->memory || !b->of || !b->native)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    memset(b->of, -1, graph->value_count * sizeof(*b->of));
    plan->inputs = lego_arena_calloc(plan->memory, graph->input_count + 1, sizeof(int32_t));
    plan->outputs = lego_arena_calloc(plan->memory, graph->output_count + 1, sizeof(int32_t));
    plan->input_shapes =
        lego_arena_memdup(plan->memory, key->shapes, graph->input_count * sizeof(*key->shapes));
    if (key->decisions)
        plan->decisions = lego_arena_memdup(plan->memory, key->decisions,
                                            graph->input_count * sizeof(*key->decisions));
    if (!plan->inputs || !plan->outputs || (graph->input_count && !plan->input_shapes) ||
        (key->decisions && !plan->decisions))
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    return plan_count_uses(b);
}

/* The model's graph for the key. */
static int plan_specialise(struct lego_model *model, const struct plan_key *key,
                           struct lego_graph **ret_graph, struct lego_diag *diag)
{
    const struct lego_graph *graph = model->package->graph;
    struct lego_array *arrays = calloc(graph->input_count + 1u, sizeof(*arrays));
    const struct lego_array **known =
        calloc(graph->input_count + 1u, sizeof(const struct lego_array *));
    int status;

    if (!arrays || !known) {
        free(arrays);
        free(known);
        return lego_fail(diag, LEGO_E_NOMEM, "planning");
    }
    for (uint32_t i = 0; key->decisions && i < graph->input_count; i++) {
        if (!model->decides[i])
            continue;
        /* The first bytes of the number: hosts are little-endian. */
        arrays[i] = (struct lego_array){.dtype = graph->values[graph->inputs[i]].dtype,
                                        .shape = key->shapes[i],
                                        .data = (void *)(uintptr_t)&key->decisions[i]};
        known[i] = &arrays[i];
    }
    status = lego_graph_specialise_known(graph, key->shapes, known, ret_graph, diag);
    free(arrays);
    free(known);
    return status;
}

int plan_create(struct lego_model *model, const struct plan_key *key, struct plan **ret_plan,
                struct lego_diag *diag)
{
    struct plan_builder b = {.model = model, .diag = diag};
    int status;

    b.plan = calloc(1, sizeof(*b.plan));
    if (!b.plan)
        return lego_fail(diag, LEGO_E_NOMEM, "planning");
    b.plan->model = model;
    status = plan_specialise(model, key, &b.plan->graph, diag);
    b.graph = b.plan->graph;
    if (!status)
        status = plan_allocate(&b, key);
    if (!status)
        status = plan_build(&b);
    free(b.of);
    free(b.native);
    if (status) {
        plan_destroy(b.plan);
        return status;
    }
    b.plan->parallel = plan_is_parallel(b.plan);
    model->resident_bytes += b.plan->weights_bytes;
    *ret_plan = b.plan;
    return LEGO_OK;
}

void plan_destroy(struct plan *plan)
{
    if (!plan)
        return;
    while (plan->weights) {
        struct weights *weights = plan->weights;
        plan->weights = weights->next;
        weights_destroy(weights);
    }
    free(plan->values);
    free(plan->steps);
    lego_arena_destroy(plan->memory);
    lego_graph_destroy(plan->graph);
    free(plan);
}

bool plan_matches(const struct plan *plan, const struct plan_key *key)
{
    if (!plan->decisions != !key->decisions)
        return false;
    for (uint32_t i = 0; i < plan->graph->input_count; i++)
        if (!lego_shape_equal(&plan->input_shapes[i], &key->shapes[i]) ||
            (plan->decisions && plan->decisions[i] != key->decisions[i]))
            return false;
    return true;
}
