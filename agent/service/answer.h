/* Frames of answers that are not an inference's. Any thread. */
#ifndef LEGO_SERVICE_ANSWER_H
#define LEGO_SERVICE_ANSWER_H

#include "agent/proto/frame.h"

/* A frame with a status and a sentence (bytes that are no UTF-8 become "?", as the protocol's text
 * must be), malloc'ed; NULL where memory is out. */
uint8_t *answer_error_frame(uint64_t id, int status, const char *text, size_t *ret_frame_bytes);

#endif
