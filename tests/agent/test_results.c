/*
 * Results that an application can draw, from the agent. Faces are those of BlazeFace's test vectors
 * where LEGONET_DATA has them, against the reference's decoding, written here once more.
 */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/client/legonet_client.h"
#include "agent/picture/picture.h"
#include "agent/runtime/legonet.h"
#include "codec/import/import.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDE       128
#define CANDIDATES 896
#define KEYPOINTS  6

static struct agent agent;
static struct lego_client *client;

static void start(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    agent_start(&agent, true);
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
}

static void stop(void)
{
    lego_client_close(client);
    agent_stop(&agent);
}

/* A model without a description ranks its first output; tensors come only where they are named. */
START_TEST(models_that_say_nothing_rank_classes)
{
    const struct lego_client_results results = {.top = 2};
    float values[2 * TINY_INPUTS];
    static const char *const output = "y";
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client_result *result;
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    start();
    wire_infer_input(1, 2, values);
    const struct lego_client_tensor input = {.name = "x",
                                             .dtype = LEGO_DTYPE_FLOAT32,
                                             .shape = {.rank = 2, .dim = {2, TINY_INPUTS}},
                                             .data = values,
                                             .bytes = sizeof(values)};
    struct lego_client_request request = {
        .model = "tiny", .inputs = &input, .input_count = 1, .results = &results};
    ck_assert_msg(!lego_client_infer(client, &request, &result, &diag), "%s", diag.text);
    ck_assert_uint_eq(result->output_count, 0);
    lego_client_result_free(result);

    request.outputs = &output;
    request.output_count = 1;
    ck_assert_msg(!lego_client_infer(client, &request, &result, &diag), "%s", diag.text);
    ck_assert_uint_eq(result->output_count, 1);
    ck_assert_uint_eq(result->answer_count, 2);
    for (uint32_t row = 0; row < 2; row++) {
        const struct lego_client_answer *answer = &result->answers[row];
        const float *y = (const float *)result->outputs[0].data + row * TINY_OUTPUTS;
        uint32_t best = 0;
        for (uint32_t c = 1; c < TINY_OUTPUTS; c++)
            best = y[c] > y[best] ? c : best;
        ck_assert_int_eq(answer->kind, LEGO_CLIENT_CLASSES);
        ck_assert_uint_eq(answer->row, row);
        ck_assert_str_eq(answer->head, "y");
        ck_assert_uint_eq(answer->class_count, 2);
        ck_assert_uint_eq(answer->classes[0].index, best);
        ck_assert_float_eq(answer->classes[0].score, y[best]);
        ck_assert_str_eq(answer->classes[0].label,
                         ((const char *const[]){"zero", "one", "two", "three", "four"})[best]);
    }
    lego_client_result_free(result);
    stop();
}
END_TEST

/* A head that the outputs do not fit is the answer's trouble, one that cannot be read the file's.
 */
START_TEST(descriptions_that_do_not_fit)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client_result *result;
    const struct lego_client_results results = {0};
    float values[TINY_INPUTS] = {0};
    char state[512], reason[512];
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_described(
        agent_model(&agent, "boxes.lego"),
        "{\"heads\": [{\"kind\": \"detection\", \"scores\": \"y\", \"boxes\": \"y\"}]}");
    model_described(agent_model(&agent, "other.lego"),
                    "{\"heads\": [{\"kind\": \"text\", \"output\": \"z\"}]}");
    model_described(agent_model(&agent, "broken.lego"), "{\"heads\": 1}");
    start();
    const struct lego_client_tensor input = {.name = "x",
                                             .dtype = LEGO_DTYPE_FLOAT32,
                                             .shape = {.rank = 2, .dim = {1, TINY_INPUTS}},
                                             .data = values,
                                             .bytes = sizeof(values)};
    struct lego_client_request request = {
        .model = "boxes", .inputs = &input, .input_count = 1, .results = &results};
    ck_assert_int_eq(lego_client_infer(client, &request, &result, &diag), LEGO_E_SHAPE);
    ck_assert_msg(strstr(diag.text, "output \"y\" has 1 numbers") != NULL, "%s", diag.text);
    int fd = wire_connect(&agent);
    wire_index(fd, "other", state, reason, sizeof(reason));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "heads[0]: the model has no output 'z'") != NULL, "%s", reason);
    wire_index(fd, "broken", state, reason, sizeof(reason));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "an array 'heads'") != NULL, "%s", reason);
    close(fd);
    wire_expect_alive(&agent);
    stop();
}
END_TEST

