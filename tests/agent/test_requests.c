/* What clients ask, and what they are told when they ask wrongly. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/runtime/legonet.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef Inference__ModelInferRequest__InferInputTensor input_tensor;
typedef Inference__ModelInferRequest__InferRequestedOutputTensor wanted_tensor;

static struct agent agent;
static int fd;

static void set_up(void)
{
    agent.watches = false;
    agent_prepare(&agent, "engines: {threads: 1}\nlimits: {batch: 8}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_coded(agent_model(&agent, "coded.lego"), 1);
    model_pair(agent_model(&agent, "pair.lego"));
    agent_start(&agent, true);
    fd = wire_connect(&agent);
}

static void tear_down(void)
{
    close(fd);
    agent_stop(&agent);
}

/* ---- A request that is built up, then broken in one place ---- */

static struct {
    Legonet__Request request;
    Inference__ModelInferRequest infer;
    input_tensor tensors[3];
    input_tensor *tensor_list[3];
    Inference__InferTensorContents contents[3];
    ProtobufCBinaryData raw[3];
    wanted_tensor wanted[2];
    wanted_tensor *wanted_list[2];
    Inference__ModelInferRequest__InferRequestedOutputTensor__ParametersEntry parameter;
    Inference__ModelInferRequest__InferRequestedOutputTensor__ParametersEntry *parameters[1];
    Inference__InferParameter value;
    int64_t shapes[3][9];
    float values[TINY_INPUTS * 16];
} b;

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static void add_input(const char *name, const char *datatype, int64_t d0, int64_t d1)
{
    size_t i = b.infer.n_inputs++;
    inference__model_infer_request__infer_input_tensor__init(&b.tensors[i]);
    b.tensor_list[i] = &b.tensors[i];
    b.tensors[i].name = text(name);
    b.tensors[i].datatype = text(datatype);
    b.shapes[i][0] = d0;
    b.shapes[i][1] = d1;
    b.tensors[i].shape = b.shapes[i];
    b.tensors[i].n_shape = d1 ? 2 : 1;
}

static void add_raw(const void *data, size_t bytes)
{
    b.raw[b.infer.n_raw_input_contents++] =
        (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)data};
}

static Inference__InferTensorContents *add_contents(size_t i)
{
    inference__infer_tensor_contents__init(&b.contents[i]);
    b.tensors[i].contents = &b.contents[i];
    return &b.contents[i];
}

static void add_wanted(const char *name, int64_t classes)
{
    size_t i = b.infer.n_outputs++;
    inference__model_infer_request__infer_requested_output_tensor__init(&b.wanted[i]);
    b.wanted_list[i] = &b.wanted[i];
    b.wanted[i].name = text(name);
    if (!classes)
        return;
    inference__model_infer_request__infer_requested_output_tensor__parameters_entry__init(
        &b.parameter);
    inference__infer_parameter__init(&b.value);
    b.value.parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
    b.value.int64_param = classes;
    b.parameter.key = text("classification");
    b.parameter.value = &b.value;
    b.parameters[0] = &b.parameter;
    b.wanted[i].n_parameters = 1;
    b.wanted[i].parameters = b.parameters;
}

static void begin(const char *model)
{
    memset(&b, 0, sizeof(b));
    legonet__request__init(&b.request);
    inference__model_infer_request__init(&b.infer);
    b.request.id = 99;
    b.request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    b.request.model_infer = &b.infer;
    b.infer.model_name = text(model);
    b.infer.id = text("my-id");
    b.infer.inputs = b.tensor_list;
    b.infer.outputs = b.wanted_list;
    b.infer.raw_input_contents = b.raw;
}

/* A sound request of two rows. */
static void begin_tiny(void)
{
    begin("tiny");
    wire_infer_input(5, 2, b.values);
    add_input("x", "FP32", 2, TINY_INPUTS);
    add_raw(b.values, 2 * TINY_INPUTS * sizeof(float));
}

