/* Typed contents and the classification extension. */
#include "agent/service/inference.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Inference__InferTensorContents contents_message;

static void contents_fail(enum lego_dtype dtype, size_t elems, const contents_message *contents,
                          int expected, const char *text)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    void *data = NULL;
    ck_assert_int_eq(inference_contents("x", dtype, elems, contents, &data, &diag), expected);
    ck_assert_ptr_null(data);
    ck_assert_msg(strstr(diag.text, text), "%s", diag.text);
}

START_TEST(typed_contents_become_elements)
{
    contents_message contents = INFERENCE__INFER_TENSOR_CONTENTS__INIT;
    int32_t ints[] = {-128, 0, 127};
    uint32_t uints[] = {0, 65535};
    protobuf_c_boolean bools[] = {1, 0, 5};
    float floats[] = {1.5f, -0.0f};
    int8_t *small = NULL;
    uint16_t *wide = NULL;
    uint8_t *flags = NULL;
    float *reals = NULL;
    contents.n_int_contents = 3;
    contents.int_contents = ints;
    ck_assert_int_eq(inference_contents("x", LEGO_DTYPE_INT8, 3, &contents, (void **)&small, NULL),
                     LEGO_OK);
    ck_assert(small[0] == -128 && small[1] == 0 && small[2] == 127);
    contents.n_int_contents = 0;
    contents.n_uint_contents = 2;
    contents.uint_contents = uints;
    ck_assert_int_eq(inference_contents("x", LEGO_DTYPE_UINT16, 2, &contents, (void **)&wide, NULL),
                     LEGO_OK);
    ck_assert(wide[0] == 0 && wide[1] == 65535);
    contents.n_uint_contents = 0;
    contents.n_bool_contents = 3;
    contents.bool_contents = bools;
    ck_assert_int_eq(inference_contents("x", LEGO_DTYPE_BOOL, 3, &contents, (void **)&flags, NULL),
                     LEGO_OK);
    ck_assert(flags[0] == 1 && flags[1] == 0 && flags[2] == 1);
    contents.n_bool_contents = 0;
    contents.n_fp32_contents = 2;
    contents.fp32_contents = floats;
    ck_assert_int_eq(
        inference_contents("x", LEGO_DTYPE_FLOAT32, 2, &contents, (void **)&reals, NULL), LEGO_OK);
    ck_assert_mem_eq(reals, floats, sizeof(floats));
    free(small);
    free(wide);
    free(flags);
    free(reals);
}
END_TEST

START_TEST(contents_that_do_not_fit_are_named)
{
    contents_message contents = INFERENCE__INFER_TENSOR_CONTENTS__INIT;
    int32_t ints[] = {128};
    float floats[] = {1, 2};
    contents.n_int_contents = 1;
    contents.int_contents = ints;
    contents_fail(LEGO_DTYPE_INT8, 1, &contents, LEGO_E_TYPE, "does not fit into INT8");
    contents_fail(LEGO_DTYPE_INT32, 2, &contents, LEGO_E_SHAPE, "1 elements came in int_contents");
    contents_fail(LEGO_DTYPE_FLOAT32, 1, &contents, LEGO_E_TYPE,
                  "FP32 is carried in fp32_contents");
    contents_fail(LEGO_DTYPE_FLOAT16, 1, &contents, LEGO_E_UNSUPPORTED, "only as raw_input");
    contents.n_fp32_contents = 2;
    contents.fp32_contents = floats;
    contents_fail(LEGO_DTYPE_INT32, 1, &contents, LEGO_E_TYPE, "in no other");
}
END_TEST

struct element {
    char text[64];
};

static size_t split(const uint8_t *data, size_t bytes, struct element *elements)
{
    size_t count = 0, at = 0;
    while (at < bytes) {
        size_t length = data[at] | (size_t)data[at + 1] << 8;
        snprintf(elements[count++].text, sizeof(elements->text), "%.*s", (int)length,
                 (const char *)data + at + 4);
        at += 4 + length;
    }
    return count;
}

START_TEST(classes_are_ranked_with_labels)
{
    static const char *labels[] = {"cat", "dog"};
    struct lego_package package = {.label_count = 2, .labels = labels};
    float values[] = {0.25f, 0.5f, 0.5f, NAN, 3.0f, 1.0f, 2.0f, -1.0f};
    struct lego_io io = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 2, .dim = {2, 4}},
                         .data = values,
                         .bytes = sizeof(values)};
    struct lego_shape shape;
    uint8_t *data;
    size_t bytes;
    struct element got[16];
    ck_assert_int_eq(inference_classify(&package, "y", &io, 3, &shape, &data, &bytes, NULL),
                     LEGO_OK);
    ck_assert(shape.rank == 2 && shape.dim[0] == 2 && shape.dim[1] == 3);
    ck_assert_uint_eq(split(data, bytes, got), 6);
    ck_assert_str_eq(got[0].text, "0.5:1:dog");
    ck_assert_str_eq(got[1].text, "0.5:2");
    ck_assert_str_eq(got[2].text, "0.25:0:cat");
    ck_assert_str_eq(got[3].text, "3:0:cat");
    free(data);
    ck_assert_int_eq(inference_classify(&package, "y", &io, INT64_MAX, &shape, &data, &bytes, NULL),
                     LEGO_OK);
    ck_assert_int_eq(shape.dim[1], 4);
    ck_assert_uint_eq(split(data, bytes, got), 8);
    ck_assert_str_eq(got[3].text, "nan:3");
    free(data);
}
END_TEST

START_TEST(entries_before_class_0_are_left_out)
{
    static const char *labels[] = {"cat", "dog"};
    struct lego_package package = {
        .label_count = 2, .labels = labels, .preprocess = {.present = true, .class_offset = 1}};
    float values[] = {9, 1, 2};
    struct lego_io io = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 1, .dim = {3}},
                         .data = values,
                         .bytes = sizeof(values)};
    struct lego_shape shape;
    uint8_t *data;
    size_t bytes;
    struct element got[4];
    ck_assert_int_eq(inference_classify(&package, "y", &io, 5, &shape, &data, &bytes, NULL),
                     LEGO_OK);
    ck_assert(shape.rank == 1 && shape.dim[0] == 2);
    ck_assert_uint_eq(split(data, bytes, got), 2);
    ck_assert_str_eq(got[0].text, "2:1:dog");
    ck_assert_str_eq(got[1].text, "1:0:cat");
    free(data);
    package.preprocess.class_offset = 3;
    ck_assert_int_eq(inference_classify(&package, "y", &io, 5, &shape, &data, &bytes, NULL),
                     LEGO_E_SHAPE);
    io.dtype = LEGO_DTYPE_BOOL;
    package.preprocess.class_offset = 0;
    ck_assert_int_eq(inference_classify(&package, "y", &io, 5, &shape, &data, &bytes, NULL),
                     LEGO_E_UNSUPPORTED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("infer");
    TCase *tests = tcase_create("infer");
    tcase_add_test(tests, typed_contents_become_elements);
    tcase_add_test(tests, contents_that_do_not_fit_are_named);
    tcase_add_test(tests, classes_are_ranked_with_labels);
    tcase_add_test(tests, entries_before_class_0_are_left_out);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
