/*
 * If, Loop and Scan: imported, inferred, evaluated, run, written to both formats and read again;
 * and what hostile ones can do.
 */
#include "agent/runtime/legonet.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lego_array vector(float *data, int64_t count)
{
    return (struct lego_array){
        .dtype = LEGO_DTYPE_FLOAT32, .shape = {.rank = 1, .dim = {count}}, .data = data};
}

static struct lego_array scalar_of(enum lego_dtype dtype, void *data)
{
    return (struct lego_array){.dtype = dtype, .data = data};
}

/* What a test expects of one output: always floats. */
struct expected {
    struct lego_shape shape;
    float values[12];
};

static void expect_array(enum lego_dtype dtype, const struct lego_shape *shape, const void *data,
                         const struct expected *expected)
{
    size_t elems;
    ck_assert_int_eq(dtype, LEGO_DTYPE_FLOAT32);
    ck_assert(lego_shape_equal(shape, &expected->shape));
    ck_assert_int_eq(lego_shape_elems(shape, &elems), 0);
    for (size_t i = 0; i < elems; i++)
        ck_assert_float_eq_tol(((const float *)data)[i], expected->values[i], 1e-6);
}

/* By the reference evaluation. */
static void expect_evaluation(const struct lego_graph *graph, const struct lego_array *inputs,
                              const struct expected *expected)
{
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_array outputs[4];
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_graph_evaluate(graph, inputs, outputs, arena, &diag) == 0, "%s", diag.text);
    for (uint32_t i = 0; i < graph->output_count; i++)
        expect_array(outputs[i].dtype, &outputs[i].shape, outputs[i].data, &expected[i]);
    lego_arena_destroy(arena);
}

/* By the runtime, twice; takes the package. */
static void expect_run(struct lego_package *package, const struct lego_array *inputs,
                       const struct expected *expected)
{
    uint32_t input_count = package->graph->input_count, count = package->graph->output_count;
    struct lego_model *model = NULL;
    struct lego_session *session = NULL;
    struct lego_io in[4] = {0}, out[4] = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_model_from_package(package, NULL, &model, &diag) == 0, "%s", diag.text);
    ck_assert_int_eq(lego_session_create(model, &(struct lego_session_options){1}, &session, &diag),
                     0);
    for (uint32_t i = 0; i < input_count; i++) {
        size_t elems;
        ck_assert_int_eq(lego_shape_elems(&inputs[i].shape, &elems), 0);
        in[i] = (struct lego_io){inputs[i].dtype, inputs[i].shape, inputs[i].data,
                                 elems * lego_dtype_bytes(inputs[i].dtype)};
    }
    for (int round = 0; round < 2; round++) {
        memset(out, 0, sizeof out);
        ck_assert_msg(lego_session_run(session, in, input_count, out, count, &diag) == 0, "%s",
                      diag.text);
        for (uint32_t i = 0; i < count; i++)
            expect_array(out[i].dtype, &out[i].shape, out[i].data, &expected[i]);
    }
    lego_session_destroy(session);
    lego_model_close(model);
}

static struct lego_package *through_container(const struct lego_package *package)
{
    char path[] = "/tmp/lego-flow-XXXXXX";
    struct lego_package *again = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_msg(lego_package_write(package, path, NULL, &diag) == 0, "%s", diag.text);
    ck_assert_msg(lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &again, &diag) == 0, "%s",
                  diag.text);
    unlink(path);
    return again;
}

static struct lego_package *through_onnx(const struct lego_package *package)
{
    char path[] = "/tmp/lego-flow-XXXXXX";
    struct lego_package *again = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_msg(export_onnx(package, path, &diag) == 0, "%s", diag.text);
    ck_assert_msg(import_onnx(path, NULL, &again, &diag) == 0, "%s", diag.text);
    unlink(path);
    return again;
}

