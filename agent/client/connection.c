#include "agent/client/connection.h"

#include "codec/base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS      30000
#define MAX_PENDING     1024u
#define FIRST_IN_BYTES  65536u
#define CONNECT_WAIT_MS 10

struct frame {
    struct frame *next;
    uint8_t *data;
    size_t bytes, sent;
    int fd; /* goes with the first byte, ours; -1: none */
};

struct completed {
    struct completed *next;
    struct lego_client_result *result;
};

/* What an answer is for. */
enum waiter {
    WAITER_NEXT = 0, /* lego_client_next */
    WAITER_CALL,     /* the blocking call that is running */
    WAITER_NOBODY,   /* a blocking call that gave up */
};

struct pending {
    uint64_t id;
    enum waiter waiter;
    Legonet__Request__CallCase call;
};

struct lego_client {
    char *path;
    int fd; /* -1: disconnected */
    int timeout_ms;
    size_t max_frame_bytes;
    uint32_t max_pending, pending_count;
    struct pending *pending; /* [max_pending], in the order of submission */
    uint64_t last_id;
    struct frame *out_first, **out_end;
    uint8_t *in; /* received, not yet taken */
    size_t in_bytes, in_capacity;
    struct completed *completed_first, **completed_end;
    Legonet__Response *answer;            /* of the blocking call that is running */
    struct lego_client_schedule schedule; /* its stream is owned, NULL for none */
    struct lego_diag broken;              /* why the connection is, for those who wait */
};

static int64_t now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Milliseconds until `deadline_ms` (negative: none, as poll wants it). */
static int left_ms(int64_t deadline_ms)
{
    if (deadline_ms < 0)
        return -1;
    int64_t left = deadline_ms - now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int64_t deadline_after(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

static void append_result(struct lego_client *client, struct lego_client_result *result)
{
    struct completed *completed = calloc(1, sizeof(*completed));
    if (!completed) {
        lego_client_result_free(result);
        return;
    }
    completed->result = result;
    *client->completed_end = completed;
    client->completed_end = &completed->next;
}

static void frame_free(struct frame *frame)
{
    if (frame->fd >= 0)
        close(frame->fd);
    free(frame->data);
    free(frame);
}

static void drop_buffers(struct lego_client *client)
{
    while (client->out_first) {
        struct frame *frame = client->out_first;
        client->out_first = frame->next;
        frame_free(frame);
    }
    client->out_end = &client->out_first;
    free(client->in);
    client->in = NULL;
    client->in_bytes = client->in_capacity = 0;
}

/* Closes the connection for good; whoever waits learns why. `broken` is set. */
static void disconnect(struct lego_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    drop_buffers(client);
    for (uint32_t i = 0; i < client->pending_count; i++) {
        struct lego_client_result *result;
        if (client->pending[i].waiter != WAITER_NEXT)
            continue;
        result =
            result_from_failure(client->pending[i].id, client->broken.status, client->broken.text);
        if (result)
            append_result(client, result);
    }
    client->pending_count = 0;
}

/* Remembers why the connection broke, closes it, and tells the caller. */
#define break_connection(client_, diag_, ...) \
    (lego_fail(&(client_)->broken, __VA_ARGS__), broke((client_), (diag_)))

static int broke(struct lego_client *client, struct lego_diag *diag)
{
    disconnect(client);
    return lego_fail(diag, client->broken.status, "%s", client->broken.text);
}

static int broke_errno(struct lego_client *client, int error, struct lego_diag *diag)
{
    if (error == EPIPE || error == ECONNRESET)
        return break_connection(client, diag, LEGO_E_CLOSED, "%s: the agent closed the connection",
                                client->path);
    lego_fail_errno(&client->broken, error, "%s", client->path);
    return broke(client, diag);
}

/* ---- connecting ---- */

static int connect_fd(int fd, const struct sockaddr_un *address, int timeout_ms, const char *path,
                      struct lego_diag *diag)
{
    int64_t deadline = deadline_after(timeout_ms);
    for (;;) {
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
            return LEGO_OK;
        if (errno == EINTR)
            continue;
        if (errno == ECONNREFUSED)
            return lego_fail(diag, LEGO_E_UNAVAILABLE, "%s: no agent listens there", path);
        if (errno != EAGAIN)
            return lego_fail_errno(diag, errno, "%s", path);
        /* The agent's backlog is full; a Unix socket cannot be polled for room in it. */
        if (left_ms(deadline) == 0)
            return lego_fail(diag, LEGO_E_DEADLINE, "%s: the agent does not accept", path);
        poll(NULL, 0, CONNECT_WAIT_MS);
    }
}

static int open_socket(struct lego_client *client, struct lego_diag *diag)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(client->path) >= sizeof(address.sun_path))
        return lego_fail(diag, LEGO_E_LIMIT, "%s: a socket's path has at most %zu bytes",
                         client->path, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, client->path, strlen(client->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", client->path);
    int status = connect_fd(fd, &address, client->timeout_ms, client->path, diag);
    if (status != LEGO_OK) {
        close(fd);
        return status;
    }
    client->fd = fd;
    client->broken = (struct lego_diag)LEGO_DIAG_INIT;
    return LEGO_OK;
}

static const char *default_path(void)
{
    const char *path = getenv(LEGO_CLIENT_SOCKET_ENV);
    return path && *path ? path : LEGO_CLIENT_SOCKET;
}

int lego_client_connect(const char *path, const struct lego_client_options *options,
                        struct lego_client **ret_client, struct lego_diag *diag)
{
    struct lego_client_options o = options ? *options : (struct lego_client_options){0};
    struct lego_client *client = calloc(1, sizeof(*client));
    if (!client)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    client->fd = -1;
    client->timeout_ms = o.timeout_ms ? o.timeout_ms : TIMEOUT_MS;
    client->max_frame_bytes = o.max_frame_bytes ? o.max_frame_bytes : IPC_FRAME_MAX_BYTES;
    client->max_pending = o.max_pending ? o.max_pending : MAX_PENDING;
    client->out_end = &client->out_first;
    client->completed_end = &client->completed_first;
    client->path = strdup(path ? path : default_path());
    client->pending = calloc(client->max_pending, sizeof(*client->pending));

    int status = client->path && client->pending ? open_socket(client, diag)
                                                 : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (status != LEGO_OK) {
        lego_client_close(client);
        return status;
    }
    *ret_client = client;
    return LEGO_OK;
}

int lego_client_reconnect(struct lego_client *client, struct lego_diag *diag)
{
    lego_fail(&client->broken, LEGO_E_CLOSED, "%s: the connection was given up for a new one",
              client->path);
    disconnect(client);
    return open_socket(client, diag);
}

void lego_client_close(struct lego_client *client)
{
    if (!client)
        return;
    if (client->fd >= 0)
        close(client->fd);
    drop_buffers(client);
    while (client->completed_first)
        lego_client_result_free(lego_client_next(client));
    ipc_response_free(client->answer);
    free(client->pending);
    free((char *)client->schedule.stream);
    free(client->path);
    free(client);
}

int lego_client_fd(const struct lego_client *client)
{
    return client->fd;
}

short lego_client_events(const struct lego_client *client)
{
    return (short)(client->out_first ? POLLIN | POLLOUT : POLLIN);
}

uint32_t lego_client_pending(const struct lego_client *client)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < client->pending_count; i++)
        count += client->pending[i].waiter == WAITER_NEXT;
    return count;
}