static void fails(int status, const char *part)
{
    Legonet__Response *response = wire_expect(fd, &b.request, status);
    ck_assert_msg(strstr(response->message, part), "\"%s\" lacks \"%s\"", response->message, part);
    ck_assert_int_eq(response->result_case, LEGONET__RESPONSE__RESULT__NOT_SET);
    ipc_response_free(response);
}

/* The same through the runtime in this process. */
static void run_here(const char *file, float *input, uint32_t rows, float *ret_output)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_model *model;
    struct lego_session *session;
    const struct lego_session_options options = {.threads = 1};
    ck_assert_msg(!lego_model_open(agent_model(&agent, file), NULL, &model, &diag), "%s",
                  diag.text);
    ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    struct lego_io in = {.dtype = LEGO_DTYPE_FLOAT32,
                         .shape = {.rank = 2, .dim = {rows, TINY_INPUTS}},
                         .data = input,
                         .bytes = rows * TINY_INPUTS * sizeof(float)};
    struct lego_io out = {.data = ret_output, .bytes = rows * TINY_OUTPUTS * sizeof(float)};
    ck_assert_msg(!lego_session_run(session, &in, 1, &out, 1, &diag), "%s", diag.text);
    lego_session_destroy(session);
    lego_model_close(model);
}

START_TEST(raw_inference)
{
    float expected[2 * TINY_OUTPUTS];
    static const char *const models[] = {"tiny", "coded"};
    begin_tiny();
    b.infer.model_name = text(models[_i]);
    char file[32];
    snprintf(file, sizeof(file), "%s.lego", models[_i]);
    run_here(file, b.values, 2, expected);
    Legonet__Response *response = wire_expect(fd, &b.request, LEGO_OK);
    const Inference__ModelInferResponse *answer = response->model_infer;
    ck_assert_str_eq(answer->model_name, models[_i]);
    ck_assert_str_eq(answer->model_version, "1");
    ck_assert_str_eq(answer->id, "my-id");
    ck_assert_uint_eq(answer->n_outputs, 1);
    ck_assert_str_eq(answer->outputs[0]->name, "y");
    ck_assert_str_eq(answer->outputs[0]->datatype, "FP32");
    ck_assert(answer->outputs[0]->n_shape == 2 && answer->outputs[0]->shape[0] == 2 &&
              answer->outputs[0]->shape[1] == TINY_OUTPUTS);
    ck_assert_uint_eq(answer->raw_output_contents[0].len, sizeof(expected));
    ck_assert_mem_eq(answer->raw_output_contents[0].data, expected, sizeof(expected));
    ipc_response_free(response);
}
END_TEST

START_TEST(typed_inference_by_name_in_any_order)
{
    float a[] = {1, 2}, c[] = {10, 20};
    int64_t n[] = {-7};
    begin("pair");
    add_input("n", "INT64", 1, 0);
    add_input("b", "FP32", 2, 0);
    add_input("a", "FP32", 2, 0);
    add_contents(0)->n_int64_contents = 1;
    b.contents[0].int64_contents = n;
    add_contents(1)->n_fp32_contents = 2;
    b.contents[1].fp32_contents = c;
    add_contents(2)->n_fp32_contents = 2;
    b.contents[2].fp32_contents = a;
    Legonet__Response *response = wire_expect(fd, &b.request, LEGO_OK);
    ck_assert_uint_eq(response->model_infer->n_outputs, 2);
    const float *sum =
        (const float *)(const void *)response->model_infer->raw_output_contents[0].data;
    ck_assert(sum[0] == 11 && sum[1] == 22);
    const float *m =
        (const float *)(const void *)response->model_infer->raw_output_contents[1].data;
    ck_assert(m[0] == -7);
    ipc_response_free(response);
    add_wanted("m", 0);
    response = wire_expect(fd, &b.request, LEGO_OK);
    ck_assert_uint_eq(response->model_infer->n_outputs, 1);
    ck_assert_str_eq(response->model_infer->outputs[0]->name, "m");
    ipc_response_free(response);
}
END_TEST

