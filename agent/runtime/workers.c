#include "agent/runtime/workers.h"

#include "codec/base/arith.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct workers_range {
    _Alignas(64) atomic_size_t next; /* a cache line each: slots do not disturb one another */
    size_t end;
};

/*
 * The gate of the loop in hand: its number, whether it is closed to those who come late, and how
 * many helpers are inside.
 */
#define GATE_NUMBER(gate) ((uint32_t)((gate) >> 32))
#define GATE_CLOSED       (UINT64_C(1) << 31)
#define GATE_INSIDE       (GATE_CLOSED - 1)

/* Helpers look for the next loop this often before they offer their core to others. */
#define WORKERS_SPINS 256

/* And for the next body this often before they sleep, some tens of microseconds: to wake one costs
 * as much. */
#define WORKERS_LINGER 2048

struct helper {
    struct workers *workers;
    uint32_t slot;
    int home; /* where the caller ran */
    pthread_t thread;
};

struct workers {
    uint32_t count;       /* slots: the caller's and the helpers' */
    uint32_t started;     /* helpers */
    bool entered;         /* helpers may come */
    pthread_mutex_t lock; /* of what follows, for those who sleep */
    pthread_cond_t wake;
    _Alignas(64) _Atomic uint64_t gate;
    atomic_bool awake; /* a body is running: helpers look for loops */
    atomic_bool quit;  /* helpers end; set under the lock, for those who sleep */
    /* The loop: written while the gate is closed and nobody is inside. Not in the line that helpers
     * look at: they would take it away between one store and the next. */
    _Alignas(64) workers_task task;
    void *context;
    uint32_t slots;
    struct workers_range ranges[WORKERS_MAX];
    struct helper helpers[WORKERS_MAX];
};

static uint32_t workers_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

static void workers_pause(uint32_t *spins)
{
    if (++*spins % WORKERS_SPINS == 0)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void workers_slot(struct workers *workers, uint32_t slot)
{
    for (uint32_t i = 0; i < workers->slots; i++) {
        struct workers_range *range = &workers->ranges[(slot + i) % workers->slots];
        size_t item;
        while ((item = atomic_fetch_add_explicit(&range->next, 1, memory_order_relaxed)) <
               range->end)
            workers->task(workers->context, slot, item);
    }
}

/* What a helper does while a body runs: joins every loop that is open when it looks. */
static void workers_help(struct workers *workers, uint32_t slot)
{
    uint32_t seen = 0, spins = 0;

    while (atomic_load_explicit(&workers->awake, memory_order_acquire)) {
        uint64_t gate = atomic_load_explicit(&workers->gate, memory_order_relaxed);
        if (gate & GATE_CLOSED || GATE_NUMBER(gate) == seen) {
            workers_pause(&spins);
            continue;
        }
        if (!atomic_compare_exchange_weak_explicit(&workers->gate, &gate, gate + 1,
                                                   memory_order_acquire, memory_order_relaxed))
            continue;
        seen = GATE_NUMBER(gate);
        if (slot < workers->slots)
            workers_slot(workers, slot);
        atomic_fetch_sub_explicit(&workers->gate, 1, memory_order_release);
    }
}

/* Waits a little for the next body; those who find none sleep. */
static void workers_linger(struct workers *workers)
{
    for (uint32_t spins = 0; spins < WORKERS_LINGER;) {
        if (atomic_load_explicit(&workers->awake, memory_order_relaxed) ||
            atomic_load_explicit(&workers->quit, memory_order_relaxed))
            return;
        workers_pause(&spins);
    }
}

/*
 * Begins on a core of its own: a thread that goes to sleep where it was made is woken there, beside
 * the caller, until the scheduler has looked around for some tens of milliseconds. Where it may run
 * stays as it was.
 */
static void helper_spread(uint32_t slot, int home)
{
    cpu_set_t all, one;
    int cpu = home;

    if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2 || home < 0)
        return;
    for (int left = (int)slot % CPU_COUNT(&all); left > 0; left -= CPU_ISSET(cpu, &all) ? 1 : 0)
        cpu = (cpu + 1) % CPU_SETSIZE;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (!sched_setaffinity(0, sizeof(one), &one))
        sched_setaffinity(0, sizeof(all), &all);
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    struct workers *workers = helper->workers;
    bool quit = false;

    helper_spread(helper->slot, helper->home);
    while (!quit) {
        workers_help(workers, helper->slot);
        workers_linger(workers);
        pthread_mutex_lock(&workers->lock);
        while (!atomic_load(&workers->quit) && !atomic_load(&workers->awake))
            pthread_cond_wait(&workers->wake, &workers->lock);
        quit = atomic_load(&workers->quit);
        pthread_mutex_unlock(&workers->lock);
    }
    return NULL;
}

