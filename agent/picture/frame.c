/* Checks of a frame's description, the way over whole pictures, and the way back. */
#include "agent/picture/frame.h"
#include "agent/picture/layout.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct frame_layout LAYOUTS[] = {
    {PICTURE_RGB24,
     "RGB24",
     1,
     3,
     false,
     {{3, 1, 1}},
     {{0, 0, 3, 1, 1}, {0, 1, 3, 1, 1}, {0, 2, 3, 1, 1}}},
    {PICTURE_BGR24,
     "BGR24",
     1,
     3,
     false,
     {{3, 1, 1}},
     {{0, 2, 3, 1, 1}, {0, 1, 3, 1, 1}, {0, 0, 3, 1, 1}}},
    {PICTURE_RGBA,
     "RGBA",
     1,
     3,
     false,
     {{4, 1, 1}},
     {{0, 0, 4, 1, 1}, {0, 1, 4, 1, 1}, {0, 2, 4, 1, 1}}},
    {PICTURE_GREY, "GREY", 1, 1, false, {{1, 1, 1}}, {{0, 0, 1, 1, 1}}},
    {PICTURE_NV12,
     "NV12",
     2,
     3,
     true,
     {{1, 1, 1}, {2, 2, 2}},
     {{0, 0, 1, 1, 1}, {1, 0, 2, 2, 2}, {1, 1, 2, 2, 2}}},
    {PICTURE_NV21,
     "NV21",
     2,
     3,
     true,
     {{1, 1, 1}, {2, 2, 2}},
     {{0, 0, 1, 1, 1}, {1, 1, 2, 2, 2}, {1, 0, 2, 2, 2}}},
    {PICTURE_I420,
     "I420",
     3,
     3,
     true,
     {{1, 1, 1}, {1, 2, 2}, {1, 2, 2}},
     {{0, 0, 1, 1, 1}, {1, 0, 1, 2, 2}, {2, 0, 1, 2, 2}}},
    {PICTURE_YUYV,
     "YUYV",
     1,
     3,
     true,
     {{4, 2, 1}},
     {{0, 0, 2, 1, 1}, {0, 1, 4, 2, 1}, {0, 3, 4, 2, 1}}},
};

const struct frame_layout *frame_layout_find(uint32_t fourcc)
{
    for (size_t i = 0; i < sizeof(LAYOUTS) / sizeof(LAYOUTS[0]); i++)
        if (LAYOUTS[i].fourcc == fourcc)
            return &LAYOUTS[i];
    return NULL;
}

/* ---- checks ---- */

/* All planes lie in the frame's bytes; those that are not given are laid out. */
static int check_planes(struct picture_frame *frame, const struct frame_layout *layout,
                        const char *name, struct lego_diag *diag)
{
    bool given = frame->plane_count > 0;
    uint64_t next = 0;
    if (given && frame->plane_count != layout->plane_count)
        return lego_fail(diag, LEGO_E_INVALID, "%s: planes: %s has %u, %u are given", name,
                         layout->name, layout->plane_count, frame->plane_count);
    frame->plane_count = layout->plane_count;
    for (uint32_t i = 0; i < layout->plane_count; i++) {
        const struct frame_plane_layout *form = &layout->planes[i];
        struct picture_plane *plane = &frame->planes[i];
        uint64_t row = lego_div_up(frame->width, form->pixels) * (uint64_t)form->bytes;
        uint64_t rows = lego_div_up(frame->height, form->rows), span, end;
        size_t bytes = given && frame->apart[i].bytes > 0 ? frame->apart[i].bytes : frame->bytes;
        if (!given)
            *plane = (struct picture_plane){.offset = next};
        if (plane->stride == 0)
            plane->stride = row;
        if (plane->stride < row)
            return lego_fail(diag, LEGO_E_INVALID,
                             "%s: planes[%u].stride: %llu bytes are less than a row's %llu", name,
                             i, (unsigned long long)plane->stride, (unsigned long long)row);
        if (__builtin_mul_overflow(rows - 1, plane->stride, &span) ||
            __builtin_add_overflow(span, row, &span) ||
            __builtin_add_overflow(span, plane->offset, &end) || end > bytes)
            return lego_fail(diag, LEGO_E_INVALID,
                             "%s: planes[%u]: %llu rows of stride %llu at offset %llu do not lie "
                             "in the %zu bytes that there are",
                             name, i, (unsigned long long)rows, (unsigned long long)plane->stride,
                             (unsigned long long)plane->offset, bytes);
        next = plane->offset + rows * plane->stride;
    }
    return LEGO_OK;
}

