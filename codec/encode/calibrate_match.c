#include "codec/encode/calibrate_match.h"

#include "codec/base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH        128
#define LEAST_BATCH  16
#define BATCH_BYTES  ((size_t)384 << 20)
#define RATE         0.1 /* of the examples' deviation: how far the first steps go */
#define LAST_RATE    0.1 /* of that: the last ones */
#define FIRST_MOMENT 0.9 /* of Adam */
#define OTHER_MOMENT 0.999
#define LEAST_STEPS  8    /* fewer do not bring examples near enough */
#define LEAST_SCALE  0.05 /* of a layer's mean scale, by which what a row lacks is measured */

static bool has_statistics(const struct match *m, uint32_t n)
{
    const float *scale, *shift;

    return m->c->layer_of[n] != NO_LAYER &&
           cal_statistics(m->c, &m->c->layers[m->c->layer_of[n]], &scale, &shift);
}

/* What follows the first input, and what of it leads to statistics by ways that gradients go. */
static bool find_ways(struct match *m)
{
    const struct lego_graph *graph = m->c->graph;
    bool *leads = calloc(graph->value_count + 1, sizeof(*leads)), found = false;

    if (!leads)
        return false;
    m->follows[m->input] = true;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        bool follows = false;

        for (uint32_t i = 0; i < node->input_count; i++)
            follows = follows || (node->inputs[i] >= 0 && m->follows[node->inputs[i]]);
        for (uint32_t i = 0; i < node->output_count; i++)
            if (node->outputs[i] >= 0)
                m->follows[node->outputs[i]] =
                    follows && graph->values[node->outputs[i]].dtype == LEGO_DTYPE_FLOAT32;
    }
    bool good = true;
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct lego_node *node = &graph->nodes[n];
        bool wanted = has_statistics(m, n) && m->follows[node->outputs[0]];

        found = found || wanted;
        for (uint32_t i = 0; i < node->output_count; i++)
            wanted = wanted || (node->outputs[i] >= 0 && leads[node->outputs[i]]);
        for (uint32_t i = 0; wanted && i < node->input_count; i++)
            if (node->inputs[i] >= 0)
                leads[node->inputs[i]] = true;
        const bool follows = node->outputs[0] >= 0 && m->follows[node->outputs[0]];
        m->wanted[n] = wanted;
        good = good && (!wanted || !follows || match_can_pass(m, n));
    }
    free(leads);
    return good && found;
}

/* Multiplications of one step of all examples, there and back. */
static double work_of(const struct match *m)
{
    double work = 0;

    for (uint32_t i = 0; i < m->c->layer_count; i++) {
        const struct layer *l = &m->c->layers[i].layer;

        if (m->wanted[l->node])
            work += 2.0 * l->rows * l->columns * l->positions;
    }
    return work * m->c->images;
}

static bool open_layer(struct match *m, uint32_t index)
{
    const struct layer *l = &m->c->layers[index].layer;
    const float *scale, *shift;

    m->weights[index] = malloc((size_t)l->rows * l->columns * sizeof(float));
    if (!m->weights[index])
        return false;
    cal_transpose_back(l, m->c->layers[index].teacher_t, m->weights[index]);
    if (!cal_statistics(m->c, &m->c->layers[index], &scale, &shift))
        return true;
    m->pull[index] = calloc((size_t)l->rows * 2, sizeof(float));
    return m->pull[index] != NULL;
}

/* How many examples are changed together: their statistics are what is matched. */
static uint32_t batch_of(const struct match *m)
{
    size_t bytes = 1;

    for (uint32_t n = 0; n < m->c->graph->node_count; n++) {
        if (!m->wanted[n])
            continue;
        bytes += m->c->values[m->c->graph->nodes[n].outputs[0]].bytes;
        if (m->c->layer_of[n] != NO_LAYER)
            bytes += sizeof(float) * cal_layer_elems(&m->c->layers[m->c->layer_of[n]].layer);
    }
    const size_t fit = BATCH_BYTES / bytes;
    const uint32_t most = fit > BATCH ? BATCH : fit < LEAST_BATCH ? LEAST_BATCH : (uint32_t)fit;
    const uint32_t batches = (m->c->images + most - 1) / most;
    return (m->c->images + batches - 1) / batches;
}

/* All wanted nodes on the batch, whose values are kept. */
static int run_forward(struct match *m, struct lego_diag *diag)
{
    struct calibration *c = m->c;
    int status = LEGO_OK;

    for (uint32_t n = 0; status == LEGO_OK && n < c->graph->node_count; n++) {
        const uint32_t index = c->layer_of[n];

        if (!m->wanted[n])
            continue;
        if (index == NO_LAYER) {
            status = cal_run_node(c, n, false, diag);
            continue;
        }
        status = cal_linear(c, &c->layers[index], false, m->z[index], diag);
        if (status == LEGO_OK)
            cal_finish(c, &c->layers[index], false, m->z[index]);
    }
    return status;
}

/* One layer's row of the batch: how far it is from its statistics, and what would bring it there.
 */
struct pulling {
    struct match *m;
    uint32_t index;
    const float *scale, *shift;
    double least;
};

