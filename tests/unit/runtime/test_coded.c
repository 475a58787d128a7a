/*
 * Coded weights: every brick shape, order, scale and stage count gives what the decoded dense
 * weights give.
 */
#include "tests/support/sample_trellis.h"
#include "tests/unit/runtime/support.h"

#include "agent/runtime/kern_init.h"
#include "agent/runtime/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum node_kind { NODE_CONV, NODE_POINTWISE, NODE_DEPTHWISE, NODE_GROUPED, NODE_GEMM, NODE_MATMUL };

struct coded_case {
    enum node_kind kind;
    int in, out, groups, kernel; /* channels */
    struct coding coding;
    int batch; /* of NODE_GEMM and NODE_MATMUL; 0: 5 */
    int side;  /* of the picture of a convolution, which is one then; 0: two of 9 x 11 */
};

static int32_t coded_conv(struct lego_package *package, const struct coded_case *test,
                          struct random *random)
{
    int side = test->side;
    int32_t w, y,
        x = build_input(package, "x",
                        side ? shape_of(4, 1, test->in, side, side)
                             : shape_of(4, 2, test->in, 9, 11));

    w = build_random(package,
                     shape_of(4, test->out, test->in / test->groups, test->kernel, test->kernel),
                     random);
    build_coded(package, w, &test->coding, random);
    y = build_node(package, LEGO_OP_Conv, x, w,
                   build_random(package, shape_of(1, test->out), random), -2);
    build_int(package, "group", test->groups);
    if (test->kernel > 1)
        build_ints(package, "pads", 4, 1, 1, 1, 1);
    if (test->in > 500 &&
        !side) /* a stride keeps Winograd's method away, which never splits columns */
        build_ints(package, "strides", 2, 2, 2);
    build_act(package, LEGO_ACT_CLAMP, -4.0f, 30.0f);
    return y;
}

static struct lego_package *build_case(struct random *random, const void *argument)
{
    const struct coded_case *test = argument;
    struct lego_package *package = build_package();
    int32_t x, w, y;

    if (test->kind < NODE_GEMM) {
        y = coded_conv(package, test, random);
    } else {
        bool first = test->coding.view == LEGO_VIEW_OUT_FIRST;
        x = build_input(package, "x", shape_of(2, test->batch ? test->batch : 5, test->in));
        w = build_random(
            package, first ? shape_of(2, test->out, test->in) : shape_of(2, test->in, test->out),
            random);
        build_coded(package, w, &test->coding, random);
        y = test->kind == NODE_GEMM
                ? build_node(package, LEGO_OP_Gemm, x, w,
                             build_random(package, shape_of(1, test->out), random), -2)
                : build_node(package, LEGO_OP_MatMul, x, w, -2);
        if (test->kind == NODE_GEMM)
            build_int(package, "transB", first);
    }
    build_output(package, y);
    build_finish(package);
    return package;
}

static uint32_t between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, high - low + 1);
}

static struct coded_case random_case(struct random *random, enum node_kind kind)
{
    struct coded_case test = {.kind = kind,
                              .in = (int)between(random, 1, 70),
                              .out = (int)between(random, 1, 100),
                              .groups = 1,
                              .kernel = kind == NODE_POINTWISE ? 1 : 3};
    struct coding *coding = &test.coding;

    if (kind == NODE_DEPTHWISE)
        test.in = test.groups = test.out;
    if (kind == NODE_GROUPED) {
        test.groups = (int)between(random, 2, 5);
        test.in = test.groups * (int)between(random, 1, 8);
        test.out = test.groups * (int)between(random, 1, 30);
    }
    coding->view = kind == NODE_MATMUL || (kind == NODE_GEMM && random_below(random, 2))
                       ? LEGO_VIEW_OUT_LAST
                       : LEGO_VIEW_OUT_FIRST;
    coding->groups = (uint32_t)test.groups;
    coding->brick_rows = between(random, 1, 16);
    coding->brick_columns = between(random, 1, 16);
    if (random_below(random, 2))
        coding->brick_rows = coding->brick_columns = 4;
    coding->entries = 1u << random_below(random, 9);
    if (random_below(random, 3) == 0)
        coding->entries = between(random, 1, 300);
    coding->stages = between(random, 1, 3);
    coding->tile_rows = 32 / coding->brick_rows * coding->brick_rows;
    if (random_below(random, 4) == 0)
        coding->tile_rows = coding->brick_rows * between(random, 1, 4);
    coding->order = random_below(random, 2) ? LEGO_COLUMNS_TAP_MAJOR : LEGO_COLUMNS_CHANNEL_MAJOR;
    coding->scale = (enum lego_scale_kind)random_below(random, 3);
    coding->permute = random_below(random, 4) == 0;
    coding->integers = random_below(random, 2);
    return test;
}

