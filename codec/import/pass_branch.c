/*
 * Subgraphs get what the graph around them has had. A branch of an If is inferred with the types
 * and shapes that are known outside, with constants from outside as constants of its own, and goes
 * through all passes. Then the large weights of every subgraph move out, as further inputs: the
 * codecs and the runtime know the constants of the model's graph.
 */
#include "codec/import/passes.h"

#include "codec/base/arena.h"
#include "codec/graph/infer.h"

#include <stdlib.h>
#include <string.h>

/* Smaller constants stay: they are no weights that are worth coding by themselves. */
#define HOIST_MIN_BYTES 4096

/* The inputs of one subgraph, in the numbers of the graph around it, as they change. */
struct captured {
    struct lego_graph *graph; /* the subgraph */
    int32_t *outer;           /* [graph->input_count], -1: not from outside */
};

static int no_memory(struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_NOMEM, "no memory for a subgraph");
}

static void release_graph(void *graph)
{
    lego_graph_destroy(graph);
}

/* What is known outside of an input; symbols of another graph mean nothing. */
static void describe_input(struct lego_value *inner, const struct lego_value *outer)
{
    inner->dtype = outer->dtype;
    inner->shape = outer->shape;
    for (int i = 0; i < inner->shape.rank; i++)
        if (inner->shape.dim[i] < 0)
            inner->shape.dim[i] = LEGO_DIM_UNKNOWN;
}

/* Constants from outside become constants of the branch, which shares their data. */
static int bind_inputs(const struct lego_graph *graph, struct captured *captured)
{
    struct lego_graph *branch = captured->graph;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < branch->input_count; i++) {
        const struct lego_value *outer = &graph->values[captured->outer[i]];
        int32_t value = branch->inputs[i];
        describe_input(&branch->values[value], outer);
        if (outer->tensor < 0 || graph->tensors[outer->tensor].coded) {
            captured->outer[kept] = captured->outer[i];
            branch->inputs[kept++] = value;
            continue;
        }
        const struct lego_tensor *from = &graph->tensors[outer->tensor];
        int32_t tensor = lego_graph_add_tensor(branch, from->name, from->dtype, &from->shape);
        if (tensor < 0)
            return tensor;
        branch->tensors[tensor].data = from->data;
        branch->values[value].tensor = tensor;
    }
    branch->input_count = kept;
    return 0;
}

/*
 * Replaces the branch by one that is inferred and has gone through the passes. One that is wrong
 * for what is known outside (the condition may be there to see that it is never taken) stays as it
 * is.
 */
static int simplify(struct lego_graph *graph, struct captured *captured,
                    struct import_source *source, struct lego_diag *diag)
{
    struct lego_diag ignored = LEGO_DIAG_INIT;
    struct captured made = {0};
    size_t bytes = (captured->graph->input_count + 1u) * sizeof(int32_t);
    made.outer = lego_arena_memdup(graph->arena, captured->outer, bytes);
    if (!made.outer || lego_graph_copy(captured->graph, &made.graph) != 0)
        return no_memory(diag);
    if (lego_graph_adopt(graph, made.graph, release_graph) != 0) {
        lego_graph_destroy(made.graph);
        return no_memory(diag);
    }
    int status = bind_inputs(graph, &made);
    if (!status)
        status = lego_graph_infer(made.graph, &ignored);
    if (!status)
        status = passes_run(made.graph, source, true, &ignored);
    if (status == LEGO_E_NOMEM)
        return no_memory(diag);
    if (!status)
        *captured = made;
    return 0;
}

static bool is_output(const struct lego_graph *graph, int32_t value)
{
    for (uint32_t i = 0; i < graph->output_count; i++)
        if (graph->outputs[i] == value)
            return true;
    return false;
}

/* Takes a constant's tensor away: others move up. */
static void remove_tensor(struct lego_graph *graph, int32_t tensor)
{
    graph->tensor_count--;
    memmove(graph->tensors + tensor, graph->tensors + tensor + 1,
            (graph->tensor_count - (uint32_t)tensor) * sizeof *graph->tensors);
    for (uint32_t v = 0; v < graph->value_count; v++)
        graph->values[v].tensor -= graph->values[v].tensor > tensor;
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t a = 0; a < graph->nodes[n].attr_count; a++)
            if (graph->nodes[n].attrs[a].type == LEGO_ATTR_TENSOR)
                graph->nodes[n].attrs[a].tensor -= graph->nodes[n].attrs[a].tensor > tensor;
}

/* True where nothing but this value is this tensor. */
static bool is_only_value(const struct lego_graph *graph, int32_t value)
{
    int32_t tensor = graph->values[value].tensor;
    for (uint32_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].tensor == tensor && (int32_t)v != value)
            return false;
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t a = 0; a < graph->nodes[n].attr_count; a++)
            if (graph->nodes[n].attrs[a].type == LEGO_ATTR_TENSOR &&
                graph->nodes[n].attrs[a].tensor == tensor)
                return false;
    return true;
}

