/*
 * What the tool stands on: reading options, comparing tensors, reading labelled pictures.
 */
#include "agent/cli/compare.h"
#include "agent/cli/dataset.h"
#include "agent/cli/element.h"
#include "agent/cli/options.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

struct sample {
    bool loud;
    const char *name;
    uint64_t count;
    double ratio;
    struct cli_list files;
};

static const struct cli_option OPTIONS[] = {
    {.name = "loud", .letter = 'l', .type = CLI_FLAG, .offset = offsetof(struct sample, loud)},
    {.name = "name", .type = CLI_STRING, .offset = offsetof(struct sample, name), .value = "TEXT"},
    {.name = "count",
     .letter = 'n',
     .type = CLI_UINT,
     .offset = offsetof(struct sample, count),
     .value = "N",
     .otherwise = "7",
     .min = 1,
     .max = 100},
    {.name = "ratio",
     .type = CLI_DOUBLE,
     .offset = offsetof(struct sample, ratio),
     .value = "X",
     .otherwise = "1.5"},
    {.name = "file",
     .letter = 'f',
     .type = CLI_LIST,
     .offset = offsetof(struct sample, files),
     .value = "FILE"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {.command = "sample",
                                     .arguments = "A [B]",
                                     .about = "",
                                     .options = OPTIONS,
                                     .min_positional = 1,
                                     .max_positional = 2};

/* Parses words that are separated by one space. */
static int parse(const char *line, struct sample *sample, struct cli_list *positional)
{
    static char words[512];
    char *argv[32] = {(char *)"sample"};
    int argc = 1;
    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    *sample = (struct sample){0};
    *positional = (struct cli_list){0};
    return cli_parse(&SPEC, argc, argv, sample, positional);
}

static void clear(struct sample *sample, struct cli_list *positional)
{
    cli_options_clear(&SPEC, sample);
    cli_list_clear(positional);
}

START_TEST(options_have_defaults)
{
    struct sample sample;
    struct cli_list positional;
    ck_assert_int_eq(parse("a", &sample, &positional), CLI_GO_ON);
    ck_assert(!sample.loud);
    ck_assert_ptr_null(sample.name);
    ck_assert_uint_eq(sample.count, 7);
    ck_assert_double_eq(sample.ratio, 1.5);
    ck_assert_uint_eq(sample.files.count, 0);
    ck_assert_uint_eq(positional.count, 1);
    clear(&sample, &positional);
}
END_TEST

START_TEST(options_come_in_every_form)
{
    struct sample sample;
    struct cli_list positional;
    ck_assert_int_eq(
        parse("-l a --name=x=y -n5 --file p --ratio -2e3 -f q -- --b", &sample, &positional),
        CLI_GO_ON);
    ck_assert(sample.loud);
    ck_assert_str_eq(sample.name, "x=y");
    ck_assert_uint_eq(sample.count, 5);
    ck_assert_double_eq(sample.ratio, -2000);
    ck_assert_uint_eq(sample.files.count, 2);
    ck_assert_str_eq(sample.files.items[0], "p");
    ck_assert_str_eq(sample.files.items[1], "q");
    ck_assert_uint_eq(positional.count, 2);
    ck_assert_str_eq(positional.items[0], "a");
    ck_assert_str_eq(positional.items[1], "--b");
    clear(&sample, &positional);
}
END_TEST

START_TEST(wrong_options_are_usage_errors)
{
    static const char *const LINES[] = {
        "",
        "a b c",
        "a --nmae x",
        "a -x",
        "a --loud=1",
        "a --name",
        "a -n 0",
        "a -n 101",
        "a -n -5",
        "a -n 5x",
        "a -n 1e1",
        "a --ratio",
        "a --ratio x",
        "a --ratio nan",
        "a --ratio inf",
        "a -n 99999999999999999999999",
    };
    for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++) {
        struct sample sample;
        struct cli_list positional;
        ck_assert_msg(parse(LINES[i], &sample, &positional) == CLI_USAGE, "'%s'", LINES[i]);
        ck_assert_ptr_null(positional.items);
    }
}
END_TEST

static const char *candidate(const void *context, size_t index)
{
    return ((const char *const *)context)[index];
}

START_TEST(the_nearest_word_is_found)
{
    static const char *const WORDS[] = {"run", "eval", "bench", "inspect", NULL};
    ck_assert_str_eq(cli_nearest("evla", candidate, WORDS), "eval");
    ck_assert_str_eq(cli_nearest("inspct", candidate, WORDS), "inspect");
    ck_assert_str_eq(cli_nearest("benchh", candidate, WORDS), "bench");
    ck_assert_ptr_null(cli_nearest("compress", candidate, WORDS));
    ck_assert_ptr_null(cli_nearest("", candidate, WORDS));
}
END_TEST

/* ---- comparing ---- */

static struct compare_result compare_floats(const float *got, const float *expected, int64_t count,
                                            const struct compare_tolerance *tolerance)
{
    struct lego_io io = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 1, .dim = {count}},
                         .data = (void *)got,
                         .bytes = (size_t)count * sizeof(*got)};
    struct lego_tensor tensor = {.name = "t",
                                 .dtype = LEGO_DTYPE_FLOAT32,
                                 .shape = io.shape,
                                 .bytes = io.bytes,
                                 .data = expected};
    struct compare_result result;
    ck_assert_int_eq(compare_tensors(&io, &tensor, tolerance, &result, NULL), LEGO_OK);
    return result;
}

