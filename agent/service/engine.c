#include "agent/service/engine.h"

#include "agent/service/clock.h"
#include "agent/service/cpus.h"
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
    /* Under the mutex: */
    bool has_job;
    bool sleeping, woken; /* it reads; a byte is in its pipe */
    /*
     * It sleeps in a read of this pipe, which a byte ends. Unlike a futex the kernel takes a pipe's
     * writer for one who is about to sleep, and runs the engine on the same core at once: an idle
     * core need not wake up, and a busy machine does not queue the engine behind others.
     */
    int wake[2];
};

struct job_list {
    struct inference_job *first, **last;
};

struct engines {
    struct engines_options options;
    pthread_mutex_t mutex;
    /* Engines that have a job and wait a little for others to compute with it. */
    pthread_cond_t more;
    uint32_t gathering;
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
static bool is_wanted(struct inference_job *job, uint64_t now)
{
    job->times.queue = now - job->arrived_ns;
    if (atomic_load(&job->cancelled)) {
        job->status = LEGO_E_CANCELLED;
        return false;
    }
    if (job->deadline_ns && now >= job->deadline_ns) {
        inference_expire(job);
        return false;
    }
    return true;
}

/* All jobs of one model, linked by `next`. */
static void compute(struct engine *engine, struct inference_job *jobs)
{
    struct inference_job *wanted[MODEL_MAX_BATCH];
    size_t count = 0;
    uint64_t now = clock_ns();
    for (struct inference_job *job = jobs; job; job = job->next)
        if (is_wanted(job, now))
            wanted[count++] = job;
    if (count == 0)
        return;
    struct lego_session *session = jobs->model->sessions[engine->index];
    atomic_store(&engine->busy_since_ns, now);
    if (count == 1)
        inference_run(wanted[0], session);
    else
        inference_run_batch(wanted, count, jobs->model->spec.batch.rows, session);
    atomic_store(&engine->busy_since_ns, 0);
}

static bool may_compute(const struct inference_job *job, void *context)
{
    return job->model->engines >> *(const uint32_t *)context & 1;
}

static bool is_of_model(const struct inference_job *job, void *context)
{
    return job->model == context;
}

/* Adds to `jobs` what waits for the same model; returns how many there are. */
static size_t gather(struct engines *engines, struct inference_job *jobs)
{
    size_t count = 1;
    struct inference_job *last = jobs;
    for (; last->next; last = last->next)
        count++;
    while (count < jobs->model->spec.batch.rows) {
        struct inference_job *job = queue_pop_match(&engines->queue, is_of_model, jobs->model);
        if (!job)
            break;
        job->next = NULL;
        last->next = job;
        last = job;
        count++;
    }
    return count;
}

/*
 * The next job, with others of its model where those may be batched; NULL where none waits. The
 * mutex is held. It waits for more only while nobody else wants the engine.
 */
static struct inference_job *take_work(struct engine *engine)
{
    struct engines *engines = engine->engines;
    struct inference_job *jobs = queue_pop_match(&engines->queue, may_compute, &engine->index);
    if (!jobs)
        return NULL;
    engine->has_job = true;
    jobs->next = NULL;
    const struct model_batch *batch = &jobs->model->spec.batch;
    uint64_t until = jobs->arrived_ns + batch->delay_ms * 1000000;
    if (jobs->deadline_ns && jobs->deadline_ns < until)
        until = jobs->deadline_ns;
    const struct timespec when = {.tv_sec = (time_t)(until / 1000000000),
                                  .tv_nsec = (long)(until % 1000000000)};
    while (batch->rows > 1 && gather(engines, jobs) < batch->rows && engines->queue.jobs == 0 &&
           !engines->stopping && clock_ns() < until) {
        engines->gathering++;
        pthread_cond_timedwait(&engines->more, &engines->mutex, &when);
        engines->gathering--;
    }
    return jobs;
}

/* Waits for a byte. The mutex is held, but not while it waits. */
static void sleep_engine(struct engine *engine)
{
    struct engines *engines = engine->engines;
    char byte;
    engine->sleeping = true;
    pthread_mutex_unlock(&engines->mutex);
    while (read(engine->wake[0], &byte, 1) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&engines->mutex);
    engine->sleeping = engine->woken = false;
}

/* A sleeping engine of `wanted`, to be woken after the mutex has been unlocked; NULL. */
static struct engine *claim_sleeper(struct engines *engines, uint64_t wanted)
{
    for (uint32_t i = 0; i < engines->started; i++) {
        struct engine *engine = &engines->threads[i];
        if (!(wanted >> i & 1) || !engine->sleeping || engine->woken)
            continue;
        engine->woken = true;
        return engine;
    }
    return NULL;
}

static void wake_engine(const struct engine *engine)
{
    while (write(engine->wake[1], "", 1) < 0 && errno == EINTR) {
    }
}

static void send_directly(struct inference_job *job)
{
    if (job->direct && job->frame && !atomic_load(&job->cancelled))
        job->written = direct_send(job->direct, job->frame, job->frame_bytes, &job->written_bytes);
}

/* Hands over what is computed: true where the loop need not be told. The mutex is held: who has the
 * answer finds the job finished. */
static bool finish(struct engines *engines, struct inference_job *job)
{
    send_directly(job);
    list_append(&engines->finished, job);
    return job->written == DIRECT_ALL && !atomic_load(&job->direct->awaited);
}

static void *engine_main(void *argument)
{
    struct engine *engine = argument;
    struct engines *engines = engine->engines;
    char name[16];
    snprintf(name, sizeof(name), "lego-engine-%u", engine->index);
    pthread_setname_np(pthread_self(), name);
    cpus_enter(engines->options.cpus, engine->index, NULL);
    pthread_mutex_lock(&engines->mutex);
    while (!engines->stopping) {
        struct inference_job *jobs = take_work(engine);
        if (!jobs) {
            sleep_engine(engine);
            continue;
        }
        pthread_mutex_unlock(&engines->mutex);
        compute(engine, jobs);
        pthread_mutex_lock(&engines->mutex);
        engine->has_job = false;
        atomic_store(&engines->has_finished, true);
        bool told = true;
        for (struct inference_job *next; jobs; jobs = next) {
            next = jobs->next;
            told = finish(engines, jobs) && told;
        }
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

static void close_pipe(const struct engine *engine)
{
    close(engine->wake[0]);
    close(engine->wake[1]);
}

static int start_thread(struct engines *engines, uint32_t index)
{
    struct engine *engine = &engines->threads[index];
    engine->engines = engines;
    engine->index = index;
    atomic_init(&engine->busy_since_ns, 0);
    if (pipe2(engine->wake, O_CLOEXEC) != 0)
        return errno;
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* the runtime guards its mappings by it */
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&engine->thread, NULL, engine_main, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        close_pipe(engine);
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
    pthread_condattr_t by_clock; /* of clock_ns: an hour that is set wrong delays nobody */
    pthread_condattr_init(&by_clock);
    pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
    pthread_cond_init(&engines->more, &by_clock);
    pthread_condattr_destroy(&by_clock);
    queue_init(&engines->queue);
    list_clear(&engines->finished);
    for (uint32_t i = 0; i < options->count; i++) {
        int error = start_thread(engines, i);
        if (!error) {
            pthread_mutex_lock(&engines->mutex); /* the first may run already */
            engines->started++;
            pthread_mutex_unlock(&engines->mutex);
        } else {
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
    struct engine *wake = NULL;
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
        wake = claim_sleeper(engines, job->model->engines);
        if (engines->gathering > 0)
            pthread_cond_broadcast(&engines->more);
    }
    pthread_mutex_unlock(&engines->mutex);
    if (wake)
        wake_engine(wake);
    return status;
}

/* An engine of `wanted` that has nothing to do and, while nothing is submitted, will have nothing;
 * NULL. */
static struct engine *find_idle(struct engines *engines, uint64_t wanted)
{
    struct engine *idle = NULL;
    pthread_mutex_lock(&engines->mutex);
    for (uint32_t i = 0; engines->queue.jobs == 0 && !idle && i < engines->started; i++)
        if (wanted >> i & 1 && !engines->threads[i].has_job)
            idle = &engines->threads[i];
    pthread_mutex_unlock(&engines->mutex);
    return idle;
}

bool engines_run_here(struct engines *engines, struct inference_job *job)
{
    struct engine *engine = find_idle(engines, job->model->engines);
    uint64_t now = clock_ns();
    if (!engine || (job->deadline_ns && now >= job->deadline_ns))
        return false;
    job->times.queue = now - job->arrived_ns;
    if (!inference_run_steady(job, job->model->sessions[engine->index]))
        return false;
    send_directly(job); /* the client goes on while the loop counts */
    return true;
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

struct inference_job *
engines_overtake(struct engines *engines, struct queue_peer *peer,
                 bool (*match)(const struct inference_job *job, void *context), void *context)
{
    pthread_mutex_lock(&engines->mutex);
    struct inference_job *jobs = queue_overtake(&engines->queue, peer, match, context);
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
    pthread_cond_broadcast(&engines->more);
    for (struct engine *engine; (engine = claim_sleeper(engines, UINT64_MAX));)
        wake_engine(engine);
    pthread_mutex_unlock(&engines->mutex);
    for (uint32_t i = 0; i < engines->started; i++) {
        pthread_join(engines->threads[i].thread, NULL);
        close_pipe(&engines->threads[i]);
    }
    for (struct inference_job *job; (job = queue_pop(&engines->queue));)
        list_append(&engines->finished, job);
    struct inference_job *rest = engines->finished.first;
    pthread_cond_destroy(&engines->more);
    pthread_mutex_destroy(&engines->mutex);
    free(engines->threads);
    free(engines);
    return rest;
}
