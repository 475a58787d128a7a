/*
 * A product of one type through its kernel in one order of sums, for large factors: whoever
 * includes this names PACK_REAL, PACK_ARGS (the kernel's arguments) and PACK_KERNEL (its entry)
 * first.
 *
 * Factors are copied before they are multiplied: a in stripes of the rows that the kernel takes at
 * once, b in panels. Rows of a wide matrix lie a power of two apart, or near it: read in place,
 * they would share a few sets of a cache, and each a page.
 */
#include "codec/base/arith.h"
#include "codec/kernels/kernels.h"

#include <stddef.h>
#include <string.h>

enum {
    PACK_DEPTH = 128, /* of both factors */
    PACK_STRIPE = 6,
    PACK_STRIPES = 12,
    PACK_ROWS = PACK_STRIPES * PACK_STRIPE,
    PACK_COLUMNS = 128 / sizeof(PACK_REAL), /* of a panel: at least two vectors of any width */
    PACK_PANELS = 8,
    PACK_FEWEST = 18, /* rows from which a copy of b pays */
};

struct pack_stripes {
    PACK_REAL a[PACK_STRIPES][PACK_DEPTH][PACK_STRIPE];
};

/* `count` of each of `depth` rows to rows of `all`: a number that the compiler knows. */
static inline __attribute__((always_inline)) void pack_copy(const PACK_REAL *from, size_t stride,
                                                            size_t depth, size_t count,
                                                            const size_t all, PACK_REAL *to)
{
    for (size_t k = 0; k < depth; k++, from += stride, to += all) {
        if (count == all)
            memcpy(to, from, all * sizeof(*to));
        else
            memcpy(to, from, count * sizeof(*to));
    }
}

/* At most PACK_ROWS rows and PACK_DEPTH of a. */
static void pack_stripes(const PACK_ARGS *g, struct pack_stripes *ret_stripes)
{
    for (size_t i = 0; i < g->m; i += PACK_STRIPE)
        pack_copy(g->a + i, g->a_stride, g->depth, lego_min_size(PACK_STRIPE, g->m - i),
                  PACK_STRIPE, ret_stripes->a[i / PACK_STRIPE][0]);
}

/* At most PACK_COLUMNS columns, to rows of so many. */
static void pack_panel(const PACK_REAL *b, size_t stride, size_t depth, size_t columns,
                       PACK_REAL *ret_panel)
{
    pack_copy(b, stride, depth, columns, PACK_COLUMNS, ret_panel);
}

/* A panel's columns of c; g's own factors are not read. */
static void pack_multiply(const struct kern_table *kernels, const struct pack_stripes *stripes,
                          const PACK_REAL *panel, PACK_ARGS g)
{
    const size_t m = g.m;
    PACK_REAL *c = g.c;

    g.a_stride = PACK_STRIPE;
    g.b = panel;
    g.b_stride = PACK_COLUMNS;
    for (size_t i = 0; i < m; i += PACK_STRIPE) {
        g.m = lego_min_size(PACK_STRIPE, m - i);
        g.a = stripes->a[i / PACK_STRIPE][0];
        g.c = c + i * g.c_stride;
        kernels->PACK_KERNEL(&g);
    }
}

/* At most PACK_PANELS panels and PACK_DEPTH of the factors. */
static void pack_group(const struct kern_table *kernels, const PACK_ARGS *g)
{
    struct pack_stripes stripes;
    PACK_REAL panels[PACK_PANELS][PACK_DEPTH * PACK_COLUMNS];

    for (size_t j = 0; j < g->n; j += PACK_COLUMNS)
        pack_panel(g->b + j, g->b_stride, g->depth, lego_min_size(PACK_COLUMNS, g->n - j),
                   panels[j / PACK_COLUMNS]);
    for (size_t i = 0; i < g->m; i += PACK_ROWS) {
        PACK_ARGS part = *g;

        part.m = lego_min_size(PACK_ROWS, g->m - i);
        part.a += i;
        pack_stripes(&part, &stripes);
        for (size_t j = 0; j < g->n; j += PACK_COLUMNS) {
            part.n = lego_min_size(PACK_COLUMNS, g->n - j);
            part.c = g->c + i * g->c_stride + j;
            pack_multiply(kernels, &stripes, panels[j / PACK_COLUMNS], part);
        }
    }
}

/* What the kernel does, of factors of any size. */
static void pack_gemm(const struct kern_table *kernels, const PACK_ARGS *whole)
{
    const size_t columns = (size_t)PACK_PANELS * PACK_COLUMNS;

    for (size_t k = 0; k < whole->depth || k == 0; k += PACK_DEPTH) {
        PACK_ARGS part = *whole;

        part.depth = lego_min_size(PACK_DEPTH, whole->depth - k);
        part.accumulate = whole->accumulate || k > 0;
        part.a += k * whole->a_stride;
        for (size_t j = 0; j < whole->n; j += columns) {
            part.n = lego_min_size(columns, whole->n - j);
            part.b = whole->b + k * whole->b_stride + j;
            part.c = whole->c + j;
            if (part.m < PACK_FEWEST)
                kernels->PACK_KERNEL(&part);
            else
                pack_group(kernels, &part);
        }
    }
}
