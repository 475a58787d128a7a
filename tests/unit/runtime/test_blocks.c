/*
 * Blocks of networks for small devices that become fewer steps than they have nodes, against the
 * reference evaluation: a HardSwish that is scaled and shifted by numbers.
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

int main(void)
{
    Suite *suite = suite_create("blocks");
    TCase *tests = tcase_create("blocks");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, test_scaled);
    tcase_add_loop_test(tests, test_scaled_like, 0, SCALED_LIKES);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
