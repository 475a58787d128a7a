/* Many clients at once: every answer is right, also while models are switched under them. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/runtime/legonet.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS  8
#define REQUESTS 1000
#define KINDS    64 /* different inputs */
#define MAX_ROWS 4
#define MODELS   2 /* contents that the served file may have */

#ifndef LEGO_SWAPS
#define LEGO_SWAPS 20 /* at least so many switches; test_agent_swaps makes a thousand */
#endif
#define WARM_SWAPS (LEGO_SWAPS / 5)
#define CALM_READS 40 /* that must agree before memory counts as measured */
#define LOOKS      10 /* at memory in the end: a loader of low priority may still be at it */

static struct agent agent;
static float expected[MODELS][KINDS][MAX_ROWS * TINY_OUTPUTS];
static size_t model_kinds;
static atomic_bool stop_reloading;
static atomic_int reloads;
static pthread_mutex_t reload_turn = PTHREAD_MUTEX_INITIALIZER;

static uint32_t rows_of(uint32_t kind)
{
    return 1 + kind % MAX_ROWS;
}

/* The runtime's answers in this process, to the bit what the agent must say. */
static void expect_from(const char *path, size_t which)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_model *model;
    struct lego_session *session;
    const struct lego_session_options options = {.threads = 1};
    ck_assert_msg(!lego_model_open(path, NULL, &model, &diag), "%s", diag.text);
    ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        float input[MAX_ROWS * TINY_INPUTS];
        uint32_t rows = rows_of(kind);
        wire_infer_input(kind, rows, input);
        struct lego_io in = {.dtype = LEGO_DTYPE_FLOAT32,
                             .shape = {.rank = 2, .dim = {rows, TINY_INPUTS}},
                             .data = input,
                             .bytes = rows * TINY_INPUTS * sizeof(float)};
        struct lego_io out = {.data = expected[which][kind],
                              .bytes = sizeof(expected[which][kind])};
        ck_assert_msg(!lego_session_run(session, &in, 1, &out, 1, &diag), "%s", diag.text);
    }
    lego_session_destroy(session);
    lego_model_close(model);
}

static bool is_right(uint32_t kind, const ProtobufCBinaryData *raw)
{
    size_t bytes = rows_of(kind) * TINY_OUTPUTS * sizeof(float);
    for (size_t which = 0; which < model_kinds; which++)
        if (raw->len == bytes && !memcmp(raw->data, expected[which][kind], bytes))
            return true;
    return false;
}

struct client {
    pthread_t thread;
    uint32_t number;
    uint32_t right, wrong;
    char first_wrong[256];
    bool answered[REQUESTS];
};

static uint32_t kind_of(const struct client *client, uint32_t request)
{
    return (client->number * 31 + request * 7) % KINDS;
}

static void check_answer(struct client *client, const Legonet__Response *response)
{
    uint64_t request = response->id - 1;
    bool right = response->status == LEGONET__STATUS__OK && request < REQUESTS &&
                 !client->answered[request] && response->model_infer &&
                 response->model_infer->n_raw_output_contents == 1 &&
                 is_right(kind_of(client, (uint32_t)request),
                          &response->model_infer->raw_output_contents[0]);
    if (request < REQUESTS)
        client->answered[request] = true;
    if (right) {
        client->right++;
        return;
    }
    if (client->wrong++ == 0)
        snprintf(client->first_wrong, sizeof(client->first_wrong), "request %llu: %s \"%s\"",
                 (unsigned long long)request,
                 lego_status_name(ipc_status_from_wire(response->status)), response->message);
}

/* All requests in one block, sent as the socket takes them while answers are read. */
static uint8_t *make_requests(const struct client *client, size_t *ret_bytes)
{
    size_t bytes = 0;
    uint8_t *all = malloc((size_t)REQUESTS * 512);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        size_t frame_bytes;
        uint32_t kind = kind_of(client, i);
        uint8_t *frame = wire_infer_frame("m", i + 1, kind, rows_of(kind), &frame_bytes);
        if (frame_bytes > 512)
            abort();
        memcpy(all + bytes, frame, frame_bytes);
        bytes += frame_bytes;
        free(frame);
    }
    *ret_bytes = bytes;
    return all;
}

static void *client_main(void *argument)
{
    struct client *client = argument;
    size_t bytes, sent = 0;
    uint8_t *all = make_requests(client, &bytes);
    int fd = wire_connect(&agent);
    for (uint32_t answers = 0; answers < REQUESTS;) {
        struct pollfd state = {.fd = fd, .events = (short)(POLLIN | (sent < bytes ? POLLOUT : 0))};
        if (poll(&state, 1, 60000) != 1)
            break;
        if (state.revents & POLLOUT) {
            ssize_t n = send(fd, all + sent, bytes - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
        }
        if (!(state.revents & (POLLIN | POLLHUP)))
            continue;
        Legonet__Response *response = wire_receive(fd);
        if (!response)
            break;
        check_answer(client, response);
        ipc_response_free(response);
        answers++;
    }
    close(fd);
    free(all);
    return NULL;
}

static void run_clients(void)
{
    static struct client clients[CLIENTS];
    memset(clients, 0, sizeof(clients));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i].number = i;
        ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_join(clients[i].thread, NULL), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        ck_assert_msg(clients[i].wrong == 0, "client %u: %u wrong answers, the first to %s", i,
                      clients[i].wrong, clients[i].first_wrong);
        ck_assert_uint_eq(clients[i].right, REQUESTS);
    }
}

