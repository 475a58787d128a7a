/*
 * Real networks through import, encode, write, open and decode. They lie in the folder that
 * LEGONET_DATA names; without it these tests are skipped.
 */
#include "codec/encode/encode.h"
#include "codec/import/import.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *data_folder(void)
{
    const char *folder = getenv("LEGONET_DATA");

    return folder && *folder ? folder : NULL;
}

static struct lego_package *import(const char *name)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char path[4096];

    snprintf(path, sizeof(path), "%s/models/%s.onnx", data_folder(), name);
    const int status = import_onnx(path, NULL, &package, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    return package;
}

/* Writes, opens and destroys; what was opened. */
static struct lego_package *through_file(struct lego_package *package)
{
    struct lego_package *opened = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char path[64];
    uint64_t bytes;

    snprintf(path, sizeof(path), "/tmp/test_real.%d.lego", (int)getpid());
    int status = lego_package_write(package, path, &bytes, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    status = lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &opened, &diag);
    unlink(path);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(opened->file_bytes, bytes);
    return opened;
}

static double ratio_of(const struct lego_package *package)
{
    return (double)package->graph->original_bytes / (double)package->file_bytes;
}

static void encode(struct lego_package *package, const struct encode_options *options,
                   struct encode_report *ret_report)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    const int status = encode_package(package, options, ret_report, &diag);

    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
}

struct expected_ratio {
    const char *model;
    struct encode_options options;
    double low, high;
};

/* The file's true ratio: everything in it counts, the graph too. */
static const struct expected_ratio RATIOS[] = {
    {"cifar10/resnet20", {.codec = ENCODE_CODEC_LEGONET, .catalogue_entries = 32}, 58, 64},
    {"cifar10/resnet20", {.codec = ENCODE_CODEC_LEGONET, .catalogue_entries = 16}, 70, 78},
    {"cifar10/resnet56", {.codec = ENCODE_CODEC_LEGONET, .catalogue_entries = 32}, 65, 74},
    {"cifar10/resnet56", {.codec = ENCODE_CODEC_LEGONET, .catalogue_entries = 16}, 77, 87},
    {"cifar10/resnet20", {.codec = ENCODE_CODEC_BRICKS, .scales = LEGO_SCALE_LAYER}, 7.6, 8},
    {"cifar10/resnet56", {.codec = ENCODE_CODEC_BRICKS, .scales = LEGO_SCALE_ROW}, 7.6, 8},
};

START_TEST(files_have_the_ratio_that_the_method_promises)
{
    const struct expected_ratio *expected = &RATIOS[_i];
    struct lego_package *package = import(expected->model);

    encode(package, &expected->options, NULL);
    struct lego_package *opened = through_file(package);
    ck_assert_double_ge(ratio_of(opened), expected->low);
    ck_assert_double_le(ratio_of(opened), expected->high);
    lego_package_destroy(opened);
    lego_package_destroy(package);
}
END_TEST

static const char *const MODELS[] = {"cifar10/resnet20",   "imagenet/mobilenet_v1_0.25_128",
                                     "mlperf_tiny/vww_96", "mlperf_tiny/kws_ref",
                                     "npm/ppocr_cls",      "npm/blazeface_front_128"};

static const struct lego_tensor *find_tensor(const struct lego_package *package, const char *name)
{
    const struct lego_graph *graph = package->graph;

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        if (strcmp(graph->tensors[i].name, name) == 0)
            return &graph->tensors[i];
    }
    ck_abort_msg("the file has no '%s'", name);
    return NULL;
}

/* What is opened decodes to what was encoded, and both to the error that was reported. */
static void compare_layer(const struct lego_package *original, const struct lego_package *encoded,
                          const struct lego_package *opened, uint32_t tensor,
                          const struct encode_report *report)
{
    const struct lego_tensor *a = &encoded->graph->tensors[tensor];
    const struct lego_tensor *b = find_tensor(opened, a->name);
    const float *exact = original->graph->tensors[tensor].data;
    const size_t elems = a->bytes / sizeof(float);
    float *x = malloc(a->bytes), *y = malloc(a->bytes);
    double error = 0, energy = 0;

    ck_assert_ptr_nonnull(b->coded);
    ck_assert_int_eq(lego_coded_decode(a, x, elems, NULL), LEGO_OK);
    ck_assert_int_eq(lego_coded_decode(b, y, elems, NULL), LEGO_OK);
    ck_assert_mem_eq(x, y, a->bytes);
    for (size_t i = 0; i < elems; i++) {
        error += pow((double)x[i] - (double)exact[i], 2);
        energy += pow((double)exact[i], 2);
    }
    for (uint32_t i = 0; i < report->layer_count; i++) {
        if (strcmp(report->layers[i].name, a->name) == 0)
            ck_assert_double_eq_tol(report->layers[i].mse, error / energy, 1e-5);
    }
    free(x);
    free(y);
}

START_TEST(what_is_opened_is_what_was_encoded)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .brick_columns = 2,
                                           .catalogue_entries = 256,
                                           .scales = LEGO_SCALE_ROW,
                                           .catalogue_dtype = LEGO_DTYPE_INT8};
    struct lego_package *original = import(MODELS[_i]), *package = import(MODELS[_i]);
    struct encode_report report;
    uint32_t coded = 0;

    encode(package, &options, &report);
    struct lego_package *opened = through_file(package);
    for (uint32_t i = 0; i < package->graph->tensor_count; i++) {
        if (!package->graph->tensors[i].coded)
            continue;
        compare_layer(original, package, opened, i, &report);
        coded++;
    }
    ck_assert_uint_eq(coded, report.layer_count);
    ck_assert_uint_gt(coded, 3);
    encode_report_clear(&report);
    lego_package_destroy(opened);
    lego_package_destroy(package);
    lego_package_destroy(original);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("real");
    TCase *tests = tcase_create("real");

    if (!data_folder()) {
        puts("skipped: LEGONET_DATA does not name the folder of real models");
        return 77;
    }
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, files_have_the_ratio_that_the_method_promises, 0,
                        sizeof(RATIOS) / sizeof(RATIOS[0]));
    tcase_add_loop_test(tests, what_is_opened_is_what_was_encoded, 0,
                        sizeof(MODELS) / sizeof(MODELS[0]));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
