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

static int place_of(const input_tensor *tensor, const struct region_table *regions,
                    struct inference_place *ret_place, struct lego_diag *diag)
{
    struct inference_place place = {0};
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < tensor->n_parameters; i++)
        status = inference_place_parameter(&place, tensor->name, tensor->parameters[i]->key,
                                           tensor->parameters[i]->value, diag);
    if (status == LEGO_OK)
        status = inference_place_resolve(&place, regions, tensor->name, false, diag);
    *ret_place = place;
    return status;
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

/* Data for an input whose shape is bound: from shared memory, `raw`, or the tensor's contents. */
static int bind_data(const input_tensor *tensor, const struct inference_place *place,
                     const ProtobufCBinaryData *raw, struct lego_io *io, void **owned,
                     struct lego_diag *diag)
{
    const char *name = tensor->name;
    size_t elems, bytes;
    char shape[160];
    if (lego_shape_elems(&io->shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(io->dtype), &bytes))
        return lego_fail(diag, LEGO_E_SHAPE, "input \"%s\": the shape %s is too large", name,
                         lego_shape_format(&io->shape, NULL, shape, sizeof(shape)));
    io->bytes = bytes;
    if (place->region) {
        int copied = inference_place_copy(place, name, bytes, owned, diag);
        if (copied == LEGO_OK)
            io->data = *owned;
        return copied;
    }
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

/* What a request's inputs are bound with. */
struct binding {
    const struct lego_model *model;
    const Legonet__Request *envelope;
    const Inference__ModelInferRequest *request;
    const struct region_table *regions;
    uint64_t max_batch;
    size_t next_raw; /* of raw_input_contents: inputs in shared memory have none */
};

static int bind_input(struct binding *binding, const input_tensor *tensor,
                      struct inference_call *call, struct lego_diag *diag)
{
    const Inference__ModelInferRequest *request = binding->request;
    bool raw = request->n_raw_input_contents > 0;
    const ProtobufCBinaryData *data = NULL;
    struct inference_place place;
    uint32_t index = 0;
    int status = find_input(binding->model, tensor->name, diag, &index);
    if (status != LEGO_OK)
        return status;
    struct lego_io *io = &call->inputs[index];
    if (io->dtype != LEGO_DTYPE_UNKNOWN)
        return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" is given twice", tensor->name);
    status = place_of(tensor, binding->regions, &place, diag);
    if (status != LEGO_OK)
        return status;
    if ((raw || place.region) && tensor->contents)
        return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" has contents beside %s", tensor->name,
                         raw ? "raw_input_contents" : "shared memory");
    if (raw && !place.region)
        data = &request->raw_input_contents[binding->next_raw++];
    status =
        bind_shape(tensor, lego_model_input(binding->model, index), binding->max_batch, io, diag);
    return status == LEGO_OK ? bind_data(tensor, &place, data, io, &call->owned[index], diag)
                             : status;
}

static bool is_in_region(const input_tensor *tensor)
{
    for (size_t i = 0; i < tensor->n_parameters; i++)
        if (!strcmp(tensor->parameters[i]->key, "shared_memory_region"))
            return true;
    return false;
}

/* Where there are raw contents, there is one entry for each input that is not in shared memory. */
static int check_raw_count(const Inference__ModelInferRequest *request, struct lego_diag *diag)
{
    size_t wanted = 0;
    for (size_t i = 0; i < request->n_inputs; i++)
        wanted += !is_in_region(request->inputs[i]);
    if (request->n_raw_input_contents == 0 || request->n_raw_input_contents == wanted)
        return LEGO_OK;
    return lego_fail(diag, LEGO_E_INVALID,
                     "there are %zu raw_input_contents for %zu inputs%s: want one for each",
                     request->n_raw_input_contents, wanted,
                     wanted < request->n_inputs ? " outside of shared memory" : "");
}

static int bind_inputs(struct binding *binding, struct inference_call *call, struct lego_diag *diag)
{
    const Inference__ModelInferRequest *request = binding->request;
    if (request->n_inputs > MAX_TENSORS)
        return lego_fail(diag, LEGO_E_LIMIT, "the request has %zu inputs", request->n_inputs);
    int counted = check_raw_count(request, diag);
    if (counted != LEGO_OK)
        return counted;
    for (size_t i = 0; i < request->n_inputs; i++) {
        int status = bind_input(binding, request->inputs[i], call, diag);
        if (status != LEGO_OK)
            return status;
    }
    int pictured = inference_bind_pictures(binding->model, binding->envelope, binding->regions,
                                           binding->max_batch, call, diag);
    if (pictured != LEGO_OK)
        return pictured;
    for (uint32_t i = 0; i < call->input_count; i++)
        if (call->inputs[i].dtype == LEGO_DTYPE_UNKNOWN)
            return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" is missing",
                             lego_model_input(binding->model, i)->name);
    const struct lego_shape *first = call->input_count ? &call->inputs[0].shape : NULL;
    call->rows = first && first->rank > 0 ? (uint64_t)first->dim[0] : 1;
    return LEGO_OK;
}

