/* Examples that are matched to a network's statistics. */
#include "agent/runtime/kern_init.h"
#include "codec/encode/calibrate_internal.h"
#include "codec/encode/random.h"
#include "tests/unit/encode/models.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 32
#define SIDE   16
#define LAYERS 5
#define ROWS   8
#define STEPS  30

/* Noise of a deviation and a mean: what the network "was trained on", and what it is shown. */
struct noise {
    float deviation, mean;
};

static int read_noise(void *context, uint32_t index, uint32_t input, void *data, size_t bytes,
                      struct lego_diag *diag)
{
    const struct noise *noise = context;
    struct encode_random random;
    float *to = data;

    (void)input;
    (void)diag;
    encode_random_seed(&random, 1000 + index);
    for (size_t i = 0; i < bytes / sizeof(*to); i++)
        to[i] = noise->mean + noise->deviation * (float)(encode_random_unit(&random) * 3.46 - 1.73);
    return LEGO_OK;
}

/* Gives a node a list of integers and what makes it a convolution behind a rectifier. */
static void set_node(struct lego_package *package, uint32_t index, bool rectified, int64_t pad,
                     int64_t stride, int64_t group)
{
    struct lego_arena *arena = package->graph->arena;
    struct lego_node *node = &package->graph->nodes[index];
    int64_t *pads = lego_arena_calloc(arena, 4, sizeof(*pads));
    int64_t *strides = lego_arena_calloc(arena, 2, sizeof(*strides));

    for (int i = 0; i < 4; i++)
        pads[i] = pad;
    strides[0] = strides[1] = stride;
    /* Two more for the statistics. */
    node->attrs = lego_arena_calloc(arena, 5, sizeof(*node->attrs));
    node->attrs[0] =
        (struct lego_attr){.name = "pads", .type = LEGO_ATTR_INTS, .ints = pads, .count = 4};
    node->attrs[1] =
        (struct lego_attr){.name = "strides", .type = LEGO_ATTR_INTS, .ints = strides, .count = 2};
    node->attrs[2] = (struct lego_attr){.name = "group", .type = LEGO_ATTR_INT, .i = group};
    node->attr_count = 3;
    if (rectified) {
        node->activation = LEGO_ACT_CLAMP;
        node->act_lo = 0;
        node->act_hi = INFINITY;
    }
}

static int32_t output_of(const struct lego_package *package, uint32_t node)
{
    return package->graph->nodes[node].outputs[0];
}

/*
 * All kinds of nodes that gradients go through: convolutions, plain, depthwise, strided and with a
 * residual, a pool, elements moved, a sum and a rectifier by itself.
 */
static struct lego_package *make_network(void)
{
    static const int64_t kernel[] = {2, 2};
    const struct lego_shape picture = {.rank = 4, .dim = {1, 3, SIDE, SIDE}};
    const int64_t a[] = {8, 3, 3, 3}, b[] = {8, 1, 3, 3}, c[] = {6, 2, 3, 3}, d[] = {6, 6, 1, 1};
    const int64_t e[] = {6, 6, 3, 3};
    struct lego_package *p = model_create();
    struct lego_diag diag = LEGO_DIAG_INIT;

