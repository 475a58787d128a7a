#include "agent/service/queue.h"

#include "agent/service/engine.h"

void queue_init(struct queue *queue)
{
    *queue = (struct queue){0};
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++)
        TAILQ_INIT(&queue->turns[i]);
}

void queue_peer_init(struct queue_peer *peer)
{
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++)
        TAILQ_INIT(&peer->lanes[i].jobs);
}

void queue_push(struct queue *queue, struct inference_job *job)
{
    struct queue_lane *lane = &job->peer->lanes[job->priority - 1];
    if (TAILQ_EMPTY(&lane->jobs))
        TAILQ_INSERT_TAIL(&queue->turns[job->priority - 1], lane, turns);
    TAILQ_INSERT_TAIL(&lane->jobs, job, waiting);
    job->is_waiting = true;
    queue->jobs++;
    queue->bytes += job->body_bytes;
}

void queue_remove(struct queue *queue, struct inference_job *job)
{
    struct queue_lane *lane = &job->peer->lanes[job->priority - 1];
    TAILQ_REMOVE(&lane->jobs, job, waiting);
    if (TAILQ_EMPTY(&lane->jobs))
        TAILQ_REMOVE(&queue->turns[job->priority - 1], lane, turns);
    job->is_waiting = false;
    queue->jobs--;
    queue->bytes -= job->body_bytes;
}

/* Takes the job, and lets the peers after its own have their turns. */
static struct inference_job *take(struct queue *queue, unsigned priority, struct queue_lane *lane,
                                  struct inference_job *job)
{
    queue_remove(queue, job);
    if (!TAILQ_EMPTY(&lane->jobs)) {
        TAILQ_REMOVE(&queue->turns[priority], lane, turns);
        TAILQ_INSERT_TAIL(&queue->turns[priority], lane, turns);
    }
    return job;
}

struct inference_job *queue_pop(struct queue *queue)
{
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        struct queue_lane *lane = TAILQ_FIRST(&queue->turns[i]);
        if (lane)
            return take(queue, i, lane, TAILQ_FIRST(&lane->jobs));
    }
    return NULL;
}

struct inference_job *queue_pop_match(struct queue *queue,
                                      bool (*match)(const struct inference_job *job, void *context),
                                      void *context)
{
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        struct queue_lane *lane;
        TAILQ_FOREACH(lane, &queue->turns[i], turns)
        {
            struct inference_job *job;
            TAILQ_FOREACH(job, &lane->jobs, waiting)
            if (match(job, context))
                return take(queue, i, lane, job);
        }
    }
    return NULL;
}

struct match {
    bool (*function)(const struct inference_job *job, void *context);
    void *context;
    struct inference_job **last; /* of those that were taken */
};

static void withdraw_lane(struct queue *queue, struct queue_lane *lane, struct match *match)
{
    struct inference_job *job = TAILQ_FIRST(&lane->jobs);
    while (job) {
        struct inference_job *next = TAILQ_NEXT(job, waiting);
        if (match->function(job, match->context)) {
            queue_remove(queue, job);
            job->next = NULL;
            *match->last = job;
            match->last = &job->next;
        }
        job = next;
    }
}

struct inference_job *queue_withdraw(struct queue *queue, struct queue_peer *peer,
                                     bool (*match)(const struct inference_job *job, void *context),
                                     void *context)
{
    struct inference_job *taken = NULL;
    struct match how = {.function = match, .context = context, .last = &taken};
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        if (peer) {
            withdraw_lane(queue, &peer->lanes[i], &how);
            continue;
        }
        struct queue_lane *lane = TAILQ_FIRST(&queue->turns[i]);
        while (lane) {
            struct queue_lane *next = TAILQ_NEXT(lane, turns);
            withdraw_lane(queue, lane, &how);
            lane = next;
        }
    }
    return taken;
}
