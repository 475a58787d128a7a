#include "codec/encode/linear.h"
#include "codec/base/arith.h"
#include "codec/base/status.h"

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
