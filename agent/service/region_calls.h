/* Calls by which a client shares memory: answered on the loop. */
#ifndef LEGO_SERVICE_REGION_CALLS_H
#define LEGO_SERVICE_REGION_CALLS_H

#include "agent/service/connection.h"

/* True for RegionRegister, RegionUnregister and RegionStatus. */
bool region_call_is(const Legonet__Request *request);

/*
 * Does the call and queues its answer. A registration takes the descriptors that it names from the
 * connection's queue, also on failure; it registers all of its regions or none. On failure nothing
 * is queued.
 */
int region_call(struct connection *connection, const Legonet__Request *request,
                struct lego_diag *diag);

#endif
