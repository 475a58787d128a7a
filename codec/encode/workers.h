/*
 * A crew of threads that share out numbered tasks, and the kernels that they compute with: only
 * those that give the same bits on every instruction set.
 *
 * Results must not depend on how many threads there are: a task's number alone says what it works
 * on, and whoever adds results up does so in the order of the numbers.
 */
#ifndef LEGO_ENCODE_WORKERS_H
#define LEGO_ENCODE_WORKERS_H

#include "codec/kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

struct encode_workers;

/* Starts `threads` threads in all, the caller's included (0: one a core of the affinity mask; at
 * most 256). Where the system refuses a thread the crew is smaller. `kernels` must outlive the
 * crew; NULL: the references. NULL when out of memory. */
struct encode_workers *encode_workers_create(uint32_t threads, const struct kern_table *kernels);

/* What the crew computes with; NULL workers: the references. */
const struct kern_table *encode_workers_kernels(const struct encode_workers *workers);

/* Ends the threads and frees; NULL is ignored. */
void encode_workers_destroy(struct encode_workers *workers);

/* Runs task(context, i) once for each i < count and returns when all are done. One caller at a
 * time; a task must not call it. NULL workers: in the calling thread. */
void encode_workers_run(struct encode_workers *workers, size_t count,
                        void (*task)(void *context, size_t index), void *context);

#endif
