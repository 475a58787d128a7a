/* What users may and how much: rules about users and groups, quotas. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"
#include "tests/agent/wire_regions.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCKER_ROWS 64

static struct agent agent;

static void start(const char *extra)
{
    agent.watches = false;
    agent_prepare(&agent, extra);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
}

static void expect_load(int fd, int status)
{
    Legonet__Response *response = wire_load(fd, true, "tiny");
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "%s", response->message);
    if (status == LEGO_E_PERMISSION)
        ck_assert(strstr(response->message, "access.admin_users") != NULL);
    ipc_response_free(response);
}

/* This process's user or group, or another, is named. */
START_TEST(administration_is_for_those_who_are_named)
{
    const struct {
        const char *key, *before;
        unsigned add;
        int status;
    } cases[] = {
        {"admin_users", "", 0, LEGO_OK},
        {"admin_users", "", 12345, LEGO_E_PERMISSION},
        {"admin_users", "54321 ", 0, LEGO_OK},
        {"admin_groups", "", 12345, LEGO_E_PERMISSION},
    };
    char extra[128];
    snprintf(extra, sizeof(extra), "access: {%s: \"%s%u\"}\n", cases[_i].key, cases[_i].before,
             (unsigned)getuid() + cases[_i].add);
    start(extra);
    int fd = wire_connect(&agent);
    expect_load(fd, cases[_i].status);
    close(fd);
    wire_expect_alive(&agent); /* asking is for all */
    agent_stop(&agent);
}
END_TEST

START_TEST(groups_count)
{
    char extra[128];
    snprintf(extra, sizeof(extra), "access: {groups: \"%u\", admin_groups: \"%u\"}\n",
             (unsigned)getgid(), (unsigned)getgid());
    start(extra);
    int fd = wire_connect(&agent);
    expect_load(fd, LEGO_OK);
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(strangers_are_refused)
{
    char extra[128];
    snprintf(extra, sizeof(extra), "access: {users: \"%u\"}\n", (unsigned)getuid() + 12345);
    start(extra);
    int fd = wire_connect(&agent);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->id, 0);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_PERMISSION);
    ipc_response_free(response);
    ck_assert_ptr_null(wire_receive(fd));
    close(fd);
    agent_stop(&agent);
}
END_TEST

START_TEST(unknown_names_are_refused)
{
    agent_prepare(&agent, "access: {admin_groups: \"no-such-group\"}\n");
    agent_start(&agent, false);
    ck_assert_int_eq(agent_wait(&agent), 1);
    ck_assert(agent_logged(&agent, "access.admin_groups: there is no group \"no-such-group\""));
    agent_remove(&agent);
}
END_TEST

START_TEST(connections_are_bounded)
{
    start("quotas: {connections: 2}\n");
    int first = wire_connect(&agent), second = wire_connect(&agent), third = wire_connect(&agent);
    Legonet__Response *response = wire_receive(third);
    ck_assert_ptr_nonnull(response);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_EXHAUSTED);
    ck_assert(strstr(response->message, "quotas.connections") != NULL);
    ipc_response_free(response);
    ck_assert_ptr_null(wire_receive(third));
    close(first);
    close(third);
    for (bool good = false; !good;) { /* once the agent has met the end of the first */
        int fd = wire_connect(&agent);
        size_t bytes;
        uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
        send(fd, frame, bytes, MSG_NOSIGNAL);
        response = wire_receive(fd);
        good = response && response->status == LEGONET__STATUS__OK;
        if (response)
            ipc_response_free(response);
        free(frame);
        close(fd);
    }
    close(second);
    agent_stop(&agent);
}
END_TEST

/* All connections of the user count together. */
START_TEST(requests_are_bounded)
{
    size_t bytes;
    agent.watches = false;
    agent_prepare(&agent, _i ? "engines: {threads: 1}\nquotas: {memory: 5000}\n"
                             : "engines: {threads: 1}\nquotas: {requests: 1}\n");
    model_large(agent_model(&agent, "large.lego"), 512, 16);
    agent_start(&agent, true);
    int fd = wire_connect(&agent), other = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("large", 1, 1, BLOCKER_ROWS, &bytes);
    uint8_t *both = malloc(2 * bytes); /* in one write: they are met together */
    ck_assert_ptr_nonnull(both);
    memcpy(both, frame, bytes);
    memcpy(both + bytes, frame, bytes);
    wire_send(fd, both, 2 * bytes);
    free(both);
    int refused = 0;
    for (int i = 0; i < 2; i++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        if (response->status == LEGONET__STATUS__E_EXHAUSTED) {
            ck_assert(strstr(response->message, _i ? "quotas.memory" : "quotas.requests") != NULL);
            refused++;
        }
        ipc_response_free(response);
    }
    ck_assert_int_eq(refused, 1);
    wire_send(other, frame, bytes); /* all is free again */
    Legonet__Response *response = wire_receive(other);
    ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
    ipc_response_free(response);
    free(frame);
    close(fd);
    close(other);
    agent_stop(&agent);
}
END_TEST

