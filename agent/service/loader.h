/*
 * The loader: one thread that reads configurations, and opens, verifies, warms up and destroys
 * models, so that the loop never waits for a disk. One job at a time: the loop hands over the next
 * when it has taken up the result of the last.
 */
#ifndef LEGO_SERVICE_LOADER_H
#define LEGO_SERVICE_LOADER_H

#include "agent/service/catalogue.h"
#include "agent/service/config.h"
#include "agent/service/model.h"

#include <stdbool.h>

/* Where configurations come from: the command line's, borrowed by every job. */
struct config_source {
    const char *path; /* NULL: built-in defaults */
    bool path_given;  /* false: the default place, which may be empty */
    const char *const *overrides;
    size_t override_count;
};

/* Reads the configuration with its overrides. */
int config_source_load(const struct config_source *source, struct config **ret_config,
                       struct lego_diag *diag);

enum load_kind {
    LOAD_ALL,  /* the configuration anew, all models beside those that are there */
    LOAD_ONE,  /* the models of one name, under the configuration that holds */
    LOAD_DROP, /* unload the models of one name: only keeps its place in the order */
    LOAD_BACK, /* roll the models of one name back: the same */
};

struct load_job {
    struct load_job *next; /* for the one who submits */
    enum load_kind kind;
    const struct config_source *source; /* LOAD_ALL */
    const struct config *config;        /* LOAD_ONE: borrowed until the job is back */
    char *name;                         /* all but LOAD_ALL: owned */
    uint64_t version;                   /* LOAD_ONE: of that name alone; 0: all */
    bool keep_going; /* a model that cannot be loaded becomes an absent one (at the start) */
    bool keep_unloaded;
    uint32_t engines, threads;
    const char *cpus;     /* borrowed */
    struct model_set old; /* references to all that is served */
    /* The result. */
    int status;
    struct lego_diag diag;
    struct config *new_config;  /* LOAD_ALL: owned */
    struct model_set set;       /* LOAD_ALL: all, LOAD_ONE: those of the name */
    struct catalogue catalogue; /* its folders are to be watched (LOAD_ALL) */
    struct model_spec failed;   /* the model that could not be loaded; name NULL: none */
    struct served_model
        *overwritten; /* of `old`: what failed to load has changed under it, or NULL */
    /* Who asked, for the answer: the submitter's; NULL: the agent itself, for that reason. */
    const char *reason;
    struct served_model *target; /* LOAD_BACK: a reference to what is left; NULL: what serves */
    void *asker;
    uint64_t asker_id;
};

struct loader;

/* Starts the thread. `done` is called on it when a job is finished and must only wake the loop. */
int loader_start(void (*done)(void *context), void *context, struct loader **ret_loader,
                 struct lego_diag *diag);

/* Hands over a job; one at a time. */
void loader_submit(struct loader *loader, struct load_job *job);

/* The finished job, NULL while there is none. */
struct load_job *loader_take(struct loader *loader);

/* Gives back to the system what the allocator keeps of freed memory, on the loader's thread. */
void loader_trim(struct loader *loader);

/* Drops a reference; the last one gone, the loader's thread destroys the model. */
void loader_release_model(struct loader *loader, struct served_model *model);

/* Drops all references of a set and empties it. */
void loader_release_set(struct loader *loader, struct model_set *set);

/* Frees a job that is not with the loader, with the references that it still holds. */
void loader_free_job(struct loader *loader, struct load_job *job);

/* Waits for the job that runs, frees it, destroys what was released, ends the thread. */
void loader_stop(struct loader *loader);

#endif
