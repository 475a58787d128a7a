/*
 * What is asked and what is understood of the answers.
 */
#include "peer.h"

#include "agent/picture/picture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lego_client *client_of(const struct peer *peer)
{
    struct lego_client *client = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_client_connect(peer->path, NULL, &client, &diag) == LEGO_OK, "%s",
                  diag.text);
    return client;
}

START_TEST(connecting_fails_with_its_reason)
{
    struct lego_client *client = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char folder[] = "/tmp/lego-client-XXXXXX", path[64], large[200];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/none", folder);
    ck_assert_int_eq(lego_client_connect(path, NULL, &client, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, path));
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    ck_assert_int_eq(lego_client_connect(large, NULL, &client, &diag), LEGO_E_LIMIT);
    ck_assert_ptr_null(client);

    setenv(LEGO_CLIENT_SOCKET_ENV, path, 1);
    ck_assert_int_eq(lego_client_connect(NULL, NULL, &client, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, path));
    rmdir(folder);
}
END_TEST

static void nothing(int fd, void *context)
{
    (void)fd;
    (void)context;
}

START_TEST(a_socket_without_agent_is_unavailable)
{
    struct peer peer;
    struct lego_client *client = NULL;
    peer_start(&peer, 0, nothing, NULL);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    ck_assert_int_eq(lego_client_connect(peer.path, NULL, &client, NULL), LEGO_E_UNAVAILABLE);
    unlink(peer.path);
    rmdir(peer.folder);
}
END_TEST

/* Sums the request's first input and answers with sum and count; checks what arrives. */
static void sum_script(int fd, void *context)
{
    Legonet__Request *request;
    int *served = context;
    while ((request = peer_receive(fd)) != NULL) {
        const Inference__ModelInferRequest *infer = request->model_infer;
        ck_assert_int_eq(request->call_case, LEGONET__REQUEST__CALL_MODEL_INFER);
        ck_assert_uint_ne(request->id, 0);
        ck_assert_str_eq(infer->model_name, "net");
        ck_assert_str_eq(infer->model_version, "");
        ck_assert_uint_eq(infer->n_inputs, 1);
        ck_assert_uint_eq(infer->n_raw_input_contents, 1);
        ck_assert_str_eq(infer->inputs[0]->name, "x");
        ck_assert_str_eq(infer->inputs[0]->datatype, "FP32");
        ck_assert_uint_eq(infer->inputs[0]->n_shape, 2);
        float sum[2] = {0, (float)infer->inputs[0]->shape[1]};
        for (size_t i = 0; i < infer->raw_input_contents[0].len / sizeof(float); i++) {
            float value;
            memcpy(&value, infer->raw_input_contents[0].data + i * sizeof(value), sizeof(value));
            sum[0] += value;
        }
        peer_answer_floats(fd, request->id, sum, 2);
        ipc_request_free(request);
        (*served)++;
    }
}

static const float VALUES[] = {1, 2, 3.5f};

static struct lego_client_tensor input_tensor(void)
{
    return (struct lego_client_tensor){.name = "x",
                                       .dtype = LEGO_DTYPE_FLOAT32,
                                       .shape = {.rank = 2, .dim = {1, 3}},
                                       .data = VALUES,
                                       .bytes = sizeof(VALUES)};
}

