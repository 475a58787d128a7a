/*
 * The evaluators, family by family: eval_cases.def; fused forms; faults in contents.
 */
#include "codec/graph/eval_node.h"
#include "tests/unit/graph/build_graph.h"

#include <check.h>
#include <math.h>
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

static void setup(void)
{
    ck_assert_int_eq(lego_graph_create(0, &graph), LEGO_OK);
    arena = lego_arena_create(0);
}

static void teardown(void)
{
    lego_graph_destroy(graph);
    lego_arena_destroy(arena);
}

static void expect_array(const struct eval_case *test, const struct lego_array *have,
                         const struct lego_array *want)
{
    char a[128], b[128];
    ck_assert_msg(have->dtype == want->dtype && lego_shape_equal(&have->shape, &want->shape),
                  "%s %s: %s%s, not %s%s", lego_op_name(test->op), test->attrs,
                  lego_dtype_name(have->dtype), lego_shape_format(&have->shape, NULL, a, sizeof(a)),
                  lego_dtype_name(want->dtype),
                  lego_shape_format(&want->shape, NULL, b, sizeof(b)));
    for (size_t i = 0; i < eval_elems(want); i++) {
        double x = eval_get_real(have, i), y = eval_get_real(want, i);
        ck_assert_msg(fabs(x - y) <= 2e-7 * fabs(y) + 1e-7,
                      "%s %s (%s): element %zu is %.9g, not %.9g", lego_op_name(test->op),
                      test->attrs, test->inputs, i, x, y);
    }
}

/* The case's node in `node`, its inputs in `arrays`. */
static void make_case(const struct eval_case *test, struct lego_node *node,
                      struct lego_array *arrays, const struct lego_array **inputs)
{
    static int32_t numbers[16];
    *node = (struct lego_node){.name = "case", .op = test->op, .inputs = numbers};
    node->input_count = make_arrays(arena, test->inputs, arrays, numbers);
    make_attrs(arena, test->attrs, node);
    for (uint32_t i = 0; i < node->input_count; i++)
        inputs[i] = numbers[i] < 0 ? NULL : &arrays[i];
}

