/* Drivers of Winograd's transforms: against the products with their matrices in double. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { IN = KERN_WINOGRAD_IN, OUT = KERN_WINOGRAD_OUT, KERNEL = 3 };

/* A matrix of `to` rows and `from` columns. */
struct transform {
    int to, from;
    double matrix[IN][IN];
};

/* The finite points, in the order of the positions. */
static double point(int i)
{
    static const double squares[] = {0.0, 0.5, 0.5, 2.0, 2.0};
    double root = sqrt(squares[i]);

    return i % 2 ? root : -root;
}

/* Toom and Cook's matrices from the points alone, not from the kernels' constants. */
static struct transform input_transform(void)
{
    struct transform t = {.to = IN, .from = IN};

    for (int i = 0; i < IN; i++) {
        double polynomial[IN + 1] = {1.0}; /* the product of x - point(j), j != i */
        int degree = 0;
        for (int j = 0; j < IN - 1; j++) {
            if (j == i)
                continue;
            degree++;
            for (int d = degree; d >= 0; d--)
                polynomial[d] = (d ? polynomial[d - 1] : 0.0) - point(j) * polynomial[d];
        }
        /* What cancels in theory leaves rounding behind, and times infinity that would be one. */
        for (int j = 0; j < IN; j++)
            t.matrix[i][j] = fabs(polynomial[j]) < 1e-9 ? 0.0 : polynomial[j];
    }
    return t;
}

static struct transform weights_transform(void)
{
    struct transform t = {.to = IN, .from = KERNEL};

    for (int i = 0; i < IN - 1; i++) {
        double divisor = 1.0;
        for (int j = 0; j < IN - 1; j++)
            divisor *= j == i ? 1.0 : point(i) - point(j);
        for (int j = 0; j < KERNEL; j++)
            t.matrix[i][j] = (j ? pow(point(i), j) : 1.0) / divisor;
    }
    t.matrix[IN - 1][KERNEL - 1] = 1.0;
    return t;
}

static struct transform output_transform(void)
{
    struct transform t = {.to = OUT, .from = IN};

    for (int i = 0; i < OUT; i++) {
        for (int j = 0; j < IN - 1; j++)
            t.matrix[i][j] = i ? pow(point(j), i) : 1.0;
        t.matrix[i][IN - 1] = i == OUT - 1 ? 1.0 : 0.0;
    }
    return t;
}

/* One element of matrix x matrix^T and the magnitude of its terms. */
static double transformed(const struct transform *t, const double *x, int row, int column,
                          double *ret_magnitude)
{
    double sum = 0.0;

    *ret_magnitude = 0.0;
    for (int i = 0; i < t->from; i++) {
        for (int j = 0; j < t->from; j++) {
            double factor = t->matrix[row][i] * t->matrix[column][j];
            if (factor == 0.0)
                continue;
            sum += factor * x[i * t->from + j];
            *ret_magnitude += fabs(factor * x[i * t->from + j]);
        }
    }
    return sum;
}

static void compare(const struct check_entry *entry, float got, double expected, double magnitude)
{
    float value = (float)expected, scale = (float)magnitude;

    check_compare(entry, &got, &value, &scale, 1);
}

static void input_case(const struct check_entry *entry, uint32_t channels, enum fill fill)
{
    struct transform t = input_transform();
    enum guard_side side = rng_below(2);
    uint32_t pixels = 1 + rng_below(IN * IN), stride = channels + rng_below(5);
    size_t out_elems = (IN * IN - 1) * (size_t)stride + channels;
    const float *pointers[IN * IN];
    struct guard gx, gout;
    float *x = guard_alloc(&gx, (size_t)pixels * channels * sizeof(float), sizeof(float), side);
    float *out = guard_alloc(&gout, out_elems * sizeof(float), sizeof(float), side);

    fill_floats(x, (size_t)pixels * channels, fill);
    for (int p = 0; p < IN * IN; p++)
        pointers[p] = x + (size_t)rng_below(pixels) * channels;
    check_case("%u channels, stride %u, fill %d, side %d", channels, stride, fill, side);
    struct kern_winograd_input_f32 w = {pointers, channels, out, stride};
    (*(const kern_winograd_input_f32_fn *)entry->tested)(&w);
    for (uint32_t c = 0; c < channels; c++) {
        double square[IN * IN], magnitude;
        for (int p = 0; p < IN * IN; p++)
            square[p] = pointers[p][c];
        for (int p = 0; p < IN * IN; p++) {
            double expected = transformed(&t, square, p / IN, p % IN, &magnitude);
            compare(entry, out[(size_t)p * stride + c], expected, magnitude);
        }
    }
    guard_free(&gx);
    guard_free(&gout);
}

