/*
 * Removing what nothing needs, and lego_graph_specialise.
 */
#include "codec/graph/fold.h"

#include "codec/graph/eval_node.h"

#include <stdlib.h>
#include <string.h>

/* What stays, and the new numbers of values and tensors. */
struct compact {
    struct lego_graph *graph;
    bool *nodes, *values, *tensors;
    int32_t *value_map, *tensor_map;
};

static void need_captures(struct compact *k, const struct lego_graph *sub, unsigned depth);

static void need_attrs(struct compact *k, const struct lego_node *node)
{
    for (uint32_t a = 0; a < node->attr_count; a++) {
        const struct lego_attr *attr = &node->attrs[a];
        if (attr->type == LEGO_ATTR_TENSOR)
            k->tensors[attr->tensor] = true;
        if (attr->type == LEGO_ATTR_GRAPH)
            need_captures(k, attr->graph, 0);
    }
}

/* A subgraph sees outer values by name. */
static void need_captures(struct compact *k, const struct lego_graph *sub, unsigned depth)
{
    if (depth > 16)
        return;
    for (uint32_t v = 0; v < sub->value_count; v++) {
        int32_t outer = lego_graph_find_value(k->graph, sub->values[v].name);
        if (outer >= 0)
            k->values[outer] = true;
    }
    for (uint32_t n = 0; n < sub->node_count; n++) {
        for (uint32_t a = 0; a < sub->nodes[n].attr_count; a++) {
            if (sub->nodes[n].attrs[a].type == LEGO_ATTR_GRAPH)
                need_captures(k, sub->nodes[n].attrs[a].graph, depth + 1);
        }
    }
}

/* Marks backwards from the graph's outputs. */
static void mark(struct compact *k)
{
    const struct lego_graph *graph = k->graph;
    for (uint32_t i = 0; i < graph->input_count; i++)
        k->values[graph->inputs[i]] = true;
    for (uint32_t i = 0; i < graph->output_count; i++)
        k->values[graph->outputs[i]] = true;
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; i < node->output_count; i++)
            k->nodes[n] |= node->outputs[i] >= 0 && k->values[node->outputs[i]];
        if (!k->nodes[n])
            continue;
        for (uint32_t i = 0; i < node->input_count; i++) {
            if (node->inputs[i] >= 0)
                k->values[node->inputs[i]] = true;
        }
        need_attrs(k, node);
    }
    for (uint32_t v = 0; v < graph->value_count; v++) {
        if (k->values[v] && graph->values[v].tensor >= 0)
            k->tensors[graph->values[v].tensor] = true;
    }
}

/* Optional outputs that nothing reads become absent: nobody needs to compute them. */
static void drop_outputs(const struct compact *k, struct lego_node *node)
{
    uint32_t required = infer_rule(node->op)->outputs_min;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            continue;
        if (k->values[node->outputs[i]] || i < required)
            k->values[node->outputs[i]] = true;
        else
            node->outputs[i] = -1;
    }
}

static void renumber(struct compact *k)
{
    struct lego_graph *graph = k->graph;
    uint32_t count = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (!k->nodes[n])
            continue;
        drop_outputs(k, &graph->nodes[n]);
        graph->nodes[count++] = graph->nodes[n];
    }
    graph->node_count = count;
    count = 0;
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        if (!k->tensors[t])
            continue;
        graph->tensors[count] = graph->tensors[t];
        k->tensor_map[t] = (int32_t)count++;
    }
    graph->tensor_count = count;
    count = 0;
    for (uint32_t v = 0; v < graph->value_count; v++) {
        if (!k->values[v])
            continue;
        graph->values[count] = graph->values[v];
        if (graph->values[count].tensor >= 0)
            graph->values[count].tensor = k->tensor_map[graph->values[count].tensor];
        k->value_map[v] = (int32_t)count++;
    }
    graph->value_count = count;
}