START_TEST(an_inference_goes_and_comes)
{
    struct peer peer;
    struct lego_client_tensor input = input_tensor();
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int served = 0;

    peer_start(&peer, 1, sum_script, &served);
    struct lego_client *client = client_of(&peer);
    ck_assert_msg(lego_client_infer(client, &request, &result, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_str_eq(result->model, "net");
    ck_assert_str_eq(result->version, "3");
    ck_assert_uint_eq(result->output_count, 1);
    ck_assert_str_eq(result->outputs[0].name, "out");
    ck_assert_int_eq(result->outputs[0].dtype, LEGO_DTYPE_FLOAT32);
    ck_assert_int_eq(result->outputs[0].shape.rank, 1);
    ck_assert_float_eq(((const float *)result->outputs[0].data)[0], 6.5f);
    ck_assert_float_eq(((const float *)result->outputs[0].data)[1], 3.0f);
    ck_assert_uint_eq(result->class_count, 0);
    lego_client_result_free(result);
    lego_client_close(client);
    peer_stop(&peer);
    ck_assert_int_eq(served, 1);
}
END_TEST

START_TEST(bad_requests_are_never_sent)
{
    struct peer peer;
    int served = 0;
    uint64_t id = 0;
    peer_start(&peer, 1, sum_script, &served);
    struct lego_client *client = client_of(&peer);
    struct lego_client_tensor input = input_tensor();
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};

    input.bytes--;
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_E_INVALID);
    input = input_tensor();
    input.shape.dim[0] = -1;
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_E_INVALID);
    input = input_tensor();
    input.dtype = LEGO_DTYPE_UNKNOWN;
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_E_INVALID);
    input = input_tensor();
    request.model = NULL;
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_E_INVALID);
    request.model = "net";
    request.top = 5;
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_E_INVALID);
    ck_assert_uint_eq(id, 0);
    lego_client_close(client);
    peer_stop(&peer);
    ck_assert_int_eq(served, 0);
}
END_TEST

static void refuse_script(int fd, void *context)
{
    Legonet__Request *request;
    (void)context;
    while ((request = peer_receive(fd)) != NULL) {
        peer_refuse(fd, request->id, LEGO_E_NOT_FOUND, "there is no model 'net'");
        ipc_request_free(request);
    }
}

