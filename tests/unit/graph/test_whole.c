/*
 * Each case of eval_cases.def as a graph: with all inputs constant it folds away, with open shapes
 * it is inferred without contradicting what it turns out to be, and specialised it gives the same.
 */
#include "codec/graph/eval_node.h"
#include "tests/unit/graph/build_graph.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eval_case {
    enum lego_op op;
    const char *attrs, *inputs, *outputs;
};

static const struct eval_case cases[] = {
#define CASE(op, attrs, inputs, outputs) {LEGO_OP_##op, attrs, inputs, outputs},
#include "tests/unit/graph/eval_cases.def"
#undef CASE
};
#define CASE_COUNT ((int)(sizeof(cases) / sizeof(*cases)))

static struct lego_graph *graph;
static struct lego_arena *arena;
static struct lego_array inputs[16], wanted[8];
static uint32_t input_count, wanted_count;
static struct lego_diag diag;

static void setup(void)
{
    ck_assert_int_eq(lego_graph_create(0, &graph), LEGO_OK);
    arena = lego_arena_create(0);
    diag = (struct lego_diag)LEGO_DIAG_INIT;
}

static void teardown(void)
{
    lego_graph_destroy(graph);
    lego_arena_destroy(arena);
}

/* Makes the graph of a case; `constant` says of each input whether it is one, else it is fed. */
static void make_graph(const struct eval_case *test, unsigned constant, bool open)
{
    int32_t in[16], out[8];
    char names[256] = "", outputs[64] = "", name[16];
    input_count = make_arrays(arena, test->inputs, inputs, in);
    wanted_count = make_arrays(arena, test->outputs, wanted, out);
    for (uint32_t i = 0; i < input_count; i++) {
        snprintf(name, sizeof(name), in[i] < 0 ? "-" : "x%u", i);
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? "," : "", name);
        if (in[i] < 0)
            continue;
        if (constant >> i & 1u) {
            add_constant(graph, name, inputs[i]);
            continue;
        }
        add_input(graph, name, inputs[i].dtype, "");
        struct lego_shape *shape = &graph->values[lego_graph_find_value(graph, name)].shape;
        *shape = inputs[i].shape;
        for (int d = 0; open && d < shape->rank; d++) { /* equal sizes are equal symbols */
            snprintf(name, sizeof(name), "N%d", (int)shape->dim[d]);
            shape->dim[d] = -1 - lego_graph_add_symbol(graph, name);
        }
    }
    for (uint32_t i = 0; i < wanted_count; i++)
        snprintf(outputs + strlen(outputs), sizeof(outputs) - strlen(outputs), i ? ",y%u" : "y%u",
                 i);
    add_node(graph, test->op, names, outputs, test->attrs);
    for (uint32_t i = 0; i < wanted_count; i++) {
        snprintf(name, sizeof(name), "y%u", i);
        add_output(graph, name);
    }
}

static void expect_same(const struct eval_case *test, uint32_t index, enum lego_dtype dtype,
                        const struct lego_shape *shape, const void *data)
{
    const struct lego_array *want = &wanted[index];
    struct lego_array have = {dtype, *shape, (void *)(uintptr_t)data};
    ck_assert_int_eq(dtype, want->dtype);
    ck_assert(lego_shape_equal(shape, &want->shape));
    for (size_t i = 0; i < eval_elems(want); i++) {
        double x = eval_get_real(&have, i), y = eval_get_real(want, i);
        ck_assert_msg(fabs(x - y) <= 2e-7 * fabs(y) + 1e-7, "%s: %g, not %g",
                      lego_op_name(test->op), x, y);
    }
}

START_TEST(test_constants_fold)
{
    const struct eval_case *test = &cases[_i];
    make_graph(test, ~0u, false);
    ck_assert_msg(lego_graph_infer(graph, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_msg(lego_graph_check(graph, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(graph->node_count, 0);
    ck_assert_uint_eq(graph->tensor_count, wanted_count);
    for (uint32_t i = 0; i < wanted_count; i++) {
        const struct lego_value *value = &graph->values[graph->outputs[i]];
        ck_assert_int_ge(value->tensor, 0);
        const struct lego_tensor *tensor = &graph->tensors[value->tensor];
        expect_same(test, i, tensor->dtype, &tensor->shape, tensor->data);
    }
}
END_TEST

/* What inference said with open shapes must not contradict the real one. */
static void expect_compatible(const struct eval_case *test, const struct lego_value *value,
                              const struct lego_array *want)
{
    ck_assert_int_eq(value->dtype, want->dtype);
    if (value->shape.rank == LEGO_RANK_UNKNOWN)
        return;
    ck_assert_int_eq(value->shape.rank, want->shape.rank);
    for (int d = 0; d < value->shape.rank; d++) {
        int64_t dim = value->shape.dim[d];
        if (dim < 0 && dim != LEGO_DIM_UNKNOWN)
            dim = strtol(graph->symbols[-1 - dim] + 1, NULL, 10);
        ck_assert_msg(dim == LEGO_DIM_UNKNOWN || dim == want->shape.dim[d],
                      "%s %s: axis %d inferred as %lld, is %lld", lego_op_name(test->op),
                      test->inputs, d, (long long)dim, (long long)want->shape.dim[d]);
    }
}

static void specialise_and_run(const struct eval_case *test)
{
    struct lego_graph *special;
    struct lego_shape shapes[16];
    struct lego_array fed[16], outputs[8];
    for (uint32_t i = 0; i < graph->input_count; i++) {
        const char *name = graph->values[graph->inputs[i]].name;
        fed[i] = inputs[strtol(name + 1, NULL, 10)];
        shapes[i] = fed[i].shape;
    }
    int status = lego_graph_specialise(graph, shapes, &special, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert_msg(lego_graph_check(special, &diag) == LEGO_OK, "%s", diag.text);
    status = lego_graph_evaluate(special, fed, outputs, arena, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    for (uint32_t i = 0; i < wanted_count; i++)
        expect_same(test, i, outputs[i].dtype, &outputs[i].shape, outputs[i].data);
    lego_graph_destroy(special);
}

/* The first input fed with an open shape, the others constant (mask 1) or fed as well (mask 0). */
static void run_open(const struct eval_case *test, unsigned constant)
{
    make_graph(test, constant, true);
    ck_assert_msg(lego_graph_infer(graph, &diag) == LEGO_OK, "%s %s: %s", lego_op_name(test->op),
                  test->inputs, diag.text);
    ck_assert_msg(lego_graph_check(graph, &diag) == LEGO_OK, "%s", diag.text);
    for (uint32_t i = 0; i < wanted_count; i++)
        expect_compatible(test, &graph->values[graph->outputs[i]], &wanted[i]);
    specialise_and_run(test);
}

START_TEST(test_open_input)
{
    run_open(&cases[_i], ~1u);
}
END_TEST

START_TEST(test_all_open)
{
    run_open(&cases[_i], 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_whole");
    TCase *tcase = tcase_create("whole");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_constants_fold, 0, CASE_COUNT);
    tcase_add_loop_test(tcase, test_open_input, 0, CASE_COUNT);
    tcase_add_loop_test(tcase, test_all_open, 0, CASE_COUNT);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
