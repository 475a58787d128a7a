#include "pictures.h"

#include "codec/import/import.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAD 114.0f

static uint64_t fnv(const uint8_t *data, size_t bytes)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++)
        value = (value ^ data[i]) * UINT64_C(0x100000001b3);
    return value;
}

/* Preprocessing that leaves pixels as they are, channels last. */
static struct lego_preprocess plain(uint32_t width, uint32_t height, uint32_t channels)
{
    return (struct lego_preprocess){.present = true,
                                    .nhwc = true,
                                    .channels = channels,
                                    .width = width,
                                    .height = height,
                                    .scale = 1.0f,
                                    .std = {1, 1, 1, 1},
                                    .pad_value = PAD};
}

static uint8_t *apply_to_bytes(const struct lego_preprocess *preprocess,
                               const struct lego_picture *picture)
{
    size_t elems = preprocess_elems(preprocess);
    float *floats = malloc(elems * sizeof(*floats));
    uint8_t *bytes = malloc(elems);
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(preprocess_apply(preprocess, picture, floats, elems, &diag) == LEGO_OK, "%s",
                  diag.text);
    for (size_t i = 0; i < elems; i++) {
        bytes[i] = (uint8_t)floats[i];
        ck_assert_float_eq((float)bytes[i], floats[i]);
    }
    free(floats);
    return bytes;
}

static const struct resize_case {
    uint32_t from_width, from_height, channels, width, height;
    enum lego_resize resize;
    uint32_t resize_side;
    uint64_t sum;
} RESIZE_CASES[] = {
#define RESIZE_VECTOR(...) {__VA_ARGS__},
#include "resize_vectors.def"
#undef RESIZE_VECTOR
};

START_TEST(resizing_equals_pillow)
{
    const struct resize_case *c = &RESIZE_CASES[_i];
    struct lego_preprocess preprocess = plain(c->width, c->height, c->channels);
    struct lego_picture picture = pattern(c->from_width, c->from_height, c->channels);
    preprocess.resize = c->resize;
    preprocess.resize_side = c->resize_side;
    uint8_t *bytes = apply_to_bytes(&preprocess, &picture);
    ck_assert_uint_eq(fnv(bytes, preprocess_elems(&preprocess)), c->sum);
    free(bytes);
    picture_clear(&picture);
}
END_TEST

START_TEST(a_small_resize_is_pinned)
{
    static const uint8_t WANTED[] = {23,  52,  81,  57,  86,  115, 124, 139, 127, 144, 126, 124,
                                     108, 124, 139, 133, 122, 147, 156, 157, 162, 147, 157, 86,
                                     171, 148, 130, 152, 99,  114, 181, 100, 124, 172, 138, 104};
    struct lego_preprocess preprocess = plain(4, 3, 3);
    struct lego_picture picture = pattern(8, 6, 3);
    uint8_t *bytes = apply_to_bytes(&preprocess, &picture);
    ck_assert_mem_eq(bytes, WANTED, sizeof(WANTED));
    free(bytes);
    picture_clear(&picture);
}
END_TEST

START_TEST(colour_becomes_grey_as_pillow_does)
{
    static const uint8_t WANTED[] = {24, 31, 38, 45, 52, 149, 156, 163, 37, 61, 85, 109};
    struct lego_preprocess preprocess = plain(8, 6, 1);
    struct lego_picture picture = pattern(8, 6, 3);
    uint8_t *bytes = apply_to_bytes(&preprocess, &picture);
    ck_assert_mem_eq(bytes, WANTED, sizeof(WANTED));
    free(bytes);
    picture_clear(&picture);
}
END_TEST

START_TEST(layout_order_and_normalisation)
{
    uint8_t pixels[] = {10, 20, 30, 40, 50, 60};
    struct lego_picture picture = {
        .width = 2, .height = 1, .channels = 3, .stride = 6, .pixels = pixels};
    struct lego_preprocess p = plain(2, 1, 3);
    float out[6];

    p.scale = 0.5f;
    p.mean[0] = 1;
    p.mean[1] = 2;
    p.mean[2] = 3;
    p.std[0] = 1;
    p.std[1] = 2;
    p.std[2] = 4;
    p.nhwc = false;
    static const float NCHW[] = {4, 19, 4, 11.5f, 3, 6.75f};
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 6, NULL), LEGO_OK);
    ck_assert_mem_eq(out, NCHW, sizeof(out));

    p.nhwc = p.bgr = true; /* mean and std belong to the model's channels, in its order */
    static const float NHWC_BGR[] = {14, 4, 0.5f, 29, 11.5f, 4.25f};
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 6, NULL), LEGO_OK);
    ck_assert_mem_eq(out, NHWC_BGR, sizeof(out));
}
END_TEST

