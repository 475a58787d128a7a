/*
 * Which requests are computed, and in which order: deadlines, priorities, turns, streams,
 * cancelling. Each test keeps the only engine busy with a long inference, so that what follows has
 * to wait.
 */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/client/legonet_client.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKER      1000 /* its request's id */
#define BLOCKER_ROWS 64
#ifdef __SANITIZE_THREAD__ /* then every layer takes some ten times as long */
#define BLOCKER_LAYERS 2
#else
#define BLOCKER_LAYERS 16
#endif
#define IN_FLIGHT 250
#define BLOCKERS  240 /* fewer than a client may have unanswered */

static struct agent agent;
static int fd;

static void set_up(void)
{
    agent.watches = false;
    agent_prepare(&agent, "");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "large.lego"), 1024, BLOCKER_LAYERS);
    model_tiny(agent_model(&agent, "narrow.lego"), 2);
    agent_write_config(&agent, "engines: {threads: 1}\nlimits: {in_flight: 250, output: 256MiB}\n"
                               "models:\n"
                               "  - {name: late, path: ../models/tiny.lego, timeout: 1ms}\n"
                               "  - {name: first, path: ../models/tiny.lego, priority: 1}\n"
                               "  - {name: narrow, path: ../models/narrow.lego, queue: 2}\n"
                               "  - {name: other, path: ../models/tiny.lego}\n");
    agent_start(&agent, true);
    fd = wire_connect(&agent);
}

static void tear_down(void)
{
    close(fd);
    agent_stop(&agent);
}

/* ---- Several frames in one write, so that the agent has them all before an engine is done ---- */

static struct {
    uint8_t data[2 << 20];
    size_t bytes;
} batch;

static void add(const char *model, uint64_t id, uint32_t rows, const struct wire_schedule *schedule)
{
    size_t bytes;
    static const struct wire_schedule none;
    uint8_t *frame = wire_schedule_frame(model, id, 1, rows, schedule ? schedule : &none, &bytes);
    ck_assert_uint_le(batch.bytes + bytes, sizeof(batch.data));
    memcpy(batch.data + batch.bytes, frame, bytes);
    batch.bytes += bytes;
    free(frame);
}

static void send_all(int to)
{
    wire_send(to, batch.data, batch.bytes);
    batch.bytes = 0;
}

/* The engine takes this one first and is at it while the others of the write are met. */
static void add_blocker(void)
{
    const struct wire_schedule urgent = {.priority = 1};
    add("large", BLOCKER, BLOCKER_ROWS, &urgent);
}

/* Keeps the engine busy until it is released: the blockers that are left then are cancelled. */
static int hold(void)
{
    const struct wire_schedule urgent = {.priority = 1};
    int holder = wire_connect(&agent);
    for (uint64_t i = 0; i < BLOCKERS; i++)
        add("large", i, BLOCKER_ROWS, &urgent);
    send_all(holder);
    return holder;
}

static void release(int holder)
{
    for (uint64_t i = 0; i < BLOCKERS; i++)
        wire_cancel(holder, BLOCKERS + i, i);
    for (uint64_t i = 0; i < 2 * BLOCKERS; i++)
        ipc_response_free(wire_receive(holder));
    close(holder);
}

static void expect(int from, uint64_t id, int status, const char *message)
{
    Legonet__Response *response = wire_receive(from);
    ck_assert_ptr_nonnull(response);
    ck_assert_msg(response->id == id && ipc_status_from_wire(response->status) == status,
                  "request %llu: %s \"%s\", not %llu: %s", (unsigned long long)response->id,
                  lego_status_name(ipc_status_from_wire(response->status)), response->message,
                  (unsigned long long)id, lego_status_name(status));
    ck_assert_msg(strstr(response->message, message) != NULL, "request %llu: \"%s\" is not said",
                  (unsigned long long)id, message);
    ipc_response_free(response);
}

/* The same for several answers whose order is open. */
struct expected {
    uint64_t id;
    int status;
    const char *message;
};

