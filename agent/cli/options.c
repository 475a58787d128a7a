#include "agent/cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Column at which the help texts of options start. */
#define HELP_COLUMN 28

static const struct cli_option HELP_OPTION = {
    .name = "help",
    .letter = 'h',
    .type = CLI_FLAG,
    .help = "print this and exit",
};

static void *field(const struct cli_option *option, void *target)
{
    return (char *)target + option->offset;
}

static void complain(const char *command, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void complain(const char *command, const char *format, va_list args)
{
    fprintf(stderr, "legonet %s: ", command);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int cli_usage(const struct cli_spec *spec, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(spec->command, format, args);
    va_end(args);
    fprintf(stderr, "Try 'legonet %s --help'.\n", spec->command);
    return CLI_USAGE;
}

int cli_fail(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(command, format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_fail_diag(const char *command, int status, const struct lego_diag *diag)
{
    return cli_fail(command, "%s", lego_diag_text(diag, status));
}

void cli_list_clear(struct cli_list *list)
{
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

static bool list_append(struct cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items)
        return false;
    list->items = items;
    list->items[list->count++] = item;
    return true;
}

void cli_options_clear(const struct cli_spec *spec, void *target)
{
    for (const struct cli_option *o = spec->options; o->type != CLI_END; o++) {
        if (o->type == CLI_LIST)
            cli_list_clear(field(o, target));
    }
}

static int out_of_range(const struct cli_spec *spec, const struct cli_option *o, const char *text)
{
    if (o->min < o->max)
        return cli_usage(spec, "--%s takes a number from %.16g to %.16g, not '%s'", o->name, o->min,
                         o->max, text);
    return cli_usage(spec, "--%s takes a number, not '%s'", o->name, text);
}

static bool in_range(const struct cli_option *o, double value)
{
    return o->min >= o->max || (value >= o->min && value <= o->max);
}

static int set_uint(const struct cli_spec *spec, const struct cli_option *o, const char *text,
                    void *target)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || !in_range(o, (double)value))
        return out_of_range(spec, o, text);
    *(uint64_t *)field(o, target) = value;
    return CLI_GO_ON;
}

static int set_double(const struct cli_spec *spec, const struct cli_option *o, const char *text,
                      void *target)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || !in_range(o, value))
        return out_of_range(spec, o, text);
    *(double *)field(o, target) = value;
    return CLI_GO_ON;
}

static int set_value(const struct cli_spec *spec, const struct cli_option *o, const char *text,
                     void *target)
{
    switch (o->type) {
    case CLI_FLAG:
        *(bool *)field(o, target) = true;
        return CLI_GO_ON;
    case CLI_STRING:
        *(const char **)field(o, target) = text;
        return CLI_GO_ON;
    case CLI_UINT:
        return set_uint(spec, o, text, target);
    case CLI_DOUBLE:
        return set_double(spec, o, text, target);
    case CLI_LIST:
        if (!list_append(field(o, target), text))
            return cli_fail(spec->command, "out of memory");
        return CLI_GO_ON;
    case CLI_END:
        break;
    }
    return CLI_GO_ON;
}

static const struct cli_option *find_long(const struct cli_spec *spec, const char *name,
                                          size_t length)
{
    for (const struct cli_option *o = spec->options; o->type != CLI_END; o++) {
        if (strlen(o->name) == length && memcmp(o->name, name, length) == 0)
            return o;
    }
    if (strlen(HELP_OPTION.name) == length && memcmp(HELP_OPTION.name, name, length) == 0)
        return &HELP_OPTION;
    return NULL;
}

static const struct cli_option *find_short(const struct cli_spec *spec, char letter)
{
    for (const struct cli_option *o = spec->options; o->type != CLI_END; o++) {
        if (o->letter && o->letter == letter)
            return o;
    }
    return letter == HELP_OPTION.letter ? &HELP_OPTION : NULL;
}

static const char *option_name(const void *context, size_t index)
{
    const struct cli_spec *spec = context;
    return spec->options[index].type == CLI_END ? NULL : spec->options[index].name;
}

static int unknown_option(const struct cli_spec *spec, const char *arg)
{
    char word[64];
    snprintf(word, sizeof(word), "%s", arg + (arg[1] == '-' ? 2 : 1));
    word[strcspn(word, "=")] = '\0';
    const char *near = cli_nearest(word, option_name, spec);
    if (near)
        return cli_usage(spec, "there is no option '%s'; did you mean --%s?", arg, near);
    return cli_usage(spec, "there is no option '%s'", arg);
}