START_TEST(classification)
{
    static const char *const labels[] = {"zero", "one", "two", "three", "four"};
    float expected[2 * TINY_OUTPUTS];
    begin_tiny();
    run_here("tiny.lego", b.values, 2, expected);
    add_wanted("y", 2);
    Legonet__Response *response = wire_expect(fd, &b.request, LEGO_OK);
    const Inference__ModelInferResponse__InferOutputTensor *output =
        response->model_infer->outputs[0];
    ck_assert_str_eq(output->datatype, "BYTES");
    ck_assert(output->n_shape == 2 && output->shape[0] == 2 && output->shape[1] == 2);
    size_t best = 0;
    for (size_t i = 1; i < TINY_OUTPUTS; i++)
        if (expected[i] > expected[best])
            best = i;
    char first[64];
    snprintf(first, sizeof(first), "%.9g:%zu:%s", (double)expected[best], best, labels[best]);
    const ProtobufCBinaryData *raw = &response->model_infer->raw_output_contents[0];
    ck_assert_uint_eq(raw->data[0], strlen(first));
    ck_assert_mem_eq(raw->data + 4, first, strlen(first));
    ipc_response_free(response);
    b.value.int64_param = 0;
    fails(LEGO_E_INVALID, "output \"y\": classification must be an integer from 1 on");
}
END_TEST

static void wrong_model(void)
{
    b.infer.model_name = text("nothing");
    fails(LEGO_E_NOT_FOUND, "there is no model \"nothing\"");
    b.infer.model_name = text("tiny");
    b.infer.model_version = text("2");
    fails(LEGO_E_NOT_FOUND, "model \"tiny\" has no version 2");
    b.infer.model_version = text("newest");
    fails(LEGO_E_INVALID, "the version \"newest\" is not a number");
    b.infer.model_version = text("");
}

START_TEST(wrong_requests_are_named)
{
    begin_tiny();
    wrong_model();
    b.tensors[0].name = text("z");
    fails(LEGO_E_NOT_FOUND, "the model has no input \"z\"; it has \"x\"");
    b.tensors[0].name = text("x");
    b.tensors[0].datatype = text("INT64");
    fails(LEGO_E_TYPE, "input \"x\" is INT64, the model takes FP32");
    b.tensors[0].datatype = text("FP31");
    fails(LEGO_E_TYPE, "input \"x\" is FP31");
    b.tensors[0].datatype = text("FP32");
    b.shapes[0][1] = TINY_INPUTS - 1;
    fails(LEGO_E_SHAPE, "input \"x\": 128 raw bytes came, shape [2,15] of FP32 wants 120");
    b.raw[0].len = 120;
    fails(LEGO_E_SHAPE, "x");
    b.raw[0].len = 128;
    b.shapes[0][1] = -16;
    fails(LEGO_E_SHAPE, "dimension 1 is -16");
    b.shapes[0][0] = b.shapes[0][1] = INT64_MAX;
    fails(LEGO_E_LIMIT, "over the limit of 8");
    b.shapes[0][0] = 9;
    b.shapes[0][1] = TINY_INPUTS;
    fails(LEGO_E_LIMIT, "a batch of 9 is over the limit of 8");
    b.shapes[0][0] = 2;
    b.tensors[0].n_shape = 9;
    fails(LEGO_E_SHAPE, "9 dimensions");
    b.tensors[0].n_shape = 1;
    b.raw[0].len = 8;
    fails(LEGO_E_SHAPE, "x");
    b.tensors[0].n_shape = 2;
    b.raw[0].len = 128;
    add_wanted("q", 0);
    fails(LEGO_E_NOT_FOUND, "the model has no output \"q\"; it has \"y\"");
    b.wanted[0].name = text("y");
    add_wanted("y", 0);
    fails(LEGO_E_INVALID, "output \"y\" is asked for twice");
    b.infer.n_outputs = 0;
    b.infer.n_raw_input_contents = 0;
    fails(LEGO_E_INVALID, "input \"x\" has no data");
    add_contents(0)->n_fp32_contents = 3;
    b.contents[0].fp32_contents = b.values;
    fails(LEGO_E_SHAPE, "input \"x\": 3 elements came in fp32_contents, the shape wants 32");
    b.infer.n_raw_input_contents = 1;
    fails(LEGO_E_INVALID, "input \"x\" has contents beside raw_input_contents");
    b.infer.n_raw_input_contents = 2;
    fails(LEGO_E_INVALID, "2 raw_input_contents for 1 inputs");
    b.infer.n_inputs = b.infer.n_raw_input_contents = 0;
    fails(LEGO_E_INVALID, "input \"x\" is missing");
    begin_tiny();
    add_input("x", "FP32", 2, TINY_INPUTS);
    add_raw(b.values, 128);
    fails(LEGO_E_INVALID, "input \"x\" is given twice");
    begin_tiny();
    ipc_response_free(wire_expect(fd, &b.request, LEGO_OK));
}
END_TEST

