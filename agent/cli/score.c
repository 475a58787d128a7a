#include "agent/cli/score.h"

#include <math.h>

#define SMALLEST 1e-12 /* a probability: what the logarithm of 0 is taken of */

int score_find_row(const struct lego_io *output, size_t batch, size_t index, size_t offset,
                   struct score_row *ret_row, struct lego_diag *diag)
{
    size_t elems = 0;
    int status = lego_shape_elems(&output->shape, &elems);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "the first output's shape is not known");
    if (output->dtype != LEGO_DTYPE_FLOAT32 || elems == 0 || elems % batch != 0 ||
        elems / batch <= offset)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "the model's first output is not one row of FP32 scores an image");
    ret_row->classes = elems / batch - offset;
    ret_row->scores = (const float *)output->data + index * (elems / batch) + offset;
    return LEGO_OK;
}

size_t score_rank(const struct score_row *row, size_t right)
{
    const float *scores = row->scores;
    size_t rank = 0;
    if (scores[right] != scores[right])
        return row->classes; /* NaN is never an answer */
    for (size_t i = 0; i < row->classes; i++)
        rank += scores[i] > scores[right] || (scores[i] == scores[right] && i < right);
    return rank;
}

static size_t best_of(const struct score_row *row)
{
    size_t best = 0;
    for (size_t i = 1; i < row->classes; i++) {
        if (row->scores[i] > row->scores[best])
            best = i;
    }
    return best;
}

/* A row's scores as probabilities: exp(score - shift) * scale, or score * scale. */
struct distribution {
    const struct score_row *row;
    bool softmax;
    double shift, scale;
};

static double probability(const struct distribution *d, size_t i)
{
    double score = (double)d->row->scores[i];
    return d->scale * (d->softmax ? exp(score - d->shift) : score);
}

static struct distribution distribution_of(const struct score_row *row)
{
    struct distribution d = {.row = row, .scale = 1};
    double sum = 0, least = 0;
    for (size_t i = 0; i < row->classes; i++) {
        sum += (double)row->scores[i];
        least = fmin(least, (double)row->scores[i]);
    }
    if (least >= 0 && fabs(sum - 1) < 0.05) {
        d.scale = 1 / sum; /* a background class may have been left out */
        return d;
    }
    d.softmax = true;
    d.shift = (double)row->scores[best_of(row)];
    sum = 0;
    for (size_t i = 0; i < row->classes; i++)
        sum += probability(&d, i);
    d.scale = 1 / sum;
    return d;
}

void score_compare_rows(const struct score_row *row, const struct score_row *reference,
                        struct score *score)
{
    struct distribution p = distribution_of(reference), q = distribution_of(row);
    double sum = 0;
    for (size_t i = 0; i < row->classes; i++) {
        double a = probability(&p, i), b = probability(&q, i);
        if (a > 0)
            sum += a * (log(a) - log(fmax(b, SMALLEST)));
    }
    score->agrees = best_of(row) == best_of(reference);
    score->divergence = sum;
    score->loss = probability(&p, best_of(reference)) - probability(&p, best_of(row));
}

int score_compare_outputs(const struct lego_io *output, const struct lego_io *reference,
                          size_t batch, size_t index, struct score *score, struct lego_diag *diag)
{
    size_t elems = 0;
    int status = lego_shape_elems(&output->shape, &elems);
    if (status != LEGO_OK || output->dtype != reference->dtype ||
        !lego_shape_equal(&output->shape, &reference->shape))
        return lego_fail(diag, LEGO_E_SHAPE, "the two models' outputs have other shapes or types");
    if (output->dtype != LEGO_DTYPE_FLOAT32)
        return LEGO_OK;
    size_t own = elems % batch == 0 ? elems / batch : 0; /* else not an example's own */
    const float *a = (const float *)output->data + index * own;
    const float *b = (const float *)reference->data + index * own;
    for (size_t i = 0; i < own; i++) {
        double difference = (double)a[i] - (double)b[i];
        score->error += difference * difference;
        score->energy += (double)b[i] * (double)b[i];
    }
    return LEGO_OK;
}
