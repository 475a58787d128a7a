/*
 * Operators of other domains become ONNX's own: by the numbers that come out.
 */
#include "model.h"

#include <string.h>

static void expect_output(struct model *model, float *x, const struct lego_shape *given,
                          const struct lego_shape *shape, const float *expected)
{
    struct lego_array input = {.dtype = LEGO_DTYPE_FLOAT32, .shape = *given, .data = x}, output;
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t elems;
    for (int keep = 0; keep < 2; keep++) {
        struct lego_package *package = model_import(model, keep);
        ck_assert_msg(lego_graph_evaluate(package->graph, &input, &output, arena, &diag) == 0, "%s",
                      diag.text);
        ck_assert(lego_shape_equal(&output.shape, shape));
        ck_assert_int_eq(lego_shape_elems(shape, &elems), 0);
        for (size_t i = 0; i < elems; i++)
            ck_assert_float_eq_tol(((const float *)output.data)[i], expected[i], 1e-5);
        lego_package_destroy(package);
    }
    lego_arena_destroy(arena);
    model_free(model);
}

START_TEST(gelu)
{
    static const float expected[] = {-0.15865526f, 0.84134474f};
    const struct lego_shape shape = {.rank = 1, .dim = {2}};
    float x[] = {-1, 1};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "Gelu", "x", "y");
    node_domain(&model, "com.microsoft");
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, x, &shape, &shape, expected);
}
END_TEST

/* y = activation(2 * x + 1, or + z = 3 as well) for x = -3 and 1 */
static const struct {
    const char *activation;
    size_t params;
    float param[2];
    bool sum;
    float expected[2];
} convs[] = {
    {"", 0, {0}, false, {-5, 3}},
    {"", 0, {0}, true, {-2, 6}},
    {"Relu", 0, {0}, false, {0, 3}},
    {"Relu", 0, {0}, true, {0, 6}},
    {"LeakyRelu", 1, {0.5f}, false, {-2.5f, 3}},
    {"Clip", 2, {-1, 2}, false, {-1, 2}},
    {"HardSigmoid", 2, {0.1f, 0.6f}, false, {0.1f, 0.9f}},
    {"Tanh", 0, {0}, false, {-0.9999092f, 0.9950547f}},
};
#define CONV_COUNT ((int)(sizeof convs / sizeof *convs))

START_TEST(fused_conv)
{
    static const float two[] = {2}, one[] = {1}, three[] = {3, 3};
    const struct lego_shape shape = {.rank = 3, .dim = {1, 1, 2}};
    float x[] = {-3, 1};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,2");
    model_floats(&model, "w", "1,1,1", two);
    model_floats(&model, "b", "1", one);
    model_floats(&model, "z", "1,1,2", three);
    node_begin(&model, "FusedConv", convs[_i].sum ? "x,w,b,z" : "x,w,b", "y");
    node_domain(&model, "com.microsoft");
    if (*convs[_i].activation)
        node_string(&model, "activation", convs[_i].activation);
    if (convs[_i].params)
        node_floats(&model, "activation_params", convs[_i].params, convs[_i].param);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, x, &shape, &shape, convs[_i].expected);
}
END_TEST

/* (x + skip [+ bias]) normalised by rows, times gamma, plus beta */
START_TEST(skip_layer_norm)
{
    static const float skip[] = {0, 2}, gamma[] = {2, 2}, beta[] = {1, 1}, bias[] = {4, 0};
    static const float expected[2][2] = {{-1, 3}, {3, -1}};
    const struct lego_shape shape = {.rank = 2, .dim = {1, 2}};
    float x[] = {1, 1};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    model_floats(&model, "s", "2", skip);
    model_floats(&model, "g", "2", gamma);
    model_floats(&model, "b", "2", beta);
    model_floats(&model, "v", "2", bias);
    node_begin(&model, "SkipLayerNormalization", _i ? "x,s,g,b,v" : "x,s,g,b", "y");
    node_domain(&model, "com.microsoft");
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, x, &shape, &shape, expected[_i]);
}
END_TEST

