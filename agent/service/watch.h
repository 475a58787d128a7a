/*
 * Watches the configuration and the models' folders (inotify by libuv), and says once that
 * something has changed when all has been quiet for a while. The loop thread only.
 */
#ifndef LEGO_SERVICE_WATCH_H
#define LEGO_SERVICE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct watch;

/* `changed` is called with whether the configuration itself has changed. NULL: no memory. */
struct watch *watch_create(uv_loop_t *loop, void (*changed)(void *context, bool configuration),
                           void *context);

/*
 * Watches these folders from now on in place of those before; a folder that cannot be watched is
 * logged. `config_path` may be NULL.
 */
void watch_set(struct watch *watch, const char *config_path, char *const *folders, size_t count,
               uint64_t delay_ms);

/* Ends watching; the memory goes when the loop has closed the handles. */
void watch_destroy(struct watch *watch);

#endif
