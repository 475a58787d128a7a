#include "agent/service/registry.h"

#include <errno.h>
#include <stdio.h>
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

/* Which models of a name a request may mean. */
enum wanted { WANTED_STABLE, WANTED_CANARY, WANTED_VERSION };

/* Of two models of a name the better one for requests that name no version; `best` may be NULL. */
static bool is_better(const struct served_model *model, const struct served_model *best)
{
    if (!best)
        return true;
    const int rank = 2 * model_takes_requests(model) + !model->held;
    const int best_rank = 2 * model_takes_requests(best) + !best->held;
    return rank != best_rank ? rank > best_rank : model->spec.version > best->spec.version;
}

static struct served_model *best_of(const struct registry *registry, const char *name,
                                    enum wanted wanted, uint64_t version)
{
    struct served_model *best = NULL;
    for (size_t i = 0; i < registry->set.count; i++) {
        struct served_model *model = registry->set.items[i];
        bool canary = model->spec.canary_percent > 0;
        bool meant = wanted == WANTED_VERSION ? model->spec.version == version
                                              : canary == (wanted == WANTED_CANARY);
        if (meant && !strcmp(model->spec.name, name) && is_better(model, best))
            best = model;
    }
    return best;
}

int registry_find(const struct registry *registry, const char *name, const char *version,
                  struct served_model **ret_model, struct lego_diag *diag)
{
    uint64_t number = 0;
    enum wanted wanted = !*version || !strcmp(version, "stable") ? WANTED_STABLE
                         : !strcmp(version, "canary")            ? WANTED_CANARY
                                                                 : WANTED_VERSION;
    int status = wanted == WANTED_VERSION ? parse_version(version, &number, diag) : LEGO_OK;
    if (status != LEGO_OK)
        return status;
    struct served_model *best = best_of(registry, name, wanted, number);
    if (!best && !*version) /* canaries alone */
        best = best_of(registry, name, WANTED_CANARY, 0);
    if (!best)
        return not_found(registry, name, version, diag);
    if (!model_takes_requests(best))
        return does_not_serve(best, diag);
    *ret_model = best;
    return LEGO_OK;
}

int registry_route(const struct registry *registry, const char *name, const char *version,
                   struct served_model **ret_model, struct lego_diag *diag)
{
    struct served_model *canary = *version ? NULL : best_of(registry, name, WANTED_CANARY, 0);
    if (canary && model_takes_requests(canary) && !canary->held) {
        canary->canary_credit += (uint32_t)canary->spec.canary_percent;
        if (canary->canary_credit >= 100) {
            canary->canary_credit -= 100;
            *ret_model = canary;
            return LEGO_OK;
        }
    }
    return registry_find(registry, name, version, ret_model, diag);
}

/* "rolled back to version 1: why". */
static void set_reason(struct served_model *model, const char *what, const char *version,
                       const char *why)
{
    char *text = NULL;
    if (asprintf(&text, "rolled back %s %s: %s", what, version, why) < 0)
        text = NULL;
    free(model->reason);
    model->reason = text;
}

static struct served_model *lower_version(const struct registry *registry,
                                          const struct served_model *than)
{
    struct served_model *best = NULL;
    for (size_t i = 0; i < registry->set.count; i++) {
        struct served_model *model = registry->set.items[i];
        if (!strcmp(model->spec.name, than->spec.name) && model_takes_requests(model) &&
            !model->held && model->spec.version < than->spec.version &&
            model->spec.canary_percent == 0 && is_better(model, best))
            best = model;
    }
    return best;
}

/* Puts what `model` has replaced back in its place. */
static void restore_previous(struct registry *registry, struct served_model *model,
                             const char *reason)
{
    struct served_model *previous = model->previous;
    model->previous = NULL;
    previous->rejected = model->file;
    previous->trial_left = 0;
    set_reason(previous, "from a newer file of version", model->version_text, reason);
    for (size_t i = 0; i < registry->set.count; i++)
        if (registry->set.items[i] == model)
            registry->set.items[i] = previous;
    loader_release_model(registry->loader, model);
}

int registry_rollback_model(struct registry *registry, struct served_model *model,
                            const char *reason, struct lego_diag *diag)
{
    if (model->previous && model_serves(model->previous)) {
        restore_previous(registry, model, reason);
        return LEGO_OK;
    }
    bool canary = model->spec.canary_percent > 0;
    const struct served_model *other = canary
                                           ? best_of(registry, model->spec.name, WANTED_STABLE, 0)
                                           : lower_version(registry, model);
    if (!other || !model_takes_requests(other) || model->held)
        return lego_fail(diag, LEGO_E_STATE,
                         "model \"%s\" version %s has no previous version to go back to",
                         model->spec.name, model->version_text);
    model->held = true;
    model->trial_left = 0;
    set_reason(model, "to version", other->version_text, reason);
    return LEGO_OK;
}

int registry_rollback(struct registry *registry, const char *name, const char *reason,
                      struct lego_diag *diag)
{
    struct served_model *model = best_of(registry, name, WANTED_STABLE, 0);
    return model ? registry_rollback_model(registry, model, reason, diag)
                 : not_found(registry, name, "", diag);
}

/* What a new model replaces stays for a rollback, and the new one is on trial. `set` holds the new
 * models beside those that stay. */
static void succeed(struct registry *registry, const struct model_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        struct served_model *model = set->items[i];
        struct served_model *old =
            model_set_find(&registry->set, model->spec.name, model->spec.version);
        if (old == model || !model_serves(model) || registry->loading)
            continue;
        if (old && old->asleep && model_is_of_same_file(old, model)) {
            model->stats = old->stats; /* it has only slept */
            continue;
        }
        if (old && old->previous) {
            loader_release_model(registry->loader, old->previous);
            old->previous = NULL;
        }
        if (old && model_serves(old) && model->spec.previous > 0)
            model->previous = model_ref(old);
        if (model->previous || lower_version(registry, model))
            model->trial_left = (uint32_t)model->spec.trial;
    }
}

static void forget_failure(struct registry *registry)
{
    free(registry->failure);
    registry->failure = NULL;
    model_spec_clear(&registry->failed);
}

void registry_replace_all(struct registry *registry, struct model_set *set)
{
    succeed(registry, set);
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
    succeed(registry, set);
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

int registry_sleep(struct registry *registry, struct served_model *model, const char *reason)
{
    struct served_model *sleeper;
    int status = model_create_asleep(model, reason, &sleeper);
    for (size_t i = 0; status == LEGO_OK && i < registry->set.count; i++)
        if (registry->set.items[i] == model)
            registry->set.items[i] = sleeper;
    if (status == LEGO_OK)
        loader_release_model(registry->loader, model);
    return status;
}

void registry_forget_previous(struct registry *registry)
{
    for (size_t i = 0; i < registry->set.count; i++) {
        struct served_model *model = registry->set.items[i];
        if (!model->previous || model->trial_left > 0)
            continue;
        loader_release_model(registry->loader, model->previous);
        model->previous = NULL;
    }
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
        if (!model_takes_requests(model) && !model->unloaded)
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
