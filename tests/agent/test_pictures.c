/* Pictures as inputs: what the model gets, and what wrong descriptions of them meet. */
#include "pictures.h"
#include "tests/agent/models.h"
#include "tests/agent/wire_regions.h"

#include "agent/client/legonet_client.h"
#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMFD "memfd:legonet-test"
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static struct agent agent;
static size_t fds_at_start;
static struct lego_client *client;

static void connect_client(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
}

static void set_up(void)
{
    agent.watches = false;
    agent_prepare(&agent, "engines: {threads: 1}\nlimits: {batch: 4}\n");
    model_echo(agent_model(&agent, "echo.lego"));
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    wire_expect_alive(&agent);
    fds_at_start = agent_fd_count(&agent);
    connect_client();
}

/* Bounded, as nothing says when the agent has taken notice of clients that have gone. */
static void tear_down(void)
{
    lego_client_close(client);
    wire_expect_alive(&agent);
    for (int tries = 0; tries < 600; tries++) {
        if (agent_fd_count(&agent) <= fds_at_start && agent_map_count(&agent, MEMFD) == 0)
            break;
        usleep(50000);
    }
    ck_assert_uint_le(agent_fd_count(&agent), fds_at_start);
    ck_assert_uint_eq(agent_map_count(&agent, MEMFD), 0);
    agent_stop(&agent);
}

static void set_up_region(const void *data, size_t bytes)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int memory = region_memfd(data, bytes, SEALS);
    int status = lego_client_region_register(client, "frame", memory, 0, false, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    close(memory);
}

static int infer(const struct lego_client_frame *frames, uint32_t count,
                 struct lego_client_result **ret_result, struct lego_diag *diag)
{
    struct lego_client_request request = {.model = "echo", .frames = frames, .frame_count = count};
    return lego_client_infer(client, &request, ret_result, diag);
}

/* What the frame becomes by the library's own hand. */
static void expect_frame(const struct lego_client_tensor *got, size_t row,
                         struct picture_frame frame)
{
    struct lego_preprocess preprocess = model_echo_preprocess();
    struct kern_table kernels;
    float expected[ECHO_ELEMS];
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_OK);
    ck_assert_int_eq(picture_frame_check(&frame, "frame", NULL), LEGO_OK);
    ck_assert_int_eq(picture_frame_apply(&kernels, &preprocess, &frame, "frame", expected,
                                         ECHO_ELEMS, NULL, NULL),
                     LEGO_OK);
    ck_assert_mem_eq((const float *)got->data + row * ECHO_ELEMS, expected, sizeof(expected));
}

