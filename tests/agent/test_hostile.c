/* Clients that break the protocol, take nothing, or die: each hurts itself only. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct agent agent;

static void start(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, extra);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "large.lego"), 4096, 0);
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
}

static void set_up(void)
{
    start("engines: {threads: 1}\n"
          "limits: {frame: 1MiB, connections: 12, in_flight: 16, output: 1MiB, stall: 500ms}\n");
}

static void tear_down(void)
{
    wire_expect_alive(&agent);
    agent_stop(&agent);
}

static void expect_refusal(int fd, int status, const char *text)
{
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "%s", response->message);
    ck_assert_msg(strstr(response->message, text), "%s", response->message);
    ipc_response_free(response);
}

START_TEST(lengths_that_cannot_be)
{
    static const uint8_t huge[] = {0, 0, 0, 0x40, 1, 2, 3}, empty[] = {0, 0, 0, 0};
    int fd = wire_connect(&agent);
    wire_send(fd, huge, sizeof(huge));
    expect_refusal(fd, LEGO_E_LIMIT, "the frame claims 1073741824 bytes, the limit is 1048576");
    ck_assert_ptr_null(wire_receive(fd));
    close(fd);
    fd = wire_connect(&agent);
    wire_send(fd, empty, sizeof(empty));
    expect_refusal(fd, LEGO_E_FORMAT, "the frame is empty");
    ck_assert_ptr_null(wire_receive(fd));
    close(fd);
}
END_TEST

START_TEST(garbage_in_a_frame_is_answered_and_the_next_frame_too)
{
    static const uint8_t garbage[] = {5, 0, 0, 0, 0x08, 42, 0xff, 0xff, 0xff};
    size_t bytes;
    int fd = wire_connect(&agent);
    wire_send(fd, garbage, sizeof(garbage));
    Legonet__Response *response = wire_receive(fd);
    ck_assert_uint_eq(response->id, 42);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_FORMAT);
    ipc_response_free(response);
    uint8_t *frame = wire_infer_frame("tiny", 43, 1, 1, &bytes);
    wire_send(fd, frame, bytes);
    response = wire_receive(fd);
    ck_assert_uint_eq(response->id, 43);
    ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
    ipc_response_free(response);
    /* Bytes flipped all over a good frame: whatever it is, there is one answer. */
    for (size_t i = 4; i < bytes; i++) {
        frame[i] ^= 0x55;
        wire_send(fd, frame, bytes);
        response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ipc_response_free(response);
        frame[i] ^= 0x55;
    }
    free(frame);
    close(fd);
}
END_TEST

START_TEST(bombs)
{
    const size_t count = 500000;
    uint8_t *frame = malloc(2 * count + 32), *at = frame + 4;
    static const char name[] = "tiny";
    *at++ = 8 << 3 | 2;
    for (size_t rest = 2 * count + 6; rest; rest >>= 7)
        *at++ = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    *at++ = 1 << 3 | 2;
    *at++ = sizeof(name) - 1;
    memcpy(at, name, sizeof(name) - 1);
    at += sizeof(name) - 1;
    for (size_t i = 0; i < count; i++) {
        *at++ = 0x2a;
        *at++ = 0;
    }
    ipc_frame_header(frame, (size_t)(at - frame) - 4);
    int fd = wire_connect(&agent);
    wire_send(fd, frame, (size_t)(at - frame));
    expect_refusal(fd, LEGO_E_LIMIT, "would take more than");
    free(frame);
    close(fd);
}
END_TEST

START_TEST(control_requests_are_small)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelReadyRequest ready = INFERENCE__MODEL_READY_REQUEST__INIT;
    char *name = calloc(1, 100001);
    memset(name, 'a', 100000);
    ready.name = name;
    request.id = 5;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_READY;
    request.model_ready = &ready;
    int fd = wire_connect(&agent);
    ipc_response_free(wire_expect(fd, &request, LEGO_E_LIMIT));
    free(name);
    close(fd);
}
END_TEST

START_TEST(clients_over_the_limit_are_told)
{
    int fds[12];
    for (int i = 0; i < 12; i++) {
        fds[i] = wire_connect(&agent);
        size_t bytes;
        uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
        wire_send(fds[i], frame, bytes);
        free(frame);
        ipc_response_free(wire_receive(fds[i]));
    }
    int one_more = wire_connect(&agent);
    expect_refusal(one_more, LEGO_E_EXHAUSTED, "limits.connections");
    ck_assert_ptr_null(wire_receive(one_more));
    close(one_more);
    /* The agent closes in its turn: from then on it has places again. */
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(shutdown(fds[i], SHUT_WR), 0);
        ck_assert_ptr_null(wire_receive(fds[i]));
        close(fds[i]);
    }
}
END_TEST

