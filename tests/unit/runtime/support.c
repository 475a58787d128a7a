#include "tests/unit/runtime/support.h"

#include "codec/graph/infer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t random_next(struct random *random)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random->state >> 33);
}

uint32_t random_below(struct random *random, uint32_t bound)
{
    return random_next(random) % bound;
}

float random_float(struct random *random)
{
    return (float)random_below(random, 20001) / 10000.0f - 1.0f;
}

struct lego_shape shape_of(int rank, ...)
{
    struct lego_shape shape = {.rank = rank};
    va_list list;

    va_start(list, rank);
    for (int i = 0; i < rank; i++)
        shape.dim[i] = va_arg(list, int);
    va_end(list);
    return shape;
}

struct lego_package *build_package(void)
{
    struct lego_package *package;

    ck_assert_int_eq(lego_package_create(&package), LEGO_OK);
    return package;
}

int32_t build_input(struct lego_package *package, const char *name, struct lego_shape shape)
{
    int32_t value = lego_graph_add_value(package->graph, name, LEGO_DTYPE_FLOAT32, &shape);

    ck_assert_int_ge(value, 0);
    ck_assert_int_eq(lego_graph_add_input(package->graph, value), LEGO_OK);
    return value;
}

static int32_t build_tensor(struct lego_package *package, struct lego_shape shape,
                            enum lego_dtype dtype, const void *data)
{
    struct lego_graph *graph = package->graph;
    char name[32];
    int32_t tensor, value;
    size_t elems;

    snprintf(name, sizeof(name), "c%u", graph->value_count);
    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_OK);
    tensor = lego_graph_add_tensor(graph, name, dtype, &shape);
    ck_assert_int_ge(tensor, 0);
    graph->tensors[tensor].bytes = elems * lego_dtype_bytes(dtype);
    graph->tensors[tensor].data =
        lego_arena_memdup(graph->arena, data, graph->tensors[tensor].bytes);
    value = lego_graph_add_value(graph, name, dtype, &shape);
    ck_assert_int_ge(value, 0);
    graph->values[value].tensor = tensor;
    return value;
}

int32_t build_constant(struct lego_package *package, struct lego_shape shape, const float *data)
{
    return build_tensor(package, shape, LEGO_DTYPE_FLOAT32, data);
}

int32_t build_random(struct lego_package *package, struct lego_shape shape, struct random *random)
{
    size_t elems;
    float *data;
    int32_t value;

    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_OK);
    data = malloc((elems + 1) * sizeof(*data));
    for (size_t i = 0; i < elems; i++)
        data[i] = random_float(random);
    value = build_constant(package, shape, data);
    free(data);
    return value;
}

int32_t build_integers(struct lego_package *package, int count, ...)
{
    int64_t values[16];
    va_list list;

    va_start(list, count);
    for (int i = 0; i < count; i++)
        values[i] = va_arg(list, int);
    va_end(list);
    return build_tensor(package, shape_of(1, count), LEGO_DTYPE_INT64, values);
}

int32_t build_node(struct lego_package *package, enum lego_op op, ...)
{
    struct lego_graph *graph = package->graph;
    struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    int32_t inputs[16], node, value;
    uint32_t count = 0;
    char name[32];
    va_list list;

    va_start(list, op);
    while ((inputs[count] = va_arg(list, int32_t)) != -2)
        count++;
    va_end(list);
    snprintf(name, sizeof(name), "v%u", graph->value_count);
    value = lego_graph_add_value(graph, name, LEGO_DTYPE_UNKNOWN, &open);
    ck_assert_int_ge(value, 0);
    graph->values[value].tensor = -1;
    node = lego_graph_add_node(graph, name, op, count, 1, 8);
    ck_assert_int_ge(node, 0);
    memcpy(graph->nodes[node].inputs, inputs, count * sizeof(*inputs));
    graph->nodes[node].outputs[0] = value;
    graph->nodes[node].attr_count = 0;
    return value;
}

