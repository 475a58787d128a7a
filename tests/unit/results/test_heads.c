/* Heads: descriptions that are wrong, and what right ones make of numbers. */
#include "agent/results/heads.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lego_arena *arena;

static void set_up(void)
{
    arena = lego_arena_create((size_t)64 << 20);
}

static void tear_down(void)
{
    lego_arena_destroy(arena);
}

static struct head parse(const char *text)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct heads heads;
    int status = heads_parse(text, strlen(text), "t", arena, &heads, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(heads.count, 1);
    return heads.items[0];
}

START_TEST(wrong_descriptions_are_named)
{
    static const char *const cases[][2] = {
        {"{", "t:1:"},
        {"[]", "an array 'heads'"},
        {"{\"heads\": []}", "an array 'heads'"},
        {"{\"heads\": [{}], \"x\": 1}", "an array 'heads'"},
        {"{\"heads\": [1]}", "heads[0]: 'kind'"},
        {"{\"heads\": [{\"kind\": \"boxes\"}]}", "'kind' must be"},
        {"{\"heads\": [{\"kind\": \"text\"}]}", "'output' must be there"},
        {"{\"heads\": [{\"kind\": \"text\", \"output\": []}]}", "'output' must be 1 to 16"},
        {"{\"heads\": [{\"kind\": \"text\", \"output\": [\"a\", \"b\"]}]}", "'output'"},
        {"{\"heads\": [{\"kind\": \"text\", \"output\": \"y\", \"blink\": 1}]}",
         "there is no key 'blink'"},
        {"{\"heads\": [{\"kind\": \"text\", \"output\": \"y\", \"blank\": -1}]}", "'blank'"},
        {"{\"heads\": [{\"kind\": \"text\", \"output\": \"y\", \"blank\": 0.5}]}", "'blank'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\"}]}", "'boxes' must be there"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"coding\": \"linear\"}]}",
         "'coding'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"threshold\": 1.5}]}",
         "'threshold'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"box_scale\": [1, 1, 1, 0]}]}",
         "'box_scale'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"anchors\": [{\"columns\": 4096, \"rows\": 4096, \"sizes\": [[1, 1]]}]}]}",
         "'anchors'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"anchors\": [{\"columns\": 1, \"rows\": 1, \"sizes\": [[1]]}]}]}",
         "'anchors.sizes'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"anchors\": []}]}",
         "'anchors'"},
        {"{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\","
         "\"activation\": \"softmax\", \"objectness_at\": 4}]}",
         "'activation'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        struct heads heads;
        int status = heads_parse(cases[i][0], strlen(cases[i][0]), "t", arena, &heads, &diag);
        ck_assert_msg(status == LEGO_E_FORMAT && strstr(diag.text, cases[i][1]), "%s: %d, %s",
                      cases[i][0], status, diag.text);
    }
}
END_TEST

START_TEST(shipped_examples_are_right)
{
    DIR *folder = opendir(EXAMPLES);
    struct dirent *entry;
    int seen = 0;
    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder))) {
        char path[512], text[4096];
        if (!strstr(entry->d_name, ".json"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", EXAMPLES, entry->d_name);
        FILE *file = fopen(path, "r");
        ck_assert_ptr_nonnull(file);
        size_t bytes = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
        text[bytes] = '\0';
        parse(text);
        seen++;
    }
    closedir(folder);
    ck_assert_int_eq(seen, 4);
}
END_TEST

#define TENSOR(name_, data_, ...)                                       \
    {                                                                   \
        .name = name_, .data = data_, .shape = {                        \
            .rank = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), \
            .dim = {__VA_ARGS__}                                        \
        }                                                               \
    }

