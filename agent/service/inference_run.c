/* The way of one request through an engine. */
#include "agent/service/inference.h"

#include "agent/service/answer.h"
#include "agent/service/capture.h"
#include "agent/service/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_COUNT 3

#define RUN_NOT_STEADY 1 /* beside the statuses */

typedef Inference__ModelInferResponse__InferOutputTensor output_tensor;

/* Parameters of an output that was put into shared memory. */
struct place_entries {
    Inference__InferParameter values[3];
    Inference__ModelInferResponse__InferOutputTensor__ParametersEntry entries[3], *pointers[3];
};

/* One output of an answer, and what its message points to. */
struct answer_part {
    output_tensor tensor;
    struct lego_shape shape;    /* of a classification, else the tensor's own */
    uint8_t *owned;             /* the data of a classification */
    struct place_entries place; /* of an output in shared memory */
};

/* What an answer's message points to: one block, which `parts` begins. */
struct answer {
    struct answer_part *parts;
    output_tensor **pointers;
    ProtobufCBinaryData *raw;
};

static int answer_allocate(struct answer *answer, uint32_t count, struct lego_diag *diag)
{
    size_t each = sizeof(*answer->parts) + sizeof(*answer->pointers) + sizeof(*answer->raw);
    answer->parts = malloc(count * each + 1);
    if (!answer->parts)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the answer");
    answer->pointers = (output_tensor **)(answer->parts + count);
    answer->raw = (ProtobufCBinaryData *)(answer->pointers + count);
    for (uint32_t i = 0; i < count; i++)
        answer->parts[i].owned = NULL;
    return LEGO_OK;
}

static void answer_clear(struct answer *answer, uint32_t count)
{
    for (uint32_t i = 0; answer->parts && i < count; i++)
        free(answer->parts[i].owned);
    free(answer->parts);
}

static void show_place(const struct inference_place *place, size_t bytes,
                       struct place_entries *shown, output_tensor *tensor)
{
    static char keys[][24] = {"shared_memory_region", "shared_memory_offset",
                              "shared_memory_byte_size"};
    for (int i = 0; i < 3; i++) {
        inference__infer_parameter__init(&shown->values[i]);
        inference__model_infer_response__infer_output_tensor__parameters_entry__init(
            &shown->entries[i]);
        shown->values[i].parameter_choice_case =
            INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
        shown->entries[i].key = keys[i];
        shown->entries[i].value = &shown->values[i];
        shown->pointers[i] = &shown->entries[i];
    }
    shown->values[0].parameter_choice_case =
        INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    shown->values[0].string_param = (char *)(uintptr_t)place->name;
    shown->values[1].int64_param = (int64_t)place->offset;
    shown->values[2].int64_param = (int64_t)bytes;
    tensor->n_parameters = 3;
    tensor->parameters = shown->pointers;
}

static int fill_tensor(const struct inference_job *job, const struct inference_call *call,
                       uint32_t i, struct answer *answer, struct lego_diag *diag)
{
    const struct lego_model *model = job->model->model;
    const struct inference_wanted *wanted = &call->wanted[i];
    const struct lego_io *io = &call->outputs[wanted->output];
    const char *name = lego_model_output(model, wanted->output)->name;
    struct answer_part *part = &answer->parts[i];
    output_tensor *tensor = &part->tensor;
    inference__model_infer_response__infer_output_tensor__init(tensor);
    answer->pointers[i] = tensor;
    tensor->name = (char *)(uintptr_t)name;
    part->shape = io->shape;
    answer->raw[i] = (ProtobufCBinaryData){.len = io->bytes, .data = io->data};
    tensor->datatype = (char *)(uintptr_t)lego_dtype_name(io->dtype);
    if (wanted->classes > 0) {
        int status =
            inference_classify(lego_model_package(model), name, io, wanted->classes, &part->shape,
                               &answer->raw[i].data, &answer->raw[i].len, diag);
        if (status != LEGO_OK)
            return status;
        part->owned = answer->raw[i].data;
        tensor->datatype = (char *)(uintptr_t) "BYTES";
    }
    if (wanted->place.region) {
        int status = inference_place_store(&wanted->place, name, answer->raw[i].data,
                                           answer->raw[i].len, diag);
        if (status != LEGO_OK)
            return status;
        show_place(&wanted->place, answer->raw[i].len, &part->place, tensor);
        answer->raw[i].len = 0;
    }
    tensor->n_shape = part->shape.rank > 0 ? (size_t)part->shape.rank : 0;
    tensor->shape = part->shape.dim;
    return LEGO_OK;
}

/* Where the time went, as parameters of the answer. */
struct answer_times {
    Inference__InferParameter values[TIME_COUNT];
    Inference__ModelInferResponse__ParametersEntry entries[TIME_COUNT], *pointers[TIME_COUNT];
};

static void fill_times(const struct stats_times *times, struct answer_times *ret_times)
{
    static char queue[] = "queue_ns", decode[] = "decode_ns", compute[] = "compute_ns";
    const struct {
        char *key;
        uint64_t ns;
    } parts[TIME_COUNT] = {{queue, times->queue}, {decode, times->input}, {compute, times->infer}};
    for (size_t i = 0; i < TIME_COUNT; i++) {
        Inference__InferParameter *value = &ret_times->values[i];
        Inference__ModelInferResponse__ParametersEntry *entry = &ret_times->entries[i];
        inference__infer_parameter__init(value);
        value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
        value->int64_param = (int64_t)parts[i].ns;
        inference__model_infer_response__parameters_entry__init(entry);
        entry->key = parts[i].key;
        entry->value = value;
        ret_times->pointers[i] = entry;
    }
}

