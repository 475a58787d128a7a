#include "agent/client/answers.h"
#include "agent/client/connection.h"
#include "agent/client/frames.h"
#include "agent/client/places.h"
#include "agent/client/schedule.h"

#include "codec/base/arith.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes before each element of raw BYTES contents. */
#define BYTES_PREFIX 4u

/* A result with all that its pointers point to. */
struct owned_result {
    struct lego_client_result result; /* first: the two have one address */
    Legonet__Response *response;      /* names and data; NULL for a failure made here */
    char *message;                    /* of a failure made here */
    struct lego_client_tensor *outputs;
    struct lego_client_class *classes;
    char *texts;              /* of the classes */
    struct lego_arena *arena; /* of the answers; NULL: there are none */
};

void lego_client_result_free(struct lego_client_result *result)
{
    struct owned_result *owned = (struct owned_result *)result;
    if (!owned)
        return;
    ipc_response_free(owned->response);
    free(owned->message);
    free(owned->outputs);
    free(owned->classes);
    free(owned->texts);
    lego_arena_destroy(owned->arena);
    free(owned);
}

struct lego_client_result *result_from_failure(uint64_t id, int status, const char *message)
{
    struct owned_result *owned = calloc(1, sizeof(*owned));
    if (!owned)
        return NULL;
    owned->message = strdup(message);
    owned->result = (struct lego_client_result){.id = id,
                                                .status = status,
                                                .message = owned->message ? owned->message : "",
                                                .model = "",
                                                .version = ""};
    return &owned->result;
}

/* ---- answers ---- */

/* One raw output of the answer: what the agent says is checked against what it sent. */
static int decode_output(const Inference__ModelInferResponse__InferOutputTensor *output,
                         const ProtobufCBinaryData *raw, struct lego_client_tensor *ret_tensor,
                         struct lego_diag *diag)
{
    struct lego_client_tensor tensor = {.name = output->name, .data = raw->data, .bytes = raw->len};
    size_t elems = 0, bytes = 0;
    bool text = strcmp(output->datatype, "BYTES") == 0;

    if (places_get_output(output, &tensor)) {
        tensor.data = NULL;
        text = false;
    }
    tensor.dtype = text ? LEGO_DTYPE_UNKNOWN : lego_dtype_from_name(output->datatype);
    if (!text && tensor.dtype == LEGO_DTYPE_UNKNOWN)
        return lego_fail(diag, LEGO_E_FORMAT, "output '%.128s' has an unknown datatype",
                         output->name);
    if (output->n_shape > LEGO_MAX_RANK)
        return lego_fail(diag, LEGO_E_FORMAT, "output '%.128s' has %zu dimensions", output->name,
                         output->n_shape);
    tensor.shape.rank = (int)output->n_shape;
    for (size_t d = 0; d < output->n_shape; d++)
        tensor.shape.dim[d] = output->shape[d];
    if (lego_shape_elems(&tensor.shape, &elems) != LEGO_OK ||
        (!text &&
         (!lego_mul_size(elems, lego_dtype_bytes(tensor.dtype), &bytes) || bytes != tensor.bytes)))
        return lego_fail(diag, LEGO_E_FORMAT,
                         "output '%.128s' has %zu bytes, not what its shape says", output->name,
                         tensor.bytes);
    *ret_tensor = tensor;
    return LEGO_OK;
}

static int decode_outputs(struct owned_result *owned, const Inference__ModelInferResponse *infer,
                          struct lego_diag *diag)
{
    if (infer->n_raw_output_contents != infer->n_outputs)
        return lego_fail(diag, LEGO_E_FORMAT, "the answer has %zu outputs, but data for %zu",
                         infer->n_outputs, infer->n_raw_output_contents);
    owned->outputs = calloc(infer->n_outputs + 1, sizeof(*owned->outputs));
    if (!owned->outputs)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    for (size_t i = 0; i < infer->n_outputs; i++) {
        int status = decode_output(infer->outputs[i], &infer->raw_output_contents[i],
                                   &owned->outputs[i], diag);
        if (status != LEGO_OK)
            return status;
    }
    owned->result.outputs = owned->outputs;
    owned->result.output_count = (uint32_t)infer->n_outputs;
    return LEGO_OK;
}

