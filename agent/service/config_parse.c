/* From YAML to a configuration: strict, every complaint with its file:line:column. */
#include "agent/service/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define CONFIG_MAX_BYTES ((size_t)1 << 20)

struct parser {
    const char *name;
    yaml_document_t *document;
    struct config *config;
    bool names_directory; /* this file sets model_directory */
    struct lego_diag *diag;
};

__attribute__((format(printf, 3, 4))) static int
fail_at(const struct parser *parser, const yaml_node_t *node, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return lego_fail(parser->diag, LEGO_E_CONFIG, "%s:%zu:%zu: %s", parser->name,
                     node->start_mark.line + 1, node->start_mark.column + 1, text);
}

static const char *kind_of(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a group of keys";
    default:
        return "nothing";
    }
}

/* The text of a scalar, NULL where the node is none or hides a NUL byte. */
static const char *scalar_text(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

/* Calls `entry` for each key of a mapping, after having checked that no key comes twice. */
typedef int entry_fn(struct parser *parser, void *context, const yaml_node_t *key_node,
                     const char *key, const yaml_node_t *value);

static int check_unique(const struct parser *parser, const yaml_node_t *mapping,
                        const yaml_node_pair_t *pair, const yaml_node_t *key_node, const char *key)
{
    for (const yaml_node_pair_t *other = mapping->data.mapping.pairs.start; other < pair; other++) {
        const yaml_node_t *other_node = yaml_document_get_node(parser->document, other->key);
        const char *text = scalar_text(other_node);
        if (text && !strcmp(text, key))
            return fail_at(parser, key_node, "\"%s\" is given twice; the first is in line %zu", key,
                           other_node->start_mark.line + 1);
    }
    return LEGO_OK;
}

static int walk_mapping(struct parser *parser, const yaml_node_t *mapping, const char *what,
                        entry_fn *entry, void *context)
{
    if (mapping->type != YAML_MAPPING_NODE)
        return fail_at(parser, mapping, "%s must be a group of keys, not %s", what,
                       kind_of(mapping));
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(parser->document, pair->key);
        const char *key = scalar_text(key_node);
        if (!key)
            return fail_at(parser, key_node, "a key must be a word, not %s", kind_of(key_node));
        int status = check_unique(parser, mapping, pair, key_node, key);
        if (status == LEGO_OK)
            status = entry(parser, context, key_node, key,
                           yaml_document_get_node(parser->document, pair->value));
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static const struct config_key *find_key(const struct config_key *keys, size_t count,
                                         const char *section, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(keys[i].section, section) && !strcmp(keys[i].key, name))
            return &keys[i];
    return NULL;
}

static int unknown_key(const struct parser *parser, const yaml_node_t *node, const char *name,
                       const char *place, const char *suggestion)
{
    return fail_at(parser, node, "unknown key \"%.64s\"%s%s%s%s%s%s", name, *place ? " in \"" : "",
                   place, *place ? "\"" : "", suggestion ? "; did you mean \"" : "",
                   suggestion ? suggestion : "", suggestion ? "\"?" : "");
}

static int set_value(struct parser *parser, void *object, const struct config_key *key,
                     const yaml_node_t *value)
{
    const char *text = scalar_text(value);
    if (!text)
        return fail_at(parser, value, "\"%s\" must be a single value, not %s", key->key,
                       value->type == YAML_SCALAR_NODE ? "text with a NUL byte" : kind_of(value));
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = config_value_set(object, key, text, &diag);
    if (status == LEGO_E_CONFIG)
        return fail_at(parser, value, "%s", diag.text);
    return status == LEGO_OK ? status : lego_fail(parser->diag, status, "%s", diag.text);
}

static int section_entry(struct parser *parser, void *context, const yaml_node_t *key_node,
                         const char *name, const yaml_node_t *value)
{
    const char *section = context;
    const struct config_key *key = find_key(config_keys, config_key_count, section, name);
    if (!key)
        return unknown_key(parser, key_node, name, section,
                           config_suggest(config_keys, config_key_count, section, name));
    return set_value(parser, parser->config, key, value);
}

/* An item of a list, being read. */
struct item {
    const struct config_list *list;
    void *object;
};

static int item_entry(struct parser *parser, void *context, const yaml_node_t *key_node,
                      const char *name, const yaml_node_t *value)
{
    const struct item *item = context;
    const struct config_list *list = item->list;
    const struct config_key *key = find_key(list->keys, list->key_count, "", name);
    if (!key)
        return unknown_key(parser, key_node, name, list->name,
                           config_suggest(list->keys, list->key_count, "", name));
    return set_value(parser, item->object, key, value);
}

/* Relative paths start at the folder of the configuration, wherever the agent was started. */
static int resolve_path(const struct parser *parser, char **path)
{
    const char *slash = strrchr(parser->name, '/');
    if ((*path)[0] == '/' || !slash)
        return LEGO_OK;
    char *joined;
    if (asprintf(&joined, "%.*s/%s", (int)(slash - parser->name), parser->name, *path) < 0)
        return lego_fail(parser->diag, LEGO_E_NOMEM, "no memory for the configuration");
    free(*path);
    *path = joined;
    return LEGO_OK;
}

static int check_required(struct parser *parser, const yaml_node_t *node, const struct item *item)
{
    for (size_t i = 0; i < item->list->key_count; i++) {
        const struct config_key *key = &item->list->keys[i];
        if (!key->fallback && !*(char **)((char *)item->object + key->offset))
            return fail_at(parser, node, "an entry of \"%s\" lacks \"%s\"", item->list->name,
                           key->key);
    }
    return LEGO_OK;
}

static int check_model(struct parser *parser, const yaml_node_t *node, struct config_model *model)
{
    for (size_t i = 0; i < parser->config->model_count; i++) {
        const struct config_model *other = &parser->config->models[i];
        if (other != model && !strcmp(other->name, model->name) && other->version == model->version)
            return fail_at(parser, node, "model \"%s\" version %llu is given twice", model->name,
                           (unsigned long long)model->version);
    }
    return resolve_path(parser, &model->path);
}

static int check_socket(struct parser *parser, const yaml_node_t *node,
                        struct config_socket *socket)
{
    if (parser->config->socket_count > CONFIG_MAX_SOCKETS)
        return fail_at(parser, node, "there are more than %d sockets", CONFIG_MAX_SOCKETS);
    int status = resolve_path(parser, &socket->path);
    for (size_t i = 0; status == LEGO_OK && i < parser->config->socket_count; i++) {
        const struct config_socket *other = &parser->config->sockets[i];
        if (other != socket && !strcmp(other->path, socket->path))
            return fail_at(parser, node, "socket %s is given twice", socket->path);
    }
    return status;
}

/* Makes room for `count` items more, all zero. */
static int grow_list(struct parser *parser, const struct config_list *list, size_t count)
{
    char *base = (char *)parser->config;
    size_t before;
    void *items = config_list_items(parser->config, list, &before);
    char *larger = realloc(items, (before + count) * list->item_bytes);
    if (!larger)
        return lego_fail(parser->diag, LEGO_E_NOMEM, "no memory for %zu %s", count, list->name);
    memset(larger + before * list->item_bytes, 0, count * list->item_bytes);
    *(void **)(void *)(base + list->offset) = larger;
    return LEGO_OK;
}

static int parse_item(struct parser *parser, const struct config_list *list,
                      const yaml_node_t *node)
{
    char what[64];
    size_t *count = (size_t *)(void *)((char *)parser->config + list->count_offset), before;
    char *items = config_list_items(parser->config, list, &before);
    struct item item = {.list = list, .object = items + before * list->item_bytes};
    snprintf(what, sizeof(what), "an entry of \"%s\"", list->name);
    ++*count;
    int status = config_fill_defaults(item.object, list->keys, list->key_count, parser->diag);
    if (status == LEGO_OK)
        status = walk_mapping(parser, node, what, item_entry, &item);
    if (status == LEGO_OK)
        status = check_required(parser, node, &item);
    if (status == LEGO_OK)
        status = list == &config_lists[CONFIG_MODELS] ? check_model(parser, node, item.object)
                                                      : check_socket(parser, node, item.object);
    return status;
}

static int parse_list(struct parser *parser, const struct config_list *list,
                      const yaml_node_t *node)
{
    if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0)
        return LEGO_OK; /* "models:" with nothing behind it */
    if (node->type != YAML_SEQUENCE_NODE)
        return fail_at(parser, node, "\"%s\" must be a list, not %s", list->name, kind_of(node));
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    int status = count > 0 ? grow_list(parser, list, count) : LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < count; i++)
        status = parse_item(
            parser, list,
            yaml_document_get_node(parser->document, node->data.sequence.items.start[i]));
    return status;
}

