/*
 * Calibration of layers that are no pictures' convolutions: at the same size, what a network puts
 * out on examples that were not calibrated with is nearer to the full weights' than where each
 * weight is coded by its own error.
 */
#include "agent/runtime/kern_init.h"
#include "codec/encode/encode.h"
#include "codec/encode/portable.h"
#include "codec/graph/infer.h"
#include "tests/unit/encode/models.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLES 32
#define HELD_OUT 12 /* that come after them */
#define BY_ITSELF                                                                       \
    (ENCODE_WITHOUT(SENSITIVITY) | ENCODE_WITHOUT(SEQUENCE) | ENCODE_WITHOUT(TARGETS) | \
     ENCODE_WITHOUT(FEEDBACK) | ENCODE_WITHOUT(SCALES) | ENCODE_WITHOUT(BIAS))

enum { STEPS = 14, INPUTS = 24 };

/* A network of one node and a head. */
struct network {
    const char *name;
    enum lego_op op;
    int64_t directions;
    bool reset_after, batch_first, lengths, bias;
    int64_t hidden;
    enum encode_codec codec;
    uint64_t bytes; /* of its weights */
};

static const struct network NETWORKS[] = {
    {"LSTM", LEGO_OP_LSTM, 1, false, false, false, true, 32, ENCODE_CODEC_BRICKS, 3800},
    {"LSTM of two directions", LEGO_OP_LSTM, 2, false, false, false, true, 32, ENCODE_CODEC_SMALL,
     4200},
    {"GRU", LEGO_OP_GRU, 1, false, true, false, true, 32, ENCODE_CODEC_SMALL, 1700},
    {"GRU of two directions", LEGO_OP_GRU, 2, false, false, false, true, 20, ENCODE_CODEC_BRICKS,
     2750},
    {"GRU with the reset behind", LEGO_OP_GRU, 2, true, false, true, false, 32, ENCODE_CODEC_BRICKS,
     5600},
    {"RNN", LEGO_OP_RNN, 1, false, false, false, true, 32, ENCODE_CODEC_BRICKS, 1300},
    {"3-D convolution", LEGO_OP_Conv, 0, false, false, false, true, 32, ENCODE_CODEC_BRICKS, 4200},
    {"3-D convolution, small", LEGO_OP_Conv, 0, false, false, false, true, 32, ENCODE_CODEC_SMALL,
     2500},
    {"transposed 3-D convolution", LEGO_OP_ConvTranspose, 0, false, false, false, true, 32,
     ENCODE_CODEC_SMALL, 4800},
};

static struct lego_shape input_shape(const struct network *n)
{
    if (n->directions == 0)
        return (struct lego_shape){.rank = 5, .dim = {1, 8, 4, 6, 6}};
    return n->batch_first ? (struct lego_shape){.rank = 3, .dim = {2, STEPS, INPUTS}}
                          : (struct lego_shape){.rank = 3, .dim = {STEPS, 2, INPUTS}};
}

/* What layers are given more inputs by than model_node knows. */
static struct lego_node *widen(struct lego_package *package, uint32_t inputs, uint32_t attrs)
{
    struct lego_graph *graph = package->graph;
    struct lego_node *node = &graph->nodes[graph->node_count - 1];
    int32_t *wide = lego_arena_calloc(graph->arena, inputs, sizeof(*wide));

    ck_assert_ptr_nonnull(wide);
    for (uint32_t i = 0; i < inputs; i++)
        wide[i] = i < node->input_count ? node->inputs[i] : -1;
    node->inputs = wide;
    node->input_count = inputs;
    node->attrs = lego_arena_calloc(graph->arena, attrs + 1, sizeof(*node->attrs));
    ck_assert_ptr_nonnull(node->attrs);
    node->attr_count = 0;
    return node;
}

static void add_attr(struct lego_node *node, struct lego_attr attr)
{
    node->attrs[node->attr_count++] = attr;
}

static int32_t int32_constant(struct lego_package *package, const char *name, int32_t a, int32_t b)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape shape = {.rank = 1, .dim = {2}};
    const int32_t tensor = lego_graph_add_tensor(graph, name, LEGO_DTYPE_INT32, &shape);
    const int32_t value = lego_graph_add_value(graph, name, LEGO_DTYPE_INT32, &shape);
    const int32_t data[] = {a, b};

    ck_assert(tensor >= 0 && value >= 0);
    graph->tensors[tensor].data = lego_arena_memdup(graph->arena, data, sizeof(data));
    graph->values[value].tensor = tensor;
    return value;
}

