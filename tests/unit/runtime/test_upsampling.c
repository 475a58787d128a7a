/*
 * Transposed convolution and Resize against the reference evaluation, on random shapes.
 */
#include "tests/unit/runtime/support.h"

#include <math.h>
#include <stdio.h>

#define ROUNDS 40

static uint32_t between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, high - low + 1);
}

/* True where no step of the graph goes to the reference evaluation. */
static bool has_fast_path(build_fn build, const void *argument, uint64_t seed)
{
    const struct lego_model_options options = {.resident = LEGO_RESIDENT_CODED};
    struct lego_session_options session_options = {.threads = 1};
    struct random random = {seed};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_session *session;
    struct lego_model *model;
    struct lego_io *inputs, output = {0};
    bool steady;

    ck_assert_int_eq(lego_model_from_package(build(&random, argument), &options, &model, &diag),
                     LEGO_OK);
    inputs = make_inputs(model, NULL, &random);
    ck_assert_int_eq(lego_session_create(model, &session_options, &session, &diag), LEGO_OK);
    ck_assert_int_eq(lego_session_run(session, inputs, 1, &output, 1, &diag), LEGO_OK);
    steady = lego_session_is_steady(session, inputs, 1);
    lego_session_destroy(session);
    free_inputs(inputs, 1);
    lego_model_close(model);
    return steady;
}

struct transposed_case {
    bool line, coded;
    enum { ONE_GROUP, GROUPS, DEPTHWISE } kind;
};

/* How the output's size is said, and where its pixels come from. */
static void transposed_window(struct lego_package *package, struct random *random, int axes,
                              int kernel, int size)
{
    static const char *const automatic[] = {"SAME_UPPER", "SAME_LOWER", "VALID"};
    int stride = (int)between(random, 1, 4), other = (int)between(random, 1, 3);
    int dilation = (int)between(random, 1, 3), before = (int)random_below(random, 2);

    build_ints(package, "strides", axes, stride, other);
    build_ints(package, "dilations", axes, dilation, 1);
    switch (random_below(random, 4)) {
    case 0:
        build_string(package, "auto_pad", automatic[random_below(random, 3)]);
        break;
    case 1: /* smaller than all that the taps reach, or larger: zeros */
        build_ints(package, "output_shape", axes, size * stride + kernel - 1, size * other + 1);
        break;
    default:
        if (kernel > 1) /* else no output may be left */
            build_ints(package, "pads", 2 * axes, before, axes == 1 ? 1 : 0, 0, 1);
        if (random_below(random, 2))
            build_ints(package, "output_padding", axes, stride - 1, other - 1);
    }
}

static struct lego_package *build_transposed(struct random *random, const void *argument)
{
    const struct transposed_case *test = argument;
    struct lego_package *package = build_package();
    int groups = test->kind == ONE_GROUP ? 1 : (int)between(random, 2, 4);
    int in = groups * (int)between(random, 1, 24), out = (int)between(random, 1, 40);
    int kernel = (int)between(random, 1, 4), size = (int)between(random, 4, 9);
    int width = (int)between(random, 2, 19), kernel_width = (int)between(random, 2, 5);
    int32_t x, w, b = -1, y;

