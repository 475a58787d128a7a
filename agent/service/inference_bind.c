/* From a request to the session's inputs: every mismatch is named. */
#include "agent/service/inference.h"

#include "codec/base/arith.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 4096 /* of a request: none has so many, and the search by name is linear */

typedef Inference__ModelInferRequest__InferInputTensor input_tensor;
typedef Inference__ModelInferRequest__InferRequestedOutputTensor wanted_tensor;

/* "a", "b" of the model's inputs or outputs, for messages. */
static const char *names_of(const struct lego_model *model, bool inputs, char *buffer, size_t bytes)
{
    uint32_t count = inputs ? lego_model_input_count(model) : lego_model_output_count(model);
    size_t used = 0;
    buffer[0] = '\0';
    for (uint32_t i = 0; i < count && used + 8 < bytes; i++) {
        const struct lego_value *value =
            inputs ? lego_model_input(model, i) : lego_model_output(model, i);
        int n = snprintf(buffer + used, bytes - used, "%s\"%s\"", i ? ", " : "", value->name);
        used = lego_min_size(used + (n > 0 ? (size_t)n : 0), bytes - 1);
    }
    return buffer;
}

static int find_input(const struct lego_model *model, const char *name, struct lego_diag *diag,
                      uint32_t *ret_index)
{
    for (uint32_t i = 0; i < lego_model_input_count(model); i++)
        if (!strcmp(lego_model_input(model, i)->name, name)) {
            *ret_index = i;
            return LEGO_OK;
        }
    char names[512];
    return lego_fail(diag, LEGO_E_NOT_FOUND, "the model has no input \"%.128s\"; it has %s", name,
                     names_of(model, true, names, sizeof(names)));
}

static int refuse_shared_memory(const char *tensor, size_t count,
                                Inference__ModelInferRequest__InferInputTensor__ParametersEntry **p,
                                struct lego_diag *diag)
{
    for (size_t i = 0; i < count; i++)
        if (!strncmp(p[i]->key, "shared_memory_", 14))
            return lego_fail(diag, LEGO_E_UNSUPPORTED,
                             "tensor \"%.128s\": shared memory (parameter %.64s) is not offered",
                             tensor, p[i]->key);
    return LEGO_OK;
}

static int bind_shape(const input_tensor *tensor, const struct lego_value *value,
                      uint64_t max_batch, struct lego_io *io, struct lego_diag *diag)
{
    enum lego_dtype dtype = lego_dtype_from_name(tensor->datatype);
    if (dtype != value->dtype)
        return lego_fail(diag, LEGO_E_TYPE, "input \"%s\" is %.16s, the model takes %s",
                         value->name, *tensor->datatype ? tensor->datatype : "of no datatype",
                         lego_dtype_name(value->dtype));
    if (tensor->n_shape > LEGO_MAX_RANK)
        return lego_fail(diag, LEGO_E_SHAPE, "input \"%s\" has %zu dimensions, at most %d go",
                         value->name, tensor->n_shape, LEGO_MAX_RANK);
    io->dtype = dtype;
    io->shape.rank = (int)tensor->n_shape;
    for (size_t d = 0; d < tensor->n_shape; d++) {
        if (tensor->shape[d] < 0)
            return lego_fail(diag, LEGO_E_SHAPE,
                             "input \"%s\": dimension %zu is %" PRId64 ", which is no size",
                             value->name, d, tensor->shape[d]);
        io->shape.dim[d] = tensor->shape[d];
    }
    bool open = value->shape.rank > 0 && value->shape.dim[0] < 0;
    if (open && io->shape.rank > 0 && (uint64_t)io->shape.dim[0] > max_batch)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "input \"%s\": a batch of %" PRId64 " is over the limit of %" PRIu64,
                         value->name, io->shape.dim[0], max_batch);
    return LEGO_OK;
}

/* Data for an input whose shape is bound: `raw`, or the tensor's own contents. */
static int bind_data(const input_tensor *tensor, const ProtobufCBinaryData *raw, const char *name,
                     struct lego_io *io, void **owned, struct lego_diag *diag)
{
    size_t elems, bytes;
    char shape[160];
    if (lego_shape_elems(&io->shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(io->dtype), &bytes))
        return lego_fail(diag, LEGO_E_SHAPE, "input \"%s\": the shape %s is too large", name,
                         lego_shape_format(&io->shape, NULL, shape, sizeof(shape)));
    io->bytes = bytes;
    if (raw) {
        if (raw->len != bytes)
            return lego_fail(diag, LEGO_E_SHAPE,
                             "input \"%s\": %zu raw bytes came, shape %s of %s wants %zu", name,
                             raw->len, lego_shape_format(&io->shape, NULL, shape, sizeof(shape)),
                             lego_dtype_name(io->dtype), bytes);
        io->data = raw->data;
        return LEGO_OK;
    }
    if (!tensor->contents)
        return lego_fail(diag, LEGO_E_INVALID,
                         "input \"%s\" has no data: neither raw_input_contents nor contents", name);
    int status = inference_contents(name, io->dtype, elems, tensor->contents, owned, diag);
    if (status == LEGO_OK)
        io->data = *owned;
    return status;
}

