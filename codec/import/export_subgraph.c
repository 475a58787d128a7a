/*
 * Subgraphs of an exported model: what they capture is an input here, and seen by its name in ONNX.
 */
#include "codec/import/export.h"

#include "codec/base/arena.h"
#include "codec/graph/flow.h"

enum { ATTR_NAME = 1, ATTR_G = 6, ATTR_TYPE = 20, NODE_ATTRIBUTE = 5 };
enum { GRAPH_NAME = 2, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

uint32_t export_own_inputs(const struct lego_node *node)
{
    if (node->op == LEGO_OP_If)
        return 1;
    int64_t captured = lego_node_int(node, "lego.captures", 0);
    return captured > 0 && captured <= node->input_count ? node->input_count - (uint32_t)captured
                                                         : node->input_count;
}

/* Names for all values: those captured have one around, the others get one of their own, since a
 * subgraph must not give a name anew. */
static int name_values(struct exporter *outer, struct exporter *inner, const struct lego_node *node,
                       uint32_t own, uint32_t first)
{
    const struct lego_graph *graph = inner->graph;
    inner->renamed =
        lego_arena_calloc(outer->scratch, graph->value_count + 1u, sizeof *inner->renamed);
    if (!inner->renamed)
        return lego_fail(outer->diag, LEGO_E_NOMEM, "out of memory writing the model");
    for (uint32_t i = own; i < graph->input_count; i++)
        inner->renamed[graph->inputs[i]] = export_value_name(outer, node->inputs[first + i - own]);
    for (uint32_t v = 0; v < graph->value_count; v++) {
        if (!inner->renamed[v])
            inner->renamed[v] = export_fresh_name(outer, graph->values[v].name);
        if (!inner->renamed[v])
            return lego_fail(outer->diag, LEGO_E_NOMEM, "out of memory writing the model");
    }
    return 0;
}

static int put_graph(struct exporter *inner, uint32_t own, struct wire_out *out)
{
    const struct lego_graph *graph = inner->graph;
    int status = 0;
    for (uint32_t i = 0; i < graph->output_count; i++)
        inner->used[graph->outputs[i]] = true;
    for (uint32_t n = 0; n < graph->node_count && !status; n++)
        status = export_node(inner, &graph->nodes[n]);
    if (status)
        return status;
    wire_put(out, inner->nodes.data, inner->nodes.bytes);
    wire_put_text(out, GRAPH_NAME, *graph->name ? graph->name : "subgraph");
    status = export_weights(inner, out);
    wire_put(out, inner->constants.data, inner->constants.bytes);
    for (uint32_t i = 0; i < own; i++)
        export_value_info(out, GRAPH_INPUT, inner, graph->inputs[i]);
    for (uint32_t i = 0; i < graph->output_count; i++)
        export_value_info(out, GRAPH_OUTPUT, inner, graph->outputs[i]);
    out->failed |= inner->nodes.failed || inner->constants.failed;
    return status;
}

/* One subgraph: its first `own` inputs are ONNX's, the others are inputs of the node from `first`
 * on. */
static int put_subgraph(struct exporter *outer, const struct lego_node *node,
                        const struct lego_attr *attr, uint32_t own, uint32_t first,
                        struct wire_out *node_out)
{
    struct exporter inner = {
        .graph = attr->graph,
        .opset = outer->opset,
        .scratch = outer->scratch,
        .names = outer->names,
        .node_names = outer->node_names,
        .diag = outer->diag,
    };
    struct wire_out graph = {0}, out = {0};
    inner.used =
        lego_arena_calloc(outer->scratch, inner.graph->value_count + 1u, sizeof *inner.used);
    int status = inner.used ? name_values(outer, &inner, node, own, first)
                            : lego_fail(outer->diag, LEGO_E_NOMEM, "out of memory");
    if (!status)
        status = put_graph(&inner, own, &graph);
    if (!status) {
        wire_put_text(&out, ATTR_NAME, attr->name);
        wire_put_bytes(&out, ATTR_G, graph.data, graph.bytes);
        wire_put_int(&out, ATTR_TYPE, LEGO_ATTR_GRAPH);
        wire_put_bytes(node_out, NODE_ATTRIBUTE, out.data, out.bytes);
        node_out->failed |= graph.failed || out.failed;
    }
    wire_out_clear(&graph);
    wire_out_clear(&out);
    wire_out_clear(&inner.nodes);
    wire_out_clear(&inner.constants);
    return status;
}

int export_subgraphs(struct exporter *exporter, const struct lego_node *node,
                     struct wire_out *node_out)
{
    struct flow_if branches;
    struct flow_body loop;
    bool is_if = node->op == LEGO_OP_If;
    int status = is_if ? flow_read_if(node, &branches, exporter->diag)
                       : flow_read_body(node, &loop, exporter->diag);
    for (uint32_t a = 0; a < node->attr_count && !status; a++) {
        const struct lego_attr *attr = &node->attrs[a];
        bool known = attr->type == LEGO_ATTR_GRAPH &&
                     (is_if ? attr->graph == branches.branch[0] || attr->graph == branches.branch[1]
                            : attr->graph == loop.body);
        if (!known)
            continue;
        uint32_t own = is_if ? 0 : attr->graph->input_count - loop.captured;
        uint32_t first = is_if ? branches.first_input[attr->graph == branches.branch[1]]
                               : node->input_count - loop.captured;
        status = put_subgraph(exporter, node, attr, own, first, node_out);
    }
    return status;
}
