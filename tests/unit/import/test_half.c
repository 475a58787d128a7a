/*
 * Networks in half precision: computed in single precision between ends that stay halves.
 */
#include "codec/base/half.h"
#include "model.h"

#include <stdlib.h>

static void put_halves(struct model *model, const char *name, const char *dims, size_t count)
{
    uint16_t data[64];
    struct wire_out tensor = {0};
    for (size_t i = 0; i < count; i++)
        data[i] = lego_half_from_float((float)(i * 7 % 13) / 8 - 0.7f);
    put_tensor(&tensor, name, LEGO_DTYPE_FLOAT16, dims, data, count * sizeof *data);
    wire_put_bytes(&model->graph, 5, tensor.data, tensor.bytes);
    wire_out_clear(&tensor);
}

/* relu(x W + b), then whatever a branch makes of it, its sum with x, and x itself. */
static void put_network(struct model *model, bool product)
{
    struct model then, other;
    model_open(model, 13);
    model_input(model, "x", LEGO_DTYPE_FLOAT16, "2,6");
    model_input(model, "c", LEGO_DTYPE_BOOL, "");
    put_halves(model, "w", product ? "6,6" : "6", product ? 36 : 6);
    put_halves(model, "b", "6", 6);
    model_node(model, product ? "MatMul" : "Mul", "x,w", "p");
    model_node(model, "Add", "p,b", "q");
    model_node(model, "Relu", "q", "r");
    model_open(&then, 13);
    put_halves(&then, "k", "6", 6);
    model_node(&then, "Mul", "r,k", "t");
    model_output(&then, "t");
    model_open(&other, 13);
    node_begin(&other, "Cast", "r", "f");
    node_int(&other, "to", LEGO_DTYPE_FLOAT32);
    node_end(&other);
    model_node(&other, "Exp", "f", "e");
    node_begin(&other, "Cast", "e", "u");
    node_int(&other, "to", LEGO_DTYPE_FLOAT16);
    node_end(&other);
    model_output(&other, "u");
    node_begin(model, "If", "c", "z");
    node_graph(model, "then_branch", &then);
    node_graph(model, "else_branch", &other);
    node_end(model);
    model_node(model, "Add", "z,x", "y");
    model_output(model, "y");
    model_output(model, "r");
}

static void evaluate(const struct lego_graph *graph, uint8_t condition, float *ret_values)
{
    uint16_t x[12];
    struct lego_array inputs[] = {
        {.dtype = LEGO_DTYPE_FLOAT16, .shape = {.rank = 2, .dim = {2, 6}}, .data = x},
        {.dtype = LEGO_DTYPE_BOOL, .data = &condition}};
    struct lego_array outputs[2];
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_diag diag = LEGO_DIAG_INIT;
    for (int i = 0; i < 12; i++)
        x[i] = lego_half_from_float((float)(i % 5) - 2);
    ck_assert_msg(lego_graph_evaluate(graph, inputs, outputs, arena, &diag) == 0, "%s", diag.text);
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(outputs[k].dtype, LEGO_DTYPE_FLOAT16);
        for (int i = 0; i < 12; i++)
            ret_values[12 * k + i] = lego_half_to_float(((const uint16_t *)outputs[k].data)[i]);
    }
    lego_arena_destroy(arena);
}

START_TEST(computed_in_single_precision)
{
    float plain[24], wide[24];
    struct model model;
    put_network(&model, true);
    struct lego_package *kept = model_import(&model, true), *made = model_import(&model, false);
    const struct lego_graph *graph = made->graph;
    evaluate(kept->graph, (uint8_t)_i, plain);
    evaluate(graph, (uint8_t)_i, wide);
    for (int i = 0; i < 24; i++)
        ck_assert_float_eq_tol(wide[i], plain[i],
                               4e-3f * (1 + (plain[i] < 0 ? -plain[i] : plain[i])));
    ck_assert_uint_eq(count_nodes(graph, LEGO_OP_Cast), 3);
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        ck_assert_int_ne(graph->tensors[t].dtype, LEGO_DTYPE_FLOAT16);
    ck_assert_int_eq(graph->values[graph->inputs[0]].dtype, LEGO_DTYPE_FLOAT16);
    ck_assert_str_eq(graph->values[graph->outputs[0]].name, "y");
    lego_package_destroy(kept);
    lego_package_destroy(made);
    model_free(&model);
}
END_TEST

/* Without a product of weights a model that rounds to halves means to. */
START_TEST(left_alone)
{
    float plain[24], made[24];
    struct model model;
    put_network(&model, false);
    struct lego_package *kept = model_import(&model, true), *package = model_import(&model, false);
    evaluate(kept->graph, 1, plain);
    evaluate(package->graph, 1, made);
    ck_assert_mem_eq(plain, made, sizeof plain);
    ck_assert_uint_eq(count_nodes(package->graph, LEGO_OP_Cast), 0);
    lego_package_destroy(kept);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: half precision");
    TCase *tcase = tcase_create("half");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, computed_in_single_precision, 0, 2);
    tcase_add_test(tcase, left_alone);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
