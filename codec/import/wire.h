/*
 * Protobuf's wire format, read field by field from memory that may be hostile: no copies, no
 * allocation, never a read past the end.
 */
#ifndef LEGO_IMPORT_WIRE_H
#define LEGO_IMPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

struct wire {
    const uint8_t *at, *end;
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;      /* varint, fixed64, fixed32 */
    const uint8_t *data; /* WIRE_BYTES: the payload, borrowed; else the encoded value */
    size_t bytes;
};

static inline struct wire wire_open(const void *data, size_t bytes)
{
    const uint8_t *start = data;
    return (struct wire){.at = start, .end = start ? start + bytes : start};
}

/* Reads a base-128 integer of at most 64 bits; false where it is cut off or too long. */
bool wire_varint(struct wire *wire, uint64_t *ret_value);

/* The next field: 1 with *ret_field, 0 at the end, LEGO_E_FORMAT where the bytes are malformed. */
int wire_next(struct wire *wire, struct wire_field *ret_field);

/*
 * Calls `each` for every element of a repeated numeric field, packed or not: `type` is the wire
 * type of one element. Returns 0, what `each` returned if not 0, or LEGO_E_FORMAT.
 */
int wire_each(const struct wire_field *field, enum wire_type type,
              int (*each)(void *context, uint64_t value), void *context);

/* Little-endian loads of what may be misaligned. */
uint32_t wire_load32(const uint8_t *data);
uint64_t wire_load64(const uint8_t *data);

#endif
