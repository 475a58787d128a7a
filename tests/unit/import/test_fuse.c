/*
 * Every pass: what it changes, and that the numbers stay.
 */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_batch_norm(struct model *model, const char *input, const char *output,
                           const char *channels)
{
    char inputs[64], name[16];
    snprintf(inputs, sizeof inputs, "%s,%s.g,%s.b,%s.m,%s.v", input, output, output, output,
             output);
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%c", output, "gbmv"[i]);
        if (i == 3)
            model_positive(model, name, channels);
        else
            model_floats(model, name, channels, NULL);
    }
    node_begin(model, "BatchNormalization", inputs, output);
    node_float(model, "epsilon", 1e-3f);
    node_end(model);
}

START_TEST(batch_norm_into_conv)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,3,6,6");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_floats(&model, "bias", "4", NULL);
    model_node(&model, "Conv", _i ? "x,w,bias" : "x,w", "c");
    put_batch_norm(&model, "c", "y", "4");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    const struct lego_graph *graph = package->graph;
    ck_assert_uint_eq(graph->node_count, 1);
    ck_assert_uint_eq(graph->nodes[0].op, LEGO_OP_Conv);
    ck_assert_uint_eq(graph->nodes[0].input_count, 3);
    ck_assert_str_eq(lego_node_constant(graph, &graph->nodes[0], 1)->name, "w");
    const struct lego_attr *scale = lego_node_attr(&graph->nodes[0], "lego.bn_scale");
    ck_assert_ptr_nonnull(scale);
    ck_assert_uint_eq(scale->count, 4);
    ck_assert_ptr_nonnull(lego_node_attr(&graph->nodes[0], "lego.bn_bias"));
    ck_assert_uint_eq(graph->original_weights, 4 * 27 + 4 + 16);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

/* In training mode the statistics are the input's: there is nothing to fold. */
START_TEST(batch_norm_in_training)
{
    struct model model;
    model_open(&model, 15);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,3,6,6");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_node(&model, "Conv", "x,w", "c");
    for (size_t i = 0; i < 4; i++)
        model_positive(&model, ((const char *[]){"g", "b", "m", "v"})[i], "4");
    node_begin(&model, "BatchNormalization", "c,g,b,m,v", "y");
    node_int(&model, "training_mode", 1);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(count_nodes(package->graph, LEGO_OP_BatchNormalization), 1);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(batch_norm_into_shared_weight)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,6,6");
    model_floats(&model, "w", "3,3,3,3", NULL);
    model_node(&model, "Conv", "x,w", "c");
    put_batch_norm(&model, "c", "d", "3");
    model_node(&model, "Conv", "d,w", "y");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(batch_norm_into_others)
{
    static const struct {
        const char *type, *input, *weight, *channels;
        int64_t trans_b, group;
        float alpha;
    } cases[] = {
        {"ConvTranspose", "1,4,5,5", "4,3,2,2", "3", -1, 1, 0},
        {"ConvTranspose", "1,4,5,5", "4,3,2,2", "6", -1, 2, 0},
        {"Gemm", "3,5", "5,7", "7", 0, 0, 0.5f},
        {"Gemm", "3,5", "7,5", "7", 1, 0, 1},
    };
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, cases[_i].input);
    model_floats(&model, "w", cases[_i].weight, NULL);
    model_floats(&model, "bias", cases[_i].channels, NULL);
    node_begin(&model, cases[_i].type, "x,w,bias", "c");
    if (cases[_i].trans_b >= 0) {
        node_int(&model, "transB", cases[_i].trans_b);
        node_float(&model, "alpha", cases[_i].alpha);
        node_float(&model, "beta", 0.25f);
    } else {
        node_int(&model, "group", cases[_i].group);
    }
    node_end(&model);
    put_batch_norm(&model, "c", "y", cases[_i].channels);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 1);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(batch_norm_stays)
{
    /* The convolution's output is seen by another: folding would change that one. */
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,6,6");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_node(&model, "Conv", "x,w", "c");
    put_batch_norm(&model, "c", "y", "4");
    model_output(&model, "y");
    if (_i == 0)
        model_output(&model, "c");
    else {
        model_node(&model, "Exp", "c", "z");
        model_output(&model, "z");
    }
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(count_nodes(package->graph, LEGO_OP_BatchNormalization), 1);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(bias_and_scale)
{
    static const struct {
        const char *layer, *input, *weight, *op, *constant;
        bool swapped;
        unsigned nodes;
    } cases[] = {
        {"Conv", "1,3,5,5", "4,3,3,3", "Add", "1,4,1,1", false, 1},
        {"Conv", "1,3,5,5", "4,3,3,3", "Add", "4,1,1", true, 1},
        {"Conv", "1,3,5,5", "4,3,3,3", "Sub", "4,1,1", false, 1},
        {"Conv", "1,3,5,5", "4,3,3,3", "Sub", "4,1,1", true, 2}, /* constant - x is no shift */
        {"Conv", "1,3,5,5", "4,3,3,3", "Mul", "4,1,1", false, 1},
        {"Conv", "1,3,5,5", "4,3,3,3", "Mul", "", false, 1},
        {"Conv", "1,3,5,6", "4,3,3,3", "Add", "4", false, 2}, /* by columns, not by channels */
        {"Gemm", "2,5", "5,7", "Add", "7", false, 1},
        {"MatMul", "2,5", "5,7", "Add", "7", false, 1},
        {"MatMul", "2,5", "5,7", "Add", "2,1", false, 2}, /* by rows */
        {"MatMul", "3,2,5", "5,7", "Add", "7", false, 2}, /* Gemm takes matrices alone */
    };
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, cases[_i].input);
    model_floats(&model, "w", cases[_i].weight, NULL);
    model_floats(&model, "k", cases[_i].constant, NULL);
    model_node(&model, cases[_i].layer, "x,w", "c");
    model_node(&model, cases[_i].op, cases[_i].swapped ? "k,c" : "c,k", "y");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, cases[_i].nodes);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

