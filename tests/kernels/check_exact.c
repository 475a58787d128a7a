/* Driver of GEMM in one order of sums: the reference's bits. */
#include "tests/kernels/check.h"

#include <string.h>

enum { MAX_SIDE = 160 };

/* A factor or the result: `rows` rows of `columns`, a few elements of something else between. */
struct matrix {
    struct guard guard;
    float *data;
    size_t stride, elems;
};

static struct matrix matrix_open(size_t rows, size_t columns, enum fill fill, enum guard_side side)
{
    struct matrix m = {.stride = columns + rng_below(4)};

    m.elems = (rows - 1) * m.stride + columns;
    m.data = guard_alloc(&m.guard, m.elems * sizeof(float), sizeof(float), side);
    fill_floats(m.data, m.elems, fill);
    return m;
}

static void exact_case(const struct check_entry *entry, size_t m, size_t n, size_t depth,
                       enum fill fill)
{
    static float expected[MAX_SIDE * (MAX_SIDE + 4)];
    const enum guard_side side = rng_below(2);
    struct matrix a = matrix_open(depth, m, fill, side);
    struct matrix b = matrix_open(depth, n, fill, side);
    struct matrix c = matrix_open(m, n, FILL_PLAIN, side);
    struct kern_gemm_exact_f32 g = {.m = m,
                                    .n = n,
                                    .depth = depth,
                                    .a = a.data,
                                    .a_stride = a.stride,
                                    .b = b.data,
                                    .b_stride = b.stride,
                                    .c = expected,
                                    .c_stride = c.stride,
                                    .accumulate = rng_below(2)};

    check_case("m %zu, n %zu, depth %zu, fill %d, accumulate %d, side %d", m, n, depth, fill,
               g.accumulate, side);
    memcpy(expected, c.data, c.elems * sizeof(float)); /* what lies between the rows stays */
    (*(const kern_gemm_exact_f32_fn *)entry->reference)(&g);
    g.c = c.data;
    (*(const kern_gemm_exact_f32_fn *)entry->tested)(&g);
    check_compare(entry, c.data, expected, NULL, c.elems);
    guard_free(&a.guard);
    guard_free(&b.guard);
    guard_free(&c.guard);
}

void check_gemm_exact(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++) {
        const size_t n = check_sizes[s] < MAX_SIDE ? check_sizes[s] : MAX_SIDE;

        for (size_t m = 1; m <= 14; m++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                exact_case(entry, m, n, 1 + rng_below(40), fill);
    }
}
