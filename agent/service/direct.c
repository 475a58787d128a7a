#include "agent/service/direct.h"

#include <errno.h>
#include <sys/socket.h>

bool direct_take(struct direct *direct)
{
    bool expected = false;
    return atomic_compare_exchange_strong(&direct->taken, &expected, true);
}

void direct_release(struct direct *direct)
{
    atomic_store(&direct->taken, false);
}

enum direct_result direct_send(struct direct *direct, const uint8_t *frame, size_t bytes,
                               size_t *ret_sent)
{
    if (!direct_take(direct))
        return DIRECT_NOT;
    if (atomic_load(&direct->has_more)) {
        direct_release(direct);
        return DIRECT_NOT;
    }
    ssize_t sent = send(direct->fd, frame, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0 && (size_t)sent < bytes) {
        *ret_sent = (size_t)sent;
        return DIRECT_PART;
    }
    bool failed = sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    direct_release(direct);
    return failed ? DIRECT_FAILED : sent < 0 ? DIRECT_NOT : DIRECT_ALL;
}
