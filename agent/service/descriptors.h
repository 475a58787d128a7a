/*
 * File descriptors that a client has sent and that no request has taken yet, in the order in which
 * they came. The loop thread only.
 */
#ifndef LEGO_SERVICE_DESCRIPTORS_H
#define LEGO_SERVICE_DESCRIPTORS_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define DESCRIPTORS_MAX_IN_MESSAGE 253 /* the kernel's SCM_MAX_FD */

struct descriptors {
    int *fds; /* owned */
    size_t count;
};

/*
 * Takes what came with a message received with MSG_CMSG_CLOEXEC. E_LIMIT where the kernel had to
 * leave some out or more than `limit` would wait; E_NOMEM. On failure every descriptor of the
 * message and of the queue is closed.
 */
int descriptors_receive(struct descriptors *queue, struct msghdr *message, size_t limit,
                        struct lego_diag *diag);

/* The oldest, which becomes the caller's; -1 where none waits. */
int descriptors_take(struct descriptors *queue);

/* Closes all. */
void descriptors_clear(struct descriptors *queue);

#endif
