/*
 * Streams of pictures: YUV4MPEG2 (.y4m: 4:2:0 and grey, 8 bits) and JPEG pictures one after the
 * other (.mjpeg; a JPEG file is a stream of one). The bytes are taken to be hostile.
 */
#ifndef LEGO_PICTURE_STREAM_H
#define LEGO_PICTURE_STREAM_H

#include "agent/picture/frame.h"

struct picture_stream;

/* `path` "-": standard input. Errors: E_NOT_FOUND, E_PERMISSION, E_IO; E_FORMAT: neither of the
 * two, or broken; E_UNSUPPORTED: another chroma; E_LIMIT; E_NOMEM. The diag begins with the path.
 */
int picture_stream_open(const char *path, struct picture_stream **ret_stream,
                        struct lego_diag *diag);

/* The next frame, whose data stay until the next call; at the end `*ret_end` is set and no frame.
 * E_FORMAT: cut short or broken, with the number of the frame, from 1. */
int picture_stream_next(struct picture_stream *stream, struct picture_frame *ret_frame,
                        bool *ret_end, struct lego_diag *diag);

void picture_stream_close(struct picture_stream *stream); /* NULL is ignored */

#endif
