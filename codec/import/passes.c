#include "codec/import/passes.h"

#include "codec/base/arena.h"
#include "codec/graph/infer.h"

#include <string.h>

int passes_no_memory(struct passes *passes)
{
    return lego_fail(passes->diag, LEGO_E_NOMEM,
                     "the graph needs more memory than there is, or than its limit allows");
}

static void count_node(struct passes *passes, int32_t index)
{
    const struct lego_node *node = &passes->graph->nodes[index];
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0) {
            passes->uses[node->inputs[i]]++;
            passes->consumer[node->inputs[i]] = index;
        }
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] >= 0)
            passes->producer[node->outputs[i]] = index;
    for (uint32_t i = 0; i < node->attr_count; i++)
        if (node->attrs[i].type == LEGO_ATTR_TENSOR)
            passes->tensor_uses[node->attrs[i].tensor]++;
}

int passes_index(struct passes *passes)
{
    const struct lego_graph *graph = passes->graph;
    /* A pass adds at most two constants for each node. */
    uint32_t capacity = graph->value_count + 2 * graph->node_count;
    passes->capacity = capacity;
    passes->producer = lego_arena_calloc(passes->scratch, capacity, sizeof *passes->producer);
    passes->consumer = lego_arena_calloc(passes->scratch, capacity, sizeof *passes->consumer);
    passes->uses = lego_arena_calloc(passes->scratch, capacity, sizeof *passes->uses);
    passes->output = lego_arena_calloc(passes->scratch, capacity, sizeof *passes->output);
    passes->tensor_uses = lego_arena_calloc(passes->scratch, (size_t)graph->tensor_count + capacity,
                                            sizeof *passes->tensor_uses);
    if (!passes->producer || !passes->consumer || !passes->uses || !passes->output ||
        !passes->tensor_uses)
        return passes_no_memory(passes);
    for (uint32_t i = 0; i < capacity; i++)
        passes->producer[i] = passes->consumer[i] = -1;
    for (uint32_t i = 0; i < graph->node_count; i++)
        count_node(passes, (int32_t)i);
    for (uint32_t i = 0; i < graph->output_count; i++) {
        passes->uses[graph->outputs[i]]++;
        passes->output[graph->outputs[i]] = true;
    }
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].tensor >= 0)
            passes->tensor_uses[graph->values[i].tensor]++;
    return 0;
}

struct lego_node *passes_sole_producer(const struct passes *passes, int32_t value)
{
    if (value < 0 || passes->producer[value] < 0 || passes->uses[value] != 1 ||
        passes->output[value])
        return NULL;
    struct lego_node *node = &passes->graph->nodes[passes->producer[value]];
    return node->output_count == 1 ? node : NULL;
}

void passes_kill(struct passes *passes, struct lego_node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0)
            passes->uses[node->inputs[i]]--;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] >= 0)
            passes->producer[node->outputs[i]] = -1;
    *node = (struct lego_node){.op = LEGO_OP_NONE, .name = node->name};
}

void passes_replace(struct passes *passes, struct lego_node *node, struct lego_node *producer)
{
    int32_t output = node->outputs[0];
    int32_t index = (int32_t)(node - passes->graph->nodes);
    passes_kill(passes, node);
    passes->producer[producer->outputs[0]] = -1;
    *node = *producer;
    *producer = (struct lego_node){.op = LEGO_OP_NONE, .name = producer->name};
    node->outputs[0] = output;
    passes->producer[output] = index;
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0)
            passes->consumer[node->inputs[i]] = index;
}

void passes_set_input(struct passes *passes, struct lego_node *node, uint32_t index, int32_t value)
{
    if (node->inputs[index] >= 0)
        passes->uses[node->inputs[index]]--;
    node->inputs[index] = value;
    if (value >= 0) {
        passes->uses[value]++;
        passes->consumer[value] = (int32_t)(node - passes->graph->nodes);
    }
}

