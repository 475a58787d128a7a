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

START_TEST(a_stuck_engine_starves_it)
{
    size_t bytes;
    agent.watches = false;
    agent_prepare(&agent, "engines: {threads: 1, stall: 1s}\n");
    agent.watchdog_usec = "200000";
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    ck_assert(is_fed(60000));
    pid_t engine = find_thread("lego-engine-0");
    ck_assert_int_ne(engine, 0);
    if (ptrace(PTRACE_SEIZE, engine, 0, 0) != 0) {
        puts("skipped: threads cannot be traced here");
        agent_stop(&agent);
        return;
    }
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("slow", 1, 1, 16, &bytes);
    bool frozen = false;
    for (int i = 0; i < 200 && !frozen; i++) {
        wire_send(fd, frame, bytes);
        for (int k = 0; k < 20 && !frozen; k++) {
            poll(NULL, 0, 1);
            frozen = freeze(engine);
            if (!frozen)
                ck_assert_int_eq(ptrace(PTRACE_CONT, engine, 0, 0), 0);
        }
        if (!frozen)
            ipc_response_free(wire_receive(fd));
    }
    ck_assert_msg(frozen, "the engine was never seen computing");
    for (int i = 0; i < 600 && !agent_logged(&agent, "longer than engines.stall"); i++)
        poll(NULL, 0, 100);
    ck_assert(agent_logged(&agent, "longer than engines.stall"));
    drain();
    ck_assert(!is_fed(1000)); /* ten periods */
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerLiveRequest live = INFERENCE__SERVER_LIVE_REQUEST__INIT;
    request.id = 2;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_LIVE;
    request.server_live = &live;
    int other = wire_connect(&agent);
    ipc_response_free(wire_expect(other, &request, 0)); /* the loop is well meanwhile */
    close(other);
    ck_assert_int_eq(ptrace(PTRACE_DETACH, engine, 0, 0), 0);
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