/* In every way there is. */
static void expect_everywhere(struct model *model, const struct lego_array *inputs,
                              const struct expected *expected)
{
    struct lego_package *plain = model_import(model, true), *fused = model_import(model, false);
    expect_evaluation(plain->graph, inputs, expected);
    expect_evaluation(fused->graph, inputs, expected);
    struct lego_package *stored = through_container(fused), *exported = through_onnx(fused);
    expect_evaluation(stored->graph, inputs, expected);
    expect_evaluation(exported->graph, inputs, expected);
    expect_run(stored, inputs, expected);
    expect_run(exported, inputs, expected);
    expect_run(fused, inputs, expected);
    lego_package_destroy(plain);
}

static void put_condition(struct model *model, uint8_t value)
{
    node_begin(model, "Constant", NULL, "c");
    node_tensor(model, "value", LEGO_DTYPE_BOOL, "", &value, 1);
    node_end(model);
}

/* then: n + w, with w its own; else: -x, beside which the outer Neg's output lives on. */
static void put_if(struct model *model)
{
    static const float w[] = {10, 20};
    struct model then, other;
    model_open(&then, 13);
    model_floats(&then, "w", "2", w);
    model_node(&then, "Add", "n,w", "sum");
    model_output(&then, "sum");
    model_open(&other, 13);
    model_node(&other, "Neg", "x", "minus");
    model_output(&other, "minus");
    model_node(model, "Abs", "x", "n");
    node_begin(model, "If", "c", "y");
    node_graph(model, "else_branch", &other);
    node_graph(model, "then_branch", &then);
    node_end(model);
    model_output(model, "y");
}

START_TEST(if_by_input)
{
    static const struct expected expected[2] = {{{1, {2}}, {-1, 2}}, {{1, {2}}, {11, 22}}};
    float x[] = {1, -2};
    uint8_t condition = (uint8_t)_i;
    struct lego_array inputs[] = {scalar_of(LEGO_DTYPE_BOOL, &condition), vector(x, 2)};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "c", LEGO_DTYPE_BOOL, "");
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    put_if(&model);
    struct lego_package *package = model_import(&model, false);
    ck_assert_uint_eq(count_nodes(package->graph, LEGO_OP_Abs), 1);
    ck_assert_uint_eq(find_node(package->graph, LEGO_OP_If)->input_count, 3);
    lego_package_destroy(package);
    expect_everywhere(&model, inputs, &expected[_i]);
    model_free(&model);
}
END_TEST

/* A condition that is known puts the branch in place: nothing else is left. */
START_TEST(if_decided)
{
    static const struct expected expected[2] = {{{1, {2}}, {-1, 2}}, {{1, {2}}, {11, 22}}};
    float x[] = {1, -2};
    struct lego_array inputs[] = {vector(x, 2)};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    put_condition(&model, (uint8_t)_i);
    put_if(&model);
    struct lego_package *package = model_import(&model, false);
    ck_assert_uint_eq(count_nodes(package->graph, LEGO_OP_If), 0);
    ck_assert_uint_eq(package->graph->node_count, _i ? 2 : 1);
    ck_assert_uint_eq(package->graph->tensor_count, _i ? 1 : 0);
    lego_package_destroy(package);
    expect_everywhere(&model, inputs, &expected[_i]);
    model_free(&model);
}
END_TEST

