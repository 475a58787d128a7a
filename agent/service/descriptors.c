#include "agent/service/descriptors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void descriptors_clear(struct descriptors *queue)
{
    for (size_t i = 0; i < queue->count; i++)
        close(queue->fds[i]);
    free(queue->fds);
    *queue = (struct descriptors){0};
}

int descriptors_take(struct descriptors *queue)
{
    if (queue->count == 0)
        return -1;
    int fd = queue->fds[0];
    queue->count--;
    memmove(queue->fds, queue->fds + 1, queue->count * sizeof(*queue->fds));
    return fd;
}

/* Appends the descriptors of one control message; those for which there is no memory are closed. */
static bool append(struct descriptors *queue, const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const unsigned char *data = CMSG_DATA(header);
    int *fds = realloc(queue->fds, (queue->count + count + 1) * sizeof(*fds));
    if (fds) {
        queue->fds = fds;
        memcpy(fds + queue->count, data, count * sizeof(*fds));
        queue->count += count;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
        close(fd);
    }
    return false;
}

int descriptors_receive(struct descriptors *queue, struct msghdr *message, size_t limit,
                        struct lego_diag *diag)
{
    int status = LEGO_OK;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
            !append(queue, header))
            status = lego_fail(diag, LEGO_E_NOMEM, "no memory for file descriptors");
    }
    /* Not even the order of those that did come can be trusted. */
    if (message->msg_flags & MSG_CTRUNC)
        status = lego_fail(diag, LEGO_E_LIMIT,
                           "more file descriptors came with a frame than the agent may hold");
    else if (status == LEGO_OK && queue->count > limit)
        status = lego_fail(diag, LEGO_E_LIMIT,
                           "%zu file descriptors wait to be registered, at most %zu may "
                           "(limits.regions)",
                           queue->count, limit);
    if (status != LEGO_OK)
        descriptors_clear(queue);
    return status;
}