/* x = 1, 2; w = (1, 2), (-3, 1); b = 0, -1; g = 1, 2 */
static const struct {
    const char *type, *domain, *inputs, *attr;
    float number;
    const char *activation;
    float expected[2];
} simple[] = {
    {"QuickGelu", "com.microsoft", "x", "alpha", 1, NULL, {0.7310586f, 1.7615942f}},
    {"BiasGelu", "com.microsoft", "x,b", NULL, 0, NULL, {0.8413447f, 0.8413447f}},
    {"FastGelu", "com.microsoft", "x", NULL, 0, NULL, {0.8411920f, 1.9545977f}},
    {"FastGelu", "com.microsoft", "x,b", NULL, 0, NULL, {0.8411920f, 0.8411920f}},
    {"FusedGemm", "com.microsoft", "x,w,b", "transB", 0, "Relu", {5, 0}},
    {"FusedGemm", "com.microsoft", "x,w", "transB", 0, "LeakyRelu", {5, -0.01f}},
    {"FusedGemm", "com.microsoft", "x,w", "transB", 0, NULL, {5, -1}},
    {"FusedMatMul", "com.microsoft", "x,w", "alpha", 0.5f, NULL, {-2.5f, 2}},
    {"FusedMatMul", "com.microsoft", "x,w", "transB", 0, NULL, {5, -1}},
    {"TransposeMatMul", "com.microsoft", "x,w", "transB", 0, NULL, {5, -1}},
    {"SimplifiedLayerNormalization", "", "x,g", NULL, 0, NULL, {0.6324545f, 2.529818f}},
    {"SimplifiedLayerNormalization",
     "com.microsoft",
     "x,g",
     NULL,
     0,
     NULL,
     {0.6324545f, 2.529818f}},
    {"SkipSimplifiedLayerNormalization",
     "com.microsoft",
     "x,x,g",
     NULL,
     0,
     NULL,
     {0.6324555f, 2.529822f}},
    {"LayerNormalization", "com.microsoft", "x,g,b", NULL, 0, NULL, {-0.99998f, 0.99996f}},
};
#define SIMPLE_COUNT ((int)(sizeof simple / sizeof *simple))

START_TEST(simple_form)
{
    static const float w[] = {1, 2, -3, 1}, b[] = {0, -1}, g[] = {1, 2};
    const struct lego_shape shape = {.rank = 2, .dim = {1, 2}};
    float x[] = {1, 2};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    model_floats(&model, "w", "2,2", w);
    model_floats(&model, "b", "2", b);
    model_floats(&model, "g", "2", g);
    node_begin(&model, simple[_i].type, simple[_i].inputs, "y");
    node_domain(&model, simple[_i].domain);
    if (simple[_i].attr && simple[_i].number == 0)
        node_int(&model, simple[_i].attr, 1);
    else if (simple[_i].attr)
        node_float(&model, simple[_i].attr, simple[_i].number);
    if (simple[_i].activation)
        node_string(&model, "activation", simple[_i].activation);
    node_end(&model);
    model_output(&model, "y");
    expect_output(&model, x, &shape, &shape, simple[_i].expected);
}
END_TEST

/* The fourth output is the sum that was normalised. */
START_TEST(skip_sum)
{
    static const float skip[] = {0, 2}, gamma[] = {2, 2}, expected[] = {1, 3};
    const struct lego_shape shape = {.rank = 2, .dim = {1, 2}};
    float x[] = {1, 1};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    model_floats(&model, "s", "2", skip);
    model_floats(&model, "g", "2", gamma);
    node_begin(&model, "SkipLayerNormalization", "x,s,g", "y,,,sum");
    node_domain(&model, "com.microsoft");
    node_end(&model);
    model_output(&model, "sum");
    expect_output(&model, x, &shape, &shape, expected);
}
END_TEST

