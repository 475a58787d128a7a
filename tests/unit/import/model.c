#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t random_state = 1;

static float random_float(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / (float)(1 << 23) - 1;
}

void model_open(struct model *model, int64_t opset)
{
    *model = (struct model){.opset = opset};
}

void model_free(struct model *model)
{
    wire_out_clear(&model->graph);
    wire_out_clear(&model->node);
    free(model->bytes);
}

/* Takes the next part before a comma; false at the end. An empty text has one empty part. */
static bool next_part(const char **list, char part[64])
{
    if (!*list)
        return false;
    const char *comma = strchr(*list, ',');
    size_t length = comma ? (size_t)(comma - *list) : strlen(*list);
    ck_assert_uint_lt(length, 64);
    memcpy(part, *list, length);
    part[length] = '\0';
    *list = comma ? comma + 1 : NULL;
    return true;
}

static void put_message(struct wire_out *out, uint32_t number, struct wire_out *message)
{
    wire_put_bytes(out, number, message->data, message->bytes);
    wire_out_clear(message);
}

static void put_value_info(struct wire_out *out, uint32_t field, const char *name,
                           enum lego_dtype dtype, const char *dims)
{
    struct wire_out shape = {0}, tensor = {0}, type = {0}, info = {0};
    char part[64];
    while (*dims && next_part(&dims, part)) {
        struct wire_out dim = {0};
        if (part[0] == '-' || (part[0] >= '0' && part[0] <= '9'))
            wire_put_int(&dim, 1, atoll(part));
        else if (part[0] != '?')
            wire_put_text(&dim, 2, part);
        put_message(&shape, 1, &dim);
        if (!dims)
            break;
    }
    wire_put_int(&tensor, 1, dtype);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    wire_put_text(&info, 1, name);
    put_message(&info, 2, &type);
    put_message(out, field, &info);
}

void model_input(struct model *model, const char *name, enum lego_dtype dtype, const char *dims)
{
    put_value_info(&model->graph, 11, name, dtype, dims);
}

void model_output(struct model *model, const char *name)
{
    put_value_info(&model->graph, 12, name, LEGO_DTYPE_FLOAT32, "?");
}

void put_tensor(struct wire_out *out, const char *name, enum lego_dtype dtype, const char *dims,
                const void *data, size_t bytes)
{
    char part[64];
    while (dims && *dims && next_part(&dims, part))
        wire_put_int(out, 1, atoll(part));
    wire_put_int(out, 2, dtype);
    wire_put_text(out, 8, name);
    wire_put_bytes(out, 9, data, bytes);
}

static size_t count_elems(const char *dims)
{
    char part[64];
    size_t elems = 1;
    while (dims && *dims && next_part(&dims, part))
        elems *= (size_t)atoll(part);
    return elems;
}

static void put_initialiser(struct model *model, const char *name, enum lego_dtype dtype,
                            const char *dims, const void *data, size_t bytes)
{
    struct wire_out tensor = {0};
    put_tensor(&tensor, name, dtype, dims, data, bytes);
    put_message(&model->graph, 5, &tensor);
}

static void put_random(struct model *model, const char *name, const char *dims, float low)
{
    size_t elems = count_elems(dims);
    float *data = malloc(elems * sizeof *data);
    for (size_t i = 0; i < elems; i++)
        data[i] = low + random_float();
    put_initialiser(model, name, LEGO_DTYPE_FLOAT32, dims, data, elems * sizeof *data);
    free(data);
}

void model_floats(struct model *model, const char *name, const char *dims, const float *data)
{
    if (data)
        put_initialiser(model, name, LEGO_DTYPE_FLOAT32, dims, data,
                        count_elems(dims) * sizeof *data);
    else
        put_random(model, name, dims, 0);
}

void model_positive(struct model *model, const char *name, const char *dims)
{
    put_random(model, name, dims, 1.25f);
}

void model_ints(struct model *model, const char *name, const char *dims, const int64_t *data)
{
    put_initialiser(model, name, LEGO_DTYPE_INT64, dims, data, count_elems(dims) * sizeof *data);
}

void node_begin(struct model *model, const char *type, const char *inputs, const char *outputs)
{
    char part[64];
    while (inputs && next_part(&inputs, part))
        wire_put_text(&model->node, 1, part);
    while (outputs && next_part(&outputs, part))
        wire_put_text(&model->node, 2, part);
    wire_put_text(&model->node, 4, type);
}

