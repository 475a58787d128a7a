#include "codec/import/wire.h"

#include "codec/base/status.h"

#include <endian.h>
#include <string.h>

uint32_t wire_load32(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return le32toh(value);
}

uint64_t wire_load64(const uint8_t *data)
{
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return le64toh(value);
}

bool wire_varint(struct wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    const uint8_t *at = wire->at;
    for (unsigned shift = 0; shift < 70 && at < wire->end; shift += 7) {
        uint8_t byte = *at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            wire->at = at;
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Reads one value of `type` into field->value/data/bytes. */
static bool read_value(struct wire *wire, enum wire_type type, struct wire_field *field)
{
    size_t left = (size_t)(wire->end - wire->at);
    uint64_t length;
    field->data = wire->at;
    switch (type) {
    case WIRE_VARINT:
        if (!wire_varint(wire, &field->value))
            return false;
        field->bytes = (size_t)(wire->at - field->data);
        return true;
    case WIRE_FIXED64:
        if (left < 8)
            return false;
        field->value = wire_load64(wire->at);
        field->bytes = 8;
        break;
    case WIRE_FIXED32:
        if (left < 4)
            return false;
        field->value = wire_load32(wire->at);
        field->bytes = 4;
        break;
    case WIRE_BYTES:
        if (!wire_varint(wire, &length) || length > (uint64_t)(wire->end - wire->at))
            return false;
        field->data = wire->at;
        field->bytes = (size_t)length;
        break;
    default: /* groups: long gone from the format, never in ONNX */
        return false;
    }
    wire->at += field->bytes;
    return true;
}

int wire_next(struct wire *wire, struct wire_field *ret_field)
{
    if (wire->at == wire->end)
        return 0;
    uint64_t tag;
    if (!wire_varint(wire, &tag) || tag >> 3 == 0 || tag >> 32)
        return LEGO_E_FORMAT;
    struct wire_field field = {.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    if (!read_value(wire, field.type, &field))
        return LEGO_E_FORMAT;
    *ret_field = field;
    return 1;
}

int wire_each(const struct wire_field *field, enum wire_type type,
              int (*each)(void *context, uint64_t value), void *context)
{
    if (field->type == type)
        return each(context, field->value);
    if (field->type != WIRE_BYTES)
        return LEGO_E_FORMAT;
    struct wire packed = wire_open(field->data, field->bytes);
    while (packed.at < packed.end) {
        struct wire_field element;
        if (!read_value(&packed, type, &element))
            return LEGO_E_FORMAT;
        int status = each(context, element.value);
        if (status)
            return status;
    }
    return 0;
}
