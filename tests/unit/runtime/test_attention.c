/*
 * Attention in the forms in which exporters write it, against the reference evaluation; that it
 * becomes one step, and that its likes do not.
 */
#include "tests/unit/runtime/support.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 60

static uint32_t between(struct random *random, uint32_t low, uint32_t high)
{
    return low + random_below(random, high - low + 1);
}

/* [2, heads, tokens, depth], as it is or out of [2, tokens, heads, depth]; or for K^T [2, heads,
 * depth, tokens] in the ways there are to come by that. */
static int32_t build_heads(struct lego_package *package, struct random *random, const char *name,
                           int heads, int tokens, int depth, bool turned)
{
    int32_t x;

    switch (random_below(random, 3)) {
    case 0:
        return turned ? build_input(package, name, shape_of(4, 2, heads, depth, tokens))
                      : build_input(package, name, shape_of(4, 2, heads, tokens, depth));
    case 1:
        x = build_input(package, name, shape_of(4, 2, tokens, heads, depth));
        x = build_node(package, LEGO_OP_Transpose, x, -2);
        build_ints(package, "perm", 4, 0, 2, turned ? 3 : 1, turned ? 1 : 3);
        return x;
    default:
        x = build_input(package, name, shape_of(4, 2, heads, tokens, depth));
        if (!turned)
            return build_node(package, LEGO_OP_Tanh, x, -2);
        x = build_node(package, LEGO_OP_Transpose, x, -2);
        build_ints(package, "perm", 4, 0, 1, 3, 2);
        return x;
    }
}

static int32_t build_mask(struct lego_package *package, struct random *random, int heads, int rows,
                          int columns)
{
    const struct lego_shape shapes[] = {shape_of(4, 2, 1, 1, columns), shape_of(2, rows, columns),
                                        shape_of(4, 2, heads, rows, columns), shape_of(1, columns),
                                        shape_of(4, 2, 1, rows, 1)};
    struct lego_shape shape = shapes[random_below(random, 5)];

    return random_below(random, 2) ? build_random(package, shape, random)
                                   : build_input(package, "mask", shape);
}

static struct lego_package *build_attention(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    int heads = (int)between(random, 1, 3), rows = (int)between(random, 1, 70);
    int columns = (int)between(random, 1, 90), depth = (int)between(random, 1, 40);
    int width = (int)between(random, 1, 40);
    int32_t q = build_heads(package, random, "q", heads, rows, depth, false);
    int32_t k = build_heads(package, random, "k", heads, columns, depth, true);
    int32_t v = build_heads(package, random, "v", heads, columns, width, false), x;
    int32_t scale = build_constant(package, shape_of(0), (const float[]){2.5f});

    (void)argument;
    x = build_node(package, LEGO_OP_MatMul, q, k, -2);
    switch (random_below(random, 4)) {
    case 0:
        x = build_node(package, LEGO_OP_Mul, x, scale, -2);
        break;
    case 1:
        x = build_node(package, LEGO_OP_Mul, scale, x, -2);
        break;
    case 2:
        x = build_node(package, LEGO_OP_Div, x, scale, -2);
        break;
    default:
        break;
    }
    if (random_below(random, 2)) {
        int32_t mask = build_mask(package, random, heads, rows, columns);
        x = random_below(random, 2) ? build_node(package, LEGO_OP_Add, x, mask, -2)
                                    : build_node(package, LEGO_OP_Add, mask, x, -2);
    }
    x = build_node(package, LEGO_OP_Softmax, x, -2);
    x = build_node(package, LEGO_OP_MatMul, x, v, -2);
    if (random_below(random, 2)) {
        x = build_node(package, LEGO_OP_Transpose, x, -2);
        build_ints(package, "perm", 4, 0, 2, 1, 3);
    }
    build_output(package, x);
    build_finish(package);
    return package;
}

START_TEST(test_attention)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        char what[64];
        snprintf(what, sizeof(what), "attention, seed %d", (int)seed);
        check_build(build_attention, NULL, NULL, seed, 2e-5, what);
        ck_assert_msg(count_steps(build_attention, NULL, seed, "Attention") == 1, "%s: none found",
                      what);
    }
}
END_TEST

/* What is no attention, or only in part. */
enum like {
    LIKE_SCORES_SEEN,   /* the scores are an output */
    LIKE_WEIGHTS_SEEN,  /* what the softmax gives is one */
    LIKE_OTHER_AXIS,    /* a softmax over rows */
    LIKE_CONSTANT_KEYS, /* a product with weights */
    LIKE_BROADCAST,     /* one K for all of a batch */
    LIKE_CHAIN,         /* the second product is the scores of another one */
    LIKE_SHARED,        /* the Transpose behind the first is that before the second's K */
    LIKES
};

static struct lego_package *build_like(struct random *random, const void *argument)
{
    enum like like = *(const enum like *)argument;
    struct lego_package *package = build_package();
    int32_t q = build_input(package, "q", shape_of(3, 2, 12, 12));
    int32_t k = like == LIKE_CONSTANT_KEYS ? build_random(package, shape_of(2, 12, 12), random)
                : like == LIKE_BROADCAST   ? build_input(package, "k", shape_of(3, 1, 12, 12))
                                           : build_input(package, "k", shape_of(3, 2, 12, 12));
    int32_t v = build_input(package, "v", shape_of(3, 2, 12, 12)), scores, weights, x;

    scores = build_node(package, LEGO_OP_MatMul, q, k, -2);
    weights = build_node(package, LEGO_OP_Softmax, scores, -2);
    build_int(package, "axis", like == LIKE_OTHER_AXIS ? 1 : 2);
    x = build_node(package, LEGO_OP_MatMul, weights, v, -2);
    if (like == LIKE_SCORES_SEEN || like == LIKE_WEIGHTS_SEEN)
        build_output(package, like == LIKE_SCORES_SEEN ? scores : weights);
    if (like == LIKE_SHARED) {
        x = build_node(package, LEGO_OP_Transpose, x, -2);
        build_ints(package, "perm", 3, 1, 0, 2);
        x = build_node(package, LEGO_OP_MatMul, build_input(package, "p", shape_of(3, 12, 5, 2)), x,
                       -2);
    }
    if (like == LIKE_CHAIN || like == LIKE_SHARED) {
        x = build_node(package, LEGO_OP_Softmax, x, -2);
        x = build_node(
            package, LEGO_OP_MatMul, x,
            build_input(package, "w",
                        like == LIKE_CHAIN ? shape_of(3, 2, 12, 7) : shape_of(3, 12, 12, 7)),
            -2);
    }
    build_output(package, x);
    build_finish(package);
    return package;
}

START_TEST(test_like)
{
    const enum like like = (enum like)_i;
    char what[32];

    snprintf(what, sizeof(what), "like %d", _i);
    check_build(build_like, &like, NULL, 1, 2e-5, what);
    ck_assert_uint_eq(count_steps(build_like, &like, 1, "Attention"),
                      like == LIKE_CHAIN || like == LIKE_SHARED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_attention);
    tcase_add_loop_test(tests, test_like, 0, LIKES);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
