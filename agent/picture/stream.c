#include "agent/picture/stream.h"

#include "agent/picture/decode.h"
#include "codec/base/arith.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Y4M_MAGIC      "YUV4MPEG2"
#define Y4M_FRAME      "FRAME"
#define MAX_LINE       1024
#define FIRST_BYTES    65536u
#define MAX_JPEG_BYTES ((size_t)64 << 20)

/* JPEG's markers behind 0xFF. */
enum {
    MARKER_STUFFED = 0x00,
    MARKER_RST0 = 0xD0,
    MARKER_RST7 = 0xD7,
    MARKER_SOI = 0xD8,
    MARKER_EOI = 0xD9,
};

struct picture_stream {
    FILE *file;
    const char *name;
    uint8_t *data;
    size_t bytes, capacity;
    uint64_t number; /* of frames that were read */
    bool jpeg;
    struct picture_frame y4m; /* of every frame */
};

static int fail(struct picture_stream *stream, int status, const char *what, struct lego_diag *diag)
{
    if (ferror(stream->file))
        return lego_fail_errno(diag, errno, "%s", stream->name);
    return lego_fail(diag, status, "%s: frame %llu %s", stream->name,
                     (unsigned long long)stream->number + 1, what);
}

/* ---- YUV4MPEG2 ---- */

/* A line without its end into `line`; false where it is longer, or the file ends in it. */
static bool read_line(FILE *file, char line[MAX_LINE])
{
    size_t length = 0;
    int c;
    while ((c = getc(file)) != EOF && c != '\n' && length < MAX_LINE - 1)
        line[length++] = (char)c;
    line[length] = '\0';
    return c == '\n';
}

static bool parse_side(const char *text, uint32_t *ret_side)
{
    char *end;
    errno = 0;
    unsigned long side = strtoul(text, &end, 10);
    if (end == text || *end || errno || side > PICTURE_MAX_SIDE)
        return false;
    *ret_side = (uint32_t)side;
    return true;
}

/* One parameter of the header: what does not matter here is passed over. */
static int parse_parameter(struct picture_stream *stream, const char *text, struct lego_diag *diag)
{
    struct picture_frame *frame = &stream->y4m;
    bool good = true;
    if (text[0] == 'W')
        good = parse_side(text + 1, &frame->width);
    else if (text[0] == 'H')
        good = parse_side(text + 1, &frame->height);
    else if (text[0] == 'C' && strcmp(text, "Cmono") == 0)
        frame->fourcc = PICTURE_GREY;
    else if (text[0] == 'C' && (strncmp(text, "C420", 4) != 0 || text[4] == 'p') &&
             strcmp(text, "C420paldv") != 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "%s: chroma '%.32s' is not read, only 4:2:0 of 8 bits", stream->name,
                         text + 1);
    else if (strcmp(text, "XCOLORRANGE=FULL") == 0)
        frame->full_range = true;
    return good ? LEGO_OK
                : lego_fail(diag, LEGO_E_FORMAT, "%s: '%.32s' in its header makes no sense",
                            stream->name, text);
}

