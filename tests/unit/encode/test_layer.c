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
    uint32_t in_d, k_d; /* 0: no depth */
};

static const struct shape SHAPES[] = {
    {false, 1, 5, 3, 7, 9, 3, 3, 1, 1, 1, 0, 0},   {false, 2, 3, 2, 9, 8, 3, 2, 2, 1, 1, 0, 0},
    {false, 1, 4, 2, 20, 21, 3, 3, 1, 2, 2, 0, 0}, {true, 1, 5, 3, 7, 9, 2, 2, 2, 1, 0, 0, 0},
    {true, 1, 4, 3, 5, 6, 3, 3, 2, 1, 1, 0, 0},    {true, 2, 3, 2, 6, 5, 4, 4, 2, 1, 1, 0, 0},
    {true, 1, 3, 2, 9, 11, 3, 2, 3, 2, 2, 0, 0},   {true, 3, 1, 1, 12, 13, 3, 3, 1, 1, 1, 0, 0},
    {false, 1, 4, 2, 1, 30, 1, 5, 2, 1, 0, 0, 0},  {true, 1, 4, 2, 1, 15, 1, 4, 2, 1, 0, 0, 0},
    {false, 1, 5, 2, 6, 7, 3, 3, 1, 1, 1, 5, 3},   {false, 2, 3, 2, 7, 6, 3, 2, 2, 1, 1, 8, 4},
    {false, 1, 2, 2, 9, 8, 2, 3, 1, 2, 2, 7, 3},   {true, 1, 3, 2, 4, 5, 3, 2, 2, 1, 1, 3, 3},
    {true, 2, 2, 1, 5, 4, 2, 3, 3, 2, 1, 4, 2},
};

struct case_data {
    struct shape s;
    struct layer layer;
    uint32_t out_d;
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

/* Where a tap reaches from one line, column or plane, and whether that is inside. */
static bool reach(const struct shape *s, uint32_t at, uint32_t tap, int32_t pad, uint32_t size,
                  uint32_t *ret_far)
{
    const int32_t far = (int32_t)(at * s->stride + tap * s->dilation) - pad;

    *ret_far = (uint32_t)far;
    return far >= 0 && (uint32_t)far < size;
}

/* As ONNX defines both: each input pixel is added to what its taps reach, or the other way round.
 */
static void by_definition(struct case_data *c)
{
    const struct shape *s = &c->s;
    const struct layer *l = &c->layer;
    const uint32_t in[3] = {l->in_d, l->in_h, l->in_w}, out[3] = {c->out_d, l->out_h, l->out_w};
    const uint32_t *near = s->transposed ? in : out, *far = s->transposed ? out : in;
    const size_t places = (size_t)near[0] * near[1] * near[2], work = places * l->columns;

    for (size_t i = 0; i < l->rows * work; i++) {
        const uint32_t row = (uint32_t)(i / work), column = (uint32_t)(i % work / places);
        const uint32_t tap = column % l->taps, place = (uint32_t)(i % places);
        const uint32_t channel = row / s->group_rows * s->channels + column / l->taps;
        uint32_t z, y, x;

        if (!reach(s, place / near[2] / near[1], tap / l->k_w / l->k_h, l->pad_front, far[0], &z) ||
            !reach(s, place / near[2] % near[1], tap / l->k_w % l->k_h, l->pad_top, far[1], &y) ||
            !reach(s, place % near[2], tap % l->k_w, l->pad_left, far[2], &x))
            continue;
        const size_t there = ((size_t)z * far[1] + y) * far[2] + x;

        c->expected[(size_t)row * l->positions + (s->transposed ? there : place)] +=
            c->w[(size_t)row * l->columns + column] *
            c->x[channel * (size_t)in[0] * in[1] * in[2] + (s->transposed ? place : there)];
    }
}

static void set_up(struct case_data *c, const struct shape *s)
{
    struct encode_random random;
    const bool deep = s->k_d > 0;
    const uint32_t out_h = out_size(s, s->in_h, s->k_h), out_w = out_size(s, s->in_w, s->k_w);
    const uint32_t taps = s->k_h * s->k_w * (deep ? s->k_d : 1);

    c->s = *s;
    c->out_d = deep ? out_size(s, s->in_d, s->k_d) : 1;
    c->layer = (struct layer){.window = true,
                              .transposed = s->transposed,
                              .groups = s->groups,
                              .group_rows = s->group_rows,
                              .rows = s->groups * s->group_rows,
                              .columns = s->channels * taps,
                              .taps = taps,
                              .positions = c->out_d * out_h * out_w,
                              .in_d = deep ? s->in_d : 1,
                              .in_h = s->in_h,
                              .in_w = s->in_w,
                              .out_h = out_h,
                              .out_w = out_w,
                              .k_d = deep ? s->k_d : 1,
                              .k_h = s->k_h,
                              .k_w = s->k_w,
                              .stride_d = deep ? s->stride : 1,
                              .stride_h = s->stride,
                              .stride_w = s->stride,
                              .dilation_d = deep ? s->dilation : 1,
                              .dilation_h = s->dilation,
                              .dilation_w = s->dilation,
                              .pad_front = deep ? s->pad : 0,
                              .pad_top = s->pad,
                              .pad_left = s->pad};
    c->inputs = (size_t)s->groups * s->channels * c->layer.in_d * s->in_h * s->in_w;
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
