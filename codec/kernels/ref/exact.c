/* GEMM in one order of sums. A block small enough for any machine's registers. */
#include "codec/kernels/ref/ref.h"

enum { MR = 4, NR = 8 };

static void block(const struct kern_gemm_exact_f32 *g, size_t i0, size_t j0)
{
    const float *a = g->a + i0, *b = g->b + j0;
    float acc[MR][NR] = {{0}};
    float *c = g->c + i0 * g->c_stride + j0;

    for (size_t i = 0; g->accumulate && i < MR; i++)
        for (size_t j = 0; j < NR; j++)
            acc[i][j] = c[i * g->c_stride + j];
    for (size_t k = 0; k < g->depth; k++, a += g->a_stride, b += g->b_stride)
        for (size_t i = 0; i < MR; i++)
            for (size_t j = 0; j < NR; j++)
                acc[i][j] += a[i] * b[j];
    for (size_t i = 0; i < MR; i++)
        for (size_t j = 0; j < NR; j++)
            c[i * g->c_stride + j] = acc[i][j];
}

/* A block at the edge: m x n of it. */
static void edge(const struct kern_gemm_exact_f32 *g, size_t i0, size_t j0, size_t m, size_t n)
{
    for (size_t i = i0; i < i0 + m; i++) {
        float *c = g->c + i * g->c_stride + j0, acc[NR] = {0};
        const float *a = g->a + i, *b = g->b + j0;

        for (size_t j = 0; g->accumulate && j < n; j++)
            acc[j] = c[j];
        for (size_t k = 0; k < g->depth; k++, a += g->a_stride, b += g->b_stride)
            for (size_t j = 0; j < n; j++)
                acc[j] += *a * b[j];
        for (size_t j = 0; j < n; j++)
            c[j] = acc[j];
    }
}

static void gemm_exact(const struct kern_gemm_exact_f32 *g)
{
    for (size_t j = 0; j < g->n; j += NR) {
        const size_t n = g->n - j < NR ? g->n - j : NR;

        for (size_t i = 0; i < g->m; i += MR) {
            const size_t m = g->m - i < MR ? g->m - i : MR;

            if (m == MR && n == NR)
                block(g, i, j);
            else
                edge(g, i, j, m, n);
        }
    }
}

const kern_gemm_exact_f32_fn kern_ref_gemm_exact_f32 = gemm_exact;
