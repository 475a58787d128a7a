/*
 * Many cameras at one agent, where the latest frame wins: how old answers are, and what is dropped.
 * Each stream has a connection of its own and gives 640x480 YUYV frames in a memfd at its rate,
 * whatever the agent does; one thread waits for all of them. A frame's age is from its time to its
 * answer.
 * usage: agent_streams_bench MODEL.lego [SECONDS [STREAMS [RATE]]]
 */
#include "tests/agent/bench_times.h"
#include "tests/agent/harness.h"
#include "tests/agent/wire_regions.h"

#include "agent/client/legonet_client.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 640, HEIGHT = 480, FRAME_BYTES = 2 * WIDTH * HEIGHT, SLOTS = 4 };
enum { MAX_STREAMS = 256, MAX_ANSWERS = 1000000, PERIODS = 2 };

/* A frame that has no answer yet. */
struct waiting {
    uint64_t id; /* 0: the slot is free */
    double due;
};

struct stream {
    struct lego_client *client;
    struct waiting slots[SLOTS];
    double due; /* its next frame's time */
    uint32_t sent, answered, overtaken, refused, failed, most;
};

static const char *model;
static double seconds = 20, rate = 10;
static uint32_t stream_count = 30;

static struct agent agent;
static struct stream streams[MAX_STREAMS];
static double ages[MAX_ANSWERS];
static uint32_t age_count;
static double oldest, oldest_parts[3]; /* in the agent: waiting, preparing, computing */
static double latest_us;               /* how late a frame was sent at most */

static void start_stream(struct stream *stream, const uint8_t *pixels)
{
    static const struct lego_client_schedule schedule = {.stream = "camera"};
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &stream->client, &diag), "%s",
                  diag.text);
    int memory = region_memfd(pixels, (size_t)SLOTS * FRAME_BYTES, F_SEAL_SHRINK);
    ck_assert_msg(!lego_client_region_register(stream->client, "frames", memory, 0, false, &diag),
                  "%s", diag.text);
    close(memory);
    ck_assert_int_eq(lego_client_set_schedule(stream->client, &schedule, &diag), LEGO_OK);
}

/* A frame at its time; where all slots are in use it is dropped here. */
static void capture(struct stream *stream, double now)
{
    static const struct lego_client_results results = {.top = 1};
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint32_t slot = 0, used = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        used += stream->slots[i].id != 0;
        slot = stream->slots[i].id ? slot : i;
    }
    latest_us = now - stream->due > latest_us ? now - stream->due : latest_us;
    stream->sent++;
    if (used == SLOTS) {
        stream->refused++;
        return;
    }
    const struct lego_client_frame frame = {.fourcc = LEGO_CLIENT_YUYV,
                                            .width = WIDTH,
                                            .height = HEIGHT,
                                            .region = "frames",
                                            .offset = (uint64_t)slot * FRAME_BYTES,
                                            .byte_size = FRAME_BYTES,
                                            .filter = LEGO_CLIENT_FILTER_BILINEAR};
    const struct lego_client_request request = {
        .model = "net", .frames = &frame, .frame_count = 1, .results = &results};
    ck_assert_msg(!lego_client_submit(stream->client, &request, &stream->slots[slot].id, &diag),
                  "%s", diag.text);
    stream->slots[slot].due = stream->due;
    stream->most = used + 1 > stream->most ? used + 1 : stream->most;
}

static void count_answer(struct stream *stream, const struct lego_client_result *result, double age)
{
    stream->answered++;
    if (age_count < MAX_ANSWERS)
        ages[age_count++] = age;
    if (age < oldest)
        return;
    oldest = age;
    oldest_parts[0] = (double)result->queue_ns * 1e-6;
    oldest_parts[1] = (double)result->decode_ns * 1e-6;
    oldest_parts[2] = (double)result->compute_ns * 1e-6;
}

static void take_answers(struct stream *stream)
{
    struct lego_client_result *result;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!lego_client_process(stream->client, &diag), "%s", diag.text);
    double now = now_us();
    while ((result = lego_client_next(stream->client))) {
        uint32_t slot = 0;
        while (stream->slots[slot].id != result->id)
            slot++;
        stream->slots[slot].id = 0;
        if (result->status == LEGO_OK)
            count_answer(stream, result, now - stream->slots[slot].due);
        else if (result->status == LEGO_E_CANCELLED)
            stream->overtaken++;
        else if (result->status == LEGO_E_EXHAUSTED || result->status == LEGO_E_DEADLINE)
            stream->refused++;
        else
            stream->failed++;
        lego_client_result_free(result);
    }
}

/* Requests that wait or are computed now, as the agent says. */
static double queue_length(struct lego_client *watcher)
{
    char *text;
    ck_assert_int_eq(lego_client_metrics_get(watcher, &text, NULL), LEGO_OK);
    const char *at = strstr(text, "\nlegonet_model_queue_length{");
    double length = at ? strtod(strchr(at, '}') + 1, NULL) : 0;
    free(text);
    return length;
}