static const struct {
    const char *type;
    enum lego_activation kind;
    const char *attr;
    float value;
} activations[] = {
    {"Relu", LEGO_ACT_CLAMP, NULL, 0},
    {"LeakyRelu", LEGO_ACT_LEAKY_RELU, "alpha", 0.2f},
    {"Sigmoid", LEGO_ACT_SIGMOID, NULL, 0},
    {"Tanh", LEGO_ACT_TANH, NULL, 0},
    {"HardSigmoid", LEGO_ACT_HARD_SIGMOID, "alpha", 0.3f},
    {"HardSwish", LEGO_ACT_HARD_SWISH, NULL, 0},
    {"Gelu", LEGO_ACT_GELU, NULL, 0},
};
static const char *const before[] = {"Conv", "ConvTranspose", "MatMul", "Gemm",
                                     "Add",  "Sub",           "Mul",    "Div"};
enum { ACTIVATIONS = 7, BEFORE = 8 };

START_TEST(activation_into_node)
{
    const char *type = before[_i % BEFORE];
    bool conv = strncmp(type, "Conv", 4) == 0,
         matrix = strcmp(type, "MatMul") == 0 || strcmp(type, "Gemm") == 0;
    struct model model;
    model_open(&model, 20);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, conv ? "2,3,5,5" : "3,3");
    if (conv || matrix)
        model_positive(&model, "w", conv ? "3,3,2,2" : "3,3");
    else
        model_input(&model, "w", LEGO_DTYPE_FLOAT32, "3,3");
    model_node(&model, type, "x,w", "c");
    node_begin(&model, activations[_i / BEFORE].type, "c", "y");
    if (activations[_i / BEFORE].attr)
        node_float(&model, activations[_i / BEFORE].attr, activations[_i / BEFORE].value);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 1);
    ck_assert_int_eq(package->graph->nodes[0].activation, activations[_i / BEFORE].kind);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(clip_into_conv)
{
    static const float lo = -0.5f, hi = 6;
    static const char *const inputs[] = {"c,lo,hi", "c,lo", "c,,hi"};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,5,5");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_floats(&model, "lo", "", &lo);
    model_floats(&model, "hi", "", &hi);
    model_node(&model, "Conv", "x,w", "c");
    model_node(&model, "Clip", inputs[_i], "y");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 1);
    const struct lego_node *node = &package->graph->nodes[0];
    ck_assert_int_eq(node->activation, LEGO_ACT_CLAMP);
    ck_assert_float_eq(node->act_lo, _i == 2 ? -INFINITY : lo);
    ck_assert_float_eq(node->act_hi, _i == 1 ? INFINITY : hi);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(activation_stays)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,5,5");
    model_input(&model, "lo", LEGO_DTYPE_FLOAT32, "");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_node(&model, "Conv", "x,w", "c");
    if (_i == 0) { /* the value before it is a graph output */
        model_node(&model, "Relu", "c", "y");
        model_output(&model, "c");
    } else if (_i == 1) { /* ... or has a second user */
        model_node(&model, "Relu", "c", "r");
        model_node(&model, "Sub", "r,c", "y");
    } else { /* a bound that is computed */
        model_node(&model, "Clip", "c,lo", "y");
    }
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_int_eq(find_node(package->graph, LEGO_OP_Conv)->activation, LEGO_ACT_NONE);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

