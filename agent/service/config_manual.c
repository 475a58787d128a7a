/* The manual page of the configuration, in mdoc(7), from the table. */
#include "agent/service/config.h"

#include <string.h>

#define COLUMNS 78

/* A word of running text: a backslash begins an escape, a leading "." or "'" a request. */
static size_t put_word(FILE *out, const char *word, size_t length, bool first)
{
    size_t used = 0;
    if (first && (*word == '.' || *word == '\''))
        used += (size_t)fprintf(out, "\\&");
    for (size_t i = 0; i < length; i++)
        used += word[i] == '\\' ? (size_t)fprintf(out, "\\e") : (fputc(word[i], out), 1);
    return used;
}

/* Text as lines, a new one for each sentence. */
static void print_text(FILE *out, const char *text)
{
    size_t used = 0;
    while (*(text += strspn(text, " "))) {
        size_t length = strcspn(text, " ");
        if (used > 0 && used + 1 + length > COLUMNS) {
            fputc('\n', out);
            used = 0;
        } else if (used > 0) {
            fputc(' ', out);
            used++;
        }
        used += put_word(out, text, length, used == 0);
        bool ends = text[length - 1] == '.' && text[length] == ' ';
        text += length;
        if (ends) {
            fputc('\n', out);
            used = 0;
        }
    }
    if (used > 0)
        fputc('\n', out);
}

static void print_key(FILE *out, const struct config_key *key)
{
    fprintf(out, ".It Ic %s\n", key->key);
    print_text(out, key->doc);
    fprintf(out, ".br\n.Pq %s: ", config_type_text(key->type));
    config_range_print(out, key);
    if (!key->fallback)
        fputs("; required", out);
    else if (*key->fallback)
        fprintf(out, "; default %s", key->fallback);
    fprintf(out, "; %s\n", key->when == CONFIG_LIVE ? "reload" : "restart");
}

static void print_sections(FILE *out)
{
    const char *section = "";
    fputs(".Sh SECTIONS\n", out);
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (!*key->section)
            continue;
        if (strcmp(section, key->section)) {
            if (*section)
                fputs(".El\n", out);
            fprintf(out, ".Ss %s\n", key->section);
            print_text(out, config_section_doc(key->section));
            fputs(".Bl -tag -width Ds\n", out);
        }
        section = key->section;
        print_key(out, key);
    }
    fputs(".El\n", out);
}

static void print_list(FILE *out, const struct config_key *keys, size_t count)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < count; i++)
        if (!*keys[i].section)
            print_key(out, &keys[i]);
    fputs(".El\n", out);
}

void config_print_manual(FILE *out)
{
    fputs(".\\\" Made by legonetd --print-manual.\n"
          ".Dd November 25, 2026\n.Dt LEGONETD.YAML 5\n.Os\n"
          ".Sh NAME\n.Nm legonetd.yaml\n.Nd configuration of the inference agent\n"
          ".Sh SYNOPSIS\n.Pa /etc/legonet/legonetd.yaml\n.br\n"
          ".Pa /etc/legonet/legonetd.d/*.yaml\n"
          ".Sh DESCRIPTION\n",
          out);
    print_text(out, "One YAML document, whose sections are mappings. "
                    "A key that is left out has its default. "
                    "Unknown keys, keys given twice, wrong types and values out of range are "
                    "errors, with file, line and column; a reload with one changes nothing. "
                    "Files in the folder legonetd.d are read over the file in the order of their "
                    "names: keys there hold, models are added.");
    fputs(".Pp\n", out);
    print_text(out, "Sizes are bytes or end in KiB, MiB or GiB; times end in ms, s or min. "
                    "Each key says whether a reload takes it up or a restart is needed.");
    fputs(".Sh KEYS\n", out);
    print_list(out, config_keys, config_key_count);
    print_sections(out);
    fputs(".Sh LISTS\n", out);
    for (size_t i = 0; i < CONFIG_LIST_COUNT; i++) {
        fprintf(out, ".Ss %s\n", config_lists[i].name);
        print_text(out, config_lists[i].doc);
        print_text(out, "Each is a mapping of these keys.");
        print_list(out, config_lists[i].keys, config_lists[i].key_count);
    }
    fputs(".Sh EXAMPLES\n.Bd -literal -offset indent\n"
          "limits: {memory: 512MiB}\n"
          "access: {groups: camera, admin_users: root}\n"
          "models:\n"
          "  - {name: doors, path: /srv/models/doors.lego, timeout: 200ms}\n"
          ".Ed\n.Sh SEE ALSO\n.Xr legonet 1 ,\n.Xr lego 5 ,\n.Xr legonetd 8\n",
          out);
}
