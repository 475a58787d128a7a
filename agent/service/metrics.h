/* What the agent has counted, in Prometheus' text format (0.0.4). The loop thread only. */
#ifndef LEGO_SERVICE_METRICS_H
#define LEGO_SERVICE_METRICS_H

#include "codec/base/diag.h"

struct service;

/* The text, malloc'ed, the caller's. LEGO_E_NOMEM. */
int metrics_text(const struct service *service, char **ret_text, struct lego_diag *diag);

/* Writes it to metrics.textfile every metrics.interval, where that is configured: at once a new
 * file in place of the old, by a thread of libuv's pool. */
void metrics_start(struct service *service);

#endif
