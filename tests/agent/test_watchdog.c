/* The watchdog is fed while the loop and every busy engine get on, and not when an engine is stuck.
 */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct agent agent;

/* The thread of that name, 0 where there is none. */
static pid_t find_thread(const char *name)
{
    char path[300], is[32] = "";
    pid_t found = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)agent.pid);
    DIR *folder = opendir(path);
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder)) && !found;) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)agent.pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && fgets(is, sizeof(is), file) && !strncmp(is, name, strlen(name)))
            found = (pid_t)atoi(entry->d_name);
        if (file)
            fclose(file);
    }
    closedir(folder);
    return found;
}

/* Stops a thread, and it alone; true where it computes: proc(5) says -1 where a thread is stopped
 * in no system call. */
static bool freeze(pid_t thread)
{
    char path[64], text[32] = "";
    int status;
    ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, thread, 0, 0), 0);
    ck_assert_int_eq(waitpid(thread, &status, __WALL), thread);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)agent.pid, (int)thread);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
    fclose(file);
    return !strncmp(text, "-1 ", 3);
}

static bool is_fed(int ms)
{
    char message[512];
    struct pollfd poll_fd = {.fd = agent.notify_fd, .events = POLLIN};
    while (poll(&poll_fd, 1, ms) == 1) {
        ssize_t bytes = recv(agent.notify_fd, message, sizeof(message) - 1, 0);
        message[bytes > 0 ? bytes : 0] = '\0';
        if (strstr(message, "WATCHDOG=1"))
            return true;
    }
    return false;
}

static void drain(void)
{
    char message[512];
    while (recv(agent.notify_fd, message, sizeof(message), MSG_DONTWAIT) > 0) {
    }
}

static pid_t engines[2];

/* False where threads cannot be traced here. */
static bool seize_engines(void)
{
    for (int i = 0; i < 2; i++) {
        char name[16];
        snprintf(name, sizeof(name), "lego-engine-%d", i);
        engines[i] = find_thread(name);
        ck_assert_int_ne(engines[i], 0);
        if (ptrace(PTRACE_SEIZE, engines[i], 0, 0) != 0)
            return false;
    }
    return true;
}

/* A traced thread that has ended would keep the agent from ending. */
static void release_engines(pid_t stuck)
{
    for (int i = 0; i < 2; i++) {
        if (engines[i] != stuck)
            freeze(engines[i]);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, engines[i], 0, 0), 0);
    }
}

/* Freezes an engine that computes a request, which is sent to `fd`; 0: none was seen at it. */
static pid_t freeze_busy(int fd, const uint8_t *frame, size_t bytes)
{
    wire_send(fd, frame, bytes);
    for (int i = 0; i < 40; i++) {
        poll(NULL, 0, 1);
        if (freeze(engines[i % 2]))
            return engines[i % 2];
        ck_assert_int_eq(ptrace(PTRACE_CONT, engines[i % 2], 0, 0), 0);
    }
    ipc_response_free(wire_receive(fd));
    return 0;
}

/*
 * True where the rest of the agent is well: the loop answers, and the other engine computes. It is
 * not where the engine was stopped while it held a lock, of the allocator or of the queue.
 */
static bool is_rest_well(int other)
{
    for (int i = 0; i < 20; i++) {
        size_t bytes;
        struct pollfd state = {.fd = other, .events = POLLIN};
        uint8_t *frame = wire_infer_frame("middle", 1, 1, 1, &bytes);
        wire_send(other, frame, bytes);
        free(frame);
        if (poll(&state, 1, 2000) != 1)
            return false;
        Legonet__Response *response = wire_receive(other);
        ck_assert_ptr_nonnull(response);
        ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
        ipc_response_free(response);
    }
    return true;
}

/* Until an engine is frozen in the midst of its work, with no lock in its hand. */
static pid_t get_stuck(int fd, const uint8_t *frame, size_t bytes)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        pid_t engine = freeze_busy(fd, frame, bytes);
        if (!engine)
            continue;
        int other = wire_connect(&agent);
        bool well = is_rest_well(other);
        close(other);
        if (well)
            return engine;
        ck_assert_int_eq(ptrace(PTRACE_CONT, engine, 0, 0), 0);
        ipc_response_free(wire_receive(fd));
    }
    ck_abort_msg("no engine could be frozen at its work");
}

START_TEST(a_stuck_engine_starves_it)
{
    size_t bytes;
    agent.watches = false;
    agent_prepare(&agent, "engines: {count: 2, threads: 1, stall: 1s}\n");
    agent.watchdog_usec = "200000";
    model_large(agent_model(&agent, "middle.lego"), 256, 2);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    ck_assert(is_fed(60000));
    if (!seize_engines()) {
        puts("skipped: threads cannot be traced here"); /* not even the first */
        agent_stop(&agent);
        return;
    }
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("slow", 1, 1, 16, &bytes);
    pid_t stuck = get_stuck(fd, frame, bytes);
    for (int i = 0; i < 600 && !agent_logged(&agent, "longer than engines.stall"); i++)
        poll(NULL, 0, 100);
    ck_assert(agent_logged(&agent, "longer than engines.stall"));
    drain();
    ck_assert(!is_fed(1000)); /* ten periods */
    int other = wire_connect(&agent);
    ck_assert(is_rest_well(other)); /* which is not what starves it */
    close(other);
    release_engines(stuck);
    ck_assert(is_fed(60000));
    ipc_response_free(wire_receive(fd));
    close(fd);
    free(frame);
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

/* The whole program stopped: no loop, no food. What systemd does then is its own. */
START_TEST(a_stopped_loop_starves_it)
{
    agent.watches = false;
    agent_prepare(&agent, "");
    agent.watchdog_usec = "200000";
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    ck_assert(is_fed(60000));
    ck_assert_int_eq(kill(agent.pid, SIGSTOP), 0);
    int status;
    ck_assert_int_eq(waitpid(agent.pid, &status, WUNTRACED), agent.pid);
    drain();
    ck_assert(!is_fed(1000));
    ck_assert_int_eq(kill(agent.pid, SIGCONT), 0);
    ck_assert(is_fed(60000));
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watchdog");
    TCase *tests = tcase_create("watchdog");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, a_stuck_engine_starves_it);
    tcase_add_test(tests, a_stopped_loop_starves_it);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
