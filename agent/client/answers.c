#include "agent/client/answers.h"

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
    *ret_answers = answers;
    *ret_count = (uint32_t)count;
    return LEGO_OK;
}
