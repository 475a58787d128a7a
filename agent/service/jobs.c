/* The life of an inference on the loop: queued, overtaken, expired, cancelled, answered. */
#include "agent/service/service.h"

#include "agent/service/answer.h"
#include "agent/service/clock.h"
#include "agent/service/inference.h"
#include "agent/service/log.h"
#include "agent/service/sleep.h"
#include "codec/base/arith.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TIMEOUT_US ((uint64_t)86400 * 1000000) /* a day: longer is as good as none */
#define NO_DEADLINE    UINT64_MAX
#define MAX_HERE_BYTES 4096u /* of a request that is computed on the loop */

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

/* ---- The end of a job ---- */

static void mark_fault(struct served_model *model)
{
    static const char reason[] = "its file changed while it was in use: load it again";
    if (model->faulted)
        return;
    model->faulted = true;
    free(model->reason);
    model->reason = strdup(reason);
    model_log(LOG_LEVEL_ERROR, model, "model-faulted", "%s", reason);
}

static void set_failure(struct inference_job *job, int status, const char *text)
{
    free(job->frame);
    job->status = status;
    job->frame = answer_error_frame(job->request_id, status, text, &job->frame_bytes);
}

/* A model on trial passes with its first success; what says nothing of the model does not count. */
static void try_model(struct service *service, struct served_model *model, int status)
{
    if (model->trial_left == 0 || status == LEGO_E_CANCELLED || status == LEGO_E_DEADLINE)
        return;
    if (status == LEGO_OK)
        model->trial_left = 0;
    else if (--model->trial_left == 0)
        reload_give_up(service, model);
}

static void send_answer(struct connection *connection, struct inference_job *job)
{
    if (job->written == DIRECT_ALL)
        return;
    if (!job->frame || job->written == DIRECT_FAILED)
        connection_close(connection); /* better no connection than a request without an answer */
    else if (job->written == DIRECT_PART)
        connection_resume(connection, job->frame, job->frame_bytes, job->written_bytes);
    else
        connection_send(connection, job->frame, job->frame_bytes);
    if (job->written != DIRECT_FAILED)
        job->frame = NULL;
}

/* Counts the job and hands its answer to the client. */
static void answer_job(struct service *service, struct inference_job *job)
{
    struct connection *connection = job->owner;
    struct served_model *model = job->model;
    unlink_job(service, job);
    model->queued--;
    peers_finish(job->account, job->account_bytes);
    model->used_ns = clock_ns();
    job->times.total = model->used_ns - job->arrived_ns;
    if (job->status == LEGO_E_FAULT)
        mark_fault(model);
    if (atomic_load(&job->cancelled) && job->written == DIRECT_NOT)
        set_failure(job, LEGO_E_CANCELLED, "cancelled while it was computed");
    stats_add(&model->stats, job->status, &job->times, job->rows, job->rides);
    if (job->status == LEGO_OK)
        stats_pace_add(&model->pace, job->body_bytes, &job->times);
    try_model(service, model, job->status);
    send_answer(connection, job);
    loader_release_model(service->loader, model);
}

/* First all answers are queued, then each client is written to: few system calls. */
static void finish_jobs(struct service *service, struct inference_job *jobs, bool pump)
{
    for (struct inference_job *job = jobs; job; job = job->next)
        answer_job(service, job);
    while (jobs) {
        struct inference_job *job = jobs;
        struct connection *connection = job->owner;
        bool closed = connection->closed;
        jobs = job->next;
        inference_job_free(job);
        connection_finish(connection); /* a closed one may be gone after this */
        if (pump && !closed)
            connection_pump(connection);
    }
}

void jobs_done(struct service *service)
{
    finish_jobs(service, engines_take(service->engines), true);
}

/* ---- Leaving the queue early ---- */

/* Answers jobs that were taken out of the queue; for use while their client's input is parsed, or
 * after it has gone: what does that pumps. */
static void refuse_withdrawn(struct service *service, struct inference_job *jobs, const char *text)
{
    for (struct inference_job *job = jobs; job; job = job->next) {
        job->times.queue = clock_ns() - job->arrived_ns;
        set_failure(job, LEGO_E_CANCELLED, text);
    }
    finish_jobs(service, jobs, false);
}

static bool match_id(const struct inference_job *job, void *context)
{
    return job->request_id == *(const uint64_t *)context;
}

static bool match_all(const struct inference_job *job, void *context)
{
    (void)job;
    (void)context;
    return true;
}

/* A newer job of the same stream and model. */
static bool match_stream(const struct inference_job *job, void *context)
{
    const struct inference_job *newer = context;
    return job->stream && !strcmp(job->stream, newer->stream) &&
           !strcmp(job->model->spec.name, newer->model->spec.name);
}