/* Branches that only give back what is around them, or a constant, and an If inside. */
START_TEST(if_passes_through)
{
    static const float w[] = {7, 8};
    static const struct expected expected[] = {{{1, {2}}, {1, -2}}, {{1, {2}}, {7, 8}}};
    float x[] = {1, -2};
    struct lego_array inputs[] = {vector(x, 2)};
    struct model model, then[2], other[2];
    for (int i = 0; i < 2; i++) {
        model_open(&then[i], 13);
        model_open(&other[i], 13);
        if (i == 1) {
            node_begin(&then[1], "If", "c", "a,b");
            node_graph(&then[1], "then_branch", &then[0]);
            node_graph(&then[1], "else_branch", &other[0]);
            node_end(&then[1]);
        }
        if (i == 0)
            model_floats(&then[0], "b", "2", w);
        model_output(&then[i], i ? "a" : "x");
        model_output(&then[i], "b");
        model_output(&other[i], "x");
        model_output(&other[i], "x");
    }
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    put_condition(&model, 1);
    node_begin(&model, "If", "c", "y,z");
    node_graph(&model, "then_branch", &then[1]);
    node_graph(&model, "else_branch", &other[1]);
    node_end(&model);
    model_output(&model, "y");
    model_output(&model, "z");
    expect_everywhere(&model, inputs, expected);
    model_free(&model);
}
END_TEST

/* A branch that could not work for this shape is one that is not taken. */
START_TEST(if_guards)
{
    static const int64_t axis[] = {0};
    static const struct expected expected = {{1, {2}}, {1, 2}};
    float x[] = {1, 2};
    uint8_t no = 0;
    struct lego_array inputs[] = {scalar_of(LEGO_DTYPE_BOOL, &no), vector(x, 2)};
    struct model model, then, other;
    model_open(&then, 13);
    model_ints(&then, "axis", "1", axis);
    model_node(&then, "Squeeze", "x,axis", "s");
    model_output(&then, "s");
    model_open(&other, 13);
    model_node(&other, "Identity", "x", "i");
    model_output(&other, "i");
    model_open(&model, 13);
    model_input(&model, "c", LEGO_DTYPE_BOOL, "");
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "If", "c", "y");
    node_graph(&model, "then_branch", &then);
    node_graph(&model, "else_branch", &other);
    node_end(&model);
    model_output(&model, "y");
    expect_everywhere(&model, inputs, &expected);
    model_free(&model);
}
END_TEST

/* sum' = sum + x while i < limit; each sum is stacked. x is captured through an If in the body. */
static void put_loop(struct model *model, const char *inputs)
{
    struct model body, then, other;
    model_open(&then, 13);
    model_node(&then, "Identity", "x", "t");
    model_output(&then, "t");
    model_open(&other, 13);
    model_node(&other, "Neg", "x", "e");
    model_output(&other, "e");
    model_open(&body, 13);
    model_input(&body, "i", LEGO_DTYPE_INT64, "");
    model_input(&body, "going", LEGO_DTYPE_BOOL, "");
    model_input(&body, "sum", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&body, "If", "going", "step");
    node_graph(&body, "then_branch", &then);
    node_graph(&body, "else_branch", &other);
    node_end(&body);
    model_node(&body, "Add", "sum,step", "next");
    model_node(&body, "Less", "i,limit", "go");
    model_node(&body, "Identity", "next", "each");
    model_output(&body, "go");
    model_output(&body, "next");
    model_output(&body, "each");
    node_begin(model, "Loop", inputs, "y,z");
    node_graph(model, "body", &body);
    node_end(model);
    model_output(model, "y");
    model_output(model, "z");
}

START_TEST(loop_sums)
{
    static const struct expected expected[3][2] = {
        {{{1, {2}}, {3, -3}}, {{2, {3, 2}}, {1, -1, 2, -2, 3, -3}}}, /* ended by the condition */
        {{{1, {2}}, {2, -2}}, {{2, {2, 2}}, {1, -1, 2, -2}}},        /* by the count */
        {{{1, {2}}, {0, 0}}, {{2, {0, 2}}, {0}}},                    /* not begun */
    };
    static const float zero[] = {0, 0};
    static const int64_t two[] = {2};
    float x[] = {1, -1};
    int64_t limit = 1;
    struct lego_array inputs[] = {scalar_of(LEGO_DTYPE_INT64, &limit), vector(x, 2)};
    struct model model;
    limit = 1;
    model_open(&model, 13);
    model_input(&model, "limit", LEGO_DTYPE_INT64, "");
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    model_floats(&model, "zero", "2", zero);
    model_ints(&model, "two", "", two);
    put_condition(&model, _i != 2);
    if (_i == 0)
        limit = 2;
    put_loop(&model, _i == 0 ? ",,zero" : _i == 1 ? "two,,zero" : "two,c,zero");
    expect_everywhere(&model, inputs, expected[_i]);
    model_free(&model);
}
END_TEST

