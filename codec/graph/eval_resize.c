/*
 * Resize: separable interpolation, one axis after the other.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <math.h>
#include <string.h>

enum coordinates {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    TF_HALF_PIXEL_FOR_NN,
    TF_CROP
};
enum rounding { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };

/* The choice of a string attribute; inference has checked that it is one of them. */
static int choice(const struct lego_node *node, const char *name, const char *const *words)
{
    const char *word = lego_node_string(node, name, words[0]);
    int i = 0;
    while (words[i] && strcmp(word, words[i]) != 0)
        i++;
    return words[i] ? i : 0;
}

struct resize {
    enum { NEAREST, LINEAR, CUBIC } mode;
    enum coordinates coordinates;
    enum rounding rounding;
    double cubic_a, extrapolation;
    bool exclude_outside, antialias;
    struct infer_resize plan;
};

static int read_resize(const struct infer_context *infer, struct resize *ret_resize)
{
    const struct lego_node *node = infer->io->node;
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const coordinates[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil", NULL};
    struct lego_shape shape;
    int status = infer_resize_plan(infer, &ret_resize->plan, &shape);
    ret_resize->mode = choice(node, "mode", modes);
    ret_resize->coordinates =
        (enum coordinates)choice(node, "coordinate_transformation_mode", coordinates);
    ret_resize->rounding = (enum rounding)choice(node, "nearest_mode", roundings);
    ret_resize->cubic_a = (double)lego_node_float(node, "cubic_coeff_a", -0.75f);
    ret_resize->extrapolation = (double)lego_node_float(node, "extrapolation_value", 0);
    ret_resize->exclude_outside = lego_node_int(node, "exclude_outside", 0) != 0;
    ret_resize->antialias = lego_node_int(node, "antialias", 0) != 0;
    return status;
}

/* Where output position `i` of axis `d` lies in the input. */
static double source(const struct resize *r, int d, int64_t i, int64_t in, int64_t out)
{
    double at = (double)i, scale = r->plan.scale[d], size = (double)in;
    switch (r->coordinates) {
    case HALF_PIXEL_SYMMETRIC: {
        double adjust = (double)out / (scale * size), centre = size / 2;
        return centre * (1 - adjust) + (at + 0.5) / scale - 0.5;
    }
    case PYTORCH_HALF_PIXEL:
        return out > 1 ? (at + 0.5) / scale - 0.5 : 0;
    case ALIGN_CORNERS:
        return out > 1 ? at * (size - 1) / (double)(out - 1) : 0;
    case ASYMMETRIC:
        return at / scale;
    case TF_HALF_PIXEL_FOR_NN:
        return (at + 0.5) / scale;
    case TF_CROP: {
        double start = r->plan.start[d], end = r->plan.end[d];
        return out > 1 ? start * (size - 1) + at * (end - start) * (size - 1) / (double)(out - 1)
                       : 0.5 * (start + end) * (size - 1);
    }
    case HALF_PIXEL:
    default:
        return (at + 0.5) / scale - 0.5;
    }
}

static int64_t nearest(enum rounding rounding, double at)
{
    switch (rounding) {
    case PREFER_CEIL:
        return (int64_t)floor(at + 0.5);
    case FLOOR:
        return (int64_t)floor(at);
    case CEIL:
        return (int64_t)ceil(at);
    case PREFER_FLOOR:
    default:
        return (int64_t)ceil(at - 0.5);
    }
}

static double cubic(double a, double distance)
{
    double t = fabs(distance);
    if (t <= 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

/* The taps of one output position: input indices (clamped) and weights that sum up to 1. */
struct taps {
    size_t count;
    int64_t *index;
    double *weight;
    bool outside; /* tf_crop_and_resize takes the extrapolation value */
};

static void add_tap(struct taps *t, int64_t index, double weight, int64_t in, bool exclude)
{
    if (exclude && (index < 0 || index >= in))
        return;
    t->index[t->count] = index < 0 ? 0 : index >= in ? in - 1 : index;
    t->weight[t->count++] = weight;
}

static void make_taps(const struct resize *r, int d, int64_t i, int64_t in, int64_t out,
                      struct taps *t)
{
    double at = source(r, d, i, in, out), scale = r->plan.scale[d], sum = 0;
    t->count = 0;
    t->outside = r->plan.crop && !(at >= 0 && at <= (double)(in - 1));
    if (t->outside)
        return;
    if (r->mode == NEAREST) {
        add_tap(t, nearest(r->rounding, at), 1, in, false);
        return;
    }
    /* antialiasing stretches the kernel where the picture shrinks */
    double stretch = r->antialias && scale < 1 ? 1 / scale : 1;
    double radius = (r->mode == LINEAR ? 1 : 2) * stretch;
    if (stretch == 1)
        radius = r->mode == LINEAR ? 1 : 2;
    /* beyond the edge a linear kernel sees the edge */
    if (r->mode == LINEAR && !r->antialias)
        at = at < 0 ? 0 : at > (double)(in - 1) ? (double)(in - 1) : at;
    int64_t first = (int64_t)floor(at - radius) + 1, last = (int64_t)ceil(at + radius) - 1;
    if (r->mode == CUBIC && stretch == 1) {
        first = (int64_t)floor(at) - 1;
        last = first + 3;
    }
    for (int64_t k = first; k <= last; k++) {
        double distance = ((double)k - at) / stretch;
        double weight =
            r->mode == LINEAR ? fmax(0, 1 - fabs(distance)) : cubic(r->cubic_a, distance);
        add_tap(t, k, weight, in, r->exclude_outside);
    }
    for (size_t k = 0; k < t->count; k++)
        sum += t->weight[k];
    for (size_t k = 0; k < t->count && sum != 0; k++)
        t->weight[k] /= sum;
}

/* Room for the taps of an axis: the widest kernel that its scale can need. */
static int alloc_taps(const struct eval_context *c, const struct resize *r, int d, struct taps *t)
{
    double scale = r->plan.scale[d];
    double stretch = r->antialias && scale < 1 ? 1 / scale : 1;
    if (!(stretch < 1e6))
        return eval_fail(c, LEGO_E_LIMIT, "scale %g is too small for antialiasing", scale);
    size_t most = (size_t)(4 * stretch) + 8;
    t->index = eval_scratch(c, most, sizeof(*t->index));
    t->weight = eval_scratch(c, most, sizeof(*t->weight));
    return t->index && t->weight ? LEGO_OK : LEGO_E_NOMEM;
}

/* Resizes axis `d` of a dense array of doubles, *shape, into a new one. */
static int resize_axis(const struct eval_context *c, const struct resize *r, int d, int64_t out,
                       struct lego_shape *shape, double **values)
{
    int64_t in = shape->dim[d];
    size_t outer = eval_extent(shape, 0, d), inner = eval_extent(shape, d + 1, shape->rank);
    double *to = eval_scratch(c, outer * (size_t)out * inner, sizeof(*to));
    struct taps taps = {0};
    int status = to ? alloc_taps(c, r, d, &taps) : LEGO_E_NOMEM;
    if (status != LEGO_OK)
        return status;
    for (int64_t i = 0; i < out; i++) {
        make_taps(r, d, i, in, out, &taps);
        for (size_t o = 0; o < outer; o++) {
            double *line = to + (o * (size_t)out + (size_t)i) * inner;
            for (size_t k = 0; k < taps.count && !taps.outside; k++) {
                const double *from = *values + (o * (size_t)in + (size_t)taps.index[k]) * inner;
                for (size_t j = 0; j < inner; j++)
                    line[j] += taps.weight[k] * from[j];
            }
            for (size_t j = 0; j < inner && taps.outside; j++)
                line[j] = r->extrapolation;
        }
    }
    shape->dim[d] = out;
    *values = to;
    return LEGO_OK;
}

/* Nearest moves elements of any type. */
static int resize_nearest(const struct eval_context *c, const struct resize *r)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    size_t bytes = lego_dtype_bytes(x->dtype);
    int64_t *source_of[LEGO_MAX_RANK], strides[LEGO_MAX_RANK], at[LEGO_MAX_RANK] = {0};
    int rank = x->shape.rank;
    eval_strides(&x->shape, strides);
    for (int d = 0; d < rank; d++) {
        int64_t index = 0, size = out->shape.dim[d];
        double weight = 0;
        struct taps taps = {.index = &index, .weight = &weight};
        source_of[d] = eval_scratch(c, (size_t)size, sizeof(int64_t));
        if (!source_of[d])
            return LEGO_E_NOMEM;
        for (int64_t i = 0; i < size; i++) {
            make_taps(r, d, i, x->shape.dim[d], size, &taps);
            bool same = size == x->shape.dim[d] && r->plan.scale[d] == 1 && !r->plan.crop;
            source_of[d][i] = taps.outside ? -1 : (same ? i : index) * strides[d];
        }
    }
    for (size_t i = 0; i < eval_elems(out); i++) {
        int64_t from = 0;
        for (int d = 0; d < rank && from >= 0; d++)
            from = source_of[d][at[d]] < 0 ? -1 : from + source_of[d][at[d]];
        if (from >= 0)
            memcpy((char *)out->data + i * bytes, (const char *)x->data + (size_t)from * bytes,
                   bytes);
        else
            eval_store_real(out, i, 1, &r->extrapolation);
        for (int d = rank - 1; d >= 0 && ++at[d] == out->shape.dim[d]; d--)
            at[d] = 0;
    }
    return LEGO_OK;
}

int eval_resize(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    struct lego_infer_io io;
    struct infer_context infer;
    struct resize resize;
    int status = eval_inference(c, &io, &infer);
    if (status == LEGO_OK)
        status = read_resize(&infer, &resize);
    if (status != LEGO_OK || !out || eval_elems(out) == 0)
        return status;
    if (resize.mode == NEAREST)
        return resize_nearest(c, &resize);
    size_t count = eval_elems(x);
    double *values = eval_scratch(c, count, sizeof(*values));
    struct lego_shape shape = x->shape;
    if (!values)
        return LEGO_E_NOMEM;
    eval_load_real(x, 0, 1, count, values);
    for (int d = 0; d < shape.rank && status == LEGO_OK; d++) {
        if (resize.plan.scale[d] != 1 || resize.plan.crop || out->shape.dim[d] != shape.dim[d])
            status = resize_axis(c, &resize, d, out->shape.dim[d], &shape, &values);
    }
    if (status != LEGO_OK)
        return status;
    count = eval_elems(out);
    for (size_t i = 0; i < count && !eval_is_real(out->dtype); i++)
        values[i] = nearbyint(values[i]);
    eval_store_real(out, 0, count, values);
    return LEGO_OK;
}

bool lego_resize_taps(const struct lego_infer_io *io, int axis, int64_t out,
                      struct lego_resize_tap *ret_taps)
{
    const struct infer_context infer = {.io = io};
    int64_t in = io->shapes[0].dim[axis], index[4];
    double weight[4];
    struct resize r;
    struct taps taps = {.index = index, .weight = weight};
    if (read_resize(&infer, &r) != LEGO_OK || r.mode == CUBIC || r.plan.crop ||
        (r.antialias && r.plan.scale[axis] < 1))
        return false;
    for (int64_t i = 0; i < out; i++) {
        make_taps(&r, axis, i, in, out, &taps);
        if (out == in && r.plan.scale[axis] == 1) {
            taps.count = 1;
            taps.index[0] = i;
        }
        if (taps.count < 1 || taps.count > 2)
            return false;
        ret_taps[i] = (struct lego_resize_tap){.index = {taps.index[0], taps.index[0]},
                                               .weight = {0.5f, 0.5f}};
        if (taps.count == 2)
            ret_taps[i] =
                (struct lego_resize_tap){.index = {taps.index[0], taps.index[1]},
                                         .weight = {(float)taps.weight[0], (float)taps.weight[1]}};
    }
    return true;
}
