#include "agent/cli/predict.h"
#include "agent/cli/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES ((size_t)256 << 20) /* of the teacher's outputs, at most */
#define INPUT_BYTES  ((size_t)192 << 20) /* of examples that are kept: more are read each time */

struct predict {
    const struct encode_examples *examples;
    uint32_t threads, input_count, output_count, count;
    struct lego_io *inputs; /* [input_count], with room for one example */
    char *kept;             /* [examples][example_bytes]; NULL: too many to keep */
    size_t example_bytes;
    struct lego_io *outputs; /* [count][output_count] of the teacher, owned */
    size_t kept_bytes;
};

static int create_inputs(struct predict *p, const struct lego_model *teacher,
                         struct lego_diag *diag)
{
    for (uint32_t i = 0; i < p->input_count; i++) {
        struct lego_io *io = &p->inputs[i];
        size_t elems;

        io->dtype = lego_model_input(teacher, i)->dtype;
        io->shape = p->examples->shapes[i];
        if (lego_shape_elems(&io->shape, &elems) != LEGO_OK)
            return lego_fail(diag, LEGO_E_SHAPE, "an input is too large");
        io->bytes = elems * lego_dtype_bytes(io->dtype);
        io->data = malloc(io->bytes + 1);
        if (!io->data)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for an example");
        p->example_bytes += io->bytes;
    }
    if (p->example_bytes > 0 && p->example_bytes <= INPUT_BYTES / p->examples->count)
        p->kept = malloc(p->example_bytes * p->examples->count);
    return LEGO_OK;
}

/* Reads an example into the inputs, and keeps it the first time. */
static int read_inputs(const struct predict *p, uint32_t index, bool first, struct lego_diag *diag)
{
    char *kept = p->kept ? p->kept + index * p->example_bytes : NULL;
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < p->input_count; i++) {
        struct lego_io *io = &p->inputs[i];

        if (kept && !first) {
            memcpy(io->data, kept, io->bytes);
        } else {
            status = p->examples->read(p->examples->context, index, i, io->data, io->bytes, diag);
            if (status == LEGO_OK && kept)
                memcpy(kept, io->data, io->bytes);
        }
        kept = kept ? kept + io->bytes : NULL;
    }
    return status;
}

static int run(const struct predict *p, struct lego_session *session, uint32_t index, bool first,
               struct lego_io *outputs, struct lego_diag *diag)
{
    int status = read_inputs(p, index, first, diag);

    memset(outputs, 0, p->output_count * sizeof(*outputs));
    if (status == LEGO_OK)
        status =
            lego_session_run(session, p->inputs, p->input_count, outputs, p->output_count, diag);
    return status;
}

/* Keeps the teacher's answer to one example. */
static int keep(struct predict *p, const struct lego_io *outputs, struct lego_diag *diag)
{
    for (uint32_t o = 0; o < p->output_count; o++) {
        struct lego_io *to = &p->outputs[(size_t)p->count * p->output_count + o];

        *to = outputs[o];
        to->data = malloc(to->bytes + 1);
        if (!to->data)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for outputs");
        memcpy(to->data, outputs[o].data, to->bytes);
        p->kept_bytes += to->bytes;
    }
    p->count++;
    return LEGO_OK;
}

static int create(struct predict *p, struct lego_model *teacher, struct lego_diag *diag)
{
    const struct lego_session_options options = {.threads = p->threads};
    struct lego_session *session = NULL;
    struct lego_io *outputs = calloc(p->output_count + 1, sizeof(*outputs));
    int status = lego_session_create(teacher, &options, &session, diag);

    p->inputs = calloc(p->input_count + 1, sizeof(*p->inputs));
    p->outputs = calloc((size_t)p->examples->count * p->output_count + 1, sizeof(*p->outputs));
    if (status == LEGO_OK && (!outputs || !p->inputs || !p->outputs))
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for outputs");
    if (status == LEGO_OK)
        status = create_inputs(p, teacher, diag);
    for (uint32_t i = 0;
         status == LEGO_OK && i < p->examples->count && p->kept_bytes < OUTPUT_BYTES; i++) {
        status = run(p, session, i, true, outputs, diag);
        if (status == LEGO_OK)
            status = keep(p, outputs, diag);
    }
    lego_session_destroy(session);
    free(outputs);
    return status;
}

