/*
 * If, Loop and Scan: what their nodes say, and Ifs that are decided before running.
 */
#include "codec/graph/flow.h"
#include "codec/graph/infer.h"

#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

static int malformed(const struct lego_node *node, const char *what, struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_FORMAT, "node '%s' (%s): %s", node->name, lego_op_name(node->op),
                     what);
}

/* Inputs for subgraphs cannot be absent. */
static bool all_present(const struct lego_node *node, uint32_t first)
{
    for (uint32_t i = first; i < node->input_count; i++) {
        if (node->inputs[i] < 0)
            return false;
    }
    return true;
}

static const struct lego_graph *subgraph(const struct lego_node *node, const char *name)
{
    const struct lego_attr *attr = lego_node_attr(node, name);
    return attr && attr->type == LEGO_ATTR_GRAPH ? attr->graph : NULL;
}

int flow_read_if(const struct lego_node *node, struct flow_if *ret_flow, struct lego_diag *diag)
{
    struct flow_if flow = {
        .branch = {subgraph(node, "else_branch"), subgraph(node, "then_branch")},
    };
    if (!flow.branch[0] || !flow.branch[1])
        return malformed(node, "a branch is missing", diag);
    flow.first_input[1] = 1;
    flow.first_input[0] = 1 + flow.branch[1]->input_count;
    if (node->input_count != (uint64_t)flow.first_input[0] + flow.branch[0]->input_count ||
        !all_present(node, 1))
        return malformed(node, "its inputs are not those of the branches", diag);
    if (flow.branch[0]->output_count < node->output_count ||
        flow.branch[1]->output_count < node->output_count)
        return malformed(node, "a branch has too few outputs", diag);
    *ret_flow = flow;
    return LEGO_OK;
}

int flow_read_body(const struct lego_node *node, struct flow_body *ret_flow, struct lego_diag *diag)
{
    bool loop = node->op == LEGO_OP_Loop;
    int64_t captured = lego_node_int(node, "lego.captures", 0);
    int64_t scanned = loop ? 0 : lego_node_int(node, "num_scan_inputs", 0);
    int64_t fixed = loop ? 2 : 0;
    const struct lego_graph *body = subgraph(node, "body");
    if (!body)
        return malformed(node, "the body is missing", diag);
    int64_t inputs = body->input_count;
    if (captured < 0 || captured > inputs || scanned < 0 || scanned > inputs || (!loop && !scanned))
        return malformed(node, "impossible numbers of inputs", diag);
    int64_t carried = inputs - fixed - scanned - captured;
    int64_t stacked = (int64_t)body->output_count - loop - carried;
    /* Both of a Loop's own inputs may be absent, and are not counted where nothing follows. */
    bool same = node->input_count == inputs || (loop && inputs == 2 && node->input_count < 2);
    if (carried < 0 || !same || !all_present(node, (uint32_t)fixed))
        return malformed(node, "its inputs are not those of the body", diag);
    if (stacked < 0 || node->output_count > carried + stacked)
        return malformed(node, "its outputs are not those of the body", diag);
    *ret_flow = (struct flow_body){
        .body = body,
        .fixed = (uint32_t)fixed,
        .carried = (uint32_t)carried,
        .scanned = (uint32_t)scanned,
        .captured = (uint32_t)captured,
        .conditions = loop,
        .stacked = (uint32_t)stacked,
    };
    return LEGO_OK;
}

int64_t flow_axis(const struct lego_node *node, const char *axes, uint32_t index)
{
    size_t count;
    const int64_t *values = lego_node_ints(node, axes, &count);
    return index < count ? values[index] : 0;
}

bool flow_backwards(const struct lego_node *node, const char *directions, uint32_t index)
{
    return flow_axis(node, directions, index) == 1;
}

/* One If on its way out: numbers of the branch's values and tensors in the graph around it. */
struct inlining {
    struct lego_graph *graph;
    const struct lego_graph *branch;
    const char *prefix; /* of names, which no name of the graph begins with */
    int32_t *values;    /* -1: not known yet */
    int32_t first_tensor;
};

