/*
 * What the model's heads say, out of the protocol's messages. For this module's own use.
 */
#ifndef LEGO_CLIENT_ANSWERS_H
#define LEGO_CLIENT_ANSWERS_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"
#include "codec/base/arena.h"

/* Texts and runs stay in the response. E_FORMAT: a mask that cannot be; E_NOMEM. */
int answers_decode(const Legonet__Response *response, struct lego_arena *arena,
                   const struct lego_client_answer **ret_answers, uint32_t *ret_count,
                   struct lego_diag *diag);

#endif
