#include "agent/service/pressure.h"

#include "agent/service/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define WINDOW_US 2000000u /* what the kernel grants those without privileges */
#define SAMPLES   (WINDOW_US / 1000000u)

enum kind {
    KIND_TRIGGER, /* the kernel says when */
    KIND_FIFO,    /* who writes to it says so */
    KIND_TOTAL,   /* its total is compared */
};

struct pressure {
    uv_poll_t poll;
    int fd;
    enum kind kind;
    uint64_t stall_us;
    uint64_t totals[SAMPLES]; /* of the last seconds, the oldest first */
    unsigned sampled;
    void (*relieve)(void *context);
    void *context;
};

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234": microseconds. */
static bool read_total(int fd, uint64_t *ret_us)
{
    char text[256];
    ssize_t bytes = pread(fd, text, sizeof(text) - 1, 0);
    if (bytes <= 0)
        return false;
    text[bytes] = '\0';
    const char *total = strncmp(text, "some ", 5) ? NULL : strstr(text, "total=");
    return total && sscanf(total, "total=%" SCNu64, ret_us) == 1;
}

static void on_sign(uv_poll_t *poll, int error, int events)
{
    struct pressure *pressure = poll->data;
    char bytes[64];
    (void)events;
    if (error < 0) { /* the cgroup has gone */
        log_debug("memory pressure is not watched any more: %s", uv_strerror(error));
        uv_poll_stop(poll);
        return;
    }
    while (pressure->kind == KIND_FIFO && read(pressure->fd, bytes, sizeof(bytes)) > 0) {
    }
    pressure->relieve(pressure->context);
}

void pressure_tick(struct pressure *pressure)
{
    uint64_t total;
    if (!pressure || pressure->kind != KIND_TOTAL || !read_total(pressure->fd, &total))
        return;
    bool sign = pressure->sampled == SAMPLES && total >= pressure->totals[0] &&
                total - pressure->totals[0] >= pressure->stall_us;
    if (pressure->sampled == SAMPLES)
        memmove(pressure->totals, pressure->totals + 1, sizeof(uint64_t) * (SAMPLES - 1));
    else
        pressure->sampled++;
    pressure->totals[pressure->sampled - 1] = total;
    if (!sign)
        return;
    pressure->sampled = 1; /* what has counted counts once */
    pressure->totals[0] = total;
    pressure->relieve(pressure->context);
}

/* Of the kernel's own files alone: any other would be written over. */
static bool set_trigger(int fd, uint64_t stall_us)
{
    struct statfs system;
    char text[64];
    int bytes = snprintf(text, sizeof(text), "some %" PRIu64 " %u", stall_us, WINDOW_US);
    return fstatfs(fd, &system) == 0 &&
           ((unsigned long)system.f_type == PROC_SUPER_MAGIC ||
            (unsigned long)system.f_type == CGROUP2_SUPER_MAGIC) &&
           write(fd, text, (size_t)bytes + 1) == (ssize_t)bytes + 1;
}

static int open_file(const char *path, uint64_t stall_us, enum kind *ret_kind)
{
    struct stat info;
    uint64_t total;
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode))
        *ret_kind = KIND_FIFO;
    else if (set_trigger(fd, stall_us))
        *ret_kind = KIND_TRIGGER;
    else if (read_total(fd, &total))
        *ret_kind = KIND_TOTAL;
    else {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

/* memory.pressure of the agent's own cgroup (version 2); false where there is none. */
static bool find_cgroup(char *path, size_t bytes)
{
    char line[PATH_MAX];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && !found && fgets(line, sizeof(line), file))
        if (!strncmp(line, "0::/", 4)) {
            line[strcspn(line, "\n")] = '\0';
            found = snprintf(path, bytes, "/sys/fs/cgroup%s%smemory.pressure", line + 3,
                             line[4] ? "/" : "") < (int)bytes;
        }
    if (file)
        fclose(file);
    return found;
}

/* What memory.pressure means; -1 where there is nothing. */
static int open_configured(const struct config *config, enum kind *ret_kind, char *path,
                           size_t bytes)
{
    const char *wanted = config->memory_pressure, *passed = getenv("MEMORY_PRESSURE_WATCH");
    const uint64_t stall_us = config->memory_stall_ms * 1000;
    int fd = -1;
    if (!*wanted)
        return -1;
    if (strcmp(wanted, "auto")) {
        snprintf(path, bytes, "%s", wanted);
        fd = open_file(path, stall_us, ret_kind);
        if (fd < 0)
            log_warning("memory.pressure: %s: %s", path, strerror(errno));
        return fd;
    }
    if (passed && *passed) {
        snprintf(path, bytes, "%s", passed);
        return strcmp(path, "/dev/null") ? open_file(path, stall_us, ret_kind) : -1;
    }
    if (find_cgroup(path, bytes))
        fd = open_file(path, stall_us, ret_kind);
    if (fd < 0) {
        snprintf(path, bytes, "/proc/pressure/memory");
        fd = open_file(path, stall_us, ret_kind);
    }
    return fd;
}

/* Lets the loop tell of signs; false where it cannot. */
static bool start_poll(struct pressure *pressure, uv_loop_t *loop)
{
    if (uv_poll_init(loop, &pressure->poll, pressure->fd) < 0)
        return false;
    pressure->poll.data = pressure;
    uv_poll_start(&pressure->poll, pressure->kind == KIND_FIFO ? UV_READABLE : UV_PRIORITIZED,
                  on_sign);
    return true;
}

struct pressure *pressure_start(uv_loop_t *loop, const struct config *config,
                                void (*relieve)(void *context), void *context)
{
    static const char *const ways[] = {[KIND_TRIGGER] = "by a trigger",
                                       [KIND_FIFO] = "by what is written to it",
                                       [KIND_TOTAL] = "every second"};
    char path[PATH_MAX];
    enum kind kind = KIND_TOTAL;
    int fd = open_configured(config, &kind, path, sizeof(path));
    if (fd < 0)
        return NULL;
    struct pressure *pressure = calloc(1, sizeof(*pressure));
    if (pressure)
        *pressure = (struct pressure){.fd = fd,
                                      .kind = kind,
                                      .stall_us = config->memory_stall_ms * 1000,
                                      .relieve = relieve,
                                      .context = context};
    if (!pressure || (kind != KIND_TOTAL && !start_poll(pressure, loop))) {
        log_warning("memory pressure is not watched: no memory");
        close(fd);
        free(pressure);
        return NULL;
    }
    log_debug("memory pressure is watched in %s, %s", path, ways[kind]);
    return pressure;
}

static void on_closed(uv_handle_t *handle)
{
    struct pressure *pressure = handle->data;
    close(pressure->fd);
    free(pressure);
}

void pressure_stop(struct pressure *pressure)
{
    if (!pressure)
        return;
    if (pressure->kind != KIND_TOTAL) {
        uv_close((uv_handle_t *)&pressure->poll, on_closed);
        return;
    }
    close(pressure->fd);
    free(pressure);
}
