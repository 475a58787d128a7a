#include "codec/base/arith.h"
#include "codec/encode/calibrate_internal.h"

#include <stdlib.h>

int cal_allocate(struct calibration *c, int32_t value, bool student, struct lego_diag *diag)
{
    struct cal_value *v = &c->values[value];
    size_t bytes;
    char *data = NULL;

    if (lego_mul_size(v->bytes, c->images, &bytes))
        data = malloc(bytes + 1);
    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for '%s' of %u examples",
                         c->graph->values[value].name, c->images);
    if (student)
        v->student = data;
    else
        v->teacher = v->student = data;
    return LEGO_OK;
}

void cal_take(struct calibration *c, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < c->graph->input_count; i++) {
        struct cal_value *v = &c->values[c->graph->inputs[i]];

        v->teacher = v->student = v->teacher - c->first * v->bytes + first * v->bytes;
    }
    c->first = first;
    c->images = count;
}

void cal_free_student(struct calibration *c, int32_t value)
{
    struct cal_value *v = &c->values[value];

    if (v->student != v->teacher)
        free(v->student);
    v->student = v->teacher;
}

void cal_free(struct calibration *c, int32_t value)
{
    struct cal_value *v = &c->values[value];

    cal_free_student(c, value);
    free(v->teacher);
    v->teacher = v->student = NULL;
}

/* Reading one input of all examples. */
struct reading {
    struct calibration *c;
    const struct encode_examples *examples;
    uint32_t input;
    int status;
    struct lego_diag diag;
};

static void read_example(void *context, size_t image)
{
    struct reading *r = context;
    const struct cal_value *v = &r->c->values[r->c->graph->inputs[r->input]];
    struct lego_diag diag = LEGO_DIAG_INIT;
    const int status = r->examples->read(r->examples->context, (uint32_t)image, r->input,
                                         v->teacher + image * v->bytes, v->bytes, &diag);
    int expected = LEGO_OK;

    if (status != LEGO_OK && __atomic_compare_exchange_n(&r->status, &expected, status, false,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        r->diag = diag;
}

int cal_draw(struct calibration *c, const struct encode_examples *examples, struct lego_diag *diag)
{
    struct reading r = {.c = c, .examples = examples};

    for (r.input = 0; r.input < c->graph->input_count; r.input++) {
        const int status = cal_allocate(c, c->graph->inputs[r.input], false, diag);

        if (status != LEGO_OK)
            return status;
        encode_workers_run(c->workers, c->images, read_example, &r);
        if (r.status != LEGO_OK)
            return lego_fail(diag, r.status, "%s", lego_diag_text(&r.diag, r.status));
    }
    return LEGO_OK;
}
