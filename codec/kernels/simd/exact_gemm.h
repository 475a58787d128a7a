/*
 * GEMM in one order of sums, for one type: exact.h sets the names (EXACT, EXACT_VEC, EXACT_MASK,
 * EXACT_LANES, EXACT_REAL, EXACT_ARGS, EXACT_OP) and includes it once for each.
 */
/* Vector v of nv at x; where the block is cut, `last` masks the last one. */
EXACT_INLINE EXACT_VEC EXACT(take)(const EXACT_REAL *x, int v, const int nv, const bool cut,
                                   EXACT_MASK last)
{
    return cut && v + 1 == nv ? EXACT_OP(load_mask)(x + v * EXACT_LANES, last)
                              : EXACT_OP(load)(x + v * EXACT_LANES);
}

EXACT_INLINE void EXACT(give)(EXACT_REAL *x, int v, const int nv, const bool cut, EXACT_MASK last,
                              EXACT_VEC y)
{
    if (cut && v + 1 == nv)
        EXACT_OP(store_mask)(x + v * EXACT_LANES, y, last);
    else
        EXACT_OP(store)(x + v * EXACT_LANES, y);
}

EXACT_INLINE void EXACT(block)(const EXACT_ARGS *g, size_t i0, size_t j0, const int m, const int nv,
                               const bool cut)
{
    const EXACT_REAL *a = g->a + i0, *b = g->b + j0;
    EXACT_REAL *c = g->c + i0 * g->c_stride + j0;
    const EXACT_MASK last = EXACT_OP(mask_first)(g->n - j0 - (size_t)(nv - 1) * EXACT_LANES);
    EXACT_VEC acc[EXACT_MR][2];

    EXACT_UNROLL
    for (int i = 0; i < m; i++)
        EXACT_UNROLL
    for (int v = 0; v < nv; v++)
        acc[i][v] = g->accumulate ? EXACT(take)(c + (size_t)i * g->c_stride, v, nv, cut, last)
                                  : EXACT_OP(set1)(0);
    for (size_t k = g->depth; k > 0; k--, a += g->a_stride, b += g->b_stride) {
        EXACT_VEC y[2];

        EXACT_UNROLL
        for (int v = 0; v < nv; v++)
            y[v] = EXACT(take)(b, v, nv, cut, last);
        EXACT_UNROLL
        for (int i = 0; i < m; i++) {
            const EXACT_VEC x = EXACT_OP(set1)(a[i]);

            EXACT_UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = EXACT_OP(add)(acc[i][v], EXACT_OP(mul)(x, y[v]));
        }
    }
    EXACT_UNROLL
    for (int i = 0; i < m; i++)
        EXACT_UNROLL
    for (int v = 0; v < nv; v++)
        EXACT(give)(c + (size_t)i * g->c_stride, v, nv, cut, last, acc[i][v]);
}

#define EXACT_CASE(m)                        \
    case m:                                  \
        EXACT(block)(g, i, j, (m), nv, cut); \
        break;

/* All rows of the nv vectors of columns from j on. */
EXACT_INLINE void EXACT(columns)(const EXACT_ARGS *g, size_t j, const int nv, const bool cut)
{
    size_t i = 0;

    for (; i + EXACT_MR <= g->m; i += EXACT_MR)
        EXACT(block)(g, i, j, EXACT_MR, nv, cut);
    switch (g->m - i) {
        EXACT_CASE(1)
        EXACT_CASE(2)
        EXACT_CASE(3)
        EXACT_CASE(4)
        EXACT_CASE(5)
    }
}

static void EXACT(gemm)(const EXACT_ARGS *g)
{
    size_t j = 0;

    for (; j + 2 * EXACT_LANES <= g->n; j += 2 * EXACT_LANES)
        EXACT(columns)(g, j, 2, false);
    if (g->n - j > EXACT_LANES)
        EXACT(columns)(g, j, 2, true);
    else if (g->n > j)
        EXACT(columns)(g, j, 1, true);
}
