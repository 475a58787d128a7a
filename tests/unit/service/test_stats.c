/* When a model counts as quick enough for the loop. */
#include "agent/service/stats.h"

#include <check.h>
#include <stdlib.h>

#define QUICK_BYTES 100

static struct stats_pace pace;

static void add(size_t bytes, uint64_t ns, unsigned times)
{
    const struct stats_times parts = {.total = 1000000000, .queue = 1000000000, .infer = ns};
    for (unsigned i = 0; i < times; i++)
        stats_pace_add(&pace, bytes, &parts);
}

static void set_up(void)
{
    pace = (struct stats_pace){0};
    add(QUICK_BYTES, STATS_QUICK_NS / 2, STATS_QUICK_SAMPLES);
}

START_TEST(a_pace_must_be_known)
{
    ck_assert(stats_is_quick(&pace, QUICK_BYTES));
    ck_assert(!stats_is_quick(&(struct stats_pace){0}, 0));
    pace = (struct stats_pace){0};
    add(QUICK_BYTES, 1, STATS_QUICK_SAMPLES - 1);
    ck_assert(!stats_is_quick(&pace, QUICK_BYTES));
}
END_TEST

START_TEST(larger_requests_are_measured_anew)
{
    ck_assert(!stats_is_quick(&pace, QUICK_BYTES + 1));
    add(QUICK_BYTES + 1, 1, 1);
    ck_assert(!stats_is_quick(&pace, QUICK_BYTES));
    add(QUICK_BYTES + 1, 1, STATS_QUICK_SAMPLES);
    ck_assert(stats_is_quick(&pace, QUICK_BYTES + 1));
}
END_TEST

START_TEST(one_slow_request_outweighs_many_quick_ones)
{
    add(QUICK_BYTES, 1000000, 1);
    ck_assert(!stats_is_quick(&pace, QUICK_BYTES));
    add(QUICK_BYTES, 1000, 10);
    ck_assert(!stats_is_quick(&pace, QUICK_BYTES));
    add(QUICK_BYTES, 1000, 100);
    ck_assert(stats_is_quick(&pace, QUICK_BYTES));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stats");
    TCase *tests = tcase_create("stats");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, a_pace_must_be_known);
    tcase_add_test(tests, larger_requests_are_measured_anew);
    tcase_add_test(tests, one_slow_request_outweighs_many_quick_ones);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
