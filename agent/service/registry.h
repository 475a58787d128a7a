/*
 * What the agent serves now. The loop thread alone touches it: a switch between two sets of models
 * is one assignment, and a request that has found its model keeps it by a reference.
 */
#ifndef LEGO_SERVICE_REGISTRY_H
#define LEGO_SERVICE_REGISTRY_H

#include "agent/service/loader.h"
#include "agent/service/model.h"

struct registry {
    struct loader *loader; /* destroys what is let go */
    struct model_set set;
    char *failure;            /* why the last reload failed, NULL: it did not */
    struct model_spec failed; /* the model it failed at; name NULL: none */
    bool loading;
};

/*
 * The model that serves a request. `version` "" and "stable" is the highest one that serves, is no
 * canary and was not rolled back; "canary" the highest canary. The caller adds a reference to keep
 * it; one that sleeps is to be woken first. E_NOT_FOUND (no such model or version), E_UNAVAILABLE
 * (it is there but does not serve, with the reason), E_FAULT, E_INVALID (the version is no number).
 */
int registry_find(const struct registry *registry, const char *name, const char *version,
                  struct served_model **ret_model, struct lego_diag *diag);

/* The same for a request, of which a canary gets its share where no version is named. */
int registry_route(const struct registry *registry, const char *name, const char *version,
                   struct served_model **ret_model, struct lego_diag *diag);

/*
 * Goes back from a model: to what it has replaced, else requests without a version go to the next
 * lower one, or past the canary. `reason` says why, for the index. E_STATE: there is nothing to go
 * back to; else as registry_find. The second goes back from what serves requests without a version.
 */
int registry_rollback_model(struct registry *registry, struct served_model *model,
                            const char *reason, struct lego_diag *diag);
int registry_rollback(struct registry *registry, const char *name, const char *reason,
                      struct lego_diag *diag);

/* Puts `set` (taken over, left empty) in place of everything, and forgets the last failure. */
void registry_replace_all(struct registry *registry, struct model_set *set);

/* Puts the models of `set` (taken over, left empty) in place of those of `name`. E_NOMEM: nothing
 * has changed. */
int registry_replace_name(struct registry *registry, const char *name, struct model_set *set);

/* The models of that name stop serving but stay listed as unloaded. E_NOT_FOUND, E_NOMEM. */
int registry_unload(struct registry *registry, const char *name, struct lego_diag *diag);

/* Puts a model to sleep: it is still found, and destroyed when nobody computes with it any more.
 * E_NOMEM: it is awake. */
int registry_sleep(struct registry *registry, struct served_model *model, const char *reason);

/* Lets go of what is kept to go back to, but for models on trial. */
void registry_forget_previous(struct registry *registry);

/* Remembers why a load failed; `failed` is copied, its name NULL where no model is to blame. */
void registry_note_failure(struct registry *registry, const struct model_spec *failed,
                           const char *reason);

/* True where every model that is listed serves and none is being loaded for the first time. */
bool registry_is_ready(const struct registry *registry);

/* References to all models, for a load job. E_NOMEM. */
int registry_snapshot(const struct registry *registry, struct model_set *ret_set);

void registry_clear(struct registry *registry);

#endif
