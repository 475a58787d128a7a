/*
 * The engines: threads that take inference jobs from one bounded queue (queue.h), compute, pack the
 * answer, and put the job on the list of finished ones. An engine takes only jobs of models that
 * have a session for it (served_model.engines). A job whose deadline has passed is not
 * computed. Where the model is configured so (model_spec.batch), jobs for it that wait at the same
 * time are computed in one run.
 */
#ifndef LEGO_SERVICE_ENGINE_H
#define LEGO_SERVICE_ENGINE_H

#include "agent/service/direct.h"
#include "agent/service/model.h"
#include "agent/service/queue.h"
#include "agent/service/regions.h"
#include "codec/base/diag.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inference_job {
    struct inference_job *next;
    /* In the queue, under the engines' mutex: */
    TAILQ_ENTRY(inference_job) waiting;
    bool is_waiting;
    struct queue_peer *peer; /* whose turn it takes; outlives the job */
    uint32_t priority;       /* 1 (first) to QUEUE_PRIORITIES */
    uint64_t deadline_ns;    /* 0: none */
    /* The loop's, not looked at by engines: the connection, and the list of all live jobs. */
    void *owner;
    struct inference_job *live_previous, *live_next;
    char *stream;                 /* owned; NULL: of none */
    uint64_t request_id;          /* of the envelope */
    struct served_model *model;   /* a reference */
    struct peer_account *account; /* the loop's: where the request is counted */
    size_t account_bytes;
    uint8_t *body; /* the request's frame, owned; freed as soon as it is unpacked */
    size_t body_bytes;
    bool pictures;                /* to be prepared: however few its bytes, that may take long */
    struct capture *capture;      /* keeps it where it succeeds; NULL: nothing is kept */
    struct region_table *regions; /* of the client when the request came: a reference */
    size_t max_frame_bytes;       /* of the answer */
    uint64_t max_batch;
    uint64_t arrived_ns;
    atomic_bool cancelled; /* nobody waits for the answer any more */
    /* The result. */
    int status;     /* of the inference; the answer says it, too */
    uint8_t *frame; /* owned; NULL: no memory for an answer, or cancelled */
    size_t frame_bytes;
    struct direct *direct; /* the engine may write the answer itself; NULL: it may not */
    enum direct_result written;
    size_t written_bytes; /* DIRECT_PART */
    uint64_t rows;        /* of the request */
    bool rides;           /* computed in a run that counts for another job */
    struct stats_times times;
};

void inference_job_free(struct inference_job *job); /* without the model's reference */

struct engines;

struct engines_options {
    uint32_t count;
    const char *cpus; /* engines.cpus, borrowed */
    size_t max_jobs, max_bytes;
    /* Called on an engine's thread, and must only wake the loop. Not called for an answer that the
     * engine has written itself: such a job can wait until the loop is awake. */
    void (*done)(void *context);
    void *context;
};

int engines_start(const struct engines_options *options, struct engines **ret_engines,
                  struct lego_diag *diag);

/* Queues a job, which is the engines' on success. LEGO_E_EXHAUSTED where the queue is full, with
 * the bound named. */
int engines_submit(struct engines *engines, struct inference_job *job, struct lego_diag *diag);

/*
 * Computes a job on the caller's thread, in place of an idle engine, where none waits: for what
 * takes less time than handing it over. Only the thread that submits may call it. False where no
 * engine is idle or the session is not ready for the job: it is to be submitted. The job stays the
 * caller's.
 */
bool engines_run_here(struct engines *engines, struct inference_job *job);

/* Takes waiting jobs out of the queue: see queue_withdraw. They are the caller's again. */
struct inference_job *
engines_withdraw(struct engines *engines, struct queue_peer *peer,
                 bool (*match)(const struct inference_job *job, void *context), void *context);

/* The same for what a newer job of the peer, submitted next, takes the place of: queue_overtake. */
struct inference_job *
engines_overtake(struct engines *engines, struct queue_peer *peer,
                 bool (*match)(const struct inference_job *job, void *context), void *context);

/* All jobs that are finished, in order, linked by `next`; NULL for none. */
struct inference_job *engines_take(struct engines *engines);

/* The longest time that an engine has been at one job, 0 where none is. */
uint64_t engines_longest_ns(struct engines *engines);

/* Waits for the jobs being computed and ends; returns all that nobody has taken. */
struct inference_job *engines_stop(struct engines *engines);

#endif
