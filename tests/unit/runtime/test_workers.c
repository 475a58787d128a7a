/*
 * Parallel loops: every item once, whatever the number of threads, items and loops.
 */
#include "agent/runtime/workers.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ITEMS 1000

struct loops {
    struct workers *workers;
    uint32_t slots;
    atomic_uint done[ITEMS];
    atomic_bool busy[WORKERS_MAX]; /* a slot belongs to one thread at a time */
    atomic_uint wrong;
};

static void count_item(void *context, uint32_t slot, size_t item)
{
    struct loops *loops = context;

    if (slot >= loops->slots || atomic_exchange(&loops->busy[slot], true))
        loops->wrong++;
    loops->done[item]++;
    atomic_store(&loops->busy[slot], false);
}

static void many_loops(void *context)
{
    struct loops *loops = context;

    for (size_t items = 0; items < ITEMS; items = items * 3 + 1)
        for (loops->slots = 1; loops->slots <= workers_count(loops->workers); loops->slots++)
            workers_run(loops->workers, loops->slots, items, count_item, loops);
}

START_TEST(test_every_item_once)
{
    const uint32_t threads = (uint32_t)_i;
    struct loops *loops = calloc(1, sizeof(*loops));

    ck_assert_int_eq(workers_create(threads, &loops->workers, NULL), LEGO_OK);
    ck_assert_uint_eq(workers_count(loops->workers), threads);
    for (unsigned round = 1; round <= 200; round++) {
        workers_enter(loops->workers, round % 3 != 0, many_loops, loops);
        ck_assert_uint_eq(loops->done[0], round * threads * 6); /* 1 4 13 40 121 364 items */
    }
    ck_assert_uint_eq(loops->wrong, 0);
    for (size_t i = 1; i < ITEMS; i++)
        ck_assert_uint_le(loops->done[i], loops->done[i - 1]);
    workers_destroy(loops->workers);
    free(loops);
}
END_TEST

START_TEST(test_worth)
{
    struct workers *workers;

    ck_assert_int_eq(workers_create(4, &workers, NULL), LEGO_OK);
    ck_assert_uint_eq(workers_worth(workers, 100, 0), 1);
    ck_assert_uint_eq(workers_worth(workers, 100, UINT64_MAX), 4);
    ck_assert_uint_eq(workers_worth(workers, 3, UINT64_MAX), 3);
    ck_assert_uint_eq(workers_worth(workers, 0, UINT64_MAX), 1);
    ck_assert_uint_eq(workers_worth(workers, 100, 2 * WORKERS_MIN_WORK), 2);
    workers_destroy(workers);
    workers_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workers");
    TCase *tests = tcase_create("workers");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_every_item_once, 1, 6);
    tcase_add_test(tests, test_worth);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