    p->graph->values[p->graph->inputs[0]].shape = picture;
    model_node(p, "a", LEGO_OP_Conv, model_constant(p, "a.w", 0.3, 4, a), NULL, 0);
    set_node(p, 0, true, 1, 1, 1);
    model_node(p, "pool", LEGO_OP_MaxPool, -1, NULL, 0);
    set_node(p, 1, false, 0, 2, 1);
    p->graph->nodes[1].input_count = 1;
    p->graph->nodes[1].attrs[2] = (struct lego_attr){
        .name = "kernel_shape", .type = LEGO_ATTR_INTS, .ints = kernel, .count = 2};
    model_node(p, "b", LEGO_OP_Conv, model_constant(p, "b.w", 0.3, 4, b), NULL, 0);
    set_node(p, 2, true, 1, 1, 8);
    model_node(p, "move", LEGO_OP_DepthToSpace, -1, "blocksize", 2);
    p->graph->nodes[3].input_count = 1;
    model_node(p, "c", LEGO_OP_Conv, model_constant(p, "c.w", 0.3, 4, c), NULL, 0);
    set_node(p, 4, false, 1, 2, 1);
    model_node(p, "d", LEGO_OP_Conv, model_constant(p, "d.w", 0.4, 4, d), NULL, 0);
    set_node(p, 5, false, 0, 1, 1);
    model_node(p, "sum", LEGO_OP_Add, output_of(p, 4), NULL, 0);
    model_node(p, "relu", LEGO_OP_Relu, -1, NULL, 0);
    p->graph->nodes[7].input_count = 1;
    model_node(p, "e", LEGO_OP_Conv, model_constant(p, "e.w", 0.2, 4, e), NULL, 0);
    set_node(p, 8, true, 1, 1, 1);
    struct lego_node *last = &p->graph->nodes[8];
    int32_t *inputs = lego_arena_calloc(p->graph->arena, 4, sizeof(*inputs));
    memcpy(inputs, (int32_t[]){last->inputs[0], last->inputs[1], -1, output_of(p, 6)},
           4 * sizeof(*inputs));
    last->inputs = inputs;
    last->input_count = 4;
    model_finish(p);
    ck_assert_msg(lego_graph_infer(p->graph, &diag) == LEGO_OK, "%s", diag.text);
    return p;
}

/* Mean and deviation of each row of each layer's product. */
struct statistics {
    float scale[LAYERS][ROWS], shift[LAYERS][ROWS];
    uint32_t node[LAYERS], rows[LAYERS], count;
};

static int note(void *context, const struct calibrate_stats *stats, float *ret_weights,
                float *ret_bias, struct lego_diag *diag)
{
    struct statistics *s = context;
    const struct layer *l = stats->layer;
    const size_t n = l->columns;

    (void)diag;
    ck_assert_uint_lt(s->count, LAYERS);
    s->node[s->count] = l->node;
    s->rows[s->count] = l->rows;
    for (uint32_t r = 0; r < l->rows; r++) {
        const double *h = stats->h + r / l->group_rows * n * n;
        const float *w = stats->weights + r * n;
        double variance = 0;

        for (size_t i = 0; i < n * n; i++)
            variance += (double)w[i / n] * h[i] * (double)w[i % n];
        s->scale[s->count][r] = (float)sqrt(variance);
        s->shift[s->count][r] = (float)stats->mean_t[r];
        ret_bias[r] = 0;
    }
    memcpy(ret_weights, stats->weights, l->rows * n * sizeof(float));
    s->count++;
    return LEGO_OK;
}

struct bench {
    struct lego_package *package;
    struct encode_weight *weights;
    struct encode_workers *workers;
    struct calibration *calibration;
};

static void open_bench(struct bench *b, struct lego_package *package, const struct noise *noise,
                       uint32_t threads)
{
    static struct kern_table table;
    const struct lego_shape shape = {.rank = 4, .dim = {1, 3, SIDE, SIDE}};
    const struct encode_examples examples = {.count = IMAGES,
                                             .shapes = &shape,
                                             .synthetic = true,
                                             .read = read_noise,
                                             .context = (void *)noise};
    const struct encode_options options = {.without = ENCODE_WITHOUT(ADAPTATION)};
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint32_t count;

    b->package = package;
    ck_assert_int_eq(kern_init(&table, "all", NULL), LEGO_OK);
    b->workers = encode_workers_create(threads, threads > 1 ? &table : NULL);
    ck_assert_int_eq(encode_weights_find(package->graph, &b->weights, &count, &diag), LEGO_OK);
    ck_assert_msg(calibrate_create(package, b->weights, count, &options, &examples, b->workers,
                                   &b->calibration, &diag) == LEGO_OK,
                  "%s", diag.text);
}

static void close_bench(struct bench *b)
{
    calibrate_destroy(b->calibration);
    encode_workers_destroy(b->workers);
    free(b->weights);
}

static struct statistics measure(struct bench *b)
{
    struct statistics s = {.count = 0};
    struct lego_diag diag = LEGO_DIAG_INIT;

