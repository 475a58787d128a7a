#include "agent/service/peek.h"

#include "agent/proto/frame.h"

#include <stdbool.h>
#include <string.h>

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
    const uint8_t *next, *end;
};

struct field {
    uint64_t number;
    uint64_t varint;     /* WIRE_VARINT */
    const uint8_t *data; /* WIRE_BYTES */
    size_t bytes;
    enum wire wire;
};

static bool read_varint(struct cursor *cursor, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && cursor->next < cursor->end; shift += 7) {
        uint8_t byte = *cursor->next++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct cursor *cursor, size_t bytes)
{
    if (bytes > (size_t)(cursor->end - cursor->next))
        return false;
    cursor->next += bytes;
    return true;
}

static bool read_field(struct cursor *cursor, struct field *ret_field)
{
    uint64_t tag, length;
    if (!read_varint(cursor, &tag))
        return false;
    ret_field->number = tag >> 3;
    ret_field->wire = (enum wire)(tag & 7);
    switch (ret_field->wire) {
    case WIRE_VARINT:
        return read_varint(cursor, &ret_field->varint);
    case WIRE_64:
        return skip(cursor, 8);
    case WIRE_32:
        return skip(cursor, 4);
    case WIRE_BYTES:
        if (!read_varint(cursor, &length) || length > (size_t)(cursor->end - cursor->next))
            return false;
        ret_field->data = cursor->next;
        ret_field->bytes = (size_t)length;
        return skip(cursor, (size_t)length);
    }
    return false;
}

static void copy_name(char *out, const struct field *field)
{
    bool fits = field->bytes < PEEK_NAME_BYTES && !memchr(field->data, 0, field->bytes);
    size_t bytes = fits ? field->bytes : 0;
    if (bytes > 0)
        memcpy(out, field->data, bytes);
    out[bytes] = '\0';
}

/* A parameter's value: InferParameter. */
struct value {
    enum { VALUE_NONE, VALUE_NUMBER, VALUE_TEXT, VALUE_OTHER } kind;
    uint64_t number;
    struct field text;
};

static bool read_value(const struct field *message, struct value *ret_value)
{
    enum { INT64 = 2, TEXT = 3, UINT64 = 5 };
    struct cursor cursor = {message->data, message->data + message->bytes};
    *ret_value = (struct value){.kind = VALUE_NONE};
    while (cursor.next < cursor.end) {
        struct field field;
        if (!read_field(&cursor, &field))
            return false;
        ret_value->kind = VALUE_OTHER;
        if (field.wire == WIRE_VARINT && (field.number == INT64 || field.number == UINT64)) {
            ret_value->number = field.varint;
            if (field.number == UINT64 || field.varint <= INT64_MAX)
                ret_value->kind = VALUE_NUMBER;
        } else if (field.wire == WIRE_BYTES && field.number == TEXT) {
            ret_value->kind = VALUE_TEXT;
            ret_value->text = field;
        }
    }
    return true;
}

static bool is_key(const struct field *key, const char *name)
{
    return key->bytes == strlen(name) && !memcmp(key->data, name, key->bytes);
}

static void take_number(struct peek *peek, const char *name, const struct value *value,
                        uint64_t *field)
{
    if (value->kind == VALUE_NUMBER)
        *field = value->number;
    else if (!peek->wrong)
        peek->wrong = name;
}

/* One entry of the map of a request's parameters. */
static bool peek_parameter(const struct field *entry, struct peek *peek)
{
    struct cursor cursor = {entry->data, entry->data + entry->bytes};
    struct field key = {.data = (const uint8_t *)""};
    struct value value = {.kind = VALUE_NONE};
    while (cursor.next < cursor.end) {
        struct field field;
        if (!read_field(&cursor, &field))
            return false;
        if (field.wire == WIRE_BYTES && field.number == 1)
            key = field;
        if (field.wire == WIRE_BYTES && field.number == 2 && !read_value(&field, &value))
            return false;
    }
    if (is_key(&key, "priority"))
        take_number(peek, "priority", &value, &peek->priority);
    if (is_key(&key, "timeout"))
        take_number(peek, "timeout", &value, &peek->timeout_us);
    if (is_key(&key, "stream")) {
        if (value.kind == VALUE_TEXT)
            copy_name(peek->stream, &value.text);
        if (!*peek->stream && !peek->wrong)
            peek->wrong = "stream";
    }
    return true;
}

static bool peek_infer(const uint8_t *body, size_t bytes, struct peek *peek)
{
    struct cursor cursor = {body, body + bytes};
    while (cursor.next < cursor.end) {
        struct field field;
        if (!read_field(&cursor, &field))
            return false;
        if (field.wire == WIRE_BYTES && field.number == 1)
            copy_name(peek->model, &field);
        if (field.wire == WIRE_BYTES && field.number == 2)
            copy_name(peek->version, &field);
        if (field.wire == WIRE_BYTES && field.number == 4 && !peek_parameter(&field, peek))
            return false;
    }
    return true;
}

int peek_request(const uint8_t *body, size_t bytes, struct peek *ret_peek)
{
    enum { PICTURES = 2 };
    struct cursor cursor = {body, body + bytes};
    *ret_peek = (struct peek){0};
    while (cursor.next < cursor.end) {
        struct field field;
        if (!read_field(&cursor, &field))
            return LEGO_E_FORMAT;
        if (field.number == 1 && field.wire == WIRE_VARINT)
            ret_peek->id = field.varint;
        if (field.number == PICTURES && field.wire == WIRE_BYTES)
            ret_peek->pictures = true;
        if (field.number < 8 || field.wire != WIRE_BYTES)
            continue;
        ret_peek->call = field.number > UINT32_MAX ? UINT32_MAX : (uint32_t)field.number;
        if (field.number == LEGONET__REQUEST__CALL_MODEL_INFER &&
            !peek_infer(field.data, field.bytes, ret_peek))
            return LEGO_E_FORMAT;
    }
    return LEGO_OK;
}
