/* What the walk tells of a layer: samples of its inputs and targets, and their moments. */
#include "codec/base/arith.h"
#include "codec/encode/calibrate_internal.h"
#include "codec/encode/linear.h"
#include "codec/encode/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CENTRED      16
#define SAMPLES      8192 /* of a layer's input, that its statistics are made of */
#define LEAST        16   /* of them, from each example */
#define FEW          4 /* examples for each column, below which a moment of pooled inputs is thin */
#define POOLED       0.75                /* of the moment, that is of what was pooled */
#define TARGET_BYTES ((size_t)256 << 20) /* that the teacher's targets may take between walks */

/* How many samples of a layer each example gives. */
static uint32_t samples_per_image(const struct calibration *c, const struct layer *layer)
{
    const uint32_t wanted = SAMPLES / c->images > LEAST ? SAMPLES / c->images : LEAST;

    return (uint32_t)lego_min_size(layer->positions, wanted);
}

bool cal_keeps_targets(const struct calibration *c)
{
    size_t floats = 0;

    for (uint32_t i = 0; i < c->layer_count; i++) {
        const struct layer *layer = &c->layers[i].layer;

        floats += (size_t)samples_per_image(c, layer) * c->images * layer->rows *
                  (layer->residual >= 0 ? 2 : 1);
    }
    return floats <= TARGET_BYTES / sizeof(float);
}

/* The samples of one layer: places, inputs, targets. */
struct sampling {
    struct calibration *c;
    const struct cal_layer *layer;
    const float *z; /* the teacher's; NULL: the layer has kept its targets */
    uint32_t per_image, count;
    uint32_t *places; /* [images][per_image] */
    uint32_t group;
    float *x;    /* [count][columns] of `group` */
    float *t;    /* [count][rows] */
    float *seen; /* [count][cal_seen_elems] of a recurrent layer, for all groups; else NULL */
};

static void pick_places(struct sampling *s)
{
    const uint32_t positions = s->layer->layer.positions;
    struct encode_random random;

    encode_random_seed(&random, s->c->seed + 77 * (uint64_t)s->layer->layer.node);
    for (uint32_t i = 0; i < s->count; i++) {
        const double at =
            ((double)(i % s->per_image) + encode_random_unit(&random)) * positions / s->per_image;
        s->places[i] = (uint32_t)lego_min_size((size_t)at, positions - 1);
    }
}

/* The student's input columns at the places of one example. */
static void sample_inputs(void *context, size_t image)
{
    struct sampling *s = context;
    const struct layer *l = &s->layer->layer;
    const struct cal_value *v = &s->c->values[s->c->graph->nodes[l->node].inputs[0]];
    const size_t elems = s->seen ? cal_seen_elems(l) : 0;

    for (size_t i = image * s->per_image; s->seen && i < (image + 1) * s->per_image; i++)
        memcpy(s->x + i * l->columns, s->seen + i * elems + cal_seen_by(l, s->group),
               l->columns * sizeof(*s->x));
    if (s->seen)
        return;
    layer_samples(l, (const float *)(v->student + image * v->bytes), s->group,
                  s->places + image * s->per_image, s->per_image,
                  s->x + image * s->per_image * l->columns);
}

/* What the layer should put out: the teacher's z, plus what the other operand of a residual sum
 * lacks. What that takes of the teacher is the same in every walk. */
static void sample_targets(void *context, size_t image)
{
    struct sampling *s = context;
    const struct cal_layer *layer = s->layer;
    const struct layer *l = &layer->layer;
    const struct cal_value *v = layer->mends ? &s->c->values[l->residual] : NULL;
    const float *teacher = v ? (const float *)(v->teacher + image * v->bytes) : NULL;
    const float *student = v ? (const float *)(v->student + image * v->bytes) : NULL;

    for (uint32_t i = 0; i < s->per_image; i++) {
        const size_t sample = image * s->per_image + i;

        for (uint32_t row = 0; row < l->rows; row++) {
            const size_t at = layer_output_index(l, row, s->places[sample]);
            const size_t kept = sample * l->rows + row;
            const float z = s->z ? s->z[image * cal_layer_elems(l) + at] : layer->targets[kept];
            float other = 0;

            if (v)
                other = s->z ? teacher[at] : layer->residuals[kept];
            if (s->z && layer->targets)
                layer->targets[kept] = z;
            if (s->z && layer->residuals)
                layer->residuals[kept] = other;
            s->t[kept] = v ? z + (other - student[at]) / layer->ratio[row] : z;
        }
    }
}

/* Removes each column's mean from `samples` rows of n. */
struct centring {
    float *x;
    size_t samples, n;
    double *means;
};

