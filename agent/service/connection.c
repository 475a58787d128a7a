#include "agent/service/connection.h"

#include "agent/service/answer.h"
#include "agent/service/clock.h"
#include "agent/service/log.h"
#include "codec/base/arith.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_BATCH 16 /* frames in one sendmsg */

static void release(struct connection *connection)
{
    close(connection->direct.fd);
    while (connection->out) {
        struct out_frame *frame = connection->out;
        connection->out = frame->next;
        free(frame->data);
        free(frame);
    }
    frame_reader_clear(&connection->reader);
    free(connection->pending);
    connection->host->released(connection);
    free(connection);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    connection->unwatched = true;
    /* What requests under way read stays mapped for them alone. */
    region_table_unref(connection->regions);
    connection->regions = NULL;
    descriptors_clear(&connection->descriptors);
    if (connection->in_flight == 0)
        release(connection);
}

/* Where nothing is read before an answer, engines that write one wake the loop. */
static void note_waiting(struct connection *connection)
{
    bool awaits = connection->ended || connection->in_flight >= connection->host->max_in_flight;
    if (awaits == connection->awaits)
        return;
    connection->awaits = awaits;
    atomic_store(&connection->direct.awaited, awaits);
    if (awaits && connection->in_flight > 0)
        connection->host->awaits(connection);
}

static void end(struct connection *connection)
{
    connection->ended = true;
    note_waiting(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->closed)
        return;
    connection->closed = true;
    end(connection);
    connection->host->closed(connection);
    uv_poll_stop(&connection->poll);
    shutdown(connection->direct.fd, SHUT_RDWR); /* an engine may still write: it stays open */
    uv_close((uv_handle_t *)&connection->poll, on_poll_closed);
}

void connection_begin(struct connection *connection)
{
    connection->in_flight++;
}

void connection_finish(struct connection *connection)
{
    connection->in_flight--;
    if (connection->in_flight == 0 && connection->unwatched)
        release(connection);
}

/* Logs a record about a client, which it names by its pid. */
__attribute__((format(printf, 4, 5))) static void log_client(const struct connection *connection,
                                                             enum log_level level,
                                                             const char *event, const char *format,
                                                             ...)
{
    char text[512];
    const uint32_t uid = connection->uid;
    const struct log_subject subject = {.event = event, .pid = connection->pid, .uid = &uid};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_about(level, &subject, "pid %d: %s", (int)connection->pid, text);
}

bool connection_is_idle(const struct connection *connection)
{
    return connection->in_flight == 0 && !connection->out && connection->pending_bytes == 0 &&
           !frame_reader_is_partial(&connection->reader);
}

static bool may_read(const struct connection *connection)
{
    return !connection->ended && connection->in_flight < connection->host->max_in_flight &&
           connection->out_bytes < connection->host->max_output_bytes / 4;
}

void connection_send(struct connection *connection, uint8_t *data, size_t bytes)
{
    struct out_frame *frame = NULL;
    atomic_store(&connection->direct.has_more, true);
    if (!connection->closed && connection->out_bytes > connection->host->max_output_bytes)
        log_client(connection, LOG_LEVEL_WARNING, "client-cut-off",
                   "takes no answers: cut off with %zu bytes waiting (limits.output)",
                   connection->out_bytes);
    else if (!connection->closed)
        frame = malloc(sizeof(*frame));
    if (!frame) {
        free(data);
        connection_close(connection);
        return;
    }
    if (!connection->out)
        connection->written_ns = clock_ns();
    *frame = (struct out_frame){.data = data, .bytes = bytes};
    *connection->out_last = frame;
    connection->out_last = &frame->next;
    connection->out_bytes += bytes;
}

void connection_resume(struct connection *connection, uint8_t *data, size_t bytes, size_t sent)
{
    struct out_frame *frame = connection->closed ? NULL : malloc(sizeof(*frame));
    if (!frame) {
        free(data);
        connection_close(connection);
        return;
    }
    *frame = (struct out_frame){.next = connection->out, .data = data, .bytes = bytes};
    if (!connection->out)
        connection->out_last = &frame->next;
    connection->out = frame;
    connection->out_bytes += bytes - sent;
    connection->out_sent = sent;
    connection->written_ns = clock_ns();
    atomic_store(&connection->direct.has_more, true);
    direct_release(&connection->direct);
}

