#include "agent/service/loader.h"

#include "agent/service/log.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct loader {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping, trimming;
    struct load_job *todo, *finished;
    struct model_set dead; /* models without references */
    void (*done)(void *context);
    void *context;
};

int config_source_load(const struct config_source *source, struct config **ret_config,
                       struct lego_diag *diag)
{
    struct config *config;
    bool absent = !source->path_given && source->path && access(source->path, F_OK) != 0;
    int status = source->path && !absent ? config_load(source->path, &config, diag)
                                         : config_default(&config, diag);
    if (status == LEGO_OK && absent) { /* drop-ins need no file to stand beside */
        status = config_read_drop_ins(config, source->path, diag);
        if (status != LEGO_OK)
            config_free(config);
    }
    for (size_t i = 0; status == LEGO_OK && i < source->override_count; i++) {
        status = config_set(config, source->overrides[i], diag);
        if (status != LEGO_OK)
            config_free(config);
    }
    if (status == LEGO_OK)
        *ret_config = config;
    return status;
}

/* A model that serves already, or that a client has unloaded and that stays so; else NULL. */
static struct served_model *reuse(const struct load_job *job, const struct model_spec *spec)
{
    struct served_model *old = model_set_find(&job->old, spec->name, spec->version);
    if (!old)
        return NULL;
    /* Woken is what sleeps: not what has been unloaded or loaded before its turn came. */
    if (job->version && (spec->version != job->version || !old->asleep))
        return model_ref(old);
    /* A client that asks for a load means the file that lies there, rejected or not. */
    if (model_is_current(old, spec, job->kind == LOAD_ALL) || (old->unloaded && job->keep_unloaded))
        return model_ref(old);
    return NULL;
}

static uint64_t add_peak(uint64_t sum, const struct served_model *model)
{
    uint64_t peak = model->model ? model->peak_bytes : 0;
    return __builtin_add_overflow(sum, peak, &sum) ? UINT64_MAX : sum;
}

/* What is loaded while this job runs: all that serves until the switch, what is kept to go back to,
 * and what the job has loaded. */
static uint64_t used_bytes(const struct load_job *job)
{
    uint64_t used = 0;
    for (size_t i = 0; i < job->old.count; i++) {
        used = add_peak(used, job->old.items[i]);
        if (job->old.items[i]->previous)
            used = add_peak(used, job->old.items[i]->previous);
    }
    for (size_t i = 0; i < job->set.count; i++) {
        const struct served_model *model = job->set.items[i];
        if (model_set_find(&job->old, model->spec.name, model->spec.version) != model)
            used = add_peak(used, model);
    }
    return used;
}

static int load_spec(struct load_job *job, const struct config *config,
                     const struct model_spec *spec)
{
    if (job->version && spec->version != job->version &&
        !model_set_find(&job->old, spec->name, spec->version))
        return LEGO_OK; /* a new one: whoever watches the folder brings it in */
    struct served_model *model = reuse(job, spec);
    int status = LEGO_OK;
    if (!model) {
        const struct model_loading loading = {
            .engines = job->engines,
            .threads = job->threads,
            .cpus = job->cpus,
            .admission = {.limit_bytes = config->max_model_bytes, .used_bytes = used_bytes(job)},
            .priority = (enum background_priority)config->loading_priority};
        status = model_load(spec, &loading, &model, &job->diag);
        if (status != LEGO_OK && job->keep_going && status != LEGO_E_NOMEM) {
            const struct log_subject subject = {
                .event = "model-refused", .model = spec->name, .version = spec->version};
            log_about(LOG_LEVEL_ERROR, &subject, "%s", lego_diag_text(&job->diag, status));
            status = model_create_absent(spec, lego_diag_text(&job->diag, status), &model);
            job->diag = (struct lego_diag)LEGO_DIAG_INIT;
        }
        if (status != LEGO_OK) {
            /* Only for the message: without memory it stays unnamed. */
            if (model_spec_copy(&job->failed, spec) != LEGO_OK)
                job->failed = (struct model_spec){0};
            struct served_model *old = model_set_find(&job->old, spec->name, spec->version);
            if (old && model_serves(old) && model_is_overwritten(old))
                job->overwritten = old;
            return status;
        }
    }
    status = model_set_add(&job->set, model);
    if (status != LEGO_OK && model_unref(model))
        model_destroy(model);
    return status;
}

