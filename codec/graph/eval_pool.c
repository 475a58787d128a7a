/*
 * Pooling over sliding windows and over whole pictures.
 */
#include "codec/graph/eval_window.h"

#include <math.h>
#include <string.h>

/* The taps of one output position that lie on the picture, axis by axis. */
struct patch {
    int64_t first[3], count[3]; /* input coordinate of the first tap, and how many follow */
    int64_t padded;             /* taps on picture or padding: what ceil_mode hangs over is not */
};

static struct patch patch_at(const struct eval_window *w, const int64_t *at)
{
    struct patch p = {.padded = 1};
    for (int d = 0; d < 3; d++) {
        int64_t start = at[d] * w->stride[d] - w->begin[d], step = w->dilation[d];
        int64_t skipped = start < 0 ? (-start + step - 1) / step : 0;
        int64_t inside = w->in[d] - start;
        int64_t below = inside <= 0 ? 0 : (inside + step - 1) / step;
        int64_t room = inside + w->end[d];
        int64_t padded = room <= 0 ? 0 : (room + step - 1) / step;
        below = below < w->kernel[d] ? below : w->kernel[d];
        p.padded *= padded < w->kernel[d] ? padded : w->kernel[d];
        p.first[d] = start + skipped * step;
        p.count[d] = below > skipped ? below - skipped : 0;
    }
    return p;
}

/* Sum of a patch, or of the p-th powers of its magnitudes where p is not 0. */
static double patch_sum(const struct eval_window *w, const struct patch *patch, const float *x,
                        double p)
{
    double sum = 0;
    for (int64_t z = 0; z < patch->count[0]; z++) {
        for (int64_t y = 0; y < patch->count[1]; y++) {
            int64_t row = (patch->first[0] + z * w->dilation[0]) * w->in[1] + patch->first[1] +
                          y * w->dilation[1];
            const float *from = x + row * w->in[2] + patch->first[2];
            for (int64_t i = 0; i < patch->count[2]; i++) {
                double v = (double)from[i * w->dilation[2]];
                sum += p == 0 ? v : pow(fabs(v), p);
            }
        }
    }
    return sum;
}

/* Steps to the next output position. */
static void next_position(const struct eval_window *w, int64_t *at)
{
    for (int d = 2; d >= 0 && ++at[d] == w->out[d]; d--)
        at[d] = 0;
}

/* AveragePool (power 0) and LpPool. */
static int sum_pool(const struct eval_context *c, double power)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    struct eval_window w;
    int status = eval_window(c, x, NULL, false, &w);
    if (status != LEGO_OK || !out)
        return status;
    bool include = lego_node_int(c->node, "count_include_pad", 0) != 0;
    size_t planes = eval_extent(&x->shape, 0, 2);
    float *to = out->data;
    for (size_t plane = 0; plane < planes; plane++) {
        int64_t at[3] = {0};
        for (size_t i = 0; i < w.out_elems; i++, next_position(&w, at)) {
            struct patch patch = patch_at(&w, at);
            double sum = patch_sum(&w, &patch, (const float *)x->data + plane * w.in_elems, power);
            int64_t count = patch.count[0] * patch.count[1] * patch.count[2];
            count = include ? patch.padded : count;
            if (power == 0)
                sum = count > 0 ? sum / (double)count : 0;
            else
                sum = pow(sum, 1 / power);
            *to++ = (float)sum;
        }
    }
    return LEGO_OK;
}

int eval_average_pool(const struct eval_context *c)
{
    return sum_pool(c, 0);
}

int eval_lp_pool(const struct eval_context *c)
{
    return sum_pool(c, (double)lego_node_int(c->node, "p", 2));
}

/* The largest element of a patch: its index in the plane, -1 for an empty patch. */
static int64_t patch_max(const struct eval_window *w, const struct patch *patch,
                         const double *plane, double *ret_value)
{
    int64_t best = -1;
    double largest = -INFINITY;
    for (int64_t z = 0; z < patch->count[0]; z++) {
        for (int64_t y = 0; y < patch->count[1]; y++) {
            int64_t row = (patch->first[0] + z * w->dilation[0]) * w->in[1] + patch->first[1] +
                          y * w->dilation[1];
            int64_t at = row * w->in[2] + patch->first[2];
            for (int64_t i = 0; i < patch->count[2]; i++, at += w->dilation[2]) {
                if (plane[at] <= largest && best >= 0)
                    continue;
                best = at;
                largest = plane[at];
                if (isnan(largest)) {
                    *ret_value = largest;
                    return best;
                }
            }
        }
    }
    *ret_value = largest;
    return best;
}

/* A row-major index of the plane as MaxPool's storage_order 1 wants it. */
static int64_t column_major(const struct eval_window *w, int64_t index)
{
    int64_t x = index % w->in[2], y = index / w->in[2] % w->in[1];
    int64_t z = index / w->in[2] / w->in[1];
    return (x * w->in[1] + y) * w->in[0] + z;
}

int eval_max_pool(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0), *indices = eval_out(c, 1);
    struct eval_window w;
    int status = eval_window(c, x, NULL, false, &w);
    if (status != LEGO_OK)
        return status;
    bool transposed = lego_node_int(c->node, "storage_order", 0) != 0;
    size_t planes = eval_extent(&x->shape, 0, 2), element = 0;
    double *values = eval_scratch(c, w.in_elems, sizeof(*values));
    if (!values)
        return LEGO_E_NOMEM;
    for (size_t plane = 0; plane < planes; plane++) {
        int64_t at[3] = {0};
        eval_load_real(x, (int64_t)(plane * w.in_elems), 1, w.in_elems, values);
        for (size_t i = 0; i < w.out_elems; i++, element++, next_position(&w, at)) {
            struct patch patch = patch_at(&w, at);
            double value;
            int64_t best = patch_max(&w, &patch, values, &value);
            if (out)
                eval_store_real(out, element, 1, &value);
            if (!indices)
                continue;
            if (best >= 0 && transposed)
                best = column_major(&w, best);
            ((int64_t *)indices->data)[element] = best + (int64_t)(plane * w.in_elems);
        }
    }
    return LEGO_OK;
}

int eval_global_pool(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    size_t planes = eval_extent(&x->shape, 0, 2);
    size_t elems = eval_extent(&x->shape, 2, x->shape.rank);
    double p = (double)lego_node_int(c->node, "p", 2);
    for (size_t plane = 0; plane < planes; plane++) {
        const float *from = (const float *)x->data + plane * elems;
        double sum = 0;
        float best = from[0];
        for (size_t i = 0; i < elems; i++) {
            double v = (double)from[i];
            sum += c->node->op == LEGO_OP_GlobalLpPool ? pow(fabs(v), p) : v;
            best = from[i] > best || isnan(from[i]) ? from[i] : best;
        }
        if (c->node->op == LEGO_OP_GlobalAveragePool)
            sum /= (double)elems;
        else if (c->node->op == LEGO_OP_GlobalLpPool)
            sum = pow(sum, 1 / p);
        ((float *)out->data)[plane] = c->node->op == LEGO_OP_GlobalMaxPool ? best : (float)sum;
    }
    return LEGO_OK;
}
