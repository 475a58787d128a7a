/* Frames, the budget of unpacking, and the peek: with honest and with hostile bytes. */
#include "agent/proto/frame.h"
#include "agent/service/answer.h"
#include "agent/service/frame_reader.h"
#include "agent/service/peek.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* xorshift: the same numbers in every run. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static uint8_t *make_stream(const size_t *sizes, size_t count, size_t *ret_bytes)
{
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        bytes += sizes[i] + IPC_FRAME_HEADER_BYTES;
    uint8_t *stream = malloc(bytes);
    for (size_t i = 0; i < count; i++) {
        ipc_frame_header(stream + at, sizes[i]);
        at += IPC_FRAME_HEADER_BYTES;
        for (size_t k = 0; k < sizes[i]; k++)
            stream[at++] = (uint8_t)(i + k);
    }
    *ret_bytes = bytes;
    return stream;
}

START_TEST(frames_come_whole_however_they_are_cut)
{
    static const size_t sizes[] = {1, 7, 70000, 2, 40000, 100000, 1};
    const size_t count = sizeof(sizes) / sizeof(*sizes);
    size_t bytes, at = 0, frame = 0;
    uint8_t *stream = make_stream(sizes, count, &bytes);
    struct frame_reader reader = {.limit_bytes = 100000};
    uint32_t seed = (uint32_t)_i + 1;
    while (at < bytes) {
        uint8_t *room, *body = NULL;
        size_t used, body_bytes, direct = frame_reader_room(&reader, &room);
        if (direct > 0) {
            direct = 1 + next_random(&seed) % direct;
            memcpy(room, stream + at, direct);
            frame_reader_advance(&reader, direct);
            at += direct;
        }
        size_t piece = _i == 0 ? 1 : 1 + next_random(&seed) % 50000;
        if (piece > bytes - at)
            piece = bytes - at;
        ck_assert_int_eq(
            frame_reader_push(&reader, stream + at, piece, &used, &body, &body_bytes, NULL),
            LEGO_OK);
        ck_assert_uint_le(used, piece);
        at += used;
        if (!body)
            continue;
        ck_assert_uint_eq(body_bytes, sizes[frame]);
        for (size_t k = 0; k < body_bytes; k++)
            ck_assert_uint_eq(body[k], (uint8_t)(frame + k));
        free(body);
        frame++;
        ck_assert(!frame_reader_is_partial(&reader));
    }
    ck_assert_uint_eq(frame, count);
    frame_reader_clear(&reader);
    free(stream);
}
END_TEST

START_TEST(claims_cost_nothing)
{
    struct frame_reader reader = {.limit_bytes = 1u << 30};
    uint8_t header[5] = {0, 0, 0, 0x40, 'x'}, *body;
    size_t used, bytes;
    ck_assert_int_eq(frame_reader_push(&reader, header, 5, &used, &body, &bytes, NULL), LEGO_OK);
    ck_assert_uint_eq(used, 5);
    ck_assert_uint_eq(reader.body_bytes, 1u << 30);
    ck_assert_uint_le(reader.capacity, 4096);
    frame_reader_clear(&reader);
}
END_TEST

START_TEST(bad_lengths_are_refused)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct frame_reader reader = {.limit_bytes = 1000};
    uint8_t huge[4] = {0, 0, 0, 0x40}, empty[4] = {0}, over[4] = {0xe9, 3, 0, 0}, *body;
    size_t used, bytes;
    ck_assert_int_eq(frame_reader_push(&reader, huge, 4, &used, &body, &bytes, &diag),
                     LEGO_E_LIMIT);
    ck_assert_str_eq(diag.text, "the frame claims 1073741824 bytes, the limit is 1000");
    frame_reader_clear(&reader);
    ck_assert_int_eq(frame_reader_push(&reader, empty, 4, &used, &body, &bytes, &diag),
                     LEGO_E_FORMAT);
    frame_reader_clear(&reader);
    ck_assert_int_eq(frame_reader_push(&reader, over, 4, &used, &body, &bytes, &diag),
                     LEGO_E_LIMIT);
    frame_reader_clear(&reader);
}
END_TEST

