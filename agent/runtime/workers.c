#include "agent/runtime/workers.h"

#include "codec/base/arith.h"

#include <pthreadpool.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct workers_range {
    _Alignas(64) atomic_size_t next; /* a cache line each: slots do not disturb one another */
    size_t end;
};

struct workers {
    uint32_t count;
    pthreadpool_t pool; /* NULL: one slot, the caller's */
    uint32_t flags;
    workers_task task;
    void *context;
    uint32_t slots;
    struct workers_range ranges[WORKERS_MAX];
};

static uint32_t workers_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

int workers_create(uint32_t threads, struct workers **ret_workers, struct lego_diag *diag)
{
    struct workers *workers = aligned_alloc(64, sizeof(*workers));

    if (!workers)
        return lego_fail(diag, LEGO_E_NOMEM, "making %u threads", threads);
    if (!threads)
        threads = workers_cores();
    if (threads < 1)
        threads = 1;
    if (threads > WORKERS_MAX)
        threads = WORKERS_MAX;
    *workers = (struct workers){.count = threads};
    if (threads > 1) {
        workers->pool = pthreadpool_create(threads);
        if (!workers->pool) {
            free(workers);
            return lego_fail(diag, LEGO_E_NOMEM, "making %u threads", threads);
        }
    }
    *ret_workers = workers;
    return LEGO_OK;
}

void workers_destroy(struct workers *workers)
{
    if (!workers)
        return;
    if (workers->pool)
        pthreadpool_destroy(workers->pool);
    free(workers);
}

uint32_t workers_count(const struct workers *workers)
{
    return workers->count;
}

uint32_t workers_worth(const struct workers *workers, size_t items, uint64_t work)
{
    uint64_t worth = work / WORKERS_MIN_WORK;

    if (worth > workers->count)
        worth = workers->count;
    if (worth > items)
        worth = items;
    return worth < 1 ? 1 : (uint32_t)worth;
}

void workers_rest_after_next(struct workers *workers)
{
    workers->flags = PTHREADPOOL_FLAG_YIELD_WORKERS;
}

static void workers_slot(void *argument, size_t slot)
{
    struct workers *workers = argument;

    for (uint32_t i = 0; i < workers->slots; i++) {
        struct workers_range *range = &workers->ranges[(slot + i) % workers->slots];
        size_t item;
        while ((item = atomic_fetch_add_explicit(&range->next, 1, memory_order_relaxed)) <
               range->end)
            workers->task(workers->context, (uint32_t)slot, item);
    }
}

void workers_run(struct workers *workers, uint32_t slots, size_t items, workers_task task,
                 void *context)
{
    if (slots <= 1 || !workers->pool) {
        for (size_t item = 0; item < items; item++)
            task(context, 0, item);
        return;
    }
    workers->task = task;
    workers->context = context;
    workers->slots = slots;
    for (uint32_t slot = 0; slot < slots; slot++) {
        atomic_store_explicit(&workers->ranges[slot].next, items * slot / slots,
                              memory_order_relaxed);
        workers->ranges[slot].end = items * (slot + 1) / slots;
    }
    pthreadpool_parallelize_1d(workers->pool, workers_slot, workers, slots, workers->flags);
    workers->flags = 0;
}
