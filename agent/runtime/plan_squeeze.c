/*
 * Squeeze-and-excitation blocks (Hu, Shen, Sun: "Squeeze-and-Excitation Networks", CVPR 2018): the
 * mean over all pixels, two small products with their activations, and a Mul of each channel by
 * what comes out, its gate. What makes the gates is one step; the Mul is done by the pointwise
 * convolution that alone reads it, where that is a product of its own (step_gemm.c).
 */
#include "agent/runtime/squeeze.h"

#include <string.h>

/* From the mean to the gates: products, activations, biases, changes of shape. */
#define SQUEEZE_NODES 12

struct squeeze {
    const struct lego_node *nodes[SQUEEZE_NODES];
    uint32_t count, products;
};

struct squeeze_detail {
    const struct plan_step *steps;
    uint32_t count;
};

static const struct lego_shape *shape_of(const struct plan_builder *b, int32_t value)
{
    return &b->graph->values[value].shape;
}

static bool is_plain_constant(const struct plan_builder *b, const struct lego_node *node,
                              uint32_t index)
{
    return node->input_count <= index || node->inputs[index] < 0 ||
           plan_is_constant(b, node->inputs[index]);
}

/* A product of the value by weights; *ret_allowed says whether the node may be in between at all.
 */
static bool is_product(const struct plan_builder *b, const struct lego_node *node, int32_t value,
                       bool *ret_allowed)
{
    bool product = false;

    *ret_allowed = node->inputs[0] == value;
    switch (node->op) {
    case LEGO_OP_Conv:
    case LEGO_OP_Gemm:
    case LEGO_OP_MatMul:
        product = node->input_count > 1 && node->inputs[1] >= 0;
        break;
    case LEGO_OP_Relu:
    case LEGO_OP_LeakyRelu:
    case LEGO_OP_Clip:
    case LEGO_OP_Sigmoid:
    case LEGO_OP_HardSigmoid:
    case LEGO_OP_HardSwish:
    case LEGO_OP_Tanh:
    case LEGO_OP_Identity:
    case LEGO_OP_Reshape:
    case LEGO_OP_Flatten:
    case LEGO_OP_Squeeze:
    case LEGO_OP_Unsqueeze:
        break;
    case LEGO_OP_Add:
        *ret_allowed = true;
        break;
    default:
        *ret_allowed = false;
    }
    for (uint32_t i = 0; i < node->input_count; i++)
        *ret_allowed = *ret_allowed && (node->inputs[i] == value || is_plain_constant(b, node, i));
    return product && *ret_allowed;
}

/* True where the nodes behind the mean are two products on the way to a Mul. */
static bool squeeze_walk(const struct plan_builder *b, const struct lego_node *mean,
                         struct squeeze *found)
{
    int32_t value = mean->outputs[0];

    *found = (struct squeeze){.nodes = {mean}, .count = 1};
    while (b->uses[value] == 1) {
        const uint32_t at = b->consumer[value];
        const struct lego_node *node = &b->graph->nodes[at];
        bool allowed;
        if (node->op == LEGO_OP_Mul)
            return found->products == 2;
        if (b->taken[at] || b->attention[at] || found->count == SQUEEZE_NODES ||
            node->output_count != 1 || !lego_shape_is_static(shape_of(b, node->outputs[0])))
            return false;
        found->products += is_product(b, node, value, &allowed);
        if (!allowed || found->products > 2)
            return false;
        found->nodes[found->count++] = node;
        value = node->outputs[0];
    }
    return false;
}

int plan_find_squeezes(struct plan_builder *b)
{
    const struct lego_graph *graph = b->graph;
    struct lego_arena *memory = b->plan->memory;

    b->squeeze = lego_arena_calloc(memory, graph->node_count + 1u, sizeof(*b->squeeze));
    b->waiting = lego_arena_calloc(memory, graph->value_count + 1u, sizeof(*b->waiting));
    if (!b->squeeze || !b->waiting)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *mean = &graph->nodes[n];
        struct squeeze found;
        uint32_t last;
        if (!plan_is_mean(b, mean) || b->taken[n] || mean->outputs[0] < 0 ||
            !plan_is_float(b, mean->inputs[0]) ||
            !lego_shape_is_static(shape_of(b, mean->inputs[0])) ||
            !lego_shape_is_static(shape_of(b, mean->outputs[0])) || !squeeze_walk(b, mean, &found))
            continue;
        last = (uint32_t)(found.nodes[found.count - 1] - graph->nodes);
        b->squeeze[last] = lego_arena_memdup(memory, &found, sizeof(found));
        if (!b->squeeze[last])
            return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
        for (uint32_t i = 0; i + 1 < found.count; i++)
            b->taken[found.nodes[i] - graph->nodes] = true;
    }
    return LEGO_OK;
}

static int squeeze_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct squeeze_detail *detail = step->detail;
    int status = LEGO_OK;

    for (uint32_t i = 0; !status && i < detail->count; i++)
        status = detail->steps[i].run(&detail->steps[i], run, diag);
    return status;
}

/* Adds `value` to a list unless it is there, or lies in the place of something that is. */
static void list_add(const struct plan *plan, int32_t *list, uint32_t *count, int32_t value)
{
    if (value < 0)
        return;
    for (uint32_t i = 0; i < *count; i++)
        if (plan_root(plan, list[i], NULL) == plan_root(plan, value, NULL))
            return;
    list[(*count)++] = value;
}

