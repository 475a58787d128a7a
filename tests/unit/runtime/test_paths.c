/*
 * Every fast path against the reference evaluation, on random shapes.
 */
#include "tests/unit/runtime/support.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 24

/* Gives the node added last a random activation. */
static void activate(struct lego_package *package, struct random *random)
{
    static const enum lego_activation choices[] = {LEGO_ACT_NONE,       LEGO_ACT_CLAMP,
                                                   LEGO_ACT_CLAMP,      LEGO_ACT_HARD_SWISH,
                                                   LEGO_ACT_LEAKY_RELU, LEGO_ACT_SILU};
    enum lego_activation act = choices[random_below(random, 6)];

    build_act(package, act, act == LEGO_ACT_LEAKY_RELU ? 0.1f : -0.5f, 0.75f);
}

static uint32_t between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, high - low + 1);
}

enum conv_kind { CONV_ANY, CONV_POINTWISE, CONV_DEPTHWISE, CONV_GROUPED, CONV_LINE };

/* One convolution with everything random, and what often stands around it. */
static struct lego_package *build_conv(struct random *random, const void *argument)
{
    enum conv_kind kind = *(const enum conv_kind *)argument;
    struct lego_package *package = build_package();
    int groups = kind == CONV_GROUPED ? (int)between(random, 2, 4) : 1;
    int in = (int)between(random, 1, 40), out = (int)between(random, 1, 70);
    int kh = (int)between(random, 1, 4), kw = (int)between(random, 1, 4);
    int stride = (int)between(random, 1, 2), dilation = (int)between(random, 1, 2);
    int height = (int)between(random, 8, 15), width = (int)between(random, 8, 33);
    int line = kind == CONV_LINE;
    int32_t x, y, w, b = -1;

    if (kind == CONV_DEPTHWISE)
        groups = in = out = (int)between(random, 2, 70);
    if (kind == CONV_GROUPED) {
        in = groups * (int)between(random, 1, 9);
        out = groups * (int)between(random, 1, 40);
    }
    if (kind == CONV_POINTWISE)
        kh = kw = 1;
    x = line
            ? build_input(package, "x", shape_of(3, 2, in, width))
            : build_input(package, "x", shape_of(4, (int)between(random, 1, 2), in, height, width));
    w = line ? build_random(package, shape_of(3, out, in, kw), random)
             : build_random(package, shape_of(4, out, in / groups, kh, kw), random);
    if (random_below(random, 4))
        b = build_random(package, shape_of(1, out), random);
    y = build_node(package, LEGO_OP_Conv, x, w, b, -2);
    build_int(package, "group", groups);
    if (line) {
        build_ints(package, "pads", 2, (int)random_below(random, 3), (int)random_below(random, 3));
        build_ints(package, "strides", 1, stride);
        build_ints(package, "dilations", 1, dilation);
    } else if (kind != CONV_POINTWISE || random_below(random, 2)) {
        build_ints(package, "pads", 4, (int)random_below(random, 3), (int)random_below(random, 3),
                   (int)random_below(random, 3), (int)random_below(random, 3));
        build_ints(package, "strides", 2, stride, (int)between(random, 1, 3));
        build_ints(package, "dilations", 2, dilation, (int)between(random, 1, 2));
    }
    activate(package, random);
    build_output(package, y);
    build_finish(package);
    return package;
}

static void check_convs(enum conv_kind kind, const char *name)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        char what[64];
        snprintf(what, sizeof(what), "%s %d", name, (int)seed);
        check_build(build_conv, &kind, NULL, seed, 1e-5, what);
    }
}

START_TEST(test_conv)
{
    check_convs(CONV_ANY, "conv");
}
END_TEST

START_TEST(test_conv_pointwise)
{
    check_convs(CONV_POINTWISE, "pointwise");
}
END_TEST

START_TEST(test_conv_depthwise)
{
    check_convs(CONV_DEPTHWISE, "depthwise");
}
END_TEST