START_TEST(grey_fills_all_channels)
{
    struct lego_picture picture = pattern(5, 4, 1);
    struct lego_preprocess p = plain(5, 4, 3);
    uint8_t *bytes = apply_to_bytes(&p, &picture);
    for (size_t i = 0; i < 60; i++)
        ck_assert_uint_eq(bytes[i], picture.pixels[i / 3]);
    free(bytes);
    picture_clear(&picture);
}
END_TEST

/* Resized whole it would have 1.3 thousand million pixels; only the window is made. */
START_TEST(an_extreme_picture_costs_only_its_window)
{
    struct lego_picture picture = pattern(1, 16384, 3);
    struct lego_preprocess p = plain(224, 224, 3);
    p.resize = LEGO_RESIZE_SHORTEST;
    p.resize_side = 288;
    uint8_t *bytes = apply_to_bytes(&p, &picture);
    for (uint32_t x = 1; x < 224; x++)
        ck_assert_mem_eq(bytes, bytes + 3 * x, 3); /* one column spread over the width */
    free(bytes);
    picture_clear(&picture);
}
END_TEST

START_TEST(wrong_sizes_are_refused)
{
    struct lego_picture picture = pattern(4, 4, 3);
    struct lego_preprocess p = plain(4, 4, 3);
    float out[48];
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 47, NULL), LEGO_E_SHAPE);
    p.present = false;
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 48, NULL), LEGO_E_INVALID);
    p = plain(4, 4, 3);
    p.channels = 2;
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 32, NULL), LEGO_E_INVALID);
    p = plain(4, 4, 3);
    picture.channels = 4;
    ck_assert_int_eq(preprocess_apply(&p, &picture, out, 48, NULL), LEGO_E_INVALID);
    picture.channels = 3;
    picture_clear(&picture);
}
END_TEST

/* ---- the JSON ---- */

static int parse(const char *text, struct lego_preprocess *preprocess, struct lego_diag *diag)
{
    struct lego_arena *arena = lego_arena_create(0);
    int status = preprocess_parse(text, strlen(text), "p.json", arena, preprocess, diag);
    if (status == LEGO_OK && preprocess->input)
        ck_assert_str_eq(preprocess->input, "in:0");
    lego_arena_destroy(arena);
    return status;
}

