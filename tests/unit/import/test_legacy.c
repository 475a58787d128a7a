/*
 * Models of opsets 1 to 6: each line of upgrade.def that they need, by the numbers that come out.
 */
#include "model.h"

#include <string.h>

static struct lego_array floats(float *data, struct lego_shape shape)
{
    return (struct lego_array){.dtype = LEGO_DTYPE_FLOAT32, .shape = shape, .data = data};
}

/* Imports, runs on `input` and compares the first output. */
static void expect_output(struct model *model, const struct lego_array *input,
                          const struct lego_shape *shape, const float *expected)
{
    struct lego_package *package = model_import(model, false);
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_array output;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_graph_evaluate(package->graph, input, &output, arena, &diag) == 0, "%s",
                  diag.text);
    ck_assert(lego_shape_equal(&output.shape, shape));
    size_t elems;
    ck_assert_int_eq(lego_shape_elems(shape, &elems), 0);
    for (size_t i = 0; i < elems; i++)
        ck_assert_float_eq_tol(((const float *)output.data)[i], expected[i], 1e-5);
    lego_arena_destroy(arena);
    lego_package_destroy(package);
    model_free(model);
}

/* x is [1,2,2]; b of two elements stands at axis 1 (channels) or at the end. */
START_TEST(broadcast_from_axis)
{
    static const char *const types[] = {"Add", "Sub", "Mul", "Div", "Pow"};
    static const float b[] = {2, 4};
    static const float expected[5][2][4] = {
        {{3, 4, 7, 8}, {3, 6, 5, 8}},       {{-1, 0, -1, 0}, {-1, -2, 1, 0}},
        {{2, 4, 12, 16}, {2, 8, 6, 16}},    {{0.5f, 1, 0.75f, 1}, {0.5f, 0.5f, 1.5f, 1}},
        {{1, 4, 81, 256}, {1, 16, 9, 256}},
    };
    const struct lego_shape shape = {.rank = 3, .dim = {1, 2, 2}};
    float x[] = {1, 2, 3, 4};
    struct lego_array input = floats(x, shape);
    struct model model;
    bool at_end = _i % 2;
    model_open(&model, 6);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,2,2");
    model_floats(&model, "b", "2", b);
    node_begin(&model, types[_i / 2], "x,b", "y");
    node_int(&model, "broadcast", 1);
    if (!at_end)
        node_int(&model, "axis", 1);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected[_i / 2][at_end]);
}
END_TEST

/* The same where the first input's rank is known only by inference. */
START_TEST(broadcast_behind_computed)
{
    static const float b[] = {10, 20}, expected[] = {9, 8, 17, 16};
    const struct lego_shape shape = {.rank = 3, .dim = {1, 2, 2}};
    float x[] = {1, 2, 3, 4};
    struct lego_array input = floats(x, shape);
    struct model model;
    model_open(&model, 6);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,2");
    model_floats(&model, "b", "2", b);
    model_node(&model, "Neg", "x", "n");
    node_begin(&model, "Add", "n,b", "y");
    node_int(&model, "broadcast", 1);
    node_int(&model, "axis", 1);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected);
}
END_TEST

START_TEST(broadcast_of_open_rank)
{
    struct model model;
    model_open(&model, 6);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,2");
    model_input(&model, "b", LEGO_DTYPE_FLOAT32, "2");
    model_node(&model, "Neg", "b", "n");
    node_begin(&model, "Add", "x,n", "y");
    node_int(&model, "broadcast", 1);
    node_int(&model, "axis", 1);
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "rank is not stated");
    model_free(&model);
}
END_TEST

START_TEST(prelu_by_channel)
{
    static const float both[] = {0.5f, 2}, one[] = {0.5f};
    static const float expected[2][4] = {{-0.5f, -1, -6, -8}, {-0.5f, -1, -1.5f, -2}};
    const struct lego_shape shape = {.rank = 3, .dim = {1, 2, 2}};
    float x[] = {-1, -2, -3, -4};
    struct lego_array input = floats(x, shape);
    struct model model;
    model_open(&model, 6);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,2");
    model_floats(&model, "s", _i ? "1" : "2", _i ? one : both);
    model_node(&model, "PRelu", "x,s", "y");
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected[_i]);
}
END_TEST

START_TEST(consumed_inputs)
{
    static const int64_t none[] = {0};
    static const float expected[] = {0, 2};
    const struct lego_shape shape = {.rank = 1, .dim = {2}};
    float x[] = {-1, 2};
    struct lego_array input = floats(x, shape);
    struct model model;
    model_open(&model, 1);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "Relu", "x", "y");
    node_ints(&model, "consumed_inputs", 1, none);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    ck_assert_uint_eq(find_node(package->graph, LEGO_OP_Relu)->attr_count, 0);
    lego_package_destroy(package);
    expect_output(&model, &input, &shape, expected);
}
END_TEST

START_TEST(gemm_with_broadcast)
{
    static const float b[] = {1, 2, 3, 4}, c[] = {10, 20}, expected[] = {17, 30};
    const struct lego_shape shape = {.rank = 2, .dim = {1, 2}};
    float x[] = {1, 2};
    struct lego_array input = floats(x, shape);
    struct model model;
    model_open(&model, 6);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    model_floats(&model, "b", "2,2", b);
    model_floats(&model, "c", "2", c);
    node_begin(&model, "Gemm", "x,b,c", "y");
    node_int(&model, "broadcast", 1);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected);
}
END_TEST

