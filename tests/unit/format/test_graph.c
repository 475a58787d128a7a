/*
 * lego_graph_check on graphs that are not sound, and the helpers of graphs.
 */
#include "codec/base/status.h"
#include "tests/support/sample.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGE(name, statement)            \
    static void name(struct lego_graph *g) \
    {                                      \
        statement;                         \
    }

CHANGE(same_name, g->values[3].name = g->values[1].name)
CHANGE(no_name, g->values[1].name = NULL)
CHANGE(bad_symbol, g->values[0].shape.dim[0] = -2)
CHANGE(bad_rank, g->values[0].shape.rank = LEGO_MAX_RANK + 1)
CHANGE(bad_type, g->values[0].dtype = (enum lego_dtype)8)
CHANGE(bad_tensor, g->values[1].tensor = 99)
CHANGE(other_type, g->tensors[0].dtype = LEGO_DTYPE_INT32)
CHANGE(other_bytes, g->tensors[1].bytes++)
CHANGE(no_data, g->tensors[1].data = NULL)
CHANGE(both_forms, g->tensors[0].data = g->tensors[1].data)
CHANGE(constant_input, g->inputs[0] = 1)
CHANGE(bad_input, g->inputs[0] = 99)
CHANGE(bad_output, g->outputs[0] = -1)
CHANGE(bad_operator, g->nodes[0].op = LEGO_OP_COUNT)
CHANGE(order, struct lego_node node = g->nodes[0]; g->nodes[0] = g->nodes[1]; g->nodes[1] = node)
CHANGE(two_producers, g->nodes[1].outputs[0] = g->nodes[0].outputs[0])
CHANGE(produces_input, g->nodes[0].outputs[0] = g->inputs[0])
CHANGE(activation, g->nodes[1].activation = LEGO_ACT_TANH)
CHANGE(absent_needed, g->nodes[0].inputs[1] = -1)
CHANGE(inner_order, g->nodes[1].attrs[4].graph->outputs[0] = 77)
CHANGE(cycle_of_graphs, g->nodes[1].attrs[4].graph = g)

static const struct {
    void (*change)(struct lego_graph *graph);
    const char *word;
} changes[] = {
    {same_name, "two values"},
    {no_name, "no name"},
    {bad_symbol, "malformed shape"},
    {bad_rank, "malformed shape"},
    {bad_type, "element type"},
    {bad_tensor, "tensor does not exist"},
    {other_type, "differs from its tensor"},
    {other_bytes, "do not match its shape"},
    {no_data, "either dense or coded"},
    {both_forms, "either dense or coded"},
    {constant_input, "constant or listed twice"},
    {bad_input, "is no value"},
    {bad_output, "is no value"},
    {bad_operator, "no known operator"},
    {order, "before it is computed"},
    {two_producers, "second producer"},
    {produces_input, "second producer"},
    {activation, "cannot have activation"},
    {absent_needed, "no value at input 1"},
    {inner_order, "graph output 0 is no value"},
    {cycle_of_graphs, "too deep"},
};

START_TEST(unsound_graphs)
{
    struct lego_package *package = sample_full();
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(lego_graph_check(package->graph, &diag), LEGO_OK);
    changes[_i].change(package->graph);
    ck_assert_int_eq(lego_graph_check(package->graph, &diag), LEGO_E_FORMAT);
    ck_assert_msg(strstr(diag.text, changes[_i].word), "%s", diag.text);
    lego_package_destroy(package);
}
END_TEST

START_TEST(shapes)
{
    char text[64], cut[4];
    struct lego_package *package = sample_full();
    struct lego_shape shape = {4, {-1, 3, LEGO_DIM_UNKNOWN, -3}};
    ck_assert_str_eq(lego_shape_format(&shape, package->graph, text, sizeof(text)), "[N,3,?,s2]");
    ck_assert_str_eq(lego_shape_format(&shape, package->graph, cut, sizeof(cut)), "[N,");
    ck_assert(!lego_shape_is_static(&shape));
    size_t elems = 0;
    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_E_SHAPE);
    shape = (struct lego_shape){3, {INT64_MAX, 0, INT64_MAX}};
    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_OK);
    ck_assert_uint_eq(elems, 0);
    shape.dim[1] = 2;
    ck_assert_int_eq(lego_shape_elems(&shape, &elems), LEGO_E_OVERFLOW);
    lego_package_destroy(package);
}
END_TEST

static void count_up(void *counter)
{
    ++*(int *)counter;
}

START_TEST(growth_and_ownership)
{
    struct lego_graph *graph;
    const struct lego_shape shape = {.rank = 0};
    int released = 0;
    ck_assert_int_eq(lego_graph_create(0, &graph), LEGO_OK);
    ck_assert_int_eq(lego_graph_adopt(graph, &released, count_up), LEGO_OK);
    for (int32_t i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "v%d", i);
        ck_assert_int_eq(lego_graph_add_value(graph, name, LEGO_DTYPE_FLOAT32, &shape), i);
        /* A pass that puts an exact copy in the array's place must not be written past. */
        if (i == 500)
            graph->values = lego_arena_memdup(graph->arena, graph->values,
                                              graph->value_count * sizeof(*graph->values));
    }
    ck_assert_int_eq(lego_graph_find_value(graph, "v777"), 777);
    ck_assert_int_eq(lego_graph_find_value(graph, "none"), -1);
    ck_assert_int_eq(lego_graph_add_symbol(graph, "N"), 0);
    ck_assert_int_eq(lego_graph_add_symbol(graph, "M"), 1);
    ck_assert_int_eq(lego_graph_add_symbol(graph, "N"), 0);
    ck_assert_int_eq(released, 0);
    lego_graph_destroy(graph);
    ck_assert_int_eq(released, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tests = tcase_create("graph");
    tcase_add_loop_test(tests, unsound_graphs, 0, (int)(sizeof(changes) / sizeof(changes[0])));
    tcase_add_test(tests, shapes);
    tcase_add_test(tests, growth_and_ownership);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