static struct lego_attr *build_attr(struct lego_package *package, const char *name,
                                    enum lego_attr_type type)
{
    struct lego_node *node = &package->graph->nodes[package->graph->node_count - 1];
    struct lego_attr *attr = &node->attrs[node->attr_count++];

    ck_assert_uint_le(node->attr_count, 8);
    attr->name = lego_arena_strdup(package->graph->arena, name);
    attr->type = type;
    return attr;
}

void build_ints(struct lego_package *package, const char *name, int count, ...)
{
    struct lego_attr *attr = build_attr(package, name, LEGO_ATTR_INTS);
    int64_t values[16];
    va_list list;

    va_start(list, count);
    for (int i = 0; i < count; i++)
        values[i] = va_arg(list, int);
    va_end(list);
    attr->ints = lego_arena_memdup(package->graph->arena, values, (size_t)count * sizeof(*values));
    attr->count = (size_t)count;
}

void build_int(struct lego_package *package, const char *name, int64_t value)
{
    build_attr(package, name, LEGO_ATTR_INT)->i = value;
}

void build_string(struct lego_package *package, const char *name, const char *text)
{
    struct lego_attr *attr = build_attr(package, name, LEGO_ATTR_STRING);

    attr->s = lego_arena_strdup(package->graph->arena, text);
    attr->count = strlen(text);
}

void build_act(struct lego_package *package, enum lego_activation act, float lo, float hi)
{
    struct lego_node *node = &package->graph->nodes[package->graph->node_count - 1];

    node->activation = act;
    node->act_lo = lo;
    node->act_hi = hi;
}

void build_output(struct lego_package *package, int32_t value)
{
    ck_assert_int_eq(lego_graph_add_output(package->graph, value), LEGO_OK);
}

void build_finish(struct lego_package *package)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_graph_infer(package->graph, &diag);

    ck_assert_msg(!status, "infer: %s", lego_diag_text(&diag, status));
}

static struct lego_catalogue *build_catalogue(struct lego_package *package, uint32_t index,
                                              const struct coding *coding, struct random *random)
{
    struct lego_arena *arena = package->graph->arena;
    size_t elems = (size_t)coding->entries * coding->brick_rows * coding->brick_columns;
    struct lego_catalogue *catalogue = &package->catalogues[index];
    float *data = lego_arena_calloc(arena, elems, sizeof(*data));
    int8_t *integers = lego_arena_calloc(arena, elems, 1);

    for (size_t i = 0; i < elems; i++) {
        data[i] = random_float(random);
        integers[i] = (int8_t)((int)random_below(random, 256) - 128);
    }
    *catalogue =
        (struct lego_catalogue){.id = index,
                                .dtype = coding->integers ? LEGO_DTYPE_INT8 : LEGO_DTYPE_FLOAT32,
                                .brick_rows = coding->brick_rows,
                                .brick_columns = coding->brick_columns,
                                .entries = coding->entries,
                                .scale = coding->integers ? 0.0078125f : 1.0f,
                                .data = coding->integers ? (void *)integers : data};
    return catalogue;
}

static void put_bits(uint8_t *stream, uint64_t at, uint32_t value, uint32_t bits)
{
    for (uint32_t i = 0; i < bits; i++, at++)
        stream[at / 8] |= (uint8_t)((value >> i & 1) << (at % 8));
}

static void build_stage(struct lego_package *package, struct lego_coded *coded, uint32_t s,
                        const struct coding *coding, struct random *random)
{
    struct lego_stage *stage = &coded->stages[s];
    uint32_t columns = lego_coded_brick_columns(coded), tiles = lego_coded_tiles(coded);
    uint32_t tile_bricks = lego_coded_tile_brick_rows(coded, 0) * columns;
    uint8_t *stream;

    stage->catalogue = build_catalogue(package, package->catalogue_count++, coding, random);
    while (1u << stage->index_bits < coding->entries)
        stage->index_bits++;
    stage->tile_stride_bytes = ((size_t)tile_bricks * stage->index_bits + 7) / 8;
    stage->stream_bytes =
        stage->tile_stride_bytes * (tiles - 1) +
        ((size_t)lego_coded_tile_brick_rows(coded, tiles - 1) * columns * stage->index_bits + 7) /
            8;
    stream = lego_arena_calloc(package->graph->arena, stage->stream_bytes + 16, 1);
    for (uint32_t tile = 0; tile < tiles; tile++) {
        uint32_t bricks = lego_coded_tile_brick_rows(coded, tile) * columns;
        for (uint32_t i = 0; i < bricks; i++)
            put_bits(stream + tile * stage->tile_stride_bytes, (uint64_t)i * stage->index_bits,
                     random_below(random, coding->entries), stage->index_bits);
    }
    stage->stream = stream;
}

