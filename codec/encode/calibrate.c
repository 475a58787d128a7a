#include "codec/encode/calibrate.h"
#include "codec/base/arith.h"
#include "codec/encode/calibrate_internal.h"

#include <stdlib.h>
#include <string.h>

static void note_use(struct calibration *c, int32_t value, uint32_t node)
{
    if (value >= 0 && c->values[value].last_use < node)
        c->values[value].last_use = node;
}

/* Sizes of all values and where each is used last. */
static int lay_out_values(struct calibration *c, struct lego_diag *diag)
{
    const struct lego_graph *graph = c->graph;

    for (uint32_t v = 0; v < graph->value_count; v++) {
        const struct lego_value *value = &graph->values[v];
        size_t elems;

        if (value->tensor >= 0)
            continue;
        if (lego_shape_elems(&value->shape, &elems) != LEGO_OK)
            return lego_fail(diag, LEGO_E_UNSUPPORTED, "the size of '%s' depends on the data",
                             value->name);
        c->values[v].bytes = elems * lego_dtype_bytes(value->dtype);
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        for (uint32_t i = 0; i < node->input_count; i++)
            note_use(c, node->inputs[i], n);
        for (uint32_t i = 0; i < node->output_count; i++)
            note_use(c, node->outputs[i], n);
    }
    for (uint32_t i = 0; i < graph->input_count; i++)
        c->values[graph->inputs[i]].keep = true;
    for (uint32_t i = 0; i < graph->output_count; i++)
        c->values[graph->outputs[i]].keep = true;
    return LEGO_OK;
}

/* The weight of a node's input, by where its data lie; NO_LAYER where it is none. */
static uint32_t find_weight(const struct calibration *c, const struct lego_node *node,
                            uint32_t input, uint32_t weight_count)
{
    if (node->op != LEGO_OP_Conv && node->op != LEGO_OP_ConvTranspose && node->op != LEGO_OP_Gemm &&
        node->op != LEGO_OP_MatMul && lego_recurrent_kinds(node) == 0)
        return NO_LAYER;
    const struct lego_tensor *tensor = lego_node_constant(c->graph, node, input);
    for (uint32_t i = 0; tensor && i < weight_count; i++) {
        if (c->weights[i].data == tensor->data)
            return i;
    }
    return NO_LAYER;
}

/* The node that makes a value, NULL: none does. */
static const struct lego_node *producer(const struct lego_graph *graph, int32_t value)
{
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t i = 0; i < graph->nodes[n].output_count; i++)
            if (graph->nodes[n].outputs[i] == value)
                return &graph->nodes[n];
    return NULL;
}

/* The [1][columns][places] that a layer's one input column is the mean of over the places. */
static int32_t find_pooled(const struct calibration *c, const struct layer *l)
{
    const struct lego_graph *graph = c->graph;
    const struct lego_node *node = producer(graph, graph->nodes[l->node].inputs[0]);

    while (node &&
           (node->op == LEGO_OP_Flatten || node->op == LEGO_OP_Reshape ||
            node->op == LEGO_OP_Squeeze || node->op == LEGO_OP_Identity) &&
           c->values[node->outputs[0]].bytes == l->columns * sizeof(float))
        node = producer(graph, node->inputs[0]);
    if (!node || l->positions != 1 || l->groups != 1 || l->taps != 1 ||
        (node->op != LEGO_OP_GlobalAveragePool && node->op != LEGO_OP_AveragePool &&
         node->op != LEGO_OP_ReduceMean))
        return -1;
    const struct lego_value *from = &graph->values[node->inputs[0]];
    const size_t bytes = l->columns * sizeof(float);
    return from->shape.rank >= 3 && from->shape.dim[0] == 1 &&
                   from->shape.dim[1] == (int64_t)l->columns && from->tensor < 0 &&
                   from->dtype == LEGO_DTYPE_FLOAT32 && c->values[node->outputs[0]].bytes == bytes
               ? node->inputs[0]
               : -1;
}

static int create_layer(struct calibration *c, const struct lego_graph *original,
                        struct cal_layer *layer)
{
    const struct layer *l = &layer->layer;
    const struct encode_weight *weight = &c->weights[l->weight];
    const size_t elems = (size_t)l->rows * l->columns;
    float *dense = malloc(elems * sizeof(float));

    layer->teacher_t = malloc(elems * sizeof(float));
    layer->ratio = calloc(l->rows, sizeof(float));
    layer->offset = calloc(l->rows, sizeof(float));
    layer->student_offset = calloc(l->rows, sizeof(float));
    if (dense && layer->teacher_t) {
        for (uint32_t r = 0; r < l->rows; r++) {
            for (uint32_t k = 0; k < l->columns; k++)
                dense[(size_t)r * l->columns + k] = weight->data[encode_weight_elem(
                    original, weight, LEGO_COLUMNS_CHANNEL_MAJOR, r, k)];
        }
        cal_transpose(l, dense, layer->teacher_t);
    }
    const bool good =
        dense && layer->teacher_t && layer->ratio && layer->offset && layer->student_offset;
    free(dense);
    return good ? LEGO_OK : LEGO_E_NOMEM;
}