/* CENTRED columns, so that whole cache lines are read. */
static void centre_columns(void *context, size_t block)
{
    const struct centring *c = context;
    const size_t first = block * CENTRED, count = lego_min_size(CENTRED, c->n - first);
    double sums[CENTRED] = {0};
    float means[CENTRED];

    for (size_t s = 0; s < c->samples; s++) {
        for (size_t i = 0; i < count; i++)
            sums[i] += (double)c->x[s * c->n + first + i];
    }
    for (size_t i = 0; i < count; i++) {
        c->means[first + i] = sums[i] / (double)c->samples;
        means[i] = (float)c->means[first + i];
    }
    for (size_t s = 0; s < c->samples; s++) {
        for (size_t i = 0; i < count; i++)
            c->x[s * c->n + first + i] -= means[i];
    }
}

/* Buffers of one layer's statistics. */
struct statistics {
    float *weights;
    double *h, *mean_x, *tx, *mean_t, *cross;
};

static void statistics_clear(struct statistics *st)
{
    free(st->weights);
    free(st->h);
    free(st->mean_x);
    free(st->tx);
    free(st->mean_t);
    free(st->cross);
}

static bool statistics_create(struct statistics *st, const struct layer *l)
{
    const size_t elems = (size_t)l->rows * l->columns;

    st->weights = malloc(elems * sizeof(float));
    st->h = malloc((size_t)l->groups * l->columns * l->columns * sizeof(double));
    st->mean_x = malloc((size_t)l->groups * l->columns * sizeof(double));
    st->tx = malloc(elems * sizeof(double));
    st->cross = malloc(elems * sizeof(double));
    st->mean_t = malloc(l->rows * sizeof(double));
    return st->weights && st->h && st->mean_x && st->tx && st->cross && st->mean_t;
}

/* The targets of one group's rows, packed. */
static void pack_group(const struct sampling *s, float *ret_t)
{
    const struct layer *l = &s->layer->layer;

    for (uint32_t i = 0; i < s->count; i++)
        memcpy(ret_t + (size_t)i * l->group_rows,
               s->t + (size_t)i * l->rows + s->group * l->group_rows,
               l->group_rows * sizeof(float));
}

static int measure_groups(struct sampling *s, struct statistics *st)
{
    const struct layer *l = &s->layer->layer;
    const size_t n = l->columns;
    struct centring targets = {.x = s->t, .samples = s->count, .n = l->rows, .means = st->mean_t};
    float *packed = malloc(sizeof(float) * s->count * l->group_rows);
    int status = packed ? LEGO_OK : LEGO_E_NOMEM;

    encode_workers_run(s->c->workers, lego_div_up(l->rows, CENTRED), centre_columns, &targets);
    for (s->group = 0; status == LEGO_OK && s->group < l->groups; s->group++) {
        struct centring inputs = {
            .x = s->x, .samples = s->count, .n = n, .means = st->mean_x + s->group * n};

        encode_workers_run(s->c->workers, s->c->images, sample_inputs, s);
        encode_workers_run(s->c->workers, lego_div_up(n, CENTRED), centre_columns, &inputs);
        pack_group(s, packed);
        if (status == LEGO_OK)
            status = linear_moment(s->x, s->count, n, s->c->workers, st->h + s->group * n * n);
        if (status == LEGO_OK)
            status = linear_cross(packed, s->x, s->count, l->group_rows, n, s->c->workers,
                                  st->tx + (size_t)s->group * l->group_rows * n);
    }
    free(packed);
    return status;
}

static void sampling_clear(struct sampling *s)
{
    free(s->places);
    free(s->x);
    free(s->t);
    free(s->seen);
}

static bool sampling_create(struct sampling *s)
{
    const struct layer *l = &s->layer->layer;

    s->per_image = samples_per_image(s->c, l);
    s->count = s->per_image * s->c->images;
    s->places = malloc(s->count * sizeof(*s->places));
    s->x = malloc((size_t)s->count * l->columns * sizeof(float));
    s->t = malloc((size_t)s->count * l->rows * sizeof(float));
    if (l->directions > 0)
        s->seen = malloc(s->count * cal_seen_elems(l) * sizeof(float));
    return s->places && s->x && s->t && (s->seen || l->directions == 0);
}

/* Room for what later walks want of the teacher. */
static bool keep_targets(struct cal_layer *layer, size_t samples)
{
    const size_t bytes = samples * layer->layer.rows * sizeof(float);

    if (!layer->targets)
        layer->targets = malloc(bytes);
    if (layer->mends && !layer->residuals)
        layer->residuals = malloc(bytes);
    return layer->targets && (layer->residuals || !layer->mends);
}