/* Starts the helpers with all signals blocked: they are the application's. */
static int workers_start(struct workers *workers, struct lego_diag *diag)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* the guard of mapped files answers it in whatever thread faults */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (uint32_t slot = 1; !error && slot < workers->count; slot++) {
        struct helper *helper = &workers->helpers[workers->started];
        *helper = (struct helper){.workers = workers, .slot = slot, .home = sched_getcpu()};
        error = pthread_create(&helper->thread, NULL, helper_main, helper);
        workers->started += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? lego_fail_errno(diag, error, "starting %u threads", workers->count) : LEGO_OK;
}

int workers_create(uint32_t threads, struct workers **ret_workers, struct lego_diag *diag)
{
    struct workers *workers = aligned_alloc(64, sizeof(*workers));
    int status;

    if (!workers)
        return lego_fail(diag, LEGO_E_NOMEM, "making %u threads", threads);
    if (!threads)
        threads = workers_cores();
    if (threads < 1)
        threads = 1;
    if (threads > WORKERS_MAX)
        threads = WORKERS_MAX;
    memset(workers, 0, sizeof(*workers));
    workers->count = threads;
    atomic_init(&workers->gate, GATE_CLOSED);
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->wake, NULL);
    status = workers_start(workers, diag);
    if (status)
        workers_destroy(workers);
    else
        *ret_workers = workers;
    return status;
}

void workers_destroy(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    atomic_store(&workers->quit, true);
    pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->started; i++)
        pthread_join(workers->helpers[i].thread, NULL);
    pthread_cond_destroy(&workers->wake);
    pthread_mutex_destroy(&workers->lock);
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

void workers_enter(struct workers *workers, bool parallel, void (*body)(void *context),
                   void *context)
{
    if (!parallel || !workers->started) {
        body(context);
        return;
    }
    pthread_mutex_lock(&workers->lock);
    atomic_store(&workers->awake, true);
    pthread_cond_broadcast(&workers->wake);
    pthread_mutex_unlock(&workers->lock);
    workers->entered = true;
    body(context);
    workers->entered = false;
    atomic_store_explicit(&workers->awake, false, memory_order_release);
}

void workers_run(struct workers *workers, uint32_t slots, size_t items, workers_task task,
                 void *context)
{
    uint64_t gate;
    uint32_t number, spins = 0;

    if (slots <= 1 || items <= 1 || !workers->entered) {
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
    gate = atomic_load_explicit(&workers->gate, memory_order_relaxed);
    number = GATE_NUMBER(gate) + 1;
    number += !number; /* 0 is what helpers have seen before the first */
    atomic_store_explicit(&workers->gate, (uint64_t)number << 32, memory_order_release);
    workers_slot(workers, 0);
    atomic_fetch_or_explicit(&workers->gate, GATE_CLOSED, memory_order_relaxed);
    while (atomic_load_explicit(&workers->gate, memory_order_acquire) & GATE_INSIDE)
        workers_pause(&spins);
}

void workers_wait(const atomic_bool *done)
{
    uint32_t spins = 0;

    while (!atomic_load_explicit(done, memory_order_acquire))
        workers_pause(&spins);
}
