/*
 * Blocks of networks for small devices that become fewer steps than they have nodes, against the
 * reference evaluation: a HardSwish that is scaled and shifted by numbers, squeeze and excitation.
 */
#include "tests/unit/runtime/support.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 48

static int between(struct random *random, int low, int high)
{
    return low + (int)random_below(random, (uint32_t)(high - low + 1));
}

/* A convolution with a bias; depthwise where `groups` is `channels`. */
static int32_t build_conv(struct lego_package *package, struct random *random, int32_t x,
                          int channels, int rows, int groups, int kernel)
{
    int32_t weights =
        build_random(package, shape_of(4, rows, channels / groups, kernel, kernel), random);
    int32_t bias = build_random(package, shape_of(1, rows), random);

    x = build_node(package, LEGO_OP_Conv, x, weights, bias, -2);
    build_int(package, "group", groups);
    build_ints(package, "pads", 4, kernel / 2, kernel / 2, kernel / 2, kernel / 2);
    return x;
}

/* What computes a HardSwish, and the shape of it. */
enum swish {
    SWISH_POINTWISE,
    SWISH_WINDOW,
    SWISH_DEPTHWISE,
    SWISH_EXPANSION, /* a depthwise convolution reads it, and the two are one step */
    SWISH_GEMM,
    SWISH_ADD,
    SWISH_ALONE,
    SWISHES
};

static int32_t build_swish(struct lego_package *package, struct random *random, enum swish swish)
{
    int batch = between(random, 1, 3), channels = between(random, 1, 40);
    int height = between(random, 1, 17), width = between(random, 1, 17);
    int kernel = 2 * between(random, 1, 2) + 1;
    int32_t x;

    if (swish == SWISH_GEMM) {
        x = build_input(package, "x", shape_of(2, batch, channels));
        x = build_node(package, LEGO_OP_Gemm, x,
                       build_random(package, shape_of(2, channels, 37), random), -2);
        build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
        return x;
    }
    if (swish == SWISH_EXPANSION) { /* of more than 2 MiB */
        x = build_input(package, "x", shape_of(4, 1, 3, 91, 83));
        x = build_conv(package, random, x, 3, 72, 1, 1);
        build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
        return x;
    }
    x = build_input(package, "x", shape_of(4, batch, channels, height, width));
    if (swish == SWISH_POINTWISE || swish == SWISH_WINDOW)
        x = build_conv(package, random, x, channels, between(random, 1, 40), 1,
                       swish == SWISH_WINDOW ? kernel : 1);
    if (swish == SWISH_DEPTHWISE)
        x = build_conv(package, random, x, channels, channels, channels, kernel);
    if (swish == SWISH_ADD)
        x = build_node(package, LEGO_OP_Add, x,
                       build_input(package, "y", shape_of(4, batch, channels, height, width)), -2);
    if (swish == SWISH_ALONE)
        return build_node(package, LEGO_OP_HardSwish, x, -2);
    build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
    return x;
}

static int32_t build_number(struct lego_package *package, struct random *random, enum lego_op op,
                            int32_t x, struct lego_shape shape)
{
    int32_t number = build_random(package, shape, random);

    return random_below(random, 2) ? build_node(package, op, x, number, -2)
                                   : build_node(package, op, number, x, -2);
}

/* A HardSwish of each kind in turns, scaled, shifted, or both; a HardSwish reads the last one. */
static struct lego_package *build_scaled(struct random *random, const void *argument)
{
    enum swish swish = *(const enum swish *)argument;
    struct lego_package *package = build_package();
    struct lego_shape number = random_below(random, 2) ? shape_of(0) : shape_of(1, 1);
    uint32_t both = random_below(random, 3);
    int32_t x = build_swish(package, random, swish);

    if (both != 1)
        x = build_number(package, random, LEGO_OP_Mul, x, number);
    if (both != 2)
        x = build_number(package, random, LEGO_OP_Add, x, number);
    if (swish == SWISH_EXPANSION) {
        x = build_conv(package, random, x, 72, 72, 72, 3);
        build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
        x = build_number(package, random, LEGO_OP_Mul, x, number);
        x = build_number(package, random, LEGO_OP_Add, x, number);
    }
    build_output(package, build_node(package, LEGO_OP_Tanh, x, -2));
    build_finish(package);
    return package;
}

