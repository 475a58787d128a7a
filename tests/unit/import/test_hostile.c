/*
 * Models that are wrong: a clear sentence each, quickly, and nothing leaked.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(all_unsupported_at_once)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    node_begin(&model, "FancyOp", "x", "a");
    wire_put_text(&model.node, 3, "first");
    node_end(&model);
    node_begin(&model, "Attention", "a", "b");
    node_domain(&model, "com.acme");
    node_end(&model);
    model_node(&model, "StringNormalizer", "b", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "'first' (FancyOp, opset 13)");
    model_refused(&model, LEGO_E_UNSUPPORTED, "(com.acme.Attention");
    model_refused(&model, LEGO_E_UNSUPPORTED, "StringNormalizer");
    model_refused(&model, LEGO_E_UNSUPPORTED, "3 not supported");
    model_free(&model);
}
END_TEST

START_TEST(all_unsupported_forms_at_once)
{
    struct model model;
    model_open(&model, 15);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,3");
    model_positive(&model, "k", "2");
    for (int i = 0; i < 2; i++) {
        node_begin(&model, "BatchNormalization", i ? "a,k,k,k,k" : "x,k,k,k,k", i ? "y" : "a");
        node_int(&model, "spatial", 0);
        node_end(&model);
    }
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "2 not supported");
    model_refused(&model, LEGO_E_UNSUPPORTED, "'BatchNormalization_0'");
    model_refused(&model, LEGO_E_UNSUPPORTED, "'BatchNormalization_1'");
    model_free(&model);
}
END_TEST

/* What is not known and what has a form that is not supported, in a subgraph too, are one list. */
START_TEST(unknown_and_old_forms_together)
{
    struct model model, branch;
    model_open(&model, 15);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,3");
    model_input(&model, "c", LEGO_DTYPE_BOOL, "");
    model_positive(&model, "k", "2");
    model_node(&model, "FancyOp", "x", "a");
    node_begin(&model, "BatchNormalization", "a,k,k,k,k", "b");
    node_int(&model, "spatial", 0);
    node_end(&model);
    node_begin(&model, "If", "c", "y");
    for (int i = 0; i < 2; i++) {
        model_open(&branch, 15);
        model_node(&branch, i ? "Neg" : "InnerOp", "b", "z");
        model_output(&branch, "z");
        node_graph(&model, i ? "then_branch" : "else_branch", &branch);
    }
    node_end(&model);
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "3 not supported");
    model_refused(&model, LEGO_E_UNSUPPORTED, "(FancyOp");
    model_refused(&model, LEGO_E_UNSUPPORTED, "(BatchNormalization");
    model_refused(&model, LEGO_E_UNSUPPORTED, "(InnerOp");
    model_free(&model);
}
END_TEST

struct listed {
    unsigned count;
    bool last;
};

static void note_refused(void *context, const char *text)
{
    struct listed *listed = context;
    listed->count++;
    listed->last = strstr(text, "'node 299' (NoSuchOperator, opset 13)") != NULL;
}

/* More than the diag has room for: the caller is told of the others one by one. */
START_TEST(every_one_of_many)
{
    enum { NODES = 300 };
    struct model model;
    struct listed listed = {0};
    struct import_options options = {.refused = note_refused, .refused_context = &listed};
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char name[32];
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    for (int i = 0; i < NODES; i++) {
        snprintf(name, sizeof name, "node %d", i);
        node_begin(&model, "NoSuchOperator", "x", i == NODES - 1 ? "y" : name);
        wire_put_text(&model.node, 3, name);
        node_end(&model);
    }
    model_output(&model, "y");
    model_finish(&model);
    int status =
        import_onnx_memory(model.bytes, model.byte_count, "test", &options, &package, &diag);
    ck_assert_int_eq(status, LEGO_E_UNSUPPORTED);
    unsigned in_sentence = 0;
    for (const char *at = diag.text; (at = strstr(at, ", opset 13)")); at++)
        in_sentence++;
    ck_assert_uint_eq(in_sentence + listed.count, NODES);
    ck_assert(listed.last);
    model_free(&model);
}
END_TEST

START_TEST(opset_out_of_range)
{
    static const int64_t opsets[] = {-6, 22, -1, INT64_MAX};
    struct model model;
    model_open(&model, opsets[_i]);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    model_node(&model, "Relu", "x", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "opsets 1 to 21");
    model_free(&model);
}
END_TEST

START_TEST(other_types)
{
    static const struct {
        uint32_t field;
        const char *word;
    } cases[] = {{4, "a sequence"}, {5, "a map"}, {8, "a sparse tensor"}, {9, "optional"}};
    struct model model;
    struct wire_out type = {0}, info = {0};
    model_open(&model, 15);
    wire_put_bytes(&type, cases[_i].field, "", 0);
    wire_put_text(&info, 1, "x");
    wire_put_bytes(&info, 2, type.data, type.bytes);
    wire_put_bytes(&model.graph, 11, info.data, info.bytes);
    wire_out_clear(&type);
    wire_out_clear(&info);
    model_node(&model, "Relu", "x", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, cases[_i].word);
    model_free(&model);
}
END_TEST

