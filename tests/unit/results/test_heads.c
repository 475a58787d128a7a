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
        {"{\"heads\": [{\"kind\": \"segmentation\"}]}", "'output' must be there"},
        {"{\"heads\": [{\"kind\": \"segmentation\", \"output\": \"y\", \"activation\":"
         "\"softmax\"}]}",
         "'activation' must be none or sigmoid"},
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

/* What enlarging the output and comparing its numbers gives, one by one; -1: too near to a draw. */
static int shown_at(const float *data, uint32_t w, uint32_t h, uint32_t classes, double u, double v)
{
    double x = fmin(fmax(u * w - 0.5, 0), w - 1.0), y = fmin(fmax(v * h - 0.5, 0), h - 1.0);
    uint32_t left = (uint32_t)x, top = (uint32_t)y;
    uint32_t right = left + 1 < w ? left + 1 : left, bottom = top + 1 < h ? top + 1 : top;
    double best = -INFINITY, second = -INFINITY;
    int first = 0;
    for (uint32_t c = 0; c < classes; c++) {
        const float *d = data + (size_t)c * w * h;
        double above =
            (double)d[top * w + left] * (1 - x + left) + (double)d[top * w + right] * (x - left);
        double below = (double)d[bottom * w + left] * (1 - x + left) +
                       (double)d[bottom * w + right] * (x - left);
        double value = above * (1 - y + top) + below * (y - top);
        second = fmax(second, fmin(best, value));
        if (value > best) {
            best = value;
            first = (int)c;
        }
    }
    return best - second < 1e-4 ? -1 : first;
}

static void expect_mask(const struct head_mask *mask, const struct head_sampling *s,
                        const float *data, uint32_t w, uint32_t h, uint32_t classes,
                        uint32_t background)
{
    uint32_t run = 0, left = mask->runs[1], draws = 0, changes = 0;
    double areas[8] = {0};
    for (uint32_t i = 0; i < s->width * s->height; i++, left--) {
        double x = i % s->width + 0.5, y = i / s->width + 0.5;
        double u = s->u[0] * x + s->u[1] * y + s->u[2], v = s->v[0] * x + s->v[1] * y + s->v[2];
        int wanted = shown_at(data, w, h, classes, u, v);
        while (left == 0) {
            ck_assert_uint_lt(++run, mask->run_count);
            ck_assert_uint_ne(mask->runs[2 * run], mask->runs[2 * run - 2]);
            left = mask->runs[2 * run + 1];
            changes++;
        }
        areas[mask->runs[2 * run]] += 1.0 / (s->width * s->height);
        draws += wanted < 0;
        if (wanted >= 0)
            ck_assert_int_eq((int)mask->runs[2 * run],
                             wanted < (int)background ? 0 : wanted - (int)background + 1);
    }
    ck_assert_uint_eq(left, 0);
    ck_assert_uint_eq(run + 1, mask->run_count);
    ck_assert_uint_gt(changes, s->height);
    ck_assert_uint_le(draws, s->width * s->height / 100);
    for (uint32_t i = 0; i < mask->class_count; i++) {
        ck_assert_double_eq_tol(areas[mask->classes[i].index + 1], (double)mask->classes[i].score,
                                1e-5);
        ck_assert(i == 0 || mask->classes[i].score <= mask->classes[i - 1].score);
    }
}