int passes_become(struct passes *passes, struct lego_node *node, enum lego_op op,
                  uint32_t input_count, const int32_t *inputs)
{
    struct lego_node made = {
        .name = node->name,
        .op = op,
        .input_count = input_count,
        .output_count = 1,
        .outputs = node->outputs,
        .inputs = lego_arena_calloc(passes->graph->arena, input_count, sizeof *made.inputs),
        .attrs = node->attrs};
    if (!made.inputs)
        return passes_no_memory(passes);
    int32_t output = node->outputs[0];
    passes_kill(passes, node);
    *node = made;
    passes->producer[output] = (int32_t)(node - passes->graph->nodes);
    for (uint32_t i = 0; i < input_count; i++) {
        node->inputs[i] = -1;
        passes_set_input(passes, node, i, inputs[i]);
    }
    return 0;
}

static int fill_names(struct passes *passes)
{
    for (uint32_t i = 0; i < passes->graph->value_count; i++)
        if (names_set(&passes->names, passes->graph->values[i].name, (int32_t)i) != 0)
            return passes_no_memory(passes);
    return 0;
}

int32_t passes_add_constant(struct passes *passes, const char *base, const char *what,
                            enum lego_dtype dtype, const struct lego_shape *shape, const void *data)
{
    struct lego_graph *graph = passes->graph;
    const char *name = lego_arena_printf(passes->scratch, "%s.%s", base, what);
    for (unsigned i = 2; name && names_find(&passes->names, name) >= 0; i++)
        name = lego_arena_printf(passes->scratch, "%s.%s.%u", base, what, i);
    if (!name || graph->value_count >= passes->capacity)
        return passes_no_memory(passes);
    int32_t tensor = lego_graph_add_tensor(graph, name, dtype, shape);
    int32_t value = tensor < 0 ? tensor : lego_graph_add_value(graph, name, dtype, shape);
    if (value < 0 || names_set(&passes->names, graph->values[value].name, value) != 0)
        return passes_no_memory(passes);
    graph->tensors[tensor].data = data;
    graph->values[value].tensor = tensor;
    passes->tensor_uses[tensor] = 1;
    return value;
}

const struct lego_tensor *passes_floats(const struct passes *passes, const struct lego_node *node,
                                        uint32_t index)
{
    const struct lego_tensor *tensor = lego_node_constant(passes->graph, node, index);
    return tensor && tensor->dtype == LEGO_DTYPE_FLOAT32 && tensor->data ? tensor : NULL;
}

bool passes_scalar(const struct passes *passes, const struct lego_node *node, uint32_t index,
                   float *ret_number)
{
    const struct lego_tensor *tensor = passes_floats(passes, node, index);
    if (!tensor || tensor->bytes != sizeof(float))
        return false;
    *ret_number = *(const float *)tensor->data;
    return true;
}

static void compact(struct lego_graph *graph)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op != LEGO_OP_NONE)
            graph->nodes[kept++] = graph->nodes[i];
    graph->node_count = kept;
}

/* One order for all: each pass leaves to the next what it waits for. */
static int run(struct passes *passes)
{
    static int (*const order[])(struct passes *) = {
        pass_identity, pass_pad,     pass_norm,       pass_affine,
        pass_residual, pass_compose, pass_activation,
    };
    int status = fill_names(passes);
    for (size_t i = 0; !status && i < sizeof order / sizeof *order; i++) {
        status = passes_index(passes);
        if (!status)
            status = order[i](passes);
        if (!status)
            compact(passes->graph);
    }
    return status;
}

int passes_run(struct lego_graph *graph, struct import_source *source, bool shared,
               struct lego_diag *diag)
{
    struct passes passes = {.graph = graph,
                            .source = source,
                            .shared = shared,
                            .diag = diag,
                            .scratch = lego_arena_create(0)};
    bool changed = false;
    if (!passes.scratch)
        return passes_no_memory(&passes);
    import_source_sort(source);
    int status = run(&passes);
    names_clear(&passes.names);
    lego_arena_destroy(passes.scratch);
    if (!status)
        status = lego_graph_infer(graph, diag);
    if (!status)
        status = pass_branches(graph, source, &changed, diag);
    return status || !changed ? status : lego_graph_infer(graph, diag);
}
