/*
 * The graph of a model: constants, inputs, nodes in topological order, outputs.
 */
#include "codec/import/build.h"

#include "codec/import/tensor.h"

#include <stdlib.h>
#include <string.h>

static const struct lego_shape shape_open = {.rank = LEGO_RANK_UNKNOWN};

static int no_memory(struct import_builder *builder)
{
    return lego_fail(builder->diag, LEGO_E_NOMEM,
                     "the graph needs more memory than there is, or than its limit allows");
}

static const char *text_of(const char *text)
{
    return text ? text : "";
}

/* "" for a node without a name is made up once its place in the graph is known. */
static const char *node_name(struct import_builder *builder, const Onnx__Node *node)
{
    if (node->name && *node->name)
        return node->name;
    return lego_arena_printf(builder->scratch, "%s_%u", text_of(node->op_type),
                             builder->graph->node_count);
}

static int add_initialisers(struct import_builder *builder, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        int32_t tensor = import_add_tensor(builder, graph->initializer[i], NULL);
        if (tensor < 0)
            return tensor;
        const char *name = builder->graph->tensors[tensor].name;
        if (!*name)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "initialiser %zu has no name", i);
        int32_t value = import_add_constant(builder, name, tensor);
        if (value < 0)
            return value;
    }
    return 0;
}

/* The dimension of a graph input: a size, a symbol, or open. */
static int read_dim(struct import_builder *builder, const Onnx__ValueInfo *info,
                    const Onnx__ShapeDim *dim, int64_t *ret_dim)
{
    if (dim->has_dim_value) {
        /* Some exporters write -1 where the size is open. */
        if (dim->dim_value < -1)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "input '%.200s' has dimension %lld",
                             text_of(info->name), (long long)dim->dim_value);
        *ret_dim = dim->dim_value < 0 ? LEGO_DIM_UNKNOWN : dim->dim_value;
        return 0;
    }
    const char *name = text_of(dim->dim_param);
    if (!*name) {
        *ret_dim = LEGO_DIM_UNKNOWN;
        return 0;
    }
    int32_t symbol = names_find(&builder->symbols, name);
    if (symbol < 0) {
        symbol = lego_graph_add_symbol(builder->graph, name);
        if (symbol < 0 ||
            names_add(&builder->symbols, builder->graph->symbols[symbol], symbol) != 0)
            return no_memory(builder);
    }
    *ret_dim = -1 - (int64_t)symbol;
    return 0;
}

static int read_shape(struct import_builder *builder, const Onnx__ValueInfo *info,
                      enum lego_dtype *ret_dtype, struct lego_shape *ret_shape)
{
    const Onnx__TensorType *type = info->type ? info->type->tensor_type : NULL;
    struct lego_shape shape = shape_open;
    if (!type || !type->has_elem_type || type->elem_type == 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "input '%.200s' has no type",
                         text_of(info->name));
    if (type->shape) {
        if (type->shape->n_dim > LEGO_MAX_RANK)
            return lego_fail(builder->diag, LEGO_E_UNSUPPORTED,
                             "input '%.200s' has %zu dimensions, at most %d are supported",
                             text_of(info->name), type->shape->n_dim, LEGO_MAX_RANK);
        shape.rank = (int)type->shape->n_dim;
        for (int i = 0; i < shape.rank; i++) {
            int status = read_dim(builder, info, type->shape->dim[i], &shape.dim[i]);
            if (status)
                return status;
        }
    }
    *ret_dtype = (enum lego_dtype)type->elem_type;
    *ret_shape = shape;
    return 0;
}

/* Adds a value that is computed or fed. */
static int32_t add_value(struct import_builder *builder, const char *name, enum lego_dtype dtype,
                         const struct lego_shape *shape)
{
    int32_t value = lego_graph_add_value(builder->graph, name, dtype, shape);
    if (value < 0)
        return no_memory(builder);
    int status = names_add(&builder->values, builder->graph->values[value].name, value);
    if (status == LEGO_E_EXISTS)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "two values have the name '%.200s'", name);
    return status ? no_memory(builder) : value;
}

