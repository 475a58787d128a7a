/* New models and configurations while the agent serves. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct agent agent;

static void set_up(void)
{
    agent.watches = false;
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_tiny(agent_model(&agent, "other.lego"), 2);
    agent_start(&agent, true);
}

static void tear_down(void)
{
    wire_expect_alive(&agent);
    agent_stop(&agent);
}

/* The first output of one inference, to tell models apart. */
static float answer_of(const char *model)
{
    size_t bytes;
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame(model, 1, 1, 1, &bytes);
    wire_send(fd, frame, bytes);
    free(frame);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    float value;
    memcpy(&value, response->model_infer->raw_output_contents[0].data, sizeof(value));
    ipc_response_free(response);
    close(fd);
    return value;
}

/* The file's bytes with `change` applied, put in its place by a rename. */
static void replace(const char *name, size_t cut, size_t flip)
{
    char path[160], next[176];
    snprintf(path, sizeof(path), "%s", agent_model(&agent, name));
    snprintf(next, sizeof(next), "%s.next", path);
    FILE *file = fopen(path, "r");
    struct stat info;
    ck_assert_int_eq(fstat(fileno(file), &info), 0);
    size_t bytes = (size_t)info.st_size;
    uint8_t *data = malloc(bytes);
    ck_assert_uint_eq(fread(data, 1, bytes, file), bytes);
    fclose(file);
    if (flip)
        data[bytes * flip / 100] ^= 0x10;
    file = fopen(next, "w");
    fwrite(data, 1, cut ? bytes * cut / 100 : bytes, file);
    fclose(file);
    free(data);
    ck_assert_int_eq(rename(next, path), 0);
}

static void put_model(const char *name, uint32_t seed)
{
    char next[160];
    snprintf(next, sizeof(next), "%s", agent_model(&agent, "next"));
    model_tiny(next, seed);
    ck_assert_int_eq(rename(next, agent_model(&agent, name)), 0);
}

static void index_says(const char *model, const char *state, const char *reason)
{
    char got_state[512], got_reason[512];
    int fd = wire_connect(&agent);
    wire_index(fd, model, got_state, got_reason, sizeof(got_state));
    close(fd);
    ck_assert_str_eq(got_state, state);
    ck_assert_msg(*reason ? strstr(got_reason, reason) != NULL : !*got_reason,
                  "reason \"%s\" lacks \"%s\"", got_reason, reason);
}

START_TEST(a_new_file_is_switched_to)
{
    float before = answer_of("tiny");
    put_model("tiny.lego", 33);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") != before);
    put_model("tiny.lego", 1);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") == before);
}
END_TEST

START_TEST(versions_come_and_go)
{
    char path[160];
    float first = answer_of("tiny");
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "tiny"));
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "tiny/10"));
    ck_assert_int_eq(mkdir(path, 0700), 0);
    put_model("tiny/10/model.lego", 7);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") != first);
    ck_assert_int_eq(unlink(agent_model(&agent, "tiny/10/model.lego")), 0);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") == first);
}
END_TEST

static void expect_failed_reload(const char *reason)
{
    float tiny = answer_of("tiny"), other = answer_of("other");
    agent_reload(&agent);
    ck_assert(answer_of("tiny") == tiny);
    ck_assert(answer_of("other") == other);
    ck_assert(agent_logged(&agent, "reload failed, all stays as it was"));
    index_says("tiny", "READY", reason);
}

START_TEST(broken_files_change_nothing)
{
    put_model("other.lego", 55); /* sound, but of the same reload */
    float other = answer_of("other");
    if (_i == 0)
        replace("tiny.lego", 60, 0);
    else if (_i == 1)
        replace("tiny.lego", 0, 80);
    else
        replace("tiny.lego", 0, 1);
    expect_failed_reload("the last load failed: model \"tiny\" version 1");
    ck_assert(answer_of("other") == other);
    index_says("other", "READY", "");
    put_model("tiny.lego", 1);
    agent_reload(&agent);
    ck_assert(answer_of("other") != other);
    index_says("tiny", "READY", "");
}
END_TEST

START_TEST(a_new_broken_model_is_listed_with_its_reason)
{
    FILE *file = fopen(agent_model(&agent, "fresh.lego"), "w");
    fputs("not a model at all", file);
    fclose(file);
    agent_reload(&agent);
    index_says("fresh", "UNAVAILABLE", "fresh.lego");
    index_says("tiny", "READY", "");
}
END_TEST

START_TEST(broken_yaml_changes_nothing)
{
    agent_write_config(&agent, "engines: {thread: 1}\n");
    expect_failed_reload("c.yaml:5:11: unknown key \"thread\" in \"engines\"; did you mean");
    agent_write_config(&agent, "engines: [\n");
    expect_failed_reload("c.yaml:");
    ck_assert_int_eq(unlink(agent.config), 0);
    expect_failed_reload("cannot open the configuration");
    agent_write_config(&agent, "engines: {threads: 1}\n");
    agent_reload(&agent);
    index_says("tiny", "READY", "");
}
END_TEST