/* ---- faces ---- */

struct face {
    double box[4]; /* left, top, right, bottom, in the input's pixels */
    double points[KEYPOINTS][2];
    double score;
};

static float *load(const char *set, const char *name, size_t elems)
{
    struct lego_tensor tensor;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char path[512];
    snprintf(path, sizeof(path), "%s/models/npm/blazeface_front_128/%s/%s.pb",
             getenv("LEGONET_DATA"), set, name);
    ck_assert_msg(!import_tensor_pb(path, &tensor, &diag), "%s", diag.text);
    ck_assert_uint_eq(tensor.bytes, elems * sizeof(float));
    float *copy = malloc(tensor.bytes);
    memcpy(copy, tensor.data, tensor.bytes);
    import_tensor_clear(&tensor);
    return copy;
}

static double iou(const double a[4], const double b[4])
{
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]), h = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    double both = w > 0 && h > 0 ? w * h : 0;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

/* MediaPipe's: TensorsToDetectionsCalculator with fixed anchor sizes, then weighted
 * NonMaxSuppressionCalculator. Returns how many faces there are. */
static size_t reference(const float *scores, const float *boxes, struct face *faces)
{
    static struct face all[CANDIDATES];
    size_t count = 0, found = 0;
    for (size_t i = 0; i < CANDIDATES; i++) {
        size_t at = i < 512 ? i / 2 : (i - 512) / 6, grid = i < 512 ? 16 : 8;
        double cx = ((double)(at % grid) + 0.5) / (double)grid * SIDE;
        double cy = ((double)(at / grid) + 0.5) / (double)grid * SIDE;
        const float *v = boxes + i * 16;
        double score = 1 / (1 + exp(-fmin(fmax((double)scores[i], -100), 100)));
        if (score < 0.5)
            continue;
        struct face *f = &all[count++];
        f->score = score;
        f->box[0] = (double)v[0] + cx - (double)v[2] / 2;
        f->box[1] = (double)v[1] + cy - (double)v[3] / 2;
        f->box[2] = f->box[0] + (double)v[2];
        f->box[3] = f->box[1] + (double)v[3];
        for (size_t k = 0; k < KEYPOINTS; k++) {
            f->points[k][0] = (double)v[4 + 2 * k] + cx;
            f->points[k][1] = (double)v[5 + 2 * k] + cy;
        }
    }
    while (count > 0) {
        size_t best = 0, left = 0;
        double weight = 0;
        struct face sum = {.score = 0};
        for (size_t i = 1; i < count; i++)
            best = all[i].score > all[best].score ? i : best;
        const struct face top = all[best];
        for (size_t i = 0; i < count; i++) {
            if (i != best && iou(all[i].box, top.box) <= 0.3) {
                all[left++] = all[i];
                continue;
            }
            weight += all[i].score;
            for (size_t k = 0; k < 4; k++)
                sum.box[k] += all[i].score * all[i].box[k];
            for (size_t k = 0; k < KEYPOINTS; k++)
                for (size_t a = 0; a < 2; a++)
                    sum.points[k][a] += all[i].score * all[i].points[k][a];
        }
        for (size_t k = 0; k < 4; k++)
            sum.box[k] /= weight;
        for (size_t k = 0; k < KEYPOINTS; k++)
            for (size_t a = 0; a < 2; a++)
                sum.points[k][a] /= weight;
        sum.score = top.score;
        faces[found++] = sum;
        count = left;
    }
    return found;
}