static int check_crop(struct picture_frame *frame, const char *name, struct lego_diag *diag)
{
    struct picture_rectangle *crop = &frame->crop;
    if (!crop->x && !crop->y && !crop->width && !crop->height)
        *crop = (struct picture_rectangle){.width = frame->width, .height = frame->height};
    if (crop->width == 0 || crop->height == 0 || crop->x > frame->width ||
        crop->y > frame->height || crop->width > frame->width - crop->x ||
        crop->height > frame->height - crop->y)
        return lego_fail(diag, LEGO_E_INVALID,
                         "%s: crop: %ux%u at (%u, %u) does not lie in %ux%u, or is empty", name,
                         crop->width, crop->height, crop->x, crop->y, frame->width, frame->height);
    return LEGO_OK;
}

static int check_choices(const struct picture_frame *frame, const char *name,
                         struct lego_diag *diag)
{
    if (frame->rotation % 90 != 0 || frame->rotation > 270)
        return lego_fail(diag, LEGO_E_INVALID, "%s: rotation: %u is not 0, 90, 180 or 270", name,
                         frame->rotation);
    if ((unsigned)frame->resize > PICTURE_RESIZE_LETTERBOX)
        return lego_fail(diag, LEGO_E_INVALID, "%s: resize: there is no mode %d", name,
                         (int)frame->resize);
    if ((unsigned)frame->filter > PICTURE_FILTER_AREA)
        return lego_fail(diag, LEGO_E_INVALID, "%s: filter: there is none of number %d", name,
                         (int)frame->filter);
    return LEGO_OK;
}

int picture_frame_check(struct picture_frame *frame, const char *name, struct lego_diag *diag)
{
    const struct frame_layout *layout = frame_layout_find(frame->fourcc);
    bool jpeg = frame->fourcc == PICTURE_MJPEG;
    int status = check_choices(frame, name, diag);
    if (status != LEGO_OK)
        return status;
    if (!layout && !jpeg)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "%s: fourcc: 0x%08x is none of RGB3, BGR3, AB24, GREY, NV12, NV21, YU12, "
                         "YUYV and MJPG",
                         name, frame->fourcc);
    if (jpeg) /* the rest is known once it is decoded */
        return frame->bytes > 0 && frame->plane_count == 0
                   ? LEGO_OK
                   : lego_fail(diag, LEGO_E_INVALID, "%s: %s", name,
                               frame->bytes > 0 ? "planes: MJPG has none"
                                                : "the picture has no bytes");
    if (frame->width == 0 || frame->height == 0 || frame->width > PICTURE_MAX_SIDE ||
        frame->height > PICTURE_MAX_SIDE)
        return lego_fail(diag, LEGO_E_INVALID, "%s: width and height: %ux%u is not in 1 to %u",
                         name, frame->width, frame->height, PICTURE_MAX_SIDE);
    status = check_planes(frame, layout, name, diag);
    return status == LEGO_OK ? check_crop(frame, name, diag) : status;
}

/* ---- whole pictures ---- */

/* Where a pixel of the rotated picture comes from in the cut one, in steps from the first. */
struct walk {
    uint32_t width, height; /* of the rotated picture */
    ptrdiff_t start, right, down;
};

static struct walk walk_of(const struct picture_frame *frame, ptrdiff_t pixel, ptrdiff_t row)
{
    uint32_t width = frame->crop.width, height = frame->crop.height;
    ptrdiff_t last_column = (ptrdiff_t)(width - 1) * pixel;
    ptrdiff_t last_row = (ptrdiff_t)(height - 1) * row;
    switch (frame->rotation) {
    case 90:
        return (struct walk){height, width, last_row, -row, pixel};
    case 180:
        return (struct walk){width, height, last_row + last_column, -pixel, -row};
    case 270:
        return (struct walk){height, width, last_column, row, -pixel};
    default:
        return (struct walk){width, height, 0, pixel, row};
    }
}

/* The cut and rotated picture of a frame of one plane without chroma, malloc'ed or, where it lies
 * so already, borrowed: then ret_owned is false. */