/* The branch of an If with a constant condition, NULL for every other node. */
static const struct lego_graph *decided(const struct lego_graph *graph,
                                        const struct lego_node *node, uint32_t *ret_first)
{
    struct flow_if flow;
    const struct lego_tensor *condition =
        node->op == LEGO_OP_If ? lego_node_constant(graph, node, 0) : NULL;
    if (!condition || condition->dtype != LEGO_DTYPE_BOOL || condition->bytes != 1 ||
        !condition->data || flow_read_if(node, &flow, NULL) != LEGO_OK)
        return NULL;
    bool then = *(const uint8_t *)condition->data != 0;
    *ret_first = flow.first_input[then];
    return flow.branch[then];
}

/* True where every value of a graph is computed in it: none is seen by name. */
static bool is_closed(const struct lego_graph *branch)
{
    bool *known = calloc(branch->value_count + 1u, sizeof(*known));
    bool closed = known != NULL;
    for (uint32_t i = 0; known && i < branch->value_count; i++)
        known[i] = branch->values[i].tensor >= 0;
    for (uint32_t i = 0; known && i < branch->input_count; i++)
        known[branch->inputs[i]] = true;
    for (uint32_t n = 0; known && n < branch->node_count; n++) {
        for (uint32_t i = 0; i < branch->nodes[n].output_count; i++) {
            if (branch->nodes[n].outputs[i] >= 0)
                known[branch->nodes[n].outputs[i]] = true;
        }
    }
    for (uint32_t i = 0; known && i < branch->value_count; i++)
        closed &= known[i];
    free(known);
    return closed;
}

/* A prefix that begins no name of the graph. */
static const char *make_prefix(struct lego_graph *graph, const char *name)
{
    for (unsigned i = 0;; i++) {
        const char *prefix = i == 0 ? lego_arena_printf(graph->arena, "%s/", name)
                                    : lego_arena_printf(graph->arena, "%s.%u/", name, i);
        bool used = false;
        for (uint32_t v = 0; prefix && v < graph->value_count && !used; v++)
            used = strncmp(graph->values[v].name, prefix, strlen(prefix)) == 0;
        if (!used)
            return prefix;
    }
}

static int copy_tensors(struct inlining *in)
{
    in->first_tensor = (int32_t)in->graph->tensor_count;
    for (uint32_t t = 0; t < in->branch->tensor_count; t++) {
        const struct lego_tensor *from = &in->branch->tensors[t];
        const char *name = lego_arena_printf(in->graph->arena, "%s%s", in->prefix, from->name);
        int32_t index =
            name ? lego_graph_add_tensor(in->graph, name, from->dtype, &from->shape) : LEGO_E_NOMEM;
        if (index < 0)
            return index;
        in->graph->tensors[index].data = from->data;
        in->graph->tensors[index].coded = from->coded;
        in->graph->tensors[index].integer = from->integer;
    }
    return LEGO_OK;
}

/* Values of the branch that are not inputs and not outputs get their own. */
static int copy_values(struct inlining *in)
{
    for (uint32_t v = 0; v < in->branch->value_count; v++) {
        const struct lego_value *from = &in->branch->values[v];
        const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
        if (in->values[v] >= 0)
            continue;
        const char *name = lego_arena_printf(in->graph->arena, "%s%s", in->prefix, from->name);
        int32_t value = name ? lego_graph_add_value(in->graph, name, from->dtype,
                                                    from->tensor >= 0 ? &from->shape : &open)
                             : LEGO_E_NOMEM;
        if (value < 0)
            return value;
        if (from->tensor >= 0)
            in->graph->values[value].tensor = in->first_tensor + from->tensor;
        in->values[v] = value;
    }
    return LEGO_OK;
}

static int copy_indices(const struct inlining *in, int32_t *array, uint32_t count, int32_t **ret)
{
    int32_t *to = lego_arena_calloc(in->graph->arena, count + 1u, sizeof(*to));
    if (!to)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        to[i] = array[i] < 0 ? -1 : in->values[array[i]];
    *ret = to;
    return LEGO_OK;
}

