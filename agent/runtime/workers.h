/*
 * The threads of a session: parallel loops over items, with a scratch slot for each thread.
 *
 * The threads are the session's own and sleep between runs of the model, after they have waited
 * some tens of microseconds for the next. Why not pthreadpool: it waits in every loop until each of
 * its threads has come by, which on a busy machine costs a scheduling delay for each layer
 * (measured on 2 cores under load 8: 33 to 65 ms for a network that takes 0.6 ms by one thread).
 * Here the caller does alone what nobody else has begun, and waits only for those who are at work.
 *
 * Items are dealt to the slots in runs of neighbours (a slot that has decoded a tile of weights
 * keeps using it), and a slot that is done helps the others. Which slot runs an item never changes
 * a result. Not for use by two threads at once.
 */
#ifndef LEGO_RUNTIME_WORKERS_H
#define LEGO_RUNTIME_WORKERS_H

#include "codec/base/diag.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKERS_MAX 64

/* A slot's work that is worth sharing a loop with threads that are awake, which costs about a
 * microsecond, and a loop's that is worth waking them, which costs some tens. */
#define WORKERS_MIN_WORK  50000
#define WORKERS_WAKE_WORK 400000

struct workers;

/* Makes `threads` slots (1 to WORKERS_MAX, 0: one for each core of the affinity mask); one slot
 * needs no thread. */
int workers_create(uint32_t threads, struct workers **ret_workers, struct lego_diag *diag);
void workers_destroy(struct workers *workers);
uint32_t workers_count(const struct workers *workers);

/* The slots worth using for `work` units (about one multiply-accumulate each) in `items` parts. */
uint32_t workers_worth(const struct workers *workers, size_t items, uint64_t work);

/*
 * Calls body(context) in this thread, with the other threads at hand for the loops in it where
 * `parallel`. Without (for work too small to wake anybody) the loops run in this thread alone.
 */
void workers_enter(struct workers *workers, bool parallel, void (*body)(void *context),
                   void *context);

/* Runs task(context, slot, item) for every item, on `slots` slots (as workers_worth said), and
 * returns when all are done. */
typedef void (*workers_task)(void *context, uint32_t slot, size_t item);
void workers_run(struct workers *workers, uint32_t slots, size_t items, workers_task task,
                 void *context);

/* In a task: waits until an item that comes before this one in its slot's run, which somebody has
 * begun, has set *done. */
void workers_wait(const atomic_bool *done);

#endif
