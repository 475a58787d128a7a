#include "agent/cli/source.h"

#include "agent/cli/tensor_file.h"
#include "agent/picture/stream.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define Y4M_MAGIC "YUV4MPEG2 "
#define MAX_NAMES 1000000

struct source {
    const struct cli_list *paths;
    size_t next_path;
    struct dirent **names; /* of the folder that is read */
    int name_count, next_name;
    const char *folder;
    struct picture_stream *stream;
    uint64_t number;
    struct lego_picture picture; /* of the last item */
    char path[PATH_MAX];
    int inotify_fd; /* -1: nothing is watched */
    int *watches;   /* one for each of `paths` */
    _Alignas(struct inotify_event) char events[sizeof(struct inotify_event) + NAME_MAX + 1];
    size_t event_bytes, event_at;
};

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool begins_as_y4m(const char *path)
{
    char start[sizeof(Y4M_MAGIC)] = "";
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    size_t bytes = fread(start, 1, sizeof(start) - 1, file);
    fclose(file);
    return bytes == sizeof(start) - 1 && memcmp(start, Y4M_MAGIC, bytes) == 0;
}

static bool is_stream(const char *path)
{
    const char *end = strrchr(path, '.');
    return strcmp(path, "-") == 0 || begins_as_y4m(path) ||
           (end && (!strcmp(end, ".mjpeg") || !strcmp(end, ".mjpg")) && cli_is_picture(path));
}

bool source_is_picture(const char *path)
{
    return !is_folder(path) && !is_stream(path) && cli_is_picture(path);
}

bool source_takes(const char *path)
{
    return is_folder(path) || is_stream(path) || cli_is_picture(path);
}

/* Watches before anything is listed, so that no picture is missed between. */
static int watch_folders(struct source *source, struct lego_diag *diag)
{
    source->inotify_fd = inotify_init1(IN_CLOEXEC);
    source->watches = calloc(source->paths->count, sizeof(*source->watches));
    if (source->inotify_fd < 0 || !source->watches)
        return lego_fail_errno(diag, errno, "watching folders");
    for (size_t i = 0; i < source->paths->count; i++) {
        const char *path = source->paths->items[i];
        if (!is_folder(path))
            return lego_fail(diag, LEGO_E_INVALID, "%s is no folder: only folders are watched",
                             path);
        source->watches[i] =
            inotify_add_watch(source->inotify_fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR);
        if (source->watches[i] < 0)
            return lego_fail_errno(diag, errno, "%s", path);
    }
    return LEGO_OK;
}

int source_open(const struct cli_list *paths, bool watch, struct source **ret_source,
                struct lego_diag *diag)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    source->paths = paths;
    source->inotify_fd = -1;
    int status = watch ? watch_folders(source, diag) : LEGO_OK;
    if (status != LEGO_OK)
        source_close(source);
    else
        *ret_source = source;
    return status;
}

static void close_folder(struct source *source)
{
    for (int i = 0; i < source->name_count; i++)
        free(source->names[i]);
    free(source->names);
    source->names = NULL;
    source->name_count = source->next_name = 0;
}

void source_close(struct source *source)
{
    if (!source)
        return;
    close_folder(source);
    picture_stream_close(source->stream);
    picture_clear(&source->picture);
    if (source->inotify_fd >= 0)
        close(source->inotify_fd);
    free(source->watches);
    free(source);
}

static int give_picture(struct source *source, struct source_item *ret_item, struct lego_diag *diag)
{
    *ret_item = (struct source_item){.path = source->path};
    int status = picture_load(source->path, &source->picture, diag);
    if (status == LEGO_OK)
        ret_item->picture = source->picture;
    return status;
}

static int begin_folder(struct source *source, const char *path, struct lego_diag *diag)
{
    close_folder(source);
    int count = scandir(path, &source->names, NULL, alphasort);
    if (count < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    source->folder = path;
    source->name_count = count;
    return count <= MAX_NAMES
               ? LEGO_OK
               : lego_fail(diag, LEGO_E_LIMIT, "%s has over %d files", path, MAX_NAMES);
}

/* Makes `path`; false where the name is that of no picture: hidden, a folder, another file. */
static bool join(struct source *source, const char *folder, const char *name)
{
    int length = snprintf(source->path, sizeof(source->path), "%s/%s", folder, name);
    return name[0] != '.' && length > 0 && (size_t)length < sizeof(source->path) &&
           source_is_picture(source->path);
}

/* The path of the next picture in the folder that is read; false at its end. */
static bool next_in_folder(struct source *source)
{
    while (source->next_name < source->name_count) {
        if (join(source, source->folder, source->names[source->next_name++]->d_name))
            return true;
    }
    return false;
}

/* Waits for the next picture that comes to a folder. */
static int next_event(struct source *source, struct lego_diag *diag)
{
    for (;;) {
        if (source->event_at == source->event_bytes) {
            ssize_t bytes = read(source->inotify_fd, source->events, sizeof(source->events));
            if (bytes < 0 && errno == EINTR)
                continue;
            if (bytes <= 0)
                return lego_fail_errno(diag, errno, "watching folders");
            source->event_bytes = (size_t)bytes;
            source->event_at = 0;
        }
        const struct inotify_event *event =
            (const struct inotify_event *)(source->events + source->event_at);
        source->event_at += sizeof(*event) + event->len;
        for (size_t i = 0; event->len && i < source->paths->count; i++) {
            if (source->watches[i] == event->wd &&
                join(source, source->paths->items[i], event->name))
                return LEGO_OK;
        }
    }
}

static int next_frame(struct source *source, struct source_item *ret_item, bool *ret_end,
                      struct lego_diag *diag)
{
    *ret_item = (struct source_item){.path = source->path, .number = ++source->number};
    int status = picture_stream_next(source->stream, &ret_item->frame, ret_end, diag);
    if (status != LEGO_OK || *ret_end) {
        picture_stream_close(source->stream);
        source->stream = NULL;
    }
    return status;
}

int source_next(struct source *source, struct source_item *ret_item, bool *ret_end,
                struct lego_diag *diag)
{
    *ret_end = false;
    picture_clear(&source->picture);
    for (;;) {
        int status = LEGO_OK;
        if (source->stream) {
            status = next_frame(source, ret_item, ret_end, diag);
            if (status != LEGO_OK || !*ret_end)
                return status;
            *ret_end = false;
            continue;
        }
        if (next_in_folder(source))
            return give_picture(source, ret_item, diag);
        if (source->next_path == source->paths->count) {
            *ret_end = source->inotify_fd < 0;
            if (*ret_end)
                return LEGO_OK;
            status = next_event(source, diag);
            return status == LEGO_OK ? give_picture(source, ret_item, diag) : status;
        }
        const char *path = source->paths->items[source->next_path++];
        *ret_item = (struct source_item){.path = path};
        snprintf(source->path, sizeof(source->path), "%s", path);
        source->number = 0;
        if (is_folder(path))
            status = begin_folder(source, path, diag);
        else if (is_stream(path))
            status = picture_stream_open(path, &source->stream, diag);
        else
            return give_picture(source, ret_item, diag);
        if (status != LEGO_OK)
            return status;
    }
}
