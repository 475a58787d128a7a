#include "agent/cli/capture_record.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES   ((size_t)1 << 30)
#define MAX_MEMBERS 512
#define LOCAL_BYTES 30 /* of a member's header (APPNOTE 6.3.3, section 4.3.7), without its name */
#define LOCAL_MAGIC 0x04034b50u

static uint32_t number(const uint8_t *at, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

static int read_file(const char *path, struct capture_record *record, struct lego_diag *diag)
{
    FILE *file = fopen(path, "rbe");
    long end = -1;
    if (!file)
        return lego_fail_errno(diag, errno, "%s", path);
    if (fseek(file, 0, SEEK_END) == 0)
        end = ftell(file);
    int status = LEGO_OK;
    if (end < 0)
        status = lego_fail_errno(diag, errno, "%s", path);
    else if ((size_t)end > MAX_BYTES)
        status = lego_fail(diag, LEGO_E_LIMIT, "%s: over 1 GiB", path);
    else if (!(record->data = malloc((size_t)end + 1)))
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    if (status == LEGO_OK) {
        rewind(file);
        record->bytes = fread(record->data, 1, (size_t)end, file);
        if (ferror(file))
            status = lego_fail_errno(diag, errno, "%s", path);
    }
    fclose(file);
    return status;
}

/* The name is a path of what it may be: no folder above, nothing that a terminal takes amiss. */
static bool is_good_name(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return length > 0 && name[0] != '/';
}

/* One member at *at, which moves on. */
static int read_member(struct capture_record *record, size_t *at, const char *path,
                       struct lego_diag *diag)
{
    const uint8_t *head = record->data + *at;
    size_t room = record->bytes - *at;
    if (room < LOCAL_BYTES)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: byte %zu: a member is cut off", path, *at);
    size_t bytes = number(head + 18, 4), name = number(head + 26, 2), extra = number(head + 28, 2);
    if (number(head + 6, 2) != 0 || number(head + 8, 2) != 0 || number(head + 22, 4) != bytes)
        return lego_fail(diag, LEGO_E_FORMAT,
                         "%s: byte %zu: a member is compressed or encrypted: no record of the "
                         "agent's",
                         path, *at);
    struct capture_member *member = &record->members[record->member_count];
    if (name + extra > room - LOCAL_BYTES || bytes > room - LOCAL_BYTES - name - extra ||
        name >= sizeof(member->name) || !is_good_name((const char *)head + LOCAL_BYTES, name))
        return lego_fail(diag, LEGO_E_FORMAT, "%s: byte %zu: a member that cannot be", path, *at);
    memcpy(member->name, head + LOCAL_BYTES, name);
    member->name[name] = '\0';
    member->data = head + LOCAL_BYTES + name + extra;
    member->bytes = bytes;
    record->member_count++;
    *at += LOCAL_BYTES + name + extra + bytes;
    return LEGO_OK;
}

static int read_about(struct capture_record *record, const char *path, struct lego_diag *diag)
{
    const struct capture_member *about = NULL;
    for (size_t i = 0; i < record->member_count; i++)
        if (!strcmp(record->members[i].name, "about.json"))
            about = &record->members[i];
    json_t *root = about ? json_loadb((const char *)about->data, about->bytes, 0, NULL) : NULL;
    const char *model = json_string_value(json_object_get(root, "model"));
    const char *version = json_string_value(json_object_get(root, "version"));
    const json_t *time = json_object_get(root, "time_ns");
    const json_t *confidence = json_object_get(root, "confidence_percent");
    bool good = model && version && json_is_integer(time) && json_integer_value(time) >= 0 &&
                strlen(model) < sizeof(record->model) && is_good_name(model, strlen(model)) &&
                strlen(version) < sizeof(record->version);
    if (good) {
        memcpy(record->model, model, strlen(model) + 1);
        memcpy(record->version, version, strlen(version) + 1);
        record->time_ns = (uint64_t)json_integer_value(time);
        record->confidence = json_is_number(confidence) ? json_number_value(confidence) : -1;
    }
    json_decref(root);
    return good ? LEGO_OK
                : lego_fail(diag, LEGO_E_FORMAT, "%s: about.json does not say what it is of", path);
}

int capture_record_read(const char *path, struct capture_record *ret_record, struct lego_diag *diag)
{
    struct capture_record *record = ret_record;
    *record = (struct capture_record){0};
    int status = read_file(path, record, diag);
    if (status == LEGO_OK && !(record->members = calloc(MAX_MEMBERS, sizeof(*record->members))))
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    if (status == LEGO_OK && (record->bytes < 4 || number(record->data, 4) != LOCAL_MAGIC))
        status = lego_fail(diag, LEGO_E_FORMAT, "%s: no record of the agent's captures", path);
    for (size_t at = 0; status == LEGO_OK && record->bytes - at >= 4 &&
                        number(record->data + at, 4) == LOCAL_MAGIC;) {
        if (record->member_count == MAX_MEMBERS)
            return lego_fail(diag, LEGO_E_LIMIT, "%s: over %d members", path, MAX_MEMBERS);
        status = read_member(record, &at, path, diag);
    }
    return status == LEGO_OK ? read_about(record, path, diag) : status;
}

void capture_record_clear(struct capture_record *record)
{
    free(record->members);
    free(record->data);
    *record = (struct capture_record){0};
}
