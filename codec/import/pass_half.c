/*
 * Networks in half precision are computed in single precision: it is what processors without fp16
 * arithmetic do anyway, all fast paths and the codecs are there for it, and nothing is rounded on
 * the way. The model's inputs and outputs stay what they are. Only where weights are fp16: a model
 * that rounds to halves elsewhere means to.
 */
#include "codec/import/passes.h"

#include "codec/base/arena.h"
#include "codec/base/half.h"

#include <string.h>

static bool multiplies(enum lego_op op)
{
    static const enum lego_op ops[] = {LEGO_OP_Conv,   LEGO_OP_ConvTranspose, LEGO_OP_Gemm,
                                       LEGO_OP_MatMul, LEGO_OP_RNN,           LEGO_OP_GRU,
                                       LEGO_OP_LSTM};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (op == ops[i])
            return true;
    return false;
}

/* True where a product here or in a subgraph has a constant operand of halves. */
static bool has_half_weights(const struct lego_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; multiplies(node->op) && i < node->input_count; i++) {
            const struct lego_tensor *tensor = lego_node_constant(graph, node, i);
            if (tensor && tensor->dtype == LEGO_DTYPE_FLOAT16)
                return true;
        }
        for (uint32_t a = 0; a < node->attr_count; a++)
            if (node->attrs[a].type == LEGO_ATTR_GRAPH && has_half_weights(node->attrs[a].graph))
                return true;
    }
    return false;
}

static int widen_tensor(struct import_source *source, struct lego_tensor *tensor)
{
    size_t elems = tensor->bytes / sizeof(uint16_t);
    float *data = import_source_copy(source, elems * sizeof *data);
    if (!data)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < elems; i++) {
        uint16_t half;
        memcpy(&half, (const char *)tensor->data + i * sizeof half, sizeof half);
        data[i] = lego_half_to_float(half);
    }
    tensor->dtype = LEGO_DTYPE_FLOAT32;
    tensor->bytes = elems * sizeof *data;
    tensor->data = data;
    return 0;
}

/* What names a type: Cast and EyeLike. Attributes may be another graph's, too. */
static int widen_attributes(struct lego_graph *graph, struct lego_node *node)
{
    if (node->op != LEGO_OP_Cast && node->op != LEGO_OP_EyeLike)
        return 0;
    node->attrs =
        lego_arena_memdup(graph->arena, node->attrs, node->attr_count * sizeof *node->attrs);
    if (!node->attrs)
        return LEGO_E_NOMEM;
    for (uint32_t a = 0; a < node->attr_count; a++)
        if (node->attrs[a].type == LEGO_ATTR_INT && node->attrs[a].i == LEGO_DTYPE_FLOAT16 &&
            (strcmp(node->attrs[a].name, "to") == 0 || strcmp(node->attrs[a].name, "dtype") == 0))
            node->attrs[a].i = LEGO_DTYPE_FLOAT32;
    return 0;
}

/* Everything in a graph and its subgraphs. */
static int widen_all(struct lego_graph *graph, struct import_source *source)
{
    int status = 0;
    for (uint32_t t = 0; t < graph->tensor_count && !status; t++)
        if (graph->tensors[t].dtype == LEGO_DTYPE_FLOAT16)
            status = widen_tensor(source, &graph->tensors[t]);
    for (uint32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].dtype == LEGO_DTYPE_FLOAT16)
            graph->values[v].dtype = LEGO_DTYPE_FLOAT32;
    for (uint32_t n = 0; n < graph->node_count && !status; n++) {
        status = widen_attributes(graph, &graph->nodes[n]);
        for (uint32_t a = 0; a < graph->nodes[n].attr_count && !status; a++)
            if (graph->nodes[n].attrs[a].type == LEGO_ATTR_GRAPH)
                status = widen_all(graph->nodes[n].attrs[a].graph, source);
    }
    return status;
}

