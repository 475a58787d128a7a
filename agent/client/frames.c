#include "agent/client/frames.h"

#include <stdlib.h>

static int set_frame(const struct lego_client_frame *frame, struct frame_message *message,
                     struct lego_diag *diag)
{
    Legonet__Picture *picture = &message->picture;
    legonet__picture__init(picture);
    uint32_t apart = 0;
    for (uint32_t i = 0; i < frame->plane_count && i < 3; i++)
        apart += frame->plane_regions[i] != NULL;
    if (frame->plane_count > 3 ||
        (!frame->region && !frame->data && (apart == 0 || apart < frame->plane_count)))
        return lego_fail(diag, LEGO_E_INVALID,
                         "a frame needs a region or data, and has at most 3 planes");
    picture->fourcc = frame->fourcc;
    picture->width = frame->width;
    picture->height = frame->height;
    if (frame->input)
        picture->input = (char *)frame->input;
    if (frame->region) {
        picture->memory_case = LEGONET__PICTURE__MEMORY_REGION;
        picture->region = (char *)frame->region;
        picture->offset = frame->offset;
        picture->byte_size = frame->byte_size;
    } else if (frame->data) {
        picture->memory_case = LEGONET__PICTURE__MEMORY_DATA;
        picture->data = (ProtobufCBinaryData){.len = frame->bytes, .data = (uint8_t *)frame->data};
    }
    for (uint32_t i = 0; i < frame->plane_count; i++) {
        legonet__picture__plane__init(&message->planes[i]);
        message->planes[i].offset = frame->planes[i].offset;
        message->planes[i].stride = frame->planes[i].stride;
        if (frame->plane_regions[i])
            message->planes[i].region = (char *)frame->plane_regions[i];
        message->plane_list[i] = &message->planes[i];
    }
    picture->n_planes = frame->plane_count;
    picture->planes = message->plane_list;
    const struct lego_client_rectangle *crop = &frame->crop;
    if (crop->x || crop->y || crop->width || crop->height) {
        legonet__picture__rectangle__init(&message->crop);
        message->crop.x = crop->x;
        message->crop.y = crop->y;
        message->crop.width = crop->width;
        message->crop.height = crop->height;
        picture->crop = &message->crop;
    }
    picture->rotation = frame->rotation;
    picture->resize = (Legonet__Picture__Resize)frame->resize;
    picture->filter = (Legonet__Picture__Filter)frame->filter;
    picture->matrix =
        frame->bt709 ? LEGONET__PICTURE__MATRIX__BT709 : LEGONET__PICTURE__MATRIX__BT601;
    picture->range =
        frame->full_range ? LEGONET__PICTURE__RANGE__FULL : LEGONET__PICTURE__RANGE__LIMITED;
    return LEGO_OK;
}

int frames_set(struct frame_messages *messages, const struct lego_client_frame *frames,
               uint32_t count, Legonet__Request *envelope, struct lego_diag *diag)
{
    if (count == 0)
        return LEGO_OK;
    messages->messages = calloc(count, sizeof(*messages->messages));
    messages->list = calloc(count, sizeof(*messages->list));
    if (!messages->messages || !messages->list)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    for (uint32_t i = 0; i < count; i++) {
        int status = set_frame(&frames[i], &messages->messages[i], diag);
        if (status != LEGO_OK)
            return status;
        messages->list[i] = &messages->messages[i].picture;
    }
    envelope->n_pictures = count;
    envelope->pictures = messages->list;
    return LEGO_OK;
}

void frames_clear(struct frame_messages *messages)
{
    free(messages->messages);
    free(messages->list);
    *messages = (struct frame_messages){0};
}
