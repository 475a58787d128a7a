#include "agent/service/sleep.h"

#include "agent/service/clock.h"
#include "agent/service/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A sign of pressure that comes so long after the last one is a first one. */
#define CALM_NS 10000000000ull

struct sleep_waiter {
    struct sleep_waiter *next;
    struct connection *connection;
    struct served_model *model; /* the one that sleeps: a reference */
    struct peek peek;
    uint8_t *body;
    size_t bytes;
    uint64_t arrived_ns, deadline_ns; /* 0: none */
};

void sleep_init(struct service *service)
{
    service->sleepers.last = &service->sleepers.first;
}

/* ---- Those who wait ---- */

/* Counts the request out; the waiter goes, its body where that is not taken before. No pump while
 * the client's own input is parsed: what does that pumps. */
static void finish(struct service *service, struct sleep_waiter *waiter, bool pump)
{
    struct connection *connection = waiter->connection;
    bool closed = connection->closed;
    waiter->model->queued--;
    loader_release_model(service->loader, waiter->model);
    free(waiter->body);
    free(waiter);
    connection_finish(connection); /* a closed one may be gone after this */
    if (pump && !closed)
        connection_pump(connection);
}

/* Takes out those that `match` says yes to, in their order, linked by `next`. */
static struct sleep_waiter *take(struct sleepers *sleepers,
                                 bool (*match)(const struct sleep_waiter *waiter, void *context),
                                 void *context)
{
    struct sleep_waiter *taken = NULL, **last = &taken, **place = &sleepers->first;
    while (*place) {
        struct sleep_waiter *waiter = *place;
        if (!match(waiter, context)) {
            place = &waiter->next;
            continue;
        }
        *place = waiter->next;
        waiter->next = NULL;
        *last = waiter;
        last = &waiter->next;
    }
    sleepers->last = place;
    return taken;
}

static void refuse(struct service *service, struct sleep_waiter *waiters, int status,
                   const char *text, bool pump)
{
    while (waiters) {
        struct sleep_waiter *waiter = waiters;
        const struct stats_times times = {.total = clock_ns() - waiter->arrived_ns};
        waiters = waiter->next;
        stats_add(&waiter->model->stats, status, &times, 0, false);
        peers_finish(waiter->connection->account, waiter->bytes);
        if (!waiter->connection->closed)
            dispatch_error(waiter->connection, waiter->peek.id, status, text);
        finish(service, waiter, pump);
    }
}

static int count_in(struct service *service, struct connection *connection,
                    struct served_model *model, size_t bytes, struct lego_diag *diag)
{
    uint64_t bound =
        model->spec.queue.length ? model->spec.queue.length : service->start->max_model_queue;
    if (model->queued >= bound)
        return lego_fail(diag, LEGO_E_EXHAUSTED, "%u requests wait for model \"%s\" already (%s)",
                         model->queued, model->spec.name,
                         model->spec.queue.length ? "its queue" : "limits.model_queue");
    int status = peers_begin(&service->peers, connection->account, bytes, diag);
    if (status != LEGO_OK)
        return status;
    status = reload_wake(service, model, diag);
    if (status != LEGO_OK)
        peers_finish(connection->account, bytes);
    return status;
}

int sleep_wait(struct service *service, struct connection *connection, struct served_model *model,
               const struct peek *peek, uint8_t *body, size_t bytes, uint64_t arrived_ns,
               struct lego_diag *diag)
{
    struct sleep_waiter *waiter = malloc(sizeof(*waiter));
    int status = waiter ? count_in(service, connection, model, bytes, diag)
                        : lego_fail(diag, LEGO_E_NOMEM, "no memory for a request");
    if (status != LEGO_OK) {
        free(waiter);
        free(body);
        return status;
    }
    *waiter = (struct sleep_waiter){.connection = connection,
                                    .model = model_ref(model),
                                    .peek = *peek,
                                    .body = body,
                                    .bytes = bytes,
                                    .arrived_ns = arrived_ns,
                                    .deadline_ns = jobs_deadline(model, peek, arrived_ns)};
    model->queued++;
    connection_begin(connection);
    *service->sleepers.last = waiter;
    service->sleepers.last = &waiter->next;
    if (waiter->deadline_ns)
        jobs_expect_deadline(service, waiter->deadline_ns);
    return LEGO_OK;
}

struct target {
    const char *name;
    uint64_t version;
};

static bool match_model(const struct sleep_waiter *waiter, void *context)
{
    const struct target *target = context;
    return waiter->model->spec.version == target->version &&
           !strcmp(waiter->model->spec.name, target->name);
}

void sleep_wake(struct service *service, const char *name, uint64_t version, int status,
                const char *text)
{
    struct target target = {.name = name, .version = version};
    struct sleep_waiter *waiters = take(&service->sleepers, match_model, &target);
    if (status != LEGO_OK) {
        refuse(service, waiters, status, text, true);
        return;
    }
    service->sleepers.woken++;
    while (waiters) {
        struct sleep_waiter *waiter = waiters;
        uint8_t *body = waiter->body;
        waiters = waiter->next;
        waiter->body = NULL;
        peers_finish(waiter->connection->account, waiter->bytes);
        if (waiter->connection->closed)
            free(body);
        else
            dispatch_request(waiter->connection, body, waiter->bytes, waiter->arrived_ns);
        finish(service, waiter, true);
    }
}