START_TEST(text_tensor)
{
    struct model model;
    model_open(&model, 15);
    model_input(&model, "x", (enum lego_dtype)8, "2");
    model_node(&model, "Identity", "x", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "element type 8 (text)");
    model_free(&model);
}
END_TEST

START_TEST(broken_graph)
{
    static const char *const words[] = {"cycle",
                                        "cycle",
                                        "nothing computes its input",
                                        "y",
                                        "nothing computes the output",
                                        "no outputs",
                                        "x",
                                        "name"};
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    switch (_i) {
    case 0:
        model_node(&model, "Add", "x,b", "a");
        model_node(&model, "Add", "x,a", "b");
        model_node(&model, "Neg", "b", "y");
        break;
    case 1:
        model_node(&model, "Add", "x,y", "y");
        break;
    case 2:
        model_node(&model, "Add", "x,missing", "y");
        break;
    case 3:
        model_node(&model, "Neg", "x", "y");
        model_node(&model, "Exp", "x", "y");
        break;
    case 4:
        model_node(&model, "Neg", "x", "z");
        break;
    case 5:
        model_node(&model, "Neg", "x", "y");
        model_refused(&model, LEGO_E_FORMAT, words[_i]);
        model_free(&model);
        return;
    case 6:
        model_node(&model, "Neg", "x", "x");
        model_node(&model, "Neg", "x", "y");
        break;
    case 7:
        model_floats(&model, "w", "2", NULL);
        model_floats(&model, "w", "2", NULL);
        model_node(&model, "Add", "x,w", "y");
        break;
    }
    model_output(&model, "y");
    model_refused(&model, LEGO_E_FORMAT, words[_i]);
    model_free(&model);
}
END_TEST

START_TEST(broken_tensor)
{
    static const struct {
        const char *dims;
        size_t bytes;
        int status;
        const char *word;
    } cases[] = {
        {"3", 8, LEGO_E_FORMAT, "raw_data has 8 bytes, its shape wants 12"},
        {"2", 0, LEGO_E_FORMAT, "fewer elements"},
        {"-2", 8, LEGO_E_FORMAT, "malformed dimensions"},
        {"4294967296,4294967296", 8, LEGO_E_OVERFLOW, "too large"},
        {"1,1,1,1,1,1,1,1,2", 8, LEGO_E_UNSUPPORTED, "more than 8 dimensions"},
        {"1099511627776", 0, LEGO_E_FORMAT, "fewer elements"},
        {"0", 8, LEGO_E_FORMAT, "raw_data has 8 bytes"},
    };
    static const float data[2] = {1, 2};
    struct model model;
    struct wire_out tensor = {0};
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    put_tensor(&tensor, "w", LEGO_DTYPE_FLOAT32, cases[_i].dims, data, cases[_i].bytes);
    wire_put_bytes(&model.graph, 5, tensor.data, tensor.bytes);
    wire_out_clear(&tensor);
    model_node(&model, "Add", "x,w", "y");
    model_output(&model, "y");
    model_refused(&model, cases[_i].status, cases[_i].word);
    model_refused(&model, cases[_i].status, "tensor 'w'");
    model_free(&model);
}
END_TEST

START_TEST(external_data_from_memory)
{
    struct model model;
    struct wire_out tensor = {0}, entry = {0};
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    wire_put_int(&tensor, 1, 2);
    wire_put_int(&tensor, 2, LEGO_DTYPE_FLOAT32);
    wire_put_text(&tensor, 8, "w");
    wire_put_text(&entry, 1, "location");
    wire_put_text(&entry, 2, "weights.bin");
    wire_put_bytes(&tensor, 13, entry.data, entry.bytes);
    wire_put_int(&tensor, 14, 1);
    wire_put_bytes(&model.graph, 5, tensor.data, tensor.bytes);
    wire_out_clear(&tensor);
    wire_out_clear(&entry);
    model_node(&model, "Add", "x,w", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_UNSUPPORTED, "external data");
    model_free(&model);
}
END_TEST

START_TEST(negative_dimension)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "-5");
    model_node(&model, "Neg", "x", "y");
    model_output(&model, "y");
    model_refused(&model, LEGO_E_FORMAT, "dimension -5");
    model_free(&model);
}
END_TEST

START_TEST(nested_too_deep)
{
    /* Graph in attribute in node in graph ..., far past any stack. */
    struct wire_out inner = {0};
    for (int i = 0; i < 64; i++) {
        struct wire_out attr = {0}, node = {0}, graph = {0};
        wire_put_bytes(&attr, 6, inner.data, inner.bytes);
        wire_put_bytes(&node, 5, attr.data, attr.bytes);
        wire_put_bytes(&graph, 1, node.data, node.bytes);
        wire_out_clear(&inner);
        inner = graph;
        wire_out_clear(&attr);
        wire_out_clear(&node);
    }
    struct model model;
    model_open(&model, 13);
    model.graph = inner;
    model_refused(&model, LEGO_E_LIMIT, "nest deeper");
    model_free(&model);
}
END_TEST

