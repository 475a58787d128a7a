/*
 * The agent's configuration: defaults, YAML, overrides, and their text forms. config.def is the
 * list of keys. A configuration is plain data: read by any thread, changed by nobody after parsing.
 */
#ifndef LEGO_SERVICE_CONFIG_H
#define LEGO_SERVICE_CONFIG_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* An entry of `models`. Strings are owned. */
struct config_model {
    char *name;
    char *path; /* as the agent opens it: relative ones are joined to the configuration's folder */
    uint64_t version;
    uint64_t warm_up;
    uint64_t resident; /* enum lego_resident */
    uint64_t verify;   /* enum lego_verify */
    uint64_t compute;  /* enum lego_compute */
    uint64_t queue, priority, timeout_ms;
    uint64_t batch, batch_delay_ms;
    uint64_t canary_percent, previous, trial;
    uint64_t idle_ms, pinned;
    uint64_t engines; /* bit e: engine e may compute it; 0: none is named */
    uint64_t threads;
};

/* An entry of `sockets`. Strings are owned. */
struct config_socket {
    char *path; /* as config_model.path */
    uint64_t mode;
    char *group;
    uint64_t role; /* enum peer_role */
    char *users, *groups;
};

struct config {
    char *source; /* the file it was read from, NULL for built-in defaults */
    char *socket_path, *socket_group, *model_directory;
    uint64_t socket_mode;
    uint64_t socket_role; /* enum peer_role */
    uint64_t engine_count, engine_threads, engine_stall_ms;
    uint64_t engine_shared; /* as config_model.engines */
    char *engine_cpus;
    uint64_t max_connections, max_frame_bytes, max_in_flight, max_output_bytes, client_stall_ms;
    uint64_t max_queue, max_model_queue, max_queue_bytes, max_batch, max_models, max_model_bytes;
    uint64_t loading_priority; /* enum background_priority */
    uint64_t max_regions, max_region_bytes;
    uint64_t drain_timeout_ms, watch_delay_ms;
    uint64_t memory_idle_ms, memory_stall_ms, memory_spare_ms;
    char *memory_pressure;
    char *access_users, *access_groups, *access_admin_users, *access_admin_groups;
    uint64_t quota_connections, quota_requests, quota_bytes, quota_descriptors;
    uint64_t signature_policy; /* enum signature_policy */
    char *signature_keys;
    char *metrics_textfile;
    uint64_t metrics_interval_ms;
    uint64_t log_level;  /* enum log_level */
    uint64_t log_format; /* enum log_format */
    char *capture_folder, *capture_models;
    uint64_t capture_quota_bytes, capture_share, capture_confidence, capture_rate;
    struct config_model *models;
    size_t model_count;
    struct config_socket *sockets;
    size_t socket_count;
};

#define CONFIG_MAX_SOCKETS 8 /* of `sockets` */

enum config_type {
    CONFIG_TEXT,
    CONFIG_PATH,
    CONFIG_NAME,
    CONFIG_COUNT,
    CONFIG_SIZE, /* bytes: "4096", "64KiB", "16MiB", "1GiB" */
    CONFIG_TIME, /* milliseconds: "500ms", "30s", "5min" */
    CONFIG_MODE, /* octal: "0660" */
    CONFIG_SET,  /* small numbers: bits of a uint64_t */
    CONFIG_LOG_LEVEL,
    CONFIG_LOG_FORMAT,
    CONFIG_RESIDENT,
    CONFIG_VERIFY,
    CONFIG_COMPUTE,
    CONFIG_SIGNATURES,
    CONFIG_PRIORITY,
    CONFIG_ROLE,
    CONFIG_KEYS, /* texts of public keys, as sign_public_list takes them */
};

/* What becomes of a model that is not signed by one of the keys. */
enum signature_policy { SIGNATURES_OFF, SIGNATURES_WARN, SIGNATURES_REQUIRE };

