#include "agent/service/stats.h"

#include "codec/base/status.h"

#include <time.h>

static void add(struct stats_sum *sum, uint64_t ns)
{
    sum->count++;
    sum->ns += ns;
}

void stats_add(struct stats *stats, int status, const struct stats_times *times, uint64_t rows)
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
    clock_gettime(CLOCK_REALTIME, &now);
    stats->last_inference_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    for (unsigned i = 0; i < STATS_BUCKETS; i++)
        if (times->total <= stats_bucket_us(i) * 1000) {
            stats->buckets[i]++;
            break;
        }
    stats->inferences += rows;
    stats->executions++;
    add(&stats->success, times->total);
    add(&stats->queue, times->queue);
    add(&stats->input, times->input);
    add(&stats->infer, times->infer);
    add(&stats->output, times->output);
}
