#include "agent/service/notify.h"

#include "agent/service/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define MAX_KEPT      4 /* the last ones say all: where more are kept, the oldest goes */
#define MESSAGE_BYTES 256

static struct {
    char messages[MAX_KEPT][MESSAGE_BYTES];
    size_t count;
} kept;

/* Where systemd listens; false where it does not. */
static bool find_address(struct sockaddr_un *ret_address, socklen_t *ret_bytes)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof(ret_address->sun_path) || !strchr("/@", path[0]))
        return false;
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, length);
    if (path[0] == '@') /* an abstract one, whose name has no end but its length */
        ret_address->sun_path[0] = '\0';
    *ret_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
    return true;
}

/* False where the message is to be sent again later. */
static bool try_send(const char *message)
{
    struct sockaddr_un address;
    socklen_t bytes;
    if (!find_address(&address, &bytes))
        return true;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool full = sendto(fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
                       (struct sockaddr *)&address, bytes) < 0 &&
                (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM);
    close(fd);
    return !full;
}

static void forget_first(void)
{
    kept.count--;
    memmove(kept.messages[0], kept.messages[1], kept.count * MESSAGE_BYTES);
}

void notify_flush(void)
{
    while (kept.count > 0 && try_send(kept.messages[0]))
        forget_first();
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    notify_flush();
    if (kept.count == MAX_KEPT)
        forget_first();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(kept.messages[kept.count++], MESSAGE_BYTES, format, arguments);
    va_end(arguments);
    notify_flush();
}

void notify_ready(const char *status)
{
    tell("READY=1\nSTATUS=%s", status);
}

void notify_reloading(void)
{
    tell("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ns() / 1000);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

void notify_watchdog(void)
{
    notify_flush();
    if (kept.count == 0)
        try_send("WATCHDOG=1");
}

uint64_t notify_watchdog_interval_ms(void)
{
    uint64_t microseconds;
    if (sd_watchdog_enabled(0, &microseconds) <= 0)
        return 0;
    uint64_t interval = microseconds / 2000;
    return interval > 0 ? interval : 1;
}
