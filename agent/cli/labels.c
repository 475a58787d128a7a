#include "agent/cli/labels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX_BYTES ((size_t)16 << 20)
#define LABELS_MAX_LINES 1000000u

static int read_text(const char *path, char **ret_text, size_t *ret_bytes, struct lego_diag *diag)
{
    FILE *file = fopen(path, "rbe");
    char *text = NULL;
    size_t bytes = 0;
    int status = LEGO_OK;

    if (!file)
        return lego_fail_errno(diag, errno, "%s", path);
    text = malloc(LABELS_MAX_BYTES + 1);
    if (!text) {
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    } else {
        bytes = fread(text, 1, LABELS_MAX_BYTES + 1, file);
        if (ferror(file))
            status = lego_fail_errno(diag, errno, "%s", path);
        else if (bytes > LABELS_MAX_BYTES)
            status = lego_fail(diag, LEGO_E_LIMIT, "%s: labels of over %zu bytes", path,
                               LABELS_MAX_BYTES);
    }
    fclose(file);
    if (status != LEGO_OK) {
        free(text);
        return status;
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return LEGO_OK;
}

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
    char *text = NULL;
    size_t bytes = 0;
    int status = read_text(path, &text, &bytes, diag);

    if (status != LEGO_OK)
        return status;
    status = split(path, text, trim_end(text, bytes), package, diag);
    free(text);
    return status;
}

/* Loads a file that may be missing; sets *ret_found. */
static int load_optional(char *path, struct lego_package *package, bool *ret_found,
                         struct lego_diag *diag)
{
    struct lego_diag found = LEGO_DIAG_INIT;
    const int status = labels_load(path, package, &found);

    *ret_found = status != LEGO_E_NOT_FOUND;
    if (status == LEGO_OK || status == LEGO_E_NOT_FOUND)
        return LEGO_OK;
    return lego_fail(diag, status, "%s", lego_diag_text(&found, status));
}

int labels_load_beside(const char *model, struct lego_package *package, struct lego_diag *diag)
{
    const char *slash = strrchr(model, '/');
    const char *name = slash ? slash + 1 : model;
    const char *dot = strrchr(name, '.');
    const int stem = (int)((dot && dot != name ? dot : model + strlen(model)) - model);
    char *path = NULL;
    bool found = false;
    int status = LEGO_E_NOMEM;

    if (asprintf(&path, "%.*s.labels.txt", stem, model) >= 0) {
        status = load_optional(path, package, &found, diag);
        free(path);
    }
    if (status != LEGO_OK || found)
        return status;
    if (asprintf(&path, "%.*slabels.txt", (int)(name - model), model) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", model);
    status = load_optional(path, package, &found, diag);
    free(path);
    return status;
}
