/*
 * From planes to the model's input, row by row of the resized picture: each plane's rows are summed
 * up into one, that one's columns into as many as the input has, and the channels' samples become
 * colours and numbers. Rotation comes last, where there is least to turn.
 */
#include "agent/picture/layout.h"
#include "agent/picture/taps.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

/* A plane's part that is needed, and its vertical weights. */
struct plane_pass {
    struct resize_taps taps;
    const uint8_t *first; /* of the part */
    size_t stride, bytes; /* of a row of it */
    int16_t *row;         /* [bytes + padding] the rows' sum */
};

/* A channel's horizontal weights: those of an earlier channel where they are the same. */
struct channel_pass {
    struct resize_taps taps;
    const struct resize_taps *used;
    const struct plane_pass *plane;
    uint32_t offset; /* of its first sample in the plane's row */
    int16_t *row;    /* [columns] */
};

struct planes {
    const struct kern_table *kernels;
    const struct lego_preprocess *preprocess;
    const struct picture_frame *frame;
    const struct frame_layout *layout;
    struct span across, down; /* in the frame's orientation */
    struct plane_pass passes[PICTURE_MAX_PLANES];
    struct channel_pass channels[3];
    int16_t *samples; /* of all channels' rows */
    float *turned;    /* [channels][columns], where rows do not lie so in the input */
};

/* Part of one axis of the crop, as a channel or plane with `share` pixels a sample sees it. */
static struct taps_axis axis_of(const struct planes *p, bool vertical, uint32_t share,
                                uint32_t step, uint32_t align)
{
    const struct picture_frame *frame = p->frame;
    const struct span *span = vertical ? &p->down : &p->across;
    uint32_t start = vertical ? frame->crop.y : frame->crop.x;
    uint32_t size = vertical ? frame->crop.height : frame->crop.width;
    uint32_t pixels = vertical ? frame->height : frame->width;
    return (struct taps_axis){.start = (double)start / share,
                              .size = (double)size / share,
                              .samples = (uint32_t)lego_div_up(pixels, share),
                              .outputs = span->resized,
                              .from = span->from,
                              .count = span->count,
                              .filter = frame->filter,
                              .step = step,
                              .align = align};
}

static int make_channel(struct planes *p, uint32_t c)
{
    const struct frame_channel_layout *layout = &p->layout->channels[c];
    struct channel_pass *channel = &p->channels[c];
    struct taps_axis axis = axis_of(p, false, layout->columns, layout->step, KERN_RESIZE_TAPS);
    channel->plane = &p->passes[layout->plane];
    channel->offset = layout->offset;
    channel->row = p->samples + (size_t)c * p->across.count;
    for (uint32_t k = 0; k < c && !channel->used; k++)
        if (p->layout->channels[k].columns == layout->columns &&
            p->layout->channels[k].step == layout->step)
            channel->used = p->channels[k].used;
    if (channel->used)
        return LEGO_OK;
    int status = resize_taps_make(&axis, &channel->taps);
    for (uint32_t i = 0; status == LEGO_OK && i < axis.count; i++)
        channel->taps.first[i] *= layout->step; /* in bytes, as the kernel counts */
    channel->used = &channel->taps;
    return status;
}

static int make_plane(struct planes *p, uint32_t index)
{
    const struct frame_plane_layout *layout = &p->layout->planes[index];
    const struct picture_plane *plane = &p->frame->planes[index];
    struct plane_pass *pass = &p->passes[index];
    struct taps_axis axis = axis_of(p, true, layout->rows, 1, 1);
    uint32_t padding = 0;
    pass->first = frame_plane_first(p->frame, index);
    pass->stride = (size_t)plane->stride;
    pass->bytes = lego_div_up(p->frame->width, layout->pixels) * layout->bytes;
    for (uint32_t c = 0; c < p->layout->channel_count; c++)
        padding = p->channels[c].used->taps > padding ? p->channels[c].used->taps : padding;
    pass->row = calloc(pass->bytes + padding + KERN_RESIZE_TAPS, sizeof(*pass->row));
    return pass->row ? resize_taps_make(&axis, &pass->taps) : LEGO_E_NOMEM;
}

