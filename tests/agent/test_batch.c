/* Dynamic batching: requests in one run are answered as they would be alone. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/runtime/legonet.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ROWS  4
#define REQUESTS  600
#define WINDOW    30 /* requests under way; below limits.in_flight */
#define TOLERANCE 1e-4f

static struct agent agent;
static int fd;

/* Model "m" is batched, up to `rows` rows; "other" is not. */
static void start(unsigned rows, unsigned delay_ms)
{
    char extra[512];
    snprintf(extra, sizeof(extra),
             "engines: {count: 1, threads: 1}\n"
             "models: [{name: m, path: ../m.lego, batch: %u, batch_delay: %ums}]\n",
             rows, delay_ms);
    agent_prepare(&agent, extra);
    char path[160];
    snprintf(path, sizeof(path), "%s/m.lego", agent.folder);
    model_coded(path, 1);
    model_tiny(agent_model(&agent, "other.lego"), 2);
    agent_start(&agent, true);
    fd = wire_connect(&agent);
}

static void stop(void)
{
    close(fd);
    agent_stop(&agent);
}

/* What a session of this process answers. */
static void expect_from(uint32_t seed, uint32_t rows, float *ret_outputs)
{
    static struct lego_model *model;
    static struct lego_session *session;
    const struct lego_session_options options = {.threads = 1};
    struct lego_diag diag = LEGO_DIAG_INIT;
    float inputs[MAX_ROWS * TINY_INPUTS];
    char path[160];
    snprintf(path, sizeof(path), "%s/m.lego", agent.folder);
    if (!session) {
        ck_assert_msg(!lego_model_open(path, NULL, &model, &diag), "%s", diag.text);
        ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    }
    wire_infer_input(seed, rows, inputs);
    struct lego_io in = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 2, .dim = {rows, TINY_INPUTS}},
                         .data = inputs,
                         .bytes = rows * TINY_INPUTS * sizeof(float)};
    struct lego_io out = {.data = ret_outputs, .bytes = MAX_ROWS * TINY_OUTPUTS * sizeof(float)};
    ck_assert_msg(!lego_session_run(session, &in, 1, &out, 1, &diag), "%s", diag.text);
}

/* Adds a request to a block that is sent at once. */
static void add(uint8_t *block, size_t *bytes, const char *model, uint64_t id, uint32_t rows)
{
    size_t frame_bytes;
    uint8_t *frame = wire_infer_frame(model, id, (uint32_t)id, rows, &frame_bytes);
    memcpy(block + *bytes, frame, frame_bytes);
    *bytes += frame_bytes;
    free(frame);
}

static void expect_right(const Legonet__Response *response, uint32_t rows)
{
    float want[MAX_ROWS * TINY_OUTPUTS], have[MAX_ROWS * TINY_OUTPUTS];
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    const ProtobufCBinaryData *raw = &response->model_infer->raw_output_contents[0];
    ck_assert_uint_eq(raw->len, rows * TINY_OUTPUTS * sizeof(float));
    ck_assert_int_eq(response->model_infer->outputs[0]->shape[0], rows);
    memcpy(have, raw->data, raw->len);
    expect_from((uint32_t)response->id, rows, want);
    for (uint32_t i = 0; i < rows * TINY_OUTPUTS; i++)
        ck_assert_msg(fabsf(want[i] - have[i]) <= TOLERANCE * (1 + fabsf(want[i])),
                      "request %u, output %u: %g, not %g", (unsigned)response->id, i,
                      (double)have[i], (double)want[i]);
}

static void receive_right(const uint32_t *rows_of_id, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        expect_right(response, rows_of_id[response->id]);
        ipc_response_free(response);
    }
}

static void expect_counts(uint64_t inferences, uint64_t executions)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelStatisticsRequest wanted = INFERENCE__MODEL_STATISTICS_REQUEST__INIT;
    static char name[] = "m";
    request.id = 99999;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_STATISTICS;
    request.model_statistics = &wanted;
    wanted.name = name;
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    const Inference__ModelStatistics *entry = response->model_statistics->model_stats[0];
    ck_assert_uint_eq(entry->inference_count, inferences);
    ck_assert_uint_eq(entry->execution_count, executions);
    ipc_response_free(response);
}

START_TEST(a_full_batch_runs_at_once_and_once)
{
    static const uint32_t rows[] = {0, 1, 1, 1, 1};
    uint8_t block[4096];
    size_t bytes = 0;
    start(4, 1000);
    for (uint64_t id = 1; id <= 4; id++)
        add(block, &bytes, "m", id, 1);
    wire_send(fd, block, bytes);
    receive_right(rows, 4);
    expect_counts(4, 1);
    stop();
}
END_TEST