static void rewire(const struct compact *k)
{
    struct lego_graph *graph = k->graph;
    for (uint32_t i = 0; i < graph->input_count; i++)
        graph->inputs[i] = k->value_map[graph->inputs[i]];
    for (uint32_t i = 0; i < graph->output_count; i++)
        graph->outputs[i] = k->value_map[graph->outputs[i]];
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; i < node->input_count; i++) {
            if (node->inputs[i] >= 0)
                node->inputs[i] = k->value_map[node->inputs[i]];
        }
        for (uint32_t i = 0; i < node->output_count; i++) {
            if (node->outputs[i] >= 0)
                node->outputs[i] = k->value_map[node->outputs[i]];
        }
        for (uint32_t a = 0; a < node->attr_count; a++) {
            if (node->attrs[a].type == LEGO_ATTR_TENSOR)
                node->attrs[a].tensor = k->tensor_map[node->attrs[a].tensor];
        }
    }
}

int fold_compact(struct lego_graph *graph, struct lego_diag *diag)
{
    struct compact k = {.graph = graph};
    k.nodes = calloc(graph->node_count + 1u, sizeof(bool));
    k.values = calloc(graph->value_count + 1u, sizeof(bool));
    k.tensors = calloc(graph->tensor_count + 1u, sizeof(bool));
    k.value_map = calloc(graph->value_count + 1u, sizeof(int32_t));
    k.tensor_map = calloc(graph->tensor_count + 1u, sizeof(int32_t));
    bool enough = k.nodes && k.values && k.tensors && k.value_map && k.tensor_map;
    if (enough) {
        mark(&k);
        renumber(&k);
        rewire(&k);
    }
    free(k.nodes);
    free(k.values);
    free(k.tensors);
    free(k.value_map);
    free(k.tensor_map);
    return enough ? LEGO_OK
                  : lego_fail(diag, LEGO_E_NOMEM, "no memory to compact graph '%s'", graph->name);
}

/* A copy of an array in the graph's arena; empty arrays become a valid pointer. */
static void *copied(struct lego_graph *graph, const void *from, uint32_t count, size_t bytes)
{
    void *to = lego_arena_calloc(graph->arena, count ? count : 1, bytes);
    if (to && count > 0)
        memcpy(to, from, count * bytes);
    return to;
}

/* Attributes are shared, unless the pass will renumber a tensor in them. */
static bool copy_node(struct lego_graph *graph, struct lego_node *node)
{
    node->inputs = copied(graph, node->inputs, node->input_count, sizeof(int32_t));
    node->outputs = copied(graph, node->outputs, node->output_count, sizeof(int32_t));
    bool own = false;
    for (uint32_t a = 0; a < node->attr_count; a++)
        own |= node->attrs[a].type == LEGO_ATTR_TENSOR;
    if (own)
        node->attrs = copied(graph, node->attrs, node->attr_count, sizeof(*node->attrs));
    return node->inputs && node->outputs && (!own || node->attrs);
}

static bool copy_graph(const struct lego_graph *from, struct lego_graph *to)
{
    to->name = from->name;
    to->value_count = from->value_count;
    to->node_count = from->node_count;
    to->tensor_count = from->tensor_count;
    to->input_count = from->input_count;
    to->output_count = from->output_count;
    to->symbol_count = from->symbol_count;
    to->original_bytes = from->original_bytes;
    to->original_weights = from->original_weights;
    to->values = copied(to, from->values, from->value_count, sizeof(*to->values));
    to->nodes = copied(to, from->nodes, from->node_count, sizeof(*to->nodes));
    to->tensors = copied(to, from->tensors, from->tensor_count, sizeof(*to->tensors));
    to->inputs = copied(to, from->inputs, from->input_count, sizeof(*to->inputs));
    to->outputs = copied(to, from->outputs, from->output_count, sizeof(*to->outputs));
    to->symbols = copied(to, from->symbols, from->symbol_count, sizeof(*to->symbols));
    bool enough =
        to->values && to->nodes && to->tensors && to->inputs && to->outputs && to->symbols;
    for (uint32_t n = 0; enough && n < to->node_count; n++)
        enough = copy_node(to, &to->nodes[n]);
    return enough;
}

int lego_graph_copy(const struct lego_graph *graph, struct lego_graph **ret_copy)
{
    struct lego_graph *made;
    if (lego_graph_create(0, &made) != LEGO_OK)
        return LEGO_E_NOMEM;
    if (!copy_graph(graph, made)) {
        lego_graph_destroy(made);
        return LEGO_E_NOMEM;
    }
    *ret_copy = made;
    return LEGO_OK;
}

