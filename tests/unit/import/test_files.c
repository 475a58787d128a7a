/*
 * Files: tensors as .pb and .npy, external data, models written and read again.
 */
#include "model.h"

#include "codec/import/wire_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/lego-import-XXXXXX";

static void make_folder(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    char command[128];
    ck_assert_int_eq(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

static const enum lego_dtype dtypes[] = {
    LEGO_DTYPE_FLOAT32,  LEGO_DTYPE_UINT8,   LEGO_DTYPE_INT8,   LEGO_DTYPE_UINT16,
    LEGO_DTYPE_INT16,    LEGO_DTYPE_INT32,   LEGO_DTYPE_INT64,  LEGO_DTYPE_BOOL,
    LEGO_DTYPE_FLOAT16,  LEGO_DTYPE_FLOAT64, LEGO_DTYPE_UINT32, LEGO_DTYPE_UINT64,
    LEGO_DTYPE_BFLOAT16,
};
enum { DTYPES = 13 };

START_TEST(tensor_round_trip)
{
    static const uint8_t data[48] = {1, 0, 1, 1, 0, 1, 0, 0, 1};
    static const struct lego_shape shapes[] = {
        {.rank = 0}, {.rank = 1, .dim = {6}}, {.rank = 2, .dim = {2, 3}}, {.rank = 1, .dim = {0}}};
    for (size_t i = 0; i < 4; i++) {
        size_t elems;
        ck_assert_int_eq(lego_shape_elems(&shapes[i], &elems), 0);
        struct lego_tensor tensor = {.name = "t",
                                     .dtype = dtypes[_i],
                                     .shape = shapes[i],
                                     .bytes = elems * lego_dtype_bytes(dtypes[_i]),
                                     .data = data};
        for (int npy = 0; npy < 2; npy++) {
            struct lego_tensor back;
            struct lego_diag diag = LEGO_DIAG_INIT;
            int status = npy ? export_tensor_npy("t", &tensor, &diag)
                             : export_tensor_pb("t", &tensor, &diag);
            if (npy && dtypes[_i] == LEGO_DTYPE_BFLOAT16) {
                ck_assert_int_eq(status, LEGO_E_UNSUPPORTED);
                continue;
            }
            ck_assert_msg(status == 0, "%s", diag.text);
            status =
                npy ? import_tensor_npy("t", &back, &diag) : import_tensor_pb("t", &back, &diag);
            ck_assert_msg(status == 0, "%s", diag.text);
            ck_assert_int_eq(back.dtype, tensor.dtype);
            ck_assert(lego_shape_equal(&back.shape, &tensor.shape));
            ck_assert_str_eq(back.name, npy ? "" : "t");
            ck_assert_mem_eq(back.data, data, tensor.bytes);
            import_tensor_clear(&back);
        }
    }
}
END_TEST

/* One element a field, or packed: as writers of both kinds do. */
START_TEST(tensor_typed_fields)
{
    static const struct {
        enum lego_dtype dtype;
        uint32_t field;
        int64_t value;
        uint8_t expected[8];
    } cases[] = {
        {LEGO_DTYPE_INT32, 5, -2, {0xfe, 0xff, 0xff, 0xff}},
        {LEGO_DTYPE_INT8, 5, -2, {0xfe}},
        {LEGO_DTYPE_BOOL, 5, 1, {1}},
        {LEGO_DTYPE_FLOAT16, 5, 0x3c00, {0x00, 0x3c}},
        {LEGO_DTYPE_INT64, 7, -2, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {LEGO_DTYPE_UINT32, 11, 7, {7, 0, 0, 0}},
        {LEGO_DTYPE_FLOAT32, 4, 0, {0, 0, 0x20, 0x40}}, /* 2.5 */
    };
    for (int packed = 0; packed < 2; packed++) {
        struct wire_out message = {0}, values = {0};
        wire_put_int(&message, 1, 2);
        wire_put_int(&message, 2, cases[_i].dtype);
        for (int k = 0; k < 2; k++) {
            if (cases[_i].dtype == LEGO_DTYPE_FLOAT32 && packed)
                wire_put(&values, cases[_i].expected, 4);
            else if (cases[_i].dtype == LEGO_DTYPE_FLOAT32)
                wire_put_float(&message, 4, 2.5f);
            else if (packed)
                wire_put_varint(&values, (uint64_t)cases[_i].value);
            else
                wire_put_int(&message, cases[_i].field, cases[_i].value);
        }
        if (packed)
            wire_put_bytes(&message, cases[_i].field, values.data, values.bytes);
        struct lego_tensor tensor;
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_msg(import_tensor_memory(message.data, message.bytes, &tensor, &diag) == 0, "%s",
                      diag.text);
        size_t bytes = lego_dtype_bytes(cases[_i].dtype);
        ck_assert_uint_eq(tensor.bytes, 2 * bytes);
        ck_assert_mem_eq(tensor.data, cases[_i].expected, bytes);
        ck_assert_mem_eq((const char *)tensor.data + bytes, cases[_i].expected, bytes);
        import_tensor_clear(&tensor);
        wire_out_clear(&message);
        wire_out_clear(&values);
    }
}
END_TEST

START_TEST(npy_hostile)
{
#define HEAD "\x93NUMPY\x01\x00"
    static const struct {
        const char *bytes;
        size_t count;
        int status;
    } cases[] = {
        {"", 0, LEGO_E_FORMAT},
        {"\x93NUMPX\x01\x00\x00\x00\x00\x00", 12, LEGO_E_FORMAT},
        {HEAD "\xff\xff{}", 12, LEGO_E_FORMAT},
        {HEAD "\x02\x00{}", 12, LEGO_E_UNSUPPORTED},
        {HEAD "\x36\x00{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}xxxx", 68,
         LEGO_E_UNSUPPORTED},
        {HEAD "\x36\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}xxx", 67,
         LEGO_E_FORMAT},
        {HEAD "\x36\x00{'descr': '<f4', 'fortran_order': False, 'shape': (-1)}xxxx", 68,
         LEGO_E_FORMAT},
        {HEAD "\x37\x00{'descr': '<f4', 'fortran_order': True, 'shape': (1,1)} xxxx", 69,
         LEGO_E_UNSUPPORTED},
        {HEAD "\x49\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
         83, LEGO_E_OVERFLOW},
        {HEAD "\x34\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,", 62, LEGO_E_FORMAT},
    };
    struct lego_tensor tensor;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char *bytes = malloc(cases[_i].count);
    memcpy(bytes, cases[_i].bytes, cases[_i].count);
    int status = import_npy_memory(bytes, cases[_i].count, &tensor, &diag);
    ck_assert_msg(status == cases[_i].status, "%s: %s", lego_status_name(status), diag.text);
    ck_assert(diag.text[0] != '\0');
    free(bytes);
}
END_TEST

/* A model whose weight lies in another file. */
static void write_model(const char *path, const char *location, const char *offset,
                        const char *length)
{
    struct model model;
    struct wire_out tensor = {0};
    const char *pairs[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "2");
    wire_put_int(&tensor, 1, 2);
    wire_put_int(&tensor, 2, LEGO_DTYPE_FLOAT32);
    wire_put_text(&tensor, 8, "w");
    for (size_t i = 0; i < 3; i++) {
        struct wire_out entry = {0};
        if (!pairs[i][1])
            continue;
        wire_put_text(&entry, 1, pairs[i][0]);
        wire_put_text(&entry, 2, pairs[i][1]);
        wire_put_bytes(&tensor, 13, entry.data, entry.bytes);
        wire_out_clear(&entry);
    }
    wire_put_int(&tensor, 14, 1);
    wire_put_bytes(&model.graph, 5, tensor.data, tensor.bytes);
    wire_out_clear(&tensor);
    model_node(&model, "Add", "x,w", "y");
    model_output(&model, "y");
    model_finish(&model);
    write_file(path, model.bytes, model.byte_count);
    model_free(&model);
}

START_TEST(external_data)
{
    static const float data[6] = {0, 1, 2, 3, 4, 5};
    static const struct {
        const char *location, *offset, *length;
        int status;
    } cases[] = {
        {"w.bin", "8", "8", 0},
        {"sub/w.bin", NULL, NULL, 0},
        {"./w.bin", "16", NULL, 0},
        {"w.bin", "5", NULL, 0}, /* misaligned */
        {"w.bin", "20", NULL, LEGO_E_FORMAT},
        {"w.bin", "8", "4", LEGO_E_FORMAT},
        {"w.bin", "18446744073709551615", NULL, LEGO_E_FORMAT},
        {"w.bin", "-8", NULL, LEGO_E_FORMAT},
        {"none.bin", NULL, NULL, LEGO_E_NOT_FOUND},
        {"../secret.bin", NULL, NULL, LEGO_E_PERMISSION},
        {"sub/../../secret.bin", NULL, NULL, LEGO_E_PERMISSION},
        {"/etc/passwd", NULL, NULL, LEGO_E_PERMISSION},
        {"link.bin", NULL, NULL, LEGO_E_PERMISSION},
        {"away/secret.bin", NULL, NULL, LEGO_E_PERMISSION},
        {"sub", NULL, NULL, LEGO_E_INVALID},
        {"", NULL, NULL, LEGO_E_FORMAT},
    };
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(mkdir("m", 0700) | mkdir("m/sub", 0700), 0);
    write_file("secret.bin", data, sizeof data);
    write_file("m/w.bin", data, sizeof data);
    write_file("m/sub/w.bin", data, sizeof data);
    ck_assert_int_eq(symlink("../secret.bin", "m/link.bin"), 0);
    ck_assert_int_eq(symlink("..", "m/away"), 0);
    write_model("m/model.onnx", cases[_i].location, cases[_i].offset, cases[_i].length);
    int status = import_onnx("m/model.onnx", NULL, &package, &diag);
    ck_assert_msg(status == cases[_i].status, "%s: %s", lego_status_name(status), diag.text);
    if (status == 0) {
        const struct lego_node *node = &package->graph->nodes[0];
        const struct lego_tensor *tensor = lego_node_constant(package->graph, node, 1);
        size_t offset = cases[_i].offset ? (size_t)atoi(cases[_i].offset) : 0;
        ck_assert_mem_eq(tensor->data, (const char *)data + offset, 8);
        ck_assert_uint_eq((uintptr_t)tensor->data % sizeof(float), 0);
    }
    lego_package_destroy(package);
}
END_TEST

START_TEST(no_file)
{
    struct lego_package *package = NULL;
    struct lego_tensor tensor;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(import_onnx("none.onnx", NULL, &package, &diag), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(import_onnx(".", NULL, &package, &diag), LEGO_E_INVALID);
    write_file("empty", "", 0);
    ck_assert_int_eq(import_onnx("empty", NULL, &package, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(import_tensor_pb("empty", &tensor, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(import_tensor_npy("empty", &tensor, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(import_tensor_pb("none", &tensor, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, "none"));
}
END_TEST

/* All fused forms, written as ONNX and read again without passes, compute the same. */
START_TEST(export_round_trip)
{
    static const char *const activations[] = {"Relu",        "LeakyRelu", "Sigmoid", "Tanh",
                                              "HardSigmoid", "HardSwish", "Gelu"};
    struct model model;
    model_open(&model, 20);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "N,3,5,5");
    model_floats(&model, "w", "3,3,1,1", NULL);
    model_node(&model, "Conv", "x,w", "c");
    model_node(&model, "Add", "c,x", "s");
    model_node(&model, activations[_i], "s", "a");
    node_begin(&model, "ReduceMean", "a", "m");
    node_end(&model);
    model_node(&model, "Sigmoid", "a", "g");
    model_node(&model, "Mul", "a,g", "y");
    model_output(&model, "m");
    model_output(&model, "y");
    struct lego_package *package = model_compare(&model), *again = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(export_onnx(package, "out.onnx", &diag) == 0, "%s", diag.text);
    ck_assert_msg(import_onnx("out.onnx", NULL, &again, &diag) == 0, "%s", diag.text);
    ck_assert_uint_eq(again->graph->node_count, package->graph->node_count);
    const struct lego_node *conv = find_node(again->graph, LEGO_OP_Conv);
    const struct lego_node *first = find_node(package->graph, LEGO_OP_Conv);
    ck_assert_int_eq(conv->activation, first->activation);
    ck_assert_uint_eq(conv->input_count, 4);
    ck_assert_float_eq(conv->act_lo, first->act_lo);
    ck_assert_float_eq(conv->act_hi, first->act_hi);
    const struct lego_value *input = &again->graph->values[again->graph->inputs[0]];
    ck_assert_str_eq(again->graph->symbols[-1 - input->shape.dim[0]], "N");
    lego_package_destroy(package);
    lego_package_destroy(again);
    model_free(&model);
}
END_TEST

/* A container has no names of nodes: two that share a weight would be named after it. */
START_TEST(export_names_nodes_once)
{
    struct model model;
    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,2,3,3");
    model_floats(&model, "w", "2,2,1,1", NULL);
    model_node(&model, "Conv", "x,w", "a");
    model_node(&model, "Conv", "a,w", "y");
    model_output(&model, "y");
    struct lego_package *package = model_import(&model, false), *again = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    package->graph->nodes[1].name = package->graph->nodes[0].name;
    ck_assert_msg(export_onnx(package, "names.onnx", &diag) == 0, "%s", diag.text);
    ck_assert_msg(import_onnx("names.onnx", NULL, &again, &diag) == 0, "%s", diag.text);
    ck_assert_str_ne(again->graph->nodes[0].name, again->graph->nodes[1].name);
    lego_package_destroy(package);
    lego_package_destroy(again);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: files");
    TCase *tcase = tcase_create("files");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_add_loop_test(tcase, tensor_round_trip, 0, DTYPES);
    tcase_add_loop_test(tcase, tensor_typed_fields, 0, 7);
    tcase_add_loop_test(tcase, npy_hostile, 0, 10);
    tcase_add_loop_test(tcase, external_data, 0, 16);
    tcase_add_test(tcase, no_file);
    tcase_add_loop_test(tcase, export_round_trip, 0, 7);
    tcase_add_test(tcase, export_names_nodes_once);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
