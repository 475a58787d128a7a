/*
 * Older forms of operators become those of opset 21: each line of upgrade.def.
 */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The int64 content of a node's input. */
static void expect_ints(const struct lego_graph *graph, const struct lego_node *node,
                        uint32_t index, size_t count, const int64_t *expected)
{
    const struct lego_tensor *tensor = lego_node_constant(graph, node, index);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_int_eq(tensor->dtype, LEGO_DTYPE_INT64);
    ck_assert_uint_eq(tensor->bytes, count * sizeof *expected);
    ck_assert_mem_eq(tensor->data, expected, tensor->bytes);
}

static void expect_float(const struct lego_graph *graph, const struct lego_node *node,
                         uint32_t index, float expected)
{
    const struct lego_tensor *tensor = lego_node_constant(graph, node, index);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_int_eq(tensor->dtype, LEGO_DTYPE_FLOAT32);
    ck_assert_float_eq(*(const float *)tensor->data, expected);
}

START_TEST(clip_bounds)
{
    struct model model;
    model_open(&model, _i ? 10 : 7);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "Clip", "x", "y");
    if (_i)
        node_float(&model, "min", -1);
    node_float(&model, "max", 6);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Clip);
    ck_assert_uint_eq(node->input_count, 3);
    ck_assert_uint_eq(node->attr_count, 0);
    if (_i)
        expect_float(package->graph, node, 1, -1);
    else
        ck_assert_int_eq(node->inputs[1], -1);
    expect_float(package->graph, node, 2, 6);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(pad_attributes)
{
    static const int64_t pads[] = {0, 1, 0, 2};
    struct model model;
    model_open(&model, 10);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,3");
    node_begin(&model, "Pad", "x", "y");
    node_ints(&model, "pads", 4, pads);
    node_float(&model, "value", 0.5f);
    node_string(&model, "mode", "constant");
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Pad);
    expect_ints(package->graph, node, 1, 4, pads);
    expect_float(package->graph, node, 2, 0.5f);
    ck_assert_int_eq(package->graph->values[node->outputs[0]].shape.dim[1], 6);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(slice_attributes)
{
    static const int64_t starts[] = {1}, ends[] = {3}, axes[] = {1};
    struct model model;
    model_open(&model, 9);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,5");
    node_begin(&model, "Slice", "x", "y");
    node_ints(&model, "starts", 1, starts);
    node_ints(&model, "ends", 1, ends);
    node_ints(&model, "axes", 1, axes);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Slice);
    expect_ints(package->graph, node, 1, 1, starts);
    expect_ints(package->graph, node, 2, 1, ends);
    expect_ints(package->graph, node, 3, 1, axes);
    ck_assert_int_eq(package->graph->values[node->outputs[0]].shape.dim[1], 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

static const struct {
    const char *type;
    int64_t opset; /* the last with the attribute */
    enum lego_op op;
} with_axes[] = {
    {"ReduceL1", 17, LEGO_OP_ReduceL1},         {"ReduceL2", 17, LEGO_OP_ReduceL2},
    {"ReduceLogSum", 17, LEGO_OP_ReduceLogSum}, {"ReduceLogSumExp", 17, LEGO_OP_ReduceLogSumExp},
    {"ReduceMax", 17, LEGO_OP_ReduceMax},       {"ReduceMean", 17, LEGO_OP_ReduceMean},
    {"ReduceMin", 17, LEGO_OP_ReduceMin},       {"ReduceProd", 17, LEGO_OP_ReduceProd},
    {"ReduceSum", 12, LEGO_OP_ReduceSum},       {"ReduceSumSquare", 17, LEGO_OP_ReduceSumSquare},
    {"Squeeze", 12, LEGO_OP_Squeeze},           {"Unsqueeze", 12, LEGO_OP_Unsqueeze},
};

START_TEST(axes_attribute)
{
    static const int64_t axes[] = {1};
    struct model model;
    model_open(&model, with_axes[_i].opset);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "3,1,4");
    node_begin(&model, with_axes[_i].type, "x", "y");
    node_ints(&model, "axes", 1, axes);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, with_axes[_i].op);
    expect_ints(package->graph, node, 1, 1, axes);
    ck_assert_ptr_null(lego_node_attr(node, "axes"));
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(split_sizes)
{
    static const int64_t sizes[] = {1, 3};
    struct model model;
    model_open(&model, 11);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "4");
    node_begin(&model, "Split", "x", "y,z");
    if (_i)
        node_ints(&model, "split", 2, sizes);
    node_end(&model);
    model_output(&model, "y");
    model_output(&model, "z");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Split);
    if (_i)
        expect_ints(package->graph, node, 1, 2, sizes);
    else
        ck_assert_int_eq(lego_node_int(node, "num_outputs", 0), 2);
    ck_assert_int_eq(package->graph->values[node->outputs[0]].shape.dim[0], _i ? 1 : 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(top_k_attribute)
{
    static const int64_t two[] = {2};
    struct model model;
    model_open(&model, 9);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "4");
    node_begin(&model, "TopK", "x", "y,z");
    node_int(&model, "k", 2);
    node_end(&model);
    model_output(&model, "y");
    model_output(&model, "z");
    struct lego_package *package = model_import(&model, true);
    expect_ints(package->graph, find_node(package->graph, LEGO_OP_TopK), 1, 1, two);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

static void expect_string(const struct lego_node *node, const char *name, const char *expected)
{
    ck_assert_str_eq(lego_node_string(node, name, ""), expected);
}

START_TEST(upsample_is_resize)
{
    static const float scales[] = {1, 1, 2, 3};
    struct model model;
    model_open(&model, _i ? 9 : 7);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,2,2");
    if (_i)
        model_floats(&model, "s", "4", scales);
    node_begin(&model, "Upsample", _i ? "x,s" : "x", "y");
    if (!_i)
        node_floats(&model, "scales", 4, scales);
    node_string(&model, "mode", _i ? "linear" : "nearest");
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Resize);
    ck_assert_uint_eq(node->input_count, 3);
    ck_assert_int_eq(node->inputs[1], -1);
    expect_float(package->graph, node, 2, 1);
    expect_string(node, "mode", _i ? "linear" : "nearest");
    expect_string(node, "coordinate_transformation_mode", "asymmetric");
    expect_string(node, "nearest_mode", "floor");
    ck_assert_int_eq(package->graph->values[node->outputs[0]].shape.dim[3], 6);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(resize_10)
{
    static const float up[] = {1, 1, 2, 2}, down[] = {1, 1, 0.5f, 1}, both[] = {1, 1, 2, 0.5f};
    static const float *const scales[] = {up, down, both};
    struct model model;
    model_open(&model, 10);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,4,4");
    model_floats(&model, "s", "4", scales[_i]);
    node_begin(&model, "Resize", "x,s", "y");
    node_string(&model, "mode", "nearest");
    node_end(&model);
    model_output(&model, "y");
    if (_i == 2) {
        model_refused(&model, LEGO_E_UNSUPPORTED, "shrinks");
        model_free(&model);
        return;
    }
    struct lego_package *package = model_import(&model, true);
    expect_string(find_node(package->graph, LEGO_OP_Resize), "nearest_mode", _i ? "ceil" : "floor");
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(resize_empty_inputs)
{
    static const int64_t sizes[] = {1, 1, 8, 8};
    struct model model;
    model_open(&model, 11);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,4,4");
    model_floats(&model, "roi", "0", NULL);
    model_floats(&model, "scales", "0", NULL);
    model_ints(&model, "sizes", "4", sizes);
    model_node(&model, "Resize", "x,roi,scales,sizes", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Resize);
    ck_assert_int_eq(node->inputs[1], -1);
    ck_assert_int_eq(node->inputs[2], -1);
    ck_assert_int_eq(package->graph->values[node->outputs[0]].shape.dim[2], 8);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(softmax_on_matrix)
{
    static const struct {
        const char *type;
        enum lego_op op;
    } types[] = {{"Softmax", LEGO_OP_Softmax},
                 {"LogSoftmax", LEGO_OP_LogSoftmax},
                 {"Hardmax", LEGO_OP_Hardmax}};
    struct model model;
    model_open(&model, 12);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,3,4");
    model_node(&model, types[_i].type, "x", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, false);
    const struct lego_node *node = find_node(package->graph, types[_i].op);
    ck_assert_int_eq(lego_node_int(node, "axis", 0), 1);
    ck_assert_int_eq(lego_node_int(node, "lego.coerce_2d", 0), 1);
    lego_package_destroy(package);
    model_free(&model);

    model_open(&model, 12); /* the last dimension: both mean the same */
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,3");
    model_node(&model, types[_i].type, "x", "y");
    model_output(&model, "y");
    package = model_import(&model, false);
    ck_assert_ptr_null(lego_node_attr(find_node(package->graph, types[_i].op), "lego.coerce_2d"));
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(batch_norm_by_position)
{
    struct model model;
    model_open(&model, 7);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,3");
    for (size_t i = 0; i < 4; i++)
        model_positive(&model, ((const char *[]){"g", "b", "m", "v"})[i], "2");
    node_begin(&model, "BatchNormalization", "x,g,b,m,v", "y");
    node_int(&model, "spatial", 0);
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "spatial");
    model_free(&model);
}
END_TEST

START_TEST(dropout_training)
{
    static const uint8_t yes = 1;
    static const float ratio = 0.5f;
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,3");
    model_floats(&model, "ratio", "", &ratio);
    node_begin(&model, "Constant", NULL, "t");
    node_tensor(&model, "value", LEGO_DTYPE_BOOL, "", &yes, 1);
    node_end(&model);
    model_node(&model, "Dropout", "x,ratio,t", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "training mode");
    model_free(&model);
}
END_TEST

START_TEST(grid_sample_modes)
{
    struct model model;
    model_open(&model, 16);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,4,4");
    model_input(&model, "g", LEGO_DTYPE_FLOAT32, "1,2,2,2");
    node_begin(&model, "GridSample", "x,g", "y");
    if (_i)
        node_string(&model, "mode", "bicubic");
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    expect_string(find_node(package->graph, LEGO_OP_GridSample), "mode", _i ? "cubic" : "linear");
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(roi_align_coordinates)
{
    static const int64_t batch[] = {0};
    struct model model;
    model_open(&model, 15);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,1,4,4");
    model_input(&model, "r", LEGO_DTYPE_FLOAT32, "1,4");
    model_ints(&model, "b", "1", batch);
    model_node(&model, "RoiAlign", "x,r,b", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    expect_string(find_node(package->graph, LEGO_OP_RoiAlign), "coordinate_transformation_mode",
                  "output_half_pixel");
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(scatter_was_renamed)
{
    static const int64_t where[] = {1};
    static const float what[] = {5};
    struct model model;
    model_open(&model, 10);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "4");
    model_ints(&model, "i", "1", where);
    model_floats(&model, "u", "1", what);
    model_node(&model, "Scatter", "x,i,u", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    find_node(package->graph, LEGO_OP_ScatterElements);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

/* Scale and bias by group before opset 21, by channel since. */
START_TEST(group_norm_by_group)
{
    static const float scale[] = {1, 2, 2, 1}, bias[] = {0, 1, 1, 0};
    static const float expected[2][4] = {{-1, 1, -1, 3}, {-1, 3, -1, 1}};
    float x[] = {1, 3, 5, 9};
    struct lego_array input = {LEGO_DTYPE_FLOAT32, {.rank = 3, .dim = {1, 4, 1}}, x}, output;
    struct lego_arena *arena = lego_arena_create(0);
    struct model model;
    model_open(&model, _i ? 21 : 18);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,4,1");
    model_floats(&model, "s", _i ? "4" : "2", scale);
    model_floats(&model, "b", _i ? "4" : "2", bias);
    node_begin(&model, "GroupNormalization", "x,s,b", "y");
    node_int(&model, "num_groups", 2);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, false);
    run_graph(package->graph, &input, &output, arena);
    ck_assert_int_eq(output.shape.rank, 3);
    for (int i = 0; i < 4; i++)
        ck_assert_float_eq_tol(((const float *)output.data)[i], expected[_i][i], 1e-4);
    lego_package_destroy(package);
    lego_arena_destroy(arena);
    model_free(&model);
}
END_TEST

START_TEST(constant_forms)
{
    static const float floats[] = {1.5f, 2.5f};
    static const int64_t ints[] = {3, 4};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "Constant", NULL, "k");
    switch (_i) {
    case 0:
        node_tensor(&model, "value", LEGO_DTYPE_FLOAT32, "2", floats, sizeof floats);
        break;
    case 1:
        node_floats(&model, "value_floats", 2, floats);
        break;
    case 2:
        node_float(&model, "value_float", 1.5f);
        break;
    case 3:
        node_ints(&model, "value_ints", 2, ints);
        break;
    default:
        node_int(&model, "value_int", 3);
        break;
    }
    node_end(&model);
    if (_i < 3)
        model_node(&model, "Mul", "x,k", "y");
    else {
        node_begin(&model, "Cast", "k", "f");
        node_int(&model, "to", LEGO_DTYPE_FLOAT32);
        node_end(&model);
        model_node(&model, "Mul", "x,f", "y");
    }
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    ck_assert_uint_eq(package->graph->node_count, 1);
    const struct lego_node *node = find_node(package->graph, LEGO_OP_Mul);
    expect_float(package->graph, node, 1, _i < 3 ? 1.5f : 3);
    static const uint64_t weights[] = {2, 2, 1, 0, 0};
    ck_assert_uint_eq(package->graph->original_weights, weights[_i]);
    ck_assert_uint_eq(package->graph->original_bytes, 4 * weights[_i]);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(initialiser_as_input)
{
    /* Before IR 4 initialisers are listed as inputs; and doubles count four bytes as well. */
    static const float numbers[] = {1, 2};
    struct model model;
    model_open(&model, 8);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "batch,2");
    model_input(&model, "w", LEGO_DTYPE_FLOAT32, "2");
    model_floats(&model, "w", "2", numbers);
    model_node(&model, "Mul", "x,w", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    ck_assert_uint_eq(package->graph->input_count, 1);
    const struct lego_value *input = &package->graph->values[package->graph->inputs[0]];
    ck_assert_str_eq(input->name, "x");
    ck_assert_str_eq(package->graph->symbols[-1 - input->shape.dim[0]], "batch");
    ck_assert_uint_eq(package->graph->original_weights, 2);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(any_order)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    model_node(&model, "Exp", "b", "y");
    model_node(&model, "Neg", "a", "b");
    model_node(&model, "Abs", "x", "a");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, true);
    ck_assert_uint_eq(package->graph->nodes[0].op, LEGO_OP_Abs);
    ck_assert_uint_eq(package->graph->nodes[2].op, LEGO_OP_Exp);
    ck_assert_str_eq(package->graph->nodes[2].name, "Exp_2");
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: opsets");
    TCase *tcase = tcase_create("upgrades");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, clip_bounds, 0, 2);
    tcase_add_test(tcase, pad_attributes);
    tcase_add_test(tcase, slice_attributes);
    tcase_add_loop_test(tcase, axes_attribute, 0, 12);
    tcase_add_loop_test(tcase, split_sizes, 0, 2);
    tcase_add_test(tcase, top_k_attribute);
    tcase_add_loop_test(tcase, upsample_is_resize, 0, 2);
    tcase_add_loop_test(tcase, resize_10, 0, 3);
    tcase_add_test(tcase, resize_empty_inputs);
    tcase_add_loop_test(tcase, softmax_on_matrix, 0, 3);
    tcase_add_test(tcase, batch_norm_by_position);
    tcase_add_test(tcase, dropout_training);
    tcase_add_loop_test(tcase, grid_sample_modes, 0, 2);
    tcase_add_test(tcase, roi_align_coordinates);
    tcase_add_test(tcase, scatter_was_renamed);
    tcase_add_loop_test(tcase, group_norm_by_group, 0, 2);
    tcase_add_loop_test(tcase, constant_forms, 0, 5);
    tcase_add_test(tcase, initialiser_as_input);
    tcase_add_test(tcase, any_order);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