enum config_when {
    CONFIG_LIVE,    /* a reload takes it up */
    CONFIG_RESTART, /* fixed from the start on; a reload that changes it warns */
};

struct config_key {
    enum config_type type;
    const char *section, *key;
    size_t offset; /* of the field in struct config or struct config_model */
    uint64_t minimum, maximum;
    const char *fallback; /* NULL: required */
    enum config_when when;
    const char *doc;
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;

/* A list of mappings at the top level: `models`, `sockets`. */
struct config_list {
    const char *name;
    const struct config_key *keys;
    size_t key_count;
    size_t item_bytes, offset, count_offset; /* offsets: of the array and its count in the config */
    const char *doc;
};

enum { CONFIG_MODELS, CONFIG_SOCKETS, CONFIG_LIST_COUNT };
extern const struct config_list config_lists[CONFIG_LIST_COUNT];

/* The items of a configuration's list; *ret_count are there. */
void *config_list_items(const struct config *config, const struct config_list *list,
                        size_t *ret_count);

/* The doc of a section ("socket"), NULL where there is none of that name. */
const char *config_section_doc(const char *section);

/* The built-in defaults. LEGO_E_NOMEM. */
int config_default(struct config **ret_config, struct lego_diag *diag);

/*
 * Reads a YAML file over the defaults. Strict: LEGO_E_CONFIG with "file:line:column: " for bad
 * syntax, unknown keys (with a suggestion), duplicates, wrong types and values out of range;
 * LEGO_E_NOT_FOUND, E_PERMISSION, E_IO and E_LIMIT (1 MiB) for the file itself.
 */
int config_load(const char *path, struct config **ret_config, struct lego_diag *diag);

/*
 * The folder of a configuration's drop-ins: "legonetd.d" beside "legonetd.yaml". config_load reads
 * its
 * *.yaml in the order of their names over the file itself: a key there holds, models are added. The
 * caller frees the path. The second reads them over `config`, with errors as config_load.
 */
int config_drop_ins(const char *path, char **ret_folder);
int config_read_drop_ins(struct config *config, const char *path, struct lego_diag *diag);

/* The same from memory; `name` stands for the file in messages. */
int config_parse(const char *text, size_t bytes, const char *name, struct config **ret_config,
                 struct lego_diag *diag);

/* Applies "section.key=value", as given to --set. LEGO_E_CONFIG. */
int config_set(struct config *config, const char *assignment, struct lego_diag *diag);

void config_free(struct config *config); /* NULL is ignored */

/* The names of RESTART keys that differ, ", " between them, in `buffer`; returns their number. */
size_t config_restart_changes(const struct config *from, const struct config *to, char *buffer,
                              size_t bytes);

bool config_same_value(const void *a, const void *b, const struct config_key *key);

/* The text of a key's value, as it is written in YAML. */
void config_value_print(FILE *out, const void *object, const struct config_key *key);

/* A configuration as YAML: every key, or those that differ from the defaults. LEGO_E_NOMEM. */
int config_show(FILE *out, const struct config *config, bool only_changes, struct lego_diag *diag);

/* The shipped legonetd.yaml, REFERENCE.md and legonetd.yaml(5). */
void config_print_yaml(FILE *out);
void config_print_reference(FILE *out);
void config_print_manual(FILE *out);

/* Between the modules of the parser: config_value.c. Sets one key's field (of `object`) from its
 * text; the message names the key and the legal values, without a place. */
int config_value_set(void *object, const struct config_key *key, const char *text,
                     struct lego_diag *diag);
int config_fill_defaults(void *object, const struct config_key *keys, size_t count,
                         struct lego_diag *diag);
/* The nearest of `keys` in `section` to a misspelt name, NULL where none is near. */
const char *config_suggest(const struct config_key *keys, size_t count, const char *section,
                           const char *name);
const char *config_type_text(enum config_type type);
void config_range_print(FILE *out, const struct config_key *key);
bool config_name_is_valid(const char *name);

#endif
