/*
 * Layers that compute in halves and in integers: against the reference evaluation; integers exactly
 * where all numbers are integers themselves, and bit by bit between kernels.
 */
#include "tests/unit/runtime/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 12

/* How far the outputs may be away, of the largest. */
static const struct {
    enum lego_compute compute;
    double tolerance;
} computes[] = {{LEGO_COMPUTE_INT8, 0.02}, {LEGO_COMPUTE_FP16, 0.004}};

#define COMPUTES ((int)(sizeof(computes) / sizeof(computes[0])))

static uint32_t between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, high - low + 1);
}

/* A convolution of any shape with a residual, then a second one that reads the same input. */
static struct lego_package *build_convs(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    int in = (int)between(random, 8, 70), out = (int)between(random, 1, 70);
    int side = *(const int *)argument, stride = (int)between(random, 1, 2);
    int height = (int)between(random, 5, 12), width = (int)between(random, 5, 20), pad = side / 2;
    int32_t x = build_input(package, "x", shape_of(4, 2, in, height, width)), w, b, y, z;

    w = build_random(package, shape_of(4, out, in, side, side), random);
    b = build_random(package, shape_of(1, out), random);
    y = build_node(package, LEGO_OP_Conv, x, w, b, -2);
    build_ints(package, "pads", 4, pad, pad, pad, pad);
    build_ints(package, "strides", 2, stride, stride);
    build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
    w = build_random(package, shape_of(4, out, in, 1, 1), random);
    z = build_node(package, LEGO_OP_Conv, x, w, -1, y, -2);
    build_ints(package, "strides", 2, stride, stride);
    build_act(package, LEGO_ACT_CLAMP, 0, INFINITY);
    build_output(package, z);
    build_finish(package);
    return package;
}

START_TEST(test_convs)
{
    for (int side = 1; side <= 3; side += 2)
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            char what[64];
            snprintf(what, sizeof(what), "%dx%d, %d", side, side, (int)seed);
            check_build_compute(build_convs, &side, NULL, seed, computes[_i].tolerance,
                                computes[_i].compute, what);
        }
}
END_TEST

static struct lego_package *build_coded_conv(struct random *random, const void *argument)
{
    const struct coding *coding = argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(4, 1, 20, 9, 9));
    int32_t w = build_random(package, shape_of(4, 37, 20, 3, 3), random);
    int32_t y = build_node(package, LEGO_OP_Conv, x, w, -2);

    build_ints(package, "pads", 4, 1, 1, 1, 1);
    build_coded(package, w, coding, random);
    build_output(package, y);
    build_finish(package);
    return package;
}

START_TEST(test_coded)
{
    struct coding coding = {.view = LEGO_VIEW_OUT_FIRST,
                            .groups = 1,
                            .brick_rows = 4,
                            .brick_columns = 4,
                            .entries = 50,
                            .stages = 2,
                            .tile_rows = 32,
                            .scale = LEGO_SCALE_ROW};

    for (int i = 0; i < 2; i++) {
        coding.order = i ? LEGO_COLUMNS_TAP_MAJOR : LEGO_COLUMNS_CHANNEL_MAJOR;
        coding.permute = i;
        check_build_compute(build_coded_conv, &coding, NULL, 1, computes[_i].tolerance,
                            computes[_i].compute, "coded");
    }
}
END_TEST

/* Bricks of integers, which where kernels take them stay coded: as one row block and several, in
 * any order, with channels that are no multiple of a group of k's, and rows that fill no tile. */
struct bricks_case {
    struct coding coding;
    int in, out, side, kernel;
};

static struct lego_package *build_bricks(struct random *random, const void *argument)
{
    const struct bricks_case *test = argument;
    const int pad = test->kernel / 2, kernel = test->kernel;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(4, 1, test->in, test->side, test->side));
    int32_t w = build_random(package, shape_of(4, test->out, test->in, kernel, kernel), random);
    int32_t b = build_random(package, shape_of(1, test->out), random);
    int32_t y = build_node(package, LEGO_OP_Conv, x, w, b, -2);

    build_ints(package, "pads", 4, pad, pad, pad, pad);
    build_coded(package, w, &test->coding, random);
    build_output(package, y);
    build_finish(package);
    return package;
}

START_TEST(test_bricks_of_integers)
{
    static const uint32_t heights[] = {1, 2, 4, 8};

    for (uint64_t seed = 1; seed <= 32; seed++) {
        struct random random = {seed};
        struct bricks_case test = {.in = (int)between(&random, 8, 100),
                                   .out = 32 * (int)between(&random, 1, 4),
                                   .side = (int)between(&random, 3, 16),
                                   .kernel = seed % 2 ? 1 : 3};
        char what[64];

        test.coding = (struct coding){.view = LEGO_VIEW_OUT_FIRST,
                                      .groups = 1,
                                      .brick_rows = heights[seed / 2 % 4],
                                      .brick_columns = seed % 3 ? 1 : between(&random, 2, 9),
                                      .entries = between(&random, 2, 256),
                                      .stages = 1,
                                      .tile_rows = 32,
                                      .order = seed % 5 < 2 ? LEGO_COLUMNS_TAP_MAJOR
                                                            : LEGO_COLUMNS_CHANNEL_MAJOR,
                                      .scale = (enum lego_scale_kind)(seed % 3),
                                      .permute = seed % 7 == 0,
                                      .integers = true};
        test.out -= seed % 11 == 0 ? 4 : 0;
        snprintf(what, sizeof(what), "bricks of integers, %d", (int)seed);
        check_build_compute(build_bricks, &test, NULL, seed, 0.02, LEGO_COMPUTE_INT8, what);
    }
}
END_TEST

