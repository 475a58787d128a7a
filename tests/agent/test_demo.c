/* The demo model the whole way: ONNX, bricks, agent, client library, the right class. */
#include "tests/agent/harness.h"

#include "agent/client/legonet_client.h"
#include "agent/picture/picture.h"
#include "codec/encode/encode.h"
#include "codec/import/import.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL LEGO_DEMO_FOLDER "/cifar10_resnet20.onnx"

static const char *const classes[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                      "dog",      "frog",       "horse", "ship", "truck"};
static struct agent agent;

static void compress(const char *path)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_package *package;
    struct encode_report report = {0};
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .brick_rows = 1,
                                           .brick_columns = 1,
                                           .catalogue_entries = 16,
                                           .threads = 1};
    static const char *labels[10];
    memcpy(labels, classes, sizeof(labels));
    ck_assert_msg(!import_onnx(MODEL, NULL, &package, &diag), "%s", diag.text);
    ck_assert_msg(!encode_package(package, &options, &report, &diag), "%s", diag.text);
    encode_report_clear(&report);
    package->label_count = 10;
    package->labels = labels;
    ck_assert_msg(
        !preprocess_load_beside(MODEL, package->graph->arena, &package->preprocess, &diag), "%s",
        diag.text);
    uint64_t bytes;
    ck_assert_msg(!lego_package_write(package, path, &bytes, &diag), "%s", diag.text);
    lego_package_destroy(package);
}

START_TEST(every_picture_gets_its_class)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client;
    struct lego_client_model *model;
    agent_prepare(&agent, "engines: {threads: 1}\n");
    compress(agent_model(&agent, "resnet20.lego"));
    agent_start(&agent, true);
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
    ck_assert_msg(!lego_client_model_get(client, "resnet20", NULL, &model, &diag), "%s", diag.text);
    ck_assert(model->takes_pictures);
    ck_assert_uint_eq(model->label_count, 10);
    ck_assert_str_eq(model->labels[9], "truck");
    for (size_t i = 0; i < 10; i++) {
        char picture[512];
        struct lego_client_result *result;
        snprintf(picture, sizeof(picture), "%s/pictures/%s.png", LEGO_DEMO_FOLDER, classes[i]);
        int status = lego_client_infer_file(client, model, picture, 3, &result, &diag);
        ck_assert_msg(status == LEGO_OK, "%s", diag.text);
        ck_assert_uint_eq(result->class_count, 3);
        ck_assert_str_eq(result->classes[0].label, classes[i]);
        ck_assert_uint_eq(result->classes[0].index, i);
        lego_client_result_free(result);
    }
    lego_client_model_free(model);
    lego_client_close(client);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("demo");
    TCase *tests = tcase_create("demo");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, every_picture_gets_its_class);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