static void start(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, extra);
    model_coded(agent_model(&agent, "m.lego"), 1);
    expect_from(agent_model(&agent, "m.lego"), 0);
    model_kinds = 1;
    agent_start(&agent, true);
}

START_TEST(every_answer_is_right)
{
    start(_i == 0 ? "engines: {count: 1, threads: 1}\n" : "engines: {count: 3, threads: 1}\n");
    run_clients();
    agent_stop(&agent);
}
END_TEST

/* One request at a time, which the loop computes itself as soon as it knows the model's pace: runs
 * of one shape, so that sessions are ready for it, and changes between them. */
START_TEST(every_answer_to_one_at_a_time_is_right)
{
    start(_i == 0 ? "engines: {count: 1, threads: 1}\n" : "engines: {count: 2, threads: 2}\n");
    int fd = wire_connect(&agent);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        size_t bytes;
        uint32_t kind = i % 50 < 40 ? (i / 50 * MAX_ROWS) % KINDS : i % KINDS;
        uint8_t *frame = wire_infer_frame("m", i + 1, kind, rows_of(kind), &bytes);
        wire_send(fd, frame, bytes);
        free(frame);
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert_uint_eq(response->id, i + 1);
        ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
        ck_assert(is_right(kind, &response->model_infer->raw_output_contents[0]));
        ipc_response_free(response);
    }
    close(fd);
    agent_stop(&agent);
}
END_TEST

static void copy_file(const char *from, const char *to)
{
    static char data[1 << 16];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    if (!in || !out)
        abort();
    size_t bytes = fread(data, 1, sizeof(data), in);
    if (bytes == sizeof(data) || fwrite(data, 1, bytes, out) != bytes || fclose(out) != 0)
        abort();
    fclose(in);
}

/* Pages of memory at rest: no client, no reload, both models of a switch destroyed, and nothing
 * more given back for a while. */
static long settled_pages(void)
{
    long last = -1, page_kib = sysconf(_SC_PAGESIZE) / 1024;
    pthread_mutex_lock(&reload_turn);
    agent_reload(&agent);
    for (int calm = 0, reads = 0; calm < CALM_READS && reads < 1000; reads++) {
        long now = agent_resident_kib(&agent) / page_kib;
        calm = now == last ? calm + 1 : 0;
        last = now;
        poll(NULL, 0, 10);
    }
    pthread_mutex_unlock(&reload_turn);
    return last;
}

/*
 * Within 2 % of `before`. That is taken after some switches, as each thread's cache of freed blocks
 * (glibc's: at most 7 of a size, that lie where they may) has to fill first; it is never emptied.
 */
static void expect_memory_back(long before)
{
    long after = settled_pages();
    for (int look = 1; look < LOOKS && after > before + before / 50; look++)
        after = settled_pages();
    printf("%d switches; %ld pages after %d, %ld at the end\n", atomic_load(&reloads), before,
           WARM_SWAPS, after);
    fflush(stdout);
    ck_assert_msg(after <= before + before / 50, "%ld pages, %ld at the start", after, before);
}

static void *reloader_main(void *argument)
{
    (void)argument;
    uint32_t turn = 0;
    while (!atomic_load(&stop_reloading)) {
        char source[160], next[160], path[160];
        snprintf(source, sizeof(source), "%s/%u.lego", agent.folder, ++turn % MODELS);
        snprintf(next, sizeof(next), "%s/next", agent.models);
        snprintf(path, sizeof(path), "%s/m.lego", agent.models);
        copy_file(source, next);
        if (rename(next, path) != 0)
            abort();
        pthread_mutex_lock(&reload_turn);
        agent_reload(&agent);
        pthread_mutex_unlock(&reload_turn);
        atomic_fetch_add(&reloads, 1);
    }
    return NULL;
}

START_TEST(reloads_lose_nothing)
{
    pthread_t reloader;
    char path[128];
    start("engines: {count: 2, threads: 1}\n");
    for (unsigned i = 0; i < MODELS; i++) {
        snprintf(path, sizeof(path), "%s/%u.lego", agent.folder, i);
        model_coded(path, i + 1);
        expect_from(path, i);
    }
    ck_assert_mem_ne(expected[0], expected[1], sizeof(expected[0]));
    model_kinds = 2;
    ck_assert_int_eq(pthread_create(&reloader, NULL, reloader_main, NULL), 0);
    long before = 0;
    while (atomic_load(&reloads) < WARM_SWAPS + LEGO_SWAPS) {
        run_clients();
        if (!before && atomic_load(&reloads) >= WARM_SWAPS)
            before = settled_pages();
    }
    atomic_store(&stop_reloading, true);
    ck_assert_int_eq(pthread_join(reloader, NULL), 0);
    if (LEGO_SWAPS >= 1000)
        expect_memory_back(before);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("load");
    TCase *tests = tcase_create("load");
    tcase_set_timeout(tests, LEGO_SWAPS < 1000 ? 300 : 1200);
    tcase_add_loop_test(tests, every_answer_is_right, 0, 2);
    tcase_add_loop_test(tests, every_answer_to_one_at_a_time_is_right, 0, 2);
    tcase_add_test(tests, reloads_lose_nothing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
