/*
 * legonet status, models, load, rollback, unload, stats, metrics: asking the agent about itself.
 */
#include "agent/cli/agent.h"
#include "agent/cli/commands.h"
#include "agent/cli/output.h"

#include <stdio.h>
#include <stdlib.h>

/* A command: how its answer is asked for and printed. */
typedef int (*agent_work)(struct lego_client *client, const struct agent_options *options,
                          const char *argument, struct lego_diag *diag, int *ret_code);

static int run(const struct cli_spec *spec, agent_work work, int argc, char **argv)
{
    struct agent_options options = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list positional = {0};
    struct lego_client *client = NULL;
    int code = cli_parse(spec, argc, argv, &options, &positional);
    if (code != CLI_GO_ON)
        return code;
    int status = agent_connect(&options, &client, &diag);
    if (status == LEGO_OK)
        status =
            work(client, &options, positional.count ? positional.items[0] : NULL, &diag, &code);
    if (status != LEGO_OK)
        code = cli_fail_diag(spec->command, status, &diag);
    lego_client_close(client);
    cli_list_clear(&positional);
    return code;
}

/* ---- status ---- */

static const struct cli_option STATUS_OPTIONS[] = {
    AGENT_OPTIONS("print JSON: {\"live\", \"ready\", \"name\", \"version\", \"extensions\"}"),
    CLI_OPTIONS_END,
};

static const struct cli_spec STATUS = {
    .command = "status",
    .arguments = "",
    .about =
        "Asks the agent how it is. Exit status 0 where it answers and all its configured models\n"
        "serve, 1 otherwise.",
    .options = STATUS_OPTIONS,
};

static int do_status(struct lego_client *client, const struct agent_options *options,
                     const char *argument, struct lego_diag *diag, int *ret_code)
{
    struct lego_client_server *server = NULL;
    (void)argument;
    int status = lego_client_server_get(client, &server, diag);
    if (status != LEGO_OK)
        return status;
    int code = server->live && server->ready ? CLI_DONE : CLI_FAILED;
    if (options->json) {
        json_t *extensions = json_array();
        for (uint32_t i = 0; i < server->extension_count; i++)
            json_array_append_new(extensions, json_string(server->extensions[i]));
        int printed = cli_print_json(
            STATUS.command,
            json_pack("{s:b, s:b, s:s, s:s, s:o}", "live", server->live, "ready", server->ready,
                      "name", server->name, "version", server->version, "extensions", extensions));
        code = printed == CLI_DONE ? code : printed;
    } else {
        printf("%s %s: %s, %s\n", server->name, server->version, server->live ? "live" : "not live",
               server->ready ? "ready" : "not ready: some models do not serve ('legonet models')");
        code = cli_finish(STATUS.command, code);
    }
    lego_client_server_free(server);
    *ret_code = code;
    return LEGO_OK;
}

int cmd_status(int argc, char **argv)
{
    return run(&STATUS, do_status, argc, argv);
}

/* ---- models ---- */

static const struct cli_option MODELS_OPTIONS[] = {
    AGENT_OPTIONS(
        "print JSON: {\"models\": [{\"name\", \"version\", \"state\", \"reason\"}, ...]}"),
    CLI_OPTIONS_END,
};

static const struct cli_spec MODELS = {
    .command = "models",
    .arguments = "",
    .about = "Lists the models that the agent knows, and whether they serve.",
    .options = MODELS_OPTIONS,
};

static json_t *models_json(const struct lego_client_list *list)
{
    json_t *models = json_array();
    for (uint32_t i = 0; i < list->count; i++)
        json_array_append_new(models,
                              json_pack("{s:s, s:s, s:s, s:s}", "name", list->models[i].name,
                                        "version", list->models[i].version, "state",
                                        list->models[i].state, "reason", list->models[i].reason));
    return json_pack("{s:o}", "models", models);
}