static int to_picture(const struct picture_frame *frame, const struct frame_layout *layout,
                      struct lego_picture *ret_picture, bool *ret_owned, struct lego_diag *diag)
{
    uint32_t channels = layout->channel_count;
    size_t stride = (size_t)frame->planes[0].stride, pixel = layout->channels[0].step;
    const uint8_t *from =
        frame_plane_first(frame, 0) + frame->crop.y * stride + frame->crop.x * pixel;
    struct walk walk = walk_of(frame, (ptrdiff_t)pixel, (ptrdiff_t)stride);
    struct lego_picture picture = {walk.width, walk.height, channels, stride,
                                   (uint8_t *)(uintptr_t)from};
    *ret_owned =
        frame->rotation != 0 || (frame->fourcc != PICTURE_RGB24 && frame->fourcc != PICTURE_GREY);
    if (*ret_owned) {
        picture.stride = (size_t)walk.width * channels;
        picture.pixels = malloc(picture.stride * walk.height);
        if (!picture.pixels)
            return lego_fail(diag, LEGO_E_NOMEM, "no memory for a picture of %ux%u", walk.width,
                             walk.height);
        uint8_t *to = picture.pixels;
        for (uint32_t y = 0; y < walk.height; y++) {
            const uint8_t *row = from + walk.start + (ptrdiff_t)y * walk.down;
            for (uint32_t x = 0; x < walk.width; x++, row += walk.right)
                for (uint32_t c = 0; c < channels; c++)
                    *to++ = row[layout->channels[c].offset];
        }
    }
    *ret_picture = picture;
    return LEGO_OK;
}

static int apply_picture(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                         const struct picture_frame *frame, const struct frame_layout *layout,
                         bool corner, float *out, size_t elems, struct lego_diag *diag)
{
    struct lego_picture picture;
    bool owned;
    int status = to_picture(frame, layout, &picture, &owned, diag);
    if (status != LEGO_OK)
        return status;
    status = preprocess_apply_placed(kernels, preprocess, &picture, corner, out, elems, diag);
    if (owned)
        picture_clear(&picture);
    return status;
}

/* ---- the way back ---- */

static struct picture_map map_of(const struct picture_frame *frame, const struct span *x,
                                 const struct span *y)
{
    const struct picture_rectangle *crop = &frame->crop;
    bool turned = frame->rotation == 90 || frame->rotation == 270;
    double across = (double)(turned ? crop->height : crop->width) / x->resized;
    double down = (double)(turned ? crop->width : crop->height) / y->resized;
    /* In the rotated picture: (across * u + right, down * v + below). */
    double right = ((double)x->from - x->to) * across, below = ((double)y->from - y->to) * down;
    double left = crop->x, top = crop->y;
    switch (frame->rotation) {
    case 90:
        return (struct picture_map){.x = {0, down, left + below},
                                    .y = {-across, 0, top + crop->height - right}};
    case 180:
        return (struct picture_map){.x = {-across, 0, left + crop->width - right},
                                    .y = {0, -down, top + crop->height - below}};
    case 270:
        return (struct picture_map){.x = {0, -down, left + crop->width - below},
                                    .y = {across, 0, top + right}};
    default:
        return (struct picture_map){.x = {across, 0, left + right}, .y = {0, down, top + below}};
    }
}

/* The whole pixels of the crop between two points of the frame along one axis, one at least. */
static void seen_along(double a, double b, uint32_t crop_from, uint32_t crop_size,
                       uint32_t *ret_from, uint32_t *ret_size)
{
    double end = (double)crop_from + crop_size;
    double low = fmin(fmax(round(fmin(a, b)), crop_from), end - 1);
    double high = fmin(fmax(round(fmax(a, b)), low + 1), end);
    *ret_from = (uint32_t)low;
    *ret_size = (uint32_t)(high - low);
}

static struct picture_rectangle seen_of(const struct picture_map *map,
                                        const struct picture_rectangle *crop, const struct span *x,
                                        const struct span *y)
{
    double u[2] = {x->to, (double)x->to + x->count}, v[2] = {y->to, (double)y->to + y->count};
    double across[2], down[2];
    struct picture_rectangle seen;
    for (int i = 0; i < 2; i++) {
        across[i] = map->x[0] * u[i] + map->x[1] * v[i] + map->x[2];
        down[i] = map->y[0] * u[i] + map->y[1] * v[i] + map->y[2];
    }
    seen_along(across[0], across[1], crop->x, crop->width, &seen.x, &seen.width);
    seen_along(down[0], down[1], crop->y, crop->height, &seen.y, &seen.height);
    return seen;
}

/* ---- all of it ---- */

