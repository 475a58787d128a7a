/* What the model's heads say of each row, in the protocol's words. */
#include "agent/service/inference.h"

#include "agent/results/heads.h"
#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_TOP   5
#define RESULTS_BYTES ((size_t)64 << 20) /* of memory for the results of one request */

/* What making one request's results needs. */
struct results {
    const struct lego_package *package;
    const struct inference_call *call;
    const Legonet__ResultRequest *wanted;
    struct lego_arena *arena;
    struct head_tensor *tensors; /* [call->output_count], of the row at hand */
    struct lego_diag *diag;
};

static int no_memory(const struct results *r)
{
    return lego_fail(r->diag, LEGO_E_NOMEM, "no memory for results");
}

static char *label_of(const struct results *r, uint32_t index)
{
    static char none[] = "";
    return index < r->package->label_count ? (char *)(uintptr_t)r->package->labels[index] : none;
}

static int set_classes(const struct results *r, const struct head_class *classes, uint32_t count,
                       Legonet__Result *result)
{
    Legonet__Class *messages = lego_arena_calloc(r->arena, count + 1u, sizeof(*messages));
    result->classes = lego_arena_calloc(r->arena, count + 1u, sizeof(*result->classes));
    if (!messages || !result->classes)
        return no_memory(r);
    for (uint32_t i = 0; i < count; i++) {
        legonet__class__init(&messages[i]);
        messages[i].index = classes[i].index;
        messages[i].score = classes[i].score;
        messages[i].label = label_of(r, classes[i].index);
        result->classes[i] = &messages[i];
    }
    result->n_classes = count;
    return LEGO_OK;
}

static int add_classes(const struct results *r, const struct head *head, Legonet__Result *result)
{
    const struct lego_preprocess *preprocess = &r->package->preprocess;
    uint32_t skip = preprocess->present ? (uint32_t)preprocess->class_offset : 0, count = 0;
    struct head_class *classes;
    int status = head_classify(head, r->tensors, r->call->output_count, skip,
                               r->wanted->top ? r->wanted->top : DEFAULT_TOP, r->arena, &classes,
                               &count, r->diag);
    return status == LEGO_OK ? set_classes(r, classes, count, result) : status;
}

/* From parts of the input to the picture that the row was made of. */
struct way_back {
    struct picture_map map;
    double width, height; /* of the input */
};

static struct way_back way_back_of(const struct results *r, uint32_t row)
{
    const struct lego_preprocess *preprocess = &r->package->preprocess;
    struct way_back way = {{.x = {1, 0, 0}, .y = {0, 1, 0}}, 1, 1};
    if (preprocess->present) {
        way.width = preprocess->width;
        way.height = preprocess->height;
    }
    if (row < r->call->map_count)
        way.map = r->call->maps[row];
    return way;
}

static void go_back(const struct way_back *way, float x, float y, float *ret_x, float *ret_y)
{
    double u = (double)x * way->width, v = (double)y * way->height;
    *ret_x = (float)(way->map.x[0] * u + way->map.x[1] * v + way->map.x[2]);
    *ret_y = (float)(way->map.y[0] * u + way->map.y[1] * v + way->map.y[2]);
}

static int add_keypoints(const struct results *r, const struct head *head,
                         const struct way_back *way, const struct head_detection *from,
                         Legonet__Detection *to)
{
    Legonet__Keypoint *points = lego_arena_calloc(r->arena, head->keypoints + 1u, sizeof(*points));
    to->keypoints = lego_arena_calloc(r->arena, head->keypoints + 1u, sizeof(*to->keypoints));
    if (!points || !to->keypoints)
        return no_memory(r);
    for (uint32_t k = 0; k < head->keypoints; k++) {
        legonet__keypoint__init(&points[k]);
        go_back(way, from->keypoints[k].x, from->keypoints[k].y, &points[k].x, &points[k].y);
        points[k].score = from->keypoints[k].score;
        to->keypoints[k] = &points[k];
    }
    to->n_keypoints = head->keypoints;
    return LEGO_OK;
}

static int add_detection(const struct results *r, const struct head *head,
                         const struct way_back *way, const struct head_detection *from,
                         Legonet__Detection *to)
{
    float x[2], y[2];
    legonet__detection__init(to);
    go_back(way, from->left, from->top, &x[0], &y[0]);
    go_back(way, from->right, from->bottom, &x[1], &y[1]);
    to->left = x[0] < x[1] ? x[0] : x[1];
    to->right = x[0] < x[1] ? x[1] : x[0];
    to->top = y[0] < y[1] ? y[0] : y[1];
    to->bottom = y[0] < y[1] ? y[1] : y[0];
    to->score = from->score;
    to->index = from->index;
    to->label = label_of(r, from->index);
    return add_keypoints(r, head, way, from, to);
}