    if (test->kind == DEPTHWISE) {
        groups = in;
        out = 1;
    }
    x = test->line ? build_input(package, "x", shape_of(3, 2, in, size))
                   : build_input(package, "x", shape_of(4, 2, in, size, width));
    w = test->line ? build_random(package, shape_of(3, in, out, kernel), random)
                   : build_random(package, shape_of(4, in, out, kernel, kernel_width), random);
    if (test->coded) {
        struct coding coding = {
            .view = LEGO_VIEW_TRANSPOSED_CONV,
            .groups = (uint32_t)groups,
            .brick_rows = between(random, 1, 8),
            .brick_columns = between(random, 1, 8),
            .entries = between(random, 1, 200),
            .stages = between(random, 1, 2),
            .order = (enum lego_column_order)random_below(random, 2),
            .scale = (enum lego_scale_kind)random_below(random, 3),
            .permute = random_below(random, 4) == 0,
        };
        coding.tile_rows = 32 / coding.brick_rows * coding.brick_rows;
        build_coded(package, w, &coding, random);
    }
    if (random_below(random, 3))
        b = build_random(package, shape_of(1, groups * out), random);
    y = build_node(package, LEGO_OP_ConvTranspose, x, w, b, -2);
    build_int(package, "group", groups);
    transposed_window(package, random, test->line ? 1 : 2, kernel, size);
    if (random_below(random, 2))
        build_act(package, LEGO_ACT_CLAMP, -0.5f, 0.75f);
    else if (random_below(random, 2))
        build_act(package, LEGO_ACT_SILU, 0, 0);
    build_output(package, y);
    build_finish(package);
    return package;
}

START_TEST(test_transposed)
{
    const struct transposed_case test = {_i & 1, _i & 2, _i / 4};

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        char what[64];
        snprintf(what, sizeof(what), "transposed %d, seed %d", _i, (int)seed);
        check_build(build_transposed, &test, NULL, seed, 1e-5, what);
        if (test.kind != GROUPS || !test.coded) /* whose blocks may hold rows of two groups */
            ck_assert_msg(has_fast_path(build_transposed, &test, seed), "%s is slow", what);
    }
}
END_TEST

/* Where a Resize stands: its input comes as it is given, or channels-last. */
struct resize_case {
    int rank;
    bool convolved, linear, by_sizes;
};

/* New sizes or scales of the last two dimensions; of all others 1. */
static int32_t resize_target(struct lego_package *package, struct random *random,
                             const struct resize_case *test, const int *shape)
{
    static const float scales[] = {1, 2, 3, 4, 0.5f, 1.5f, 0.75f};
    float values[5] = {1, 1, 1, 1, 1};

    for (int i = test->rank - 2; !test->by_sizes && i < test->rank; i++)
        values[i] = scales[random_below(random, 7)];
    if (!test->by_sizes)
        return build_constant(package, shape_of(1, test->rank), values);
    return test->rank == 3
               ? build_integers(package, 3, shape[0], shape[1], (int)between(random, 1, 19))
               : build_integers(package, 4, shape[0], shape[1], (int)between(random, 1, 19),
                                (int)between(random, 1, 19));
}

static struct lego_package *build_resize(struct random *random, const void *argument)
{
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                              "asymmetric", "tf_half_pixel_for_nn"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil"};
    const struct resize_case *test = argument;
    struct lego_package *package = build_package();
    const int shape[4] = {2, (int)between(random, 2, 20), (int)between(random, 2, 9),
                          (int)between(random, 2, 12)};
    const int c = shape[1];
    int32_t x = test->rank == 3 ? build_input(package, "x", shape_of(3, 2, c, shape[3]))
                                : build_input(package, "x", shape_of(4, 2, c, shape[2], shape[3]));
    int32_t target;

    if (test->convolved)
        x = build_node(package, LEGO_OP_Conv, x,
                       test->rank == 3 ? build_random(package, shape_of(3, c, c, 1), random)
                                       : build_random(package, shape_of(4, c, c, 1, 1), random),
                       -1, -2);
    target = resize_target(package, random, test, shape);
    x = test->by_sizes ? build_node(package, LEGO_OP_Resize, x, -1, -1, target, -2)
                       : build_node(package, LEGO_OP_Resize, x, -1, target, -2);
    build_string(package, "mode", test->linear ? "linear" : "nearest");
    build_string(package, "coordinate_transformation_mode",
                 coordinates[random_below(random, test->linear ? 4 : 5)]);
    build_string(package, "nearest_mode", roundings[random_below(random, 4)]);
    build_output(package, x);
    build_finish(package);
    return package;
}

