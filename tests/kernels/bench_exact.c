/* Bench of GEMM in one order of sums, on the shapes of calibration. */
#include "tests/kernels/bench.h"

#include <stdlib.h>

static void run_exact(const void *entry, void *context)
{
    (*(const kern_gemm_exact_f32_fn *)entry)(context);
}

void bench_gemm_exact(const struct check_entry *entry)
{
    static const size_t shapes[][3] = {{64, 256, 256}, {16, 256, 144}, {64, 64, 256}, {10, 8, 64}};
    char shape[64];

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const size_t m = shapes[i][0], n = shapes[i][1], depth = shapes[i][2];
        float *a = bench_floats(depth * m), *b = bench_floats(depth * (n + 16));
        float *c = bench_floats(m * n);
        struct kern_gemm_exact_f32 g = {.m = m,
                                        .n = n,
                                        .depth = depth,
                                        .a = a,
                                        .a_stride = m,
                                        .b = b,
                                        .b_stride = n + 16,
                                        .c = c,
                                        .c_stride = n};

        snprintf(shape, sizeof(shape), "m %zu, n %zu, depth %zu", m, n, depth);
        bench_report(entry, shape, "GFLOP/s", 2.0 * (double)(m * n * depth), run_exact, &g);
        free(a);
        free(b);
        free(c);
    }
}