START_TEST(classes_are_ranked)
{
    struct head head = parse("{\"heads\": [{\"kind\": \"classification\", \"output\": \"y\","
                             "\"activation\": \"softmax\"}]}");
    const float data[] = {9, 1, 2, 3, NAN};
    const struct head_tensor tensors[] = {TENSOR("x", data, 1, 2), TENSOR("y", data, 1, 4)};
    struct head_class *classes;
    uint32_t count;
    ck_assert_int_eq(head_classify(&head, tensors, 2, 1, 2, arena, &classes, &count, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_eq(classes[0].index, 2);
    ck_assert_uint_eq(classes[1].index, 1);
    ck_assert_float_eq_tol(classes[0].score, expf(3) / (expf(9) + expf(1) + expf(2) + expf(3)),
                           1e-7f);
    ck_assert_int_eq(head_classify(&head, tensors, 1, 1, 2, arena, &classes, &count, NULL),
                     LEGO_E_SHAPE);
    ck_assert_int_eq(head_classify(&head, tensors, 2, 4, 2, arena, &classes, &count, NULL),
                     LEGO_E_SHAPE);
}
END_TEST

START_TEST(texts_are_read)
{
    struct head head =
        parse("{\"heads\": [{\"kind\": \"text\", \"output\": \"y\", \"blank\": 1}]}");
    static const char *const labels[] = {"a", "\xc3\xa9"};
    /* a a - a e e -: "aae" */
    const float data[][3] = {{.9f, 0, 0}, {.8f, 0, 0}, {0, 1, 0},     {.7f, .1f, 0},
                             {0, 0, .5f}, {0, 0, .6f}, {0.1f, 1, .6f}};
    const struct head_tensor tensor = TENSOR("y", &data[0][0], 1, 7, 3);
    const char *text;
    float score;
    ck_assert_int_eq(head_read_text(&head, &tensor, 1, labels, 2, arena, &text, &score, NULL),
                     LEGO_OK);
    ck_assert_str_eq(text, "aa\xc3\xa9");
    ck_assert_float_eq_tol(score, (.9f + .7f + .5f) / 3, 1e-6f);
    head.blank = 3;
    ck_assert_int_eq(head_read_text(&head, &tensor, 1, labels, 2, arena, &text, &score, NULL),
                     LEGO_E_SHAPE);
}
END_TEST

/* YOLO's form: values by rows of the tensor, centre, size, objectness, two classes. */
START_TEST(overlapping_boxes_are_suppressed)
{
    struct head head = parse(
        "{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\", \"layout\":"
        "\"columns\", \"score_at\": 5, \"class_count\": 2, \"objectness_at\": 4, \"box_scale\":"
        "100, \"threshold\": 0.25, \"overlap\": 0.4}]}");
    const float data[7][5] = {
        {50, 52, 50, 20, NAN},          {50, 50, 50, 20, 50}, {40, 40, 40, 10, 40},
        {20, 20, 20, 10, 20},           {1, 1, 0.9f, 1, 1},   {0.9f, 0.8f, 0.1f, 0.2f, 0.9f},
        {0.1f, 0.1f, 0.7f, 0.1f, 0.1f},
    };
    const struct head_tensor tensor = TENSOR("y", &data[0][0], 1, 7, 5);
    struct head_detection *found;
    uint32_t count;
    ck_assert_int_eq(head_detect(&head, &tensor, 1, 0.25f, 10, arena, &found, &count, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(count, 2); /* the second by the first; the fourth by its score; the last */
    ck_assert_float_eq_tol(found[0].left, 0.3f, 1e-6f);
    ck_assert_float_eq_tol(found[0].bottom, 0.6f, 1e-6f);
    ck_assert_float_eq_tol(found[0].score, 0.9f, 1e-6f);
    ck_assert_uint_eq(found[0].index, 0);
    ck_assert_uint_eq(found[1].index, 1);
    ck_assert_float_eq_tol(found[1].score, 0.63f, 1e-6f);
    head.per_class = false;
    ck_assert_int_eq(head_detect(&head, &tensor, 1, 0.25f, 10, arena, &found, &count, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(count, 1);
    head.nms = HEAD_NMS_NONE;
    ck_assert_int_eq(head_detect(&head, &tensor, 1, 0.25f, 10, arena, &found, &count, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(head_detect(&head, &tensor, 1, 0.1f, 2, arena, &found, &count, NULL), LEGO_OK);
    ck_assert_uint_eq(count, 2);
}
END_TEST

/* SSD's form: boxes by anchors, y before x, scores with a background. */
START_TEST(boxes_are_relative_to_anchors)
{
    struct head head = parse(
        "{\"heads\": [{\"kind\": \"detection\", \"scores\": \"s\", \"boxes\": \"b\", \"order\":"
        "\"yxhw\", \"coding\": \"exponential\", \"box_scale\": [10, 10, 5, 5], \"background\": 1,"
        "\"class_count\": 2, \"activation\": \"softmax\", \"anchors\": [{\"columns\": 2, \"rows\":"
        "1, \"sizes\": [[0.5, 0.25]]}]}]}");
    const float boxes[2][4] = {{0, 0, 0, 0}, {2, -4, 5, 10}};
    const float scores[2][3] = {{5, 0, 0}, {0, 1, 4}};
    const struct head_tensor tensors[] = {TENSOR("b", &boxes[0][0], 1, 2, 4),
                                          TENSOR("s", &scores[0][0], 1, 2, 3)};
    struct head_detection *found;
    uint32_t count;
    ck_assert_int_eq(head_detect(&head, tensors, 2, 0.5f, 10, arena, &found, &count, NULL),
                     LEGO_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(found[0].index, 1);
    /* centre (0.75 - 0.4 * 0.5, 0.5 + 0.2 * 0.25), size (0.5 e^2, 0.25 e) */
    ck_assert_float_eq_tol((found[0].left + found[0].right) / 2, 0.55f, 1e-5f);
    ck_assert_float_eq_tol((found[0].top + found[0].bottom) / 2, 0.55f, 1e-5f);
    ck_assert_float_eq_tol(found[0].right - found[0].left, 0.5f * expf(2), 1e-5f);
    ck_assert_float_eq_tol(found[0].bottom - found[0].top, 0.25f * expf(1), 1e-5f);

    struct lego_diag diag = LEGO_DIAG_INIT;
    const struct head_tensor short_scores[] = {TENSOR("b", &boxes[0][0], 1, 2, 4),
                                               TENSOR("s", &scores[0][0], 1, 1, 3)};
    ck_assert_int_eq(head_detect(&head, short_scores, 2, 0.5f, 10, arena, &found, &count, &diag),
                     LEGO_E_SHAPE);
    const struct head_tensor narrow[] = {TENSOR("b", &boxes[0][0], 1, 2, 4),
                                         TENSOR("s", &scores[0][0], 1, 3, 2)};
    ck_assert_int_eq(head_detect(&head, narrow, 2, 0.5f, 10, arena, &found, &count, &diag),
                     LEGO_E_SHAPE);
    ck_assert_int_eq(head_detect(&head, tensors, 1, 0.5f, 10, arena, &found, &count, &diag),
                     LEGO_E_SHAPE);
    head.anchor_count = 1;
    ck_assert_int_eq(head_detect(&head, tensors, 2, 0.5f, 10, arena, &found, &count, &diag),
                     LEGO_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(diag.text, "2 boxes, but 1 anchors"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heads");
    TCase *tests = tcase_create("heads");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, wrong_descriptions_are_named);
    tcase_add_test(tests, shipped_examples_are_right);
    tcase_add_test(tests, classes_are_ranked);
    tcase_add_test(tests, texts_are_read);
    tcase_add_test(tests, overlapping_boxes_are_suppressed);
    tcase_add_test(tests, boxes_are_relative_to_anchors);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
