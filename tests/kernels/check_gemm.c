/* Driver of the GEMM variants: against the formula in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TAPS = 9, MAX_MR = 64, MAX_NR = 32 };

struct gemm_case {
    struct kern_gemm_f32 args;
    uint32_t mr, nr;
    const float *rows[MAX_TAPS * MAX_MR];
    float c[MAX_MR * MAX_NR], expected[MAX_MR * MAX_NR], scale[MAX_MR * MAX_NR];
};

static float clamp(double x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : (float)x;
}

/* Fills expected and scale from the arguments; the old c is in c. */
static void gemm_expect(struct gemm_case *k)
{
    const struct kern_gemm_f32 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++) {
        for (uint32_t j = 0; j < g->n; j++) {
            double sum = g->accumulate ? k->c[i * g->n + j] : g->bias ? g->bias[j] : 0.0;
            double magnitude = fabs(sum);
            for (uint32_t t = 0; t < g->taps; t++) {
                for (uint32_t c = 0; c < g->channels; c++) {
                    double product = (double)k->rows[t * k->mr + i][c] *
                                     g->panel[((size_t)t * g->channels + c) * k->nr + j];
                    sum += product;
                    magnitude += fabs(product);
                }
            }
            if (g->add) {
                float residual =
                    g->add == g->c ? k->c[i * g->n + j] : g->add[(ptrdiff_t)i * g->add_stride + j];
                sum += residual;
                magnitude += fabsf(residual);
            }
            k->expected[i * g->n + j] = clamp(sum, g->lo, g->hi);
            k->scale[i * g->n + j] = (float)magnitude;
        }
    }
}

/* Rows are pointers into one buffer of pixels; each may lie anywhere, some are shared. */
static float *gemm_rows(struct gemm_case *k, struct guard *guard, enum fill fill,
                        enum guard_side side)
{
    struct kern_gemm_f32 *g = &k->args;
    uint32_t pixels = k->mr + g->taps;
    float *x =
        guard_alloc(guard, (size_t)pixels * g->channels * sizeof(float), sizeof(float), side);

    fill_floats(x, (size_t)pixels * g->channels, fill);
    for (uint32_t t = 0; t < g->taps; t++)
        for (uint32_t i = 0; i < k->mr; i++)
            k->rows[t * k->mr + i] =
                i < g->m ? x + (size_t)rng_below(pixels) * g->channels : k->rows[t * k->mr + i - 1];
    g->a = k->rows;
    return x;
}

static void gemm_run(const struct check_entry *entry, struct gemm_case *k, kern_gemm_f32_fn run,
                     const float *c)
{
    struct kern_gemm_f32 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++)
        memcpy(k->c + i * g->n, c + (ptrdiff_t)i * g->c_stride, g->n * sizeof(float));
    gemm_expect(k);
    run(g);
    for (uint32_t i = 0; i < g->m; i++)
        check_compare(entry, c + (ptrdiff_t)i * g->c_stride, k->expected + i * g->n,
                      k->scale + i * g->n, g->n);
}

static void gemm_case(const struct check_entry *entry, uint32_t m, uint32_t n, uint32_t taps,
                      uint32_t channels, enum fill fill)
{
    const struct kern_gemm_variant *v = entry->tested;
    enum guard_side side = rng_below(2);
    uint32_t flags = rng_below(32), k_elems = taps * channels;
    struct gemm_case k = {.mr = v->mr, .nr = v->nr};
    struct kern_gemm_f32 *g = &k.args;
    struct guard ga, gpanel, gbias, gc, gadd;

    *g = (struct kern_gemm_f32){.m = m, .n = n, .taps = taps, .channels = channels};
    gemm_rows(&k, &ga, fill, side);
    float *panel = guard_alloc(&gpanel, (size_t)k_elems * v->nr * sizeof(float), 64, GUARD_END);
    float *bias = guard_alloc(&gbias, n * sizeof(float), sizeof(float), side);
    g->c_stride = n + rng_below(4);
    g->add_stride = n + rng_below(4);
    size_t c_elems = (size_t)(m - 1) * g->c_stride + n, add_elems = (m - 1) * g->add_stride + n;
    float *c = guard_alloc(&gc, c_elems * sizeof(float), sizeof(float), side);
    float *add = guard_alloc(&gadd, add_elems * sizeof(float), sizeof(float), side);
    fill_floats(panel, (size_t)k_elems * v->nr, FILL_PLAIN);
    fill_floats(bias, n, FILL_PLAIN);
    fill_floats(c, c_elems, fill);
    fill_floats(add, add_elems, fill);
    g->panel = panel;
    g->bias = flags & 1 ? bias : NULL;
    g->c = c;
    g->accumulate = flags & 2;
    g->add = flags & 4 ? add : NULL;
    if ((flags & 12) == 12)
        g->add = c, g->add_stride = g->c_stride;
    g->lo = flags & 16 ? 0.0f : -INFINITY;
    g->hi = flags & 16 ? 6.0f : INFINITY;
    check_case("m %u, n %u, taps %u, channels %u, fill %d, flags %u, side %d", m, n, taps, channels,
               fill, flags, side);
    gemm_run(entry, &k, v->run, c);
    guard_free(&ga);
    guard_free(&gpanel);
    guard_free(&gbias);
    guard_free(&gc);
    guard_free(&gadd);
}

void check_gemm(const struct check_entry *entry)
{
    static const uint32_t channels[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 19, 64};
    const struct kern_gemm_variant *v = entry->tested;

    check_case("mr %u and nr %u", v->mr, v->nr);
    if (v->mr == 0 || v->mr > MAX_MR || v->nr == 0 || 32 % v->nr != 0)
        check_fail("not a legal block");
    for (uint32_t m = 1; m <= v->mr; m++)
        for (uint32_t n = 1; n <= v->nr; n++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                gemm_case(entry, m, n, rng_below(3) ? 1 : MAX_TAPS,
                          channels[rng_below(sizeof(channels) / sizeof(channels[0]))], fill);
}
