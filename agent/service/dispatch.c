/* From frames to answers. */
#include "agent/service/service.h"

#include "agent/service/answer.h"
#include "agent/service/clock.h"
#include "agent/service/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Of a request that is answered on the loop: larger ones could only be there to keep it busy. */
#define CONTROL_MAX_BYTES ((size_t)64 << 10)

void dispatch_error(struct connection *connection, uint64_t id, int status, const char *text)
{
    size_t bytes;
    uint8_t *frame = answer_error_frame(id, status, text, &bytes);
    if (frame)
        connection_send(connection, frame, bytes);
    else
        connection_close(connection); /* better no connection than a request without an answer */
}

static void link_job(struct service *service, struct inference_job *job)
{
    job->live_previous = NULL;
    job->live_next = service->jobs;
    if (job->live_next)
        job->live_next->live_previous = job;
    service->jobs = job;
}

static void unlink_job(struct service *service, struct inference_job *job)
{
    if (job->live_previous)
        job->live_previous->live_next = job->live_next;
    else
        service->jobs = job->live_next;
    if (job->live_next)
        job->live_next->live_previous = job->live_previous;
}

static int submit(struct service *service, struct connection *connection, struct inference_job *job,
                  struct lego_diag *diag)
{
    struct served_model *model = job->model;
    if (model->queued >= service->start->max_model_queue)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "%u requests wait for model \"%s\" already (limits.model_queue)",
                         model->queued, model->spec.name);
    /* All is counted before an engine can see the job. */
    model_ref(model);
    link_job(service, job);
    int status = engines_submit(service->engines, job, diag);
    if (status != LEGO_OK) {
        unlink_job(service, job);
        loader_release_model(service->loader, model);
        return status;
    }
    model->queued++;
    connection_begin(connection);
    return LEGO_OK;
}

/* Takes the body. */
static int dispatch_infer(struct service *service, struct connection *connection,
                          const struct peek *peek, uint8_t *body, size_t bytes,
                          struct lego_diag *diag)
{
    struct served_model *model;
    int status = registry_find(&service->registry, peek->model, peek->version, &model, diag);
    struct inference_job *job = status == LEGO_OK ? calloc(1, sizeof(*job)) : NULL;
    if (!job) {
        free(body);
        return status != LEGO_OK ? status : lego_fail(diag, LEGO_E_NOMEM, "no memory for a job");
    }
    job->owner = connection;
    job->request_id = peek->id;
    job->model = model;
    job->body = body;
    job->body_bytes = bytes;
    job->max_frame_bytes = service->start->max_frame_bytes;
    job->max_batch = service->start->max_batch;
    job->arrived_ns = clock_ns();
    atomic_init(&job->cancelled, false);
    status = submit(service, connection, job, diag);
    if (status != LEGO_OK) {
        struct stats_times times = {.total = clock_ns() - job->arrived_ns};
        stats_add(&model->stats, false, &times, 0);
        inference_job_free(job);
    }
    return status;
}

static int dispatch_repository(struct service *service, struct connection *connection,
                               const Legonet__Request *request, struct lego_diag *diag)
{
    /* Load and unload requests have the same three fields. */
    bool load = request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD;
    const char *name = load ? request->repository_model_load->model_name
                            : request->repository_model_unload->model_name;
    if (service->draining)
        return lego_fail(diag, LEGO_E_UNAVAILABLE, "the agent is stopping");
    if (load && request->repository_model_load->n_parameters > 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "loading takes no parameters (\"%.64s\"): models come from the agent's "
                         "configuration and model directory",
                         request->repository_model_load->parameters[0]->key);
    if (!config_name_is_valid(name))
        return lego_fail(diag, LEGO_E_INVALID, "\"%.128s\" is no name of a model", name);
    return reload_one(service, load ? LOAD_ONE : LOAD_DROP, name, connection, request->id, diag);
}

static int dispatch_control(struct service *service, struct connection *connection,
                            const uint8_t *body, size_t bytes, struct lego_diag *diag)
{
    Legonet__Request *request;
    if (bytes > CONTROL_MAX_BYTES)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "a request of this kind has at most %zu bytes, not %zu", CONTROL_MAX_BYTES,
                         bytes);
    int status = ipc_request_unpack(body, bytes, &request, diag);
    if (status != LEGO_OK)
        return status;
    if (request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD ||
        request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_UNLOAD) {
        status = dispatch_repository(service, connection, request, diag);
    } else {
        uint8_t *frame;
        size_t frame_bytes;
        status = control_answer(service, request, &frame, &frame_bytes, diag);
        if (status == LEGO_OK)
            connection_send(connection, frame, frame_bytes);
    }
    ipc_request_free(request);
    return status;
}

void dispatch_frame(struct connection *connection, uint8_t *body, size_t bytes)
{
    struct service *service = connection->host->context;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct peek peek;
    int status = peek_request(body, bytes, &peek);
    if (status != LEGO_OK) {
        lego_fail(&diag, status, "the frame holds no valid request (%zu bytes)", bytes);
        free(body);
    } else if (peek.call == LEGONET__REQUEST__CALL_MODEL_INFER) {
        if (service->draining) {
            status = lego_fail(&diag, LEGO_E_UNAVAILABLE, "the agent is stopping");
            free(body);
        } else {
            status = dispatch_infer(service, connection, &peek, body, bytes, &diag);
        }
    } else {
        status = dispatch_control(service, connection, body, bytes, &diag);
        free(body);
    }
    if (status != LEGO_OK)
        dispatch_error(connection, peek.id, status, lego_diag_text(&diag, status));
}

void dispatch_closed(struct connection *connection)
{
    struct service *service = connection->host->context;
    for (struct inference_job *job = service->jobs; job; job = job->live_next)
        if (job->owner == connection)
            atomic_store(&job->cancelled, true);
    service->connection_count--;
    log_debug("pid %d disconnected", (int)connection->pid);
}

static void mark_fault(struct served_model *model)
{
    static const char reason[] = "its file changed while it was in use: load it again";
    if (model->faulted)
        return;
    model->faulted = true;
    free(model->reason);
    model->reason = strdup(reason);
    log_error("model \"%s\" version %s: %s", model->spec.name, model->version_text, reason);
}

/* Counts the job and hands its answer to the client. */
static void answer_job(struct service *service, struct inference_job *job)
{
    struct connection *connection = job->owner;
    struct served_model *model = job->model;
    unlink_job(service, job);
    model->queued--;
    job->times.total = clock_ns() - job->arrived_ns;
    if (job->status != LEGO_E_CANCELLED)
        stats_add(&model->stats, job->status == LEGO_OK, &job->times, job->rows);
    if (job->status == LEGO_E_FAULT)
        mark_fault(model);
    if (job->frame)
        connection_send(connection, job->frame, job->frame_bytes);
    else
        connection_close(connection);
    job->frame = NULL;
    loader_release_model(service->loader, model);
}

void dispatch_done(struct service *service)
{
    struct inference_job *jobs = engines_take(service->engines);
    /* First all answers are queued, then each client is written to: few system calls. */
    for (struct inference_job *job = jobs; job; job = job->next)
        answer_job(service, job);
    while (jobs) {
        struct inference_job *job = jobs;
        struct connection *connection = job->owner;
        bool closed = connection->closed;
        jobs = job->next;
        inference_job_free(job);
        connection_finish(connection); /* a closed one may be gone after this */
        if (!closed)
            connection_pump(connection);
    }
}
