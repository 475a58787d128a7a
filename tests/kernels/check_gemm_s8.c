/* Drivers of the integer GEMM, against the formula, and of what quantises its input. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { MAX_TAPS = 9, MAX_MR = 64, MAX_NR = 32 };

struct s8_case {
    struct kern_gemm_s8 args;
    uint32_t mr, nr, kg;
    const uint8_t *rows[MAX_TAPS * MAX_MR];
    float expected[MAX_MR * MAX_NR];
};

static void s8_expect(struct s8_case *k)
{
    const struct kern_gemm_s8 *g = &k->args;

    for (uint32_t i = 0; i < g->m; i++) {
        for (uint32_t j = 0; j < g->n; j++) {
            int64_t sum = g->start[j];
            for (uint32_t t = 0; t < g->taps; t++) {
                for (uint32_t c = 0; c < g->channels; c++) {
                    size_t group = ((size_t)t * g->channels + c) / k->kg;
                    sum += k->rows[t * k->mr + i][c] *
                           g->panel[(group * k->nr + j) * k->kg + c % k->kg];
                }
            }
            float x = (float)sum * g->scale[j] + g->bias[j];
            if (g->add)
                x += g->add[(ptrdiff_t)i * g->add_stride + j];
            k->expected[i * g->n + j] = kern_ref_clamp(x, g->lo, g->hi);
        }
    }
}

/* Weights and activations anywhere in their ranges, or all at their ends: the sums that 16 bits
 * only just hold. */
static void s8_fill(uint8_t *x, size_t pixel_bytes, int8_t *panel, size_t panel_bytes, bool ends)
{
    int8_t end = rng_below(2) ? KERN_S8_MAX : -KERN_S8_MAX;

    for (size_t i = 0; i < pixel_bytes; i++)
        x[i] = ends ? KERN_U7_MAX : (uint8_t)rng_below(KERN_U7_MAX + 1);
    for (size_t i = 0; i < panel_bytes; i++)
        panel[i] = ends ? end : (int8_t)((int32_t)rng_below(2 * KERN_S8_MAX + 1) - KERN_S8_MAX);
}

static void s8_case(const struct check_entry *entry, uint32_t m, uint32_t n, uint32_t taps,
                    uint32_t channels, enum fill fill)
{
    const struct kern_gemm_s8_variant *v = entry->tested;
    enum guard_side side = rng_below(2);
    uint32_t flags = rng_below(8), pixels = v->mr + taps;
    struct s8_case k = {.mr = v->mr, .nr = v->nr, .kg = v->kg};
    struct kern_gemm_s8 *g = &k.args;
    struct guard ga, gpanel, gstart, gscale, gbias, gc, gadd;

    *g = (struct kern_gemm_s8){.m = m, .n = n, .taps = taps, .channels = channels};
    g->c_stride = n + rng_below(4);
    g->add_stride = n + rng_below(4);
    size_t c_elems = (size_t)(m - 1) * g->c_stride + n;
    size_t add_elems = (size_t)(m - 1) * g->add_stride + n;
    uint8_t *x = guard_alloc(&ga, (size_t)pixels * channels, 1, side);
    int8_t *panel = guard_alloc(&gpanel, (size_t)taps * channels * v->nr, 64, GUARD_END);
    int32_t *start = guard_alloc(&gstart, n * sizeof(int32_t), sizeof(int32_t), side);
    float *scale = guard_alloc(&gscale, n * sizeof(float), sizeof(float), side);
    float *bias = guard_alloc(&gbias, n * sizeof(float), sizeof(float), side);
    float *c = guard_alloc(&gc, c_elems * sizeof(float), sizeof(float), side);
    float *add = guard_alloc(&gadd, add_elems * sizeof(float), sizeof(float), side);

    s8_fill(x, (size_t)pixels * channels, panel, (size_t)taps * channels * v->nr, fill == 1);
    for (size_t i = 0; v->wide && fill == 2 && i < (size_t)taps * channels * v->nr; i++)
        panel[i] = (int8_t)((rng_below(3) ? (int)rng_below(256) : 0) - 128);
    for (uint32_t t = 0; t < taps; t++)
        for (uint32_t i = 0; i < v->mr; i++)
            k.rows[t * v->mr + i] =
                i < m ? x + (size_t)rng_below(pixels) * channels : k.rows[t * v->mr + i - 1];
    for (uint32_t j = 0; j < n; j++)
        start[j] = (int32_t)rng_next() >> 8;
    fill_floats(scale, n, fill);
    fill_floats(bias, n, fill);
    fill_floats(c, c_elems, FILL_PLAIN);
    fill_floats(add, add_elems, fill);
    g->a = k.rows;
    g->panel = panel;
    g->start = start;
    g->scale = scale;
    g->bias = bias;
    g->c = c;
    g->add = flags & 1 ? add : NULL;
    if ((flags & 3) == 3)
        g->add = c, g->add_stride = g->c_stride;
    g->lo = flags & 4 ? 0.0f : -INFINITY;
    g->hi = flags & 4 ? 6.0f : INFINITY;
    check_case("m %u, n %u, taps %u, channels %u, fill %d, flags %u, side %d", m, n, taps, channels,
               fill, flags, side);
    s8_expect(&k);
    v->run(g);
    for (uint32_t i = 0; i < m; i++)
        check_compare(entry, c + (ptrdiff_t)i * g->c_stride, k.expected + i * n, NULL, n);
    guard_free(&ga);
    guard_free(&gpanel);
    guard_free(&gstart);
    guard_free(&gscale);
    guard_free(&gbias);
    guard_free(&gc);
    guard_free(&gadd);
}