static size_t prefix_length(const uint8_t *bytes)
{
    return (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
           (size_t)bytes[3] << 24;
}

/* "value:index" or "value:index:label", NUL-terminated, into a class that points into it. */
static bool decode_class(char *text, struct lego_client_class *ret_class)
{
    char *end = NULL;
    float score = strtof(text, &end);
    if (end == text || *end != ':')
        return false;
    char *index_text = end + 1;
    unsigned long index = strtoul(index_text, &end, 10);
    if (end == index_text || index > UINT32_MAX || (*end && *end != ':'))
        return false;
    *ret_class = (struct lego_client_class){
        .score = score, .index = (uint32_t)index, .label = *end ? end + 1 : ""};
    return true;
}

/* Splits raw BYTES elements; each gets its NUL where the next one's length was. */
static int decode_classes(struct owned_result *owned, const struct lego_client_tensor *tensor,
                          struct lego_diag *diag)
{
    size_t capacity = tensor->bytes / BYTES_PREFIX, count = 0, at = 0;
    owned->texts = calloc(1, tensor->bytes + 1);
    owned->classes = calloc(capacity + 1, sizeof(*owned->classes));
    if (!owned->texts || !owned->classes)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    while (tensor->bytes - at >= BYTES_PREFIX) {
        size_t length = prefix_length((const uint8_t *)tensor->data + at);
        at += BYTES_PREFIX;
        if (length > tensor->bytes - at)
            break;
        /* In `texts` each text lies one byte before its place: there is room for the NUL. */
        char *text = owned->texts + at - 1;
        memcpy(text, (const uint8_t *)tensor->data + at, length);
        text[length] = '\0';
        if (!decode_class(text, &owned->classes[count]))
            break;
        count++;
        at += length;
    }
    if (at != tensor->bytes)
        return lego_fail(diag, LEGO_E_FORMAT, "the classes of output '%.128s' cannot be read",
                         tensor->name);
    owned->result.classes = owned->classes;
    owned->result.class_count = (uint32_t)count;
    return LEGO_OK;
}

/* A time of that name among the answer's parameters, 0 where there is none. */
static uint64_t time_of(const Inference__ModelInferResponse *infer, const char *key)
{
    for (size_t i = 0; i < infer->n_parameters; i++) {
        const Inference__InferParameter *value = infer->parameters[i]->value;
        if (value && strcmp(infer->parameters[i]->key, key) == 0 && value->int64_param > 0 &&
            value->parameter_choice_case ==
                INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM)
            return (uint64_t)value->int64_param;
    }
    return 0;
}

static int decode_answers(struct owned_result *owned, struct lego_diag *diag)
{
    if (owned->response->n_results == 0)
        return LEGO_OK;
    owned->arena = lego_arena_create(0);
    if (!owned->arena)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    return answers_decode(owned->response, owned->arena, &owned->result.answers,
                          &owned->result.answer_count, diag);
}

static int decode(struct owned_result *owned, struct lego_diag *diag)
{
    Legonet__Response *response = owned->response;
    owned->result.id = response->id;
    owned->result.status = ipc_status_from_wire(response->status);
    owned->result.message = response->message;
    owned->result.model = owned->result.version = "";
    if (owned->result.status != LEGO_OK)
        return LEGO_OK;
    if (response->result_case != LEGONET__RESPONSE__RESULT_MODEL_INFER)
        return lego_fail(diag, LEGO_E_FORMAT, "the agent's answer has no result");

    const Inference__ModelInferResponse *infer = response->model_infer;
    owned->result.message = "";
    owned->result.model = infer->model_name;
    owned->result.version = infer->model_version;
    owned->result.queue_ns = time_of(infer, "queue_ns");
    owned->result.decode_ns = time_of(infer, "decode_ns");
    owned->result.compute_ns = time_of(infer, "compute_ns");
    int status = decode_outputs(owned, infer, diag);
    if (status == LEGO_OK && infer->n_outputs && owned->outputs[0].dtype == LEGO_DTYPE_UNKNOWN)
        status = decode_classes(owned, &owned->outputs[0], diag);
    return status == LEGO_OK ? decode_answers(owned, diag) : status;
}

int result_from_response(Legonet__Response *response, struct lego_client_result **ret_result,
                         struct lego_diag *diag)
{
    struct owned_result *owned = calloc(1, sizeof(*owned));
    if (!owned) {
        ipc_response_free(response);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    owned->response = response;
    int status = decode(owned, diag);
    if (status != LEGO_OK) {
        lego_client_result_free(&owned->result);
        return status;
    }
    *ret_result = &owned->result;
    return LEGO_OK;
}

/* ---- requests ---- */

/* The message and all that it needs, but for the tensors' data, which is the caller's. */
struct request {
    Legonet__Request envelope;
    Inference__ModelInferRequest infer;
    Inference__ModelInferRequest__InferInputTensor *inputs, **input_list;
    Inference__ModelInferRequest__InferRequestedOutputTensor *outputs, **output_list;
    ProtobufCBinaryData *raw;
    struct input_parameters *input_parameters;
    struct output_parameters *output_parameters;
    struct schedule_parameters schedule;
    struct frame_messages frames;
    Legonet__ResultRequest results;
};

static void request_clear(struct request *request)
{
    free(request->inputs);
    free(request->input_list);
    free(request->outputs);
    free(request->output_list);
    free(request->raw);
    free(request->input_parameters);
    free(request->output_parameters);
    frames_clear(&request->frames);
}

static int check_input(const struct lego_client_tensor *tensor, struct lego_diag *diag)
{
    size_t elems = 0, bytes = 0;
    if (!tensor->name || lego_dtype_bytes(tensor->dtype) == 0)
        return lego_fail(diag, LEGO_E_INVALID, "an input needs a name and a data type");
    if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(tensor->dtype), &bytes) || bytes != tensor->bytes)
        return lego_fail(diag, LEGO_E_INVALID, "input '%s' has %zu bytes, not what its shape says",
                         tensor->name, tensor->bytes);
    return LEGO_OK;
}

