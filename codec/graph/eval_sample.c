/*
 * Sampling pictures at computed places: GridSample and RoiAlign.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

/* Samples of one region in one channel: far past what detectors use. */
#define ROI_MAX_SAMPLES (INT64_C(1) << 28)

enum padding { ZEROS, BORDER, REFLECTION };

struct sampler {
    enum { NEAREST, LINEAR, CUBIC } mode;
    enum padding padding;
    bool align_corners;
    int64_t height, width;
};

/* From -1..1 to pixels. */
static double to_pixels(const struct sampler *s, double at, int64_t size)
{
    return s->align_corners ? (at + 1) / 2 * (double)(size - 1) : ((at + 1) * (double)size - 1) / 2;
}

static double reflect(const struct sampler *s, double at, int64_t size)
{
    double low = s->align_corners ? 0 : -0.5;
    double range = s->align_corners ? (double)(size - 1) : (double)size;
    if (range <= 0)
        return 0;
    at = fmod(fabs(at - low), 2 * range);
    return (at > range ? 2 * range - at : at) + low;
}

/* Brings a coordinate where the padding mode wants it; it stays in a range that ints can hold. */
static double place(const struct sampler *s, double at, int64_t size)
{
    if (!isfinite(at))
        at = -1e9;
    if (s->padding == BORDER)
        at = at < 0 ? 0 : at > (double)(size - 1) ? (double)(size - 1) : at;
    else if (s->padding == REFLECTION)
        at = reflect(s, at, size);
    return at < -1e9 ? -1e9 : at > 1e15 ? 1e15 : at;
}

static double pixel(const struct sampler *s, const float *plane, int64_t y, int64_t x)
{
    if (s->padding == BORDER) {
        y = y < 0 ? 0 : y >= s->height ? s->height - 1 : y;
        x = x < 0 ? 0 : x >= s->width ? s->width - 1 : x;
    } else if (s->padding == REFLECTION) {
        y = (int64_t)nearbyint(reflect(s, (double)y, s->height));
        x = (int64_t)nearbyint(reflect(s, (double)x, s->width));
        y = y < 0 ? 0 : y >= s->height ? s->height - 1 : y;
        x = x < 0 ? 0 : x >= s->width ? s->width - 1 : x;
    }
    bool inside = y >= 0 && y < s->height && x >= 0 && x < s->width;
    return inside ? (double)plane[y * s->width + x] : 0;
}