static int copy_node(const struct inlining *in, const struct lego_node *from, struct lego_node *to)
{
    *to = *from;
    to->name = lego_arena_printf(in->graph->arena, "%s%s", in->prefix, from->name);
    to->attrs =
        lego_arena_memdup(in->graph->arena, from->attrs, from->attr_count * sizeof(*from->attrs));
    if (!to->name || !to->attrs)
        return LEGO_E_NOMEM;
    for (uint32_t a = 0; a < to->attr_count; a++) {
        if (to->attrs[a].type == LEGO_ATTR_TENSOR)
            to->attrs[a].tensor += in->first_tensor;
    }
    int status = copy_indices(in, from->inputs, from->input_count, &to->inputs);
    return status ? status : copy_indices(in, from->outputs, from->output_count, &to->outputs);
}

/* The node that gives an output which no node of the branch alone computes. */
static int make_identity(const struct inlining *in, int32_t input, int32_t output,
                         struct lego_node *to)
{
    int32_t *ends = lego_arena_calloc(in->graph->arena, 2, sizeof(*ends));
    if (!ends)
        return LEGO_E_NOMEM;
    ends[0] = input;
    ends[1] = output;
    *to = (struct lego_node){
        .name = lego_arena_printf(in->graph->arena, "%soutput_%d", in->prefix, (int)output),
        .op = LEGO_OP_Identity,
        .input_count = 1,
        .output_count = 1,
        .inputs = &ends[0],
        .outputs = &ends[1],
    };
    return to->name ? LEGO_OK : LEGO_E_NOMEM;
}

/* Puts the nodes of `in->branch` for `node`, whose inputs from `first` on it takes, behind the
 * `*count` nodes in `nodes`. */
static int inline_node(struct inlining *in, const struct lego_node *node, uint32_t first,
                       struct lego_node *nodes, uint32_t *count)
{
    const struct lego_graph *branch = in->branch;
    for (uint32_t v = 0; v < branch->value_count; v++)
        in->values[v] = -1;
    bool *direct = lego_arena_calloc(in->graph->arena, branch->value_count + 1u, sizeof(*direct));
    if (!direct)
        return LEGO_E_NOMEM;
    for (uint32_t n = 0; n < branch->node_count; n++) {
        for (uint32_t i = 0; i < branch->nodes[n].output_count; i++) {
            if (branch->nodes[n].outputs[i] >= 0)
                direct[branch->nodes[n].outputs[i]] = true;
        }
    }
    for (uint32_t i = 0; i < branch->input_count; i++)
        in->values[branch->inputs[i]] = node->inputs[first + i];
    for (uint32_t i = 0; i < node->output_count; i++) {
        int32_t value = branch->outputs[i];
        if (node->outputs[i] >= 0 && direct[value] && in->values[value] < 0)
            in->values[value] = node->outputs[i];
    }
    int status = copy_tensors(in);
    if (status == LEGO_OK)
        status = copy_values(in);
    for (uint32_t n = 0; n < branch->node_count && status == LEGO_OK; n++)
        status = copy_node(in, &branch->nodes[n], &nodes[(*count)++]);
    for (uint32_t i = 0; i < node->output_count && status == LEGO_OK; i++) {
        int32_t value = in->values[branch->outputs[i]];
        if (node->outputs[i] >= 0 && value != node->outputs[i])
            status = make_identity(in, value, node->outputs[i], &nodes[(*count)++]);
    }
    return status;
}

/* Every node of a branch may be there once more, and one for each output. */
static uint64_t count_nodes(const struct lego_graph *graph, bool *ret_any)
{
    uint64_t count = 0;
    uint32_t first;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_graph *branch = decided(graph, &graph->nodes[n], &first);
        *ret_any |= branch && is_closed(branch);
        count += branch ? branch->node_count + graph->nodes[n].output_count + 1u : 1u;
    }
    return count;
}

static int inline_all(struct lego_graph *graph, struct lego_node *nodes)
{
    uint32_t count = 0, first = 0;
    int status = LEGO_OK;
    for (uint32_t n = 0; n < graph->node_count && status == LEGO_OK; n++) {
        const struct lego_node *node = &graph->nodes[n];
        struct inlining in = {.graph = graph, .branch = decided(graph, node, &first)};
        if (!in.branch || !is_closed(in.branch)) {
            nodes[count++] = *node;
            continue;
        }
        in.prefix = make_prefix(graph, node->name);
        in.values =
            lego_arena_calloc(graph->arena, in.branch->value_count + 1u, sizeof(*in.values));
        status =
            in.prefix && in.values ? inline_node(&in, node, first, nodes, &count) : LEGO_E_NOMEM;
    }
    if (status == LEGO_OK) {
        graph->nodes = nodes;
        graph->node_count = count;
    }
    return status;
}