static void expect_all(int from, const struct expected *all, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        Legonet__Response *response = wire_receive(from);
        ck_assert_ptr_nonnull(response);
        size_t i = 0;
        while (i < count && all[i].id != response->id)
            i++;
        ck_assert_uint_lt(i, count);
        ck_assert_msg(ipc_status_from_wire(response->status) == all[i].status &&
                          strstr(response->message, all[i].message),
                      "request %llu: %s \"%s\"", (unsigned long long)response->id,
                      lego_status_name(ipc_status_from_wire(response->status)), response->message);
        ipc_response_free(response);
    }
}

/* What the agent has counted for a model. */
static Inference__ModelStatistics *statistics(const char *model, Legonet__Response **ret_response)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelStatisticsRequest wanted = INFERENCE__MODEL_STATISTICS_REQUEST__INIT;
    int other = wire_connect(&agent);
    request.id = 1;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_STATISTICS;
    request.model_statistics = &wanted;
    wanted.name = (char *)(uintptr_t)model;
    *ret_response = wire_expect(other, &request, LEGO_OK);
    close(other);
    ck_assert_uint_eq((*ret_response)->model_statistics->n_model_stats, 1);
    return (*ret_response)->model_statistics->model_stats[0];
}

static void counted(const char *model, uint64_t executions, uint64_t failures, uint64_t cancelled)
{
    Legonet__Response *response;
    const Inference__ModelStatistics *entry = statistics(model, &response);
    ck_assert_uint_eq(entry->execution_count, executions);
    ck_assert_uint_eq(entry->inference_stats->fail->count, failures);
    ck_assert_uint_eq(entry->n_response_stats, 1);
    ck_assert_uint_eq(entry->response_stats[0]->value->cancel->count, cancelled);
    ipc_response_free(response);
}

START_TEST(expired_work_is_dropped)
{
    const struct wire_schedule now = {.timeout_us = 1}, day = {.timeout_us = 86400000000};
    add_blocker();
    add("tiny", 1, 1, &now);
    add("tiny", 2, 1, &day);
    add("late", 3, 1, NULL);
    send_all(fd);
    const struct expected all[] = {{1, LEGO_E_DEADLINE, "its deadline passed while it waited"},
                                   {3, LEGO_E_DEADLINE, "1000 were allowed"},
                                   {BLOCKER, LEGO_OK, ""},
                                   {2, LEGO_OK, ""}};
    expect_all(fd, all, 4);
    counted("tiny", 1, 1, 0);
    counted("late", 0, 1, 0);
}
END_TEST

START_TEST(lower_priorities_wait)
{
    const struct wire_schedule last = {.priority = 10}, high = {.priority = 2};
    add_blocker();
    add("tiny", 1, 1, &last);
    add("tiny", 2, 1, NULL);
    add("tiny", 3, 1, &high);
    add("first", 4, 1, NULL);
    add("first", 5, 1, &last);
    send_all(fd);
    const uint64_t order[] = {BLOCKER, 4, 3, 2, 1, 5};
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
        expect(fd, order[i], LEGO_OK, "");
}
END_TEST

/* Of two clients the one that asks for little is not behind all that the other has asked for. */
START_TEST(peers_take_turns)
{
    Legonet__Response *response;
    int other = wire_connect(&agent);
    for (uint64_t i = 0; i < 12; i++)
        add("large", i, BLOCKER_ROWS / 2, NULL);
    send_all(fd);
    add("tiny", 1, 1, NULL);
    send_all(other);
    expect(other, 1, LEGO_OK, "");
    ck_assert_uint_lt(statistics("large", &response)->execution_count, 11);
    ipc_response_free(response);
    for (uint64_t i = 0; i < 12; i++)
        expect(fd, i, LEGO_OK, "");
    close(other);
}
END_TEST