static void put_formula(struct model *model, int which)
{
    static const float three = 3, zero = 0, six = 6, sixth = 1 / 6.0f, one = 1, half = 0.5f,
                       root = (float)M_SQRT2;
    model_floats(model, "three", "", &three);
    model_floats(model, "zero", "", &zero);
    model_floats(model, "six", "", &six);
    model_floats(model, "sixth", "1", &sixth);
    model_floats(model, "one", "", &one);
    model_floats(model, "half", "", &half);
    model_floats(model, "root", "", &root);
    if (which < 3) {
        model_node(model, "Add", which == 1 ? "three,c" : "c,three", "s");
        model_node(model, "Clip", "s,zero,six", "k");
    }
    switch (which) {
    case 0: /* as ppocr writes it */
        model_node(model, "Mul", "c,k", "m");
        model_node(model, "Div", "m,six", "y");
        break;
    case 1:
        model_node(model, "Mul", "k,sixth", "m");
        model_node(model, "Mul", "c,m", "y");
        break;
    case 2:
        model_node(model, "Div", "k,six", "m");
        model_node(model, "Mul", "m,c", "y");
        break;
    case 3:
        node_begin(model, "HardSigmoid", "c", "s");
        node_float(model, "alpha", 1 / 6.0f);
        node_float(model, "beta", 0.5f);
        node_end(model);
        model_node(model, "Mul", "c,s", "y");
        break;
    case 4:
        model_node(model, "Sigmoid", "c", "s");
        model_node(model, "Mul", "s,c", "y");
        break;
    default:
        model_node(model, "Div", "c,root", "d");
        model_node(model, "Erf", "d", "e");
        model_node(model, "Add", "e,one", "a");
        model_node(model, "Mul", which == 5 ? "c,a" : "a,half", "m");
        model_node(model, "Mul", which == 5 ? "m,half" : "c,m", "y");
        break;
    }
}

