/*
 * Inference with symbols, folding, specialisation.
 */
#include "codec/graph/eval_node.h"
#include "tests/unit/graph/build_graph.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

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

static void infer(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_graph_infer(graph, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    status = lego_graph_check(graph, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
}

static void expect_failure(int status, const char *part)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(lego_graph_infer(graph, &diag), status);
    ck_assert_msg(strstr(diag.text, part) != NULL, "'%s' lacks '%s'", diag.text, part);
}

static void expect_shape(const struct lego_graph *in, const char *value, const char *want)
{
    char text[128];
    int32_t index = lego_graph_find_value(in, value);
    ck_assert_msg(index >= 0, "no value %s", value);
    ck_assert_str_eq(lego_shape_format(&in->values[index].shape, in, text, sizeof(text)), want);
}

static void expect_ints(const struct lego_graph *in, const char *value, size_t count,
                        const int64_t *want)
{
    int32_t index = lego_graph_find_value(in, value);
    ck_assert_int_ge(index, 0);
    ck_assert_int_ge(in->values[index].tensor, 0);
    const struct lego_tensor *tensor = &in->tensors[in->values[index].tensor];
    ck_assert_uint_eq(tensor->bytes, count * sizeof(*want));
    ck_assert_mem_eq(tensor->data, want, tensor->bytes);
}

START_TEST(test_symbolic_batch_through_layers)
{
    static const float weights[8 * 3 * 9];
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "N,3,32,32");
    add_constant(graph, "w",
                 (struct lego_array){LEGO_DTYPE_FLOAT32, make_shape(NULL, "8,3,3,3"),
                                     (void *)(uintptr_t)weights});
    add_node(graph, LEGO_OP_Conv, "x,w", "c", "pads=[1,1,1,1] strides=[2,2]");
    add_node(graph, LEGO_OP_Relu, "c", "r", "");
    add_node(graph, LEGO_OP_MaxPool, "r", "p", "kernel_shape=[3,3] strides=[2,2] ceil_mode=1");
    add_node(graph, LEGO_OP_GlobalAveragePool, "p", "g", "");
    add_node(graph, LEGO_OP_Flatten, "g", "f", "");
    add_output(graph, "f");
    infer();
    expect_shape(graph, "c", "[N,8,16,16]");
    expect_shape(graph, "p", "[N,8,8,8]");
    expect_shape(graph, "f", "[N,8]");
    ck_assert_uint_eq(graph->node_count, 5);
}
END_TEST

/* x.view(x.size(0), -1), as exporters write it. */
START_TEST(test_shape_chain_keeps_the_symbol)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "N,4,2,2");
    add_constant(graph, "zero", I64("", 0));
    add_constant(graph, "axis", I64("1", 0));
    add_constant(graph, "rest", I64("1", -1));
    add_constant(graph, "one", I64("1", 1));
    add_node(graph, LEGO_OP_Shape, "x", "s", "");
    add_node(graph, LEGO_OP_Gather, "s,zero", "n", "");
    add_node(graph, LEGO_OP_Unsqueeze, "n,axis", "u", "");
    add_node(graph, LEGO_OP_Mul, "u,one", "m", "");
    add_node(graph, LEGO_OP_Concat, "m,rest", "shape", "axis=0");
    add_node(graph, LEGO_OP_Reshape, "x,shape", "y", "");
    add_output(graph, "y");
    infer();
    expect_shape(graph, "y", "[N,16]");
}
END_TEST