static int top_entry(struct parser *parser, void *context, const yaml_node_t *key_node,
                     const char *name, const yaml_node_t *value)
{
    (void)context;
    for (size_t i = 0; i < CONFIG_LIST_COUNT; i++)
        if (!strcmp(name, config_lists[i].name))
            return parse_list(parser, &config_lists[i], value);
    const struct config_key *key = find_key(config_keys, config_key_count, "", name);
    if (key && key->offset == offsetof(struct config, model_directory))
        parser->names_directory = scalar_text(value) && *scalar_text(value);
    if (key)
        return set_value(parser, parser->config, key, value);
    if (config_section_doc(name)) {
        char what[96];
        snprintf(what, sizeof(what), "\"%s\"", name);
        return walk_mapping(parser, value, what, section_entry, (void *)(uintptr_t)name);
    }
    const char *suggestion = config_suggest(config_keys, config_key_count, "", name);
    if (!suggestion && !strncmp(name, "model", 5))
        suggestion = "models";
    return unknown_key(parser, key_node, name, "", suggestion);
}

/* What only shows when all keys are known. */
static int check_whole(struct parser *parser, const yaml_node_t *root)
{
    struct config *config = parser->config;
    if (config->model_count > config->max_models)
        return fail_at(parser, root, "there are %zu models, \"limits.models\" allows %llu",
                       config->model_count, (unsigned long long)config->max_models);
    return parser->names_directory ? resolve_path(parser, &config->model_directory) : LEGO_OK;
}

