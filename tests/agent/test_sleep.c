/* Models that sleep: for want of requests or of memory, and how requests wake them. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/client/legonet_client.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE 600 /* tenths of a second */

static struct agent agent;

static void start(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, "");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "large.lego"), 512, 8);
    agent_write_config(&agent, extra);
    agent_start(&agent, true);
}

static char *metrics(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client = NULL;
    char *text = NULL;
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
    ck_assert_msg(!lego_client_metrics_get(client, &text, &diag), "%s", diag.text);
    lego_client_close(client);
    return text;
}

/* The value of a metric, by the beginning of its line. */
static double metric(const char *line)
{
    char *text = metrics(), start[160];
    double value = -1;
    snprintf(start, sizeof(start), "\n%s ", line);
    const char *found = strstr(text, start);
    if (found)
        value = strtod(found + strlen(start), NULL);
    free(text);
    ck_assert_msg(value >= 0, "no metric %s", line);
    return value;
}

static bool is_asleep(int fd, const char *model)
{
    char state[256], reason[256];
    wire_index(fd, model, state, reason, sizeof(state));
    return !strcmp(state, "UNAVAILABLE") && strstr(reason, "asleep") != NULL;
}

static void wait_asleep(int fd, const char *model)
{
    for (int i = 0; i < PATIENCE && !is_asleep(fd, model); i++)
        poll(NULL, 0, 100);
    ck_assert_msg(is_asleep(fd, model), "\"%s\" stays awake", model);
}

static void wait_logged(const char *text)
{
    for (int i = 0; i < PATIENCE && !agent_logged(&agent, text); i++)
        poll(NULL, 0, 100);
    ck_assert_msg(agent_logged(&agent, text), "no \"%s\" in the log", text);
}

static void send_infer(int fd, const char *model, uint64_t id, const struct wire_schedule *schedule)
{
    size_t bytes;
    static const struct wire_schedule none;
    uint8_t *frame = wire_schedule_frame(model, id, 1, 1, schedule ? schedule : &none, &bytes);
    wire_send(fd, frame, bytes);
    free(frame);
}

static void expect(int fd, uint64_t id, int status)
{
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->id, id);
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "%s, not %s: %s",
                  lego_status_name(ipc_status_from_wire(response->status)),
                  lego_status_name(status), response->message);
    ipc_response_free(response);
}

START_TEST(idle_models_sleep_and_wake)
{
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent);
    send_infer(fd, "tiny", 1, NULL);
    expect(fd, 1, LEGO_OK);
    wait_asleep(fd, "tiny");
    wait_asleep(fd, "large");
    ck_assert(metric("legonet_models_slept_total") >= 2);
    ck_assert(metric("legonet_ready") > 0); /* the next request will be served */
    send_infer(fd, "tiny", 2, NULL);
    expect(fd, 2, LEGO_OK);
    ck_assert(metric("legonet_models_woken_total") >= 1);
    ck_assert(metric("legonet_model_requests_success_total{model=\"tiny\",version=\"1\"}") > 1);
    ck_assert(is_asleep(fd, "large"));
    agent_reload(&agent); /* which loads what has changed, and wakes nobody */
    ck_assert(is_asleep(fd, "large"));
    ipc_response_free(wire_load(fd, true, "large"));
    ck_assert(!is_asleep(fd, "large"));
    close(fd);
    agent_stop(&agent);
}
END_TEST

/* The client library asks for a model's metadata first. */
START_TEST(metadata_wakes)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client = NULL;
    struct lego_client_model *model = NULL;
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent);
    wait_asleep(fd, "tiny");
    ck_assert_msg(!lego_client_connect(agent.socket, NULL, &client, &diag), "%s", diag.text);
    ck_assert_msg(!lego_client_model_get(client, "tiny", "", &model, &diag), "%s", diag.text);
    ck_assert_uint_eq(model->input_count, 1);
    lego_client_model_free(model);
    lego_client_close(client);
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(some_stay_awake)
{
    start("memory: {idle: 1s}\nmodels:\n"
          "  - {name: pinned, path: ../models/tiny.lego, pinned: 1}\n"
          "  - {name: slow, path: ../models/tiny.lego, idle: 60min}\n");
    int fd = wire_connect(&agent);
    wait_asleep(fd, "tiny");
    wait_asleep(fd, "large");
    ck_assert(!is_asleep(fd, "pinned"));
    ck_assert(!is_asleep(fd, "slow"));
    close(fd);
    agent_stop(&agent);
}
END_TEST

