#include "codec/encode/calibrate_internal.h"
#include "codec/encode/portable.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST 1e-12 /* a probability, in logarithms */

/* Probabilities of logits. */
static void soften(const float *logits, size_t count, double *ret_probabilities)
{
    double most = (double)logits[0], sum = 0;

    for (size_t i = 1; i < count; i++) {
        if ((double)logits[i] > most)
            most = (double)logits[i];
    }
    for (size_t i = 0; i < count; i++) {
        ret_probabilities[i] = portable_exp((double)logits[i] - most);
        sum += ret_probabilities[i];
    }
    for (size_t i = 0; i < count; i++)
        ret_probabilities[i] /= sum;
}

/* Later walks may go without the teacher, whose answers do not change. */
static bool keep_answers(struct calibration *c)
{
    const struct cal_value *v = &c->values[c->logits];

    if (c->answers)
        return true;
    c->answers = malloc(v->bytes * c->images);
    if (c->answers)
        memcpy(c->answers, v->teacher, v->bytes * c->images);
    return c->answers != NULL;
}

int cal_compare_answers(struct calibration *c, struct lego_diag *diag)
{
    const struct cal_value *v = &c->values[c->logits];
    const size_t elems = v->bytes / sizeof(float);
    double *p, *q, sum = 0;

    c->divergence = 0;
    if (elems == 0 || c->graph->values[c->logits].dtype != LEGO_DTYPE_FLOAT32)
        return LEGO_OK;
    p = malloc(2 * elems * sizeof(*p));
    if (!p || !keep_answers(c)) {
        free(p);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for the examples' answers");
    }
    q = p + elems;
    for (uint32_t image = 0; image < c->images; image++) {
        soften(c->answers + image * elems, elems, p);
        soften((const float *)(v->student + image * v->bytes), elems, q);
        for (size_t i = 0; i < elems; i++)
            sum += p[i] * portable_log(fmax(p[i], LEAST) / fmax(q[i], LEAST));
    }
    c->divergence = sum / c->images;
    free(p);
    return LEGO_OK;
}

double calibrate_divergence(const struct calibration *c)
{
    return c->divergence;
}
