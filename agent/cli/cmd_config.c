/*
 * legonet config check, show, diff: the agent's program knows its configuration, it is asked.
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct cli_option OPTIONS[] = {CLI_OPTIONS_END};

static const struct cli_spec SPEC = {
    .command = "config",
    .arguments = "check|show|diff [FILE]",
    .about =
        "Asks the agent's program about its configuration, FILE (default: the installed one) with\n"
        "its drop-ins: check says whether it is sound, show prints every key as it holds, diff\n"
        "those that differ from the built-in defaults.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 2,
};

static const struct {
    const char *word, *option;
} words[] = {{"check", "--check-config"}, {"show", "--show-config"}, {"diff", "--diff-config"}};

/* Becomes legonetd: the one beside this program, else of the PATH. Returns where that fails. */
static void become_agent(const char *option, const char *file)
{
    char path[PATH_MAX];
    static const char name[] = "legonetd";
    const char *arguments[] = {name, option, file, NULL};
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name));
    char *slash = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    if (slash) {
        memcpy(slash + 1, name, sizeof(name));
        execv(path, (char *const *)arguments);
    }
    execvp(name, (char *const *)arguments);
}

int cmd_config(int argc, char **argv)
{
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, NULL, &positional);
    if (code != CLI_GO_ON)
        return code;
    const char *option = NULL;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (!strcmp(positional.items[0], words[i].word))
            option = words[i].option;
    if (!option) {
        code = cli_usage(&SPEC, "want check, show or diff, not \"%s\"", positional.items[0]);
    } else {
        become_agent(option, positional.count > 1 ? positional.items[1] : NULL);
        code = cli_fail(SPEC.command, "legonetd cannot be started: %s", strerror(errno));
    }
    cli_list_clear(&positional);
    return code;
}