START_TEST(statuses_map_both_ways)
{
    for (int status = 0; status >= -24; status--)
        ck_assert_int_eq(ipc_status_from_wire(ipc_status_to_wire(status)), status);
    ck_assert_int_eq(ipc_status_from_wire((Legonet__Status)99), LEGO_E_INTERNAL);
    ck_assert_int_eq(ipc_status_to_wire(-99), LEGONET__STATUS__E_INTERNAL);
}
END_TEST

static uint8_t *pack_infer(const char *model, const char *version, uint64_t id, size_t *ret_bytes)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelInferRequest infer = INFERENCE__MODEL_INFER_REQUEST__INIT;
    uint8_t raw_bytes[300] = {1, 2, 3};
    ProtobufCBinaryData raw = {sizeof(raw_bytes), raw_bytes};
    request.id = id;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    request.model_infer = &infer;
    infer.model_name = (char *)(uintptr_t)model;
    infer.model_version = (char *)(uintptr_t)version;
    infer.n_raw_input_contents = 1;
    infer.raw_input_contents = &raw;
    uint8_t *frame = NULL;
    ck_assert_int_eq(ipc_frame_pack(&request.base, 1 << 20, &frame, ret_bytes, NULL), LEGO_OK);
    return frame;
}

START_TEST(peek_sees_what_unpacking_sees)
{
    struct peek peek;
    size_t bytes;
    uint8_t *frame = pack_infer("faces", "12", 1234567890123u, &bytes);
    ck_assert_int_eq(peek_request(frame + 4, bytes - 4, &peek), LEGO_OK);
    ck_assert_uint_eq(peek.id, 1234567890123u);
    ck_assert_uint_eq(peek.call, LEGONET__REQUEST__CALL_MODEL_INFER);
    ck_assert_str_eq(peek.model, "faces");
    ck_assert_str_eq(peek.version, "12");
    ck_assert_uint_eq(ipc_request_peek_id(frame + 4, bytes - 4), 1234567890123u);
    free(frame);
    char name[300];
    memset(name, 'n', sizeof(name));
    name[299] = '\0';
    frame = pack_infer(name, "", 1, &bytes);
    ck_assert_int_eq(peek_request(frame + 4, bytes - 4, &peek), LEGO_OK);
    ck_assert_str_eq(peek.model, "");
    free(frame);
}
END_TEST

/* Mutated and cut requests: nothing may crash, and what unpacks must have peeked. */
START_TEST(mutations_are_survived)
{
    size_t bytes;
    uint8_t *frame = pack_infer("faces", "1", 77, &bytes);
    uint32_t seed = (uint32_t)_i * 7919 + 1;
    for (int round = 0; round < 2000; round++) {
        size_t length = 1 + next_random(&seed) % (bytes - 4);
        uint8_t *copy = malloc(length); /* of its own, so that a sanitizer sees each overrun */
        memcpy(copy, frame + 4, length);
        for (int flips = 0; flips < 3; flips++)
            copy[next_random(&seed) % length] ^= (uint8_t)(1u << next_random(&seed) % 8);
        struct peek peek;
        Legonet__Request *request = NULL;
        int peeked = peek_request(copy, length, &peek);
        ipc_request_peek_id(copy, length);
        if (ipc_request_unpack(copy, length, &request, NULL) == LEGO_OK) {
            ck_assert_int_eq(peeked, LEGO_OK);
            ck_assert_uint_eq(peek.id, request->id);
        }
        ipc_request_free(request);
        free(copy);
    }
    free(frame);
}
END_TEST

START_TEST(bombs_are_refused)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    const size_t count = (1 << 20) / 2, bytes = 2 * count;
    uint8_t *body = malloc(bytes + 8), *at = body;
    *at++ = 8 << 3 | 2; /* model_infer, of `bytes` bytes */
    for (size_t rest = bytes; rest; rest >>= 7)
        *at++ = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    for (size_t i = 0; i < count; i++) {
        *at++ = 0x2a; /* inputs: an empty one */
        *at++ = 0;
    }
    Legonet__Request *request = NULL;
    ck_assert_int_eq(ipc_request_unpack(body, (size_t)(at - body), &request, &diag), LEGO_E_LIMIT);
    ck_assert_ptr_null(request);
    ck_assert_ptr_nonnull(strstr(diag.text, "bytes of memory"));
    free(body);
}
END_TEST