struct lego_client_result *lego_client_next(struct lego_client *client)
{
    struct completed *completed = client->completed_first;
    if (!completed)
        return NULL;
    struct lego_client_result *result = completed->result;
    client->completed_first = completed->next;
    if (!client->completed_first)
        client->completed_end = &client->completed_first;
    free(completed);
    return result;
}

/* ---- out ---- */

static int receive(struct lego_client *client, struct lego_diag *diag);

/* The agent may have said why before it closed: that comes first. */
static int send_failed(struct lego_client *client, int error, struct lego_diag *diag)
{
    int status = LEGO_OK;
    if (error == EPIPE || error == ECONNRESET)
        status = receive(client, diag);
    return status == LEGO_OK ? broke_errno(client, error, diag) : status;
}

static int flush(struct lego_client *client, struct lego_diag *diag)
{
    while (client->out_first) {
        struct frame *frame = client->out_first;
        ssize_t sent = connection_send(client->fd, frame->data + frame->sent,
                                       frame->bytes - frame->sent, frame->sent ? -1 : frame->fd);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return LEGO_OK;
        if (sent < 0)
            return send_failed(client, errno, diag);
        frame->sent += (size_t)sent;
        if (frame->sent < frame->bytes)
            continue;
        client->out_first = frame->next;
        if (!client->out_first)
            client->out_end = &client->out_first;
        frame_free(frame);
    }
    return LEGO_OK;
}

