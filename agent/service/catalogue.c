#include "agent/service/catalogue.h"

#include "agent/service/log.h"
#include "agent/service/queue.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CATALOGUE_MAX_FOLDERS 512
#define DEFAULT_TRIAL         3 /* as in config.def */

struct scan {
    const struct config *config;
    const char *only; /* NULL: every name */
    struct catalogue *catalogue;
    size_t configured; /* the first so many specs come from the configuration */
    struct lego_diag *diag;
};

void catalogue_clear(struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->count; i++)
        model_spec_clear(&catalogue->specs[i]);
    for (size_t i = 0; i < catalogue->folder_count; i++)
        free(catalogue->folders[i]);
    free(catalogue->specs);
    free(catalogue->folders);
    *catalogue = (struct catalogue){0};
}

static int out_of_memory(const struct scan *scan)
{
    return lego_fail(scan->diag, LEGO_E_NOMEM, "no memory to list the models");
}

/* Makes room for one more element of `bytes`. */
static bool grow(void *array, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    void *larger = realloc(*(void **)array, wanted * bytes);
    if (!larger)
        return false;
    *(void **)array = larger;
    *capacity = wanted;
    return true;
}

/* Remembers a folder, once. Past the bound a folder is not watched: SIGHUP still takes it up. */
static int add_folder(struct scan *scan, const char *path, size_t length)
{
    struct catalogue *catalogue = scan->catalogue;
    for (size_t i = 0; i < catalogue->folder_count; i++)
        if (strlen(catalogue->folders[i]) == length && !memcmp(catalogue->folders[i], path, length))
            return LEGO_OK;
    if (catalogue->folder_count >= CATALOGUE_MAX_FOLDERS)
        return LEGO_OK;
    if (!grow(&catalogue->folders, catalogue->folder_count, &catalogue->folder_capacity,
              sizeof(char *)))
        return out_of_memory(scan);
    char *copy = strndup(path, length);
    if (!copy)
        return out_of_memory(scan);
    catalogue->folders[catalogue->folder_count++] = copy;
    return LEGO_OK;
}

static int add_spec(struct scan *scan, const struct model_spec *spec, bool configured)
{
    struct catalogue *catalogue = scan->catalogue;
    for (size_t i = 0; i < catalogue->count; i++) {
        const struct model_spec *other = &catalogue->specs[i];
        if (other->version != spec->version || strcmp(other->name, spec->name))
            continue;
        if (!configured && i < scan->configured)
            return LEGO_OK; /* the configuration's hides the folder's */
        return lego_fail(scan->diag, LEGO_E_CONFIG,
                         "%s and %s are both model \"%s\" version %" PRIu64, other->path,
                         spec->path, spec->name, spec->version);
    }
    if (catalogue->count >= scan->config->max_models)
        return lego_fail(scan->diag, LEGO_E_LIMIT,
                         "there are more than %" PRIu64
                         " models: remove some or raise limits.models",
                         scan->config->max_models);
    struct model_spec whole = *spec;
    whole.signature_policy = (enum signature_policy)scan->config->signature_policy;
    whole.signature_keys = scan->config->signature_keys;
    if (whole.engines == 0)
        whole.engines = scan->config->engine_shared;
    if (whole.idle_ms == 0)
        whole.idle_ms = scan->config->memory_idle_ms;
    if (!grow(&catalogue->specs, catalogue->count, &catalogue->capacity, sizeof(*spec)) ||
        model_spec_copy(&catalogue->specs[catalogue->count], &whole) != LEGO_OK)
        return out_of_memory(scan);
    catalogue->count++;
    return LEGO_OK;
}

