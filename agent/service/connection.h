/*
 * One client. Reads frames and hands them out, queues answers and writes them, holds the bounds.
 * The loop thread only.
 *
 * Reading stops while the client has too many unanswered requests or too many bytes of answers to
 * take, and goes on when there is room. A connection lives until it is closed and all its requests
 * are finished.
 */
#ifndef LEGO_SERVICE_CONNECTION_H
#define LEGO_SERVICE_CONNECTION_H

#include "agent/service/descriptors.h"
#include "agent/service/direct.h"
#include "agent/service/frame_reader.h"
#include "agent/service/regions.h"

#include <stdbool.h>
#include <uv.h>

struct connection;

struct connection_host {
    uv_loop_t *loop;
    size_t max_frame_bytes, max_output_bytes;
    uint32_t max_in_flight, max_regions;
    uint64_t max_region_bytes;
    uint64_t stall_ns;
    uint8_t *staging; /* shared by all connections of the loop */
    size_t staging_bytes;
    void *context;
    /* The loop is awake for a client: what engines have finished may be taken. */
    void (*awake)(void *context);
    /* Descriptors have come, or have become regions, or have gone: an error ends the connection. */
    int (*holds)(struct connection *connection, struct lego_diag *diag);
    /* A frame has come; the body is the callee's. */
    void (*frame)(struct connection *connection, uint8_t *body, size_t bytes);
    /* The connection does not go on before an answer: an engine may have finished without a word.
     */
    void (*awaits)(struct connection *connection);
    /* The connection reads and answers no more: what it waits for may be cancelled. */
    void (*closed)(struct connection *connection);
    /* The memory goes away. */
    void (*released)(struct connection *connection);
};

struct out_frame {
    struct out_frame *next;
    uint8_t *data;
    size_t bytes;
};

struct connection {
    struct connection *previous, *next; /* the host's list */
    const struct connection_host *host;
    uv_poll_t poll;
    int poll_events;      /* what it waits for now */
    bool unwatched;       /* closed, and the poll has ended */
    struct direct direct; /* the descriptor, and who writes to it */
    pid_t pid;            /* of the peer, when it connected */
    uid_t uid;
    gid_t gid;
    uint32_t in_flight;            /* unanswered requests */
    bool is_admin;                 /* may change what is served */
    bool was_served;               /* the host's: cleared when bytes come */
    struct peer_account *account;  /* the host's; NULL: it was refused */
    uint32_t held;                 /* the host's: descriptors that are counted there */
    struct queue_peer *queue_peer; /* the host's, made with the first inference */
    struct frame_reader reader;
    struct descriptors descriptors; /* that came and are not registered yet */
    struct region_table *regions;
    uint8_t *pending; /* bytes that were read past a bound, to be parsed when there is room */
    size_t pending_bytes;
    struct out_frame *out, **out_last;
    size_t out_bytes, out_sent;   /* sent: of the first frame */
    uint64_t read_ns, written_ns; /* when bytes last went */
    bool awaits; /* reads nothing before an answer: engines that write answers wake the loop */
    bool ended;  /* nothing more is read: end of file or a fault; answers still go out */
    bool closed;
};

/* Takes the descriptor, also on failure. `host` outlives the connection. */
int connection_open(const struct connection_host *host, int fd, struct connection **ret_connection,
                    struct lego_diag *diag);

/* Queues a malloc'ed frame, which becomes the connection's. Cuts a client off that takes nothing.
 */
void connection_send(struct connection *connection, uint8_t *frame, size_t bytes);

/* Goes on with a frame of which another thread has written the first `sent` bytes; its turn to
 * write ends. */
void connection_resume(struct connection *connection, uint8_t *frame, size_t bytes, size_t sent);

/* A request that was handed out counts until it is answered. */
void connection_begin(struct connection *connection);
void connection_finish(struct connection *connection);

/* Writes what can be written, parses what waits, arms the poll: after every send or finish. */
void connection_pump(struct connection *connection);

/* Tells the client why (id 0) and reads no more. */
void connection_refuse(struct connection *connection, int status, const char *text);

/* Closes a client that has stalled; call every second or so. */
void connection_check_stall(struct connection *connection);

/* True where nothing is under way: no request, no answer, no part of a frame. */
bool connection_is_idle(const struct connection *connection);

void connection_close(struct connection *connection);

#endif
