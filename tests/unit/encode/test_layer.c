/* Layers as matrices: what a convolution and a transposed one see, put out and pass back. */
#include "codec/encode/layer.h"
#include "codec/encode/random.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static const struct kern_table *kernels(void)
{
    static struct kern_table table;

    kern_init_reference(&table);
    return &table;
}

struct shape {
    bool transposed;
    uint32_t groups, group_rows, channels, in_h, in_w, k_h, k_w, stride, dilation;
    int32_t pad;
};

static const struct shape SHAPES[] = {
    {false, 1, 5, 3, 7, 9, 3, 3, 1, 1, 1},   {false, 2, 3, 2, 9, 8, 3, 2, 2, 1, 1},
    {false, 1, 4, 2, 20, 21, 3, 3, 1, 2, 2}, {true, 1, 5, 3, 7, 9, 2, 2, 2, 1, 0},
    {true, 1, 4, 3, 5, 6, 3, 3, 2, 1, 1},    {true, 2, 3, 2, 6, 5, 4, 4, 2, 1, 1},
    {true, 1, 3, 2, 9, 11, 3, 2, 3, 2, 2},   {true, 3, 1, 1, 12, 13, 3, 3, 1, 1, 1},
};

struct case_data {
    struct shape s;
    struct layer layer;
    uint32_t out_h;
    size_t inputs, outputs, weights;
    float *x, *w, *w_t, *z, *expected, *gradient, *back, *scratch;
};

static float *random_floats(struct encode_random *random, size_t count)
{
    float *x = malloc(count * sizeof(*x));

    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)encode_random_unit(random) - 0.5f;
    return x;
}

static float *zeros(size_t count)
{
    float *x = calloc(count, sizeof(*x));

    ck_assert_ptr_nonnull(x);
    return x;
}

static uint32_t out_size(const struct shape *s, uint32_t in, uint32_t kernel)
{
    const int32_t reach = (int32_t)((kernel - 1) * s->dilation + 1);

    return (uint32_t)(s->transposed ? (int32_t)((in - 1) * s->stride) + reach - 2 * s->pad
                                    : ((int32_t)in + 2 * s->pad - reach) / (int32_t)s->stride + 1);
}

/* As ONNX defines both: each input pixel is added to what its taps reach, or the other way round.
 */
static void by_definition(struct case_data *c)
{
    const struct shape *s = &c->s;
    const uint32_t out_w = c->layer.out_w, rows = s->groups * s->group_rows;

    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t channel = 0; channel < s->channels; channel++)
            for (uint32_t tap = 0; tap < s->k_h * s->k_w; tap++)
                for (uint32_t y = 0; y < (s->transposed ? s->in_h : c->out_h); y++)
                    for (uint32_t x = 0; x < (s->transposed ? s->in_w : out_w); x++) {
                        const int32_t far_y =
                            (int32_t)(y * s->stride + tap / s->k_w * s->dilation) - s->pad;
                        const int32_t far_x =
                            (int32_t)(x * s->stride + tap % s->k_w * s->dilation) - s->pad;
                        const uint32_t in = (row / s->group_rows * s->channels + channel);
                        const int32_t high = (int32_t)(s->transposed ? c->out_h : s->in_h);
                        const int32_t wide = (int32_t)(s->transposed ? out_w : s->in_w);

                        if (far_y < 0 || far_x < 0 || far_y >= high || far_x >= wide)
                            continue;
                        const size_t near = (size_t)y * (s->transposed ? s->in_w : out_w) + x;
                        const size_t far = (size_t)far_y * (size_t)wide + (size_t)far_x;
                        const size_t from = s->transposed ? near : far,
                                     to = s->transposed ? far : near;
                        const size_t column = (size_t)channel * s->k_h * s->k_w + tap;

                        c->expected[(size_t)row * c->layer.positions + to] +=
                            c->w[row * c->layer.columns + column] *
                            c->x[(size_t)in * s->in_h * s->in_w + from];
                    }
}

