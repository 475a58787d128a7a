#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"

#include <stdio.h>

struct version_options {
    bool json;
};

static const struct cli_option OPTIONS[] = {
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct version_options, json),
     .help = "print JSON: {\"version\"}"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "version",
    .arguments = "",
    .about = "Prints the version of the tool.",
    .options = OPTIONS,
};

int cmd_version(int argc, char **argv)
{
    struct version_options options = {0};
    struct cli_list none = {0};
    int code = cli_parse(&SPEC, argc, argv, &options, &none);
    if (code != CLI_GO_ON)
        return code;
    cli_list_clear(&none);
    if (options.json)
        return cli_print_json(SPEC.command, json_pack("{s:s}", "version", LEGONET_VERSION));
    printf("legonet %s\n", LEGONET_VERSION);
    return cli_finish(SPEC.command, CLI_DONE);
}
