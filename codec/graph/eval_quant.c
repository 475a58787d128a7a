/*
 * Quantising and dequantising.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

/* Which scale belongs to an element: one for all, one a slice of an axis, or one a block of it. */
struct grid {
    size_t size, inner; /* of the axis */
    size_t scales;      /* along the axis; 0: one for all */
    size_t block;
};

static int grid_of(const struct eval_context *c, struct grid *ret_grid)
{
    const struct lego_array *x = eval_in(c, 0), *scale = eval_in(c, 1), *zero = eval_in(c, 2);
    int rank = x->shape.rank;
    int64_t axis = lego_node_int(c->node, "axis", 1),
            block = lego_node_int(c->node, "block_size", 0);
    if (zero && eval_elems(zero) != eval_elems(scale))
        return eval_fail(c, LEGO_E_SHAPE, "scale and zero point differ in size");
    *ret_grid = (struct grid){1, 1, 0, 1};
    if (eval_elems(scale) == 1 && block == 0)
        return LEGO_OK;
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis >= rank)
        return eval_fail(c, LEGO_E_INVALID, "axis %lld is outside rank %d", (long long)axis, rank);
    struct grid g = {(size_t)x->shape.dim[axis], eval_extent(&x->shape, (int)axis + 1, rank), 0, 1};
    g.scales = g.size;
    if (block > 0) {
        g.block = (size_t)block;
        g.scales = lego_div_up(g.size, g.block);
        size_t outer = eval_extent(&x->shape, 0, (int)axis);
        if (eval_elems(scale) != outer * g.scales * g.inner)
            return eval_fail(c, LEGO_E_SHAPE, "the scales do not fit blocks of %lld",
                             (long long)block);
    } else if (eval_elems(scale) != g.size) {
        return eval_fail(c, LEGO_E_SHAPE, "%zu scales for an axis of %zu", eval_elems(scale),
                         g.size);
    }
    *ret_grid = g;
    return LEGO_OK;
}

static size_t scale_index(const struct grid *g, size_t element, bool blocked)
{
    if (g->scales == 0)
        return 0;
    size_t at = element / g->inner % g->size;
    if (!blocked)
        return at;
    size_t outer = element / g->inner / g->size;
    return (outer * g->scales + at / g->block) * g->inner + element % g->inner;
}

int eval_quantize(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *scale = eval_in(c, 1), *zero = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    struct grid g;
    int status = grid_of(c, &g);
    if (status != LEGO_OK || !out)
        return status;
    bool blocked = lego_node_int(c->node, "block_size", 0) > 0;
    for (size_t i = 0; i < eval_elems(out); i++) {
        size_t s = scale_index(&g, i, blocked);
        /* the quotient in fp32, as the operator is defined: ties depend on it */
        float quotient = (float)eval_get_real(x, i) / (float)eval_get_real(scale, s);
        double value = nearbyint((double)quotient) + (zero ? (double)eval_get_int(zero, s) : 0);
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}

int eval_dequantize(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *scale = eval_in(c, 1), *zero = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    struct grid g;
    int status = grid_of(c, &g);
    if (status != LEGO_OK || !out)
        return status;
    bool blocked = lego_node_int(c->node, "block_size", 0) > 0;
    for (size_t i = 0; i < eval_elems(out); i++) {
        size_t s = scale_index(&g, i, blocked);
        double steps = (double)eval_get_int(x, i) - (zero ? (double)eval_get_int(zero, s) : 0);
        double value = steps * eval_get_real(scale, s);
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}

int eval_dynamic_quantize(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    const float *from = x->data;
    size_t count = eval_elems(x);
    float low = 0, high = 0;
    for (size_t i = 0; i < count; i++) {
        low = from[i] < low ? from[i] : low;
        high = from[i] > high ? from[i] : high;
    }
    float scale = (high - low) / 255;
    float zero = scale > 0 ? nearbyintf(-low / scale) : 0;
    zero = zero < 0 ? 0 : zero > 255 ? 255 : zero;
    if (eval_out(c, 1))
        *(float *)eval_out(c, 1)->data = scale;
    if (eval_out(c, 2))
        *(uint8_t *)eval_out(c, 2)->data = (uint8_t)zero;
    for (size_t i = 0; out && i < count; i++) {
        double value = scale > 0 ? (double)nearbyintf(from[i] / scale) + (double)zero : 0;
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}
