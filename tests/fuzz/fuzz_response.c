/*
 * What a hostile agent may answer to an inference: what the client library makes of it is read
 * through.
 */
#include "agent/client/connection.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t read_through(const struct lego_client_result *result)
{
    size_t sum = strlen(result->message) + strlen(result->model) + strlen(result->version);
    for (uint32_t i = 0; i < result->output_count; i++) {
        const struct lego_client_tensor *tensor = &result->outputs[i];
        sum += strlen(tensor->name);
        for (size_t b = 0; b < tensor->bytes; b++)
            sum += ((const uint8_t *)tensor->data)[b];
        size_t elems;
        if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK ||
            (tensor->dtype != LEGO_DTYPE_UNKNOWN &&
             elems * lego_dtype_bytes(tensor->dtype) != tensor->bytes))
            abort();
    }
    for (uint32_t i = 0; i < result->class_count; i++)
        sum += strlen(result->classes[i].label) + result->classes[i].index;
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Legonet__Response *response = NULL;
    struct lego_client_result *result = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    static volatile size_t sink;
    if (ipc_response_unpack(data, size, &response, &diag) != LEGO_OK)
        return 0;
    if (result_from_response(response, &result, &diag) == LEGO_OK)
        sink = sink + read_through(result);
    lego_client_result_free(result);
    return 0;
}