void connection_refuse(struct connection *connection, int status, const char *text)
{
    size_t bytes;
    log_client(connection, LOG_LEVEL_WARNING, "client-refused", "%s", text);
    uint8_t *frame = answer_error_frame(0, status, text, &bytes);
    if (frame)
        connection_send(connection, frame, bytes);
    end(connection);
    connection->pending_bytes = 0;
    frame_reader_clear(&connection->reader);
}

/* Forgets `bytes` bytes at the head of the output. */
static void drop_sent(struct connection *connection, size_t bytes)
{
    connection->out_bytes -= bytes;
    connection->out_sent += bytes;
    while (connection->out && connection->out_sent >= connection->out->bytes) {
        struct out_frame *frame = connection->out;
        connection->out_sent -= frame->bytes;
        connection->out = frame->next;
        free(frame->data);
        free(frame);
    }
    if (!connection->out) {
        connection->out_last = &connection->out;
        atomic_store(&connection->direct.has_more, false);
    }
}

/* Writes until the socket is full or nothing is left. The caller has taken the turn to write. */
static void write_output(struct connection *connection)
{
    while (connection->out && !connection->closed) {
        struct iovec parts[WRITE_BATCH];
        size_t count = 0, skip = connection->out_sent;
        for (struct out_frame *frame = connection->out; frame && count < WRITE_BATCH;
             frame = frame->next) {
            parts[count].iov_base = frame->data + skip;
            parts[count++].iov_len = frame->bytes - skip;
            skip = 0;
        }
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t sent = sendmsg(connection->direct.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                connection_close(connection); /* the client is gone */
            return;
        }
        connection->written_ns = clock_ns();
        drop_sent(connection, (size_t)sent);
    }
}

/* Where an engine writes just now, its job comes next and with it another flush. */
static void flush_output(struct connection *connection)
{
    if (!connection->out || !direct_take(&connection->direct))
        return;
    write_output(connection);
    direct_release(&connection->direct);
}

/* Keeps what could not be parsed yet. */
static void keep_pending(struct connection *connection, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = bytes ? malloc(bytes) : NULL;
    if (bytes && !copy) {
        connection_close(connection);
        return;
    }
    if (bytes)
        memcpy(copy, data, bytes);
    free(connection->pending);
    connection->pending = copy;
    connection->pending_bytes = bytes;
}

/* Hands out the frames in `data`; returns how many bytes were taken. */
static size_t parse(struct connection *connection, const uint8_t *data, size_t bytes)
{
    size_t taken = 0;
    while (taken < bytes && may_read(connection)) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        uint8_t *body;
        size_t used, body_bytes;
        int status = frame_reader_push(&connection->reader, data + taken, bytes - taken, &used,
                                       &body, &body_bytes, &diag);
        if (status != LEGO_OK) {
            connection_refuse(connection, status, lego_diag_text(&diag, status));
            return bytes;
        }
        taken += used;
        if (body)
            connection->host->frame(connection, body, body_bytes);
    }
    return connection->ended && !connection->closed ? bytes : taken;
}

static void parse_pending(struct connection *connection)
{
    uint8_t *data = connection->pending;
    size_t bytes = connection->pending_bytes;
    connection->pending = NULL;
    connection->pending_bytes = 0;
    size_t taken = parse(connection, data, bytes);
    if (!connection->closed && taken < bytes)
        keep_pending(connection, data + taken, bytes - taken);
    free(data);
}

/* After the end of what the client sends: a client that has gone altogether wants no answers. */
static void end_of_input(struct connection *connection)
{
    struct pollfd state = {.fd = connection->direct.fd};
    end(connection);
    frame_reader_clear(&connection->reader);
    if (poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)))
        connection_close(connection);
}

