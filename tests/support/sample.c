#include "tests/support/sample.h"

#include "codec/base/half.h"
#include "codec/base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "sample: out of memory\n");
        abort();
    }
    return pointer;
}

static int32_t must_index(int32_t index)
{
    if (index < 0) {
        fprintf(stderr, "sample: %s\n", lego_status_text(index));
        abort();
    }
    return index;
}

static void *alloc(struct lego_package *package, size_t count, size_t size)
{
    /* 64 bytes more, so that rounding up finds its place. */
    char *memory = must(lego_arena_calloc(package->graph->arena, count * size + 64, 1));
    return memory + (-(uintptr_t)memory & 63);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void fill_catalogue(struct lego_package *package, struct lego_catalogue *catalogue)
{
    size_t elems = (size_t)catalogue->entries * catalogue->brick_rows * catalogue->brick_columns;
    char *data = alloc(package, elems, lego_dtype_bytes(catalogue->dtype));
    uint32_t state = catalogue->id + 1;
    for (size_t i = 0; i < elems; i++) {
        float value = (float)((int32_t)(next_random(&state) % 4096) - 2048) / 1024.0f;
        int8_t byte = (int8_t)(next_random(&state) % 255 - 127);
        uint16_t half = lego_half_from_float(value);
        if (catalogue->dtype == LEGO_DTYPE_INT8)
            memcpy(data + i, &byte, 1);
        else if (catalogue->dtype == LEGO_DTYPE_FLOAT16)
            memcpy(data + 2 * i, &half, 2);
        else
            memcpy(data + 4 * i, &value, 4);
    }
    catalogue->scale = catalogue->dtype == LEGO_DTYPE_INT8 ? 0.0078125f : 1.0f;
    catalogue->data = data;
}

static void fill_indices(struct lego_package *package, const struct lego_coded *coded,
                         struct lego_stage *stage)
{
    uint8_t *stream = alloc(package, stage->stream_bytes + LEGO_STREAM_TAIL_BYTES, 1);
    uint32_t state = 77 + stage->catalogue->id;
    stage->stream = stream;
    for (uint32_t t = 0; t < lego_coded_tiles(coded); t++) {
        size_t bytes;
        const uint8_t *tile = lego_stage_tile(coded, stage, t, &bytes);
        uint64_t count =
            (uint64_t)lego_coded_tile_brick_rows(coded, t) * lego_coded_brick_columns(coded);
        for (uint64_t i = 0; i < count; i++)
            lego_index_put(stream + (tile - stream), stage->index_bits, i,
                           next_random(&state) % stage->catalogue->entries);
    }
}

static void fill_scales(struct lego_package *package, struct lego_coded *coded)
{
    uint16_t *scales = alloc(package, coded->rows, sizeof(*scales));
    for (uint32_t r = 0; r < coded->rows; r++)
        scales[r] = lego_half_from_float(0.5f + 0.25f * (float)(r % 7));
    coded->layer_scale = coded->scale_kind == LEGO_SCALE_LAYER ? 1.75f : 1.0f;
    coded->row_scales = coded->scale_kind == LEGO_SCALE_ROW ? scales : NULL;
}

/* A permutation that moves every column when there are more than two. */
static void fill_permutation(struct lego_package *package, struct lego_coded *coded)
{
    uint32_t *permutation = alloc(package, coded->columns, sizeof(*permutation));
    for (uint32_t c = 0; c < coded->columns; c++)
        permutation[c] = coded->columns - 1 - c;
    if (coded->columns > 2) {
        permutation[0] = 0;
        permutation[coded->columns - 1] = coded->columns - 1;
    }
    coded->permutation = permutation;
}

/* Codes tensor `tensor`; its stages use catalogues `first` and up. */
static void code(struct lego_package *package, int32_t tensor, const struct sample_matrix *matrix,
                 uint32_t first)
{
    struct lego_coded *coded = alloc(package, 1, sizeof(*coded));
    coded->view = matrix->view;
    coded->column_order = matrix->column_order;
    coded->groups = matrix->groups ? matrix->groups : 1;
    coded->tile_rows = matrix->tile_rows;
    coded->scale_kind = matrix->scale_kind;
    coded->stage_count = matrix->stages ? matrix->stages : 1;
    for (uint32_t s = 0; s < coded->stage_count; s++)
        coded->stages[s].catalogue = &package->catalogues[first + s];
    must_index(lego_coded_layout(coded, &package->graph->tensors[tensor].shape));
    for (uint32_t s = 0; s < coded->stage_count; s++)
        fill_indices(package, coded, &coded->stages[s]);
    fill_scales(package, coded);
    if (matrix->permuted)
        fill_permutation(package, coded);
    package->graph->tensors[tensor].coded = coded;
}

static int32_t add_constant(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                            const struct lego_shape *shape)
{
    int32_t tensor = must_index(lego_graph_add_tensor(graph, name, dtype, shape));
    int32_t value = must_index(lego_graph_add_value(graph, name, dtype, shape));
    graph->values[value].tensor = tensor;
    return value;
}

static struct lego_node *add_node(struct lego_graph *graph, enum lego_op op, uint32_t attrs,
                                  const int32_t *inputs, uint32_t input_count, int32_t output)
{
    int32_t at = must_index(lego_graph_add_node(graph, "node", op, input_count, 1, attrs));
    memcpy(graph->nodes[at].inputs, inputs, input_count * sizeof(*inputs));
    graph->nodes[at].outputs[0] = output;
    return &graph->nodes[at];
}

static void add_catalogues(struct lego_package *package, const struct sample_matrix *matrix,
                           uint32_t count)
{
    package->catalogues = alloc(package, count, sizeof(*package->catalogues));
    package->catalogue_count = count;
    for (uint32_t i = 0; i < count; i++) {
        package->catalogues[i] = (struct lego_catalogue){
            .id = i,
            .dtype = matrix->dtype ? matrix->dtype : LEGO_DTYPE_FLOAT32,
            .brick_rows = matrix->brick_rows ? matrix->brick_rows : 4,
            .brick_columns = matrix->brick_columns ? matrix->brick_columns : 4,
            .entries = matrix->entries ? matrix->entries : 16,
        };
        fill_catalogue(package, &package->catalogues[i]);
    }
}

static struct lego_package *create(void)
{
    struct lego_package *package;
    must_index(lego_package_create(&package));
    return package;
}

struct lego_package *sample_package(const struct sample_matrix *matrix)
{
    struct lego_package *package = create();
    struct lego_graph *graph = package->graph;
    const struct lego_shape usual = {4, {8, 3, 3, 3}};
    const struct lego_shape *shape = matrix->shape.rank ? &matrix->shape : &usual;
    struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};

    int32_t input = must_index(lego_graph_add_value(graph, "input", LEGO_DTYPE_FLOAT32, &open));
    int32_t weight = add_constant(graph, "layer.weight", LEGO_DTYPE_FLOAT32, shape);
    int32_t output = must_index(lego_graph_add_value(graph, "output", LEGO_DTYPE_FLOAT32, &open));
    must_index(lego_graph_add_input(graph, input));
    must_index(lego_graph_add_output(graph, output));
    add_node(graph, LEGO_OP_MatMul, 0, (int32_t[]){input, weight}, 2, output);
    add_catalogues(package, matrix, matrix->stages ? matrix->stages : 1);
    code(package, graph->values[weight].tensor, matrix, 0);
    return package;
}