START_TEST(metadata)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelMetadataRequest model = INFERENCE__MODEL_METADATA_REQUEST__INIT;
    request.id = 3;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_METADATA;
    request.model_metadata = &model;
    model.name = text("tiny");
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    const Inference__ModelMetadataResponse *answer = response->model_metadata;
    ck_assert_str_eq(answer->name, "tiny");
    ck_assert_str_eq(answer->platform, "legonet_lego");
    ck_assert_uint_eq(answer->n_versions, 1);
    ck_assert_str_eq(answer->versions[0], "1");
    ck_assert_uint_eq(answer->n_inputs, 1);
    ck_assert_str_eq(answer->inputs[0]->name, "x");
    ck_assert_str_eq(answer->inputs[0]->datatype, "FP32");
    ck_assert(answer->inputs[0]->n_shape == 2 && answer->inputs[0]->shape[0] == -1 &&
              answer->inputs[0]->shape[1] == TINY_INPUTS);
    ck_assert_str_eq(answer->outputs[0]->name, "y");
    int found = 0;
    for (size_t i = 0; i < answer->n_properties; i++) {
        if (!strcmp(answer->properties[i]->key, "labels"))
            found += !strcmp(answer->properties[i]->value, "zero\none\ntwo\nthree\nfour");
        if (!strcmp(answer->properties[i]->key, "meta.codec"))
            found += !strcmp(answer->properties[i]->value, "none");
    }
    ck_assert_int_eq(found, 2);
    ipc_response_free(response);
    model.name = text("nothing");
    ipc_response_free(wire_expect(fd, &request, LEGO_E_NOT_FOUND));
}
END_TEST

START_TEST(health)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerLiveRequest live = INFERENCE__SERVER_LIVE_REQUEST__INIT;
    Inference__ServerReadyRequest ready = INFERENCE__SERVER_READY_REQUEST__INIT;
    Inference__ServerMetadataRequest server = INFERENCE__SERVER_METADATA_REQUEST__INIT;
    Inference__ModelReadyRequest model = INFERENCE__MODEL_READY_REQUEST__INIT;
    request.id = 1;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_LIVE;
    request.server_live = &live;
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    ck_assert(response->server_live->live);
    ipc_response_free(response);
    request.call_case = LEGONET__REQUEST__CALL_SERVER_READY;
    request.server_ready = &ready;
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert(response->server_ready->ready);
    ipc_response_free(response);
    request.call_case = LEGONET__REQUEST__CALL_SERVER_METADATA;
    request.server_metadata = &server;
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert_str_eq(response->server_metadata->name, "legonet");
    ck_assert_uint_eq(response->server_metadata->n_extensions, 8);
    ipc_response_free(response);
    request.call_case = LEGONET__REQUEST__CALL_MODEL_READY;
    request.model_ready = &model;
    model.name = text("tiny");
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert(response->model_ready->ready);
    ipc_response_free(response);
    model.name = text("nothing");
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert(!response->model_ready->ready);
    ipc_response_free(response);
}
END_TEST

