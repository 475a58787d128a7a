/*
 * legonet: the tool. Finds the command in the table and gives it the rest of the command line.
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
};

static const struct command COMMANDS[] = {
#define LEGO_COMMAND(name, function, help) {#name, function, help},
#include "agent/cli/commands.def"
#undef LEGO_COMMAND
};

#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void print_commands(FILE *to)
{
    fprintf(to, "Usage: legonet COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-10s  %s\n", COMMANDS[i].name, COMMANDS[i].help);
    fprintf(to, "\n'legonet COMMAND --help' explains one.\n"
                "Exit status: 0 done, 1 failed, 2 wrong command line.\n");
}

static const char *command_name(const void *context, size_t index)
{
    (void)context;
    return index < COMMAND_COUNT ? COMMANDS[index].name : NULL;
}

static int unknown_command(const char *word)
{
    const char *near = cli_nearest(word, command_name, NULL);
    fprintf(stderr, "legonet: there is no command '%s'", word);
    if (near)
        fprintf(stderr, "; did you mean %s?", near);
    fprintf(stderr, "\nTry 'legonet --help'.\n");
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    /* A reader that goes away is an error of the write, not a death without a word. */
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_commands(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_commands(stdout);
        return cli_finish("--help", CLI_DONE);
    }
    if (strcmp(word, "--version") == 0)
        word = "version";
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(word, COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    }
    return unknown_command(word);
}