START_TEST(json_says_everything)
{
    struct lego_preprocess p = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = parse("{\"layout\":\"NHWC\",\"channels\":\"BGR\",\"width\":192,\"height\":48,"
                       "\"scale\":0.5,\"mean\":[1,2,3.5],\"std\":[4,5,6],\"resize\":\"shortest\","
                       "\"resize_side\":256,\"pad_value\":7,\"class_offset\":1,\"input\":\"in:0\"}",
                       &p, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert(p.present && p.nhwc && p.bgr);
    ck_assert_uint_eq(p.channels, 3);
    ck_assert_uint_eq(p.width, 192);
    ck_assert_uint_eq(p.height, 48);
    ck_assert_float_eq(p.scale, 0.5f);
    ck_assert_float_eq(p.mean[2], 3.5f);
    ck_assert_float_eq(p.std[0], 4.0f);
    ck_assert_int_eq(p.resize, LEGO_RESIZE_SHORTEST);
    ck_assert_uint_eq(p.resize_side, 256);
    ck_assert_float_eq(p.pad_value, 7.0f);
    ck_assert_int_eq(p.class_offset, 1);
}
END_TEST

START_TEST(json_defaults)
{
    struct lego_preprocess p = {0};
    ck_assert_int_eq(parse("{\"width\":3,\"height\":2}", &p, NULL), LEGO_OK);
    ck_assert(p.present && !p.nhwc && !p.bgr);
    ck_assert_uint_eq(p.channels, 3);
    ck_assert_float_eq(p.scale, 1.0f);
    ck_assert_float_eq(p.mean[1], 0.0f);
    ck_assert_float_eq(p.std[2], 1.0f);
    ck_assert_int_eq(p.resize, LEGO_RESIZE_STRETCH);
    ck_assert_int_eq(p.class_offset, 0);
    ck_assert_ptr_null(p.input);
}
END_TEST

START_TEST(json_takes_one_number_for_all_channels)
{
    struct lego_preprocess p = {0};
    ck_assert_int_eq(parse("{\"width\":3,\"height\":2,\"mean\":0.5,\"std\":2}", &p, NULL), LEGO_OK);
    ck_assert_float_eq(p.mean[2], 0.5f);
    ck_assert_float_eq(p.std[2], 2.0f);
}
END_TEST

static const struct bad_json {
    const char *text, *part; /* what the sentence must hold */
} BAD_JSON[] = {
    {"", "p.json:1:"},
    {"[]", "p.json:1:"},
    {"{\"width\":1", "p.json:1:"},
    {"{\"height\":1}", "'width' is missing"},
    {"{\"width\":1,\n\"width\":2,\"height\":1}", "p.json:2:"},
    {"{\"width\":1,\n\n\"heigth\":1}", "p.json:3: there is no key 'heigth'"},
    {"{\"width\":0,\"height\":1}", "'width' must be an integer from 1 to 16384"},
    {"{\"width\":16385,\"height\":1}", "'width'"},
    {"{\"width\":1.5,\"height\":1}", "'width'"},
    {"{\"width\":1,\"height\":\"1\"}", "'height'"},
    {"{\"width\":1,\"height\":1,\n\"layout\":\"nchw\"}", "p.json:2: 'layout'"},
    {"{\"width\":1,\"height\":1,\"channels\":\"RGBA\"}", "'channels'"},
    {"{\"width\":1,\"height\":1,\"scale\":0}", "'scale'"},
    {"{\"width\":1,\"height\":1,\"scale\":1e300}", "'scale'"},
    {"{\"width\":1,\"height\":1,\"mean\":[1,2]}", "'mean' must be 3 numbers"},
    {"{\"width\":1,\"height\":1,\"mean\":[1,2,\"3\"]}", "'mean'"},
    {"{\"width\":1,\"height\":1,\"std\":[1,0,1]}", "none of them 0"},
    {"{\"width\":1,\"height\":1,\"channels\":\"GREY\",\"std\":[1,1,1]}", "'std' must be 1 number"},
    {"{\"width\":1,\"height\":1,\"resize\":\"crop\"}", "'resize'"},
    {"{\"width\":1,\"height\":1,\"resize_side\":-1}", "'resize_side'"},
    {"{\"width\":1,\"height\":1,\"pad_value\":256}", "'pad_value'"},
    {"{\"width\":1,\"height\":1,\"class_offset\":-1}", "'class_offset'"},
    {"{\"width\":1,\"height\":1,\"class_offset\":true}", "'class_offset'"},
    {"{\"width\":1,\"height\":1,\"input\":\"\"}", "'input'"},
    {"{\"width\":99999999999999999999,\"height\":1}", "p.json:1:"},
};

START_TEST(bad_json_is_refused_with_its_place)
{
    struct lego_preprocess p = {.width = 77};
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(parse(BAD_JSON[_i].text, &p, &diag), LEGO_E_FORMAT);
    ck_assert_uint_eq(p.width, 77);
    ck_assert_msg(strstr(diag.text, BAD_JSON[_i].part), "'%s' does not say '%s'", diag.text,
                  BAD_JSON[_i].part);
}
END_TEST

START_TEST(json_comes_back_as_it_was)
{
    struct lego_preprocess p = plain(224, 160, 3), back = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    char *text = NULL;
    p.bgr = true;
    p.scale = 1.0f / 255;
    p.mean[0] = 0.485f;
    p.mean[1] = 1e-30f;
    p.std[2] = 0.225f;
    p.resize = LEGO_RESIZE_LETTERBOX;
    p.class_offset = 1;
    p.input = "in:0";
    ck_assert_int_eq(preprocess_format(&p, &text), LEGO_OK);
    ck_assert_ptr_null(strchr(text, '\n'));
    ck_assert_msg(parse(text, &back, &diag) == LEGO_OK, "%s: %s", diag.text, text);
    ck_assert_float_eq(back.scale, p.scale);
    for (int c = 0; c < 3; c++) {
        ck_assert_float_eq(back.mean[c], p.mean[c]);
        ck_assert_float_eq(back.std[c], p.std[c]);
    }
    ck_assert(back.nhwc == p.nhwc && back.bgr == p.bgr && back.width == p.width &&
              back.height == p.height && back.resize == p.resize &&
              back.class_offset == p.class_offset && back.pad_value == p.pad_value);
    ck_assert_ptr_nonnull(back.input);
    free(text);

    p.input = NULL;
    ck_assert_int_eq(preprocess_format(&p, &text), LEGO_OK);
    ck_assert_int_eq(parse(text, &back, &diag), LEGO_OK);
    ck_assert_ptr_null(back.input);
    free(text);
}
END_TEST

/* ---- real data ---- */

static const char *data_folder(void)
{
    const char *folder = getenv("LEGONET_DATA");
    if (!folder)
        printf("skipped: LEGONET_DATA is not set\n");
    return folder;
}

START_TEST(all_photographs_decode)
{
    const char *folder = data_folder();
    char path[4096], line[1024];
    int count = 0;
    if (!folder)
        return;
    snprintf(path, sizeof(path), "%s/imagenet/labels.csv", folder);
    FILE *labels = fopen(path, "r");
    ck_assert_ptr_nonnull(labels);
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), labels));
    while (fgets(line, sizeof(line), labels)) {
        struct lego_picture picture;
        struct lego_diag diag = LEGO_DIAG_INIT;
        line[strcspn(line, ",")] = '\0';
        snprintf(path, sizeof(path), "%s/imagenet/%s", folder, line);
        ck_assert_msg(picture_load(path, &picture, &diag) == LEGO_OK, "%s", diag.text);
        ck_assert_uint_eq(picture.width, 224);
        ck_assert_uint_eq(picture.height, 224);
        ck_assert_uint_eq(picture.channels, 3);
        picture_clear(&picture);
        count++;
    }
    fclose(labels);
    ck_assert_int_eq(count, 500);
}
END_TEST