/* What is carried grows; how often is an input. */
START_TEST(loop_grows)
{
    static const struct expected expected = {{1, {4}}, {1, 2, 2, 2}};
    float x[] = {1};
    int64_t trips = 3;
    struct lego_array inputs[] = {scalar_of(LEGO_DTYPE_INT64, &trips), vector(x, 1)};
    static const float two[] = {2};
    struct model model, body;
    model_open(&body, 13);
    model_input(&body, "i", LEGO_DTYPE_INT64, "");
    model_input(&body, "going", LEGO_DTYPE_BOOL, "");
    model_input(&body, "list", LEGO_DTYPE_FLOAT32, "N");
    model_floats(&body, "two", "1", two);
    node_begin(&body, "Concat", "list,two", "longer");
    node_int(&body, "axis", 0);
    node_end(&body);
    model_output(&body, "going");
    model_output(&body, "longer");
    model_open(&model, 13);
    model_input(&model, "trips", LEGO_DTYPE_INT64, "");
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1");
    node_begin(&model, "Loop", "trips,,x", "y");
    node_graph(&model, "body", &body);
    node_end(&model);
    model_output(&model, "y");
    expect_everywhere(&model, inputs, &expected);
    model_free(&model);
}
END_TEST

/* Sequences along axis 1, one of them and the output backwards. */
START_TEST(scan_axes)
{
    static const struct expected expected[2] = {
        {{1, {2}}, {6, 60}},
        {{2, {2, 3}}, {9, 10, 11, 30, 40, 50}},
    };
    static const int64_t axes[] = {1, 1}, directions[] = {0, 1}, one[] = {1};
    static const float zero[] = {0, 0};
    float x[] = {1, 2, 3, 10, 20, 30}, f[] = {8, 8, 8, 0, 0, 0};
    struct lego_array inputs[] = {vector(x, 6), vector(f, 6)};
    struct model model, body;
    for (int i = 0; i < 2; i++)
        inputs[i].shape = (struct lego_shape){.rank = 2, .dim = {2, 3}};
    model_open(&body, 13);
    model_input(&body, "sum", LEGO_DTYPE_FLOAT32, "2");
    model_input(&body, "each", LEGO_DTYPE_FLOAT32, "2");
    model_input(&body, "other", LEGO_DTYPE_FLOAT32, "2");
    model_node(&body, "Add", "sum,each", "next");
    model_node(&body, "Add", "each,other", "out");
    model_output(&body, "next");
    model_output(&body, "out");
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2,T");
    model_input(&model, "f", LEGO_DTYPE_FLOAT32, "2,T");
    model_floats(&model, "zero", "2", zero);
    node_begin(&model, "Scan", "zero,x,f", "y,z");
    node_graph(&model, "body", &body);
    node_int(&model, "num_scan_inputs", 2);
    node_ints(&model, "scan_input_axes", 2, axes);
    node_ints(&model, "scan_input_directions", 2, directions);
    node_ints(&model, "scan_output_axes", 1, one);
    node_ints(&model, "scan_output_directions", 1, _i ? one : (const int64_t[]){0});
    node_end(&model);
    model_output(&model, "y");
    model_output(&model, "z");
    struct expected want[2] = {expected[0], expected[1]};
    static const float forwards[] = {9, 10, 11, 10, 20, 30};
    for (int i = 0; i < 6; i++)
        want[1].values[i] = forwards[_i ? (i / 3 * 3) + 2 - i % 3 : i];
    expect_everywhere(&model, inputs, want);
    model_free(&model);
}
END_TEST

