/*
 * How pixels of each format lie in memory, and where a resized picture lies in a model's input. For
 * this module's own use.
 */
#ifndef LEGO_PICTURE_LAYOUT_H
#define LEGO_PICTURE_LAYOUT_H

#include "agent/picture/frame.h"

struct frame_plane_layout {
    uint8_t bytes, pixels; /* a group of `pixels` pixels of a row takes `bytes` bytes */
    uint8_t rows;          /* of the picture to one of the plane */
};

struct frame_channel_layout {
    uint8_t plane, offset, step; /* bytes into the plane's row, and from sample to sample */
    uint8_t columns, rows;       /* of the picture to a sample */
};

struct frame_layout {
    uint32_t fourcc;
    char name[8];
    uint8_t plane_count, channel_count;
    bool luma_chroma; /* channels are Y, Cb, Cr; else R, G, B or grey */
    struct frame_plane_layout planes[PICTURE_MAX_PLANES];
    struct frame_channel_layout channels[3];
};

static inline const uint8_t *frame_plane_first(const struct picture_frame *frame, uint32_t index)
{
    const struct picture_memory *apart = &frame->apart[index];
    return (apart->bytes > 0 ? apart->data : frame->data) + frame->planes[index].offset;
}

/* NULL for MJPEG, and for what is not known. */
const struct frame_layout *frame_layout_find(uint32_t fourcc);

/* Where the resized picture and the model's input overlap, in one axis. */
struct span {
    uint32_t resized;     /* size of the whole resized picture */
    uint32_t from, count; /* of the resized picture */
    uint32_t to;          /* position in the input */
};

/* Places a picture of that size in the input. `corner`: at the upper left, not centred. */
void preprocess_place(const struct lego_preprocess *preprocess, uint32_t width, uint32_t height,
                      bool corner, struct span *ret_x, struct span *ret_y);

/* preprocess_apply, `corner` as above, `kernels` as in resize.h. */
int preprocess_apply_placed(const struct kern_table *kernels,
                            const struct lego_preprocess *preprocess,
                            const struct lego_picture *picture, bool corner, float *out,
                            size_t elems, struct lego_diag *diag);

/* Elements of the input that no pixel reaches, all of them. */
void preprocess_fill_padding(const struct lego_preprocess *preprocess, float *out);

/* frame_planes.c: resizes planes of a checked frame that has a layout, then turns them into
 * colours. */
int frame_apply_planes(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                       const struct picture_frame *frame, bool corner, float *out,
                       struct lego_diag *diag);

#endif