START_TEST(the_largest_value_scales_the_tolerance)
{
    struct compare_tolerance t = {.rule = COMPARE_LARGEST, .tolerance = 1e-2};
    const float expected[] = {100, 0, -200};
    const float inside[] = {101.5f, 1.9f, -200}, outside[] = {100, 2.1f, -200};
    struct compare_result result = compare_floats(inside, expected, 3, &t);
    ck_assert(result.ok);
    ck_assert_double_eq_tol(result.max_abs_error, 1.9, 1e-6);
    ck_assert_double_eq_tol(result.max_rel_error, 1.9 / 200, 1e-8);
    result = compare_floats(outside, expected, 3, &t);
    ck_assert(!result.ok);
    ck_assert_uint_eq(result.wrong, 1);
    ck_assert_uint_eq(result.first_wrong, 1);
    ck_assert_double_eq_tol(result.first_got, 2.1, 1e-6);

    /* Small outputs: at least T. */
    const float small[] = {0.001f}, near[] = {0.0109f}, far[] = {0.0111f};
    ck_assert(compare_floats(near, small, 1, &t).ok);
    ck_assert(!compare_floats(far, small, 1, &t).ok);
}
END_TEST

START_TEST(relative_and_absolute_tolerance_add_up)
{
    struct compare_tolerance t = {.rule = COMPARE_RELATIVE, .relative = 0.1, .absolute = 1};
    const float expected[] = {100, 0}, inside[] = {110.9f, 0.9f}, outside[] = {111.1f, 1.1f};
    ck_assert(compare_floats(inside, expected, 2, &t).ok);
    ck_assert_uint_eq(compare_floats(outside, expected, 2, &t).wrong, 2);
}
END_TEST

START_TEST(not_a_number_equals_itself_only)
{
    struct compare_tolerance t = {.rule = COMPARE_LARGEST, .tolerance = 1e9};
    const float expected[] = {NAN, INFINITY, -INFINITY, 1};
    const float got[] = {NAN, INFINITY, INFINITY, NAN};
    ck_assert(compare_floats(expected, expected, 4, &t).ok);
    struct compare_result result = compare_floats(got, expected, 4, &t);
    ck_assert_uint_eq(result.wrong, 2);
    ck_assert_uint_eq(result.first_wrong, 2);
    ck_assert(isinf(result.max_abs_error));
}
END_TEST

static int compare_ints(const int64_t *got, const int64_t *expected,
                        const struct compare_tolerance *t, struct compare_result *result)
{
    struct lego_io io = {.dtype = LEGO_DTYPE_INT64,
                         .shape = {.rank = 1, .dim = {2}},
                         .data = (void *)got,
                         .bytes = 16};
    struct lego_tensor tensor = {
        .name = "t", .dtype = LEGO_DTYPE_INT64, .shape = io.shape, .bytes = 16, .data = expected};
    return compare_tensors(&io, &tensor, t, result, NULL);
}

