#include "tests/unit/encode/models.h"

#include "codec/encode/random.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct lego_package *model_create(void)
{
    struct lego_package *package;
    const struct lego_shape shape = {.rank = LEGO_RANK_UNKNOWN};

    ck_assert_int_eq(lego_package_create(&package), LEGO_OK);
    const int32_t x = lego_graph_add_value(package->graph, "x", LEGO_DTYPE_FLOAT32, &shape);
    ck_assert_int_ge(x, 0);
    package->graph->values[x].tensor = -1;
    ck_assert_int_eq(lego_graph_add_input(package->graph, x), LEGO_OK);
    return package;
}

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 1469598103934665603u;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

int32_t model_constant(struct lego_package *package, const char *name, double spread, int rank,
                       const int64_t *dims)
{
    struct lego_graph *graph = package->graph;
    struct lego_shape shape = {.rank = rank};
    struct encode_random random;

    memcpy(shape.dim, dims, (size_t)rank * sizeof(*dims));
    const int32_t tensor = lego_graph_add_tensor(graph, name, LEGO_DTYPE_FLOAT32, &shape);
    ck_assert_int_ge(tensor, 0);
    float *data = lego_arena_calloc(graph->arena, graph->tensors[tensor].bytes, 1);
    ck_assert_ptr_nonnull(data);
    encode_random_seed(&random, hash_name(name));
    for (size_t i = 0; i < graph->tensors[tensor].bytes / sizeof(float); i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++)
            sum += encode_random_unit(&random);
        data[i] = (float)(spread * sum);
    }
    graph->tensors[tensor].data = data;
    const int32_t value = lego_graph_add_value(graph, name, LEGO_DTYPE_FLOAT32, &shape);
    ck_assert_int_ge(value, 0);
    graph->values[value].tensor = tensor;
    return value;
}

void model_node(struct lego_package *package, const char *name, enum lego_op op, int32_t constant,
                const char *attr, int64_t attr_value)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    char output[64];
    const int32_t before =
        graph->node_count > 0 ? graph->nodes[graph->node_count - 1].outputs[0] : graph->inputs[0];

    snprintf(output, sizeof(output), "%s.out", name);
    const int32_t value = lego_graph_add_value(graph, output, LEGO_DTYPE_FLOAT32, &open);
    const int32_t index = lego_graph_add_node(graph, name, op, 2, 1, attr ? 1 : 0);
    ck_assert(value >= 0 && index >= 0);
    struct lego_node *node = &graph->nodes[index];
    graph->values[value].tensor = -1;
    node->inputs[0] = before;
    node->inputs[1] = constant;
    node->outputs[0] = value;
    if (attr)
        node->attrs[0] = (struct lego_attr){.name = attr, .type = LEGO_ATTR_INT, .i = attr_value};
}

void model_finish(struct lego_package *package)
{
    struct lego_graph *graph = package->graph;

    ck_assert_int_eq(lego_graph_add_output(graph, graph->nodes[graph->node_count - 1].outputs[0]),
                     LEGO_OK);
}

struct lego_package *model_small(void)
{
    struct lego_package *p = model_create();
    const int64_t stem[] = {16, 3, 3, 3}, dw[] = {16, 1, 3, 3}, pw[] = {24, 16, 1, 1};
    const int64_t fc[] = {10, 24}, out[] = {10, 7};

    model_node(p, "stem", LEGO_OP_Conv, model_constant(p, "stem.w", 0.3, 4, stem), NULL, 0);
    model_node(p, "dw", LEGO_OP_Conv, model_constant(p, "dw.w", 0.5, 4, dw), "group", 16);
    model_node(p, "pw", LEGO_OP_Conv, model_constant(p, "pw.w", 0.1, 4, pw), NULL, 0);
    model_node(p, "fc", LEGO_OP_Gemm, model_constant(p, "fc.w", 0.2, 2, fc), "transB", 1);
    model_node(p, "out", LEGO_OP_MatMul, model_constant(p, "out.w", 1, 2, out), NULL, 0);
    model_finish(p);
    return p;
}

const struct lego_tensor *model_tensor(const struct lego_package *package, const char *name)
{
    const struct lego_graph *graph = package->graph;

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        if (strcmp(graph->tensors[i].name, name) == 0)
            return &graph->tensors[i];
    }
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

float *model_data(struct lego_package *package, const char *name)
{
    return (float *)model_tensor(package, name)->data;
}
