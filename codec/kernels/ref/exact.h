/*
 * GEMM in one order of sums, for the type EXACT_REAL: the includer sets it and EXACT(name), the
 * name with the type's suffix. Included once for each type.
 */
#ifndef EXACT_MR
#define EXACT_MR 4
#define EXACT_NR 8
#endif

static void EXACT(block)(const struct EXACT(kern_gemm_exact) * g, size_t i0, size_t j0)
{
    const EXACT_REAL *a = g->a + i0, *b = g->b + j0;
    EXACT_REAL acc[EXACT_MR][EXACT_NR] = {{0}};
    EXACT_REAL *c = g->c + i0 * g->c_stride + j0;

    for (size_t i = 0; g->accumulate && i < EXACT_MR; i++)
        for (size_t j = 0; j < EXACT_NR; j++)
            acc[i][j] = c[i * g->c_stride + j];
    for (size_t k = 0; k < g->depth; k++, a += g->a_stride, b += g->b_stride)
        for (size_t i = 0; i < EXACT_MR; i++)
            for (size_t j = 0; j < EXACT_NR; j++)
                acc[i][j] += a[i] * b[j];
    for (size_t i = 0; i < EXACT_MR; i++)
        for (size_t j = 0; j < EXACT_NR; j++)
            c[i * g->c_stride + j] = acc[i][j];
}

/* A block at the edge: m x n of it. */
static void EXACT(edge)(const struct EXACT(kern_gemm_exact) * g, size_t i0, size_t j0, size_t m,
                        size_t n)
{
    for (size_t i = i0; i < i0 + m; i++) {
        EXACT_REAL *c = g->c + i * g->c_stride + j0, acc[EXACT_NR] = {0};
        const EXACT_REAL *a = g->a + i, *b = g->b + j0;

        for (size_t j = 0; g->accumulate && j < n; j++)
            acc[j] = c[j];
        for (size_t k = 0; k < g->depth; k++, a += g->a_stride, b += g->b_stride)
            for (size_t j = 0; j < n; j++)
                acc[j] += *a * b[j];
        for (size_t j = 0; j < n; j++)
            c[j] = acc[j];
    }
}

static void EXACT(gemm_exact)(const struct EXACT(kern_gemm_exact) * g)
{
    for (size_t j = 0; j < g->n; j += EXACT_NR) {
        const size_t n = g->n - j < EXACT_NR ? g->n - j : EXACT_NR;

        for (size_t i = 0; i < g->m; i += EXACT_MR) {
            const size_t m = g->m - i < EXACT_MR ? g->m - i : EXACT_MR;

            if (m == EXACT_MR && n == EXACT_NR)
                EXACT(block)(g, i, j);
            else
                EXACT(edge)(g, i, j, m, n);
        }
    }
}