START_TEST(the_latest_frame_of_a_stream_wins)
{
    const struct wire_schedule left = {.stream = "left"}, right = {.stream = "right"};
    add_blocker();
    add("tiny", 1, 1, &left);
    add("tiny", 2, 1, &right);
    add("tiny", 3, 1, &left);
    add("late", 4, 1, &left); /* of another model: not the same */
    add("tiny", 5, 1, NULL);
    add("tiny", 6, 1, &left);
    send_all(fd);
    const struct expected all[] = {{1, LEGO_E_CANCELLED, "a newer request of its stream"},
                                   {3, LEGO_E_CANCELLED, "a newer request of its stream"},
                                   {4, LEGO_E_DEADLINE, ""},
                                   {BLOCKER, LEGO_OK, ""},
                                   {2, LEGO_OK, ""},
                                   {5, LEGO_OK, ""},
                                   {6, LEGO_OK, ""}};
    expect_all(fd, all, 7);
    counted("tiny", 3, 0, 2);
}
END_TEST

/* Streams are each client's own. */
START_TEST(streams_of_others_are_left_alone)
{
    const struct wire_schedule stream = {.stream = "s"};
    int other = wire_connect(&agent), holder = hold();
    add("tiny", 1, 1, &stream);
    send_all(fd);
    add("tiny", 2, 1, &stream);
    send_all(other);
    release(holder);
    expect(fd, 1, LEGO_OK, "");
    expect(other, 2, LEGO_OK, "");
    close(other);
}
END_TEST

static void expect_cancel(int from, uint64_t id, bool found)
{
    Legonet__Response *response = wire_receive(from);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->id, id);
    ck_assert_int_eq(response->result_case, LEGONET__RESPONSE__RESULT_CANCEL);
    ck_assert_int_eq(response->cancel->found, found);
    ipc_response_free(response);
}

START_TEST(requests_are_cancelled_by_id)
{
    int holder = hold();
    add("tiny", 1, 1, NULL);
    add("tiny", 2, 1, NULL);
    send_all(fd);
    wire_cancel(fd, 50, 1);
    expect(fd, 1, LEGO_E_CANCELLED, "cancelled by its client");
    expect_cancel(fd, 50, true);
    wire_cancel(fd, 51, 1); /* not any more */
    expect_cancel(fd, 51, false);
    release(holder);
    expect(fd, 2, LEGO_OK, "");
    counted("tiny", 1, 0, 1);
}
END_TEST

/* What an engine is at is not interrupted, but its result is thrown away. */
START_TEST(running_requests_are_cancelled)
{
    Legonet__Response *response;
    int holder = hold();
    release(holder);
    uint64_t done = statistics("large", &response)->execution_count;
    uint64_t cancelled =
        response->model_statistics->model_stats[0]->response_stats[0]->value->cancel->count;
    ipc_response_free(response);
    ck_assert_uint_eq(done + cancelled, BLOCKERS);
    ck_assert_uint_gt(cancelled, 0);
}
END_TEST

START_TEST(requests_of_others_cannot_be_cancelled)
{
    int other = wire_connect(&agent), holder = hold();
    add("tiny", 1, 1, NULL);
    send_all(fd);
    wire_cancel(other, 50, 1);
    expect_cancel(other, 50, false);
    release(holder);
    expect(fd, 1, LEGO_OK, "");
    close(other);
}
END_TEST

/* What nobody waits for any more is not computed, also where the agent reads no more from the
 * client as it has asked for too much. */
START_TEST(a_client_that_goes_is_cancelled)
{
    const uint64_t asked = _i ? 300 : 20, taken = _i ? IN_FLIGHT : 20;
    Legonet__Response *response;
    int other = wire_connect(&agent), holder = hold();
    for (uint64_t i = 0; i < asked; i++)
        add("other", i, 1, NULL);
    send_all(other);
    close(other);
    for (int i = 0; i < 2; i++) { /* by then the agent has met the requests and the end */
        statistics("other", &response);
        ipc_response_free(response);
    }
    release(holder);
    wire_expect_alive(&agent);
    counted("other", 0, 0, taken);
}
END_TEST

