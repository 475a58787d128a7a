/*
 * The connection: pipelining, agents that are slow, silent, gone or hostile.
 */
#include "peer.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 200

static const float VALUE = 2.5f;

static struct lego_client *client_with(const struct peer *peer, int timeout_ms, uint32_t pending)
{
    struct lego_client_options options = {.timeout_ms = timeout_ms, .max_pending = pending};
    struct lego_client *client = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(lego_client_connect(peer->path, &options, &client, &diag) == LEGO_OK, "%s",
                  diag.text);
    return client;
}

static int submit(struct lego_client *client, float value, uint64_t *ret_id)
{
    struct lego_client_tensor input = {.name = "x",
                                       .dtype = LEGO_DTYPE_FLOAT32,
                                       .shape = {.rank = 1, .dim = {1}},
                                       .data = &value,
                                       .bytes = sizeof(value)};
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};
    return lego_client_submit(client, &request, ret_id, NULL);
}

static int infer(struct lego_client *client, struct lego_client_result **ret_result,
                 struct lego_diag *diag)
{
    struct lego_client_tensor input = {.name = "x",
                                       .dtype = LEGO_DTYPE_FLOAT32,
                                       .shape = {.rank = 1, .dim = {1}},
                                       .data = &VALUE,
                                       .bytes = sizeof(VALUE)};
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};
    return lego_client_infer(client, &request, ret_result, diag);
}

static float value_of(const Legonet__Request *request)
{
    float value;
    memcpy(&value, request->model_infer->raw_input_contents[0].data, sizeof(value));
    return value;
}

/* Collects MANY requests, then answers twice the value, the last first. */
static void backwards_script(int fd, void *context)
{
    Legonet__Request *requests[MANY];
    (void)context;
    for (int i = 0; i < MANY; i++)
        requests[i] = peer_receive(fd);
    for (int i = MANY - 1; i >= 0; i--) {
        float answer = 2 * value_of(requests[i]);
        peer_answer_floats(fd, requests[i]->id, &answer, 1);
        ipc_request_free(requests[i]);
    }
    ck_assert_ptr_null(peer_receive(fd));
}

