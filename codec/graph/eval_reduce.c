/*
 * Reductions, arg reductions, cumulative sums, softmax and TopK.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256

/* Running state of one output element. */
struct reduction {
    enum lego_op op;
    bool u64;
    double real, largest;
    int64_t integer;
    size_t count;
};

static void reduce_begin(struct reduction *r, enum lego_op op, bool u64)
{
    *r = (struct reduction){.op = op, .u64 = u64};
    r->real = op == LEGO_OP_ReduceProd ? 1 : 0;
    r->integer = op == LEGO_OP_ReduceProd ? 1 : 0;
    if (op == LEGO_OP_ReduceMax || op == LEGO_OP_ReduceLogSumExp) {
        r->largest = -INFINITY;
        r->integer = u64 ? 0 : INT64_MIN;
    } else if (op == LEGO_OP_ReduceMin) {
        r->largest = INFINITY;
        r->integer = u64 ? -1 : INT64_MAX;
    }
}

/* The sum of exponentials is kept relative to the largest so far. */
static void log_sum_exp(struct reduction *r, double v)
{
    if (v > r->largest) {
        r->real = r->largest == -INFINITY ? 1 : r->real * exp(r->largest - v) + 1;
        r->largest = v;
    } else if (v != -INFINITY) {
        r->real += exp(v - r->largest);
    }
}

static void reduce_real(struct reduction *r, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double v = x[i];
        switch (r->op) {
        case LEGO_OP_ReduceMax:
            r->largest = v > r->largest || isnan(v) ? v : r->largest;
            break;
        case LEGO_OP_ReduceMin:
            r->largest = v < r->largest || isnan(v) ? v : r->largest;
            break;
        case LEGO_OP_ReduceProd:
            r->real *= v;
            break;
        case LEGO_OP_ReduceL1:
            r->real += fabs(v);
            break;
        case LEGO_OP_ReduceL2:
        case LEGO_OP_ReduceSumSquare:
            r->real += v * v;
            break;
        case LEGO_OP_ReduceLogSumExp:
            log_sum_exp(r, v);
            break;
        default:
            r->real += v;
        }
    }
    r->count += n;
}

static double reduced_real(const struct reduction *r)
{
    switch (r->op) {
    case LEGO_OP_ReduceMax:
    case LEGO_OP_ReduceMin:
        return r->largest;
    case LEGO_OP_ReduceMean:
        return r->real / (double)r->count;
    case LEGO_OP_ReduceL2:
        return sqrt(r->real);
    case LEGO_OP_ReduceLogSum:
        return log(r->real);
    case LEGO_OP_ReduceLogSumExp:
        return r->largest == -INFINITY ? -INFINITY : r->largest + log(r->real);
    default:
        return r->real;
    }
}

static bool int_less(int64_t a, int64_t b, bool u64)
{
    return u64 ? (uint64_t)a < (uint64_t)b : a < b;
}

/* Integers where that is exact; roots and logarithms go through double. */
static void reduce_int(struct reduction *r, const int64_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = (uint64_t)x[i], sum = (uint64_t)r->integer;
        switch (r->op) {
        case LEGO_OP_ReduceMax:
            sum = int_less(r->integer, x[i], r->u64) ? v : sum;
            break;
        case LEGO_OP_ReduceMin:
            sum = int_less(x[i], r->integer, r->u64) ? v : sum;
            break;
        case LEGO_OP_ReduceProd:
            sum *= v;
            break;
        case LEGO_OP_ReduceL1:
            sum += x[i] < 0 && !r->u64 ? 0 - v : v;
            break;
        case LEGO_OP_ReduceSumSquare:
            sum += v * v;
            break;
        default:
            sum += v;
        }
        r->integer = (int64_t)sum;
    }
    r->count += n;
}

static bool through_double(enum lego_op op, enum lego_dtype dtype)
{
    return eval_is_real(dtype) || op == LEGO_OP_ReduceL2 || op == LEGO_OP_ReduceLogSum ||
           op == LEGO_OP_ReduceLogSumExp;
}

static int64_t reduced_int(const struct reduction *r)
{
    if (r->op == LEGO_OP_ReduceMean && r->count > 0)
        return r->u64 ? (int64_t)((uint64_t)r->integer / r->count) : r->integer / (int64_t)r->count;
    return r->integer;
}

/* The reduced axes of an array, lines of its innermost one. */
struct fibre {
    struct eval_odometer outer;
    size_t lines, line_elems;
    int64_t step;
    int64_t strides[1][LEGO_MAX_RANK];
};

static void reduce_fibre(const struct lego_array *x, struct fibre *f, int64_t offset, bool real,
                         struct reduction *r)
{
    for (size_t line = 0; line < f->lines; line++) {
        for (size_t i = 0; i < f->line_elems; i += CHUNK) {
            size_t n = lego_min_size(CHUNK, f->line_elems - i);
            int64_t from = offset + (int64_t)i * f->step;
            if (real) {
                double chunk[CHUNK];
                eval_load_real(x, from, f->step, n, chunk);
                reduce_real(r, chunk, n);
            } else {
                int64_t chunk[CHUNK];
                eval_load_int(x, from, f->step, n, chunk);
                reduce_int(r, chunk, n);
            }
        }
        eval_advance(&f->outer, 1, &offset, (const int64_t(*)[LEGO_MAX_RANK])f->strides);
    }
}

