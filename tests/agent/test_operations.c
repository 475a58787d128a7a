/* What who runs the agent sees and sets: metrics, drop-ins, the configuration as it holds. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/client/legonet_client.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct agent agent;

static void tear_down(void)
{
    wire_expect_alive(&agent);
    agent_stop(&agent);
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

static void expect_line(const char *text, const char *line)
{
    ck_assert_msg(strstr(text, line) != NULL, "\"%.1000s\" lacks %s", text, line);
}

START_TEST(metrics_count)
{
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    for (int i = 0; i < 3; i++)
        wire_expect_alive(&agent);
    int fd = wire_connect(&agent);
    size_t bytes;
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1000, &bytes); /* over limits.batch */
    wire_send(fd, frame, bytes);
    ipc_response_free(wire_receive(fd));
    free(frame);
    char *text = metrics();
    expect_line(text, "\nlegonet_ready 1\n");
    expect_line(text, "\n# TYPE legonet_model_requests_success_total counter\n");
    expect_line(text, "\nlegonet_model_requests_success_total{model=\"tiny\",version=\"1\"} 3\n");
    expect_line(text, "\nlegonet_model_requests_failed_total{model=\"tiny\",version=\"1\"} 1\n");
    expect_line(text, "\nlegonet_model_serves{model=\"tiny\",version=\"1\"} 1\n");
    expect_line(text, "request_seconds_bucket{model=\"tiny\",version=\"1\",le=\"+Inf\"} 3\n");
    expect_line(text, "\nlegonet_model_request_seconds_count{model=\"tiny\",version=\"1\"} 3\n");
    free(text);
    close(fd);
    tear_down();
}
END_TEST

static bool file_holds(const char *path, const char *part)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return strstr(text, part) != NULL;
}

START_TEST(metrics_are_written)
{
    char path[128], extra[256];
    agent_prepare(&agent, "");
    snprintf(path, sizeof(path), "%s/m.prom", agent.folder);
    snprintf(extra, sizeof(extra), "metrics: {textfile: %s, interval: 1s}\n", path);
    agent_write_config(&agent, extra);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    wire_expect_alive(&agent);
    for (int i = 0;
         i < 1200 && !file_holds(path, "success_total{model=\"tiny\",version=\"1\"} 1\n"); i++)
        poll(NULL, 0, 50);
    ck_assert(file_holds(path, "success_total{model=\"tiny\",version=\"1\"} 1\n"));
    tear_down();
}
END_TEST

static void write_drop_in(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/etc/c.d", agent.folder);
    mkdir(path, 0700); /* may be there */
    snprintf(path, sizeof(path), "%s/etc/c.d/%s", agent.folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

/* What the program prints of the configuration; it must fit, as an early end of the pipe would kill
 * the program. */
static void ask(const char *option, char *text, size_t bytes)
{
    char command[512];
    snprintf(command, sizeof(command), "%s %s %s 2>&1", LEGONETD, option, agent.config);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    size_t read = fread(text, 1, bytes - 1, pipe);
    ck_assert_uint_lt(read, bytes - 1);
    text[read] = '\0';
    pclose(pipe);
}

START_TEST(drop_ins_hold)
{
    char text[16384];
    agent_prepare(&agent, "engines: {threads: 1}\nlimits: {batch: 2}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    write_drop_in("20-batch.yaml", "limits: {batch: 7}\n");
    write_drop_in("10-batch.yaml", "limits: {batch: 5, in_flight: 9}\n");
    write_drop_in("30-model.yaml", "models: [{name: more, path: ../../models/tiny.lego}]\n");
    write_drop_in("ignored.conf", "nonsense\n");
    ask("--diff-config", text, sizeof(text));
    expect_line(text, "\n  batch: 7\n");
    expect_line(text, "\n  in_flight: 9\n");
    expect_line(text, "- name: \"more\"\n");
    ck_assert_ptr_null(strstr(text, "drain_timeout"));
    ask("--show-config", text, sizeof(text));
    expect_line(text, "\ndrain_timeout: 10s\n");
    agent_start(&agent, true);
    int fd = wire_connect(&agent);
    char state[64], reason[64];
    wire_index(fd, "more", state, reason, sizeof(state));
    ck_assert_str_eq(state, "READY");
    write_drop_in("40-broken.yaml", "limits: {bacth: 7}\n");
    ask("--check-config", text, sizeof(text));
    expect_line(
        text, "40-broken.yaml:1:10: unknown key \"bacth\" in \"limits\"; did you mean \"batch\"?");
    agent_reload(&agent);
    wire_index(fd, "more", state, reason, sizeof(state));
    ck_assert_str_eq(state, "READY");
    ck_assert(agent_logged(&agent, "40-broken.yaml:1:10"));
    close(fd);
    tear_down();
}
END_TEST

/* What is shown is a configuration again. */
START_TEST(what_is_shown_is_sound)
{
    char text[16384], path[160];
    agent_prepare(&agent, "limits: {frame: 1MiB}\n"
                          "models: [{name: tiny, path: ../models/tiny.lego, timeout: 5s}]\n");
    ask("--show-config", text, sizeof(text));
    expect_line(text, "frame: 1MiB");
    snprintf(path, sizeof(path), "%s/etc/shown.yaml", agent.folder);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    char again[16384];
    snprintf(agent.config, sizeof(agent.config), "%.60s/etc/shown.yaml", agent.folder);
    ask("--show-config", again, sizeof(again));
    ck_assert_str_eq(text, again);
    agent_remove(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operations");
    TCase *tests = tcase_create("operations");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, metrics_count);
    tcase_add_test(tests, metrics_are_written);
    tcase_add_test(tests, drop_ins_hold);
    tcase_add_test(tests, what_is_shown_is_sound);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