START_TEST(answers_may_come_in_any_order)
{
    uint64_t ids[MANY];
    struct peer peer;
    peer_start(&peer, 1, backwards_script, NULL);
    struct lego_client *client = client_with(&peer, 20000, 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(submit(client, (float)i, &ids[i]), LEGO_OK);
    ck_assert_uint_eq(lego_client_pending(client), MANY);
    for (int i = MANY - 1; i >= 0; i--) {
        ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
        struct lego_client_result *result = lego_client_next(client);
        ck_assert_int_eq(result->status, LEGO_OK);
        ck_assert_uint_eq(result->id, ids[i]);
        ck_assert_float_eq(*(const float *)result->outputs[0].data, 2.0f * (float)i);
        lego_client_result_free(result);
    }
    ck_assert_ptr_null(lego_client_next(client));
    ck_assert_int_eq(lego_client_wait(client, 10, NULL), LEGO_E_STATE);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* Answers everything, a byte at a time. */
static void dribble_script(int fd, void *context)
{
    Legonet__Request *request;
    (void)context;
    while ((request = peer_receive(fd)) != NULL) {
        Legonet__Response response = LEGONET__RESPONSE__INIT;
        uint8_t *frame = NULL;
        size_t bytes = 0;
        response.id = request->id;
        response.status = LEGONET__STATUS__E_SHAPE;
        response.message = (char *)"slowly";
        ck_assert_int_eq(ipc_frame_pack(&response.base, 1000, &frame, &bytes, NULL), LEGO_OK);
        for (size_t i = 0; i < bytes; i++) {
            peer_send_bytes(fd, frame + i, 1);
            usleep(500);
        }
        free(frame);
        ipc_request_free(request);
    }
}

START_TEST(frames_may_come_in_pieces)
{
    struct peer peer;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    peer_start(&peer, 1, dribble_script, NULL);
    struct lego_client *client = client_with(&peer, 20000, 0);
    ck_assert_int_eq(infer(client, &result, &diag), LEGO_E_SHAPE);
    ck_assert_str_eq(diag.text, "slowly");
    ck_assert_int_eq(infer(client, &result, &diag), LEGO_E_SHAPE);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* Reads nothing until told, then answers with the count of bytes of each. */
static void late_script(int fd, void *context)
{
    pthread_mutex_t *gate = context;
    Legonet__Request *request;
    pthread_mutex_lock(gate);
    while ((request = peer_receive(fd)) != NULL) {
        float bytes = (float)request->model_infer->raw_input_contents[0].len;
        peer_answer_floats(fd, request->id, &bytes, 1);
        ipc_request_free(request);
    }
    pthread_mutex_unlock(gate);
}

START_TEST(submitting_never_blocks)
{
    enum { ELEMS = 1 << 20, REQUESTS = 6 };
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    float *data = calloc(ELEMS, sizeof(*data));
    struct lego_client_tensor input = {.name = "x",
                                       .dtype = LEGO_DTYPE_FLOAT32,
                                       .shape = {.rank = 1, .dim = {ELEMS}},
                                       .data = data,
                                       .bytes = ELEMS * sizeof(*data)};
    struct lego_client_request request = {.model = "net", .inputs = &input, .input_count = 1};
    struct peer peer;
    uint64_t id;

    pthread_mutex_lock(&gate);
    peer_start(&peer, 1, late_script, &gate);
    struct lego_client *client = client_with(&peer, 20000, 0);
    for (int i = 0; i < REQUESTS; i++)
        ck_assert_int_eq(lego_client_submit(client, &request, &id, NULL), LEGO_OK);
    ck_assert_int_eq(lego_client_events(client), POLLIN | POLLOUT);
    ck_assert_int_eq(lego_client_process(client, NULL), LEGO_OK);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < REQUESTS; i++) {
        ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
        struct lego_client_result *result = lego_client_next(client);
        ck_assert_float_eq(*(const float *)result->outputs[0].data, (float)input.bytes);
        lego_client_result_free(result);
    }
    ck_assert_int_eq(lego_client_events(client), POLLIN);
    lego_client_close(client);
    peer_stop(&peer);
    free(data);
}
END_TEST

START_TEST(waiting_requests_are_bounded)
{
    struct peer peer;
    uint64_t id;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    peer_start(&peer, 1, late_script, &gate);
    pthread_mutex_lock(&gate);
    struct lego_client *client = client_with(&peer, 20000, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(submit(client, 1, &id), LEGO_OK);
    ck_assert_int_eq(submit(client, 1, &id), LEGO_E_EXHAUSTED);
    pthread_mutex_unlock(&gate);
    ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
    ck_assert_int_eq(submit(client, 1, &id), LEGO_OK);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* Leaves the first request until the second has come. */
static void patient_script(int fd, void *context)
{
    Legonet__Request *first = peer_receive(fd), *second = peer_receive(fd);
    float one = 1, two = 2;
    (void)context;
    peer_answer_floats(fd, first->id, &one, 1);
    peer_answer_floats(fd, second->id, &two, 1);
    ipc_request_free(first);
    ipc_request_free(second);
    ck_assert_ptr_null(peer_receive(fd));
}

START_TEST(a_late_answer_is_nobodys)
{
    struct peer peer;
    struct lego_client_result *result = NULL;
    peer_start(&peer, 1, patient_script, NULL);
    struct lego_client *client = client_with(&peer, 100, 0);
    ck_assert_int_eq(infer(client, &result, NULL), LEGO_E_DEADLINE);
    ck_assert_ptr_null(result);
    int status = infer(client, &result, NULL);
    ck_assert(status == LEGO_OK || status == LEGO_E_DEADLINE);
    if (status == LEGO_OK)
        ck_assert_float_eq(*(const float *)result->outputs[0].data, 2);
    ck_assert_ptr_null(lego_client_next(client));
    lego_client_result_free(result);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

static void close_script(int fd, void *context)
{
    (void)context;
    ipc_request_free(peer_receive(fd));
}

START_TEST(an_agent_that_goes_completes_what_waits)
{
    struct peer peer;
    uint64_t id, late;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    peer_start(&peer, 2, close_script, NULL);
    struct lego_client *client = client_with(&peer, 20000, 0);
    ck_assert_int_eq(submit(client, 1, &id), LEGO_OK);
    ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
    result = lego_client_next(client);
    ck_assert_uint_eq(result->id, id);
    ck_assert_int_eq(result->status, LEGO_E_CLOSED);
    ck_assert_str_ne(result->message, "");
    lego_client_result_free(result);
    result = NULL;

    ck_assert_int_eq(lego_client_fd(client), -1);
    ck_assert_int_eq(submit(client, 1, &late), LEGO_E_CLOSED);
    ck_assert_int_eq(infer(client, &result, &diag), LEGO_E_CLOSED);
    ck_assert_int_eq(lego_client_process(client, NULL), LEGO_E_CLOSED);
    ck_assert_int_eq(lego_client_reconnect(client, &diag), LEGO_OK);
    ck_assert_int_ge(lego_client_fd(client), 0);
    ck_assert_int_eq(infer(client, &result, &diag), LEGO_E_CLOSED); /* it closes again */
    ck_assert_ptr_null(result);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

/* ---- hostile agents ---- */

static void put_header(uint8_t *frame, uint32_t bytes)
{
    ipc_frame_header(frame, bytes);
}

static void bad_frame_script(int fd, void *context)
{
    const int *kind = context;
    Legonet__Request *request = peer_receive(fd);
    uint8_t frame[64] = {0};
    switch (*kind) {
    case 0: /* a length of 0 */
        peer_send_bytes(fd, frame, 4);
        break;
    case 1: /* a length over the limit */
        put_header(frame, UINT32_MAX);
        peer_send_bytes(fd, frame, 4);
        break;
    case 2: /* no protobuf */
        put_header(frame, 16);
        memset(frame + 4, 0xff, 16);
        peer_send_bytes(fd, frame, 20);
        break;
    case 3: /* an id that nobody used */
        peer_refuse(fd, request->id + 1000, LEGO_E_INTERNAL, "?");
        break;
    case 4: { /* the answer to another question */
        Legonet__Response response = LEGONET__RESPONSE__INIT;
        Inference__ServerLiveResponse live = INFERENCE__SERVER_LIVE_RESPONSE__INIT;
        response.id = request->id;
        response.result_case = LEGONET__RESPONSE__RESULT_SERVER_LIVE;
        response.server_live = &live;
        peer_send(fd, &response);
        break;
    }
    case 5: { /* success without a result */
        Legonet__Response response = LEGONET__RESPONSE__INIT;
        response.id = request->id;
        peer_send(fd, &response);
        break;
    }
    case 6: { /* very many empty submessages: more memory than the frame is worth */
        enum { BYTES = 8 << 20 };
        uint8_t *body = malloc(BYTES + 4);
        memset(body, 0, BYTES + 4);
        put_header(body, BYTES);
        body[4] = 0x42; /* model_infer */
        uint32_t inner = BYTES - 5;
        for (int i = 0; i < 4; i++)
            body[5 + i] = (uint8_t)((inner >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
        for (uint32_t i = 0; i + 1 < inner; i += 2)
            body[9 + i] = 0x2a; /* outputs, of length 0 */
        body[BYTES + 3] = 0;
        peer_send_bytes(fd, body, BYTES + 4);
        free(body);
        break;
    }
    case 7: /* the agent gives up on the connection and says why */
        peer_refuse(fd, 0, LEGO_E_LIMIT, "too much");
        break;
    }
    ipc_request_free(request);
}

static const int BROKEN_STATUS[] = {LEGO_E_FORMAT, LEGO_E_LIMIT,  LEGO_E_FORMAT, LEGO_E_FORMAT,
                                    LEGO_E_FORMAT, LEGO_E_FORMAT, LEGO_E_LIMIT,  LEGO_E_LIMIT};

START_TEST(a_bad_frame_breaks_the_connection)
{
    struct peer peer;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int kind = _i;
    uint64_t id;
    peer_start(&peer, 2, bad_frame_script, &kind);
    struct lego_client *client = client_with(&peer, 20000, 0);
    ck_assert_int_eq(infer(client, &result, &diag), BROKEN_STATUS[_i]);
    ck_assert_str_ne(diag.text, "");
    ck_assert_ptr_null(result);
    ck_assert_int_eq(lego_client_fd(client), -1);

    /* The same for a request that does not block: it is completed with the reason. */
    ck_assert_int_eq(lego_client_reconnect(client, &diag), LEGO_OK);
    ck_assert_int_eq(submit(client, 1, &id), LEGO_OK);
    ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
    result = lego_client_next(client);
    ck_assert_uint_eq(result->id, id);
    ck_assert_int_eq(result->status, BROKEN_STATUS[_i]);
    lego_client_result_free(result);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

static const struct bad_output {
    const char *datatype;
    size_t rank;
    int64_t shape[9];
    const char *data;
    size_t bytes;
} BAD_OUTPUTS[] = {
    {"FP32", 1, {2}, "1234", 4},
    {"FP32", 1, {-1}, "1234", 4},
    {"FP32", 2, {INT64_MAX, INT64_MAX}, "1234", 4},
    {"FP31", 1, {1}, "1234", 4},
    {"FP32", 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, "1234", 4},
    {"BYTES", 1, {1}, "\xff\xff\xff\x7f:", 5},
    {"BYTES", 1, {1}, "\x03\0\0\0001:", 6},
    {"BYTES", 1, {1}, "\x03\0\0\0x:1", 7},
    {"BYTES", 1, {1}, "\x03\0\0\0001:x", 7},
    {"BYTES", 1, {1}, "\x03\0\0\0001:1\0", 8},
};

static void bad_output_script(int fd, void *context)
{
    const struct bad_output *bad = context;
    Legonet__Request *request;
    while ((request = peer_receive(fd)) != NULL) {
        peer_answer_output(fd, request->id, bad->datatype, bad->shape, bad->rank, bad->data,
                           bad->bytes);
        ipc_request_free(request);
    }
}

START_TEST(an_output_that_lies_is_refused)
{
    struct peer peer;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t id;
    peer_start(&peer, 1, bad_output_script, (void *)&BAD_OUTPUTS[_i]);
    struct lego_client *client = client_with(&peer, 20000, 0);
    ck_assert_int_eq(infer(client, &result, &diag), LEGO_E_FORMAT);
    ck_assert_str_ne(diag.text, "");
    ck_assert_int_eq(submit(client, 1, &id), LEGO_OK); /* the connection lives */
    ck_assert_int_eq(lego_client_wait(client, 20000, NULL), LEGO_OK);
    result = lego_client_next(client);
    ck_assert_int_eq(result->status, LEGO_E_FORMAT);
    ck_assert_uint_eq(result->output_count, 0);
    lego_client_result_free(result);
    lego_client_close(client);
    peer_stop(&peer);
}
END_TEST

Suite *connection_suite(void)
{
    Suite *suite = suite_create("connection");
    TCase *tcase = tcase_create("connection");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, answers_may_come_in_any_order);
    tcase_add_test(tcase, frames_may_come_in_pieces);
    tcase_add_test(tcase, submitting_never_blocks);
    tcase_add_test(tcase, waiting_requests_are_bounded);
    tcase_add_test(tcase, a_late_answer_is_nobodys);
    tcase_add_test(tcase, an_agent_that_goes_completes_what_waits);
    tcase_add_loop_test(tcase, a_bad_frame_breaks_the_connection, 0,
                        sizeof(BROKEN_STATUS) / sizeof(BROKEN_STATUS[0]));
    tcase_add_loop_test(tcase, an_output_that_lies_is_refused, 0,
                        sizeof(BAD_OUTPUTS) / sizeof(BAD_OUTPUTS[0]));
    suite_add_tcase(suite, tcase);
    return suite;
}
