#include "agent/cli/output.h"

#include "agent/cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int print_json(const char *command, json_t *root, size_t flags)
{
    if (!root)
        return cli_fail(command, "out of memory");
    int failed = json_dumpf(root, stdout, flags | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (failed)
        return cli_fail(command, "cannot write the JSON to standard output");
    putchar('\n');
    return cli_finish(command, CLI_DONE);
}

int cli_print_json(const char *command, json_t *root)
{
    return print_json(command, root, JSON_INDENT(1));
}

int cli_print_json_line(const char *command, json_t *root)
{
    return print_json(command, root, JSON_COMPACT);
}

int cli_finish(const char *command, int code)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail(command, "cannot write to standard output: %s", strerror(errno));
    return code;
}

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