static int load_all(struct load_job *job)
{
    const struct config *config = job->config;
    int status = LEGO_OK;
    if (job->kind == LOAD_ALL) {
        status = config_source_load(job->source, &job->new_config, &job->diag);
        config = job->new_config;
    }
    if (status == LEGO_OK)
        status = catalogue_list(config, job->name, &job->catalogue, &job->diag);
    if (status == LEGO_OK && job->kind == LOAD_ONE && job->catalogue.count == 0)
        status =
            lego_fail(&job->diag, LEGO_E_NOT_FOUND,
                      "there is no model \"%s\", neither in the configuration nor in %s", job->name,
                      *config->model_directory ? config->model_directory : "a model directory");
    for (size_t i = 0; status == LEGO_OK && i < job->catalogue.count; i++)
        status = load_spec(job, config, &job->catalogue.specs[i]);
    return status;
}

static void run_job(struct load_job *job)
{
    if (job->kind == LOAD_ALL || job->kind == LOAD_ONE)
        job->status = load_all(job);
}

static void destroy_dead(struct model_set *dead)
{
    for (size_t i = 0; i < dead->count; i++)
        model_destroy(dead->items[i]);
    free(dead->items);
    if (dead->count > 0)
        malloc_trim(0); /* else the allocator keeps what models have had */
    *dead = (struct model_set){0};
}

static void *loader_main(void *argument)
{
    struct loader *loader = argument;
    pthread_setname_np(pthread_self(), "lego-loader");
    pthread_mutex_lock(&loader->mutex);
    for (;;) {
        struct load_job *job = loader->todo;
        struct model_set dead = loader->dead;
        bool stopping = loader->stopping, trimming = loader->trimming;
        if (!job && dead.count == 0 && !trimming) {
            if (stopping)
                break;
            pthread_cond_wait(&loader->wake, &loader->mutex);
            continue;
        }
        loader->todo = NULL;
        loader->dead = (struct model_set){0};
        loader->trimming = false;
        pthread_mutex_unlock(&loader->mutex);
        destroy_dead(&dead);
        if (trimming)
            malloc_trim(0);
        if (job && !stopping)
            run_job(job);
        pthread_mutex_lock(&loader->mutex);
        if (job) {
            loader->finished = job;
            loader->done(loader->context);
        }
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

/* Signals are the loop's: its thread has them unblocked, no other. */
static int start_thread(struct loader *loader)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* the runtime guards its mappings by it */
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&loader->thread, NULL, loader_main, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int loader_start(void (*done)(void *context), void *context, struct loader **ret_loader,
                 struct lego_diag *diag)
{
    struct loader *loader = calloc(1, sizeof(*loader));
    if (!loader)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the loader");
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->wake, NULL);
    loader->done = done;
    loader->context = context;
    int error = start_thread(loader);
    if (error) {
        pthread_cond_destroy(&loader->wake);
        pthread_mutex_destroy(&loader->mutex);
        free(loader);
        return lego_fail_errno(diag, error, "cannot start the loader's thread");
    }
    *ret_loader = loader;
    return LEGO_OK;
}

void loader_submit(struct loader *loader, struct load_job *job)
{
    pthread_mutex_lock(&loader->mutex);
    loader->todo = job;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
}

void loader_trim(struct loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    loader->trimming = true;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
}

struct load_job *loader_take(struct loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    struct load_job *job = loader->finished;
    loader->finished = NULL;
    pthread_mutex_unlock(&loader->mutex);
    return job;
}

void loader_release_model(struct loader *loader, struct served_model *model)
{
    if (!model_unref(model))
        return;
    pthread_mutex_lock(&loader->mutex);
    if (model_set_add(&loader->dead, model) == LEGO_OK)
        model = NULL;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
    if (model)
        model_destroy(model); /* no memory for the list: rather a pause than a leak */
}

void loader_release_set(struct loader *loader, struct model_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        loader_release_model(loader, set->items[i]);
    free(set->items);
    *set = (struct model_set){0};
}

void loader_free_job(struct loader *loader, struct load_job *job)
{
    loader_release_set(loader, &job->old);
    loader_release_set(loader, &job->set);
    if (job->target)
        loader_release_model(loader, job->target);
    catalogue_clear(&job->catalogue);
    model_spec_clear(&job->failed);
    config_free(job->new_config);
    free(job->name);
    free(job);
}

void loader_stop(struct loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    loader->stopping = true;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&loader->mutex);
    pthread_join(loader->thread, NULL);
    if (loader->finished)
        loader_free_job(loader, loader->finished);
    destroy_dead(&loader->dead);
    pthread_cond_destroy(&loader->wake);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}