/* What the frame says over what the model says. */
static struct lego_preprocess choose(const struct lego_preprocess *preprocess,
                                     const struct picture_frame *frame)
{
    static const enum lego_resize RESIZES[] = {LEGO_RESIZE_STRETCH, LEGO_RESIZE_STRETCH,
                                               LEGO_RESIZE_SHORTEST, LEGO_RESIZE_LETTERBOX,
                                               LEGO_RESIZE_LETTERBOX};
    struct lego_preprocess chosen = *preprocess;
    if (frame->resize == PICTURE_RESIZE_MODEL)
        return chosen;
    if (chosen.resize != RESIZES[frame->resize])
        chosen.resize_side = 0;
    chosen.resize = RESIZES[frame->resize];
    return chosen;
}

static int apply(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                 const struct picture_frame *frame, float *out, size_t elems,
                 struct picture_map *ret_map, struct lego_diag *diag)
{
    const struct frame_layout *layout = frame_layout_find(frame->fourcc);
    struct lego_preprocess chosen = choose(preprocess, frame);
    bool corner = frame->resize == PICTURE_RESIZE_LONGEST;
    int status;
    if (elems != preprocess_elems(preprocess))
        return lego_fail(diag, LEGO_E_SHAPE, "the input has %zu elements, a picture makes %zu",
                         elems, preprocess_elems(preprocess));
    if (!layout->luma_chroma && frame->filter == PICTURE_FILTER_MODEL)
        status = apply_picture(kernels, &chosen, frame, layout, corner, out, elems, diag);
    else
        status = frame_apply_planes(kernels, &chosen, frame, corner, out, diag);
    if (status == LEGO_OK && ret_map) {
        bool turned = frame->rotation == 90 || frame->rotation == 270;
        struct span x, y;
        preprocess_place(&chosen, turned ? frame->crop.height : frame->crop.width,
                         turned ? frame->crop.width : frame->crop.height, corner, &x, &y);
        *ret_map = map_of(frame, &x, &y);
        ret_map->seen = seen_of(ret_map, &frame->crop, &x, &y);
    }
    return status;
}

/* The decoded picture takes the place of its bytes. */
static int apply_jpeg(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                      const struct picture_frame *frame, const char *name, float *out, size_t elems,
                      struct picture_map *ret_map, struct lego_diag *diag)
{
    static const uint8_t SIGNATURE[3] = {0xff, 0xd8, 0xff};
    struct lego_picture picture = {0};
    /* A private copy: a decoder must not meet bytes that change under it. */
    uint8_t *copy = malloc(frame->bytes);
    if (!copy)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory for %zu bytes", name, frame->bytes);
    memcpy(copy, frame->data, frame->bytes);
    int status = LEGO_OK;
    if (frame->bytes < sizeof(SIGNATURE) || memcmp(copy, SIGNATURE, sizeof(SIGNATURE)))
        status =
            lego_fail(diag, LEGO_E_FORMAT, "%s: broken JPEG picture: it begins otherwise", name);
    if (status == LEGO_OK)
        status = picture_decode(copy, frame->bytes, name, &picture, diag);
    free(copy);
    if (status != LEGO_OK)
        return status;
    struct picture_frame decoded = *frame;
    decoded.fourcc = picture.channels == 1 ? PICTURE_GREY : PICTURE_RGB24;
    decoded.data = picture.pixels;
    decoded.bytes = picture.stride * picture.height;
    decoded.width = picture.width;
    decoded.height = picture.height;
    if ((frame->width && frame->width != picture.width) ||
        (frame->height && frame->height != picture.height))
        status = lego_fail(diag, LEGO_E_INVALID,
                           "%s: width and height: %ux%u is said, the JPEG picture is %ux%u", name,
                           frame->width, frame->height, picture.width, picture.height);
    if (status == LEGO_OK)
        status = picture_frame_check(&decoded, name, diag);
    if (status == LEGO_OK)
        status = apply(kernels, preprocess, &decoded, out, elems, ret_map, diag);
    picture_clear(&picture);
    return status;
}

int picture_frame_apply(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                        const struct picture_frame *frame, const char *name, float *out,
                        size_t elems, struct picture_map *ret_map, struct lego_diag *diag)
{
    if (frame->fourcc == PICTURE_MJPEG)
        return apply_jpeg(kernels, preprocess, frame, name, out, elems, ret_map, diag);
    return apply(kernels, preprocess, frame, out, elems, ret_map, diag);
}