START_TEST(formula_into_conv)
{
    static const enum lego_activation kinds[] = {
        LEGO_ACT_HARD_SWISH, LEGO_ACT_HARD_SWISH, LEGO_ACT_HARD_SWISH, LEGO_ACT_HARD_SWISH,
        LEGO_ACT_SILU,       LEGO_ACT_GELU,       LEGO_ACT_GELU};
    struct model model;
    model_open(&model, 14);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,5,5");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_node(&model, "Conv", "x,w", "d0");
    put_batch_norm(&model, "d0", "c", "4");
    put_formula(&model, _i);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 1);
    ck_assert_int_eq(package->graph->nodes[0].activation, kinds[_i]);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(formula_into_operator)
{
    /* What makes x cannot apply an activation: the formula becomes the operator of ONNX. */
    static const enum lego_op ops[] = {LEGO_OP_HardSwish, LEGO_OP_HardSwish, LEGO_OP_HardSwish,
                                       LEGO_OP_HardSwish, LEGO_OP_Mul,       LEGO_OP_Gelu,
                                       LEGO_OP_Gelu};
    struct model model;
    model_open(&model, 14);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,3,5,5");
    model_node(&model, "Neg", "x", "c");
    put_formula(&model, _i);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(count_nodes(package->graph, ops[_i]), 1);
    ck_assert_uint_eq(package->graph->node_count, ops[_i] == LEGO_OP_Mul ? 3 : 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(residual_into_conv)
{
    /* The other operand comes before (0), after (1) the convolution, or is a convolution (2). */
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,3,5,5");
    model_floats(&model, "w", "3,3,1,1", NULL);
    model_floats(&model, "v", "3,3,1,1", NULL);
    if (_i == 0)
        model_node(&model, "Exp", "x", "o");
    model_node(&model, "Conv", "x,w", "c");
    if (_i == 1)
        model_node(&model, "Exp", "x", "o");
    if (_i == 2)
        model_node(&model, "Conv", "x,v", "o");
    model_node(&model, "Add", _i == 1 ? "o,c" : "c,o", "s");
    model_node(&model, "Relu", "s", "y");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 2);
    const struct lego_node *conv = &package->graph->nodes[1];
    ck_assert_uint_eq(conv->op, LEGO_OP_Conv);
    ck_assert_uint_eq(conv->input_count, 4);
    ck_assert_int_ge(conv->inputs[3], 0);
    ck_assert_int_eq(conv->activation, LEGO_ACT_CLAMP);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(residual_stays)
{
    /* Shapes that broadcast (0), may differ (1), or a sum with itself (2). */
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, _i == 1 ? "?,3,2,2" : "N,3,2,2");
    model_input(&model, "o", LEGO_DTYPE_FLOAT32, _i == 1 ? "?,3,2,2" : "1,3,2,2");
    model_floats(&model, "w", "3,3,1,1", NULL);
    model_node(&model, "Conv", "x,w", "c");
    model_node(&model, "Add", _i == 2 ? "c,c" : "c,o", "y");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(identity_goes)
{
    struct model model;
    model_open(&model, _i == 0 ? 7 : 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,2");
    model_node(&model, "Identity", "x", "a");
    model_node(&model, "Exp", "a", "b");
    model_node(&model, "Dropout", "b", "d");
    node_begin(&model, "Cast", "d", "e");
    node_int(&model, "to", LEGO_DTYPE_FLOAT32);
    node_end(&model);
    model_node(&model, "Identity", "e", "y");
    model_node(&model, "Neg", "b", "z");
    model_node(&model, "Identity", "x", "same");
    model_output(&model, "y");
    model_output(&model, "z");
    model_output(&model, "same");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(package->graph->node_count, 3); /* Exp, Neg, and the input's own copy */
    ck_assert_str_eq(package->graph->values[package->graph->outputs[0]].name, "y");
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

/* A Concat with zeros, behind `r` or on both sides. */
static void put_padding(struct model *model, int which)
{
    static const float number[256];
    float other[256] = {[255] = 1};
    model_floats(model, "a", "2,8,4,4", number);
    model_floats(model, "b", "2,8,4,4", which == 2 ? other : number);
    node_begin(model, "Concat", which == 0 ? "r,b" : "a,r,b", "y");
    node_int(model, "axis", which == 0 ? 1 : -3);
    node_end(model);
}

START_TEST(padding_by_concat)
{
    /* After (0), on both sides (1); what holds another number stays (2), and sizes that are not
     * known to fit (3). */
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, _i == 3 ? "?,3,4,4" : "2,3,4,4");
    model_node(&model, "Exp", "x", "r");
    put_padding(&model, _i);
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model);
    ck_assert_uint_eq(count_nodes(package->graph, _i < 2 ? LEGO_OP_Pad : LEGO_OP_Concat), 1);
    for (uint32_t i = 0; _i < 2 && i < package->graph->tensor_count; i++)
        ck_assert_uint_le(package->graph->tensors[i].bytes, 64);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: passes");
    TCase *tcase = tcase_create("passes");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, batch_norm_into_conv, 0, 2);
    tcase_add_test(tcase, batch_norm_in_training);
    tcase_add_test(tcase, batch_norm_into_shared_weight);
    tcase_add_loop_test(tcase, batch_norm_into_others, 0, 4);
    tcase_add_loop_test(tcase, batch_norm_stays, 0, 2);
    tcase_add_loop_test(tcase, bias_and_scale, 0, 11);
    tcase_add_loop_test(tcase, activation_into_node, 0, ACTIVATIONS * BEFORE);
    tcase_add_loop_test(tcase, clip_into_conv, 0, 3);
    tcase_add_loop_test(tcase, activation_stays, 0, 3);
    tcase_add_loop_test(tcase, formula_into_conv, 0, 7);
    tcase_add_loop_test(tcase, formula_into_operator, 0, 7);
    tcase_add_loop_test(tcase, residual_into_conv, 0, 3);
    tcase_add_loop_test(tcase, residual_stays, 0, 3);
    tcase_add_test(tcase, identity_goes);
    tcase_add_loop_test(tcase, padding_by_concat, 0, 4);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
