/* legonetd: the command line. */
#include "agent/service/config.h"
#include "agent/service/log.h"
#include "agent/service/service.h"

#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum option_id {
    OPTION_CONFIG = 'c',
    OPTION_SET = 's',
    OPTION_HELP = 'h',
    OPTION_VERSION = 'V',
    OPTION_CHECK = 256,
    OPTION_SHOW,
    OPTION_DIFF,
    OPTION_SOCKET,
    OPTION_MODELS,
    OPTION_PRINT_CONFIG,
    OPTION_PRINT_REFERENCE,
    OPTION_PRINT_MANUAL,
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"set", required_argument, NULL, OPTION_SET},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"models", required_argument, NULL, OPTION_MODELS},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"show-config", no_argument, NULL, OPTION_SHOW},
    {"diff-config", no_argument, NULL, OPTION_DIFF},
    {"print-config", no_argument, NULL, OPTION_PRINT_CONFIG},
    {"print-reference", no_argument, NULL, OPTION_PRINT_REFERENCE},
    {"print-manual", no_argument, NULL, OPTION_PRINT_MANUAL},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "usage: legonetd [--config FILE] [--socket PATH] [--models DIR] [--set KEY=VALUE]...\n"
    "       legonetd --check-config|--show-config|--diff-config [FILE]\n"
    "\n"
    "The LegoNet agent: serves .lego models to local programs over a Unix socket.\n"
    "\n"
    "  -c, --config FILE      the configuration (default: " LEGO_DEFAULT_CONFIG ";\n"
    "                         built-in defaults where that is absent)\n"
    "  -s, --set KEY=VALUE    overrides a key, as in --set limits.batch=16\n"
    "      --socket PATH      the same as --set socket.path=PATH\n"
    "      --models DIR       the same as --set model_directory=DIR\n"
    "      --check-config     checks the configuration and exits: 0 it is sound, 1 it is not\n"
    "      --show-config      prints the configuration as it holds, drop-ins and --set included\n"
    "      --diff-config      the same for what differs from the built-in defaults\n"
    "      --print-config     prints the built-in configuration, every key explained\n"
    "      --print-reference  prints the reference of all keys as Markdown\n"
    "      --print-manual     prints the manual page of the configuration\n"
    "  -h, --help             prints this\n"
    "  -V, --version          prints the version\n"
    "\n"
    "SIGHUP and changes of the configuration or of the model folders reload; SIGTERM and\n"
    "SIGINT finish what is under way and stop.\n";

struct command_line {
    struct config_source source;
    const char **overrides; /* "key=value" */
    char **made;            /* those that were put together here */
    size_t made_count;
    enum { RUN, CHECK, SHOW, DIFF } work;
};

static void add_override(struct command_line *line, const char *key, const char *value)
{
    char *text = NULL;
    if (key && asprintf(&text, "%s=%s", key, value) < 0)
        exit(EXIT_FAILED);
    if (text)
        line->made[line->made_count++] = text;
    line->overrides[line->source.override_count++] = text ? text : value;
}

/* Returns -1 to go on, else the code to exit with. */
static int parse_option(struct command_line *line, int option)
{
    switch (option) {
    case OPTION_CONFIG:
        line->source.path = optarg;
        line->source.path_given = true;
        return -1;
    case OPTION_SET:
        add_override(line, NULL, optarg);
        return -1;
    case OPTION_SOCKET:
        add_override(line, "socket.path", optarg);
        return -1;
    case OPTION_MODELS:
        add_override(line, "model_directory", optarg);
        return -1;
    case OPTION_CHECK:
        line->work = CHECK;
        return -1;
    case OPTION_SHOW:
        line->work = SHOW;
        return -1;
    case OPTION_DIFF:
        line->work = DIFF;
        return -1;
    case OPTION_PRINT_CONFIG:
        config_print_yaml(stdout);
        return EXIT_DONE;
    case OPTION_PRINT_REFERENCE:
        config_print_reference(stdout);
        return EXIT_DONE;
    case OPTION_PRINT_MANUAL:
        config_print_manual(stdout);
        return EXIT_DONE;
    case OPTION_HELP:
        fputs(help, stdout);
        return EXIT_DONE;
    case OPTION_VERSION:
        puts("legonetd " LEGO_VERSION);
        return EXIT_DONE;
    default:
        fputs("try: legonetd --help\n", stderr);
        return EXIT_USAGE;
    }
}

static int parse_command_line(struct command_line *line, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "c:s:hV", options, NULL)) != -1) {
        int code = parse_option(line, option);
        if (code >= 0)
            return code;
    }
    if (optind < argc && line->work != RUN && !line->source.path_given) {
        line->source.path = argv[optind++];
        line->source.path_given = true;
    }
    if (optind < argc) {
        fprintf(stderr, "legonetd: unexpected argument \"%s\"\ntry: legonetd --help\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

static int run(const struct command_line *line)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config;
    int status = config_source_load(&line->source, &config, &diag);
    if (status == LEGO_OK && line->work != RUN) {
        if (line->work == CHECK)
            printf("%s: sound\n", config->source ? config->source : "built-in defaults");
        else
            status = config_show(stdout, config, line->work == DIFF, &diag);
        config_free(config);
    } else if (status == LEGO_OK) {
        log_open(LOG_JOURNAL_SOCKET);
        log_set_level((enum log_level)config->log_level);
        log_set_format((enum log_format)config->log_format);
        status = service_run(&line->source, config, &diag);
    }
    if (status != LEGO_OK && line->work != RUN)
        fprintf(stderr, "%s\n", lego_diag_text(&diag, status));
    else if (status != LEGO_OK)
        log_error("%s", lego_diag_text(&diag, status));
    log_close();
    return status == LEGO_OK ? EXIT_DONE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    /* Else each thread has an arena with holes of its own, and a switch of models leaves more. */
    mallopt(M_ARENA_MAX, 1);
    struct command_line line = {.source = {.path = LEGO_DEFAULT_CONFIG}};
    line.overrides = calloc((size_t)argc + 1, sizeof(*line.overrides));
    line.made = calloc((size_t)argc + 1, sizeof(*line.made));
    if (!line.overrides || !line.made)
        return EXIT_FAILED;
    line.source.overrides = line.overrides;
    int code = parse_command_line(&line, argc, argv);
    if (code < 0)
        code = run(&line);
    for (size_t i = 0; i < line.made_count; i++)
        free(line.made[i]);
    free(line.made);
    free(line.overrides);
    return code;
}