static void write_blazeface(const char *path)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_package *package;
    char model[512], text[4096];
    uint64_t bytes;
    snprintf(model, sizeof(model), "%s/models/npm/blazeface_front_128.onnx",
             getenv("LEGONET_DATA"));
    ck_assert_msg(!import_onnx(model, NULL, &package, &diag), "%s", diag.text);
    ck_assert_msg(
        !preprocess_load_beside(model, package->graph->arena, &package->preprocess, &diag), "%s",
        diag.text);
    FILE *file = fopen(EXAMPLES "/blazeface_front_128.postprocess.json", "r");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    ck_assert_int_eq(lego_package_set_metadata(package, "postprocess", text), LEGO_OK);
    ck_assert_msg(!lego_package_write(package, path, &bytes, &diag), "%s", diag.text);
    lego_package_destroy(package);
}

/* How the input lies in a frame: below `pad` rows, enlarged, turned back so that the agent turns it
 * upright, at (left, top). */
struct view {
    uint32_t width, height; /* of the part of the frame, upright */
    uint32_t scale, pad, left, top, rotation;
};

static void to_frame(const struct view *view, double x, double y, double *ret_x, double *ret_y)
{
    uint32_t rotation = view->rotation;
    x *= view->scale;
    y = (y - view->pad) * view->scale;
    double right = view->width - x, below = view->height - y;
    *ret_x = (rotation == 90    ? y
              : rotation == 180 ? right
              : rotation == 270 ? below
                                : x) +
             view->left;
    *ret_y = (rotation == 90    ? right
              : rotation == 180 ? below
              : rotation == 270 ? x
                                : y) +
             view->top;
}

static void expect_faces(const struct lego_client_answer *answer, const struct face *faces,
                         size_t count, const struct view *view)
{
    double near = 0.1 * view->scale;
    ck_assert_int_eq(answer->kind, LEGO_CLIENT_DETECTIONS);
    ck_assert_str_eq(answer->head, "faces");
    ck_assert_uint_eq(answer->detection_count, count);
    for (size_t i = 0; i < count; i++) {
        const struct lego_client_detection *d = &answer->detections[i];
        const struct face *face = &faces[i];
        double x[2], y[2];
        to_frame(view, face->box[0], face->box[1], &x[0], &y[0]);
        to_frame(view, face->box[2], face->box[3], &x[1], &y[1]);
        ck_assert_double_eq_tol((double)d->score, face->score, 0.01);
        ck_assert_double_eq_tol((double)d->left, fmin(x[0], x[1]), near);
        ck_assert_double_eq_tol((double)d->right, fmax(x[0], x[1]), near);
        ck_assert_double_eq_tol((double)d->top, fmin(y[0], y[1]), near);
        ck_assert_double_eq_tol((double)d->bottom, fmax(y[0], y[1]), near);
        ck_assert_uint_eq(d->keypoint_count, KEYPOINTS);
        for (size_t k = 0; k < KEYPOINTS; k++) {
            to_frame(view, face->points[k][0], face->points[k][1], &x[0], &y[0]);
            ck_assert_double_eq_tol((double)d->keypoints[k].x, x[0], near);
            ck_assert_double_eq_tol((double)d->keypoints[k].y, y[0], near);
        }
    }
}

enum { WIDTH = 400, HEIGHT = 320 };

/* Asks for the faces of a frame that shows the input in that way. */
static struct lego_client_result *ask_faces(const float *input, const struct view *view,
                                            struct lego_client_frame *frame)
{
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    static const char *const outputs[] = {"Identity:0", "Identity_1:0", "Identity_2:0",
                                          "Identity_3:0"};
    static const struct lego_client_results results = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client_result *result;
    bool turned = view->rotation % 180 != 0;
    memset(pixels, 128, sizeof(pixels));
    for (uint32_t y = 0; y < view->height; y++) {
        for (uint32_t x = 0; x < view->width; x++) {
            double u = (x + 0.5) / view->scale, v = (y + 0.5) / view->scale + view->pad, fx, fy;
            to_frame(view, u, v, &fx, &fy);
            for (size_t c = 0; c < 3; c++)
                pixels[((size_t)fy * WIDTH + (size_t)fx) * 3 + c] = (uint8_t)lrintf(
                    input[((size_t)v * SIDE + (size_t)u) * 3 + c] * 127.5f + 127.5f);
        }
    }
    frame->fourcc = LEGO_CLIENT_RGB24;
    frame->width = WIDTH;
    frame->height = HEIGHT;
    frame->data = pixels;
    frame->bytes = sizeof(pixels);
    frame->crop =
        (struct lego_client_rectangle){view->left, view->top, turned ? view->height : view->width,
                                       turned ? view->width : view->height};
    frame->rotation = view->rotation;
    const struct lego_client_request request = {.model = "faces",
                                                .outputs = outputs,
                                                .output_count = 4,
                                                .frames = frame,
                                                .frame_count = 1,
                                                .results = &results};
    ck_assert_msg(!lego_client_infer(client, &request, &result, &diag), "%s", diag.text);
    ck_assert_uint_eq(result->answer_count, 1);
    return result;
}