static uint32_t *build_permutation(struct lego_arena *arena, uint32_t count, struct random *random)
{
    uint32_t *permutation = lego_arena_calloc(arena, count, sizeof(*permutation));

    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = random_below(random, i + 1);
        permutation[i] = permutation[j];
        permutation[j] = i;
    }
    return permutation;
}

void build_coded(struct lego_package *package, int32_t value, const struct coding *coding,
                 struct random *random)
{
    struct lego_graph *graph = package->graph;
    struct lego_tensor *tensor = &graph->tensors[graph->values[value].tensor];
    struct lego_coded *coded = lego_arena_calloc(graph->arena, 1, sizeof(*coded));
    uint16_t *scales;

    if (!package->catalogues)
        package->catalogues = lego_arena_calloc(graph->arena, 64, sizeof(*package->catalogues));
    *coded = (struct lego_coded){.view = coding->view,
                                 .column_order = coding->order,
                                 .groups = coding->groups,
                                 .brick_rows = coding->brick_rows,
                                 .brick_columns = coding->brick_columns,
                                 .tile_rows = coding->tile_rows,
                                 .stage_count = coding->stages,
                                 .scale_kind = coding->scale,
                                 .layer_scale = 0.75f};
    ck_assert_int_eq(lego_matrix_shape(&tensor->shape, coding->view, coding->groups, &coded->rows,
                                       &coded->columns, &coded->taps),
                     LEGO_OK);
    scales = lego_arena_calloc(graph->arena, coded->rows, sizeof(*scales));
    for (uint32_t i = 0; i < coded->rows; i++)
        scales[i] = (uint16_t)(0x3800 + random_below(random, 0x400)); /* 0.5 to 1 */
    coded->row_scales = scales;
    if (coding->permute)
        coded->permutation = build_permutation(graph->arena, coded->columns, random);
    for (uint32_t s = 0; s < coding->stages; s++)
        build_stage(package, coded, s, coding, random);
    tensor->coded = coded;
    tensor->data = NULL;
}

struct lego_io *make_inputs(const struct lego_model *model, const struct lego_shape *shapes,
                            struct random *random)
{
    uint32_t count = lego_model_input_count(model);
    struct lego_io *inputs = calloc(count + 1, sizeof(*inputs));

    for (uint32_t i = 0; i < count; i++) {
        size_t elems;
        inputs[i].dtype = LEGO_DTYPE_FLOAT32;
        inputs[i].shape = shapes ? shapes[i] : lego_model_input(model, i)->shape;
        ck_assert_int_eq(lego_shape_elems(&inputs[i].shape, &elems), LEGO_OK);
        inputs[i].bytes = elems * sizeof(float);
        inputs[i].data = malloc(inputs[i].bytes + 1);
        for (size_t k = 0; k < elems; k++)
            ((float *)inputs[i].data)[k] = random_float(random);
    }
    return inputs;
}

void free_inputs(struct lego_io *inputs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(inputs[i].data);
    free(inputs);
}

/* The constants of a graph as arrays, coded ones decoded. */
static void reference_constant(const struct lego_graph *graph, int32_t value,
                               struct lego_array *array)
{
    const struct lego_tensor *tensor = &graph->tensors[graph->values[value].tensor];

    *array = (struct lego_array){.dtype = tensor->dtype, .shape = tensor->shape};
    array->data = malloc(tensor->bytes + 1);
    if (tensor->coded)
        ck_assert_int_eq(
            lego_coded_decode(tensor, array->data, tensor->bytes / sizeof(float), NULL), LEGO_OK);
    else if (tensor->bytes)
        memcpy(array->data, tensor->data, tensor->bytes);
}