static void add_recurrent(struct lego_package *package, const struct network *n)
{
    static const char both[] = "bidirectional";
    const int64_t gates = n->op == LEGO_OP_LSTM ? 4 : n->op == LEGO_OP_GRU ? 3 : 1;
    const int64_t w[] = {n->directions, gates * n->hidden, INPUTS};
    const int64_t r[] = {n->directions, gates * n->hidden, n->hidden};
    const int64_t b[] = {n->directions, 2 * gates * n->hidden};

    model_node(package, "rnn", n->op, model_constant(package, "w", 0.35, 3, w), NULL, 0);
    struct lego_node *node = widen(package, 5, 4);
    node->inputs[2] = model_constant(package, "r", 0.25, 3, r);
    node->inputs[3] = n->bias ? model_constant(package, "b", 0.2, 2, b) : -1;
    node->inputs[4] = n->lengths ? int32_constant(package, "lengths", STEPS, STEPS / 2) : -1;
    add_attr(node,
             (struct lego_attr){.name = "hidden_size", .type = LEGO_ATTR_INT, .i = n->hidden});
    if (n->batch_first)
        add_attr(node, (struct lego_attr){.name = "layout", .type = LEGO_ATTR_INT, .i = 1});
    if (n->reset_after)
        add_attr(node,
                 (struct lego_attr){.name = "linear_before_reset", .type = LEGO_ATTR_INT, .i = 1});
    if (n->directions == 2)
        add_attr(node, (struct lego_attr){.name = "direction",
                                          .type = LEGO_ATTR_STRING,
                                          .s = both,
                                          .count = sizeof(both) - 1});
}

static void add_convolutions(struct lego_package *package, const struct network *n)
{
    static const int64_t pads[] = {1, 1, 1, 1, 1, 1};
    static const int64_t first[] = {16, 8, 3, 3, 3}, turned[] = {8, 16, 3, 3, 3},
                         second[] = {16, 16, 3, 3, 3};

    for (int i = 0; i < 2; i++) {
        const int32_t weight = i > 0 ? model_constant(package, "conv2.w", 0.05, 5, second)
                                     : model_constant(package, "conv1.w", 0.1, 5,
                                                      n->op == LEGO_OP_Conv ? first : turned);

        model_node(package, i ? "conv2" : "conv1", n->op, weight, NULL, 0);
        struct lego_node *node = widen(package, 2, 1);
        add_attr(node, (struct lego_attr){
                           .name = "pads", .type = LEGO_ATTR_INTS, .ints = pads, .count = 6});
        node->activation = LEGO_ACT_CLAMP;
        node->act_lo = 0;
        node->act_hi = INFINITY;
    }
}

static struct lego_package *make_network(const struct network *n)
{
    struct lego_package *package = model_create();
    struct lego_diag diag = LEGO_DIAG_INIT;

    package->graph->values[package->graph->inputs[0]].shape = input_shape(n);
    if (n->directions > 0)
        add_recurrent(package, n);
    else
        add_convolutions(package, n);
    model_finish(package);
    const int status = lego_graph_infer(package->graph, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    return package;
}

/* Examples of few dimensions: what the layers see is far from alike in all directions. */
static int read_example(void *context, uint32_t index, uint32_t input, void *out, size_t bytes,
                        struct lego_diag *diag)
{
    enum { SOURCES = 5 };
    const size_t elems = bytes / sizeof(float), width = *(const size_t *)context;
    struct encode_random random, mixing;
    float *x = out, sources[SOURCES] = {0};

