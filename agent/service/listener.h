/*
 * The listening sockets: from systemd, or made at a path, with a lock beside it so that two agents
 * never share one.
 */
#ifndef LEGO_SERVICE_LISTENER_H
#define LEGO_SERVICE_LISTENER_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct listener {
    int fd;      /* listening, non-blocking, close-on-exec */
    int lock_fd; /* -1: systemd's socket */
    char *path;  /* to be unlinked at the end, NULL: systemd's socket */
    dev_t device;
    ino_t inode;
};

struct listener_place {
    const char *path, *group;
    uint64_t mode;
};

/*
 * Takes, for each place, the socket that systemd has passed for its path, for the first place
 * without one the first that nobody has taken; makes the others. Passed ones that are left are
 * closed, and logged. A socket at a path that nobody listens on is replaced; E_EXISTS where another
 * agent lives there or where the path is no socket. E_LIMIT: the path does not fit into a socket
 * address. E_NOT_FOUND: no such group. E_PERMISSION, E_IO.
 */
int listeners_open(const struct listener_place *places, size_t count,
                   struct listener *ret_listeners, struct lego_diag *diag);

/* Removes the socket from the file system where it is still the one that was made. */
void listener_unlink(struct listener *listener);

/* Closes; the lock goes with it. */
void listener_close(struct listener *listener);

#endif
