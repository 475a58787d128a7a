/*
 * One version of a model as the agent serves it: the mapped package and a warm session for each
 * engine.
 *
 * Made and destroyed by the loader's thread; between, the loop thread owns its state and counts,
 * and engine e alone uses sessions[e], or the loop in its place (engines_run_here). References are
 * counted; the last one gone, the loader destroys.
 */
#ifndef LEGO_SERVICE_MODEL_H
#define LEGO_SERVICE_MODEL_H

#include "agent/results/heads.h"
#include "agent/runtime/legonet.h"
#include "agent/service/background.h"
#include "agent/service/config.h"
#include "agent/service/log.h"
#include "agent/service/stats.h"

#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>

/* How requests of a model wait. */
struct model_queue {
    uint64_t length;     /* 0: limits.model_queue */
    uint64_t priority;   /* of requests that name none */
    uint64_t timeout_ms; /* the same; 0: none */
};

/* How many requests of a model may be computed in one run. */
#define MODEL_MAX_BATCH 256

struct model_batch {
    uint64_t rows;     /* of one run, all requests together; 1: each request runs alone */
    uint64_t delay_ms; /* how long the first waits for more */
};

/* What is to be served: from the configuration or found in the model directory. Strings owned. */
struct model_spec {
    char *name;
    uint64_t version;
    char *path;
    uint64_t warm_up;
    enum lego_resident resident;
    enum lego_verify verify; /* where no signature is looked at */
    enum lego_compute compute;
    struct model_queue queue;
    struct model_batch batch;
    uint64_t canary_percent; /* of the requests that name no version; 0: it is no canary */
    uint64_t previous;       /* 1: what it replaces stays loaded, to go back to */
    enum signature_policy signature_policy;
    char *signature_keys; /* NULL: none */
    uint64_t trial;       /* requests that must not all fail after a switch; 0: no trial */
    uint64_t engines;     /* bit e: engine e may compute it; 0: all */
    uint64_t threads;     /* of one of its runs; 0: as the engines */
    uint64_t idle_ms;     /* without a request for so long it is put to sleep; 0: never */
    uint64_t pinned;      /* 1: it is never put to sleep */
};

int model_spec_copy(struct model_spec *ret_copy, const struct model_spec *spec);
void model_spec_clear(struct model_spec *spec);

/* Which file it was: a file that was replaced or rewritten differs. */
struct model_file {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};

struct served_model {
    atomic_int refs;
    struct model_spec spec;
    char version_text[24];
    struct model_file file;
    uint64_t peak_bytes;      /* what it may take with all its sessions, as its file says */
    struct lego_model *model; /* NULL: it does not serve, `reason` says why */
    struct heads heads;       /* what its outputs mean; none: it does not say */
    struct lego_arena *heads_arena;
    uint64_t engines;               /* bit e: there is a session for engine e */
    struct lego_session **sessions; /* [session_count], NULL where an engine may not compute it */
    uint32_t session_count;
    /* The loop thread's: */
    char *reason;  /* NULL: nothing to say */
    bool asleep;   /* not in memory: the next request loads it again */
    bool unloaded; /* by a client: it stays away until it is loaded or the whole is reloaded */
    bool faulted;  /* its file changed under the runtime: it must be loaded again */
    bool held;     /* rolled back: not for requests that name no version */
    struct served_model *previous; /* a reference to what it has replaced, or NULL */
    struct model_file rejected;    /* the file that a rollback has left; inode 0: none */
    uint32_t trial_left;           /* failures from now on that end in a rollback; 0: no trial */
    uint32_t canary_credit;        /* in percent of a request */
    uint32_t queued;
    uint64_t used_ns; /* the last answer of it, or when it was loaded; by the monotonic clock */
    struct stats stats;
    struct stats_pace pace;
};

/* Logs a record about a model, which it names. */
void model_log(enum log_level level, const struct served_model *model, const char *event,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* How much memory models may take: `used_bytes` is with others already. */
struct model_admission {
    uint64_t limit_bytes; /* 0: no limit */
    uint64_t used_bytes;
};

/* How models are loaded: alike for all of a job. */
struct model_loading {
    uint32_t engines, threads;
    const char *cpus; /* of the engines' threads, as in engines.cpus */
    struct model_admission admission;
    enum background_priority priority;
};

/*
 * Opens, verifies (checksums), self-tests and warms up, at that priority, and makes a session of
 * `threads` threads for each of `engines` that may compute it, at this thread's own. On success one
 * reference is the caller's. The diag names the model and the file. Errors: E_LIMIT where it is not
 * admitted, else as lego_model_open, lego_session_create, lego_session_selftest.
 */
int model_load(const struct model_spec *spec, const struct model_loading *loading,
               struct served_model **ret_model, struct lego_diag *diag);

/* One that does not serve, with the reason (NULL for none). LEGO_E_NOMEM. */
int model_create_absent(const struct model_spec *spec, const char *reason,
                        struct served_model **ret_model);

struct served_model *model_ref(struct served_model *model);
/* True where that was the last reference: the caller hands the model to the loader, or destroys. */
bool model_unref(struct served_model *model);
void model_destroy(struct served_model *model);

static inline bool model_serves(const struct served_model *model)
{
    return model->model && !model->faulted;
}

/* True where requests may be sent to it: it serves, or will when it has been woken. */
static inline bool model_takes_requests(const struct served_model *model)
{
    return model_serves(model) || model->asleep;
}

/* True where `model` serves what the spec asks for, from the file that lies there now or, with
 * `as_it_is`, would from that file when it is woken, or in spite of the file, as that is the one
 * that it was rolled back from. */
bool model_is_current(const struct served_model *model, const struct model_spec *spec,
                      bool as_it_is);

/* One that sleeps in place of `model`, with what is known of it. LEGO_E_NOMEM. */
int model_create_asleep(const struct served_model *model, const char *reason,
                        struct served_model **ret_model);

/* True where both were made from the same file in the same state. */
bool model_is_of_same_file(const struct served_model *a, const struct served_model *b);

/* True where the file under the model's map was written in place: what is mapped changed with it.
 */
bool model_is_overwritten(const struct served_model *model);

/* Several references, owned by the set. */
struct model_set {
    struct served_model **items;
    size_t count, capacity;
};

/* LEGO_E_NOMEM. The first takes the caller's reference on success, the second adds one. */
int model_set_add(struct model_set *set, struct served_model *model);
int model_set_add_ref(struct model_set *set, struct served_model *model);
struct served_model *model_set_find(const struct model_set *set, const char *name,
                                    uint64_t version);

#endif