static int parse_document(struct parser *parser)
{
    const yaml_node_t *root = yaml_document_get_root_node(parser->document);
    if (!root)
        return LEGO_OK; /* an empty file: all defaults */
    int status = walk_mapping(parser, root, "the configuration", top_entry, NULL);
    return status == LEGO_OK ? check_whole(parser, root) : status;
}

static int syntax_error(const char *name, const yaml_parser_t *yaml, struct lego_diag *diag)
{
    const char *problem = yaml->problem ? yaml->problem : "malformed YAML";
    if (yaml->error == YAML_MEMORY_ERROR)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory to read it", name);
    if (yaml->error == YAML_READER_ERROR)
        return lego_fail(diag, LEGO_E_CONFIG, "%s: byte %zu: %s", name, yaml->problem_offset + 1,
                         problem);
    return lego_fail(diag, LEGO_E_CONFIG, "%s:%zu:%zu: %s", name, yaml->problem_mark.line + 1,
                     yaml->problem_mark.column + 1, problem);
}

static int parse_stream(yaml_parser_t *yaml, struct parser *parser)
{
    yaml_document_t document, second;
    if (!yaml_parser_load(yaml, &document))
        return syntax_error(parser->name, yaml, parser->diag);
    parser->document = &document;
    int status = parse_document(parser);
    if (status == LEGO_OK && yaml_document_get_root_node(&document)) {
        if (!yaml_parser_load(yaml, &second)) {
            status = syntax_error(parser->name, yaml, parser->diag);
        } else {
            const yaml_node_t *root = yaml_document_get_root_node(&second);
            parser->document = &second;
            if (root)
                status = fail_at(parser, root, "a second YAML document begins; want only one");
            yaml_document_delete(&second);
        }
    }
    yaml_document_delete(&document);
    return status;
}

