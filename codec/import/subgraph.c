/*
 * Subgraphs. ONNX lets them see the values of all graphs around them by name; here such a value
 * becomes an input of the subgraph and of its node (graph.h), through every graph in between.
 */
#include "codec/import/build.h"

#include <string.h>

static int no_memory(struct import_builder *builder)
{
    return lego_fail(builder->diag, LEGO_E_NOMEM,
                     "the graph needs more memory than there is, or than its limit allows");
}

const char *const *import_subgraphs(enum lego_op op)
{
    static const char *const branches[] = {"then_branch", "else_branch", NULL};
    static const char *const body[] = {"body", NULL};
    return op == LEGO_OP_If ? branches : op == LEGO_OP_Loop || op == LEGO_OP_Scan ? body : NULL;
}

struct import_builder *import_root(struct import_builder *builder)
{
    while (builder->outer)
        builder = builder->outer;
    return builder;
}

static int note_captured(struct import_builder *builder, int32_t outer)
{
    if (builder->captured_count == builder->captured_capacity) {
        uint32_t capacity = builder->captured_capacity ? 2 * builder->captured_capacity : 8;
        int32_t *grown = lego_arena_calloc(builder->scratch, capacity, sizeof *grown);
        if (!grown)
            return no_memory(builder);
        if (builder->captured_count)
            memcpy(grown, builder->captured, builder->captured_count * sizeof *grown);
        builder->captured = grown;
        builder->captured_capacity = capacity;
    }
    builder->captured[builder->captured_count++] = outer;
    return 0;
}

int import_capture(struct import_builder *builder, const char *name, bool *ret_found)
{
    static const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    *ret_found = false;
    if (!builder->outer)
        return 0;
    bool found = names_find(&builder->outer->values, name) >= 0;
    int status = found ? 0 : import_capture(builder->outer, name, &found);
    if (status || !found)
        return status;
    int32_t outer = names_find(&builder->outer->values, name);
    int32_t value = lego_graph_add_value(builder->graph, name,
                                         builder->outer->graph->values[outer].dtype, &open);
    if (value < 0 || names_add(&builder->values, builder->graph->values[value].name, value) != 0 ||
        lego_graph_add_input(builder->graph, value) != 0)
        return no_memory(builder);
    status = note_captured(builder, outer);
    *ret_found = status == 0;
    return status;
}

static void release_graph(void *graph)
{
    lego_graph_destroy(graph);
}

/* An empty graph that the one around it owns. */
static int open_subgraph(struct import_builder *builder, struct lego_graph **ret_graph)
{
    struct import_builder *root = import_root(builder);
    struct lego_graph *graph;
    if (root->subgraph_count >= IMPORT_MAX_SUBGRAPHS)
        return lego_fail(builder->diag, LEGO_E_LIMIT, "more than %d subgraphs",
                         IMPORT_MAX_SUBGRAPHS);
    root->subgraph_count++;
    if (lego_graph_create(builder->limit_bytes, &graph) != 0)
        return no_memory(builder);
    if (lego_graph_adopt(builder->graph, graph, release_graph) != 0) {
        lego_graph_destroy(graph);
        return no_memory(builder);
    }
    *ret_graph = graph;
    return 0;
}

int import_read_subgraph(struct import_builder *builder, struct import_draft *draft,
                         const char *attr, const Onnx__Graph *graph, struct lego_graph **ret_graph)
{
    const char *const *names = import_subgraphs(draft->op);
    size_t which = 0;
    while (names && names[which] && strcmp(names[which], attr) != 0)
        which++;
    if (!names || !names[which])
        return lego_fail(builder->diag, LEGO_E_UNSUPPORTED,
                         "node '%s' (%s): a subgraph '%s' is not supported", draft->name,
                         draft->type, attr);
    struct import_builder inner = {
        .outer = builder,
        .source = builder->source,
        .scratch = builder->scratch,
        .limit_bytes = builder->limit_bytes,
        .opset = builder->opset,
        .diag = builder->diag,
    };
    int status = open_subgraph(builder, &inner.graph);
    if (!status)
        status = import_build_graph(&inner, graph);
    names_clear(&inner.values);
    names_clear(&inner.symbols);
    if (status)
        return status;
    builder->graph->original_weights += inner.graph->original_weights;
    builder->graph->original_bytes = 4 * builder->graph->original_weights;
    draft->captures[which] =
        (struct import_captures){.values = inner.captured, .count = inner.captured_count};
    *ret_graph = inner.graph;
    return 0;
}

int import_append_captures(struct import_builder *builder, struct import_draft *draft)
{
    const char *const *names = import_subgraphs(draft->op);
    if (!names)
        return 0;
    for (size_t i = 0; names[i]; i++)
        if (!draft_attr(draft, names[i]))
            return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) has no %s", draft->name,
                             draft->type, names[i]);
    uint32_t added = draft->captures[0].count + draft->captures[1].count;
    /* Behind ONNX's own inputs, of which the first two of a Loop may be absent. */
    uint32_t own =
        draft->op == LEGO_OP_Loop && added && draft->input_count < 2 ? 2 : draft->input_count;
    int32_t *inputs = lego_arena_calloc(builder->scratch, own + added + 1u, sizeof *inputs);
    if (!inputs)
        return no_memory(builder);
    for (uint32_t i = 0; i < own; i++)
        inputs[i] = i < draft->input_count ? draft->inputs[i] : -1;
    for (size_t k = 0; k < 2; k++) {
        const struct import_captures *captures = &draft->captures[k];
        if (captures->count)
            memcpy(inputs + own, captures->values, captures->count * sizeof *inputs);
        own += captures->count;
    }
    draft->inputs = inputs;
    draft->input_count = own;
    if (draft->op != LEGO_OP_If && added)
        draft->attrs[draft->attr_count++] =
            (struct lego_attr){.name = "lego.captures", .type = LEGO_ATTR_INT, .i = added};
    return 0;
}