/* Those with an engine: their results are thrown away. NULL: whatever the id. */
static bool cancel_running(struct service *service, const struct connection *connection,
                           const uint64_t *id)
{
    bool found = false;
    for (struct inference_job *job = service->jobs; job; job = job->live_next)
        if (job->owner == connection && (!id || job->request_id == *id)) {
            atomic_store(&job->cancelled, true);
            found = true;
        }
    return found;
}

bool jobs_cancel(struct service *service, struct connection *connection, uint64_t id)
{
    struct inference_job *jobs = NULL;
    if (connection->queue_peer)
        jobs = engines_withdraw(service->engines, connection->queue_peer, match_id, &id);
    bool found = jobs != NULL;
    refuse_withdrawn(service, jobs, "cancelled by its client");
    found = sleep_cancel(service, connection, id) || found;
    return cancel_running(service, connection, &id) || found;
}

void jobs_drop_connection(struct service *service, struct connection *connection)
{
    struct inference_job *jobs = NULL;
    if (connection->queue_peer)
        jobs = engines_withdraw(service->engines, connection->queue_peer, match_all, NULL);
    refuse_withdrawn(service, jobs, "its client has gone");
    cancel_running(service, connection, NULL);
    sleep_drop(service, connection);
}

/* ---- Deadlines ---- */

static bool match_expired(const struct inference_job *job, void *context)
{
    return expiry_passed(context, job->deadline_ns);
}

static void on_expiry(uv_timer_t *timer);

static void arm_expiry(struct service *service, uint64_t deadline_ns)
{
    uint64_t now = clock_ns();
    uint64_t wait_ms = deadline_ns > now ? (deadline_ns - now) / 1000000 + 1 : 1;
    service->expiry_ns = deadline_ns;
    uv_timer_start(&service->expiry, on_expiry, wait_ms, 0);
}

/* Expired jobs leave the queue at once, not only when an engine comes to them. */
static void on_expiry(uv_timer_t *timer)
{
    struct service *service = timer->data;
    struct expiry expiry = {.now_ns = clock_ns(), .next_ns = NO_DEADLINE};
    struct inference_job *jobs = engines_withdraw(service->engines, NULL, match_expired, &expiry);
    for (struct inference_job *job = jobs; job; job = job->next) {
        job->times.queue = expiry.now_ns - job->arrived_ns;
        inference_expire(job);
    }
    sleep_expire(service, &expiry);
    service->expiry_ns = NO_DEADLINE;
    if (expiry.next_ns != NO_DEADLINE)
        arm_expiry(service, expiry.next_ns);
    finish_jobs(service, jobs, true);
}

void jobs_expect_deadline(struct service *service, uint64_t deadline_ns)
{
    if (deadline_ns < service->expiry_ns)
        arm_expiry(service, deadline_ns);
}

void jobs_init(struct service *service)
{
    service->expiry.data = service;
    service->expiry_ns = NO_DEADLINE;
    uv_timer_init(&service->loop, &service->expiry);
}

/* ---- The start of a job ---- */

static int check_schedule(const struct peek *peek, struct lego_diag *diag)
{
    if (peek->wrong && !strcmp(peek->wrong, "stream"))
        return lego_fail(diag, LEGO_E_INVALID,
                         "parameter \"stream\" must be a text of 1 to %d bytes",
                         PEEK_NAME_BYTES - 1);
    if (peek->wrong)
        return lego_fail(diag, LEGO_E_INVALID, "parameter \"%s\" must be a whole number, 0 or more",
                         peek->wrong);
    if (peek->priority > QUEUE_PRIORITIES)
        return lego_fail(diag, LEGO_E_INVALID,
                         "parameter \"priority\" is %" PRIu64
                         ": from 1 (first) to %u (last), or 0 for the model's own",
                         peek->priority, QUEUE_PRIORITIES);
    return LEGO_OK;
}

uint64_t jobs_deadline(const struct served_model *model, const struct peek *peek,
                       uint64_t arrived_ns)
{
    uint64_t us = peek->timeout_us ? peek->timeout_us : model->spec.queue.timeout_ms * 1000;
    if (us == 0 || us > MAX_TIMEOUT_US)
        return 0;
    return arrived_ns + us * 1000;
}