/* Packs and queues a request, with a copy of `fd`; its answer will be expected. */
static int enqueue(struct lego_client *client, Legonet__Request *request, int fd,
                   enum waiter waiter, struct lego_diag *diag)
{
    if (client->fd < 0)
        return lego_fail(diag, LEGO_E_CLOSED, "%s: disconnected", client->path);
    if (client->pending_count == client->max_pending)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "%u requests wait for answers already: fetch some before more are sent",
                         client->max_pending);
    struct frame *frame = calloc(1, sizeof(*frame));
    if (!frame)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    frame->fd = -1;
    request->id = client->last_id + 1;
    int status =
        ipc_frame_pack(&request->base, client->max_frame_bytes, &frame->data, &frame->bytes, diag);
    if (status == LEGO_OK && fd >= 0) {
        frame->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (frame->fd < 0)
            status = lego_fail_errno(diag, errno, "file descriptor %d", fd);
    }
    if (status != LEGO_OK) {
        frame_free(frame);
        return status;
    }
    client->last_id = request->id;
    *client->out_end = frame;
    client->out_end = &frame->next;
    client->pending[client->pending_count++] =
        (struct pending){.id = request->id, .waiter = waiter, .call = request->call_case};
    return LEGO_OK;
}

/* ---- in ---- */

/* The entry of `id`, NULL where there is none. */
static struct pending *find_pending(struct lego_client *client, uint64_t id)
{
    for (uint32_t i = 0; i < client->pending_count; i++) {
        if (client->pending[i].id == id)
            return &client->pending[i];
    }
    return NULL;
}

static void remove_pending(struct lego_client *client, struct pending *pending)
{
    size_t behind = (size_t)(client->pending + client->pending_count - (pending + 1));
    memmove(pending, pending + 1, behind * sizeof(*pending));
    client->pending_count--;
}

/* Completes an inference; an answer that makes no sense is a failed one. */
static void complete(struct lego_client *client, Legonet__Response *response)
{
    struct lego_diag why = LEGO_DIAG_INIT;
    struct lego_client_result *result = NULL;
    uint64_t id = response->id;
    int status = result_from_response(response, &result, &why);
    if (status != LEGO_OK)
        result = result_from_failure(id, status, lego_diag_text(&why, status));
    if (result)
        append_result(client, result);
}

/* An answer that fits no request: nothing that follows can be trusted. */
static int reject(struct lego_client *client, const Legonet__Response *response,
                  struct lego_diag *diag)
{
    int status = ipc_status_from_wire(response->status);
    if (response->id == 0 && status != LEGO_OK)
        return break_connection(client, diag, status, "%s: the agent says: %.512s", client->path,
                                response->message);
    return break_connection(client, diag, LEGO_E_FORMAT, "%s: the agent answers what was not asked",
                            client->path);
}

/* Takes the response, also on failure. */
static int take_response(struct lego_client *client, Legonet__Response *response,
                         struct lego_diag *diag)
{
    struct pending *pending = find_pending(client, response->id);
    /* Requests and results have the same field numbers. */
    if (!pending || (response->status == LEGONET__STATUS__OK &&
                     (int)response->result_case != (int)pending->call)) {
        int status = reject(client, response, diag);
        ipc_response_free(response);
        return status;
    }
    enum waiter waiter = pending->waiter;
    remove_pending(client, pending);
    if (waiter == WAITER_CALL)
        client->answer = response;
    else if (waiter == WAITER_NEXT)
        complete(client, response);
    else
        ipc_response_free(response);
    return LEGO_OK;
}

/* Room for the rest of the frame whose header is there, or for a first portion. */
static int make_room(struct lego_client *client, size_t wanted_bytes, struct lego_diag *diag)
{
    wanted_bytes = lego_max_size(wanted_bytes, FIRST_IN_BYTES);
    if (client->in_capacity >= wanted_bytes)
        return LEGO_OK;
    uint8_t *in = realloc(client->in, wanted_bytes);
    if (!in)
        return break_connection(client, diag, LEGO_E_NOMEM, "no memory for an answer of %zu bytes",
                                wanted_bytes);
    client->in = in;
    client->in_capacity = wanted_bytes;
    return LEGO_OK;
}

/* Takes all whole frames out of the buffer, and makes room for the next. */
static int take_frames(struct lego_client *client, struct lego_diag *diag)
{
    size_t taken = 0, wanted = IPC_FRAME_HEADER_BYTES;
    while (client->in_bytes - taken >= IPC_FRAME_HEADER_BYTES) {
        const uint8_t *frame = client->in + taken;
        Legonet__Response *response = NULL;
        size_t body_bytes = 0;
        int status = ipc_frame_length(frame, client->max_frame_bytes, &body_bytes, &client->broken);
        if (status != LEGO_OK)
            return broke(client, diag);
        wanted = IPC_FRAME_HEADER_BYTES + body_bytes;
        if (client->in_bytes - taken < wanted)
            break;
        status = ipc_response_unpack(frame + IPC_FRAME_HEADER_BYTES, body_bytes, &response,
                                     &client->broken);
        if (status != LEGO_OK)
            return broke(client, diag);
        status = take_response(client, response, diag);
        if (status != LEGO_OK)
            return status;
        taken += wanted;
        wanted = IPC_FRAME_HEADER_BYTES;
    }
    if (taken)
        memmove(client->in, client->in + taken, client->in_bytes - taken);
    client->in_bytes -= taken;
    return make_room(client, wanted, diag);
}