START_TEST(integers_are_exact_unless_told)
{
    struct compare_tolerance exact = {0}, loose = {.rule = COMPARE_RELATIVE, .absolute = 1};
    const int64_t expected[] = {5, INT64_MAX}, near[] = {6, INT64_MAX}, last[] = {5, INT64_MAX - 1};
    struct compare_result result;
    ck_assert_int_eq(compare_ints(expected, expected, &exact, &result), LEGO_OK);
    ck_assert(result.ok);
    ck_assert_int_eq(compare_ints(near, expected, &exact, &result), LEGO_OK);
    ck_assert(!result.ok);
    ck_assert_int_eq(compare_ints(last, expected, &exact, &result), LEGO_OK);
    ck_assert(!result.ok); /* though both are the same double */
    ck_assert_int_eq(compare_ints(near, expected, &loose, &result), LEGO_OK);
    ck_assert(result.ok);
}
END_TEST

START_TEST(type_and_shape_must_agree)
{
    float data[4] = {0};
    struct lego_io io = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 2, .dim = {2, 2}},
                         .data = data,
                         .bytes = sizeof(data)};
    struct lego_tensor tensor = {.name = "t",
                                 .dtype = LEGO_DTYPE_FLOAT32,
                                 .shape = {.rank = 1, .dim = {4}},
                                 .bytes = sizeof(data),
                                 .data = data};
    struct compare_tolerance t = {0};
    struct compare_result result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(compare_tensors(&io, &tensor, &t, &result, &diag), LEGO_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(diag.text, "[2,2]"));
    tensor.dtype = LEGO_DTYPE_INT32;
    ck_assert_int_eq(compare_tensors(&io, &tensor, &t, &result, &diag), LEGO_E_TYPE);
}
END_TEST

START_TEST(elements_of_every_type)
{
    const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x7e00, 0x03ff, 0x7bff};
    const uint16_t brain[] = {0x3f80, 0xc000};
    const uint8_t bytes[] = {255, 1};
    ck_assert_double_eq(element_value(LEGO_DTYPE_FLOAT16, half, 0), 1);
    ck_assert_double_eq(element_value(LEGO_DTYPE_FLOAT16, half, 1), -2);
    ck_assert_double_eq(element_value(LEGO_DTYPE_FLOAT16, half, 2), ldexp(1, -24));
    ck_assert(isinf(element_value(LEGO_DTYPE_FLOAT16, half, 3)));
    ck_assert(isnan(element_value(LEGO_DTYPE_FLOAT16, half, 4)));
    ck_assert_double_eq(element_value(LEGO_DTYPE_FLOAT16, half, 5), 1023 * ldexp(1, -24));
    ck_assert_double_eq(element_value(LEGO_DTYPE_FLOAT16, half, 6), 65504);
    ck_assert_double_eq(element_value(LEGO_DTYPE_BFLOAT16, brain, 0), 1);
    ck_assert_double_eq(element_value(LEGO_DTYPE_BFLOAT16, brain, 1), -2);
    ck_assert_double_eq(element_value(LEGO_DTYPE_UINT8, bytes, 0), 255);
    ck_assert_double_eq(element_value(LEGO_DTYPE_INT8, bytes, 0), -1);
    ck_assert_double_eq(element_value(LEGO_DTYPE_BOOL, bytes, 1), 1);
}
END_TEST

/* ---- labelled pictures ---- */

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

/* Writes `text` as labels and opens them over the folder /nowhere. */
static int open_labels(const char *text, struct dataset **ret_dataset, struct lego_diag *diag)
{
    char path[] = "/tmp/lego-labels-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_file(path, text, strlen(text));
    int status = dataset_open_images("/nowhere", path, ret_dataset, diag);
    unlink(path);
    return status;
}

START_TEST(labels_by_header)
{
    struct dataset *dataset = NULL;
    char name[256];
    ck_assert_int_eq(
        open_labels("name,class,file\r\n\"a, b\",17,x.jpg\r\n\n\"q\"\"q\",2,\"y,z.jpg\"\n",
                    &dataset, NULL),
        LEGO_OK);
    ck_assert_uint_eq(dataset_count(dataset), 2);
    ck_assert_uint_eq(dataset_class(dataset, 0), 17);
    ck_assert_str_eq(dataset_name(dataset, 0, name, sizeof(name)), "/nowhere/x.jpg");
    ck_assert_uint_eq(dataset_class(dataset, 1), 2);
    ck_assert_str_eq(dataset_name(dataset, 1, name, sizeof(name)), "/nowhere/y,z.jpg");
    dataset_close(dataset);
}
END_TEST

