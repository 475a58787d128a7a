#include "codec/encode/linear.h"
#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH   256 /* of the factors that one call of the kernel reads */
#define ROWS    96
#define BLOCK   64  /* rows of a moment that one task makes */
#define SAMPLES 256 /* summed in fp32 before they are added in double */

void linear_gemm(const struct kern_table *kernels, const struct kern_gemm_exact_f32 *gemm)
{
    for (size_t k = 0; k < gemm->depth || k == 0; k += DEPTH) {
        struct kern_gemm_exact_f32 part = *gemm;

        part.depth = lego_min_size(DEPTH, gemm->depth - k);
        part.accumulate = gemm->accumulate || k > 0;
        for (size_t i = 0; i < gemm->m; i += ROWS) {
            part.m = lego_min_size(ROWS, gemm->m - i);
            part.a = gemm->a + k * gemm->a_stride + i;
            part.b = gemm->b + k * gemm->b_stride;
            part.c = gemm->c + i * gemm->c_stride;
            kernels->gemm_exact_f32(&part);
        }
    }
}

struct moment {
    const struct kern_table *kernels;
    const float *r, *x;
    size_t samples, m, n;
    bool symmetric; /* only columns from the block's first on */
    double *out;
    float *scratch; /* [blocks][BLOCK][n] */
};

static void moment_block(void *context, size_t block)
{
    struct moment *t = context;
    const size_t i0 = block * BLOCK, rows = lego_min_size(BLOCK, t->m - i0);
    const size_t j0 = t->symmetric ? i0 : 0, columns = t->n - j0;
    float *part = t->scratch + i0 * t->n;

    for (size_t i = 0; i < rows; i++)
        memset(t->out + (i0 + i) * t->n, 0, t->n * sizeof(double));
    for (size_t s = 0; s < t->samples; s += SAMPLES) {
        const struct kern_gemm_exact_f32 gemm = {.m = rows,
                                                 .n = columns,
                                                 .depth = lego_min_size(SAMPLES, t->samples - s),
                                                 .a = t->r + s * t->m + i0,
                                                 .a_stride = t->m,
                                                 .b = t->x + s * t->n + j0,
                                                 .b_stride = t->n,
                                                 .c = part,
                                                 .c_stride = columns};

        linear_gemm(t->kernels, &gemm);
        for (size_t i = 0; i < rows; i++) {
            double *out = t->out + (i0 + i) * t->n + j0;

            for (size_t j = 0; j < columns; j++)
                out[j] += (double)part[i * columns + j];
        }
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++)
            t->out[(i0 + i) * t->n + j0 + j] /= (double)t->samples;
    }
}

static int moment_run(struct moment *t, struct encode_workers *workers)
{
    const size_t blocks = lego_div_up(t->m, BLOCK);

    t->scratch = malloc(blocks * BLOCK * t->n * sizeof(float));
    if (!t->scratch)
        return LEGO_E_NOMEM;
    encode_workers_run(workers, blocks, moment_block, t);
    free(t->scratch);
    return LEGO_OK;
}

int linear_moment(const float *x, size_t samples, size_t n, struct encode_workers *workers,
                  double *ret_h)
{
    struct moment t = {.kernels = encode_workers_kernels(workers),
                       .r = x,
                       .x = x,
                       .samples = samples,
                       .m = n,
                       .n = n,
                       .symmetric = true,
                       .out = ret_h};
    const int status = moment_run(&t, workers);

    for (size_t i = 0; status == LEGO_OK && i < n; i++) {
        for (size_t j = 0; j < i; j++)
            ret_h[i * n + j] = ret_h[j * n + i];
    }
    return status;
}

int linear_cross(const float *r, const float *x, size_t samples, size_t m, size_t n,
                 struct encode_workers *workers, double *ret_g)
{
    struct moment t = {.kernels = encode_workers_kernels(workers),
                       .r = r,
                       .x = x,
                       .samples = samples,
                       .m = m,
                       .n = n,
                       .out = ret_g};

