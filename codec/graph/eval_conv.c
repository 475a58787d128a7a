/*
 * Convolution: direct, the innermost loop along a row of the output.
 */
#include "codec/graph/eval_window.h"

#include <math.h>
#include <string.h>

int eval_window(const struct eval_context *c, const struct lego_array *x,
                const struct lego_shape *weights, bool transposed, struct eval_window *ret_window)
{
    struct lego_infer_io io;
    struct infer_context infer;
    struct infer_window window;
    const int64_t *kernel = weights ? weights->dim + 2 : NULL;
    int status = eval_inference(c, &io, &infer);
    if (status == LEGO_OK && transposed)
        status = infer_transposed_window(&infer, &x->shape, kernel, &window);
    else if (status == LEGO_OK)
        status = infer_window(&infer, &x->shape, kernel, &window);
    if (status != LEGO_OK)
        return status;
    struct eval_window w = {.in_elems = 1, .out_elems = 1, .kernel_elems = 1};
    for (int d = 0; d < 3; d++) {
        int from = d - (3 - window.axes);
        bool real = from >= 0;
        w.in[d] = real ? x->shape.dim[2 + from] : 1;
        w.out[d] = real ? window.out[from] : 1;
        w.kernel[d] = real ? window.kernel[from] : 1;
        w.stride[d] = real ? window.stride[from] : 1;
        w.dilation[d] = real ? window.dilation[from] : 1;
        w.begin[d] = real ? window.begin[from] : 0;
        w.end[d] = real ? window.end[from] : 0;
        w.in_elems *= (size_t)w.in[d];
        w.out_elems *= (size_t)w.out[d];
        w.kernel_elems *= (size_t)w.kernel[d];
    }
    *ret_window = w;
    return LEGO_OK;
}

void eval_window_range(const struct eval_window *w, int d, int64_t tap, int64_t size, int64_t limit,
                       int64_t *ret_low, int64_t *ret_high)
{
    int64_t shift = w->begin[d] - tap * w->dilation[d];
    int64_t low = shift > 0 ? (shift + w->stride[d] - 1) / w->stride[d] : 0;
    int64_t last = size - 1 + shift;
    int64_t high = last < 0 ? 0 : last / w->stride[d] + 1;
    *ret_low = low;
    *ret_high = high < limit ? high : limit;
}

/* Where one tap of the kernel meets the output: ranges and offsets. */
struct tap {
    int64_t low[3], high[3], offset[3];
};

static struct tap tap_of(const struct eval_window *w, int64_t index, const int64_t *size,
                         const int64_t *limit)
{
    struct tap t;
    for (int d = 2; d >= 0; d--) {
        int64_t k = index % w->kernel[d];
        index /= w->kernel[d];
        eval_window_range(w, d, k, size[d], limit[d], &t.low[d], &t.high[d]);
        t.offset[d] = k * w->dilation[d] - w->begin[d];
    }
    return t;
}

