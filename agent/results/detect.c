/*
 * Boxes: decoding relative to anchors (as in Liu et al., "SSD: Single Shot MultiBox Detector",
 * arXiv 1512.02325, and in YOLO's later versions) and suppression of boxes that overlap. Blending
 * is MediaPipe's: a box becomes the mean of those that it suppresses, weighted by their scores.
 */
#include "agent/results/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANDIDATES 8192 /* the best of those over the threshold go on */

/* Several outputs as one list of candidates. */
struct table {
    uint32_t count; /* of outputs */
    struct part {
        const float *data;
        size_t candidates, values;
        size_t candidate_step, value_step;
    } parts[HEADS_MAX_OUTPUTS];
    size_t candidates, values;
};

static int make_table(const struct head *head, const struct head_outputs *outputs,
                      const struct head_tensor *tensors, uint32_t count, size_t values_needed,
                      struct table *ret_table, struct lego_diag *diag)
{
    struct table table = {.count = outputs->count};
    for (uint32_t i = 0; i < outputs->count; i++) {
        const struct head_tensor *tensor = head_find(outputs->names[i], tensors, count);
        struct part *part = &table.parts[i];
        size_t elems = 1;
        int rank = tensor ? tensor->shape.rank : 0;
        if (rank < 2)
            return lego_fail(diag, LEGO_E_SHAPE, "head \"%s\": output \"%s\" holds no candidates",
                             head->name, outputs->names[i]);
        for (int d = 1; d < rank; d++)
            elems *= (size_t)tensor->shape.dim[d];
        int axis = head->columns ? 1 : rank - 1;
        part->values = rank > 2 ? (size_t)tensor->shape.dim[axis] : 1;
        if (part->values < values_needed || elems == 0)
            return lego_fail(diag, LEGO_E_SHAPE,
                             "head \"%s\": output \"%s\" has %zu numbers for each candidate, %zu "
                             "are needed",
                             head->name, outputs->names[i], part->values, values_needed);
        part->data = tensor->data;
        part->candidates = elems / part->values;
        part->candidate_step = head->columns ? 1 : part->values;
        part->value_step = head->columns ? part->candidates : 1;
        table.candidates += part->candidates;
    }
    *ret_table = table;
    return LEGO_OK;
}

/* The values of a candidate: `step` floats apart. */
static const float *candidate(const struct table *table, size_t index, size_t *ret_step)
{
    const struct part *part = table->parts;
    while (index >= part->candidates)
        index -= (part++)->candidates;
    *ret_step = part->value_step;
    return part->data + index * part->candidate_step;
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static float activate(const struct head *head, float x)
{
    if (head->score_clip > 0)
        x = fminf(fmaxf(x, -head->score_clip), head->score_clip);
    return head->activation == HEAD_SIGMOID ? sigmoid(x) : x;
}

/* A box that may come of a candidate, before it is decoded. */
struct scored {
    float score;
    uint32_t candidate, index;
};

/* The best first; ties in the model's order. */
static int compare(const void *left, const void *right)
{
    const struct scored *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->candidate != b->candidate)
        return a->candidate < b->candidate ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The best class of a candidate and its score. */
static struct scored score_of(const struct head *head, const struct table *scores, size_t index)
{
    struct scored best = {.score = -INFINITY, .candidate = (uint32_t)index};
    size_t step;
    const float *values = candidate(scores, index, &step);
    const float *classes = values + head->score_at * step;
    uint32_t total = head->background + head->class_count;
    float sum = 1.0f, top = 0.0f;
    if (head->activation == HEAD_SOFTMAX) {
        top = -INFINITY;
        for (uint32_t c = 0; c < total; c++)
            top = fmaxf(top, classes[c * step]);
        sum = 0.0f;
        for (uint32_t c = 0; c < total; c++)
            sum += expf(classes[c * step] - top);
    }
    for (uint32_t c = head->background; c < total; c++) {
        float score = head->activation == HEAD_SOFTMAX ? expf(classes[c * step] - top) / sum
                                                       : activate(head, classes[c * step]);
        if (score > best.score) {
            best.score = score;
            best.index = c - head->background;
        }
    }
    if (head->objectness_at >= 0)
        best.score *= activate(head, values[(size_t)head->objectness_at * step]);
    return best;
}

/* All candidates of at least the threshold, sorted. */
static int collect(const struct head *head, const struct table *scores, float threshold,
                   struct lego_arena *arena, struct scored **ret_scored, size_t *ret_count)
{
    struct scored *all = malloc(scores->candidates * sizeof(*all));
    size_t count = 0;
    if (!all)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < scores->candidates; i++) {
        struct scored scored = score_of(head, scores, i);
        if (scored.score >= threshold && isfinite(scored.score))
            all[count++] = scored;
    }
    qsort(all, count, sizeof(*all), compare);
    count = count < MAX_CANDIDATES ? count : MAX_CANDIDATES;
    *ret_scored = lego_arena_memdup(arena, all, count * sizeof(*all));
    *ret_count = count;
    free(all);
    return *ret_scored || count == 0 ? LEGO_OK : LEGO_E_NOMEM;
}

