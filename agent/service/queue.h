/*
 * The jobs that wait for an engine. A lower priority number goes first; within one priority the
 * peers take turns, one job each, so that a peer that sends much waits for itself; the jobs of one
 * peer keep their order.
 *
 * No lock of its own: the engines' mutex guards it, and the lanes of every peer in it.
 */
#ifndef LEGO_SERVICE_QUEUE_H
#define LEGO_SERVICE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct inference_job;

TAILQ_HEAD(queue_jobs, inference_job);

/* What one peer has waiting at one priority. */
struct queue_lane {
    TAILQ_ENTRY(queue_lane) turns;
    struct queue_jobs jobs;
    bool has_turn; /* it is among the turns, with a job or a place that is kept */
    bool is_kept;  /* a place that was overtaken is the next job's: */
    struct inference_job *kept_before; /* before this one; NULL: at the end */
};

TAILQ_HEAD(queue_turns, queue_lane);

/* The priorities, from 1; QUEUE_PRIORITY_DEFAULT is in their middle. */
#define QUEUE_PRIORITIES       10u
#define QUEUE_PRIORITY_DEFAULT 5u

struct queue_peer {
    struct queue_lane lanes[QUEUE_PRIORITIES];
};

struct queue {
    struct queue_turns turns[QUEUE_PRIORITIES]; /* lanes that have a turn, the next one first */
    size_t jobs, bytes;
};

void queue_init(struct queue *queue);
/* A peer outlives its jobs. */
void queue_peer_init(struct queue_peer *peer);

/* Adds a job: its `peer`, `priority` and `body_bytes` are set. */
void queue_push(struct queue *queue, struct inference_job *job);

/* Takes the job whose turn it is; NULL where none waits. */
struct inference_job *queue_pop(struct queue *queue);

/* The same among the jobs that `match` says yes to. */
struct inference_job *queue_pop_match(struct queue *queue,
                                      bool (*match)(const struct inference_job *job, void *context),
                                      void *context);

/* Takes a job out that is in the queue. */
void queue_remove(struct queue *queue, struct inference_job *job);

/*
 * Takes out every job (of `peer` where that is not NULL) that `match` says yes to, in the order of
 * the queue, linked by `next`.
 */
struct inference_job *queue_withdraw(struct queue *queue, struct queue_peer *peer,
                                     bool (*match)(const struct inference_job *job, void *context),
                                     void *context);

/*
 * The same for jobs of `peer` that a newer one, which is pushed next, takes the place of: the newer
 * one's turn comes when theirs would have come, at the same priority. Who brings a new frame before
 * the last one's turn would else wait for ever where engines are few.
 */
struct inference_job *queue_overtake(struct queue *queue, struct queue_peer *peer,
                                     bool (*match)(const struct inference_job *job, void *context),
                                     void *context);

#endif
