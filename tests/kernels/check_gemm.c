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
    float *panel; /* what args.panel is */
    float c[MAX_MR * MAX_NR], expected[MAX_MR * MAX_NR], scale[MAX_MR * MAX_NR];
    struct guard ga, gpanel, gbias, gc, gadd;
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
static void gemm_rows(struct gemm_case *k, enum fill fill, enum guard_side side)
{
    struct kern_gemm_f32 *g = &k->args;
    uint32_t pixels = k->mr + g->taps;
    float *x =
        guard_alloc(&k->ga, (size_t)pixels * g->channels * sizeof(float), sizeof(float), side);

    fill_floats(x, (size_t)pixels * g->channels, fill);
    for (uint32_t t = 0; t < g->taps; t++)
        for (uint32_t i = 0; i < k->mr; i++)
            k->rows[t * k->mr + i] =
                i < g->m ? x + (size_t)rng_below(pixels) * g->channels : k->rows[t * k->mr + i - 1];
    g->a = k->rows;
}

/* A case of m, n, taps and channels, which k->args say already. */
static void gemm_open(struct gemm_case *k, enum fill fill)
{
    enum guard_side side = rng_below(2);
    struct kern_gemm_f32 *g = &k->args;
    uint32_t flags = rng_below(32), m = g->m, n = g->n;
    size_t panel_elems = (size_t)g->taps * g->channels * k->nr;

    gemm_rows(k, fill, side);
    k->panel = guard_alloc(&k->gpanel, panel_elems * sizeof(float), 64, GUARD_END);
    float *bias = guard_alloc(&k->gbias, n * sizeof(float), sizeof(float), side);
    g->c_stride = n + rng_below(4);
    g->add_stride = n + rng_below(4);
    size_t c_elems = (size_t)(m - 1) * g->c_stride + n, add_elems = (m - 1) * g->add_stride + n;
    g->c = guard_alloc(&k->gc, c_elems * sizeof(float), sizeof(float), side);
    float *add = guard_alloc(&k->gadd, add_elems * sizeof(float), sizeof(float), side);
    fill_floats(k->panel, panel_elems, FILL_PLAIN);
    fill_floats(bias, n, FILL_PLAIN);
    fill_floats(g->c, c_elems, fill);
    fill_floats(add, add_elems, fill);
    g->panel = k->panel;
    g->bias = flags & 1 ? bias : NULL;
    g->accumulate = flags & 2;
    g->add = flags & 4 ? add : NULL;
    if ((flags & 12) == 12)
        g->add = g->c, g->add_stride = g->c_stride;
    g->lo = flags & 16 ? 0.0f : -INFINITY;
    g->hi = flags & 16 ? 6.0f : INFINITY;
    check_case("m %u, n %u, taps %u, channels %u, fill %d, flags %u, side %d", m, n, g->taps,
               g->channels, fill, flags, side);
}

static void gemm_close(struct gemm_case *k)
{
    guard_free(&k->ga);
    guard_free(&k->gpanel);
    guard_free(&k->gbias);
    guard_free(&k->gc);
    guard_free(&k->gadd);
}

/* Keeps the old c and says what the new one must be. */
static void gemm_before(struct gemm_case *k)
{
    const struct kern_gemm_f32 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++)
        memcpy(k->c + i * g->n, g->c + (ptrdiff_t)i * g->c_stride, g->n * sizeof(float));
    gemm_expect(k);
}

static void gemm_after(const struct check_entry *entry, const struct gemm_case *k)
{
    const struct kern_gemm_f32 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++)
        check_compare(entry, g->c + (ptrdiff_t)i * g->c_stride, k->expected + i * g->n,
                      k->scale + i * g->n, g->n);
}

static void gemm_case(const struct check_entry *entry, uint32_t m, uint32_t n, uint32_t taps,
                      uint32_t channels, enum fill fill)
{
    const struct kern_gemm_variant *v = entry->tested;
    struct gemm_case k = {
        .mr = v->mr, .nr = v->nr, .args = {.m = m, .n = n, .taps = taps, .channels = channels}};

    gemm_open(&k, fill);
    gemm_before(&k);
    v->run(&k.args);
    gemm_after(entry, &k);
    gemm_close(&k);
}

