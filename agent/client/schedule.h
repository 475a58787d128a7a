/*
 * The parameters of a request that say when it runs. For this module's own use.
 */
#ifndef LEGO_CLIENT_SCHEDULE_H
#define LEGO_CLIENT_SCHEDULE_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"

#define SCHEDULE_PARAMETERS 3

struct schedule_parameters {
    Inference__InferParameter values[SCHEDULE_PARAMETERS];
    Inference__ModelInferRequest__ParametersEntry entries[SCHEDULE_PARAMETERS],
        *list[SCHEDULE_PARAMETERS];
    size_t count;
};

/* Gives the request the client's schedule; it points into `parameters` and the client. */
void schedule_apply(struct lego_client *client, struct schedule_parameters *parameters,
                    Inference__ModelInferRequest *request);

#endif
