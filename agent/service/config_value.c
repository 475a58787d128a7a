/* From the text of one value to its field, and back to a person when it is wrong. */
#include "agent/service/config.h"

#include "agent/runtime/legonet.h"
#include "agent/service/background.h"
#include "agent/service/log.h"
#include "agent/service/peers.h"
#include "codec/base/arith.h"
#include "codec/sign/sign.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit log_levels[] = {{"error", LOG_LEVEL_ERROR},
                                         {"warning", LOG_LEVEL_WARNING},
                                         {"info", LOG_LEVEL_INFO},
                                         {"debug", LOG_LEVEL_DEBUG},
                                         {NULL, 0}};
static const struct unit log_formats[] = {
    {"auto", LOG_FORMAT_AUTO}, {"text", LOG_FORMAT_TEXT}, {"json", LOG_FORMAT_JSON}, {NULL, 0}};
static const struct unit residents[] = {{"auto", LEGO_RESIDENT_AUTO},
                                        {"coded", LEGO_RESIDENT_CODED},
                                        {"panels", LEGO_RESIDENT_PANELS},
                                        {NULL, 0}};
static const struct unit verifies[] = {{"off", LEGO_VERIFY_STRUCTURE},
                                       {"open", LEGO_VERIFY_CHECKSUMS},
                                       {"lazy", LEGO_VERIFY_LAZY},
                                       {NULL, 0}};
static const struct unit computes[] = {{"auto", LEGO_COMPUTE_AUTO},
                                       {"fp32", LEGO_COMPUTE_FP32},
                                       {"int8", LEGO_COMPUTE_INT8},
                                       {"fp16", LEGO_COMPUTE_FP16},
                                       {NULL, 0}};

static const struct unit signature_policies[] = {
    {"off", SIGNATURES_OFF}, {"warn", SIGNATURES_WARN}, {"require", SIGNATURES_REQUIRE}, {NULL, 0}};

static const struct unit roles[] = {{"infer", PEER_INFER}, {"admin", PEER_ADMIN}, {NULL, 0}};

static const struct unit priorities[] = {
    {"idle", BACKGROUND_IDLE}, {"low", BACKGROUND_LOW}, {"normal", BACKGROUND_NORMAL}, {NULL, 0}};

/* A number with one of the units, spaces between them allowed. False where it is none or too large
 * for 64 bits. */
static bool parse_number(const char *text, int base, const struct unit *units, uint64_t *ret_value)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, base);
    if (errno || end == text)
        return false;
    while (*end == ' ')
        end++;
    for (; units->name; units++)
        if (!strcmp(end, units->name))
            return !__builtin_mul_overflow((uint64_t)number, units->factor, ret_value);
    return false;
}

static void format_number(const struct config_key *key, uint64_t value, char *buffer, size_t bytes)
{
    if (key->type == CONFIG_MODE) {
        snprintf(buffer, bytes, "%04" PRIo64, value);
        return;
    }
    const struct unit *units = key->type == CONFIG_SIZE   ? size_units
                               : key->type == CONFIG_TIME ? time_units
                                                          : no_units;
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name; unit++)
        if (value != 0 && value % unit->factor == 0)
            best = unit;
    snprintf(buffer, bytes, "%" PRIu64 "%s", value / best->factor, best->name);
}

static const char *choice_name(const struct unit *choices, uint64_t value)
{
    for (; choices->name; choices++)
        if (choices->factor == value)
            return choices->name;
    return "";
}

static void print_set(FILE *out, uint64_t set)
{
    const char *between = "";
    fputc('"', out);
    for (unsigned i = 0; i < 64; i++)
        if (set >> i & 1) {
            fprintf(out, "%s%u", between, i);
            between = " ";
        }
    fputc('"', out);
}

