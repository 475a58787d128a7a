/*
 * Normalisations, in fp32 with sums in double.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

/* Training mode: the input's own statistics, and what the running ones become. */
static int batch_statistics(const struct eval_context *c, const float *parts[4])
{
    const struct lego_array *x = eval_in(c, 0);
    double momentum = (double)lego_node_float(c->node, "momentum", 0.9f);
    size_t channels = (size_t)x->shape.dim[1], plane = eval_extent(&x->shape, 2, x->shape.rank);
    size_t batch = (size_t)x->shape.dim[0], count = batch * plane;
    float *own[2] = {eval_scratch(c, channels, sizeof(float)),
                     eval_scratch(c, channels, sizeof(float))};
    if (!own[0] || !own[1])
        return LEGO_E_NOMEM;
    for (size_t ch = 0; ch < channels; ch++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < count; i++)
            sum +=
                (double)((const float *)x->data)[(i / plane * channels + ch) * plane + i % plane];
        double mean = sum / (double)count;
        for (size_t i = 0; i < count; i++) {
            double d =
                (double)((const float *)x->data)[(i / plane * channels + ch) * plane + i % plane] -
                mean;
            squares += d * d;
        }
        own[0][ch] = (float)mean;
        own[1][ch] = (float)(squares / (double)count);
    }
    for (uint32_t k = 0; k < 2; k++) {
        struct lego_array *running = eval_out(c, k + 1);
        for (size_t ch = 0; running && ch < channels; ch++)
            ((float *)running->data)[ch] =
                (float)((double)parts[k + 2][ch] * momentum + (double)own[k][ch] * (1 - momentum));
        parts[k + 2] = own[k];
    }
    return LEGO_OK;
}

int eval_batch_norm(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    const float *parts[4];
    double epsilon = (double)lego_node_float(c->node, "epsilon", 1e-5f);
    for (uint32_t i = 0; i < 4; i++) {
        parts[i] = eval_floats(c, eval_in(c, i + 1));
        if (!parts[i])
            return LEGO_E_NOMEM;
    }
    if (lego_node_int(c->node, "training_mode", 0) != 0) {
        int status = eval_elems(x) > 0
                         ? batch_statistics(c, parts)
                         : eval_fail(c, LEGO_E_SHAPE, "an empty input has no statistics");
        if (status != LEGO_OK)
            return status;
    }
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    size_t channels = (size_t)x->shape.dim[1], plane = eval_extent(&x->shape, 2, x->shape.rank);
    const float *from = x->data;
    float *to = out->data;
    for (size_t p = 0; p < (size_t)x->shape.dim[0] * channels; p++) {
        size_t ch = p % channels;
        double factor = (double)parts[0][ch] / sqrt((double)parts[3][ch] + epsilon);
        double mean = (double)parts[2][ch], shift = (double)parts[1][ch];
        for (size_t i = p * plane; i < (p + 1) * plane; i++)
            to[i] = (float)(((double)from[i] - mean) * factor + shift);
    }
    return LEGO_OK;
}

struct moments {
    double mean, variance;
};

static struct moments moments_of(const float *x, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i];
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (struct moments){mean, squares / (double)count};
}

/* Instance normalisation is group normalisation with as many groups as channels. */
int eval_group_norm(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    const float *scale = eval_in(c, 1)->data, *bias = eval_in(c, 2)->data;
    size_t channels = (size_t)x->shape.dim[1], plane = eval_extent(&x->shape, 2, x->shape.rank);
    bool instance = c->node->op == LEGO_OP_InstanceNormalization;
    size_t groups = instance ? channels : (size_t)lego_node_int(c->node, "num_groups", 1);
    bool by_group = eval_elems(eval_in(c, 1)) == groups; /* else by channel */
    size_t per_group = channels / groups, size = per_group * plane;
    double epsilon = (double)lego_node_float(c->node, "epsilon", 1e-5f);
    for (size_t g = 0; g < (size_t)x->shape.dim[0] * groups; g++) {
        const float *from = (const float *)x->data + g * size;
        float *to = (float *)out->data + g * size;
        struct moments m = moments_of(from, size);
        double factor = 1 / sqrt(m.variance + epsilon);
        for (size_t i = 0; i < size; i++) {
            size_t at = by_group ? g % groups : g % groups * per_group + i / plane;
            to[i] =
                (float)(((double)from[i] - m.mean) * factor * (double)scale[at] + (double)bias[at]);
        }
    }
    return LEGO_OK;
}