START_TEST(test_conv_grouped)
{
    check_convs(CONV_GROUPED, "grouped");
}
END_TEST

START_TEST(test_conv_line)
{
    check_convs(CONV_LINE, "line");
}
END_TEST

/* A convolution that Winograd's method takes: in several passes of channels and tiles, and where
 * `argument` says so with more input than is transformed at a time. */
static struct lego_package *build_winograd(struct random *random, const void *argument)
{
    bool large = *(const bool *)argument;
    struct lego_package *package = build_package();
    int in = (int)between(random, 12, 150), out = (int)between(random, 12, 60);
    int height = (int)between(random, 9, 40), width = (int)between(random, 9, 40);
    int batch = large ? 3 : (int)between(random, 1, 2);
    int top = (int)random_below(random, 3), left = (int)random_below(random, 3);
    int32_t x, y, add;

    if (large)
        in = 96, height = width = 37;
    x = build_input(package, "x", shape_of(4, batch, in, height, width));
    add = build_node(package, LEGO_OP_Conv, x,
                     build_random(package, shape_of(4, out, in, 1, 1), random), -1, -2);
    build_ints(package, "pads", 4, top, left, 0, 0);
    y = build_node(package, LEGO_OP_Conv, x,
                   build_random(package, shape_of(4, out, in, 3, 3), random),
                   random_below(random, 2) ? build_random(package, shape_of(1, out), random) : -1,
                   random_below(random, 2) ? add : -1, -2);
    build_ints(package, "pads", 4, top, left, 2, 2);
    if (random_below(random, 2))
        build_act(package, LEGO_ACT_CLAMP, -5, 60);
    else
        build_act(package, LEGO_ACT_SILU, 0, 0);
    build_output(package, y);
    build_output(package, add);
    build_finish(package);
    return package;
}

START_TEST(test_winograd)
{
    const bool large[2] = {false, true};

    for (uint64_t seed = 1; seed <= 8; seed++)
        check_build(build_winograd, &large[seed == 8], NULL, seed, 1e-5, "winograd");
}
END_TEST

/* A residual block and its like: conv, conv with the block's input added, pooling, the classifier.
 */
static struct lego_package *build_block(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    int channels = (int)between(random, 3, 48), classes = (int)between(random, 2, 40);
    int32_t x = build_input(package, "x", shape_of(4, 2, 3, 16, 20)), y, z;

    (void)argument;
    x = build_node(package, LEGO_OP_Conv, x,
                   build_random(package, shape_of(4, channels, 3, 3, 3), random), -1, -2);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    build_act(package, LEGO_ACT_CLAMP, 0, 6);
    y = build_node(package, LEGO_OP_Conv, x,
                   build_random(package, shape_of(4, channels, channels, 3, 3), random), -1, -2);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    z = build_node(package, LEGO_OP_Conv, y,
                   build_random(package, shape_of(4, channels, channels, 1, 1), random),
                   build_random(package, shape_of(1, channels), random), x, -2);
    build_act(package, LEGO_ACT_CLAMP, -60, 60);
    y = build_node(package, LEGO_OP_MaxPool, z, -2);
    build_ints(package, "kernel_shape", 2, 3, 2);
    build_ints(package, "strides", 2, 2, 2);
    build_ints(package, "pads", 4, 1, 0, 1, 0);
    z = build_node(package, LEGO_OP_Conv, y,
                   build_random(package, shape_of(4, channels, 1, 3, 3), random), -1, y, -2);
    build_int(package, "group", channels);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    build_act(package, LEGO_ACT_CLAMP, -60, 60);
    y = build_node(package, LEGO_OP_GlobalAveragePool, z, -2);
    y = build_node(package, LEGO_OP_Flatten, y, -2);
    y = build_node(package, LEGO_OP_Gemm, y,
                   build_random(package, shape_of(2, classes, channels), random),
                   build_random(package, shape_of(1, classes), random), -2);
    build_int(package, "transB", 1);
    y = build_node(package, LEGO_OP_Softmax, y, -2);
    build_output(package, y);
    build_output(package, z);
    build_finish(package);
    return package;
}

