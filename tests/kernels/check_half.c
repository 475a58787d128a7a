/* Drivers of the GEMM in half precision, against the formula, and of what halves its input. */
#include "codec/base/half.h"
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { MAX_TAPS = 9, MAX_MR = 64, MAX_NR = 32 };

struct half_case {
    struct kern_gemm_f16 args;
    uint32_t mr, nr;
    const uint16_t *rows[MAX_TAPS * MAX_MR];
    float expected[MAX_MR * MAX_NR], magnitude[MAX_MR * MAX_NR];
};

static void half_expect(struct half_case *k)
{
    const struct kern_gemm_f16 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++) {
        for (uint32_t j = 0; j < g->n; j++) {
            double sum = g->bias ? g->bias[j] : 0.0, magnitude = fabs(sum);

            for (uint32_t t = 0; t < g->taps; t++) {
                for (uint32_t c = 0; c < g->channels; c++) {
                    const size_t at = ((size_t)t * g->channels + c) * k->nr + j;
                    const double x = (double)lego_half_to_float(k->rows[t * k->mr + i][c]) *
                                     (double)lego_half_to_float(g->panel[at]);
                    sum += x;
                    magnitude += fabs(x);
                }
            }
            if (g->add) {
                sum += g->add[(ptrdiff_t)i * g->add_stride + j];
                magnitude += fabsf(g->add[(ptrdiff_t)i * g->add_stride + j]);
            }
            k->expected[i * g->n + j] = kern_ref_clamp((float)sum, g->lo, g->hi);
            k->magnitude[i * g->n + j] = (float)magnitude;
        }
    }
}

/* Halves whose products and sums are far from the largest one. */
static void half_fill(uint16_t *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = lego_half_from_float(rng_float() * 4.0f - 2.0f);
}

static void half_case(const struct check_entry *entry, uint32_t m, uint32_t n, uint32_t taps,
                      uint32_t channels)
{
    const struct kern_gemm_f16_variant *v = entry->tested;
    enum guard_side side = rng_below(2);
    uint32_t flags = rng_below(16), pixels = v->mr + taps;
    struct half_case k = {.mr = v->mr, .nr = v->nr};
    struct kern_gemm_f16 *g = &k.args;
    struct guard ga, gpanel, gbias, gc, gadd;

    *g = (struct kern_gemm_f16){.m = m, .n = n, .taps = taps, .channels = channels};
    g->c_stride = n + rng_below(4);
    g->add_stride = n + rng_below(4);
    const size_t c_elems = (size_t)(m - 1) * g->c_stride + n;
    const size_t add_elems = (size_t)(m - 1) * g->add_stride + n;
    const size_t panel_elems = (size_t)taps * channels * v->nr;
    uint16_t *x = guard_alloc(&ga, (size_t)pixels * channels * sizeof(*x), sizeof(*x), side);
    uint16_t *panel = guard_alloc(&gpanel, panel_elems * sizeof(*panel), 64, GUARD_END);
    float *bias = guard_alloc(&gbias, n * sizeof(float), sizeof(float), side);
    float *c = guard_alloc(&gc, c_elems * sizeof(float), sizeof(float), side);
    float *add = guard_alloc(&gadd, add_elems * sizeof(float), sizeof(float), side);

    half_fill(x, (size_t)pixels * channels);
    half_fill(panel, panel_elems);
    for (uint32_t t = 0; t < taps; t++)
        for (uint32_t i = 0; i < v->mr; i++)
            k.rows[t * v->mr + i] =
                i < m ? x + (size_t)rng_below(pixels) * channels : k.rows[t * v->mr + i - 1];
    fill_floats(bias, n, FILL_PLAIN);
    fill_floats(c, c_elems, FILL_PLAIN);
    fill_floats(add, add_elems, FILL_PLAIN);
    g->a = k.rows;
    g->panel = panel;
    g->bias = flags & 8 ? bias : NULL;
    g->c = c;
    g->add = flags & 1 ? add : NULL;
    if ((flags & 3) == 3)
        g->add = c, g->add_stride = g->c_stride;
    g->lo = flags & 4 ? 0.0f : -INFINITY;
    g->hi = flags & 4 ? 6.0f : INFINITY;
    check_case("m %u, n %u, taps %u, channels %u, flags %u, side %d", m, n, taps, channels, flags,
               side);
    half_expect(&k);
    v->run(g);
    for (uint32_t i = 0; i < m; i++)
        check_compare(entry, c + (ptrdiff_t)i * g->c_stride, k.expected + i * n,
                      k.magnitude + i * n, n);
    guard_free(&ga);
    guard_free(&gpanel);
    guard_free(&gbias);
    guard_free(&gc);
    guard_free(&gadd);
}

void check_gemm_f16(const struct check_entry *entry)
{
    static const uint32_t groups[] = {1, 2, 3, 5, 8, 15, 16, 17, 33};
    const struct kern_gemm_f16_variant *v = entry->tested;

    check_case("mr %u and nr %u", v->mr, v->nr);
    if (v->mr == 0 || v->mr > MAX_MR || v->nr == 0 || v->nr > MAX_NR || 32 % v->nr != 0)
        check_fail("not a legal block");
    for (uint32_t m = 1; m <= v->mr; m++)
        for (uint32_t n = 1; n <= v->nr; n++)
            for (uint32_t i = 0; i < 4; i++)
                half_case(entry, m, n, rng_below(3) ? 1 : MAX_TAPS,
                          KERN_F16_GROUP * groups[rng_below(sizeof(groups) / sizeof(groups[0]))]);
}

static void halve_case(const struct check_entry *entry, size_t rows, size_t channels, size_t pad,
                       enum fill fill, enum guard_side side)
{
    struct kern_halve_f32 h = {.rows = rows, .channels = channels, .out_stride = channels + pad};
    struct guard in, out;
    float *x = guard_alloc(&in, rows * channels * sizeof(float), sizeof(float), side);
    uint16_t *y = guard_alloc(&out, rows * h.out_stride * sizeof(*y), sizeof(*y), side);

    fill_floats(x, rows * channels, fill);
    h.x = x;
    h.out = y;
    check_case("rows %zu, channels %zu, pad %zu, fill %d, side %d", rows, channels, pad, fill,
               side);
    (*(const kern_halve_f32_fn *)entry->tested)(&h);
    for (size_t i = 0; i < rows * h.out_stride; i++) {
        const size_t r = i / h.out_stride, c = i % h.out_stride;
        const uint16_t want = c < channels ? lego_half_from_float(x[r * channels + c]) : 0;

        if (y[i] == want || (isnan(lego_half_to_float(y[i])) && isnan(lego_half_to_float(want))))
            continue;
        check_fail("half %zu is %#x, not %#x", i, y[i], want);
        break;
    }
    guard_free(&in);
    guard_free(&out);
}

void check_halve(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 8 * FILL_KINDS; variant++)
            halve_case(entry, 1 + (variant & 2), check_sizes[s], variant & 4 ? rng_below(16) : 0,
                       variant / 8, variant & 1);
}
