/*
 * legonet export: what a .lego holds, as ONNX for any other runtime.
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "codec/import/import.h"

#include <stdio.h>

struct export_options {
    const char *output;
};

static const struct cli_option OPTIONS[] = {
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     .offset = offsetof(struct export_options, output),
     .value = "OUT.onnx",
     .help = "the file to write"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "export",
    .arguments = "FILE.lego",
    .about = "Writes a .lego as an ONNX model (opset 21) whose fp32 weights are what the bricks\n"
             "decode to, so that any other runtime gives the same answers.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

int cmd_export(int argc, char **argv)
{
    struct export_options options = {0};
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list files;
    int code = cli_parse(&SPEC, argc, argv, &options, &files);

    if (code != CLI_GO_ON)
        return code;
    if (!options.output) {
        code = cli_usage(&SPEC, "say where to write: -o OUT.onnx");
    } else {
        int status = lego_package_open(files.items[0], LEGO_VERIFY_CHECKSUMS, &package, &diag);

        if (status == LEGO_OK)
            status = export_onnx(package, options.output, &diag);
        code = status == LEGO_OK ? CLI_DONE : cli_fail_diag(SPEC.command, status, &diag);
    }
    lego_package_destroy(package);
    cli_list_clear(&files);
    return code;
}