static int create_job(struct service *service, struct connection *connection,
                      const struct peek *peek, struct served_model *model, uint64_t arrived_ns,
                      struct inference_job **ret_job, struct lego_diag *diag)
{
    struct inference_job *job = malloc(sizeof(*job)); /* calloc has no cache of freed blocks */
    if (job)
        memset(job, 0, sizeof(*job));
    if (job && *peek->stream)
        job->stream = strdup(peek->stream);
    if (job && !connection->queue_peer) {
        connection->queue_peer = malloc(sizeof(*connection->queue_peer));
        if (connection->queue_peer)
            queue_peer_init(connection->queue_peer);
    }
    if (!job || !connection->queue_peer || (*peek->stream && !job->stream)) {
        if (job)
            inference_job_free(job);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a job");
    }
    job->owner = connection;
    job->peer = connection->queue_peer;
    job->request_id = peek->id;
    job->model = model;
    job->max_frame_bytes = service->start->max_frame_bytes;
    job->max_batch = service->start->max_batch;
    job->capture = service->capture;
    job->regions = region_table_ref(connection->regions);
    job->pictures = peek->pictures;
    job->arrived_ns = arrived_ns;
    job->priority = (uint32_t)(peek->priority ? peek->priority : model->spec.queue.priority);
    job->deadline_ns = jobs_deadline(model, peek, arrived_ns);
    atomic_init(&job->cancelled, false);
    *ret_job = job;
    return LEGO_OK;
}

/*
 * Requests of a model that is known to be quick are computed here and now, while an engine is idle:
 * to hand one over and wake two threads takes longer. Only the first of what a client has sent, so
 * that others get their turn; and no shared memory, which can be slow to read, and no pictures.
 */
static bool may_run_here(const struct connection *connection, const struct inference_job *job)
{
    return !connection->was_served && connection->in_flight == 0 && !job->regions &&
           !job->pictures && job->body_bytes <= MAX_HERE_BYTES &&
           stats_is_quick(&job->model->pace, job->body_bytes);
}

static int submit(struct service *service, struct connection *connection, struct inference_job *job,
                  struct lego_diag *diag)
{
    struct served_model *model = job->model;
    uint64_t bound =
        model->spec.queue.length ? model->spec.queue.length : service->start->max_model_queue;
    if (model->queued >= bound)
        return lego_fail(diag, LEGO_E_EXHAUSTED, "%u requests wait for model \"%s\" already (%s)",
                         model->queued, model->spec.name,
                         model->spec.queue.length ? "its queue" : "limits.model_queue");
    int status = peers_begin(&service->peers, connection->account, job->body_bytes, diag);
    if (status != LEGO_OK)
        return status;
    job->account = connection->account;
    job->account_bytes = job->body_bytes;
    /* All is counted before an engine can see the job. */
    uint64_t deadline_ns = job->deadline_ns;
    bool here = may_run_here(connection, job);
    /* With more under way the loop writes many answers at once; and with a bound of one it must
     * hear of each answer anyway, to read on. */
    if (connection->in_flight == 0 && connection->host->max_in_flight > 1)
        job->direct = &connection->direct;
    connection_begin(connection);
    model_ref(model);
    link_job(service, job);
    if (here && engines_run_here(service->engines, job)) {
        model->queued++;
        connection->was_served = true;
        finish_jobs(service, job, false); /* whoever parses the client's input pumps */
        return LEGO_OK;
    }
    status = engines_submit(service->engines, job, diag);
    if (status != LEGO_OK) {
        peers_finish(job->account, job->account_bytes);
        connection_finish(connection);
        unlink_job(service, job);
        loader_release_model(service->loader, model);
        return status;
    }
    model->queued++;
    if (deadline_ns)
        jobs_expect_deadline(service, deadline_ns);
    return LEGO_OK;
}

int jobs_submit(struct service *service, struct connection *connection, const struct peek *peek,
                uint8_t *body, size_t bytes, uint64_t arrived_ns, struct lego_diag *diag)
{
    struct served_model *model;
    struct inference_job *job = NULL;
    int status = registry_route(&service->registry, peek->model, peek->version, &model, diag);
    if (status == LEGO_OK)
        status = check_schedule(peek, diag);
    if (status == LEGO_OK && *peek->stream)
        sleep_overtake(service, connection, peek);
    if (status == LEGO_OK && model->asleep)
        return sleep_wait(service, connection, model, peek, body, bytes, arrived_ns, diag);
    if (status == LEGO_OK)
        status = create_job(service, connection, peek, model, arrived_ns, &job, diag);
    if (status != LEGO_OK) {
        free(body);
        return status;
    }
    job->body = body;
    job->body_bytes = bytes;
    if (job->stream)
        refuse_withdrawn(
            service, engines_overtake(service->engines, connection->queue_peer, match_stream, job),
            "a newer request of its stream took its place");
    status = submit(service, connection, job, diag);
    if (status != LEGO_OK) {
        struct stats_times times = {.total = clock_ns() - job->arrived_ns};
        stats_add(&model->stats, status, &times, 0, false);
        inference_job_free(job);
    }
    return status;
}
