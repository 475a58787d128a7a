/*
 * ONNX test vectors of LEGONET_DATA through import, specialisation and evaluation.
 */
#include "tests/unit/graph/vectors.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What importing refuses on purpose: training, and the Scan of opset 8. */
static bool refused_on_purpose(const struct vector_result *result)
{
    return strstr(result->diag.text, "training mode") ||
           strstr(result->diag.text, "batches of sequences");
}

struct tally {
    int passed, refused, failed;
};

/* All NAME/model.onnx below a folder. */
static struct tally walk(const char *root)
{
    struct tally tally = {0, 0, 0};
    struct dirent **names;
    int count = scandir(root, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char folder[2048], model[4096];
        snprintf(folder, sizeof(folder), "%s/%s", root, names[i]->d_name);
        snprintf(model, sizeof(model), "%s/model.onnx", folder);
        free(names[i]);
        if (access(model, R_OK) != 0)
            continue;
        /* once as the model is, once with BatchNormalization folded and activations fused */
        for (int keep = 0; keep < 2; keep++) {
            struct vector_result result;
            if (vector_check(model, folder, keep, 1e-5, 1e-3, &result))
                tally.passed++;
            else if (refused_on_purpose(&result))
                tally.refused++;
            else {
                printf("%s%s: %s\n", folder, keep ? " (kept)" : "", result.diag.text);
                tally.failed++;
            }
        }
    }
    if (count >= 0)
        free(names);
    printf("%s: %d passed, %d refused, %d failed\n", root, tally.passed, tally.refused,
           tally.failed);
    return tally;
}

/* A path below LEGONET_DATA; NULL, with a word, where there is none. */
static const char *data_path(const char *name)
{
    static char path[1024];
    const char *root = getenv("LEGONET_DATA");
    if (root)
        snprintf(path, sizeof(path), "%s/%s", root, name);
    if (root && access(path, R_OK) == 0)
        return path;
    printf("SKIP %s: LEGONET_DATA does not lead to it\n", name);
    return NULL;
}

START_TEST(test_plain_trees)
{
    static const struct {
        const char *name;
        int least; /* models, each twice */
    } trees[] = {{"onnx-extra", 124}, {"onnx-torch", 14}};
    const char *root = data_path(trees[_i].name);
    if (!root)
        return;
    struct tally tally = walk(root);
    ck_assert_int_eq(tally.failed, 0);
    ck_assert_int_eq(tally.refused, 0);
    ck_assert_int_ge(tally.passed, 2 * trees[_i].least);
}
END_TEST

START_TEST(test_node_archive)
{
    static const char *const parts[] = {"node", "pytorch-converted", "pytorch-operator"};
    const char *archive = data_path("onnx-node/onnx-node.tar.zst");
    char folder[] = "/tmp/lego-vectors-XXXXXX", command[4096];
    if (!archive)
        return;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(command, sizeof(command), "tar --zstd -xf '%s' -C '%s' 2>/dev/null", archive, folder);
    int status = system(command);
    struct tally all = {0, 0, 0};
    for (size_t i = 0; status == 0 && i < sizeof(parts) / sizeof(*parts); i++) {
        char root[256];
        snprintf(root, sizeof(root), "%s/%s", folder, parts[i]);
        struct tally tally = walk(root);
        all.passed += tally.passed;
        all.failed += tally.failed;
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    int removed = system(command);
    if (status != 0) {
        printf("SKIP onnx-node: tar or zstd is missing\n");
        return;
    }
    ck_assert_int_eq(removed, 0);
    ck_assert_int_eq(all.failed, 0);
    ck_assert_int_ge(all.passed, 2 * 448);
}
END_TEST

START_TEST(test_models)
{
    static const struct {
        const char *model;
        double absolute; /* the largest error of any element */
    } models[] = {
        {"cifar10/resnet20", 1e-3},        {"mlperf_tiny/vww_96", 1e-4},
        {"mlperf_tiny/kws_ref", 1e-4},     {"imagenet/mobilenet_v1_0.25_128", 1e-4},
        {"npm/blazeface_front_128", 1e-2}, {"npm/ppocr_cls", 1e-4},
    };
    char name[256], model[2048];
    snprintf(name, sizeof(name), "models/%s", models[_i].model);
    const char *folder = data_path(name);
    if (!folder)
        return;
    snprintf(model, sizeof(model), "%s.onnx", folder);
    struct vector_result result;
    bool good = vector_check(model, folder, _i % 2 == 0, models[_i].absolute, 0, &result);
    ck_assert_msg(good, "%s: %s", model, result.diag.text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_vectors");
    TCase *tcase = tcase_create("vectors");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, test_plain_trees, 0, 2);
    tcase_add_test(tcase, test_node_archive);
    tcase_add_loop_test(tcase, test_models, 0, 6);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