static int receive(struct lego_client *client, struct lego_diag *diag)
{
    int status = make_room(client, FIRST_IN_BYTES, diag);
    while (status == LEGO_OK) {
        size_t room = client->in_capacity - client->in_bytes;
        ssize_t got = recv(client->fd, client->in + client->in_bytes, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return LEGO_OK;
        if (got < 0)
            return broke_errno(client, errno, diag);
        if (got == 0)
            return broke_errno(client, ECONNRESET, diag);
        client->in_bytes += (size_t)got;
        status = take_frames(client, diag);
        if ((size_t)got < room) /* that was all; an end of the stream shows at the next wait */
            break;
    }
    return status;
}

int lego_client_process(struct lego_client *client, struct lego_diag *diag)
{
    if (client->fd < 0)
        return lego_fail(diag, LEGO_E_CLOSED, "%s: disconnected", client->path);
    /* What came before the end is worth reading, even where nothing can be sent any more. */
    int status = receive(client, diag);
    return status == LEGO_OK ? flush(client, diag) : status;
}

/* Waits for the socket, then processes. E_DEADLINE where nothing happened until then. */
static int step(struct lego_client *client, int64_t deadline_ms, struct lego_diag *diag)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = lego_client_events(client)};
    int ready = poll(&poll_fd, 1, left_ms(deadline_ms));
    if (ready < 0 && errno != EINTR)
        return broke_errno(client, errno, diag);
    if (ready == 0)
        return lego_fail(diag, LEGO_E_DEADLINE, "%s: no answer in time", client->path);
    return lego_client_process(client, diag);
}

int lego_client_wait(struct lego_client *client, int timeout_ms, struct lego_diag *diag)
{
    int64_t deadline = deadline_after(timeout_ms);
    while (!client->completed_first) {
        if (client->fd < 0)
            return lego_fail(diag, LEGO_E_CLOSED, "%s: disconnected", client->path);
        if (lego_client_pending(client) == 0)
            return lego_fail(diag, LEGO_E_STATE, "no request waits for an answer");
        int status = step(client, deadline, diag);
        if (status != LEGO_OK && !client->completed_first)
            return status;
    }
    return LEGO_OK;
}

int connection_submit(struct lego_client *client, Legonet__Request *request, uint64_t *ret_id,
                      struct lego_diag *diag)
{
    int status = enqueue(client, request, -1, WAITER_NEXT, diag);
    if (status != LEGO_OK)
        return status;
    uint64_t id = request->id;
    /* A connection that breaks now completes the request: the caller meets the failure there. */
    flush(client, NULL);
    *ret_id = id;
    return LEGO_OK;
}

int connection_notify(struct lego_client *client, Legonet__Request *request, struct lego_diag *diag)
{
    int status = enqueue(client, request, -1, WAITER_NOBODY, diag);
    return status == LEGO_OK ? flush(client, diag) : status;
}

bool connection_awaits(struct lego_client *client, uint64_t id)
{
    const struct pending *pending = find_pending(client, id);
    return pending && pending->waiter == WAITER_NEXT;
}

struct lego_client_schedule *connection_schedule(struct lego_client *client)
{
    return &client->schedule;
}

/* The blocking call gives up: its answer, if it comes, is for nobody. */
static void abandon(struct lego_client *client, uint64_t id)
{
    struct pending *pending = find_pending(client, id);
    if (pending)
        pending->waiter = WAITER_NOBODY;
}

int connection_call(struct lego_client *client, Legonet__Request *request,
                    Legonet__Response **ret_response, struct lego_diag *diag)
{
    return connection_call_fd(client, request, -1, ret_response, diag);
}

int connection_call_fd(struct lego_client *client, Legonet__Request *request, int fd,
                       Legonet__Response **ret_response, struct lego_diag *diag)
{
    int64_t deadline = deadline_after(client->timeout_ms);
    int status = enqueue(client, request, fd, WAITER_CALL, diag);
    if (status != LEGO_OK)
        return status;
    status = flush(client, diag);
    while (status == LEGO_OK && !client->answer)
        status = step(client, deadline, diag);

    Legonet__Response *answer = client->answer;
    client->answer = NULL;
    if (!answer) {
        abandon(client, request->id);
        return status;
    }
    if (answer->status != LEGONET__STATUS__OK) {
        status = lego_fail(diag, ipc_status_from_wire(answer->status), "%s",
                           answer->message[0] ? answer->message : "the agent refuses");
        ipc_response_free(answer);
        return status;
    }
    *ret_response = answer;
    return LEGO_OK;
}
