/*
 * The agent: one loop thread that owns all that is here, engines that compute, a loader that reads.
 *
 * service.c starts and stops it, accept.c lets clients in, dispatch.c takes their requests,
 * jobs.c leads those that want an engine, control.c answers what needs no engine, reload.c brings
 * in new configurations and models.
 */
#ifndef LEGO_SERVICE_SERVICE_H
#define LEGO_SERVICE_SERVICE_H

#include "agent/service/config.h"
#include "agent/service/connection.h"
#include "agent/service/engine.h"
#include "agent/service/listener.h"
#include "agent/service/loader.h"
#include "agent/service/peek.h"
#include "agent/service/peers.h"
#include "agent/service/pressure.h"
#include "agent/service/registry.h"
#include "agent/service/watch.h"

#include <uv.h>

/* What waits for models that sleep (sleep.h), and what came of sleeping, for the metrics. */
struct sleepers {
    struct sleep_waiter *first, **last;
    uint64_t slept, woken; /* models */
    uint64_t signs;        /* of memory pressure */
    uint64_t sign_ns;      /* the last one */
};

/* A socket that clients come by. */
struct door {
    struct service *service;
    struct listener listener;
    uv_poll_t poll;
    struct peer_policy policy;
};

#define SERVICE_STAGING_BYTES ((size_t)64 << 10)

struct service {
    uv_loop_t loop;
    const struct config_source *source;
    struct config *start;  /* as at the start: holds for RESTART keys */
    struct config *config; /* as reloaded last: holds for LIVE keys; may be `start` */
    uint32_t engine_count, engine_threads;

    struct engines *engines;
    /* An eventfd of our own: uv_async_t makes the loop spin where the engine that wakes it is
     * interrupted by just that. */
    int jobs_fd;
    uv_poll_t jobs_poll;
    struct inference_job *jobs; /* all that are with the engines */
    uv_timer_t expiry;
    uint64_t expiry_ns; /* when it is due */

    struct capture *capture; /* NULL: nothing is kept */
    struct loader *loader;
    uv_async_t load_done;
    struct load_job *load_running, *load_queue;
    size_t load_waiting;
    struct registry registry;
    struct sleepers sleepers;
    struct pressure *pressure; /* NULL: not watched */
    bool first_load_done;

    struct peers peers;
    struct door doors[1 + CONFIG_MAX_SOCKETS]; /* `socket`, then `sockets` */
    size_t door_count;
    struct connection_host host;
    struct connection *connections;
    size_t connection_count; /* those that are not closed */
    uint8_t *staging;

    struct watch *watch;
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t tick, watchdog, drain_tick, metrics;
    bool draining;
    uint64_t drain_deadline_ns;
    int exit_status; /* LEGO_OK, or why the agent could not go on */
};

/*
 * Runs the agent until it is told to stop. `config` is what `source` gave and becomes the agent's.
 * LEGO_OK after a clean stop.
 */
int service_run(const struct config_source *source, struct config *config, struct lego_diag *diag);

/* Begins to stop: no new clients, what is under way is finished in bounded time. */
void service_drain(struct service *service);

/* accept.c: opens all sockets with their rules, E_* as listeners_open and peer_policy_init; closes
 * them. */
int accept_open(struct service *service, struct lego_diag *diag);
void accept_close(struct service *service);
/* Makes the loop's handles; starts and ends taking clients; takes the sockets away. */
int accept_init(struct service *service);
void accept_start(struct service *service);
void accept_stop(struct service *service);
void accept_unlink(struct service *service);
/* Counts what a connection holds. E_EXHAUSTED: over its user's quota. */
int service_holds(struct connection *connection, struct lego_diag *diag);

/* dispatch.c: a frame has come (the body is taken), or came earlier; a client has gone. */
void dispatch_frame(struct connection *connection, uint8_t *body, size_t bytes);
void dispatch_request(struct connection *connection, uint8_t *body, size_t bytes,
                      uint64_t arrived_ns);
void dispatch_closed(struct connection *connection);
/* Answers with a failure. */
void dispatch_error(struct connection *connection, uint64_t id, int status, const char *text);

/*
 * jobs.c. Submit takes the body and queues it for an engine, as its parameters say; those that wait
 * on the same stream give way. E_NOT_FOUND, E_UNAVAILABLE, E_FAULT, E_INVALID, E_EXHAUSTED,
 * E_NOMEM.
 */
void jobs_init(struct service *service);
int jobs_submit(struct service *service, struct connection *connection, const struct peek *peek,
                uint8_t *body, size_t bytes, uint64_t arrived_ns, struct lego_diag *diag);
/* When a request that came then is late: by its parameters, else the model's; 0: never. */
uint64_t jobs_deadline(const struct served_model *model, const struct peek *peek,
                       uint64_t arrived_ns);
/* Sees to what is late then. */
void jobs_expect_deadline(struct service *service, uint64_t deadline_ns);
/* Cancels the client's request of that id; false where it has none. */
bool jobs_cancel(struct service *service, struct connection *connection, uint64_t id);
/* The client has gone: what it waited for is dropped. */
void jobs_drop_connection(struct service *service, struct connection *connection);
void jobs_done(struct service *service); /* engines have finished some */

/* control.c: answers every call but ModelInfer, Cancel, RepositoryModelLoad and -Unload. */
int control_answer(const struct service *service, const Legonet__Request *request,
                   uint8_t **ret_frame, size_t *ret_bytes, struct lego_diag *diag);

/* reload.c */
void reload_all(struct service *service, bool keep_unloaded); /* queued, or merged with one */
/* Queues a client's load or unload, which is answered when it is done. E_EXHAUSTED, E_NOMEM. */
int reload_one(struct service *service, enum load_kind kind, const char *name,
               struct connection *connection, uint64_t id, struct lego_diag *diag);
/* Queues the load of a model that sleeps, once. E_NOMEM. */
int reload_wake(struct service *service, const struct served_model *model, struct lego_diag *diag);
/* Rolls a model back, as its first requests have failed. */
void reload_give_up(struct service *service, struct served_model *model);
void reload_done(struct service *service);
/* Tells those whose loads wait that the agent is stopping. */
void reload_clear(struct service *service);

#endif
