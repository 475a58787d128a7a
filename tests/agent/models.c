#include "tests/agent/models.h"

#include "codec/encode/encode.h"
#include "codec/format/package.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status, const char *what, const struct lego_diag *diag)
{
    if (status >= LEGO_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, lego_diag_text(diag, status));
    abort();
}

static struct lego_shape shape2(int64_t a, int64_t b)
{
    return (struct lego_shape){.rank = 2, .dim = {a, b}};
}

static struct lego_shape shape1(int64_t a)
{
    return (struct lego_shape){.rank = 1, .dim = {a}};
}

/* xorshift, -1 to 1. */
static float next_weight(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (float)(*state % 2001) / 1000.0f - 1.0f;
}

static int32_t add_value(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                         struct lego_shape shape, int32_t tensor)
{
    int32_t value = lego_graph_add_value(graph, name, dtype, &shape);
    must(value, name, NULL);
    graph->values[value].tensor = tensor;
    return value;
}

/* A constant of random numbers, scaled. */
static int32_t add_constant(struct lego_graph *graph, const char *name, struct lego_shape shape,
                            float scale, uint32_t *seed)
{
    size_t elems;
    must(lego_shape_elems(&shape, &elems), name, NULL);
    int32_t index = lego_graph_add_tensor(graph, name, LEGO_DTYPE_FLOAT32, &shape);
    must(index, name, NULL);
    float *data = lego_arena_calloc(graph->arena, elems, sizeof(float));
    if (!data)
        abort();
    for (size_t i = 0; i < elems; i++)
        data[i] = scale * next_weight(seed);
    graph->tensors[index].data = data;
    graph->tensors[index].bytes = elems * sizeof(float);
    graph->original_bytes += elems * sizeof(float);
    graph->original_weights += elems;
    return add_value(graph, name, LEGO_DTYPE_FLOAT32, shape, index);
}

/* y = relu?(x * w + b); returns the value of y. */
static int32_t add_gemm(struct lego_graph *graph, const char *name, int32_t input, int64_t from,
                        int64_t to, bool relu, uint32_t *seed)
{
    char text[64];
    snprintf(text, sizeof(text), "%s.w", name);
    int32_t weight = add_constant(graph, text, shape2(to, from), 0.5f, seed);
    snprintf(text, sizeof(text), "%s.b", name);
    int32_t bias = add_constant(graph, text, shape1(to), 0.1f, seed);
    int32_t output = add_value(graph, name, LEGO_DTYPE_FLOAT32,
                               shape2(graph->values[input].shape.dim[0], to), -1);
    snprintf(text, sizeof(text), "%s.gemm", name);
    int32_t node = lego_graph_add_node(graph, text, LEGO_OP_Gemm, 3, 1, 1);
    must(node, text, NULL);
    struct lego_node *gemm = &graph->nodes[node];
    gemm->inputs[0] = input;
    gemm->inputs[1] = weight;
    gemm->inputs[2] = bias;
    gemm->outputs[0] = output;
    gemm->attrs[0] = (struct lego_attr){.name = "transB", .type = LEGO_ATTR_INT, .i = 1};
    if (relu) {
        gemm->activation = LEGO_ACT_CLAMP;
        gemm->act_lo = 0;
        gemm->act_hi = 3.0e38f;
    }
    return output;
}

static struct lego_package *begin(int32_t *ret_input)
{
    struct lego_package *package;
    must(lego_package_create(&package), "package", NULL);
    int32_t symbol = lego_graph_add_symbol(package->graph, "N");
    must(symbol, "symbol", NULL);
    *ret_input = add_value(package->graph, "x", LEGO_DTYPE_FLOAT32,
                           shape2(-1 - (int64_t)symbol, TINY_INPUTS), -1);
    must(lego_graph_add_input(package->graph, *ret_input), "input", NULL);
    return package;
}

static void finish(struct lego_package *package, const char *path)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t bytes;
    must(lego_graph_check(package->graph, &diag), "check", &diag);
    must(lego_package_write(package, path, &bytes, &diag), path, &diag);
    lego_package_destroy(package);
}

static struct lego_package *make_tiny(uint32_t seed)
{
    static const char *labels[] = {"zero", "one", "two", "three", "four"};
    int32_t input;
    struct lego_package *package = begin(&input);
    seed = seed * 2654435761u + 1;
    int32_t output = add_gemm(package->graph, "y", input, TINY_INPUTS, TINY_OUTPUTS, false, &seed);
    must(lego_graph_add_output(package->graph, output), "output", NULL);
    package->label_count = TINY_OUTPUTS;
    package->labels = labels;
    must(lego_package_set_metadata(package, "codec", "none"), "metadata", NULL);
    return package;
}

void model_tiny(const char *path, uint32_t seed)
{
    finish(make_tiny(seed), path);
}

void model_described(const char *path, const char *postprocess)
{
    struct lego_package *package = make_tiny(1);
    must(lego_package_set_metadata(package, "postprocess", postprocess), "metadata", NULL);
    finish(package, path);
}

void model_coded(const char *path, uint32_t seed)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encode_report report = {0};
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .brick_rows = 4,
                                           .brick_columns = 4,
                                           .catalogue_entries = 16,
                                           .threads = 1};
    struct lego_package *package = make_tiny(seed);
    must(encode_package(package, &options, &report, &diag), "encode", &diag);
    encode_report_clear(&report);
    finish(package, path);
}