static struct lego_package *build_matmul(struct random *random, const void *argument)
{
    const struct lego_shape *a = argument;
    int64_t k = a->dim[a->rank - 1];
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", *a);
    int32_t w = build_random(package, shape_of(2, (int)k, 45), random);

    build_output(package, build_node(package, LEGO_OP_MatMul, x, w, -2));
    build_finish(package);
    return package;
}

START_TEST(test_matmul)
{
    const struct lego_shape shapes[] = {shape_of(2, 5, 33), shape_of(2, 1, 64),
                                        shape_of(3, 2, 9, 20)};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        check_build_compute(build_matmul, &shapes[i], NULL, i + 1, computes[_i].tolerance,
                            computes[_i].compute, "matmul");
}
END_TEST

/* Weights are integers of at most 63, one of them 63 in each row: nothing is rounded. */
static struct lego_package *build_whole(struct random *random)
{
    enum { IN = 19, OUT = 23, TAPS = 9 };
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(4, 1, IN, 7, 10)), w, y;
    float *data = malloc(sizeof(float) * OUT * IN * TAPS);

    for (int i = 0; i < OUT * IN * TAPS; i++)
        data[i] = i % (IN * TAPS) ? (float)random_below(random, 127) - 63.0f : 63.0f;
    w = build_constant(package, shape_of(4, OUT, IN, 3, 3), data);
    y = build_node(package, LEGO_OP_Conv, x, w, -2);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    build_output(package, y);
    build_finish(package);
    free(data);
    return package;
}

static struct lego_model *open_whole(const char *cpu)
{
    struct lego_model_options options = {.compute = LEGO_COMPUTE_INT8, .cpu = cpu};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct random random = {7};
    struct lego_model *model;
    int status = lego_model_from_package(build_whole(&random), &options, &model, &diag);

    ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
    return model;
}

/* The output stays in the session, which the caller destroys. */
static struct lego_session *run_whole(struct lego_model *model, struct lego_io *input,
                                      struct lego_io *ret_output)
{
    struct lego_session_options options = {.threads = 1};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_session *session;
    int status = lego_session_create(model, &options, &session, &diag);

    *ret_output = (struct lego_io){0};
    if (!status)
        status = lego_session_run(session, input, 1, ret_output, 1, &diag);
    ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
    return session;
}

START_TEST(test_exact)
{
    struct lego_model *model = open_whole(NULL), *plain = open_whole("c");
    struct random random = {9};
    struct lego_io *input = make_inputs(model, NULL, &random), *want, have, same;
    float *x = input->data;
    size_t count = input->bytes / sizeof(float);

    for (int offset = 0; offset <= 127; offset += 50) { /* the zero point */
        for (size_t i = 0; i < count; i++)
            x[i] = (float)random_below(&random, 128) - (float)offset;
        x[0] = (float)-offset;
        x[count - 1] = (float)(127 - offset);
        want = reference_run(lego_model_package(model)->graph, input);
        struct lego_session *session = run_whole(model, input, &have);
        struct lego_session *other = run_whole(plain, input, &same);
        compare_outputs(want, &have, 1, 1e-6, "integers");
        ck_assert_int_eq(memcmp(have.data, same.data, have.bytes), 0);
        lego_session_destroy(session);
        lego_session_destroy(other);
        free_inputs(want, 1);
    }
    free_inputs(input, 1);
    lego_model_close(model);
    lego_model_close(plain);
}
END_TEST

/* All kernels give the same bits also where numbers are rounded; nothing finite comes of what is
 * not finite. */
START_TEST(test_every_kernel)
{
    struct lego_model *model = open_whole(NULL), *plain = open_whole("c");
    struct random random = {3};
    struct lego_io *input = make_inputs(model, NULL, &random), have, same;
    const float odd[] = {0.5f, 0.0f, 1e-42f, INFINITY, NAN};

    for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
        float *x = input->data;
        for (size_t i = 0; i < input->bytes / sizeof(float); i++)
            x[i] = odd[k] == 0.5f ? x[i] : odd[k] < 1 ? odd[k] : i == 55 ? odd[k] : 1.0f;
        struct lego_session *session = run_whole(model, input, &have);
        struct lego_session *other = run_whole(plain, input, &same);
        const float *y = have.data, *z = same.data;
        for (size_t i = 0; i < have.bytes / sizeof(float); i++) {
            if (k >= 3)
                ck_assert(isnan(y[i]) && isnan(z[i]));
            else
                ck_assert_msg(y[i] == z[i] && (k == 0 || y[i] == 0.0f), "%g, %g", y[i], z[i]);
        }
        lego_session_destroy(session);
        lego_session_destroy(other);
    }
    free_inputs(input, 1);
    lego_model_close(model);
    lego_model_close(plain);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compute");
    TCase *tests = tcase_create("compute");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, test_convs, 0, COMPUTES);
    tcase_add_loop_test(tests, test_coded, 0, COMPUTES);
    tcase_add_test(tests, test_bricks_of_integers);
    tcase_add_loop_test(tests, test_matmul, 0, COMPUTES);
    tcase_add_test(tests, test_exact);
    tcase_add_test(tests, test_every_kernel);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