/* The reference's decoding of the outputs, which are the network's own or the vectors'. */
static size_t decode_faces(const float *const parts[4], struct face *faces)
{
    static float scores[CANDIDATES], boxes[CANDIDATES * 16];
    memcpy(scores, parts[0], 512 * sizeof(float));
    memcpy(scores + 512, parts[1], 384 * sizeof(float));
    memcpy(boxes, parts[2], 512 * 16 * sizeof(float));
    memcpy(boxes + 512 * 16, parts[3], 384 * 16 * sizeof(float));
    return reference(scores, boxes, faces);
}

static bool start_faces(void)
{
    if (!getenv("LEGONET_DATA")) {
        printf("skipped: LEGONET_DATA does not say where models are\n");
        return false;
    }
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    write_blazeface(agent_model(&agent, "faces.lego"));
    start();
    return true;
}

START_TEST(faces_are_where_the_reference_sees_them)
{
    size_t seen = 0;
    if (!start_faces())
        return;
    for (int set = 0; set < 3; set++) {
        char name[32];
        struct face faces[CANDIDATES];
        snprintf(name, sizeof(name), "test_data_set_%d", set);
        float *input = load(name, "input_0", SIDE * SIDE * 3);
        float *parts[] = {load(name, "output_0", 512), load(name, "output_1", 384),
                          load(name, "output_2", 512 * 16), load(name, "output_3", 384 * 16)};
        size_t count = decode_faces((const float *const *)parts, faces);
        seen += count;
        for (uint32_t rotation = 0; rotation < 360; rotation += 90) {
            const struct view view = {SIDE, SIDE, 1, 0, 40, 20, rotation};
            struct lego_client_frame frame = {0};
            struct lego_client_result *result = ask_faces(input, &view, &frame);
            expect_faces(&result->answers[0], faces, count, &view);
            lego_client_result_free(result);
        }
        for (size_t i = 0; i < 4; i++)
            free(parts[i]);
        free(input);
    }
    ck_assert_uint_ge(seen, 2);
    stop();
}
END_TEST

/* The same pictures without their upper and lower 16 rows, twice as large: letterboxed the input is
 * as it was but for the padding, and the reference decodes what the network makes of it. */
START_TEST(letterboxed_faces_are_where_the_reference_sees_them)
{
    size_t seen = 0;
    if (!start_faces())
        return;
    for (int set = 0; set < 3; set++) {
        char name[32];
        snprintf(name, sizeof(name), "test_data_set_%d", set);
        float *input = load(name, "input_0", SIDE * SIDE * 3);
        for (uint32_t rotation = 0; rotation < 360; rotation += 90) {
            const struct view view = {2 * SIDE, 2 * SIDE - 64, 2, 16, 70, 30, rotation};
            struct lego_client_frame frame = {.resize = LEGO_CLIENT_RESIZE_LETTERBOX,
                                              .filter = LEGO_CLIENT_FILTER_AREA};
            struct face faces[CANDIDATES];
            struct lego_client_result *result = ask_faces(input, &view, &frame);
            const float *const parts[] = {result->outputs[0].data, result->outputs[1].data,
                                          result->outputs[2].data, result->outputs[3].data};
            ck_assert_uint_eq(result->outputs[3].bytes, 384 * 16 * sizeof(float));
            size_t count = decode_faces(parts, faces);
            expect_faces(&result->answers[0], faces, count, &view);
            seen += count;
            lego_client_result_free(result);
        }
        free(input);
    }
    ck_assert_uint_ge(seen, 4);
    stop();
}
END_TEST