static int add_inputs(struct import_builder *builder, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_input; i++) {
        const char *name = text_of(graph->input[i]->name);
        int32_t known = names_find(&builder->values, name);
        if (known >= 0 && builder->graph->values[known].tensor >= 0)
            continue; /* the older way: an initialiser is also listed as input, its default */
        enum lego_dtype dtype = LEGO_DTYPE_UNKNOWN;
        struct lego_shape shape = shape_open;
        const Onnx__TensorType *type =
            graph->input[i]->type ? graph->input[i]->type->tensor_type : NULL;
        /* A subgraph's inputs have the shapes that the node gives them, whatever is written. Type
           and rank 0 are kept, since other runtimes want to read them in what is exported. */
        if (builder->outer && type && type->shape && type->shape->n_dim == 0)
            shape.rank = 0;
        if (builder->outer && type && lego_dtype_bytes((enum lego_dtype)type->elem_type) > 0)
            dtype = (enum lego_dtype)type->elem_type;
        int status = builder->outer ? 0 : read_shape(builder, graph->input[i], &dtype, &shape);
        if (status)
            return status;
        if (!*name)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "input %zu has no name", i);
        int32_t value = add_value(builder, name, dtype, &shape);
        if (value < 0)
            return value;
        if (lego_graph_add_input(builder->graph, value) != 0)
            return no_memory(builder);
    }
    return 0;
}

/*
 * Topological order. ONNX demands it, not every exporter keeps it. Depth first with a stack of our
 * own, so that a chain of any length is fine and a graph that is in order stays as it is.
 */
struct sorter {
    struct import_builder *builder;
    const Onnx__Graph *graph;
    struct names producers; /* value name -> node */
    enum { NEW = 0, OPEN, DONE } * state;
    uint32_t *stack, *order;
    size_t *next_input; /* of each node: which input is looked at next */
    size_t depth, ordered;
};

static int find_producers(struct sorter *sorter)
{
    for (size_t i = 0; i < sorter->graph->n_node; i++) {
        const Onnx__Node *node = sorter->graph->node[i];
        for (size_t k = 0; k < node->n_output; k++) {
            if (!*node->output[k])
                continue;
            int status = names_add(&sorter->producers, node->output[k], (int32_t)i);
            if (!status && names_find(&sorter->builder->values, node->output[k]) >= 0)
                status = LEGO_E_EXISTS;
            if (status == LEGO_E_EXISTS)
                return lego_fail(sorter->builder->diag, LEGO_E_FORMAT,
                                 "node '%.200s' (%.100s): its output '%.200s' is already the name "
                                 "of another value",
                                 text_of(node->name), text_of(node->op_type), node->output[k]);
            if (status)
                return no_memory(sorter->builder);
        }
    }
    return 0;
}

/* Looks at one more input of the node on top; pushes its producer or finishes the node. */
static int sort_step(struct sorter *sorter)
{
    uint32_t at = sorter->stack[sorter->depth - 1];
    const Onnx__Node *node = sorter->graph->node[at];
    if (sorter->next_input[at] == node->n_input) {
        sorter->state[at] = DONE;
        sorter->order[sorter->ordered++] = at;
        sorter->depth--;
        return 0;
    }
    const char *name = node->input[sorter->next_input[at]++];
    if (!*name || names_find(&sorter->builder->values, name) >= 0)
        return 0;
    int32_t producer = names_find(&sorter->producers, name);
    bool found = false;
    if (producer < 0) {
        int status = import_capture(sorter->builder, name, &found);
        if (status || found)
            return status;
        return lego_fail(sorter->builder->diag, LEGO_E_FORMAT,
                         "node '%.200s' (%.100s): nothing computes its input '%.200s'",
                         text_of(node->name), text_of(node->op_type), name);
    }
    if (sorter->state[producer] == OPEN)
        return lego_fail(sorter->builder->diag, LEGO_E_FORMAT,
                         "the graph has a cycle: node '%.200s' (%.100s) needs '%.200s', which "
                         "needs the node",
                         text_of(node->name), text_of(node->op_type), name);
    if (sorter->state[producer] == NEW) {
        sorter->state[producer] = OPEN;
        sorter->stack[sorter->depth++] = (uint32_t)producer;
    }
    return 0;
}