/* x, y, width, height of its centre, as the coding says. */
static void decode_box(const struct head *head, const struct head_anchor *a, const float v[4],
                       float box[4])
{
    switch (head->coding) {
    case HEAD_LINEAR:
        box[0] = v[0] * a->width + a->x;
        box[1] = v[1] * a->height + a->y;
        box[2] = v[2] * a->width;
        box[3] = v[3] * a->height;
        break;
    case HEAD_EXPONENTIAL:
        box[0] = v[0] * a->width + a->x;
        box[1] = v[1] * a->height + a->y;
        box[2] = expf(v[2]) * a->width;
        box[3] = expf(v[3]) * a->height;
        break;
    case HEAD_YOLO:
        box[0] = (2 * sigmoid(v[0]) - 1) * a->cell_width + a->x;
        box[1] = (2 * sigmoid(v[1]) - 1) * a->cell_height + a->y;
        box[2] = 4 * sigmoid(v[2]) * sigmoid(v[2]) * a->width;
        box[3] = 4 * sigmoid(v[3]) * sigmoid(v[3]) * a->height;
        break;
    default:
        memcpy(box, v, 4 * sizeof(*v));
    }
}

/* False where a number is not finite. */
static bool decode(const struct head *head, const struct table *boxes, const struct scored *scored,
                   struct head_detection *d)
{
    static const struct head_anchor NONE = {.width = 1, .height = 1};
    const struct head_anchor *anchor =
        head->coding == HEAD_DECODED ? &NONE : &head->anchors[scored->candidate];
    bool swapped = head->order == HEAD_YXHW || head->order == HEAD_YXYX;
    size_t step;
    const float *values = candidate(boxes, scored->candidate, &step);
    float v[4], box[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = values[(head->box_at + (swapped ? i ^ 1 : i)) * step] / head->box_scale[i];
    decode_box(head, anchor, v, box);
    bool corners = head->order == HEAD_XYXY || head->order == HEAD_YXYX;
    d->left = corners ? box[0] : box[0] - box[2] / 2;
    d->top = corners ? box[1] : box[1] - box[3] / 2;
    d->right = corners ? box[2] : box[0] + box[2] / 2;
    d->bottom = corners ? box[3] : box[1] + box[3] / 2;
    d->score = scored->score;
    d->index = scored->index;
    bool finite =
        isfinite(d->left) && isfinite(d->top) && isfinite(d->right) && isfinite(d->bottom);
    for (uint32_t k = 0; k < head->keypoints; k++) {
        const float *point =
            values + (head->keypoint_at + (size_t)k * head->keypoint_values) * step;
        struct head_keypoint *to = &d->keypoints[k];
        to->x = point[swapped ? step : 0] / head->box_scale[0] * anchor->width + anchor->x;
        to->y = point[swapped ? 0 : step] / head->box_scale[1] * anchor->height + anchor->y;
        to->score = head->keypoint_values > 2 ? sigmoid(point[2 * step]) : 0.0f;
        finite = finite && isfinite(to->x) && isfinite(to->y);
    }
    return finite;
}

static float area(const struct head_detection *d)
{
    return fmaxf(d->right - d->left, 0) * fmaxf(d->bottom - d->top, 0);
}

/* Intersection over union; 0 of what is empty. */
static float overlap(const struct head_detection *a, const struct head_detection *b)
{
    float width = fminf(a->right, b->right) - fmaxf(a->left, b->left);
    float height = fminf(a->bottom, b->bottom) - fmaxf(a->top, b->top);
    if (width <= 0 || height <= 0)
        return 0;
    float both = width * height, all = area(a) + area(b) - both;
    return all > 0 ? both / all : 0;
}

/* Sums of what is blended into a box. */
struct blend {
    double weight, box[4], points[HEADS_MAX_KEYPOINTS][2];
};

static void blend_add(const struct head *head, const struct head_detection *d, struct blend *blend)
{
    const float box[4] = {d->left, d->top, d->right, d->bottom};
    double weight = (double)d->score;
    blend->weight += weight;
    for (size_t i = 0; i < 4; i++)
        blend->box[i] += weight * (double)box[i];
    for (uint32_t k = 0; k < head->keypoints; k++) {
        blend->points[k][0] += weight * (double)d->keypoints[k].x;
        blend->points[k][1] += weight * (double)d->keypoints[k].y;
    }
}

static void blend_take(const struct head *head, const struct blend *blend, struct head_detection *d)
{
    if (blend->weight <= 0)
        return;
    d->left = (float)(blend->box[0] / blend->weight);
    d->top = (float)(blend->box[1] / blend->weight);
    d->right = (float)(blend->box[2] / blend->weight);
    d->bottom = (float)(blend->box[3] / blend->weight);
    for (uint32_t k = 0; k < head->keypoints; k++) {
        d->keypoints[k].x = (float)(blend->points[k][0] / blend->weight);
        d->keypoints[k].y = (float)(blend->points[k][1] / blend->weight);
    }
}

/* Keeps the best of what overlaps, `max` at most, at the front; `gone` is zeroed. */
static uint32_t suppress(const struct head *head, struct head_detection *all, uint32_t count,
                         uint32_t max, bool *gone)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && kept < max; i++) {
        struct blend blend = {0};
        if (gone[i])
            continue;
        struct head_detection best = all[i];
        blend_add(head, &best, &blend);
        for (uint32_t j = i + 1; head->nms != HEAD_NMS_NONE && j < count; j++) {
            if (gone[j] || (head->per_class && all[j].index != best.index) ||
                overlap(&best, &all[j]) <= head->overlap)
                continue;
            gone[j] = true;
            blend_add(head, &all[j], &blend);
        }
        if (head->nms == HEAD_NMS_BLEND)
            blend_take(head, &blend, &best);
        all[kept++] = best;
    }
    return kept;
}