static void put_batch_norm(struct model *model, int64_t is_test, const char *outputs)
{
    static const float scale[] = {2}, zero[] = {0}, one[] = {1};
    model_open(model, 6);
    model_input(model, "x", LEGO_DTYPE_FLOAT32, "1,1,2");
    model_floats(model, "s", "1", scale);
    model_floats(model, "b", "1", zero);
    model_floats(model, "m", "1", one);
    model_floats(model, "v", "1", one);
    node_begin(model, "BatchNormalization", "x,s,b,m,v", outputs);
    node_int(model, "is_test", is_test);
    node_float(model, "epsilon", 0);
    node_end(model);
    model_output(model, "y");
}

START_TEST(batch_norm_is_test)
{
    static const float expected[] = {0, 4};
    const struct lego_shape shape = {.rank = 3, .dim = {1, 1, 2}};
    float x[] = {1, 3};
    struct lego_array input = floats(x, shape);
    struct model model;
    put_batch_norm(&model, _i, "y");
    expect_output(&model, &input, &shape, expected);
    put_batch_norm(&model, 0, "y,mean,var,saved_mean,saved_var");
    model_refused(&model, LEGO_E_UNSUPPORTED, "training mode");
    model_free(&model);
}
END_TEST

START_TEST(attributes_of_old)
{
    static const int64_t pads[] = {1, 0, 0, 0}, shape_of[] = {2, 1};
    static const float expected[] = {0, 0, 0.75f, 0.75f, -1.5f, -1.5f};
    const struct lego_shape given = {.rank = 2, .dim = {1, 2}};
    const struct lego_shape shape = {.rank = 2, .dim = {3, 2}};
    float x[] = {0.75f, -1.5f};
    struct lego_array input = floats(x, given);
    struct model model;
    model_open(&model, 1);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    node_begin(&model, "Dropout", "x", "d");
    node_int(&model, "is_test", 1);
    node_end(&model);
    node_begin(&model, "Cast", "d", "c");
    node_string(&model, "to", "FLOAT");
    node_end(&model);
    node_begin(&model, "Reshape", "c", "r");
    node_ints(&model, "shape", 2, shape_of);
    node_end(&model);
    node_begin(&model, "Pad", "r", "p"); /* a row of zero before: [3,1] */
    node_ints(&model, "paddings", 4, pads);
    node_end(&model);
    model_node(&model, "Concat", "p,p", "y"); /* axis 1 */
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected);
}
END_TEST

START_TEST(upsample_by_two_scales)
{
    static const float expected[] = {1, 1, 1, 2, 2, 2};
    const struct lego_shape given = {.rank = 4, .dim = {1, 1, 1, 2}};
    const struct lego_shape shape = {.rank = 4, .dim = {1, 1, 1, 6}};
    float x[] = {1, 2};
    struct lego_array input = floats(x, given);
    struct model model;
    model_open(&model, 1);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,1,2");
    node_begin(&model, "Upsample", "x", "y");
    node_float(&model, "height_scale", 1);
    node_float(&model, "width_scale", 3);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected);
}
END_TEST

START_TEST(selu_of_old)
{
    static const float expected[] = {2.1014f};
    const struct lego_shape shape = {.rank = 1, .dim = {1}};
    float x[] = {2};
    struct lego_array input = floats(x, shape);
    struct model model;
    model_open(&model, 1);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1");
    model_node(&model, "Selu", "x", "y");
    model_output(&model, "y");
    expect_output(&model, &input, &shape, expected);
}
END_TEST

START_TEST(norm_by_float)
{
    static const float expected[] = {7};
    const struct lego_shape given = {.rank = 3, .dim = {1, 1, 2}};
    const struct lego_shape shape = {.rank = 3, .dim = {1, 1, 1}};
    float x[] = {3, -4};
    struct lego_array input = floats(x, given);
    struct model model;
    model_open(&model, 1);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,2");
    node_begin(&model, "GlobalLpPool", "x", "y");
    node_float(&model, "p", _i ? 1.5f : 1);
    node_end(&model);
    model_output(&model, "y");
    if (_i) {
        model_refused(&model, LEGO_E_UNSUPPORTED, "no whole number");
        model_free(&model);
    } else {
        expect_output(&model, &input, &shape, expected);
    }
}
END_TEST

START_TEST(refused_by_name)
{
    struct model model;
    model_open(&model, 5);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    model_input(&model, "t", LEGO_DTYPE_INT64, "1");
    model_input(&model, "a", LEGO_DTYPE_INT64, "1");
    model_node(&model, "Tile", "x,t,a", "y");
    node_begin(&model, "Cast", "x", "z");
    node_string(&model, "to", "STRING");
    node_end(&model);
    model_output(&model, "y");
    model_output(&model, "z");
    model_refused(&model, LEGO_E_UNSUPPORTED, "Tile");
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: opsets 1 to 6");
    TCase *tcase = tcase_create("legacy");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, broadcast_from_axis, 0, 10);
    tcase_add_test(tcase, broadcast_behind_computed);
    tcase_add_test(tcase, broadcast_of_open_rank);
    tcase_add_loop_test(tcase, prelu_by_channel, 0, 2);
    tcase_add_test(tcase, consumed_inputs);
    tcase_add_test(tcase, gemm_with_broadcast);
    tcase_add_loop_test(tcase, batch_norm_is_test, 0, 2);
    tcase_add_test(tcase, attributes_of_old);
    tcase_add_test(tcase, upsample_by_two_scales);
    tcase_add_test(tcase, selu_of_old);
    tcase_add_loop_test(tcase, norm_by_float, 0, 2);
    tcase_add_test(tcase, refused_by_name);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