/* The targets and the student's inputs of a recurrent layer. */
static int sample_recurrent(struct sampling *s, struct lego_diag *diag)
{
    const struct layer *l = &s->layer->layer;
    const size_t bytes = (size_t)s->count * l->rows * sizeof(float);
    int status = LEGO_OK;

    if (s->c->alone) {
        memcpy(s->t, s->layer->targets, bytes);
    } else {
        status = cal_gather(s->c, l, s->places, s->per_image, false, s->seen, diag);
        if (status == LEGO_OK &&
            cal_multiply(s->c, s->layer, s->seen, s->per_image, s->t) != LEGO_OK)
            status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's targets");
        if (status == LEGO_OK && s->layer->targets)
            memcpy(s->layer->targets, s->t, bytes);
    }
    return status == LEGO_OK ? cal_gather(s->c, l, s->places, s->per_image, true, s->seen, diag)
                             : status;
}

/* Samples a layer and takes the moments of the samples. */
static int measure(struct calibration *c, struct cal_layer *layer, const float *z,
                   struct statistics *st, struct lego_diag *diag)
{
    struct sampling s = {.c = c, .layer = layer, .z = z};
    bool enough = sampling_create(&s);

    if (enough && !c->alone) {
        /* The states that R sees have moved with W. */
        layer->moved = cal_node_differs(c, layer->layer.node) || layer->layer.input == 2;
        layer->mends = layer->layer.residual >= 0 && !(c->without & ENCODE_WITHOUT(RESIDUAL)) &&
                       cal_value_differs(c, layer->layer.residual);
        enough = !c->keeps_targets || keep_targets(layer, s.count);
    }
    int status = LEGO_OK;
    if (enough) {
        pick_places(&s);
        if (s.seen)
            status = sample_recurrent(&s, diag);
        else
            encode_workers_run(c->workers, c->images, sample_targets, &s);
        enough = status != LEGO_OK || measure_groups(&s, st) == LEGO_OK;
    }
    sampling_clear(&s);
    return enough ? status
                  : lego_fail(diag, LEGO_E_NOMEM, "out of memory for layer '%s'",
                              c->graph->nodes[layer->layer.node].name);
}

/* The moments of what a recurrent layer sees, group by group, and what the change makes of it. */
static int change_of_groups(struct sampling *s, const float *change, double *ret_energy)
{
    const struct layer *l = &s->layer->layer;
    const size_t n = l->columns;
    double *h = malloc(n * n * sizeof(*h)), *means = malloc(n * sizeof(*means));
    double *none = calloc((size_t)l->group_rows * n, sizeof(*none));
    double *energy = calloc(2 * (size_t)l->group_rows, sizeof(*energy));
    int status = h && means && none && energy ? LEGO_OK : LEGO_E_NOMEM;

    *ret_energy = 0;
    for (s->group = 0; status == LEGO_OK && s->group < l->groups; s->group++) {
        struct centring inputs = {.x = s->x, .samples = s->count, .n = n, .means = means};

        encode_workers_run(s->c->workers, s->c->images, sample_inputs, s);
        encode_workers_run(s->c->workers, lego_div_up(n, CENTRED), centre_columns, &inputs);
        status = linear_moment(s->x, s->count, n, s->c->workers, h);
        if (status == LEGO_OK)
            status = linear_scales(h, none, change + (size_t)s->group * l->group_rows * n,
                                   l->group_rows, n, s->c->workers, energy, energy + l->group_rows);
        for (uint32_t r = 0; status == LEGO_OK && r < l->group_rows; r++)
            *ret_energy += energy[l->group_rows + r];
    }
    free(h);
    free(means);
    free(none);
    free(energy);
    return status;
}

int cal_change_energy(struct calibration *c, const struct cal_layer *layer, const float *change,
                      double *ret_energy, struct lego_diag *diag)
{
    struct sampling s = {.c = c, .layer = layer};
    bool enough = sampling_create(&s);
    int status = LEGO_OK;

    if (enough) {
        pick_places(&s);
        status = cal_gather(c, &layer->layer, s.places, s.per_image, false, s.seen, diag);
        enough = status != LEGO_OK || change_of_groups(&s, change, ret_energy) == LEGO_OK;
    }
    sampling_clear(&s);
    return enough ? status
                  : lego_fail(diag, LEGO_E_NOMEM, "out of memory for layer '%s'",
                              c->graph->nodes[layer->layer.node].name);
}

/* Places of what is pooled, as samples: [count][columns]. */
struct unpooling {
    const struct calibration *c;
    const struct cal_value *value;
    size_t columns, places, per_image;
    float *x;
};

static void unpool_example(void *context, size_t image)
{
    const struct unpooling *u = context;
    const float *from = (const float *)(u->value->student + image * u->value->bytes);
    float *x = u->x + image * u->per_image * u->columns;

    for (size_t i = 0; i < u->per_image; i++)
        for (size_t k = 0; k < u->columns; k++)
            x[i * u->columns + k] = from[k * u->places + i * u->places / u->per_image];
}

