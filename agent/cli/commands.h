/*
 * The commands of the tool: commands.def is the list.
 */
#ifndef LEGO_CLI_COMMANDS_H
#define LEGO_CLI_COMMANDS_H

/* Each takes its own arguments, argv[0] being the command's name, and returns an enum cli_exit. */
#define LEGO_COMMAND(name, function, help) int function(int argc, char **argv);
#include "agent/cli/commands.def"
#undef LEGO_COMMAND

#endif
