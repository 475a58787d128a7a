/* What there is to serve: the configuration's models and those that lie in the model directory. */
#ifndef LEGO_SERVICE_CATALOGUE_H
#define LEGO_SERVICE_CATALOGUE_H

#include "agent/service/config.h"
#include "agent/service/model.h"

struct catalogue {
    struct model_spec *specs;
    size_t count, capacity;
    /* Folders whose changes matter: the model directory, those in it, those of `models`. */
    char **folders;
    size_t folder_count, folder_capacity;
};

/*
 * Lists all models, or those of `name` where it is not NULL. In the directory NAME.lego is version
 * 1 and NAME/VERSION/model.lego any other; an entry of the configuration hides one of the same name
 * and version. A directory that does not exist is empty. Errors: E_LIMIT (limits.models), E_CONFIG
 * (two files are the same version), E_NOMEM, E_IO, E_PERMISSION.
 */
int catalogue_list(const struct config *config, const char *name, struct catalogue *ret_catalogue,
                   struct lego_diag *diag);
void catalogue_clear(struct catalogue *catalogue);

#endif
