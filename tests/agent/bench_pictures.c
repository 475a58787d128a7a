/*
 * Prints the round trip of a 1080p NV12 frame by file descriptor beside that of 64 bytes by file
 * descriptor, and the resize by itself, in turns: what the frame's way costs but for the work.
 * usage: agent_picture_bench [REQUESTS]
 */
#include "tests/agent/bench_times.h"
#include "tests/agent/harness.h"
#include "tests/agent/models.h"
#include "tests/agent/wire_regions.h"

#include "agent/client/legonet_client.h"
#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 1920, HEIGHT = 1080, FRAME_BYTES = WIDTH * HEIGHT * 3 / 2, MAX_REQUESTS = 100000 };
enum { SMALL_WIDTH = 8, SMALL_HEIGHT = 8 }; /* GREY: 64 bytes */

static struct agent agent;
static int requests = 500;
static uint8_t pixels[FRAME_BYTES];

static double print_times(const char *what, double *times)
{
    sort_times(times, (size_t)requests);
    printf("%-28s p50 %7.1f us   p99 %7.1f us\n", what, times[requests / 2],
           times[requests * 99 / 100]);
    return times[requests / 2];
}

static double round_trip(struct lego_client *client, const struct lego_client_frame *frame)
{
    static const struct lego_client_results results = {.top = 1};
    const struct lego_client_request request = {
        .model = "echo", .frames = frame, .frame_count = 1, .results = &results};
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    double start = now_us();
    ck_assert_msg(!lego_client_infer(client, &request, &result, &diag), "%s", diag.text);
    double us = now_us() - start;
    lego_client_result_free(result);
    return us;
}

static double resize(const struct kern_table *kernels)
{
    static float out[ECHO_ELEMS];
    const struct lego_preprocess preprocess = model_echo_preprocess();
    struct picture_frame frame = {.fourcc = PICTURE_NV12,
                                  .width = WIDTH,
                                  .height = HEIGHT,
                                  .data = pixels,
                                  .bytes = sizeof(pixels)};
    double start = now_us();
    ck_assert_int_eq(picture_frame_check(&frame, "frame", NULL), LEGO_OK);
    ck_assert_int_eq(
        picture_frame_apply(kernels, &preprocess, &frame, "frame", out, ECHO_ELEMS, NULL, NULL),
        LEGO_OK);
    return now_us() - start;
}

START_TEST(figures)
{
    static double large[MAX_REQUESTS], small[MAX_REQUESTS], alone[MAX_REQUESTS];
    const struct lego_client_frame frame = {
        .fourcc = LEGO_CLIENT_NV12, .width = WIDTH, .height = HEIGHT, .region = "frame"};
    const struct lego_client_frame tiny = {.fourcc = LEGO_CLIENT_GREY,
                                           .width = SMALL_WIDTH,
                                           .height = SMALL_HEIGHT,
                                           .region = "frame"};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client;
    struct kern_table kernels;
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    agent_prepare(&agent, "engines: {count: 1, threads: 1}\n");
    model_echo(agent_model(&agent, "echo.lego"));
    agent_start(&agent, true);
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_OK);
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
    int memory = region_memfd(pixels, sizeof(pixels), F_SEAL_SHRINK);
    ck_assert_msg(!lego_client_region_register(client, "frame", memory, 0, false, &diag), "%s",
                  diag.text);
    close(memory);
    for (int i = 0; i < requests; i++) {
        small[i] = round_trip(client, &tiny);
        large[i] = round_trip(client, &frame);
        alone[i] = resize(&kernels);
    }
    double least = print_times("64 bytes", small) + print_times("resizing 1080p NV12", alone);
    printf("%.3f of both together\n", print_times("1080p NV12", large) / least);
    lego_client_close(client);
    agent_stop(&agent);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        requests = atoi(argv[1]);
    if (requests < 1 || requests > MAX_REQUESTS)
        return 2;
    Suite *suite = suite_create("picture_bench");
    TCase *figures_case = tcase_create("figures");
    tcase_set_timeout(figures_case, 600);
    tcase_add_test(figures_case, figures);
    suite_add_tcase(suite, figures_case);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