START_TEST(test_scaled)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        enum swish swish = (enum swish)(seed % SWISHES);
        char what[64];
        if (swish == SWISH_EXPANSION && seed > SWISHES)
            continue;
        snprintf(what, sizeof(what), "scaled hard swish %d, seed %d", (int)swish, (int)seed);
        check_build(build_scaled, &swish, NULL, seed, 2e-5, what);
        ck_assert_msg(!count_steps(build_scaled, &swish, seed, "Mul") &&
                          !count_steps(build_scaled, &swish, seed, "Mul+Add") &&
                          count_steps(build_scaled, &swish, seed, "Add") == (swish == SWISH_ADD),
                      "%s: by steps of its own", what);
        ck_assert_uint_eq(count_steps(build_scaled, &swish, seed, "Conv, depthwise"),
                          swish == SWISH_EXPANSION);
    }
}
END_TEST

/* What looks like a scaled HardSwish, and has to be computed as what it is. */
enum scaled_like {
    SCALED_SEEN,       /* the HardSwish is an output */
    SCALED_READ_TWICE, /* another node reads the product */
    SCALED_ACTIVE,     /* the product has an activation */
    SCALED_VECTOR,     /* a number for each channel */
    SCALED_SQUARE,     /* no number, but the value itself */
    SCALED_LARGER,     /* the number's shape makes the result larger */
    SCALED_RELU,       /* another activation */
    SCALED_BIAS,       /* the convolution's bias is computed: the reference takes it */
    SCALED_LIKES
};

static struct lego_package *build_scaled_like(struct random *random, const void *argument)
{
    enum scaled_like like = *(const enum scaled_like *)argument;
    struct lego_package *package = build_package();
    struct lego_shape shape = like == SCALED_VECTOR   ? shape_of(3, 5, 1, 1)
                              : like == SCALED_LARGER ? shape_of(5, 1, 1, 1, 1, 1)
                                                      : shape_of(0);
    int32_t x = build_input(package, "x", shape_of(4, 2, 5, 7, 3)), swish, y;

    if (like == SCALED_BIAS)
        swish = build_node(package, LEGO_OP_Conv, x,
                           build_random(package, shape_of(4, 5, 5, 1, 1), random),
                           build_input(package, "bias", shape_of(1, 5)), -2);
    else
        swish = build_conv(package, random, x, 5, 5, 1, 1);
    if (like == SCALED_RELU)
        build_act(package, LEGO_ACT_CLAMP, 0, 1e30f);
    else
        build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
    y = like == SCALED_SQUARE ? build_node(package, LEGO_OP_Mul, swish, swish, -2)
                              : build_number(package, random, LEGO_OP_Mul, swish, shape);
    if (like == SCALED_ACTIVE)
        build_act(package, LEGO_ACT_CLAMP, -0.1f, 0.1f);
    if (like == SCALED_SEEN)
        build_output(package, swish);
    if (like == SCALED_READ_TWICE)
        build_output(package, build_node(package, LEGO_OP_Tanh, y, -2));
    build_output(package, build_number(package, random, LEGO_OP_Add, y, shape));
    build_finish(package);
    return package;
}

START_TEST(test_scaled_like)
{
    const enum scaled_like like = (enum scaled_like)_i;
    char what[32];

    snprintf(what, sizeof(what), "scaled like %d", _i);
    check_build(build_scaled_like, &like, NULL, 1, 2e-5, what);
}
END_TEST

/* What makes the value that a block squeezes. */
enum squeezed { SQUEEZED_INPUT, SQUEEZED_CONV, SQUEEZED_DEPTHWISE, SQUEEZED_EXPANSION, SQUEEZEDS };

/* The block's products: 1x1 convolutions, or linear layers in the two forms that they have. */
enum excited { EXCITED_CONV, EXCITED_GEMM, EXCITED_MATMUL, EXCITEDS };

