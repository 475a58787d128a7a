/*
 * Products, factors and solutions in double, in blocks: nearly all of the work is in the
 * gemm_exact_f64 kernel, and what a task does depends on its number alone.
 */
#include "codec/base/arith.h"
#include "codec/base/status.h"
#include "codec/encode/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PACK_REAL   double
#define PACK_ARGS   struct kern_gemm_exact_f64
#define PACK_KERNEL gemm_exact_f64
#include "codec/encode/linear_pack.h"

#define PANEL 32 /* columns of a factor that are made at a time */
#define WIDE  64 /* columns of a tile or of right-hand sides */

/* Rows of scratch are no power of 2 apart, so that a cache holds all of them. */
#define WIDE_STRIDE (WIDE + 8)

struct product {
    const struct kern_table *kernels;
    const float *q;
    const double *h;
    size_t rows, n;
    double *q_t; /* [n][rows] */
    double *out;
};

static void turn_columns(void *context, size_t task)
{
    struct product *t = context;
    const size_t first = task * WIDE, last = lego_min_size(first + WIDE, t->n);

    for (size_t r = 0; r < t->rows; r++) {
        for (size_t k = first; k < last; k++)
            t->q_t[k * t->rows + r] = (double)t->q[r * t->n + k];
    }
}

static void product_columns(void *context, size_t task)
{
    const struct product *t = context;
    const size_t first = task * WIDE;

    pack_gemm(t->kernels, &(struct kern_gemm_exact_f64){.m = t->rows,
                                                        .n = lego_min_size(WIDE, t->n - first),
                                                        .depth = t->n,
                                                        .a = t->q_t,
                                                        .a_stride = t->rows,
                                                        .b = t->h + first,
                                                        .b_stride = t->n,
                                                        .c = t->out + first,
                                                        .c_stride = t->n});
}

int linear_product(const float *q, const double *h, size_t rows, size_t n,
                   struct encode_workers *workers, double *ret_product)
{
    struct product t = {.kernels = encode_workers_kernels(workers),
                        .q = q,
                        .h = h,
                        .rows = rows,
                        .n = n,
                        .q_t = malloc(rows * n * sizeof(double)),
                        .out = ret_product};

    if (!t.q_t)
        return LEGO_E_NOMEM;
    encode_workers_run(workers, lego_div_up(n, WIDE), turn_columns, &t);
    encode_workers_run(workers, lego_div_up(n, WIDE), product_columns, &t);
    free(t.q_t);
    return LEGO_OK;
}

/* One panel of a Cholesky factor. */
struct cholesky {
    const struct kern_table *kernels;
    double *a;
    size_t n, begin, end; /* columns of the panel */
    double *panel;        /* [PANEL][stride]: the panel below its diagonal block, transposed */
    size_t stride;
};