static void clear(struct planes *p)
{
    for (uint32_t i = 0; i < PICTURE_MAX_PLANES; i++) {
        resize_taps_clear(&p->passes[i].taps);
        free(p->passes[i].row);
        resize_taps_clear(&p->channels[i].taps);
    }
    free(p->samples);
    free(p->turned);
}

/* Luma and chroma (ITU-R BT.601, BT.709) to R, G, B: rows of the matrix, and what is added. */
static void set_luma_chroma(const struct picture_frame *frame, float matrix[3][3], float offset[3])
{
    static const float CHROMA[2][4] = {{1.402f, -0.344136f, -0.714136f, 1.772f},
                                       {1.5748f, -0.187324f, -0.468124f, 1.8556f}};
    const float *from = CHROMA[frame->bt709];
    float luma = frame->full_range ? 1.0f : 255.0f / 219.0f;
    float chroma = frame->full_range ? 1.0f : 255.0f / 224.0f;
    const float parts[3][2] = {{0, from[0]}, {from[1], from[2]}, {from[3], 0}};
    for (size_t c = 0; c < 3; c++) {
        matrix[c][0] = luma;
        matrix[c][1] = parts[c][0] * chroma;
        matrix[c][2] = parts[c][1] * chroma;
        offset[c] =
            (frame->full_range ? 0.0f : -16.0f * luma) - 128.0f * (matrix[c][1] + matrix[c][2]);
    }
}

