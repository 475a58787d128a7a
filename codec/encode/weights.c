#include "codec/encode/weights.h"
#include "codec/graph/infer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum use {
    USE_NONE = 0,
    USE_WEIGHT,
    USE_OTHER, /* read by what cannot read bricks */
};

struct finder {
    const struct lego_graph *graph;
    enum use *uses;                /* [tensor_count] */
    struct encode_weight *weights; /* [tensor_count] by tensor until they are listed */
    int32_t *order;                /* tensors in the order of their first use */
    uint32_t count;
};

/* Graphs in graphs: as deep as a file may have them. */
#define MAX_DEPTH 8

/* Weights that are read as they are, not multiplied by panels, are worth coding from this size on:
 * what is smaller may well be a list of positions or of scales. */
#define PLAIN_MIN_BYTES 4096

/* Convolutions, products with a matrix on the right and recurrent weights, which calibration knows
 * as layers. */
static bool is_layer_weight(const struct lego_node *node, uint32_t index,
                            const struct lego_tensor *tensor, enum lego_matrix_view *ret_view,
                            uint32_t *ret_groups)
{
    const int64_t groups = lego_node_int(node, "group", 1);

    if (index != 1 && (index != 2 || lego_recurrent_kinds(node) == 0))
        return false;
    switch (node->op) {
    case LEGO_OP_Conv:
    case LEGO_OP_ConvTranspose:
        *ret_view = node->op == LEGO_OP_Conv ? LEGO_VIEW_OUT_FIRST : LEGO_VIEW_TRANSPOSED_CONV;
        *ret_groups = groups >= 1 && groups <= UINT32_MAX ? (uint32_t)groups : 0;
        return tensor->shape.rank >= 3 && *ret_groups > 0;
    case LEGO_OP_Gemm:
        *ret_view = lego_node_int(node, "transB", 0) ? LEGO_VIEW_OUT_FIRST : LEGO_VIEW_OUT_LAST;
        return tensor->shape.rank == 2;
    case LEGO_OP_MatMul:
        *ret_view = LEGO_VIEW_OUT_LAST;
        return tensor->shape.rank == 2;
    case LEGO_OP_RNN:
    case LEGO_OP_GRU:
    case LEGO_OP_LSTM: /* [directions][gates * hidden][inputs]: directions as groups */
        *ret_view = LEGO_VIEW_TRANSPOSED_CONV;
        *ret_groups = tensor->shape.rank == 3 ? (uint32_t)tensor->shape.dim[0] : 0;
        return *ret_groups > 0;
    default:
        return false;
    }
}

/*
 * The others: tables of which Gather takes rows; products with a constant left side, or with a
 * stack of matrices.
 */
static bool is_plain_weight(const struct lego_node *node, uint32_t index,
                            const struct lego_tensor *tensor, enum lego_matrix_view *ret_view)
{
    const int rank = tensor->shape.rank;

    if (tensor->bytes < PLAIN_MIN_BYTES || rank < 2)
        return false;
    switch (node->op) {
    case LEGO_OP_Gather:
        *ret_view = LEGO_VIEW_OUT_FIRST;
        return index == 0 && lego_node_int(node, "axis", 0) == 0;
    case LEGO_OP_Gemm:
        *ret_view = lego_node_int(node, "transA", 0) ? LEGO_VIEW_OUT_LAST : LEGO_VIEW_OUT_FIRST;
        return index == 0 && rank == 2;
    case LEGO_OP_MatMul:
        *ret_view = index == 0 && rank == 2 ? LEGO_VIEW_OUT_FIRST : LEGO_VIEW_OUT_LAST;
        return true;
    default:
        return false;
    }
}

/* How a constant becomes a matrix; `seen` counts who reads it. */
struct reading {
    const struct lego_tensor *tensor;
    enum lego_matrix_view view;
    uint32_t groups;
    bool recurrent;
    uint32_t seen;
};

static bool read_by(struct reading *reading, const struct lego_node *node, uint32_t index,
                    unsigned depth);