/* Each model's first vector is the tensor that PIL made of the first photograph. */
START_TEST(a_photograph_becomes_the_reference_tensor)
{
    static const char *const MODELS[] = {"mobilenet_v2_1.0_224", "mobilenet_v1_0.25_128"};
    const char *folder = data_folder();
    char path[4096], line[1024];
    if (!folder)
        return;
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_preprocess p;
    struct lego_picture picture;
    struct lego_tensor wanted;
    struct lego_diag diag = LEGO_DIAG_INIT;

    snprintf(path, sizeof(path), "%s/models/imagenet/%s.onnx", folder, MODELS[_i]);
    ck_assert_msg(preprocess_load_beside(path, arena, &p, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_int_eq(p.class_offset, 1);
    snprintf(path, sizeof(path), "%s/models/imagenet/%s/test_data_set_0/input_0.pb", folder,
             MODELS[_i]);
    ck_assert_msg(import_tensor_pb(path, &wanted, &diag) == LEGO_OK, "%s", diag.text);

    snprintf(path, sizeof(path), "%s/imagenet/labels.csv", folder);
    FILE *labels = fopen(path, "r");
    ck_assert_ptr_nonnull(labels);
    ck_assert(fgets(line, sizeof(line), labels) && fgets(line, sizeof(line), labels));
    fclose(labels);
    line[strcspn(line, ",")] = '\0';
    snprintf(path, sizeof(path), "%s/imagenet/%s", folder, line);
    ck_assert_msg(picture_load(path, &picture, &diag) == LEGO_OK, "%s", diag.text);

    size_t elems = preprocess_elems(&p);
    ck_assert_uint_eq(wanted.bytes, elems * sizeof(float));
    float *got = malloc(wanted.bytes);
    ck_assert_int_eq(preprocess_apply(&p, &picture, got, elems, NULL), LEGO_OK);
    for (size_t i = 0; i < elems; i++)
        ck_assert_float_eq_tol(got[i], ((const float *)wanted.data)[i], 1e-6f);
    free(got);
    picture_clear(&picture);
    import_tensor_clear(&wanted);
    lego_arena_destroy(arena);
}
END_TEST

Suite *preprocess_suite(void)
{
    Suite *suite = suite_create("preprocess");
    TCase *tcase = tcase_create("preprocess");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, resizing_equals_pillow, 0,
                        sizeof(RESIZE_CASES) / sizeof(RESIZE_CASES[0]));
    tcase_add_test(tcase, a_small_resize_is_pinned);
    tcase_add_test(tcase, colour_becomes_grey_as_pillow_does);
    tcase_add_test(tcase, layout_order_and_normalisation);
    tcase_add_test(tcase, grey_fills_all_channels);
    tcase_add_test(tcase, an_extreme_picture_costs_only_its_window);
    tcase_add_test(tcase, wrong_sizes_are_refused);
    tcase_add_test(tcase, json_says_everything);
    tcase_add_test(tcase, json_defaults);
    tcase_add_test(tcase, json_takes_one_number_for_all_channels);
    tcase_add_loop_test(tcase, bad_json_is_refused_with_its_place, 0,
                        sizeof(BAD_JSON) / sizeof(BAD_JSON[0]));
    tcase_add_test(tcase, json_comes_back_as_it_was);
    tcase_add_test(tcase, all_photographs_decode);
    tcase_add_loop_test(tcase, a_photograph_becomes_the_reference_tensor, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