    (void)input;
    (void)diag;
    encode_random_seed(&random, 1000 + index);
    for (size_t at = 0; at < elems; at += width) {
        encode_random_seed(&mixing, 7);
        for (int s = 0; s < SOURCES; s++)
            sources[s] = 0.7f * sources[s] + (float)random_normal(&random);
        for (size_t i = 0; i < width; i++) {
            x[at + i] = 0.1f * (float)random_normal(&random);
            for (int s = 0; s < SOURCES; s++)
                x[at + i] += 0.5f * sources[s] * (float)random_normal(&mixing);
        }
    }
    return LEGO_OK;
}

/* Outputs of a package, coded or not, on the examples that were held out. */
static float *run(struct lego_package *package, const struct network *n, size_t *ret_elems)
{
    struct lego_graph *graph = package->graph;
    const struct lego_shape shape = input_shape(n);
    struct lego_diag diag = LEGO_DIAG_INIT;
    float *all = NULL;
    size_t elems, count = 0, width = (size_t)shape.dim[shape.rank - 1];

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        struct lego_tensor *tensor = &graph->tensors[i];
        float *dense;

        if (!tensor->coded)
            continue;
        dense = lego_arena_calloc(graph->arena, tensor->bytes, 1);
        ck_assert_ptr_nonnull(dense);
        ck_assert_int_eq(lego_coded_decode(tensor, dense, tensor->bytes / sizeof(float), &diag),
                         LEGO_OK);
        tensor->data = dense;
        tensor->coded = NULL;
    }
    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_OK);
    float *x = malloc(elems * sizeof(*x));
    for (uint32_t i = 0; i < HELD_OUT; i++) {
        struct lego_arena *arena = lego_arena_create(0);
        const struct lego_array input = {LEGO_DTYPE_FLOAT32, shape, x};
        struct lego_array output;

        read_example(&width, EXAMPLES + i, 0, x, elems * sizeof(*x), &diag);
        const int status = lego_graph_evaluate(graph, &input, &output, arena, &diag);
        ck_assert_msg(status == LEGO_OK, "%s", diag.text);
        ck_assert_int_eq(lego_shape_elems(&output.shape, &count), LEGO_OK);
        if (!all)
            all = malloc(HELD_OUT * count * sizeof(*all));
        ck_assert_ptr_nonnull(all);
        memcpy(all + i * count, output.data, count * sizeof(*all));
        lego_arena_destroy(arena);
    }
    free(x);
    *ret_elems = HELD_OUT * count;
    return all;
}

static float *run_compressed(const struct network *n, uint32_t without, uint32_t threads,
                             size_t *ret_elems)
{
    static struct kern_table kernels;
    const struct lego_shape shape = input_shape(n);
    const struct lego_array *known = NULL;
    size_t width = (size_t)shape.dim[shape.rank - 1];
    const struct encode_examples examples = {.count = EXAMPLES,
                                             .shapes = &shape,
                                             .known = &known,
                                             .read = read_example,
                                             .context = &width};
    struct encode_options options = {
        .codec = n->codec, .weight_bytes = n->bytes, .threads = threads, .without = without};
    struct lego_package *package = make_network(n), *original = make_network(n);
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encode_report report;

    ck_assert_int_eq(kern_init(&kernels, "all", NULL), LEGO_OK);
    options.kernels = threads > 1 ? &kernels : NULL;
    int status = encode_session_create(original, &examples, &options, &options.session, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    status = encode_package(package, &options, &report, &diag);
    ck_assert_msg(status == LEGO_OK, "%s: %s", n->name, diag.text);
    ck_assert_int_eq(lego_graph_check(package->graph, &diag), LEGO_OK);
    ck_assert_uint_eq(report.layer_count, 2);
    for (uint32_t i = 0; i < report.layer_count; i++)
        ck_assert_msg(report.layers[i].calibrated, "%s: %s", n->name, report.layers[i].name);
    /* The small codec may save on biases what it spends on weights. */
    ck_assert_uint_le(report.bytes, n->bytes + (n->codec == ENCODE_CODEC_SMALL ? 512 : 0));
    float *outputs = run(package, n, ret_elems);
    encode_session_destroy(options.session);
    encode_report_clear(&report);
    lego_package_destroy(package);
    lego_package_destroy(original);
    return outputs;
}

static double difference(const float *a, const float *b, size_t count)
{
    double error = 0, energy = 0;

    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        energy += (double)a[i] * (double)a[i];
    }
    return sqrt(error / energy);
}

START_TEST(outputs_are_nearer_than_by_the_weights_own_error)
{
    const struct network *n = &NETWORKS[_i];
    struct lego_package *full = make_network(n);
    size_t count, elems;
    float *exact = run(full, n, &count);
    float *calibrated = run_compressed(n, 0, 1, &elems), *again, *alone;

    ck_assert_uint_eq(elems, count);
    again = run_compressed(n, 0, 3, &elems);
    ck_assert_mem_eq(calibrated, again, count * sizeof(*again));
    alone = run_compressed(n, BY_ITSELF, 1, &elems);
    const double with = difference(exact, calibrated, count);
    const double without = difference(exact, alone, count);
    ck_assert_msg(with < (n->directions > 0 ? 0.6 : 0.85) * without,
                  "%s: an error of %.4f, by itself %.4f", n->name, with, without);
    free(exact);
    free(calibrated);
    free(again);
    free(alone);
    lego_package_destroy(full);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("calibrate");
    TCase *tests = tcase_create("calibrate");

    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, outputs_are_nearer_than_by_the_weights_own_error, 0,
                        sizeof(NETWORKS) / sizeof(NETWORKS[0]));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
