/* Start, stop, systemd, the command line. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct agent agent;

static void prepare(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, extra);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
}

START_TEST(systemd_is_told)
{
    char message[512];
    prepare("");
    agent.watchdog_usec = "200000";
    agent_start(&agent, false);
    agent_wait_notify(&agent, "READY=1", message);
    ck_assert_ptr_nonnull(strstr(message, "STATUS=1 model serves, 0 do not"));
    agent_wait_notify(&agent, "WATCHDOG=1", NULL);
    agent_wait_notify(&agent, "WATCHDOG=1", NULL);
    ck_assert_int_eq(kill(agent.pid, SIGHUP), 0);
    agent_wait_notify(&agent, "RELOADING=1", message);
    const char *time = strstr(message, "MONOTONIC_USEC=");
    ck_assert_ptr_nonnull(time);
    ck_assert_uint_gt(strtoull(time + strlen("MONOTONIC_USEC="), NULL, 10), 0);
    agent_wait_notify(&agent, "READY=1", NULL);
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    agent_wait_notify(&agent, "STOPPING=1", NULL);
    ck_assert_int_eq(agent_wait(&agent), 0);
    agent_remove(&agent);
}
END_TEST

/* Far more reloads than the socket holds notifications: nobody reads them, the loop goes on. */
START_TEST(a_systemd_that_does_not_read_stops_nothing)
{
    char message[512];
    prepare("");
    agent_start(&agent, true);
    for (int i = 0; i < 400; i++) {
        ck_assert_int_eq(kill(agent.pid, SIGHUP), 0);
        wire_expect_alive(&agent);
    }
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    agent_wait_notify(&agent, "STOPPING=1", message);
    ck_assert_int_eq(agent_wait(&agent), 0);
    agent_remove(&agent);
}
END_TEST

START_TEST(a_passed_socket_is_served_and_stays)
{
    prepare("");
    agent.passed_socket = true;
    agent_start(&agent, true);
    wire_expect_alive(&agent);
    struct stat info;
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    ck_assert_int_eq(agent_wait(&agent), 0);
    ck_assert_int_eq(stat(agent.socket, &info), 0);
    agent_remove(&agent);
}
END_TEST

/* SIGTERM with work under way: what was begun is answered, what comes later is told. */
START_TEST(stopping_drains)
{
    prepare("drain_timeout: 2min\nengines: {threads: 1}\nlimits: {in_flight: 8}\n");
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    int fd = wire_connect(&agent), served = 0, told = 0;
    size_t bytes;
    uint8_t *frame = wire_infer_frame("slow", 1, 1, 8, &bytes);
    for (int i = 0; i < 24; i++)
        wire_send(fd, frame, bytes);
    Legonet__Response *response = wire_receive(fd); /* so that all before have been read */
    ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
    ipc_response_free(response);
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    agent_wait_notify(&agent, "STOPPING=1", NULL);
    for (int i = 1; i < 24; i++) {
        response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        served += response->status == LEGONET__STATUS__OK;
        told += response->status == LEGONET__STATUS__E_UNAVAILABLE;
        ipc_response_free(response);
    }
    ck_assert_int_ge(served, 7);
    ck_assert_int_eq(served + told, 23);
    ck_assert_ptr_null(wire_receive(fd));
    ck_assert_int_eq(agent_wait(&agent), 0);
    free(frame);
    close(fd);
    agent_remove(&agent);
}
END_TEST

/* A client that takes nothing does not keep the agent from stopping. */
START_TEST(stopping_ends_in_time)
{
    prepare("drain_timeout: 300ms\nengines: {threads: 1}\n");
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    int fd = wire_connect(&agent);
    size_t bytes;
    uint8_t *frame = wire_infer_frame("slow", 1, 1, 32, &bytes);
    for (int i = 0; i < 300 && poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 20) == 1; i++)
        wire_send(fd, frame, bytes);
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    ck_assert_int_eq(agent_wait(&agent), 0);
    free(frame);
    close(fd);
    agent_remove(&agent);
}
END_TEST

