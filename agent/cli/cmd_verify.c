/*
 * legonet verify: is this file whole, and does it still answer as it did when it was written?
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "agent/runtime/legonet.h"

#include <inttypes.h>
#include <stdio.h>

struct verify_options {
    uint64_t threads;
    bool json;
};

static const struct cli_option OPTIONS[] = {
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     .offset = offsetof(struct verify_options, threads),
     .value = "N",
     .otherwise = "0",
     .max = 1024,
     .help = "threads for the self-test, 0: one a core"},
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct verify_options, json),
     .help = "print JSON: {\"ok\", \"file_bytes\", \"sections\", \"selftest\", \"error\"};\n"
             "selftest is \"passed\", \"failed\", \"none\" or \"not run\""},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "verify",
    .arguments = "FILE.lego",
    .about = "Checks a .lego: everything that the reader checks, the checksum of every section,\n"
             "and the self-test, if it holds one. Exit status 1 where something is wrong.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct verify {
    struct lego_model *model;
    uint64_t file_bytes;
    uint32_t section_count;
    const char *selftest;
};

static int run_selftest(struct verify *v, uint32_t threads, struct lego_diag *diag)
{
    const struct lego_session_options options = {.threads = threads};
    struct lego_session *session = NULL;
    int status = lego_session_create(v->model, &options, &session, diag);

    if (status != LEGO_OK)
        return status;
    status = lego_session_selftest(session, diag);
    lego_session_destroy(session);
    if (status == LEGO_E_NOT_FOUND) {
        v->selftest = "none";
        return LEGO_OK;
    }
    v->selftest = status == LEGO_OK ? "passed" : "failed";
    return status;
}

static int verify(struct verify *v, const char *path, uint32_t threads, struct lego_diag *diag)
{
    struct lego_package *package;
    int status = lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &package, diag);

    if (status != LEGO_OK)
        return status;
    v->file_bytes = package->file_bytes;
    lego_package_sections(package, &v->section_count);
    status = lego_model_from_package(package, NULL, &v->model, diag);
    if (status == LEGO_OK)
        status = run_selftest(v, threads, diag);
    return status;
}

static int print_json(const struct verify *v, int status, const struct lego_diag *diag)
{
    const int code = cli_print_json(
        SPEC.command,
        json_pack("{s:b,s:I,s:I,s:s,s:s?}", "ok", status == LEGO_OK, "file_bytes",
                  (json_int_t)v->file_bytes, "sections", (json_int_t)v->section_count, "selftest",
                  v->selftest, "error", status == LEGO_OK ? NULL : lego_diag_text(diag, status)));

    return code == CLI_DONE && status != LEGO_OK ? CLI_FAILED : code;
}

int cmd_verify(int argc, char **argv)
{
    struct verify_options options = {0};
    struct verify v = {.selftest = "not run"};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list files;
    int code = cli_parse(&SPEC, argc, argv, &options, &files);

    if (code != CLI_GO_ON)
        return code;
    const int status = verify(&v, files.items[0], (uint32_t)options.threads, &diag);
    if (options.json) {
        code = print_json(&v, status, &diag);
    } else if (status != LEGO_OK) {
        code = cli_fail_diag(SPEC.command, status, &diag);
    } else {
        printf("%s: %" PRIu64 " bytes in %u sections are whole; self-test: %s\n", files.items[0],
               v.file_bytes, v.section_count, v.selftest);
        code = cli_finish(SPEC.command, CLI_DONE);
    }
    lego_model_close(v.model);
    cli_list_clear(&files);
    return code;
}