static int add_configured(struct scan *scan)
{
    for (size_t i = 0; i < scan->config->model_count; i++) {
        const struct config_model *entry = &scan->config->models[i];
        if (scan->only && strcmp(scan->only, entry->name))
            continue;
        struct model_spec spec = {
            .name = entry->name,
            .version = entry->version,
            .path = entry->path,
            .warm_up = entry->warm_up,
            .resident = (enum lego_resident)entry->resident,
            .verify = (enum lego_verify)entry->verify,
            .compute = (enum lego_compute)entry->compute,
            .queue = {.length = entry->queue,
                      .priority = entry->priority,
                      .timeout_ms = entry->timeout_ms},
            .batch = {.rows = entry->batch, .delay_ms = entry->batch_delay_ms},
            .canary_percent = entry->canary_percent,
            .previous = entry->previous,
            .trial = entry->trial,
            .engines = entry->engines,
            .threads = entry->threads,
            .idle_ms = entry->idle_ms,
            .pinned = entry->pinned};
        const char *slash = strrchr(entry->path, '/');
        int status = add_spec(scan, &spec, true);
        if (status == LEGO_OK && slash)
            status = add_folder(scan, entry->path,
                                slash == entry->path ? 1 : (size_t)(slash - entry->path));
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static int add_found(struct scan *scan, const char *name, uint64_t version, const char *path)
{
    char name_copy[160], path_copy[PATH_MAX];
    snprintf(name_copy, sizeof(name_copy), "%s", name);
    snprintf(path_copy, sizeof(path_copy), "%s", path);
    const struct model_spec spec = {.name = name_copy,
                                    .version = version,
                                    .path = path_copy,
                                    .warm_up = 1,
                                    .verify = LEGO_VERIFY_CHECKSUMS,
                                    .queue = {.priority = QUEUE_PRIORITY_DEFAULT},
                                    .batch = {.rows = 1},
                                    .previous = 1,
                                    .trial = DEFAULT_TRIAL};
    return add_spec(scan, &spec, false);
}

/* "17" -> 17; 0 where it is no version. */
static uint64_t version_of(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long version = strtoull(text, &end, 10);
    return errno || *end || text[0] < '1' || text[0] > '9' || version > UINT32_MAX ? 0 : version;
}

typedef int visit_fn(struct scan *scan, const char *name, const char *path,
                     const struct stat *info);

/* Visits the entries of a folder in order of their names. */
static int visit_folder(struct scan *scan, const char *folder, const char *name, visit_fn *visit)
{
    int status = add_folder(scan, folder, strlen(folder));
    if (status != LEGO_OK)
        return status;
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            log_debug("%s: no such folder", folder);
            return LEGO_OK;
        }
        return lego_fail_errno(scan->diag, errno, "%s: cannot list the folder", folder);
    }
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct stat info;
        int bytes = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (status == LEGO_OK && entries[i]->d_name[0] != '.' && bytes < (int)sizeof(path) &&
            stat(path, &info) == 0)
            status = visit(scan, name ? name : entries[i]->d_name, path, &info);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static int visit_version(struct scan *scan, const char *name, const char *path,
                         const struct stat *info)
{
    uint64_t version = version_of(strrchr(path, '/') + 1);
    if (!S_ISDIR(info->st_mode) || version == 0)
        return LEGO_OK;
    int status = add_folder(scan, path, strlen(path));
    char file[PATH_MAX];
    struct stat file_info;
    if (status != LEGO_OK ||
        snprintf(file, sizeof(file), "%s/model.lego", path) >= (int)sizeof(file) ||
        stat(file, &file_info) != 0)
        return status;
    return add_found(scan, name, version, file);
}

static int visit_top(struct scan *scan, const char *name, const char *path, const struct stat *info)
{
    static const char suffix[] = ".lego";
    size_t length = strlen(name);
    if (S_ISDIR(info->st_mode)) {
        if (!config_name_is_valid(name) || (scan->only && strcmp(scan->only, name)))
            return LEGO_OK;
        return visit_folder(scan, path, name, visit_version);
    }
    if (!S_ISREG(info->st_mode) || length < sizeof(suffix) ||
        strcmp(name + length - strlen(suffix), suffix))
        return LEGO_OK;
    char stem[NAME_MAX + 1];
    snprintf(stem, sizeof(stem), "%.*s", (int)(length - strlen(suffix)), name);
    if (!config_name_is_valid(stem)) {
        log_warning("%s: not served, as \"%s\" is no name for a model", path, stem);
        return LEGO_OK;
    }
    return scan->only && strcmp(scan->only, stem) ? LEGO_OK : add_found(scan, stem, 1, path);
}

int catalogue_list(const struct config *config, const char *name, struct catalogue *ret_catalogue,
                   struct lego_diag *diag)
{
    struct catalogue catalogue = {0};
    struct scan scan = {.config = config, .only = name, .catalogue = &catalogue, .diag = diag};
    int status = add_configured(&scan);
    scan.configured = catalogue.count;
    if (status == LEGO_OK && config->model_directory[0])
        status = visit_folder(&scan, config->model_directory, NULL, visit_top);
    if (status != LEGO_OK) {
        catalogue_clear(&catalogue);
        return status;
    }
    *ret_catalogue = catalogue;
    return LEGO_OK;
}
