#include "agent/service/metrics.h"

#include "agent/service/capture.h"
#include "agent/service/log.h"
#include "agent/service/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Names of models need no escapes: letters, digits, ".", "_" and "-". */
static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP legonet_%s %s\n# TYPE legonet_%s %s\n", name, help, name, type);
}

static void print_gauge(FILE *out, const char *name, const char *help, double value)
{
    print_head(out, name, "gauge", help);
    fprintf(out, "legonet_%s %.17g\n", name, value);
}

/* Resident memory of this process, 0 where it is not known. */
static double resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%lu %lu", &pages, &resident);
    fclose(file);
    return found == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0;
}

static void print_service(FILE *out, const struct service *service)
{
    print_head(out, "info", "gauge", "The agent.");
    fprintf(out, "legonet_info{version=\"%s\"} 1\n", LEGO_VERSION);
    print_gauge(out, "ready", "1 where all configured models serve.",
                registry_is_ready(&service->registry) && !service->draining);
    print_gauge(out, "connections", "Clients that are connected.",
                (double)service->connection_count);
    print_gauge(out, "resident_memory_bytes", "Memory of the agent, mapped files included.",
                resident_bytes());
    print_gauge(out, "engine_busy_seconds",
                "The longest time that an engine is at one request now.",
                (double)engines_longest_ns(service->engines) * 1e-9);
}

static void print_counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    print_head(out, name, "counter", help);
    fprintf(out, "legonet_%s %llu\n", name, (unsigned long long)value);
}

static void print_memory(FILE *out, const struct sleepers *sleepers)
{
    print_counter(out, "models_slept_total", "Models that were put to sleep.", sleepers->slept);
    print_counter(out, "models_woken_total", "Models that were loaded again for a request.",
                  sleepers->woken);
    print_counter(out, "memory_pressure_total", "Signs that memory is short.", sleepers->signs);
}

static void print_capture(FILE *out, struct capture *capture)
{
    const struct capture_counts counts = capture_count(capture);
    print_counter(out, "capture_records_total", "Inferences that were kept.", counts.written);
    print_counter(out, "capture_dropped_total", "Inferences that were to be kept and could not be.",
                  counts.dropped);
    print_gauge(out, "capture_bytes", "What the folder of captures holds.", (double)counts.bytes);
}

static void print_histogram(FILE *out, const struct served_model *m)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        below += m->stats.buckets[i];
        fprintf(
            out,
            "legonet_model_request_seconds_bucket{model=\"%s\",version=\"%s\",le=\"%g\"} %llu\n",
            m->spec.name, m->version_text, (double)stats_bucket_us(i) * 1e-6,
            (unsigned long long)below);
    }
    fprintf(out,
            "legonet_model_request_seconds_bucket{model=\"%s\",version=\"%s\",le=\"+Inf\"} %llu\n"
            "legonet_model_request_seconds_sum{model=\"%s\",version=\"%s\"} %.17g\n"
            "legonet_model_request_seconds_count{model=\"%s\",version=\"%s\"} %llu\n",
            m->spec.name, m->version_text, (unsigned long long)m->stats.success.count, m->spec.name,
            m->version_text, (double)m->stats.success.ns * 1e-9, m->spec.name, m->version_text,
            (unsigned long long)m->stats.success.count);
}

static void print_models(FILE *out, const struct model_set *set)
{
#define METRIC(metric, kind, scale, value, help)                                      \
    print_head(out, "model_" metric, kind, help);                                     \
    for (size_t i = 0; i < set->count; i++) {                                         \
        const struct served_model *m = set->items[i];                                 \
        fprintf(out, "legonet_model_" metric "{model=\"%s\",version=\"%s\"} %.17g\n", \
                m->spec.name, m->version_text, (double)(value) * (scale));            \
    }
#include "agent/service/metrics.def"
#undef METRIC
    print_head(out, "model_request_seconds", "histogram",
               "From arrival to answer, of requests that succeeded.");
    for (size_t i = 0; i < set->count; i++)
        print_histogram(out, set->items[i]);
}

int metrics_text(const struct service *service, char **ret_text, struct lego_diag *diag)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the metrics");
    print_service(out, service);
    print_memory(out, &service->sleepers);
    if (service->capture)
        print_capture(out, service->capture);
    print_models(out, &service->registry.set);
    if (fclose(out) != 0) {
        free(text);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the metrics");
    }
    *ret_text = text;
    return LEGO_OK;
}

/* ---- The textfile ---- */

struct export
{
    uv_work_t work;
    char *path, *next, *text;
    int error;
};

static void write_file(uv_work_t *work)
{
    struct export *export = work->data;
    size_t bytes = strlen(export->text);
    int fd = open(export->next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        export->error = errno;
        return;
    }
    errno = ENOSPC; /* of a write that is cut short */
    if (write(fd, export->text, bytes) != (ssize_t)bytes)
        export->error = errno;
    if (close(fd) != 0 && !export->error)
        export->error = errno;
    if (!export->error && rename(export->next, export->path) != 0)
        export->error = errno;
    if (export->error)
        unlink(export->next);
}

static void free_export(struct export *export)
{
    free(export->path);
    free(export->next);
    free(export->text);
    free(export);
}

static void on_written(uv_work_t *work, int status)
{
    struct export *export = work->data;
    if (status == 0 && export->error)
        log_warning("%s: the metrics cannot be written: %s", export->path, strerror(export->error));
    free_export(export);
}

static void on_interval(uv_timer_t *timer)
{
    struct service *service = timer->data;
    struct export *export = calloc(1, sizeof(*export));
    if (!export)
        return;
    export->work.data = export;
    export->path = strdup(service->start->metrics_textfile);
    if (asprintf(&export->next, "%s.next", service->start->metrics_textfile) < 0)
        export->next = NULL;
    if (!export->path || !export->next || metrics_text(service, &export->text, NULL) != LEGO_OK ||
        uv_queue_work(&service->loop, &export->work, write_file, on_written) != 0)
        free_export(export);
}

void metrics_start(struct service *service)
{
    service->metrics.data = service;
    uv_timer_init(&service->loop, &service->metrics);
    if (*service->start->metrics_textfile)
        uv_timer_start(&service->metrics, on_interval, service->start->metrics_interval_ms,
                       service->start->metrics_interval_ms);
}