static int bind_inputs(const struct lego_model *model, const Inference__ModelInferRequest *request,
                       uint64_t max_batch, struct inference_call *call, struct lego_diag *diag)
{
    bool raw = request->n_raw_input_contents > 0;
    if (request->n_inputs > MAX_TENSORS)
        return lego_fail(diag, LEGO_E_LIMIT, "the request has %zu inputs", request->n_inputs);
    if (raw && request->n_raw_input_contents != request->n_inputs)
        return lego_fail(diag, LEGO_E_INVALID,
                         "there are %zu raw_input_contents for %zu inputs: want one for each",
                         request->n_raw_input_contents, request->n_inputs);
    for (size_t i = 0; i < request->n_inputs; i++) {
        const input_tensor *tensor = request->inputs[i];
        uint32_t index = 0;
        int status = find_input(model, tensor->name, diag, &index);
        if (status != LEGO_OK)
            return status;
        struct lego_io *io = &call->inputs[index];
        if (io->dtype != LEGO_DTYPE_UNKNOWN)
            return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" is given twice", tensor->name);
        if (raw && tensor->contents)
            return lego_fail(diag, LEGO_E_INVALID,
                             "input \"%s\" has contents beside raw_input_contents", tensor->name);
        status = refuse_shared_memory(tensor->name, tensor->n_parameters, tensor->parameters, diag);
        if (status == LEGO_OK)
            status = bind_shape(tensor, lego_model_input(model, index), max_batch, io, diag);
        if (status == LEGO_OK)
            status = bind_data(tensor, raw ? &request->raw_input_contents[i] : NULL, tensor->name,
                               io, &call->owned[index], diag);
        if (status != LEGO_OK)
            return status;
    }
    for (uint32_t i = 0; i < call->input_count; i++)
        if (call->inputs[i].dtype == LEGO_DTYPE_UNKNOWN)
            return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" is missing",
                             lego_model_input(model, i)->name);
    const struct lego_shape *first = call->input_count ? &call->inputs[0].shape : NULL;
    call->rows = first && first->rank > 0 ? (uint64_t)first->dim[0] : 1;
    return LEGO_OK;
}

static int classes_of(const wanted_tensor *tensor, int64_t *ret_classes, struct lego_diag *diag)
{
    int64_t classes = 0;
    for (size_t i = 0; i < tensor->n_parameters; i++) {
        const char *key = tensor->parameters[i]->key;
        const Inference__InferParameter *value = tensor->parameters[i]->value;
        if (!strncmp(key, "shared_memory_", 14))
            return lego_fail(diag, LEGO_E_UNSUPPORTED,
                             "output \"%.128s\": shared memory (parameter %.64s) is not offered",
                             tensor->name, key);
        if (strcmp(key, "classification"))
            continue;
        if (value && value->parameter_choice_case ==
                         INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM)
            classes = value->int64_param;
        else if (value &&
                 value->parameter_choice_case ==
                     INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM &&
                 value->uint64_param <= INT64_MAX)
            classes = (int64_t)value->uint64_param;
        if (classes < 1)
            return lego_fail(diag, LEGO_E_INVALID,
                             "output \"%.128s\": classification must be an integer from 1 on",
                             tensor->name);
    }
    *ret_classes = classes;
    return LEGO_OK;
}

static int bind_wanted(const struct lego_model *model, const wanted_tensor *tensor,
                       struct inference_call *call, struct lego_diag *diag)
{
    for (uint32_t k = 0; k < call->output_count; k++) {
        if (strcmp(lego_model_output(model, k)->name, tensor->name))
            continue;
        for (uint32_t i = 0; i < call->wanted_count; i++)
            if (call->wanted[i].output == k)
                return lego_fail(diag, LEGO_E_INVALID, "output \"%s\" is asked for twice",
                                 tensor->name);
        struct inference_wanted *wanted = &call->wanted[call->wanted_count++];
        wanted->output = k;
        return classes_of(tensor, &wanted->classes, diag);
    }
    char names[512];
    return lego_fail(diag, LEGO_E_NOT_FOUND, "the model has no output \"%.128s\"; it has %s",
                     tensor->name, names_of(model, false, names, sizeof(names)));
}

static int bind_outputs(const struct lego_model *model, const Inference__ModelInferRequest *request,
                        struct inference_call *call, struct lego_diag *diag)
{
    if (request->n_outputs == 0) {
        for (uint32_t k = 0; k < call->output_count; k++)
            call->wanted[call->wanted_count++] = (struct inference_wanted){.output = k};
        return LEGO_OK;
    }
    for (size_t i = 0; i < request->n_outputs; i++) {
        int status = bind_wanted(model, request->outputs[i], call, diag);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

int inference_bind(const struct lego_model *model, const Inference__ModelInferRequest *request,
                   uint64_t max_batch, struct inference_call *ret_call, struct lego_diag *diag)
{
    struct inference_call call = {.input_count = lego_model_input_count(model),
                                  .output_count = lego_model_output_count(model)};
    call.inputs = calloc(call.input_count + 1u, sizeof(*call.inputs));
    call.owned = calloc(call.input_count + 1u, sizeof(*call.owned));
    call.outputs = calloc(call.output_count + 1u, sizeof(*call.outputs));
    call.wanted = calloc(call.output_count + 1u, sizeof(*call.wanted));
    int status = LEGO_OK;
    if (!call.inputs || !call.owned || !call.outputs || !call.wanted)
        status = lego_fail(diag, LEGO_E_NOMEM, "no memory for the request");
    if (status == LEGO_OK)
        status = bind_inputs(model, request, max_batch, &call, diag);
    if (status == LEGO_OK)
        status = bind_outputs(model, request, &call, diag);
    if (status != LEGO_OK) {
        inference_call_clear(&call);
        return status;
    }
    *ret_call = call;
    return LEGO_OK;
}

void inference_call_clear(struct inference_call *call)
{
    for (uint32_t i = 0; call->owned && i < call->input_count; i++)
        free(call->owned[i]);
    free(call->inputs);
    free(call->owned);
    free(call->outputs);
    free(call->wanted);
    *call = (struct inference_call){0};
}
