/*
 * Matrix products.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

/* Rows of B that stay in the L2 cache while all rows of A pass. */
#define GEMM_BLOCK_K 128

void eval_gemm_f32(size_t m, size_t n, size_t k, const float *a, size_t a_stride, const float *b,
                   size_t b_stride, float *c, size_t c_stride)
{
    for (size_t from = 0; from < k; from += GEMM_BLOCK_K) {
        size_t to = lego_min_size(k, from + GEMM_BLOCK_K);
        for (size_t i = 0; i < m; i++) {
            float *out = c + i * c_stride;
            for (size_t p = from; p < to; p++) {
                const float *row = b + p * b_stride;
                float factor = a[i * a_stride + p];
                for (size_t j = 0; j < n; j++)
                    out[j] += factor * row[j];
            }
        }
    }
}

/* [rows][columns] transposed, in scratch. */
static const float *transposed(const struct eval_context *c, const float *x, size_t rows,
                               size_t columns)
{
    float *out = eval_scratch(c, rows * columns, sizeof(*out));
    for (size_t r = 0; out && r < rows; r++) {
        for (size_t i = 0; i < columns; i++)
            out[i * rows + r] = x[r * columns + i];
    }
    return out;
}

int eval_gemm(const struct eval_context *c)
{
    const struct lego_array *a = eval_in(c, 0), *b = eval_in(c, 1), *bias = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    bool at = lego_node_int(c->node, "transA", 0), bt = lego_node_int(c->node, "transB", 0);
    size_t m = (size_t)out->shape.dim[0], n = (size_t)out->shape.dim[1];
    size_t k = (size_t)a->shape.dim[!at];
    const float *left = a->data, *right = b->data;
    if (at && k > 0)
        left = transposed(c, left, k, m);
    if (bt && k > 0)
        right = transposed(c, right, n, k);
    if (k > 0 && (!left || !right))
        return LEGO_E_NOMEM;
    float *to = out->data;
    float alpha = lego_node_float(c->node, "alpha", 1), beta = lego_node_float(c->node, "beta", 1);
    memset(to, 0, m * n * sizeof(*to));
    eval_gemm_f32(m, n, k, left, k, right, n, to, n);
    int64_t steps[2] = {0, 0};
    if (bias)
        eval_broadcast_strides(&bias->shape, &out->shape, steps);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = alpha * to[i * n + j];
            if (bias)
                sum += beta *
                       ((const float *)bias->data)[(int64_t)i * steps[0] + (int64_t)j * steps[1]];
            to[i * n + j] = sum;
        }
    }
    eval_activate(c->node, to, m * n);
    return LEGO_OK;
}

/* The two operands of a numpy.matmul, batch by batch. */
struct product {
    size_t m, n, k, batches;
    struct lego_shape batch;           /* shape of the batch dimensions */
    int64_t strides[2][LEGO_MAX_RANK]; /* of A and B in matrices */
};

static struct lego_shape batch_of(const struct lego_shape *shape)
{
    struct lego_shape batch = *shape;
    batch.rank = shape->rank > 2 ? shape->rank - 2 : 0;
    return batch;
}

static struct product product_of(const struct lego_array *a, const struct lego_array *b,
                                 const struct lego_array *out)
{
    const struct lego_shape *x = &a->shape, *y = &b->shape;
    struct product p = {.m = x->rank == 1 ? 1 : (size_t)x->dim[x->rank - 2],
                        .n = y->rank == 1 ? 1 : (size_t)y->dim[y->rank - 1],
                        .k = (size_t)x->dim[x->rank - 1]};
    struct lego_shape left = batch_of(x), right = batch_of(y);
    p.batch = out->shape;
    p.batch.rank = left.rank > right.rank ? left.rank : right.rank;
    p.batches = eval_extent(&p.batch, 0, p.batch.rank);
    eval_broadcast_strides(&left, &p.batch, p.strides[0]);
    eval_broadcast_strides(&right, &p.batch, p.strides[1]);
    return p;
}

static struct eval_odometer batch_odometer(const struct product *p)
{
    struct eval_odometer o = {.rank = p->batch.rank};
    memcpy(o.dims, p->batch.dim, sizeof(int64_t) * (size_t)p->batch.rank);
    return o;
}

/* Products that are not fp32: double or wrapping integers. */
static int matmul_any(const struct eval_context *c, const struct product *p)
{
    const struct lego_array *a = eval_in(c, 0), *b = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    struct eval_odometer o = batch_odometer(p);
    int64_t at[2] = {0, 0};
    bool real = eval_is_real(a->dtype);
    for (size_t batch = 0, to = 0; batch < p->batches; batch++) {
        for (size_t i = 0; i < p->m * p->n; i++, to++) {
            double sum = 0;
            uint64_t integer = 0;
            for (size_t k = 0; k < p->k; k++) {
                size_t l = (size_t)at[0] * p->m * p->k + i / p->n * p->k + k;
                size_t r = (size_t)at[1] * p->k * p->n + k * p->n + i % p->n;
                if (real)
                    sum += eval_get_real(a, l) * eval_get_real(b, r);
                else
                    integer += (uint64_t)eval_get_int(a, l) * (uint64_t)eval_get_int(b, r);
            }
            int64_t whole = (int64_t)integer;
            if (real)
                eval_store_real(out, to, 1, &sum);
            else
                eval_store_int(out, to, 1, &whole);
        }
        eval_advance(&o, 2, at, (const int64_t(*)[LEGO_MAX_RANK])p->strides);
    }
    return LEGO_OK;
}