    return moment_run(&t, workers);
}

/* Rows of a panel below its diagonal block, or of what lies to the right of it. */
struct cholesky {
    double *a;
    size_t n, begin, end; /* columns of the panel */
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

static void cholesky_rows(void *context, size_t task)
{
    const struct cholesky *t = context;
    const size_t first = t->end + task * 16, last = lego_min_size(first + 16, t->n);

    for (size_t i = first; i < last; i++) {
        double *row = t->a + i * t->n;

        for (size_t j = t->begin; j < t->end; j++) {
            const double *pivot = t->a + j * t->n;
            row[j] = (row[j] - dot(row, pivot, j)) / pivot[j];
        }
    }
}

bool linear_cholesky(double *a, size_t n, struct encode_workers *workers)
{
    for (size_t begin = 0; begin < n; begin += 32) {
        struct cholesky t = {.a = a, .n = n, .begin = begin, .end = lego_min_size(begin + 32, n)};

        for (size_t i = begin; i < t.end; i++) {
            double *row = a + i * n;

            for (size_t j = begin; j < i; j++)
                row[j] = (row[j] - dot(row, a + j * n, j)) / a[j * n + j];
            const double square = row[i] - dot(row, row, i);
            if (!(square > 0))
                return false;
            row[i] = sqrt(square);
        }
        encode_workers_run(workers, lego_div_up(n - t.end, 16), cholesky_rows, &t);
    }
    return true;
}

struct solve {
    const double *l;
    size_t n;
    double *b;
};

static void solve_row(void *context, size_t index)
{
    const struct solve *t = context;
    double *x = t->b + index * t->n;

    for (size_t i = 0; i < t->n; i++)
        x[i] = (x[i] - dot(t->l + i * t->n, x, i)) / t->l[i * t->n + i];
    for (size_t i = t->n; i-- > 0;) {
        const double *row = t->l + i * t->n;

        x[i] /= row[i];
        for (size_t j = 0; j < i; j++)
            x[j] -= row[j] * x[i];
    }
}

void linear_solve(const double *l, size_t n, double *b, size_t count,
                  struct encode_workers *workers)
{
    struct solve t = {.l = l, .n = n, .b = b};

    encode_workers_run(workers, count, solve_row, &t);
}

struct inverse {
    const double *l; /* lower factor of the matrix in reverse order */
    size_t n;
    double *rows; /* [n][n] scratch */
    float *u;
};

/* Row n-1-row of U: row `row` of L^-1 in reverse. */
static void inverse_row(void *context, size_t row)
{
    const struct inverse *t = context;
    const size_t n = t->n;
    double *x = t->rows + row * n;
    float *out = t->u + (n - 1 - row) * n;

    memset(x, 0, n * sizeof(*x));
    x[row] = 1;
    for (size_t k = row + 1; k-- > 0;) {
        const double *l = t->l + k * n;

        x[k] /= l[k];
        for (size_t j = 0; j < k; j++)
            x[j] -= x[k] * l[j];
    }
    for (size_t j = 0; j < n; j++)
        out[n - 1 - j] = (float)x[j];
}

int linear_inverse_factor(const double *h, const uint32_t *order, size_t n, double damping,
                          struct encode_workers *workers, float *ret_u)
{
    double *l = malloc(2 * n * n * sizeof(*l));
    struct inverse t = {.l = l, .n = n, .rows = l + n * n, .u = ret_u};

    if (!l)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            l[i * n + j] = h[(size_t)order[n - 1 - i] * n + order[n - 1 - j]];
        l[i * n + i] += damping;
    }
    const bool definite = linear_cholesky(l, n, workers);
    if (definite)
        encode_workers_run(workers, n, inverse_row, &t);
    free(l);
    return definite ? LEGO_OK : LEGO_E_INVALID;
}