/* LayerNormalization and RMSNormalization over the axes from `axis` on. */
int eval_layer_norm(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *scale = eval_in(c, 1), *bias = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0), *means = eval_out(c, 1), *inverses = eval_out(c, 2);
    int rank = x->shape.rank;
    int64_t axis = lego_node_int(c->node, "axis", -1);
    axis = axis < 0 ? axis + rank : axis;
    struct lego_shape inner = {.rank = rank - (int)axis};
    memcpy(inner.dim, x->shape.dim + axis, sizeof(int64_t) * (size_t)inner.rank);
    size_t lines = eval_extent(&x->shape, 0, (int)axis), size = eval_extent(&inner, 0, inner.rank);
    bool rms = c->node->op == LEGO_OP_RMSNormalization;
    double epsilon = (double)lego_node_float(c->node, "epsilon", 1e-5f);
    int64_t strides[2][LEGO_MAX_RANK];
    eval_broadcast_strides(&scale->shape, &inner, strides[0]);
    eval_broadcast_strides(bias ? &bias->shape : &scale->shape, &inner, strides[1]);
    for (size_t line = 0; line < lines && size > 0; line++) {
        const float *from = (const float *)x->data + line * size;
        struct moments m = moments_of(from, size);
        if (rms)
            m = (struct moments){0, m.variance + m.mean * m.mean};
        double factor = 1 / sqrt(m.variance + epsilon);
        struct eval_odometer o = {.rank = inner.rank};
        int64_t at[2] = {0, 0};
        memcpy(o.dims, inner.dim, sizeof(int64_t) * (size_t)inner.rank);
        for (size_t i = 0; out && i < size; i++) {
            double value = ((double)from[i] - m.mean) * factor;
            value *= (double)((const float *)scale->data)[at[0]];
            if (bias)
                value += (double)((const float *)bias->data)[at[1]];
            ((float *)out->data)[line * size + i] = (float)value;
            eval_advance(&o, 2, at, (const int64_t(*)[LEGO_MAX_RANK])strides);
        }
        if (means)
            ((float *)means->data)[line] = (float)m.mean;
        if (inverses)
            ((float *)inverses->data)[line] = (float)factor;
    }
    return LEGO_OK;
}

int eval_mean_variance_norm(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    static const int64_t usual[] = {0, 2, 3};
    size_t count, elems = eval_elems(x), groups = 1;
    const int64_t *axes = lego_node_ints(c->node, "axes", &count);
    int64_t steps[LEGO_MAX_RANK] = {0};
    if (!out || elems == 0)
        return LEGO_OK;
    count = axes ? count : 3;
    axes = axes ? axes : usual;
    bool reduced[LEGO_MAX_RANK] = {false};
    for (size_t i = 0; i < count; i++)
        reduced[axes[i] < 0 ? axes[i] + x->shape.rank : axes[i]] = true;
    for (int d = x->shape.rank - 1; d >= 0; d--) {
        steps[d] = reduced[d] ? 0 : (int64_t)groups;
        groups *= reduced[d] ? 1 : (size_t)x->shape.dim[d];
    }
    double *sums = eval_scratch(c, groups, sizeof(*sums));
    double *squares = eval_scratch(c, groups, sizeof(*squares));
    size_t *group = eval_scratch(c, elems, sizeof(*group));
    if (!sums || !squares || !group)
        return LEGO_E_NOMEM;
    const float *from = x->data;
    for (size_t i = 0; i < elems; i++) {
        size_t rest = i;
        for (int d = x->shape.rank - 1; d >= 0; d--) {
            group[i] += rest % (size_t)x->shape.dim[d] * (size_t)steps[d];
            rest /= (size_t)x->shape.dim[d];
        }
        sums[group[i]] += (double)from[i];
    }
    double size = (double)(elems / groups);
    for (size_t i = 0; i < elems; i++) {
        double centred = (double)from[i] - sums[group[i]] / size;
        squares[group[i]] += centred * centred;
    }
    for (size_t i = 0; i < elems; i++) {
        double centred = (double)from[i] - sums[group[i]] / size;
        ((float *)out->data)[i] = (float)(centred / (sqrt(squares[group[i]] / size) + 1e-9));
    }
    return LEGO_OK;
}

int eval_lrn(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int64_t size = lego_node_int(c->node, "size", 1), channels = x->shape.dim[1];
    double alpha = (double)lego_node_float(c->node, "alpha", 1e-4f);
    double beta = (double)lego_node_float(c->node, "beta", 0.75f);
    double offset = (double)lego_node_float(c->node, "bias", 1);
    size_t plane = eval_extent(&x->shape, 2, x->shape.rank);
    for (int64_t n = 0; n < x->shape.dim[0]; n++) {
        for (int64_t ch = 0; ch < channels; ch++) {
            int64_t first = ch - (size - 1) / 2, last = ch + size / 2;
            first = first < 0 ? 0 : first;
            last = last >= channels ? channels - 1 : last;
            const float *picture = (const float *)x->data + (size_t)(n * channels) * plane;
            float *to = (float *)out->data + (size_t)(n * channels + ch) * plane;
            for (size_t i = 0; i < plane; i++) {
                double sum = 0;
                for (int64_t k = first; k <= last; k++) {
                    double v = (double)picture[(size_t)k * plane + i];
                    sum += v * v;
                }
                to[i] = (float)((double)picture[(size_t)ch * plane + i] /
                                pow(offset + alpha / (double)size * sum, beta));
            }
        }
    }
    return LEGO_OK;
}

int eval_lp_norm(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int64_t axis = lego_node_int(c->node, "axis", -1), p = lego_node_int(c->node, "p", 2);
    axis = axis < 0 ? axis + x->shape.rank : axis;
    size_t size = (size_t)x->shape.dim[axis];
    size_t inner = eval_extent(&x->shape, (int)axis + 1, x->shape.rank);
    for (size_t line = 0; line < eval_elems(x) / size; line++) {
        size_t base = line / inner * size * inner + line % inner;
        const float *from = (const float *)x->data + base;
        float *to = (float *)out->data + base;
        double norm = 0;
        for (size_t i = 0; i < size; i++) {
            double v = fabs((double)from[i * inner]);
            norm += p == 1 ? v : v * v;
        }
        norm = p == 1 ? norm : sqrt(norm);
        for (size_t i = 0; i < size; i++)
            to[i * inner] = norm > 0 ? (float)((double)from[i * inner] / norm) : 0;
    }
    return LEGO_OK;
}