static int set_inputs(struct request *request, const struct lego_client_request *from,
                      struct lego_diag *diag)
{
    size_t raw_count = 0;
    for (uint32_t i = 0; i < from->input_count; i++) {
        const struct lego_client_tensor *tensor = &from->inputs[i];
        int status = check_input(tensor, diag);
        if (status != LEGO_OK)
            return status;
        inference__model_infer_request__infer_input_tensor__init(&request->inputs[i]);
        request->inputs[i].name = (char *)tensor->name;
        request->inputs[i].datatype = (char *)lego_dtype_name(tensor->dtype);
        request->inputs[i].n_shape = (size_t)tensor->shape.rank;
        request->inputs[i].shape = (int64_t *)tensor->shape.dim;
        request->input_list[i] = &request->inputs[i];
        if (tensor->region)
            places_set_input(&request->input_parameters[i], tensor, &request->inputs[i]);
        else
            request->raw[raw_count++] =
                (ProtobufCBinaryData){.len = tensor->bytes, .data = (uint8_t *)tensor->data};
    }
    request->infer.n_inputs = from->input_count;
    request->infer.n_raw_input_contents = raw_count;
    request->infer.inputs = request->input_list;
    request->infer.raw_input_contents = request->raw;
    return LEGO_OK;
}

static void set_results(struct request *request, const struct lego_client_results *results)
{
    if (!results)
        return;
    legonet__result_request__init(&request->results);
    request->results.top = results->top;
    request->results.score = results->score;
    request->results.max_detections = results->max_detections;
    request->results.max_mask_side = results->max_mask_side;
    request->envelope.result_request = &request->results;
}

static void set_outputs(struct request *request, const struct lego_client_request *from)
{
    for (uint32_t i = 0; i < from->output_count; i++) {
        inference__model_infer_request__infer_requested_output_tensor__init(&request->outputs[i]);
        request->outputs[i].name = (char *)from->outputs[i];
        places_set_output(&request->output_parameters[i], from->places ? &from->places[i] : NULL,
                          i == 0 ? from->top : 0, &request->outputs[i]);
        request->output_list[i] = &request->outputs[i];
    }
    request->infer.n_outputs = from->output_count;
    request->infer.outputs = request->output_list;
}

/* `request` is to be cleared, also on failure. */
static int build(struct lego_client *client, const struct lego_client_request *from,
                 struct request *request, struct lego_diag *diag)
{
    if (!from->model || !from->model[0])
        return lego_fail(diag, LEGO_E_INVALID, "a request needs the name of a model");
    if (from->top && from->output_count == 0)
        return lego_fail(diag, LEGO_E_INVALID, "to ask for classes, name the output in outputs[0]");
    legonet__request__init(&request->envelope);
    inference__model_infer_request__init(&request->infer);
    request->envelope.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    request->envelope.model_infer = &request->infer;
    request->infer.model_name = (char *)from->model;
    if (from->version)
        request->infer.model_version = (char *)from->version;
    request->inputs = calloc((size_t)from->input_count + 1, sizeof(*request->inputs));
    request->input_list = calloc((size_t)from->input_count + 1, sizeof(*request->input_list));
    request->raw = calloc((size_t)from->input_count + 1, sizeof(*request->raw));
    request->outputs = calloc((size_t)from->output_count + 1, sizeof(*request->outputs));
    request->output_list = calloc((size_t)from->output_count + 1, sizeof(*request->output_list));
    request->input_parameters =
        calloc((size_t)from->input_count + 1, sizeof(*request->input_parameters));
    request->output_parameters =
        calloc((size_t)from->output_count + 1, sizeof(*request->output_parameters));
    if (!request->input_parameters || !request->output_parameters || !request->inputs ||
        !request->input_list || !request->raw || !request->outputs || !request->output_list)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = set_inputs(request, from, diag);
    if (status == LEGO_OK)
        set_outputs(request, from);
    if (status == LEGO_OK)
        status =
            frames_set(&request->frames, from->frames, from->frame_count, &request->envelope, diag);
    set_results(request, from->results);
    schedule_apply(client, &request->schedule, &request->infer);
    return status;
}

int lego_client_submit(struct lego_client *client, const struct lego_client_request *from,
                       uint64_t *ret_id, struct lego_diag *diag)
{
    struct request request = {0};
    int status = build(client, from, &request, diag);
    if (status == LEGO_OK)
        status = connection_submit(client, &request.envelope, ret_id, diag);
    request_clear(&request);
    return status;
}

int lego_client_infer(struct lego_client *client, const struct lego_client_request *from,
                      struct lego_client_result **ret_result, struct lego_diag *diag)
{
    struct request request = {0};
    Legonet__Response *response = NULL;
    int status = build(client, from, &request, diag);
    if (status == LEGO_OK)
        status = connection_call(client, &request.envelope, &response, diag);
    request_clear(&request);
    return status == LEGO_OK ? result_from_response(response, ret_result, diag) : status;
}
