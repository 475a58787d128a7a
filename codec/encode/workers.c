#include "codec/encode/workers.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define WORKERS_MAX 256

struct encode_workers {
    const struct kern_table *kernels;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    uint64_t round; /* counts encode_workers_run: a thread that sees it change has work */
    uint32_t busy;  /* threads that are still at this round */
    bool quit;
    void (*task)(void *context, size_t index);
    void *context;
    size_t count;
    atomic_size_t next;
    uint32_t thread_count; /* without the caller's */
    pthread_t threads[WORKERS_MAX];
};

static void work(struct encode_workers *workers)
{
    for (;;) {
        const size_t index = atomic_fetch_add_explicit(&workers->next, 1, memory_order_relaxed);
        if (index >= workers->count)
            return;
        workers->task(workers->context, index);
    }
}

static void *worker_main(void *argument)
{
    struct encode_workers *workers = argument;
    uint64_t seen = 0;

    pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (workers->round == seen && !workers->quit)
            pthread_cond_wait(&workers->start, &workers->lock);
        if (workers->quit)
            break;
        seen = workers->round;
        pthread_mutex_unlock(&workers->lock);
        work(workers);
        pthread_mutex_lock(&workers->lock);
        if (--workers->busy == 0)
            pthread_cond_signal(&workers->done);
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

static uint32_t default_threads(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

static struct kern_table references;

static void fill_references(void)
{
    kern_init_reference(&references);
}

const struct kern_table *encode_workers_kernels(const struct encode_workers *workers)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (workers && workers->kernels)
        return workers->kernels;
    pthread_once(&once, fill_references);
    return &references;
}

struct encode_workers *encode_workers_create(uint32_t threads, const struct kern_table *kernels)
{
    struct encode_workers *workers = calloc(1, sizeof(*workers));

    if (!workers)
        return NULL;
    workers->kernels = kernels;
    if (threads == 0)
        threads = default_threads();
    if (threads > WORKERS_MAX)
        threads = WORKERS_MAX;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->start, NULL);
    pthread_cond_init(&workers->done, NULL);
    atomic_init(&workers->next, 0);
    while (workers->thread_count + 1 < threads) {
        if (pthread_create(&workers->threads[workers->thread_count], NULL, worker_main, workers))
            break;
        workers->thread_count++;
    }
    return workers;
}

void encode_workers_destroy(struct encode_workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->quit = true;
    pthread_cond_broadcast(&workers->start);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->thread_count; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_cond_destroy(&workers->done);
    pthread_cond_destroy(&workers->start);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

void encode_workers_run(struct encode_workers *workers, size_t count,
                        void (*task)(void *context, size_t index), void *context)
{
    if (!workers || workers->thread_count == 0 || count < 2) {
        for (size_t i = 0; i < count; i++)
            task(context, i);
        return;
    }
    pthread_mutex_lock(&workers->lock);
    workers->task = task;
    workers->context = context;
    workers->count = count;
    atomic_store_explicit(&workers->next, 0, memory_order_relaxed);
    workers->busy = workers->thread_count;
    workers->round++;
    pthread_cond_broadcast(&workers->start);
    pthread_mutex_unlock(&workers->lock);
    work(workers);
    pthread_mutex_lock(&workers->lock);
    while (workers->busy)
        pthread_cond_wait(&workers->done, &workers->lock);
    pthread_mutex_unlock(&workers->lock);
}