static double cubic(double distance)
{
    const double a = -0.75;
    double t = fabs(distance);
    if (t <= 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

static double sample(const struct sampler *s, const float *plane, double y, double x)
{
    if (s->mode == NEAREST)
        return pixel(s, plane, (int64_t)nearbyint(y), (int64_t)nearbyint(x));
    int reach = s->mode == LINEAR ? 0 : 1;
    int64_t y0 = (int64_t)floor(y), x0 = (int64_t)floor(x);
    double sum = 0;
    for (int64_t j = y0 - reach; j <= y0 + 1 + reach; j++) {
        double wy = s->mode == LINEAR ? 1 - fabs((double)j - y) : cubic((double)j - y);
        for (int64_t i = x0 - reach; i <= x0 + 1 + reach; i++) {
            double wx = s->mode == LINEAR ? 1 - fabs((double)i - x) : cubic((double)i - x);
            sum += wy * wx * pixel(s, plane, j, i);
        }
    }
    return sum;
}

int eval_grid_sample(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *grid = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    const float *places = eval_floats(c, grid);
    if (!places)
        return LEGO_E_NOMEM;
    const char *mode = lego_node_string(c->node, "mode", "linear");
    const char *padding = lego_node_string(c->node, "padding_mode", "zeros");
    struct sampler s = {
        .mode = strcmp(mode, "nearest") == 0 ? NEAREST
                : strstr(mode, "cubic")      ? CUBIC
                                             : LINEAR,
        .padding = strcmp(padding, "border") == 0       ? BORDER
                   : strcmp(padding, "reflection") == 0 ? REFLECTION
                                                        : ZEROS,
        .align_corners = lego_node_int(c->node, "align_corners", 0) != 0,
        .height = x->shape.dim[2],
        .width = x->shape.dim[3],
    };
    size_t channels = (size_t)x->shape.dim[1], plane = (size_t)(s.height * s.width);
    size_t points = (size_t)(out->shape.dim[2] * out->shape.dim[3]);
    float *to = out->data;
    for (size_t n = 0; n < (size_t)x->shape.dim[0]; n++) {
        for (size_t i = 0; i < points; i++) {
            const float *at = places + (n * points + i) * 2;
            double px = to_pixels(&s, (double)at[0], s.width);
            double py = to_pixels(&s, (double)at[1], s.height);
            /* cubic pads pixel by pixel, the others the place itself */
            if (s.mode == CUBIC) {
                px = isfinite(px) && fabs(px) < 1e9 ? px : -1e9;
                py = isfinite(py) && fabs(py) < 1e9 ? py : -1e9;
            } else {
                px = place(&s, px, s.width);
                py = place(&s, py, s.height);
            }
            for (size_t ch = 0; ch < channels; ch++)
                to[(n * channels + ch) * points + i] =
                    (float)sample(&s, (const float *)x->data + (n * channels + ch) * plane, py, px);
        }
    }
    return LEGO_OK;
}

/* One picture's channel and the bins of one region on it. */
struct roi {
    int64_t height, width;
    double start_y, start_x, bin_y, bin_x;
    int64_t grid_y, grid_x; /* samples in a bin */
    bool max;
};

/* The four weighted pixels around a place, combined; their maximum for mode max. */
static double roi_sample(const struct roi *r, const float *plane, double y, double x)
{
    if (!(y >= -1 && y <= (double)r->height && x >= -1 && x <= (double)r->width))
        return 0;
    y = y < 0 ? 0 : y;
    x = x < 0 ? 0 : x;
    int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1 = y0 + 1, x1 = x0 + 1;
    if (y0 >= r->height - 1) {
        y0 = y1 = r->height - 1;
        y = (double)y0;
    }
    if (x0 >= r->width - 1) {
        x0 = x1 = r->width - 1;
        x = (double)x0;
    }
    double ly = y - (double)y0, lx = x - (double)x0;
    double a = (1 - ly) * (1 - lx) * (double)plane[y0 * r->width + x0];
    double b = (1 - ly) * lx * (double)plane[y0 * r->width + x1];
    double d = ly * (1 - lx) * (double)plane[y1 * r->width + x0];
    double e = ly * lx * (double)plane[y1 * r->width + x1];
    return r->max ? fmax(fmax(a, b), fmax(d, e)) : a + b + d + e;
}

static double roi_bin(const struct roi *r, const float *plane, int64_t by, int64_t bx)
{
    double sum = r->max ? -INFINITY : 0;
    for (int64_t j = 0; j < r->grid_y; j++) {
        double y = r->start_y + r->bin_y * ((double)by + ((double)j + 0.5) / (double)r->grid_y);
        for (int64_t i = 0; i < r->grid_x; i++) {
            double x = r->start_x + r->bin_x * ((double)bx + ((double)i + 0.5) / (double)r->grid_x);
            double value = roi_sample(r, plane, y, x);
            sum = r->max ? fmax(sum, value) : sum + value;
        }
    }
    int64_t samples = r->grid_y * r->grid_x;
    if (samples == 0)
        return 0;
    return r->max ? sum : sum / (double)samples;
}

static int read_roi(const struct eval_context *c, size_t index, struct roi *r)
{
    const float *box = (const float *)eval_in(c, 1)->data + index * 4;
    const struct lego_shape *x = &eval_in(c, 0)->shape, *out = &eval_out(c, 0)->shape;
    double scale = (double)lego_node_float(c->node, "spatial_scale", 1);
    bool half = strcmp(lego_node_string(c->node, "coordinate_transformation_mode", "half_pixel"),
                       "half_pixel") == 0;
    double shift = half ? 0.5 : 0;
    int64_t ratio = lego_node_int(c->node, "sampling_ratio", 0);
    r->height = x->dim[2];
    r->width = x->dim[3];
    r->start_x = (double)box[0] * scale - shift;
    r->start_y = (double)box[1] * scale - shift;
    double width = (double)box[2] * scale - shift - r->start_x;
    double height = (double)box[3] * scale - shift - r->start_y;
    if (!half) { /* older behaviour: at least one pixel */
        width = fmax(width, 1);
        height = fmax(height, 1);
    }
    r->bin_y = height / (double)out->dim[2];
    r->bin_x = width / (double)out->dim[3];
    if (!(fabs(r->bin_y) < 1e4 && fabs(r->bin_x) < 1e4 && isfinite(r->start_x + r->start_y)))
        return eval_fail(c, LEGO_E_INVALID, "region %zu is far too large", index);
    r->grid_y = ratio > 0 ? ratio : (int64_t)ceil(r->bin_y);
    r->grid_x = ratio > 0 ? ratio : (int64_t)ceil(r->bin_x);
    r->grid_y = r->grid_y < 0 ? 0 : r->grid_y;
    r->grid_x = r->grid_x < 0 ? 0 : r->grid_x;
    int64_t samples = r->grid_y * r->grid_x;
    if (!lego_mul_i64(samples, out->dim[2] * out->dim[3], &samples) || samples > ROI_MAX_SAMPLES)
        return eval_fail(c, LEGO_E_LIMIT, "region %zu needs too many samples", index);
    return LEGO_OK;
}

int eval_roi_align(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *batches = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    size_t channels = (size_t)x->shape.dim[1], plane = eval_extent(&x->shape, 2, 4);
    float *to = out->data;
    for (size_t n = 0; n < (size_t)out->shape.dim[0]; n++) {
        struct roi r = {.max = strcmp(lego_node_string(c->node, "mode", "avg"), "max") == 0};
        int64_t batch = eval_get_int(batches, n);
        int status = read_roi(c, n, &r);
        if (status == LEGO_OK && (batch < 0 || batch >= x->shape.dim[0]))
            status = eval_fail(c, LEGO_E_INVALID, "region %zu lies on picture %lld", n,
                               (long long)batch);
        if (status != LEGO_OK)
            return status;
        for (size_t ch = 0; ch < channels; ch++) {
            const float *from = (const float *)x->data + ((size_t)batch * channels + ch) * plane;
            for (int64_t y = 0; y < out->shape.dim[2]; y++) {
                for (int64_t i = 0; i < out->shape.dim[3]; i++)
                    *to++ = (float)roi_bin(&r, from, y, i);
            }
        }
    }
    return LEGO_OK;
}