/* One read, for the sake of the other clients; the poll is level-triggered. */
static void read_input(struct connection *connection)
{
    const struct connection_host *host = connection->host;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX_IN_MESSAGE)];
    } control;
    struct iovec parts[2];
    uint8_t *room = NULL;
    size_t direct = frame_reader_room(&connection->reader, &room), count = 0;
    if (direct > 0)
        parts[count++] = (struct iovec){.iov_base = room, .iov_len = direct};
    else
        parts[count++] = (struct iovec){.iov_base = host->staging, .iov_len = host->staging_bytes};
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = count,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(connection->direct.fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            connection_close(connection);
        return;
    }
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t waiting = connection->descriptors.count;
    int status = descriptors_receive(&connection->descriptors, &message, host->max_regions, &diag);
    if (status == LEGO_OK && connection->descriptors.count != waiting)
        status = host->holds(connection, &diag);
    if (status != LEGO_OK) {
        connection_refuse(connection, status, lego_diag_text(&diag, status));
        return;
    }
    if (got == 0) {
        end_of_input(connection);
        return;
    }
    connection->read_ns = clock_ns();
    connection->was_served = false;
    if (direct > 0) {
        frame_reader_advance(&connection->reader, (size_t)got);
        return;
    }
    size_t taken = parse(connection, host->staging, (size_t)got);
    if (!connection->closed && taken < (size_t)got)
        keep_pending(connection, host->staging + taken, (size_t)got - taken);
}

static void on_poll(uv_poll_t *handle, int error, int events)
{
    struct connection *connection = handle->data;
    connection->host->awake(connection->host->context);
    if (connection->closed)
        return;
    if (error < 0 || (events & UV_PRIORITIZED)) { /* gone, or urgent data, which nobody may send */
        connection_close(connection);
        return;
    }
    if ((events & UV_READABLE) && may_read(connection) && connection->pending_bytes == 0)
        read_input(connection);
    connection_pump(connection);
}

void connection_pump(struct connection *connection)
{
    while (!connection->closed) {
        flush_output(connection);
        if (connection->closed || connection->pending_bytes == 0 || !may_read(connection))
            break;
        parse_pending(connection);
    }
    if (connection->closed)
        return;
    note_waiting(connection);
    /* With `ended` the pending bytes can never be parsed: may_read is false for good. */
    if (connection->ended && connection->in_flight == 0 && !connection->out) {
        connection_close(connection);
        return;
    }
    /* Where nothing is read, UV_PRIORITIZED alone still tells of a client that has gone. */
    bool reading = may_read(connection) && connection->pending_bytes == 0;
    int events = (reading ? UV_READABLE : UV_PRIORITIZED) | (connection->out ? UV_WRITABLE : 0);
    if (events == connection->poll_events) /* libuv makes two system calls of every start */
        return;
    connection->poll_events = events;
    if (uv_poll_start(&connection->poll, events, on_poll) < 0)
        connection_close(connection);
}

void connection_check_stall(struct connection *connection)
{
    uint64_t stall = connection->host->stall_ns;
    if (connection->closed)
        return;
    uint64_t now = clock_ns(); /* none that is older than the times it is compared with */
    if (!may_read(connection))
        connection->read_ns = now; /* it is the agent that waits, not the client */
    if (connection->out && now - connection->written_ns > stall)
        log_client(connection, LOG_LEVEL_WARNING, "client-cut-off",
                   "takes no answers: cut off (limits.stall)");
    else if (frame_reader_is_partial(&connection->reader) && now - connection->read_ns > stall)
        log_client(connection, LOG_LEVEL_WARNING, "client-cut-off",
                   "stopped in the middle of a frame: cut off (limits.stall)");
    else
        return;
    connection_close(connection);
}

int connection_open(const struct connection_host *host, int fd, struct connection **ret_connection,
                    struct lego_diag *diag)
{
    struct ucred peer = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    socklen_t peer_bytes = sizeof(peer);
    struct connection *connection = calloc(1, sizeof(*connection));
    if (!connection) {
        close(fd);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a connection");
    }
    int error = uv_poll_init(host->loop, &connection->poll, fd);
    if (error < 0) {
        close(fd);
        free(connection);
        return lego_fail_errno(diag, -error, "cannot watch a connection");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) != 0)
        log_debug("a peer's credentials are not known: %s", strerror(errno));
    connection->poll.data = connection;
    connection->host = host;
    connection->direct.fd = fd;
    atomic_init(&connection->direct.taken, false);
    atomic_init(&connection->direct.has_more, false);
    atomic_init(&connection->direct.awaited, false);
    connection->pid = peer.pid;
    connection->uid = peer.uid;
    connection->gid = peer.gid;
    connection->out_last = &connection->out;
    connection->reader.limit_bytes = host->max_frame_bytes;
    connection->read_ns = connection->written_ns = clock_ns();
    log_client(connection, LOG_LEVEL_INFO, "client-connected", "uid %u, gid %u connected",
               (unsigned)peer.uid, (unsigned)peer.gid);
    *ret_connection = connection;
    return LEGO_OK;
}
