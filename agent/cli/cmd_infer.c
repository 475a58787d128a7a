/*
 * legonet infer: one inference by the agent.
 */
#include "agent/cli/agent.h"
#include "agent/cli/commands.h"
#include "agent/cli/element.h"
#include "agent/cli/output.h"
#include "agent/cli/tensor_file.h"
#include "codec/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOP_OF_PICTURES 5
#define TOP_NOT_GIVEN   UINT64_MAX
#define MAX_TRIES       3
#define MAX_INPUTS      64
#define SHOWN_ELEMS     8

struct infer_options {
    struct agent_options agent; /* first: AGENT_OPTIONS says so */
    const char *model, *version;
    uint64_t top; /* TOP_NOT_GIVEN: chosen by the kind of file */
    uint64_t priority;
    double deadline_ms;
    const char *stream;
};

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
    AGENT_OPTIONS(
        "print JSON: {\"model\", \"version\", \"us\", \"queue_us\", \"decode_us\",\n"
        "\"compute_us\", \"classes\": [{\"index\", \"score\",\n"
        "\"label\"}]} or, for numbers, \"outputs\": [{\"name\", \"datatype\", \"shape\",\n"
        "\"data\"}]"),
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "infer",
    .arguments = "[NAME=]FILE...",
    .about =
        "Has the agent run a model on a picture (PNG or JPEG), which becomes its input as the\n"
        "model says, or on tensors (.pb, .npy), bound by NAME, by the name in a .pb, else in\n"
        "order. The time is that of the request: sending, waiting, inference, answer.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = MAX_INPUTS,
};

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static json_t *class_json(const struct lego_client_class *class)
{
    return json_pack("{s:I, s:o, s:s}", "index", (json_int_t) class->index, "score",
                     cli_json_real(class->score), "label", class->label);
}

static json_t *element_json(enum lego_dtype dtype, const void *data, size_t index)
{
    double value = element_value(dtype, data, index);
    if (dtype == LEGO_DTYPE_INT64 || dtype == LEGO_DTYPE_UINT64)
        return json_integer(((const int64_t *)data)[index]);
    if (dtype == LEGO_DTYPE_FLOAT32 || dtype == LEGO_DTYPE_FLOAT64 || dtype == LEGO_DTYPE_FLOAT16 ||
        dtype == LEGO_DTYPE_BFLOAT16)
        return cli_json_real(value);
    return json_integer((json_int_t)value);
}

static json_t *output_json(const struct lego_client_tensor *tensor)
{
    json_t *shape = json_array(), *data = json_array();
    size_t elems = 0;
    for (int d = 0; d < tensor->shape.rank; d++)
        json_array_append_new(shape, json_integer(tensor->shape.dim[d]));
    if (lego_shape_elems(&tensor->shape, &elems) == LEGO_OK) {
        for (size_t i = 0; i < elems; i++)
            json_array_append_new(data, element_json(tensor->dtype, tensor->data, i));
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "name", tensor->name, "datatype",
                     lego_dtype_name(tensor->dtype), "shape", shape, "data", data);
}

static int print_json(const struct lego_client_result *result, bool classes, double us)
{
    json_t *list = json_array();
    if (classes) {
        for (uint32_t i = 0; i < result->class_count; i++)
            json_array_append_new(list, class_json(&result->classes[i]));
    } else {
        for (uint32_t i = 0; i < result->output_count; i++)
            json_array_append_new(list, output_json(&result->outputs[i]));
    }
    return cli_print_json(SPEC.command, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:o}", "model",
                                                  result->model, "version", result->version, "us",
                                                  us, "queue_us", (double)result->queue_ns * 1e-3,
                                                  "decode_us", (double)result->decode_ns * 1e-3,
                                                  "compute_us", (double)result->compute_ns * 1e-3,
                                                  classes ? "classes" : "outputs", list));
}