/* All wait for one load. */
START_TEST(many_wait_for_one_load)
{
    bool answered[30] = {false};
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent), other = wire_connect(&agent);
    wait_asleep(fd, "large");
    for (uint64_t i = 0; i < 30; i++)
        send_infer(i % 2 ? fd : other, "large", i, NULL);
    for (int i = 0; i < 30; i++) {
        Legonet__Response *response = wire_receive(i % 2 ? fd : other);
        ck_assert_ptr_nonnull(response);
        ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
        ck_assert(response->id < 30 && !answered[response->id]);
        answered[response->id] = true;
        ipc_response_free(response);
    }
    ck_assert(metric("legonet_models_woken_total") == 1);
    close(fd);
    close(other);
    agent_stop(&agent);
}
END_TEST

/* Two frames in one write: the loop meets both before a load can be done. */
START_TEST(those_who_wait_can_leave)
{
    size_t bytes, more;
    const struct wire_schedule stream = {.stream = "camera"}, soon = {.timeout_us = 1};
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent), gone = wire_connect(&agent);
    wait_asleep(fd, "large");
    uint8_t *first = wire_schedule_frame("large", 1, 1, 1, &stream, &bytes);
    uint8_t *second = wire_schedule_frame("large", 2, 1, 1, &stream, &more);
    uint8_t *both = malloc(bytes + more);
    ck_assert_ptr_nonnull(both);
    memcpy(both, first, bytes);
    memcpy(both + bytes, second, more);
    send_infer(gone, "large", 9, NULL);
    close(gone);
    wire_send(fd, both, bytes + more);
    expect(fd, 1, LEGO_E_CANCELLED);
    expect(fd, 2, LEGO_OK);
    free(first);
    free(second);
    free(both);
    wait_asleep(fd, "large");
    send_infer(fd, "large", 3, &soon);
    expect(fd, 3, LEGO_E_DEADLINE);
    wait_asleep(fd, "large");
    send_infer(fd, "large", 4, NULL);
    wire_cancel(fd, 5, 4);
    for (int i = 0; i < 2; i++) { /* done, where the load was quicker than the second frame */
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert(response->id == 5 || response->status == LEGONET__STATUS__E_CANCELLED ||
                  response->status == LEGONET__STATUS__OK);
        ipc_response_free(response);
    }
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(a_model_that_does_not_wake_says_why)
{
    char state[256], reason[256], kept[200];
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent);
    wait_asleep(fd, "tiny");
    snprintf(kept, sizeof(kept), "%s.kept", agent_model(&agent, "tiny.lego"));
    ck_assert_int_eq(rename(agent_model(&agent, "tiny.lego"), kept), 0);
    FILE *file = fopen(agent_model(&agent, "tiny.lego"), "w");
    ck_assert_ptr_nonnull(file);
    fputs("no model", file);
    fclose(file);
    send_infer(fd, "tiny", 1, NULL);
    expect(fd, 1, LEGO_E_FORMAT);
    wire_index(fd, "tiny", state, reason, sizeof(state));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "tiny.lego") != NULL, "%s", reason);
    send_infer(fd, "tiny", 2, NULL); /* without another load */
    expect(fd, 2, LEGO_E_UNAVAILABLE);
    ck_assert_int_eq(rename(kept, agent_model(&agent, "tiny.lego")), 0);
    agent_reload(&agent);
    send_infer(fd, "tiny", 3, NULL);
    expect(fd, 3, LEGO_OK);
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(stopping_tells_those_who_wait)
{
    start("memory: {idle: 1s}\n");
    int fd = wire_connect(&agent);
    wait_asleep(fd, "large");
    send_infer(fd, "large", 1, NULL);
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    Legonet__Response *response = wire_receive(fd);
    if (response) { /* NULL: it was not read before the end */
        ck_assert(response->status == LEGONET__STATUS__E_UNAVAILABLE ||
                  response->status == LEGONET__STATUS__OK);
        ipc_response_free(response);
        ck_assert_ptr_null(wire_receive(fd));
    }
    ck_assert_int_eq(agent_wait(&agent), 0);
    close(fd);
    agent_remove(&agent);
}
END_TEST

