#include "codec/base/half.h"
#include "codec/encode/fit.h"
#include "codec/encode/linear.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RIDGE          0.1 /* of the mean moment, where the targets pull at the weights */
#define RIDGE_LAST     0.3
#define DAMPING        0.01 /* of the mean moment, in the factor that feeds errors on */
#define DAMPING_LAST   0.05
#define DAMPING_POOLED 0.15 /* where the moment is mostly of other inputs, those before a pool */
#define DESCENTS       1    /* times that all bricks are chosen again */

/* One layer's work: what is the same for all formats. */
struct work {
    struct fit *fit;
    struct fit_layer *layer;
    const struct calibrate_stats *stats; /* NULL: alone */
    uint32_t rows, columns, groups, group_rows, taps;
    float *target;      /* [rows][columns] */
    uint32_t *order[2]; /* [groups][columns]: single columns; whole channels */
    float *u[2];        /* [groups][columns][columns] */
    float *h[2];        /* the same, damped moments in that order */
    bool have[2];
};

/* What one format makes of it. */
struct candidate {
    uint32_t *index[GPTQ_MAX_STAGES];
    float *decoded, *compensated;
    float *scales; /* [rows] */
    float *stored; /* [rows] the scales after the fit, as they are stored */
    double distortion;
};

static void candidate_clear(struct candidate *c)
{
    free(c->index[0]);
    free(c->index[1]);
    free(c->decoded);
    free(c->compensated);
    free(c->scales);
    free(c->stored);
    *c = (struct candidate){0};
}

static int candidate_create(const struct work *w, struct candidate *ret_candidate)
{
    const size_t elems = (size_t)w->rows * w->columns;
    struct candidate c = {
        .index = {malloc(elems * sizeof(uint32_t)), malloc(elems * sizeof(uint32_t))},
        .decoded = malloc(elems * sizeof(float)),
        .compensated = malloc(elems * sizeof(float)),
        .scales = malloc(w->rows * sizeof(float)),
        .stored = malloc(w->rows * sizeof(float))};

    if (!c.index[0] || !c.index[1] || !c.decoded || !c.compensated || !c.scales || !c.stored) {
        candidate_clear(&c);
        return LEGO_E_NOMEM;
    }
    *ret_candidate = c;
    return LEGO_OK;
}

static void work_clear(struct work *w)
{
    free(w->target);
    for (int i = 0; i < 2; i++) {
        free(w->order[i]);
        free(w->u[i]);
        free(w->h[i]);
    }
}

static double mean_diagonal(const double *h, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += h[i * n + i];
    return fmax(sum / (double)n, 1e-12);
}

/* Weights that bring the student's inputs as near to the targets as a ridge allows. */
static int aim_group(struct work *w, uint32_t group)
{
    const size_t n = w->columns, rows = w->group_rows;
    const double *h = w->stats->h + group * n * n;
    const double ridge =
        (w->layer->edge || w->stats->pooled ? RIDGE_LAST : RIDGE) * mean_diagonal(h, n);

    return linear_aim(h, w->stats->tx + group * rows * n, rows, n, ridge, w->fit->workers,
                      w->target + group * rows * n);
}

