/* The shipped YAML and the reference, from the table. */
#include "agent/service/config.h"

#include <string.h>

#define COLUMNS 100

/* Prints text as comment lines of at most COLUMNS bytes. */
static void print_comment(FILE *out, const char *indent, const char *text)
{
    size_t room = COLUMNS - strlen(indent) - 2;
    while (*text) {
        size_t length = strlen(text);
        if (length > room) {
            length = room;
            while (length > 1 && text[length] != ' ')
                length--;
        }
        fprintf(out, "%s# %.*s\n", indent, (int)length, text);
        text += length;
        while (*text == ' ')
            text++;
    }
}

static bool needs_quotes(const struct config_key *key)
{
    return key->type == CONFIG_MODE || key->fallback[0] == '\0';
}

static void print_key(FILE *out, const struct config_key *key)
{
    const char *indent = *key->section ? "  " : "";
    const char *quote = needs_quotes(key) ? "\"" : "";
    print_comment(out, indent, key->doc);
    fprintf(out, "%s%s: %s%s%s\n", indent, key->key, quote, key->fallback, quote);
}

/* What stands for a required value in the shipped file. */
static const char *example_of(const struct config_list *list, const struct config_key *key)
{
    if (key->fallback)
        return *key->fallback ? key->fallback : "\"\"";
    return !strcmp(key->key, "name")              ? "doors"
           : list == &config_lists[CONFIG_MODELS] ? "/srv/models/doors.lego"
                                                  : "/run/legonet/cameras.sock";
}

static void print_list(FILE *out, const struct config_list *list)
{
    char text[256];
    snprintf(text, sizeof(text), "%s Each has these keys (%s needed):", list->doc,
             list == &config_lists[CONFIG_MODELS] ? "name and path are" : "path is");
    fputc('\n', out);
    print_comment(out, "", text);
    fputs("#\n#   - ", out);
    for (size_t i = 0; i < list->key_count; i++)
        fprintf(out, "%s%s: %s\n", i ? "#     " : "", list->keys[i].key,
                example_of(list, &list->keys[i]));
    fprintf(out, "%s: []\n", list->name);
}

void config_print_yaml(FILE *out)
{
    print_comment(
        out, "",
        "Configuration of legonetd. Every key is here with its built-in default: what is "
        "left out is that. `legonetd --check-config` checks a file. SIGHUP and a change "
        "of this file reload it; REFERENCE.md says which keys want a restart. Files *.yaml in the "
        "folder legonetd.d beside this one are read over it in the order of their names: "
        "keys there hold, models are added.");
    const char *section = "";
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(section, key->section) || !*key->section)
            fputc('\n', out);
        if (*key->section && strcmp(section, key->section)) {
            print_comment(out, "", config_section_doc(key->section));
            fprintf(out, "%s:\n", key->section);
        }
        section = key->section;
        print_key(out, key);
    }
    for (size_t i = 0; i < CONFIG_LIST_COUNT; i++)
        print_list(out, &config_lists[i]);
}

static void show_keys(FILE *out, const struct config *config, const struct config *defaults)
{
    const char *section = "";
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (defaults && config_same_value(config, defaults, key))
            continue;
        if (*key->section && strcmp(section, key->section))
            fprintf(out, "%s:\n", key->section);
        section = key->section;
        fprintf(out, "%s%s: ", *key->section ? "  " : "", key->key);
        config_value_print(out, config, key);
        fputc('\n', out);
    }
}

static void show_list(FILE *out, const struct config *config, const struct config_list *list)
{
    size_t count;
    const char *items = config_list_items(config, list, &count);
    if (count > 0)
        fprintf(out, "%s:\n", list->name);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < list->key_count; k++) {
            fprintf(out, "%s%s: ", k ? "    " : "  - ", list->keys[k].key);
            config_value_print(out, items + i * list->item_bytes, &list->keys[k]);
            fputc('\n', out);
        }
}

