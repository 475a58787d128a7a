#include "agent/service/engine.h"

#include "agent/service/clock.h"
#include "agent/service/inference.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct engine {
    pthread_t thread;
    struct engines *engines;
    uint32_t index;
    atomic_uint_fast64_t busy_since_ns; /* 0: idle */
};

struct job_list {
    struct inference_job *first, **last;
};

struct engines {
    struct engines_options options;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct queue queue;
    struct job_list finished;
    bool stopping;
    uint32_t started;
    struct engine *threads;
};

static void list_clear(struct job_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

static void list_append(struct job_list *list, struct inference_job *job)
{
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

void inference_job_free(struct inference_job *job)
{
    free(job->stream);
    free(job->body);
    free(job->frame);
    free(job);
}

/* Work that nobody can use any more is not done. */
static void compute(struct engine *engine, struct inference_job *job)
{
    uint64_t now = clock_ns();
    job->times.queue = now - job->arrived_ns;
    if (atomic_load(&job->cancelled)) {
        job->status = LEGO_E_CANCELLED;
        return;
    }
    if (job->deadline_ns && now >= job->deadline_ns) {
        inference_expire(job);
        return;
    }
    atomic_store(&engine->busy_since_ns, now);
    inference_run(job, job->model->sessions[engine->index]);
    atomic_store(&engine->busy_since_ns, 0);
}

static void *engine_main(void *argument)
{
    struct engine *engine = argument;
    struct engines *engines = engine->engines;
    char name[16];
    snprintf(name, sizeof(name), "lego-engine-%u", engine->index);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&engines->mutex);
    while (!engines->stopping) {
        struct inference_job *job = queue_pop(&engines->queue);
        if (!job) {
            pthread_cond_wait(&engines->wake, &engines->mutex);
            continue;
        }
        pthread_mutex_unlock(&engines->mutex);
        compute(engine, job);
        pthread_mutex_lock(&engines->mutex);
        bool first = !engines->finished.first; /* else the loop has been woken already */
        list_append(&engines->finished, job);
        if (!first)
            continue;
        pthread_mutex_unlock(&engines->mutex); /* which the loop wants at once */
        engines->options.done(engines->options.context);
        pthread_mutex_lock(&engines->mutex);
    }
    pthread_mutex_unlock(&engines->mutex);
    return NULL;
}

static int start_thread(struct engines *engines, uint32_t index)
{
    struct engine *engine = &engines->threads[index];
    engine->engines = engines;
    engine->index = index;
    atomic_init(&engine->busy_since_ns, 0);
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* the runtime guards its mappings by it */
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&engine->thread, NULL, engine_main, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int engines_start(const struct engines_options *options, struct engines **ret_engines,
                  struct lego_diag *diag)
{
    struct engines *engines = calloc(1, sizeof(*engines));
    struct engine *threads = calloc(options->count, sizeof(*threads));
    if (!engines || !threads) {
        free(engines);
        free(threads);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %u engines", options->count);
    }
    engines->options = *options;
    engines->threads = threads;
    pthread_mutex_init(&engines->mutex, NULL);
    pthread_cond_init(&engines->wake, NULL);
    queue_init(&engines->queue);
    list_clear(&engines->finished);
    for (; engines->started < options->count; engines->started++) {
        int error = start_thread(engines, engines->started);
        if (error) {
            engines_stop(engines);
            return lego_fail_errno(diag, error, "cannot start an engine's thread");
        }
    }
    *ret_engines = engines;
    return LEGO_OK;
}

int engines_submit(struct engines *engines, struct inference_job *job, struct lego_diag *diag)
{
    int status = LEGO_OK;
    pthread_mutex_lock(&engines->mutex);
    if (engines->queue.jobs >= engines->options.max_jobs)
        status = lego_fail(diag, LEGO_E_EXHAUSTED, "%zu requests wait already (limits.queue)",
                           engines->queue.jobs);
    else if (job->body_bytes > engines->options.max_bytes - engines->queue.bytes)
        status = lego_fail(diag, LEGO_E_EXHAUSTED,
                           "%zu bytes of requests wait already (limits.queue_memory)",
                           engines->queue.bytes);
    else
        queue_push(&engines->queue, job);
    pthread_mutex_unlock(&engines->mutex);
    if (status == LEGO_OK) /* the mutex is free: who wakes up need not wait for it */
        pthread_cond_signal(&engines->wake);
    return status;
}

struct inference_job *
engines_withdraw(struct engines *engines, struct queue_peer *peer,
                 bool (*match)(const struct inference_job *job, void *context), void *context)
{
    pthread_mutex_lock(&engines->mutex);
    struct inference_job *jobs = queue_withdraw(&engines->queue, peer, match, context);
    pthread_mutex_unlock(&engines->mutex);
    return jobs;
}

struct inference_job *engines_take(struct engines *engines)
{
    pthread_mutex_lock(&engines->mutex);
    struct inference_job *jobs = engines->finished.first;
    list_clear(&engines->finished);
    pthread_mutex_unlock(&engines->mutex);
    return jobs;
}

uint64_t engines_longest_ns(struct engines *engines)
{
    uint64_t now = clock_ns(), longest = 0;
    for (uint32_t i = 0; i < engines->started; i++) {
        uint64_t since = atomic_load(&engines->threads[i].busy_since_ns);
        if (since && now > since && now - since > longest)
            longest = now - since;
    }
    return longest;
}

struct inference_job *engines_stop(struct engines *engines)
{
    pthread_mutex_lock(&engines->mutex);
    engines->stopping = true;
    pthread_cond_broadcast(&engines->wake);
    pthread_mutex_unlock(&engines->mutex);
    for (uint32_t i = 0; i < engines->started; i++)
        pthread_join(engines->threads[i].thread, NULL);
    for (struct inference_job *job; (job = queue_pop(&engines->queue));)
        list_append(&engines->finished, job);
    struct inference_job *rest = engines->finished.first;
    pthread_cond_destroy(&engines->wake);
    pthread_mutex_destroy(&engines->mutex);
    free(engines->threads);
    free(engines);
    return rest;
}