/* What reads the value times its gates. */
enum gated { GATED_CONV, GATED_CODED, GATED_WIDE, GATED_WINDOW, GATED_ADD, GATED_OUTPUT, GATEDS };

struct block {
    enum squeezed squeezed;
    enum excited excited;
    enum gated gated;
    bool large; /* the rows of a depthwise convolution's output are summed while they are made */
};

struct sizes {
    int batch, channels, height, width;
};

static int32_t build_squeezed(struct lego_package *package, struct random *random,
                              const struct block *block, struct sizes *ret_sizes)
{
    struct sizes s = {.batch = between(random, 1, 3), .channels = between(random, 1, 50)};
    int in = between(random, 1, 9);
    int32_t x;

    s.height = between(random, 1, 9);
    s.width = between(random, 2, 9);
    if (block->large)
        s = (struct sizes){s.batch, 37, 19, 25};
    if (block->squeezed == SQUEEZED_EXPANSION)
        s = (struct sizes){1, 72, 91, 83};
    *ret_sizes = s;
    if (block->squeezed == SQUEEZED_CONV || block->squeezed == SQUEEZED_EXPANSION) {
        x = build_input(package, "x", shape_of(4, s.batch, in, s.height, s.width));
        x = build_conv(package, random, x, in, s.channels, 1, 1);
        build_act(package, LEGO_ACT_HARD_SWISH, 0, 0);
    } else {
        x = build_input(package, "x", shape_of(4, s.batch, s.channels, s.height, s.width));
    }
    if (block->squeezed == SQUEEZED_DEPTHWISE || block->squeezed == SQUEEZED_EXPANSION) {
        x = build_conv(package, random, x, s.channels, s.channels, s.channels, 3);
        build_act(package, random_below(random, 2) ? LEGO_ACT_HARD_SWISH : LEGO_ACT_SILU, 0, 0);
    }
    return x;
}

static int32_t build_mean(struct lego_package *package, struct random *random, int32_t x, bool keep)
{
    if (keep && random_below(random, 2))
        return build_node(package, LEGO_OP_GlobalAveragePool, x, -2);
    x = build_node(package, LEGO_OP_ReduceMean, x,
                   random_below(random, 2) ? build_integers(package, 2, 2, 3)
                                           : build_integers(package, 2, -1, -2),
                   -2);
    build_int(package, "keepdims", keep);
    return x;
}

/* The gates of the channels of `x`, [batch, channels, 1, 1]. */
static int32_t build_gates(struct lego_package *package, struct random *random, int32_t x,
                           enum excited excited, const struct sizes *s)
{
    int squeezed = between(random, 1, 20);
    bool keep = excited == EXCITED_CONV || random_below(random, 2);

    x = build_mean(package, random, x, keep);
    if (excited == EXCITED_CONV) {
        x = build_conv(package, random, x, s->channels, squeezed, 1, 1);
        build_act(package, random_below(random, 2) ? LEGO_ACT_SILU : LEGO_ACT_CLAMP, 0, 1e30f);
        x = build_conv(package, random, x, squeezed, s->channels, 1, 1);
        if (random_below(random, 2))
            return build_node(package, LEGO_OP_Sigmoid, x, -2);
        build_act(package, LEGO_ACT_HARD_SIGMOID, 0.2f, 0.5f);
        return x;
    }
    if (keep)
        x = build_node(package, LEGO_OP_Flatten, x, -2);
    if (excited == EXCITED_GEMM) {
        x = build_node(package, LEGO_OP_Gemm, x,
                       build_random(package, shape_of(2, squeezed, s->channels), random),
                       build_random(package, shape_of(1, squeezed), random), -2);
        build_int(package, "transB", 1);
        x = build_node(package, LEGO_OP_Relu, x, -2);
        x = build_node(package, LEGO_OP_Gemm, x,
                       build_random(package, shape_of(2, squeezed, s->channels), random), -2);
        build_act(package, LEGO_ACT_SIGMOID, 0, 0);
    } else {
        x = build_node(package, LEGO_OP_MatMul, x,
                       build_random(package, shape_of(2, s->channels, squeezed), random), -2);
        x = build_node(package, LEGO_OP_Add, x,
                       build_random(package, shape_of(1, squeezed), random), -2);
        build_act(package, LEGO_ACT_CLAMP, 0, 6);
        x = build_node(package, LEGO_OP_MatMul, x,
                       build_random(package, shape_of(2, squeezed, s->channels), random), -2);
        x = build_node(package, LEGO_OP_HardSigmoid, x, -2);
    }
    if (random_below(random, 2))
        return build_node(package, LEGO_OP_Unsqueeze, x, build_integers(package, 2, 2, 3), -2);
    return build_node(package, LEGO_OP_Reshape, x,
                      build_integers(package, 4, s->batch, s->channels, 1, 1), -2);
}