/* Between a QuantizeLinear of x = 1, 2 by 1/2 about 1 and its inverse by 1 about 2. */
static const struct {
    const char *type, *inputs;
    float expected[2];
} quantised[] = {
    {"QLinearAdd", "q,half,one,q,half,one,unit,two", {2, 4}},
    {"QLinearMul", "q,half,one,q,half,one,unit,two", {1, 4}},
    {"QLinearLeakyRelu", "q,half,one,unit,two", {1, 2}},
    {"QLinearConcat", "unit,two,q,half,one", {1, 2}},
    {"QGemm", "q,half,one,m,unit,two,,unit,two", {-1, 5}},
};
#define QUANTISED_COUNT ((int)(sizeof quantised / sizeof *quantised))

static void put_byte(struct model *model, const char *name, uint8_t value)
{
    node_begin(model, "Constant", "", name);
    node_tensor(model, "value", LEGO_DTYPE_UINT8, "", &value, 1);
    node_end(model);
}

START_TEST(quantised_form)
{
    static const float half = 0.5f, unit = 1;
    static const uint8_t matrix[] = {1, 3, 2, 4}; /* (-1, 1), (0, 2) */
    const struct lego_shape shape = {.rank = 2, .dim = {1, 2}};
    float x[] = {1, 2};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2");
    model_floats(&model, "half", "", &half);
    model_floats(&model, "unit", "", &unit);
    put_byte(&model, "one", 1);
    put_byte(&model, "two", 2);
    node_begin(&model, "Constant", "", "m");
    node_tensor(&model, "value", LEGO_DTYPE_UINT8, "2,2", matrix, sizeof matrix);
    node_end(&model);
    model_node(&model, "QuantizeLinear", "x,half,one", "q");
    node_begin(&model, quantised[_i].type, quantised[_i].inputs, "r");
    node_domain(&model, "com.microsoft");
    if (strcmp(quantised[_i].type, "QLinearConcat") == 0)
        node_int(&model, "axis", 1);
    node_end(&model);
    model_node(&model, "DequantizeLinear", "r,unit,two", "y");
    model_output(&model, "y");
    expect_output(&model, x, &shape, &shape, quantised[_i].expected);
}
END_TEST

START_TEST(refused)
{
    static const struct {
        const char *type, *inputs, *outputs, *domain, *word;
        int status;
    } cases[] = {
        {"FusedConv", "x,x", "y", "com.microsoft", "activation", LEGO_E_UNSUPPORTED},
        {"FusedConv", "x", "y", "com.microsoft", "no weights", LEGO_E_FORMAT},
        {"SkipLayerNormalization", "x,x", "y", "com.microsoft", "too few", LEGO_E_FORMAT},
        {"SkipLayerNormalization", "x,x,x", "y,z", "com.microsoft", "statistics as outputs",
         LEGO_E_UNSUPPORTED},
        {"Gelu", "x", "y", "org.example", "org.example.Gelu", LEGO_E_UNSUPPORTED},
        {"Attention", "x", "y", "com.microsoft", "com.microsoft.Attention", LEGO_E_UNSUPPORTED},
        {"QLinearAdd", "x,x,x", "y", "com.microsoft", "lacks input 3", LEGO_E_FORMAT},
        {"QLinearConcat", "x,x,x", "y", "com.microsoft", "has 3 inputs", LEGO_E_FORMAT},
        {"QGemm", "x,x", "y", "com.microsoft", "lacks B", LEGO_E_FORMAT},
        {"BiasGelu", "x", "y", "com.microsoft", "too few", LEGO_E_FORMAT},
    };
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,2");
    node_begin(&model, cases[_i].type, cases[_i].inputs, cases[_i].outputs);
    node_domain(&model, cases[_i].domain);
    if (_i == 0)
        node_string(&model, "activation", "Exotic");
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, cases[_i].status, cases[_i].word);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: other domains");
    TCase *tcase = tcase_create("foreign");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, gelu);
    tcase_add_loop_test(tcase, fused_conv, 0, CONV_COUNT);
    tcase_add_loop_test(tcase, skip_layer_norm, 0, 2);
    tcase_add_loop_test(tcase, simple_form, 0, SIMPLE_COUNT);
    tcase_add_test(tcase, skip_sum);
    tcase_add_loop_test(tcase, quantised_form, 0, QUANTISED_COUNT);
    tcase_add_loop_test(tcase, refused, 0, 10);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