START_TEST(test_block)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        check_build(build_block, NULL, NULL, seed, 2e-5, "block");
}
END_TEST

static struct lego_package *build_pool(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    int kernel = (int)between(random, 2, 4);
    int32_t x = build_input(
        package, "x", shape_of(4, 2, (int)between(random, 1, 37), (int)between(random, 6, 15), 11));
    int32_t y = build_node(package, *(const enum lego_op *)argument, x, -2);

    build_ints(package, "kernel_shape", 2, kernel, (int)between(random, 2, 3));
    build_ints(package, "strides", 2, (int)between(random, 1, 3), (int)between(random, 1, 3));
    build_ints(package, "pads", 4, (int)random_below(random, 2), (int)random_below(random, 2),
               (int)random_below(random, 2), (int)random_below(random, 2));
    if (random_below(random, 2))
        build_int(package,
                  *(const enum lego_op *)argument == LEGO_OP_AveragePool ? "count_include_pad"
                                                                         : "ceil_mode",
                  1);
    build_output(package, y);
    build_finish(package);
    return package;
}

/* A pointwise convolution, whose output is large, before a depthwise one: both in bands. */
static struct lego_package *build_expand(struct random *random, const void *argument)
{
    const int kernels[] = {3, 5, 3, 1};
    const int kernel = kernels[*(const int *)argument % 4],
              dilation = 1 + *(const int *)argument / 4;
    const int between_them = (int)between(random, 90, 130), in = (int)between(random, 1, 12);
    const int stride_y = (int)between(random, 1, 3), stride_x = (int)between(random, 1, 2);
    const int pad = (int)random_below(random, (uint32_t)kernel);
    struct lego_package *package = build_package();
    int32_t y = build_input(package, "x", shape_of(4, (int)between(random, 1, 2), in, 80, 80));

    y = build_node(
        package, LEGO_OP_Conv, y,
        build_random(package, shape_of(4, between_them, in, 1, 1), random),
        random_below(random, 2) ? build_random(package, shape_of(1, between_them), random) : -1,
        -2);
    activate(package, random);
    y = build_node(package, LEGO_OP_Conv, y,
                   build_random(package, shape_of(4, between_them, 1, kernel, kernel), random), -2);
    build_int(package, "group", between_them);
    build_ints(package, "pads", 4, pad, kernel / 2, kernel / 2, pad);
    build_ints(package, "strides", 2, stride_y, stride_x);
    build_ints(package, "dilations", 2, dilation, 1);
    activate(package, random);
    build_output(package, y);
    build_finish(package);
    return package;
}

START_TEST(test_expand)
{
    for (int kind = 0; kind < 8; kind++) {
        char what[32];
        snprintf(what, sizeof(what), "expansion, kind %d", kind);
        check_build(build_expand, &kind, NULL, (uint64_t)kind + 1, 1e-5, what);
    }
}
END_TEST

START_TEST(test_pool)
{
    const enum lego_op ops[] = {LEGO_OP_MaxPool, LEGO_OP_AveragePool};

    for (uint64_t seed = 1; seed <= ROUNDS; seed++)
        check_build(build_pool, &ops[seed % 2], NULL, seed, 1e-6, "pool");
}
END_TEST

struct binary_case {
    enum lego_op op;
    struct lego_shape x, y; /* y is a constant where `constant` */
    bool constant, convolved;
};

/* A binary operator, in plain layout or behind a convolution and thus channels-last. */
static struct lego_package *build_binary(struct random *random, const void *argument)
{
    const struct binary_case *test = argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", test->x);
    int32_t y = test->constant ? build_random(package, test->y, random)
                               : build_input(package, "y", test->y);
    int channels = (int)test->x.dim[1];