START_TEST(a_broken_model_at_the_start_fails_alone)
{
    char state[256], reason[256];
    prepare("");
    FILE *file = fopen(agent_model(&agent, "broken.lego"), "w");
    fputs("no model", file);
    fclose(file);
    agent_start(&agent, true);
    wire_expect_alive(&agent);
    int fd = wire_connect(&agent);
    wire_index(fd, "broken", state, reason, sizeof(state));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_ptr_nonnull(strstr(reason, "broken.lego"));
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerReadyRequest ready = INFERENCE__SERVER_READY_REQUEST__INIT;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_READY;
    request.server_ready = &ready;
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    ck_assert(!response->server_ready->ready);
    ipc_response_free(response);
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(a_second_agent_is_refused)
{
    prepare("");
    agent_start(&agent, true);
    struct agent second = agent;
    agent_start(&second, false);
    ck_assert_int_eq(agent_wait(&second), 1);
    ck_assert(agent_logged(&agent, "another agent serves this socket"));
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

START_TEST(an_agent_that_was_killed_leaves_nothing_in_the_way)
{
    prepare("");
    agent_start(&agent, true);
    ck_assert_int_eq(kill(agent.pid, SIGKILL), 0);
    ck_assert_int_eq(agent_wait(&agent), -SIGKILL);
    agent_start(&agent, true);
    ck_assert(agent_logged(&agent, "removed a stale socket"));
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

enum { OUTPUT_BYTES = 8192 };

/* Runs the program; returns its exit status and the start of what it wrote, with a NUL, in
 * output[OUTPUT_BYTES]. All of it is read: a pipe that is closed too early would kill the program.
 */
static int run_program(const char *arguments, char *output)
{
    char command[512];
    snprintf(command, sizeof(command), "%s %s 2>&1", LEGONETD_PROGRAM, arguments);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    size_t bytes = fread(output, 1, OUTPUT_BYTES - 1, pipe);
    output[bytes] = '\0';
    while (fgetc(pipe) != EOF)
        ;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(command_line)
{
    char arguments[256], output[OUTPUT_BYTES];
    prepare("");
    snprintf(arguments, sizeof(arguments), "--check-config %s", agent.config);
    ck_assert_int_eq(run_program(arguments, output), 0);
    snprintf(arguments, sizeof(arguments), "--check-config --config %s", agent.config);
    ck_assert_int_eq(run_program(arguments, output), 0);
    ck_assert_ptr_nonnull(strstr(output, "sound"));
    agent_write_config(&agent, "enginse: {}\n");
    ck_assert_int_eq(run_program(arguments, output), 1);
    ck_assert_ptr_nonnull(strstr(output, "c.yaml:5:1: unknown key \"enginse\""));
    snprintf(arguments, sizeof(arguments), "--config %s", agent.config);
    ck_assert_int_eq(run_program(arguments, output), 1);
    ck_assert_int_eq(run_program("--config /nonexistent.yaml", output), 1);
    ck_assert_ptr_nonnull(strstr(output, "/nonexistent.yaml: cannot open"));
    ck_assert_int_eq(run_program("--check-config --set limits.batch=0 /dev/null", output), 1);
    ck_assert_ptr_nonnull(strstr(output, "limits.batch=0"));
    ck_assert_int_eq(run_program("--frobnicate", output), 2);
    ck_assert_int_eq(run_program("surplus", output), 2);
    ck_assert_int_eq(run_program("--help", output), 0);
    ck_assert_ptr_nonnull(strstr(output, "usage: legonetd"));
    ck_assert_int_eq(run_program("--version", output), 0);
    ck_assert_ptr_nonnull(strstr(output, "legonetd "));
    ck_assert_int_eq(run_program("--print-config", output), 0);
    ck_assert_ptr_nonnull(strstr(output, "model_directory:"));
    agent_remove(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lifecycle");
    TCase *tests = tcase_create("lifecycle");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, systemd_is_told);
    tcase_add_test(tests, a_systemd_that_does_not_read_stops_nothing);
    tcase_add_test(tests, a_passed_socket_is_served_and_stays);
    tcase_add_test(tests, stopping_drains);
    tcase_add_test(tests, stopping_ends_in_time);
    tcase_add_test(tests, a_broken_model_at_the_start_fails_alone);
    tcase_add_test(tests, a_second_agent_is_refused);
    tcase_add_test(tests, an_agent_that_was_killed_leaves_nothing_in_the_way);
    tcase_add_test(tests, command_line);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