static void print_tensor(const struct lego_client_tensor *tensor)
{
    char shape[256];
    size_t elems = 0;
    printf("%s %s %s:", tensor->name, lego_dtype_name(tensor->dtype),
           lego_shape_format(&tensor->shape, NULL, shape, sizeof(shape)));
    if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK)
        elems = 0;
    for (size_t i = 0; i < elems && i < SHOWN_ELEMS; i++)
        printf(" %.6g", element_value(tensor->dtype, tensor->data, i));
    printf(elems > SHOWN_ELEMS ? " ...\n" : "\n");
}

static int print_text(const struct lego_client_result *result, bool classes, double us)
{
    for (uint32_t i = 0; classes && i < result->class_count; i++)
        printf("%10.6f  %5u  %s\n", (double)result->classes[i].score, result->classes[i].index,
               result->classes[i].label);
    for (uint32_t i = 0; !classes && i < result->output_count; i++)
        print_tensor(&result->outputs[i]);
    printf("%s version %s: %.2f ms (in the agent: queue %.3f, decode %.3f, compute %.3f)\n",
           result->model, result->version, us * 1e-3, (double)result->queue_ns * 1e-6,
           (double)result->decode_ns * 1e-6, (double)result->compute_ns * 1e-6);
    return cli_finish(SPEC.command, CLI_DONE);
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
    int status = LEGO_OK;
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
        double start = now_us();
        status = lego_client_infer(client, &request, ret_result, diag);
        *ret_us = now_us() - start;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].name)
            import_tensor_clear(&tensors[i]);
    }
    return status;
}

static int infer_picture(struct lego_client *client, const struct lego_client_model *model,
                         const char *path, uint32_t top, struct lego_client_result **ret_result,
                         double *ret_us, struct lego_diag *diag)
{
    struct lego_picture picture;
    int status = picture_load(path, &picture, diag);
    if (status != LEGO_OK)
        return status;
    const struct lego_client_picture pixels = {.width = picture.width,
                                               .height = picture.height,
                                               .channels = picture.channels,
                                               .stride = picture.stride,
                                               .pixels = picture.pixels};
    double start = now_us();
    status = lego_client_infer_picture(client, model, &pixels, top, ret_result, diag);
    *ret_us = now_us() - start;
    picture_clear(&picture);
    return status;
}

static int infer(const struct infer_options *options, const struct cli_list *files,
                 struct lego_diag *diag, int *ret_code)
{
    struct lego_client *client = NULL;
    struct lego_client_model *model = NULL;
    struct lego_client_result *result = NULL;
    bool picture = files->count == 1 && cli_is_picture(files->items[0]);
    uint32_t top = options->top != TOP_NOT_GIVEN ? (uint32_t)options->top
                   : picture                     ? TOP_OF_PICTURES
                                                 : 0;
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
    if (status == LEGO_OK && picture)
        status = infer_picture(client, model, files->items[0], top, &result, &us, diag);
    else if (status == LEGO_OK)
        status = infer_tensors(client, model, files, top, &result, &us, diag);
    if (status == LEGO_OK)
        *ret_code =
            options->agent.json ? print_json(result, top > 0, us) : print_text(result, top > 0, us);
    lego_client_result_free(result);
    lego_client_model_free(model);
    lego_client_close(client);
    return status;
}

/* An agent that stops for another to take its place closes idle connections, ours before its
 * request has come, say; the socket stays where systemd holds it. Asking again does no harm. */
static int infer_again(const struct infer_options *options, const struct cli_list *files,
                       struct lego_diag *diag, int *ret_code)
{
    int status = LEGO_E_CLOSED;
    for (int tries = 0; status == LEGO_E_CLOSED && tries < MAX_TRIES; tries++) {
        *diag = (struct lego_diag)LEGO_DIAG_INIT;
        status = infer(options, files, diag, ret_code);
    }
    return status;
}

int cmd_infer(int argc, char **argv)
{
    struct infer_options options = {.top = TOP_NOT_GIVEN};
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
