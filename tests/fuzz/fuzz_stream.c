/*
 * Streams as anybody may pipe them into the tool: whatever a stream gives as a frame must lie in
 * its bytes, and what a stream of JPEG pictures gives must end as one.
 */
#include "agent/picture/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FRAMES 16
#define MAX_PIXELS (1u << 20) /* larger ones are read in the same way, only slower */

static volatile uint8_t sink;

static void look_at(struct picture_frame *frame)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    if (frame->fourcc == PICTURE_MJPEG) {
        if (frame->bytes < 4 || frame->data[frame->bytes - 1] != 0xD9)
            abort();
        return;
    }
    if (picture_frame_check(frame, "fuzz", &diag) != LEGO_OK)
        abort();
    for (size_t i = 0; i < frame->bytes; i += 64)
        sink = frame->data[i];
    sink = frame->data[frame->bytes - 1];
}

/* The header's sides are not known before the stream is open, which allocates for them. */
static bool large(const uint8_t *data, size_t size)
{
    unsigned long width = 1, height = 1;
    char header[128];
    size_t length = size < sizeof(header) - 1 ? size : sizeof(header) - 1;
    for (size_t i = 0; i < length; i++)
        header[i] = (char)(data[i] ? data[i] : 1);
    header[length] = '\0';
    for (char *at = header; *at; at++) {
        if (at[0] == ' ' && at[1] == 'W')
            width = strtoul(at + 2, NULL, 10);
        if (at[0] == ' ' && at[1] == 'H')
            height = strtoul(at + 2, NULL, 10);
    }
    return width <= PICTURE_MAX_SIDE && height <= PICTURE_MAX_SIDE && width * height > MAX_PIXELS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct picture_stream *stream = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char path[64];
    if (large(data, size))
        return 0;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int status = picture_stream_open(path, &stream, &diag);
    bool end = false;
    for (int i = 0; status == LEGO_OK && !end && i < MAX_FRAMES; i++) {
        struct picture_frame frame;
        status = picture_stream_next(stream, &frame, &end, &diag);
        if (status == LEGO_OK && !end)
            look_at(&frame);
    }
    if (status != LEGO_OK && !diag.text[0])
        abort(); /* every refusal has its sentence */
    picture_stream_close(stream);
    close(fd);
    return 0;
}