START_TEST(not_a_model)
{
    static const struct {
        const char *bytes;
        size_t count;
    } cases[] = {
        {"", 0},
        {"hello world, this is no model", 29},
        {"\x3a\xff\xff\xff\xff\x7f", 6},                          /* a graph longer than the file */
        {"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* a length of 11 bytes */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10},         /* a number cut off */
        {"\x0b\x0c", 2},                                          /* groups */
        {"\x00\x00", 2},                                          /* field 0 */
        {"\x38\x01", 2},                                          /* the graph as a number */
    };
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    /* Memory of exactly that size: AddressSanitizer sees a byte too many. */
    char *bytes = malloc(cases[_i].count);
    memcpy(bytes, cases[_i].bytes, cases[_i].count);
    int status = import_onnx_memory(bytes, cases[_i].count, "test", NULL, &package, &diag);
    ck_assert_msg(status == LEGO_E_FORMAT, "%s", diag.text);
    ck_assert_msg(strstr(diag.text, "not an ONNX model") != NULL, "%s", diag.text);
    free(bytes);
}
END_TEST

/* Every cut and a flip of every byte: an answer each, whatever it is. */
START_TEST(cut_and_flipped)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,3,5,5");
    model_floats(&model, "w", "4,3,3,3", NULL);
    model_floats(&model, "k", "4,1,1", NULL);
    node_begin(&model, "Conv", "x,w", "c");
    node_ints(&model, "pads", 4, (const int64_t[]){1, 1, 1, 1});
    node_end(&model);
    model_node(&model, "Add", "c,k", "d");
    model_node(&model, "Relu", "d", "y");
    model_output(&model, "y");
    model_finish(&model);
    for (size_t i = 0; i < 2 * model.byte_count; i++) {
        size_t at = i / 2, count = i % 2 ? model.byte_count : at;
        uint8_t *bytes = malloc(count ? count : 1);
        memcpy(bytes, model.bytes, count);
        if (i % 2)
            bytes[at] ^= (uint8_t)(1u << (at % 8));
        struct lego_package *package = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        int status = import_onnx_memory(bytes, count, "test", NULL, &package, &diag);
        ck_assert(status == 0 || diag.text[0] != '\0');
        lego_package_destroy(package);
        free(bytes);
    }
    model_free(&model);
}
END_TEST

START_TEST(ten_thousand_nodes)
{
    enum { NODES = 10000 };
    struct model model;
    char from[32] = "x", to[32];
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,4");
    for (int i = 0; i < NODES; i++) {
        snprintf(to, sizeof to, "v%d", i);
        model_node(&model, _i == 0 ? "Neg" : _i == 1 ? "NoSuchOperator" : "Identity", from, to);
        memcpy(from, to, sizeof from);
    }
    model_output(&model, from);
    if (_i == 1) {
        model_refused(&model, LEGO_E_UNSUPPORTED, "10000 not supported");
    } else {
        struct lego_package *package = model_import(&model, false);
        ck_assert_uint_eq(package->graph->node_count, _i == 0 ? NODES : 1);
        lego_package_destroy(package);
    }
    model_free(&model);
}
END_TEST

START_TEST(graph_over_its_limit)
{
    struct model model;
    char name[32];
    model_open(&model, 13);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "x%d", i);
        model_input(&model, name, LEGO_DTYPE_FLOAT32, "2");
    }
    model_node(&model, "Neg", "x0", "y");
    model_output(&model, "y");
    model_finish(&model);
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct import_options options = {.limit_bytes = 1 << 16};
    int status =
        import_onnx_memory(model.bytes, model.byte_count, "test", &options, &package, &diag);
    ck_assert(status == LEGO_E_LIMIT || status == LEGO_E_NOMEM);
    ck_assert_msg(strstr(diag.text, "limit") != NULL, "%s", diag.text);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: hostile models");
    TCase *tcase = tcase_create("hostile");
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, all_unsupported_at_once);
    tcase_add_test(tcase, all_unsupported_forms_at_once);
    tcase_add_test(tcase, unknown_and_old_forms_together);
    tcase_add_test(tcase, every_one_of_many);
    tcase_add_loop_test(tcase, opset_out_of_range, 0, 4);
    tcase_add_loop_test(tcase, other_types, 0, 4);
    tcase_add_test(tcase, text_tensor);
    tcase_add_loop_test(tcase, broken_graph, 0, 8);
    tcase_add_loop_test(tcase, broken_tensor, 0, 7);
    tcase_add_test(tcase, external_data_from_memory);
    tcase_add_test(tcase, negative_dimension);
    tcase_add_test(tcase, nested_too_deep);
    tcase_add_loop_test(tcase, not_a_model, 0, 8);
    tcase_add_test(tcase, cut_and_flipped);
    tcase_add_loop_test(tcase, ten_thousand_nodes, 0, 3);
    tcase_add_test(tcase, graph_over_its_limit);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
