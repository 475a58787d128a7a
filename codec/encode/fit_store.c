#include "codec/base/half.h"
#include "codec/encode/biases.h"
#include "codec/encode/fit.h"
#include "codec/encode/small.h"
#include "codec/graph/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The catalogue of each format and stage that is in use. */
struct store {
    struct fit *fit;
    struct lego_catalogue *catalogues;
    uint32_t catalogue_count;
    uint32_t first[FIT_FORMATS]; /* index of the first stage's */
};

static int store_catalogues(struct store *s, struct lego_diag *diag)
{
    struct lego_arena *arena = s->fit->package->graph->arena;
    bool used[FIT_FORMATS] = {false};

    s->catalogues =
        lego_arena_calloc(arena, (size_t)FIT_FORMATS * GPTQ_MAX_STAGES, sizeof(*s->catalogues));
    for (uint32_t i = 0; i < s->fit->weight_count; i++)
        used[s->fit->layers[i].format] = true;
    for (uint32_t f = 0; s->catalogues && f < FIT_FORMATS; f++) {
        const struct gptq_format *format = &fit_formats[f];

        s->first[f] = s->catalogue_count;
        for (uint32_t stage = 0; used[f] && stage < format->stages; stage++) {
            const struct fit_catalogue *from = &s->fit->catalogues[f];
            struct lego_catalogue *to = &s->catalogues[s->catalogue_count];

            to->id = s->catalogue_count++;
            to->dtype = LEGO_DTYPE_INT8;
            to->brick_rows = format->rows;
            to->brick_columns = format->columns;
            to->entries = format->entries;
            to->scale = from->stage_scale[stage];
            to->data = lego_arena_memdup(arena, from->data[stage],
                                         (size_t)format->entries * format->rows * format->columns);
            if (!to->data)
                return lego_fail(diag, LEGO_E_NOMEM, "out of memory for catalogues");
        }
    }
    return s->catalogues ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory for catalogues");
}

/* Packs the indices of one stage, tile by tile. */
static void pack(const struct fit_layer *layer, const struct lego_coded *coded, uint32_t which)
{
    const struct lego_stage *stage = &coded->stages[which];
    const uint32_t wide = lego_coded_brick_columns(coded);
    const uint32_t channels = coded->columns / coded->taps;
    const uint32_t in_tile = coded->tile_rows / coded->brick_rows;

    for (uint32_t tile = 0; tile < lego_coded_tiles(coded); tile++) {
        const uint32_t high = lego_coded_tile_brick_rows(coded, tile);
        uint8_t *bytes = (uint8_t *)stage->stream + tile * stage->tile_stride_bytes;

        for (uint32_t bc = 0; bc < wide; bc++) {
            uint32_t from = bc;

            if (coded->column_order == LEGO_COLUMNS_TAP_MAJOR)
                from = bc % channels * coded->taps + bc / channels;
            for (uint32_t br = 0; br < high; br++)
                lego_index_put(bytes, stage->index_bits, (uint64_t)bc * high + br,
                               layer->index[which][(size_t)(tile * in_tile + br) * wide + from]);
        }
    }
}

static int store_layer(const struct store *s, const struct fit_layer *layer,
                       struct lego_coded *coded, struct lego_diag *diag)
{
    const struct lego_graph *graph = s->fit->package->graph;
    const struct gptq_format *format = &fit_formats[layer->format];
    const struct encode_weight *weight = layer->weight;

    *coded = (struct lego_coded){
        .view = weight->view,
        .column_order = format->columns > 1 ? LEGO_COLUMNS_CHANNEL_MAJOR : LEGO_COLUMNS_TAP_MAJOR,
        .groups = weight->groups,
        .stage_count = format->stages,
        .scale_kind = fit_scales_layer(layer->format) ? LEGO_SCALE_LAYER : LEGO_SCALE_ROW,
        .layer_scale = layer->scales[0],
    };
    if (coded->scale_kind == LEGO_SCALE_ROW) {
        uint16_t *halves = lego_arena_calloc(graph->arena, weight->rows, sizeof(*halves));

        if (!halves)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for scales");
        for (uint32_t r = 0; r < weight->rows; r++)
            halves[r] = lego_half_from_float(layer->scales[r]);
        coded->row_scales = halves;
        coded->layer_scale = 1;
    }
    for (uint32_t i = 0; i < format->stages; i++)
        coded->stages[i].catalogue = &s->catalogues[s->first[layer->format] + i];
    const int status = lego_coded_layout(coded, &graph->tensors[weight->tensor].shape);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "weight '%s' cannot be stored", weight->name);
    for (uint32_t i = 0; i < format->stages; i++) {
        struct lego_stage *stage = &coded->stages[i];

        stage->stream =
            lego_arena_calloc(graph->arena, stage->stream_bytes + LEGO_STREAM_TAIL_BYTES, 1);
        if (!stage->stream)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for indices");
        pack(layer, coded, i);
    }
    return LEGO_OK;
}