struct request {
    const struct connection *connection;
    uint64_t id;
    const struct peek *peek; /* of a newer one */
};

static bool match_id(const struct sleep_waiter *waiter, void *context)
{
    const struct request *wanted = context;
    return waiter->connection == wanted->connection && waiter->peek.id == wanted->id;
}

static bool match_stream(const struct sleep_waiter *waiter, void *context)
{
    const struct request *wanted = context;
    return waiter->connection == wanted->connection && *waiter->peek.stream &&
           !strcmp(waiter->peek.stream, wanted->peek->stream) &&
           !strcmp(waiter->peek.model, wanted->peek->model);
}

static bool match_connection(const struct sleep_waiter *waiter, void *context)
{
    return waiter->connection == context;
}

static bool match_all(const struct sleep_waiter *waiter, void *context)
{
    (void)waiter;
    (void)context;
    return true;
}

bool sleep_cancel(struct service *service, struct connection *connection, uint64_t id)
{
    struct request wanted = {.connection = connection, .id = id};
    struct sleep_waiter *waiters = take(&service->sleepers, match_id, &wanted);
    refuse(service, waiters, LEGO_E_CANCELLED, "cancelled by its client", false);
    return waiters != NULL;
}

void sleep_overtake(struct service *service, struct connection *connection,
                    const struct peek *newer)
{
    struct request wanted = {.connection = connection, .peek = newer};
    refuse(service, take(&service->sleepers, match_stream, &wanted), LEGO_E_CANCELLED,
           "a newer request of its stream took its place", false);
}

void sleep_drop(struct service *service, struct connection *connection)
{
    refuse(service, take(&service->sleepers, match_connection, connection), LEGO_E_CANCELLED,
           "its client has gone", false);
}

void sleep_clear(struct service *service)
{
    refuse(service, take(&service->sleepers, match_all, NULL), LEGO_E_UNAVAILABLE,
           "the agent is stopping", true);
}

static bool match_expired(const struct sleep_waiter *waiter, void *context)
{
    return expiry_passed(context, waiter->deadline_ns);
}

void sleep_expire(struct service *service, struct expiry *expiry)
{
    refuse(service, take(&service->sleepers, match_expired, expiry), LEGO_E_DEADLINE,
           "its deadline passed while its model was loaded", true);
}

/* ---- Putting to sleep ---- */

/* How long a model has been without requests; 0 where it may not sleep. */
static uint64_t idle_ns(struct served_model *model, uint64_t now)
{
    if (!model_serves(model) || model->queued > 0 || model->spec.pinned || model->trial_left > 0 ||
        model->held || model->rejected.inode != 0)
        return 0;
    if (model->used_ns == 0) /* it has just been loaded */
        model->used_ns = now;
    return now - model->used_ns;
}

static void put_to_sleep(struct service *service, struct served_model *model, const char *why)
{
    char reason[96];
    uint64_t seconds = (clock_ns() - model->used_ns) / 1000000000u;
    snprintf(reason, sizeof(reason), "asleep (%s) until the next request for it", why);
    model_log(LOG_LEVEL_INFO, model, "model-asleep", "%s; no request for %" PRIu64 " s", why,
              seconds);
    if (registry_sleep(&service->registry, model, reason) == LEGO_OK)
        service->sleepers.slept++;
    else
        log_warning("no memory to put \"%s\" to sleep", model->spec.name);
}

void sleep_tick(struct service *service)
{
    uint64_t now = clock_ns();
    for (size_t i = 0; i < service->registry.set.count; i++) {
        struct served_model *model = service->registry.set.items[i];
        uint64_t idle = idle_ns(model, now);
        if (model->spec.idle_ms > 0 && idle / 1000000 >= model->spec.idle_ms)
            put_to_sleep(service, model, "idle");
    }
}

/* The one without requests for longest, if that is long enough. */
static struct served_model *find_idle(const struct service *service)
{
    uint64_t now = clock_ns(), longest = service->config->memory_spare_ms * 1000000;
    struct served_model *found = NULL;
    for (size_t i = 0; i < service->registry.set.count; i++) {
        struct served_model *model = service->registry.set.items[i];
        uint64_t idle = idle_ns(model, now);
        if (idle > 0 && idle >= longest) {
            longest = idle;
            found = model;
        }
    }
    return found;
}

void sleep_relieve(struct service *service)
{
    struct sleepers *sleepers = &service->sleepers;
    const struct log_subject subject = {.event = "memory-pressure"};
    uint64_t now = clock_ns();
    bool first = sleepers->signs == 0 || now - sleepers->sign_ns > CALM_NS;
    sleepers->signs++;
    sleepers->sign_ns = now;
    struct served_model *model = first ? NULL : find_idle(service);
    if (model) {
        put_to_sleep(service, model, "memory is short");
        return;
    }
    if (first)
        log_about(LOG_LEVEL_WARNING, &subject,
                  "memory is short: freed memory and previous versions are given up");
    registry_forget_previous(&service->registry);
    loader_trim(service->loader);
}
