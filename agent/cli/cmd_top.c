/*
 * legonet top: what the agent's models do, now.
 */
#include "agent/cli/agent.h"
#include "agent/cli/commands.h"
#include "agent/cli/output.h"
#include "agent/cli/top_sample.h"

#include <curses.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct top_options {
    struct agent_options agent;
    double interval_s;
    bool once;
};

static const struct cli_option OPTIONS[] = {
    AGENT_OPTIONS(
        "print one JSON object instead of the screen: {\"version\", \"ready\",\n"
        "\"connections\", \"resident_bytes\", \"models\": [{\"name\", \"version\", \"serves\",\n"
        "\"requests_per_s\", \"failures_per_s\", \"p50_ms\", \"p99_ms\", \"queue\",\n"
        "\"resident_bytes\"}, ...]}"),
    {.name = "interval",
     .letter = 'i',
     .type = CLI_DOUBLE,
     .offset = offsetof(struct top_options, interval_s),
     .value = "SECONDS",
     .otherwise = "1",
     .min = 0.05,
     .max = 3600,
     .help = "between two looks"},
    {.name = "once",
     .letter = '1',
     .type = CLI_FLAG,
     .offset = offsetof(struct top_options, once),
     .help = "print one table and end"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "top",
    .arguments = "",
    .about = "Shows what the agent's models do, busiest first, until q is pressed: requests and\n"
             "failures a second, the times that half and 99 of 100 requests of the last interval\n"
             "took, what waits, and weights in private memory.",
    .options = OPTIONS,
};

#define HEAD "%-28s %8s %10s %8s %9s %9s %6s %10s\n"
#define ROW  "%-28.28s %8.8s %10.1f %8.1f %9s %9s %6.0f %10s\n"

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int take_sample(struct lego_client *client, struct top_sample *ret_sample,
                       struct lego_diag *diag)
{
    char *text;
    int status = lego_client_metrics_get(client, &text, diag);
    if (status != LEGO_OK)
        return status;
    bool read = top_read(text, now_ns(), ret_sample);
    free(text);
    return read ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "no memory for the metrics");
}

