/*
 * Branches of Ifs: they go through the passes, their weights move out and are coded, and the
 * runtime plans for what inputs decide.
 */
#include "agent/runtime/legonet.h"
#include "codec/encode/weights.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 64, OUTPUTS = 32 };

/* relu(x V + b) for one rate, tanh(x W) for all others; `shares`: plus row N of W. */
static void put_network(struct model *model, bool shares)
{
    static const int64_t rate = 16000, first = 0;
    struct model then, other;
    model_open(model, 13);
    model_input(model, "x", LEGO_DTYPE_FLOAT32, "N,64");
    model_input(model, "rate", LEGO_DTYPE_INT64, "");
    model_ints(model, "sixteen", "", &rate);
    model_node(model, "Equal", "rate,sixteen", "c");
    model_open(&then, 13);
    model_floats(&then, "v", "64,32", NULL);
    model_floats(&then, "b", "32", NULL);
    model_node(&then, "Gemm", "x,v,b", "p");
    model_node(&then, "Relu", "p", "r");
    model_output(&then, "r");
    model_open(&other, 13);
    model_floats(&other, "w", "64,32", NULL);
    model_ints(&other, "first", "1", &first);
    model_node(&other, "MatMul", "x,w", "q");
    model_node(&other, "Tanh", "q", shares ? "t" : "s");
    if (shares) {
        model_node(&other, "Shape", "x", "sizes");
        model_node(&other, "Gather", "sizes,first", "row");
        model_node(&other, "Gather", "w,row", "g");
        model_node(&other, "Add", "t,g", "s");
    }
    model_output(&other, "s");
    node_begin(model, "If", "c", "y");
    node_graph(model, "then_branch", &then);
    node_graph(model, "else_branch", &other);
    node_end(model);
    model_output(model, "y");
}

static const struct lego_graph *branch(const struct lego_graph *graph, const char *name)
{
    return lego_node_attr(find_node(graph, LEGO_OP_If), name)->graph;
}

