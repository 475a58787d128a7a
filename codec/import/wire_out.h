/*
 * Writing protobuf's wire format into a growing buffer: for files that are put together from small
 * messages and large data that is streamed.
 */
#ifndef LEGO_IMPORT_WIRE_OUT_H
#define LEGO_IMPORT_WIRE_OUT_H

#include "codec/import/wire.h"

/* All zeroes is an empty one. After a failed allocation everything is a no-op and `failed` is set:
 * checked once, at the end. */
struct wire_out {
    uint8_t *data; /* malloc'ed */
    size_t bytes, capacity;
    bool failed;
};

void wire_out_clear(struct wire_out *out);

void wire_put(struct wire_out *out, const void *data, size_t bytes);
void wire_put_varint(struct wire_out *out, uint64_t value);
void wire_put_int(struct wire_out *out, uint32_t number, int64_t value);
void wire_put_float(struct wire_out *out, uint32_t number, float value);
void wire_put_text(struct wire_out *out, uint32_t number, const char *text);
void wire_put_bytes(struct wire_out *out, uint32_t number, const void *data, size_t bytes);

/* Tag and length only: the caller writes `bytes` bytes of content after it. */
void wire_put_header(struct wire_out *out, uint32_t number, size_t bytes);

/* Bytes of tag and length of a field of `bytes` bytes. */
size_t wire_header_bytes(uint32_t number, size_t bytes);

#endif