START_TEST(labels_without_header)
{
    struct dataset *dataset = NULL;
    ck_assert_int_eq(open_labels("x.jpg,3\ny.jpg,0", &dataset, NULL), LEGO_OK);
    ck_assert_uint_eq(dataset_count(dataset), 2);
    ck_assert_uint_eq(dataset_class(dataset, 0), 3);
    dataset_close(dataset);
}
END_TEST

START_TEST(bad_labels_are_refused_with_their_line)
{
    static const char *const TEXTS[] = {"file,class\nx.jpg,3\ny.jpg,three\n",
                                        "file,class\nx.jpg,3\n,4\n", "file,class\nx.jpg,3\ny.jpg\n",
                                        "file,class\nx.jpg,3\ny.jpg,70000\n"};
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        struct dataset *dataset = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_int_eq(open_labels(TEXTS[i], &dataset, &diag), LEGO_E_FORMAT);
        ck_assert_ptr_nonnull(strstr(diag.text, ":3: "));
    }
    struct dataset *dataset = NULL;
    ck_assert_int_eq(open_labels("file,class\n", &dataset, NULL), LEGO_E_FORMAT);
    ck_assert_int_eq(dataset_open_images("/", "/nowhere/labels.csv", &dataset, NULL),
                     LEGO_E_NOT_FOUND);
}
END_TEST

START_TEST(cifar_records)
{
    enum { RECORD = 3073 };
    static uint8_t data[2 * RECORD];
    char path[] = "/tmp/lego-cifar-XXXXXX";
    struct dataset *dataset = NULL;
    struct lego_picture picture;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    data[RECORD] = 9;
    for (int i = 0; i < 3072; i++)
        data[RECORD + 1 + i] = (uint8_t)(i / 1024 * 50 + i % 50);
    write_file(path, data, sizeof(data));
    ck_assert_int_eq(dataset_open_cifar10(path, &dataset, NULL), LEGO_OK);
    ck_assert_uint_eq(dataset_count(dataset), 2);
    ck_assert_uint_eq(dataset_class(dataset, 1), 9);
    ck_assert_int_eq(dataset_picture(dataset, 1, &picture, NULL), LEGO_OK);
    ck_assert_uint_eq(picture.width, 32);
    for (int i = 0; i < 1024; i++) {
        for (int c = 0; c < 3; c++)
            ck_assert_uint_eq(picture.pixels[3 * i + c], data[RECORD + 1 + c * 1024 + i]);
    }
    picture_clear(&picture);
    dataset_close(dataset);

    data[RECORD] = 10;
    write_file(path, data, sizeof(data));
    ck_assert_int_eq(dataset_open_cifar10(path, &dataset, NULL), LEGO_E_FORMAT);
    write_file(path, data, sizeof(data) - 1);
    ck_assert_int_eq(dataset_open_cifar10(path, &dataset, NULL), LEGO_E_FORMAT);
    unlink(path);
    ck_assert_int_eq(dataset_open_cifar10(path, &dataset, NULL), LEGO_E_NOT_FOUND);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli");
    TCase *tcase = tcase_create("cli");
    tcase_add_test(tcase, options_have_defaults);
    tcase_add_test(tcase, options_come_in_every_form);
    tcase_add_test(tcase, wrong_options_are_usage_errors);
    tcase_add_test(tcase, the_nearest_word_is_found);
    tcase_add_test(tcase, the_largest_value_scales_the_tolerance);
    tcase_add_test(tcase, relative_and_absolute_tolerance_add_up);
    tcase_add_test(tcase, not_a_number_equals_itself_only);
    tcase_add_test(tcase, integers_are_exact_unless_told);
    tcase_add_test(tcase, type_and_shape_must_agree);
    tcase_add_test(tcase, elements_of_every_type);
    tcase_add_test(tcase, labels_by_header);
    tcase_add_test(tcase, labels_without_header);
    tcase_add_test(tcase, bad_labels_are_refused_with_their_line);
    tcase_add_test(tcase, cifar_records);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