/* A new value that takes the place of `value` inside the graph, and the Cast between the two. */
static int32_t add_cast(struct lego_graph *graph, int32_t value, bool into)
{
    const char *name = lego_arena_printf(graph->arena, "%s.fp32", graph->values[value].name);
    for (unsigned i = 2; name && lego_graph_find_value(graph, name) >= 0; i++)
        name = lego_arena_printf(graph->arena, "%s.fp32.%u", graph->values[value].name, i);
    int32_t inner =
        name ? lego_graph_add_value(graph, name, LEGO_DTYPE_FLOAT32, &graph->values[value].shape)
             : LEGO_E_NOMEM;
    int32_t index = inner < 0 ? inner : lego_graph_add_node(graph, name, LEGO_OP_Cast, 1, 1, 1);
    if (index < 0)
        return LEGO_E_NOMEM;
    struct lego_node *node = &graph->nodes[index];
    node->inputs[0] = into ? value : inner;
    node->outputs[0] = into ? inner : value;
    node->attrs[0] = (struct lego_attr){
        .name = "to", .type = LEGO_ATTR_INT, .i = into ? LEGO_DTYPE_FLOAT32 : LEGO_DTYPE_FLOAT16};
    graph->values[value].dtype = LEGO_DTYPE_FLOAT16;
    return inner;
}

static void rename_uses(struct lego_graph *graph, uint32_t count, int32_t from, int32_t to)
{
    for (uint32_t n = 0; n < count; n++) {
        struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; i < node->input_count; i++)
            if (node->inputs[i] == from)
                node->inputs[i] = to;
        for (uint32_t i = 0; i < node->output_count; i++)
            if (node->outputs[i] == from)
                node->outputs[i] = to;
    }
}

/* The last `count` nodes become the first. */
static int move_to_front(struct lego_graph *graph, uint32_t count)
{
    struct lego_node *nodes =
        lego_arena_calloc(graph->arena, graph->node_count + 1u, sizeof *nodes);
    uint32_t others = graph->node_count - count;
    if (!nodes)
        return LEGO_E_NOMEM;
    memcpy(nodes, graph->nodes + others, count * sizeof *nodes);
    memcpy(nodes + count, graph->nodes, others * sizeof *nodes);
    memcpy(graph->nodes, nodes, graph->node_count * sizeof *nodes);
    return 0;
}

static bool listed(const int32_t *values, uint32_t count, int32_t value)
{
    for (uint32_t i = 0; i < count; i++)
        if (values[i] == value)
            return true;
    return false;
}

/* Casts at the graph's ends; `half` says which values were halves. */
static int add_casts(struct lego_graph *graph, const bool *half)
{
    uint32_t inner = graph->node_count, casts = 0;
    for (uint32_t i = 0; i < graph->output_count; i++) {
        int32_t value = graph->outputs[i];
        if (!half[value] || listed(graph->outputs, i, value) ||
            listed(graph->inputs, graph->input_count, value) || graph->values[value].tensor >= 0)
            continue;
        int32_t made = add_cast(graph, value, false);
        if (made < 0)
            return LEGO_E_NOMEM;
        rename_uses(graph, inner, value, made);
    }
    for (uint32_t i = 0; i < graph->input_count; i++) {
        int32_t value = graph->inputs[i];
        if (!half[value])
            continue;
        int32_t made = add_cast(graph, value, true);
        if (made < 0)
            return LEGO_E_NOMEM;
        rename_uses(graph, inner, value, made);
        casts++;
    }
    return move_to_front(graph, casts);
}

int pass_half(struct lego_graph *graph, struct import_source *source, bool *ret_changed,
              struct lego_diag *diag)
{
    *ret_changed = has_half_weights(graph);
    if (!*ret_changed)
        return 0;
    bool *half = lego_arena_calloc(graph->arena, graph->value_count + 1u, sizeof *half);
    for (uint32_t v = 0; half && v < graph->value_count; v++)
        half[v] = graph->values[v].dtype == LEGO_DTYPE_FLOAT16;
    if (!half || widen_all(graph, source) != 0 || add_casts(graph, half) != 0)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for weights in single precision");
    return 0;
}
