#include "agent/service/engine.h"

#include "agent/service/clock.h"
#include "agent/service/inference.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct engine {
    pthread_t thread;
    struct engines *engines;
    uint32_t index;
    atomic_uint_fast64_t busy_since_ns; /* 0: idle */
    bool has_job;                       /* under the mutex */
};

struct job_list {
    struct inference_job *first, **last;
};

struct engines {
    struct engines_options options;
    pthread_mutex_t mutex;
    /*
     * Engines sleep in a read of this pipe, a byte wakes one. Unlike a futex the kernel takes a
     * pipe's writer for one who is about to sleep, and runs the engine on the same core at once: an
     * idle core need not wake up, and a busy machine does not queue the engine behind others.
     */
    int wake[2];
    uint32_t sleeping, woken; /* engines that read; bytes that are in the pipe */
    struct queue queue;
    struct job_list finished;
    atomic_bool has_finished;
    bool loop_is_woken; /* since it took the finished jobs */
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
    region_table_unref(job->regions);
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

/* Waits for a byte. The mutex is held, but not while it waits. */
static void sleep_engine(struct engines *engines)
{
    char byte;
    engines->sleeping++;
    pthread_mutex_unlock(&engines->mutex);
    while (read(engines->wake[0], &byte, 1) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&engines->mutex);
    engines->sleeping--;
    engines->woken--;
}

/* True where a byte is to be written, after the mutex has been unlocked: it is held. */
static bool claim_sleeper(struct engines *engines)
{
    if (engines->woken >= engines->sleeping)
        return false;
    engines->woken++;
    return true;
}

static void wake_engine(struct engines *engines)
{
    while (write(engines->wake[1], "", 1) < 0 && errno == EINTR) {
    }
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
            sleep_engine(engines);
            continue;
        }
        engine->has_job = true;
        pthread_mutex_unlock(&engines->mutex);
        compute(engine, job);
        pthread_mutex_lock(&engines->mutex);
        engine->has_job = false;
        atomic_store(&engines->has_finished, true);
        /* Under the mutex: who has the answer finds the job finished. */
        if (job->direct && job->frame && !atomic_load(&job->cancelled))
            job->written =
                direct_send(job->direct, job->frame, job->frame_bytes, &job->written_bytes);
        list_append(&engines->finished, job);
        bool told = job->written == DIRECT_ALL && !atomic_load(&job->direct->ended);
        if (told || engines->loop_is_woken)
            continue;
        engines->loop_is_woken = true;
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
    if (!engines || !threads || pipe2(engines->wake, O_CLOEXEC) != 0) {
        int error = engines && threads ? errno : ENOMEM;
        free(engines);
        free(threads);
        return lego_fail_errno(diag, error, "cannot make %u engines", options->count);
    }
    engines->options = *options;
    engines->threads = threads;
    pthread_mutex_init(&engines->mutex, NULL);
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
    bool wake = false;
    pthread_mutex_lock(&engines->mutex);
    if (engines->queue.jobs >= engines->options.max_jobs)
        status = lego_fail(diag, LEGO_E_EXHAUSTED, "%zu requests wait already (limits.queue)",
                           engines->queue.jobs);
    else if (job->body_bytes > engines->options.max_bytes - engines->queue.bytes)
        status = lego_fail(diag, LEGO_E_EXHAUSTED,
                           "%zu bytes of requests wait already (limits.queue_memory)",
                           engines->queue.bytes);
    if (status == LEGO_OK) {
        queue_push(&engines->queue, job);
        wake = claim_sleeper(engines);
    }
    pthread_mutex_unlock(&engines->mutex);
    if (wake)
        wake_engine(engines);
    return status;
}

/* An engine that has nothing to do and, while nothing is submitted, will have nothing; NULL. */
static struct engine *find_idle(struct engines *engines)
{
    struct engine *idle = NULL;
    pthread_mutex_lock(&engines->mutex);
    for (uint32_t i = 0; engines->queue.jobs == 0 && !idle && i < engines->started; i++)
        if (!engines->threads[i].has_job)
            idle = &engines->threads[i];
    pthread_mutex_unlock(&engines->mutex);
    return idle;
}

bool engines_run_here(struct engines *engines, struct inference_job *job)
{
    struct engine *engine = find_idle(engines);
    uint64_t now = clock_ns();
    if (!engine || (job->deadline_ns && now >= job->deadline_ns))
        return false;
    job->times.queue = now - job->arrived_ns;
    return inference_run_steady(job, job->model->sessions[engine->index]);
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
    if (!atomic_load(&engines->has_finished))
        return NULL;
    pthread_mutex_lock(&engines->mutex);
    struct inference_job *jobs = engines->finished.first;
    list_clear(&engines->finished);
    atomic_store(&engines->has_finished, false);
    engines->loop_is_woken = false;
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
    uint32_t asleep = 0;
    while (claim_sleeper(engines))
        asleep++;
    pthread_mutex_unlock(&engines->mutex);
    for (; asleep > 0; asleep--)
        wake_engine(engines);
    for (uint32_t i = 0; i < engines->started; i++)
        pthread_join(engines->threads[i].thread, NULL);
    for (struct inference_job *job; (job = queue_pop(&engines->queue));)
        list_append(&engines->finished, job);
    struct inference_job *rest = engines->finished.first;
    close(engines->wake[0]);
    close(engines->wake[1]);
    pthread_mutex_destroy(&engines->mutex);
    free(engines->threads);
    free(engines);
    return rest;
}
