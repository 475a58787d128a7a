#include "agent/client/places.h"

#include <string.h>

#define REGION    "shared_memory_region"
#define OFFSET    "shared_memory_offset"
#define BYTE_SIZE "shared_memory_byte_size"

static void set_int(Inference__InferParameter *value, uint64_t number)
{
    inference__infer_parameter__init(value);
    value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM;
    value->uint64_param = number;
}

/* Region, offset and size, for the keys in this order; returns how many they are. */
static size_t set_place(Inference__InferParameter *values, const char *region, uint64_t offset,
                        uint64_t bytes)
{
    inference__infer_parameter__init(&values[0]);
    values[0].parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    values[0].string_param = (char *)region;
    set_int(&values[1], offset);
    if (bytes == 0)
        return 2;
    set_int(&values[2], bytes);
    return 3;
}

static const char *const KEYS[] = {REGION, OFFSET, BYTE_SIZE};

void places_set_input(struct input_parameters *parameters, const struct lego_client_tensor *tensor,
                      Inference__ModelInferRequest__InferInputTensor *message)
{
    size_t count = set_place(parameters->values, tensor->region, tensor->offset, tensor->bytes);
    for (size_t i = 0; i < count; i++) {
        inference__model_infer_request__infer_input_tensor__parameters_entry__init(
            &parameters->entries[i]);
        parameters->entries[i].key = (char *)KEYS[i];
        parameters->entries[i].value = &parameters->values[i];
        parameters->list[i] = &parameters->entries[i];
    }
    message->n_parameters = count;
    message->parameters = parameters->list;
}

void places_set_output(struct output_parameters *parameters, const struct lego_client_place *place,
                       uint32_t top,
                       Inference__ModelInferRequest__InferRequestedOutputTensor *message)
{
    size_t count = 0;
    if (place && place->region)
        count = set_place(parameters->values, place->region, place->offset, place->bytes);
    if (top)
        set_int(&parameters->values[count], top);
    for (size_t i = 0; i < count + (top > 0); i++) {
        inference__model_infer_request__infer_requested_output_tensor__parameters_entry__init(
            &parameters->entries[i]);
        parameters->entries[i].key = (char *)(i < count ? KEYS[i] : "classification");
        parameters->entries[i].value = &parameters->values[i];
        parameters->list[i] = &parameters->entries[i];
    }
    message->n_parameters = count + (top > 0);
    message->parameters = parameters->list;
}

static uint64_t get_int(const Inference__InferParameter *value)
{
    if (value->parameter_choice_case == INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_UINT64_PARAM)
        return value->uint64_param;
    if (value->parameter_choice_case == INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM &&
        value->int64_param > 0)
        return (uint64_t)value->int64_param;
    return 0;
}

bool places_get_output(const Inference__ModelInferResponse__InferOutputTensor *message,
                       struct lego_client_tensor *tensor)
{
    for (size_t i = 0; i < message->n_parameters; i++) {
        const char *key = message->parameters[i]->key;
        const Inference__InferParameter *value = message->parameters[i]->value;
        if (!value)
            continue;
        if (strcmp(key, REGION) == 0 &&
            value->parameter_choice_case ==
                INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM)
            tensor->region = value->string_param;
        else if (strcmp(key, OFFSET) == 0)
            tensor->offset = get_int(value);
        else if (strcmp(key, BYTE_SIZE) == 0)
            tensor->bytes = (size_t)get_int(value);
    }
    return tensor->region != NULL;
}
