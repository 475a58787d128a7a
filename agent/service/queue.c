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
    *peer = (struct queue_peer){0};
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++)
        TAILQ_INIT(&peer->lanes[i].jobs);
}

static void give_turn(struct queue *queue, unsigned priority, struct queue_lane *lane)
{
    TAILQ_INSERT_TAIL(&queue->turns[priority], lane, turns);
    lane->has_turn = true;
}

static void take_turn(struct queue *queue, unsigned priority, struct queue_lane *lane)
{
    TAILQ_REMOVE(&queue->turns[priority], lane, turns);
    lane->has_turn = false;
}

/* A kept place is given up; where that was all, so is the turn. */
static void give_up(struct queue *queue, unsigned priority, struct queue_lane *lane)
{
    lane->is_kept = false;
    if (lane->has_turn && TAILQ_EMPTY(&lane->jobs))
        take_turn(queue, priority, lane);
}

void queue_push(struct queue *queue, struct inference_job *job)
{
    unsigned priority = job->priority - 1;
    struct queue_lane *lane = &job->peer->lanes[priority];
    if (!lane->has_turn)
        give_turn(queue, priority, lane);
    if (lane->is_kept && lane->kept_before)
        TAILQ_INSERT_BEFORE(lane->kept_before, job, waiting);
    else
        TAILQ_INSERT_TAIL(&lane->jobs, job, waiting);
    lane->is_kept = false;
    job->is_waiting = true;
    queue->jobs++;
    queue->bytes += job->body_bytes;
}

static void unlink_job(struct queue *queue, struct queue_lane *lane, struct inference_job *job)
{
    if (lane->is_kept && lane->kept_before == job)
        lane->kept_before = TAILQ_NEXT(job, waiting);
    TAILQ_REMOVE(&lane->jobs, job, waiting);
    job->is_waiting = false;
    queue->jobs--;
    queue->bytes -= job->body_bytes;
}

void queue_remove(struct queue *queue, struct inference_job *job)
{
    struct queue_lane *lane = &job->peer->lanes[job->priority - 1];
    unlink_job(queue, lane, job);
    if (TAILQ_EMPTY(&lane->jobs) && !lane->is_kept)
        take_turn(queue, job->priority - 1, lane);
}

/* Takes the job, and lets the peers after its own have their turns. */
static struct inference_job *take(struct queue *queue, unsigned priority, struct queue_lane *lane,
                                  struct inference_job *job)
{
    queue_remove(queue, job);
    if (lane->has_turn) {
        take_turn(queue, priority, lane);
        give_turn(queue, priority, lane);
    }
    return job;
}

struct inference_job *queue_pop(struct queue *queue)
{
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        struct queue_lane *lane;
        while ((lane = TAILQ_FIRST(&queue->turns[i]))) {
            if (!TAILQ_EMPTY(&lane->jobs))
                return take(queue, i, lane, TAILQ_FIRST(&lane->jobs));
            give_up(queue, i, lane); /* nobody came for the place */
        }
    }
    return NULL;
}

struct inference_job *queue_pop_match(struct queue *queue,
                                      bool (*match)(const struct inference_job *job, void *context),
                                      void *context)
{
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        struct queue_lane *lane = TAILQ_FIRST(&queue->turns[i]), *next;
        for (; lane; lane = next) {
            struct inference_job *job;
            next = TAILQ_NEXT(lane, turns);
            if (TAILQ_EMPTY(&lane->jobs))
                give_up(queue, i, lane);
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
    bool keeps;                  /* the place of the first */
    struct inference_job **last; /* of those that were taken */
};

static void withdraw_lane(struct queue *queue, struct queue_lane *lane, struct match *match)
{
    struct inference_job *job = TAILQ_FIRST(&lane->jobs);
    while (job) {
        struct inference_job *next = TAILQ_NEXT(job, waiting);
        if (match->function(job, match->context)) {
            if (match->keeps && !lane->is_kept) {
                lane->is_kept = true;
                lane->kept_before = job;
            }
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
            give_up(queue, i, &peer->lanes[i]);
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

struct inference_job *queue_overtake(struct queue *queue, struct queue_peer *peer,
                                     bool (*match)(const struct inference_job *job, void *context),
                                     void *context)
{
    struct inference_job *taken = NULL;
    struct match how = {.function = match, .context = context, .keeps = true, .last = &taken};
    for (unsigned i = 0; i < QUEUE_PRIORITIES; i++) {
        give_up(queue, i, &peer->lanes[i]); /* of one that never came */
        withdraw_lane(queue, &peer->lanes[i], &how);
    }
    return taken;
}
