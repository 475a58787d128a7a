#include "agent/service/listener.h"

#include "agent/service/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 128

/* libuv and bind cut a long path short without a word: the check is ours. */
static int make_address(const char *path, struct sockaddr_un *ret_address, struct lego_diag *diag)
{
    size_t length = strlen(path);
    if (length >= sizeof(ret_address->sun_path))
        return lego_fail(diag, LEGO_E_LIMIT,
                         "the socket's path is %zu bytes long, a socket address takes %zu: %s",
                         length, sizeof(ret_address->sun_path) - 1, path);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, length);
    return LEGO_OK;
}

static int take_lock(const char *path, int *ret_fd, struct lego_diag *diag)
{
    char lock[PATH_MAX];
    snprintf(lock, sizeof(lock), "%s.lock", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s: cannot open the lock", lock);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        close(fd);
        if (error == EWOULDBLOCK)
            return lego_fail(diag, LEGO_E_EXISTS, "%s: another agent serves this socket", path);
        return lego_fail_errno(diag, error, "%s: cannot lock", lock);
    }
    *ret_fd = fd;
    return LEGO_OK;
}

/* Removes a socket that nobody listens on; anything else at the path stays. */
static int remove_stale(const struct sockaddr_un *address, struct lego_diag *diag)
{
    const char *path = address->sun_path;
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? LEGO_OK : lego_fail_errno(diag, errno, "%s", path);
    if (!S_ISSOCK(info.st_mode))
        return lego_fail(diag, LEGO_E_EXISTS, "%s: is there and is no socket", path);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return lego_fail_errno(diag, errno, "cannot make a socket");
    int error = connect(probe, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
    close(probe);
    if (error == 0 || error == EAGAIN || error == EPROTOTYPE)
        return lego_fail(diag, LEGO_E_EXISTS, "%s: another program listens there", path);
    if (error != ECONNREFUSED)
        return lego_fail_errno(diag, error, "%s: cannot tell whether it is in use", path);
    if (unlink(path) != 0)
        return lego_fail_errno(diag, errno, "%s: cannot remove the stale socket", path);
    log_info("%s: removed a stale socket", path);
    return LEGO_OK;
}

static int set_group(const char *path, const char *group, struct lego_diag *diag)
{
    if (!*group)
        return LEGO_OK;
    char *end;
    unsigned long number = strtoul(group, &end, 10);
    gid_t gid = (gid_t)number;
    if (*end) {
        errno = 0;
        const struct group *entry = getgrnam(group); /* before any thread is started */
        if (!entry)
            return lego_fail(diag, LEGO_E_NOT_FOUND, "socket.group: there is no group \"%s\"",
                             group);
        gid = entry->gr_gid;
    }
    if (chown(path, (uid_t)-1, gid) != 0)
        return lego_fail_errno(diag, errno, "%s: cannot give it to group \"%s\"", path, group);
    return LEGO_OK;
}

static int bind_and_listen(const struct sockaddr_un *address, uint64_t mode, const char *group,
                           struct listener *listener, struct lego_diag *diag)
{
    const char *path = address->sun_path;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return lego_fail_errno(diag, errno, "cannot make a socket");
    mode_t before = umask(0777); /* nobody may connect until mode and group are right */
    int error = bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
    umask(before);
    if (error)
        return lego_fail_errno(diag, error, "%s: cannot make the socket", path);
    struct stat info;
    if (stat(path, &info) != 0)
        return lego_fail_errno(diag, errno, "%s", path);
    listener->device = info.st_dev;
    listener->inode = info.st_ino;
    listener->path = strdup(path);
    if (!listener->path)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the socket");
    int status = set_group(path, group, diag);
    if (status != LEGO_OK)
        return status;
    if (listen(listener->fd, BACKLOG) != 0)
        return lego_fail_errno(diag, errno, "%s: cannot listen", path);
    if (chmod(path, (mode_t)mode) != 0)
        return lego_fail_errno(diag, errno, "%s: cannot set its mode", path);
    return LEGO_OK;
}

/* A socket of a socket unit. */
static int take_passed(int fd, struct listener *listener, struct lego_diag *diag)
{
    if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0)
        return lego_fail(diag, LEGO_E_INVALID,
                         "the socket that was passed is no listening Unix stream socket");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return lego_fail_errno(diag, errno, "the socket that was passed");
    listener->fd = fd;
    return LEGO_OK;
}

static bool is_taken(const struct listener *listeners, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++)
        if (listeners[i].fd == fd)
            return true;
    return false;
}

/* The passed socket at `path`, or any that is not taken where that is NULL; -1: there is none. */
static int find_passed(int passed, const char *path, const struct listener *listeners, size_t count)
{
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed; fd++)
        if (!is_taken(listeners, count, fd) &&
            (!path || sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0))
            return fd;
    return -1;
}

static int make(const struct listener_place *place, struct listener *listener,
                struct lego_diag *diag)
{
    struct sockaddr_un address;
    int status = make_address(place->path, &address, diag);
    if (status == LEGO_OK)
        status = take_lock(place->path, &listener->lock_fd, diag);
    if (status == LEGO_OK)
        status = remove_stale(&address, diag);
    if (status == LEGO_OK)
        status = bind_and_listen(&address, place->mode, place->group, listener, diag);
    return status;
}

static void close_rest(int passed, const struct listener *listeners, size_t count)
{
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed; fd++)
        if (!is_taken(listeners, count, fd)) {
            log_warning("systemd passed a socket that is in nothing configured: it is not served");
            close(fd);
        }
}

int listeners_open(const struct listener_place *places, size_t count,
                   struct listener *ret_listeners, struct lego_diag *diag)
{
    int passed = sd_listen_fds(1), status = LEGO_OK;
    if (passed < 0)
        return lego_fail_errno(diag, -passed, "the sockets that were passed");
    for (size_t i = 0; i < count; i++)
        ret_listeners[i] = (struct listener){.fd = -1, .lock_fd = -1};
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        int fd = find_passed(passed, places[i].path, ret_listeners, count);
        if (fd >= 0)
            status = take_passed(fd, &ret_listeners[i], diag);
    }
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        int fd = i == 0 ? find_passed(passed, NULL, ret_listeners, count) : -1;
        if (ret_listeners[i].fd >= 0)
            continue;
        status = fd >= 0 ? take_passed(fd, &ret_listeners[i], diag)
                         : make(&places[i], &ret_listeners[i], diag);
    }
    close_rest(passed, ret_listeners, count);
    for (size_t i = 0; status != LEGO_OK && i < count; i++) {
        listener_unlink(&ret_listeners[i]);
        listener_close(&ret_listeners[i]);
    }
    return status;
}

void listener_unlink(struct listener *listener)
{
    struct stat info;
    if (!listener->path)
        return;
    if (lstat(listener->path, &info) == 0 && info.st_dev == listener->device &&
        info.st_ino == listener->inode)
        unlink(listener->path);
    free(listener->path);
    listener->path = NULL;
}

void listener_close(struct listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->lock_fd >= 0)
        close(listener->lock_fd);
    *listener = (struct listener){.fd = -1, .lock_fd = -1};
}