static double trace_of(const double *h, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += h[i * n + i];
    return sum;
}

/*
 * A moment of pooled features has a rank of no more than the examples, so that errors in most
 * directions would look free. The moment of the features before they are pooled, scaled to the same
 * trace, knows the others. The cross moment moves with it, as if the targets were of such inputs:
 * what the weights are pulled to stays.
 */
static int blend_pooled(const struct calibration *c, const struct cal_layer *layer,
                        struct statistics *st)
{
    const size_t n = layer->layer.columns, rows = layer->layer.rows;
    const struct cal_value *value = &c->values[layer->layer.pooled];
    struct unpooling u = {
        .c = c, .value = value, .columns = n, .places = value->bytes / sizeof(float) / n};

    u.per_image = lego_min_size(u.places, SAMPLES / c->images > 1 ? SAMPLES / c->images : 1);
    const size_t count = u.per_image * c->images;
    double *moment = malloc(n * n * sizeof(*moment)), *means = malloc(n * sizeof(*means));
    int status = LEGO_E_NOMEM;

    u.x = malloc(count * n * sizeof(*u.x));
    if (moment && means && u.x) {
        struct centring centring = {.x = u.x, .samples = count, .n = n, .means = means};

        encode_workers_run(c->workers, c->images, unpool_example, &u);
        encode_workers_run(c->workers, lego_div_up(n, CENTRED), centre_columns, &centring);
        status = linear_moment(u.x, count, n, c->workers, moment);
    }
    if (status == LEGO_OK) {
        const double scale = trace_of(st->h, n) / fmax(trace_of(moment, n), 1e-30);

        for (size_t i = 0; i < n * n; i++) {
            moment[i] = POOLED * (scale * moment[i] - st->h[i]);
            st->h[i] += moment[i];
        }
        status = linear_product(st->weights, moment, rows, n, c->workers, st->cross);
    }
    for (size_t i = 0; status == LEGO_OK && i < rows * n; i++)
        st->tx[i] += st->cross[i];
    free(moment);
    free(means);
    free(u.x);
    return status;
}

void cal_transpose_back(const struct layer *l, const float *transposed, float *ret_weights)
{
    for (uint32_t row = 0; row < l->rows; row++) {
        const uint32_t group = row / l->group_rows, r = row % l->group_rows;

        for (uint32_t k = 0; k < l->columns; k++)
            ret_weights[(size_t)row * l->columns + k] =
                transposed[((size_t)group * l->columns + k) * l->group_rows + r];
    }
}

int cal_quantise_layer(struct calibration *c, struct cal_layer *layer, const float *z,
                       calibrate_quantise quantise, void *context, struct lego_diag *diag)
{
    const struct layer *l = &layer->layer;
    const size_t elems = (size_t)l->rows * l->columns;
    const bool blends = l->pooled >= 0 && c->images < FEW * l->columns;
    struct statistics st = {0};
    float *quantised = malloc(elems * sizeof(float));
    float *bias = calloc(l->rows, sizeof(float));
    float *student_t = malloc(elems * sizeof(float));
    int status = LEGO_E_NOMEM;

    if (statistics_create(&st, l) && quantised && bias && student_t)
        status = measure(c, layer, z, &st, diag);
    else
        lego_fail(diag, status, "out of memory for layer '%s'", c->graph->nodes[l->node].name);
    if (status == LEGO_OK) {
        const struct calibrate_stats stats = {.layer = l,
                                              .weight = &c->weights[l->weight],
                                              .weights = st.weights,
                                              .h = st.h,
                                              .mean_x = st.mean_x,
                                              .tx = st.tx,
                                              .mean_t = st.mean_t,
                                              .without = c->without,
                                              .pooled = blends,
                                              .moved = layer->moved};

        cal_transpose_back(l, layer->teacher_t, st.weights);
        if (blends && blend_pooled(c, layer, &st) != LEGO_OK)
            status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's moments");
        else
            status = quantise(context, &stats, quantised, bias, diag);
    }
    /* Without the sequence the student goes on as the teacher, and no later layer sees this one. */
    if (status == LEGO_OK && !(c->without & ENCODE_WITHOUT(SEQUENCE))) {
        cal_transpose(l, quantised, student_t);
        free(layer->student_t);
        layer->student_t = student_t;
        student_t = NULL;
        for (uint32_t row = 0; row < l->rows; row++)
            layer->student_offset[row] = layer->offset[row] + layer->ratio[row] * bias[row];
    }
    free(quantised);
    free(bias);
    free(student_t);
    statistics_clear(&st);
    return status;
}
