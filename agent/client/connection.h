/*
 * The connection: frames out, frames in, which request an answer is for. For this module's own use.
 */
#ifndef LEGO_CLIENT_CONNECTION_H
#define LEGO_CLIENT_CONNECTION_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"

#include <sys/types.h>

/*
 * Sends a request (its id is set here) and waits for the answer, which the caller frees with
 * ipc_response_free. An answer with a status other than OK is a failure with its message. Answers
 * to other requests that come meanwhile are completed.
 */
int connection_call(struct lego_client *client, Legonet__Request *request,
                    Legonet__Response **ret_response, struct lego_diag *diag);

/* The same with a file descriptor (-1: none) that goes with the frame; it stays the caller's. */
int connection_call_fd(struct lego_client *client, Legonet__Request *request, int fd,
                       Legonet__Response **ret_response, struct lego_diag *diag);

/* region.c: sends what the socket takes, with `passed` (-1: none) as sendmsg does. */
ssize_t connection_send(int fd, const void *data, size_t bytes, int passed);

/* Queues a request for lego_client_next. */
int connection_submit(struct lego_client *client, Legonet__Request *request, uint64_t *ret_id,
                      struct lego_diag *diag);

/* Sends a request whose answer nobody waits for. */
int connection_notify(struct lego_client *client, Legonet__Request *request,
                      struct lego_diag *diag);

/* True where lego_client_next is still to give the result of that request. */
bool connection_awaits(struct lego_client *client, uint64_t id);

/* The client's schedule, for schedule.c: its stream is malloc'ed, NULL for none. */
struct lego_client_schedule *connection_schedule(struct lego_client *client);

/* infer.c: the result of an answered inference; takes the response, also on failure. The diag says
 * what is wrong with an answer of status OK (E_FORMAT). */
int result_from_response(Legonet__Response *response, struct lego_client_result **ret_result,
                         struct lego_diag *diag);

/* infer.c: the result of a request that was never answered, NULL when out of memory. */
struct lego_client_result *result_from_failure(uint64_t id, int status, const char *message);

#endif