    if (test->convolved)
        x = build_node(package, LEGO_OP_Conv, x,
                       build_random(package, shape_of(4, channels, channels, 1, 1), random), -1,
                       -2);
    if (test->op == LEGO_OP_Div)
        y = build_node(package, LEGO_OP_Exp, y, -2);
    x = random_below(random, 2) ? build_node(package, test->op, x, y, -2)
                                : build_node(package, test->op, y, x, -2);
    if (test->op == LEGO_OP_Add || test->op == LEGO_OP_Mul)
        activate(package, random);
    build_output(package, x);
    build_finish(package);
    return package;
}

/* The same and an Add behind it: of one of the operands again, or of something else; the sum's
 * operands are needed afterwards or not. */
static struct lego_package *build_binary_add(struct random *random, const void *argument)
{
    const struct binary_case *test = argument;
    struct lego_package *package = build_package();
    int channels = (int)test->x.dim[1];
    int32_t x = build_input(package, "x", test->x), y, add;

    y = test->constant ? build_random(package, test->y, random)
                       : build_node(package, LEGO_OP_Tanh, build_input(package, "y", test->y), -2);
    if (test->convolved)
        x = build_node(package, LEGO_OP_Conv, x,
                       build_random(package, shape_of(4, channels, channels, 1, 1), random), -1,
                       -2);
    x = build_node(package, LEGO_OP_Tanh, x, -2);
    switch (random_below(random, 5)) {
    case 0:
        add = x;
        break;
    case 1:
        add = y;
        break;
    case 2:
        add = build_random(package, shape_of(4, 1, channels, 1, 1), random);
        break;
    case 3:
        add = build_node(package, LEGO_OP_Sigmoid, x, -2);
        break;
    default:
        add = build_random(package, shape_of(0), random);
        break;
    }
    x = build_node(package, test->op, x, y, -2);
    x = random_below(random, 2) ? build_node(package, LEGO_OP_Add, x, add, -2)
                                : build_node(package, LEGO_OP_Add, add, x, -2);
    activate(package, random);
    build_output(package, x);
    if (random_below(random, 2))
        build_output(package, build_node(package, LEGO_OP_Relu, y, -2));
    build_finish(package);
    return package;
}

START_TEST(test_binary)
{
    const enum lego_op ops[] = {LEGO_OP_Add, LEGO_OP_Sub, LEGO_OP_Mul,
                                LEGO_OP_Max, LEGO_OP_Min, LEGO_OP_Mul};
    const struct lego_shape full = shape_of(4, 2, 19, 5, 7);
    const struct lego_shape others[] = {
        full,
        shape_of(4, 1, 19, 1, 1),
        shape_of(4, 2, 19, 1, 1),
        shape_of(3, 19, 1, 1),
        shape_of(1, 1),
        shape_of(0),
        shape_of(1, 7),
        shape_of(2, 5, 1),
        shape_of(4, 2, 1, 5, 7),
    };

    for (size_t o = 0; o < sizeof(others) / sizeof(*others); o++)
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            struct binary_case test = {ops[seed % 6], full, others[o], seed % 4 < 2, seed % 8 < 4};
            struct lego_shape shapes[2] = {test.x, test.y};
            char what[64];
            snprintf(what, sizeof(what), "binary %s, shape %zu, seed %d", lego_op_name(test.op), o,
                     (int)seed);
            check_build(build_binary, &test, shapes, seed, 1e-5, what);
            test.op = ops[seed % 3];
            check_build(build_binary_add, &test, shapes, seed, 1e-5, what);
        }
}
END_TEST