static const void *copy(struct lego_package *package, const void *data, size_t bytes)
{
    return must(lego_arena_memdup(package->graph->arena, data, bytes));
}

static void set_data(struct lego_package *package, int32_t value, const void *data)
{
    struct lego_tensor *tensor = &package->graph->tensors[package->graph->values[value].tensor];
    tensor->data = copy(package, data, tensor->bytes);
}

/* input [N,3,8,8] -> Conv (coded, residual-free, Relu) -> pooled [N,8,1,1]. */
static int32_t add_convolution(struct lego_package *package, int32_t input)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN}, bias_shape = {1, {8}};
    const struct lego_shape shape = {4, {8, 3, 3, 3}};
    static const float biases[8] = {0.5f, -1.0f, 2.0f, 0.0f, -0.0f, 4.0f, 0.25f, 8.0f};
    int32_t weight = add_constant(graph, "conv1.weight", LEGO_DTYPE_FLOAT32, &shape);
    int32_t bias = add_constant(graph, "conv1.bias", LEGO_DTYPE_FLOAT32, &bias_shape);
    int32_t output = must_index(lego_graph_add_value(graph, "conv", LEGO_DTYPE_FLOAT32, &open));
    set_data(package, bias, biases); /* each is a half: stored so */
    code(package, graph->values[weight].tensor,
         &(struct sample_matrix){.scale_kind = LEGO_SCALE_ROW,
                                 .column_order = LEGO_COLUMNS_TAP_MAJOR,
                                 .permuted = true,
                                 .stages = 2},
         0);
    struct lego_node *node =
        add_node(graph, LEGO_OP_Conv, 4, (int32_t[]){input, weight, bias}, 3, output);
    static const int64_t pads[4] = {1, 1, 1, 1};
    static const float scales[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    node->attrs[0] = (struct lego_attr){.name = "pads",
                                        .type = LEGO_ATTR_INTS,
                                        .ints = copy(package, pads, sizeof(pads)),
                                        .count = 4};
    node->attrs[1] = (struct lego_attr){.name = "group", .type = LEGO_ATTR_INT, .i = 1};
    node->attrs[2] =
        (struct lego_attr){.name = "auto_pad", .type = LEGO_ATTR_STRING, .s = "NOTSET", .count = 6};
    node->attrs[3] = (struct lego_attr){.name = "lego.bn_scale",
                                        .type = LEGO_ATTR_FLOATS,
                                        .floats = copy(package, scales, sizeof(scales)),
                                        .count = 8};
    node->activation = LEGO_ACT_CLAMP;
    node->act_hi = 6.0f;
    return output;
}