static void check_kind(enum node_kind kind)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct random random = {seed};
        struct coded_case test = random_case(&random, kind);
        char what[128];
        snprintf(what, sizeof(what), "kind %d seed %d: %ux%u bricks, tiles of %u, %d to %d", kind,
                 (int)seed, test.coding.brick_rows, test.coding.brick_columns,
                 test.coding.tile_rows, test.in, test.out);
        check_build(build_case, &test, NULL, seed, 1e-5, what);
    }
}

/* One row of inputs: straight from the indices, where the bricks suit that. */
START_TEST(test_gemv)
{
    static const uint32_t heights[] = {1, 4, 8, 16, 3, 2};

    for (uint64_t seed = 1; seed <= 96; seed++) {
        struct random random = {seed};
        enum node_kind kind = seed % 2 ? NODE_GEMM : NODE_MATMUL;
        struct coded_case test = random_case(&random, kind);
        char what[64];
        test.batch = 1;
        test.in = (int)between(&random, 1, 700);
        test.coding.brick_rows = heights[seed % 6];
        test.coding.brick_columns = random_below(&random, 2) ? 1 : between(&random, 2, 4);
        test.coding.tile_rows = 32 / test.coding.brick_rows * test.coding.brick_rows;
        snprintf(what, sizeof(what), "one row, seed %d: %ux%u bricks, %d to %d", (int)seed,
                 test.coding.brick_rows, test.coding.brick_columns, test.in, test.out);
        check_build(build_case, &test, NULL, seed, 1e-5, what);
    }
}
END_TEST

/* A row of inputs of any range: none, subnormal, huge, one number that is no number, and one beside
 * which the others are small. */
START_TEST(test_gemv_ranges)
{
    const struct coded_case test = {
        NODE_GEMM, 300, 64, 1, 1, {0, 1, 4, 1, 200, 2, 32, 0, LEGO_SCALE_ROW, false, true}, 1, 0};
    const float factors[] = {0.0f, 1e-40f, 1e36f, 1.0f, 1.0f}, first[] = {0, 0, 0, NAN, 3e4f};
    struct lego_model_options options = {.resident = LEGO_RESIDENT_CODED};
    struct random random = {1};
    struct lego_package *package = build_case(&random, &test);
    struct lego_session *session;
    struct lego_model *model;

    ck_assert_int_eq(lego_model_from_package(package, &options, &model, NULL), LEGO_OK);
    ck_assert_int_eq(lego_session_create(model, NULL, &session, NULL), LEGO_OK);
    for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++) {
        struct lego_io *inputs = make_inputs(model, NULL, &random), *want, have = {0};
        float *x = (float *)inputs->data, *y;

        for (int c = 0; c < test.in; c++)
            x[c] *= factors[i];
        x[100] = first[i] != 0.0f ? first[i] : x[100];
        want = reference_run(package->graph, inputs);
        ck_assert_int_eq(lego_session_run(session, inputs, 1, &have, 1, NULL), LEGO_OK);
        y = (float *)have.data;
        for (int r = 0; r < test.out; r++) {
            const float expected = ((const float *)want->data)[r];
            const float allowed = 1e-4f * factors[i] + 1e-5f * first[i] + 1e-6f;
            ck_assert_msg(isnan(expected) ? isnan(y[r]) : fabsf(y[r] - expected) <= allowed,
                          "range %zu, row %d: %g, not %g", i, r, (double)y[r], (double)expected);
        }
        free_inputs(inputs, 1);
        free_inputs(want, 1);
    }
    lego_session_destroy(session);
    lego_model_close(model);
}
END_TEST