static uint32_t count_uses(const struct lego_graph *graph, int32_t tensor)
{
    uint32_t uses = 0;

    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++) {
            const int32_t value = graph->nodes[n].inputs[i];
            uses += value >= 0 && graph->values[value].tensor == tensor;
        }
    }
    return uses;
}

/* Gives a node an input `input` of its own with these values. */
static int set_bias(struct lego_graph *graph, uint32_t n, uint32_t input, const float *values,
                    size_t count, const char *weight)
{
    const float *data = lego_arena_memdup(graph->arena, values, count * sizeof(float));
    struct lego_node *node = &graph->nodes[n];
    const int32_t old = node->input_count > input ? node->inputs[input] : -1;
    const struct lego_shape shape = lego_recurrent_kinds(node) > 0
                                        ? graph->values[old].shape
                                        : (struct lego_shape){.rank = 1, .dim = {(int64_t)count}};

    if (!data)
        return LEGO_E_NOMEM;
    if (old >= 0 && count_uses(graph, graph->values[old].tensor) == 1) {
        graph->tensors[graph->values[old].tensor].data = data;
        return LEGO_OK;
    }
    const char *name = lego_arena_printf(graph->arena, "%s.bias.%u", weight, n);
    const uint32_t inputs_now = node->input_count > input ? node->input_count : input + 1;
    int32_t *inputs = lego_arena_calloc(graph->arena, inputs_now, sizeof(*inputs));
    if (!name || !inputs)
        return LEGO_E_NOMEM;
    const int32_t tensor = lego_graph_add_tensor(graph, name, LEGO_DTYPE_FLOAT32, &shape);
    const int32_t value = lego_graph_add_value(graph, name, LEGO_DTYPE_FLOAT32, &shape);
    if (tensor < 0 || value < 0)
        return LEGO_E_NOMEM;
    graph->tensors[tensor].data = data;
    graph->values[value].tensor = tensor;
    memcpy(inputs, node->inputs, node->input_count * sizeof(*inputs));
    inputs[input] = value;
    node->inputs = inputs;
    node->input_count = inputs_now;
    return LEGO_OK;
}

/* The n-th node (from 0) that multiplies with a tensor, its input `input`. */
static uint32_t find_user(const struct lego_graph *graph, int32_t tensor, uint32_t input,
                          uint32_t nth)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        if (node->op != LEGO_OP_If && node->input_count > input && node->inputs[input] >= 0 &&
            graph->values[node->inputs[input]].tensor == tensor && nth-- == 0)
            return n;
    }
    return UINT32_MAX;
}

/* The node of the package that is layer number `index`: weights may have several users. */
static uint32_t layer_node(const struct lego_graph *graph, const struct layer *layers,
                           const struct encode_weight *weights, uint32_t index)
{
    uint32_t nth = 0;

    for (uint32_t k = 0; k < index; k++)
        nth += layers[k].weight == layers[index].weight && layers[k].input == layers[index].input;
    return find_user(graph, weights[layers[index].weight].tensor, layers[index].input, nth);
}

/* Which input of its node a layer's bias is. */
static uint32_t bias_input(const struct layer *layer)
{
    return layer->directions > 0 ? 3 : 2;
}

const float *fit_old_bias(const struct lego_package *package, const struct calibration *calibration,
                          const struct encode_weight *weights, uint32_t index)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(calibration, &count);
    const uint32_t n = layer_node(package->graph, layers, weights, index);
    const struct lego_tensor *old =
        n != UINT32_MAX ? lego_node_constant(package->graph, &package->graph->nodes[n],
                                             bias_input(&layers[index]))
                        : NULL;

    return old ? old->data : NULL;
}

bool bias_is_own(const struct calibration *calibration, uint32_t index)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(calibration, &count);

    return layers[index].can_bias && (layers[index].directions == 0 || index == 0 ||
                                      layers[index - 1].node != layers[index].node);
}

