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

static bool has_classes(const struct calibration *c)
{
    const struct lego_shape *shape = &c->graph->values[c->logits].shape;

    return shape->rank == 2 && shape->dim[0] == 1 && shape->dim[1] > 1;
}

static int divergence_of_classes(struct calibration *c, const struct cal_value *v, size_t elems)
{
    double *p = malloc(2 * elems * sizeof(*p)), *q = p + elems, sum = 0;

    if (!p)
        return LEGO_E_NOMEM;
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

static void divergence_of_values(struct calibration *c, const struct cal_value *v, size_t elems)
{
    double error = 0, energy = 0;

    for (size_t i = 0; i < elems * c->images; i++) {
        const double a = (double)c->answers[i], b = (double)((const float *)v->student)[i];

        error += (a - b) * (a - b);
        energy += a * a;
    }
    c->divergence = energy > 0 ? error / energy : error;
}

int cal_compare_answers(struct calibration *c, struct lego_diag *diag)
{
    const struct cal_value *v = &c->values[c->logits];
    const size_t elems = v->bytes / sizeof(float);
    int status = LEGO_OK;

    c->divergence = 0;
    if (elems == 0 || c->graph->values[c->logits].dtype != LEGO_DTYPE_FLOAT32)
        return LEGO_OK;
    if (!keep_answers(c))
        status = LEGO_E_NOMEM;
    else if (has_classes(c))
        status = divergence_of_classes(c, v, elems);
    else
        divergence_of_values(c, v, elems);
    return status == LEGO_OK ? LEGO_OK
                             : lego_fail(diag, status, "out of memory for the examples' answers");
}

double calibrate_divergence(const struct calibration *c)
{
    return c->divergence;
}
