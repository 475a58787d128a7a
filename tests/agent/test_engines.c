/* Which engine computes what, and on which cores. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOW_ROWS 512 /* some tens of ms: longer than a core keeps others waiting */

static struct agent agent;

static void start(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, "");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "slow.lego"), 512, 16);
    agent_write_config(&agent, extra);
    agent_start(&agent, true);
}

static void expect(int fd, uint64_t id)
{
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    ck_assert_uint_eq(response->id, id);
    ipc_response_free(response);
}

/* In one write, so that the agent has all before an engine is done. */
static void send_three(int fd, const char *const models[3], const uint32_t rows[3])
{
    static uint8_t all[1 << 16];
    size_t used = 0;
    for (uint64_t i = 0; i < 3; i++) {
        size_t bytes;
        uint8_t *frame = wire_infer_frame(models[i], i + 1, 1, rows[i], &bytes);
        ck_assert_uint_le(used + bytes, sizeof(all));
        memcpy(all + used, frame, bytes);
        used += bytes;
        free(frame);
    }
    wire_send(fd, all, used);
}

/* What waits for a busy engine waits; a model with another engine of its own does not. Fewer rounds
 * than make "free" known to be quick. */
START_TEST(models_keep_to_their_engines)
{
    start("engines: {count: 2, threads: 1, shared: \"0\"}\nlimits: {batch: 512}\nmodels:\n"
          "  - {name: free, path: ../models/tiny.lego, engines: \"1\"}\n");
    int fd = wire_connect(&agent);
    for (int round = 0; round < 6; round++) {
        send_three(fd, (const char *const[]){"slow", "tiny", "free"},
                   (const uint32_t[]){SLOW_ROWS, 1, 1});
        expect(fd, 3);
        expect(fd, 1);
        expect(fd, 2);
    }
    close(fd);
    agent_stop(&agent);
}
END_TEST

/* One engine for all but one: many requests for both, all answered. */
START_TEST(all_are_answered)
{
    start("engines: {count: 3, threads: 1}\nmodels:\n"
          "  - {name: one, path: ../models/tiny.lego, engines: \"2\"}\n"
          "  - {name: two, path: ../models/tiny.lego, engines: \"0 1\", threads: 2}\n");
    int fd = wire_connect(&agent);
    bool answered[31] = {false};
    for (int round = 0; round < 50; round++) {
        memset(answered, 0, sizeof(answered));
        for (uint64_t i = 1; i <= 30; i++) {
            static const char *const models[] = {"one", "two", "tiny"};
            size_t bytes;
            uint8_t *frame = wire_infer_frame(models[i % 3], i, 1, 1, &bytes);
            wire_send(fd, frame, bytes);
            free(frame);
        }
        for (int i = 0; i < 30; i++) {
            Legonet__Response *response = wire_receive(fd);
            ck_assert_ptr_nonnull(response);
            ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
            ck_assert(response->id <= 30 && !answered[response->id]);
            answered[response->id] = true;
            ipc_response_free(response);
        }
    }
    close(fd);
    agent_stop(&agent);
}
END_TEST

/* The cores of the threads of that name, each as the kernel prints them. */
static unsigned count_on_cores(const char *name, const char *cores)
{
    char path[300], line[256];
    unsigned found = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)agent.pid);
    DIR *folder = opendir(path);
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        bool named = false, there = false;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)agent.pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (file && fgets(line, sizeof(line), file)) {
            line[strcspn(line, "\n")] = '\0';
            named |= !strncmp(line, "Name:\t", 6) && !strcmp(line + 6, name);
            there |= !strncmp(line, "Cpus_allowed_list:\t", 19) && !strcmp(line + 19, cores);
        }
        if (file)
            fclose(file);
        found += named && there;
    }
    closedir(folder);
    return found;
}

START_TEST(engines_keep_to_their_cores)
{
    start("engines: {count: 2, threads: 1, cpus: \"0\"}\n");
    wire_expect_alive(&agent);
    ck_assert_uint_eq(count_on_cores("lego-engine-0", "0"), 1);
    ck_assert_uint_eq(count_on_cores("lego-engine-1", "0"), 1);
    agent_stop(&agent);
}
END_TEST

START_TEST(what_is_not_there_is_named)
{
    char state[256], reason[256];
    start("engines: {count: 2, threads: 1}\nmodels:\n"
          "  - {name: lost, path: ../models/tiny.lego, engines: \"5\"}\n");
    int fd = wire_connect(&agent);
    wire_index(fd, "lost", state, reason, sizeof(state));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "there are 2, from 0 on") != NULL, "%s", reason);
    close(fd);
    agent_stop(&agent);
    static const char *const wrong[] = {"x", "0-", "1,", "3-1", "0 99999", "4000"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        char extra[64];
        snprintf(extra, sizeof(extra), "engines: {cpus: \"%s\"}\n", wrong[i]);
        agent_prepare(&agent, extra);
        agent_start(&agent, false);
        ck_assert_int_eq(agent_wait(&agent), 1);
        ck_assert(agent_logged(&agent, "engines.cpus: "));
        agent_remove(&agent);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engines");
    TCase *tests = tcase_create("engines");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, models_keep_to_their_engines);
    tcase_add_test(tests, all_are_answered);
    tcase_add_test(tests, engines_keep_to_their_cores);
    tcase_add_test(tests, what_is_not_there_is_named);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