/* Sends what is due; returns when the next is. */
static double send_due(void)
{
    double next = 1e300;
    for (uint32_t i = 0; i < stream_count; i++) {
        double now = now_us();
        if (streams[i].due <= now) {
            capture(&streams[i], now);
            streams[i].due += 1e6 / rate;
        }
        next = streams[i].due < next ? streams[i].due : next;
    }
    return next;
}

/* Returns the longest queue, as it was seen each second. */
static double run_streams(struct lego_client *watcher)
{
    static struct pollfd fds[MAX_STREAMS];
    double start = now_us(), seen = start, longest = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        streams[i].due = start + 1e6 / rate * i / stream_count;
        fds[i] = (struct pollfd){.fd = lego_client_fd(streams[i].client), .events = POLLIN};
    }
    while (now_us() < start + seconds * 1e6) {
        double wait = send_due() - now_us();
        const struct timespec timeout = {.tv_nsec = wait > 0 ? (long)(wait * 1e3) : 0};
        if (ppoll(fds, stream_count, &timeout, NULL) > 0)
            for (uint32_t i = 0; i < stream_count; i++)
                if (fds[i].revents)
                    take_answers(&streams[i]);
        if (now_us() - seen >= 1e6) {
            double length = queue_length(watcher);
            longest = length > longest ? length : longest;
            seen = now_us();
        }
    }
    return longest;
}

static void print_figures(double longest)
{
    double limit = PERIODS * 1e6 / rate;
    uint32_t sent = 0, overtaken = 0, refused = 0, failed = 0, most = 0, late = 0;
    uint32_t least = UINT32_MAX, largest = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        const struct stream *s = &streams[i];
        sent += s->sent;
        overtaken += s->overtaken;
        refused += s->refused;
        failed += s->failed;
        most = s->most > most ? s->most : most;
        least = s->answered < least ? s->answered : least;
        largest = s->answered > largest ? s->answered : largest;
    }
    sort_times(ages, age_count);
    for (uint32_t i = 0; i < age_count; i++)
        late += ages[i] > limit;
    printf("%u sent, %u answered, %u overtaken, %u refused, %u failed\n", sent, age_count,
           overtaken, refused, failed);
    if (age_count > 0)
        printf("age of answers: median %.1f ms, p99 %.1f, largest %.1f (waiting %.1f, preparing "
               "%.1f, computing %.1f)\n",
               ages[age_count / 2] * 1e-3, ages[(size_t)age_count * 99 / 100] * 1e-3, oldest * 1e-3,
               oldest_parts[0], oldest_parts[1], oldest_parts[2]);
    printf("answers older than two periods, %.0f ms: %u\n", limit * 1e-3, late);
    printf("answers a stream: %u to %u\n", least, largest);
    printf("most of a stream without an answer %u, longest queue seen %.0f, frames late by %.1f "
           "ms at most\n",
           most, longest, latest_us * 1e-3);
}

START_TEST(figures)
{
    struct lego_client *watcher;
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint8_t *pixels = malloc((size_t)SLOTS * FRAME_BYTES);
    ck_assert_ptr_nonnull(pixels);
    for (size_t i = 0; i < (size_t)SLOTS * FRAME_BYTES; i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    agent_prepare(&agent, "engines: {count: 2, threads: 1}\nlimits: {regions: 64}\n");
    ck_assert_int_eq(symlink(model, agent_model(&agent, "net.lego")), 0);
    agent_start(&agent, true);
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &watcher, &diag), "%s", diag.text);
    for (uint32_t i = 0; i < stream_count; i++)
        start_stream(&streams[i], pixels);
    free(pixels);
    print_figures(run_streams(watcher));
    for (uint32_t i = 0; i < stream_count; i++)
        lego_client_close(streams[i].client);
    lego_client_close(watcher);
    agent_stop(&agent);
}
END_TEST

int main(int argc, char **argv)
{
    char *path = argc > 1 ? realpath(argv[1], NULL) : NULL;
    seconds = argc > 2 ? atof(argv[2]) : seconds;
    stream_count = argc > 3 ? (uint32_t)atoi(argv[3]) : stream_count;
    rate = argc > 4 ? atof(argv[4]) : rate;
    if (!path || seconds <= 0 || stream_count < 1 || stream_count > MAX_STREAMS || rate <= 1) {
        fprintf(stderr, "usage: agent_streams_bench MODEL.lego [SECONDS [STREAMS [RATE]]]\n");
        return 2;
    }
    model = path;
    Suite *suite = suite_create("streams_bench");
    TCase *figures_case = tcase_create("figures");
    tcase_set_timeout(figures_case, seconds + 300);
    tcase_add_test(figures_case, figures);
    suite_add_tcase(suite, figures_case);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    free(path);
    return failed != 0;
}