static const char *bytes_text(double bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++)
        bytes /= 1024;
    snprintf(text, size, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

static const char *time_text(double ms, char *text, size_t size)
{
    snprintf(text, size, isnan(ms) ? "-" : ms < 10 ? "%.2f" : "%.0f", ms);
    return text;
}

/* The table as text, malloc'ed; NULL: out of memory. */
static char *make_table(const struct top_sample *sample, const struct top_row *rows)
{
    char *table = NULL, memory[24], p50[24], p99[24];
    size_t bytes = 0;
    FILE *out = open_memstream(&table, &bytes);
    if (!out)
        return NULL;
    fprintf(out, "legonet %s: %s, %.0f clients, %s resident\n\n", sample->version,
            sample->ready > 0 ? "ready" : "not ready", sample->connections,
            bytes_text(sample->resident_bytes, memory, sizeof(memory)));
    fprintf(out, HEAD, "MODEL", "VERSION", "REQUESTS/s", "FAILED/s", "p50 ms", "p99 ms", "QUEUE",
            "WEIGHTS");
    for (size_t i = 0; i < sample->model_count; i++) {
        const struct top_model *model = rows[i].model;
        fprintf(out, ROW, model->name, model->version, rows[i].requests_per_s,
                rows[i].failures_per_s, time_text(rows[i].p50_ms, p50, sizeof(p50)),
                time_text(rows[i].p99_ms, p99, sizeof(p99)), model->queue,
                model->serves > 0 ? bytes_text(model->resident_bytes, memory, sizeof(memory))
                                  : "absent");
    }
    if (fclose(out) == 0)
        return table;
    free(table);
    return NULL;
}

static json_t *make_json(const struct top_sample *sample, const struct top_row *rows)
{
    json_t *models = json_array();
    for (size_t i = 0; i < sample->model_count; i++) {
        const struct top_model *model = rows[i].model;
        json_array_append_new(
            models,
            json_pack("{s:s, s:s, s:b, s:f, s:f, s:o, s:o, s:f, s:f}", "name", model->name,
                      "version", model->version, "serves", model->serves > 0, "requests_per_s",
                      rows[i].requests_per_s, "failures_per_s", rows[i].failures_per_s, "p50_ms",
                      cli_json_real(rows[i].p50_ms), "p99_ms", cli_json_real(rows[i].p99_ms),
                      "queue", model->queue, "resident_bytes", model->resident_bytes));
    }
    return json_pack("{s:s, s:b, s:f, s:f, s:o}", "version", sample->version, "ready",
                     sample->ready > 0, "connections", sample->connections, "resident_bytes",
                     sample->resident_bytes, "models", models);
}

/* Prints what has changed between two samples, as JSON or as a table; the screen's where there is
 * one. */
static int show(const struct top_options *options, bool screen, const struct top_sample *before,
                const struct top_sample *after)
{
    struct top_row *rows = calloc(after->model_count + 1, sizeof(*rows));
    if (!rows)
        return CLI_FAILED;
    int code = CLI_DONE;
    top_rows(before, after, rows);
    if (options->agent.json) {
        code = cli_print_json(SPEC.command, make_json(after, rows));
    } else {
        char *table = make_table(after, rows);
        if (!table)
            code = CLI_FAILED;
        else if (screen)
            addstr(table);
        else
            fputs(table, stdout);
        free(table);
    }
    free(rows);
    return code;
}

static int look_once(const struct top_options *options, struct lego_diag *diag, int *ret_code)
{
    struct lego_client *client = NULL;
    struct top_sample before = {0}, after = {0};
    int status = agent_connect(&options->agent, &client, diag);
    if (status == LEGO_OK)
        status = take_sample(client, &before, diag);
    if (status == LEGO_OK) {
        poll(NULL, 0, (int)(options->interval_s * 1000));
        status = take_sample(client, &after, diag);
    }
    if (status == LEGO_OK)
        *ret_code = cli_finish(SPEC.command, show(options, false, &before, &after));
    top_clear(&before);
    top_clear(&after);
    lego_client_close(client);
    return status;
}

/* One look for the screen; connects where there is no connection, which may come back. */
static void look(const struct top_options *options, struct lego_client **client,
                 struct top_sample *before)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct top_sample after = {0};
    int status = *client ? LEGO_OK : agent_connect(&options->agent, client, &diag);
    if (status == LEGO_OK)
        status = take_sample(*client, &after, &diag);
    erase();
    if (status != LEGO_OK) {
        lego_client_close(*client);
        *client = NULL;
        top_clear(before);
        printw("%s\n", lego_diag_text(&diag, status));
    } else {
        show(options, true, before->time_ns ? before : &after, &after);
        top_clear(before);
        *before = after;
    }
    refresh();
}

static int look_on(const struct top_options *options)
{
    struct lego_client *client = NULL;
    struct top_sample before = {0};
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (!terminal)
        return cli_fail(SPEC.command, "the terminal is of no known kind: use --once");
    cbreak();
    noecho();
    curs_set(0);
    timeout((int)(options->interval_s * 1000));
    do
        look(options, &client, &before);
    while (getch() != 'q');
    endwin();
    delscreen(terminal);
    top_clear(&before);
    lego_client_close(client);
    return CLI_DONE;
}

int cmd_top(int argc, char **argv)
{
    struct top_options options = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, &options, &positional);
    if (code != CLI_GO_ON)
        return code;
    cli_list_clear(&positional);
    if (!options.once && !options.agent.json) {
        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
            return cli_fail(SPEC.command, "this is no terminal: use --once or --json");
        return look_on(&options);
    }
    int status = look_once(&options, &diag, &code);
    return status == LEGO_OK ? code : cli_fail_diag(SPEC.command, status, &diag);
}