static void reference_node(const struct lego_graph *graph, const struct lego_node *node,
                           struct lego_array *arrays)
{
    const struct lego_array *inputs[16] = {NULL};
    struct lego_array outputs[16] = {{0}};
    struct lego_arena *scratch = lego_arena_create(0);
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status;

    for (uint32_t i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i] < 0 ? NULL : &arrays[node->inputs[i]];
    for (uint32_t i = 0; i < node->output_count; i++) {
        const struct lego_value *value = &graph->values[node->outputs[i]];
        size_t elems;
        ck_assert_int_eq(lego_shape_elems(&value->shape, &elems), LEGO_OK);
        outputs[i] = (struct lego_array){.dtype = value->dtype, .shape = value->shape};
        outputs[i].data = malloc(elems * lego_dtype_bytes(value->dtype) + 1);
        arrays[node->outputs[i]] = outputs[i];
    }
    status = lego_eval_node(graph, node, inputs, outputs, scratch, &diag);
    ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
    lego_arena_destroy(scratch);
}

struct lego_io *reference_run(const struct lego_graph *source, const struct lego_io *inputs)
{
    struct lego_shape shapes[16];
    struct lego_graph *graph;
    struct lego_array *arrays;
    struct lego_io *outputs;

    for (uint32_t i = 0; i < source->input_count; i++)
        shapes[i] = inputs[i].shape;
    ck_assert_int_eq(lego_graph_specialise(source, shapes, &graph, NULL), LEGO_OK);
    arrays = calloc(graph->value_count + 1, sizeof(*arrays));
    outputs = calloc(graph->output_count + 1, sizeof(*outputs));
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].tensor >= 0)
            reference_constant(graph, (int32_t)i, &arrays[i]);
    for (uint32_t i = 0; i < graph->input_count; i++)
        arrays[graph->inputs[i]] = (struct lego_array){
            .dtype = inputs[i].dtype,
            .shape = inputs[i].shape,
            .data = memcpy(malloc(inputs[i].bytes + 1), inputs[i].data, inputs[i].bytes)};
    for (uint32_t i = 0; i < graph->node_count; i++)
        reference_node(graph, &graph->nodes[i], arrays);
    for (uint32_t i = 0; i < graph->output_count; i++) {
        const struct lego_array *array = &arrays[graph->outputs[i]];
        size_t elems;
        ck_assert_int_eq(lego_shape_elems(&array->shape, &elems), LEGO_OK);
        outputs[i] = (struct lego_io){.dtype = array->dtype,
                                      .shape = array->shape,
                                      .bytes = elems * lego_dtype_bytes(array->dtype)};
        outputs[i].data = memcpy(malloc(outputs[i].bytes + 1), array->data, outputs[i].bytes);
    }
    for (uint32_t i = 0; i < graph->value_count; i++)
        free(arrays[i].data);
    free(arrays);
    lego_graph_destroy(graph);
    return outputs;
}

void compare_outputs(const struct lego_io *want, const struct lego_io *have, uint32_t count,
                     double tolerance, const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        const float *a = want[i].data, *b = have[i].data;
        double largest = 0, error = 0;
        char shapes[2][128];
        ck_assert_msg(lego_shape_equal(&want[i].shape, &have[i].shape), "%s: shape %s, not %s",
                      what, lego_shape_format(&have[i].shape, NULL, shapes[0], 128),
                      lego_shape_format(&want[i].shape, NULL, shapes[1], 128));
        ck_assert_int_eq(want[i].dtype, have[i].dtype);
        if (want[i].dtype != LEGO_DTYPE_FLOAT32 || tolerance == 0) {
            ck_assert_msg(!memcmp(a, b, want[i].bytes), "%s: output %u differs", what, i);
            continue;
        }
        for (size_t k = 0; k < want[i].bytes / sizeof(float); k++) {
            double difference = fabs((double)a[k] - (double)b[k]);
            largest = fmax(largest, fabs((double)a[k]));
            error = isnan(difference) ? INFINITY : fmax(error, difference);
        }
        ck_assert_msg(error <= tolerance * fmax(largest, 1e-3), "%s: output %u is off by %g of %g",
                      what, i, error, largest);
    }
}