static int32_t build_reader(struct lego_package *package, struct random *random, int32_t x,
                            enum gated gated, const struct sizes *s)
{
    const struct coding coding = {.view = LEGO_VIEW_OUT_FIRST,
                                  .groups = 1,
                                  .brick_rows = 4,
                                  .brick_columns = 1,
                                  .entries = 16,
                                  .stages = 1,
                                  .tile_rows = 32,
                                  .order = LEGO_COLUMNS_TAP_MAJOR,
                                  .scale = LEGO_SCALE_NONE};
    int rows = gated == GATED_WIDE ? 180000 / s->channels : between(random, 1, 40);
    int kernel = gated == GATED_WINDOW ? 3 : 1;
    int32_t weights;

    if (gated == GATED_ADD)
        return build_node(package, LEGO_OP_Add, x, build_random(package, shape_of(0), random), -2);
    if (gated == GATED_OUTPUT)
        return x;
    weights = build_random(package, shape_of(4, rows, s->channels, kernel, kernel), random);
    if (gated == GATED_CODED)
        build_coded(package, weights, &coding, random);
    if (gated == GATED_CONV && random_below(random, 2)) {
        int32_t residual =
            build_input(package, "residual", shape_of(4, s->batch, rows, s->height, s->width));
        x = build_node(package, LEGO_OP_Conv, x, weights, -1, residual, -2);
        build_act(package, LEGO_ACT_CLAMP, -1, 6);
        return x;
    }
    x = build_node(package, LEGO_OP_Conv, x, weights, -2);
    build_ints(package, "pads", 4, kernel / 2, kernel / 2, kernel / 2, kernel / 2);
    return x;
}

static struct lego_package *build_block(struct random *random, const void *argument)
{
    const struct block *block = argument;
    struct lego_package *package = build_package();
    struct sizes sizes;
    int32_t x = build_squeezed(package, random, block, &sizes);
    int32_t gates = build_gates(package, random, x, block->excited, &sizes);

    x = random_below(random, 2) ? build_node(package, LEGO_OP_Mul, x, gates, -2)
                                : build_node(package, LEGO_OP_Mul, gates, x, -2);
    build_output(package, build_reader(package, random, x, block->gated, &sizes));
    build_finish(package);
    return package;
}

START_TEST(test_block)
{
    struct block block = {.squeezed = (enum squeezed)(_i % SQUEEZEDS),
                          .excited = (enum excited)(_i / SQUEEZEDS % EXCITEDS),
                          .gated = (enum gated)(_i / SQUEEZEDS / EXCITEDS)};
    bool expansion = block.squeezed == SQUEEZED_EXPANSION;

    /* The large ones, once each. */
    if ((expansion && (block.excited != EXCITED_CONV || block.gated != GATED_CONV)) ||
        (block.gated == GATED_WIDE &&
         (block.excited != EXCITED_CONV || block.squeezed != SQUEEZED_CONV)))
        return;
    for (uint64_t seed = 1; seed <= (expansion || block.gated == GATED_WIDE ? 1 : 3); seed++) {
        char what[64];
        block.large = seed == 3;
        snprintf(what, sizeof(what), "block %d, seed %d", _i, (int)seed);
        check_build(build_block, &block, NULL, seed, 3e-5, what);
        ck_assert_msg(count_steps(build_block, &block, seed, "SqueezeExcite") == 1 &&
                          !count_steps(build_block, &block, seed, "GlobalAveragePool") &&
                          !count_steps(build_block, &block, seed, "Sigmoid"),
                      "%s: by steps of its own", what);
        ck_assert_msg(count_steps(build_block, &block, seed, "Mul, Conv") ==
                          (block.gated == GATED_CONV || block.gated == GATED_CODED),
                      "%s: the reader", what);
    }
}
END_TEST

