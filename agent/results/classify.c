/* Classes, and texts of one class a step. */
#include "agent/results/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct head_tensor *head_find(const char *name, const struct head_tensor *tensors,
                                    uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name))
            return &tensors[i];
    return NULL;
}

/* Elements of one row, 0 where there are none. */
static size_t row_elems(const struct head_tensor *tensor)
{
    size_t elems = 1;
    for (int d = tensor->shape.rank > 1 ? 1 : 0; d < tensor->shape.rank; d++)
        elems *= (size_t)tensor->shape.dim[d];
    return elems;
}

/* What makes probabilities of a row's numbers. */
struct scale {
    enum head_activation activation;
    float top, sum;
};

static struct scale scale_of(enum head_activation activation, const float *x, size_t count)
{
    struct scale scale = {.activation = activation, .top = -INFINITY};
    if (activation != HEAD_SOFTMAX)
        return scale;
    for (size_t i = 0; i < count; i++)
        scale.top = fmaxf(scale.top, x[i]);
    for (size_t i = 0; i < count; i++)
        scale.sum += expf(x[i] - scale.top);
    return scale;
}

static float scaled(const struct scale *scale, float x)
{
    if (scale->activation == HEAD_SOFTMAX)
        return expf(x - scale->top) / scale->sum;
    return scale->activation == HEAD_SIGMOID ? 1.0f / (1.0f + expf(-x)) : x;
}

/* The best first, the lower index first among equals, NaN last. */
static int compare(const void *left, const void *right)
{
    const struct head_class *a = left, *b = right;
    if (isnan(a->score) != isnan(b->score))
        return isnan(a->score) ? 1 : -1;
    if (a->score != b->score && !isnan(a->score))
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

int head_classify(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                  uint32_t skip, uint32_t top, struct lego_arena *arena,
                  struct head_class **ret_classes, uint32_t *ret_count, struct lego_diag *diag)
{
    const struct head_tensor *tensor = head_find(head->scores.names[0], tensors, count);
    size_t elems = tensor ? row_elems(tensor) : 0;
    if (elems <= skip || elems > UINT32_MAX)
        return lego_fail(diag, LEGO_E_SHAPE, "head \"%s\": output \"%s\" holds no classes",
                         head->name, head->scores.names[0]);
    struct scale scale = scale_of(head->activation, tensor->data, elems);
    struct head_class *all = malloc((elems - skip) * sizeof(*all));
    if (!all)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %zu classes", elems);
    for (size_t i = skip; i < elems; i++)
        all[i - skip] = (struct head_class){.index = (uint32_t)(i - skip),
                                            .score = scaled(&scale, tensor->data[i])};
    qsort(all, elems - skip, sizeof(*all), compare);
    uint32_t wanted = top < elems - skip ? top : (uint32_t)(elems - skip);
    struct head_class *best = lego_arena_memdup(arena, all, wanted * sizeof(*best));
    free(all);
    if (!best && wanted > 0)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %u classes", wanted);
    *ret_classes = best;
    *ret_count = wanted;
    return LEGO_OK;
}

/* The text of a class: "" of the blank, and where there is no label. */
static const char *character(const struct head *head, size_t class, const char *const *labels,
                             uint32_t label_count)
{
    if (class == head->blank)
        return "";
    size_t label = class > head->blank ? class - 1 : class;
    return label < label_count ? labels[label] : "";
}

int head_read_text(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                   const char *const *labels, uint32_t label_count, struct lego_arena *arena,
                   const char **ret_text, float *ret_score, struct lego_diag *diag)
{
    const struct head_tensor *tensor = head_find(head->scores.names[0], tensors, count);
    int rank = tensor ? tensor->shape.rank : 0;
    size_t classes = rank > 2 ? (size_t)tensor->shape.dim[rank - 1] : 0, bytes = 0, longest = 0;
    if (classes == 0 || head->blank >= classes)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "head \"%s\": output \"%s\" holds no steps of classes with a blank",
                         head->name, head->scores.names[0]);
    size_t steps = row_elems(tensor) / classes, previous = head->blank, read = 0;
    for (uint32_t i = 0; i < label_count; i++)
        longest = strlen(labels[i]) > longest ? strlen(labels[i]) : longest;
    char *text = lego_arena_calloc(arena, steps + 1, longest + 1);
    double sum = 0;
    if (!text)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a text of %zu steps", steps);
    for (size_t s = 0; s < steps; s++) {
        const float *row = tensor->data + s * classes;
        size_t best = 0;
        for (size_t c = 1; c < classes; c++)
            if (row[c] > row[best])
                best = c;
        if (best != head->blank && best != previous) {
            const char *letters = character(head, best, labels, label_count);
            struct scale scale = scale_of(head->activation, row, classes);
            memcpy(text + bytes, letters, strlen(letters));
            bytes += strlen(letters);
            sum += (double)scaled(&scale, row[best]);
            read++;
        }
        previous = best;
    }
    *ret_text = text;
    *ret_score = read > 0 ? (float)(sum / (double)read) : 0.0f;
    return LEGO_OK;
}