static int do_models(struct lego_client *client, const struct agent_options *options,
                     const char *argument, struct lego_diag *diag, int *ret_code)
{
    struct lego_client_list *list = NULL;
    (void)argument;
    int status = lego_client_list_get(client, &list, diag);
    if (status != LEGO_OK)
        return status;
    if (options->json) {
        *ret_code = cli_print_json(MODELS.command, models_json(list));
    } else {
        printf("%-24s %-8s %-12s %s\n", "MODEL", "VERSION", "STATE", "REASON");
        for (uint32_t i = 0; i < list->count; i++)
            printf("%-24s %-8s %-12s %s\n", list->models[i].name, list->models[i].version,
                   list->models[i].state, list->models[i].reason);
        *ret_code = cli_finish(MODELS.command, CLI_DONE);
    }
    lego_client_list_free(list);
    return LEGO_OK;
}

int cmd_models(int argc, char **argv)
{
    return run(&MODELS, do_models, argc, argv);
}

/* ---- load and unload ---- */

static const struct cli_option LOAD_OPTIONS[] = {
    AGENT_OPTIONS("print JSON: {\"model\", \"ok\"}"),
    CLI_OPTIONS_END,
};

static const struct cli_spec LOAD = {
    .command = "load",
    .arguments = "NAME",
    .about =
        "Has the agent load a model (again) from its configured path or the model folder, and\n"
        "waits until it serves. Where that fails, an older one goes on serving.",
    .options = LOAD_OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

static const struct cli_spec UNLOAD = {
    .command = "unload",
    .arguments = "NAME",
    .about = "Has the agent stop serving a model, until it is loaded or the configuration is read\n"
             "again. Requests that are running finish.",
    .options = LOAD_OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

static const struct cli_spec ROLLBACK = {
    .command = "rollback",
    .arguments = "NAME",
    .about =
        "Has the agent go back to what served before the last switch: to the file that a newer\n"
        "one of the same version replaced, else to the next lower version. 'legonet load' goes\n"
        "forward again.",
    .options = LOAD_OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

static int tell_done(const struct cli_spec *spec, const struct agent_options *options,
                     const char *name, const char *text)
{
    if (options->json)
        return cli_print_json(spec->command, json_pack("{s:s, s:b}", "model", name, "ok", 1));
    printf("%s: %s\n", name, text);
    return cli_finish(spec->command, CLI_DONE);
}

static int do_load(struct lego_client *client, const struct agent_options *options,
                   const char *argument, struct lego_diag *diag, int *ret_code)
{
    int status = lego_client_load(client, argument, diag);
    if (status == LEGO_OK)
        *ret_code = tell_done(&LOAD, options, argument, "loaded");
    return status;
}

static int do_unload(struct lego_client *client, const struct agent_options *options,
                     const char *argument, struct lego_diag *diag, int *ret_code)
{
    int status = lego_client_unload(client, argument, diag);
    if (status == LEGO_OK)
        *ret_code = tell_done(&UNLOAD, options, argument, "unloaded");
    return status;
}

static int do_rollback(struct lego_client *client, const struct agent_options *options,
                       const char *argument, struct lego_diag *diag, int *ret_code)
{
    int status = lego_client_rollback(client, argument, diag);
    if (status == LEGO_OK)
        *ret_code = tell_done(&ROLLBACK, options, argument, "rolled back");
    return status;
}

int cmd_rollback(int argc, char **argv)
{
    return run(&ROLLBACK, do_rollback, argc, argv);
}

int cmd_load(int argc, char **argv)
{
    return run(&LOAD, do_load, argc, argv);
}

int cmd_unload(int argc, char **argv)
{
    return run(&UNLOAD, do_unload, argc, argv);
}

/* ---- stats ---- */

static const struct cli_option STATS_OPTIONS[] = {
    AGENT_OPTIONS("print JSON: {\"models\": [{\"name\", \"version\", \"inference_count\", ...}]}"),
    CLI_OPTIONS_END,
};

static const struct cli_spec STATS = {
    .command = "stats",
    .arguments = "[NAME]",
    .about = "Prints what the agent has counted for each model, or for one, since it was loaded:\n"
             "inferences, failures, mean times of a request in all, waiting, and computing.",
    .options = STATS_OPTIONS,
    .max_positional = 1,
};

static json_t *stats_json(const struct lego_client_stats *stats)
{
    json_t *models = json_array();
    for (uint32_t i = 0; i < stats->count; i++) {
        const struct lego_client_stats_entry *m = &stats->models[i];
        json_array_append_new(
            models,
            json_pack(
                "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
                m->name, "version", m->version, "inference_count", (json_int_t)m->inference_count,
                "execution_count", (json_int_t)m->execution_count, "last_inference_ms",
                (json_int_t)m->last_inference_ms, "success_count", (json_int_t)m->success_count,
                "success_ns", (json_int_t)m->success_ns, "fail_count", (json_int_t)m->fail_count,
                "fail_ns", (json_int_t)m->fail_ns, "queue_ns", (json_int_t)m->queue_ns,
                "compute_input_ns", (json_int_t)m->compute_input_ns, "compute_infer_ns",
                (json_int_t)m->compute_infer_ns, "compute_output_ns",
                (json_int_t)m->compute_output_ns, "memory_bytes", (json_int_t)m->memory_bytes));
    }
    return json_pack("{s:o}", "models", models);
}

static double mean_us(uint64_t ns, uint64_t count)
{
    return count ? (double)ns / (double)count * 1e-3 : 0;
}

static int do_stats(struct lego_client *client, const struct agent_options *options,
                    const char *argument, struct lego_diag *diag, int *ret_code)
{
    struct lego_client_stats *stats = NULL;
    int status = lego_client_stats_get(client, argument, &stats, diag);
    if (status != LEGO_OK)
        return status;
    if (options->json) {
        *ret_code = cli_print_json(STATS.command, stats_json(stats));
    } else {
        printf("%-24s %-8s %10s %8s %10s %10s %10s %10s\n", "MODEL", "VERSION", "INFERENCES",
               "FAILED", "MEAN us", "QUEUE us", "INFER us", "MEMORY MB");
        for (uint32_t i = 0; i < stats->count; i++) {
            const struct lego_client_stats_entry *m = &stats->models[i];
            printf("%-24s %-8s %10llu %8llu %10.0f %10.0f %10.0f %10.2f\n", m->name, m->version,
                   (unsigned long long)m->inference_count, (unsigned long long)m->fail_count,
                   mean_us(m->success_ns, m->success_count), mean_us(m->queue_ns, m->success_count),
                   mean_us(m->compute_infer_ns, m->success_count), (double)m->memory_bytes * 1e-6);
        }
        *ret_code = cli_finish(STATS.command, CLI_DONE);
    }
    lego_client_stats_free(stats);
    return LEGO_OK;
}

int cmd_stats(int argc, char **argv)
{
    return run(&STATS, do_stats, argc, argv);
}

/* ---- metrics ---- */

static const struct cli_option METRICS_OPTIONS[] = {
    AGENT_OPTIONS("print JSON: {\"text\"}"),
    CLI_OPTIONS_END,
};

static const struct cli_spec METRICS = {
    .command = "metrics",
    .arguments = "",
    .about = "Prints what the agent has counted in Prometheus' text format.",
    .options = METRICS_OPTIONS,
};

static int do_metrics(struct lego_client *client, const struct agent_options *options,
                      const char *argument, struct lego_diag *diag, int *ret_code)
{
    char *text = NULL;
    (void)argument;
    int status = lego_client_metrics_get(client, &text, diag);
    if (status != LEGO_OK)
        return status;
    if (options->json) {
        *ret_code = cli_print_json(METRICS.command, json_pack("{s:s}", "text", text));
    } else {
        fputs(text, stdout);
        *ret_code = cli_finish(METRICS.command, CLI_DONE);
    }
    free(text);
    return LEGO_OK;
}

int cmd_metrics(int argc, char **argv)
{
    return run(&METRICS, do_metrics, argc, argv);
}