/* The panel that bricks make must be theirs to the bit. */
static void bricks_case(const struct check_entry *entry, uint32_t m, uint32_t taps,
                        uint32_t channels, enum fill fill)
{
    const struct kern_gemm_bricks_variant *v = entry->tested;
    const uint32_t each = v->nr / 4, entries = 1 + rng_below(256), depth = taps * channels;
    struct gemm_case k = {
        .mr = v->mr, .nr = v->nr, .args = {.m = m, .n = v->nr, .taps = taps, .channels = channels}};
    struct kern_gemm_bricks_f32 w = {.index_step = each + rng_below(3)};
    struct guard gindex, gcatalogue, gscale, gmade;
    const size_t panel_bytes = (size_t)depth * v->nr * sizeof(float);
    uint8_t *index = guard_alloc(&gindex, (depth - 1) * w.index_step + each, 1, GUARD_END);
    float *catalogue =
        guard_alloc(&gcatalogue, (size_t)entries * 4 * sizeof(float), sizeof(float), GUARD_END);
    float *scale = guard_alloc(&gscale, v->nr * sizeof(float), sizeof(float), GUARD_END);

    gemm_open(&k, fill);
    fill_floats(scale, v->nr, FILL_PLAIN);
    w.scale = rng_below(2) ? scale : NULL;
    fill_floats(catalogue, (size_t)entries * 4, FILL_PLAIN);
    for (uint32_t d = 0; d < depth; d++)
        for (uint32_t i = 0; i < each; i++) {
            index[d * w.index_step + i] = (uint8_t)rng_below(entries);
            for (uint32_t r = 0; r < 4; r++)
                k.panel[(size_t)d * v->nr + 4 * i + r] =
                    catalogue[(size_t)4 * index[d * w.index_step + i] + r] *
                    (w.scale ? scale[4 * i + r] : 1.0f);
        }
    gemm_before(&k);
    w.gemm = k.args;
    w.gemm.panel = NULL;
    w.index = index;
    w.catalogue = catalogue;
    w.panel = guard_alloc(&gmade, panel_bytes, 64, GUARD_END);
    v->run(&w);
    gemm_after(entry, &k);
    if (memcmp(w.panel, k.panel, panel_bytes) != 0)
        check_fail("the panel differs");
    guard_free(&gindex);
    guard_free(&gcatalogue);
    guard_free(&gscale);
    guard_free(&gmade);
    gemm_close(&k);
}

static const uint32_t gemm_channels[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 19, 64};

static uint32_t gemm_some_channels(void)
{
    return gemm_channels[rng_below(sizeof(gemm_channels) / sizeof(gemm_channels[0]))];
}

void check_gemm_bricks(const struct check_entry *entry)
{
    const struct kern_gemm_bricks_variant *v = entry->tested;

    check_case("mr %u and nr %u", v->mr, v->nr);
    if (v->mr == 0 || v->mr > MAX_MR || v->nr == 0 || 32 % v->nr != 0 || v->nr % 4 != 0)
        check_fail("not a legal block");
    for (uint32_t m = 1; m <= v->mr; m++)
        for (int i = 0; i < 4; i++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                bricks_case(entry, m, rng_below(3) ? 1 : MAX_TAPS, gemm_some_channels(), fill);
}

void check_gemm(const struct check_entry *entry)
{
    const struct kern_gemm_variant *v = entry->tested;

    check_case("mr %u and nr %u", v->mr, v->nr);
    if (v->mr == 0 || v->mr > MAX_MR || v->nr == 0 || 32 % v->nr != 0)
        check_fail("not a legal block");
    for (uint32_t m = 1; m <= v->mr; m++)
        for (uint32_t n = 1; n <= v->nr; n++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                gemm_case(entry, m, n, rng_below(3) ? 1 : MAX_TAPS, gemm_some_channels(), fill);
}
