/*
 * legonet infer: inferences by the agent.
 */
#include "agent/cli/agent.h"
#include "agent/cli/commands.h"
#include "agent/cli/infer.h"
#include "agent/cli/source.h"
#include "agent/cli/tensor_file.h"
#include "codec/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_INPUTS 64
#define MAX_PATHS  100000
#define MAX_TRIES  3

#define OPTION(field_) .offset = offsetof(struct infer_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "model",
     .letter = 'm',
     .type = CLI_STRING,
     OPTION(model),
     .value = "NAME",
     .help = "the model (required)"},
    {.name = "model-version",
     .type = CLI_STRING,
     OPTION(version),
     .value = "V",
     .help = "its version (default: the highest that serves)"},
    {.name = "top",
     .letter = 'k',
     .type = CLI_UINT,
     OPTION(top),
     .value = "K",
     .max = 1000000,
     .help = "the K best classes of the first output; 0: the outputs' numbers\n"
             "(default: 5 for a picture, 0 for tensors)"},
    {.name = "priority",
     .type = CLI_UINT,
     OPTION(priority),
     .value = "P",
     .max = 10,
     .help = "1 goes first, 10 last (default: the model's)"},
    {.name = "deadline",
     .type = CLI_DOUBLE,
     OPTION(deadline_ms),
     .value = "MS",
     .max = 86400000,
     .help = "milliseconds that it may wait; after that it is not run (default: the model's)"},
    {.name = "stream",
     .type = CLI_STRING,
     OPTION(stream),
     .value = "NAME",
     .help = "the stream it is a frame of"},
    {.name = "draw",
     .letter = 'o',
     .type = CLI_STRING,
     OPTION(draw),
     .value = "OUT",
     .help =
         "draw classes, boxes, masks and times into each picture and write it to OUT (.png; the\n"
         "latest stays), or into the folder OUT, which is made: NAME.png, of streams\n"
         "NAME-000001.png"},
    {.name = "watch",
     .type = CLI_FLAG,
     OPTION(watch),
     .help = "go on with the pictures that come to the folders"},
    {.name = "frames",
     .type = CLI_UINT,
     OPTION(frames),
     .value = "N",
     .max = 1e15,
     .help = "stop after N pictures (default: at the end)"},
    AGENT_OPTIONS(
        "print JSON: {\"model\", \"version\", \"us\", \"queue_us\", \"decode_us\",\n"
        "\"compute_us\", \"classes\": [{\"index\", \"score\",\n"
        "\"label\"}]} or, for numbers, \"outputs\": [{\"name\", \"datatype\", \"shape\",\n"
        "\"data\"}] or, of a model that describes them, \"answers\": [{\"head\", \"classes\",\n"
        "\"detections\": [{\"box\", \"score\", \"index\", \"label\", \"keypoints\"}],\n"
        "\"text\", \"mask\": {\"box\", \"size\", \"runs\": [value, how often, ...]}}]; where more "
        "than one picture is asked for, one such object a line with\n"
        "\"source\" and, of a stream, \"frame\""),
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "infer",
    .arguments = "[NAME=]FILE...",
    .about =
        "Has the agent run a model on pictures, which become its input as the model says, or on\n"
        "tensors (.pb, .npy), bound by NAME, by the name in a .pb, else in order. Pictures are\n"
        "PNG or JPEG files, folders of them, and streams: YUV4MPEG2 (.y4m), JPEG pictures one\n"
        "after the other (.mjpeg), - for standard input. Of more than one picture each has a\n"
        "line. The time is that of the request: sending, waiting, inference, answer.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = MAX_PATHS,
};

double infer_now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

/* The input of that name, or the count where there is none. */
static uint32_t find_input(const struct lego_client_model *model, const char *name, size_t length)
{
    uint32_t i = 0;
    while (i < model->input_count && (strlen(model->inputs[i].name) != length ||
                                      memcmp(model->inputs[i].name, name, length) != 0))
        i++;
    return i;
}

/* Loads "[NAME=]FILE" as input number `order`, or the one that is named. */
static int load_input(const struct lego_client_model *model, const char *text, uint32_t order,
                      struct lego_tensor *ret_tensor, struct lego_client_tensor *ret_input,
                      struct lego_diag *diag)
{
    const char *equal = strchr(text, '=');
    uint32_t at = equal ? find_input(model, text, (size_t)(equal - text)) : model->input_count;
    const char *file = at < model->input_count ? equal + 1 : text;
    int status = cli_tensor_load(file, NULL, ret_tensor, diag);
    if (status != LEGO_OK)
        return status;
    if (at == model->input_count)
        at = find_input(model, ret_tensor->name, strlen(ret_tensor->name));
    if (at == model->input_count)
        at = order;
    if (at >= model->input_count)
        return lego_fail(diag, LEGO_E_INVALID, "%s is one input too many: the model has %u", file,
                         model->input_count);
    *ret_input = (struct lego_client_tensor){.name = model->inputs[at].name,
                                             .dtype = ret_tensor->dtype,
                                             .shape = ret_tensor->shape,
                                             .data = ret_tensor->data,
                                             .bytes = ret_tensor->bytes};
    return LEGO_OK;
}

