#include "agent/cli/top_sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the numbers of a sample and of a model go. */
static const struct {
    const char *metric;
    size_t offset;
} agent_metrics[] =
    {
        {"legonet_ready", offsetof(struct top_sample, ready)},
        {"legonet_connections", offsetof(struct top_sample, connections)},
        {"legonet_resident_memory_bytes", offsetof(struct top_sample, resident_bytes)},
},
  model_metrics[] = {
      {"legonet_model_requests_success_total", offsetof(struct top_model, successes)},
      {"legonet_model_requests_failed_total", offsetof(struct top_model, failures)},
      {"legonet_model_requests_cancelled_total", offsetof(struct top_model, cancelled)},
      {"legonet_model_queue_length", offsetof(struct top_model, queue)},
      {"legonet_model_resident_bytes", offsetof(struct top_model, resident_bytes)},
      {"legonet_model_serves", offsetof(struct top_model, serves)},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The value of a label in a line, "" where there is none. */
static void get_label(const char *line, const char *label, char *value, size_t bytes)
{
    char start[32];
    snprintf(start, sizeof(start), "%s=\"", label);
    const char *at = strpbrk(line, "{ ");
    at = at && *at == '{' ? strstr(at, start) : NULL;
    value[0] = '\0';
    if (!at)
        return;
    at += strlen(start);
    size_t length = strcspn(at, "\"");
    if (length < bytes) {
        memcpy(value, at, length);
        value[length] = '\0';
    }
}

static struct top_model *find_model(const struct top_sample *sample, const char *name,
                                    const char *version)
{
    for (size_t i = 0; i < sample->model_count; i++)
        if (!strcmp(sample->models[i].name, name) && !strcmp(sample->models[i].version, version))
            return &sample->models[i];
    return NULL;
}

/* NULL: out of memory. */
static struct top_model *get_model(struct top_sample *sample, const char *line)
{
    struct top_model key = {.name = ""};
    get_label(line, "model", key.name, sizeof(key.name));
    get_label(line, "version", key.version, sizeof(key.version));
    struct top_model *model = find_model(sample, key.name, key.version);
    if (model)
        return model;
    struct top_model *larger =
        realloc(sample->models, (sample->model_count + 1) * sizeof(*sample->models));
    if (!larger)
        return NULL;
    sample->models = larger;
    larger[sample->model_count] = key;
    return &larger[sample->model_count++];
}

static void take_bucket(struct top_model *model, const char *line, double value)
{
    char bound[32];
    get_label(line, "le", bound, sizeof(bound));
    if (model->bucket_count == TOP_BUCKETS)
        return;
    model->bounds_s[model->bucket_count] = strtod(bound, NULL); /* "+Inf", too */
    model->counts[model->bucket_count++] = value;
}

static bool take_line(struct top_sample *sample, const char *line, size_t length)
{
    size_t name = strcspn(line, "{ \n");
    const char *space = memrchr(line, ' ', length);
    if (*line == '#' || !space || name == 0)
        return true;
    double value = strtod(space + 1, NULL);
    for (size_t i = 0; i < COUNT(agent_metrics); i++)
        if (strlen(agent_metrics[i].metric) == name && !memcmp(agent_metrics[i].metric, line, name))
            *(double *)(void *)((char *)sample + agent_metrics[i].offset) = value;
    if (!strncmp(line, "legonet_info{", 13))
        get_label(line, "version", sample->version, sizeof(sample->version));
    if (strncmp(line, "legonet_model_", 14) != 0)
        return true;
    struct top_model *model = get_model(sample, line);
    if (!model)
        return false;
    for (size_t i = 0; i < COUNT(model_metrics); i++)
        if (strlen(model_metrics[i].metric) == name && !memcmp(model_metrics[i].metric, line, name))
            *(double *)(void *)((char *)model + model_metrics[i].offset) = value;
    if (!strncmp(line, "legonet_model_request_seconds_bucket{", 37))
        take_bucket(model, line, value);
    return true;
}

bool top_read(const char *text, uint64_t time_ns, struct top_sample *ret_sample)
{
    struct top_sample sample = {.time_ns = time_ns};
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (!take_line(&sample, text, length)) {
            top_clear(&sample);
            return false;
        }
        text += length;
        text += *text == '\n';
    }
    *ret_sample = sample;
    return true;
}

void top_clear(struct top_sample *sample)
{
    free(sample->models);
    *sample = (struct top_sample){0};
}

/* The time that a share of the requests between two samples did not exceed, within its bucket
 * spread evenly; in none but the last bucket: its lower bound. */
static double quantile_ms(const struct top_model *before, const struct top_model *after,
                          double share)
{
    double below = 0, bound = 0, total = 0;
    double counts[TOP_BUCKETS];
    for (size_t i = 0; i < after->bucket_count; i++) {
        counts[i] = after->counts[i] - (before && i < before->bucket_count ? before->counts[i] : 0);
        total = counts[i];
    }
    if (!(total > 0))
        return (double)NAN;
    for (size_t i = 0; i < after->bucket_count; i++) {
        double here = counts[i] - below;
        if (counts[i] >= share * total && here > 0)
            return isinf(after->bounds_s[i])
                       ? bound * 1e3
                       : (bound + (after->bounds_s[i] - bound) * (share * total - below) / here) *
                             1e3;
        below = counts[i];
        bound = after->bounds_s[i];
    }
    return bound * 1e3;
}

static int busier(const void *a, const void *b)
{
    const struct top_row *left = a, *right = b;
    if (left->requests_per_s != right->requests_per_s)
        return left->requests_per_s < right->requests_per_s ? 1 : -1;
    int order = strcmp(left->model->name, right->model->name);
    return order ? order : strcmp(left->model->version, right->model->version);
}

void top_rows(const struct top_sample *before, const struct top_sample *after, struct top_row *rows)
{
    double seconds = (double)(after->time_ns - before->time_ns) * 1e-9;
    for (size_t i = 0; i < after->model_count; i++) {
        const struct top_model *now = &after->models[i];
        const struct top_model *then = find_model(before, now->name, now->version);
        if (then && (then->successes > now->successes || then->failures > now->failures))
            then = NULL; /* counted anew: the model or the agent was started again */
        double successes = now->successes - (then ? then->successes : 0);
        double failures = now->failures - (then ? then->failures : 0);
        rows[i] = (struct top_row){
            .model = now,
            .requests_per_s = seconds > 0 ? successes / seconds : 0,
            .failures_per_s = seconds > 0 ? failures / seconds : 0,
            .p50_ms = quantile_ms(then, now, 0.5),
            .p99_ms = quantile_ms(then, now, 0.99),
        };
    }
    qsort(rows, after->model_count, sizeof(*rows), busier);
}
