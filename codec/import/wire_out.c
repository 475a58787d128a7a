#include "codec/import/wire_out.h"

#include "codec/base/arith.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

void wire_out_clear(struct wire_out *out)
{
    free(out->data);
    *out = (struct wire_out){0};
}

void wire_put(struct wire_out *out, const void *data, size_t bytes)
{
    size_t need;
    if (out->failed || bytes == 0)
        return;
    if (!lego_add_size(out->bytes, bytes, &need) || need > SIZE_MAX / 4) {
        out->failed = true;
        return;
    }
    if (need > out->capacity) {
        uint8_t *grown = realloc(out->data, 2 * need);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->data = grown;
        out->capacity = 2 * need;
    }
    memcpy(out->data + out->bytes, data, bytes);
    out->bytes = need;
}

static size_t encode_varint(uint64_t value, uint8_t bytes[10])
{
    size_t count = 0;
    do {
        bytes[count] = (uint8_t)(value & 0x7f);
        value >>= 7;
        if (value)
            bytes[count] |= 0x80;
        count++;
    } while (value);
    return count;
}

void wire_put_varint(struct wire_out *out, uint64_t value)
{
    uint8_t bytes[10];
    wire_put(out, bytes, encode_varint(value, bytes));
}

static void put_tag(struct wire_out *out, uint32_t number, enum wire_type type)
{
    wire_put_varint(out, (uint64_t)number << 3 | type);
}

void wire_put_int(struct wire_out *out, uint32_t number, int64_t value)
{
    put_tag(out, number, WIRE_VARINT);
    wire_put_varint(out, (uint64_t)value);
}

void wire_put_float(struct wire_out *out, uint32_t number, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = htole32(bits);
    put_tag(out, number, WIRE_FIXED32);
    wire_put(out, &bits, sizeof bits);
}

void wire_put_header(struct wire_out *out, uint32_t number, size_t bytes)
{
    put_tag(out, number, WIRE_BYTES);
    wire_put_varint(out, bytes);
}

void wire_put_bytes(struct wire_out *out, uint32_t number, const void *data, size_t bytes)
{
    wire_put_header(out, number, bytes);
    wire_put(out, data, bytes);
}

void wire_put_text(struct wire_out *out, uint32_t number, const char *text)
{
    wire_put_bytes(out, number, text, strlen(text));
}

size_t wire_header_bytes(uint32_t number, size_t bytes)
{
    uint8_t encoded[10];
    return encode_varint((uint64_t)number << 3 | WIRE_BYTES, encoded) +
           encode_varint(bytes, encoded);
}