/* Binds the symbols of a declared shape to the sizes given; the first binding counts. */
static bool bind_shape(const struct lego_shape *declared, const struct lego_shape *given,
                       int64_t *symbols)
{
    if (declared->rank == LEGO_RANK_UNKNOWN)
        return true;
    if (declared->rank != given->rank)
        return false;
    for (int d = 0; d < declared->rank; d++) {
        int64_t dim = declared->dim[d];
        if (dim == LEGO_DIM_UNKNOWN)
            continue;
        int64_t *want = dim < 0 ? &symbols[-1 - dim] : &dim;
        if (*want < 0)
            *want = given->dim[d];
        if (*want != given->dim[d])
            return false;
    }
    return true;
}

static int set_inputs(struct lego_graph *graph, const struct lego_shape *inputs,
                      struct lego_diag *diag)
{
    int64_t *symbols = calloc(graph->symbol_count + 1u, sizeof(*symbols));
    if (!symbols)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %u symbols", graph->symbol_count);
    for (uint32_t s = 0; s < graph->symbol_count; s++)
        symbols[s] = -1;
    int status = LEGO_OK;
    for (uint32_t i = 0; i < graph->input_count && status == LEGO_OK; i++) {
        struct lego_value *value = &graph->values[graph->inputs[i]];
        if (!lego_shape_is_static(&inputs[i]) || !bind_shape(&value->shape, &inputs[i], symbols)) {
            char want[128], have[128];
            status =
                lego_fail(diag, LEGO_E_SHAPE, "input '%s' has the shape %s, the model wants %s",
                          value->name, lego_shape_format(&inputs[i], NULL, have, sizeof(have)),
                          lego_shape_format(&value->shape, graph, want, sizeof(want)));
        }
        value->shape = inputs[i];
    }
    free(symbols);
    return status;
}

/* Nodes read a constant in place of the input. */
static int set_known(struct lego_graph *graph, uint32_t input, const struct lego_array *known)
{
    const int32_t from = graph->inputs[input];
    size_t elems;
    const char *name = lego_arena_printf(graph->arena, "%s = known", graph->values[from].name);
    int status = lego_shape_elems(&known->shape, &elems);
    if (status != LEGO_OK || !name)
        return status != LEGO_OK ? status : LEGO_E_NOMEM;
    int32_t tensor = lego_graph_add_tensor(graph, name, known->dtype, &known->shape);
    int32_t value =
        tensor < 0 ? tensor : lego_graph_add_value(graph, name, known->dtype, &known->shape);
    if (value < 0)
        return value;
    graph->tensors[tensor].data =
        lego_arena_memdup(graph->arena, known->data, graph->tensors[tensor].bytes);
    if (!graph->tensors[tensor].data)
        return LEGO_E_NOMEM;
    graph->values[value].tensor = tensor;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++) {
            if (graph->nodes[n].inputs[i] == from)
                graph->nodes[n].inputs[i] = value;
        }
    }
    return LEGO_OK;
}

int lego_graph_specialise_known(const struct lego_graph *graph, const struct lego_shape *inputs,
                                const struct lego_array *const *known,
                                struct lego_graph **ret_graph, struct lego_diag *diag)
{
    struct lego_graph *made;
    if (lego_graph_copy(graph, &made) != LEGO_OK)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a copy of graph '%s'", graph->name);
    int status = set_inputs(made, inputs, diag);
    for (uint32_t i = 0; known && i < made->input_count && status == LEGO_OK; i++) {
        if (known[i] && set_known(made, i, known[i]) != LEGO_OK)
            status = lego_fail(diag, LEGO_E_NOMEM, "no memory for what is known of an input");
    }
    if (status == LEGO_OK)
        status = fold_run(made, diag);
    if (status != LEGO_OK) {
        lego_graph_destroy(made);
        return status;
    }
    *ret_graph = made;
    return LEGO_OK;
}

int lego_graph_specialise(const struct lego_graph *graph, const struct lego_shape *inputs,
                          struct lego_graph **ret_graph, struct lego_diag *diag)
{
    return lego_graph_specialise_known(graph, inputs, NULL, ret_graph, diag);
}