static void expect_photograph(struct lego_session *session, const struct lego_package *package,
                              const char *path)
{
    static uint8_t jpeg[1 << 20];
    static const char *const output = "probs";
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_picture picture;
    struct lego_client_result *result;
    size_t elems = preprocess_elems(&package->preprocess);
    struct lego_io out = {0}, in = {.dtype = LEGO_DTYPE_FLOAT32,
                                    .shape = {.rank = 4, .dim = {1, 3, 128, 128}},
                                    .data = malloc(elems * sizeof(float)),
                                    .bytes = elems * sizeof(float)};
    ck_assert_msg(!picture_load(path, &picture, &diag), "%s", diag.text);
    ck_assert_msg(!preprocess_apply(&package->preprocess, &picture, in.data, elems, &diag), "%s",
                  diag.text);
    ck_assert_msg(!lego_session_run(session, &in, 1, &out, 1, &diag), "%s", diag.text);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    const struct lego_client_frame frame = {
        .fourcc = LEGO_CLIENT_MJPEG, .data = jpeg, .bytes = fread(jpeg, 1, sizeof(jpeg), file)};
    fclose(file);
    const struct lego_client_request request = {.model = "photo",
                                                .outputs = &output,
                                                .output_count = 1,
                                                .frames = &frame,
                                                .frame_count = 1};
    ck_assert_msg(!lego_client_infer(client, &request, &result, &diag), "%s", diag.text);
    ck_assert_uint_eq(result->outputs[0].bytes, out.bytes);
    ck_assert_mem_eq(result->outputs[0].data, out.data, out.bytes);
    lego_client_result_free(result);
    picture_clear(&picture);
    free(in.data);
}

/* Photographs as JPEG frames through the agent: what the runtime answers to what the tools make of
 * the same files, to the bit. */
START_TEST(photographs_are_answered_as_the_tools_do)
{
    const char *data = getenv("LEGONET_DATA");
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_model *model;
    struct lego_session *session;
    struct dirent *entry;
    char path[1024], folder[512];
    uint64_t bytes;
    int seen = 0;
    if (!data) {
        printf("skipped: LEGONET_DATA does not say where models are\n");
        return;
    }
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    snprintf(path, sizeof(path), "%s/models/imagenet/mobilenet_v1_0.25_128.onnx", data);
    struct lego_package *package;
    ck_assert_msg(!import_onnx(path, NULL, &package, &diag), "%s", diag.text);
    ck_assert_msg(!preprocess_load_beside(path, package->graph->arena, &package->preprocess, &diag),
                  "%s", diag.text);
    const char *file = agent_model(&agent, "photo.lego");
    ck_assert_msg(!lego_package_write(package, file, &bytes, &diag), "%s", diag.text);
    lego_package_destroy(package);
    ck_assert_msg(!lego_model_open(file, NULL, &model, &diag), "%s", diag.text);
    const struct lego_session_options options = {.threads = 1};
    ck_assert_msg(!lego_session_create(model, &options, &session, &diag), "%s", diag.text);
    start();
    snprintf(folder, sizeof(folder), "%s/imagenet/images", data);
    DIR *images = opendir(folder);
    ck_assert_ptr_nonnull(images);
    while (seen < 25 && (entry = readdir(images))) {
        if (!strstr(entry->d_name, ".jp") && !strstr(entry->d_name, ".JP"))
            continue;
        snprintf(path, sizeof(path), "%s/%.200s", folder, entry->d_name);
        expect_photograph(session, lego_model_package(model), path);
        seen++;
    }
    closedir(images);
    ck_assert_int_ge(seen, 25);
    lego_session_destroy(session);
    lego_model_close(model);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("results");
    TCase *tests = tcase_create("results");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, models_that_say_nothing_rank_classes);
    tcase_add_test(tests, descriptions_that_do_not_fit);
    tcase_add_test(tests, faces_are_where_the_reference_sees_them);
    tcase_add_test(tests, letterboxed_faces_are_where_the_reference_sees_them);
    tcase_add_test(tests, photographs_are_answered_as_the_tools_do);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