static int add_detections(const struct results *r, const struct head *head, uint32_t row,
                          Legonet__Result *result)
{
    struct way_back way = way_back_of(r, row);
    struct head_detection *found;
    uint32_t count = 0;
    float threshold = r->wanted->score > 0 ? r->wanted->score : head->threshold;
    int status = head_detect(head, r->tensors, r->call->output_count, threshold,
                             r->wanted->max_detections ? r->wanted->max_detections : head->max,
                             r->arena, &found, &count, r->diag);
    if (status != LEGO_OK)
        return status;
    Legonet__Detection *messages = lego_arena_calloc(r->arena, count + 1u, sizeof(*messages));
    result->detections = lego_arena_calloc(r->arena, count + 1u, sizeof(*result->detections));
    if (!messages || !result->detections)
        return no_memory(r);
    for (uint32_t i = 0; i < count; i++) {
        status = add_detection(r, head, &way, &found[i], &messages[i]);
        if (status != LEGO_OK)
            return status;
        result->detections[i] = &messages[i];
    }
    result->n_detections = count;
    return LEGO_OK;
}

static int add_text(const struct results *r, const struct head *head, Legonet__Result *result)
{
    const char *text;
    float score;
    int status = head_read_text(head, r->tensors, r->call->output_count,
                                (const char *const *)r->package->labels, r->package->label_count,
                                r->arena, &text, &score, r->diag);
    if (status != LEGO_OK)
        return status;
    result->text = lego_arena_calloc(r->arena, 1, sizeof(*result->text));
    if (!result->text)
        return no_memory(r);
    legonet__text__init(result->text);
    result->text->text = (char *)(uintptr_t)text;
    result->text->score = score;
    return LEGO_OK;
}

/* What a mask covers, and pixel for pixel how large it is then. Of what was no picture all of the
 * input, of a model that knows no pictures all of the output. */
static int cover(const struct results *r, const struct head *head, uint32_t row,
                 struct way_back *way, Legonet__Mask *mask)
{
    if (row < r->call->map_count) {
        const struct picture_rectangle *seen = &way->map.seen;
        mask->left = seen->x;
        mask->top = seen->y;
        mask->right = seen->x + seen->width;
        mask->bottom = seen->y + seen->height;
        return LEGO_OK;
    }
    if (r->package->preprocess.present) {
        mask->right = (uint32_t)way->width;
        mask->bottom = (uint32_t)way->height;
        return LEGO_OK;
    }
    int status = head_segment_size(head, r->tensors, r->call->output_count, &mask->right,
                                   &mask->bottom, r->diag);
    way->width = mask->right;
    way->height = mask->bottom;
    return status;
}

static uint32_t shrink(uint32_t side, uint32_t longer, uint32_t most)
{
    if (most == 0 || longer <= most)
        return side;
    uint32_t shrunk = (uint32_t)(((uint64_t)side * most + longer / 2) / longer);
    return shrunk ? shrunk : 1;
}

/* The way back from the mask's pixels to the picture, then to parts of the input. */
static struct head_sampling sampling_of(const struct way_back *way, const Legonet__Mask *mask)
{
    const double *x = way->map.x, *y = way->map.y;
    double across = (double)(mask->right - mask->left) / mask->width;
    double down = (double)(mask->bottom - mask->top) / mask->height;
    double left = mask->left - x[2], top = mask->top - y[2];
    double size = x[0] * y[1] - x[1] * y[0];
    double wide = size * way->width, high = size * way->height;
    return (struct head_sampling){
        .width = mask->width,
        .height = mask->height,
        .u = {y[1] * across / wide, -x[1] * down / wide, (y[1] * left - x[1] * top) / wide},
        .v = {-y[0] * across / high, x[0] * down / high, (x[0] * top - y[0] * left) / high},
    };
}

static int add_mask(const struct results *r, const struct head *head, uint32_t row,
                    Legonet__Result *result)
{
    struct way_back way = way_back_of(r, row);
    struct head_mask made;
    Legonet__Mask *mask = lego_arena_calloc(r->arena, 1, sizeof(*mask));
    if (!mask)
        return no_memory(r);
    legonet__mask__init(mask);
    int status = cover(r, head, row, &way, mask);
    if (status != LEGO_OK)
        return status;
    uint32_t width = mask->right - mask->left, height = mask->bottom - mask->top;
    uint32_t longer = width > height ? width : height;
    mask->width = shrink(width, longer, r->wanted->max_mask_side);
    mask->height = shrink(height, longer, r->wanted->max_mask_side);
    const struct head_sampling sampling = sampling_of(&way, mask);
    status =
        head_segment(head, r->tensors, r->call->output_count, &sampling, r->arena, &made, r->diag);
    if (status != LEGO_OK)
        return status;
    mask->n_runs = (size_t)made.run_count * 2;
    mask->runs = (uint32_t *)(uintptr_t)made.runs;
    result->mask = mask;
    return set_classes(r, made.classes, made.class_count, result);
}

