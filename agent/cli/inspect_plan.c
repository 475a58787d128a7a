#include "agent/cli/inspect_plan.h"

#include "agent/cli/model.h"
#include "agent/cli/output.h"
#include "codec/encode/examples.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND "inspect"

struct planned {
    struct lego_model *model;
    struct lego_session *session;
    struct lego_io *inputs, *outputs;
    uint32_t input_count, output_count;
};

static int make_input(struct planned *p, uint32_t index, struct lego_diag *diag)
{
    const struct lego_value *value = lego_model_input(p->model, index);
    struct lego_io *io = &p->inputs[index];
    size_t elems;
    int status = encode_example_shape(lego_model_package(p->model), index, &io->shape, diag);

    if (status != LEGO_OK)
        return status;
    status = lego_shape_elems(&io->shape, &elems);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "input '%s' is too large", value->name);
    io->dtype = value->dtype;
    io->bytes = elems * lego_dtype_bytes(io->dtype);
    io->data = calloc(1, io->bytes + 1);
    return io->data ? LEGO_OK
                    : lego_fail(diag, LEGO_E_NOMEM, "no memory for input '%s'", value->name);
}

/* Runs once: what follows from the data is planned then. */
static int run(struct planned *p, const char *path, struct lego_diag *diag)
{
    const struct lego_session_options options = {.threads = 1};
    const struct lego_model_options how = {.verify = LEGO_VERIFY_CHECKSUMS};
    int status = cli_model_open(path, &how, &p->model, diag);

    if (status == LEGO_OK)
        status = lego_session_create(p->model, &options, &p->session, diag);
    if (status != LEGO_OK)
        return status;
    p->input_count = lego_model_input_count(p->model);
    p->output_count = lego_model_output_count(p->model);
    p->inputs = calloc((size_t)p->input_count + 1, sizeof(*p->inputs));
    p->outputs = calloc((size_t)p->output_count + 1, sizeof(*p->outputs));
    if (!p->inputs || !p->outputs)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    for (uint32_t i = 0; status == LEGO_OK && i < p->input_count; i++)
        status = make_input(p, i, diag);
    lego_session_profile(p->session, true);
    if (status == LEGO_OK)
        status = lego_session_run(p->session, p->inputs, p->input_count, p->outputs,
                                  p->output_count, diag);
    return status;
}

static uint32_t count_conversions(const struct lego_step_time *steps, uint32_t count)
{
    uint32_t conversions = 0;

    for (uint32_t s = 0; s < count; s++)
        conversions += strcmp(steps[s].op, "Convert") == 0;
    return conversions;
}

static int print_plan_json(const struct planned *p, const struct lego_step_time *steps,
                           uint32_t count)
{
    json_t *list = json_array();

    for (uint32_t s = 0; s < count; s++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:I}", "operator", steps[s].op, "name",
                                              steps[s].name, "macs", (json_int_t)steps[s].macs));
    return cli_print_json(COMMAND,
                          json_pack("{s:o,s:I,s:I}", "steps", list, "conversions",
                                    (json_int_t)count_conversions(steps, count), "session_bytes",
                                    (json_int_t)lego_session_bytes(p->session)));
}

static int print_plan(const struct planned *p, const struct lego_step_time *steps, uint32_t count)
{
    const struct lego_graph *graph = lego_model_package(p->model)->graph;
    char shape[128];

    for (uint32_t i = 0; i < p->input_count; i++)
        printf("input      %s %s %s\n", lego_model_input(p->model, i)->name,
               lego_dtype_name(p->inputs[i].dtype),
               lego_shape_format(&p->inputs[i].shape, graph, shape, sizeof(shape)));
    printf("steps      %" PRIu32 ", of which %" PRIu32 " only change layouts\n", count,
           count_conversions(steps, count));
    printf("memory     %zu bytes for activations and scratch\n\n", lego_session_bytes(p->session));
    printf("%-18s %12s  %s\n", "OPERATOR", "MILLION MACS", "NODE");
    for (uint32_t s = 0; s < count; s++)
        printf("%-18s %12.3f  %s\n", steps[s].op, (double)steps[s].macs * 1e-6, steps[s].name);
    return cli_finish(COMMAND, CLI_DONE);
}

int cli_inspect_plan(const char *path, bool json)
{
    struct planned p = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    const int status = run(&p, path, &diag);
    uint32_t count = 0;
    int code;

    if (status != LEGO_OK) {
        code = cli_fail_diag(COMMAND, status, &diag);
    } else {
        const struct lego_step_time *steps = lego_session_steps(p.session, &count);

        code = json ? print_plan_json(&p, steps, count) : print_plan(&p, steps, count);
    }
    for (uint32_t i = 0; p.inputs && i < p.input_count; i++)
        free(p.inputs[i].data);
    free(p.inputs);
    free(p.outputs);
    lego_session_destroy(p.session);
    lego_model_close(p.model);
    return code;
}