/* True where a node of the graph itself reads the weight, not one of a branch: then its bias can be
 * changed. */
static bool is_outermost(const struct lego_graph *original, const struct encode_weight *weight,
                         uint32_t input)
{
    for (uint32_t n = 0; n < original->node_count; n++) {
        const struct lego_node *node = &original->nodes[n];

        if (node->op != LEGO_OP_If && node->input_count > input && node->inputs[input] >= 0 &&
            original->values[node->inputs[input]].tensor == weight->tensor)
            return true;
    }
    return false;
}

/* Adds the layer that input `input` of a node is the weight of, if it is one. */
static int find_layer(struct calibration *c, const struct lego_graph *original, uint32_t n,
                      uint32_t input, uint32_t weight_count, struct lego_diag *diag)
{
    const struct lego_node *node = &c->graph->nodes[n];
    const uint32_t weight = find_weight(c, node, input, weight_count);
    struct cal_layer *layer = &c->layers[c->layer_count];
    uint32_t *first;

    if (weight == NO_LAYER)
        return LEGO_OK;
    const bool good = lego_recurrent_kinds(node) > 0
                          ? layer_describe_recurrent(c->graph, n, input, &c->weights[weight],
                                                     weight, &layer->layer)
                          : layer_describe(c->graph, n, &c->weights[weight], weight, &layer->layer);
    if (!good)
        return LEGO_OK;
    layer->layer.input = input;
    first = layer->layer.directions > 0 ? &c->recurrent_of[n] : &c->layer_of[n];
    if (*first == NO_LAYER)
        *first = c->layer_count;
    layer->layer.can_bias =
        layer->layer.can_bias && is_outermost(original, &c->weights[weight], input);
    if (layer->layer.directions == 0)
        layer->layer.pooled = find_pooled(c, &layer->layer);
    note_use(c, layer->layer.pooled, n);
    c->public_layers[c->layer_count++] = layer->layer;
    return create_layer(c, original, layer) == LEGO_OK
               ? LEGO_OK
               : lego_fail(diag, LEGO_E_NOMEM, "out of memory for layer '%s'", node->name);
}

static int find_layers(struct calibration *c, const struct lego_graph *original,
                       uint32_t weight_count, struct lego_diag *diag)
{
    const struct lego_graph *graph = c->graph;
    const size_t most = 2 * (size_t)graph->node_count + 1;
    int status = LEGO_OK;

    c->layers = calloc(most, sizeof(*c->layers));
    c->public_layers = calloc(most, sizeof(*c->public_layers));
    if (!c->layers || !c->public_layers)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for layers");
    for (uint32_t n = 0; status == LEGO_OK && n < graph->node_count; n++) {
        c->layer_of[n] = c->recurrent_of[n] = NO_LAYER;
        status = find_layer(c, original, n, 1, weight_count, diag);
        if (status == LEGO_OK && lego_recurrent_kinds(&graph->nodes[n]) > 0)
            status = find_layer(c, original, n, 2, weight_count, diag);
    }
    return status;
}

/* What the outputs are before a last Softmax: what sensitivity is measured at. */
static int32_t find_logits(const struct lego_graph *graph)
{
    const int32_t output = graph->outputs[0];

    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        if (node->outputs[0] == output && node->op == LEGO_OP_Softmax &&
            graph->values[node->inputs[0]].tensor < 0)
            return node->inputs[0];
    }
    return output;
}

int calibrate_create(const struct lego_package *package, const struct encode_weight *weights,
                     uint32_t weight_count, const struct encode_options *options,
                     const struct encode_examples *examples, struct encode_workers *workers,
                     struct calibration **ret_calibration, struct lego_diag *diag)
{
    struct calibration *c = calloc(1, sizeof(*c));
    int status;