static int work_create(struct fit *fit, struct fit_layer *layer,
                       const struct calibrate_stats *stats, struct work *w)
{
    const struct encode_weight *weight = layer->weight;
    const size_t elems = (size_t)weight->rows * weight->columns;

    *w = (struct work){.fit = fit,
                       .layer = layer,
                       .stats = stats,
                       .rows = weight->rows,
                       .columns = weight->columns,
                       .groups = stats ? stats->layer->groups : 1,
                       .taps = weight->taps};
    w->group_rows = w->rows / w->groups;
    w->target = malloc(elems * sizeof(float));
    if (!w->target)
        return LEGO_E_NOMEM;
    for (uint32_t r = 0; r < w->rows; r++) {
        for (uint32_t c = 0; c < w->columns; c++)
            w->target[(size_t)r * w->columns + c] = weight->data[encode_weight_elem(
                fit->package->graph, weight, LEGO_COLUMNS_CHANNEL_MAJOR, r, c)];
    }
    const bool aims = calibrate_takes(stats, ENCODE_STEP_TARGETS) && stats->moved;
    for (uint32_t g = 0; aims && g < w->groups; g++) {
        const int status = aim_group(w, g);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
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

/* Columns by falling moment; `blocks`: whole channels by their sum, their taps kept together. */
static int make_order(const struct work *w, uint32_t group, bool blocks, uint32_t *ret_order)
{
    const uint32_t n = w->columns, together = blocks ? w->taps : 1;
    struct keyed *keys = calloc(n, sizeof(*keys));

    if (!keys)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        keys[i].column = i;
        for (uint32_t t = 0; w->stats && t < together; t++) {
            const size_t at = i / together * together + t;
            keys[i].key += w->stats->h[((size_t)group * n + at) * n + at];
        }
    }
    qsort(keys, n, sizeof(*keys), by_key);
    for (uint32_t i = 0; i < n; i++)
        ret_order[i] = keys[i].column;
    free(keys);
    return LEGO_OK;
}

static double damping_of(const struct work *w)
{
    if (w->stats->pooled)
        return DAMPING_POOLED;
    return w->layer->edge ? DAMPING_LAST : DAMPING;
}

static int factor_group(struct work *w, uint32_t group, int kind)
{
    const size_t n = w->columns;
    uint32_t *order = w->order[kind] + group * n;
    float *u = w->u[kind] + group * n * n, *ordered = w->h[kind] + group * n * n;
    int status = make_order(w, group, kind == 1, order);

    if (status != LEGO_OK)
        return status;
    if (!w->stats) {
        memset(u, 0, n * n * sizeof(*u));
        memset(ordered, 0, n * n * sizeof(*ordered));
        for (size_t i = 0; i < n; i++)
            u[i * n + i] = ordered[i * n + i] = 1;
        return LEGO_OK;
    }
    const double *h = w->stats->h + group * n * n;
    const double damping = damping_of(w) * mean_diagonal(h, n);
    for (size_t i = 0; i < n * n; i++)
        ordered[i] = (float)(h[order[i / n] * n + order[i % n]] + (i % (n + 1) ? 0 : damping));
    status = linear_inverse_factor(h, order, n, damping, w->fit->workers, u);
    if (status == LEGO_OK && !calibrate_takes(w->stats, ENCODE_STEP_FEEDBACK))
        linear_keep_diagonal(u, n);
    return status;
}

/* The order and the factor for bricks of one column (0) or of several (1). */
static int need_factor(struct work *w, int kind)
{
    const size_t n = w->columns;
    int status = LEGO_OK;

    if (w->have[kind])
        return LEGO_OK;
    w->order[kind] = malloc(w->groups * n * sizeof(uint32_t));
    w->u[kind] = malloc(w->groups * n * n * sizeof(float));
    w->h[kind] = malloc(w->groups * n * n * sizeof(float));
    if (!w->order[kind] || !w->u[kind] || !w->h[kind])
        return LEGO_E_NOMEM;
    for (uint32_t g = 0; status == LEGO_OK && g < w->groups; g++)
        status = factor_group(w, g, kind);
    w->have[kind] = status == LEGO_OK;
    return status;
}

static uint16_t store_scale(float scale)
{
    const uint16_t half = lego_half_from_float(scale);

    return half == 0 ? 1 : half >= 0x7c00 ? 0x7bff : half;
}

/* The scales before the fit: the layer's deviation, or each row's largest weight over the levels.
 */
static void start_scales(const struct work *w, const struct gptq_format *f, float *ret_scales)
{
    for (uint32_t r = 0; r < w->rows; r++) {
        float largest = 0;

        ret_scales[r] = w->layer->deviation;
        if (f->levels == 0)
            continue;
        for (uint32_t c = 0; c < w->columns; c++)
            largest = fmaxf(largest, fabsf(w->target[(size_t)r * w->columns + c]));
        ret_scales[r] = lego_half_to_float(store_scale(largest / (float)(f->levels - 1)));
    }
}

/* What least squares against the targets make of a scale: `along` / `square`, within reason. */
static float refit(float scale, double along, double square)
{
    double factor = 1;

    if (square > 0)
        factor = fmin(fmax(along / square / (double)scale, 0.7), 1.5);
    return (float)((double)scale * factor);
}

/* Fits the scales, row by row or for the layer. */
static int refit_scales(const struct work *w, uint32_t format, struct candidate *c)
{
    const size_t n = w->columns;
    double *along = calloc(w->rows, sizeof(*along)), *square = calloc(w->rows, sizeof(*square));
    double all_along = 0, all_square = 0;
    const bool fits = calibrate_takes(w->stats, ENCODE_STEP_SCALES);
    int status = along && square ? LEGO_OK : LEGO_E_NOMEM;

    for (uint32_t g = 0; status == LEGO_OK && fits && g < w->groups; g++) {
        const size_t first = (size_t)g * w->group_rows;

        status =
            linear_scales(w->stats->h + g * n * n, w->stats->tx + first * n, c->decoded + first * n,
                          w->group_rows, n, w->fit->workers, along + first, square + first);
    }
    for (uint32_t r = 0; status == LEGO_OK && r < w->rows; r++) {
        c->stored[r] = lego_half_to_float(store_scale(refit(c->scales[r], along[r], square[r])));
        all_along += along[r];
        all_square += square[r];
    }
    for (uint32_t r = 0; status == LEGO_OK && fit_scales_layer(format) && r < w->rows; r++)
        c->stored[r] = refit(c->scales[0], all_along, all_square);
    free(along);
    free(square);
    return status;
}

/* Solves each group; `passes` > 0: improves what is there with the stored scales instead. */
static int solve_groups(struct work *w, uint32_t format, uint32_t passes, struct candidate *c)
{
    const struct gptq_format *f = &fit_formats[format];
    const int kind = f->columns > 1;
    const struct gptq_catalogues catalogues = {
        .stage = {w->fit->catalogues[format].values[0], w->fit->catalogues[format].values[1]}};
    const size_t square = (size_t)w->columns * w->columns;
    int status = need_factor(w, kind);

    c->distortion = 0;
    for (uint32_t g = 0; status == LEGO_OK && g < w->groups; g++) {
        const size_t first = (size_t)g * w->group_rows, at = first * w->columns;
        const struct gptq_problem problem = {.rows = w->group_rows,
                                             .columns = w->columns,
                                             .target = w->target + at,
                                             .order = w->order[kind] + (size_t)g * w->columns,
                                             .u = w->u[kind] + g * square,
                                             .h = w->h[kind] + g * square};
        const size_t brick = first / f->rows * (w->columns / f->columns);
        struct gptq_result result = {.index = {c->index[0] + brick, c->index[1] + brick},
                                     .compensated = c->compensated + at,
                                     .decoded = c->decoded + at};

        if (passes > 0)
            status = gptq_descend(&problem, f, &catalogues, c->stored + first, passes,
                                  w->fit->workers, &result);
        else
            status =
                gptq_solve(&problem, f, &catalogues, c->scales + first, w->fit->workers, &result);
        c->distortion += result.distortion;
    }
    return status;
}

/* Exploring compares formats before the descent, which helps all of them alike. */
static int solve(struct work *w, uint32_t format, struct candidate *c)
{
    start_scales(w, &fit_formats[format], c->scales);
    const bool descends = !w->fit->exploring && calibrate_takes(w->stats, ENCODE_STEP_FEEDBACK);
    int status = solve_groups(w, format, 0, c);

    if (status == LEGO_OK)
        status = refit_scales(w, format, c);
    if (status == LEGO_OK && descends)
        status = solve_groups(w, format, DESCENTS, c);
    if (status == LEGO_OK && descends)
        status = refit_scales(w, format, c);
    return status;
}

static void keep(struct work *w, uint32_t format, struct candidate *c)
{
    struct fit_layer *layer = w->layer;

    for (int stage = 0; stage < GPTQ_MAX_STAGES; stage++) {
        free(layer->index[stage]);
        layer->index[stage] = c->index[stage];
    }
    free(layer->decoded);
    free(layer->compensated);
    free(layer->scales);
    for (uint32_t r = 0; r < w->rows; r++) {
        for (uint32_t k = 0; k < w->columns; k++)
            c->decoded[(size_t)r * w->columns + k] *= c->stored[r];
    }
    layer->decoded = c->decoded;
    layer->compensated = c->compensated;
    layer->scales = c->stored;
    layer->format = format;
    free(c->scales);
    *c = (struct candidate){0};
}

/* Tries every format; keeps the one with the least error within the bits of this walk. */
static int explore(struct work *w)
{
    struct fit_layer *layer = w->layer;
    const double limit = w->fit->explore_bits * (double)w->rows * w->columns / 8;
    struct candidate best = {0};
    uint32_t best_format = 0;
    int status = LEGO_OK;

    for (uint32_t f = 0; status == LEGO_OK && f < FIT_FORMATS; f++) {
        struct candidate c;

        if (layer->bytes[f] == UINT64_MAX)
            continue;
        status = candidate_create(w, &c);
        if (status != LEGO_OK)
            break;
        status = solve(w, f, &c);
        layer->distortion[f] = c.distortion;
        const bool within = (double)layer->bytes[f] <= limit;
        const bool best_within = (double)layer->bytes[best_format] <= limit;
        if (status == LEGO_OK &&
            (!best.decoded || (within && !best_within) ||
             (within == best_within && (within ? c.distortion < best.distortion
                                               : layer->bytes[f] < layer->bytes[best_format])))) {
            candidate_clear(&best);
            best = c;
            best_format = f;
        } else {
            candidate_clear(&c);
        }
    }
    if (status == LEGO_OK && best.decoded)
        keep(w, best_format, &best);
    candidate_clear(&best);
    return status;
}

static int quantise(struct work *w)
{
    struct candidate c;
    int status;

    if (w->fit->exploring)
        return explore(w);
    status = candidate_create(w, &c);
    if (status == LEGO_OK)
        status = solve(w, w->layer->format, &c);
    if (status == LEGO_OK)
        keep(w, w->layer->format, &c);
    else
        candidate_clear(&c);
    return status;
}

int fit_quantise_alone(struct fit *fit, struct fit_layer *layer, struct lego_diag *diag)
{
    struct work w;
    int status = work_create(fit, layer, NULL, &w);

    if (status == LEGO_OK)
        status = quantise(&w);
    work_clear(&w);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "weight '%s': %s", layer->weight->name,
                         lego_status_text(status));
    return LEGO_OK;
}