/* Reads a file over what `config` holds already. */
static int parse_over(struct config *config, const char *text, size_t bytes, const char *name,
                      struct lego_diag *diag)
{
    yaml_parser_t yaml;
    if (!yaml_parser_initialize(&yaml))
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to read %s", name);
    yaml_parser_set_input_string(&yaml, (const unsigned char *)text, bytes);
    struct parser parser = {.name = name, .config = config, .diag = diag};
    int status = parse_stream(&yaml, &parser);
    yaml_parser_delete(&yaml);
    return status;
}

int config_parse(const char *text, size_t bytes, const char *name, struct config **ret_config,
                 struct lego_diag *diag)
{
    struct config *config;
    int status = config_default(&config, diag);
    if (status != LEGO_OK)
        return status;
    config->source = strdup(name);
    status = config->source ? parse_over(config, text, bytes, name, diag)
                            : lego_fail(diag, LEGO_E_NOMEM, "no memory to read %s", name);
    if (status != LEGO_OK) {
        config_free(config);
        return status;
    }
    *ret_config = config;
    return LEGO_OK;
}

/* The whole file, malloc'ed. */
static int read_file(const char *path, char **ret_text, size_t *ret_bytes, struct lego_diag *diag)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return lego_fail_errno(diag, errno, "%s: cannot open the configuration", path);
    int status = LEGO_OK;
    char *text = malloc(CONFIG_MAX_BYTES + 1);
    size_t bytes = text ? fread(text, 1, CONFIG_MAX_BYTES + 1, file) : 0;
    if (!text)
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: no memory to read it", path);
    else if (ferror(file))
        status = lego_fail_errno(diag, errno, "%s: cannot read the configuration", path);
    else if (bytes > CONFIG_MAX_BYTES)
        status = lego_fail(diag, LEGO_E_LIMIT, "%s: over %zu bytes is no configuration", path,
                           CONFIG_MAX_BYTES);
    fclose(file);
    if (status != LEGO_OK) {
        free(text);
        return status;
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return LEGO_OK;
}

int config_drop_ins(const char *path, char **ret_folder)
{
    static const char suffix[] = ".yaml";
    size_t length = strlen(path);
    if (length > strlen(suffix) && !strcmp(path + length - strlen(suffix), suffix))
        length -= strlen(suffix);
    return asprintf(ret_folder, "%.*s.d", (int)length, path) < 0 ? LEGO_E_NOMEM : LEGO_OK;
}

static int is_yaml(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 && !strcmp(entry->d_name + length - 5, ".yaml");
}

static int read_drop_in(struct config *config, const char *folder, const char *name,
                        struct lego_diag *diag)
{
    char *path, *text;
    size_t bytes;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to read %s", name);
    int status = read_file(path, &text, &bytes, diag);
    if (status == LEGO_OK) {
        status = parse_over(config, text, bytes, path, diag);
        free(text);
    }
    free(path);
    return status;
}

int config_read_drop_ins(struct config *config, const char *path, struct lego_diag *diag)
{
    char *folder;
    struct dirent **entries;
    int status = config_drop_ins(path, &folder);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "no memory for the configuration");
    int count = scandir(folder, &entries, is_yaml, alphasort);
    if (count < 0 && errno != ENOENT && errno != ENOTDIR)
        status = lego_fail_errno(diag, errno, "%s: cannot list the folder", folder);
    for (int i = 0; i < count; i++) {
        if (status == LEGO_OK)
            status = read_drop_in(config, folder, entries[i]->d_name, diag);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    free(folder);
    return status;
}

int config_load(const char *path, struct config **ret_config, struct lego_diag *diag)
{
    char *text;
    size_t bytes;
    int status = read_file(path, &text, &bytes, diag);
    if (status != LEGO_OK)
        return status;
    struct config *config;
    status = config_parse(text, bytes, path, &config, diag);
    free(text);
    if (status == LEGO_OK) {
        status = config_read_drop_ins(config, path, diag);
        if (status != LEGO_OK)
            config_free(config);
    }
    if (status == LEGO_OK)
        *ret_config = config;
    return status;
}
