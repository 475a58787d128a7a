/*
 * The frames of a request as the protocol's pictures. For this module's own use.
 */
#ifndef LEGO_CLIENT_FRAMES_H
#define LEGO_CLIENT_FRAMES_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"

struct frame_message {
    Legonet__Picture picture;
    Legonet__Picture__Plane planes[3], *plane_list[3];
    Legonet__Picture__Rectangle crop;
};

/* Everything that the request's pictures are made of; frames' data stay borrowed. */
struct frame_messages {
    struct frame_message *messages;
    Legonet__Picture **list;
};

/* To be cleared, also on failure. E_INVALID, E_NOMEM. */
int frames_set(struct frame_messages *messages, const struct lego_client_frame *frames,
               uint32_t count, Legonet__Request *envelope, struct lego_diag *diag);
void frames_clear(struct frame_messages *messages);

#endif
