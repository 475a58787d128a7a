/* One layer of the small codec: targets, rotation, trellis, row scales, bias. */
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/encode/linear.h"
#include "codec/encode/small.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RIDGE_LAST     0.3  /* of the mean moment, where the targets pull at the weights */
#define DAMPING        0.04 /* of the mean moment, in the factor that feeds errors on */
#define DAMPING_LAST   0.2
#define DAMPING_POOLED 0.15 /* where the moment is mostly of other inputs, those before a pool */
#define LEAST_STEP     0x1p-14f /* the least that fp16 holds with all its bits */

struct work {
    const struct small_settings *settings;
    struct small_layer *layer;
    const struct calibrate_stats *stats;
    uint32_t rows, columns, groups, group_rows;
    float *target;   /* [rows][columns] */
    double *h;       /* [groups][columns][columns] */
    double *tx;      /* [rows][columns] */
    uint32_t *order; /* [columns] */
    float *u;        /* [groups][columns][columns] */
};

static void work_clear(struct work *w)
{
    free(w->target);
    free(w->h);
    free(w->tx);
    free(w->order);
    free(w->u);
}

static double mean_diagonal(const double *h, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += h[i * n + i];
    return fmax(sum / (double)n, 1e-12);
}

static int aim(struct work *w, uint32_t group)
{
    const size_t n = w->columns, rows = w->group_rows;
    const double *h = w->h + group * n * n;
    const double ridge = (w->layer->last ? RIDGE_LAST : w->settings->ridge) * mean_diagonal(h, n);

    return linear_aim(h, w->tx + group * rows * n, rows, n, ridge, w->settings->workers,
                      w->target + group * rows * n);
}

/* Coefficients of a channel from its elements, `stride` apart: c(j) = sum over taps of
 * M[j][tap] * element(tap). */
static void rotate(const struct small_layer *layer, double *at, size_t stride)
{
    const uint32_t taps = layer->rotation->taps;
    double out[KERN_TRELLIS_MAX_TAPS];

    for (uint32_t j = 0; j < taps; j++) {
        out[j] = 0;
        for (uint32_t t = 0; t < taps; t++)
            out[j] += (double)layer->rotation_matrix[j * taps + t] * at[t * stride];
    }
    for (uint32_t j = 0; j < taps; j++)
        at[j * stride] = out[j];
}

static void rotate_floats(const struct small_layer *layer, float *at, bool back)
{
    const uint32_t taps = layer->rotation->taps;
    double out[KERN_TRELLIS_MAX_TAPS] = {0};

    for (uint32_t j = 0; j < taps; j++)
        for (uint32_t t = 0; t < taps; t++)
            out[back ? t : j] +=
                (double)layer->rotation_matrix[j * taps + t] * (double)at[back ? j : t];
    for (uint32_t j = 0; j < taps; j++)
        at[j] = (float)out[j];
}

/* Targets and moments as the coefficients see them. */
static void rotate_all(struct work *w)
{
    const struct small_layer *layer = w->layer;
    const size_t n = w->columns, taps = layer->rotation->taps;

    for (size_t i = 0; i < (size_t)w->rows * n; i += taps) {
        rotate_floats(layer, w->target + i, false);
        if (w->tx)
            rotate(layer, w->tx + i, 1);
    }
    for (size_t g = 0; w->h && g < w->groups; g++) {
        double *h = w->h + g * n * n;
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < n; c += taps)
                rotate(layer, h + i * n + c, 1);
        for (size_t c = 0; c < n; c += taps)
            for (size_t j = 0; j < n; j++)
                rotate(layer, h + c * n + j, n);
    }
}