/* The subgraph that input `index` of an If becomes an input of. */
static const struct lego_graph *branch_of(const struct lego_node *node, uint32_t index,
                                          uint32_t *ret_input)
{
    const struct lego_attr *branches[] = {lego_node_attr(node, "then_branch"),
                                          lego_node_attr(node, "else_branch")};
    uint32_t first = 1;

    for (size_t i = 0; i < 2; i++) {
        if (!branches[i] || branches[i]->type != LEGO_ATTR_GRAPH)
            return NULL;
        if (index >= first && index - first < branches[i]->graph->input_count) {
            *ret_input = index - first;
            return branches[i]->graph;
        }
        first += branches[i]->graph->input_count;
    }
    return NULL;
}

/* True where all nodes of the branch that read its input `input` read it as one matrix. */
static bool read_in_branch(struct reading *reading, const struct lego_graph *branch, uint32_t input,
                           unsigned depth)
{
    const int32_t value = branch->inputs[input];

    for (uint32_t i = 0; i < branch->output_count; i++) {
        if (branch->outputs[i] == value)
            return false;
    }
    for (uint32_t n = 0; n < branch->node_count; n++) {
        for (uint32_t i = 0; i < branch->nodes[n].input_count; i++) {
            if (branch->nodes[n].inputs[i] == value &&
                !read_by(reading, &branch->nodes[n], i, depth + 1))
                return false;
        }
    }
    return true;
}

/* True where input `index` of the node reads the tensor as a weight, and as others before did. */
static bool read_by(struct reading *reading, const struct lego_node *node, uint32_t index,
                    unsigned depth)
{
    enum lego_matrix_view view;
    uint32_t groups = 1, input;

    if (node->op == LEGO_OP_If) {
        const struct lego_graph *branch = depth < MAX_DEPTH ? branch_of(node, index, &input) : NULL;
        return branch && read_in_branch(reading, branch, input, depth);
    }
    if (!is_layer_weight(node, index, reading->tensor, &view, &groups) &&
        !is_plain_weight(node, index, reading->tensor, &view))
        return false;
    if (reading->seen++ > 0 && (view != reading->view || groups != reading->groups))
        return false;
    reading->view = view;
    reading->groups = groups;
    reading->recurrent = lego_recurrent_kinds(node) > 0;
    return true;
}

/* True where input `index` of the node is a weight; how it becomes a matrix. */
static bool is_weight(const struct lego_graph *graph, const struct lego_node *node, uint32_t index,
                      struct encode_weight *ret_weight)
{
    struct reading reading = {.tensor = lego_node_constant(graph, node, index)};
    const struct lego_tensor *tensor = reading.tensor;

    if (!tensor || tensor->dtype != LEGO_DTYPE_FLOAT32 || !tensor->data || tensor->bytes == 0 ||
        !read_by(&reading, node, index, 0) || reading.seen == 0)
        return false;
    ret_weight->view = reading.view;
    ret_weight->groups = reading.groups;
    ret_weight->recurrent = reading.recurrent;
    return true;
}

static void note_input(struct finder *finder, const struct lego_node *node, uint32_t index)
{
    const int32_t value = node->inputs[index];
    const int32_t tensor = value < 0 ? -1 : finder->graph->values[value].tensor;
    struct encode_weight weight = {.tensor = tensor};

    if (tensor < 0)
        return;
    if (!is_weight(finder->graph, node, index, &weight)) {
        finder->uses[tensor] = USE_OTHER;
        return;
    }
    const struct encode_weight *known = &finder->weights[tensor];
    if (finder->uses[tensor] == USE_NONE) {
        finder->weights[tensor] = weight;
        finder->order[finder->count++] = tensor;
        finder->uses[tensor] = USE_WEIGHT;
    } else if (known->view != weight.view || known->groups != weight.groups) {
        finder->uses[tensor] = USE_OTHER;
    }
}

/* A subgraph sees outer values by name: what it may mean cannot become bricks. */
static void note_subgraph(struct finder *finder, const struct lego_graph *subgraph)
{
    for (uint32_t i = 0; i < subgraph->value_count; i++) {
        const int32_t value = lego_graph_find_value(finder->graph, subgraph->values[i].name);

        if (value >= 0 && finder->graph->values[value].tensor >= 0)
            finder->uses[finder->graph->values[value].tensor] = USE_OTHER;
    }
    for (uint32_t i = 0; i < subgraph->node_count; i++) {
        const struct lego_node *node = &subgraph->nodes[i];

        for (uint32_t a = 0; a < node->attr_count; a++) {
            if (node->attrs[a].type == LEGO_ATTR_GRAPH)
                note_subgraph(finder, node->attrs[a].graph);
        }
    }
}