int config_show(FILE *out, const struct config *config, bool only_changes, struct lego_diag *diag)
{
    struct config *defaults = NULL;
    int status = only_changes ? config_default(&defaults, diag) : LEGO_OK;
    if (status != LEGO_OK)
        return status;
    show_keys(out, config, defaults);
    config_free(defaults);
    for (size_t i = 0; i < CONFIG_LIST_COUNT; i++)
        show_list(out, config, &config_lists[i]);
    return LEGO_OK;
}

const char *config_type_text(enum config_type type)
{
    switch (type) {
    case CONFIG_TEXT:
        return "text";
    case CONFIG_PATH:
        return "path";
    case CONFIG_NAME:
        return "name";
    case CONFIG_COUNT:
        return "number";
    case CONFIG_SIZE:
        return "size (B, KiB, MiB, GiB)";
    case CONFIG_TIME:
        return "time (ms, s, min)";
    case CONFIG_MODE:
        return "octal mode";
    case CONFIG_SET:
        return "numbers";
    case CONFIG_LOG_LEVEL:
        return "error, warning, info, debug";
    case CONFIG_LOG_FORMAT:
        return "auto, text, json";
    case CONFIG_RESIDENT:
        return "auto, coded, panels";
    case CONFIG_VERIFY:
        return "open, lazy, off";
    case CONFIG_COMPUTE:
        return "auto, fp32, int8";
    case CONFIG_SIGNATURES:
        return "off, warn, require";
    case CONFIG_PRIORITY:
        return "idle, low, normal";
    case CONFIG_ROLE:
        return "infer, admin";
    case CONFIG_KEYS:
        return "public keys";
    }
    return "";
}

void config_range_print(FILE *out, const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_MODE:
        fprintf(out, "%04llo to %04llo", (unsigned long long)key->minimum,
                (unsigned long long)key->maximum);
        break;
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_NAME:
    case CONFIG_KEYS:
        fprintf(out, "%llu to %llu bytes", (unsigned long long)key->minimum,
                (unsigned long long)key->maximum);
        break;
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_SET:
        fprintf(out, "%llu to %llu%s", (unsigned long long)key->minimum,
                (unsigned long long)key->maximum, key->type == CONFIG_TIME ? " ms" : "");
        break;
    case CONFIG_LOG_LEVEL:
    case CONFIG_LOG_FORMAT:
    case CONFIG_RESIDENT:
    case CONFIG_VERIFY:
    case CONFIG_COMPUTE:
    case CONFIG_SIGNATURES:
    case CONFIG_PRIORITY:
    case CONFIG_ROLE:
        fputs("these words", out);
        break;
    }
}

static void print_row(FILE *out, const struct config_key *key)
{
    fprintf(out, "| `%s%s%s` | %s | ", key->section, *key->section ? "." : "", key->key,
            config_type_text(key->type));
    config_range_print(out, key);
    if (!key->fallback)
        fputs(" | required", out);
    else if (!*key->fallback)
        fputs(" | (empty)", out);
    else
        fprintf(out, " | `%s`", key->fallback);
    fprintf(out, " | %s | %s |\n", key->when == CONFIG_LIVE ? "reload" : "restart", key->doc);
}

void config_print_reference(FILE *out)
{
    static const char head[] = "| Key | Type | Range | Default | Takes effect | Meaning |\n"
                               "| --- | --- | --- | --- | --- | --- |\n";
    fputs("# Reference of legonetd.yaml\n\n"
          "Made by `legonetd --print-reference`. A key with a dot is written inside its section. "
          "Unknown keys, keys\ngiven twice, wrong types and values out of range are errors with "
          "file, line and column. `--set KEY=VALUE`\noverrides a key at the start and at every "
          "reload.\n\n",
          out);
    fputs(head, out);
    for (size_t i = 0; i < config_key_count; i++)
        print_row(out, &config_keys[i]);
    for (size_t l = 0; l < CONFIG_LIST_COUNT; l++) {
        fprintf(out, "\n## Entries of `%s`\n\n%s\n\n", config_lists[l].name, config_lists[l].doc);
        fputs(head, out);
        for (size_t i = 0; i < config_lists[l].key_count; i++)
            print_row(out, &config_lists[l].keys[i]);
    }
}