/* 3 + 1 rows make a whole of 4, 2 are one too many for it. */
START_TEST(batches_hold_whole_requests)
{
    static const uint32_t rows[] = {0, 3, 2, 1};
    uint8_t block[4096];
    size_t bytes = 0;
    start(4, 200);
    for (uint64_t id = 1; id <= 3; id++)
        add(block, &bytes, "m", id, rows[id]);
    wire_send(fd, block, bytes);
    receive_right(rows, 3);
    expect_counts(6, 2);
    stop();
}
END_TEST

START_TEST(a_bad_request_fails_alone)
{
    static const uint32_t rows[] = {0, 1, 1, 2};
    uint8_t block[4096];
    size_t bytes = 0;
    unsigned failed = 0;
    start(4, 1000);
    for (uint64_t id = 1; id <= 3; id++) {
        size_t from = bytes;
        add(block, &bytes, "m", id, rows[id]);
        uint8_t *datatype = memmem(block + from, bytes - from, "FP32", 4);
        ck_assert_ptr_nonnull(datatype);
        if (id == 2)
            memcpy(datatype, "FP64", 4);
    }
    add(block, &bytes, "m", 4, 1); /* the batch is full */
    wire_send(fd, block, bytes);
    for (unsigned i = 0; i < 4; i++) {
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        if (response->id == 2) {
            ck_assert_int_eq(ipc_status_from_wire(response->status), LEGO_E_TYPE);
            failed++;
        } else {
            expect_right(response, response->id == 3 ? 2 : 1);
        }
        ipc_response_free(response);
    }
    ck_assert_uint_eq(failed, 1);
    expect_counts(4, 1);
    stop();
}
END_TEST

/* An engine that waits for more goes on when another model wants it. */
START_TEST(others_are_not_kept_waiting)
{
    uint8_t block[4096];
    size_t bytes = 0;
    start(8, 1000);
    for (unsigned round = 0; round < 20; round++) {
        bytes = 0;
        add(block, &bytes, "m", 1, 1);
        add(block, &bytes, "other", 2, 1);
        wire_send(fd, block, bytes);
        for (unsigned i = 0; i < 2; i++) {
            Legonet__Response *response = wire_receive(fd);
            ck_assert_ptr_nonnull(response);
            ck_assert_uint_eq(response->id, i + 1);
            ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
            for (size_t k = 0; i == 0 && k < response->model_infer->n_parameters; k++)
                if (!strcmp(response->model_infer->parameters[k]->key, "queue_ns"))
                    ck_assert_int_lt(response->model_infer->parameters[k]->value->int64_param,
                                     1000000000);
            ipc_response_free(response);
        }
    }
    stop();
}
END_TEST

START_TEST(many_requests_are_right)
{
    static uint32_t rows[REQUESTS + 1];
    uint8_t block[512];
    start(8, _i == 0 ? 0 : 1);
    for (uint32_t id = 1; id <= REQUESTS + WINDOW; id++) {
        size_t bytes = 0;
        if (id <= REQUESTS) {
            rows[id] = 1 + id * 7 % MAX_ROWS;
            add(block, &bytes, "m", id, rows[id]);
            wire_send(fd, block, bytes);
        }
        if (id > WINDOW)
            receive_right(rows, 1);
    }
    stop();
}
END_TEST

START_TEST(models_that_mix_rows_are_refused)
{
    char path[160], state[64], reason[512];
    agent_prepare(&agent, "models: [{name: mixed, path: ../mixed.lego, batch: 4},\n"
                          "         {name: pair, path: ../pair.lego, batch: 4}]\n");
    snprintf(path, sizeof(path), "%s/mixed.lego", agent.folder);
    model_mixed(path);
    snprintf(path, sizeof(path), "%s/pair.lego", agent.folder);
    model_pair(path);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
    fd = wire_connect(&agent);
    wire_index(fd, "mixed", state, reason, sizeof(reason));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "a row depends on the others") != NULL, "%s", reason);
    wire_index(fd, "pair", state, reason, sizeof(reason));
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_msg(strstr(reason, "does not leave its first dimension open") != NULL, "%s", reason);
    wire_expect_alive(&agent);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch");
    TCase *tests = tcase_create("batch");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_full_batch_runs_at_once_and_once);
    tcase_add_test(tests, batches_hold_whole_requests);
    tcase_add_test(tests, a_bad_request_fails_alone);
    tcase_add_test(tests, others_are_not_kept_waiting);
    tcase_add_loop_test(tests, many_requests_are_right, 0, 2);
    tcase_add_test(tests, models_that_mix_rows_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
