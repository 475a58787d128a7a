#include "codec/base/arith.h"
#include "codec/encode/calibrate_internal.h"
#include "codec/encode/images.h"
#include "codec/encode/portable.h"

#include <stdlib.h>
#include <string.h>

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

/* From picture planes (red, green, blue in 0 to 1) to the model's input. */
static void place_picture(const struct lego_preprocess *p, const float *planes, float *out)
{
    const size_t plane = (size_t)p->width * p->height;

    for (uint32_t ch = 0; ch < p->channels; ch++) {
        const uint32_t from = p->bgr ? 2 - ch : ch;

        for (size_t i = 0; i < plane; i++) {
            float x = planes[from * plane + i];

            if (p->channels == 1)
                x = 0.299f * planes[i] + 0.587f * planes[plane + i] +
                    0.114f * planes[2 * plane + i];
            out[p->nhwc ? i * p->channels + ch : ch * plane + i] =
                (x * 255.0f * p->scale - p->mean[ch]) / p->std[ch];
        }
    }
}

struct drawing {
    struct calibration *c;
    const struct lego_preprocess *preprocess;
    struct image_pool *pool;
    int32_t value;
    uint32_t failed;
};

static void draw_picture(void *context, size_t image)
{
    struct drawing *d = context;
    const struct cal_value *v = &d->c->values[d->value];
    float *planes = malloc(sizeof(float) * 3 * d->preprocess->width * d->preprocess->height);

    if (!planes || image_draw(d->pool, image, planes) != LEGO_OK)
        __atomic_store_n(&d->failed, 1, __ATOMIC_RELAXED);
    else
        place_picture(d->preprocess, planes, (float *)(v->teacher + image * v->bytes));
    free(planes);
}

/* What a rank-4 or rank-3 input of 1 or 3 channels looks like when nothing says so. */
static bool guess_preprocess(const struct lego_shape *shape, struct lego_preprocess *ret)
{
    struct lego_preprocess p = {.present = true, .scale = 1.0f / 255};
    const int64_t *dim = shape->dim;

    if (shape->rank != 4)
        return false;
    p.nhwc = dim[1] != 3 && dim[1] != 1 && (dim[3] == 3 || dim[3] == 1);
    p.channels = (uint32_t)dim[p.nhwc ? 3 : 1];
    p.height = (uint32_t)dim[p.nhwc ? 1 : 2];
    p.width = (uint32_t)dim[p.nhwc ? 2 : 3];
    if ((p.channels != 1 && p.channels != 3) || p.height < 8 || p.width < 8 || p.height > 4096 ||
        p.width > 4096)
        return false;
    for (int i = 0; i < 4; i++) {
        p.mean[i] = 0.47f;
        p.std[i] = 0.25f;
    }
    *ret = p;
    return true;
}

/* Noise with unit variance whose neighbours along the last axis agree: for sound and the like. */
static void draw_noise(struct calibration *c, int32_t value, uint32_t image)
{
    const struct cal_value *v = &c->values[value];
    float *out = (float *)(v->teacher + image * v->bytes);
    struct encode_random random;
    double state = 0;

    encode_random_seed(&random, c->seed + 0x51ed270b * (uint64_t)(image + 1) + (uint64_t)value);
    for (size_t i = 0; i < v->bytes / sizeof(float); i++) {
        state = 0.8 * state + 0.6 * random_normal(&random);
        out[i] = (float)state;
    }
}

static int draw_input(struct calibration *c, const struct lego_package *package, uint32_t index,
                      struct lego_diag *diag)
{
    const int32_t value = c->graph->inputs[index];
    const struct lego_value *v = &c->graph->values[value];
    const struct lego_preprocess *p = &package->preprocess;
    const bool theirs = p->present && (p->input ? strcmp(p->input, v->name) == 0 : index == 0);
    struct lego_preprocess guess;
    int status = cal_allocate(c, value, false, diag);

    if (status != LEGO_OK)
        return status;
    if (theirs || guess_preprocess(&v->shape, &guess)) {
        struct drawing d = {.c = c, .preprocess = theirs ? p : &guess, .value = value};
        const struct lego_preprocess *q = d.preprocess;

        if ((size_t)q->width * q->height * q->channels * sizeof(float) != c->values[value].bytes)
            return lego_fail(diag, LEGO_E_SHAPE,
                             "the preprocessing makes %ux%u pictures, which input '%s' does not "
                             "take",
                             q->width, q->height, v->name);
        d.pool = image_pool_create(q->width, q->height, c->seed, c->workers);
        if (d.pool)
            encode_workers_run(c->workers, c->images, draw_picture, &d);
        else
            d.failed = 1;
        image_pool_destroy(d.pool);
        return d.failed ? lego_fail(diag, LEGO_E_NOMEM, "out of memory for pictures") : LEGO_OK;
    }
    for (uint32_t i = 0; i < c->images; i++)
        draw_noise(c, value, i);
    return LEGO_OK;
}

int cal_draw(struct calibration *c, const struct lego_package *package, struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < c->graph->input_count; i++)
        status = draw_input(c, package, i, diag);
    return status;
}