static void release(void *graph)
{
    lego_graph_destroy(graph);
}

/* A subgraph that gives out `captured`, which it sees by name. */
static struct lego_graph *make_subgraph(struct lego_graph *parent, const char *captured)
{
    struct lego_graph *graph;
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    must_index(lego_graph_create(0, &graph));
    int32_t outer = must_index(lego_graph_add_value(graph, captured, LEGO_DTYPE_UNKNOWN, &open));
    int32_t inner = must_index(lego_graph_add_value(graph, "inner", LEGO_DTYPE_FLOAT32, &open));
    must_index(lego_graph_add_output(graph, inner));
    add_node(graph, LEGO_OP_Identity, 0, (int32_t[]){outer}, 1, inner);
    must_index(lego_graph_adopt(parent, graph, release));
    return graph;
}

/* A node with an attribute of each remaining kind. */
static int32_t add_attributes(struct lego_package *package, int32_t input)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN}, pair = {1, {2}};
    int32_t output = must_index(lego_graph_add_value(graph, "kept", LEGO_DTYPE_FLOAT32, &open));
    int32_t tensor = must_index(lego_graph_add_tensor(graph, "table", LEGO_DTYPE_FLOAT32, &pair));
    static const float table[2] = {0.1f, 0.3f};
    static const char *const words[2] = {"one", "two"};
    graph->tensors[tensor].data = copy(package, table, sizeof(table));
    struct lego_node *node = add_node(graph, LEGO_OP_Identity, 5, (int32_t[]){input}, 1, output);
    node->attrs[0] = (struct lego_attr){.name = "value", .type = LEGO_ATTR_TENSOR};
    node->attrs[0].tensor = tensor;
    node->attrs[1] = (struct lego_attr){.name = "alpha", .type = LEGO_ATTR_FLOAT, .f = 0.1f};
    node->attrs[2] = (struct lego_attr){.name = "table",
                                        .type = LEGO_ATTR_FLOATS,
                                        .floats = copy(package, table, sizeof(table)),
                                        .count = 2};
    node->attrs[3] = (struct lego_attr){.name = "words",
                                        .type = LEGO_ATTR_STRINGS,
                                        .strings = copy(package, words, sizeof(words)),
                                        .count = 2};
    node->attrs[4] = (struct lego_attr){.name = "body", .type = LEGO_ATTR_GRAPH};
    node->attrs[4].graph = make_subgraph(graph, "conv");
    return output;
}