int eval_matmul(const struct eval_context *c)
{
    const struct lego_array *a = eval_in(c, 0), *b = eval_in(c, 1);
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    struct product p = product_of(a, b, out);
    if (a->dtype == LEGO_DTYPE_FLOAT64 || !eval_is_real(a->dtype))
        return matmul_any(c, &p);
    const float *left = eval_floats(c, a), *right = eval_floats(c, b);
    float *to = out->data;
    if (out->dtype != LEGO_DTYPE_FLOAT32)
        to = eval_scratch(c, eval_elems(out), sizeof(*to));
    if (!left || !right || !to)
        return LEGO_E_NOMEM;
    struct eval_odometer o = batch_odometer(&p);
    int64_t at[2] = {0, 0};
    memset(to, 0, eval_elems(out) * sizeof(*to));
    for (size_t batch = 0; batch < p.batches; batch++) {
        eval_gemm_f32(p.m, p.n, p.k, left + (size_t)at[0] * p.m * p.k, p.k,
                      right + (size_t)at[1] * p.k * p.n, p.n, to + batch * p.m * p.n, p.n);
        eval_advance(&o, 2, at, (const int64_t(*)[LEGO_MAX_RANK])p.strides);
    }
    eval_activate(c->node, to, eval_elems(out));
    for (size_t i = 0; to != out->data && i < eval_elems(out); i++) {
        double value = (double)to[i];
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}

/* An int8 or uint8 matrix less its zero point: one, or one for each row (or column). */
static uint32_t *centred(const struct eval_context *c, const struct lego_array *x,
                         const struct lego_array *zero, size_t columns, bool by_row)
{
    size_t count = eval_elems(x), zeros = zero ? eval_elems(zero) : 0;
    uint32_t *out = eval_scratch(c, count, sizeof(*out));
    for (size_t i = 0; out && i < count; i++) {
        size_t line = by_row ? i / columns : i % columns;
        int64_t from = zeros == 0 ? 0 : eval_get_int(zero, zeros == 1 ? 0 : line % zeros);
        out[i] = (uint32_t)(eval_get_int(x, i) - from);
    }
    return out;
}

static int matmul_u32(const struct eval_context *c, const struct lego_array *a,
                      const struct lego_array *a_zero, const struct lego_array *b,
                      const struct lego_array *b_zero, uint32_t *out, struct product *ret_product)
{
    struct product p = product_of(a, b, eval_out(c, 0));
    const uint32_t *left = centred(c, a, a_zero, p.k, true);
    const uint32_t *right = centred(c, b, b_zero, p.n, false);
    if (!left || !right)
        return LEGO_E_NOMEM;
    struct eval_odometer o = batch_odometer(&p);
    int64_t at[2] = {0, 0};
    for (size_t batch = 0; batch < p.batches; batch++) {
        for (size_t i = 0; i < p.m; i++) {
            uint32_t *to = out + (batch * p.m + i) * p.n;
            for (size_t k = 0; k < p.k; k++) {
                uint32_t factor = left[((size_t)at[0] * p.m + i) * p.k + k];
                const uint32_t *row = right + ((size_t)at[1] * p.k + k) * p.n;
                for (size_t j = 0; j < p.n; j++)
                    to[j] += factor * row[j];
            }
        }
        eval_advance(&o, 2, at, (const int64_t(*)[LEGO_MAX_RANK])p.strides);
    }
    *ret_product = p;
    return LEGO_OK;
}

int eval_matmul_integer(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct product p;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    memset(out->data, 0, eval_elems(out) * sizeof(uint32_t));
    return matmul_u32(c, eval_in(c, 0), eval_in(c, 2), eval_in(c, 1), eval_in(c, 3), out->data, &p);
}

static double line_scale(const struct lego_array *scale, size_t line)
{
    size_t count = eval_elems(scale);
    return eval_get_real(scale, count == 1 ? 0 : line % count);
}

int eval_qlinear_matmul(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct product p;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    uint32_t *acc = eval_scratch(c, eval_elems(out), sizeof(*acc));
    if (!acc)
        return LEGO_E_NOMEM;
    int status = matmul_u32(c, eval_in(c, 0), eval_in(c, 2), eval_in(c, 3), eval_in(c, 5), acc, &p);
    if (status != LEGO_OK)
        return status;
    double zero = (double)eval_get_int(eval_in(c, 7), 0), step = eval_get_real(eval_in(c, 6), 0);
    for (size_t i = 0; i < eval_elems(out); i++) {
        double scale =
            line_scale(eval_in(c, 1), i / p.n) * line_scale(eval_in(c, 4), i % p.n) / step;
        double value = nearbyint((double)(int32_t)acc[i] * scale) + zero;
        eval_store_real(out, i, 1, &value);
    }
    return LEGO_OK;
}
