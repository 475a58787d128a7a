/* New configurations and models: queued, loaded by the loader's thread, taken up here at once. */
#include "agent/service/service.h"

#include "agent/service/log.h"
#include "agent/service/notify.h"
#include "agent/service/sleep.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WAITING 32 /* loads that clients may have waiting, all together */

static void start_next(struct service *service)
{
    struct load_job *job = service->load_queue;
    if (!job || service->load_running || service->draining)
        return;
    service->load_queue = job->next;
    service->load_waiting--;
    service->load_running = job;
    job->next = NULL;
    job->source = service->source;
    job->config = service->config;
    job->engines = service->engine_count;
    job->threads = service->engine_threads;
    job->cpus = service->start->engine_cpus;
    if (job->kind == LOAD_ALL && service->first_load_done)
        notify_reloading();
    /* Without memory nothing is reused: more work, the same result. */
    if (registry_snapshot(&service->registry, &job->old) != LEGO_OK)
        log_warning("no memory to reuse loaded models");
    loader_submit(service->loader, job);
}

static void append(struct service *service, struct load_job *job)
{
    struct load_job **last = &service->load_queue;
    while (*last)
        last = &(*last)->next;
    *last = job;
    service->load_waiting++;
    start_next(service);
}

void reload_all(struct service *service, bool keep_unloaded)
{
    for (struct load_job *job = service->load_queue; job; job = job->next)
        if (job->kind == LOAD_ALL) {
            job->keep_unloaded &= keep_unloaded;
            return;
        }
    struct load_job *job = calloc(1, sizeof(*job));
    if (!job) {
        log_error("no memory to reload");
        return;
    }
    job->kind = LOAD_ALL;
    job->keep_unloaded = keep_unloaded;
    job->keep_going = !service->first_load_done;
    append(service, job);
}

int reload_one(struct service *service, enum load_kind kind, const char *name,
               struct connection *connection, uint64_t id, struct lego_diag *diag)
{
    if (service->load_waiting >= MAX_WAITING)
        return lego_fail(diag, LEGO_E_EXHAUSTED, "%zu loads and unloads wait already",
                         service->load_waiting);
    struct load_job *job = calloc(1, sizeof(*job));
    char *copy = strdup(name);
    if (!job || !copy) {
        free(job);
        free(copy);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to load \"%.128s\"", name);
    }
    job->kind = kind;
    job->name = copy;
    job->reason = "by a client";
    job->asker = connection;
    job->asker_id = id;
    connection_begin(connection);
    append(service, job);
    return LEGO_OK;
}

static bool wakes(const struct load_job *job, const struct served_model *model)
{
    return job && job->kind == LOAD_ONE && job->version == model->spec.version &&
           !strcmp(job->name, model->spec.name);
}

int reload_wake(struct service *service, const struct served_model *model, struct lego_diag *diag)
{
    bool queued = wakes(service->load_running, model);
    for (struct load_job *job = service->load_queue; job && !queued; job = job->next)
        queued = wakes(job, model);
    if (queued)
        return LEGO_OK;
    struct load_job *job = calloc(1, sizeof(*job));
    if (job)
        job->name = strdup(model->spec.name);
    if (!job || !job->name) {
        free(job);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to load \"%s\"", model->spec.name);
    }
    job->kind = LOAD_ONE;
    job->version = model->spec.version;
    job->reason = "by a request";
    append(service, job);
    return LEGO_OK;
}

void reload_give_up(struct service *service, struct served_model *model)
{
    struct load_job *job = calloc(1, sizeof(*job));
    if (job)
        job->name = strdup(model->spec.name);
    if (!job || !job->name) {
        log_error("no memory to roll \"%s\" back", model->spec.name);
        free(job);
        return;
    }
    job->kind = LOAD_BACK;
    job->reason = "its first requests failed";
    job->target = model_ref(model);
    append(service, job);
}