static void set_up(struct case_data *c, const struct shape *s)
{
    struct encode_random random;
    const uint32_t out_w = out_size(s, s->in_w, s->k_w);

    c->s = *s;
    c->out_h = out_size(s, s->in_h, s->k_h);
    c->layer = (struct layer){.window = true,
                              .transposed = s->transposed,
                              .groups = s->groups,
                              .group_rows = s->group_rows,
                              .rows = s->groups * s->group_rows,
                              .columns = s->channels * s->k_h * s->k_w,
                              .taps = s->k_h * s->k_w,
                              .positions = c->out_h * out_w,
                              .in_h = s->in_h,
                              .in_w = s->in_w,
                              .out_w = out_w,
                              .k_h = s->k_h,
                              .k_w = s->k_w,
                              .stride_h = s->stride,
                              .stride_w = s->stride,
                              .dilation_h = s->dilation,
                              .dilation_w = s->dilation,
                              .pad_top = s->pad,
                              .pad_left = s->pad};
    c->inputs = (size_t)s->groups * s->channels * s->in_h * s->in_w;
    c->outputs = (size_t)c->layer.rows * c->layer.positions;
    c->weights = (size_t)c->layer.rows * c->layer.columns;
    encode_random_seed(&random, 5);
    c->x = random_floats(&random, c->inputs);
    c->w = random_floats(&random, c->weights);
    c->gradient = random_floats(&random, c->outputs);
    c->w_t = zeros(c->weights);
    c->z = zeros(c->outputs);
    c->expected = zeros(c->outputs);
    c->back = zeros(c->inputs);
    c->scratch = zeros(layer_scratch(&c->layer) + layer_back_scratch(&c->layer));
    for (uint32_t row = 0; row < c->layer.rows; row++)
        for (uint32_t column = 0; column < c->layer.columns; column++)
            c->w_t[((size_t)(row / s->group_rows) * c->layer.columns + column) * s->group_rows +
                   row % s->group_rows] = c->w[(size_t)row * c->layer.columns + column];
    by_definition(c);
}

static void tear_down(struct case_data *c)
{
    free(c->x);
    free(c->w);
    free(c->w_t);
    free(c->z);
    free(c->expected);
    free(c->gradient);
    free(c->back);
    free(c->scratch);
}

static double product(const float *x, const float *y, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

START_TEST(test_forward_and_back)
{
    struct case_data c;

    set_up(&c, &SHAPES[_i]);
    layer_forward(&c.layer, kernels(), c.w_t, c.x, c.scratch, c.z);
    for (size_t i = 0; i < c.outputs; i++)
        ck_assert_msg(fabs((double)c.z[i] - (double)c.expected[i]) < 1e-5, "output %zu", i);
    /* Passing back is the transpose of passing forward. */
    layer_backward(&c.layer, kernels(), c.w, c.gradient, c.scratch, c.back);
    const double forward = product(c.z, c.gradient, c.outputs);
    ck_assert_double_eq_tol(product(c.x, c.back, c.inputs), forward, 1e-4 * (1 + fabs(forward)));
    tear_down(&c);
}
END_TEST

/* Samples are the columns of their positions. */
START_TEST(test_samples)
{
    struct case_data c;

    set_up(&c, &SHAPES[_i]);
    const uint32_t count = c.layer.positions, columns = c.layer.columns;
    const uint32_t group = c.layer.groups - 1;
    float *run = zeros((size_t)count * columns), *sample = zeros(columns);

    layer_columns(&c.layer, c.x, group, 0, count, run, count);
    for (uint32_t place = 0; place < count; place++) {
        layer_samples(&c.layer, c.x, group, &place, 1, sample);
        for (uint32_t column = 0; column < columns; column++)
            ck_assert(sample[column] == run[(size_t)column * count + place]);
    }
    free(run);
    free(sample);
    tear_down(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layer");
    TCase *tests = tcase_create("layer");
    const int shapes = sizeof(SHAPES) / sizeof(SHAPES[0]);

    tcase_add_loop_test(tests, test_forward_and_back, 0, shapes);
    tcase_add_loop_test(tests, test_samples, 0, shapes);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