START_TEST(weights_move_out)
{
    struct model model;
    put_network(&model, false);
    struct lego_package *package = model_import(&model, false);
    const struct lego_graph *graph = package->graph;
    const struct lego_graph *then = branch(graph, "then_branch");
    const struct lego_graph *other = branch(graph, "else_branch");
    ck_assert_uint_eq(then->node_count, 1);
    ck_assert_int_eq(then->nodes[0].activation, LEGO_ACT_CLAMP);
    ck_assert_uint_eq(then->tensor_count, 1); /* the bias is too small to move */
    ck_assert_uint_eq(other->node_count, 1);
    ck_assert_int_eq(other->nodes[0].activation, LEGO_ACT_TANH);
    ck_assert_uint_eq(other->tensor_count, 0);
    ck_assert_uint_eq(find_node(graph, LEGO_OP_If)->input_count, 1 + 2 + 2);
    ck_assert_uint_eq(graph->original_weights, 2 * COLUMNS * OUTPUTS + OUTPUTS);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

/* Two nodes of a branch that see different matrices: it stays dense. */
START_TEST(weights_are_found)
{
    struct encode_weight *weights;
    uint32_t count;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct model model;
    put_network(&model, _i != 0);
    struct lego_package *package = model_import(&model, false);
    ck_assert_int_eq(encode_weights_find(package->graph, &weights, &count, &diag), 0);
    ck_assert_uint_eq(count, _i ? 1 : 2);
    ck_assert_int_eq(weights[0].view, LEGO_VIEW_OUT_LAST);
    ck_assert_uint_eq(weights[0].rows, OUTPUTS);
    ck_assert_uint_eq(weights[0].columns, COLUMNS);
    free(weights);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

static struct lego_array reference(const struct lego_graph *graph, float *x, int64_t *rate,
                                   struct lego_arena *arena)
{
    const struct lego_array inputs[] = {
        {.dtype = LEGO_DTYPE_FLOAT32, .shape = {.rank = 2, .dim = {2, COLUMNS}}, .data = x},
        {.dtype = LEGO_DTYPE_INT64, .data = rate}};
    struct lego_array output;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_graph_evaluate(graph, inputs, &output, arena, &diag) == 0, "%s", diag.text);
    return output;
}

/* Both branches in turn, and more rates than are worth plans. */
START_TEST(runs_what_is_decided)
{
    struct model model;
    float x[2 * COLUMNS];
    struct lego_diag diag = LEGO_DIAG_INIT;
    put_network(&model, false);
    struct lego_package *plain = model_import(&model, true);
    struct lego_model *opened = NULL;
    struct lego_session *session = NULL;
    ck_assert_int_eq(lego_model_from_package(model_import(&model, false), NULL, &opened, &diag), 0);
    ck_assert_int_eq(
        lego_session_create(opened, &(struct lego_session_options){1}, &session, &diag), 0);
    for (int i = 0; i < 2 * COLUMNS; i++)
        x[i] = (float)(i % 7 - 3) / 4;
    for (int round = 0; round < 60; round++) {
        int64_t rate = round % 3 ? round : 16000;
        struct lego_arena *arena = lego_arena_create(0);
        const struct lego_array expected = reference(plain->graph, x, &rate, arena);
        struct lego_io in[2] = {{LEGO_DTYPE_FLOAT32, {.rank = 2, .dim = {2, COLUMNS}}, x, sizeof x},
                                {LEGO_DTYPE_INT64, {.rank = 0}, &rate, sizeof rate}};
        struct lego_io out = {0};
        if (round % 2) /* a plan without decisions in between */
            ck_assert_int_eq(lego_session_prepare(session, in, 2, NULL, 0, &diag), 0);
        ck_assert_msg(lego_session_run(session, in, 2, &out, 1, &diag) == 0, "%s", diag.text);
        ck_assert(lego_shape_equal(&out.shape, &expected.shape));
        for (int i = 0; i < 2 * OUTPUTS; i++)
            ck_assert_float_eq_tol(((const float *)out.data)[i], ((const float *)expected.data)[i],
                                   1e-5);
        if (round < 3) /* no step is evaluated where the If is gone */
            ck_assert(lego_session_is_steady(session, in, 2));
        lego_arena_destroy(arena);
    }
    lego_session_destroy(session);
    lego_model_close(opened);
    lego_package_destroy(plain);
    model_free(&model);
}
END_TEST

/* Only whole numbers of one element decide, and only where nothing else does. */
START_TEST(deciding_inputs)
{
    static const int64_t zero = 0;
    struct model model, then, other;
    bool decides[3];
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    model_input(&model, "k", LEGO_DTYPE_INT64, _i == 1 ? "2" : "1");
    model_input(&model, "unused", LEGO_DTYPE_INT64, "");
    model_ints(&model, "zero", "1", &zero);
    if (_i == 2) {
        model_node(&model, "ReduceSum", "x", "sum");
        node_begin(&model, "Cast", "sum", "number");
        node_int(&model, "to", LEGO_DTYPE_INT64);
        node_end(&model);
        model_node(&model, "Add", "k,number", "k2");
    } else {
        model_node(&model, "Neg", "k", "k1");
        model_ints(&model, "axes", "1", &zero);
        model_node(&model, "ReduceSum", "k1,axes", "k2");
    }
    model_node(&model, "Equal", "k2,zero", "c1");
    model_node(&model, "Squeeze", "c1", "c");
    for (int i = 0; i < 2; i++) {
        model_open(i ? &other : &then, 13);
        model_node(i ? &other : &then, i ? "Neg" : "Abs", "x", "z");
        model_output(i ? &other : &then, "z");
    }
    node_begin(&model, "If", "c", "y");
    node_graph(&model, "then_branch", &then);
    node_graph(&model, "else_branch", &other);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, false);
    ck_assert_int_eq(lego_graph_deciding_inputs(package->graph, decides), 0);
    ck_assert(!decides[0] && !decides[2]);
    ck_assert(decides[1] == (_i == 0));
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: branches");
    TCase *tcase = tcase_create("branches");
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, weights_move_out);
    tcase_add_loop_test(tcase, weights_are_found, 0, 2);
    tcase_add_test(tcase, runs_what_is_decided);
    tcase_add_loop_test(tcase, deciding_inputs, 0, 3);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
