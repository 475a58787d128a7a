/* When the agent runs a request: parameters of each, and taking one back. */
#include "agent/client/schedule.h"

#include "agent/client/connection.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PRIORITY     10
#define MAX_STREAM_BYTES 128

int lego_client_set_schedule(struct lego_client *client,
                             const struct lego_client_schedule *schedule, struct lego_diag *diag)
{
    struct lego_client_schedule copy = schedule ? *schedule : (struct lego_client_schedule){0};
    if (copy.priority > MAX_PRIORITY)
        return lego_fail(diag, LEGO_E_INVALID, "priority %u is not from 1 to %u", copy.priority,
                         MAX_PRIORITY);
    if (copy.timeout_us > INT64_MAX)
        return lego_fail(diag, LEGO_E_INVALID, "a timeout is at most %lld us",
                         (long long)INT64_MAX);
    if (copy.stream && strlen(copy.stream) > MAX_STREAM_BYTES)
        return lego_fail(diag, LEGO_E_INVALID, "the name of a stream has at most %d bytes",
                         MAX_STREAM_BYTES);
    copy.stream = copy.stream && *copy.stream ? strdup(copy.stream) : NULL;
    if (schedule && schedule->stream && *schedule->stream && !copy.stream)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    struct lego_client_schedule *held = connection_schedule(client);
    free((char *)held->stream);
    *held = copy;
    return LEGO_OK;
}

static void add(struct schedule_parameters *parameters, const char *key,
                Inference__InferParameter__ParameterChoiceCase kind)
{
    size_t i = parameters->count++;
    inference__infer_parameter__init(&parameters->values[i]);
    parameters->values[i].parameter_choice_case = kind;
    inference__model_infer_request__parameters_entry__init(&parameters->entries[i]);
    parameters->entries[i].key = (char *)key;
    parameters->entries[i].value = &parameters->values[i];
    parameters->list[i] = &parameters->entries[i];
}

void schedule_apply(struct lego_client *client, struct schedule_parameters *parameters,
                    Inference__ModelInferRequest *request)
{
    const struct lego_client_schedule *schedule = connection_schedule(client);
    parameters->count = 0;
    if (schedule->priority > 0) {
        add(parameters, "priority", INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM);
        parameters->values[parameters->count - 1].int64_param = schedule->priority;
    }
    if (schedule->timeout_us > 0) {
        add(parameters, "timeout", INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM);
        parameters->values[parameters->count - 1].int64_param = (int64_t)schedule->timeout_us;
    }
    if (schedule->stream) {
        add(parameters, "stream", INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM);
        parameters->values[parameters->count - 1].string_param = (char *)schedule->stream;
    }
    request->n_parameters = parameters->count;
    request->parameters = parameters->list;
}

int lego_client_cancel(struct lego_client *client, uint64_t id, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__CancelRequest cancel = LEGONET__CANCEL_REQUEST__INIT;
    if (!connection_awaits(client, id))
        return lego_fail(diag, LEGO_E_NOT_FOUND, "no request %llu waits for an answer",
                         (unsigned long long)id);
    cancel.id = id;
    request.call_case = LEGONET__REQUEST__CALL_CANCEL;
    request.cancel = &cancel;
    return connection_notify(client, &request, diag);
}
