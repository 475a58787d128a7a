/*
 * What follows a product and is done with it: the Add of a bias for each column, then the Add of
 * another value (a residual), the activation of the last of them, and what scales a HardSwish.
 */
#include "agent/runtime/plan.h"

#include <string.h>

int plan_count_uses(struct plan_builder *b)
{
    const struct lego_graph *graph = b->graph;
    struct lego_arena *arena = b->plan->memory;

    b->uses = lego_arena_calloc(arena, graph->value_count + 1u, sizeof(*b->uses));
    b->consumer = lego_arena_calloc(arena, graph->value_count + 1u, sizeof(*b->consumer));
    b->taken = lego_arena_calloc(arena, graph->node_count + 1u, sizeof(*b->taken));
    if (!b->uses || !b->consumer || !b->taken)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++)
            if (graph->nodes[n].inputs[i] >= 0) {
                b->uses[graph->nodes[n].inputs[i]]++;
                b->consumer[graph->nodes[n].inputs[i]] = n;
            }
    for (uint32_t i = 0; i < graph->output_count; i++)
        b->uses[graph->outputs[i]] += 2; /* nothing may take its place */
    return LEGO_OK;
}

/* The Add that is the one user of the value, and the value of its other operand. */
static const struct lego_node *next_add(const struct plan_builder *b, int32_t value,
                                        int32_t *ret_other)
{
    const struct lego_node *node = &b->graph->nodes[b->consumer[value]];

    if (b->uses[value] != 1 || b->taken[b->consumer[value]] || node->op != LEGO_OP_Add ||
        node->input_count != 2 || node->inputs[0] < 0 || node->inputs[1] < 0 ||
        !lego_shape_equal(&b->graph->values[value].shape,
                          &b->graph->values[node->outputs[0]].shape))
        return NULL;
    *ret_other = node->inputs[node->inputs[0] == value ? 1 : 0];
    return node;
}

static bool is_planned(const struct plan_builder *b, int32_t value)
{
    return b->of[value][PLAN_PLAIN] >= 0 || b->of[value][PLAN_CHANNELS_LAST] >= 0;
}

static bool is_bias(const struct plan_builder *b, int32_t value, int64_t columns)
{
    const struct lego_value *v = &b->graph->values[value];

    return plan_is_constant(b, value) && v->dtype == LEGO_DTYPE_FLOAT32 && v->shape.rank == 1 &&
           v->shape.dim[0] == columns;
}

/* The Mul or Add of a number that is the one user of the value, and nothing else. */
static const struct lego_node *next_scalar(const struct plan_builder *b, int32_t value,
                                           enum lego_op op, float *ret_number)
{
    const struct lego_node *node = &b->graph->nodes[b->consumer[value]];

    return b->uses[value] == 1 && !b->taken[b->consumer[value]] && node->op == op &&
                   node->activation == LEGO_ACT_NONE && node->input_count == 2 &&
                   lego_shape_equal(&b->graph->values[value].shape,
                                    &b->graph->values[node->outputs[0]].shape) &&
                   plan_scalar(b, node->inputs[node->inputs[0] == value ? 1 : 0], ret_number)
               ? node
               : NULL;
}

struct plan_scale plan_take_scale(struct plan_builder *b, struct lego_node *node)
{
    struct plan_scale taken = {NULL, NULL};

    if (node->activation != LEGO_ACT_HARD_SWISH && node->op != LEGO_OP_HardSwish)
        return taken;
    node->act_lo = 1.0f;
    node->act_hi = 0.0f;
    taken.mul = next_scalar(b, node->outputs[0], LEGO_OP_Mul, &node->act_lo);
    if (taken.mul)
        node->outputs = taken.mul->outputs;
    taken.add = next_scalar(b, node->outputs[0], LEGO_OP_Add, &node->act_hi);
    if (taken.add)
        node->outputs = taken.add->outputs;
    if (taken.mul)
        b->taken[taken.mul - b->graph->nodes] = true;
    if (taken.add)
        b->taken[taken.add - b->graph->nodes] = true;
    return taken;
}

void plan_give_scale(struct plan_builder *b, const struct plan_scale *taken)
{
    if (taken->mul)
        b->taken[taken->mul - b->graph->nodes] = false;
    if (taken->add)
        b->taken[taken->add - b->graph->nodes] = false;
}

static void take(struct plan_builder *b, const struct lego_node *add, struct lego_node *product)
{
    b->taken[add - b->graph->nodes] = true;
    product->outputs = add->outputs;
    product->activation = add->activation;
    product->act_lo = add->act_lo;
    product->act_hi = add->act_hi;
    plan_take_scale(b, product);
}

bool plan_take_add(struct plan_builder *b, struct lego_node *node, int32_t *ret_other)
{
    const struct lego_node *add = NULL;
    int32_t other;

    if (node->activation == LEGO_ACT_NONE)
        add = next_add(b, node->outputs[0], &other);
    if (!add || !is_planned(b, other) || !plan_is_float(b, other))
        return false;
    take(b, add, node);
    *ret_other = other;
    return true;
}

int plan_take_tail(struct plan_builder *b, struct lego_node *product, int64_t columns,
                   const float **ret_bias, int32_t *ret_add)
{
    const struct lego_node *add;
    const void *data;
    int32_t other;
    int status;

    if (product->activation != LEGO_ACT_NONE)
        return LEGO_OK;
    add = next_add(b, product->outputs[0], &other);
    if (add && is_bias(b, other, columns)) {
        status = plan_constant_data(b, other, &data);
        if (status)
            return status;
        *ret_bias = data;
        take(b, add, product);
        if (product->activation != LEGO_ACT_NONE)
            return LEGO_OK;
        add = next_add(b, product->outputs[0], &other);
    }
    if (!add || plan_is_constant(b, other) || !is_planned(b, other) ||
        !lego_shape_equal(&b->graph->values[other].shape,
                          &b->graph->values[product->outputs[0]].shape))
        return LEGO_OK;
    *ret_add = plan_operand(b, other, PLAN_PLAIN);
    if (*ret_add < 0)
        return *ret_add;
    take(b, add, product);
    return LEGO_OK;
}