void config_value_print(FILE *out, const void *object, const struct config_key *key)
{
    const char *field = (const char *)object + key->offset;
    char number[32];
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_NAME:
    case CONFIG_KEYS:
        fputc('"', out);
        for (const char *at = *(char *const *)(const void *)field; *at; at++)
            fprintf(out, *at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
        fputc('"', out);
        return;
    case CONFIG_SET:
        print_set(out, *(const uint64_t *)(const void *)field);
        return;
    case CONFIG_LOG_LEVEL:
        fputs(choice_name(log_levels, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_LOG_FORMAT:
        fputs(choice_name(log_formats, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_RESIDENT:
        fputs(choice_name(residents, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_VERIFY:
        fputs(choice_name(verifies, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_COMPUTE:
        fputs(choice_name(computes, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_SIGNATURES:
        fputs(choice_name(signature_policies, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_PRIORITY:
        fputs(choice_name(priorities, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_ROLE:
        fputs(choice_name(roles, *(const uint64_t *)(const void *)field), out);
        return;
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_MODE:
        format_number(key, *(const uint64_t *)(const void *)field, number, sizeof(number));
        fprintf(out, key->type == CONFIG_MODE ? "\"%s\"" : "%s", number);
    }
}

static int number_error(const struct config_key *key, const char *text, struct lego_diag *diag)
{
    static const char *const kinds[] = {
        [CONFIG_COUNT] = "a whole number",
        [CONFIG_SIZE] = "a size, as 4096, 64KiB, 16MiB or 1GiB",
        [CONFIG_TIME] = "a time with its unit, as 500ms, 30s or 5min",
        [CONFIG_MODE] = "an octal mode, as 0660",
    };
    char low[32], high[32];
    format_number(key, key->minimum, low, sizeof(low));
    format_number(key, key->maximum, high, sizeof(high));
    return lego_fail(diag, LEGO_E_CONFIG, "\"%s\": \"%.64s\" is not %s, from %s to %s", key->key,
                     text, kinds[key->type], low, high);
}

static int set_number(uint64_t *field, const struct config_key *key, const char *text,
                      struct lego_diag *diag)
{
    const struct unit *units = key->type == CONFIG_SIZE   ? size_units
                               : key->type == CONFIG_TIME ? time_units
                                                          : no_units;
    uint64_t value;
    if (!parse_number(text, key->type == CONFIG_MODE ? 8 : 10, units, &value) ||
        value < key->minimum || value > key->maximum)
        return number_error(key, text, diag);
    *field = value;
    return LEGO_OK;
}

static int set_set(uint64_t *field, const struct config_key *key, const char *text,
                   struct lego_diag *diag)
{
    uint64_t set = 0;
    for (const char *at = text; *(at += strspn(at, " "));) {
        char *end;
        unsigned long number = strtoul(at, &end, 10);
        if (!isdigit((unsigned char)*at) || (*end && *end != ' ') || number > key->maximum)
            return lego_fail(diag, LEGO_E_CONFIG,
                             "\"%s\": \"%.64s\" is not a list of numbers, from 0 to %" PRIu64
                             ", with spaces between them",
                             key->key, text, key->maximum);
        set |= (uint64_t)1 << number;
        at = end;
    }
    *field = set;
    return LEGO_OK;
}

static int set_choice(uint64_t *field, const struct config_key *key, const struct unit *choices,
                      const char *text, struct lego_diag *diag)
{
    char list[128] = "";
    for (const struct unit *choice = choices; choice->name; choice++) {
        if (!strcmp(choice->name, text)) {
            *field = choice->factor;
            return LEGO_OK;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", choice->name);
    }
    return lego_fail(diag, LEGO_E_CONFIG, "\"%s\": \"%.64s\" is none of %s", key->key, text, list);
}

bool config_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 128 || name[0] == '.')
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

static int set_string(char **field, const struct config_key *key, const char *text,
                      struct lego_diag *diag)
{
    size_t length = strlen(text);
    if (length < key->minimum || length > key->maximum)
        return lego_fail(diag, LEGO_E_CONFIG,
                         "\"%s\": \"%.64s\" is %zu bytes long, want %" PRIu64 " to %" PRIu64,
                         key->key, text, length, key->minimum, key->maximum);
    if (key->type == CONFIG_NAME && !config_name_is_valid(text))
        return lego_fail(diag, LEGO_E_CONFIG,
                         "\"%s\": \"%.64s\" is no name: letters, digits, \".\", \"_\" and \"-\", "
                         "not starting with \".\"",
                         key->key, text);
    if (key->type == CONFIG_KEYS) {
        int status = sign_public_list(text, NULL, NULL, diag);
        if (status != LEGO_OK)
            return lego_diag_prefix(diag, status == LEGO_E_FORMAT ? LEGO_E_CONFIG : status,
                                    "\"%s\"", key->key);
    }
    char *copy = strdup(text);
    if (!copy)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for \"%s\"", key->key);
    free(*field);
    *field = copy;
    return LEGO_OK;
}

int config_value_set(void *object, const struct config_key *key, const char *text,
                     struct lego_diag *diag)
{
    void *field = (char *)object + key->offset;
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_NAME:
    case CONFIG_KEYS:
        return set_string(field, key, text, diag);
    case CONFIG_COUNT:
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_MODE:
        return set_number(field, key, text, diag);
    case CONFIG_SET:
        return set_set(field, key, text, diag);
    case CONFIG_LOG_LEVEL:
        return set_choice(field, key, log_levels, text, diag);
    case CONFIG_LOG_FORMAT:
        return set_choice(field, key, log_formats, text, diag);
    case CONFIG_RESIDENT:
        return set_choice(field, key, residents, text, diag);
    case CONFIG_VERIFY:
        return set_choice(field, key, verifies, text, diag);
    case CONFIG_COMPUTE:
        return set_choice(field, key, computes, text, diag);
    case CONFIG_SIGNATURES:
        return set_choice(field, key, signature_policies, text, diag);
    case CONFIG_PRIORITY:
        return set_choice(field, key, priorities, text, diag);
    case CONFIG_ROLE:
        return set_choice(field, key, roles, text, diag);
    }
    return lego_fail(diag, LEGO_E_INTERNAL, "\"%s\" has an unknown type", key->key);
}

/* Levenshtein's distance, for names up to 63 bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64], length = strlen(b);
    if (length > 63)
        return SIZE_MAX;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = lego_min_size(change, lego_min_size(row[j], row[j - 1]) + 1);
        }
    }
    return row[length];
}

const char *config_suggest(const struct config_key *keys, size_t count, const char *section,
                           const char *name)
{
    const char *best = NULL;
    size_t best_distance = strlen(name) / 2 + 1; /* further away is no misspelling */
    for (size_t i = 0; i < count; i++) {
        /* A whole section is a word of the top level, too. */
        const char *words[2] = {strcmp(keys[i].section, section) ? NULL : keys[i].key,
                                *section ? NULL : keys[i].section};
        for (size_t w = 0; w < 2; w++) {
            size_t distance = words[w] && *words[w] ? edit_distance(name, words[w]) : SIZE_MAX;
            if (distance < best_distance) {
                best = words[w];
                best_distance = distance;
            }
        }
    }
    return best;
}