static int add_result(const struct results *r, const struct head *head, uint32_t row,
                      Legonet__Result *result)
{
    legonet__result__init(result);
    result->row = row;
    result->head = (char *)(uintptr_t)head->name;
    switch (head->kind) {
    case HEAD_DETECTION:
        result->kind = LEGONET__RESULT__KIND__DETECTION;
        return add_detections(r, head, row, result);
    case HEAD_TEXT:
        result->kind = LEGONET__RESULT__KIND__TEXT;
        return add_text(r, head, result);
    case HEAD_SEGMENTATION:
        result->kind = LEGONET__RESULT__KIND__SEGMENTATION;
        return add_mask(r, head, row, result);
    default:
        result->kind = LEGONET__RESULT__KIND__CLASSIFICATION;
        return add_classes(r, head, result);
    }
}

/* A model that says nothing of its outputs ranks classes by the first. */
static int choose_heads(const struct inference_job *job, struct head *ranking,
                        struct heads *ret_heads, struct lego_diag *diag)
{
    const struct lego_model *model = job->model->model;
    *ret_heads = job->model->heads;
    if (ret_heads->count > 0)
        return LEGO_OK;
    if (lego_model_output_count(model) == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the model has no outputs");
    *ranking = (struct head){.kind = HEAD_CLASSIFICATION,
                             .name = lego_model_output(model, 0)->name,
                             .scores = {1, {lego_model_output(model, 0)->name}}};
    *ret_heads = (struct heads){.count = 1, .items = ranking};
    return LEGO_OK;
}

/* Points the tensors at that row. Heads read FP32 only; other outputs are as if they were not. */
static void set_row(struct results *r, const struct lego_model *model, uint32_t row)
{
    for (uint32_t k = 0; k < r->call->output_count; k++) {
        const struct lego_io *io = &r->call->outputs[k];
        size_t rows = io->shape.rank > 1 ? (size_t)io->shape.dim[0] : 1;
        bool has = io->dtype == LEGO_DTYPE_FLOAT32 && row < rows && io->data;
        r->tensors[k] = (struct head_tensor){.name = has ? lego_model_output(model, k)->name : ""};
        if (!has)
            continue;
        r->tensors[k].shape = io->shape;
        r->tensors[k].data = (const float *)io->data + row * (io->bytes / sizeof(float) / rows);
    }
}

int inference_results(const struct inference_job *job, const Legonet__Request *request,
                      const struct inference_call *call, struct lego_arena **ret_arena,
                      Legonet__Response *response, struct lego_diag *diag)
{
    const struct lego_model *model = job->model->model;
    struct results r = {.package = lego_model_package(model),
                        .call = call,
                        .wanted = request->result_request,
                        .diag = diag};
    struct heads heads;
    struct head ranking;
    size_t count;
    *ret_arena = NULL;
    if (!r.wanted)
        return LEGO_OK;
    int status = choose_heads(job, &ranking, &heads, diag);
    if (status != LEGO_OK)
        return status;
    if (!lego_mul_size(call->rows, heads.count, &count) || count > UINT16_MAX)
        return lego_fail(diag, LEGO_E_LIMIT, "results of %llu rows are too many",
                         (unsigned long long)call->rows);
    r.arena = *ret_arena = lego_arena_create(RESULTS_BYTES);
    r.tensors =
        r.arena ? lego_arena_calloc(r.arena, call->output_count + 1u, sizeof(*r.tensors)) : NULL;
    if (!r.tensors)
        return no_memory(&r);
    Legonet__Result *results = lego_arena_calloc(r.arena, count + 1, sizeof(*results));
    response->results = lego_arena_calloc(r.arena, count + 1, sizeof(*response->results));
    if (!results || !response->results)
        return no_memory(&r);
    for (uint32_t row = 0; row < call->rows; row++) {
        set_row(&r, model, row);
        for (uint32_t h = 0; h < heads.count; h++) {
            Legonet__Result *result = &results[response->n_results];
            status = add_result(&r, &heads.items[h], row, result);
            if (status != LEGO_OK)
                return status;
            response->results[response->n_results++] = result;
        }
    }
    return LEGO_OK;
}