int predict_create(struct lego_model *teacher, const struct encode_examples *examples,
                   uint32_t threads, struct predict **ret_predict, struct lego_diag *diag)
{
    struct predict *p = calloc(1, sizeof(*p));
    int status;

    if (!p)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a prediction");
    p->examples = examples;
    p->threads = threads;
    p->input_count = lego_model_input_count(teacher);
    p->output_count = lego_model_output_count(teacher);
    status = create(p, teacher, diag);
    if (status == LEGO_OK)
        *ret_predict = p;
    else
        predict_destroy(p);
    return status;
}

void predict_destroy(struct predict *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; p->inputs && i < p->input_count; i++)
        free(p->inputs[i].data);
    for (size_t i = 0; p->outputs && i < (size_t)p->examples->count * p->output_count; i++)
        free(p->outputs[i].data);
    free(p->inputs);
    free(p->kept);
    free(p->outputs);
    free(p);
}

/* One row of scores: [N][C] or [N][C][1][1] with more than one class. */
static bool has_classes(const struct predict *p)
{
    const struct lego_shape *shape = &p->outputs[0].shape;

    if (p->output_count != 1 || shape->rank < 2 || shape->dim[0] != 1 || shape->dim[1] < 2)
        return false;
    for (int d = 2; d < shape->rank; d++) {
        if (shape->dim[d] != 1)
            return false;
    }
    return p->outputs[0].dtype == LEGO_DTYPE_FLOAT32;
}

static int score_example(const struct predict *p, uint32_t index, const struct lego_io *outputs,
                         bool classes, struct score *score, struct lego_diag *diag)
{
    const struct lego_io *exact = &p->outputs[(size_t)index * p->output_count];
    int status = LEGO_OK;

    for (uint32_t o = 0; status == LEGO_OK && o < p->output_count; o++)
        status = score_compare_outputs(&outputs[o], &exact[o], 1, 0, score, diag);
    if (status == LEGO_OK && classes) {
        struct score_row row, reference;

        status = score_find_row(&outputs[0], 1, 0, 0, &row, diag);
        if (status == LEGO_OK)
            status = score_find_row(&exact[0], 1, 0, 0, &reference, diag);
        if (status == LEGO_OK)
            score_compare_rows(&row, &reference, score);
    }
    return status;
}

int predict_measure(struct predict *p, struct lego_model *model, struct prediction *ret_prediction,
                    struct lego_diag *diag)
{
    const struct lego_session_options options = {.threads = p->threads};
    struct prediction sum = {.examples = p->count, .classes = p->count > 0 && has_classes(p)};
    struct lego_session *session = NULL;
    struct lego_io *outputs = calloc(p->output_count + 1, sizeof(*outputs));
    double error = 0, energy = 0;
    int status = outputs ? lego_session_create(model, &options, &session, diag)
                         : lego_fail(diag, LEGO_E_NOMEM, "out of memory for outputs");

    for (uint32_t i = 0; status == LEGO_OK && i < p->count; i++) {
        struct score score = {0};

        status = run(p, session, i, false, outputs, diag);
        if (status == LEGO_OK)
            status = score_example(p, i, outputs, sum.classes, &score, diag);
        error += score.error;
        energy += score.energy;
        sum.drop += score.loss;
        sum.changed += !score.agrees;
        sum.divergence += score.divergence;
    }
    lego_session_destroy(session);
    free(outputs);
    if (status != LEGO_OK)
        return status;
    const double count = sum.examples > 0 ? (double)sum.examples : 1;
    sum.drop *= 100 / count;
    sum.changed *= 100 / count;
    sum.divergence /= count;
    sum.error = energy > 0 ? 100 * sqrt(error / energy) : error > 0 ? INFINITY : 0;
    *ret_prediction = sum;
    return LEGO_OK;
}