static void weights_case(const struct check_entry *entry, uint32_t elems, enum fill fill)
{
    struct transform t = weights_transform();
    enum guard_side side = rng_below(2);
    uint32_t tap_stride = elems + rng_below(5), stride = elems + rng_below(5);
    size_t taps_elems = (KERNEL * KERNEL - 1) * (size_t)tap_stride + elems;
    size_t out_elems = (IN * IN - 1) * (size_t)stride + elems;
    struct guard gtaps, gout;
    float *taps = guard_alloc(&gtaps, taps_elems * sizeof(float), sizeof(float), side);
    float *out = guard_alloc(&gout, out_elems * sizeof(float), sizeof(float), side);

    fill_floats(taps, taps_elems, fill);
    check_case("%u elements, strides %u and %u, fill %d, side %d", elems, tap_stride, stride, fill,
               side);
    struct kern_winograd_weights_f32 w = {taps, elems, tap_stride, out, stride};
    (*(const kern_winograd_weights_f32_fn *)entry->tested)(&w);
    for (uint32_t i = 0; i < elems; i++) {
        double square[KERNEL * KERNEL], magnitude;
        for (int p = 0; p < KERNEL * KERNEL; p++)
            square[p] = taps[(size_t)p * tap_stride + i];
        for (int p = 0; p < IN * IN; p++) {
            double expected = transformed(&t, square, p / IN, p % IN, &magnitude);
            compare(entry, out[(size_t)p * stride + i], expected, magnitude);
        }
    }
    guard_free(&gtaps);
    guard_free(&gout);
}

/* Sums over channels of products with transformed weights; a product's magnitude is that of all
 * terms of its transform. */
static void few_compare(const struct check_entry *entry, const struct transform *t,
                        const struct kern_winograd_few_f32 *w, const float *before, uint32_t tile,
                        uint32_t i)
{
    double sum[IN * IN], all[IN * IN];

    for (int p = 0; p < IN * IN; p++) {
        sum[p] = w->accumulate ? before[(size_t)p * w->product_stride + (size_t)tile * w->elems + i]
                               : 0.0;
        all[p] = fabs(sum[p]);
    }
    for (uint32_t c = 0; c < w->channels; c++) {
        double square[KERNEL * KERNEL], magnitude;
        for (int k = 0; k < KERNEL * KERNEL; k++)
            square[k] = w->taps[(size_t)k * w->tap_stride + (size_t)c * w->elems + i];
        for (int p = 0; p < IN * IN; p++) {
            double x = w->input[((size_t)c * IN * IN + (size_t)p) * KERN_WINOGRAD_FEW + tile];
            sum[p] += x * transformed(t, square, p / IN, p % IN, &magnitude);
            all[p] += fabs(x) * magnitude;
        }
    }
    for (int p = 0; p < IN * IN; p++)
        compare(entry, w->products[(size_t)p * w->product_stride + (size_t)tile * w->elems + i],
                sum[p], all[p]);
}

static void few_case(const struct check_entry *entry, uint32_t channels, uint32_t elems,
                     enum fill fill)
{
    struct transform t = weights_transform();
    enum guard_side side = rng_below(2);
    struct guard gin, gtaps, gout, gbefore;
    struct kern_winograd_few_f32 w = {.tiles = 1 + rng_below(KERN_WINOGRAD_FEW),
                                      .channels = channels,
                                      .elems = elems,
                                      .accumulate = rng_below(2)};

    w.tap_stride = (size_t)channels * elems + rng_below(5);
    w.product_stride = (size_t)w.tiles * elems + rng_below(5);
    size_t in_elems = (size_t)channels * IN * IN * KERN_WINOGRAD_FEW;
    size_t taps_elems = (KERNEL * KERNEL - 1) * w.tap_stride + (size_t)channels * elems;
    size_t out_elems = (IN * IN - 1) * w.product_stride + (size_t)w.tiles * elems;
    float *input = guard_alloc(&gin, in_elems * sizeof(float), sizeof(float), side);
    float *taps = guard_alloc(&gtaps, taps_elems * sizeof(float), sizeof(float), side);

    w.products = guard_alloc(&gout, out_elems * sizeof(float), sizeof(float), side);
    fill_floats(input, in_elems, fill);
    fill_floats(taps, taps_elems, FILL_PLAIN);
    fill_floats(w.products, out_elems, FILL_PLAIN);
    float *before = guard_alloc(&gbefore, out_elems * sizeof(float), sizeof(float), side);
    memcpy(before, w.products, out_elems * sizeof(float));
    w.input = input;
    w.taps = taps;
    check_case("%u tiles, %u channels, %u elements, fill %d, side %d", w.tiles, channels, elems,
               fill, side);
    (*(const kern_winograd_few_f32_fn *)entry->tested)(&w);
    for (uint32_t tile = 0; tile < w.tiles; tile++)
        for (uint32_t i = 0; i < elems; i++)
            few_compare(entry, &t, &w, before, tile, i);
    guard_free(&gbefore);
    guard_free(&gin);
    guard_free(&gtaps);
    guard_free(&gout);
}

