/*
 * What a client sends: cut into frames, peeked at, unpacked, bound to a model. What unpacks must
 * have peeked the same.
 */
#include "agent/service/frame_reader.h"
#include "agent/service/inference.h"
#include "agent/service/peek.h"
#include "tests/agent/models.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lego_model *get_model(void)
{
    static struct lego_model *model;
    if (!model && lego_model_from_package(model_pair_package(), NULL, &model, NULL) != LEGO_OK)
        abort();
    return model;
}

static void take_request(const uint8_t *body, size_t bytes)
{
    struct peek peek;
    Legonet__Request *request = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int peeked = peek_request(body, bytes, &peek);
    ipc_request_peek_id(body, bytes);
    if (ipc_request_unpack(body, bytes, &request, &diag) != LEGO_OK)
        return;
    if (peeked != LEGO_OK || peek.id != request->id || peek.pictures != (request->n_pictures > 0))
        abort();
    if (request->call_case == LEGONET__REQUEST__CALL_MODEL_INFER) {
        struct inference_call call;
        if (inference_bind(get_model(), request, NULL, 8, &call, &diag) == LEGO_OK)
            inference_call_clear(&call);
        else if (!diag.text[0])
            abort(); /* every refusal has its sentence */
    }
    ipc_request_free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader reader = {.limit_bytes = 1 << 20};
    size_t at = 0;
    while (at < size) {
        size_t used, body_bytes;
        uint8_t *body;
        if (frame_reader_push(&reader, data + at, size - at, &used, &body, &body_bytes, NULL) !=
            LEGO_OK)
            break;
        at += used;
        if (body) {
            take_request(body, body_bytes);
            free(body);
        }
    }
    frame_reader_clear(&reader);
    return 0;
}
