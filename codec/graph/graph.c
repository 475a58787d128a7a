/*
 * Building and freeing graphs.
 */
#include "codec/graph/graph.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

/* Elements of one kind: indices stay far from the ends of int32_t. */
#define GRAPH_MAX_ELEMENTS (1u << 24)

enum graph_array {
    ARRAY_VALUES,
    ARRAY_NODES,
    ARRAY_TENSORS,
    ARRAY_INPUTS,
    ARRAY_OUTPUTS,
    ARRAY_SYMBOLS,
    ARRAY_COUNT
};

struct graph_adopted {
    void *resource;
    void (*release)(void *resource);
    struct graph_adopted *next;
};

/* What a graph keeps behind its public face. */
struct graph_private {
    struct lego_graph graph; /* first: the public pointer is this one */
    struct graph_adopted *adopted;
    /* The arrays as grown here: a pass may put others in their place, whose room is not known. */
    struct {
        void *base;
        uint32_t capacity;
    } arrays[ARRAY_COUNT];
};

static struct graph_private *private_of(struct lego_graph *graph)
{
    return (struct graph_private *)graph;
}

int lego_graph_create(size_t limit_bytes, struct lego_graph **ret_graph)
{
    struct graph_private *self = calloc(1, sizeof(*self));
    if (!self)
        return LEGO_E_NOMEM;
    self->graph.arena = lego_arena_create(limit_bytes);
    if (!self->graph.arena) {
        free(self);
        return LEGO_E_NOMEM;
    }
    self->graph.name = "";
    *ret_graph = &self->graph;
    return LEGO_OK;
}

void lego_graph_destroy(struct lego_graph *graph)
{
    if (!graph)
        return;
    /* The list itself lies in the arena, and the last adopted may depend on those before it. */
    for (struct graph_adopted *at = private_of(graph)->adopted; at; at = at->next)
        at->release(at->resource);
    lego_arena_destroy(graph->arena);
    free(private_of(graph));
}

int lego_graph_adopt(struct lego_graph *graph, void *resource, void (*release)(void *resource))
{
    struct graph_adopted *adopted = lego_arena_calloc(graph->arena, 1, sizeof(*adopted));
    if (!adopted)
        return LEGO_E_NOMEM;
    adopted->resource = resource;
    adopted->release = release;
    adopted->next = private_of(graph)->adopted;
    private_of(graph)->adopted = adopted;
    return LEGO_OK;
}

/*
 * Makes room for one more element of `bytes` in `base` (`count` used). Returns the array, moved if
 * need be, or NULL with *ret_status set. Doubling leaves at most as much dead memory in the arena
 * as the array takes.
 */
static void *grow(struct lego_graph *graph, enum graph_array which, void *base, uint32_t count,
                  size_t bytes, int *ret_status)
{
    struct graph_private *self = private_of(graph);
    if (count >= GRAPH_MAX_ELEMENTS) {
        *ret_status = LEGO_E_LIMIT;
        return NULL;
    }
    uint32_t capacity = self->arrays[which].base == base ? self->arrays[which].capacity : count;
    if (count < capacity)
        return base;

    capacity = count < 8 ? 8 : 2 * count;
    void *moved = lego_arena_calloc(graph->arena, capacity, bytes);
    if (!moved) {
        *ret_status = LEGO_E_NOMEM;
        return NULL;
    }
    if (count > 0)
        memcpy(moved, base, count * bytes);
    self->arrays[which].base = moved;
    self->arrays[which].capacity = capacity;
    return moved;
}

int32_t lego_graph_add_value(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                             const struct lego_shape *shape)
{
    int status = LEGO_OK;
    struct lego_value *values =
        grow(graph, ARRAY_VALUES, graph->values, graph->value_count, sizeof(*values), &status);
    if (!values)
        return status;
    graph->values = values;
    const char *copy = lego_arena_strdup(graph->arena, name);
    if (!copy)
        return LEGO_E_NOMEM;
    values[graph->value_count] = (struct lego_value){
        .name = copy,
        .dtype = dtype,
        .shape = *shape,
        .tensor = -1,
    };
    return (int32_t)graph->value_count++;
}

