/*
 * Runs a command beside a real agent of its own: with_agent COMMAND [ARGUMENT...]. The command
 * finds the socket in LEGONET_SOCKET and the folder of models in LEGONET_MODELS. Ends with the
 * command's status; 77 says that it skips. The agent serves
 *
 * tiny, pair: small networks, see tests/agent/models.h;
 * slow: takes long enough that what is sent after it waits;
 * colors: a segmentation, see there, too;
 * late: tiny, whose requests may wait a millisecond;
 * demo: the model that LEGONET_DEMO names, where it does.
 */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77

static char **command;
static int *exit_status; /* shared: each test runs in a process of its own */

static int run(const struct agent *agent)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setenv("LEGONET_SOCKET", agent->socket, 1);
        setenv("LEGONET_MODELS", agent->models, 1);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void copy_demo(const struct agent *agent)
{
    const char *demo = getenv("LEGONET_DEMO");
    char text[1024];
    if (!demo)
        return;
    snprintf(text, sizeof(text), "cp '%s' '%s'", demo, agent_model(agent, "demo.lego"));
    ck_assert_int_eq(system(text), 0);
}

START_TEST(command_succeeds_beside_an_agent)
{
    struct agent agent = {.watches = false};
    agent_prepare(&agent, "engines: {threads: 1}\n"
                          "limits: {regions: 8, region_memory: 16MiB, batch: 4096}\n"
                          "models:\n"
                          "  - {name: late, path: ../models/tiny.lego, timeout: 1ms}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_pair(agent_model(&agent, "pair.lego"));
    model_colors(agent_model(&agent, "colors.lego"));
    model_large(agent_model(&agent, "slow.lego"), 1024, 16);
    copy_demo(&agent);
    agent_start(&agent, true);
    *exit_status = run(&agent);
    ck_assert_msg(*exit_status == 0 || *exit_status == SKIPPED, "%s: status %d", command[0],
                  *exit_status);
    wire_expect_alive(&agent);
    agent_stop(&agent);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    command = argv + 1;
    exit_status =
        mmap(NULL, sizeof(*exit_status), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Suite *suite = suite_create("with_agent");
    TCase *tests = tcase_create(argv[1]);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, command_succeeds_beside_an_agent);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : *exit_status;
}