/* What the colour kernel does with the channels, for the model's order of colours. */
static void set_colour(const struct planes *p, struct kern_colour_f32 *colour)
{
    static const float GREY[3] = {0.299f, 0.587f, 0.114f};
    const struct lego_preprocess *model = p->preprocess;
    float matrix[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, offset[3] = {0};
    bool grey = p->layout->channel_count == 1;
    colour->n = p->across.count;
    colour->channels = model->channels;
    for (uint32_t k = 0; k < 3; k++)
        colour->x[k] = p->channels[grey ? 0 : k].row;
    if (p->layout->luma_chroma)
        set_luma_chroma(p->frame, matrix, offset);
    for (uint32_t c = 0; c < model->channels; c++) {
        uint32_t from = model->bgr ? 2 - c : c;
        memcpy(colour->matrix[c], matrix[grey ? 0 : from], sizeof(matrix[0]));
        colour->offset[c] = offset[grey ? 0 : from];
        if (model->channels == 1 && p->layout->luma_chroma) {
            colour->matrix[c][1] = colour->matrix[c][2] = 0; /* luma is the grey */
            colour->offset[c] = p->frame->full_range ? 0.0f : -16.0f * matrix[0][0];
        } else if (model->channels == 1 && !grey) {
            memcpy(colour->matrix[c], GREY, sizeof(GREY));
        }
        colour->scale[c] = model->scale / model->std[c];
        colour->shift[c] = -model->mean[c] / model->std[c];
    }
}

/* Where a pixel of the unturned, resized part lies in the input. */
struct target {
    float *first;
    ptrdiff_t channel, right, down;
};

/* `x` and `y` are spans of the input as it lies, turned. */
static struct target target_of(const struct planes *p, const struct span *x, const struct span *y,
                               float *out)
{
    const struct lego_preprocess *model = p->preprocess;
    ptrdiff_t pixel = model->nhwc ? (ptrdiff_t)model->channels : 1;
    ptrdiff_t row = pixel * (ptrdiff_t)model->width;
    ptrdiff_t last_x = (ptrdiff_t)(x->to + x->count - 1),
              last_y = (ptrdiff_t)(y->to + y->count - 1);
    struct target target = {.channel = model->nhwc ? 1 : row * (ptrdiff_t)model->height};
    switch (p->frame->rotation) {
    case 90:
        target.first = out + (ptrdiff_t)y->to * row + last_x * pixel;
        target.right = row;
        target.down = -pixel;
        break;
    case 180:
        target.first = out + last_y * row + last_x * pixel;
        target.right = -pixel;
        target.down = -row;
        break;
    case 270:
        target.first = out + last_y * row + (ptrdiff_t)x->to * pixel;
        target.right = -row;
        target.down = pixel;
        break;
    default:
        target.first = out + (ptrdiff_t)y->to * row + (ptrdiff_t)x->to * pixel;
        target.right = pixel;
        target.down = row;
    }
    return target;
}

static void run_row(struct planes *p, uint32_t y)
{
    for (uint32_t i = 0; i < p->layout->plane_count; i++) {
        struct plane_pass *pass = &p->passes[i];
        p->kernels->resize_rows_u8(
            pass->bytes, pass->taps.samples[y], pass->taps.weights + (size_t)y * pass->taps.taps,
            pass->first + pass->taps.first[y] * pass->stride, pass->stride, pass->row);
    }
    for (uint32_t c = 0; c < p->layout->channel_count; c++) {
        struct channel_pass *channel = &p->channels[c];
        p->kernels->resize_columns_i16(p->across.count, channel->used->taps, channel->used->weights,
                                       channel->used->first, channel->plane->row + channel->offset,
                                       channel->row);
    }
}

static void run(struct planes *p, const struct target *target)
{
    struct kern_colour_f32 colour = {0};
    bool direct = target->right == 1;
    set_colour(p, &colour);
    for (uint32_t y = 0; y < p->down.count; y++) {
        float *row = target->first + (ptrdiff_t)y * target->down;
        for (uint32_t c = 0; c < colour.channels; c++)
            colour.out[c] = direct ? row + (ptrdiff_t)c * target->channel
                                   : p->turned + (size_t)c * p->across.count;
        run_row(p, y);
        p->kernels->colour_f32(&colour);
        if (direct)
            continue;
        for (uint32_t c = 0; c < colour.channels; c++)
            for (uint32_t x = 0; x < p->across.count; x++)
                row[(ptrdiff_t)c * target->channel + (ptrdiff_t)x * target->right] =
                    colour.out[c][x];
    }
}

/* A span as it lies before the turn: the other way round where the axis is. */
static struct span unturned(struct span span, bool reversed)
{
    if (reversed)
        span.from = span.resized - span.from - span.count;
    return span;
}

int frame_apply_planes(const struct kern_table *kernels, const struct lego_preprocess *preprocess,
                       const struct picture_frame *frame, bool corner, float *out,
                       struct lego_diag *diag)
{
    struct planes p = {.kernels = kernels,
                       .preprocess = preprocess,
                       .frame = frame,
                       .layout = frame_layout_find(frame->fourcc)};
    bool turned = frame->rotation == 90 || frame->rotation == 270;
    struct span x, y;
    preprocess_place(preprocess, turned ? frame->crop.height : frame->crop.width,
                     turned ? frame->crop.width : frame->crop.height, corner, &x, &y);
    p.across = unturned(turned ? y : x, frame->rotation == 180 || frame->rotation == 270);
    p.down = unturned(turned ? x : y, frame->rotation == 180 || frame->rotation == 90);
    p.samples = calloc((size_t)3 * p.across.count, sizeof(*p.samples));
    p.turned = calloc((size_t)3 * p.across.count, sizeof(*p.turned));
    int status = p.samples && p.turned ? LEGO_OK : LEGO_E_NOMEM;
    for (uint32_t c = 0; status == LEGO_OK && c < p.layout->channel_count; c++)
        status = make_channel(&p, c);
    for (uint32_t i = 0; status == LEGO_OK && i < p.layout->plane_count; i++)
        status = make_plane(&p, i);
    if (status == LEGO_OK) {
        if (x.count < preprocess->width || y.count < preprocess->height)
            preprocess_fill_padding(preprocess, out);
        struct target target = target_of(&p, &x, &y, out);
        run(&p, &target);
    }
    clear(&p);
    return status == LEGO_OK ? LEGO_OK
                             : lego_fail(diag, status, "cannot resize a frame of %ux%u: %s",
                                         frame->width, frame->height, lego_status_text(status));
}