/* Loops without end, of more and more memory or of none: both end with a sentence. */
START_TEST(loop_without_end)
{
    static const int64_t doublings = 64;
    float x[] = {1};
    struct lego_array inputs[] = {vector(x, 1)}, output;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_arena *arena = lego_arena_create(0);
    struct model model, body;
    model_open(&body, 13);
    model_input(&body, "i", LEGO_DTYPE_INT64, "");
    model_input(&body, "going", LEGO_DTYPE_BOOL, "");
    model_input(&body, "list", LEGO_DTYPE_FLOAT32, "N");
    if (_i) {
        node_begin(&body, "Concat", "list,list", "next");
        node_int(&body, "axis", 0);
        node_end(&body);
    }
    model_output(&body, "going");
    model_output(&body, _i ? "next" : "list");
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1");
    model_ints(&model, "doublings", "", &doublings);
    node_begin(&model, "Loop", _i ? "doublings,,x" : ",,x", "y");
    node_graph(&model, "body", &body);
    node_end(&model);
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, false);
    int status = lego_graph_evaluate(package->graph, inputs, &output, arena, &diag);
    ck_assert_int_eq(status, _i ? LEGO_E_NOMEM : LEGO_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(diag.text, _i ? "memory" : "Loop"));
    lego_arena_destroy(arena);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

START_TEST(malformed)
{
    static const struct {
        const char *type, *attr, *inputs;
        int status;
        const char *word;
    } cases[] = {
        {"If", "then_branch", "c", LEGO_E_FORMAT, "no else_branch"},
        {"Loop", NULL, "m,c,x", LEGO_E_FORMAT, "no body"},
        {"Loop", "body", "m,c,x", LEGO_E_FORMAT, "not those of the body"},
        {"Loop", "other", "m,c,x", LEGO_E_UNSUPPORTED, "with a subgraph"},
        {"Scan", "body", "x", LEGO_E_FORMAT, "impossible numbers"},
        {"Relu", "body", "x", LEGO_E_UNSUPPORTED, "with a subgraph"},
    };
    struct model model, body;
    model_open(&body, 13);
    model_node(&body, "Neg", "x", "n");
    model_output(&body, "n");
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1");
    model_input(&model, "m", LEGO_DTYPE_INT64, "");
    model_input(&model, "c", LEGO_DTYPE_BOOL, "");
    node_begin(&model, cases[_i].type, cases[_i].inputs, "y");
    if (cases[_i].attr)
        node_graph(&model, cases[_i].attr, &body);
    else
        model_free(&body);
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, cases[_i].status, cases[_i].word);
    model_free(&model);
}
END_TEST

/* What is not supported inside is named, as it is outside. */
START_TEST(refused_inside)
{
    struct model model, body[2];
    for (int i = 0; i < 2; i++) {
        model_open(&body[i], 13);
        model_node(&body[i], i ? "Neg" : "SequenceEmpty", i ? "x" : "", "n");
        model_output(&body[i], "n");
    }
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1");
    model_input(&model, "c", LEGO_DTYPE_BOOL, "");
    node_begin(&model, "If", "c", "y");
    node_graph(&model, "then_branch", &body[0]);
    node_graph(&model, "else_branch", &body[1]);
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "SequenceEmpty");
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: control flow");
    TCase *tcase = tcase_create("flow");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, if_by_input, 0, 2);
    tcase_add_loop_test(tcase, if_decided, 0, 2);
    tcase_add_test(tcase, if_passes_through);
    tcase_add_test(tcase, if_guards);
    tcase_add_loop_test(tcase, loop_sums, 0, 3);
    tcase_add_test(tcase, loop_grows);
    tcase_add_loop_test(tcase, scan_axes, 0, 2);
    tcase_add_loop_test(tcase, loop_without_end, 0, 2);
    tcase_add_loop_test(tcase, malformed, 0, 6);
    tcase_add_test(tcase, refused_inside);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