static void put_attr(struct model *model, const char *name, enum lego_attr_type type,
                     struct wire_out *content)
{
    wire_put_text(content, 1, name);
    wire_put_int(content, 20, type);
    put_message(&model->node, 5, content);
}

void node_int(struct model *model, const char *name, int64_t value)
{
    struct wire_out attr = {0};
    wire_put_int(&attr, 3, value);
    put_attr(model, name, LEGO_ATTR_INT, &attr);
}

void node_ints(struct model *model, const char *name, size_t count, const int64_t *values)
{
    struct wire_out attr = {0};
    for (size_t i = 0; i < count; i++)
        wire_put_int(&attr, 8, values[i]);
    put_attr(model, name, LEGO_ATTR_INTS, &attr);
}

void node_float(struct model *model, const char *name, float value)
{
    struct wire_out attr = {0};
    wire_put_float(&attr, 2, value);
    put_attr(model, name, LEGO_ATTR_FLOAT, &attr);
}

void node_floats(struct model *model, const char *name, size_t count, const float *values)
{
    struct wire_out attr = {0};
    for (size_t i = 0; i < count; i++)
        wire_put_float(&attr, 7, values[i]);
    put_attr(model, name, LEGO_ATTR_FLOATS, &attr);
}

void node_string(struct model *model, const char *name, const char *value)
{
    struct wire_out attr = {0};
    wire_put_text(&attr, 4, value);
    put_attr(model, name, LEGO_ATTR_STRING, &attr);
}

void node_tensor(struct model *model, const char *name, enum lego_dtype dtype, const char *dims,
                 const void *data, size_t bytes)
{
    struct wire_out attr = {0}, tensor = {0};
    put_tensor(&tensor, "", dtype, dims, data, bytes);
    put_message(&attr, 5, &tensor);
    put_attr(model, name, LEGO_ATTR_TENSOR, &attr);
}

void node_graph(struct model *model, const char *name, struct model *subgraph)
{
    struct wire_out attr = {0};
    wire_put_bytes(&attr, 6, subgraph->graph.data, subgraph->graph.bytes);
    put_attr(model, name, LEGO_ATTR_GRAPH, &attr);
    model_free(subgraph);
}

void node_domain(struct model *model, const char *domain)
{
    wire_put_text(&model->node, 7, domain);
}

void node_end(struct model *model)
{
    put_message(&model->graph, 1, &model->node);
}

void model_node(struct model *model, const char *type, const char *inputs, const char *outputs)
{
    node_begin(model, type, inputs, outputs);
    node_end(model);
}

void model_finish(struct model *model)
{
    struct wire_out file = {0}, opset = {0};
    wire_put_int(&opset, 2, model->opset);
    wire_put_int(&file, 1, 8);
    put_message(&file, 8, &opset);
    wire_put_bytes(&file, 7, model->graph.data, model->graph.bytes);
    ck_assert(!file.failed);
    model->bytes = file.data;
    model->byte_count = file.bytes;
}

struct lego_package *model_import(struct model *model, bool keep_graph)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct import_options options = {.keep_graph = keep_graph};
    if (!model->bytes)
        model_finish(model);
    int status =
        import_onnx_memory(model->bytes, model->byte_count, "test", &options, &package, &diag);
    ck_assert_msg(status == 0, "%s", diag.text);
    ck_assert_msg(lego_graph_check(package->graph, &diag) == 0, "%s", diag.text);
    return package;
}

void model_refused(struct model *model, int status, const char *word)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    if (!model->bytes)
        model_finish(model);
    int got = import_onnx_memory(model->bytes, model->byte_count, "test", NULL, &package, &diag);
    ck_assert_msg(got == status, "%s, not %s: %s", lego_status_name(got), lego_status_name(status),
                  diag.text);
    ck_assert_ptr_null(package);
    ck_assert_int_eq(diag.status, status);
    ck_assert_msg(strstr(diag.text, word) != NULL, "no '%s' in: %s", word, diag.text);
}

unsigned count_nodes(const struct lego_graph *graph, enum lego_op op)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op == op;
    return count;
}

const struct lego_node *find_node(const struct lego_graph *graph, enum lego_op op)
{
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == op)
            return &graph->nodes[i];
    ck_abort_msg("no node %s", lego_op_name(op));
}