static void check_threads(struct lego_model *model, const struct lego_io *inputs,
                          const struct lego_io *want, double tolerance, const char *what)
{
    uint32_t count = lego_model_output_count(model);
    struct lego_io *first = calloc(count + 1, sizeof(*first));
    struct lego_session *sessions[2];

    for (uint32_t threads = 1; threads <= 4; threads++) {
        struct lego_session_options options = {.threads = threads};
        struct lego_diag diag = LEGO_DIAG_INIT;
        struct lego_io *have = calloc(count + 1, sizeof(*have));
        int status = lego_session_create(model, &options, &sessions[threads > 1], &diag);
        ck_assert_int_eq(status, LEGO_OK);
        status = lego_session_run(sessions[threads > 1], inputs, lego_model_input_count(model),
                                  have, count, &diag);
        ck_assert_msg(!status, "%s: %s", what, lego_diag_text(&diag, status));
        compare_outputs(want, have, count, tolerance, what);
        if (threads == 1) /* the first session stays open: its outputs lie in it */
            memcpy(first, have, count * sizeof(*have));
        compare_outputs(first, have, count, 0, what);
        if (threads > 1)
            lego_session_destroy(sessions[1]);
        free(have);
    }
    lego_session_destroy(sessions[0]);
    free(first);
}

void check_build(build_fn build, const void *argument, const struct lego_shape *shapes,
                 uint64_t seed, double tolerance, const char *what)
{
    check_build_compute(build, argument, shapes, seed, tolerance, LEGO_COMPUTE_AUTO, what);
}

void check_build_compute(build_fn build, const void *argument, const struct lego_shape *shapes,
                         uint64_t seed, double tolerance, enum lego_compute compute,
                         const char *what)
{
    const enum lego_resident residents[2] = {LEGO_RESIDENT_CODED, LEGO_RESIDENT_PANELS};

    for (int i = 0; i < 2; i++) {
        struct lego_model_options options = {.resident = residents[i], .compute = compute};
        struct random random = {seed};
        struct lego_diag diag = LEGO_DIAG_INIT;
        struct lego_package *package = build(&random, argument);
        struct lego_io *inputs, *want;
        struct lego_model *model;
        int status = lego_model_from_package(package, &options, &model, &diag);
        ck_assert_msg(!status, "%s: %s", what, lego_diag_text(&diag, status));
        inputs = make_inputs(model, shapes, &random);
        want = reference_run(lego_model_package(model)->graph, inputs);
        check_threads(model, inputs, want, tolerance, what);
        free_inputs(inputs, lego_model_input_count(model));
        free_inputs(want, lego_model_output_count(model));
        lego_model_close(model);
    }
}

uint32_t count_steps(build_fn build, const void *argument, uint64_t seed, const char *op)
{
    struct lego_session_options options = {.threads = 1};
    struct random random = {seed};
    struct lego_diag diag = LEGO_DIAG_INIT;
    const struct lego_step_time *steps;
    struct lego_session *session;
    struct lego_model *model;
    struct lego_io *inputs, outputs[2] = {{0}};
    uint32_t count, found = 0, input_count;

    ck_assert_int_eq(lego_model_from_package(build(&random, argument), NULL, &model, &diag),
                     LEGO_OK);
    input_count = lego_model_input_count(model);
    inputs = make_inputs(model, NULL, &random);
    ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    lego_session_profile(session, true);
    ck_assert_int_eq(lego_session_run(session, inputs, input_count, outputs,
                                      lego_model_output_count(model), &diag),
                     LEGO_OK);
    steps = lego_session_steps(session, &count);
    for (uint32_t i = 0; i < count; i++)
        found += !op || !strcmp(steps[i].op, op);
    lego_session_destroy(session);
    free_inputs(inputs, input_count);
    lego_model_close(model);
    return found;
}