START_TEST(test_case)
{
    const struct eval_case *test = &cases[_i];
    struct lego_array arrays[16], want[8], have[8];
    const struct lego_array *inputs[16];
    struct lego_node node;
    int32_t outs[8];
    struct lego_diag diag = LEGO_DIAG_INIT;
    make_case(test, &node, arrays, inputs);
    node.outputs = outs;
    node.output_count = make_arrays(arena, test->outputs, want, outs);
    int status = lego_eval_node_alloc(graph, &node, inputs, have, arena, arena, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    for (uint32_t i = 0; i < node.output_count; i++)
        expect_array(test, &have[i], &want[i]);
}
END_TEST

/* Every allocation of every case fails once: each time LEGO_E_NOMEM, and the node is named. */
START_TEST(test_little_memory)
{
    const struct eval_case *test = &cases[_i];
    struct lego_array arrays[16], want[8], have[8];
    const struct lego_array *inputs[16];
    struct lego_node node;
    int32_t outs[8];
    int status = LEGO_E_NOMEM, failures = 0;
    make_case(test, &node, arrays, inputs);
    node.outputs = outs;
    node.output_count = make_arrays(arena, test->outputs, want, outs);
    for (size_t limit = 16; status == LEGO_E_NOMEM && limit < 1 << 16; limit += 16) {
        struct lego_arena *scratch = lego_arena_create(limit);
        struct lego_diag diag = LEGO_DIAG_INIT;
        status = lego_eval_node_alloc(graph, &node, inputs, have, scratch, scratch, &diag);
        ck_assert_msg(status == LEGO_OK || (status == LEGO_E_NOMEM && strstr(diag.text, "'case'")),
                      "%s: %d '%s'", lego_op_name(test->op), status, diag.text);
        failures += status != LEGO_OK;
        lego_arena_destroy(scratch);
    }
    ck_assert_int_eq(status, LEGO_OK);
    ck_assert_int_gt(failures, 0);
}
END_TEST

START_TEST(test_every_operator_evaluates)
{
    for (int op = 1; op < LEGO_OP_COUNT; op++)
        ck_assert(lego_op_evaluates((enum lego_op)op));
    ck_assert(!lego_op_evaluates(LEGO_OP_NONE));
    ck_assert(!lego_op_evaluates(LEGO_OP_COUNT));
}
END_TEST

static const struct {
    enum lego_activation activation;
    float lo, hi, want[2]; /* of -2 and 3 */
} activations[] = {
    {LEGO_ACT_CLAMP, 0, INFINITY, {0, 3}},
    {LEGO_ACT_CLAMP, -1, 2, {-1, 2}},
    {LEGO_ACT_LEAKY_RELU, 0.5f, 0, {-1, 3}},
    {LEGO_ACT_SIGMOID, 0, 0, {0.11920292f, 0.95257413f}},
    {LEGO_ACT_TANH, 0, 0, {-0.96402758f, 0.99505475f}},
    {LEGO_ACT_HARD_SIGMOID, 0.25f, 0.5f, {0, 1}},
    {LEGO_ACT_HARD_SWISH, 0, 0, {-0.33333334f, 3}},
    {LEGO_ACT_SILU, 0, 0, {-0.23840584f, 2.8577224f}},
    {LEGO_ACT_GELU, 0, 0, {-0.04550026f, 2.9959503f}},
};

/* Each fused activation behind each operator that may carry one; all of them give -2 and 3. */
START_TEST(test_fused_activation)
{
    static const struct eval_case carriers[] = {
        {LEGO_OP_Conv, "", "f1,1,2=-4,1 f1,1,1=1 f1=0 f1,1,2=2,2", "f1,1,2"},
        {LEGO_OP_ConvTranspose, "", "f1,1,2=-2,3 f1,1,1=1", "f1,1,2"},
        {LEGO_OP_Gemm, "", "f1,1=1 f1,2=-2,3", "f1,2"},
        {LEGO_OP_MatMul, "", "f1,1=1 f1,2=-2,3", "f1,2"},
        {LEGO_OP_Add, "", "f2=-3,2 f=1", "f2"},
        {LEGO_OP_Sub, "", "f2=-1,4 f=1", "f2"},
        {LEGO_OP_Mul, "", "f2=-4,6 f=0.5", "f2"},
        {LEGO_OP_Div, "", "f2=-4,6 f=2", "f2"},
    };
    for (size_t k = 0; k < sizeof(carriers) / sizeof(*carriers); k++) {
        struct lego_array arrays[16], have;
        const struct lego_array *inputs[16];
        struct lego_node node;
        make_case(&carriers[k], &node, arrays, inputs);
        node.outputs = (int32_t[]){0};
        node.output_count = 1;
        node.activation = activations[_i].activation;
        node.act_lo = activations[_i].lo;
        node.act_hi = activations[_i].hi;
        ck_assert_int_eq(lego_eval_node_alloc(graph, &node, inputs, &have, arena, arena, NULL),
                         LEGO_OK);
        for (size_t i = 0; i < 2; i++)
            ck_assert_float_eq_tol(((const float *)have.data)[i], activations[_i].want[i], 1e-6f);
    }
}
END_TEST

/* What inference cannot see: contents that make no sense. */
START_TEST(test_faulty_contents)
{
    static const struct {
        struct eval_case node;
        int status;
        const char *part;
    } faults[] = {
        {{LEGO_OP_Gather, "", "f3=1,2,3 l1=3", ""}, LEGO_E_INVALID, "index 3"},
        {{LEGO_OP_Gather, "", "f3=1,2,3 l1=-4", ""}, LEGO_E_INVALID, "index -4"},
        {{LEGO_OP_GatherND, "", "f2,2 l1,2=0,2", ""}, LEGO_E_INVALID, "index 2"},
        {{LEGO_OP_ScatterElements, "", "f2 l1=2 f1", ""}, LEGO_E_INVALID, "index 2"},
        {{LEGO_OP_ScatterND, "", "f2 l1,1=-3 f1", ""}, LEGO_E_INVALID, "index -3"},
        {{LEGO_OP_Div, "", "l2=1,2 l1=0", ""}, LEGO_E_INVALID, "division by zero"},
        {{LEGO_OP_Mod, "", "b2=1,2 b1=0", ""}, LEGO_E_INVALID, "division by zero"},
        {{LEGO_OP_Reshape, "", "f4 l2=3,-1", ""}, LEGO_E_SHAPE, "3"},
        {{LEGO_OP_Reshape, "", "f4 l2=-1,-1", ""}, LEGO_E_INVALID, "-1"},
        {{LEGO_OP_Expand, "", "f3 l1=2", ""}, LEGO_E_SHAPE, "expand"},
        {{LEGO_OP_Expand, "", "f1 l2=1000000000,10000000000", ""}, LEGO_E_OVERFLOW, "output"},
        {{LEGO_OP_Tile, "", "f2 l1=-1", ""}, LEGO_E_INVALID, "repeats"},
        {{LEGO_OP_Pad, "", "f2 l2=-2,-2", ""}, LEGO_E_SHAPE, "pads"},
        {{LEGO_OP_Pad, "mode='reflect'", "f1=1 l2=1,0", ""}, LEGO_E_SHAPE, "reflect"},
        {{LEGO_OP_Slice, "", "f2 l1=0 l1=1 l1=0 l1=0", ""}, LEGO_E_INVALID, "step 0"},
        {{LEGO_OP_Slice, "", "f2 l1=0 l1=1 l1=2", ""}, LEGO_E_INVALID, "axis 2"},
        {{LEGO_OP_TopK, "", "f2 l1=3", ""}, LEGO_E_INVALID, "k"},
        {{LEGO_OP_Range, "", "l=0 l=5 l=0", ""}, LEGO_E_INVALID, "delta"},
        {{LEGO_OP_OneHot, "", "l1=0 l=-5 f2=0,1", ""}, LEGO_E_INVALID, "depth"},
        {{LEGO_OP_Conv, "", "f1,2,3 f1,1,3", ""}, LEGO_E_SHAPE, "channels"},
        {{LEGO_OP_Conv, "", "f1,1,2 f1,1,3", ""}, LEGO_E_SHAPE, "window"},
        {{LEGO_OP_Conv, "pads=[-1,0]", "f1,1,4 f1,1,3", ""}, LEGO_E_INVALID, "pads"},
        {{LEGO_OP_Conv, "strides=[0]", "f1,1,4 f1,1,3", ""}, LEGO_E_INVALID, "strides"},
        {{LEGO_OP_Conv, "group=0", "f1,1,4 f1,1,3", ""}, LEGO_E_INVALID, "group"},
        {{LEGO_OP_Conv, "", "f1,1,4 f1,1,3 f2", ""}, LEGO_E_SHAPE, "input 2"},
        {{LEGO_OP_RoiAlign, "", "f1,1,2,2 f1,4=0,0,1,1 l1=1", ""}, LEGO_E_INVALID, "picture 1"},
        {{LEGO_OP_Resize, "", "f1,2 - f2=1,0", ""}, LEGO_E_INVALID, "scale 0"},
        {{LEGO_OP_Einsum, "equation='ij,jk->ik'", "f2,2 f3,2", ""}, LEGO_E_SHAPE, "3"},
        {{LEGO_OP_Cast, "to=8", "f1", ""}, LEGO_E_UNSUPPORTED, "type 8"},
    };
    for (size_t k = 0; k < sizeof(faults) / sizeof(*faults); k++) {
        struct lego_array arrays[16], have;
        const struct lego_array *inputs[16];
        struct lego_node node;
        struct lego_diag diag = LEGO_DIAG_INIT;
        make_case(&faults[k].node, &node, arrays, inputs);
        node.outputs = (int32_t[]){0, 1};
        node.output_count = faults[k].node.op == LEGO_OP_TopK ? 2 : 1;
        int status = lego_eval_node_alloc(graph, &node, inputs, &have, arena, arena, &diag);
        ck_assert_msg(status == faults[k].status, "%s %s: %d '%s'", lego_op_name(node.op),
                      faults[k].node.inputs, status, diag.text);
        ck_assert_msg(strstr(diag.text, faults[k].part) && strstr(diag.text, "node 'case'"),
                      "'%s' lacks '%s'", diag.text, faults[k].part);
    }
}
END_TEST

/* fp16 through every finite half and back. */
START_TEST(test_halves)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float value = eval_half_to_float((uint16_t)bits);
        if (isnan(value))
            ck_assert(isnan(eval_half_to_float(eval_float_to_half(value))));
        else
            ck_assert_uint_eq(eval_float_to_half(value), bits);
    }
    ck_assert_uint_eq(eval_float_to_half(65519.0f), 0x7bff); /* ties and beyond */
    ck_assert_uint_eq(eval_float_to_half(65520.0f), 0x7c00);
    ck_assert_uint_eq(eval_float_to_half(2049.0f), eval_float_to_half(2048.0f));
    ck_assert_uint_eq(eval_float_to_half(2051.0f), eval_float_to_half(2052.0f));
    ck_assert_uint_eq(eval_float_to_half(0x1p-25f), 0);
    ck_assert_uint_eq(eval_float_to_half(0x1.8p-25f), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_eval");
    TCase *tcase = tcase_create("eval");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_case, 0, CASE_COUNT);
    tcase_add_loop_test(tcase, test_little_memory, 0, CASE_COUNT);
    tcase_add_test(tcase, test_every_operator_evaluates);
    tcase_add_loop_test(tcase, test_fused_activation, 0,
                        (int)(sizeof(activations) / sizeof(*activations)));
    tcase_add_test(tcase, test_faulty_contents);
    tcase_add_test(tcase, test_halves);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