START_TEST(masks_show_the_largest_class)
{
    enum { W = 9, H = 7, CLASSES = 4 };
    /* Coarser and finer than the output, flipped, turned, cut, beyond its edges. */
    static const struct head_sampling samplings[] = {
        {64, 48, {1.0 / 64, 0, 0}, {0, 1.0 / 48, 0}},
        {5, 4, {1.0 / 5, 0, 0}, {0, 1.0 / 4, 0}},
        {64, 48, {-1.0 / 64, 0, 1}, {0, -1.0 / 48, 1}},
        {33, 50, {0, 1.0 / 50, 0}, {-1.0 / 33, 0, 1}},
        {100, 80, {1.5 / 100, 0, -0.25}, {0, 0.5 / 80, 0.25}},
        {9, 7, {1.0 / 9, 0, 0}, {0, 1.0 / 7, 0}},
    };
    float columns[CLASSES * H * W], rows[H * W * CLASSES];
    uint32_t state = 1;
    for (uint32_t i = 0; i < CLASSES * H * W; i++) {
        state = state * 1664525u + 1013904223u;
        columns[i] = (float)(state >> 8) / (1 << 22) - 2.0f;
        rows[i % (H * W) * CLASSES + i / (H * W)] = columns[i];
    }
    for (uint32_t background = 0; background < 3; background++) {
        char text[200];
        for (size_t i = 0; i < 2 * sizeof(samplings) / sizeof(samplings[0]); i++) {
            const struct head_sampling *s = &samplings[i / 2];
            bool by_rows = i % 2;
            snprintf(text, sizeof(text),
                     "{\"heads\": [{\"kind\": \"segmentation\", \"output\": \"y\","
                     "\"background\": %u, \"layout\": \"%s\"}]}",
                     background, by_rows ? "rows" : "columns");
            struct head head = parse(text);
            struct head_tensor tensor = TENSOR("y", columns, 1, CLASSES, H, W);
            struct head_mask mask;
            if (by_rows) {
                tensor.data = rows;
                tensor.shape = (struct lego_shape){.rank = 4, .dim = {1, H, W, CLASSES}};
            }
            ck_assert_int_eq(head_segment(&head, &tensor, 1, s, arena, &mask, NULL), LEGO_OK);
            expect_mask(&mask, s, columns, W, H, CLASSES, background);
        }
    }
}
END_TEST

START_TEST(masks_of_one_class_begin_at_the_threshold)
{
    const struct head_sampling s = {4, 2, {1.0 / 4, 0, 0}, {0, 1.0 / 2, 0}};
    const float data[2][4] = {{-2, -1, 1, 2}, {NAN, INFINITY, -INFINITY, 0}};
    static const struct {
        const char *keys;
        uint32_t run_count, runs[8];
    } cases[] = {
        {"\"activation\": \"sigmoid\"", 4, {0, 2, 1, 2, 0, 1, 1, 1}},
        {"\"threshold\": 0", 4, {0, 2, 1, 2, 0, 1, 1, 1}},
        {"\"activation\": \"sigmoid\", \"threshold\": 0.2", 4, {0, 1, 1, 3, 0, 1, 1, 1}},
        {"\"activation\": \"sigmoid\", \"threshold\": 0.8", 4, {0, 3, 1, 1, 0, 1, 1, 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        struct head_mask mask;
        snprintf(text, sizeof(text),
                 "{\"heads\": [{\"kind\": \"segmentation\", \"output\": \"y\", %s}]}",
                 cases[i].keys);
        struct head head = parse(text);
        const struct head_tensor tensor = TENSOR("y", &data[0][0], 1, 2, 4);
        ck_assert_int_eq(head_segment(&head, &tensor, 1, &s, arena, &mask, NULL), LEGO_OK);
        ck_assert_uint_ge(mask.run_count, cases[i].run_count);
        for (uint32_t k = 0; k < 2 * cases[i].run_count; k++)
            ck_assert_msg(mask.runs[k] == cases[i].runs[k], "case %zu, %u: %u", i, k, mask.runs[k]);
        ck_assert_uint_eq(mask.class_count, 1);
        ck_assert_uint_eq(mask.classes[0].index, 0);
    }
}
END_TEST

START_TEST(outputs_that_make_no_mask)
{
    const struct head_sampling s = {4, 2, {1.0 / 4, 0, 0}, {0, 1.0 / 2, 0}};
    const float data[8] = {0};
    const struct head_tensor wrong[] = {TENSOR("y", data, 1, 8), TENSOR("x", data, 1, 2, 4),
                                        TENSOR("y", data, 1, 1, 2, 2, 2),
                                        TENSOR("y", data, 1, 1, 2, 4), TENSOR("y", data, 1, 2, 4)};
    struct head head = parse("{\"heads\": [{\"kind\": \"segmentation\", \"output\": \"y\","
                             "\"background\": 1}]}");
    struct head_mask mask;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_int_eq(head_segment(&head, &wrong[i], 1, &s, arena, &mask, &diag), LEGO_E_SHAPE);
        ck_assert_ptr_nonnull(strstr(diag.text, "output \"y\""));
    }
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
    tcase_add_test(tests, masks_show_the_largest_class);
    tcase_add_test(tests, masks_of_one_class_begin_at_the_threshold);
    tcase_add_test(tests, outputs_that_make_no_mask);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
