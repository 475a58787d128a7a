/* What a model has answered: counted on the loop thread only. */
#ifndef LEGO_SERVICE_STATS_H
#define LEGO_SERVICE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Successes by their time: bucket i holds those up to 64 us * 2^i that no bucket before it holds;
 * longer ones are in none. */
#define STATS_BUCKETS 20u

static inline uint64_t stats_bucket_us(unsigned bucket)
{
    return (uint64_t)64 << bucket;
}

struct stats_sum {
    uint64_t count, ns;
};

/* The times of one request, in nanoseconds. */
struct stats_times {
    uint64_t total, queue, input, infer, output;
};

struct stats {
    struct stats_sum success, fail, queue, input, infer, output;
    struct stats_sum cancelled; /* neither success nor failure */
    uint64_t expired, refused;  /* failures: past their deadline; for want of room in a queue */
    uint64_t buckets[STATS_BUCKETS];
    uint64_t inferences; /* rows of batches */
    uint64_t executions;
    uint64_t last_inference_ms; /* since the epoch */
};

/*
 * How long requests of a model take an engine, as a moving average that rises fast and falls
 * slowly; of requests of up to `bytes`.
 */
struct stats_pace {
    uint64_t ns;
    size_t bytes;
    uint32_t samples;
};

/* What is fast enough to be computed on the loop, and after how many samples that is known. */
#define STATS_QUICK_NS      30000u
#define STATS_QUICK_SAMPLES 16u

void stats_pace_add(struct stats_pace *pace, size_t bytes, const struct stats_times *times);
bool stats_is_quick(const struct stats_pace *pace, size_t bytes);

/* Adds one request by its status (LEGO_OK, LEGO_E_*); `rows` and the execution count only where it
 * succeeded, and the execution not where another request counts it. */
void stats_add(struct stats *stats, int status, const struct stats_times *times, uint64_t rows,
               bool rides);

#endif