/* -> Reshape by an int64 constant -> Gemm with a dense fp32 weight that is not all halves. */
static int32_t add_classifier(struct lego_package *package, int32_t input)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN}, pair = {1, {2}};
    const struct lego_shape shape = {2, {10, 8}}, logits = {2, {-1, 10}};
    static const int64_t target[2] = {0, -1};
    float weights[80];
    for (int i = 0; i < 80; i++)
        weights[i] = (float)i / 10.0f - 4.0f;
    int32_t sizes = add_constant(graph, "sizes", LEGO_DTYPE_INT64, &pair);
    int32_t weight = add_constant(graph, "fc.weight", LEGO_DTYPE_FLOAT32, &shape);
    int32_t flat = must_index(lego_graph_add_value(graph, "kept.flat", LEGO_DTYPE_FLOAT32, &open));
    int32_t output = must_index(lego_graph_add_value(graph, "logits", LEGO_DTYPE_FLOAT32, &logits));
    set_data(package, sizes, target);
    set_data(package, weight, weights);
    add_node(graph, LEGO_OP_Reshape, 0, (int32_t[]){input, sizes}, 2, flat);
    struct lego_node *node =
        add_node(graph, LEGO_OP_Gemm, 1, (int32_t[]){flat, weight, -1}, 3, output);
    node->attrs[0] = (struct lego_attr){.name = "transB", .type = LEGO_ATTR_INT, .i = 1};
    return output;
}

static void add_selftest(struct lego_package *package)
{
    struct lego_selftest *selftest = &package->selftest;
    float logits[10];
    for (int i = 0; i < 10; i++)
        logits[i] = (float)i * 0.3f;
    selftest->inputs = alloc(package, 1, sizeof(*selftest->inputs));
    selftest->inputs[0] = (struct lego_tensor){.name = "image",
                                               .dtype = LEGO_DTYPE_FLOAT32,
                                               .shape = {4, {1, 3, 8, 8}},
                                               .bytes = 3 * 64 * sizeof(float)};
    selftest->outputs = alloc(package, 1, sizeof(*selftest->outputs));
    selftest->outputs[0] = (struct lego_tensor){.name = "logits",
                                                .dtype = LEGO_DTYPE_FLOAT32,
                                                .shape = {2, {1, 10}},
                                                .bytes = sizeof(logits),
                                                .data = copy(package, logits, sizeof(logits))};
    selftest->input_count = selftest->output_count = 1;
    selftest->tolerance = 1e-4f;
    selftest->generated = true;
    selftest->seed = 7;
}

static void add_texts(struct lego_package *package)
{
    static const char *const labels[] = {"cat", "d\xc3\xb6g", "", "a longer label, with a comma"};
    package->labels = (const char **)(uintptr_t)copy(package, labels, sizeof(labels));
    package->label_count = 4;
    package->preprocess = (struct lego_preprocess){
        .present = true,
        .channels = 3,
        .bgr = true,
        .width = 8,
        .height = 8,
        .scale = 1.0f / 255,
        .mean = {0.485f, 0.456f, 0.406f},
        .std = {0.229f, 0.224f, 0.225f},
        .resize = LEGO_RESIZE_SHORTEST,
        .resize_side = 10,
        .pad_value = 114.0f,
        .class_offset = 1,
        .input = "image",
    };
    must_index(lego_package_set_metadata(package, "producer", "sample"));
    must_index(lego_package_set_metadata(package, "codec", "bricks"));
    static const uint8_t signature[64] = {1, 2, 3};
    package->signature = signature;
    package->signature_bytes = sizeof(signature);
    package->peak_bytes = 123456;
    package->graph->original_bytes = 4 * (8 * 27 + 8 + 80);
    package->graph->original_weights = 8 * 27 + 8 + 80;
}

struct lego_package *sample_full(void)
{
    struct lego_package *package = create();
    struct lego_graph *graph = package->graph;
    graph->name = "full";
    int32_t symbol = must_index(lego_graph_add_symbol(graph, "N"));
    const struct lego_shape shape = {4, {-1 - symbol, 3, 8, 8}};
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    add_catalogues(package, &(struct sample_matrix){.dtype = LEGO_DTYPE_INT8, .entries = 63}, 2);

    int32_t input = must_index(lego_graph_add_value(graph, "image", LEGO_DTYPE_FLOAT32, &shape));
    must_index(lego_graph_add_input(graph, input));
    int32_t conv = add_convolution(package, input);
    int32_t kept = add_attributes(package, conv);
    int32_t pooled = must_index(lego_graph_add_value(graph, "pooled", LEGO_DTYPE_FLOAT32, &open));
    add_node(graph, LEGO_OP_GlobalAveragePool, 0, &kept, 1, pooled);
    must_index(lego_graph_add_output(graph, add_classifier(package, pooled)));
    add_texts(package);
    add_selftest(package);
    return package;
}

