#include "agent/cli/labels.h"

#include "agent/picture/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABELS_MAX_BYTES ((size_t)16 << 20)
#define LABELS_MAX_LINES 1000000u

static size_t trim_end(const char *text, size_t bytes)
{
    while (bytes > 0 && strchr("\r\n \t", text[bytes - 1]))
        bytes--;
    return bytes;
}

static uint32_t count_lines(const char *text, size_t bytes)
{
    uint32_t lines = 1;

    for (size_t i = 0; i < bytes && lines <= LABELS_MAX_LINES; i++)
        lines += text[i] == '\n';
    return lines;
}

static int split(const char *path, const char *text, size_t bytes, struct lego_package *package,
                 struct lego_diag *diag)
{
    struct lego_arena *arena = package->graph->arena;
    const uint32_t count = count_lines(text, bytes);
    const char *at = text, *end = text + bytes;

    if (bytes == 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: there is no label in it", path);
    if (memchr(text, '\0', bytes))
        return lego_fail(diag, LEGO_E_FORMAT, "%s: a NUL byte in the labels", path);
    if (count > LABELS_MAX_LINES)
        return lego_fail(diag, LEGO_E_LIMIT, "%s: over %u labels", path, LABELS_MAX_LINES);
    const char **labels = lego_arena_calloc(arena, count, sizeof(*labels));
    if (!labels)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory for %u labels", path, count);
    for (uint32_t i = 0; i < count; i++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));

        if (!line_end)
            line_end = end;
        size_t length = (size_t)(line_end - at);
        if (length > 0 && at[length - 1] == '\r')
            length--;
        labels[i] = lego_arena_strndup(arena, at, length);
        if (!labels[i])
            return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory for %u labels", path, count);
        at = line_end < end ? line_end + 1 : end;
    }
    package->labels = labels;
    package->label_count = count;
    return LEGO_OK;
}

int labels_load(const char *path, struct lego_package *package, struct lego_diag *diag)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    int status = picture_read_file(path, LABELS_MAX_BYTES, &data, &bytes, diag);
    if (status != LEGO_OK)
        return status;
    const char *text = (const char *)data;
    status = split(path, text, trim_end(text, bytes), package, diag);
    free(data);
    return status;
}

/* Loads a file that may be missing; sets *ret_found. The path is freed. */
static int load_optional(char *path, struct lego_package *package, bool *ret_found,
                         struct lego_diag *diag)
{
    *ret_found = path && access(path, F_OK) == 0;
    int status = path ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (*ret_found)
        status = labels_load(path, package, diag);
    free(path);
    return status;
}

int labels_load_beside(const char *model, struct lego_package *package, struct lego_diag *diag)
{
    const char *slash = strrchr(model, '/');
    const int folder = slash ? (int)(slash + 1 - model) : 0;
    char *path = NULL;
    bool found = false;
    int status = load_optional(picture_file_beside(model, ".labels.txt"), package, &found, diag);
    if (status != LEGO_OK || found)
        return status;
    if (asprintf(&path, "%.*slabels.txt", folder, model) < 0)
        path = NULL;
    return load_optional(path, package, &found, diag);
}