float *bias_make(const struct lego_package *package, const struct calibration *calibration,
                 const struct encode_weight *weights, float *const *bias, int levels,
                 uint32_t index, size_t *ret_count)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(calibration, &count);
    const float *old = fit_old_bias(package, calibration, weights, index);
    const size_t elems = (layers[index].directions > 0 ? 2 : 1) * (size_t)layers[index].rows;
    float *values = calloc(elems, sizeof(*values));

    for (size_t i = 0; values && old && i < elems; i++)
        values[i] = old[i];
    for (uint32_t i = index; values && i < count && layers[i].node == layers[index].node; i++)
        for (uint32_t r = 0; r < layers[i].rows; r++)
            values[layer_bias_index(&layers[i], r)] += bias[i][r];
    if (values)
        small_round(values, (uint32_t)elems, levels);
    *ret_count = elems;
    return values;
}

int fit_store_biases(struct lego_package *package, const struct calibration *calibration,
                     const struct encode_weight *weights, float *const *bias, int levels,
                     struct lego_diag *diag)
{
    struct lego_graph *graph = package->graph;
    uint32_t count;
    const struct layer *layers = calibrate_layers(calibration, &count);
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < count; i++) {
        const uint32_t n = layer_node(graph, layers, weights, i);
        size_t elems;

        if (!bias_is_own(calibration, i))
            continue;
        float *values = bias_make(package, calibration, weights, bias, levels, i, &elems);
        status = values && n != UINT32_MAX ? set_bias(graph, n, bias_input(&layers[i]), values,
                                                      elems, weights[layers[i].weight].name)
                                           : LEGO_E_NOMEM;
        free(values);
    }
    return status == LEGO_OK ? LEGO_OK : lego_fail(diag, status, "out of memory for biases");
}

static void describe(const struct fit *fit, const struct fit_layer *layer,
                     const struct lego_coded *coded, struct encode_layer *entry)
{
    const struct encode_weight *w = layer->weight;
    double error = 0, energy = 0;

    entry->name = w->name;
    entry->calibrated = layer->calibrated;
    snprintf(entry->format, sizeof(entry->format), "%s", fit_formats[layer->format].name);
    entry->weights = (uint64_t)w->rows * w->columns;
    entry->bytes =
        coded->scale_kind == LEGO_SCALE_ROW ? coded->rows * sizeof(uint16_t) : sizeof(float);
    for (uint32_t i = 0; i < coded->stage_count; i++)
        entry->bytes += coded->stages[i].stream_bytes;
    entry->bits_per_weight = 8.0 * (double)entry->bytes / (double)entry->weights;
    for (size_t i = 0; i < (size_t)w->rows * w->columns; i++) {
        const double exact =
            (double)
                w->data[encode_weight_elem(fit->package->graph, w, LEGO_COLUMNS_CHANNEL_MAJOR,
                                           (uint32_t)(i / w->columns), (uint32_t)(i % w->columns))];
        const double e = exact - (double)layer->decoded[i];

        error += e * e;
        energy += exact * exact;
    }
    entry->mse = energy > 0 ? error / energy : 0;
}

int fit_store(struct fit *fit, struct encode_report *report, struct lego_diag *diag)
{
    struct lego_graph *graph = fit->package->graph;
    struct store s = {.fit = fit};
    struct lego_coded *coded = lego_arena_calloc(graph->arena, fit->weight_count, sizeof(*coded));
    int status =
        coded ? store_catalogues(&s, diag) : lego_fail(diag, LEGO_E_NOMEM, "out of memory");

    for (uint32_t i = 0; status == LEGO_OK && i < fit->weight_count; i++) {
        status = store_layer(&s, &fit->layers[i], &coded[i], diag);
        if (status != LEGO_OK)
            break;
        describe(fit, &fit->layers[i], &coded[i], &report->layers[i]);
        report->weights += report->layers[i].weights;
        report->bytes += report->layers[i].bytes;
    }
    if (status == LEGO_OK)
        status = fit_store_biases(fit->package, fit->calibration, fit->weights, fit->bias, 0, diag);
    if (status != LEGO_OK)
        return status;
    for (uint32_t f = 0; f < FIT_FORMATS; f++) {
        for (uint32_t i = 0; i < fit->weight_count; i++) {
            if (fit->layers[i].format == f) {
                report->catalogue_bytes += fit_catalogue_bytes(f);
                break;
            }
        }
    }
    report->bytes += report->catalogue_bytes;
    for (uint32_t i = 0; i < fit->weight_count; i++) {
        struct lego_tensor *tensor = &graph->tensors[fit->weights[i].tensor];

        tensor->coded = &coded[i];
        tensor->data = NULL;
    }
    fit->package->catalogues = s.catalogues;
    fit->package->catalogue_count = s.catalogue_count;
    return LEGO_OK;
}