static void run_node(const struct lego_graph *graph, const struct lego_node *node,
                     struct lego_array *values, bool *known, struct lego_arena *arena)
{
    const struct lego_array *inputs[64] = {0};
    struct lego_array outputs[64] = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_uint_le(node->input_count, 64);
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] >= 0) {
            ck_assert(known[node->inputs[i]]);
            inputs[i] = &values[node->inputs[i]];
        }
    struct lego_arena *scratch = lego_arena_create(0);
    int status = lego_eval_node_alloc(graph, node, inputs, outputs, arena, scratch, &diag);
    lego_arena_destroy(scratch);
    ck_assert_msg(status == 0, "%s: %s", node->name, diag.text);
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] >= 0) {
            values[node->outputs[i]] = outputs[i];
            known[node->outputs[i]] = true;
        }
}

void run_graph(const struct lego_graph *graph, const struct lego_array *inputs,
               struct lego_array *ret_outputs, struct lego_arena *arena)
{
    struct lego_array *values = lego_arena_calloc(arena, graph->value_count, sizeof *values);
    bool *known = lego_arena_calloc(arena, graph->value_count, sizeof *known);
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].tensor >= 0) {
            const struct lego_tensor *tensor = &graph->tensors[graph->values[i].tensor];
            values[i] =
                (struct lego_array){tensor->dtype, tensor->shape, (void *)(uintptr_t)tensor->data};
            known[i] = true;
        }
    for (uint32_t i = 0; i < graph->input_count; i++) {
        values[graph->inputs[i]] = inputs[i];
        known[graph->inputs[i]] = true;
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        run_node(graph, &graph->nodes[i], values, known, arena);
    for (uint32_t i = 0; i < graph->output_count; i++) {
        ck_assert(known[graph->outputs[i]]);
        ret_outputs[i] = values[graph->outputs[i]];
    }
}

/* Fp32 inputs with every symbol 2. */
static void make_inputs(const struct lego_graph *graph, struct lego_array *inputs,
                        struct lego_shape *shapes, struct lego_arena *arena)
{
    for (uint32_t i = 0; i < graph->input_count; i++) {
        const struct lego_value *value = &graph->values[graph->inputs[i]];
        size_t elems = 1;
        shapes[i] = value->shape;
        for (int k = 0; k < shapes[i].rank; k++) {
            shapes[i].dim[k] = shapes[i].dim[k] < 0 ? 2 : shapes[i].dim[k];
            elems *= (size_t)shapes[i].dim[k];
        }
        ck_assert_int_eq(value->dtype, LEGO_DTYPE_FLOAT32);
        float *data = lego_arena_calloc(arena, elems, sizeof *data);
        for (size_t k = 0; k < elems; k++)
            data[k] = 4 * random_float();
        inputs[i] = (struct lego_array){value->dtype, shapes[i], data};
    }
}

static void compare(const struct lego_array *a, const struct lego_array *b)
{
    size_t elems;
    ck_assert_int_eq(a->dtype, b->dtype);
    ck_assert(lego_shape_equal(&a->shape, &b->shape));
    ck_assert_int_eq(lego_shape_elems(&a->shape, &elems), 0);
    if (a->dtype != LEGO_DTYPE_FLOAT32) {
        ck_assert_mem_eq(a->data, b->data, elems * lego_dtype_bytes(a->dtype));
        return;
    }
    const float *x = a->data, *y = b->data;
    float largest = 1e-3f;
    for (size_t i = 0; i < elems; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    for (size_t i = 0; i < elems; i++)
        ck_assert_msg(fabsf(x[i] - y[i]) <= 1e-5f * largest, "element %zu: %g and %g", i,
                      (double)x[i], (double)y[i]);
}

struct lego_package *model_compare(struct model *model)
{
    struct lego_package *plain = model_import(model, true), *fused = model_import(model, false);
    struct lego_package *both[2] = {plain, fused};
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_array inputs[8], outputs[2][8];
    struct lego_shape shapes[8];
    ck_assert_uint_le(plain->graph->input_count, 8);
    ck_assert_uint_eq(plain->graph->input_count, fused->graph->input_count);
    make_inputs(plain->graph, inputs, shapes, arena);
    struct lego_graph *graphs[2] = {NULL, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_msg(lego_graph_specialise(both[i]->graph, shapes, &graphs[i], &diag) == 0, "%s",
                      diag.text);
        run_graph(graphs[i], inputs, outputs[i], arena);
    }
    for (uint32_t i = 0; i < plain->graph->output_count; i++)
        compare(&outputs[0][i], &outputs[1][i]);
    for (size_t i = 0; i < 2; i++)
        lego_graph_destroy(graphs[i]);
    lego_arena_destroy(arena);
    lego_package_destroy(plain);
    return fused;
}