START_TEST(a_queue_of_its_own_is_bounded)
{
    add_blocker();
    for (uint64_t i = 1; i <= 4; i++)
        add("narrow", i, 1, NULL);
    send_all(fd);
    expect(fd, 3, LEGO_E_EXHAUSTED, "2 requests wait for model \"narrow\" already (its queue)");
    expect(fd, 4, LEGO_E_EXHAUSTED, "its queue");
    expect(fd, BLOCKER, LEGO_OK, "");
    expect(fd, 1, LEGO_OK, "");
    expect(fd, 2, LEGO_OK, "");
}
END_TEST

/* A newer frame finds room where its stream fills the queue. */
START_TEST(a_stream_makes_its_own_room)
{
    const struct wire_schedule stream = {.stream = "s"};
    add_blocker();
    for (uint64_t i = 1; i <= 3; i++)
        add("narrow", i, 1, i == 1 ? NULL : &stream);
    send_all(fd);
    expect(fd, 2, LEGO_E_CANCELLED, "");
    expect(fd, BLOCKER, LEGO_OK, "");
    expect(fd, 1, LEGO_OK, "");
    expect(fd, 3, LEGO_OK, "");
}
END_TEST

START_TEST(wrong_parameters_are_refused)
{
    static char long_stream[200];
    memset(long_stream, 'x', sizeof(long_stream) - 1);
    const struct {
        struct wire_schedule schedule;
        const char *message;
    } cases[] = {
        {{.priority = 11}, "parameter \"priority\" is 11"},
        {{.priority = -1}, "parameter \"priority\" must be a whole number"},
        {{.timeout_us = -5}, "parameter \"timeout\" must be a whole number"},
        {{.stream = ""}, "parameter \"stream\" must be a text of 1 to 128 bytes"},
        {{.stream = long_stream}, "parameter \"stream\" must be a text of 1 to 128 bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        add("tiny", i, 1, &cases[i].schedule);
        send_all(fd);
        expect(fd, i, LEGO_E_INVALID, cases[i].message);
    }
}
END_TEST

START_TEST(answers_say_where_the_time_went)
{
    static const char *const names[] = {"queue_ns", "decode_ns", "compute_ns"};
    add_blocker();
    add("tiny", 1, 1, NULL);
    send_all(fd);
    int64_t queue = 0, blocker = 0;
    for (int n = 0; n < 2; n++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        const Inference__ModelInferResponse *answer = response->model_infer;
        ck_assert_uint_eq(answer->n_parameters, 3);
        for (size_t i = 0; i < 3; i++) {
            ck_assert_str_eq(answer->parameters[i]->key, names[i]);
            ck_assert_int_gt(answer->parameters[i]->value->int64_param, 0);
        }
        if (response->id == BLOCKER)
            blocker = answer->parameters[2]->value->int64_param;
        else
            queue = answer->parameters[0]->value->int64_param;
        ipc_response_free(response);
    }
    ck_assert_int_gt(queue, blocker / 2); /* it waited while the other was computed */
}
END_TEST

/* A client that may have one request under way is read again as soon as it has its answer. */
START_TEST(one_at_a_time_flows)
{
    tear_down();
    agent_prepare(&agent, "engines: {threads: 1}\nlimits: {in_flight: 1}\nquotas: {requests: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    fd = wire_connect(&agent);
    for (uint64_t i = 0; i < 300; i++) {
        add("tiny", i, 1, NULL);
        send_all(fd);
        expect(fd, i, LEGO_OK, "");
    }
    counted("tiny", 300, 0, 0);
}
END_TEST

/* A client at its bound goes on as soon as one answer is written, whoever writes it: the third
 * request is not read before, and is answered while the second is still computed. */
START_TEST(a_client_at_its_bound_goes_on_at_once)
{
    tear_down();
    agent_prepare(&agent, "engines: {count: 2, threads: 1}\nlimits: {in_flight: 2}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "large.lego"), 1024, BLOCKER_LAYERS);
    agent_start(&agent, true);
    fd = wire_connect(&agent);
    for (int round = 0; round < 6; round++) { /* fewer than make "tiny" known to be quick */
        add("tiny", 1, 1, NULL);
        add("large", 2, BLOCKER_ROWS, NULL);
        add("tiny", 3, 1, NULL);
        send_all(fd);
        expect(fd, 1, LEGO_OK, "");
        expect(fd, 3, LEGO_OK, "");
        expect(fd, 2, LEGO_OK, "");
    }
}
END_TEST

static uint64_t submit(struct lego_client *client, const struct lego_client_schedule *schedule)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    static float values[TINY_INPUTS];
    uint64_t id = 0;
    const struct lego_client_tensor input = {.name = "x",
                                             .dtype = LEGO_DTYPE_FLOAT32,
                                             .shape = {.rank = 2, .dim = {1, TINY_INPUTS}},
                                             .data = values,
                                             .bytes = sizeof(values)};
    const struct lego_client_request request = {
        .model = "tiny", .inputs = &input, .input_count = 1};
    ck_assert_int_eq(lego_client_set_schedule(client, schedule, &diag), LEGO_OK);
    ck_assert_msg(!lego_client_submit(client, &request, &id, &diag), "%s", diag.text);
    return id;
}

static void expect_result(struct lego_client *client, uint64_t id, int status)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!lego_client_wait(client, 60000, &diag), "%s", diag.text);
    struct lego_client_result *result = lego_client_next(client);
    ck_assert_uint_eq(result->id, id);
    ck_assert_int_eq(result->status, status);
    if (status == LEGO_OK)
        ck_assert(result->queue_ns > 0 && result->decode_ns > 0 && result->compute_ns > 0);
    lego_client_result_free(result);
}

