/*
 * Cuts a byte stream into frames. What a peer claims costs nothing: a body's buffer grows with the
 * bytes that have come, at most twofold.
 */
#ifndef LEGO_SERVICE_FRAME_READER_H
#define LEGO_SERVICE_FRAME_READER_H

#include "agent/proto/frame.h"

#include <stdbool.h>

struct frame_reader {
    size_t limit_bytes; /* of a body; set by the owner, all else zero at first */
    uint8_t header[IPC_FRAME_HEADER_BYTES];
    unsigned header_bytes;
    uint8_t *body; /* the frame in the making */
    size_t body_bytes, have_bytes, capacity;
};

void frame_reader_clear(struct frame_reader *reader);

/* True in the middle of a frame. */
bool frame_reader_is_partial(const struct frame_reader *reader);

/*
 * Takes up to `bytes` bytes, at most to the end of one frame, and says how many in *ret_used.
 * Where the frame is complete *ret_body is its malloc'ed body, the caller's, else NULL. E_LIMIT,
 * E_FORMAT as ipc_frame_length, E_NOMEM: the stream is lost.
 */
int frame_reader_push(struct frame_reader *reader, const uint8_t *data, size_t bytes,
                      size_t *ret_used, uint8_t **ret_body, size_t *ret_body_bytes,
                      struct lego_diag *diag);

/*
 * Room to read the rest of a large body into without a copy; 0 bytes where there is none to gain.
 * What was read there is given to frame_reader_advance before anything is pushed; the last byte of
 * a body is never read so, so that only push completes frames.
 */
size_t frame_reader_room(struct frame_reader *reader, uint8_t **ret_room);
void frame_reader_advance(struct frame_reader *reader, size_t bytes);

#endif