/* Unary operators and all that only moves, in plain layout and channels-last. */
static struct lego_package *build_moves(struct random *random, const void *argument)
{
    bool convolved = *(const bool *)argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(4, 2, 6, 9, 8)), y, z;

    if (convolved)
        x = build_node(package, LEGO_OP_Conv, x,
                       build_random(package, shape_of(4, 6, 6, 1, 1), random), -1, -2);
    y = build_node(package, LEGO_OP_Slice, x, build_integers(package, 2, 1, -1),
                   build_integers(package, 2, 9, -99), build_integers(package, 2, 2, 3),
                   build_integers(package, 2, 2, -3), -2);
    build_output(package, y);
    y = build_node(package, LEGO_OP_Pad, y, build_integers(package, 8, 0, 2, 0, 1, 0, 3, 1, 0),
                   build_constant(package, shape_of(0), (const float[]){0.5f}), -2);
    build_output(package, y);
    z = build_node(package, LEGO_OP_Concat, x, build_node(package, LEGO_OP_Relu, x, -2),
                   build_node(package, LEGO_OP_Sigmoid, x, -2), x, -2);
    build_int(package, "axis", 1);
    build_output(package, z);
    y = build_random(package, shape_of(4, 2, 5, 9, 8), random);
    y = build_node(package, LEGO_OP_Concat, y, x, y, -2);
    build_int(package, "axis", 1);
    build_output(package, y);
    z = build_node(package, LEGO_OP_Transpose, z, -2);
    build_ints(package, "perm", 4, 0, 2, 3, 1);
    build_output(package, z);
    z = build_node(package, LEGO_OP_Reshape, z, build_integers(package, 3, 2, -1, 12), -2);
    build_output(package, z);
    z = build_node(package, LEGO_OP_Transpose, z, -2);
    build_ints(package, "perm", 3, 2, 0, 1);
    build_output(package, build_node(package, LEGO_OP_HardSwish, z, -2));
    z = build_node(package, LEGO_OP_Softmax, x, -2);
    build_int(package, "axis", 1);
    build_output(package, z);
    z = build_node(package, LEGO_OP_ReduceMean, x, build_integers(package, 2, 2, 3), -2);
    build_int(package, "keepdims", 0);
    build_output(package, z);
    build_finish(package);
    return package;
}

START_TEST(test_moves)
{
    const bool convolved[2] = {false, true};

    for (uint64_t seed = 1; seed <= 2; seed++)
        check_build(build_moves, &convolved[seed - 1], NULL, seed, 1e-5, "moves");
}
END_TEST

struct matmul_case {
    struct lego_shape a, b;
    bool constant;
};

static struct lego_package *build_matmul(struct random *random, const void *argument)
{
    const struct matmul_case *test = argument;
    struct lego_package *package = build_package();
    int32_t a = build_input(package, "a", test->a);
    int32_t b = test->constant ? build_random(package, test->b, random)
                               : build_input(package, "b", test->b);

    a = build_node(package, LEGO_OP_MatMul, a, b, -2);
    activate(package, random);
    build_output(package, a);
    build_finish(package);
    return package;
}

START_TEST(test_matmul)
{
    const struct matmul_case cases[] = {
        {shape_of(2, 5, 33), shape_of(2, 33, 45), true},
        {shape_of(2, 1, 33), shape_of(2, 33, 1), true},
        {shape_of(4, 2, 3, 7, 20), shape_of(2, 20, 100), true},
        {shape_of(2, 5, 33), shape_of(2, 33, 45), false},
        {shape_of(4, 2, 3, 50, 20), shape_of(4, 2, 3, 20, 50), false},
        {shape_of(3, 4, 9, 20), shape_of(2, 20, 31), false},
        {shape_of(3, 4, 9, 20), shape_of(3, 4, 20, 31), true},
        {shape_of(1, 20), shape_of(2, 20, 31), true},
        {shape_of(4, 2, 1, 9, 5), shape_of(4, 1, 3, 5, 6), false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct lego_shape shapes[2] = {cases[i].a, cases[i].b};
            check_build(build_matmul, &cases[i], shapes, seed, 1e-5, "matmul");
        }
}
END_TEST

/* What stands behind a product: each bit one of it. */
enum tail { TAIL_BIAS = 1, TAIL_RESIDUAL = 2, TAIL_LOOK = 4, TAIL_WIDE = 8, TAILS = 16 };

static struct lego_package *build_tail(struct random *random, const void *argument)
{
    const unsigned tail = *(const unsigned *)argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(3, 2, 7, 20));
    int32_t residual = build_input(package, "r", shape_of(3, tail & TAIL_WIDE ? 1 : 2, 7, 33));
    int32_t y = build_node(package, LEGO_OP_MatMul, x,
                           build_random(package, shape_of(2, 20, 33), random), -2);

    if (tail & TAIL_LOOK) /* someone else reads the product */
        build_output(package, build_node(package, LEGO_OP_Tanh, y, -2));
    if (tail & TAIL_BIAS) {
        int32_t bias = build_random(package, shape_of(1, 33), random);
        y = random_below(random, 2) ? build_node(package, LEGO_OP_Add, bias, y, -2)
                                    : build_node(package, LEGO_OP_Add, y, bias, -2);
        if (!(tail & TAIL_RESIDUAL) || random_below(random, 2))
            activate(package, random);
    }
    if (tail & TAIL_RESIDUAL) {
        y = random_below(random, 2) ? build_node(package, LEGO_OP_Add, residual, y, -2)
                                    : build_node(package, LEGO_OP_Add, y, residual, -2);
        activate(package, random);
    }
    build_output(package, y);
    build_output(package, build_node(package, LEGO_OP_Neg, residual, -2));
    build_finish(package);
    return package;
}

