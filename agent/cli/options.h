/*
 * Command lines of the tool: each command declares its options in a table, one parser reads them
 * and one printer makes --help from the same table, so that help cannot differ from what is
 * accepted.
 *
 * Everything parsed is borrowed from argv or static; only lists are malloc'ed (cli_list_clear).
 */
#ifndef LEGO_CLI_OPTIONS_H
#define LEGO_CLI_OPTIONS_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of every command. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1, /* the work failed, or a comparison does not hold */
    CLI_USAGE = 2,  /* the command line is wrong: nothing was done */
};

/* What cli_parse returns when the command shall go on. */
#define CLI_GO_ON (-1)

enum cli_option_type {
    CLI_END = 0,
    CLI_FLAG,   /* bool: given or not */
    CLI_STRING, /* const char * */
    CLI_UINT,   /* uint64_t, min to max */
    CLI_DOUBLE, /* double, finite, min to max */
    CLI_LIST,   /* struct cli_list: may be given several times, order is kept */
};

struct cli_list {
    const char **items;
    size_t count;
};

struct cli_option {
    const char *name; /* long name, without the dashes */
    char letter;      /* 0: no short form */
    enum cli_option_type type;
    size_t offset;         /* of the field in the command's own struct */
    const char *value;     /* what stands for the value in the help, "FILE"; NULL for a flag */
    const char *otherwise; /* default, read as if it were given; NULL: the field keeps its value */
    const char *help;      /* one line; '\n' continues it */
    double min, max;       /* CLI_UINT and CLI_DOUBLE; both 0: no limit */
};

/* The end of every option table, after the options that all commands share (--help). */
#define CLI_OPTIONS_END \
    {                   \
        .type = CLI_END \
    }

struct cli_spec {
    const char *command;
    const char *arguments; /* the positional ones in the help, "MODEL"; "" for none */
    const char *about;     /* paragraphs under the usage line */
    const struct cli_option *options;
    size_t min_positional, max_positional;
};

/*
 * Reads argv[1..] into `target` (the command's struct) and the positional arguments into
 * `ret_positional` (malloc'ed: cli_list_clear). Prints help for --help/-h. Returns CLI_GO_ON, or
 * the exit code to return at once (after an error the sentence has been printed). Nothing is to be
 * freed unless CLI_GO_ON.
 */
int cli_parse(const struct cli_spec *spec, int argc, char **argv, void *target,
              struct cli_list *ret_positional);

void cli_list_clear(struct cli_list *list);

/* Clears every CLI_LIST field of `target`. */
void cli_options_clear(const struct cli_spec *spec, void *target);

/* Prints the help that cli_parse prints for --help. */
void cli_print_help(const struct cli_spec *spec);

/* Prints "legonet COMMAND: sentence" to stderr; returns CLI_USAGE with a hint at --help. */
int cli_usage(const struct cli_spec *spec, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints "legonet COMMAND: sentence" to stderr; returns CLI_FAILED. */
int cli_fail(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a failed call: the diag's sentence, else the status's text. */
int cli_fail_diag(const char *command, int status, const struct lego_diag *diag);

/*
 * The candidate nearest to a misspelt word (at most two edits, fewer than its length), NULL where
 * none is near. `next(context, index)` gives candidate `index`, NULL at the end.
 */
const char *cli_nearest(const char *word, const char *(*next)(const void *context, size_t index),
                        const void *context);

#endif
