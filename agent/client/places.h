/*
 * Parameters of a request's inputs and outputs: where in shared memory they lie, and how many
 * classes. For this module's own use.
 */
#ifndef LEGO_CLIENT_PLACES_H
#define LEGO_CLIENT_PLACES_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"

#define PLACE_PARAMETERS 4

/* Of one input or output: they point into themselves and to the caller's strings. */
struct input_parameters {
    Inference__InferParameter values[PLACE_PARAMETERS];
    Inference__ModelInferRequest__InferInputTensor__ParametersEntry entries[PLACE_PARAMETERS],
        *list[PLACE_PARAMETERS];
};

struct output_parameters {
    Inference__InferParameter values[PLACE_PARAMETERS];
    Inference__ModelInferRequest__InferRequestedOutputTensor__ParametersEntry
        entries[PLACE_PARAMETERS],
        *list[PLACE_PARAMETERS];
};

/* The tensor is in a region. */
void places_set_input(struct input_parameters *parameters, const struct lego_client_tensor *tensor,
                      Inference__ModelInferRequest__InferInputTensor *message);

/* `place` NULL or without a region: in the answer; `top` 0: no classes. */
void places_set_output(struct output_parameters *parameters, const struct lego_client_place *place,
                       uint32_t top,
                       Inference__ModelInferRequest__InferRequestedOutputTensor *message);

/* Where the agent has put an output: sets region, offset and bytes; false where it is in the
 * answer. */
bool places_get_output(const Inference__ModelInferResponse__InferOutputTensor *message,
                       struct lego_client_tensor *tensor);

#endif
