#include "agent/cli/heads.h"

#include "agent/picture/file.h"
#include "agent/results/heads.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES       ((size_t)1 << 20)
#define MAX_PARSE_BYTES ((size_t)64 << 20)

/* The description without its spaces goes into the file. */
static int store(const char *text, size_t bytes, struct lego_package *package)
{
    json_t *root = json_loadb(text, bytes, 0, NULL);
    char *compact = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    int status =
        compact ? lego_package_set_metadata(package, HEADS_METADATA_KEY, compact) : LEGO_E_NOMEM;
    free(compact);
    return status;
}

int heads_load(const char *path, struct lego_package *package, struct lego_diag *diag)
{
    struct lego_arena *arena = lego_arena_create(MAX_PARSE_BYTES);
    struct heads heads;
    uint8_t *text = NULL;
    size_t bytes = 0;
    int status = arena ? picture_read_file(path, MAX_BYTES, &text, &bytes, diag) : LEGO_E_NOMEM;
    if (status == LEGO_OK)
        status = heads_parse((const char *)text, bytes, path, arena, &heads, diag);
    if (status == LEGO_OK)
        status = heads_check(&heads, package->graph, path, diag);
    if (status == LEGO_OK) {
        status = store((const char *)text, bytes, package);
        if (status != LEGO_OK)
            lego_fail(diag, status, "%s: %s", path, lego_status_text(status));
    }
    lego_arena_destroy(arena);
    free(text);
    return status;
}

int heads_load_beside(const char *model, struct lego_package *package, struct lego_diag *diag)
{
    char *path = picture_file_beside(model, ".postprocess.json");
    if (!path)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", model);
    int status = access(path, F_OK) == 0 ? heads_load(path, package, diag) : LEGO_OK;
    free(path);
    return status;
}
