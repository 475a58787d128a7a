/* The table of keys, its defaults, and what is done with whole configurations. */
#include "agent/service/config.h"

#include <stdlib.h>
#include <string.h>

const struct config_key config_keys[] = {
#define CONFIG_SECTION(section, doc)
#define CONFIG_KEY(type, section, key, field, minimum, maximum, fallback, when, doc)      \
    {CONFIG_##type, section,       key, offsetof(struct config, field), minimum, maximum, \
     fallback,      CONFIG_##when, doc},
#define CONFIG_MODEL_KEY(...)
#define CONFIG_SOCKET_KEY(...)
#include "agent/service/config.def"
#undef CONFIG_KEY
#undef CONFIG_MODEL_KEY
#undef CONFIG_SOCKET_KEY
};
const size_t config_key_count = sizeof(config_keys) / sizeof(*config_keys);

static const struct config_key model_keys[] = {
#define CONFIG_KEY(...)
#define CONFIG_SOCKET_KEY(...)
#define CONFIG_MODEL_KEY(type, section, key, field, minimum, maximum, fallback, when, doc)      \
    {CONFIG_##type, section,       key, offsetof(struct config_model, field), minimum, maximum, \
     fallback,      CONFIG_##when, doc},
#include "agent/service/config.def"
#undef CONFIG_SECTION
#undef CONFIG_KEY
#undef CONFIG_MODEL_KEY
#undef CONFIG_SOCKET_KEY
};

static const struct config_key socket_keys[] = {
#define CONFIG_SECTION(section, doc)
#define CONFIG_KEY(...)
#define CONFIG_MODEL_KEY(...)
#define CONFIG_SOCKET_KEY(type, section, key, field, minimum, maximum, fallback, when, doc)      \
    {CONFIG_##type, section,       key, offsetof(struct config_socket, field), minimum, maximum, \
     fallback,      CONFIG_##when, doc},
#include "agent/service/config.def"
#undef CONFIG_SECTION
#undef CONFIG_KEY
#undef CONFIG_MODEL_KEY
#undef CONFIG_SOCKET_KEY
};

const struct config_list config_lists[CONFIG_LIST_COUNT] = {
    [CONFIG_MODELS] = {"models", model_keys, sizeof(model_keys) / sizeof(*model_keys),
                       sizeof(struct config_model), offsetof(struct config, models),
                       offsetof(struct config, model_count),
                       "Models beside those of model_directory."},
    [CONFIG_SOCKETS] = {"sockets", socket_keys, sizeof(socket_keys) / sizeof(*socket_keys),
                        sizeof(struct config_socket), offsetof(struct config, sockets),
                        offsetof(struct config, socket_count),
                        "Sockets beside `socket`, each with rules of its own, up to 8."},
};

void *config_list_items(const struct config *config, const struct config_list *list,
                        size_t *ret_count)
{
    const char *base = (const char *)config;
    *ret_count = *(const size_t *)(const void *)(base + list->count_offset);
    return *(void *const *)(const void *)(base + list->offset);
}

static const struct {
    const char *section, *doc;
} sections[] = {
#define CONFIG_SECTION(section, doc) {section, doc},
#define CONFIG_KEY(...)
#define CONFIG_MODEL_KEY(...)
#define CONFIG_SOCKET_KEY(...)
#include "agent/service/config.def"
#undef CONFIG_SECTION
#undef CONFIG_KEY
#undef CONFIG_MODEL_KEY
#undef CONFIG_SOCKET_KEY
};

const char *config_section_doc(const char *section)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++)
        if (!strcmp(sections[i].section, section))
            return sections[i].doc;
    return NULL;
}

int config_fill_defaults(void *object, const struct config_key *keys, size_t count,
                         struct lego_diag *diag)
{
    for (size_t i = 0; i < count; i++) {
        int status =
            keys[i].fallback ? config_value_set(object, &keys[i], keys[i].fallback, diag) : LEGO_OK;
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

int config_default(struct config **ret_config, struct lego_diag *diag)
{
    struct config *config = calloc(1, sizeof(*config));
    if (!config)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the configuration");
    int status = config_fill_defaults(config, config_keys, config_key_count, diag);
    if (status != LEGO_OK) {
        config_free(config);
        return status;
    }
    *ret_config = config;
    return LEGO_OK;
}

static bool holds_string(const struct config_key *key)
{
    return key->type == CONFIG_TEXT || key->type == CONFIG_PATH || key->type == CONFIG_NAME ||
           key->type == CONFIG_KEYS;
}

static void clear_strings(void *object, const struct config_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (holds_string(&keys[i])) {
            char **field = (char **)((char *)object + keys[i].offset);
            free(*field);
            *field = NULL;
        }
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t l = 0; l < CONFIG_LIST_COUNT; l++) {
        const struct config_list *list = &config_lists[l];
        size_t count;
        char *items = config_list_items(config, list, &count);
        for (size_t i = 0; i < count; i++)
            clear_strings(items + i * list->item_bytes, list->keys, list->key_count);
        free(items);
    }
    clear_strings(config, config_keys, config_key_count);
    free(config->source);
    free(config);
}

int config_set(struct config *config, const char *assignment, struct lego_diag *diag)
{
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return lego_fail(diag, LEGO_E_CONFIG, "--set %s: want KEY=VALUE, as in limits.batch=16",
                         assignment);
    size_t length = (size_t)(equals - assignment);
    for (size_t i = 0; i < config_key_count; i++) {
        char name[96];
        const struct config_key *key = &config_keys[i];
        snprintf(name, sizeof(name), "%s%s%s", key->section, *key->section ? "." : "", key->key);
        if (strlen(name) != length || memcmp(name, assignment, length) != 0)
            continue;
        int status = config_value_set(config, key, equals + 1, diag);
        return status == LEGO_OK ? status : lego_diag_prefix(diag, status, "--set %s", assignment);
    }
    return lego_fail(diag, LEGO_E_CONFIG,
                     "--set %s: there is no such key; --print-config lists them", assignment);
}

bool config_same_value(const void *a, const void *b, const struct config_key *key)
{
    const char *left = (const char *)a + key->offset, *right = (const char *)b + key->offset;
    if (!holds_string(key))
        return !memcmp(left, right, sizeof(uint64_t));
    return !strcmp(*(char *const *)(const void *)left, *(char *const *)(const void *)right);
}

static bool same_sockets(const struct config *a, const struct config *b)
{
    const struct config_list *list = &config_lists[CONFIG_SOCKETS];
    bool same = a->socket_count == b->socket_count;
    for (size_t i = 0; same && i < a->socket_count; i++)
        for (size_t k = 0; same && k < list->key_count; k++)
            same = config_same_value(&a->sockets[i], &b->sockets[i], &list->keys[k]);
    return same;
}

size_t config_restart_changes(const struct config *from, const struct config *to, char *buffer,
                              size_t bytes)
{
    size_t changes = 0, used = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->when != CONFIG_RESTART || config_same_value(from, to, key))
            continue;
        int n = snprintf(buffer + used, bytes - used, "%s%s%s%s", changes++ ? ", " : "",
                         key->section, *key->section ? "." : "", key->key);
        used = n < 0 || (size_t)n >= bytes - used ? bytes - 1 : used + (size_t)n;
    }
    if (!same_sockets(from, to))
        snprintf(buffer + used, bytes - used, "%ssockets", changes++ ? ", " : "");
    return changes;
}
