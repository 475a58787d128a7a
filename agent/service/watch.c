#include "agent/service/watch.h"

#include "agent/service/config.h"
#include "agent/service/log.h"

#include <stdlib.h>
#include <string.h>

struct folder {
    struct folder *next;
    uv_fs_event_t event;
    struct watch *watch;
    char *only;         /* the one name that matters; NULL: all */
    bool configuration; /* it holds the configuration or drop-ins, not models */
};

struct watch {
    uv_loop_t *loop;
    uv_timer_t quiet;
    struct folder *folders;
    uint64_t delay_ms;
    bool configuration; /* what has changed since the last call */
    void (*changed)(void *context, bool configuration);
    void *context;
};

static void on_quiet(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    bool configuration = watch->configuration;
    watch->configuration = false;
    watch->changed(watch->context, configuration);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int error)
{
    struct folder *folder = event->data;
    struct watch *watch = folder->watch;
    (void)events;
    if (error < 0 || (folder->only && (!name || strcmp(name, folder->only))))
        return;
    watch->configuration |= folder->configuration;
    uv_timer_start(&watch->quiet, on_quiet, watch->delay_ms, 0);
}

static void on_folder_closed(uv_handle_t *handle)
{
    struct folder *folder = handle->data;
    free(folder->only);
    free(folder);
}

static void clear(struct watch *watch)
{
    while (watch->folders) {
        struct folder *folder = watch->folders;
        watch->folders = folder->next;
        uv_close((uv_handle_t *)&folder->event, on_folder_closed);
    }
}

static void add(struct watch *watch, const char *path, const char *only, bool configuration)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    char *copy = only ? strdup(only) : NULL;
    if (!folder || (only && !copy) || uv_fs_event_init(watch->loop, &folder->event) < 0) {
        free(folder);
        free(copy);
        log_warning("%s: cannot be watched: no memory", path);
        return;
    }
    folder->event.data = folder;
    folder->watch = watch;
    folder->only = copy;
    folder->configuration = configuration;
    folder->next = watch->folders;
    watch->folders = folder;
    int error = uv_fs_event_start(&folder->event, on_event, path, 0);
    if (error < 0)
        log_debug("%s: cannot be watched: %s", path, uv_strerror(error));
}

struct watch *watch_create(uv_loop_t *loop, void (*changed)(void *context, bool configuration),
                           void *context)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->loop = loop;
    watch->changed = changed;
    watch->context = context;
    uv_timer_init(loop, &watch->quiet);
    watch->quiet.data = watch;
    return watch;
}

/* The folder of the configuration, for its file alone, and that of its drop-ins. */
static void add_configuration(struct watch *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    char *drop_ins = NULL;
    if (folder)
        add(watch, folder, slash ? slash + 1 : path, true);
    if (config_drop_ins(path, &drop_ins) == LEGO_OK)
        add(watch, drop_ins, NULL, true);
    free(folder);
    free(drop_ins);
}

void watch_set(struct watch *watch, const char *config_path, char *const *folders, size_t count,
               uint64_t delay_ms)
{
    clear(watch);
    watch->delay_ms = delay_ms;
    if (config_path)
        add_configuration(watch, config_path);
    for (size_t i = 0; i < count; i++)
        add(watch, folders[i], NULL, false);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void watch_destroy(struct watch *watch)
{
    clear(watch);
    uv_timer_stop(&watch->quiet);
    uv_close((uv_handle_t *)&watch->quiet, on_timer_closed);
}