START_TEST(the_client_library_schedules)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client = NULL;
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
    int holder = hold();
    uint64_t late = submit(client, &(struct lego_client_schedule){.timeout_us = 1});
    expect_result(client, late, LEGO_E_DEADLINE);
    uint64_t old = submit(client, &(struct lego_client_schedule){.stream = "camera"});
    uint64_t fresh = submit(client, &(struct lego_client_schedule){.stream = "camera"});
    expect_result(client, old, LEGO_E_CANCELLED);
    uint64_t unwanted = submit(client, NULL);
    ck_assert_msg(!lego_client_cancel(client, unwanted, &diag), "%s", diag.text);
    expect_result(client, unwanted, LEGO_E_CANCELLED);
    ck_assert_int_eq(lego_client_cancel(client, unwanted, &diag), LEGO_E_NOT_FOUND);
    release(holder);
    expect_result(client, fresh, LEGO_OK);
    uint64_t urgent = submit(client, &(struct lego_client_schedule){.priority = 1});
    expect_result(client, urgent, LEGO_OK);
    ck_assert_int_eq(
        lego_client_set_schedule(client, &(struct lego_client_schedule){.priority = 11}, &diag),
        LEGO_E_INVALID);
    lego_client_close(client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tests = tcase_create("queue");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, expired_work_is_dropped);
    tcase_add_test(tests, lower_priorities_wait);
    tcase_add_test(tests, peers_take_turns);
    tcase_add_test(tests, the_latest_frame_of_a_stream_wins);
    tcase_add_test(tests, streams_of_others_are_left_alone);
    tcase_add_test(tests, requests_are_cancelled_by_id);
    tcase_add_test(tests, running_requests_are_cancelled);
    tcase_add_test(tests, requests_of_others_cannot_be_cancelled);
    tcase_add_loop_test(tests, a_client_that_goes_is_cancelled, 0, 2);
    tcase_add_test(tests, a_queue_of_its_own_is_bounded);
    tcase_add_test(tests, a_stream_makes_its_own_room);
    tcase_add_test(tests, wrong_parameters_are_refused);
    tcase_add_test(tests, answers_say_where_the_time_went);
    tcase_add_test(tests, one_at_a_time_flows);
    tcase_add_test(tests, a_client_at_its_bound_goes_on_at_once);
    tcase_add_test(tests, the_client_library_schedules);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