/* "2 models serve, 1 does not". */
static void describe(const struct service *service, char *buffer, size_t bytes)
{
    size_t serving = 0;
    for (size_t i = 0; i < service->registry.set.count; i++)
        serving += model_takes_requests(service->registry.set.items[i]);
    size_t absent = service->registry.set.count - serving;
    snprintf(buffer, bytes, "%zu model%s serve%s, %zu do%s not", serving, serving == 1 ? "" : "s",
             serving == 1 ? "s" : "", absent, absent == 1 ? "es" : "");
}

static void take_configuration(struct service *service, struct load_job *job)
{
    char changes[512];
    if (service->first_load_done &&
        config_restart_changes(service->start, job->new_config, changes, sizeof(changes)) > 0)
        log_warning("a restart is needed for what has changed in %s", changes);
    if (service->config != service->start)
        config_free(service->config);
    service->config = job->new_config;
    job->new_config = NULL;
    log_set_level((enum log_level)service->config->log_level);
    log_set_format((enum log_format)service->config->log_format);
    watch_set(service->watch, service->source->path, job->catalogue.folders,
              job->catalogue.folder_count, service->config->watch_delay_ms);
}

static void log_new_models(const struct load_job *job)
{
    for (size_t i = 0; i < job->set.count; i++) {
        const struct served_model *model = job->set.items[i];
        bool old = model_set_find(&job->old, model->spec.name, model->spec.version) == model;
        if (!old && model_serves(model))
            model_log(LOG_LEVEL_INFO, model, "model-loaded", "serves from %s", model->spec.path);
    }
}

/* The old one goes on where its file is another: not where it was written in place. */
static void fail_overwritten(const struct load_job *job)
{
    static const char reason[] = "its file was written over in place: put a whole one there";
    struct served_model *model = job->overwritten;
    if (!model)
        return;
    model->faulted = true;
    free(model->reason);
    model->reason = strdup(reason);
    model_log(LOG_LEVEL_ERROR, model, "model-faulted", "%s", reason);
}

static void finish_all(struct service *service, struct load_job *job)
{
    char state[96];
    bool first = !service->first_load_done;
    if (job->status == LEGO_OK) {
        log_new_models(job);
        take_configuration(service, job);
        registry_replace_all(&service->registry, &job->set);
    } else if (first) {
        log_error("%s", lego_diag_text(&job->diag, job->status));
        service->exit_status = job->status;
        uv_stop(&service->loop);
        return;
    } else {
        const char *reason = lego_diag_text(&job->diag, job->status);
        const struct log_subject subject = {
            .event = "reload-failed", .model = job->failed.name, .version = job->failed.version};
        log_about(LOG_LEVEL_ERROR, &subject, "reload failed, all stays as it was: %s", reason);
        fail_overwritten(job);
        registry_note_failure(&service->registry, &job->failed, reason);
    }
    service->first_load_done = true;
    describe(service, state, sizeof(state));
    const struct log_subject subject = {.event = first ? "ready" : "reloaded"};
    log_about(LOG_LEVEL_INFO, &subject, "%s: %s", first ? "ready" : "reloaded", state);
    if (service->draining)
        return;
    if (first)
        accept_start(service);
    notify_ready(state);
}

/* The answer to a client's load or unload. */
static void answer_one(struct service *service, struct load_job *job, int status, const char *text)
{
    struct connection *connection = job->asker;
    Inference__RepositoryModelLoadResponse loaded = INFERENCE__REPOSITORY_MODEL_LOAD_RESPONSE__INIT;
    Inference__RepositoryModelUnloadResponse unloaded =
        INFERENCE__REPOSITORY_MODEL_UNLOAD_RESPONSE__INIT;
    Legonet__RepositoryModelRollbackResponse rolled_back =
        LEGONET__REPOSITORY_MODEL_ROLLBACK_RESPONSE__INIT;
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    uint8_t *frame;
    size_t bytes;
    if (!connection)
        return;
    response.id = job->asker_id;
    if (job->kind == LOAD_ONE) {
        response.result_case = LEGONET__RESPONSE__RESULT_REPOSITORY_MODEL_LOAD;
        response.repository_model_load = &loaded;
    } else if (job->kind == LOAD_BACK) {
        response.result_case = LEGONET__RESPONSE__RESULT_REPOSITORY_MODEL_ROLLBACK;
        response.repository_model_rollback = &rolled_back;
    } else {
        response.result_case = LEGONET__RESPONSE__RESULT_REPOSITORY_MODEL_UNLOAD;
        response.repository_model_unload = &unloaded;
    }
    if (status != LEGO_OK)
        dispatch_error(connection, job->asker_id, status, text);
    else if (ipc_frame_pack(&response.base, service->start->max_frame_bytes, &frame, &bytes,
                            NULL) == LEGO_OK)
        connection_send(connection, frame, bytes);
    else
        connection_close(connection);
    bool closed = connection->closed;
    connection_finish(connection);
    if (!closed)
        connection_pump(connection);
}