static bool is_worth_hoisting(const struct lego_graph *graph, int32_t value)
{
    int32_t number = graph->values[value].tensor;
    const struct lego_tensor *tensor = number < 0 ? NULL : &graph->tensors[number];
    return tensor && tensor->dtype == LEGO_DTYPE_FLOAT32 && tensor->data &&
           tensor->shape.rank >= 2 && tensor->bytes >= HOIST_MIN_BYTES &&
           !is_output(graph, value) && is_only_value(graph, value);
}

/* A constant of the graph with the data of the subgraph's; returns its value. */
static int32_t add_outside(struct lego_graph *graph, const char *node,
                           const struct lego_tensor *tensor)
{
    const char *name = lego_arena_printf(graph->arena, "%s/%s", node, tensor->name);
    for (unsigned i = 2; name && lego_graph_find_value(graph, name) >= 0; i++)
        name = lego_arena_printf(graph->arena, "%s.%u/%s", node, i, tensor->name);
    int32_t number =
        name ? lego_graph_add_tensor(graph, name, tensor->dtype, &tensor->shape) : LEGO_E_NOMEM;
    int32_t value =
        number < 0 ? number : lego_graph_add_value(graph, name, tensor->dtype, &tensor->shape);
    if (value < 0)
        return value;
    graph->tensors[number].data = tensor->data;
    graph->values[value].tensor = number;
    return value;
}

static int hoist(struct lego_graph *graph, const struct lego_node *node, struct captured *captured)
{
    struct lego_graph *inner = captured->graph;
    for (uint32_t v = 0; v < inner->value_count; v++) {
        if (!is_worth_hoisting(inner, (int32_t)v))
            continue;
        int32_t tensor = inner->values[v].tensor;
        int32_t value = add_outside(graph, node->name, &inner->tensors[tensor]);
        int32_t *outer = lego_arena_calloc(graph->arena, inner->input_count + 1u, sizeof *outer);
        if (value < 0 || !outer || lego_graph_add_input(inner, (int32_t)v) != 0)
            return LEGO_E_NOMEM;
        memcpy(outer, captured->outer, (inner->input_count - 1u) * sizeof *outer);
        outer[inner->input_count - 1] = value;
        captured->outer = outer;
        inner->values[v].tensor = -1;
        remove_tensor(inner, tensor);
    }
    return 0;
}

/* The node's inputs: its own up to `first`, then those of its subgraphs. */
static int set_inputs(struct lego_graph *graph, struct lego_node *node, uint32_t first,
                      const struct captured *captured, size_t count)
{
    uint32_t total = first;
    for (size_t k = 0; k < count; k++)
        total += captured[k].graph->input_count;
    int32_t *inputs = lego_arena_calloc(graph->arena, total + 1u, sizeof *inputs);
    if (!inputs)
        return LEGO_E_NOMEM;
    memcpy(inputs, node->inputs, first * sizeof *inputs);
    node->inputs = inputs;
    node->input_count = first;
    for (size_t k = 0; k < count; k++) {
        memcpy(inputs + node->input_count, captured[k].outer,
               captured[k].graph->input_count * sizeof *inputs);
        node->input_count += captured[k].graph->input_count;
    }
    return 0;
}

static int visit_if(struct lego_graph *graph, struct lego_node *node, struct import_source *source,
                    struct lego_diag *diag)
{
    static const char *const names[] = {"then_branch", "else_branch"};
    struct captured captured[2];
    struct lego_attr *attrs =
        lego_arena_memdup(graph->arena, node->attrs, node->attr_count * sizeof *attrs);
    uint32_t first = 1;
    int status = attrs ? 0 : no_memory(diag);
    node->attrs = attrs ? attrs : node->attrs;
    for (size_t k = 0; k < 2 && !status; k++) {
        struct lego_attr *attr = (struct lego_attr *)(uintptr_t)lego_node_attr(node, names[k]);
        captured[k] = (struct captured){attr->graph, node->inputs + first};
        first += attr->graph->input_count;
        status = simplify(graph, &captured[k], source, diag);
        if (!status && hoist(graph, node, &captured[k]) != 0)
            status = no_memory(diag);
        attr->graph = captured[k].graph;
    }
    return !status && set_inputs(graph, node, 1, captured, 2) != 0 ? no_memory(diag) : status;
}

int pass_branches(struct lego_graph *graph, struct import_source *source, bool *ret_changed,
                  struct lego_diag *diag)
{
    int status = 0;
    for (uint32_t n = 0; n < graph->node_count && !status; n++) {
        if (graph->nodes[n].op != LEGO_OP_If)
            continue;
        *ret_changed = true;
        status = visit_if(graph, &graph->nodes[n], source, diag);
    }
    return status;
}