/* Many more bricks below each other than the catalogue has entries: by partial products. */
START_TEST(test_partial_products)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct random random = {seed};
        enum node_kind kind = seed % 2 ? NODE_GEMM : NODE_MATMUL;
        struct coded_case test = random_case(&random, kind);
        char what[64];
        test.batch = 1;
        test.in = (int)between(&random, 1, 900);
        test.coding.brick_rows = 4 * between(&random, 1, 4);
        test.coding.brick_columns = between(&random, 2, 6);
        test.coding.tile_rows = 32 / test.coding.brick_rows * test.coding.brick_rows;
        test.coding.entries = between(&random, 1, 12);
        test.out =
            (int)(8 * test.coding.entries * test.coding.brick_rows + between(&random, 0, 40));
        snprintf(what, sizeof(what), "partial products, seed %d: %ux%u bricks, %d to %d", (int)seed,
                 test.coding.brick_rows, test.coding.brick_columns, test.in, test.out);
        check_build(build_case, &test, NULL, seed, 1e-5, what);
    }
}
END_TEST

/* The same graphs with an entropy-coded weight. */
struct trellis_case {
    struct coded_case coded;
    struct sample_trellis trellis;
};

static struct lego_package *build_trellis(struct random *random, const void *argument)
{
    const struct trellis_case *test = argument;
    struct lego_package *package = build_case(random, &test->coded);
    struct lego_graph *graph = package->graph;

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        if (!graph->tensors[i].coded)
            continue;
        package->catalogue_count = 0;
        sample_trellis_code(package, (int32_t)i, &test->trellis);
    }
    return package;
}

static void check_trellis(uint64_t seed)
{
    struct random random = {seed};
    const enum node_kind kind = (enum node_kind)random_below(&random, NODE_MATMUL + 1);
    struct trellis_case test = {.coded = random_case(&random, kind)};
    char what[64];

    test.trellis = (struct sample_trellis){
        .view = test.coded.coding.view,
        .groups = test.coded.coding.groups,
        .lanes = 1u << random_below(&random, 6),
        .tile_rows = random_below(&random, 2) ? 32 : between(&random, 1, 256),
        .scale_kind = (enum lego_scale_kind)between(&random, LEGO_SCALE_LAYER, LEGO_SCALE_LOG),
        .rotated = test.coded.kernel > 1 && kind < NODE_GEMM && random_below(&random, 2)};
    snprintf(what, sizeof(what), "trellis, kind %d, seed %d", kind, (int)seed);
    check_build(build_trellis, &test, NULL, seed, 1e-5, what);
}

START_TEST(test_trellis)
{
    for (uint64_t seed = 1; seed <= 120; seed++)
        check_trellis(seed);
}
END_TEST

START_TEST(test_kind)
{
    check_kind((enum node_kind)_i);
}
END_TEST

