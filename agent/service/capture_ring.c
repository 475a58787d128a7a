/* The folder of records. Names begin with their time: in their order the oldest is first. */
#include "agent/service/capture.h"

#include "codec/base/file_out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX    ".npz"
#define TEMPORARY ".npz.tmp"

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length > tail && !strcmp(name + length - tail, suffix);
}

/* Of ours: a digit first, so that nobody's other archives are ever removed. */
static int is_record(const struct dirent *entry)
{
    return entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && ends_with(entry->d_name, SUFFIX);
}

static int is_left_over(const struct dirent *entry)
{
    return entry->d_name[0] == '.' && ends_with(entry->d_name, TEMPORARY);
}

static uint64_t file_bytes(const struct capture_ring *ring, const char *name)
{
    struct stat info;
    bool found = fstatat(ring->folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    return found && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

/* Removes the oldest until at most `limit` bytes are there, and counts the rest. */
static int prune(struct capture_ring *ring, uint64_t limit)
{
    struct dirent **entries;
    int count = scandirat(ring->folder, ".", &entries, is_record, alphasort);
    if (count < 0)
        return errno;
    uint64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += file_bytes(ring, entries[i]->d_name);
    for (int i = 0; i < count; i++) {
        uint64_t bytes = sum > limit ? file_bytes(ring, entries[i]->d_name) : 0;
        if (bytes > 0 && unlinkat(ring->folder, entries[i]->d_name, 0) == 0)
            sum -= bytes;
        free(entries[i]);
    }
    free(entries);
    ring->bytes = sum;
    return 0;
}

static void remove_left_over(const struct capture_ring *ring)
{
    struct dirent **entries;
    int count = scandirat(ring->folder, ".", &entries, is_left_over, NULL);
    for (int i = 0; i < count; i++) {
        unlinkat(ring->folder, entries[i]->d_name, 0);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

int capture_ring_open(struct capture_ring *ring, const char *path, uint64_t quota_bytes,
                      struct lego_diag *diag)
{
    *ring = (struct capture_ring){.folder = -1, .quota_bytes = quota_bytes};
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return lego_fail_errno(diag, errno, "capture.folder: %s", path);
    ring->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ring->folder < 0 || faccessat(ring->folder, ".", W_OK, AT_EACCESS) != 0)
        return lego_fail_errno(diag, errno, "capture.folder: %s", path);
    remove_left_over(ring);
    int error = prune(ring, quota_bytes);
    return error ? lego_fail_errno(diag, error, "capture.folder: %s", path) : LEGO_OK;
}

void capture_ring_close(struct capture_ring *ring)
{
    if (ring->folder >= 0)
        close(ring->folder);
    ring->folder = -1;
}

static void make_name(struct capture_ring *ring, const char *model, uint64_t time_ns, char *name,
                      size_t bytes)
{
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm utc = {0};
    char date[32];
    gmtime_r(&seconds, &utc);
    strftime(date, sizeof(date), "%Y%m%dT%H%M%S", &utc);
    snprintf(name, bytes, "%s.%09" PRIu64 "-%08" PRIx32 "-%s", date, time_ns % 1000000000u,
             ring->sequence++, model);
}

int capture_ring_add(struct capture_ring *ring, const char *model, uint64_t time_ns,
                     const uint8_t *data, size_t bytes)
{
    char stem[224], name[240], temporary[240];
    if (bytes > ring->quota_bytes)
        return EFBIG;
    if (ring->bytes > ring->quota_bytes - bytes) {
        /* A tenth more than is needed, so that the folder is not read for each record. */
        uint64_t limit = ring->quota_bytes - bytes;
        int error = prune(ring, limit - limit / 10);
        if (error)
            return error;
    }
    make_name(ring, model, time_ns, stem, sizeof(stem));
    snprintf(name, sizeof(name), "%s" SUFFIX, stem);
    snprintf(temporary, sizeof(temporary), ".%s" TEMPORARY, stem);
    int fd = openat(ring->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int error = file_write_all(fd, data, bytes);
    if (close(fd) != 0 && !error)
        error = errno;
    if (!error && renameat(ring->folder, temporary, ring->folder, name) != 0)
        error = errno;
    if (error)
        unlinkat(ring->folder, temporary, 0);
    else
        ring->bytes += bytes;
    return error;
}
