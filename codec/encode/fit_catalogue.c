#include "codec/base/arith.h"
#include "codec/encode/fit.h"
#include "codec/encode/kmeans.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TRAINING_BRICKS ((size_t)1 << 15)
#define ITERATIONS      15
#define ROUNDS          8 /* of training again */

uint64_t fit_catalogue_bytes(uint32_t format)
{
    const struct gptq_format *f = &fit_formats[format];

    return (uint64_t)f->entries * f->rows * f->columns * f->stages;
}

/* Bricks of many layers in a row. */
struct bricks {
    float *data;
    size_t count;
    uint32_t dim;
};

/* Cuts one matrix into bricks; `scale` divides. Rows that stick out are dropped. */
static void cut(const float *matrix, uint32_t rows, uint32_t columns, const struct gptq_format *f,
                float scale, struct bricks *bricks)
{
    for (uint32_t r = 0; r + f->rows <= rows; r += f->rows) {
        for (uint32_t c = 0; c < columns; c += f->columns) {
            float *out = bricks->data + bricks->count++ * bricks->dim;

            for (uint32_t i = 0; i < bricks->dim; i++)
                out[i] =
                    matrix[(size_t)(r + i / f->columns) * columns + c + i % f->columns] / scale;
        }
    }
}

/* Channel-major matrix of a weight, or what was compensated. */
static int cut_layer(const struct fit *fit, const struct fit_layer *layer,
                     const struct gptq_format *f, bool plain, struct bricks *bricks)
{
    const struct encode_weight *w = layer->weight;
    const size_t elems = (size_t)w->rows * w->columns;

    if (!plain) {
        cut(layer->compensated, w->rows, w->columns, f, 1, bricks);
        return LEGO_OK;
    }
    float *matrix = malloc(elems * sizeof(float));
    if (!matrix)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < elems; i++)
        matrix[i] =
            w->data[encode_weight_elem(fit->package->graph, w, LEGO_COLUMNS_CHANNEL_MAJOR,
                                       (uint32_t)(i / w->columns), (uint32_t)(i % w->columns))];
    cut(matrix, w->rows, w->columns, f, layer->deviation, bricks);
    free(matrix);
    return LEGO_OK;
}

static int gather(const struct fit *fit, uint32_t format, bool plain, struct bricks *ret_bricks)
{
    const struct gptq_format *f = &fit_formats[format];
    struct bricks bricks = {.dim = f->rows * f->columns};
    size_t elems = 0;
    int status = LEGO_OK;

    for (uint32_t i = 0; i < fit->weight_count; i++)
        elems += (size_t)fit->weights[i].rows * fit->weights[i].columns;
    bricks.data = malloc((elems + 1) * sizeof(float));
    if (!bricks.data)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; status == LEGO_OK && i < fit->weight_count; i++) {
        const struct fit_layer *layer = &fit->layers[i];

        if (layer->bytes[format] != UINT64_MAX && (plain || layer->format == format))
            status = cut_layer(fit, layer, f, plain, &bricks);
    }
    if (status != LEGO_OK)
        free(bricks.data);
    else
        *ret_bricks = bricks;
    return status;
}

/* Rounds a stage's entries to int8 and keeps what they then are. */
static void round_stage(struct fit_catalogue *c, uint32_t stage, uint32_t dim)
{
    const size_t elems = (size_t)c->entries * dim;
    float largest = 0;

    for (size_t i = 0; i < elems; i++)
        largest = fmaxf(largest, fabsf(c->values[stage][i]));
    c->stage_scale[stage] = largest > 127 * FLT_MIN ? largest / 127 : 1;
    for (size_t i = 0; i < elems; i++) {
        const float q = rintf(c->values[stage][i] / c->stage_scale[stage]);

        c->data[stage][i] = (int8_t)fminf(fmaxf(q, -127), 127);
        c->values[stage][i] = (float)c->data[stage][i] * c->stage_scale[stage];
    }
}

static int make_room(struct fit_catalogue *c, uint32_t format)
{
    const struct gptq_format *f = &fit_formats[format];

    c->entries = f->entries;
    for (uint32_t s = 0; s < f->stages; s++) {
        const size_t elems = (size_t)f->entries * f->rows * f->columns;

        c->data[s] = calloc(elems, 1);
        c->values[s] = calloc(elems, sizeof(float));
        if (!c->data[s] || !c->values[s])
            return LEGO_E_NOMEM;
    }
    return LEGO_OK;
}

/* Subtracts each brick's entry: what a second stage has to code. */
static int subtract(struct fit *fit, struct bricks *bricks, const struct fit_catalogue *c)
{
    uint32_t *index = malloc((bricks->count + 1) * sizeof(*index));
    int status = index ? encode_kmeans_assign(bricks->data, bricks->count, bricks->dim,
                                              c->values[0], c->entries, fit->workers, index, NULL)
                       : LEGO_E_NOMEM;

    for (size_t i = 0; status == LEGO_OK && i < bricks->count * bricks->dim; i++)
        bricks->data[i] -=
            c->values[0][(size_t)index[i / bricks->dim] * bricks->dim + i % bricks->dim];
    free(index);
    return status;
}

