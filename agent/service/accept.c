/* Letting clients in. */
#include "agent/service/service.h"

#include "agent/service/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_A_ROUND 16 /* then others have their turn */

/* Checks the bounds and the policy for a new client. */
static int admit(struct service *service, struct connection *connection, struct lego_diag *diag)
{
    if (service->connection_count > service->start->max_connections)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "the agent has as many clients as it may have (limits.connections)");
    enum peer_role role =
        peers_role(&service->peers, connection->direct.fd, connection->uid, connection->gid);
    if (role == PEER_NONE)
        return lego_fail(diag, LEGO_E_PERMISSION,
                         "user %u may not use this agent (access.users, access.groups)",
                         (unsigned)connection->uid);
    connection->is_admin = role == PEER_ADMIN;
    return peers_join(&service->peers, connection->uid, &connection->account, diag);
}

static void adopt(struct service *service, int fd)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct connection *connection;
    int status = connection_open(&service->host, fd, &connection, &diag);
    if (status != LEGO_OK) {
        log_error("%s", lego_diag_text(&diag, status));
        return;
    }
    connection->next = service->connections;
    if (connection->next)
        connection->next->previous = connection;
    service->connections = connection;
    service->connection_count++;
    status = admit(service, connection, &diag);
    if (status != LEGO_OK)
        connection_refuse(connection, status, lego_diag_text(&diag, status));
    connection_pump(connection);
}

static void on_accept(uv_poll_t *handle, int error, int events)
{
    struct service *service = handle->data;
    (void)events;
    for (int i = 0; error == 0 && i < ACCEPTS_A_ROUND; i++) {
        int fd = accept4(service->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            adopt(service, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            log_error("cannot take a client: %s", strerror(errno));
            uv_poll_stop(handle); /* out of descriptors, likely: the tick tries again */
        }
        return;
    }
}

void accept_start(struct service *service)
{
    service->accept_poll.data = service;
    uv_poll_start(&service->accept_poll, UV_READABLE, on_accept);
}

void accept_stop(struct service *service)
{
    uv_poll_stop(&service->accept_poll);
}