/* What the quantised layer's mean output lacks. */
static void correct_bias(const struct work *w, float *ret_bias)
{
    const struct calibrate_stats *stats = w->stats;
    const size_t n = w->columns;

    memset(ret_bias, 0, w->rows * sizeof(*ret_bias));
    if (!stats->layer->can_bias || !calibrate_takes(stats, ENCODE_STEP_BIAS))
        return;
    for (uint32_t r = 0; r < w->rows; r++) {
        const float *q = w->layer->decoded + r * n;
        const double *mean_x = stats->mean_x + (size_t)(r / w->group_rows) * n;
        double mean = 0;

        for (size_t k = 0; k < n; k++)
            mean += (double)q[k] * mean_x[k];
        ret_bias[r] = (float)(stats->mean_t[r] - mean);
    }
}

int fit_quantise(void *context, const struct calibrate_stats *stats, float *ret_weights,
                 float *ret_bias, struct lego_diag *diag)
{
    struct fit *fit = context;
    struct fit_layer *layer = &fit->layers[stats->layer->weight];
    struct work w;
    int status = work_create(fit, layer, stats, &w);

    if (status == LEGO_OK && !layer->done)
        status = quantise(&w);
    if (status == LEGO_OK) {
        memcpy(ret_weights, layer->decoded, (size_t)w.rows * w.columns * sizeof(float));
        correct_bias(&w, ret_bias);
        layer->done = true;
        if (fit->options->progress)
            fit->options->progress(fit->options->context, layer->weight->name, ++fit->step,
                                   fit->steps, fit_formats[layer->format].name);
    }
    work_clear(&w);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "weight '%s': %s", layer->weight->name,
                         lego_status_text(status));
    return LEGO_OK;
}