START_TEST(restart_keys_are_warned_of)
{
    agent_write_config(&agent, "engines: {threads: 1, count: 3}\n");
    agent_reload(&agent);
    ck_assert(agent_logged(&agent, "a restart is needed for what has changed in engines.count"));
}
END_TEST

START_TEST(unloaded_models_come_back_with_a_reload)
{
    int fd = wire_connect(&agent);
    ipc_response_free(wire_load(fd, false, "other"));
    close(fd);
    index_says("other", "UNAVAILABLE", "unloaded by a client");
    agent_reload(&agent);
    index_says("other", "READY", "");
}
END_TEST

/* The file of a model that serves, and whose weights stay coded, is cut short in place: that model
 * alone fails, until loaded. */
START_TEST(a_file_that_shrinks_fails_alone)
{
    char path[160], extra[256];
    size_t bytes;
    model_coded(agent_model(&agent, "coded.lego"), 1);
    snprintf(extra, sizeof(extra),
             "engines: {threads: 1}\nmodels: [{name: coded, path: %s, resident: coded}]\n",
             agent_model(&agent, "coded.lego"));
    agent_write_config(&agent, extra);
    agent_reload(&agent);
    answer_of("coded");
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "coded.lego"));
    ck_assert_int_eq(truncate(path, 0), 0);
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("coded", 1, 1, 1, &bytes);
    for (int i = 0; i < 2; i++) {
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert_int_eq(response->status, LEGONET__STATUS__E_FAULT);
        ipc_response_free(response);
    }
    index_says("coded", "UNAVAILABLE", "changed while it was in use");
    wire_expect_alive(&agent);
    model_coded(agent_model(&agent, "next"), 1);
    ck_assert_int_eq(rename(agent_model(&agent, "next"), path), 0);
    ipc_response_free(wire_load(fd, true, "coded"));
    index_says("coded", "READY", "");
    answer_of("coded");
    free(frame);
    close(fd);
}
END_TEST

static void wait_for_answer(const char *model, float not_this)
{
    for (int i = 0; i < 1200 && answer_of(model) == not_this; i++)
        poll(NULL, 0, 50);
    ck_assert(answer_of(model) != not_this);
}

START_TEST(changes_are_noticed)
{
    agent.watches = true;
    agent_prepare(&agent, "engines: {threads: 1}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    float before = answer_of("tiny");
    put_model("tiny.lego", 9);
    wait_for_answer("tiny", before);
    /* A model that the configuration names from now on. */
    char extra[256], elsewhere[160];
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere.lego", agent.folder);
    model_tiny(elsewhere, 4);
    snprintf(extra, sizeof(extra),
             "engines: {threads: 1}\nmodels: [{name: tiny, path: %s, version: 2}]\n", elsewhere);
    before = answer_of("tiny");
    agent_write_config(&agent, extra);
    wait_for_answer("tiny", before);
    tear_down();
}
END_TEST

static void roll_back(const char *model, int status)
{
    int fd = wire_connect(&agent);
    wire_rollback(fd, model, status);
    close(fd);
}

static void load(const char *model)
{
    int fd = wire_connect(&agent);
    Legonet__Response *response = wire_load(fd, true, model);
    ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
    ipc_response_free(response);
    close(fd);
}

START_TEST(a_file_is_rolled_back)
{
    float first = answer_of("tiny");
    roll_back("tiny", LEGO_E_STATE);
    put_model("tiny.lego", 33);
    agent_reload(&agent);
    float second = answer_of("tiny");
    ck_assert(second != first);
    roll_back("tiny", LEGO_OK);
    ck_assert(answer_of("tiny") == first);
    index_says("tiny", "READY", "rolled back from a newer file of version 1: by a client");
    agent_reload(&agent); /* leaves the rejected file alone */
    ck_assert(answer_of("tiny") == first);
    roll_back("tiny", LEGO_E_STATE);
    load("tiny"); /* but for a client that asks for it */
    ck_assert(answer_of("tiny") == second);
    index_says("tiny", "READY", "");
    roll_back("tiny", LEGO_OK);
    put_model("tiny.lego", 44); /* another file is another matter */
    agent_reload(&agent);
    ck_assert(answer_of("tiny") != first && answer_of("tiny") != second);
    roll_back("none", LEGO_E_NOT_FOUND);
}
END_TEST

static void put_version(const char *name, const char *version, uint32_t seed)
{
    char path[160];
    snprintf(path, sizeof(path), "%s", agent_model(&agent, name));
    mkdir(path, 0700); /* may be there */
    snprintf(path, sizeof(path), "%s/%s/%s", agent.models, name, version);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/%s/model.lego", name, version);
    put_model(path, seed);
}

START_TEST(a_version_is_rolled_back)
{
    float first = answer_of("tiny");
    put_version("tiny", "7", 33);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") != first);
    roll_back("tiny", LEGO_OK);
    ck_assert(answer_of("tiny") == first);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") == first);
    roll_back("tiny", LEGO_E_STATE);
    load("tiny");
    ck_assert(answer_of("tiny") != first);
}
END_TEST

/* The new file takes other inputs: what clients send fails, and the old file is back. */
START_TEST(a_bad_switch_is_rolled_back)
{
    char path[160];
    size_t bytes;
    float first = answer_of("tiny");
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "next"));
    model_pair(path);
    ck_assert_int_eq(rename(path, agent_model(&agent, "tiny.lego")), 0);
    agent_reload(&agent);
    int fd = wire_connect(&agent), failed = 0;
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    for (bool good = false; !good; failed += !good) {
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        good = response->status == LEGONET__STATUS__OK;
        ipc_response_free(response);
    }
    ck_assert_int_ge(failed, 3);
    ck_assert(answer_of("tiny") == first);
    index_says("tiny", "READY", "its first requests failed");
    free(frame);
    close(fd);
}
END_TEST