START_TEST(test_tail)
{
    for (unsigned tail = 0; tail < TAILS; tail++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            check_build(build_tail, &tail, NULL, seed, 1e-5, "tail");
}
END_TEST

/* Rows of one element to some hundred, with and without a shift. */
static struct lego_package *build_layer_norm(struct random *random, const void *argument)
{
    const int elems = *(const int *)argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(3, 3, 5, elems));
    int32_t scale = build_random(package, shape_of(1, elems), random);
    int32_t shift =
        random_below(random, 2) ? build_random(package, shape_of(1, elems), random) : -1;

    x = build_node(package, LEGO_OP_LayerNormalization, x, scale, shift, -2);
    if (random_below(random, 2))
        build_int(package, "axis", 2);
    build_output(package, x);
    build_finish(package);
    return package;
}

START_TEST(test_layer_norm)
{
    static const int sizes[] = {1, 2, 7, 8, 9, 29, 192, 513};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            check_build(build_layer_norm, &sizes[i], NULL, seed, 1e-5, "layer norm");
}
END_TEST

/* One index at the front, at the back, from behind, and where it takes more than one place. */
static struct lego_package *build_gather(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    int32_t x =
        build_node(package, LEGO_OP_Tanh, build_input(package, "x", shape_of(4, 1, 3, 5, 7)), -2);
    static const int picks[][2] = {{1, 0}, {1, 2}, {1, -1}, {2, 4}, {0, 0}, {3, 1}};

    (void)random;
    (void)argument;
    for (size_t i = 0; i < sizeof(picks) / sizeof(*picks); i++) {
        int32_t y =
            build_node(package, LEGO_OP_Gather, x, build_integers(package, 1, picks[i][1]), -2);
        build_int(package, "axis", picks[i][0]);
        build_output(package, build_node(package, LEGO_OP_Neg, y, -2));
    }
    build_finish(package);
    return package;
}

START_TEST(test_gather)
{
    check_build(build_gather, NULL, NULL, 1, 1e-6, "gather");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("paths");
    TCase *tests = tcase_create("paths");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, test_conv);
    tcase_add_test(tests, test_conv_pointwise);
    tcase_add_test(tests, test_conv_depthwise);
    tcase_add_test(tests, test_conv_grouped);
    tcase_add_test(tests, test_conv_line);
    tcase_add_test(tests, test_winograd);
    tcase_add_test(tests, test_block);
    tcase_add_test(tests, test_expand);
    tcase_add_test(tests, test_pool);
    tcase_add_test(tests, test_binary);
    tcase_add_test(tests, test_moves);
    tcase_add_test(tests, test_matmul);
    tcase_add_test(tests, test_tail);
    tcase_add_test(tests, test_layer_norm);
    tcase_add_test(tests, test_gather);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