/* Splits the axes of x in kept ones (odometer) and reduced ones (fibre). */
static void split_axes(const struct lego_array *x, unsigned mask, struct fibre *f,
                       struct eval_odometer *kept, int64_t (*kept_strides)[LEGO_MAX_RANK])
{
    int64_t strides[LEGO_MAX_RANK];
    int last = -1;
    eval_strides(&x->shape, strides);
    *f = (struct fibre){.lines = 1, .line_elems = 1};
    *kept = (struct eval_odometer){.rank = 0};
    for (int d = 0; d < x->shape.rank; d++) {
        if (mask >> d & 1u)
            last = d;
    }
    for (int d = 0; d < x->shape.rank; d++) {
        if (!(mask >> d & 1u)) {
            kept_strides[0][kept->rank] = strides[d];
            kept->dims[kept->rank++] = x->shape.dim[d];
        } else if (d == last) {
            f->line_elems = (size_t)x->shape.dim[d];
            f->step = strides[d];
        } else {
            f->strides[0][f->outer.rank] = strides[d];
            f->outer.dims[f->outer.rank++] = x->shape.dim[d];
            f->lines *= (size_t)x->shape.dim[d];
        }
    }
}

int eval_reduce(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    struct lego_infer_io io;
    struct infer_context infer;
    unsigned mask;
    int status = eval_inference(c, &io, &infer);
    if (status == LEGO_OK && infer_reduce_mask(&infer, x->shape.rank, &mask) < 0)
        status = LEGO_E_INVALID;
    if (status != LEGO_OK || !out)
        return status;
    struct fibre fibre;
    struct eval_odometer kept;
    int64_t strides[1][LEGO_MAX_RANK], offset = 0;
    size_t count = eval_elems(out);
    bool real = through_double(c->node->op, x->dtype);
    split_axes(x, mask, &fibre, &kept, strides);
    for (size_t i = 0; i < count; i++) {
        struct reduction r;
        reduce_begin(&r, c->node->op, x->dtype == LEGO_DTYPE_UINT64);
        reduce_fibre(x, &fibre, offset, real, &r);
        double value = real ? reduced_real(&r) : 0;
        int64_t integer = reduced_int(&r);
        if (real)
            eval_store_real(out, i, 1, &value);
        else
            eval_store_int(out, i, 1, &integer);
        eval_advance(&kept, 1, &offset, (const int64_t(*)[LEGO_MAX_RANK])strides);
    }
    return LEGO_OK;
}

/* An axis as (outer, size, inner). */
struct axis_view {
    size_t outer, size, inner;
};

static struct axis_view view_axis(const struct lego_shape *shape, int64_t axis)
{
    int at = (int)(axis < 0 ? axis + shape->rank : axis);
    return (struct axis_view){eval_extent(shape, 0, at), (size_t)shape->dim[at],
                              eval_extent(shape, at + 1, shape->rank)};
}

/* Less in the order of the array's own type. */
static bool element_less(const struct lego_array *x, size_t a, size_t b)
{
    if (eval_is_real(x->dtype))
        return eval_get_real(x, a) < eval_get_real(x, b);
    return int_less(eval_get_int(x, a), eval_get_int(x, b), x->dtype == LEGO_DTYPE_UINT64);
}

int eval_arg_reduce(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    struct axis_view v = view_axis(&x->shape, lego_node_int(c->node, "axis", 0));
    bool last = lego_node_int(c->node, "select_last_index", 0) != 0;
    bool max = c->node->op == LEGO_OP_ArgMax;
    int64_t *to = out->data;
    for (size_t o = 0; o < v.outer; o++) {
        for (size_t i = 0; i < v.inner; i++) {
            size_t base = o * v.size * v.inner + i, best = 0;
            for (size_t k = 1; k < v.size; k++) {
                size_t a = base + best * v.inner, b = base + k * v.inner;
                bool better = max ? element_less(x, a, b) : element_less(x, b, a);
                bool worse = max ? element_less(x, b, a) : element_less(x, a, b);
                if (better || (last && !worse))
                    best = k;
            }
            *to++ = (int64_t)best;
        }
    }
    return LEGO_OK;
}