/* Steps [first, end) become one, which writes all that they do and reads what others have made. */
static int squeeze_join(struct plan_builder *b, const struct squeeze *found, uint32_t first)
{
    struct plan *plan = b->plan;
    struct squeeze_detail detail = {.count = plan->step_count - first};
    const struct plan_step *steps =
        lego_arena_memdup(plan->memory, plan->steps + first, detail.count * sizeof(*steps));
    uint32_t most = 0, inner = 0, all;
    struct plan_step *step;
    int32_t *values;

    for (uint32_t i = 0; steps && i < detail.count; i++)
        most += steps[i].input_count + steps[i].output_count;
    values = lego_arena_calloc(plan->memory, most + 1u, sizeof(*values));
    if (!steps || !values)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    detail.steps = steps;
    for (uint32_t i = detail.count; i-- > 0;)
        for (uint32_t k = 0; k < steps[i].output_count; k++)
            list_add(plan, values, &inner, steps[i].outputs[k]);
    all = inner;
    for (uint32_t i = 0; i < detail.count; i++)
        for (uint32_t k = 0; k < steps[i].input_count; k++)
            list_add(plan, values, &all, steps[i].inputs[k]);
    plan->step_count = first;
    step = plan_step_add(b, found->nodes[0], squeeze_run, sizeof(detail), values + inner,
                         all - inner, values, inner);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct squeeze_detail *)step->detail = detail;
    step->op = "SqueezeExcite";
    step->work = 0;
    for (uint32_t i = 0; i < detail.count; i++) {
        step->macs += steps[i].macs;
        step->work = steps[i].work > step->work ? steps[i].work : step->work;
    }
    return LEGO_OK;
}

int plan_squeeze(struct plan_builder *b, const struct squeeze *found)
{
    const struct lego_node *nodes = b->graph->nodes;
    uint32_t first = b->plan->step_count;
    int status = LEGO_OK;

    b->squeeze[found->nodes[found->count - 1] - nodes] = NULL;
    for (uint32_t i = 0; i < found->count; i++)
        b->taken[found->nodes[i] - nodes] = false;
    /* A product may take what follows it. */
    for (uint32_t i = 0; !status && i < found->count; i++)
        if (!b->taken[found->nodes[i] - nodes])
            status = plan_node(b, found->nodes[i]);
    return status ? status : squeeze_join(b, found, first);
}

/* The operand that has the output's shape, where the other one is a number for each channel of each
 * image; -1: there is none. */
static int gated_operand(const struct plan_builder *b, const struct lego_node *mul)
{
    const struct lego_shape *out = shape_of(b, mul->outputs[0]);

    for (int i = 0; i < 2; i++) {
        const struct lego_shape *gate = shape_of(b, mul->inputs[1 - i]);
        bool fits = gate->rank == out->rank && lego_shape_equal(shape_of(b, mul->inputs[i]), out);
        for (int d = 0; fits && d < out->rank; d++)
            fits = gate->dim[d] == (d < 2 ? out->dim[d] : 1);
        if (fits)
            return i;
    }
    return -1;
}

int plan_mul(struct plan_builder *b, const struct lego_node *node)
{
    const int32_t value = node->outputs[0];
    const struct lego_node *reader = &b->graph->nodes[b->consumer[value]];

    if (b->uses[value] != 1 || reader->op != LEGO_OP_Conv || reader->inputs[0] != value ||
        b->taken[b->consumer[value]] || b->squeeze[b->consumer[value]] ||
        node->activation != LEGO_ACT_NONE || node->input_count != 2 || node->inputs[1] < 0 ||
        shape_of(b, value)->rank < 3 || plan_is_constant(b, node->inputs[0]) ||
        plan_is_constant(b, node->inputs[1]) || !plan_is_float(b, node->inputs[1]) ||
        gated_operand(b, node) < 0)
        return plan_binary(b, node);
    b->waiting[value] = lego_arena_memdup(b->plan->memory, node, sizeof(*node));
    return b->waiting[value] ? LEGO_OK : lego_fail(b->diag, LEGO_E_NOMEM, "planning");
}

int plan_waiting(struct plan_builder *b, int32_t graph_value)
{
    const struct lego_node *mul = b->waiting[graph_value];
    int status;

    if (!mul)
        return LEGO_OK;
    b->waiting[graph_value] = NULL;
    status = plan_binary(b, mul);
    return status == PLAN_DECLINED ? plan_eval(b, mul) : status;
}

int plan_take_gate(struct plan_builder *b, int32_t graph_value, int32_t *ret_x, int32_t *ret_gate)
{
    const struct lego_node *mul = b->waiting[graph_value];
    int of = gated_operand(b, mul);
    int32_t x = plan_operand(b, mul->inputs[of], PLAN_CHANNELS_LAST);
    int32_t gate = x < 0 ? x : plan_operand(b, mul->inputs[1 - of], PLAN_PLAIN);

    if (gate < 0)
        return gate;
    b->waiting[graph_value] = NULL;
    *ret_x = x;
    *ret_gate = gate;
    return LEGO_OK;
}