/* Matrices whose panel passes the budget: decoded and used part by part. */
START_TEST(test_split_columns)
{
    const struct coded_case cases[] = {
        {NODE_POINTWISE, 5003, 40, 1, 1, {0, 1, 4, 4, 16, 1, 32, 0, 0, false, false}, 0, 0},
        {NODE_GEMM, 9001, 33, 1, 1, {0, 1, 4, 8, 16, 2, 32, 0, LEGO_SCALE_ROW, false, false}, 0, 0},
        {NODE_MATMUL,
         6007,
         70,
         1,
         1,
         {LEGO_VIEW_OUT_LAST, 1, 2, 3, 9, 1, 32, 1, 0, false, false},
         0,
         0},
        {NODE_CONV,
         520,
         36,
         1,
         3,
         {0, 1, 4, 4, 64, 1, 32, LEGO_COLUMNS_TAP_MAJOR, 0, false, false},
         0,
         0},
        {NODE_CONV,
         513,
         36,
         1,
         3,
         {0, 1, 4, 4, 64, 1, 32, LEGO_COLUMNS_CHANNEL_MAJOR, 0, false, false},
         0,
         0},
        {NODE_CONV,
         513,
         36,
         1,
         3,
         {0, 1, 4, 4, 64, 1, 32, LEGO_COLUMNS_TAP_MAJOR, 0, false, false},
         0,
         0},
        {NODE_CONV,
         520,
         36,
         1,
         3,
         {0, 1, 4, 4, 64, 1, 32, LEGO_COLUMNS_TAP_MAJOR, 0, true, false},
         0,
         0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char what[32];
        snprintf(what, sizeof(what), "split %zu", i);
        check_build(build_case, &cases[i], NULL, i + 1, 2e-5, what);
    }
}
END_TEST

/* Bricks that are decoded while they are multiplied, in one part and in several, and some that only
 * nearly are of that kind: rows that no whole block covers, indices of less than a byte. */
START_TEST(test_bricks_in_products)
{
    static const enum node_kind kinds[] = {NODE_POINTWISE, NODE_GEMM, NODE_CONV};

    for (uint64_t seed = 1; seed <= 36; seed++) {
        struct random random = {seed};
        struct coded_case test = random_case(&random, kinds[seed % 3]);
        struct coding *coding = &test.coding;
        char what[64];
        test.batch = (int)between(&random, 2, 40);
        test.in = (int)between(&random, 501, 700) * (seed % 9 ? 1 : 6);
        test.out = 32 * (int)between(&random, 1, 4) + (seed % 5 ? 0 : 4);
        coding->view = LEGO_VIEW_OUT_FIRST;
        coding->brick_rows = 4;
        coding->brick_columns = 1;
        coding->entries = between(&random, seed % 7 ? 129 : 65, seed % 7 ? 256 : 128);
        coding->stages = 1;
        coding->tile_rows = 32 * between(&random, 1, 3);
        coding->scale = (enum lego_scale_kind)(seed % 4 % 3);
        coding->permute = false;
        snprintf(what, sizeof(what), "bricks in products, seed %d: %d to %d", (int)seed, test.in,
                 test.out);
        check_build(build_case, &test, NULL, seed, 2e-5, what);
    }
}
END_TEST

/* Pictures of at most four tiles of Winograd's method, whose weights are decoded by parts of the
 * channels: with a whole part and a short one, in both orders, or not to be cut. */
START_TEST(test_few_tiles)
{
    static const int sides[] = {8, 7, 6, 4};
    static const enum lego_column_order orders[] = {LEGO_COLUMNS_TAP_MAJOR,
                                                    LEGO_COLUMNS_CHANNEL_MAJOR};

    for (uint64_t seed = 1; seed <= 32; seed++) {
        struct random random = {seed};
        struct coded_case test = random_case(&random, NODE_CONV);
        struct coding *coding = &test.coding;
        char what[64];
        test.side = sides[seed % 4];
        test.in = (int)between(&random, 1, 300);
        test.out = (int)between(&random, 1, 140);
        coding->order = orders[seed / 4 % 2];
        if (seed % 3) {
            test.in = (int)between(&random, 33, 75) * 4;
            coding->brick_rows = 4;
            coding->brick_columns = seed % 3 == 1 ? 1 : 4;
            coding->tile_rows = 32;
            coding->permute = false;
        }
        snprintf(what, sizeof(what), "few tiles, seed %d: %d to %d", (int)seed, test.in, test.out);
        check_build(build_case, &test, NULL, seed, 2e-5, what);
    }
}
END_TEST

/* Rows of a panel that no brick covers are zero, whatever lay there before. */
START_TEST(test_padding_rows_are_zero)
{
    const struct coded_case test = {
        NODE_CONV, 8, 24, 1, 3, {0, 1, 4, 4, 16, 1, 32, 0, 0, false, false}, 0, 0};
    struct random random = {3};
    struct lego_package *package = build_case(&random, &test);
    const struct lego_tensor *tensor = package->graph->tensors;
    struct weights_key key = {.view = LEGO_VIEW_OUT_FIRST, .groups = 1, .nr = 32};
    struct weights_catalogues catalogues;
    struct kern_table kernels;
    struct weights *weights;
    float *panel;

    while (!tensor->coded)
        tensor++;
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_OK);
    ck_assert_int_eq(
        weights_catalogues_make(&catalogues, package->catalogues, package->catalogue_count, NULL),
        LEGO_OK);
    ck_assert_int_eq(weights_make(&kernels, tensor, &key, &catalogues, false, &weights, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(weights_tile_elems(weights), 72 * 32);
    panel = aligned_alloc(64, 72 * 32 * sizeof(*panel));
    memset(panel, 1, 72 * 32 * sizeof(*panel));
    weights_decode(&kernels, weights, 0, 1, weights->splits, panel);
    for (int k = 0; k < 72; k++)
        for (int row = 24; row < 32; row++)
            ck_assert(panel[k * 32 + row] == 0.0f);
    free(panel);
    weights_destroy(weights);
    weights_catalogues_clear(&catalogues);
    lego_package_destroy(package);
}
END_TEST

/* The same model under every kernel mask of this machine. */
START_TEST(test_kernel_masks)
{
    const char *masks[] = {"c", "avx2", "neon", "all"};
    struct random random = {5};
    struct coded_case test = random_case(&random, NODE_CONV);

    for (size_t i = 0; i < sizeof(masks) / sizeof(*masks); i++) {
        ck_assert_int_eq(setenv("LEGO_CPU", masks[i], 1), 0);
        check_build(build_case, &test, NULL, 5, 1e-5, masks[i]);
    }
    ck_assert_int_eq(setenv("LEGO_CPU", "abacus", 1), 0);
    struct kern_table kernels;
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_E_INVALID);
    ck_assert_int_eq(kern_init(&kernels, "c", NULL), LEGO_OK);
    ck_assert_uint_eq(kernels.cpu, 0);
}
END_TEST

/* Private bytes of the weights of a package after a run. */
static size_t resident_bytes(build_fn build, const void *argument, enum lego_resident resident)
{
    struct lego_model_options options = {.resident = resident};
    struct random random = {1};
    struct lego_model *model;
    struct lego_session *session;
    struct lego_io *inputs;
    size_t bytes;

    ck_assert_int_eq(lego_model_from_package(build(&random, argument), &options, &model, NULL),
                     LEGO_OK);
    ck_assert_int_eq(lego_session_create(model, NULL, &session, NULL), LEGO_OK);
    inputs = make_inputs(model, NULL, &random);
    ck_assert_int_eq(lego_session_run(session, inputs, 1, NULL, 0, NULL), LEGO_OK);
    bytes = lego_model_resident_bytes(model);
    free_inputs(inputs, 1);
    lego_session_destroy(session);
    lego_model_close(model);
    return bytes;
}

/* Bricks of a large model stay coded unless panels are asked for: only the catalogues are in
 * private memory. Few weights are decoded unless coded ones are asked for. */
START_TEST(test_resident_bytes)
{
    const struct trellis_case test = {
        .coded = {NODE_CONV,
                  64,
                  128,
                  1,
                  3,
                  {0, 1, 4, 4, 16, 1, 32, LEGO_COLUMNS_TAP_MAJOR, 0, false, false},
                  0,
                  0},
        .trellis = {.groups = 1, .lanes = 32, .tile_rows = 32, .scale_kind = LEGO_SCALE_LAYER}};
    const size_t weight_bytes = (size_t)64 * 128 * 9 * sizeof(float);
    struct coded_case many = test.coded;
    size_t bricks[3], large[3], entropy[3];

    many.out = 2048;

    for (int i = 0; i < 3; i++) {
        bricks[i] = resident_bytes(build_case, &test.coded, (enum lego_resident)i);
        large[i] = resident_bytes(build_case, &many, (enum lego_resident)i);
        entropy[i] = resident_bytes(build_trellis, &test, (enum lego_resident)i);
    }
    ck_assert_uint_lt(bricks[LEGO_RESIDENT_CODED], weight_bytes / 50);
    ck_assert_uint_ge(bricks[LEGO_RESIDENT_PANELS], weight_bytes);
    ck_assert_uint_eq(bricks[LEGO_RESIDENT_AUTO], bricks[LEGO_RESIDENT_PANELS]);
    ck_assert_uint_gt(16 * weight_bytes, LEGO_RESIDENT_SMALL_BYTES);
    ck_assert_uint_eq(large[LEGO_RESIDENT_AUTO], large[LEGO_RESIDENT_CODED]);
    ck_assert_uint_ge(large[LEGO_RESIDENT_PANELS], 16 * weight_bytes);
    ck_assert_uint_lt(entropy[LEGO_RESIDENT_CODED], weight_bytes / 2);
    ck_assert_uint_ge(entropy[LEGO_RESIDENT_AUTO], weight_bytes);
    ck_assert_uint_eq(entropy[LEGO_RESIDENT_AUTO], entropy[LEGO_RESIDENT_PANELS]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coded");
    TCase *tests = tcase_create("coded");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, test_trellis);
    tcase_add_loop_test(tests, test_kind, NODE_CONV, NODE_MATMUL + 1);
    tcase_add_test(tests, test_gemv);
    tcase_add_test(tests, test_gemv_ranges);
    tcase_add_test(tests, test_partial_products);
    tcase_add_test(tests, test_split_columns);
    tcase_add_test(tests, test_bricks_in_products);
    tcase_add_test(tests, test_few_tiles);
    tcase_add_test(tests, test_padding_rows_are_zero);
    tcase_add_test(tests, test_kernel_masks);
    tcase_add_test(tests, test_resident_bytes);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