/* The option-A shortcut of the CIFAR ResNets: pads computed from constants only. */
START_TEST(test_pad_chain_folds_away)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "N,16,8,8");
    add_constant(graph, "given", I64("6", 0, 0, 0, 0, 4, 4));
    add_constant(graph, "eight", I64("1", 8));
    add_constant(graph, "to", I64("2", -1, 2));
    add_constant(graph, "from", I64("1", 100));
    add_constant(graph, "step", I64("1", -1));
    add_constant(graph, "first", I64("1", -1000));
    add_constant(graph, "flat", I64("1", -1));
    add_constant(graph, "axis", I64("1", 0));
    add_node(graph, LEGO_OP_Shape, "given", "s", "");
    add_node(graph, LEGO_OP_Sub, "eight,s", "missing", "");
    add_node(graph, LEGO_OP_ConstantOfShape, "missing", "zeros", "");
    add_node(graph, LEGO_OP_Cast, "zeros", "whole", "to=7");
    add_node(graph, LEGO_OP_Concat, "given,whole", "all", "axis=0");
    add_node(graph, LEGO_OP_Reshape, "all,to", "pairs", "");
    add_node(graph, LEGO_OP_Slice, "pairs,from,first,axis,step", "turned", "");
    add_node(graph, LEGO_OP_Transpose, "turned", "t", "perm=[1,0]");
    add_node(graph, LEGO_OP_Reshape, "t,flat", "pads", "");
    add_node(graph, LEGO_OP_Pad, "x,pads", "y", "");
    add_output(graph, "y");
    infer();
    expect_shape(graph, "y", "[N,24,8,8]");
    expect_ints(graph, "pads", 8, (const int64_t[]){0, 4, 0, 0, 0, 4, 0, 0});
    ck_assert_uint_eq(graph->node_count, 1);
    ck_assert_uint_eq(graph->tensor_count, 1);
    ck_assert_uint_eq(graph->value_count, 3);
}
END_TEST

/* torch's expand(): Where(Equal(shape, -1), ones, shape). */
START_TEST(test_expand_idiom)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "1,5");
    add_input(graph, "like", LEGO_DTYPE_FLOAT32, "N,7");
    add_constant(graph, "rest", I64("1", -1));
    add_constant(graph, "zero", I64("1", 0));
    add_constant(graph, "two", I64("1", 2));
    add_constant(graph, "ones", I64("2", 1, 1));
    add_node(graph, LEGO_OP_Shape, "like", "s", "");
    add_node(graph, LEGO_OP_Gather, "s,zero", "n", "");
    add_node(graph, LEGO_OP_Concat, "n,rest", "shape", "axis=0");
    add_node(graph, LEGO_OP_Equal, "shape,rest", "keep", "");
    add_node(graph, LEGO_OP_Where, "keep,ones,shape", "target", "");
    add_node(graph, LEGO_OP_Expand, "x,target", "y", "");
    add_output(graph, "y");
    infer();
    expect_shape(graph, "y", "[N,5]");
}
END_TEST

START_TEST(test_open_height_and_width)
{
    static const float weights[4 * 3 * 9];
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "N,3,H,W");
    add_constant(graph, "w",
                 (struct lego_array){LEGO_DTYPE_FLOAT32, make_shape(NULL, "4,3,3,3"),
                                     (void *)(uintptr_t)weights});
    add_node(graph, LEGO_OP_Conv, "x,w", "same", "pads=[1,1,1,1]");
    add_node(graph, LEGO_OP_Conv, "x,w", "half", "strides=[2,2] pads=[1,1,1,1]");
    add_node(graph, LEGO_OP_Add, "same,same", "y", "");
    add_output(graph, "y");
    add_output(graph, "half");
    infer();
    expect_shape(graph, "y", "[N,4,H,W]");
    expect_shape(graph, "half", "[N,4,?,?]");

    struct lego_graph *special;
    struct lego_shape shape = make_shape(NULL, "2,3,7,9");
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(lego_graph_specialise(graph, &shape, &special, &diag), LEGO_OK);
    expect_shape(special, "y", "[2,4,7,9]");
    expect_shape(special, "half", "[2,4,4,5]");
    ck_assert_ptr_eq(special->tensors[0].data, graph->tensors[0].data);
    expect_shape(graph, "y", "[N,4,H,W]"); /* the original is what it was */
    lego_graph_destroy(special);
}
END_TEST

