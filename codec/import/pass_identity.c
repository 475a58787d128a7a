/*
 * Nodes that do nothing: their output is another name of their input.
 */
#include "codec/import/passes.h"

#include "codec/base/arena.h"

static bool does_nothing(const struct lego_graph *graph, const struct lego_node *node)
{
    if (node->output_count != 1 || node->input_count < 1 || node->inputs[0] < 0)
        return false;
    const struct lego_value *input = &graph->values[node->inputs[0]];
    switch (node->op) {
    case LEGO_OP_Identity:
        return true;
    case LEGO_OP_Dropout: /* where no input can ask for training */
        return node->input_count < 3 || node->inputs[2] < 0;
    case LEGO_OP_Cast:
        return input->dtype != LEGO_DTYPE_UNKNOWN &&
               lego_node_int(node, "to", 0) == (int64_t)input->dtype;
    default:
        return false;
    }
}

static int32_t resolve(const int32_t *alias, int32_t value)
{
    while (value >= 0 && alias[value] >= 0)
        value = alias[value];
    return value;
}

/* Makes the node's output and input one value, if that is possible. */
static bool join(struct passes *passes, int32_t *alias, struct lego_node *node)
{
    int32_t input = resolve(alias, node->inputs[0]), output = node->outputs[0];
    if (!passes->output[output]) {
        alias[output] = input;
        return true;
    }
    /* A graph output keeps its name: the producer computes it at once, if it can. */
    int32_t at = passes->producer[input];
    if (at < 0 || passes->output[input])
        return false;
    struct lego_node *producer = &passes->graph->nodes[at];
    for (uint32_t i = 0; i < producer->output_count; i++)
        if (producer->outputs[i] == input)
            producer->outputs[i] = output;
    passes->producer[output] = at;
    alias[input] = output;
    return true;
}

/* An older Softmax on a matrix is the new one where all dimensions after the axis are one. */
static void simplify_softmax(const struct lego_graph *graph, struct lego_node *node)
{
    const struct lego_shape *shape = &graph->values[node->inputs[0]].shape;
    struct lego_attr *coerce =
        (struct lego_attr *)(uintptr_t)lego_node_attr(node, "lego.coerce_2d");
    if (!coerce || shape->rank < 1)
        return;
    int64_t axis = lego_node_int(node, "axis", -1);
    if (axis == -1 || axis == shape->rank - 1)
        *coerce = node->attrs[--node->attr_count];
}

int pass_identity(struct passes *passes)
{
    struct lego_graph *graph = passes->graph;
    int32_t *alias = lego_arena_calloc(passes->scratch, passes->capacity, sizeof *alias);
    if (!alias)
        return passes_no_memory(passes);
    for (uint32_t i = 0; i < passes->capacity; i++)
        alias[i] = -1;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        struct lego_node *node = &graph->nodes[i];
        if (node->op == LEGO_OP_Softmax || node->op == LEGO_OP_LogSoftmax ||
            node->op == LEGO_OP_Hardmax)
            simplify_softmax(graph, node);
        else if (does_nothing(graph, node) && join(passes, alias, node))
            node->op = LEGO_OP_NONE;
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < graph->nodes[i].input_count; k++)
            graph->nodes[i].inputs[k] = resolve(alias, graph->nodes[i].inputs[k]);
    return 0;
}