/* FORMAT.md, "Bricks": entry of the brick, without tiles' address arithmetic but its definition. */
static float brick_element(const struct lego_coded *coded, const struct lego_stage *stage,
                           uint32_t row, uint32_t column)
{
    /* The number of the brick's index, counted tile by tile, column by column. */
    uint32_t brick_row = row / coded->brick_rows, brick_column = column / coded->brick_columns;
    uint32_t tile_first = row / coded->tile_rows * coded->tile_rows / coded->brick_rows;
    uint32_t all_rows = (coded->rows + coded->brick_rows - 1) / coded->brick_rows;
    uint32_t tile_end = tile_first + coded->tile_rows / coded->brick_rows;
    uint32_t in_tile = (tile_end < all_rows ? tile_end : all_rows) - tile_first;
    uint64_t bit = 0, columns = (coded->columns + coded->brick_columns - 1) / coded->brick_columns;
    for (uint32_t first = 0; first < tile_first; first += coded->tile_rows / coded->brick_rows) {
        uint64_t bits = columns * (coded->tile_rows / coded->brick_rows) * stage->index_bits;
        bit += (bits + 7) / 8 * 8;
    }
    bit += ((uint64_t)brick_column * in_tile + brick_row - tile_first) * stage->index_bits;
    uint32_t index = 0;
    for (uint32_t i = 0; i < stage->index_bits; i++, bit++)
        index |= (uint32_t)(stage->stream[bit / 8] >> bit % 8 & 1) << i;

    const struct lego_catalogue *catalogue = stage->catalogue;
    size_t at = ((size_t)index * catalogue->brick_rows + row % coded->brick_rows) *
                    catalogue->brick_columns +
                column % coded->brick_columns;
    if (catalogue->dtype == LEGO_DTYPE_INT8)
        return (float)((const int8_t *)catalogue->data)[at] * catalogue->scale;
    if (catalogue->dtype == LEGO_DTYPE_FLOAT16)
        return lego_half_to_float(((const uint16_t *)catalogue->data)[at]);
    return ((const float *)catalogue->data)[at];
}

/* Dense element of matrix element (row, channel, tap). */
static size_t dense_at(const struct lego_tensor *tensor, uint32_t row, uint32_t channel,
                       uint32_t tap)
{
    const struct lego_coded *coded = tensor->coded;
    size_t taps = coded->taps, channels = coded->columns / coded->taps;
    switch (coded->view) {
    case LEGO_VIEW_OUT_FIRST: /* [O][I/g][taps] */
        return (row * channels + channel) * taps + tap;
    case LEGO_VIEW_OUT_LAST: /* [K][N], a row is a column of it */
        return (size_t)channel * coded->rows + row;
    default: { /* [I][O/g][taps] */
        size_t group_rows = coded->rows / coded->groups, group = row / group_rows;
        return ((group * channels + channel) * group_rows + row % group_rows) * taps + tap;
    }
    }
}

void sample_decode(const struct lego_tensor *tensor, float *ret_dense)
{
    const struct lego_coded *coded = tensor->coded;
    uint32_t channels = coded->columns / coded->taps;
    for (uint32_t row = 0; row < coded->rows; row++) {
        float scale = coded->scale_kind == LEGO_SCALE_NONE ? 1.0f
                      : coded->scale_kind == LEGO_SCALE_LAYER
                          ? coded->layer_scale
                          : lego_half_to_float(coded->row_scales[row]);
        for (uint32_t stored = 0; stored < coded->columns; stored++) {
            float sum = 0.0f;
            for (uint32_t s = 0; s < coded->stage_count; s++)
                sum += brick_element(coded, &coded->stages[s], row, stored);
            uint32_t column = coded->permutation ? coded->permutation[stored] : stored;
            bool tap_major = coded->column_order == LEGO_COLUMNS_TAP_MAJOR;
            uint32_t channel = tap_major ? column % channels : column / coded->taps;
            uint32_t tap = tap_major ? column / channels : column % coded->taps;
            ret_dense[dense_at(tensor, row, channel, tap)] = sum * scale;
        }
    }
}