START_TEST(test_specialise_refuses_contradictions)
{
    struct lego_graph *special = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    add_input(graph, "a", LEGO_DTYPE_FLOAT32, "N,3");
    add_input(graph, "b", LEGO_DTYPE_FLOAT32, "N,1");
    add_node(graph, LEGO_OP_Add, "a,b", "y", "");
    add_output(graph, "y");
    infer();
    struct lego_shape good[2] = {make_shape(NULL, "5,3"), make_shape(NULL, "5,1")};
    ck_assert_int_eq(lego_graph_specialise(graph, good, &special, &diag), LEGO_OK);
    expect_shape(special, "y", "[5,3]");
    lego_graph_destroy(special);
    special = NULL;
    struct lego_shape fixed[2] = {make_shape(NULL, "5,4"), make_shape(NULL, "5,1")};
    ck_assert_int_eq(lego_graph_specialise(graph, fixed, &special, &diag), LEGO_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(diag.text, "'a'"));
    ck_assert_ptr_nonnull(strstr(diag.text, "[5,4]"));
    ck_assert_ptr_nonnull(strstr(diag.text, "[N,3]"));
    struct lego_shape unequal[2] = {make_shape(NULL, "5,3"), make_shape(NULL, "6,1")};
    ck_assert_int_eq(lego_graph_specialise(graph, unequal, &special, NULL), LEGO_E_SHAPE);
    struct lego_shape rank[2] = {make_shape(NULL, "5"), make_shape(NULL, "5,1")};
    ck_assert_int_eq(lego_graph_specialise(graph, rank, &special, NULL), LEGO_E_SHAPE);
    ck_assert_ptr_null(special);
}
END_TEST

START_TEST(test_dead_ends_vanish)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "2,4");
    add_constant(graph, "unused", I64("3", 1, 2, 3));
    add_constant(graph, "k", I64("1", 2));
    add_node(graph, LEGO_OP_Relu, "x", "dead", "");
    add_node(graph, LEGO_OP_Dropout, "x", "y,mask", "");
    add_node(graph, LEGO_OP_TopK, "y,k", "top,where", "");
    add_output(graph, "top");
    infer();
    ck_assert_uint_eq(graph->node_count, 2);
    ck_assert_int_eq(graph->nodes[0].outputs[1], -1); /* optional and unread */
    ck_assert_int_ge(graph->nodes[1].outputs[1], 0);  /* TopK has always two */
    ck_assert_uint_eq(graph->tensor_count, 1);
    ck_assert_int_eq(lego_graph_find_value(graph, "dead"), -1);
    ck_assert_int_eq(lego_graph_find_value(graph, "mask"), -1);
}
END_TEST

START_TEST(test_folding_is_bounded)
{
    /* 64 MiB of zeros from eight bytes stay a node; so does what would come of them */
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "1");
    add_constant(graph, "size", I64("1", 16 << 20));
    add_constant(graph, "small", I64("1", 4));
    add_node(graph, LEGO_OP_ConstantOfShape, "size", "big", "");
    add_node(graph, LEGO_OP_ConstantOfShape, "small", "little", "");
    add_node(graph, LEGO_OP_Add, "big,x", "y", "");
    add_node(graph, LEGO_OP_Add, "little,x", "z", "");
    add_output(graph, "y");
    add_output(graph, "z");
    infer();
    expect_shape(graph, "big", "[16777216]");
    ck_assert_int_eq(graph->values[lego_graph_find_value(graph, "big")].tensor, -1);
    ck_assert_int_ge(graph->values[lego_graph_find_value(graph, "little")].tensor, 0);
    ck_assert_uint_lt(lego_arena_used_bytes(graph->arena), 1u << 20);
}
END_TEST

