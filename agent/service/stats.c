#include "agent/service/stats.h"

#include "codec/base/status.h"

#include <time.h>

static void add(struct stats_sum *sum, uint64_t ns)
{
    sum->count++;
    sum->ns += ns;
}

void stats_add(struct stats *stats, int status, const struct stats_times *times, uint64_t rows,
               bool rides)
{
    if (status == LEGO_E_CANCELLED) {
        add(&stats->cancelled, times->total);
        return;
    }
    if (status != LEGO_OK) {
        stats->expired += status == LEGO_E_DEADLINE;
        stats->refused += status == LEGO_E_EXHAUSTED;
        add(&stats->fail, times->total);
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* for milliseconds */
    stats->last_inference_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    for (unsigned i = 0; i < STATS_BUCKETS; i++)
        if (times->total <= stats_bucket_us(i) * 1000) {
            stats->buckets[i]++;
            break;
        }
    stats->inferences += rows;
    stats->executions += !rides;
    add(&stats->success, times->total);
    add(&stats->queue, times->queue);
    add(&stats->input, times->input);
    add(&stats->infer, times->infer);
    add(&stats->output, times->output);
}

void stats_pace_add(struct stats_pace *pace, size_t bytes, const struct stats_times *times)
{
    uint64_t ns = times->input + times->infer + times->output;
    if (bytes > pace->bytes)
        *pace = (struct stats_pace){.bytes = bytes, .ns = ns};
    else if (ns > pace->ns)
        pace->ns += (ns - pace->ns) / 4;
    else
        pace->ns -= (pace->ns - ns) / 8;
    if (pace->samples < STATS_QUICK_SAMPLES)
        pace->samples++;
}

bool stats_is_quick(const struct stats_pace *pace, size_t bytes)
{
    return pace->samples == STATS_QUICK_SAMPLES && bytes <= pace->bytes &&
           pace->ns <= STATS_QUICK_NS;
}