void check_gemm_s8(const struct check_entry *entry)
{
    static const uint32_t groups[] = {1, 2, 3, 4, 5, 7, 8, 9, 16};
    const struct kern_gemm_s8_variant *v = entry->tested;

    check_case("mr %u, nr %u and kg %u", v->mr, v->nr, v->kg);
    if (v->mr == 0 || v->mr > MAX_MR || v->nr == 0 || 32 % v->nr != 0 || v->kg == 0)
        check_fail("not a legal block");
    for (uint32_t m = 1; m <= v->mr; m++)
        for (uint32_t n = 1; n <= v->nr; n++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                s8_case(entry, m, n, rng_below(3) ? 1 : MAX_TAPS,
                        v->kg * groups[rng_below(sizeof(groups) / sizeof(groups[0]))], fill);
}

static void range_case(const struct check_entry *entry, size_t n, enum fill fill,
                       enum guard_side side)
{
    kern_range_f32_fn run = *(const kern_range_f32_fn *)entry->tested;
    kern_range_f32_fn reference = *(const kern_range_f32_fn *)entry->reference;
    struct guard in;
    float *x = guard_alloc(&in, n * sizeof(float), sizeof(float), side), got[2], expected[2];

    fill_floats(x, n, fill);
    check_case("n %zu, fill %d, side %d", n, fill, side);
    reference(n, x, expected);
    run(n, x, got);
    check_compare(entry, got, expected, NULL, 2);
    guard_free(&in);
}

void check_range(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 4 * FILL_KINDS; variant++)
            range_case(entry, check_sizes[s], variant / 4, variant & 1);
}

static void quantize_case(const struct check_entry *entry, size_t rows, size_t channels, size_t pad,
                          enum guard_side side)
{
    kern_quantize_u7_fn run = *(const kern_quantize_u7_fn *)entry->tested;
    kern_quantize_u7_fn reference = *(const kern_quantize_u7_fn *)entry->reference;
    struct kern_quantize_u7 q = {.rows = rows, .channels = channels, .out_stride = channels + pad};
    struct guard in, out;
    float *x = guard_alloc(&in, rows * channels * sizeof(float), sizeof(float), side);
    uint8_t *y = guard_alloc(&out, rows * q.out_stride, 1, side), expected[3 * (3 * 101 + 16)];

    fill_floats(x, rows * channels, FILL_PLAIN);
    for (size_t i = 0; i < rows * channels; i += 5)
        x[i] = (float)rng_below(256) * 0.5f - 64.0f; /* halves, and beyond the ends */
    q.x = x;
    q.inverse = rng_below(2) ? 1.0f : 100.0f;
    q.zero = (int32_t)rng_below(KERN_U7_MAX + 1);
    q.out = expected;
    reference(&q);
    q.out = y;
    check_case("rows %zu, channels %zu, pad %zu, side %d", rows, channels, pad, side);
    run(&q);
    for (size_t i = 0; i < rows * q.out_stride; i++) {
        if (y[i] == expected[i])
            continue;
        check_fail("byte %zu is %u, not %u", i, y[i], expected[i]);
        break;
    }
    guard_free(&in);
    guard_free(&out);
}

void check_quantize(const struct check_entry *entry)
{
    for (size_t s = 0; s < check_size_count; s++)
        for (int variant = 0; variant < 24; variant++)
            quantize_case(entry, 1 + (variant & 2), check_sizes[s] * (variant & 4 ? 1 : 3),
                          variant & 8 ? 0 : rng_below(16), variant & 1);
}