/* A model that went meanwhile needs no rollback any more. */
static int roll_back(struct service *service, struct load_job *job)
{
    struct registry *registry = &service->registry;
    if (!job->target)
        return registry_rollback(registry, job->name, job->reason, &job->diag);
    bool there = model_set_find(&registry->set, job->target->spec.name,
                                job->target->spec.version) == job->target;
    return there ? registry_rollback_model(registry, job->target, job->reason, &job->diag)
                 : LEGO_OK;
}

/* A client's load ends a rollback. */
static void let_go(const struct model_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i]->held) {
            set->items[i]->held = false;
            free(set->items[i]->reason);
            set->items[i]->reason = NULL;
        }
}

/* Those who have waited for the model go on. One that cannot be loaded sleeps no more, but where
 * there was only no room for it. */
static void wake(struct service *service, const struct load_job *job, int status, const char *text)
{
    struct served_model *model = model_set_find(&service->registry.set, job->name, job->version);
    if (status != LEGO_OK && status != LEGO_E_LIMIT && status != LEGO_E_NOMEM && model &&
        model->asleep) {
        model->asleep = false;
        free(model->reason);
        model->reason = strdup(text);
    }
    sleep_wake(service, job->name, job->version, status, text);
}

static void finish_one(struct service *service, struct load_job *job)
{
    static const char *const words[] = {
        [LOAD_ONE] = "load", [LOAD_DROP] = "unload", [LOAD_BACK] = "rollback"};
    static const char *const events[] = {
        [LOAD_ONE] = "load-asked", [LOAD_DROP] = "unload-asked", [LOAD_BACK] = "rolled-back"};
    int status = job->status;
    if (status == LEGO_OK && job->kind == LOAD_BACK) {
        status = roll_back(service, job);
    } else if (status == LEGO_OK && job->kind == LOAD_DROP) {
        status = registry_unload(&service->registry, job->name, &job->diag);
    } else if (status == LEGO_OK) {
        log_new_models(job);
        if (!job->version)
            let_go(&job->set);
        status = registry_replace_name(&service->registry, job->name, &job->set);
    } else {
        registry_note_failure(&service->registry, &job->failed, lego_diag_text(&job->diag, status));
        fail_overwritten(job);
    }
    const char *text = lego_diag_text(&job->diag, status);
    const struct log_subject subject = {.event = events[job->kind], .model = job->name};
    log_about(job->asker ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, &subject, "%s of \"%s\", %s: %s",
              words[job->kind], job->name, job->reason, status == LEGO_OK ? "done" : text);
    answer_one(service, job, status, text);
    if (job->version)
        wake(service, job, status, text);
}

void reload_done(struct service *service)
{
    struct load_job *job = loader_take(service->loader);
    if (!job)
        return;
    jobs_done(service); /* their models may go */
    service->load_running = NULL;
    if (job->kind == LOAD_ALL)
        finish_all(service, job);
    else
        finish_one(service, job);
    loader_free_job(service->loader, job);
    start_next(service);
}

void reload_clear(struct service *service)
{
    while (service->load_queue) {
        struct load_job *job = service->load_queue;
        service->load_queue = job->next;
        service->load_waiting--;
        if (job->kind != LOAD_ALL)
            answer_one(service, job, LEGO_E_UNAVAILABLE, "the agent is stopping");
        loader_free_job(service->loader, job);
    }
}