int32_t lego_graph_add_tensor(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                              const struct lego_shape *shape)
{
    size_t elems, bytes;
    int status = lego_shape_elems(shape, &elems);
    if (status != LEGO_OK)
        return status;
    if (!lego_mul_size(elems, lego_dtype_bytes(dtype), &bytes))
        return LEGO_E_OVERFLOW;

    struct lego_tensor *tensors =
        grow(graph, ARRAY_TENSORS, graph->tensors, graph->tensor_count, sizeof(*tensors), &status);
    if (!tensors)
        return status;
    graph->tensors = tensors;
    const char *copy = lego_arena_strdup(graph->arena, name);
    if (!copy)
        return LEGO_E_NOMEM;
    tensors[graph->tensor_count] = (struct lego_tensor){
        .name = copy,
        .dtype = dtype,
        .shape = *shape,
        .bytes = bytes,
    };
    return (int32_t)graph->tensor_count++;
}

int32_t lego_graph_add_node(struct lego_graph *graph, const char *name, enum lego_op op,
                            uint32_t input_count, uint32_t output_count, uint32_t attr_count)
{
    int status = LEGO_OK;
    struct lego_node *nodes =
        grow(graph, ARRAY_NODES, graph->nodes, graph->node_count, sizeof(*nodes), &status);
    if (!nodes)
        return status;
    graph->nodes = nodes;
    struct lego_node node = {
        .name = lego_arena_strdup(graph->arena, name),
        .op = op,
        .input_count = input_count,
        .output_count = output_count,
        .attr_count = attr_count,
        .inputs = lego_arena_calloc(graph->arena, input_count, sizeof(int32_t)),
        .outputs = lego_arena_calloc(graph->arena, output_count, sizeof(int32_t)),
        .attrs = lego_arena_calloc(graph->arena, attr_count, sizeof(struct lego_attr)),
    };
    if (!node.name || !node.inputs || !node.outputs || !node.attrs)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < input_count; i++)
        node.inputs[i] = -1;
    for (uint32_t i = 0; i < output_count; i++)
        node.outputs[i] = -1;
    nodes[graph->node_count] = node;
    return (int32_t)graph->node_count++;
}

int32_t lego_graph_add_symbol(struct lego_graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->symbol_count; i++) {
        if (strcmp(graph->symbols[i], name) == 0)
            return (int32_t)i;
    }
    int status = LEGO_OK;
    const char **symbols =
        grow(graph, ARRAY_SYMBOLS, graph->symbols, graph->symbol_count, sizeof(*symbols), &status);
    if (!symbols)
        return status;
    graph->symbols = symbols;
    const char *copy = lego_arena_strdup(graph->arena, name);
    if (!copy)
        return LEGO_E_NOMEM;
    symbols[graph->symbol_count] = copy;
    return (int32_t)graph->symbol_count++;
}

int lego_graph_add_input(struct lego_graph *graph, int32_t value)
{
    int status = LEGO_OK;
    int32_t *inputs =
        grow(graph, ARRAY_INPUTS, graph->inputs, graph->input_count, sizeof(*inputs), &status);
    if (!inputs)
        return status;
    graph->inputs = inputs;
    inputs[graph->input_count++] = value;
    return LEGO_OK;
}

int lego_graph_add_output(struct lego_graph *graph, int32_t value)
{
    int status = LEGO_OK;
    int32_t *outputs =
        grow(graph, ARRAY_OUTPUTS, graph->outputs, graph->output_count, sizeof(*outputs), &status);
    if (!outputs)
        return status;
    graph->outputs = outputs;
    outputs[graph->output_count++] = value;
    return LEGO_OK;
}

int32_t lego_graph_find_value(const struct lego_graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->value_count; i++) {
        if (strcmp(graph->values[i].name, name) == 0)
            return (int32_t)i;
    }
    return -1;
}
