/*
 * The loop of a camera application: frames to the agent, what it recognises into the picture.
 *
 *     legonet-camera MODEL SOURCE [FRAMES] [OUT.png]
 *
 * SOURCE is a V4L2 camera (/dev/video0), a .y4m or .mjpeg file, or "pattern". Of a model that
 * describes its outputs the boxes, masks, texts and classes of each frame are drawn, of another the
 * classes of its middle square; with the time, into OUT.png, which always holds the latest frame,
 * or, without OUT.png, into the terminal.
 */
#include "agent/client/drawing.h"
#include "agent/examples/v4l2.h"
#include "agent/picture/stream.h"
#include "agent/runtime/kern_init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOP             3
#define PATTERN_WIDTH   320
#define PATTERN_HEIGHT  240
#define TERMINAL_WIDTH  80
#define TERMINAL_HEIGHT 48 /* two rows a line */

struct camera {
    struct lego_client *client;
    struct lego_client_model *model;
    struct v4l2_camera *v4l2;
    struct picture_stream *stream; /* neither: the pattern */
    struct kern_table kernels;
    uint8_t pattern[PATTERN_WIDTH * PATTERN_HEIGHT * 3];
    uint64_t number, dropped;
};

static void next_pattern(struct camera *camera, struct picture_frame *ret_frame)
{
    uint8_t *pixel = camera->pattern;
    for (uint32_t y = 0; y < PATTERN_HEIGHT; y++) {
        for (uint32_t x = 0; x < PATTERN_WIDTH; x++, pixel += 3) {
            pixel[0] = (uint8_t)(x + 8 * camera->number);
            pixel[1] = (uint8_t)(y - 8 * camera->number);
            pixel[2] = (uint8_t)(x ^ y);
        }
    }
    *ret_frame = (struct picture_frame){.fourcc = PICTURE_RGB24,
                                        .width = PATTERN_WIDTH,
                                        .height = PATTERN_HEIGHT,
                                        .data = camera->pattern,
                                        .bytes = sizeof(camera->pattern)};
}

static int next_v4l2(struct camera *camera, struct picture_frame *ret_frame,
                     struct lego_client_frame *ret_ask, struct lego_diag *diag)
{
    const void *data;
    size_t bytes;
    int status = v4l2_next(camera->v4l2, ret_ask, &data, &bytes, &camera->dropped, diag);
    if (status != LEGO_OK)
        return status;
    *ret_frame =
        (struct picture_frame){.fourcc = ret_ask->fourcc,
                               .width = ret_ask->width,
                               .height = ret_ask->height,
                               .data = data,
                               .bytes = bytes,
                               .plane_count = ret_ask->plane_count,
                               .planes = {{ret_ask->planes[0].offset, ret_ask->planes[0].stride}}};
    return LEGO_OK;
}

/* The next frame, to be drawn and to be asked about. */
static int next(struct camera *camera, struct picture_frame *ret_frame,
                struct lego_client_frame *ret_ask, bool *ret_end, struct lego_diag *diag)
{
    *ret_end = false;
    if (camera->v4l2)
        return next_v4l2(camera, ret_frame, ret_ask, diag);
    int status = LEGO_OK;
    if (camera->stream)
        status = picture_stream_next(camera->stream, ret_frame, ret_end, diag);
    else
        next_pattern(camera, ret_frame);
    if (status == LEGO_OK && !*ret_end)
        *ret_ask = (struct lego_client_frame){.fourcc = ret_frame->fourcc,
                                              .width = ret_frame->width,
                                              .height = ret_frame->height,
                                              .data = ret_frame->data,
                                              .bytes = ret_frame->bytes,
                                              .full_range = ret_frame->full_range};
    return status;
}

/* Two pixels a character: the upper one the foreground of a half block, the lower the background.
 */
static void show(const struct lego_picture *picture)
{
    printf("\033[H");
    for (uint32_t y = 0; y < TERMINAL_HEIGHT; y += 2) {
        for (uint32_t x = 0; x < TERMINAL_WIDTH; x++) {
            const uint8_t *pixels[2];
            for (uint32_t half = 0; half < 2; half++)
                pixels[half] =
                    picture->pixels +
                    (size_t)((y + half) * picture->height / TERMINAL_HEIGHT) * picture->stride +
                    (size_t)(x * picture->width / TERMINAL_WIDTH) * picture->channels;
            const uint32_t g = picture->channels == 3 ? 1 : 0, b = 2 * g;
            printf("\033[38;2;%d;%d;%dm\033[48;2;%d;%d;%dm▀", pixels[0][0], pixels[0][g],
                   pixels[0][b], pixels[1][0], pixels[1][g], pixels[1][b]);
        }
        printf("\033[0m\n");
    }
}

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static bool is_described(const struct lego_client_model *model)
{
    for (uint32_t i = 0; i < model->property_count; i++)
        if (!strcmp(model->property_names[i], "meta.postprocess"))
            return true;
    return false;
}