static int pack(const struct inference_job *job, const Legonet__Request *request,
                const struct inference_call *call, const struct answer *answer, uint8_t **ret_frame,
                size_t *ret_frame_bytes, struct lego_diag *diag)
{
    Inference__ModelInferResponse result = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    struct lego_arena *arena = NULL;
    struct answer_times times;
    fill_times(&job->times, &times);
    result.n_parameters = TIME_COUNT;
    result.parameters = times.pointers;
    result.model_name = job->model->spec.name;
    result.model_version = job->model->version_text;
    result.id = request->model_infer->id;
    result.n_outputs = call->wanted_count;
    result.outputs = answer->pointers;
    result.n_raw_output_contents = call->wanted_count;
    result.raw_output_contents = answer->raw;
    response.id = job->request_id;
    response.result_case = LEGONET__RESPONSE__RESULT_MODEL_INFER;
    response.model_infer = &result;
    int status = inference_results(job, request, call, &arena, &response, diag);
    if (status == LEGO_OK)
        status =
            ipc_frame_pack(&response.base, job->max_frame_bytes, ret_frame, ret_frame_bytes, diag);
    lego_arena_destroy(arena);
    return status;
}

static void keep(const struct inference_job *job, const struct inference_call *call)
{
    const struct capture_about about = {.model = job->model->model,
                                        .name = job->model->spec.name,
                                        .version = job->model->version_text,
                                        .queue_ns = job->times.queue,
                                        .infer_ns = job->times.infer};
    capture_offer(job->capture, &about, call->inputs, call->outputs);
}

int inference_answer(const struct inference_job *job, const Legonet__Request *request,
                     const struct inference_call *call, uint8_t **ret_frame,
                     size_t *ret_frame_bytes, struct lego_diag *diag)
{
    uint32_t count = call->wanted_count;
    struct answer answer = {0};
    int status = answer_allocate(&answer, count, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < count; i++)
        status = fill_tensor(job, call, i, &answer, diag);
    if (status == LEGO_OK)
        status = pack(job, request, call, &answer, ret_frame, ret_frame_bytes, diag);
    answer_clear(&answer, count);
    if (status == LEGO_OK && job->capture)
        keep(job, call);
    return status;
}

/* The request's frame is not kept while the model runs. */
static void drop_body(struct inference_job *job)
{
    free(job->body);
    job->body = NULL;
}

int inference_unpack(struct inference_job *job, Legonet__Request **ret_request,
                     struct lego_diag *diag)
{
    int status = ipc_request_unpack(job->body, job->body_bytes, ret_request, diag);
    if (status != LEGO_OK)
        return status;
    const Legonet__Request *request = *ret_request;
    /* The loop has only peeked at the name: a message that names two models ends here. */
    if (request->call_case != LEGONET__REQUEST__CALL_MODEL_INFER ||
        strcmp(request->model_infer->model_name, job->model->spec.name))
        return lego_fail(diag, LEGO_E_INVALID, "the request names more than one model or call");
    return LEGO_OK;
}

int inference_compute(struct inference_job *job, struct lego_session *session,
                      const Legonet__Request *request, struct inference_call *call,
                      struct lego_diag *diag)
{
    uint64_t bound = clock_ns();
    int status = lego_session_run(session, call->inputs, call->input_count, call->outputs,
                                  call->output_count, diag);
    uint64_t computed = clock_ns();
    job->times.infer = computed - bound;
    if (status == LEGO_OK)
        status = inference_answer(job, request, call, &job->frame, &job->frame_bytes, diag);
    job->rows = call->rows;
    job->times.output = clock_ns() - computed;
    return status;
}

static int run(struct inference_job *job, struct lego_session *session, bool steady_only,
               const Legonet__Request *request, struct lego_diag *diag)
{
    struct inference_call call;
    int status =
        inference_bind(job->model->model, request, job->regions, job->max_batch, &call, diag);
    if (status != LEGO_OK)
        return status;
    job->times.input = clock_ns() - job->arrived_ns - job->times.queue;
    if (steady_only && !lego_session_is_steady(session, call.inputs, call.input_count))
        status = RUN_NOT_STEADY;
    else
        status = inference_compute(job, session, request, &call, diag);
    inference_call_clear(&call);
    return status;
}

void inference_expire(struct inference_job *job)
{
    char text[128];
    snprintf(text, sizeof(text),
             "its deadline passed while it waited: %" PRIu64 " us, %" PRIu64 " were allowed",
             (clock_ns() - job->arrived_ns) / 1000, (job->deadline_ns - job->arrived_ns) / 1000);
    job->status = LEGO_E_DEADLINE;
    job->frame = answer_error_frame(job->request_id, job->status, text, &job->frame_bytes);
}

static bool run_job(struct inference_job *job, struct lego_session *session, bool steady_only)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    Legonet__Request *request = NULL;
    int status = inference_unpack(job, &request, &diag);
    if (!steady_only)
        drop_body(job);
    if (status == LEGO_OK)
        status = run(job, session, steady_only, request, &diag);
    if (status < 0)
        job->frame = answer_error_frame(job->request_id, status, lego_diag_text(&diag, status),
                                        &job->frame_bytes);
    ipc_request_free(request);
    if (status == RUN_NOT_STEADY)
        return false;
    job->status = status;
    return true;
}

void inference_run(struct inference_job *job, struct lego_session *session)
{
    run_job(job, session, false);
}

bool inference_run_steady(struct inference_job *job, struct lego_session *session)
{
    return run_job(job, session, true);
}