START_TEST(frames_in_regions_and_in_requests_are_the_same)
{
    enum { WIDTH = 50, HEIGHT = 30, STRIDE = 64, CHROMA_AT = 4096, AT = 100 };
    uint8_t memory[3 * 4096];
    for (size_t i = 0; i < sizeof(memory); i++)
        memory[i] = (uint8_t)(i * 7 + i / 64);
    set_up_region(memory, sizeof(memory));
    const struct lego_client_frame frames[] = {
        {.fourcc = LEGO_CLIENT_NV12,
         .width = WIDTH,
         .height = HEIGHT,
         .region = "frame",
         .offset = AT,
         .plane_count = 2,
         .planes = {{0, STRIDE}, {CHROMA_AT, STRIDE}},
         .rotation = 90,
         .filter = LEGO_CLIENT_FILTER_AREA,
         .resize = LEGO_CLIENT_RESIZE_FIT_SHORTEST,
         .bt709 = true},
        {.fourcc = LEGO_CLIENT_YUYV,
         .width = WIDTH,
         .height = HEIGHT,
         .region = "frame",
         .byte_size = WIDTH * HEIGHT * 2,
         .crop = {10, 4, 20, 20},
         .full_range = true},
        {.fourcc = LEGO_CLIENT_BGR24,
         .width = WIDTH,
         .height = HEIGHT,
         .data = memory,
         .bytes = WIDTH * HEIGHT * 3,
         .input = "x"},
    };
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(infer(frames, 3, &result, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_int_eq(result->outputs[0].shape.dim[0], 3);
    ck_assert_uint_eq(result->outputs[0].bytes, 3 * ECHO_ELEMS * sizeof(float));
    expect_frame(&result->outputs[0], 0,
                 (struct picture_frame){.fourcc = PICTURE_NV12,
                                        .width = WIDTH,
                                        .height = HEIGHT,
                                        .data = memory + AT,
                                        .bytes = sizeof(memory) - AT,
                                        .plane_count = 2,
                                        .planes = {{0, STRIDE}, {CHROMA_AT, STRIDE}},
                                        .rotation = 90,
                                        .filter = PICTURE_FILTER_AREA,
                                        .resize = PICTURE_RESIZE_SHORTEST,
                                        .bt709 = true});
    expect_frame(&result->outputs[0], 1,
                 (struct picture_frame){.fourcc = PICTURE_YUYV,
                                        .width = WIDTH,
                                        .height = HEIGHT,
                                        .data = memory,
                                        .bytes = WIDTH * HEIGHT * 2,
                                        .crop = {10, 4, 20, 20},
                                        .full_range = true});
    expect_frame(&result->outputs[0], 2,
                 (struct picture_frame){.fourcc = PICTURE_BGR24,
                                        .width = WIDTH,
                                        .height = HEIGHT,
                                        .data = memory,
                                        .bytes = WIDTH * HEIGHT * 3});
    lego_client_result_free(result);
    ck_assert_int_eq(lego_client_region_unregister(client, "frame", NULL), LEGO_OK);
    ck_assert_int_eq(infer(frames, 1, &result, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, "pictures[0].region: no region \"frame\""));
}
END_TEST

/* V4L2's NM12: luma and chroma in memory of their own. */
START_TEST(planes_have_memory_of_their_own)
{
    enum { WIDTH = 50, HEIGHT = 30, STRIDE = 64, AT = 100, LUMA = 4096, CHROMA = AT + 15 * STRIDE };
    uint8_t memory[LUMA + CHROMA];
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    for (size_t i = 0; i < sizeof(memory); i++)
        memory[i] = (uint8_t)(i * 7 + i / 64);
    int luma = region_memfd(memory, LUMA, SEALS);
    int chroma = region_memfd(memory + LUMA, CHROMA, SEALS);
    ck_assert_int_eq(lego_client_region_register(client, "y", luma, 0, false, NULL), LEGO_OK);
    ck_assert_int_eq(lego_client_region_register(client, "uv", chroma, 0, false, NULL), LEGO_OK);
    close(luma);
    close(chroma);
    struct lego_client_frame frame = {.fourcc = LEGO_CLIENT_NV12,
                                      .width = WIDTH,
                                      .height = HEIGHT,
                                      .plane_count = 2,
                                      .planes = {{0, STRIDE}, {AT, STRIDE}},
                                      .plane_regions = {"y", "uv"}};
    struct picture_frame expected = {.fourcc = PICTURE_NV12,
                                     .width = WIDTH,
                                     .height = HEIGHT,
                                     .data = memory,
                                     .bytes = sizeof(memory),
                                     .plane_count = 2,
                                     .planes = {{0, STRIDE}, {LUMA + AT, STRIDE}}};
    ck_assert_msg(infer(&frame, 1, &result, &diag) == LEGO_OK, "%s", diag.text);
    expect_frame(&result->outputs[0], 0, expected);
    lego_client_result_free(result);
    /* One of them where the frame is. */
    frame.plane_regions[0] = NULL;
    frame.data = memory;
    frame.bytes = LUMA;
    ck_assert_msg(infer(&frame, 1, &result, &diag) == LEGO_OK, "%s", diag.text);
    expect_frame(&result->outputs[0], 0, expected);
    lego_client_result_free(result);

    frame.planes[1].offset = AT + 15; /* a byte beyond */
    ck_assert_int_eq(infer(&frame, 1, &result, &diag), LEGO_E_INVALID);
    ck_assert_ptr_nonnull(strstr(diag.text, "pictures[0]: planes[1]: 15 rows"));
    frame.plane_regions[1] = "vu";
    ck_assert_int_eq(infer(&frame, 1, &result, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, "pictures[0].planes[1].region: no region \"vu\""));
}
END_TEST

/* Files, as the tools read them, and the same bytes as a frame: one result, to the bit. */
START_TEST(jpeg_frames_are_what_files_are)
{
    struct lego_picture picture = smooth(64, 48, 3), decoded;
    struct encoded jpeg = encode_jpeg(&picture, JPEG_PROGRESSIVE);
    struct lego_preprocess preprocess = model_echo_preprocess();
    float expected[ECHO_ELEMS];
    ck_assert_int_eq(picture_decode(jpeg.data, jpeg.bytes, "jpeg", &decoded, NULL), LEGO_OK);
    ck_assert_int_eq(preprocess_apply(&preprocess, &decoded, expected, ECHO_ELEMS, NULL), LEGO_OK);
    struct lego_client_frame frame = {
        .fourcc = LEGO_CLIENT_MJPEG, .data = jpeg.data, .bytes = jpeg.bytes};
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(infer(&frame, 1, &result, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_mem_eq(result->outputs[0].data, expected, sizeof(expected));
    lego_client_result_free(result);

    /* Cut at every length and scribbled over, it is a refusal or some picture. */
    for (size_t bytes = 0; bytes < jpeg.bytes; bytes += 1 + jpeg.bytes / 40) {
        frame.bytes = bytes;
        int status = infer(&frame, 1, &result, &diag);
        ck_assert_msg(status == (bytes ? LEGO_E_FORMAT : LEGO_E_INVALID), "%zu: %s", bytes,
                      diag.text);
        ck_assert_ptr_nonnull(strstr(diag.text, "pictures[0]"));
    }
    frame.bytes = jpeg.bytes;
    for (size_t at = 2; at < jpeg.bytes; at += 1 + jpeg.bytes / 60) {
        jpeg.data[at] ^= 0x5a;
        if (infer(&frame, 1, &result, &diag) == LEGO_OK)
            lego_client_result_free(result);
    }
    free(jpeg.data);
    picture_clear(&decoded);
    picture_clear(&picture);
}
END_TEST

START_TEST(wrong_pictures_are_named)
{
    static uint8_t bytes[768];
    const struct lego_client_frame good = {
        .fourcc = LEGO_CLIENT_RGB24, .width = 16, .height = 16, .data = bytes, .bytes = 768};
    struct lego_client_frame frames[5] = {good, good, good, good, good};
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    set_up_region(bytes, sizeof(bytes));

#define EXPECT(index, status_, text_)                                          \
    do {                                                                       \
        ck_assert_int_eq(infer(frames, (index) + 1, &result, &diag), status_); \
        ck_assert_msg(strstr(diag.text, text_) != NULL, "%s", diag.text);      \
        frames[index] = good;                                                  \
    } while (0)

    frames[1].bytes = 767;
    EXPECT(1, LEGO_E_INVALID, "pictures[1]: planes[0]");
    frames[1].fourcc = 0;
    EXPECT(1, LEGO_E_UNSUPPORTED, "pictures[1]: fourcc");
    frames[0].rotation = 91;
    EXPECT(0, LEGO_E_INVALID, "pictures[0]: rotation");
    frames[0].plane_count = 1;
    frames[0].planes[0].stride = UINT64_MAX;
    EXPECT(0, LEGO_E_INVALID, "planes[0]: 16 rows of stride");
    frames[0].crop = (struct lego_client_rectangle){UINT32_MAX, UINT32_MAX, 2, 2};
    EXPECT(0, LEGO_E_INVALID, "pictures[0]: crop");
    frames[0].region = "frame";
    frames[0].offset = 769;
    EXPECT(0, LEGO_E_INVALID, "pictures[0].offset: 0 bytes at 769");
    frames[0].region = "frame";
    frames[0].offset = 1;
    frames[0].byte_size = UINT64_MAX;
    EXPECT(0, LEGO_E_INVALID, "pictures[0].offset");
    frames[0].region = "frame";
    frames[0].offset = 1;
    EXPECT(0, LEGO_E_INVALID, "767 bytes that there are");
    frames[0].region = "none";
    EXPECT(0, LEGO_E_NOT_FOUND, "pictures[0].region: no region \"none\"");
    frames[0].input = "y";
    EXPECT(0, LEGO_E_NOT_FOUND, "pictures[0].input: \"y\" takes no pictures, \"x\" does");
    frames[0].resize = (enum lego_client_resize)7;
    EXPECT(0, LEGO_E_INVALID, "pictures[0]: resize");
    EXPECT(4, LEGO_E_LIMIT, "a batch of 5 is over the limit of 4");
#undef EXPECT

    float tensor[ECHO_ELEMS] = {0};
    const struct lego_client_tensor input = {
        .name = "x",
        .dtype = LEGO_DTYPE_FLOAT32,
        .shape = {.rank = 4, .dim = {1, 3, ECHO_HEIGHT, ECHO_WIDTH}},
        .data = tensor,
        .bytes = sizeof(tensor)};
    struct lego_client_request request = {
        .model = "echo", .inputs = &input, .input_count = 1, .frames = frames, .frame_count = 1};
    ck_assert_int_eq(lego_client_infer(client, &request, &result, &diag), LEGO_E_INVALID);
    ck_assert_ptr_nonnull(strstr(diag.text, "given twice"));
    request = (struct lego_client_request){.model = "tiny", .frames = frames, .frame_count = 1};
    ck_assert_int_eq(lego_client_infer(client, &request, &result, &diag), LEGO_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(diag.text, "does not say how a picture becomes its input"));
}
END_TEST

/* What the C library never sends: more planes than there are, no memory, numbers of no meaning. */
START_TEST(descriptors_that_no_library_sends)
{
    int fd = wire_connect(&agent);
    uint8_t bytes[192] = {0};
    for (int kind = 0; kind < 5; kind++) {
        Legonet__Request request = LEGONET__REQUEST__INIT;
        Inference__ModelInferRequest infer_request = INFERENCE__MODEL_INFER_REQUEST__INIT;
        Legonet__Picture picture = LEGONET__PICTURE__INIT, *pictures[] = {&picture};
        Legonet__Picture__Plane plane = LEGONET__PICTURE__PLANE__INIT;
        Legonet__Picture__Plane *planes[] = {&plane, &plane, &plane, &plane};
        static const char *const texts[] = {"pictures[0].planes: there are 4",
                                            "pictures[0] has no memory", "pictures[0].matrix",
                                            "pictures[0].range", "pictures[0]: filter"};
        infer_request.model_name = (char[]){"echo"};
        request.id = 3;
        request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
        request.model_infer = &infer_request;
        request.n_pictures = 1;
        request.pictures = pictures;
        picture.fourcc = PICTURE_RGB24;
        picture.width = picture.height = 8;
        picture.memory_case = LEGONET__PICTURE__MEMORY_DATA;
        picture.data = (ProtobufCBinaryData){.len = sizeof(bytes), .data = bytes};
        if (kind == 0) {
            picture.n_planes = 4;
            picture.planes = planes;
        }
        if (kind == 1)
            picture.memory_case = LEGONET__PICTURE__MEMORY__NOT_SET;
        if (kind == 2)
            picture.matrix = (Legonet__Picture__Matrix)2;
        if (kind == 3)
            picture.range = (Legonet__Picture__Range)-1;
        if (kind == 4)
            picture.filter = (Legonet__Picture__Filter)99;
        Legonet__Response *response = wire_call(fd, &request);
        ck_assert_int_eq(response->status, LEGONET__STATUS__E_INVALID);
        ck_assert_msg(strstr(response->message, texts[kind]) != NULL, "%s", response->message);
        ipc_response_free(response);
    }
    close(fd);
}
END_TEST

START_TEST(clients_that_die_with_frames_in_flight)
{
    static uint8_t pixels[640 * 480 * 2];
    for (int round = 0; round < 5; round++) {
        int pipe_fds[2];
        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid_t child = fork();
        if (child == 0) {
            uint64_t id;
            connect_client();
            set_up_region(pixels, sizeof(pixels));
            struct lego_client_frame frame = {
                .fourcc = LEGO_CLIENT_YUYV, .width = 640, .height = 480, .region = "frame"};
            struct lego_client_request request = {
                .model = "echo", .frames = &frame, .frame_count = 1};
            for (int i = 0; i < 20; i++)
                if (lego_client_submit(client, &request, &id, NULL) != LEGO_OK)
                    _exit(1);
            if (write(pipe_fds[1], "x", 1) != 1)
                _exit(1);
            pause();
            _exit(0);
        }
        char byte;
        ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
}
END_TEST

/* Pixels and JPEG bytes that change, or vanish into holes, while the agent reads them. */
START_TEST(frames_that_change_while_they_are_read)
{
    struct lego_picture picture = smooth(64, 48, 3);
    struct encoded jpeg = encode_jpeg(&picture, JPEG_BASELINE);
    uint8_t memory[64 * 48 * 3];
    struct lego_diag diag = LEGO_DIAG_INIT;
    memset(memory, 0x55, sizeof(memory));
    memcpy(memory, jpeg.data, jpeg.bytes);
    int fd = region_memfd(memory, sizeof(memory), SEALS);
    ck_assert_int_eq(lego_client_region_register(client, "frame", fd, 0, false, &diag), LEGO_OK);
    pid_t scribbler = fork();
    if (scribbler == 0) {
        for (unsigned i = 0;; i++) {
            if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof(memory)))
                _exit(1);
            usleep(50);
            if (pwrite(fd, memory, sizeof(memory), 0) != sizeof(memory))
                _exit(1);
            usleep(50);
        }
    }
    const struct lego_client_frame frames[] = {
        {.fourcc = LEGO_CLIENT_RGB24, .width = 64, .height = 48, .region = "frame"},
        {.fourcc = LEGO_CLIENT_NV12, .width = 64, .height = 48, .region = "frame"},
        {.fourcc = LEGO_CLIENT_MJPEG, .region = "frame", .byte_size = jpeg.bytes}};
    for (int i = 0; i < 150; i++) {
        struct lego_client_result *result;
        int status = infer(&frames[i % 3], 1, &result, &diag);
        ck_assert_msg(status == LEGO_OK || (i % 3 == 2 && status == LEGO_E_FORMAT), "%s",
                      diag.text);
        if (status == LEGO_OK)
            lego_client_result_free(result);
    }
    kill(scribbler, SIGKILL);
    ck_assert_int_eq(waitpid(scribbler, NULL, 0), scribbler);
    close(fd);
    free(jpeg.data);
    picture_clear(&picture);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pictures");
    TCase *tests = tcase_create("pictures");
    tcase_set_timeout(tests, 180);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, frames_in_regions_and_in_requests_are_the_same);
    tcase_add_test(tests, planes_have_memory_of_their_own);
    tcase_add_test(tests, jpeg_frames_are_what_files_are);
    tcase_add_test(tests, wrong_pictures_are_named);
    tcase_add_test(tests, descriptors_that_no_library_sends);
    tcase_add_test(tests, clients_that_die_with_frames_in_flight);
    tcase_add_test(tests, frames_that_change_while_they_are_read);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