int eval_cumsum(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    if (x->shape.rank == 0)
        return eval_fail(c, LEGO_E_SHAPE, "a scalar has no axis");
    struct axis_view v = view_axis(&x->shape, eval_get_int(eval_in(c, 1), 0));
    bool exclusive = lego_node_int(c->node, "exclusive", 0) != 0;
    bool reverse = lego_node_int(c->node, "reverse", 0) != 0, real = eval_is_real(x->dtype);
    for (size_t line = 0; line < v.outer * v.inner; line++) {
        double sum = 0;
        uint64_t integer = 0;
        for (size_t k = 0; k < v.size; k++) {
            size_t step = reverse ? v.size - 1 - k : k;
            size_t at = (line / v.inner * v.size + step) * v.inner + line % v.inner;
            double before = sum;
            uint64_t int_before = integer;
            if (real)
                sum += eval_get_real(x, at);
            else
                integer += (uint64_t)eval_get_int(x, at);
            double value = exclusive ? before : sum;
            int64_t int_value = (int64_t)(exclusive ? int_before : integer);
            if (real)
                eval_store_real(out, at, 1, &value);
            else
                eval_store_int(out, at, 1, &int_value);
        }
    }
    return LEGO_OK;
}

/* A candidate of TopK, with its place as the tie-breaker. */
struct ranked {
    double real;
    int64_t integer;
    size_t index;
};

/* Descending; the smaller index first among equals. */
static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->real != y->real)
        return x->real < y->real ? 1 : -1;
    if (x->integer != y->integer)
        return x->integer < y->integer ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Fills the order in which an element is sorted: larger first. */
static struct ranked ranked_of(const struct lego_array *x, size_t at, size_t index, bool largest)
{
    struct ranked r = {.index = index};
    if (eval_is_real(x->dtype)) {
        r.real = eval_get_real(x, at);
        r.real = isnan(r.real) ? INFINITY : r.real;
        r.real = largest ? r.real : -r.real;
        return r;
    }
    uint64_t flip = x->dtype == LEGO_DTYPE_UINT64 ? (uint64_t)1 << 63 : 0;
    r.integer = (int64_t)((uint64_t)eval_get_int(x, at) ^ flip);
    r.integer = largest ? r.integer : ~r.integer;
    return r;
}

int eval_topk(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0), *indices = eval_out(c, 1);
    int64_t axis = lego_node_int(c->node, "axis", -1);
    struct axis_view v = view_axis(&x->shape, axis);
    size_t k = (size_t)eval_get_int(eval_in(c, 1), 0), bytes = lego_dtype_bytes(x->dtype);
    bool largest = lego_node_int(c->node, "largest", 1) != 0;
    struct ranked *ranked = eval_scratch(c, v.size, sizeof(*ranked));
    if (!ranked)
        return LEGO_E_NOMEM;
    for (size_t line = 0; line < v.outer * v.inner; line++) {
        size_t base = line / v.inner * v.size * v.inner + line % v.inner;
        for (size_t i = 0; i < v.size; i++)
            ranked[i] = ranked_of(x, base + i * v.inner, i, largest);
        qsort(ranked, v.size, sizeof(*ranked), compare_ranked);
        for (size_t i = 0; i < k; i++) {
            size_t to = (line / v.inner * k + i) * v.inner + line % v.inner;
            if (out)
                memcpy((char *)out->data + to * bytes,
                       (const char *)x->data + (base + ranked[i].index * v.inner) * bytes, bytes);
            if (indices)
                ((int64_t *)indices->data)[to] = (int64_t)ranked[i].index;
        }
    }
    return LEGO_OK;
}

/* One line of Softmax, LogSoftmax or Hardmax. */
static void softmax_line(enum lego_op op, const float *x, float *out, size_t size, size_t step)
{
    double largest = -INFINITY, sum = 0;
    size_t best = 0;
    for (size_t i = 0; i < size; i++) {
        double v = (double)x[i * step];
        if (v > largest || isnan(v)) {
            best = i;
            largest = v;
        }
    }
    for (size_t i = 0; i < size && op != LEGO_OP_Hardmax; i++)
        sum += exp((double)x[i * step] - largest);
    for (size_t i = 0; i < size; i++) {
        double shifted = (double)x[i * step] - largest;
        out[i * step] = op == LEGO_OP_Hardmax      ? (float)(i == best)
                        : op == LEGO_OP_LogSoftmax ? (float)(shifted - log(sum))
                                                   : (float)(exp(shifted) / sum);
    }
}

int eval_softmax(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int rank = x->shape.rank;
    int64_t axis = lego_node_int(c->node, "axis", -1);
    axis = axis < 0 ? axis + rank : axis;
    struct axis_view v = {1, 1, 1};
    if (rank > 0 && lego_node_int(c->node, "lego.coerce_2d", 0))
        v = (struct axis_view){eval_extent(&x->shape, 0, (int)axis),
                               eval_extent(&x->shape, (int)axis, rank), 1};
    else if (rank > 0)
        v = view_axis(&x->shape, axis);
    for (size_t line = 0; line < v.outer * v.inner; line++) {
        size_t at = line / v.inner * v.size * v.inner + line % v.inner;
        softmax_line(c->node->op, (const float *)x->data + at, (float *)out->data + at, v.size,
                     v.inner);
    }
    return LEGO_OK;
}
