/*
 * Frames: pictures as cameras and decoders leave them in memory, brought to a model's input.
 *
 * Whoever describes a frame may lie: picture_frame_check says what is wrong before anything is
 * read. The pixels may change while they are read; what comes out is then some picture.
 */
#ifndef LEGO_PICTURE_FRAME_H
#define LEGO_PICTURE_FRAME_H

#include "agent/picture/picture.h"
#include "codec/kernels/kernels.h"

/* V4L2's pixel formats, which are numbers of four characters. */
#define PICTURE_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define PICTURE_RGB24 PICTURE_FOURCC('R', 'G', 'B', '3')
#define PICTURE_BGR24 PICTURE_FOURCC('B', 'G', 'R', '3')
#define PICTURE_RGBA  PICTURE_FOURCC('A', 'B', '2', '4') /* R, G, B, A in memory */
#define PICTURE_GREY  PICTURE_FOURCC('G', 'R', 'E', 'Y')
#define PICTURE_NV12  PICTURE_FOURCC('N', 'V', '1', '2')
#define PICTURE_NV21  PICTURE_FOURCC('N', 'V', '2', '1')
#define PICTURE_I420  PICTURE_FOURCC('Y', 'U', '1', '2')
#define PICTURE_YUYV  PICTURE_FOURCC('Y', 'U', 'Y', 'V')
#define PICTURE_MJPEG PICTURE_FOURCC('M', 'J', 'P', 'G')

#define PICTURE_MAX_PLANES 3

enum picture_filter {
    PICTURE_FILTER_MODEL = 0,    /* as preprocess_apply: a triangle as wide as the scale */
    PICTURE_FILTER_BILINEAR = 1, /* the nearest two pixels of each axis, whatever the scale */
    PICTURE_FILTER_AREA = 2,     /* the mean of what shrinks into a pixel; enlarges bilinearly */
};

enum picture_resize {
    PICTURE_RESIZE_MODEL = 0, /* as the preprocessing says */
    PICTURE_RESIZE_STRETCH = 1,
    PICTURE_RESIZE_SHORTEST = 2,
    PICTURE_RESIZE_LONGEST = 3, /* the longer side fits, upper left; the rest is padded */
    PICTURE_RESIZE_LETTERBOX = 4,
};

struct picture_plane {
    uint64_t offset, stride; /* bytes from the frame's first; from row to row, 0: no gaps */
};

/* Memory that a plane has for itself, as V4L2's multi-planar formats have it. */
struct picture_memory {
    const uint8_t *data; /* borrowed */
    size_t bytes;        /* 0: the plane lies in the frame's own memory */
};

struct picture_rectangle {
    uint32_t x, y, width, height;
};

struct picture_frame {
    uint32_t fourcc;
    uint32_t width, height; /* 1 to 16384; of MJPEG: 0: as the picture says */
    const uint8_t *data;    /* borrowed */
    size_t bytes;
    uint32_t plane_count; /* 0: planes one after the other without gaps */
    struct picture_plane planes[PICTURE_MAX_PLANES];
    struct picture_memory apart[PICTURE_MAX_PLANES]; /* of planes that are given */
    struct picture_rectangle crop;                   /* all 0: the whole frame */
    uint32_t rotation; /* degrees clockwise, after the crop: 0, 90, 180, 270 */
    enum picture_resize resize;
    enum picture_filter filter;
    bool bt709, full_range; /* of luma and chroma; else BT.601, limited */
};

/* From a point of the model's input to the frame: x = x[0] * u + x[1] * v + x[2], so for y; both in
 * pixels, (0, 0) the upper left corner of the first. */
struct picture_map {
    double x[3], y[3];
    struct picture_rectangle seen; /* the frame's pixels that the input shows, never empty */
};

/*
 * Fills in planes that are not given, and checks that the frame lies in its bytes (of which it
 * looks at none) and that every number makes sense. E_INVALID, E_LIMIT, E_UNSUPPORTED: a format
 * that is not known; the diag begins with `name` and names the field.
 */
int picture_frame_check(struct picture_frame *frame, const char *name, struct lego_diag *diag);

/*
 * A checked frame -> `elems` floats (preprocess_elems) in the preprocessing's layout, and how its
 * pixels map back. RGB, BGR, RGBA, GREY and MJPEG with PICTURE_FILTER_MODEL give exactly what
 * preprocess_apply gives for the cut and rotated picture. Otherwise planes are resized first, in
 * 16-bit fixed point, chroma as if centred in the pixels that it is for, then colours are computed,
 * within 1 of 255 of exact arithmetic. ret_map may be NULL. Errors: E_FORMAT (broken MJPEG),
 * E_INVALID, E_SHAPE, E_LIMIT, E_NOMEM. Any thread.
 */
int picture_frame_apply(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                        const struct picture_frame *frame, const char *name, float *out,
                        size_t elems, struct picture_map *ret_map, struct lego_diag *diag);

#endif