static int sort_nodes(struct sorter *sorter)
{
    size_t count = sorter->graph->n_node;
    sorter->state = lego_arena_calloc(sorter->builder->scratch, count, sizeof *sorter->state);
    sorter->stack = lego_arena_calloc(sorter->builder->scratch, count, sizeof *sorter->stack);
    sorter->order = lego_arena_calloc(sorter->builder->scratch, count, sizeof *sorter->order);
    sorter->next_input =
        lego_arena_calloc(sorter->builder->scratch, count, sizeof *sorter->next_input);
    if (!sorter->state || !sorter->stack || !sorter->order || !sorter->next_input)
        return no_memory(sorter->builder);
    int status = find_producers(sorter);
    for (size_t i = 0; !status && i < count; i++) {
        if (sorter->state[i] != NEW)
            continue;
        sorter->state[i] = OPEN;
        sorter->stack[sorter->depth++] = (uint32_t)i;
        while (!status && sorter->depth > 0)
            status = sort_step(sorter);
    }
    return status;
}

/* A Constant node becomes a constant. Its list or number forms are made into tensors here. */
static int add_constant_node(struct import_builder *builder, const Onnx__Node *node,
                             const char *name)
{
    struct import_draft draft = {.name = name, .type = "Constant"};
    if (node->n_output != 1 || !*node->output[0])
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (Constant) has no output", name);
    const Onnx__Attribute *attr = node->n_attribute == 1 ? node->attribute[0] : NULL;
    const char *kind = attr ? text_of(attr->name) : "";
    int32_t tensor;
    if (attr && attr->t && strcmp(kind, "value") == 0) {
        tensor = import_add_tensor(builder, attr->t, node->output[0]);
    } else {
        struct lego_shape shape = {.rank = 0};
        bool floats = strcmp(kind, "value_floats") == 0, ints = strcmp(kind, "value_ints") == 0;
        bool is_float = floats || strcmp(kind, "value_float") == 0;
        if (!is_float && !ints && strcmp(kind, "value_int") != 0)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (Constant) has no value",
                             name);
        if (floats || ints)
            shape = (struct lego_shape){.rank = 1,
                                        .dim = {(int64_t)(floats ? attr->n_floats : attr->n_ints)}};
        const void *data = floats     ? (const void *)attr->floats
                           : ints     ? (const void *)attr->ints
                           : is_float ? (const void *)&attr->f
                                      : (const void *)&attr->i;
        int32_t value = import_make_constant(builder, &draft, "value",
                                             is_float ? LEGO_DTYPE_FLOAT32 : LEGO_DTYPE_INT64,
                                             &shape, data ? data : "");
        if (value < 0)
            return value;
        /* The constant takes the output's name: the made-up one served only to build it. */
        tensor = builder->graph->values[value].tensor;
        if (is_float)
            import_count_original(builder->graph, LEGO_DTYPE_FLOAT32, floats ? attr->n_floats : 1);
    }
    int32_t value = tensor < 0 ? tensor : import_add_constant(builder, node->output[0], tensor);
    return value < 0 ? value : 0;
}

static int read_inputs(struct import_builder *builder, const Onnx__Node *node,
                       struct import_draft *draft)
{
    draft->inputs =
        lego_arena_calloc(builder->scratch, node->n_input + DRAFT_SPARE, sizeof *draft->inputs);
    if (!draft->inputs)
        return no_memory(builder);
    for (size_t i = 0; i < node->n_input; i++)
        draft->inputs[i] = *node->input[i] ? names_find(&builder->values, node->input[i]) : -1;
    draft->input_count = (uint32_t)node->n_input;
    while (draft->input_count > 0 && draft->inputs[draft->input_count - 1] < 0)
        draft->input_count--; /* trailing absent ones say nothing */
    return 0;
}

static int read_outputs(struct import_builder *builder, const Onnx__Node *node,
                        struct import_draft *draft)
{
    draft->outputs =
        lego_arena_calloc(builder->scratch, node->n_output + 1, sizeof *draft->outputs);
    if (!draft->outputs)
        return no_memory(builder);
    for (size_t i = 0; i < node->n_output; i++) {
        draft->outputs[i] = -1;
        if (!*node->output[i])
            continue;
        draft->outputs[i] = add_value(builder, node->output[i], LEGO_DTYPE_UNKNOWN, &shape_open);
        if (draft->outputs[i] < 0)
            return draft->outputs[i];
        draft->output_count = (uint32_t)i + 1;
    }
    return 0;
}

