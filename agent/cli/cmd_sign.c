/*
 * legonet keygen and sign: whose models these are, for agents that want to know.
 */
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "codec/sign/sign.h"

#include <limits.h>
#include <stdio.h>

/* ---- keygen ---- */

static const struct cli_option KEYGEN_OPTIONS[] = {CLI_OPTIONS_END};

static const struct cli_spec KEYGEN = {
    .command = "keygen",
    .arguments = "NAME",
    .about =
        "Makes a pair of Ed25519 keys: NAME.key, which signs and must stay secret (it has no\n"
        "password, its owner alone may read it), and NAME.pub, which is checked with. Files that\n"
        "are there are left alone. The files are minisign's. Prints the public key as the\n"
        "agent's configuration (signatures.keys) wants it.",
    .options = KEYGEN_OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

static int make_pair(const char *name, struct lego_diag *diag)
{
    char secret_path[PATH_MAX], public_path[PATH_MAX];
    struct sign_secret_key secret;
    struct sign_public_key public;
    if (snprintf(secret_path, PATH_MAX, "%s.key", name) >= PATH_MAX ||
        snprintf(public_path, PATH_MAX, "%s.pub", name) >= PATH_MAX)
        return lego_fail(diag, LEGO_E_INVALID, "the name is too long");
    int status = sign_keys_make(&secret, &public, diag);
    if (status == LEGO_OK)
        status = sign_keys_write(&secret, &public, secret_path, public_path, diag);
    sign_secret_clear(&secret);
    if (status == LEGO_OK)
        printf("%s\n", sign_public_text(&public).text);
    return status;
}

int cmd_keygen(int argc, char **argv)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list names;
    int code = cli_parse(&KEYGEN, argc, argv, NULL, &names);
    if (code != CLI_GO_ON)
        return code;
    int status = make_pair(names.items[0], &diag);
    code = status == LEGO_OK ? cli_finish(KEYGEN.command, CLI_DONE)
                             : cli_fail_diag(KEYGEN.command, status, &diag);
    cli_list_clear(&names);
    return code;
}

/* ---- sign ---- */

struct sign_options {
    const char *key, *output;
};

static const struct cli_option SIGN_OPTIONS[] = {
    {.name = "key",
     .letter = 'k',
     .type = CLI_STRING,
     .offset = offsetof(struct sign_options, key),
     .value = "NAME.key",
     .help = "the secret key, of 'legonet keygen' or minisign without a password"},
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     .offset = offsetof(struct sign_options, output),
     .value = "OUT.lego",
     .help = "where the signed file goes (default: in the place of FILE.lego)"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SIGN = {
    .command = "sign",
    .arguments = "FILE.lego",
    .about =
        "Checks every checksum of a .lego and adds a signature, or replaces the one that it has.\n"
        "The file appears whole or not at all, so an agent may be serving the one before.",
    .options = SIGN_OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

int cmd_sign(int argc, char **argv)
{
    struct sign_options options = {0};
    struct sign_secret_key key;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list files;
    int code = cli_parse(&SIGN, argc, argv, &options, &files);
    if (code != CLI_GO_ON)
        return code;
    if (!options.key) {
        cli_list_clear(&files);
        return cli_usage(&SIGN, "--key is needed");
    }
    const char *output = options.output ? options.output : files.items[0];
    int status = sign_secret_load(options.key, &key, &diag);
    if (status == LEGO_OK)
        status = sign_file(files.items[0], output, &key, &diag);
    if (status == LEGO_OK) {
        printf("%s: signed by key %s\n", output, sign_id_text(key.id).text);
        code = cli_finish(SIGN.command, CLI_DONE);
    } else {
        code = cli_fail_diag(SIGN.command, status, &diag);
    }
    sign_secret_clear(&key);
    cli_list_clear(&files);
    return code;
}