static void note_uses(struct finder *finder)
{
    const struct lego_graph *graph = finder->graph;

    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        for (uint32_t i = 0; i < node->input_count; i++)
            note_input(finder, node, i);
        for (uint32_t a = 0; a < node->attr_count; a++) {
            if (node->attrs[a].type == LEGO_ATTR_GRAPH)
                note_subgraph(finder, node->attrs[a].graph);
            else if (node->attrs[a].type == LEGO_ATTR_TENSOR && node->attrs[a].tensor >= 0)
                finder->uses[node->attrs[a].tensor] = USE_OTHER;
        }
    }
    for (uint32_t i = 0; i < graph->output_count; i++) {
        const int32_t tensor = graph->values[graph->outputs[i]].tensor;

        if (tensor >= 0)
            finder->uses[tensor] = USE_OTHER;
    }
}

static int describe(const struct lego_graph *graph, struct encode_weight *weight,
                    struct lego_diag *diag)
{
    const struct lego_tensor *tensor = &graph->tensors[weight->tensor];
    const size_t elems = tensor->bytes / sizeof(float);
    const int status = lego_matrix_shape(&tensor->shape, weight->view, weight->groups,
                                         &weight->rows, &weight->columns, &weight->taps);

    if (status != LEGO_OK) {
        char shape[128];
        return lego_fail(diag, status, "weight '%s' %s is no matrix for %u groups", tensor->name,
                         lego_shape_format(&tensor->shape, graph, shape, sizeof(shape)),
                         weight->groups);
    }
    /* Transposed convolutions of one input channel are what recurrent weights look like. */
    if (weight->recurrent)
        weight->taps = 1;
    weight->name = tensor->name;
    weight->data = tensor->data;
    for (size_t i = 0; i < elems; i++) {
        if (!isfinite(weight->data[i]))
            return lego_fail(diag, LEGO_E_FORMAT,
                             "weight '%s' is not finite: element %zu is %g; mend or retrain the "
                             "model",
                             tensor->name, i, (double)weight->data[i]);
    }
    return LEGO_OK;
}

static int list_weights(struct finder *finder, struct encode_weight **ret_weights,
                        uint32_t *ret_count, struct lego_diag *diag)
{
    struct encode_weight *weights = calloc((size_t)finder->count + 1, sizeof(*weights));
    uint32_t count = 0;

    if (!weights)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %u weights", finder->count);
    for (uint32_t i = 0; i < finder->count; i++) {
        const int32_t tensor = finder->order[i];

        if (finder->uses[tensor] != USE_WEIGHT)
            continue;
        weights[count] = finder->weights[tensor];
        const int status = describe(finder->graph, &weights[count++], diag);
        if (status != LEGO_OK) {
            free(weights);
            return status;
        }
    }
    *ret_weights = weights;
    *ret_count = count;
    return LEGO_OK;
}

int encode_weights_find(const struct lego_graph *graph, struct encode_weight **ret_weights,
                        uint32_t *ret_count, struct lego_diag *diag)
{
    const size_t count = (size_t)graph->tensor_count + 1;
    struct finder finder = {.graph = graph,
                            .uses = calloc(count, sizeof(*finder.uses)),
                            .weights = calloc(count, sizeof(*finder.weights)),
                            .order = calloc(count, sizeof(*finder.order))};
    int status;

    if (!finder.uses || !finder.weights || !finder.order) {
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for %zu constants", count);
    } else {
        note_uses(&finder);
        status = list_weights(&finder, ret_weights, ret_count, diag);
    }
    free(finder.uses);
    free(finder.weights);
    free(finder.order);
    return status;
}

size_t encode_weight_elem(const struct lego_graph *graph, const struct encode_weight *weight,
                          enum lego_column_order order, uint32_t row, uint32_t column)
{
    const uint32_t channels = weight->columns / weight->taps;

    if (order == LEGO_COLUMNS_TAP_MAJOR)
        column = column % channels * weight->taps + column / channels;
    return lego_matrix_elem(&graph->tensors[weight->tensor].shape, weight->view, weight->groups,
                            row, column);
}