static void pull_row(void *context, size_t row)
{
    const struct pulling *p = context;
    const struct cal_layer *layer = &p->m->c->layers[p->index];
    const struct layer *l = &layer->layer;
    const double count = (double)p->m->c->images * l->positions;
    double mean, variance;

    cal_row_moments(p->m->c, l, (uint32_t)row, p->m->z[p->index], &mean, &variance);
    const double deviation = sqrt(fmax(variance, 1e-10));
    const double wanted = fabs((double)p->scale[row]);
    const double unit = (wanted + p->least) * (wanted + p->least) * l->rows * count;
    const double off = mean + (double)layer->offset[row] - (double)p->shift[row];
    const double wide = (deviation - wanted) / deviation;

    p->m->pull[p->index][2 * row] = (float)(2 * (off - wide * mean) / unit);
    p->m->pull[p->index][2 * row + 1] = (float)(2 * wide / unit);
}

static void pull_layer(struct match *m, uint32_t index)
{
    struct pulling p = {.m = m, .index = index};
    const uint32_t rows = m->c->layers[index].layer.rows;

    if (!m->pull[index] || !cal_statistics(m->c, &m->c->layers[index], &p.scale, &p.shift))
        return;
    for (uint32_t r = 0; r < rows; r++)
        p.least += LEAST_SCALE * fabs((double)p.scale[r]) / rows;
    p.least = fmax(p.least, 1e-6);
    encode_workers_run(m->c->workers, rows, pull_row, &p);
}

/* Adam's moments of the batch, and where examples may go. */
struct change {
    struct match *m;
    float *first, *other; /* [images][elems] */
    float lo, hi;         /* of all that was drawn */
    float rate, first_unit, other_unit;
};

static void change_example(void *context, size_t image)
{
    const struct change *a = context;
    const struct cal_value *v = &a->m->c->values[a->m->input];
    const size_t elems = v->bytes / sizeof(float), start = image * elems;
    const float *gradient = a->m->gradients[a->m->input] + start;
    float *x = (float *)v->teacher + start;

    for (size_t i = 0; i < elems; i++) {
        const float g = gradient[i];
        const float first = a->first[start + i] =
            (float)FIRST_MOMENT * a->first[start + i] + (float)(1 - FIRST_MOMENT) * g;
        const float other = a->other[start + i] =
            (float)OTHER_MOMENT * a->other[start + i] + (float)(1 - OTHER_MOMENT) * g * g;
        const float step =
            a->rate * (first * a->first_unit) / (sqrtf(other * a->other_unit) + 1e-20f);
        x[i] = fminf(fmaxf(x[i] - step, a->lo), a->hi);
    }
}

/* One step: forward, back, and the examples are moved. */
static int step(struct match *m, const struct change *change, struct lego_diag *diag)
{
    struct calibration *c = m->c;
    int status = run_forward(m, diag);

    for (uint32_t n = 0; status == LEGO_OK && n < c->graph->node_count; n++)
        if (m->wanted[n] && m->follows[c->graph->nodes[n].outputs[0]])
            status = match_prepare_node(m, n, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < c->layer_count; i++)
        pull_layer(m, i);
    for (uint32_t n = c->graph->node_count; status == LEGO_OK && n-- > 0;)
        if (m->wanted[n] && m->follows[c->graph->nodes[n].outputs[0]])
            status = match_pass_back(m, n, diag);
    if (status == LEGO_OK && m->gradients[m->input])
        encode_workers_run(c->workers, c->images, change_example, (void *)change);
    free(m->gradients[m->input]);
    m->gradients[m->input] = NULL;
    return status;
}

/* The values of the wanted nodes, and what the layers among them put out before they are done. */
static int open_batch(struct match *m, struct lego_diag *diag)
{
    struct calibration *c = m->c;
    int status = LEGO_OK;

    for (uint32_t n = 0; status == LEGO_OK && n < c->graph->node_count; n++) {
        const struct lego_node *node = &c->graph->nodes[n];

        for (uint32_t i = 0; m->wanted[n] && status == LEGO_OK && i < node->output_count; i++)
            if (node->outputs[i] >= 0)
                status = cal_allocate(c, node->outputs[i], false, diag);
        if (!m->wanted[n] || status != LEGO_OK || c->layer_of[n] == NO_LAYER)
            continue;
        const uint32_t index = c->layer_of[n];
        m->z[index] = malloc(cal_layer_elems(&c->layers[index].layer) * c->images * sizeof(float));
        if (!m->z[index])
            status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's output");
    }
    return status;
}

static void close_batch(struct match *m)
{
    for (uint32_t n = 0; n < m->c->graph->node_count; n++) {
        const struct lego_node *node = &m->c->graph->nodes[n];

        for (uint32_t i = 0; m->wanted[n] && i < node->output_count; i++) {
            if (node->outputs[i] < 0)
                continue;
            cal_free(m->c, node->outputs[i]);
            free(m->gradients[node->outputs[i]]);
            m->gradients[node->outputs[i]] = NULL;
        }
    }
    for (uint32_t i = 0; i < m->c->layer_count; i++) {
        free(m->z[i]);
        m->z[i] = NULL;
    }
}