static int wanted_parameters(const wanted_tensor *tensor, const struct region_table *regions,
                             struct inference_wanted *wanted, struct lego_diag *diag)
{
    for (size_t i = 0; i < tensor->n_parameters; i++) {
        const char *key = tensor->parameters[i]->key;
        const Inference__InferParameter *value = tensor->parameters[i]->value;
        int status = inference_place_parameter(&wanted->place, tensor->name, key, value, diag);
        if (status != LEGO_OK)
            return status;
        if (!strcmp(key, "classification") &&
            (!inference_parameter_int(value, &wanted->classes) || wanted->classes < 1))
            return lego_fail(diag, LEGO_E_INVALID,
                             "output \"%.128s\": classification must be an integer from 1 on",
                             tensor->name);
    }
    return inference_place_resolve(&wanted->place, regions, tensor->name, true, diag);
}

static int bind_wanted(const struct binding *binding, const wanted_tensor *tensor,
                       struct inference_call *call, struct lego_diag *diag)
{
    const struct lego_model *model = binding->model;
    for (uint32_t k = 0; k < call->output_count; k++) {
        if (strcmp(lego_model_output(model, k)->name, tensor->name))
            continue;
        for (uint32_t i = 0; i < call->wanted_count; i++)
            if (call->wanted[i].output == k)
                return lego_fail(diag, LEGO_E_INVALID, "output \"%s\" is asked for twice",
                                 tensor->name);
        struct inference_wanted *wanted = &call->wanted[call->wanted_count++];
        wanted->output = k;
        return wanted_parameters(tensor, binding->regions, wanted, diag);
    }
    char names[512];
    return lego_fail(diag, LEGO_E_NOT_FOUND, "the model has no output \"%.128s\"; it has %s",
                     tensor->name, names_of(model, false, names, sizeof(names)));
}

static int bind_outputs(const struct binding *binding, struct inference_call *call,
                        struct lego_diag *diag)
{
    const Inference__ModelInferRequest *request = binding->request;
    if (request->n_outputs == 0 && binding->envelope->result_request)
        return LEGO_OK; /* results take their place */
    if (request->n_outputs == 0) {
        for (uint32_t k = 0; k < call->output_count; k++)
            call->wanted[call->wanted_count++] = (struct inference_wanted){.output = k};
        return LEGO_OK;
    }
    for (size_t i = 0; i < request->n_outputs; i++) {
        int status = bind_wanted(binding, request->outputs[i], call, diag);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

/* All arrays in one block, which `inputs` begins: small requests are many. */
static int allocate_call(struct inference_call *call, struct lego_diag *diag)
{
    size_t inputs = call->input_count, outputs = call->output_count;
    size_t bytes = inputs * (sizeof(*call->inputs) + sizeof(*call->owned)) +
                   outputs * (sizeof(*call->outputs) + sizeof(*call->wanted));
    void *block = malloc(bytes + 1);
    if (!block)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the request");
    memset(block, 0, bytes);
    call->inputs = block;
    call->outputs = call->inputs + inputs;
    call->wanted = (struct inference_wanted *)(call->outputs + outputs);
    call->owned = (void **)(call->wanted + outputs);
    return LEGO_OK;
}

int inference_bind(const struct lego_model *model, const Legonet__Request *request,
                   const struct region_table *regions, uint64_t max_batch,
                   struct inference_call *ret_call, struct lego_diag *diag)
{
    struct binding binding = {.model = model,
                              .envelope = request,
                              .request = request->model_infer,
                              .regions = regions,
                              .max_batch = max_batch};
    struct inference_call call = {.input_count = lego_model_input_count(model),
                                  .output_count = lego_model_output_count(model)};
    int status = allocate_call(&call, diag);
    if (status == LEGO_OK)
        status = bind_inputs(&binding, &call, diag);
    if (status == LEGO_OK)
        status = bind_outputs(&binding, &call, diag);
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
    free(call->inputs); /* and all that lies behind them */
    free(call->maps);
    *call = (struct inference_call){0};
}