/* What looks like a block, or like a value times its gates. */
enum block_like {
    BLOCK_MEAN_SEEN,    /* the mean is an output */
    BLOCK_HIDDEN_SEEN,  /* what the first product gives is one */
    BLOCK_GATES_SEEN,   /* the gates are one */
    BLOCK_PRODUCT_SEEN, /* the value times its gates is one, beside its reader */
    BLOCK_ONE_PRODUCT,  /* no second product */
    BLOCK_ADDED,        /* no Mul, but an Add of the gates */
    BLOCK_OTHER_GATES,  /* gates for rows of pixels */
    BLOCK_INPUT_GATES,  /* gates that are an input */
    BLOCK_SELF,         /* a value times its own mean */
    BLOCK_LIKES
};

static struct lego_package *build_block_like(struct random *random, const void *argument)
{
    enum block_like like = *(const enum block_like *)argument;
    struct lego_package *package = build_package();
    int32_t x = build_input(package, "x", shape_of(4, 2, 7, 5, 3)), gates;

    gates = build_node(package, LEGO_OP_GlobalAveragePool, x, -2);
    if (like == BLOCK_MEAN_SEEN)
        build_output(package, gates);
    if (like != BLOCK_SELF)
        gates = build_conv(package, random, gates, 7, 7, 1, 1);
    if (like == BLOCK_HIDDEN_SEEN)
        build_output(package, gates);
    if (like != BLOCK_SELF && like != BLOCK_ONE_PRODUCT)
        gates = build_conv(package, random, gates, 7, 7, 1, 1);
    if (like == BLOCK_GATES_SEEN)
        build_output(package, gates);
    if (like == BLOCK_OTHER_GATES || like == BLOCK_INPUT_GATES)
        gates = build_node(package, LEGO_OP_Add, gates,
                           build_input(package, "gates",
                                       like == BLOCK_OTHER_GATES ? shape_of(4, 2, 7, 5, 1)
                                                                 : shape_of(4, 2, 7, 1, 1)),
                           -2);
    x = build_node(package, like == BLOCK_ADDED ? LEGO_OP_Add : LEGO_OP_Mul, x, gates, -2);
    if (like == BLOCK_PRODUCT_SEEN)
        build_output(package, x);
    build_output(package, build_conv(package, random, x, 7, 12, 1, 1));
    build_finish(package);
    return package;
}

START_TEST(test_block_like)
{
    const enum block_like like = (enum block_like)_i;
    char what[32];

    snprintf(what, sizeof(what), "block like %d", _i);
    check_build(build_block_like, &like, NULL, 1, 3e-5, what);
    ck_assert_uint_eq(count_steps(build_block_like, &like, 1, "SqueezeExcite"),
                      like == BLOCK_GATES_SEEN ? 0 : like == BLOCK_PRODUCT_SEEN);
    ck_assert_uint_eq(count_steps(build_block_like, &like, 1, "Mul, Conv"),
                      like != BLOCK_PRODUCT_SEEN && like != BLOCK_ADDED &&
                          like != BLOCK_OTHER_GATES);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blocks");
    TCase *tests = tcase_create("blocks");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, test_scaled);
    tcase_add_loop_test(tests, test_scaled_like, 0, SCALED_LIKES);
    tcase_add_loop_test(tests, test_block, 0, SQUEEZEDS * EXCITEDS * GATEDS);
    tcase_add_loop_test(tests, test_block_like, 0, BLOCK_LIKES);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
