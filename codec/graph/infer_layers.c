/*
 * Inference of normalisations and picture operators.
 */
#include "codec/graph/infer_node.h"

#include <math.h>
#include <string.h>

static int want_channels(const struct infer_context *c, uint32_t first, uint32_t last)
{
    const struct lego_shape *x = infer_input(c, 0);
    if (x->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    if (x->rank < 2)
        return infer_fail(c, LEGO_E_SHAPE, "the input has rank %d", x->rank);
    for (uint32_t i = first; i <= last; i++) {
        int status = infer_want_vector(c, i, x->dim[1]);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

/* In training mode the running statistics, too. */
static int infer_statistics(const struct infer_context *c)
{
    if (c->io->node->output_count > 3)
        return infer_fail(c, LEGO_E_FORMAT, "%u outputs", c->io->node->output_count);
    infer_set(c, 1, infer_dtype(c, 3), infer_input(c, 3));
    infer_set(c, 2, infer_dtype(c, 4), infer_input(c, 4));
    int status = infer_want_types(c, 3, LEGO_TYPES_FLOAT);
    return status == LEGO_OK ? infer_want_types(c, 4, LEGO_TYPES_FLOAT) : status;
}

int infer_batch_norm(const struct infer_context *c)
{
    bool training = lego_node_int(c->io->node, "training_mode", 0) != 0;
    const struct lego_shape *x = infer_input(c, 0);
    if (x->rank == 1) /* a vector is one channel */
        return infer_fail(c, LEGO_E_SHAPE, "the input has rank 1");
    for (uint32_t i = 1; i < c->io->node->output_count && !training; i++) {
        if (c->io->node->outputs[i] >= 0)
            return infer_fail(c, LEGO_E_UNSUPPORTED, "output %u belongs to training", i);
    }
    int status = want_channels(c, 1, 4);
    if (status == LEGO_OK && training)
        status = infer_statistics(c);
    infer_set(c, 0, infer_dtype(c, 0), x);
    return status == LEGO_OK ? infer_want_types(c, 1, LEGO_TYPES_FLOAT) : status;
}

/* Instance and group normalisation; scale and bias per channel, or (opset 18) per group. */
int infer_channel_norm(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t groups;
    int status = infer_want_same_type(c, 0, 1, 2);
    infer_set(c, 0, infer_dtype(c, 0), x);
    if (status != LEGO_OK || c->io->node->op == LEGO_OP_InstanceNormalization)
        return status == LEGO_OK ? want_channels(c, 1, 2) : status;
    status = infer_int_in(c, "num_groups", 0, 1, INT32_MAX, &groups);
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    if (x->rank < 2 || (x->dim[1] >= 0 && x->dim[1] % groups != 0))
        return infer_fail(c, LEGO_E_SHAPE, "the channels do not divide into %lld groups",
                          (long long)groups);
    size_t count;
    bool per_group = infer_count(c, 1, &count) && (int64_t)count == groups;
    for (uint32_t i = 1; i < 3 && status == LEGO_OK; i++)
        status = infer_want_vector(c, i, per_group ? groups : x->dim[1]);
    return status;
}

int infer_layer_norm(const struct infer_context *c)
{
    const struct lego_shape *x = infer_input(c, 0);
    int axis, status = infer_want_same_type(c, 0, 1, 2);
    infer_set(c, 0, infer_dtype(c, 0), x);
    infer_set_open(c, 1, LEGO_DTYPE_FLOAT32);
    infer_set_open(c, 2, LEGO_DTYPE_FLOAT32);
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    status = infer_axis(c, lego_node_int(c->io->node, "axis", -1), x->rank, &axis);
    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 1; i < 3; i++) {
        const struct lego_shape *scale = infer_input(c, i);
        int behind = x->rank - axis;
        bool fits = scale->rank <= behind;
        for (int d = 0; fits && d < scale->rank; d++) {
            int64_t have = scale->dim[d], want = x->dim[x->rank - scale->rank + d];
            fits = have == 1 || have < 0 || want < 0 || have == want;
        }
        if (!fits)
            return infer_fail(c, LEGO_E_SHAPE, "input %u does not broadcast to the normalised axes",
                              i);
    }
    struct lego_shape mean = *x;
    for (int d = axis; d < x->rank; d++)
        mean.dim[d] = 1;
    infer_set(c, 1, LEGO_DTYPE_FLOAT32, &mean);
    infer_set(c, 2, LEGO_DTYPE_FLOAT32, &mean);
    return LEGO_OK;
}

int infer_mean_variance_norm(const struct infer_context *c)
{
    size_t count;
    unsigned mask;
    int rank = infer_rank(c, 0);
    const int64_t *axes = lego_node_ints(c->io->node, "axes", &count);
    int64_t usual[] = {0, 2, 3};
    infer_set(c, 0, infer_dtype(c, 0), infer_input(c, 0));
    if (rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    return infer_axes(c, axes ? axes : usual, axes ? count : 3, rank, &mask);
}

int infer_lrn(const struct infer_context *c)
{
    int64_t size;
    int rank = infer_rank(c, 0), status = infer_int_in(c, "size", 0, 1, INT32_MAX, &size);
    if (status == LEGO_OK && rank != LEGO_RANK_UNKNOWN && rank < 2)
        status = infer_fail(c, LEGO_E_SHAPE, "the input has rank %d", rank);
    return status == LEGO_OK ? infer_same(c) : status;
}

int infer_lp_norm(const struct infer_context *c)
{
    int64_t p;
    int axis = 0, rank = infer_rank(c, 0), status = infer_int_in(c, "p", 2, 1, 2, &p);
    if (status == LEGO_OK && rank != LEGO_RANK_UNKNOWN)
        status = infer_axis(c, lego_node_int(c->io->node, "axis", -1), rank, &axis);
    infer_set(c, 0, infer_dtype(c, 0), infer_input(c, 0));
    return status;
}

/* The axes that scales and sizes speak of: all, or those of the attribute. */
static int resize_axes(const struct infer_context *c, int rank, int64_t *axes, size_t *ret_count)
{
    size_t count;
    unsigned mask;
    const int64_t *given = lego_node_ints(c->io->node, "axes", &count);
    int status = infer_axes(c, given, given ? count : 0, rank, &mask);
    if (status != LEGO_OK)
        return status;
    *ret_count = given ? count : (size_t)rank;
    for (size_t i = 0; i < *ret_count; i++)
        axes[i] = given ? (given[i] < 0 ? given[i] + rank : given[i]) : (int64_t)i;
    return LEGO_OK;
}

static int resize_by_sizes(const struct infer_context *c, const int64_t *axes, size_t count,
                           struct infer_resize *plan, struct lego_shape *out)
{
    const struct lego_shape *x = infer_input(c, 0);
    const char *policy = lego_node_string(c->io->node, "keep_aspect_ratio_policy", "stretch");
    bool larger = strcmp(policy, "not_smaller") == 0, smaller = strcmp(policy, "not_larger") == 0;
    double common = 0;
    bool open = false;
    for (size_t i = 0; i < count; i++) {
        struct infer_elem size = infer_element(c, 3, i);
        int64_t axis = axes[i];
        if (size.kind == INFER_VALUE && size.value <= 0)
            return infer_fail(c, LEGO_E_INVALID, "size %lld", (long long)size.value);
        out->dim[axis] = size.kind == INFER_OPEN ? LEGO_DIM_UNKNOWN : size.value;
        if (out->dim[axis] < 0 || x->dim[axis] < 0) {
            open = true;
            continue;
        }
        double scale = (double)size.value / (double)(x->dim[axis] > 0 ? x->dim[axis] : 1);
        plan->scale[axis] = scale;
        if (i == 0 || (larger && scale > common) || (smaller && scale < common))
            common = scale;
    }
    for (size_t i = 0; i < count && (larger || smaller); i++) {
        int64_t axis = axes[i];
        out->dim[axis] = open ? LEGO_DIM_UNKNOWN : (int64_t)llround(common * (double)x->dim[axis]);
        plan->scale[axis] = common;
    }
    return LEGO_OK;
}

static int resize_by_scales(const struct infer_context *c, const int64_t *axes, size_t count,
                            struct infer_resize *plan, struct lego_shape *out)
{
    const struct lego_shape *x = infer_input(c, 0);
    for (size_t i = 0; i < count; i++) {
        double scale;
        int64_t axis = axes[i];
        if (infer_real(c, 2, i, &scale) <= 0) {
            out->dim[axis] = LEGO_DIM_UNKNOWN;
            continue;
        }
        if (!(scale > 0) || !isfinite(scale))
            return infer_fail(c, LEGO_E_INVALID, "scale %g", scale);
        plan->scale[axis] = scale;
        if (scale == 1 || x->dim[axis] < 0) {
            out->dim[axis] = scale == 1 ? x->dim[axis] : LEGO_DIM_UNKNOWN;
            continue;
        }
        double start = 0, end = 1;
        if (plan->crop) {
            size_t roi;
            if (infer_count(c, 1, &roi) && roi == 2 * count && infer_real(c, 1, i, &start) > 0)
                infer_real(c, 1, count + i, &end);
        }
        double size = floor((double)x->dim[axis] * (end - start) * scale);
        if (!(size >= 0 && size < 1e15))
            return infer_fail(c, LEGO_E_LIMIT, "axis %lld would have %g elements", (long long)axis,
                              size);
        out->dim[axis] = (int64_t)size;
    }
    return LEGO_OK;
}

int infer_resize_plan(const struct infer_context *c, struct infer_resize *plan,
                      struct lego_shape *out)
{
    const struct lego_shape *x = infer_input(c, 0);
    int64_t axes[LEGO_MAX_RANK];
    size_t count, have, sizes = 0;
    *plan = (struct infer_resize){
        .crop = strcmp(lego_node_string(c->io->node, "coordinate_transformation_mode", ""),
                       "tf_crop_and_resize") == 0};
    *out = *x;
    int status = resize_axes(c, x->rank, axes, &count);
    if (status != LEGO_OK)
        return status;
    for (int d = 0; d < x->rank; d++) {
        plan->scale[d] = 1;
        plan->end[d] = 1;
    }
    size_t roi;
    for (size_t i = 0; plan->crop && infer_count(c, 1, &roi) && roi == 2 * count && i < count; i++)
        if (infer_real(c, 1, i, &plan->start[axes[i]]) <= 0 ||
            infer_real(c, 1, count + i, &plan->end[axes[i]]) <= 0)
            *out = infer_open_shape(x->rank);
    bool by_sizes = infer_has(c, 3) && (!infer_count(c, 3, &sizes) || sizes > 0);
    uint32_t input = by_sizes ? 3 : 2;
    if (!infer_has(c, input))
        return infer_fail(c, LEGO_E_FORMAT, "neither sizes nor scales");
    if (!infer_count(c, input, &have)) {
        *out = infer_open_shape(x->rank);
        return LEGO_OK;
    }
    if (have != count)
        return infer_fail(c, LEGO_E_SHAPE, "input %u has %zu elements for %zu axes", input, have,
                          count);
    return by_sizes ? resize_by_sizes(c, axes, count, plan, out)
                    : resize_by_scales(c, axes, count, plan, out);
}

/* Checks that a string attribute is one of a list. */
static int want_word(const struct infer_context *c, const char *name, const char *otherwise,
                     const char *const *words)
{
    const char *word = lego_node_string(c->io->node, name, otherwise);
    for (; *words; words++) {
        if (strcmp(word, *words) == 0)
            return LEGO_OK;
    }
    return infer_fail(c, LEGO_E_UNSUPPORTED, "%s '%s' is not supported", name, word);
}

int infer_resize(const struct infer_context *c)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil", NULL};
    static const char *const coordinates[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    struct infer_resize plan;
    struct lego_shape out;
    int status = want_word(c, "mode", "nearest", modes);
    if (status == LEGO_OK)
        status = want_word(c, "nearest_mode", "round_prefer_floor", roundings);
    if (status == LEGO_OK)
        status = want_word(c, "coordinate_transformation_mode", "half_pixel", coordinates);
    if (status == LEGO_OK)
        status = want_word(c, "keep_aspect_ratio_policy", "stretch", policies);
    if (status == LEGO_OK && infer_has(c, 3))
        status = infer_want_types(c, 3, INFER_TYPE(INT64));
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || infer_rank(c, 0) == LEGO_RANK_UNKNOWN)
        return status;
    status = infer_resize_plan(c, &plan, &out);
    if (status != LEGO_OK)
        return status;
    const struct lego_shape *x = infer_input(c, 0);
    for (int d = 0; d < out.rank; d++) {
        if (x->dim[d] == 0 && out.dim[d] != 0)
            return infer_fail(c, LEGO_E_SHAPE, "axis %d is empty", d);
    }
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_grid_sample(const struct infer_context *c)
{
    static const char *const modes[] = {"linear", "bilinear", "nearest", "cubic", "bicubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    const struct lego_shape *x = infer_input(c, 0), *grid = infer_input(c, 1);
    int64_t merged;
    int status = infer_want_types(c, 1, LEGO_TYPES_FLOAT);
    if (status == LEGO_OK)
        status = want_word(c, "mode", "linear", modes);
    if (status == LEGO_OK)
        status = want_word(c, "padding_mode", "zeros", paddings);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 0, 4);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 1, 4);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN || grid->rank == LEGO_RANK_UNKNOWN)
        return status;
    struct lego_shape out = {.rank = 4, .dim = {0, x->dim[1], grid->dim[1], grid->dim[2]}};
    if (!infer_dim_merge(x->dim[0], grid->dim[0], &out.dim[0]) ||
        !infer_dim_merge(grid->dim[3], 2, &merged))
        return infer_fail(c, LEGO_E_SHAPE, "the grid does not fit the input");
    if (x->dim[2] == 0 || x->dim[3] == 0)
        return infer_fail(c, LEGO_E_SHAPE, "the input is empty");
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

int infer_roi_align(const struct infer_context *c)
{
    static const char *const modes[] = {"avg", "max", NULL};
    static const char *const coordinates[] = {"half_pixel", "output_half_pixel", NULL};
    const struct lego_shape *x = infer_input(c, 0), *rois = infer_input(c, 1);
    int64_t height, width, ratio, merged;
    int status = infer_want_rank(c, 0, 4);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 1, 2);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 1, 1);
    if (status == LEGO_OK)
        status = infer_want_types(c, 2, INFER_TYPE(INT64));
    if (status == LEGO_OK)
        status = infer_int_in(c, "output_height", 1, 1, 1 << 16, &height);
    if (status == LEGO_OK)
        status = infer_int_in(c, "output_width", 1, 1, 1 << 16, &width);
    if (status == LEGO_OK)
        status = infer_int_in(c, "sampling_ratio", 0, 0, 1 << 10, &ratio);
    if (status == LEGO_OK)
        status = want_word(c, "mode", "avg", modes);
    if (status == LEGO_OK)
        status = want_word(c, "coordinate_transformation_mode", "half_pixel", coordinates);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = infer_open_shape(4);
    if (rois->rank == 2) {
        out.dim[0] = rois->dim[0];
        if (!infer_dim_merge(rois->dim[1], 4, &merged))
            return infer_fail(c, LEGO_E_SHAPE, "rois must be [n,4]");
        status = infer_want_vector(c, 2, rois->dim[0]);
    }
    out.dim[1] = x->rank == 4 ? x->dim[1] : LEGO_DIM_UNKNOWN;
    out.dim[2] = height;
    out.dim[3] = width;
    if (x->rank == 4 && (x->dim[2] == 0 || x->dim[3] == 0))
        return infer_fail(c, LEGO_E_SHAPE, "the input is empty");
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return status;
}