static double dot(const double *x, const double *y, size_t n)
{
    double sum[4] = {0};
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        for (int j = 0; j < 4; j++)
            sum[j] += x[i + j] * y[i + j];
    }
    for (; i < n; i++)
        sum[0] += x[i] * y[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static bool cholesky_diagonal(const struct cholesky *t)
{
    for (size_t i = t->begin; i < t->end; i++) {
        double *row = t->a + i * t->n;

        for (size_t j = t->begin; j < i; j++)
            row[j] = (row[j] - dot(row + t->begin, t->a + j * t->n + t->begin, j - t->begin)) /
                     t->a[j * t->n + j];
        const double square = row[i] - dot(row + t->begin, row + t->begin, i - t->begin);
        if (!(square > 0))
            return false;
        row[i] = sqrt(square);
    }
    return true;
}

static void cholesky_rows(void *context, size_t task)
{
    const struct cholesky *t = context;
    const size_t first = t->end + task * WIDE, last = lego_min_size(first + WIDE, t->n);

    for (size_t i = first; i < last; i++) {
        double *row = t->a + i * t->n;

        for (size_t j = t->begin; j < t->end; j++) {
            const double *pivot = t->a + j * t->n;
            row[j] = (row[j] - dot(row + t->begin, pivot + t->begin, j - t->begin)) / pivot[j];
            t->panel[(j - t->begin) * t->stride + i - t->end] = row[j];
        }
    }
}

/* Takes the panel's share off WIDE rows of what is left, up to the diagonal. */
static void cholesky_update(void *context, size_t task)
{
    const struct cholesky *t = context;
    const size_t i0 = task * WIDE, left = t->n - t->end, rows = lego_min_size(WIDE, left - i0);
    double tile[WIDE * WIDE];

    for (size_t j0 = 0; j0 <= i0; j0 += WIDE) {
        const size_t columns = lego_min_size(WIDE, left - j0);

        pack_gemm(t->kernels, &(struct kern_gemm_exact_f64){.m = rows,
                                                            .n = columns,
                                                            .depth = t->end - t->begin,
                                                            .a = t->panel + i0,
                                                            .a_stride = t->stride,
                                                            .b = t->panel + j0,
                                                            .b_stride = t->stride,
                                                            .c = tile,
                                                            .c_stride = WIDE});
        for (size_t i = 0; i < rows; i++) {
            double *row = t->a + (t->end + i0 + i) * t->n + t->end + j0;

            for (size_t j = 0; j < columns && j0 + j <= i0 + i; j++)
                row[j] -= tile[i * WIDE + j];
        }
    }
}

int linear_cholesky(double *a, size_t n, struct encode_workers *workers)
{
    const size_t stride = lego_div_up(n, 16) * 16 + 8;
    struct cholesky t = {.kernels = encode_workers_kernels(workers),
                         .a = a,
                         .n = n,
                         .panel = malloc(PANEL * stride * sizeof(double)),
                         .stride = stride};
    int status = t.panel ? LEGO_OK : LEGO_E_NOMEM;

    for (t.begin = 0; status == LEGO_OK && t.begin < n; t.begin += PANEL) {
        t.end = lego_min_size(t.begin + PANEL, n);
        if (!cholesky_diagonal(&t))
            status = LEGO_E_INVALID;
        const size_t tasks = status == LEGO_OK ? lego_div_up(n - t.end, WIDE) : 0;
        encode_workers_run(workers, tasks, cholesky_rows, &t);
        encode_workers_run(workers, tasks, cholesky_update, &t);
    }
    free(t.panel);
    return status;
}

/* Systems with the factor L: WIDE right-hand sides, as columns of X [n][WIDE_STRIDE]. */
struct system {
    const struct kern_table *kernels;
    const double *l;
    size_t n;
    double *b; /* linear_solve: [count][n] */
    size_t count;
    float *u; /* linear_inverse_factor: [n][n] */
    bool failed;
};

struct columns {
    double *x;
    size_t count;
    double turned[PACK_DEPTH * PANEL], sum[PANEL * WIDE_STRIDE];
};

static struct columns *columns_create(const struct system *t, size_t count)
{
    struct columns *c = malloc(sizeof(*c));
    double *x = calloc(t->n * WIDE_STRIDE, sizeof(*x));

    if (!c || !x) {
        free(c);
        free(x);
        return NULL;
    }
    c->x = x;
    c->count = count;
    return c;
}

static void columns_destroy(struct columns *c)
{
    free(c->x);
    free(c);
}

/* sum[i][j] = sum over k from `from` to `begin` of L[begin + i][k] X[k][j]. */
static void sum_before(const struct system *t, struct columns *c, size_t from, size_t begin,
                       size_t rows)
{
    for (size_t k0 = from; k0 < begin; k0 += PACK_DEPTH) {
        const size_t depth = lego_min_size(PACK_DEPTH, begin - k0);

        for (size_t i = 0; i < rows; i++) {
            for (size_t k = 0; k < depth; k++)
                c->turned[k * PANEL + i] = t->l[(begin + i) * t->n + k0 + k];
        }
        pack_gemm(t->kernels, &(struct kern_gemm_exact_f64){.m = rows,
                                                            .n = c->count,
                                                            .depth = depth,
                                                            .a = c->turned,
                                                            .a_stride = PANEL,
                                                            .b = c->x + k0 * WIDE_STRIDE,
                                                            .b_stride = WIDE_STRIDE,
                                                            .c = c->sum,
                                                            .c_stride = WIDE_STRIDE,
                                                            .accumulate = k0 > from});
    }
}

/* L X = X in place, where the rows before `from` are zeros. */
static void solve_forward(const struct system *t, struct columns *c, size_t from)
{
    for (size_t begin = from; begin < t->n; begin += PANEL) {
        const size_t rows = lego_min_size(PANEL, t->n - begin);

        sum_before(t, c, from, begin, rows);
        for (size_t i = 0; i < rows; i++) {
            const double *l = t->l + (begin + i) * t->n + begin;
            double *x = c->x + (begin + i) * WIDE_STRIDE;

            for (size_t j = 0; begin > from && j < c->count; j++)
                x[j] -= c->sum[i * WIDE_STRIDE + j];
            for (size_t k = 0; k < i; k++) {
                const double *other = c->x + (begin + k) * WIDE_STRIDE;

                for (size_t j = 0; j < c->count; j++)
                    x[j] -= l[k] * other[j];
            }
            for (size_t j = 0; j < c->count; j++)
                x[j] /= l[i];
        }
    }
}

/* L^T X = X in place. */
static void solve_backward(const struct system *t, struct columns *c)
{
    for (size_t end = t->n; end > 0;) {
        const size_t begin = (end - 1) / PANEL * PANEL, rows = end - begin;

        pack_gemm(t->kernels, &(struct kern_gemm_exact_f64){.m = rows,
                                                            .n = c->count,
                                                            .depth = t->n - end,
                                                            .a = t->l + end * t->n + begin,
                                                            .a_stride = t->n,
                                                            .b = c->x + end * WIDE_STRIDE,
                                                            .b_stride = WIDE_STRIDE,
                                                            .c = c->sum,
                                                            .c_stride = WIDE_STRIDE});
        for (size_t i = rows; i-- > 0;) {
            double *x = c->x + (begin + i) * WIDE_STRIDE;

            for (size_t j = 0; j < c->count; j++)
                x[j] -= c->sum[i * WIDE_STRIDE + j];
            for (size_t k = i + 1; k < rows; k++) {
                const double l = t->l[(begin + k) * t->n + begin + i];
                const double *other = c->x + (begin + k) * WIDE_STRIDE;

                for (size_t j = 0; j < c->count; j++)
                    x[j] -= l * other[j];
            }
            for (size_t j = 0; j < c->count; j++)
                x[j] /= t->l[(begin + i) * t->n + begin + i];
        }
        end = begin;
    }
}

static void solve_columns(void *context, size_t task)
{
    struct system *t = context;
    const size_t first = task * WIDE;
    struct columns *c = columns_create(t, lego_min_size(WIDE, t->count - first));

    if (!c) {
        __atomic_store_n(&t->failed, true, __ATOMIC_RELAXED);
        return;
    }
    for (size_t j = 0; j < c->count; j++) {
        for (size_t i = 0; i < t->n; i++)
            c->x[i * WIDE_STRIDE + j] = t->b[(first + j) * t->n + i];
    }
    solve_forward(t, c, 0);
    solve_backward(t, c);
    for (size_t j = 0; j < c->count; j++) {
        for (size_t i = 0; i < t->n; i++)
            t->b[(first + j) * t->n + i] = c->x[i * WIDE_STRIDE + j];
    }
    columns_destroy(c);
}

int linear_solve(const double *l, size_t n, double *b, size_t count, struct encode_workers *workers)
{
    struct system t = {
        .kernels = encode_workers_kernels(workers), .l = l, .n = n, .b = b, .count = count};

    encode_workers_run(workers, lego_div_up(count, WIDE), solve_columns, &t);
    return t.failed ? LEGO_E_NOMEM : LEGO_OK;
}

int linear_aim(const double *h, const double *tx, size_t rows, size_t n, double ridge,
               struct encode_workers *workers, float *w)
{
    double *a = malloc(n * n * sizeof(*a)), *pull = malloc(rows * n * sizeof(*pull));
    int status = a && pull ? linear_product(w, h, rows, n, workers, pull) : LEGO_E_NOMEM;

    if (status == LEGO_OK) {
        for (size_t i = 0; i < rows * n; i++)
            pull[i] = tx[i] - pull[i];
        memcpy(a, h, n * n * sizeof(*a));
        for (size_t i = 0; i < n; i++)
            a[i * n + i] += ridge;
        status = linear_cholesky(a, n, workers);
    }
    if (status == LEGO_OK)
        status = linear_solve(a, n, pull, rows, workers);
    for (size_t i = 0; status == LEGO_OK && i < rows * n; i++)
        w[i] = (float)((double)w[i] + pull[i]);
    free(a);
    free(pull);
    return status == LEGO_E_INVALID ? LEGO_OK : status;
}

int linear_scales(const double *h, const double *tx, const float *q, size_t rows, size_t n,
                  struct encode_workers *workers, double *ret_along, double *ret_square)
{
    double *product = malloc(rows * n * sizeof(*product));
    const int status = product ? linear_product(q, h, rows, n, workers, product) : LEGO_E_NOMEM;

    for (size_t r = 0; status == LEGO_OK && r < rows; r++) {
        ret_along[r] = ret_square[r] = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++) {
            ret_along[r] += tx[i] * (double)q[i];
            ret_square[r] += product[i] * (double)q[i];
        }
    }
    free(product);
    return status;
}