static int infer_tensors(struct lego_client *client, const struct lego_client_model *model,
                         const struct cli_list *files, uint32_t top,
                         struct lego_client_result **ret_result, double *ret_us,
                         struct lego_diag *diag)
{
    struct lego_tensor tensors[MAX_INPUTS] = {0};
    struct lego_client_tensor inputs[MAX_INPUTS] = {0};
    uint32_t count = 0;
    int status = files->count <= MAX_INPUTS
                     ? LEGO_OK
                     : lego_fail(diag, LEGO_E_LIMIT, "more than %d inputs", MAX_INPUTS);
    for (; status == LEGO_OK && count < files->count; count++)
        status =
            load_input(model, files->items[count], count, &tensors[count], &inputs[count], diag);
    if (status == LEGO_OK) {
        const char *output = model->output_count ? model->outputs[0].name : "";
        struct lego_client_request request = {.model = model->name,
                                              .version = model->version,
                                              .inputs = inputs,
                                              .input_count = count,
                                              .outputs = &output,
                                              .output_count = top ? 1 : 0,
                                              .top = top};
        double start = infer_now_us();
        status = lego_client_infer(client, &request, ret_result, diag);
        *ret_us = infer_now_us() - start;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].name)
            import_tensor_clear(&tensors[i]);
    }
    return status;
}

static int infer(const struct infer_options *options, const struct cli_list *files,
                 struct lego_diag *diag, int *ret_code)
{
    struct lego_client *client = NULL;
    struct lego_client_model *model = NULL;
    struct lego_client_result *result = NULL;
    bool pictures = options->watch || source_takes(files->items[0]);
    uint32_t top = options->top == INFER_TOP_NOT_GIVEN ? 0 : (uint32_t)options->top;
    double us = 0;
    const struct lego_client_schedule schedule = {.priority = (uint32_t)options->priority,
                                                  .timeout_us =
                                                      (uint64_t)(options->deadline_ms * 1e3 + 0.5),
                                                  .stream = options->stream};

    int status = agent_connect(&options->agent, &client, diag);
    if (status == LEGO_OK)
        status = lego_client_set_schedule(client, &schedule, diag);
    if (status == LEGO_OK)
        status = lego_client_model_get(client, options->model, options->version, &model, diag);
    if (status == LEGO_OK && pictures) {
        status = infer_pictures(options, client, model, files, diag, ret_code);
    } else if (status == LEGO_OK) {
        status = infer_tensors(client, model, files, top, &result, &us, diag);
        if (status == LEGO_OK)
            *ret_code = infer_print(result, top > 0, options->agent.json, us);
    }
    lego_client_result_free(result);
    lego_client_model_free(model);
    lego_client_close(client);
    return status;
}

/* An agent that stops for another to take its place closes idle connections, ours before its
 * request has come, say; the socket stays where systemd holds it. Asking again does no harm, but
 * where answers have been printed: pictures, when they are many, see to it one by one. */
static int infer_again(const struct infer_options *options, const struct cli_list *files,
                       struct lego_diag *diag, int *ret_code)
{
    bool once = options->watch || (source_takes(files->items[0]) &&
                                   (files->count > 1 || !source_is_picture(files->items[0])));
    int status = LEGO_E_CLOSED;
    for (int tries = once ? MAX_TRIES - 1 : 0; status == LEGO_E_CLOSED && tries < MAX_TRIES;
         tries++) {
        *diag = (struct lego_diag)LEGO_DIAG_INIT;
        status = infer(options, files, diag, ret_code);
    }
    return status;
}

int cmd_infer(int argc, char **argv)
{
    struct infer_options options = {.top = INFER_TOP_NOT_GIVEN};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, &options, &positional);
    if (code != CLI_GO_ON)
        return code;
    if (!options.model) {
        code = cli_usage(&SPEC, "--model NAME is required");
    } else {
        int status = infer_again(&options, &positional, &diag, &code);
        if (status != LEGO_OK)
            code = cli_fail_diag(SPEC.command, status, &diag);
    }
    cli_list_clear(&positional);
    return code;
}
