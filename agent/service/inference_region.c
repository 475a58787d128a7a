/* Tensors that lie in shared memory: the protocol's shared_memory_* parameters. */
#include "agent/service/inference.h"

#include "codec/base/arith.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool inference_parameter_int(const Inference__InferParameter *parameter, int64_t *ret_value)
{
    if (!parameter)
        return false;
    if (parameter->parameter_choice_case ==
        INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM)
        *ret_value = parameter->int64_param;
    else if (parameter->parameter_choice_case ==
                 INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM &&
             parameter->uint64_param <= INT64_MAX)
        *ret_value = (int64_t)parameter->uint64_param;
    else
        return false;
    return true;
}

const char *inference_parameter_text(const Inference__InferParameter *parameter)
{
    bool text = parameter && parameter->parameter_choice_case ==
                                 INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    return text ? parameter->string_param : NULL;
}

int inference_place_parameter(struct inference_place *place, const char *tensor, const char *key,
                              const Inference__InferParameter *value, struct lego_diag *diag)
{
    bool good = true;
    int64_t number = 0;
    if (strncmp(key, "shared_memory_", 14) != 0)
        return LEGO_OK;
    if (!strcmp(key, "shared_memory_region")) {
        place->name = inference_parameter_text(value);
        good = place->name != NULL;
    } else if (!strcmp(key, "shared_memory_offset")) {
        good = inference_parameter_int(value, &number) && number >= 0;
        place->offset = (uint64_t)number;
    } else if (!strcmp(key, "shared_memory_byte_size")) {
        good = inference_parameter_int(value, &number) && number >= 0;
        place->bytes = (uint64_t)number;
        place->sized = true;
    } else {
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "tensor \"%.128s\": unknown parameter %.64s",
                         tensor, key);
    }
    place->given = true;
    if (!good)
        return lego_fail(
            diag, LEGO_E_INVALID, "tensor \"%.128s\": parameter %s must be %s", tensor, key,
            !strcmp(key, "shared_memory_region") ? "a string" : "an integer from 0 on");
    return LEGO_OK;
}

int inference_place_resolve(struct inference_place *place, const struct region_table *regions,
                            const char *tensor, bool writes, struct lego_diag *diag)
{
    if (!place->given)
        return LEGO_OK;
    if (!place->name)
        return lego_fail(diag, LEGO_E_INVALID,
                         "tensor \"%.128s\": parameter shared_memory_region is missing", tensor);
    struct region *region = region_table_find(regions, place->name);
    if (!region)
        return lego_fail(diag, LEGO_E_NOT_FOUND,
                         "tensor \"%.128s\": no region \"%.128s\" is registered", tensor,
                         place->name);
    uint64_t has = region_bytes(region);
    if (place->offset > has || (place->sized && place->bytes > has - place->offset))
        return lego_fail(diag, LEGO_E_INVALID,
                         "tensor \"%.128s\": %" PRIu64 " bytes at %" PRIu64
                         " do not lie in region \"%s\" of %" PRIu64,
                         tensor, place->bytes, place->offset, place->name, has);
    if (!place->sized)
        place->bytes = has - place->offset;
    if (writes && !region_is_writable(region))
        return lego_fail(diag, LEGO_E_PERMISSION,
                         "tensor \"%.128s\": region \"%s\" was not registered as writable", tensor,
                         place->name);
    if (region_is_lost(region))
        return lego_fail(diag, LEGO_E_INVALID,
                         "region \"%s\": its memory went away under the agent: register it anew",
                         place->name);
    place->region = region;
    return LEGO_OK;
}

int inference_place_copy(const struct inference_place *place, const char *tensor, size_t bytes,
                         void **ret_data, struct lego_diag *diag)
{
    if (place->sized ? place->bytes != bytes : place->bytes < bytes)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "input \"%s\": %" PRIu64
                         " bytes are given in region \"%s\", the shape wants %zu",
                         tensor, place->bytes, place->name, bytes);
    void *data = malloc(bytes ? bytes : 1);
    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for input \"%s\"", tensor);
    const uint8_t *memory = region_read_begin(place->region, (size_t)place->offset);
    memcpy(data, memory, bytes);
    int status = region_read_end(place->region, diag);
    if (status != LEGO_OK) {
        free(data);
        return status;
    }
    *ret_data = data;
    return LEGO_OK;
}

int inference_place_store(const struct inference_place *place, const char *tensor, const void *data,
                          size_t bytes, struct lego_diag *diag)
{
    if (bytes > place->bytes)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "output \"%s\" has %zu bytes, there is room for %" PRIu64
                         " in region \"%s\"",
                         tensor, bytes, place->bytes, place->name);
    return region_write(place->region, (size_t)place->offset, data, bytes, diag);
}
