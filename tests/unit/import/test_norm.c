/*
 * LayerNormalization and squares that are written as formulas: found in all their forms, left alone
 * where somebody else needs a part, and computing the same.
 */
#include "model.h"

#include <stdio.h>

enum form {
    MUL_SQUARE,  /* d * d, not Pow(d, 2) */
    TWO_CENTRES, /* d computed twice */
    NO_SHIFT,    /* no beta */
    SWAPPED,     /* gamma * y, beta + y, epsilon + v */
    IN_A_BRANCH, /* all of it in a branch of an If */
    FORMS,
};

enum spoiler {
    CENTRE_USED = FORMS, /* d is an output, too */
    MEAN_USED,
    SCALE_OF_ONE, /* gamma has one element */
    OTHER_AXIS,
    FOURTH_POWER,
    OTHER_X, /* the variance of something else */
    ALL,
};

static void put_centre(struct model *model, const char *mean, const char *centre, int form)
{
    static const int64_t last = -1, first = 0;
    node_begin(model, "ReduceMean", "x", mean);
    node_ints(model, "axes", 1, form == OTHER_AXIS ? &first : &last);
    node_end(model);
    char inputs[32];
    snprintf(inputs, sizeof inputs, "x,%s", mean);
    model_node(model, "Sub", inputs, centre);
}

static void put_norm(struct model *model, int form)
{
    static const float two = 2, four = 4, epsilon = 1e-3f;
    static const int64_t last = -1;
    const char *squared = form == TWO_CENTRES ? "d2" : form == OTHER_X ? "x" : "d";
    char inputs[32];
    model_floats(model, "two", "", form == FOURTH_POWER ? &four : &two);
    model_floats(model, "epsilon", "", &epsilon);
    model_positive(model, "gamma", form == SCALE_OF_ONE ? "1" : "6");
    model_floats(model, "beta", "6", NULL);
    put_centre(model, "m", "d", form);
    if (form == TWO_CENTRES)
        put_centre(model, "m2", "d2", form);
    snprintf(inputs, sizeof inputs, form == MUL_SQUARE ? "%s,d" : "%s,two", squared);
    model_node(model, form == MUL_SQUARE ? "Mul" : "Pow", inputs, "q");
    node_begin(model, "ReduceMean", "q", "v");
    node_ints(model, "axes", 1, &last);
    node_end(model);
    model_node(model, "Add", form == SWAPPED ? "epsilon,v" : "v,epsilon", "e");
    model_node(model, "Sqrt", "e", "s");
    model_node(model, "Div", "d,s", "n");
    model_node(model, "Mul", form == SWAPPED ? "gamma,n" : "n,gamma", form == NO_SHIFT ? "y" : "g");
    if (form != NO_SHIFT)
        model_node(model, "Add", form == SWAPPED ? "beta,g" : "g,beta", "y");
    model_output(model, "y");
    if (form == CENTRE_USED || form == MEAN_USED)
        model_output(model, form == CENTRE_USED ? "d" : "m");
}

/* Of the branches of the If, where there is one. */
static const struct lego_graph *inner(const struct lego_graph *graph, bool branch)
{
    return branch ? lego_node_attr(find_node(graph, LEGO_OP_If), "then_branch")->graph : graph;
}

START_TEST(layer_norm)
{
    struct model model, then, other;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,4,6");
    if (_i == IN_A_BRANCH) {
        model_input(&model, "c", LEGO_DTYPE_BOOL, "");
        model_open(&then, 13);
        put_norm(&then, _i);
        model_open(&other, 13);
        model_node(&other, "Neg", "x", "z");
        model_output(&other, "z");
        node_begin(&model, "If", "c", "y");
        node_graph(&model, "then_branch", &then);
        node_graph(&model, "else_branch", &other);
        node_end(&model);
        model_output(&model, "y");
    } else {
        put_norm(&model, _i);
    }
    struct lego_package *package =
        _i == IN_A_BRANCH ? model_import(&model, false) : model_compare(&model);
    const struct lego_graph *graph = inner(package->graph, _i == IN_A_BRANCH);
    ck_assert_uint_eq(count_nodes(graph, LEGO_OP_LayerNormalization), _i < FORMS);
    if (_i < FORMS) {
        const struct lego_node *node = find_node(graph, LEGO_OP_LayerNormalization);
        ck_assert_uint_eq(graph->node_count, 1);
        ck_assert_uint_eq(node->input_count, _i == NO_SHIFT ? 2 : 3);
        ck_assert_float_eq(lego_node_float(node, "epsilon", 0), 1e-3f);
    }
    if (_i != FOURTH_POWER)
        ck_assert_uint_eq(count_nodes(graph, LEGO_OP_Pow), 0);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: normalisation as formulas");
    TCase *tcase = tcase_create("norm");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, layer_norm, 0, ALL);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
