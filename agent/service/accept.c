/* Letting clients in. */
#include "agent/service/service.h"

#include "agent/service/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_A_ROUND 16 /* then others have their turn */

/* Checks the bounds and the policy for a new client. */
static int admit(struct door *door, struct connection *connection, struct lego_diag *diag)
{
    struct service *service = door->service;
    if (service->connection_count > service->start->max_connections)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "the agent has as many clients as it may have (limits.connections)");
    enum peer_role role =
        peers_role(&door->policy, connection->direct.fd, connection->uid, connection->gid);
    if (role == PEER_NONE)
        return lego_fail(diag, LEGO_E_PERMISSION, "user %u may not use this socket (%s)",
                         (unsigned)connection->uid, door->policy.keys);
    connection->is_admin = role == PEER_ADMIN;
    int status = peers_join(&service->peers, connection->uid, &connection->account, diag);
    return status == LEGO_OK ? service_holds(connection, diag) : status;
}

int service_holds(struct connection *connection, struct lego_diag *diag)
{
    struct service *service = connection->host->context;
    size_t regions = connection->regions ? connection->regions->count : 0;
    size_t now = connection->closed ? 0 : 1 + regions + connection->descriptors.count;
    return peers_hold(&service->peers, connection->account, &connection->held, (uint32_t)now, diag);
}

static void adopt(struct door *door, int fd)
{
    struct service *service = door->service;
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
    status = admit(door, connection, &diag);
    if (status != LEGO_OK)
        connection_refuse(connection, status, lego_diag_text(&diag, status));
    connection_pump(connection);
}

static void on_accept(uv_poll_t *handle, int error, int events)
{
    struct door *door = handle->data;
    (void)events;
    for (int i = 0; error == 0 && i < ACCEPTS_A_ROUND; i++) {
        int fd = accept4(door->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            adopt(door, fd);
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

int accept_open(struct service *service, struct lego_diag *diag)
{
    const struct config *config = service->start;
    struct listener listeners[1 + CONFIG_MAX_SOCKETS];
    struct listener_place places[1 + CONFIG_MAX_SOCKETS] = {
        {config->socket_path, config->socket_group, config->socket_mode}};
    size_t count = 1 + config->socket_count;
    int status = peer_policy_init(&service->doors[0].policy, config, diag);
    service->door_count = count;
    for (size_t i = 0; i < count; i++)
        service->doors[i].listener = (struct listener){.fd = -1, .lock_fd = -1};
    for (size_t i = 1; status == LEGO_OK && i < count; i++) {
        const struct config_socket *socket = &config->sockets[i - 1];
        places[i] = (struct listener_place){socket->path, socket->group, socket->mode};
        status = peer_policy_init_socket(&service->doors[i].policy, socket, diag);
    }
    if (status == LEGO_OK)
        status = listeners_open(places, count, listeners, diag);
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        service->doors[i].listener = listeners[i];
        service->doors[i].service = service;
    }
    return status;
}

void accept_close(struct service *service)
{
    for (size_t i = 0; i < service->door_count; i++) {
        listener_unlink(&service->doors[i].listener);
        listener_close(&service->doors[i].listener);
        peer_policy_clear(&service->doors[i].policy);
    }
}

int accept_init(struct service *service)
{
    int error = 0;
    for (size_t i = 0; error == 0 && i < service->door_count; i++) {
        struct door *door = &service->doors[i];
        error = uv_poll_init(&service->loop, &door->poll, door->listener.fd);
        door->poll.data = door;
    }
    return error;
}

void accept_start(struct service *service)
{
    for (size_t i = 0; i < service->door_count; i++)
        uv_poll_start(&service->doors[i].poll, UV_READABLE, on_accept);
}

void accept_stop(struct service *service)
{
    for (size_t i = 0; i < service->door_count; i++)
        uv_poll_stop(&service->doors[i].poll);
}

void accept_unlink(struct service *service)
{
    for (size_t i = 0; i < service->door_count; i++)
        listener_unlink(&service->doors[i].listener);
}
