/* From the agent's metrics to rows: rates, quantiles, restarts, hostile text. */
#include "agent/cli/top_sample.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static const char first[] =
    "# HELP legonet_info The agent.\n"
    "legonet_info{version=\"1.2\"} 1\nlegonet_ready 1\nlegonet_connections 3\n"
    "legonet_resident_memory_bytes 4096\n"
    "legonet_model_requests_success_total{model=\"a\",version=\"1\"} 10\n"
    "legonet_model_requests_success_total{model=\"b\",version=\"2\"} 100\n"
    "legonet_model_requests_failed_total{model=\"a\",version=\"1\"} 1\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"0.001\"} 10\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"0.002\"} 10\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"+Inf\"} 10\n"
    "legonet_model_request_seconds_bucket{model=\"b\",version=\"2\",le=\"0.001\"} 100\n";

static const char second[] =
    "legonet_info{version=\"1.2\"} 1\nlegonet_ready 0\nlegonet_connections 4\n"
    "legonet_model_requests_success_total{model=\"a\",version=\"1\"} 110\n"
    "legonet_model_requests_success_total{model=\"b\",version=\"2\"} 5\n"
    "legonet_model_requests_failed_total{model=\"a\",version=\"1\"} 5\n"
    "legonet_model_queue_length{model=\"a\",version=\"1\"} 7\n"
    "legonet_model_serves{model=\"a\",version=\"1\"} 1\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"0.001\"} 10\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"0.002\"} 108\n"
    "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\",le=\"+Inf\"} 110\n"
    "legonet_model_request_seconds_bucket{model=\"b\",version=\"2\",le=\"0.001\"} 5\n";

static void near(double value, double wanted)
{
    ck_assert_msg(fabs(value - wanted) < 1e-6, "%g is not %g", value, wanted);
}

START_TEST(rows_are_differences)
{
    struct top_sample before, after;
    struct top_row rows[2];
    ck_assert(top_read(first, 5 * SECOND, &before));
    ck_assert(top_read(second, 7 * SECOND, &after));
    ck_assert_str_eq(after.version, "1.2");
    near(before.ready, 1);
    near(after.connections, 4);
    ck_assert_uint_eq(after.model_count, 2);
    top_rows(&before, &after, rows);
    ck_assert_str_eq(rows[0].model->name, "a"); /* the busier one */
    near(rows[0].requests_per_s, 50);
    near(rows[0].failures_per_s, 2);
    near(rows[0].p50_ms, 1 + 50.0 / 98);
    near(rows[0].p99_ms, 2); /* longer than the last bound: at least that */
    near(rows[0].model->queue, 7);
    near(rows[1].requests_per_s, 2.5); /* fewer than before: counted anew */
    near(rows[1].p50_ms, 0.5);
    top_rows(&after, &after, rows);
    near(rows[0].requests_per_s, 0);
    ck_assert(isnan(rows[0].p50_ms));
    top_clear(&before);
    top_clear(&after);
}
END_TEST

START_TEST(any_text_is_read)
{
    static const char *const texts[] = {
        "",
        "\n\n",
        "legonet_model_serves",
        "legonet_model_serves{model=\"a\"",
        "{} {",
        "legonet_model_serves{version=\"1\",model=\"a} 1\n",
        "legonet_model_ 1\nlegonet_info{ 2",
        "legonet_model_request_seconds_bucket{model=\"a\",version=\"1\"} x\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct top_sample sample;
        struct top_row rows[4];
        ck_assert(top_read(texts[i], 1, &sample));
        ck_assert_uint_le(sample.model_count, 4);
        top_rows(&sample, &sample, rows);
        top_clear(&sample);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("top");
    TCase *tests = tcase_create("top");
    tcase_add_test(tests, rows_are_differences);
    tcase_add_test(tests, any_text_is_read);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