START_TEST(a_refusal_keeps_code_and_sentence)
{
    struct peer peer;
    struct lego_client_tensor input = input_tensor();
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};
    struct lego_client_result *result = NULL;
    struct lego_client_model *model = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t id = 0;

    peer_start(&peer, 1, refuse_script, NULL);
    struct lego_client *client = client_of(&peer);
    ck_assert_int_eq(lego_client_infer(client, &request, &result, &diag), LEGO_E_NOT_FOUND);
    ck_assert_str_eq(diag.text, "there is no model 'net'");
    ck_assert_ptr_null(result);
    ck_assert_int_eq(lego_client_model_get(client, "net", NULL, &model, NULL), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(lego_client_load(client, "net", NULL), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_OK);
    ck_assert_int_eq(lego_client_wait(client, 5000, NULL), LEGO_OK);
    result = lego_client_next(client);
    ck_assert_uint_eq(result->id, id);
    ck_assert_int_eq(result->status, LEGO_E_NOT_FOUND);
    ck_assert_str_eq(result->message, "there is no model 'net'");
    ck_assert_uint_eq(result->output_count, 0);
    lego_client_result_free(result);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* ---- models and pictures ---- */

#define PREPROCESS                                                                        \
    "{\"input\":\"x\",\"layout\":\"NHWC\",\"channels\":\"RGB\",\"width\":2,\"height\":1," \
    "\"scale\":0.5}"

static void send_metadata(int fd, uint64_t id, const char *preprocess)
{
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    Inference__ModelMetadataResponse metadata = INFERENCE__MODEL_METADATA_RESPONSE__INIT;
    Inference__ModelMetadataResponse__TensorMetadata tensors[2] = {
        INFERENCE__MODEL_METADATA_RESPONSE__TENSOR_METADATA__INIT,
        INFERENCE__MODEL_METADATA_RESPONSE__TENSOR_METADATA__INIT,
    };
    Inference__ModelMetadataResponse__TensorMetadata *inputs[] = {&tensors[0]};
    Inference__ModelMetadataResponse__TensorMetadata *outputs[] = {&tensors[1]};
    Inference__ModelMetadataResponse__PropertiesEntry entries[2] = {
        INFERENCE__MODEL_METADATA_RESPONSE__PROPERTIES_ENTRY__INIT,
        INFERENCE__MODEL_METADATA_RESPONSE__PROPERTIES_ENTRY__INIT,
    };
    Inference__ModelMetadataResponse__PropertiesEntry *properties[] = {&entries[0], &entries[1]};
    int64_t input_shape[] = {-1, 1, 2, 3}, output_shape[] = {-1, 3};

    tensors[0].name = (char *)"x";
    tensors[1].name = (char *)"out";
    tensors[0].datatype = tensors[1].datatype = (char *)"FP32";
    tensors[0].n_shape = 4;
    tensors[0].shape = input_shape;
    tensors[1].n_shape = 2;
    tensors[1].shape = output_shape;
    entries[0].key = (char *)"labels";
    entries[0].value = (char *)"cat\ndog: big\nowl";
    entries[1].key = (char *)"preprocess";
    entries[1].value = (char *)preprocess;
    metadata.name = (char *)"net";
    metadata.n_inputs = metadata.n_outputs = 1;
    metadata.inputs = inputs;
    metadata.outputs = outputs;
    metadata.n_properties = preprocess ? 2 : 1;
    metadata.properties = properties;
    response.id = id;
    response.result_case = LEGONET__RESPONSE__RESULT_MODEL_METADATA;
    response.model_metadata = &metadata;
    peer_send(fd, &response);
}

/* Appends an element as raw BYTES contents hold it. */
static size_t put_text(uint8_t *to, const char *text)
{
    size_t length = strlen(text);
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(length >> (8 * i));
    memcpy(to + 4, text, length);
    return length + 4;
}

static void classify_script(int fd, void *context)
{
    const char *preprocess = context;
    Legonet__Request *request;
    while ((request = peer_receive(fd)) != NULL) {
        if (request->call_case == LEGONET__REQUEST__CALL_MODEL_METADATA) {
            send_metadata(fd, request->id, preprocess);
        } else {
            const Inference__ModelInferRequest *infer = request->model_infer;
            static const float WANTED[] = {5, 10, 15, 20, 25, 30};
            static const int64_t NHWC[] = {1, 1, 2, 3}, TWO[] = {1, 2};
            uint8_t raw[64];
            ck_assert_str_eq(infer->inputs[0]->name, "x");
            ck_assert_uint_eq(infer->inputs[0]->n_shape, 4);
            ck_assert_mem_eq(infer->inputs[0]->shape, NHWC, sizeof(NHWC));
            ck_assert_uint_eq(infer->raw_input_contents[0].len, sizeof(WANTED));
            ck_assert_mem_eq(infer->raw_input_contents[0].data, WANTED, sizeof(WANTED));
            ck_assert_uint_eq(infer->n_outputs, 1);
            ck_assert_str_eq(infer->outputs[0]->name, "out");
            ck_assert_uint_eq(infer->outputs[0]->n_parameters, 1);
            ck_assert_str_eq(infer->outputs[0]->parameters[0]->key, "classification");
            ck_assert_int_eq(infer->outputs[0]->parameters[0]->value->int64_param, 2);
            size_t bytes = put_text(raw, "0.75:1:dog: big");
            bytes += put_text(raw + bytes, "-1.5e-3:0");
            peer_answer_output(fd, request->id, "BYTES", TWO, 2, raw, bytes);
        }
        ipc_request_free(request);
    }
}

START_TEST(a_picture_becomes_classes)
{
    static const uint8_t PIXELS[] = {10, 20, 30, 40, 50, 60};
    struct lego_client_picture picture = {
        .width = 2, .height = 1, .channels = 3, .stride = 6, .pixels = PIXELS};
    struct lego_client_model *model = NULL;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct peer peer;

    peer_start(&peer, 1, classify_script, (void *)PREPROCESS);
    struct lego_client *client = client_of(&peer);
    ck_assert_msg(lego_client_model_get(client, "net", NULL, &model, &diag) == LEGO_OK, "%s",
                  diag.text);
    ck_assert(model->takes_pictures);
    ck_assert_uint_eq(model->label_count, 3);
    ck_assert_str_eq(model->labels[1], "dog: big");
    ck_assert_str_eq(model->labels[2], "owl");
    ck_assert_int_eq(model->inputs[0].dtype, LEGO_DTYPE_FLOAT32);
    ck_assert_int_lt(model->inputs[0].shape.dim[0], 0);
    ck_assert_int_eq(model->inputs[0].shape.dim[3], 3);
    ck_assert_uint_eq(model->property_count, 2);
    ck_assert_msg(lego_client_infer_picture(client, model, &picture, 2, &result, &diag) == LEGO_OK,
                  "%s", diag.text);
    ck_assert_uint_eq(result->class_count, 2);
    ck_assert_float_eq(result->classes[0].score, 0.75f);
    ck_assert_uint_eq(result->classes[0].index, 1);
    ck_assert_str_eq(result->classes[0].label, "dog: big");
    ck_assert_float_eq(result->classes[1].score, -1.5e-3f);
    ck_assert_str_eq(result->classes[1].label, "");
    lego_client_result_free(result);
    lego_client_model_free(model);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

START_TEST(a_model_without_preprocessing_takes_no_picture)
{
    static const uint8_t PIXELS[3] = {0};
    struct lego_client_picture picture = {
        .width = 1, .height = 1, .channels = 3, .stride = 3, .pixels = PIXELS};
    struct lego_client_model *model = NULL;
    struct lego_client_result *result = NULL;
    struct peer peer;
    peer_start(&peer, 1, classify_script, NULL);
    struct lego_client *client = client_of(&peer);
    ck_assert_int_eq(lego_client_model_get(client, "net", NULL, &model, NULL), LEGO_OK);
    ck_assert(!model->takes_pictures);
    ck_assert_int_eq(lego_client_infer_picture(client, model, &picture, 1, &result, NULL),
                     LEGO_E_UNSUPPORTED);
    lego_client_model_free(model);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

START_TEST(broken_preprocessing_is_refused)
{
    struct lego_client_model *model = NULL;
    struct peer peer;
    peer_start(&peer, 1, classify_script, (void *)"{\"width\":0}");
    struct lego_client *client = client_of(&peer);
    ck_assert_int_eq(lego_client_model_get(client, "net", NULL, &model, NULL), LEGO_E_FORMAT);
    ck_assert_ptr_null(model);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* ---- the agent itself ---- */

static void agent_script(int fd, void *context)
{
    Legonet__Request *request;
    (void)context;
    while ((request = peer_receive(fd)) != NULL) {
        Legonet__Response response = LEGONET__RESPONSE__INIT;
        Inference__ServerLiveResponse live = INFERENCE__SERVER_LIVE_RESPONSE__INIT;
        Inference__ServerReadyResponse ready = INFERENCE__SERVER_READY_RESPONSE__INIT;
        Inference__ServerMetadataResponse metadata = INFERENCE__SERVER_METADATA_RESPONSE__INIT;
        Inference__RepositoryIndexResponse index = INFERENCE__REPOSITORY_INDEX_RESPONSE__INIT;
        Inference__RepositoryIndexResponse__ModelIndex entry =
            INFERENCE__REPOSITORY_INDEX_RESPONSE__MODEL_INDEX__INIT;
        Inference__RepositoryIndexResponse__ModelIndex *entries[] = {&entry};
        Inference__ModelStatisticsResponse statistics = INFERENCE__MODEL_STATISTICS_RESPONSE__INIT;
        Inference__ModelStatistics one = INFERENCE__MODEL_STATISTICS__INIT;
        Inference__ModelStatistics *all[] = {&one};
        Inference__RepositoryModelLoadResponse load =
            INFERENCE__REPOSITORY_MODEL_LOAD_RESPONSE__INIT;
        Inference__RepositoryModelUnloadResponse unload =
            INFERENCE__REPOSITORY_MODEL_UNLOAD_RESPONSE__INIT;
        char *extensions[] = {(char *)"statistics"};

        live.live = true;
        metadata.name = (char *)"legonet";
        metadata.version = (char *)"9.9";
        metadata.n_extensions = 1;
        metadata.extensions = extensions;
        entry.name = (char *)"net";
        entry.state = (char *)"UNAVAILABLE";
        entry.reason = (char *)"no such file";
        index.n_models = 1;
        index.models = entries;
        one.name = (char *)"net";
        one.inference_count = 7; /* and no inference_stats: they may be absent */
        statistics.n_model_stats = 1;
        statistics.model_stats = all;

        response.id = request->id;
        response.result_case = (Legonet__Response__ResultCase)request->call_case;
        switch (request->call_case) {
        case LEGONET__REQUEST__CALL_SERVER_LIVE:
            response.server_live = &live;
            break;
        case LEGONET__REQUEST__CALL_SERVER_READY:
            response.server_ready = &ready;
            break;
        case LEGONET__REQUEST__CALL_SERVER_METADATA:
            response.server_metadata = &metadata;
            break;
        case LEGONET__REQUEST__CALL_REPOSITORY_INDEX:
            response.repository_index = &index;
            break;
        case LEGONET__REQUEST__CALL_MODEL_STATISTICS:
            response.model_statistics = &statistics;
            break;
        case LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD:
            response.repository_model_load = &load;
            break;
        default:
            ck_assert_int_eq(request->call_case, LEGONET__REQUEST__CALL_REPOSITORY_MODEL_UNLOAD);
            ck_assert_str_eq(request->repository_model_unload->model_name, "old");
            response.repository_model_unload = &unload;
        }
        peer_send(fd, &response);
        ipc_request_free(request);
    }
}

START_TEST(the_agent_tells_about_itself)
{
    struct lego_client_server *server = NULL;
    struct lego_client_list *list = NULL;
    struct lego_client_stats *stats = NULL;
    struct peer peer;
    peer_start(&peer, 1, agent_script, NULL);
    struct lego_client *client = client_of(&peer);
    ck_assert_int_eq(lego_client_server_get(client, &server, NULL), LEGO_OK);
    ck_assert(server->live && !server->ready);
    ck_assert_str_eq(server->version, "9.9");
    ck_assert_str_eq(server->extensions[0], "statistics");
    lego_client_server_free(server);
    ck_assert_int_eq(lego_client_list_get(client, &list, NULL), LEGO_OK);
    ck_assert_uint_eq(list->count, 1);
    ck_assert_str_eq(list->models[0].reason, "no such file");
    ck_assert_str_eq(list->models[0].version, "");
    lego_client_list_free(list);
    ck_assert_int_eq(lego_client_stats_get(client, NULL, &stats, NULL), LEGO_OK);
    ck_assert_uint_eq(stats->count, 1);
    ck_assert_uint_eq(stats->models[0].inference_count, 7);
    ck_assert_uint_eq(stats->models[0].success_count, 0);
    lego_client_stats_free(stats);
    ck_assert_int_eq(lego_client_load(client, "net", NULL), LEGO_OK);
    ck_assert_int_eq(lego_client_unload(client, "old", NULL), LEGO_OK);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

Suite *calls_suite(void)
{
    Suite *suite = suite_create("calls");
    TCase *tcase = tcase_create("calls");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, connecting_fails_with_its_reason);
    tcase_add_test(tcase, a_socket_without_agent_is_unavailable);
    tcase_add_test(tcase, an_inference_goes_and_comes);
    tcase_add_test(tcase, bad_requests_are_never_sent);
    tcase_add_test(tcase, a_refusal_keeps_code_and_sentence);
    tcase_add_test(tcase, a_picture_becomes_classes);
    tcase_add_test(tcase, a_model_without_preprocessing_takes_no_picture);
    tcase_add_test(tcase, broken_preprocessing_is_refused);
    tcase_add_test(tcase, the_agent_tells_about_itself);
    suite_add_tcase(suite, tcase);
    return suite;
}