static struct agent at_socket(const char *name)
{
    struct agent other = agent;
    snprintf(other.socket, sizeof(other.socket), "%.64s/%s", agent.folder, name);
    return other;
}

/* By each socket the same user may something else. */
START_TEST(sockets_have_rules_of_their_own)
{
    char extra[512];
    const unsigned me = (unsigned)getuid(), other = me + 12345;
    agent.watches = false;
    agent_prepare(&agent, "");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    snprintf(extra, sizeof(extra),
             "access: {admin_users: \"%u\"}\nsockets:\n  - {path: ../cameras}\n"
             "  - {path: ../admin, role: admin, users: \"%u\", mode: \"0600\"}\n"
             "  - {path: ../others, users: \"%u\"}\n",
             other, me, other);
    agent_write_config(&agent, extra);
    agent_start(&agent, true);
    const struct agent cameras = at_socket("cameras"), admin = at_socket("admin"),
                       others = at_socket("others");
    const struct agent *const asked[] = {&agent, &cameras, &admin};
    const int answers[] = {LEGO_E_PERMISSION, LEGO_E_PERMISSION, LEGO_OK};
    for (int i = 0; i < 3; i++) {
        wire_expect_alive(asked[i]);
        int fd = wire_connect(asked[i]);
        expect_load(fd, answers[i]);
        close(fd);
    }
    int fd = wire_connect(&others);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_PERMISSION);
    ipc_response_free(response);
    close(fd);
    ck_assert_int_eq(kill(agent.pid, SIGTERM), 0);
    ck_assert_int_eq(agent_wait(&agent), 0);
    ck_assert_int_ne(access(admin.socket, F_OK), 0); /* all go */
    agent_remove(&agent);
}
END_TEST

START_TEST(a_socket_for_requests_alone)
{
    agent.watches = false;
    agent_prepare(&agent, "");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    FILE *file = fopen(agent.config, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "socket: {path: %s, role: infer}\nmodel_directory: %s\n", agent.socket,
            agent.models);
    fclose(file);
    agent_start(&agent, true);
    int fd = wire_connect(&agent);
    expect_load(fd, LEGO_E_PERMISSION);
    close(fd);
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

/* A connection, and three descriptors: one more is too much, whoever of the user sends it. */
START_TEST(descriptors_are_bounded)
{
    agent.watches = false;
    agent_prepare(&agent, "quotas: {descriptors: 4}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    int fd = wire_connect(&agent), memory = region_memfd(NULL, 4096, F_SEAL_SHRINK | F_SEAL_GROW);
    wire_register(fd, "a", memory, 0, false, LEGO_OK, NULL);
    wire_register(fd, "b", memory, 0, false, LEGO_OK, NULL);
    wire_unregister(fd, "a", LEGO_OK);
    wire_register(fd, "a", memory, 0, false, LEGO_OK, NULL);
    int other = wire_connect(&agent); /* the fourth */
    size_t bytes;
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    wire_send(other, frame, bytes);
    Legonet__Response *response = wire_receive(other);
    ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
    ipc_response_free(response);
    wire_send_fds(other, frame, bytes, &memory, 1);
    response = wire_receive(other);
    ck_assert_ptr_nonnull(response);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_EXHAUSTED);
    ck_assert(strstr(response->message, "quotas.descriptors") != NULL);
    ipc_response_free(response);
    ck_assert_ptr_null(wire_receive(other));
    close(other);
    wire_unregister(fd, NULL, LEGO_OK);
    wire_register(fd, "c", memory, 0, false, LEGO_OK, NULL); /* there is room again */
    free(frame);
    close(memory);
    close(fd);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("peers");
    TCase *tests = tcase_create("peers");
    tcase_set_timeout(tests, 180);
    tcase_add_loop_test(tests, administration_is_for_those_who_are_named, 0, 4);
    tcase_add_test(tests, groups_count);
    tcase_add_test(tests, strangers_are_refused);
    tcase_add_test(tests, unknown_names_are_refused);
    tcase_add_test(tests, connections_are_bounded);
    tcase_add_loop_test(tests, requests_are_bounded, 0, 2);
    tcase_add_test(tests, sockets_have_rules_of_their_own);
    tcase_add_test(tests, a_socket_for_requests_alone);
    tcase_add_test(tests, descriptors_are_bounded);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