static int train_format(struct fit *fit, uint32_t format)
{
    const struct gptq_format *f = &fit_formats[format];
    struct fit_catalogue *c = &fit->catalogues[format];
    struct bricks bricks;
    int status = make_room(c, format);

    if (status == LEGO_OK && f->levels > 0) {
        for (uint32_t k = 0; k < f->entries; k++) {
            c->data[0][k] = (int8_t)((int32_t)k - f->levels);
            c->values[0][k] = (float)c->data[0][k];
        }
        c->stage_scale[0] = 1;
        return LEGO_OK;
    }
    if (status == LEGO_OK)
        status = gather(fit, format, true, &bricks);
    if (status != LEGO_OK)
        return status;
    for (uint32_t s = 0; status == LEGO_OK && s < f->stages && bricks.count > 0; s++) {
        const struct encode_kmeans_options options = {.entries = f->entries,
                                                      .max_iterations = ITERATIONS,
                                                      .max_vectors = TRAINING_BRICKS,
                                                      .seed = fit->options->seed + s};
        struct encode_kmeans kmeans;

        if (s > 0)
            status = subtract(fit, &bricks, c);
        if (status == LEGO_OK)
            status = encode_kmeans_train(bricks.data, bricks.count, bricks.dim, &options,
                                         fit->workers, &kmeans);
        if (status != LEGO_OK)
            break;
        memcpy(c->values[s], kmeans.centroids, (size_t)kmeans.entries * bricks.dim * sizeof(float));
        encode_kmeans_clear(&kmeans);
        round_stage(c, s, bricks.dim);
    }
    free(bricks.data);
    return status;
}

int fit_train(struct fit *fit, struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t f = 0; status == LEGO_OK && f < FIT_FORMATS; f++)
        status = train_format(fit, f);
    return status == LEGO_OK ? LEGO_OK : lego_fail(diag, status, "out of memory for catalogues");
}

/* Each entry becomes the mean of the bricks that use it, less their other stage. */
static int average(const struct bricks *bricks, struct fit_catalogue *c, uint32_t stage,
                   uint32_t *const *index, uint32_t stages)
{
    const uint32_t dim = bricks->dim;
    double *sums = calloc((size_t)c->entries * dim, sizeof(*sums));
    uint32_t *counts = calloc(c->entries, sizeof(*counts));

    if (!sums || !counts) {
        free(sums);
        free(counts);
        return LEGO_E_NOMEM;
    }
    for (size_t i = 0; i < bricks->count; i++) {
        const uint32_t k = index[stage][i];
        const float *other =
            stages > 1 ? c->values[1 - stage] + (size_t)index[1 - stage][i] * dim : NULL;

        counts[k]++;
        for (uint32_t d = 0; d < dim; d++)
            sums[(size_t)k * dim + d] +=
                (double)bricks->data[i * dim + d] - (other ? (double)other[d] : 0);
    }
    for (uint32_t k = 0; k < c->entries; k++) {
        for (uint32_t d = 0; counts[k] > 0 && d < dim; d++)
            c->values[stage][(size_t)k * dim + d] = (float)(sums[(size_t)k * dim + d] / counts[k]);
    }
    free(sums);
    free(counts);
    return LEGO_OK;
}

/* The indices that the last walk chose, in the order in which bricks are cut. */
static void gather_index(const struct fit *fit, uint32_t format, uint32_t stage, uint32_t *out)
{
    const struct gptq_format *f = &fit_formats[format];

    for (uint32_t i = 0; i < fit->weight_count; i++) {
        const struct fit_layer *layer = &fit->layers[i];
        const size_t bricks =
            (size_t)(layer->weight->rows / f->rows) * (layer->weight->columns / f->columns);

        if (layer->bytes[format] == UINT64_MAX || layer->format != format)
            continue;
        memcpy(out, layer->index[stage], bricks * sizeof(*out));
        out += bricks;
    }
}

static int retrain_format(struct fit *fit, uint32_t format)
{
    const struct gptq_format *f = &fit_formats[format];
    struct fit_catalogue *c = &fit->catalogues[format];
    struct bricks bricks;
    uint32_t *index[GPTQ_MAX_STAGES] = {NULL};
    int status = gather(fit, format, false, &bricks);

    if (status != LEGO_OK)
        return status;
    for (uint32_t s = 0; s < f->stages; s++) {
        index[s] = malloc((bricks.count + 1) * sizeof(uint32_t));
        if (!index[s])
            status = LEGO_E_NOMEM;
        else
            gather_index(fit, format, s, index[s]);
    }
    for (int round = 0; status == LEGO_OK && bricks.count > 0 && round < ROUNDS; round++) {
        for (uint32_t s = 0; status == LEGO_OK && s < f->stages; s++)
            status = average(&bricks, c, s, index, f->stages);
        if (status == LEGO_OK && f->stages == 1)
            status = encode_kmeans_assign(bricks.data, bricks.count, bricks.dim, c->values[0],
                                          c->entries, fit->workers, index[0], NULL);
    }
    for (uint32_t s = 0; status == LEGO_OK && bricks.count > 0 && s < f->stages; s++)
        round_stage(c, s, bricks.dim);
    free(index[0]);
    free(index[1]);
    free(bricks.data);
    return status;
}

int fit_retrain(struct fit *fit, struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t f = 0; status == LEGO_OK && f < FIT_FORMATS; f++) {
        if (fit_formats[f].levels == 0)
            status = retrain_format(fit, f);
    }
    return status == LEGO_OK ? LEGO_OK : lego_fail(diag, status, "out of memory for catalogues");
}
