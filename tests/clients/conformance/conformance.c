/*
 * Runs the cases of cases.json by the C library; conformance.py does the same by the Python client.
 *
 * usage: conformance CASES      beside an agent, see ../with_agent.c
 */
#include "tests/clients/conformance/conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 120000

struct outcome step_failed(int status, const struct lego_diag *diag)
{
    struct outcome outcome = {.status = status};
    snprintf(outcome.text, sizeof(outcome.text), "%s", lego_diag_text(diag, status));
    return outcome;
}

const char *step_text(const json_t *step, const char *key)
{
    return json_string_value(json_object_get(step, key));
}

/* ---- Steps ---- */

static struct outcome do_infer(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct outcome outcome = {0};
    struct built built;
    int status = request_build(runner, step, &built, &diag);
    if (status == LEGO_OK)
        status = lego_client_infer(runner->client, &built.request, &outcome.result, &diag);
    request_free(&built);
    return status == LEGO_OK ? outcome : step_failed(status, &diag);
}

static struct outcome do_submit(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct handle *handle = &runner->handles[runner->handle_count++];
    struct built built;
    if (runner->handle_count > MAX_HANDLES)
        abort();
    handle->name = step_text(step, "as");
    int status = request_build(runner, step, &built, &diag);
    if (status == LEGO_OK)
        status = lego_client_submit(runner->client, &built.request, &handle->id, &diag);
    request_free(&built);
    return status == LEGO_OK ? (struct outcome){0} : step_failed(status, &diag);
}

static struct handle *find_handle(struct runner *runner, const json_t *step)
{
    const char *name = step_text(step, "for");
    for (uint32_t i = 0; i < runner->handle_count; i++) {
        if (strcmp(runner->handles[i].name, name) == 0)
            return &runner->handles[i];
    }
    abort();
}

/* Keeps every result that comes with its handle until the one that is asked for is there. */
static struct outcome do_wait(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct handle *handle = find_handle(runner, step);
    while (!handle->result) {
        int status = lego_client_wait(runner->client, TIMEOUT_MS, &diag);
        if (status != LEGO_OK)
            return step_failed(status, &diag);
        struct lego_client_result *result = lego_client_next(runner->client);
        for (uint32_t i = 0; i < runner->handle_count; i++) {
            if (runner->handles[i].id == result->id)
                runner->handles[i].result = result;
        }
    }
    struct outcome outcome = {.result = handle->result};
    handle->result = NULL;
    outcome.status = outcome.result->status;
    snprintf(outcome.text, sizeof(outcome.text), "%s", outcome.result->message);
    return outcome;
}

static struct outcome do_cancel(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_client_cancel(runner->client, find_handle(runner, step)->id, &diag);
    return status == LEGO_OK ? (struct outcome){0} : step_failed(status, &diag);
}

static struct outcome do_server(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct outcome outcome = {0};
    (void)step;
    int status = lego_client_server_get(runner->client, &outcome.server, &diag);
    return status == LEGO_OK ? outcome : step_failed(status, &diag);
}

static struct outcome do_metrics(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct outcome outcome = {0};
    char *text;
    (void)step;
    int status = lego_client_metrics_get(runner->client, &text, &diag);
    if (status != LEGO_OK)
        return step_failed(status, &diag);
    snprintf(outcome.text, sizeof(outcome.text), "%s", text);
    free(text);
    return outcome;
}

static struct outcome do_models(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct outcome outcome = {0};
    (void)step;
    int status = lego_client_list_get(runner->client, &outcome.list, &diag);
    return status == LEGO_OK ? outcome : step_failed(status, &diag);
}

static struct outcome do_model(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct outcome outcome = {0};
    int status = lego_client_model_get(runner->client, step_text(step, "model"),
                                       step_text(step, "version"), &outcome.model, &diag);
    return status == LEGO_OK ? outcome : step_failed(status, &diag);
}

static struct outcome by_name(struct runner *runner, const json_t *step,
                              int (*call)(struct lego_client *, const char *, struct lego_diag *))
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = call(runner->client, step_text(step, "model"), &diag);
    return status == LEGO_OK ? (struct outcome){0} : step_failed(status, &diag);
}

static struct outcome do_load(struct runner *runner, const json_t *step)
{
    return by_name(runner, step, lego_client_load);
}

static struct outcome do_unload(struct runner *runner, const json_t *step)
{
    return by_name(runner, step, lego_client_unload);
}

static struct outcome do_rollback(struct runner *runner, const json_t *step)
{
    return by_name(runner, step, lego_client_rollback);
}

static const struct {
    const char *name;
    struct outcome (*run)(struct runner *runner, const json_t *step);
} STEPS[] = {
    {"infer", do_infer},
    {"submit", do_submit},
    {"wait", do_wait},
    {"cancel", do_cancel},
    {"server", do_server},
    {"metrics", do_metrics},
    {"models", do_models},
    {"model", do_model},
    {"load", do_load},
    {"unload", do_unload},
    {"rollback", do_rollback},
    {"region", step_region},
    {"unregister", step_unregister},
};

static void outcome_clear(struct outcome *outcome)
{
    lego_client_result_free(outcome->result);
    lego_client_server_free(outcome->server);
    lego_client_list_free(outcome->list);
    lego_client_model_free(outcome->model);
}

/* True where the step does what it is to do; says otherwise. */
static bool run_step(struct runner *runner, const json_t *step)
{
    const char *name = step_text(step, "do");
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
        if (strcmp(STEPS[i].name, name) != 0)
            continue;
        struct outcome outcome = STEPS[i].run(runner, step);
        bool holds = outcome_check(runner, step, &outcome);
        outcome_clear(&outcome);
        return holds;
    }
    printf("there is no step \"%s\"\n", name);
    return false;
}

static bool run_case(const json_t *one)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct runner runner = {0};
    const json_t *steps = json_object_get(one, "steps");
    const struct lego_client_options options = {.timeout_ms = TIMEOUT_MS};
    bool holds = lego_client_connect(NULL, &options, &runner.client, &diag) == LEGO_OK;
    for (size_t i = 0; holds && i < json_array_size(steps); i++) {
        holds = run_step(&runner, json_array_get(steps, i));
        if (!holds)
            printf("    in step %zu\n", i);
    }
    for (uint32_t i = 0; i < runner.handle_count; i++)
        lego_client_result_free(runner.handles[i].result);
    regions_close(&runner);
    lego_client_close(runner.client);
    printf("%s: %s\n", holds ? "ok" : "FAILED", step_text(one, "name"));
    return holds;
}

int main(int argc, char **argv)
{
    json_error_t error;
    json_t *cases = argc == 2 ? json_load_file(argv[1], 0, &error) : NULL;
    size_t held = 0, count = json_array_size(cases);
    if (count == 0) {
        fprintf(stderr, "usage: conformance CASES\n");
        return 2;
    }
    for (size_t i = 0; i < count; i++)
        held += run_case(json_array_get(cases, i));
    printf("%zu of %zu cases hold\n", held, count);
    json_decref(cases);
    return held == count ? 0 : 1;
}
