/*
 * What `legonet top` shows: the agent's metrics, read from their text, and what has changed between
 * two of them.
 */
#ifndef LEGO_CLI_TOP_SAMPLE_H
#define LEGO_CLI_TOP_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_BUCKETS 32 /* of the histogram of times; more are ignored */

struct top_model {
    char name[136], version[24];
    double successes, failures, cancelled; /* since the agent has started */
    double queue, resident_bytes, serves;
    size_t bucket_count;
    double bounds_s[TOP_BUCKETS], counts[TOP_BUCKETS]; /* counts: of all up to that bound */
};

struct top_sample {
    uint64_t time_ns; /* of the clock that does not jump */
    char version[32];
    double ready, connections, resident_bytes;
    size_t model_count;
    struct top_model *models; /* malloc'ed, in the text's order */
};

/* Reads Prometheus' text; what is unknown is ignored. False: out of memory. */
bool top_read(const char *text, uint64_t time_ns, struct top_sample *ret_sample);
void top_clear(struct top_sample *sample);

/* A model's row between two samples; NAN where nothing was answered. */
struct top_row {
    const struct top_model *model; /* of the later sample */
    double requests_per_s, failures_per_s, p50_ms, p99_ms;
};

/* One row for each model of `after`, busiest first. `rows` has room for all. */
void top_rows(const struct top_sample *before, const struct top_sample *after,
              struct top_row *rows);

#endif