/* One good answer ends the trial: later failures are the clients' own. */
START_TEST(a_good_switch_stays)
{
    size_t bytes;
    float first = answer_of("tiny");
    put_model("tiny.lego", 33);
    agent_reload(&agent);
    float second = answer_of("tiny");
    ck_assert(second != first);
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 100, &bytes); /* over limits.batch */
    for (int i = 0; i < 10; i++) {
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert_int_ne(response->status, LEGONET__STATUS__OK);
        ipc_response_free(response);
    }
    ck_assert(answer_of("tiny") == second);
    free(frame);
    close(fd);
}
END_TEST

START_TEST(a_canary_gets_its_share)
{
    char elsewhere[160], extra[320];
    float stable = answer_of("tiny");
    snprintf(elsewhere, sizeof(elsewhere), "%s/canary.lego", agent.folder);
    model_tiny(elsewhere, 4);
    snprintf(extra, sizeof(extra),
             "engines: {threads: 1}\n"
             "models: [{name: tiny, path: %s, version: 2, canary: 25}]\n",
             elsewhere);
    agent_write_config(&agent, extra);
    agent_reload(&agent);
    int canaries = 0;
    for (int i = 0; i < 40; i++)
        canaries += answer_of("tiny") != stable;
    ck_assert_int_eq(canaries, 10);
}
END_TEST

/* Written over in place, the map changes, too: what does not verify must not serve. */
START_TEST(an_overwritten_file_fails_alone)
{
    char path[160];
    float first = answer_of("tiny");
    struct stat info;
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "tiny.lego"));
    FILE *file = fopen(path, "r+");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fstat(fileno(file), &info), 0);
    ck_assert_int_eq(fseek(file, (long)info.st_size * 8 / 10, SEEK_SET), 0);
    fputs("something else altogether", file);
    fclose(file);
    agent_reload(&agent);
    index_says("tiny", "UNAVAILABLE", "tiny");
    answer_of("other");
    put_model("tiny.lego", 1);
    agent_reload(&agent);
    ck_assert(answer_of("tiny") == first);
    index_says("tiny", "READY", "");
}
END_TEST

/* What does not fit is refused with the numbers; what serves goes on. */
START_TEST(memory_is_bounded)
{
    float first = answer_of("tiny");
    agent_write_config(&agent, "engines: {threads: 1}\nlimits: {memory: 1MiB}\n");
    model_large(agent_model(&agent, "large.lego"), 1024, 2);
    agent_reload(&agent);
    index_says("large", "UNAVAILABLE", "are taken by others, and limits.memory is 1048576");
    ck_assert(answer_of("tiny") == first);
    agent_write_config(&agent, "engines: {threads: 1}\nlimits: {memory: 1GiB}\n");
    agent_reload(&agent);
    index_says("large", "READY", "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reload");
    TCase *tests = tcase_create("reload");
    tcase_set_timeout(tests, 180);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_new_file_is_switched_to);
    tcase_add_test(tests, versions_come_and_go);
    tcase_add_loop_test(tests, broken_files_change_nothing, 0, 3);
    tcase_add_test(tests, a_new_broken_model_is_listed_with_its_reason);
    tcase_add_test(tests, broken_yaml_changes_nothing);
    tcase_add_test(tests, restart_keys_are_warned_of);
    tcase_add_test(tests, unloaded_models_come_back_with_a_reload);
    tcase_add_test(tests, a_file_that_shrinks_fails_alone);
    tcase_add_test(tests, a_file_is_rolled_back);
    tcase_add_test(tests, a_version_is_rolled_back);
    tcase_add_test(tests, a_bad_switch_is_rolled_back);
    tcase_add_test(tests, a_good_switch_stays);
    tcase_add_test(tests, memory_is_bounded);
    tcase_add_test(tests, a_canary_gets_its_share);
    tcase_add_test(tests, an_overwritten_file_fails_alone);
    suite_add_tcase(suite, tests);
    TCase *watch = tcase_create("watch");
    tcase_set_timeout(watch, 180);
    tcase_add_test(watch, changes_are_noticed);
    suite_add_tcase(suite, watch);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