/* ---- Pressure ---- */

/* By a pipe, as systemd may pass one: first what is free anyway goes, then the model that has been
 * idle for longest, one at each sign. */
START_TEST(pressure_puts_to_sleep)
{
    char extra[200], path[128];
    agent.watches = false;
    agent_prepare(&agent, "");
    snprintf(path, sizeof(path), "%s/pressure", agent.folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    snprintf(extra, sizeof(extra), "memory: {pressure: %s, spare: 0ms}\n", path);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_tiny(agent_model(&agent, "used.lego"), 2);
    agent_write_config(&agent, extra);
    agent_start(&agent, true);
    int fd = wire_connect(&agent), signs = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(signs, 0);
    send_infer(fd, "tiny", 1, NULL);
    expect(fd, 1, LEGO_OK);
    send_infer(fd, "used", 2, NULL);
    expect(fd, 2, LEGO_OK);
    ck_assert_int_eq(write(signs, "x", 1), 1);
    wait_logged("memory is short: freed memory and previous versions are given up");
    ck_assert(!is_asleep(fd, "tiny") && !is_asleep(fd, "used"));
    ck_assert_int_eq(write(signs, "x", 1), 1);
    wait_asleep(fd, "tiny");
    ck_assert(!is_asleep(fd, "used"));
    send_infer(fd, "tiny", 3, NULL);
    expect(fd, 3, LEGO_OK);
    ck_assert(metric("legonet_memory_pressure_total") == 2);
    close(signs);
    close(fd);
    agent_stop(&agent);
}
END_TEST

static void write_total(const char *path, unsigned long long us)
{
    char next[140];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    int bytes =
        snprintf(next, sizeof(next), "some avg10=0.00 avg60=0.00 avg300=0.00 total=%020llu\n", us);
    ck_assert_int_eq(pwrite(fd, next, (size_t)bytes, 0), bytes);
    close(fd);
}

/* A file that takes no trigger: its total says how long somebody has waited. */
START_TEST(pressure_is_read_where_no_trigger_can_be_set)
{
    char extra[200], path[128];
    agent.watches = false;
    agent_prepare(&agent, "");
    snprintf(path, sizeof(path), "%s/pressure", agent.folder);
    write_total(path, 5000000);
    snprintf(extra, sizeof(extra), "memory: {pressure: %s, stall: 100ms}\n", path);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_write_config(&agent, extra);
    agent_start(&agent, true);
    wait_logged("every second");
    for (unsigned long long us = 5000000; metric("legonet_memory_pressure_total") < 1;) {
        ck_assert_uint_lt(us, 200000000);
        write_total(path, us += 300000);
        poll(NULL, 0, 500);
    }
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

START_TEST(the_kernel_is_asked)
{
    agent.watches = false;
    agent_prepare(&agent, "memory: {pressure: /proc/pressure/memory}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    if (access("/proc/pressure/memory", R_OK) != 0)
        puts("skipped: the kernel does not tell of pressure");
    else
        ck_assert(agent_logged(&agent, "memory pressure is watched in /proc/pressure/memory"));
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

START_TEST(what_is_no_pressure_is_said)
{
    agent.watches = false;
    agent_prepare(&agent, "memory: {pressure: /no/such/file}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    ck_assert(agent_logged(&agent, "memory.pressure: /no/such/file"));
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sleep");
    TCase *tests = tcase_create("sleep");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, idle_models_sleep_and_wake);
    tcase_add_test(tests, metadata_wakes);
    tcase_add_test(tests, some_stay_awake);
    tcase_add_test(tests, many_wait_for_one_load);
    tcase_add_test(tests, those_who_wait_can_leave);
    tcase_add_test(tests, a_model_that_does_not_wake_says_why);
    tcase_add_test(tests, stopping_tells_those_who_wait);
    tcase_add_test(tests, pressure_puts_to_sleep);
    tcase_add_test(tests, pressure_is_read_where_no_trigger_can_be_set);
    tcase_add_test(tests, the_kernel_is_asked);
    tcase_add_test(tests, what_is_no_pressure_is_said);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