struct keyed {
    double key;
    uint32_t column;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static double damping_of(const struct work *w)
{
    if (w->stats && w->stats->pooled)
        return DAMPING_POOLED;
    return w->layer->last ? DAMPING_LAST : DAMPING;
}

/* Columns by falling moment, and the factor that feeds errors on in that order. */
static int factor(struct work *w)
{
    const size_t n = w->columns;
    struct keyed *keys = calloc(n, sizeof(*keys));
    int status = LEGO_OK;

    w->order = malloc(n * sizeof(*w->order));
    w->u = malloc(w->groups * n * n * sizeof(*w->u));
    if (!keys || !w->order || !w->u) {
        free(keys);
        return LEGO_E_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        keys[i].column = (uint32_t)i;
        for (size_t g = 0; g < w->groups; g++)
            keys[i].key += w->h[(g * n + i) * n + i];
    }
    qsort(keys, n, sizeof(*keys), by_key);
    for (size_t i = 0; i < n; i++)
        w->order[i] = keys[i].column;
    free(keys);
    for (size_t g = 0; status == LEGO_OK && g < w->groups; g++) {
        const double *h = w->h + g * n * n;
        const double damping = damping_of(w) * mean_diagonal(h, n);
        status =
            linear_inverse_factor(h, w->order, n, damping, w->settings->workers, w->u + g * n * n);
        if (status == LEGO_OK && !calibrate_takes(w->stats, ENCODE_STEP_FEEDBACK))
            linear_keep_diagonal(w->u + g * n * n, n);
    }
    return status;
}

static int work_open(struct work *w)
{
    const struct encode_weight *weight = w->layer->weight;
    const size_t elems = (size_t)w->rows * w->columns;
    const size_t moments = (size_t)w->groups * w->columns * w->columns;
    int status = LEGO_OK;

    w->target = malloc(elems * sizeof(*w->target));
    if (!w->target)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < elems; i++)
        w->target[i] =
            weight
                ->data[encode_weight_elem(w->settings->graph, weight, LEGO_COLUMNS_CHANNEL_MAJOR,
                                          (uint32_t)(i / w->columns), (uint32_t)(i % w->columns))];
    if (w->stats) {
        w->h = malloc(moments * sizeof(*w->h));
        w->tx = malloc(elems * sizeof(*w->tx));
        if (!w->h || !w->tx)
            return LEGO_E_NOMEM;
        memcpy(w->h, w->stats->h, moments * sizeof(*w->h));
        memcpy(w->tx, w->stats->tx, elems * sizeof(*w->tx));
    }
    const bool aims = calibrate_takes(w->stats, ENCODE_STEP_TARGETS) && w->stats->moved;
    for (uint32_t g = 0; status == LEGO_OK && aims && g < w->groups; g++)
        status = aim(w, g);
    if (status == LEGO_OK && w->layer->rotation)
        rotate_all(w);
    if (status == LEGO_OK && w->stats)
        status = factor(w);
    return status;
}

/* Takes the nearest scale that can be stored; returns what the row is to be multiplied by. */
static float scale_row(struct small_layer *layer, uint32_t row, double scale)
{
    if (!layer->uneven) {
        layer->codes[row] = trellis_scale_code(scale);
        return lego_log_scale[layer->codes[row]];
    }
    const float step = lego_half_to_float(layer->row_scales[row]);
    const double bounded =
        fmin(fmax(scale, (double)lego_log_scale[0]), (double)lego_log_scale[LEGO_LOG_SCALES - 1]);
    layer->row_scales[row] = lego_half_from_float((float)((double)step * bounded));
    return lego_half_to_float(layer->row_scales[row]) / step;
}

/* From levels' worth to what a reader decodes, with the scales that least squares against the
 * targets give the rows. */
static int finish(const struct work *w)
{
    struct small_layer *layer = w->layer;
    const size_t n = w->columns;
    double *along = calloc(w->rows, sizeof(*along)), *square = calloc(w->rows, sizeof(*square));
    const bool fits = calibrate_takes(w->stats, ENCODE_STEP_SCALES);
    int status = along && square ? LEGO_OK : LEGO_E_NOMEM;

    for (size_t g = 0; status == LEGO_OK && fits && g < w->groups; g++) {
        const size_t first = g * w->group_rows;

        status =
            linear_scales(w->h + g * n * n, w->tx + first * n, layer->decoded + first * n,
                          w->group_rows, n, w->settings->workers, along + first, square + first);
    }
    for (uint32_t r = 0; status == LEGO_OK && r < w->rows; r++) {
        float *row = layer->decoded + r * n;

        const float scale = scale_row(layer, r, square[r] > 0 ? along[r] / square[r] : 1);
        for (size_t i = 0; i < n; i++)
            row[i] *= scale;
        for (size_t i = 0; layer->rotation && i < n; i += layer->rotation->taps)
            rotate_floats(layer, row + i, true);
    }
    free(along);
    free(square);
    return status;
}

void small_round(float *values, uint32_t count, int levels)
{
    float most = 0;

    for (uint32_t i = 0; levels == 0 && i < count; i++)
        values[i] = fabsf(values[i]) < 65000 ? lego_half_to_float(lego_half_from_float(values[i]))
                                             : values[i];
    if (levels == 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf(values[i]));
    const float whole = (float)levels;
    const float step = lego_half_to_float(lego_half_from_float(most / whole));
    for (uint32_t i = 0; i < count && step > 0 && isfinite(step); i++)
        values[i] = fminf(fmaxf(rintf(values[i] / step), -whole), whole) * step;
}

/* What the quantised layer's mean output lacks, so that the whole bias can be packed. W and R of a
 * recurrent node have one together, which is rounded when both are known. */
