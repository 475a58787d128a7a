/*
 * NonMaxSuppression: for each class of each picture the best boxes that do not overlap.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <stdlib.h>
#include <string.h>

struct nms {
    const struct lego_array *boxes, *scores;
    int64_t most; /* boxes a class may keep */
    double overlap, threshold;
    bool has_threshold, centred;
};

struct box {
    double y0, x0, y1, x1;
};

/* A candidate and its score. */
struct candidate {
    float score;
    int64_t index;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static struct box read_box(const struct nms *nms, size_t at)
{
    double v[4];
    eval_load_real(nms->boxes, (int64_t)at * 4, 1, 4, v);
    if (nms->centred) /* x, y, width, height */
        return (struct box){v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
    return (struct box){v[0] < v[2] ? v[0] : v[2], v[1] < v[3] ? v[1] : v[3],
                        v[0] < v[2] ? v[2] : v[0], v[1] < v[3] ? v[3] : v[1]};
}

static bool overlaps(const struct box *a, const struct box *b, double limit)
{
    double y0 = a->y0 > b->y0 ? a->y0 : b->y0, y1 = a->y1 < b->y1 ? a->y1 : b->y1;
    double x0 = a->x0 > b->x0 ? a->x0 : b->x0, x1 = a->x1 < b->x1 ? a->x1 : b->x1;
    double common = (y1 > y0 ? y1 - y0 : 0) * (x1 > x0 ? x1 - x0 : 0);
    double all = (a->y1 - a->y0) * (a->x1 - a->x0) + (b->y1 - b->y0) * (b->x1 - b->x0) - common;
    return all > 0 && common / all > limit;
}

/* Runs all classes and counts the boxes kept; writes them where `ret_rows` is given. */
static size_t run(const struct nms *nms, struct candidate *candidates, struct box *kept,
                  int64_t *ret_rows)
{
    size_t pictures = (size_t)nms->scores->shape.dim[0], found = 0;
    size_t classes = (size_t)nms->scores->shape.dim[1], boxes = (size_t)nms->scores->shape.dim[2];
    for (size_t line = 0; line < pictures * classes; line++) {
        size_t count = 0, chosen = 0, picture = line / classes;
        for (size_t i = 0; i < boxes; i++) {
            double score = eval_get_real(nms->scores, line * boxes + i);
            if (!nms->has_threshold || score > nms->threshold)
                candidates[count++] = (struct candidate){(float)score, (int64_t)i};
        }
        qsort(candidates, count, sizeof(*candidates), compare_candidates);
        for (size_t i = 0; i < count && (int64_t)chosen < nms->most; i++) {
            struct box box = read_box(nms, picture * boxes + (size_t)candidates[i].index);
            bool free_standing = true;
            for (size_t k = 0; k < chosen && free_standing; k++)
                free_standing = !overlaps(&box, &kept[k], nms->overlap);
            if (!free_standing)
                continue;
            kept[chosen++] = box;
            if (ret_rows) {
                int64_t *row = ret_rows + 3 * found;
                row[0] = (int64_t)picture;
                row[1] = (int64_t)(line % classes);
                row[2] = candidates[i].index;
            }
            found++;
        }
    }
    return found;
}

static struct nms read_nms(const struct lego_node *node, const struct lego_array *const *inputs)
{
    const struct lego_array *extra[3] = {NULL, NULL, NULL};
    for (uint32_t i = 2; i < 5 && i < node->input_count; i++)
        extra[i - 2] = node->inputs[i] >= 0 ? inputs[i] : NULL;
    return (struct nms){
        .boxes = inputs[0],
        .scores = inputs[1],
        .most = extra[0] ? eval_get_int(extra[0], 0) : 0,
        .overlap = extra[1] ? eval_get_real(extra[1], 0) : 0,
        .threshold = extra[2] ? eval_get_real(extra[2], 0) : 0,
        .has_threshold = extra[2] != NULL,
        .centred = lego_node_int(node, "center_point_box", 0) != 0,
    };
}

int eval_nms_count(const struct infer_context *c, size_t *ret_count)
{
    struct nms nms = read_nms(c->io->node, c->io->constants);
    size_t boxes = (size_t)nms.scores->shape.dim[2];
    struct candidate *candidates = calloc(boxes + 1, sizeof(*candidates));
    struct box *kept = calloc(boxes + 1, sizeof(*kept));
    int status = candidates && kept ? LEGO_OK : LEGO_E_NOMEM;
    if (status == LEGO_OK)
        *ret_count = run(&nms, candidates, kept, NULL);
    else
        infer_fail(c, status, "no memory for %zu boxes", boxes);
    free(candidates);
    free(kept);
    return status;
}

int eval_nms(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct nms nms = read_nms(c->node, c->inputs);
    size_t boxes = (size_t)nms.scores->shape.dim[2];
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    struct candidate *candidates = eval_scratch(c, boxes, sizeof(*candidates));
    struct box *kept = eval_scratch(c, boxes, sizeof(*kept));
    if (!candidates || !kept)
        return LEGO_E_NOMEM;
    run(&nms, candidates, kept, out->data);
    return LEGO_OK;
}
