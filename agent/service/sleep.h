/*
 * Models that sleep: put to sleep without requests or for want of memory, woken by the next
 * request, which waits here while its model is loaded. The loop thread only.
 */
#ifndef LEGO_SERVICE_SLEEP_H
#define LEGO_SERVICE_SLEEP_H

#include "agent/service/clock.h"
#include "agent/service/service.h"

void sleep_init(struct service *service);

/*
 * Keeps a request until `model` is loaded again, and sees to that; then it is taken as one that has
 * come at `arrived_ns`. The body is taken, also on failure. E_EXHAUSTED: too many wait for the
 * model, or the client has too many requests; E_NOMEM.
 */
int sleep_wait(struct service *service, struct connection *connection, struct served_model *model,
               const struct peek *peek, uint8_t *body, size_t bytes, uint64_t arrived_ns,
               struct lego_diag *diag);

/* A model has been loaded, or not, for those who wait for it: they go on, or hear why not. */
void sleep_wake(struct service *service, const char *name, uint64_t version, int status,
                const char *text);

/* Answers those who wait: the request of that id of a client; its older ones of the same stream and
 * model; those whose deadline has passed, with the earliest deadline of the rest put into
 * expiry->next_ns. */
bool sleep_cancel(struct service *service, struct connection *connection, uint64_t id);
void sleep_overtake(struct service *service, struct connection *connection,
                    const struct peek *newer);
void sleep_expire(struct service *service, struct expiry *expiry);

/* Forgets those of a client that has gone. */
void sleep_drop(struct service *service, struct connection *connection);

/* Tells all that the agent is stopping. */
void sleep_clear(struct service *service);

/* Puts to sleep what has been idle for long; call every second or so. */
void sleep_tick(struct service *service);

/* Memory is short: gives up some. */
void sleep_relieve(struct service *service);

#endif
