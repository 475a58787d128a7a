/*
 * Real models: imported, counted, run against the vectors of an independent runtime.
 */
#include "model.h"

#include "codec/graph/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is left of each after all passes, and its test vectors. */
static const struct {
    const char *path;
    unsigned nodes, convs, vectors;
    uint64_t weights; /* floating-point elements of the file, counted by python3-onnx */
} models[] = {
    {"cifar10/resnet20", 28, 19, 2, 271098},
    {"cifar10/resnet56", 64, 55, 2, 857082},
    {"imagenet/mobilenet_v1_0.25_128", 31, 28, 1, 467595},
    {"imagenet/mobilenet_v2_1.0_224", 56, 53, 1, 3489099},
    {"mlperf_tiny/kws_ref", 13, 9, 2, 22604},
    {"mlperf_tiny/vww_96", 31, 27, 4, 210850},
    {"npm/ppocr_cls", 88, 53, 3, 133664},
    {"npm/blazeface_front_128", 60, 37, 3, 100412},
    {"demo/cifar10_resnet20", 24, 21, 0, 273946},
};
enum { MODELS = 9 };

static const char *data_folder(void)
{
    return getenv("LEGONET_DATA");
}

static struct lego_package *import_model(int index)
{
    char path[4096];
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    snprintf(path, sizeof path, "%s/models/%s.onnx", data_folder(), models[index].path);
    ck_assert_msg(import_onnx(path, NULL, &package, &diag) == 0, "%s", diag.text);
    ck_assert_msg(lego_graph_check(package->graph, &diag) == 0, "%s", diag.text);
    return package;
}

START_TEST(counts)
{
    struct lego_package *package = import_model(_i);
    const struct lego_graph *graph = package->graph;
    static const enum lego_op gone[] = {LEGO_OP_BatchNormalization, LEGO_OP_Relu,  LEGO_OP_Clip,
                                        LEGO_OP_Identity,           LEGO_OP_Shape, LEGO_OP_Cast,
                                        LEGO_OP_ConstantOfShape};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (strncmp(models[_i].path, "npm/", 4) != 0)
            ck_assert_msg(count_nodes(graph, gone[i]) == 0, "%s: %u nodes %s are left",
                          models[_i].path, count_nodes(graph, gone[i]), lego_op_name(gone[i]));
    ck_assert_uint_eq(count_nodes(graph, LEGO_OP_BatchNormalization), 0);
    ck_assert_uint_eq(count_nodes(graph, LEGO_OP_Conv), models[_i].convs);
    ck_assert_uint_eq(graph->node_count, models[_i].nodes);
    ck_assert_uint_eq(graph->original_weights, models[_i].weights);
    lego_package_destroy(package);
}
END_TEST

static void read_tensor(const char *folder, const char *kind, unsigned index,
                        struct lego_tensor *ret_tensor)
{
    char path[4096 + 32];
    struct lego_diag diag = LEGO_DIAG_INIT;
    snprintf(path, sizeof path, "%s/%s_%u.pb", folder, kind, index);
    ck_assert_msg(import_tensor_pb(path, ret_tensor, &diag) == 0, "%s", diag.text);
}

/* |a - b| <= 1e-4 of the largest expected. */
static void compare(const struct lego_array *got, const struct lego_tensor *expected)
{
    ck_assert_int_eq(got->dtype, expected->dtype);
    ck_assert(lego_shape_equal(&got->shape, &expected->shape));
    ck_assert_int_eq(expected->dtype, LEGO_DTYPE_FLOAT32);
    const float *a = got->data, *b = expected->data;
    float largest = 1e-6f;
    for (size_t i = 0; i < expected->bytes / sizeof *b; i++)
        largest = fmaxf(largest, fabsf(b[i]));
    for (size_t i = 0; i < expected->bytes / sizeof *b; i++)
        ck_assert_msg(fabsf(a[i] - b[i]) <= 1e-4f * largest, "element %zu: %g, not %g", i,
                      (double)a[i], (double)b[i]);
}

static void run_vector(const struct lego_graph *graph, const char *folder)
{
    struct lego_tensor inputs[8], output;
    struct lego_array arrays[8], results[8];
    struct lego_shape shapes[8];
    struct lego_graph *special = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_arena *arena = lego_arena_create(0);
    for (uint32_t i = 0; i < graph->input_count; i++) {
        read_tensor(folder, "input", i, &inputs[i]);
        shapes[i] = inputs[i].shape;
        arrays[i] = (struct lego_array){inputs[i].dtype, inputs[i].shape,
                                        (void *)(uintptr_t)inputs[i].data};
    }
    ck_assert_msg(lego_graph_specialise(graph, shapes, &special, &diag) == 0, "%s", diag.text);
    run_graph(special, arrays, results, arena);
    for (uint32_t i = 0; i < graph->output_count; i++) {
        read_tensor(folder, "output", i, &output);
        compare(&results[i], &output);
        import_tensor_clear(&output);
    }
    for (uint32_t i = 0; i < graph->input_count; i++)
        import_tensor_clear(&inputs[i]);
    lego_graph_destroy(special);
    lego_arena_destroy(arena);
}

START_TEST(vectors)
{
    char folder[4096];
    struct lego_package *package = import_model(_i);
    for (unsigned k = 0; k < models[_i].vectors; k++) {
        snprintf(folder, sizeof folder, "%s/models/%s/test_data_set_%u", data_folder(),
                 models[_i].path, k);
        run_vector(package->graph, folder);
    }
    lego_package_destroy(package);
}
END_TEST

/* Every other model of the data set that its index lists as float in, float out. */
START_TEST(corpus)
{
    static const char *const names[] = {"onnx-torch", "onnx-extra"};
    char path[4096], line[1024];
    snprintf(path, sizeof path, "%s/%s/index.csv", data_folder(), names[_i]);
    FILE *index = fopen(path, "r");
    ck_assert_ptr_nonnull(index);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, index));
    unsigned imported = 0, listed = 0;
    while (fgets(line, sizeof line, index)) {
        struct lego_package *package = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        line[strcspn(line, ",")] = '\0';
        snprintf(path, sizeof path, "%s/%s/%s/model.onnx", data_folder(), names[_i], line);
        int status = import_onnx(path, NULL, &package, &diag);
        listed++;
        if (status == 0) {
            ck_assert_msg(lego_graph_check(package->graph, &diag) == 0, "%s", diag.text);
            imported++;
        } else {
            printf("%s\n", diag.text);
        }
        lego_package_destroy(package);
    }
    fclose(index);
    printf("%s: %u of %u models can be imported\n", names[_i], imported, listed);
    ck_assert_uint_ge(imported * 10, listed * 9);
}
END_TEST

int main(void)
{
    if (!data_folder()) {
        puts("skipped: LEGONET_DATA is not set");
        return 0;
    }
    Suite *suite = suite_create("import: real models");
    TCase *tcase = tcase_create("models");
    tcase_set_timeout(tcase, 300);
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, counts, 0, MODELS);
    tcase_add_loop_test(tcase, vectors, 0, MODELS);
    tcase_add_loop_test(tcase, corpus, 0, 2);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