    if (!c)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for calibration");
    c->weights = weights;
    c->workers = workers;
    c->seed = options->seed;
    c->without = options->without;
    c->images = examples->count;
    c->synthetic = examples->synthetic;
    c->adapts = c->synthetic && !(c->without & ENCODE_WITHOUT(ADAPTATION));
    status = lego_graph_specialise_known(package->graph, examples->shapes, examples->known,
                                         &c->graph, diag);
    if (status == LEGO_OK) {
        c->values = calloc(c->graph->value_count + 1, sizeof(*c->values));
        c->layer_of = calloc(c->graph->node_count + 1, sizeof(*c->layer_of));
        c->recurrent_of = calloc(c->graph->node_count + 1, sizeof(*c->recurrent_of));
        status = c->values && c->layer_of && c->recurrent_of
                     ? lay_out_values(c, diag)
                     : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    if (status == LEGO_OK)
        status = find_layers(c, package->graph, weight_count, diag);
    if (status == LEGO_OK)
        status = cal_draw(c, examples, diag);
    c->keeps_targets = cal_keeps_targets(c);
    if (status != LEGO_OK) {
        calibrate_destroy(c);
        return status;
    }
    c->logits = find_logits(c->graph);
    c->values[c->logits].keep = true;
    *ret_calibration = c;
    return LEGO_OK;
}

void calibrate_destroy(struct calibration *c)
{
    if (!c)
        return;
    for (uint32_t v = 0; c->values && v < c->graph->value_count; v++)
        cal_free(c, (int32_t)v);
    for (uint32_t i = 0; i < c->layer_count; i++) {
        free(c->layers[i].teacher_t);
        free(c->layers[i].student_t);
        free(c->layers[i].ratio);
        free(c->layers[i].offset);
        free(c->layers[i].student_offset);
        free(c->layers[i].targets);
        free(c->layers[i].residuals);
    }
    free(c->answers);
    free(c->values);
    free(c->layers);
    free(c->public_layers);
    free(c->layer_of);
    free(c->recurrent_of);
    lego_graph_destroy(c->graph);
    free(c);
}

const struct layer *calibrate_layers(const struct calibration *c, uint32_t *ret_count)
{
    *ret_count = c->layer_count;
    return c->public_layers;
}

uint32_t calibrate_images(const struct calibration *c)
{
    return c->images;
}

uint32_t calibrate_unadapted(const struct calibration *c)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < c->layer_count; i++)
        count += !lego_node_attr(&c->graph->nodes[c->layers[i].layer.node], "lego.bn_scale");
    return count;
}

bool cal_node_differs(const struct calibration *c, uint32_t node)
{
    const struct lego_node *n = &c->graph->nodes[node];

    for (uint32_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] >= 0 && cal_value_differs(c, n->inputs[i]))
            return true;
    }
    return false;
}

/* The teacher's and the student's pass through a layer, the latter after its weights are known; one
 * buffer is first the teacher's product, then the student's, then the student's output. */
static int walk_layer(struct calibration *c, struct cal_layer *layer, calibrate_quantise quantise,
                      void *context, struct lego_diag *diag)
{
    const size_t elems = cal_layer_elems(&layer->layer);
    const int32_t output = c->graph->nodes[layer->layer.node].outputs[0];
    float *z = malloc(elems * c->images * sizeof(float));
    int status = z ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's output");

    if (status == LEGO_OK && !c->alone)
        status = cal_allocate(c, output, false, diag);
    if (status == LEGO_OK && !c->alone)
        status = cal_linear(c, layer, false, z, diag);
    if (status == LEGO_OK && !c->alone) {
        if (!c->adapted)
            cal_adapt(c, layer, z);
        cal_finish(c, layer, false, z);
    }
    if (status == LEGO_OK)
        status = cal_quantise_layer(c, layer, c->alone ? NULL : z, quantise, context, diag);
    if (status == LEGO_OK)
        status = cal_linear(c, layer, true, z, diag);
    if (status != LEGO_OK) {
        free(z);
        return status;
    }
    c->values[output].student = (char *)z;
    if (c->alone)
        c->values[output].teacher = (char *)z;
    cal_finish(c, layer, true, z);
    return LEGO_OK;
}

static int walk_node(struct calibration *c, uint32_t n, struct lego_diag *diag)
{
    const struct lego_node *node = &c->graph->nodes[n];
    const bool differs = cal_node_differs(c, n);
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            continue;
        status = cal_allocate(c, node->outputs[i], false, diag);
        if (status == LEGO_OK && differs)
            status = cal_allocate(c, node->outputs[i], true, diag);
    }
    if (status == LEGO_OK)
        status = cal_run_node(c, n, false, diag);
    if (status == LEGO_OK && differs)
        status = cal_run_node(c, n, true, diag);
    return status;
}

/* Frees what no later node reads. */
static void retire(struct calibration *c, uint32_t n)
{
    const struct lego_node *node = &c->graph->nodes[n];

    for (uint32_t i = 0; i < node->input_count + node->output_count; i++) {
        const int32_t value =
            i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];

        if (value >= 0 && c->values[value].last_use == n && !c->values[value].keep)
            cal_free(c, value);
    }
}

int calibrate_walk(struct calibration *c, calibrate_quantise quantise, void *context,
                   struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t v = 0; v < c->graph->value_count; v++) {
        bool is_input = false;

        for (uint32_t i = 0; i < c->graph->input_count; i++)
            is_input = is_input || c->graph->inputs[i] == (int32_t)v;
        if (!is_input)
            cal_free(c, (int32_t)v);
    }
    for (uint32_t n = 0; status == LEGO_OK && n < c->graph->node_count; n++) {
        if (c->recurrent_of[n] != NO_LAYER)
            status = cal_walk_recurrent(c, n, quantise, context, diag);
        else if (c->layer_of[n] != NO_LAYER)
            status = walk_layer(c, &c->layers[c->layer_of[n]], quantise, context, diag);
        else
            status = walk_node(c, n, diag);
        if (status == LEGO_OK)
            retire(c, n);
    }
    if (status == LEGO_OK)
        status = cal_compare_answers(c, diag);
    c->adapted = c->adapted || status == LEGO_OK;
    c->alone = c->alone || (status == LEGO_OK && c->keeps_targets);
    return status;
}