static int correct_bias(const struct work *w, float *ret_bias)
{
    const struct calibrate_stats *stats = w->stats;
    const size_t n = w->columns;
    float *whole = calloc(w->rows, sizeof(*whole));
    const float *old = w->settings->old_bias;

    if (!whole)
        return LEGO_E_NOMEM;
    for (uint32_t r = 0; r < w->rows; r++) {
        const float *q = w->layer->decoded + r * n;
        const double *mean_x = stats->mean_x + (size_t)(r / w->group_rows) * n;
        double mean = 0;

        for (size_t k = 0; k < n; k++)
            mean += (double)q[k] * mean_x[k];
        ret_bias[r] =
            calibrate_takes(stats, ENCODE_STEP_BIAS) ? (float)(stats->mean_t[r] - mean) : 0;
        whole[r] = ret_bias[r] + (old ? old[r] : 0);
    }
    if (stats->layer->directions == 0)
        small_round(whole, w->rows, w->settings->bias_levels);
    for (uint32_t r = 0; r < w->rows; r++)
        ret_bias[r] = stats->layer->can_bias ? whole[r] - (old ? old[r] : 0) : 0;
    free(whole);
    return LEGO_OK;
}

/*
 * One step for all rows is what the price asks for. Rows that its levels do not reach, as where a
 * folded BatchNormalization has made rows a hundred times others, get wider ones of their own, and
 * so each row has one.
 */
static void choose_steps(const struct work *w, struct trellis_problem *problem, float *steps)
{
    struct small_layer *layer = w->layer;

    problem->step = (float)trellis_step(problem, w->settings->gain);
    layer->uneven = false;
    for (uint32_t r = 0; r < w->rows; r++) {
        float largest = 0;

        for (size_t i = 0; i < w->columns; i++) {
            const float size = fabsf(w->target[r * (size_t)w->columns + i]);
            largest = size > largest ? size : largest;
        }
        const float least = (float)trellis_least_step(problem, (double)largest);
        layer->uneven = layer->uneven || least > problem->step;
        steps[r] = fmaxf(fmaxf(least, problem->step), LEAST_STEP);
        layer->row_scales[r] = lego_half_from_float(steps[r]);
        steps[r] = lego_half_to_float(layer->row_scales[r]);
    }
    problem->row_steps = layer->uneven ? steps : NULL;
    layer->step = problem->step;
}

static int solve(struct work *w)
{
    struct small_layer *layer = w->layer;
    struct trellis_result *result = calloc(1, sizeof(*result));
    struct trellis_problem problem = {.rows = w->rows,
                                      .columns = w->columns,
                                      .groups = w->groups,
                                      .tile_rows = layer->tile_rows,
                                      .target = w->target,
                                      .order = w->order,
                                      .u = w->u,
                                      .rotation = layer->rotation,
                                      .most = LEGO_TRELLIS_MAX_LEVEL,
                                      .price = w->settings->price / layer->sensitivity};

    float *steps = malloc(w->rows * sizeof(*steps));
    int status = LEGO_E_NOMEM;

    if (result && steps) {
        choose_steps(w, &problem, steps);
        result->levels = layer->levels;
        result->decoded = layer->decoded;
        status = trellis_solve(&problem, w->settings->workers, result);
        layer->bits = result->bits;
    }
    free(steps);
    free(result);
    return status;
}

int small_quantise(const struct small_settings *settings, struct small_layer *layer,
                   const struct calibrate_stats *stats, float *ret_bias)
{
    const size_t elems = (size_t)layer->weight->rows * layer->weight->columns;
    struct work w = {.settings = settings,
                     .layer = layer,
                     .stats = stats,
                     .rows = layer->weight->rows,
                     .columns = layer->weight->columns,
                     .groups = stats ? stats->layer->groups : 1};
    int status = LEGO_OK;

    w.group_rows = w.rows / w.groups;
    if (!layer->levels) {
        layer->levels = malloc(elems);
        layer->codes = malloc(w.rows);
        layer->row_scales = malloc(w.rows * sizeof(*layer->row_scales));
        layer->decoded = malloc(elems * sizeof(*layer->decoded));
    }
    if (!layer->levels || !layer->codes || !layer->row_scales || !layer->decoded)
        status = LEGO_E_NOMEM;
    if (status == LEGO_OK)
        status = work_open(&w);
    if (status == LEGO_OK)
        status = solve(&w);
    if (status == LEGO_OK)
        status = finish(&w);
    if (status == LEGO_OK && stats)
        status = correct_bias(&w, ret_bias);
    work_clear(&w);
    return status;
}