static int check_counts(const struct head *head, const struct table *boxes,
                        const struct table *scores, struct lego_diag *diag)
{
    if (boxes->candidates != scores->candidates)
        return lego_fail(diag, LEGO_E_SHAPE, "head \"%s\": %zu boxes, but scores for %zu",
                         head->name, boxes->candidates, scores->candidates);
    if (head->coding != HEAD_DECODED && head->anchor_count != boxes->candidates)
        return lego_fail(diag, LEGO_E_SHAPE, "head \"%s\": %zu boxes, but %u anchors", head->name,
                         boxes->candidates, head->anchor_count);
    return LEGO_OK;
}

int head_detect(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                float threshold, uint32_t max, struct lego_arena *arena,
                struct head_detection **ret_detections, uint32_t *ret_count, struct lego_diag *diag)
{
    struct table boxes, scores;
    struct scored *scored = NULL;
    size_t found = 0, box_values = head->box_at + 4;
    size_t score_values = head->score_at + head->background + head->class_count;
    size_t point_values = head->keypoint_at + (size_t)head->keypoints * head->keypoint_values;
    if (head->keypoints > 0 && point_values > box_values)
        box_values = point_values;
    if (head->objectness_at >= 0 && (size_t)head->objectness_at + 1 > score_values)
        score_values = (size_t)head->objectness_at + 1;
    int status = make_table(head, &head->boxes, tensors, count, box_values, &boxes, diag);
    if (status == LEGO_OK)
        status = make_table(head, &head->scores, tensors, count, score_values, &scores, diag);
    if (status == LEGO_OK)
        status = check_counts(head, &boxes, &scores, diag);
    if (status != LEGO_OK)
        return status;
    status = collect(head, &scores, threshold, arena, &scored, &found);
    struct head_detection *all = lego_arena_calloc(arena, found + 1, sizeof(*all));
    bool *gone = lego_arena_calloc(arena, found + 1, sizeof(*gone));
    struct head_keypoint *points =
        lego_arena_calloc(arena, found * head->keypoints + 1, sizeof(*points));
    if (status != LEGO_OK || !all || !gone || !points)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %zu boxes", found);
    uint32_t decoded = 0;
    for (size_t i = 0; i < found; i++) {
        all[decoded].keypoints = points + i * head->keypoints;
        decoded += decode(head, &boxes, &scored[i], &all[decoded]);
    }
    *ret_count = suppress(head, all, decoded, max, gone);
    *ret_detections = all;
    return LEGO_OK;
}