    ck_assert_msg(calibrate_walk(b->calibration, note, &s, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(s.count, LAYERS);
    return s;
}

/* What the network "had learnt" on that noise, as an importer leaves it. */
static struct statistics *learn(struct lego_package *package, const struct noise *noise)
{
    static struct statistics learnt;
    struct bench b;

    open_bench(&b, package, noise, 1);
    learnt = measure(&b);
    close_bench(&b);
    for (uint32_t i = 0; i < LAYERS; i++) {
        struct lego_node *node = &package->graph->nodes[learnt.node[i]];

        node->attrs[3] = (struct lego_attr){.name = "lego.bn_scale",
                                            .type = LEGO_ATTR_FLOATS,
                                            .floats = learnt.scale[i],
                                            .count = learnt.rows[i]};
        node->attrs[4] = (struct lego_attr){.name = "lego.bn_bias",
                                            .type = LEGO_ATTR_FLOATS,
                                            .floats = learnt.shift[i],
                                            .count = learnt.rows[i]};
        node->attr_count = 5;
    }
    return &learnt;
}

static double distance(const struct statistics *a, const struct statistics *b)
{
    double sum = 0;

    for (uint32_t i = 0; i < LAYERS; i++) {
        for (uint32_t r = 0; r < a->rows[i]; r++) {
            const double unit = (double)a->scale[i][r];
            const double scale = ((double)b->scale[i][r] - unit) / unit;
            const double shift = ((double)b->shift[i][r] - (double)a->shift[i][r]) / unit;

            sum += (scale * scale + shift * shift) / (LAYERS * a->rows[i]);
        }
    }
    return sum;
}

static const struct noise real = {.deviation = 0.8f, .mean = 0.3f};
static const struct noise drawn = {.deviation = 1.2f, .mean = -0.2f};

START_TEST(matched_examples_have_the_statistics_that_were_learnt)
{
    struct lego_package *package = make_network();
    const struct statistics *learnt = learn(package, &real);
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct bench b;
    bool matched = false;

    open_bench(&b, package, &drawn, 2);
    const struct statistics before = measure(&b);
    close_bench(&b);
    open_bench(&b, package, &drawn, 2);
    ck_assert_msg(calibrate_match(b.calibration, STEPS, INFINITY, &matched, &diag) == LEGO_OK, "%s",
                  diag.text);
    ck_assert(matched);
    const struct statistics after = measure(&b);
    close_bench(&b);
    ck_assert_double_lt(distance(learnt, &after), 0.05 * distance(learnt, &before));
    lego_package_destroy(package);
}
END_TEST

START_TEST(matching_does_not_depend_on_threads_or_kernels)
{
    struct lego_package *package = make_network();
    struct lego_diag diag = LEGO_DIAG_INIT;
    const size_t bytes = sizeof(float) * 3 * SIDE * SIDE * IMAGES;
    char *one = malloc(bytes);
    struct bench b;
    bool matched;

    learn(package, &real);
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        open_bench(&b, package, &drawn, threads);
        ck_assert_int_eq(calibrate_match(b.calibration, 4, INFINITY, &matched, &diag), LEGO_OK);
        const char *now = b.calibration->values[b.calibration->graph->inputs[0]].teacher;
        if (threads == 1)
            memcpy(one, now, bytes);
        else
            ck_assert_mem_eq(one, now, bytes);
        close_bench(&b);
    }
    free(one);
    lego_package_destroy(package);
}
END_TEST

START_TEST(what_gradients_do_not_pass_is_left_alone)
{
    struct lego_package *package = make_network();
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct bench b;
    bool matched = true;

    learn(package, &real);
    package->graph->nodes[7].op = LEGO_OP_Sigmoid;
    open_bench(&b, package, &drawn, 1);
    const size_t bytes = sizeof(float) * 3 * SIDE * SIDE * IMAGES;
    char *before = malloc(bytes);
    const char *now = b.calibration->values[b.calibration->graph->inputs[0]].teacher;

    memcpy(before, now, bytes);
    ck_assert_int_eq(calibrate_match(b.calibration, 4, INFINITY, &matched, &diag), LEGO_OK);
    ck_assert(!matched);
    ck_assert_mem_eq(before, now, bytes);
    free(before);
    close_bench(&b);
    lego_package_destroy(package);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("match");
    TCase *tc = tcase_create("match");

    tcase_add_test(tc, matched_examples_have_the_statistics_that_were_learnt);
    tcase_add_test(tc, matching_does_not_depend_on_threads_or_kernels);
    tcase_add_test(tc, what_gradients_do_not_pass_is_left_alone);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
