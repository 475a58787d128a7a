#include "agent/client/answers.h"

#define MAX_SIDE 16384u /* of a frame */

static bool decode_classes(const Legonet__Result *from, struct lego_arena *arena,
                           struct lego_client_answer *to)
{
    struct lego_client_class *classes =
        lego_arena_calloc(arena, from->n_classes + 1, sizeof(*classes));
    if (!classes)
        return false;
    for (size_t i = 0; i < from->n_classes; i++)
        classes[i] = (struct lego_client_class){.score = from->classes[i]->score,
                                                .index = from->classes[i]->index,
                                                .label = from->classes[i]->label};
    to->classes = classes;
    to->class_count = (uint32_t)from->n_classes;
    return true;
}

static bool decode_detection(const Legonet__Detection *from, struct lego_arena *arena,
                             struct lego_client_detection *to)
{
    struct lego_client_keypoint *points =
        lego_arena_calloc(arena, from->n_keypoints + 1, sizeof(*points));
    if (!points)
        return false;
    for (size_t k = 0; k < from->n_keypoints; k++)
        points[k] = (struct lego_client_keypoint){from->keypoints[k]->x, from->keypoints[k]->y,
                                                  from->keypoints[k]->score};
    *to = (struct lego_client_detection){.left = from->left,
                                         .top = from->top,
                                         .right = from->right,
                                         .bottom = from->bottom,
                                         .score = from->score,
                                         .index = from->index,
                                         .label = from->label,
                                         .keypoint_count = (uint32_t)from->n_keypoints,
                                         .keypoints = points};
    return true;
}

/* The agent may be another program than it says: runs are checked before they are trusted. */
static bool runs_fill(const Legonet__Mask *mask)
{
    uint64_t left = (uint64_t)mask->width * mask->height;
    for (size_t i = 0; i + 1 < mask->n_runs; i += 2) {
        if (mask->runs[i] > UINT16_MAX || mask->runs[i + 1] > left)
            return false;
        left -= mask->runs[i + 1];
    }
    return left == 0 && mask->n_runs % 2 == 0 && mask->width > 0 && mask->height > 0 &&
           mask->width <= MAX_SIDE && mask->height <= MAX_SIDE && mask->left < mask->right &&
           mask->top < mask->bottom && mask->right <= MAX_SIDE && mask->bottom <= MAX_SIDE;
}

static int decode_mask(const Legonet__Mask *from, struct lego_arena *arena,
                       struct lego_client_answer *to, struct lego_diag *diag)
{
    if (!from)
        return LEGO_OK;
    if (!runs_fill(from))
        return lego_fail(diag, LEGO_E_FORMAT, "the answer's mask is not what its runs say");
    const struct lego_client_mask mask = {.left = from->left,
                                          .top = from->top,
                                          .right = from->right,
                                          .bottom = from->bottom,
                                          .width = from->width,
                                          .height = from->height,
                                          .run_count = (uint32_t)(from->n_runs / 2),
                                          .runs = from->runs};
    to->mask = lego_arena_memdup(arena, &mask, sizeof(mask));
    return to->mask ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "no memory for a mask");
}

int lego_client_mask_read(const struct lego_client_mask *mask, uint16_t *values, size_t elems,
                          struct lego_diag *diag)
{
    size_t pixels = (size_t)mask->width * mask->height, at = 0;
    if (elems < pixels)
        return lego_fail(diag, LEGO_E_LIMIT, "a mask of %ux%u does not fit in %zu elements",
                         mask->width, mask->height, elems);
    for (uint32_t i = 0; i < mask->run_count; i++)
        for (uint32_t k = 0; k < mask->runs[2 * i + 1]; k++)
            values[at++] = (uint16_t)mask->runs[2 * i];
    return LEGO_OK;
}

static bool decode_answer(const Legonet__Result *from, struct lego_arena *arena,
                          struct lego_client_answer *to)
{
    struct lego_client_detection *detections =
        lego_arena_calloc(arena, from->n_detections + 1, sizeof(*detections));
    *to = (struct lego_client_answer){.row = from->row,
                                      .head = from->head,
                                      .kind = (enum lego_client_kind)from->kind,
                                      .text = from->text ? from->text->text : "",
                                      .text_score = from->text ? from->text->score : 0};
    if (!detections || !decode_classes(from, arena, to))
        return false;
    for (size_t i = 0; i < from->n_detections; i++)
        if (!decode_detection(from->detections[i], arena, &detections[i]))
            return false;
    to->detections = detections;
    to->detection_count = (uint32_t)from->n_detections;
    return true;
}

int answers_decode(const Legonet__Response *response, struct lego_arena *arena,
                   const struct lego_client_answer **ret_answers, uint32_t *ret_count,
                   struct lego_diag *diag)
{
    size_t count = response->n_results;
    struct lego_client_answer *answers = lego_arena_calloc(arena, count + 1, sizeof(*answers));
    for (size_t i = 0; answers && i < count; i++)
        if (!decode_answer(response->results[i], arena, &answers[i]))
            answers = NULL;
    if (!answers)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %zu results", count);
    for (size_t i = 0; i < count; i++) {
        int status = decode_mask(response->results[i]->mask, arena, &answers[i], diag);
        if (status != LEGO_OK)
            return status;
    }
    *ret_answers = answers;
    *ret_count = (uint32_t)count;
    return LEGO_OK;
}