START_TEST(test_resize)
{
    const struct resize_case test = {_i & 1 ? 3 : 4, _i & 2, _i & 4, _i & 8};

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        char what[64];
        snprintf(what, sizeof(what), "resize %d, seed %d", _i, (int)seed);
        /* Nothing is computed between inputs that are moved. */
        check_build(build_resize, &test, NULL, seed, test.linear || test.convolved ? 1e-5 : 0,
                    what);
        ck_assert_msg(has_fast_path(build_resize, &test, seed), "%s is slow", what);
    }
}
END_TEST

/* What lies beside a pixel that is copied is not looked at: it may be infinite. */
START_TEST(test_resize_infinite)
{
    float data[] = {1, INFINITY, 2}, want[] = {1, INFINITY, INFINITY, INFINITY, 2};
    struct lego_package *package = build_package();
    struct lego_session_options options = {.threads = 1};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_io input = {.dtype = LEGO_DTYPE_FLOAT32,
                            .shape = shape_of(3, 1, 1, 3),
                            .data = data,
                            .bytes = sizeof(data)};
    struct lego_io output = {0};
    struct lego_session *session;
    struct lego_model *model;
    int32_t x = build_input(package, "x", shape_of(3, 1, 1, 3));

    x = build_node(package, LEGO_OP_Resize, x, -1, -1, build_integers(package, 3, 1, 1, 5), -2);
    build_string(package, "mode", "linear");
    build_string(package, "coordinate_transformation_mode", "align_corners");
    build_output(package, x);
    build_finish(package);
    ck_assert_int_eq(lego_model_from_package(package, NULL, &model, &diag), LEGO_OK);
    ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    ck_assert_int_eq(lego_session_run(session, &input, 1, &output, 1, &diag), LEGO_OK);
    ck_assert_mem_eq(output.data, want, sizeof(want));
    ck_assert(lego_session_is_steady(session, &input, 1));
    lego_session_destroy(session);
    lego_model_close(model);
}
END_TEST

/* Few outputs of taps that do not meet: all of a pixel's at a time. */
static struct lego_package *build_spread(struct random *random, const void *argument)
{
    const bool coded = *(const bool *)argument;
    struct lego_package *package = build_package();
    int in = (int)between(random, 1, 40), out = (int)between(random, 1, 4);
    int down = (int)between(random, 1, 2), across = (int)between(random, 1, 2);
    int32_t x = build_input(
        package, "x", shape_of(4, 2, in, (int)between(random, 1, 9), (int)between(random, 1, 40)));
    int32_t w = build_random(package, shape_of(4, in, out, down, across), random), b = -1, y;

    if (coded) {
        struct coding coding = {.view = LEGO_VIEW_TRANSPOSED_CONV,
                                .groups = 1,
                                .brick_rows = 1,
                                .brick_columns = 4,
                                .entries = 100,
                                .stages = 1,
                                .tile_rows = 32};
        build_coded(package, w, &coding, random);
    }
    if (random_below(random, 2))
        b = build_random(package, shape_of(1, out), random);
    y = build_node(package, LEGO_OP_ConvTranspose, x, w, b, -2);
    build_ints(package, "strides", 2, down, across);
    build_act(package, random_below(random, 2) ? LEGO_ACT_SIGMOID : LEGO_ACT_CLAMP, -0.5f, 0.75f);
    build_output(package, y);
    build_finish(package);
    return package;
}

START_TEST(test_spread)
{
    const bool coded = _i;

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        check_build(build_spread, &coded, NULL, seed, 1e-5, "spread");
        ck_assert(has_fast_path(build_spread, &coded, seed));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("upsampling");
    TCase *tests = tcase_create("upsampling");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_transposed, 0, 12);
    tcase_add_loop_test(tests, test_spread, 0, 2);
    tcase_add_loop_test(tests, test_resize, 0, 16);
    tcase_add_test(tests, test_resize_infinite);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
