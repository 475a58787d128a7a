#include "agent/service/frame_reader.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)4 << 10)
#define MINIMUM_ROOM   ((size_t)16 << 10)

void frame_reader_clear(struct frame_reader *reader)
{
    free(reader->body);
    *reader = (struct frame_reader){.limit_bytes = reader->limit_bytes};
}

bool frame_reader_is_partial(const struct frame_reader *reader)
{
    return reader->header_bytes > 0;
}

/* Makes the body's buffer larger than what is there. */
static int grow(struct frame_reader *reader, struct lego_diag *diag)
{
    size_t capacity = lego_max_size(FIRST_CAPACITY, reader->capacity * 2);
    capacity = lego_min_size(capacity, reader->body_bytes);
    uint8_t *body = realloc(reader->body, capacity);
    if (!body)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a frame of %zu bytes",
                         reader->body_bytes);
    reader->body = body;
    reader->capacity = capacity;
    return LEGO_OK;
}

/* Takes bytes of the header; at its end the body's length is known. */
static int push_header(struct frame_reader *reader, const uint8_t *data, size_t bytes,
                       size_t *ret_used, struct lego_diag *diag)
{
    size_t used = lego_min_size(bytes, IPC_FRAME_HEADER_BYTES - reader->header_bytes);
    memcpy(reader->header + reader->header_bytes, data, used);
    reader->header_bytes += (unsigned)used;
    *ret_used = used;
    if (reader->header_bytes < IPC_FRAME_HEADER_BYTES)
        return LEGO_OK;
    return ipc_frame_length(reader->header, reader->limit_bytes, &reader->body_bytes, diag);
}

static int push_body(struct frame_reader *reader, const uint8_t *data, size_t bytes,
                     size_t *ret_used, struct lego_diag *diag)
{
    size_t used = 0;
    while (used < bytes && reader->have_bytes < reader->body_bytes) {
        int status = reader->have_bytes == reader->capacity ? grow(reader, diag) : LEGO_OK;
        if (status != LEGO_OK)
            return status;
        size_t n = lego_min_size(bytes - used, reader->capacity - reader->have_bytes);
        memcpy(reader->body + reader->have_bytes, data + used, n);
        reader->have_bytes += n;
        used += n;
    }
    *ret_used = used;
    return LEGO_OK;
}

int frame_reader_push(struct frame_reader *reader, const uint8_t *data, size_t bytes,
                      size_t *ret_used, uint8_t **ret_body, size_t *ret_body_bytes,
                      struct lego_diag *diag)
{
    size_t header_used = 0, body_used = 0;
    int status = LEGO_OK;
    if (reader->header_bytes < IPC_FRAME_HEADER_BYTES)
        status = push_header(reader, data, bytes, &header_used, diag);
    if (status == LEGO_OK && reader->header_bytes == IPC_FRAME_HEADER_BYTES)
        status = push_body(reader, data + header_used, bytes - header_used, &body_used, diag);
    if (status != LEGO_OK)
        return status;
    *ret_used = header_used + body_used;
    *ret_body = NULL;
    if (reader->header_bytes == IPC_FRAME_HEADER_BYTES &&
        reader->have_bytes == reader->body_bytes) {
        *ret_body = reader->body;
        *ret_body_bytes = reader->body_bytes;
        *reader = (struct frame_reader){.limit_bytes = reader->limit_bytes};
    }
    return LEGO_OK;
}

size_t frame_reader_room(struct frame_reader *reader, uint8_t **ret_room)
{
    size_t missing = reader->body_bytes - reader->have_bytes;
    if (reader->header_bytes < IPC_FRAME_HEADER_BYTES || missing <= MINIMUM_ROOM)
        return 0;
    if (reader->capacity - reader->have_bytes < MINIMUM_ROOM && grow(reader, NULL) != LEGO_OK)
        return 0;
    *ret_room = reader->body + reader->have_bytes;
    return lego_min_size(reader->capacity - reader->have_bytes, missing - 1);
}

void frame_reader_advance(struct frame_reader *reader, size_t bytes)
{
    reader->have_bytes += bytes;
}