/* Adds one weight times the input plane to the output plane, in fp32 and in wrapping int32. */
#define CONV_TAP(name, type)                                                                       \
    static void name(const struct eval_window *w, const struct tap *t, type weight, const type *x, \
                     type *out)                                                                    \
    {                                                                                              \
        for (int64_t z = t->low[0]; z < t->high[0]; z++) {                                         \
            for (int64_t y = t->low[1]; y < t->high[1]; y++) {                                     \
                int64_t in_z = z * w->stride[0] + t->offset[0];                                    \
                int64_t in_y = y * w->stride[1] + t->offset[1];                                    \
                const type *from = x + (in_z * w->in[1] + in_y) * w->in[2];                        \
                type *to = out + (z * w->out[1] + y) * w->out[2];                                  \
                int64_t step = w->stride[2], at = t->offset[2];                                    \
                if (step == 1) {                                                                   \
                    for (int64_t i = t->low[2]; i < t->high[2]; i++)                               \
                        to[i] += weight * from[i + at];                                            \
                } else {                                                                           \
                    for (int64_t i = t->low[2]; i < t->high[2]; i++)                               \
                        to[i] += weight * from[i * step + at];                                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
CONV_TAP(conv_tap_f32, float)
CONV_TAP(conv_tap_u32, uint32_t)

/* One output channel of one picture; the output holds the bias. */
#define CONV_CHANNEL(name, type, tap_fn)                                                   \
    static void name(const struct eval_window *w, size_t channels, const type *x,          \
                     const type *weights, type *out)                                       \
    {                                                                                      \
        for (size_t k = 0; k < w->kernel_elems; k++) {                                     \
            struct tap t = tap_of(w, (int64_t)k, w->in, w->out);                           \
            for (size_t i = 0; i < channels; i++)                                          \
                tap_fn(w, &t, weights[i * w->kernel_elems + k], x + i * w->in_elems, out); \
        }                                                                                  \
    }
CONV_CHANNEL(conv_channel_f32, float, conv_tap_f32)
CONV_CHANNEL(conv_channel_u32, uint32_t, conv_tap_u32)

int eval_conv(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *weights = eval_in(c, 1), *bias = eval_in(c, 2);
    const struct lego_array *residual = eval_in(c, 3);
    struct lego_array *out = eval_out(c, 0);
    struct eval_window w;
    int status = eval_window(c, x, &weights->shape, false, &w);
    if (status != LEGO_OK || !out || eval_elems(out) == 0)
        return status;
    size_t pictures = (size_t)x->shape.dim[0], groups = (size_t)lego_node_int(c->node, "group", 1);
    size_t outs = (size_t)weights->shape.dim[0], ins = (size_t)weights->shape.dim[1];
    for (size_t n = 0; n < pictures; n++) {
        for (size_t o = 0; o < outs; o++) {
            size_t group = o / (outs / groups);
            float *to = (float *)out->data + (n * outs + o) * w.out_elems;
            float start = bias ? ((const float *)bias->data)[o] : 0;
            for (size_t i = 0; i < w.out_elems; i++)
                to[i] = start;
            conv_channel_f32(&w, ins,
                             (const float *)x->data + (n * groups + group) * ins * w.in_elems,
                             (const float *)weights->data + o * ins * w.kernel_elems, to);
        }
    }
    float *values = out->data;
    for (size_t i = 0; residual && i < eval_elems(out); i++)
        values[i] += ((const float *)residual->data)[i];
    eval_activate(c->node, values, eval_elems(out));
    return LEGO_OK;
}

/* Adds one weight times the input to where the tap scatters it. */
static void scatter_tap(const struct eval_window *w, const struct tap *t, float weight,
                        const float *x, float *out)
{
    for (int64_t z = t->low[0]; z < t->high[0]; z++) {
        for (int64_t y = t->low[1]; y < t->high[1]; y++) {
            int64_t out_z = z * w->stride[0] + t->offset[0];
            int64_t out_y = y * w->stride[1] + t->offset[1];
            const float *from = x + (z * w->in[1] + y) * w->in[2];
            float *to = out + (out_z * w->out[1] + out_y) * w->out[2];
            for (int64_t i = t->low[2]; i < t->high[2]; i++)
                to[i * w->stride[2] + t->offset[2]] += weight * from[i];
        }
    }
}

int eval_conv_transpose(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *weights = eval_in(c, 1), *bias = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    struct eval_window w;
    int status = eval_window(c, x, &weights->shape, true, &w);
    if (status != LEGO_OK || !out || eval_elems(out) == 0)
        return status;
    size_t pictures = (size_t)x->shape.dim[0], groups = (size_t)lego_node_int(c->node, "group", 1);
    size_t ins = (size_t)weights->shape.dim[0], outs = (size_t)weights->shape.dim[1] * groups;
    size_t per_group = outs / groups;
    for (size_t n = 0; n < pictures; n++) {
        for (size_t o = 0; o < outs; o++) {
            float *to = (float *)out->data + (n * outs + o) * w.out_elems;
            float start = bias ? ((const float *)bias->data)[o] : 0;
            for (size_t i = 0; i < w.out_elems; i++)
                to[i] = start;
            size_t first = o / per_group * (ins / groups);
            for (size_t k = 0; k < w.kernel_elems; k++) {
                struct tap t = tap_of(&w, (int64_t)k, w.out, w.in);
                for (size_t i = first; i < first + ins / groups; i++) {
                    const float *from = weights->data;
                    scatter_tap(&w, &t, from[(i * per_group + o % per_group) * w.kernel_elems + k],
                                (const float *)x->data + (n * ins + i) * w.in_elems, to);
                }
            }
        }
    }
    eval_activate(c->node, out->data, eval_elems(out));
    return LEGO_OK;
}

/* Elements less their zero point, as wrapping int32; `lines` zero points or one. */
static uint32_t *centred(const struct eval_context *c, const struct lego_array *x,
                         const struct lego_array *zero, size_t line_elems)
{
    size_t count = eval_elems(x), zeros = zero ? eval_elems(zero) : 0;
    uint32_t *out = eval_scratch(c, count, sizeof(*out));
    for (size_t i = 0; out && i < count; i++) {
        int64_t from = zeros == 0 ? 0 : eval_get_int(zero, zeros == 1 ? 0 : i / line_elems);
        out[i] = (uint32_t)(eval_get_int(x, i) - from);
    }
    return out;
}

/* A zero point or scale of the weights: one, or one for each output channel. */
static int check_per_channel(const struct eval_context *c, const struct lego_array *array,
                             size_t outs, bool one_only)
{
    size_t count = array ? eval_elems(array) : 1;
    if (count == 1 || (count == outs && !one_only))
        return LEGO_OK;
    return eval_fail(c, LEGO_E_SHAPE, "a scale or zero point has %zu elements", count);
}

/* The int32 convolution of ConvInteger and QLinearConv into `acc`. */
static int integer_conv(const struct eval_context *c, const struct lego_array *x,
                        const struct lego_array *x_zero, const struct lego_array *weights,
                        const struct lego_array *w_zero, const struct lego_array *bias,
                        uint32_t **ret_acc, size_t *ret_plane)
{
    struct eval_window w;
    size_t outs = (size_t)weights->shape.dim[0], ins = (size_t)weights->shape.dim[1];
    int status = eval_window(c, x, &weights->shape, false, &w);
    if (status == LEGO_OK)
        status = check_per_channel(c, x_zero, outs, true);
    if (status == LEGO_OK)
        status = check_per_channel(c, w_zero, outs, false);
    if (status != LEGO_OK)
        return status;
    size_t pictures = (size_t)x->shape.dim[0], groups = (size_t)lego_node_int(c->node, "group", 1);
    const uint32_t *from = centred(c, x, x_zero, 1);
    const uint32_t *kernel = centred(c, weights, w_zero, ins * w.kernel_elems);
    uint32_t *acc = eval_scratch(c, eval_elems(eval_out(c, 0)), sizeof(*acc));
    if (!from || !kernel || !acc)
        return LEGO_E_NOMEM;
    for (size_t n = 0; n < pictures; n++) {
        for (size_t o = 0; o < outs; o++) {
            size_t group = o / (outs / groups);
            uint32_t *to = acc + (n * outs + o) * w.out_elems;
            for (size_t i = 0; bias && i < w.out_elems; i++)
                to[i] = ((const uint32_t *)bias->data)[o];
            conv_channel_u32(&w, ins, from + (n * groups + group) * ins * w.in_elems,
                             kernel + o * ins * w.kernel_elems, to);
        }
    }
    *ret_acc = acc;
    *ret_plane = w.out_elems;
    return LEGO_OK;
}

int eval_conv_integer(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    uint32_t *acc;
    size_t plane;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int status = integer_conv(c, eval_in(c, 0), eval_in(c, 2), eval_in(c, 1), eval_in(c, 3), NULL,
                              &acc, &plane);
    if (status == LEGO_OK)
        memcpy(out->data, acc, eval_elems(out) * sizeof(*acc));
    return status;
}

int eval_qlinear_conv(const struct eval_context *c)
{
    const struct lego_array *x_scale = eval_in(c, 1), *w_scale = eval_in(c, 4);
    const struct lego_array *y_scale = eval_in(c, 6), *y_zero = eval_in(c, 7);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    size_t outs = (size_t)out->shape.dim[1], plane;
    uint32_t *acc;
    int status = check_per_channel(c, x_scale, outs, true);
    if (status == LEGO_OK)
        status = check_per_channel(c, w_scale, outs, false);
    if (status == LEGO_OK)
        status = check_per_channel(c, y_scale, outs, true);
    if (status == LEGO_OK)
        status = check_per_channel(c, y_zero, outs, true);
    if (status == LEGO_OK)
        status = integer_conv(c, eval_in(c, 0), eval_in(c, 2), eval_in(c, 3), eval_in(c, 5),
                              eval_in(c, 8), &acc, &plane);
    if (status != LEGO_OK)
        return status;
    double zero = (double)eval_get_int(y_zero, 0);
    for (size_t i = 0; i < eval_elems(out); i++) {
        size_t channel = eval_elems(w_scale) == 1 ? 0 : i / plane % outs;
        double scale =
            eval_get_real(x_scale, 0) * eval_get_real(w_scale, channel) / eval_get_real(y_scale, 0);
        double value = nearbyint((double)(int32_t)acc[i] * scale) + zero;
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}