int flow_inline(struct lego_graph *graph, bool *ret_changed, struct lego_diag *diag)
{
    bool any = false;
    uint64_t room = count_nodes(graph, &any);
    int status = LEGO_OK;
    if (any) {
        struct lego_node *nodes =
            room < UINT32_MAX ? lego_arena_calloc(graph->arena, room, sizeof(*nodes)) : NULL;
        status = nodes ? inline_all(graph, nodes) : LEGO_E_NOMEM;
    }
    if (status != LEGO_OK)
        return lego_fail(diag, status, "no memory for the branches of graph '%s'", graph->name);
    *ret_changed = any;
    return LEGO_OK;
}

/* What the conditions are computed from. */
struct deciding {
    const struct lego_graph *graph;
    int32_t *producer; /* [value_count] node, -1 */
    int32_t *input;    /* [value_count] graph input, -1 */
    bool *seen;        /* [value_count] */
    int32_t *stack;    /* [value_count] */
};

static bool may_decide(const struct lego_value *value)
{
    size_t elems;
    return (value->dtype == LEGO_DTYPE_INT64 || value->dtype == LEGO_DTYPE_INT32 ||
            value->dtype == LEGO_DTYPE_BOOL) &&
           lego_shape_is_static(&value->shape) &&
           lego_shape_elems(&value->shape, &elems) == LEGO_OK && elems == 1;
}

/* Goes through all that a condition is computed from, and marks what it sees; false where some of
 * it cannot be known ahead. */
static bool trace_condition(struct deciding *d, int32_t condition)
{
    uint32_t depth = 0;
    bool known = true;
    memset(d->seen, 0, d->graph->value_count * sizeof(*d->seen));
    d->stack[depth++] = condition;
    d->seen[condition] = true;
    while (depth > 0) {
        const int32_t value = d->stack[--depth];
        const struct lego_node *node =
            d->producer[value] < 0 ? NULL : &d->graph->nodes[d->producer[value]];
        if (d->input[value] >= 0)
            known &= may_decide(&d->graph->values[value]);
        for (uint32_t i = 0; node && i < node->input_count; i++) {
            if (node->inputs[i] < 0 || d->seen[node->inputs[i]])
                continue;
            d->seen[node->inputs[i]] = true;
            d->stack[depth++] = node->inputs[i];
        }
    }
    return known;
}

static void index_values(struct deciding *d)
{
    const struct lego_graph *graph = d->graph;
    for (uint32_t v = 0; v < graph->value_count; v++)
        d->producer[v] = d->input[v] = -1;
    for (uint32_t i = 0; i < graph->input_count; i++)
        d->input[graph->inputs[i]] = (int32_t)i;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].output_count; i++) {
            if (graph->nodes[n].outputs[i] >= 0)
                d->producer[graph->nodes[n].outputs[i]] = (int32_t)n;
        }
    }
}

int lego_graph_deciding_inputs(const struct lego_graph *graph, bool *ret_decides)
{
    const size_t count = graph->value_count + 1u;
    struct deciding d = {.graph = graph,
                         .producer = calloc(count, sizeof(*d.producer)),
                         .input = calloc(count, sizeof(*d.input)),
                         .seen = calloc(count, sizeof(*d.seen)),
                         .stack = calloc(count, sizeof(*d.stack))};
    const bool enough = d.producer && d.input && d.seen && d.stack;
    memset(ret_decides, 0, graph->input_count * sizeof(*ret_decides));
    if (enough)
        index_values(&d);
    for (uint32_t n = 0; enough && n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        if (node->op != LEGO_OP_If || node->inputs[0] < 0 || !trace_condition(&d, node->inputs[0]))
            continue;
        for (uint32_t i = 0; i < graph->input_count; i++)
            ret_decides[i] |= d.seen[graph->inputs[i]];
    }
    free(d.producer);
    free(d.input);
    free(d.seen);
    free(d.stack);
    return enough ? LEGO_OK : LEGO_E_NOMEM;
}