static int open_y4m(struct picture_stream *stream, struct lego_diag *diag)
{
    char line[MAX_LINE], *rest = NULL;
    stream->y4m.fourcc = PICTURE_I420;
    if (!read_line(stream->file, line) || !strtok_r(line, " ", &rest) ||
        strcmp(line, Y4M_MAGIC) != 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: its YUV4MPEG2 header is broken", stream->name);
    for (char *text; (text = strtok_r(NULL, " ", &rest)) != NULL;) {
        int status = parse_parameter(stream, text, diag);
        if (status != LEGO_OK)
            return status;
    }
    int status = picture_check_size(stream->y4m.width, stream->y4m.height, stream->name, diag);
    if (status != LEGO_OK)
        return status;
    size_t width = stream->y4m.width, height = stream->y4m.height;
    stream->bytes = width * height;
    if (stream->y4m.fourcc == PICTURE_I420)
        stream->bytes += 2 * ((width + 1) / 2) * ((height + 1) / 2);
    stream->data = malloc(stream->bytes);
    return stream->data ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
}

static int next_y4m(struct picture_stream *stream, bool *ret_end, struct lego_diag *diag)
{
    char line[MAX_LINE];
    int first = getc(stream->file);
    if (first == EOF && !ferror(stream->file)) {
        *ret_end = true;
        return LEGO_OK;
    }
    ungetc(first, stream->file);
    if (!read_line(stream->file, line) || strncmp(line, Y4M_FRAME, strlen(Y4M_FRAME)) != 0)
        return fail(stream, LEGO_E_FORMAT, "does not begin with FRAME", diag);
    if (fread(stream->data, 1, stream->bytes, stream->file) != stream->bytes)
        return fail(stream, LEGO_E_FORMAT, "is cut short", diag);
    return LEGO_OK;
}

/* ---- JPEG pictures ---- */

static int keep(struct picture_stream *stream, int byte, struct lego_diag *diag)
{
    if (byte == EOF)
        return fail(stream, LEGO_E_FORMAT, "is cut short", diag);
    if (stream->bytes == MAX_JPEG_BYTES)
        return fail(stream, LEGO_E_LIMIT, "has more than 64 MiB", diag);
    if (stream->bytes == stream->capacity) {
        size_t capacity = lego_max_size(2 * stream->capacity, FIRST_BYTES);
        uint8_t *data = realloc(stream->data, capacity);
        if (!data)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
        stream->data = data;
        stream->capacity = capacity;
    }
    stream->data[stream->bytes++] = (uint8_t)byte;
    return LEGO_OK;
}

/* Keeps bytes up to and with the next marker, which is no stuffing and no restart. */
static int next_marker(struct picture_stream *stream, int *ret_marker, struct lego_diag *diag)
{
    int before = 0, byte = 0, status;
    do {
        before = byte;
        byte = getc(stream->file);
        status = keep(stream, byte, diag);
        if (status != LEGO_OK)
            return status;
    } while (before != 0xFF || byte == 0xFF || byte == MARKER_STUFFED ||
             (byte >= MARKER_RST0 && byte <= MARKER_RST7));
    *ret_marker = byte;
    return LEGO_OK;
}

/* Keeps a segment, whose length comes first: what is in it, as a thumbnail, is no marker. */
static int keep_segment(struct picture_stream *stream, struct lego_diag *diag)
{
    size_t start = stream->bytes, length = 2;
    int status = LEGO_OK;
    while (status == LEGO_OK && stream->bytes - start < length) {
        status = keep(stream, getc(stream->file), diag);
        if (status == LEGO_OK && stream->bytes - start == 2)
            length = (size_t)stream->data[start] << 8 | stream->data[start + 1];
    }
    return status;
}

static int next_jpeg(struct picture_stream *stream, bool *ret_end, struct lego_diag *diag)
{
    int first = getc(stream->file), marker = 0;
    stream->bytes = 0;
    if (first == EOF && !ferror(stream->file)) {
        *ret_end = true;
        return LEGO_OK;
    }
    int status = keep(stream, first, diag);
    if (status == LEGO_OK)
        status = keep(stream, getc(stream->file), diag);
    if (status == LEGO_OK && (stream->data[0] != 0xFF || stream->data[1] != MARKER_SOI))
        return fail(stream, LEGO_E_FORMAT, "does not begin as a JPEG picture", diag);
    while (status == LEGO_OK && marker != MARKER_EOI) {
        status = next_marker(stream, &marker, diag);
        if (status == LEGO_OK && marker != MARKER_EOI)
            status = keep_segment(stream, diag);
    }
    return status;
}

/* ---- Both ---- */

int picture_stream_open(const char *path, struct picture_stream **ret_stream,
                        struct lego_diag *diag)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rbe");
    if (!file)
        return lego_fail_errno(diag, errno, "%s", path);
    struct picture_stream *stream = calloc(1, sizeof(*stream));
    if (!stream) {
        if (!standard)
            fclose(file);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    stream->file = file;
    stream->name = path;
    int first = getc(file), status = LEGO_OK;
    ungetc(first, file);
    stream->jpeg = first == 0xFF;
    if (first == Y4M_MAGIC[0])
        status = open_y4m(stream, diag);
    else if (!stream->jpeg)
        status = ferror(file) ? lego_fail_errno(diag, errno, "%s", path)
                              : lego_fail(diag, LEGO_E_FORMAT,
                                          "%s is neither YUV4MPEG2 nor a JPEG picture", path);
    if (status != LEGO_OK)
        picture_stream_close(stream);
    else
        *ret_stream = stream;
    return status;
}

int picture_stream_next(struct picture_stream *stream, struct picture_frame *ret_frame,
                        bool *ret_end, struct lego_diag *diag)
{
    *ret_end = false;
    int status = stream->jpeg ? next_jpeg(stream, ret_end, diag) : next_y4m(stream, ret_end, diag);
    if (status != LEGO_OK || *ret_end)
        return status;
    *ret_frame = stream->jpeg ? (struct picture_frame){.fourcc = PICTURE_MJPEG} : stream->y4m;
    ret_frame->data = stream->data;
    ret_frame->bytes = stream->bytes;
    stream->number++;
    return LEGO_OK;
}

void picture_stream_close(struct picture_stream *stream)
{
    if (!stream)
        return;
    if (stream->file != stdin)
        fclose(stream->file);
    free(stream->data);
    free(stream);
}