/* The arguments of one output case, in buffers of their own. */
struct output_case {
    struct kern_winograd_output_f32 args;
    float *out[OUT * OUT];
    const float *add[OUT * OUT];
    struct guard gproducts, gbias, gout, gadd;
};

static void output_open(struct output_case *k, uint32_t channels, enum fill fill)
{
    struct kern_winograd_output_f32 *w = &k->args;
    enum guard_side side = rng_below(2);
    uint32_t flags = rng_below(16), stride = channels + rng_below(5);
    size_t products = (IN * IN - 1) * (size_t)stride + channels;
    size_t pixels = (size_t)OUT * OUT * channels;
    float *from = guard_alloc(&k->gproducts, products * sizeof(float), sizeof(float), side);
    float *bias = guard_alloc(&k->gbias, channels * sizeof(float), sizeof(float), side);
    float *out = guard_alloc(&k->gout, pixels * sizeof(float), sizeof(float), side);
    float *add = guard_alloc(&k->gadd, pixels * sizeof(float), sizeof(float), side);

    fill_floats(from, products, fill);
    fill_floats(bias, channels, FILL_PLAIN);
    fill_floats(out, pixels, FILL_PLAIN);
    fill_floats(add, pixels, fill);
    for (uint32_t p = 0; p < OUT * OUT; p++) {
        k->out[p] = flags & 8 && rng_below(3) == 0 ? NULL : out + (size_t)p * channels;
        k->add[p] = k->out[p] ? add + (size_t)p * channels : NULL;
    }
    *w = (struct kern_winograd_output_f32){.products = from,
                                           .product_stride = stride,
                                           .channels = channels,
                                           .bias = flags & 1 ? bias : NULL,
                                           .out = k->out,
                                           .add = flags & 2 ? k->add : NULL,
                                           .lo = flags & 4 ? 0.0f : -INFINITY,
                                           .hi = flags & 4 ? 6.0f : INFINITY};
    check_case("%u channels, stride %u, fill %d, flags %u, side %d", channels, stride, fill, flags,
               side);
}

static void output_case(const struct check_entry *entry, uint32_t channels, enum fill fill)
{
    struct transform t = output_transform();
    struct output_case k;
    const struct kern_winograd_output_f32 *w = &k.args;

    output_open(&k, channels, fill);
    float before[OUT * OUT * 128];
    memcpy(before, k.gout.data, k.gout.bytes);
    (*(const kern_winograd_output_f32_fn *)entry->tested)(w);
    for (uint32_t c = 0; c < channels; c++) {
        double square[IN * IN];
        for (int p = 0; p < IN * IN; p++)
            square[p] = w->products[(size_t)p * w->product_stride + c];
        for (int p = 0; p < OUT * OUT; p++) {
            double magnitude, sum = transformed(&t, square, p / OUT, p % OUT, &magnitude);
            float got = ((float *)k.gout.data)[(uint32_t)p * channels + c];
            if (!k.out[p]) {
                if (memcmp(&got, &before[(uint32_t)p * channels + c], sizeof(got)) != 0)
                    check_fail("pixel %d is outside, but was written", p);
                continue;
            }
            double more[2] = {w->bias ? w->bias[c] : 0.0, w->add ? w->add[p][c] : 0.0};
            sum += more[0] + more[1];
            magnitude += fabs(more[0]) + fabs(more[1]);
            compare(entry, got, sum < w->lo ? w->lo : sum > w->hi ? w->hi : sum, magnitude);
        }
    }
    guard_free(&k.gproducts);
    guard_free(&k.gbias);
    guard_free(&k.gout);
    guard_free(&k.gadd);
}

void check_winograd_input(const struct check_entry *entry)
{
    for (size_t i = 0; i < check_size_count; i++)
        for (enum fill fill = 0; fill < FILL_KINDS; fill++)
            input_case(entry, check_sizes[i], fill);
}

void check_winograd_weights(const struct check_entry *entry)
{
    for (size_t i = 0; i < check_size_count; i++)
        for (enum fill fill = 0; fill < FILL_KINDS; fill++)
            weights_case(entry, check_sizes[i], fill);
}

void check_winograd_few(const struct check_entry *entry)
{
    static const uint32_t channels[] = {1, 3, 24, 33, 70}, elems[] = {1, 7, 8, 13, 16, 32, 37};

    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        for (size_t j = 0; j < sizeof(elems) / sizeof(elems[0]); j++)
            for (enum fill fill = 0; fill < FILL_KINDS; fill++)
                few_case(entry, channels[i], elems[j], fill);
}

void check_winograd_output(const struct check_entry *entry)
{
    for (size_t i = 0; i < check_size_count; i++)
        for (enum fill fill = 0; fill < FILL_KINDS; fill++)
            output_case(entry, check_sizes[i], fill);
}