/* Columns of L^-1 are columns of U from the other end, in reverse. */
static void inverse_columns(void *context, size_t task)
{
    struct system *t = context;
    const size_t first = task * WIDE, n = t->n;
    struct columns *c = columns_create(t, lego_min_size(WIDE, n - first));

    if (!c) {
        __atomic_store_n(&t->failed, true, __ATOMIC_RELAXED);
        return;
    }
    for (size_t j = 0; j < c->count; j++)
        c->x[(first + j) * WIDE_STRIDE + j] = 1;
    solve_forward(t, c, first);
    for (size_t i = 0; i < n; i++) {
        float *out = t->u + (n - 1 - i) * n + n - 1 - first;

        for (size_t j = 0; j < c->count; j++)
            *(out - j) = (float)c->x[i * WIDE_STRIDE + j];
    }
    columns_destroy(c);
}

int linear_inverse_factor(const double *h, const uint32_t *order, size_t n, double damping,
                          struct encode_workers *workers, float *ret_u)
{
    double *l = malloc(n * n * sizeof(*l)); /* of the matrix in reverse order */
    struct system t = {.kernels = encode_workers_kernels(workers), .l = l, .n = n, .u = ret_u};

    if (!l)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++)
            l[i * n + j] = h[(size_t)order[n - 1 - i] * n + order[n - 1 - j]];
        l[i * n + i] += damping;
    }
    int status = linear_cholesky(l, n, workers);
    if (status == LEGO_OK)
        encode_workers_run(workers, lego_div_up(n, WIDE), inverse_columns, &t);
    free(l);
    return t.failed ? LEGO_E_NOMEM : status;
}

void linear_keep_diagonal(float *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++)
            u[i * n + j] = 0;
    }
}