static double power(double base, uint32_t exponent)
{
    double product = 1;

    while (exponent-- > 0)
        product *= base;
    return product;
}

/* Changes the batch that the calibration's images now are. */
static int match_batch(struct match *m, uint32_t steps, struct change *change,
                       struct lego_diag *diag)
{
    const size_t elems = m->c->values[m->input].bytes / sizeof(float) * m->c->images;
    const float rate = change->rate;
    int status = open_batch(m, diag);

    change->first = calloc(elems, sizeof(float));
    change->other = calloc(elems, sizeof(float));
    if (status == LEGO_OK && (!change->first || !change->other))
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for examples");
    for (uint32_t i = 0; status == LEGO_OK && i < steps; i++) {
        change->rate = rate * (1 - (1 - (float)LAST_RATE) * (float)i / (float)steps);
        change->first_unit = (float)(1 / (1 - power(FIRST_MOMENT, i + 1)));
        change->other_unit = (float)(1 / (1 - power(OTHER_MOMENT, i + 1)));
        status = step(m, change, diag);
    }
    change->rate = rate;
    free(change->first);
    free(change->other);
    close_batch(m);
    return status;
}

/* Batch after batch, each seen as all that the calibration has. */
static int match_all(struct match *m, uint32_t steps, struct lego_diag *diag)
{
    struct calibration *c = m->c;
    const float *drawn = (const float *)c->values[m->input].teacher;
    const size_t elems = c->values[m->input].bytes / sizeof(float) * c->images;
    const uint32_t images = c->images, batch = batch_of(m);
    const bool adapts = c->adapts;
    struct change change = {.m = m, .lo = INFINITY, .hi = -INFINITY};
    double sum = 0, squares = 0;
    int status = LEGO_OK;

    for (size_t i = 0; i < elems; i++) {
        const float x = drawn[i];
        change.lo = x < change.lo ? x : change.lo;
        change.hi = x > change.hi ? x : change.hi;
        sum += (double)x;
        squares += (double)x * (double)x;
    }
    const double mean = sum / (double)elems;
    change.rate = (float)(RATE * sqrt(fmax(squares / (double)elems - mean * mean, 0)));
    /* Until they match, layers are to do to examples what they do to real data. */
    c->adapts = false;
    for (uint32_t i = 0; i < c->layer_count; i++)
        cal_adapt(c, &c->layers[i], NULL);
    for (uint32_t first = 0; status == LEGO_OK && first < images; first += batch) {
        cal_take(c, first, images - first < batch ? images - first : batch);
        status = match_batch(m, steps, &change, diag);
    }
    cal_take(c, 0, images);
    c->adapts = adapts;
    return status;
}

static void match_clear(struct match *m)
{
    for (uint32_t n = 0; m->moves && n < m->c->graph->node_count; n++) {
        for (uint32_t i = 0; m->moves[n] && i < m->c->graph->nodes[n].input_count; i++)
            free(m->moves[n][i]);
        free(m->moves[n]);
    }
    for (uint32_t i = 0; m->weights && m->pull && i < m->c->layer_count; i++) {
        free(m->weights[i]);
        free(m->pull[i]);
    }
    free(m->wanted);
    free(m->follows);
    free(m->gradients);
    free(m->weights);
    free(m->z);
    free(m->pull);
    free(m->moves);
}

int calibrate_match(struct calibration *c, uint32_t steps, double most_work, bool *ret_matched,
                    struct lego_diag *diag)
{
    const size_t nodes = c->graph->node_count + 1, values = c->graph->value_count + 1;
    const size_t layers = c->layer_count + 1;
    struct match m = {.c = c, .input = (uint32_t)c->graph->inputs[0]};
    int status = LEGO_OK;

    *ret_matched = false;
    m.wanted = calloc(nodes, sizeof(*m.wanted));
    m.follows = calloc(values, sizeof(*m.follows));
    m.gradients = calloc(values, sizeof(*m.gradients));
    m.weights = calloc(layers, sizeof(*m.weights));
    m.z = calloc(layers, sizeof(*m.z));
    m.pull = calloc(layers, sizeof(*m.pull));
    m.moves = calloc(nodes, sizeof(*m.moves));
    bool enough = m.wanted && m.follows && m.gradients && m.weights && m.z && m.pull && m.moves;
    if (enough && c->synthetic && c->graph->values[m.input].dtype == LEGO_DTYPE_FLOAT32 &&
        find_ways(&m)) {
        const double affordable = most_work / fmax(work_of(&m), 1);

        steps = affordable < steps ? (uint32_t)affordable : steps;
        *ret_matched = steps >= LEAST_STEPS;
    }
    if (*ret_matched) {
        for (uint32_t n = 0; enough && n < c->graph->node_count; n++)
            if (m.wanted[n] && c->layer_of[n] != NO_LAYER)
                enough = open_layer(&m, c->layer_of[n]);
        if (enough)
            status = match_all(&m, steps, diag);
    }
    if (!enough)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for gradients");
    match_clear(&m);
    return status;
}