/* What the model says of its outputs; where it says nothing, classes of the middle square. */
static int ask_agent(const struct camera *camera, const struct lego_picture *picture,
                     struct lego_client_frame *ask, struct lego_client_result **ret_result,
                     struct lego_diag *diag)
{
    static const struct lego_client_results results = {.top = TOP};
    const struct lego_client_request request = {
        .model = camera->model->name, .results = &results, .frames = ask, .frame_count = 1};
    const uint32_t side = picture->width < picture->height ? picture->width : picture->height;
    if (!is_described(camera->model))
        ask->crop = (struct lego_client_rectangle){(picture->width - side) / 2,
                                                   (picture->height - side) / 2, side, side};
    return lego_client_infer(camera->client, &request, ret_result, diag);
}

/* The best of an answer in a word. */
static void print_answer(uint64_t number, const struct lego_client_answer *answer)
{
    printf("frame %llu:", (unsigned long long)number);
    if (answer->kind == LEGO_CLIENT_DETECTIONS)
        printf(" %u boxes\n", answer->detection_count);
    else if (answer->kind == LEGO_CLIENT_TEXT)
        printf(" %s\n", answer->text);
    else if (answer->class_count > 0)
        printf(" %s %.3f\n", answer->classes[0].label, (double)answer->classes[0].score);
    else
        printf(" nothing\n");
}

static int show_result(const struct camera *camera, struct lego_picture *picture,
                       const struct lego_client_frame *ask, const struct lego_client_result *result,
                       double ms, const char *out, struct lego_diag *diag)
{
    static const struct draw_color mark = {255, 220, 0};
    const struct lego_client_rectangle *square = &ask->crop;
    if (square->width > 0)
        draw_box(picture, square->x, square->y, square->x + square->width,
                 square->y + square->height, draw_scale(picture), mark);
    int status = drawing_add(picture, result, ms * 1e3, diag);
    if (status == LEGO_OK && out)
        status = picture_save(picture, out, diag);
    else if (status == LEGO_OK)
        show(picture);
    for (uint32_t i = 0; i < result->answer_count; i++)
        print_answer(camera->number, &result->answers[i]);
    return status;
}

/* Asks about a frame, draws and shows it. */
static int process(struct camera *camera, struct picture_frame *frame,
                   struct lego_client_frame *ask, const char *out, struct lego_diag *diag)
{
    struct lego_client_result *result;
    struct lego_picture picture;
    int status = picture_frame_check(frame, "the frame", diag);
    if (status == LEGO_OK)
        status = picture_of_frame(&camera->kernels, frame, "the frame", &picture, diag);
    if (status != LEGO_OK)
        return status;
    double start = now_ms();
    status = ask_agent(camera, &picture, ask, &result, diag);
    if (status == LEGO_OK) {
        status = show_result(camera, &picture, ask, result, now_ms() - start, out, diag);
        lego_client_result_free(result);
    }
    picture_clear(&picture);
    return status;
}

static int open_source(struct camera *camera, const char *source, struct lego_diag *diag)
{
    if (strncmp(source, "/dev/", 5) == 0)
        return v4l2_open(source, camera->client, &camera->v4l2, diag);
    if (strcmp(source, "pattern") != 0)
        return picture_stream_open(source, &camera->stream, diag);
    return LEGO_OK;
}

static int run(struct camera *camera, char **argv, uint64_t frames, const char *out,
               struct lego_diag *diag)
{
    bool end = false;
    int status = kern_init(&camera->kernels, NULL, diag);
    if (status == LEGO_OK)
        status = lego_client_connect(NULL, NULL, &camera->client, diag);
    if (status == LEGO_OK)
        status = lego_client_model_get(camera->client, argv[1], NULL, &camera->model, diag);
    if (status == LEGO_OK)
        status = open_source(camera, argv[2], diag);
    for (; status == LEGO_OK && camera->number < frames; camera->number++) {
        struct picture_frame frame;
        struct lego_client_frame ask;
        status = next(camera, &frame, &ask, &end, diag);
        if (end)
            break;
        if (status == LEGO_OK)
            status = process(camera, &frame, &ask, out, diag);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct camera *camera = calloc(1, sizeof(*camera));
    if (argc < 3 || !camera) {
        fprintf(stderr, "usage: legonet-camera MODEL SOURCE [FRAMES] [OUT.png]\n");
        free(camera);
        return 2;
    }
    uint64_t frames = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX;
    int status = run(camera, argv, frames, argc > 4 ? argv[4] : NULL, &diag);
    if (status != LEGO_OK)
        fprintf(stderr, "legonet-camera: %s\n", lego_diag_text(&diag, status));
    else
        printf("%llu frames, %llu dropped\n", (unsigned long long)camera->number,
               (unsigned long long)camera->dropped);
    v4l2_close(camera->v4l2);
    picture_stream_close(camera->stream);
    lego_client_model_free(camera->model);
    lego_client_close(camera->client);
    free(camera);
    return status == LEGO_OK ? 0 : 1;
}