START_TEST(statistics)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelStatisticsRequest which = INFERENCE__MODEL_STATISTICS_REQUEST__INIT;
    begin_tiny();
    for (int i = 0; i < 3; i++)
        ipc_response_free(wire_expect(fd, &b.request, LEGO_OK));
    b.tensors[0].name = text("z");
    ipc_response_free(wire_expect(fd, &b.request, LEGO_E_NOT_FOUND));
    request.id = 8;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_STATISTICS;
    request.model_statistics = &which;
    which.name = text("tiny");
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    ck_assert_uint_eq(response->model_statistics->n_model_stats, 1);
    const Inference__ModelStatistics *stats = response->model_statistics->model_stats[0];
    ck_assert_uint_eq(stats->inference_count, 6);
    ck_assert_uint_eq(stats->execution_count, 3);
    ck_assert_uint_eq(stats->inference_stats->success->count, 3);
    ck_assert_uint_gt(stats->inference_stats->success->ns, 0);
    ck_assert_uint_ge(stats->inference_stats->success->ns,
                      stats->inference_stats->compute_infer->ns);
    ck_assert_uint_eq(stats->inference_stats->fail->count, 1);
    ck_assert_uint_gt(stats->last_inference, 0);
    ipc_response_free(response);
    which.name = text("");
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert_uint_eq(response->model_statistics->n_model_stats, 3);
    ipc_response_free(response);
}
END_TEST

START_TEST(repository)
{
    char state[64], reason[256];
    ipc_response_free(wire_load(fd, false, "tiny"));
    wire_index(fd, "tiny", state, reason, sizeof(reason) / 4);
    ck_assert_str_eq(state, "UNAVAILABLE");
    ck_assert_str_eq(reason, "unloaded by a client");
    begin_tiny();
    fails(LEGO_E_UNAVAILABLE, "unloaded by a client");
    Legonet__Response *response = wire_load(fd, true, "tiny");
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    ck_assert_int_eq(response->result_case, LEGONET__RESPONSE__RESULT_REPOSITORY_MODEL_LOAD);
    ipc_response_free(response);
    wire_index(fd, "tiny", state, reason, sizeof(state));
    ck_assert_str_eq(state, "READY");
    wire_expect_alive(&agent);
    response = wire_load(fd, true, "nothing");
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(response->message, "there is no model \"nothing\""));
    ipc_response_free(response);
    response = wire_load(fd, false, "../etc");
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_INVALID);
    ipc_response_free(response);
    /* A load of a file that is broken meanwhile: the old one goes on and the index says why. */
    char path[160];
    snprintf(path, sizeof(path), "%s", agent_model(&agent, "tiny.lego"));
    unlink(path);
    FILE *file = fopen(path, "w");
    fputs("no model", file);
    fclose(file);
    response = wire_load(fd, true, "tiny");
    ck_assert_int_ne(response->status, LEGONET__STATUS__OK);
    ck_assert_ptr_nonnull(strstr(response->message, "tiny.lego"));
    ipc_response_free(response);
    wire_index(fd, "tiny", state, reason, sizeof(state));
    ck_assert_str_eq(state, "READY");
    ck_assert_ptr_nonnull(strstr(reason, "the last load failed"));
    wire_expect_alive(&agent);
}
END_TEST

START_TEST(requests_without_a_call)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    request.id = 6;
    Legonet__Response *response = wire_expect(fd, &request, LEGO_E_INVALID);
    ck_assert_str_eq(response->message, "the request holds no call");
    ipc_response_free(response);
    /* Call 200, which nobody knows, with id 7. */
    static const uint8_t unknown[] = {5, 0, 0, 0, 0x08, 7, 0xc2, 0x0c, 0};
    wire_send(fd, unknown, sizeof(unknown));
    response = wire_receive(fd);
    ck_assert_uint_eq(response->id, 7);
    ck_assert_int_eq(response->status, LEGONET__STATUS__E_UNSUPPORTED);
    ck_assert_str_eq(response->message, "this agent does not know call 200");
    ipc_response_free(response);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("requests");
    TCase *tests = tcase_create("requests");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, raw_inference, 0, 2);
    tcase_add_test(tests, typed_inference_by_name_in_any_order);
    tcase_add_test(tests, classification);
    tcase_add_test(tests, wrong_requests_are_named);
    tcase_add_test(tests, metadata);
    tcase_add_test(tests, health);
    tcase_add_test(tests, statistics);
    tcase_add_test(tests, repository);
    tcase_add_test(tests, requests_without_a_call);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