START_TEST(half_a_frame_is_not_waited_for)
{
    static const uint8_t half[] = {100, 0, 0, 0, 1, 2};
    int fd = wire_connect(&agent);
    wire_send(fd, half, sizeof(half));
    ck_assert_ptr_null(wire_receive(fd));
    ck_assert(agent_logged(&agent, "stopped in the middle of a frame"));
    close(fd);
}
END_TEST

/* A client that never reads: it is no longer read from, then cut off; others are served. */
START_TEST(slow_readers)
{
    size_t bytes;
    int fd = wire_connect(&agent);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    uint8_t *frame = wire_infer_frame("large", 1, 1, 8, &bytes); /* answers of 128 KiB */
    bool gone = false;
    for (int tries = 0; !gone && tries < 600; tries++) {
        ssize_t sent = send(fd, frame, bytes, MSG_NOSIGNAL);
        gone = sent < 0 && (errno == EPIPE || errno == ECONNRESET);
        if (sent < 0)
            poll(NULL, 0, 50);
        if (tries % 50 == 0)
            wire_expect_alive(&agent);
        /* A frame that was cut by a full socket only makes the flood worse. */
    }
    ck_assert(gone);
    ck_assert(agent_logged(&agent, "takes no answers: cut off"));
    free(frame);
    close(fd);
}
END_TEST

START_TEST(clients_that_are_killed)
{
    for (int round = 0; round < 10; round++) {
        int pipe_fds[2];
        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid_t client = fork();
        if (client == 0) {
            size_t bytes;
            int fd = wire_connect(&agent);
            uint8_t *frame = wire_infer_frame("slow", 1, 1, 8, &bytes);
            for (int i = 0; i < 8; i++)
                wire_send(fd, frame, bytes);
            wire_send(fd, frame, bytes / 2);
            ck_assert_int_eq(write(pipe_fds[1], "x", 1), 1);
            pause();
            _exit(0);
        }
        char byte;
        ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
        kill(client, SIGKILL);
        ck_assert_int_eq(waitpid(client, NULL, 0), client);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
}
END_TEST

START_TEST(half_closed_clients_get_their_answers)
{
    size_t bytes;
    int fd = wire_connect(&agent);
    for (uint64_t i = 1; i <= 40; i++) { /* more than may be in flight */
        uint8_t *frame = wire_infer_frame("tiny", i, 1, 1, &bytes);
        wire_send(fd, frame, bytes);
        free(frame);
    }
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 40; i++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
        ipc_response_free(response);
    }
    ck_assert_ptr_null(wire_receive(fd));
    close(fd);
}
END_TEST

START_TEST(full_queues_say_so)
{
    start("engines: {threads: 1}\nlimits: {in_flight: 64, queue: 4, model_queue: 3}\n");
    size_t bytes;
    int fd = wire_connect(&agent), refused = 0, served = 0;
    uint8_t *frame = wire_infer_frame("slow", 1, 1, 8, &bytes);
    for (int i = 0; i < 64; i++)
        wire_send(fd, frame, bytes);
    free(frame);
    for (int i = 0; i < 64; i++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        if (response->status == LEGONET__STATUS__E_EXHAUSTED)
            refused++;
        else
            served += response->status == LEGONET__STATUS__OK;
        ipc_response_free(response);
    }
    ck_assert_int_ge(served, 3);
    ck_assert_int_ge(refused, 1);
    ck_assert_int_eq(served + refused, 64);
    close(fd);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hostile");
    TCase *tests = tcase_create("hostile");
    tcase_set_timeout(tests, 180);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, lengths_that_cannot_be);
    tcase_add_test(tests, garbage_in_a_frame_is_answered_and_the_next_frame_too);
    tcase_add_test(tests, bombs);
    tcase_add_test(tests, control_requests_are_small);
    tcase_add_test(tests, clients_over_the_limit_are_told);
    tcase_add_test(tests, half_a_frame_is_not_waited_for);
    tcase_add_test(tests, slow_readers);
    tcase_add_test(tests, clients_that_are_killed);
    tcase_add_test(tests, half_closed_clients_get_their_answers);
    suite_add_tcase(suite, tests);
    TCase *own = tcase_create("own limits");
    tcase_set_timeout(own, 180);
    tcase_add_test(own, full_queues_say_so);
    suite_add_tcase(suite, own);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