void model_large(const char *path, uint32_t width, uint32_t layers)
{
    int32_t value;
    uint32_t seed = 7;
    struct lego_package *package = begin(&value);
    value = add_gemm(package->graph, layers ? "h" : "y", value, TINY_INPUTS, width, true, &seed);
    for (uint32_t i = 0; i < layers; i++) {
        char name[16];
        snprintf(name, sizeof(name), i + 1 == layers ? "y" : "h%u", i);
        value = add_gemm(package->graph, name, value, width, width, true, &seed);
    }
    must(lego_graph_add_output(package->graph, value), "output", NULL);
    finish(package, path);
}

struct lego_package *model_pair_package(void)
{
    struct lego_package *package;
    must(lego_package_create(&package), "package", NULL);
    struct lego_graph *graph = package->graph;
    int32_t a = add_value(graph, "a", LEGO_DTYPE_FLOAT32, shape1(2), -1);
    int32_t b = add_value(graph, "b", LEGO_DTYPE_FLOAT32, shape1(2), -1);
    int32_t n = add_value(graph, "n", LEGO_DTYPE_INT64, shape1(1), -1);
    int32_t sum = add_value(graph, "sum", LEGO_DTYPE_FLOAT32, shape1(2), -1);
    int32_t m = add_value(graph, "m", LEGO_DTYPE_FLOAT32, shape1(1), -1);
    int32_t node = lego_graph_add_node(graph, "add", LEGO_OP_Add, 2, 1, 0);
    must(node, "add", NULL);
    graph->nodes[node].inputs[0] = a;
    graph->nodes[node].inputs[1] = b;
    graph->nodes[node].outputs[0] = sum;
    node = lego_graph_add_node(graph, "cast", LEGO_OP_Cast, 1, 1, 1);
    must(node, "cast", NULL);
    graph->nodes[node].inputs[0] = n;
    graph->nodes[node].outputs[0] = m;
    graph->nodes[node].attrs[0] =
        (struct lego_attr){.name = "to", .type = LEGO_ATTR_INT, .i = LEGO_DTYPE_FLOAT32};
    must(lego_graph_add_input(graph, a), "a", NULL);
    must(lego_graph_add_input(graph, b), "b", NULL);
    must(lego_graph_add_input(graph, n), "n", NULL);
    must(lego_graph_add_output(graph, sum), "sum", NULL);
    must(lego_graph_add_output(graph, m), "m", NULL);
    return package;
}

void model_pair(const char *path)
{
    finish(model_pair_package(), path);
}

void model_mixed(const char *path)
{
    int32_t input;
    struct lego_package *package = begin(&input);
    struct lego_graph *graph = package->graph;
    const struct lego_shape shape = graph->values[input].shape;
    int32_t output = add_value(graph, "y", LEGO_DTYPE_FLOAT32, shape, -1);
    int32_t node = lego_graph_add_node(graph, "softmax", LEGO_OP_Softmax, 1, 1, 1);
    must(node, "softmax", NULL);
    graph->nodes[node].inputs[0] = input;
    graph->nodes[node].outputs[0] = output;
    graph->nodes[node].attrs[0] = (struct lego_attr){.name = "axis", .type = LEGO_ATTR_INT, .i = 0};
    must(lego_graph_add_output(graph, output), "output", NULL);
    finish(package, path);
}

struct lego_preprocess model_echo_preprocess(void)
{
    return (struct lego_preprocess){.present = true,
                                    .channels = 3,
                                    .width = ECHO_WIDTH,
                                    .height = ECHO_HEIGHT,
                                    .scale = 1.0f / 255,
                                    .std = {1, 1, 1, 1},
                                    .resize = LEGO_RESIZE_LETTERBOX,
                                    .pad_value = 51};
}

static struct lego_package *make_echo(void)
{
    struct lego_package *package;
    must(lego_package_create(&package), "package", NULL);
    struct lego_graph *graph = package->graph;
    int32_t symbol = lego_graph_add_symbol(graph, "N");
    must(symbol, "symbol", NULL);
    struct lego_shape shape = {.rank = 4,
                               .dim = {-1 - (int64_t)symbol, 3, ECHO_HEIGHT, ECHO_WIDTH}};
    int32_t x = add_value(graph, "x", LEGO_DTYPE_FLOAT32, shape, -1);
    int32_t y = add_value(graph, "y", LEGO_DTYPE_FLOAT32, shape, -1);
    int32_t node = lego_graph_add_node(graph, "relu", LEGO_OP_Relu, 1, 1, 0);
    must(node, "relu", NULL);
    graph->nodes[node].inputs[0] = x;
    graph->nodes[node].outputs[0] = y;
    must(lego_graph_add_input(graph, x), "x", NULL);
    must(lego_graph_add_output(graph, y), "y", NULL);
    package->preprocess = model_echo_preprocess();
    return package;
}

void model_echo(const char *path)
{
    finish(make_echo(), path);
}

void model_colors(const char *path)
{
    static const char *labels[] = {"red", "green", "blue"};
    struct lego_package *package = make_echo();
    package->label_count = 3;
    package->labels = labels;
    must(
        lego_package_set_metadata(
            package, "postprocess",
            "{\"heads\": [{\"kind\": \"segmentation\", \"name\": \"colors\", \"output\": \"y\"}]}"),
        "metadata", NULL);
    finish(package, path);
}