START_TEST(test_folded_output)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "2,N,3");
    add_node(graph, LEGO_OP_Shape, "x", "s", "start=2");
    add_node(graph, LEGO_OP_Shape, "x", "all", "");
    add_node(graph, LEGO_OP_NonZero, "x", "places", "");
    add_output(graph, "s");
    add_output(graph, "all");
    add_output(graph, "places");
    infer();
    expect_ints(graph, "s", 1, (const int64_t[]){3});
    expect_shape(graph, "all", "[3]");
    ck_assert_int_eq(graph->values[lego_graph_find_value(graph, "all")].tensor, -1);
    expect_shape(graph, "places", "[3,?]");
}
END_TEST

START_TEST(test_faults_name_the_node)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "2,3");
    add_constant(graph, "shape", I64("2", 4, -1));
    add_node(graph, LEGO_OP_Reshape, "x,shape", "y", "");
    add_output(graph, "y");
    expect_failure(LEGO_E_SHAPE, "node 'Reshape_0' (Reshape)");
}
END_TEST

START_TEST(test_types_must_agree)
{
    add_input(graph, "x", LEGO_DTYPE_FLOAT32, "2");
    add_input(graph, "i", LEGO_DTYPE_INT64, "2");
    add_node(graph, LEGO_OP_Add, "x,i", "y", "");
    add_output(graph, "y");
    expect_failure(LEGO_E_TYPE, "input 1 is INT64, not FP32");
}
END_TEST

START_TEST(test_division_by_zero_while_folding)
{
    add_constant(graph, "a", I64("2", 4, 4));
    add_constant(graph, "b", I64("2", 2, 0));
    add_node(graph, LEGO_OP_Div, "a,b", "y", "");
    add_output(graph, "y");
    expect_failure(LEGO_E_INVALID, "division by zero");
}
END_TEST

START_TEST(test_wrong_outputs_are_refused)
{
    struct lego_node node = {.name = "n",
                             .op = LEGO_OP_Relu,
                             .input_count = 1,
                             .output_count = 1,
                             .inputs = (int32_t[]){0},
                             .outputs = (int32_t[]){1}};
    struct lego_array x = F32("2,2", 1, -2, 3, -4), out = F32("2", 0, 0);
    const struct lego_array *inputs[] = {&x};
    ck_assert_int_eq(lego_eval_node(graph, &node, inputs, &out, arena, NULL), LEGO_E_SHAPE);
    out = I64("2,2", 0, 0, 0, 0);
    ck_assert_int_eq(lego_eval_node(graph, &node, inputs, &out, arena, NULL), LEGO_E_TYPE);
    out = F32("2,2", 9, 9, 9, 9);
    ck_assert_int_eq(lego_eval_node(graph, &node, inputs, &out, arena, NULL), LEGO_OK);
    ck_assert_mem_eq(out.data, ((const float[]){1, 0, 3, 0}), 4 * sizeof(float));
    inputs[0] = NULL;
    ck_assert_int_eq(lego_eval_node(graph, &node, inputs, &out, arena, NULL), LEGO_E_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_infer");
    TCase *tcase = tcase_create("infer");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_symbolic_batch_through_layers);
    tcase_add_test(tcase, test_shape_chain_keeps_the_symbol);
    tcase_add_test(tcase, test_pad_chain_folds_away);
    tcase_add_test(tcase, test_expand_idiom);
    tcase_add_test(tcase, test_open_height_and_width);
    tcase_add_test(tcase, test_specialise_refuses_contradictions);
    tcase_add_test(tcase, test_dead_ends_vanish);
    tcase_add_test(tcase, test_folding_is_bounded);
    tcase_add_test(tcase, test_folded_output);
    tcase_add_test(tcase, test_faults_name_the_node);
    tcase_add_test(tcase, test_types_must_agree);
    tcase_add_test(tcase, test_division_by_zero_while_folding);
    tcase_add_test(tcase, test_wrong_outputs_are_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