START_TEST(honest_messages_fit_the_budget)
{
    /* Worst of the honest: many small integers as 64 bits, and a long list of short texts. */
    Legonet__Request request = LEGONET__REQUEST__INIT, *back = NULL;
    Inference__ModelInferRequest infer = INFERENCE__MODEL_INFER_REQUEST__INIT;
    Inference__ModelInferRequest__InferInputTensor tensor =
        INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT;
    Inference__ModelInferRequest__InferInputTensor *tensors[1] = {&tensor};
    Inference__InferTensorContents contents = INFERENCE__INFER_TENSOR_CONTENTS__INIT;
    const size_t count = 1 << 20;
    contents.n_int64_contents = count;
    contents.int64_contents = calloc(count, sizeof(int64_t));
    tensor.contents = &contents;
    infer.n_inputs = 1;
    infer.inputs = tensors;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    request.model_infer = &infer;
    uint8_t *frame = NULL;
    size_t bytes;
    ck_assert_int_eq(ipc_frame_pack(&request.base, 16 << 20, &frame, &bytes, NULL), LEGO_OK);
    ck_assert_int_eq(ipc_request_unpack(frame + 4, bytes - 4, &back, NULL), LEGO_OK);
    ck_assert_uint_eq(back->model_infer->inputs[0]->contents->n_int64_contents, count);
    ipc_request_free(back);
    free(frame);
    free(contents.int64_contents);
}
END_TEST

START_TEST(error_texts_are_utf8)
{
    size_t bytes;
    uint8_t *frame =
        answer_error_frame(5, LEGO_E_NOT_FOUND, "no \xc3\xa4 \xff\xc3 \xed\xa0\x80!", &bytes);
    Legonet__Response *response = NULL;
    ck_assert_int_eq(ipc_response_unpack(frame + 4, bytes - 4, &response, NULL), LEGO_OK);
    ck_assert_uint_eq(response->id, 5);
    ck_assert_int_eq(ipc_status_from_wire(response->status), LEGO_E_NOT_FOUND);
    ck_assert_str_eq(response->message, "no \xc3\xa4 ?? ??"
                                        "?!"); /* no trigraph */
    ck_assert_int_eq(response->result_case, LEGONET__RESPONSE__RESULT__NOT_SET);
    ipc_response_free(response);
    free(frame);
}
END_TEST

START_TEST(packing_holds_the_limit)
{
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    char text[200];
    uint8_t *frame = NULL;
    size_t bytes = 0;
    memset(text, 'x', sizeof(text));
    text[199] = '\0';
    response.message = text;
    ck_assert_int_eq(ipc_frame_pack(&response.base, 100, &frame, &bytes, NULL), LEGO_E_LIMIT);
    ck_assert_ptr_null(frame);
    ck_assert_int_eq(ipc_frame_pack(&response.base, 300, &frame, &bytes, NULL), LEGO_OK);
    size_t length;
    ck_assert_int_eq(ipc_frame_length(frame, 300, &length, NULL), LEGO_OK);
    ck_assert_uint_eq(length + 4, bytes);
    free(frame);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tests = tcase_create("frame");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, frames_come_whole_however_they_are_cut, 0, 8);
    tcase_add_test(tests, claims_cost_nothing);
    tcase_add_test(tests, bad_lengths_are_refused);
    tcase_add_test(tests, statuses_map_both_ways);
    tcase_add_test(tests, peek_sees_what_unpacking_sees);
    tcase_add_loop_test(tests, mutations_are_survived, 0, 4);
    tcase_add_test(tests, bombs_are_refused);
    tcase_add_test(tests, honest_messages_fit_the_budget);
    tcase_add_test(tests, error_texts_are_utf8);
    tcase_add_test(tests, packing_holds_the_limit);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
