/*
 * legonet verify: is this file whole, and does it still answer as it did when it was written?
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "agent/runtime/legonet.h"
#include "codec/sign/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verify_options {
    uint64_t threads;
    struct cli_list keys;
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
    {.name = "key",
     .letter = 'k',
     .type = CLI_LIST,
     .offset = offsetof(struct verify_options, keys),
     .value = "KEY",
     .help = "public key, a file (FILE.pub) or its text: the file must be signed by one of those\n"
             "that are given"},
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct verify_options, json),
     .help = "print JSON: {\"ok\", \"file_bytes\", \"sections\", \"signature\", \"selftest\",\n"
             "\"error\"}; signature is \"none\", \"good\", \"bad\" or \"by KEY-ID\" where that is "
             "none of\n"
             "the keys; selftest is \"passed\", \"failed\", \"none\" or \"not run\""},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "verify",
    .arguments = "FILE.lego",
    .about =
        "Checks a .lego: everything that the reader checks, the checksum of every section, the\n"
        "signature, if there are keys to check it with, and the self-test, if it holds one.\n"
        "Exit status 1 where something is wrong.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct verify {
    struct lego_model *model;
    uint64_t file_bytes;
    uint32_t section_count;
    const char *selftest;
    struct sign_public_key *keys;
    size_t key_count;
    char signature[32];
};

/* A key by the name of its file or by its text. */
static int load_key(const char *word, struct sign_public_key *ret_key, struct lego_diag *diag)
{
    if (strlen(word) == SIGN_PUBLIC_CHARS && access(word, F_OK) != 0)
        return sign_public_parse(word, SIGN_PUBLIC_CHARS, ret_key, diag);
    return sign_public_load(word, ret_key, diag);
}

static int load_keys(struct verify *v, const struct cli_list *words, struct lego_diag *diag)
{
    v->keys = calloc(words->count + 1, sizeof(*v->keys));
    if (!v->keys)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for keys");
    for (; v->key_count < words->count; v->key_count++) {
        int status = load_key(words->items[v->key_count], &v->keys[v->key_count], diag);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static int check_signature(struct verify *v, int fd, const char *path, struct lego_diag *diag)
{
    struct sign_result result;
    int status = sign_verify_fd(fd, path, v->keys, v->key_count, &result, diag);
    if (status != LEGO_OK)
        return status;
    const struct sign_id_text id = sign_id_text(result.id);
    if (result.verdict == SIGN_UNKNOWN)
        snprintf(v->signature, sizeof(v->signature), "by %s", id.text);
    else
        snprintf(v->signature, sizeof(v->signature), "%s",
                 result.verdict == SIGN_NONE  ? "none"
                 : result.verdict == SIGN_BAD ? "bad"
                                              : "good");
    if (v->key_count == 0 || result.verdict == SIGN_GOOD)
        return LEGO_OK;
    if (result.verdict == SIGN_BAD)
        return lego_fail(diag, LEGO_E_CHECKSUM,
                         "%s: the signature by key %s does not hold: the file is not what was "
                         "signed",
                         path, id.text);
    return result.verdict == SIGN_NONE
               ? lego_fail(diag, LEGO_E_PERMISSION, "%s: it is not signed", path)
               : lego_fail(diag, LEGO_E_PERMISSION, "%s: signed by key %s, which was not given",
                           path, id.text);
}

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

static int open_model(struct verify *v, const char *path, struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    int status = lego_package_open_fd(fd, path, LEGO_VERIFY_CHECKSUMS, &package, diag);
    if (status == LEGO_OK) {
        v->file_bytes = package->file_bytes;
        lego_package_sections(package, &v->section_count);
        status = check_signature(v, fd, path, diag);
    }
    close(fd);
    if (status != LEGO_OK)
        lego_package_destroy(package);
    else
        status = lego_model_from_package(package, NULL, &v->model, diag);
    return status;
}

static int verify(struct verify *v, const char *path, const struct verify_options *options,
                  struct lego_diag *diag)
{
    int status = load_keys(v, &options->keys, diag);

    if (status == LEGO_OK)
        status = open_model(v, path, diag);
    if (status == LEGO_OK)
        status = run_selftest(v, (uint32_t)options->threads, diag);
    return status;
}

static int print_json(const struct verify *v, int status, const struct lego_diag *diag)
{
    const int code = cli_print_json(
        SPEC.command,
        json_pack("{s:b,s:I,s:I,s:s?,s:s,s:s?}", "ok", status == LEGO_OK, "file_bytes",
                  (json_int_t)v->file_bytes, "sections", (json_int_t)v->section_count, "signature",
                  *v->signature ? v->signature : NULL, "selftest", v->selftest, "error",
                  status == LEGO_OK ? NULL : lego_diag_text(diag, status)));

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
    const int status = verify(&v, files.items[0], &options, &diag);
    if (options.json) {
        code = print_json(&v, status, &diag);
    } else if (status != LEGO_OK) {
        code = cli_fail_diag(SPEC.command, status, &diag);
    } else {
        printf("%s: %" PRIu64 " bytes in %u sections are whole; signature: %s; self-test: %s\n",
               files.items[0], v.file_bytes, v.section_count, v.signature, v.selftest);
        code = cli_finish(SPEC.command, CLI_DONE);
    }
    lego_model_close(v.model);
    free(v.keys);
    cli_options_clear(&SPEC, &options);
    cli_list_clear(&files);
    return code;
}