/* Reads argv[*at], which starts with '-', and its value; leaves *at at the last word used. */
static int parse_option(const struct cli_spec *spec, int argc, char **argv, int *at, void *target)
{
    const char *arg = argv[*at];
    const char *value = NULL;
    const struct cli_option *o;

    if (arg[1] == '-') {
        size_t length = strcspn(arg + 2, "=");
        o = find_long(spec, arg + 2, length);
        if (arg[2 + length] == '=')
            value = arg + 2 + length + 1;
    } else {
        o = find_short(spec, arg[1]);
        if (arg[2] != '\0')
            value = arg + 2;
    }
    if (!o)
        return unknown_option(spec, arg);
    if (o->type == CLI_FLAG && value)
        return cli_usage(spec, "--%s takes no value, but '%s' gives one", o->name, arg);
    if (o == &HELP_OPTION) {
        cli_print_help(spec);
        return CLI_DONE;
    }
    if (o->type != CLI_FLAG && !value) {
        if (*at + 1 >= argc)
            return cli_usage(spec, "--%s needs a value: %s", o->name, o->value);
        value = argv[++*at];
    }
    return set_value(spec, o, value, target);
}

static int set_defaults(const struct cli_spec *spec, void *target)
{
    for (const struct cli_option *o = spec->options; o->type != CLI_END; o++) {
        if (o->otherwise) {
            int code = set_value(spec, o, o->otherwise, target);
            if (code != CLI_GO_ON)
                return code;
        }
    }
    return CLI_GO_ON;
}

static int check_positional(const struct cli_spec *spec, const struct cli_list *positional)
{
    if (positional->count < spec->min_positional)
        return cli_usage(spec, "too few arguments: it takes %s", spec->arguments);
    if (positional->count > spec->max_positional)
        return cli_usage(spec, "'%s' is one argument too many",
                         positional->items[spec->max_positional]);
    return CLI_GO_ON;
}

int cli_parse(const struct cli_spec *spec, int argc, char **argv, void *target,
              struct cli_list *ret_positional)
{
    struct cli_list positional = {0};
    bool only_positional = false;
    int code = set_defaults(spec, target);

    for (int i = 1; i < argc && code == CLI_GO_ON; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0)
            only_positional = true;
        else if (!only_positional && argv[i][0] == '-' && argv[i][1] != '\0')
            code = parse_option(spec, argc, argv, &i, target);
        else if (!list_append(&positional, argv[i]))
            code = cli_fail(spec->command, "out of memory");
    }
    if (code == CLI_GO_ON)
        code = check_positional(spec, &positional);
    if (code != CLI_GO_ON) {
        cli_list_clear(&positional);
        cli_options_clear(spec, target);
        return code;
    }
    *ret_positional = positional;
    return CLI_GO_ON;
}

static void print_option(const struct cli_option *o)
{
    char left[128];
    int used = o->letter ? snprintf(left, sizeof(left), "  -%c, --%s", o->letter, o->name)
                         : snprintf(left, sizeof(left), "      --%s", o->name);
    if (o->value && used > 0 && (size_t)used < sizeof(left))
        snprintf(left + used, sizeof(left) - (size_t)used, " %s", o->value);

    printf("%-*s", HELP_COLUMN, left);
    if (strlen(left) >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    for (const char *p = o->help; *p; p++) {
        putchar(*p);
        if (*p == '\n')
            printf("%*s", HELP_COLUMN, "");
    }
    if (o->otherwise)
        printf(" (default %s)", o->otherwise);
    putchar('\n');
}

void cli_print_help(const struct cli_spec *spec)
{
    printf("Usage: legonet %s [OPTION]...%s%s\n\n%s\n\nOptions:\n", spec->command,
           spec->arguments[0] ? " " : "", spec->arguments, spec->about);
    for (const struct cli_option *o = spec->options; o->type != CLI_END; o++)
        print_option(o);
    print_option(&HELP_OPTION);
}

/* Levenshtein's distance, words cut at 63 bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t a_length = strnlen(a, 63), b_length = strnlen(b, 63);

    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *cli_nearest(const char *word, const char *(*next)(const void *context, size_t index),
                        const void *context)
{
    const char *best = NULL;
    size_t best_distance = 3;
    const char *candidate;

    for (size_t i = 0; (candidate = next(context, i)) != NULL; i++) {
        size_t distance = edit_distance(word, candidate);
        if (distance < best_distance && distance < strlen(candidate)) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}