static int commit(struct import_builder *builder, const struct import_draft *draft)
{
    int32_t index = lego_graph_add_node(builder->graph, draft->name, draft->op, draft->input_count,
                                        draft->output_count, draft->attr_count);
    if (index < 0)
        return no_memory(builder);
    struct lego_node *node = &builder->graph->nodes[index];
    if (draft->input_count)
        memcpy(node->inputs, draft->inputs, draft->input_count * sizeof *node->inputs);
    if (draft->output_count)
        memcpy(node->outputs, draft->outputs, draft->output_count * sizeof *node->outputs);
    if (draft->attr_count)
        memcpy(node->attrs, draft->attrs, draft->attr_count * sizeof *node->attrs);
    return 0;
}

static int add_node(struct import_builder *builder, const Onnx__Node *node)
{
    const char *name = node_name(builder, node);
    if (!name)
        return no_memory(builder);
    struct import_draft draft = {
        .name = name,
        .type = text_of(node->op_type),
        .domain = text_of(node->domain),
        .op = import_target_op(text_of(node->domain), text_of(node->op_type)),
    };
    if (import_root(builder)->refused_count > 0 && !import_node_supported(node))
        return read_outputs(builder, node, &draft); /* for those that use them */
    if (strcmp(text_of(node->op_type), "Constant") == 0)
        return add_constant_node(builder, node, name);
    int status = read_inputs(builder, node, &draft);
    if (!status)
        status = import_read_attributes(builder, node, &draft);
    if (!status)
        status = read_outputs(builder, node, &draft);
    if (!status)
        status = import_upgrade(builder, &draft);
    if (!status)
        status = import_append_captures(builder, &draft);
    return status ? status : commit(builder, &draft);
}

static int add_nodes(struct import_builder *builder, const Onnx__Graph *graph)
{
    struct sorter sorter = {.builder = builder, .graph = graph};
    int status = sort_nodes(&sorter);
    names_clear(&sorter.producers);
    for (size_t i = 0; !status && i < graph->n_node; i++)
        status = add_node(builder, graph->node[sorter.order[i]]);
    if (!status && builder->refused_count && !builder->outer)
        status = import_fail_refused(builder);
    return status;
}

static int add_outputs(struct import_builder *builder, const Onnx__Graph *graph)
{
    if (graph->n_output == 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "%s has no outputs",
                         builder->outer ? "a subgraph" : "the model");
    for (size_t i = 0; i < graph->n_output; i++) {
        const char *name = text_of(graph->output[i]->name);
        bool found = names_find(&builder->values, name) >= 0;
        int status = found ? 0 : import_capture(builder, name, &found);
        if (status)
            return status;
        int32_t value = names_find(&builder->values, name);
        if (value < 0)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "nothing computes the output '%.200s'",
                             name);
        if (lego_graph_add_output(builder->graph, value) != 0)
            return no_memory(builder);
    }
    return 0;
}

/* The opset of ONNX's own domain. */
static int find_opset(struct import_builder *builder, const Onnx__Model *model)
{
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const char *domain = text_of(model->opset_import[i]->domain);
        if (!*domain || strcmp(domain, "ai.onnx") == 0)
            builder->opset = model->opset_import[i]->version;
    }
    if (builder->opset == 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT,
                         "not an ONNX model: it names no operator set");
    if (builder->opset < IMPORT_OPSET_MIN || builder->opset > IMPORT_OPSET_MAX)
        return lego_fail(builder->diag, LEGO_E_UNSUPPORTED,
                         "the model uses ONNX opset %lld; opsets %d to %d can be read",
                         (long long)builder->opset, IMPORT_OPSET_MIN, IMPORT_OPSET_MAX);
    return 0;
}

int import_build(struct import_builder *builder, const Onnx__Model *model)
{
    const Onnx__Graph *graph = model->graph;
    if (!graph)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "not an ONNX model: it has no graph");
    int status = find_opset(builder, model);
    if (status)
        return status;
    import_check_supported(builder, graph);
    const bool refused = builder->refused_count > 0;
    status = import_build_graph(builder, graph);
    return refused ? import_fail_refused(builder) : status;
}

int import_build_graph(struct import_builder *builder, const Onnx__Graph *graph)
{
    builder->graph->name = lego_arena_strdup(builder->graph->arena, text_of(graph->name));
    if (!builder->graph->name)
        return no_memory(builder);
    int status = add_initialisers(builder, graph);
    if (!status)
        status = add_inputs(builder, graph);
    if (!status)
        status = add_nodes(builder, graph);
    return status ? status : add_outputs(builder, graph);
}
