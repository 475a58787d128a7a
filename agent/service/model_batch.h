#ifndef LEGO_SERVICE_MODEL_BATCH_H
#define LEGO_SERVICE_MODEL_BATCH_H

#include "agent/runtime/legonet.h"

/*
 * Checks that several requests may go through one run: every input leaves its first dimension
 * open, every output has a row for each of the inputs', and two random rows give together what they
 * give alone. E_UNSUPPORTED with what stands against it; else as lego_session_run.
 */
int model_batch_check(const struct lego_model *model, struct lego_session *session,
                      struct lego_diag *diag);

#endif
