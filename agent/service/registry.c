#include "agent/service/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse_version(const char *text, uint64_t *ret_version, struct lego_diag *diag)
{
    char *end;
    errno = 0;
    unsigned long long version = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9')
        return lego_fail(diag, LEGO_E_INVALID, "the version \"%.32s\" is not a number", text);
    *ret_version = version;
    return LEGO_OK;
}

static int does_not_serve(const struct served_model *model, struct lego_diag *diag)
{
    const char *reason = model->reason ? model->reason : "it is not loaded";
    return lego_fail(diag, model->faulted ? LEGO_E_FAULT : LEGO_E_UNAVAILABLE,
                     "model \"%s\" version %s does not serve: %s", model->spec.name,
                     model->version_text, reason);
}

static int not_found(const struct registry *registry, const char *name, const char *version,
                     struct lego_diag *diag)
{
    if (registry->loading)
        return lego_fail(diag, LEGO_E_UNAVAILABLE, "the agent is still loading its models");
    bool known = false;
    for (size_t i = 0; i < registry->set.count; i++)
        known |= !strcmp(registry->set.items[i]->spec.name, name);
    if (known)
        return lego_fail(diag, LEGO_E_NOT_FOUND, "model \"%.128s\" has no version %.32s", name,
                         version);
    return lego_fail(diag, LEGO_E_NOT_FOUND, "there is no model \"%.128s\"", name);
}

int registry_find(const struct registry *registry, const char *name, const char *version,
                  struct served_model **ret_model, struct lego_diag *diag)
{
    uint64_t wanted = 0;
    bool any = !*version;
    int status = any ? LEGO_OK : parse_version(version, &wanted, diag);
    if (status != LEGO_OK)
        return status;
    struct served_model *best = NULL;
    for (size_t i = 0; i < registry->set.count; i++) {
        struct served_model *model = registry->set.items[i];
        if (strcmp(model->spec.name, name) || (!any && model->spec.version != wanted))
            continue;
        bool serves = model_serves(model), best_serves = best && model_serves(best);
        if (!best || (serves && !best_serves) ||
            (serves == best_serves && model->spec.version > best->spec.version))
            best = model;
    }
    if (!best)
        return not_found(registry, name, version, diag);
    if (!model_serves(best))
        return does_not_serve(best, diag);
    *ret_model = best;
    return LEGO_OK;
}

static void forget_failure(struct registry *registry)
{
    free(registry->failure);
    registry->failure = NULL;
    model_spec_clear(&registry->failed);
}

void registry_replace_all(struct registry *registry, struct model_set *set)
{
    struct model_set old = registry->set;
    registry->set = *set;
    *set = (struct model_set){0};
    registry->loading = false;
    forget_failure(registry);
    loader_release_set(registry->loader, &old);
}

int registry_replace_name(struct registry *registry, const char *name, struct model_set *set)
{
    struct model_set fresh = {0};
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < registry->set.count; i++)
        if (strcmp(registry->set.items[i]->spec.name, name))
            status = model_set_add_ref(&fresh, registry->set.items[i]);
    for (size_t i = 0; status == LEGO_OK && i < set->count; i++)
        status = model_set_add_ref(&fresh, set->items[i]);
    if (status != LEGO_OK) {
        loader_release_set(registry->loader, &fresh);
        return status;
    }
    if (registry->failed.name && !strcmp(registry->failed.name, name))
        forget_failure(registry);
    struct model_set old = registry->set;
    registry->set = fresh;
    loader_release_set(registry->loader, &old);
    loader_release_set(registry->loader, set);
    return LEGO_OK;
}

int registry_unload(struct registry *registry, const char *name, struct lego_diag *diag)
{
    struct model_set absent = {0};
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < registry->set.count; i++) {
        struct served_model *model;
        if (strcmp(registry->set.items[i]->spec.name, name))
            continue;
        status = model_create_absent(&registry->set.items[i]->spec, "unloaded by a client", &model);
        if (status == LEGO_OK) {
            model->unloaded = true;
            status = model_set_add(&absent, model);
            if (status != LEGO_OK)
                model_destroy(model);
        }
    }
    if (status == LEGO_OK && absent.count == 0)
        return lego_fail(diag, LEGO_E_NOT_FOUND, "there is no model \"%.128s\"", name);
    if (status == LEGO_OK)
        status = registry_replace_name(registry, name, &absent);
    if (status != LEGO_OK) {
        loader_release_set(registry->loader, &absent);
        return lego_fail(diag, status, "no memory to unload model \"%.128s\"", name);
    }
    return LEGO_OK;
}

void registry_note_failure(struct registry *registry, const struct model_spec *failed,
                           const char *reason)
{
    forget_failure(registry);
    registry->failure = strdup(reason);
    if (failed->name && model_spec_copy(&registry->failed, failed) != LEGO_OK)
        registry->failed = (struct model_spec){0};
}

bool registry_is_ready(const struct registry *registry)
{
    for (size_t i = 0; i < registry->set.count; i++) {
        const struct served_model *model = registry->set.items[i];
        if (!model_serves(model) && !model->unloaded)
            return false;
    }
    return !registry->loading;
}

int registry_snapshot(const struct registry *registry, struct model_set *ret_set)
{
    struct model_set set = {0};
    for (size_t i = 0; i < registry->set.count; i++) {
        int status = model_set_add_ref(&set, registry->set.items[i]);
        if (status != LEGO_OK) {
            loader_release_set(registry->loader, &set);
            return status;
        }
    }
    *ret_set = set;
    return LEGO_OK;
}

void registry_clear(struct registry *registry)
{
    forget_failure(registry);
    loader_release_set(registry->loader, &registry->set);
}
