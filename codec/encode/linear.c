#include "codec/encode/linear.h"
#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

#define PACK_REAL   float
#define PACK_ARGS   struct kern_gemm_exact_f32
#define PACK_KERNEL gemm_exact_f32
#include "codec/encode/linear_pack.h"

#define SAMPLES 256 /* of a moment, summed in fp32 before they are added in double */

void linear_gemm(const struct kern_table *kernels, const struct kern_gemm_exact_f32 *gemm)
{
    pack_gemm(kernels, gemm);
}

struct moment {
    const struct kern_table *kernels;
    const float *r, *x;
    size_t samples, m, n;
    bool symmetric; /* only columns from the block's first on */
    double *out;
    size_t block;     /* rows that one task makes */
    size_t at, count; /* the samples at hand */
    float *panels;    /* x of them: [panels][SAMPLES][PACK_COLUMNS] */
};

static void moment_panel(void *context, size_t panel)
{
    struct moment *t = context;
    const size_t j = panel * PACK_COLUMNS;

    pack_panel(t->x + t->at * t->n + j, t->n, t->count, lego_min_size(PACK_COLUMNS, t->n - j),
               t->panels + panel * SAMPLES * PACK_COLUMNS);
}

/* Adds what the samples at hand say of a block's rows, from panel `first` on. */
static void moment_rows(struct moment *t, size_t i0, size_t first)
{
    const size_t panels = lego_div_up(t->n, PACK_COLUMNS),
                 rows = lego_min_size(t->block, t->m - i0);
    struct pack_stripes stripes[SAMPLES / PACK_DEPTH];
    struct kern_gemm_exact_f32 g = {.m = rows, .a_stride = t->m};
    float part[PACK_ROWS * PACK_COLUMNS];

    for (size_t k = 0; k < t->count; k += PACK_DEPTH) {
        g.a = t->r + (t->at + k) * t->m + i0;
        g.depth = lego_min_size(PACK_DEPTH, t->count - k);
        pack_stripes(&g, &stripes[k / PACK_DEPTH]);
    }
    g.c = part;
    g.c_stride = PACK_COLUMNS;
    for (size_t p = first; p < panels; p++) {
        double *out = t->out + i0 * t->n + p * PACK_COLUMNS;

        g.n = lego_min_size(PACK_COLUMNS, t->n - p * PACK_COLUMNS);
        for (size_t k = 0; k < t->count; k += PACK_DEPTH) {
            g.depth = lego_min_size(PACK_DEPTH, t->count - k);
            g.accumulate = k > 0;
            pack_multiply(t->kernels, &stripes[k / PACK_DEPTH],
                          t->panels + (p * SAMPLES + k) * PACK_COLUMNS, g);
        }
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < g.n; j++)
                out[i * t->n + j] += (double)part[i * PACK_COLUMNS + j];
    }
}

static void moment_block(void *context, size_t block)
{
    struct moment *t = context;

    moment_rows(t, block * t->block, t->symmetric ? block * t->block / PACK_COLUMNS : 0);
}

static int moment_run(struct moment *t, struct encode_workers *workers)
{
    const size_t panels = lego_div_up(t->n, PACK_COLUMNS), elems = t->m * t->n;

    /* Small ones in tasks enough for some cores. */
    t->block = lego_min_size(PACK_ROWS, lego_div_up(t->m, 8 * PACK_STRIPE) * PACK_STRIPE);
    t->panels = malloc(panels * SAMPLES * PACK_COLUMNS * sizeof(float));
    if (!t->panels)
        return LEGO_E_NOMEM;
    memset(t->out, 0, elems * sizeof(*t->out));
    for (t->at = 0; t->at < t->samples; t->at += t->count) {
        t->count = lego_min_size(SAMPLES, t->samples - t->at);
        encode_workers_run(workers, panels, moment_panel, t);
        encode_workers_run(workers, lego_div_up(t->m, t->block), moment_block, t);
    }
    for (size_t i = 0; i < elems; i++)
        t->out[i] /= (double)t->samples;
    free(t->panels);
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
