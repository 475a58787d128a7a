#include "codec/encode/calibrate_internal.h"
#include "codec/encode/portable.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PERTURBATION 0.3 /* of the weights' deviation */
#define MEMORY_BYTES ((uint64_t)512 << 20)
#define MAX_IMAGES   32 /* where they fit the memory at once */
#define MIN_IMAGES   16 /* in several batches where not */
#define LEAST_BATCH  4  /* whose outputs are centred together */

/* Runs the teacher through the whole graph, keeping every value. */
static int run_teacher(struct calibration *c, struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t n = 0; status == LEGO_OK && n < c->graph->node_count; n++) {
        const struct lego_node *node = &c->graph->nodes[n];

        for (uint32_t i = 0; status == LEGO_OK && i < node->output_count; i++) {
            if (node->outputs[i] >= 0) {
                cal_free(c, node->outputs[i]);
                status = cal_allocate(c, node->outputs[i], false, diag);
            }
        }
        if (status != LEGO_OK)
            break;
        if (c->layer_of[n] == NO_LAYER) {
            status = cal_run_node(c, n, false, diag);
            continue;
        }
        struct cal_layer *layer = &c->layers[c->layer_of[n]];
        float *z = malloc(cal_layer_elems(&layer->layer) * c->images * sizeof(float));
        status = z ? cal_linear(c, layer, false, z, diag)
                   : lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's output");
        if (status == LEGO_OK) {
            if (!c->adapted)
                cal_adapt(c, layer, z);
            memcpy(layer->student_offset, layer->offset, layer->layer.rows * sizeof(float));
            cal_finish(c, layer, false, z);
        }
        free(z);
    }
    return status;
}

/* What a layer's perturbation changes, squared: its own outputs, and the network's. */
struct sense {
    double energy, change;
};

/* One layer's change, centred per row: adds it to the student's output; its energy. */
static double add_change(const struct calibration *c, const struct cal_layer *layer,
                         const float *teacher_z, float *z)
{
    const struct layer *l = &layer->layer;
    const double count = (double)c->images * l->positions;
    double energy = 0;

    for (uint32_t row = 0; row < l->rows; row++) {
        double sum = 0, squares = 0;

        for (uint32_t image = 0; image < c->images; image++) {
            const size_t base = image * cal_layer_elems(l);
            for (uint32_t p = 0; p < l->positions; p++) {
                const size_t at = base + layer_output_index(l, row, p);
                const double change = (double)z[at] - (double)teacher_z[at];
                sum += change;
                squares += change * change;
            }
        }
        const float mean = (float)(sum / count);
        energy += fmax(squares / count - (double)mean * (double)mean, 0);
        for (uint32_t image = 0; image < c->images; image++) {
            const size_t base = image * cal_layer_elems(l);
            for (uint32_t p = 0; p < l->positions; p++)
                z[base + layer_output_index(l, row, p)] -= mean;
        }
    }
    return energy;
}

/* Weights plus noise, transposed as layer_forward wants them. */
static void perturb(struct calibration *c, const struct cal_layer *layer, float *ret_t)
{
    const size_t elems = (size_t)layer->layer.rows * layer->layer.columns;
    struct encode_random random;
    double sum = 0, squares = 0;

    for (size_t i = 0; i < elems; i++) {
        sum += (double)layer->teacher_t[i];
        squares += (double)layer->teacher_t[i] * (double)layer->teacher_t[i];
    }
    const double mean = sum / (double)elems;
    const double spread = PERTURBATION * sqrt(fmax(squares / (double)elems - mean * mean, 1e-20));
    encode_random_seed(&random, c->seed ^ (0xa0761d64u + (uint64_t)layer->layer.node));
    for (size_t i = 0; i < elems; i++)
        ret_t[i] = layer->teacher_t[i] + (float)(spread * random_normal(&random));
}

/* Runs the student through what depends on values that differ. */
static int run_changed(struct calibration *c, uint32_t first, struct lego_diag *diag)
{
    int status = LEGO_OK;

    for (uint32_t n = first; status == LEGO_OK && n < c->graph->node_count; n++) {
        const struct lego_node *node = &c->graph->nodes[n];

        if (!cal_node_differs(c, n))
            continue;
        for (uint32_t i = 0; status == LEGO_OK && i < node->output_count; i++) {
            if (node->outputs[i] >= 0)
                status = cal_allocate(c, node->outputs[i], true, diag);
        }
        if (status == LEGO_OK && c->layer_of[n] == NO_LAYER) {
            status = cal_run_node(c, n, true, diag);
        } else if (status == LEGO_OK) {
            const struct cal_layer *layer = &c->layers[c->layer_of[n]];
            float *z = malloc(cal_layer_elems(&layer->layer) * c->images * sizeof(float));

            status = z ? cal_linear(c, layer, true, z, diag)
                       : lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's output");
            if (status == LEGO_OK)
                cal_finish(c, layer, true, z);
            free(z);
        }
    }
    return status;
}

/* Mean squared change of the logits, centred over the classes of each example. */
static double logit_change(const struct calibration *c)
{
    const struct cal_value *v = &c->values[c->logits];
    const size_t elems = v->bytes / sizeof(float);
    double total = 0;

    for (uint32_t image = 0; image < c->images; image++) {
        const float *a = (const float *)(v->teacher + image * v->bytes);
        const float *b = (const float *)(v->student + image * v->bytes);
        double sum = 0, squares = 0;

        for (size_t i = 0; i < elems; i++) {
            const double e = (double)b[i] - (double)a[i];
            sum += e;
            squares += e * e;
        }
        total += squares - sum * sum / (double)elems;
    }
    return total / c->images;
}

/* Runs the student's node with a recurrent layer changed; adds the energy of the change. */
static int change_recurrent(struct calibration *c, struct cal_layer *layer, struct sense *sense,
                            struct lego_diag *diag)
{
    const struct layer *l = &layer->layer;
    const size_t elems = (size_t)l->rows * l->columns;
    float *perturbed = malloc(3 * elems * sizeof(float));
    double energy = 0;
    int status = LEGO_OK;

    if (!perturbed)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a layer's weights");
    float *difference = perturbed + elems, *change = difference + elems;
    perturb(c, layer, perturbed);
    for (size_t i = 0; i < elems; i++)
        difference[i] = perturbed[i] - layer->teacher_t[i];
    cal_transpose_back(l, difference, change);
    status = cal_change_energy(c, layer, change, &energy, diag);
    sense->energy += energy;
    if (status == LEGO_OK)
        status = cal_allocate_outputs(c, l->node, true, diag);
    layer->student_t = perturbed;
    if (status == LEGO_OK)
        status = cal_run_node(c, l->node, true, diag);
    layer->student_t = NULL;
    free(perturbed);
    return status;
}

/* The same of a layer that is a product. */
static int change_product(struct calibration *c, struct cal_layer *layer, struct sense *sense,
                          struct lego_diag *diag)
{
    const struct layer *l = &layer->layer;
    const size_t elems = cal_layer_elems(l) * c->images;
    float *teacher_z = malloc(elems * sizeof(float)), *z = malloc(elems * sizeof(float));
    float *perturbed = malloc((size_t)l->rows * l->columns * sizeof(float));
    int status = LEGO_E_NOMEM;

    if (teacher_z && z && perturbed) {
        perturb(c, layer, perturbed);
        status = cal_linear(c, layer, false, teacher_z, diag);
        layer->student_t = perturbed;
        if (status == LEGO_OK)
            status = cal_linear(c, layer, true, z, diag);
        layer->student_t = NULL;
    }
    if (status == LEGO_OK) {
        sense->energy += add_change(c, layer, teacher_z, z);
        status = cal_allocate(c, c->graph->nodes[l->node].outputs[0], true, diag);
    }
    if (status == LEGO_OK)
        cal_finish(c, layer, true, z);
    free(teacher_z);
    free(z);
    free(perturbed);
    return status;
}

/* Adds what a changed layer's outputs and the network's change by. */
static int sense_layer(struct calibration *c, struct cal_layer *layer, struct sense *sense,
                       struct lego_diag *diag)
{
    int status = layer->layer.directions > 0 ? change_recurrent(c, layer, sense, diag)
                                             : change_product(c, layer, sense, diag);

    if (status == LEGO_OK)
        status = run_changed(c, layer->layer.node + 1, diag);
    if (status == LEGO_OK)
        sense->change += logit_change(c);
    for (uint32_t v = 0; v < c->graph->value_count; v++)
        cal_free_student(c, (int32_t)v);
    return status;
}

/* How many examples all values of the teacher may be kept for. */
static uint32_t choose_batch(const struct calibration *c)
{
    uint64_t bytes = 1;

    for (uint32_t v = 0; v < c->graph->value_count; v++)
        bytes += c->values[v].bytes;
    const uint64_t images = MEMORY_BYTES / (2 * bytes);
    const uint64_t bounded = images > MAX_IMAGES    ? MAX_IMAGES
                             : images < LEAST_BATCH ? LEAST_BATCH
                                                    : images;
    return bounded < c->images ? (uint32_t)bounded : c->images;
}

static int sense_batch(struct calibration *c, struct sense *senses, struct lego_diag *diag)
{
    int status = run_teacher(c, diag);

    for (uint32_t i = 0; status == LEGO_OK && i < c->layer_count; i++)
        status = sense_layer(c, &c->layers[i], &senses[i], diag);
    return status;
}

int calibrate_sensitivity(struct calibration *c, double *ret_sensitivity, struct lego_diag *diag)
{
    const uint32_t all = c->images, batch = choose_batch(c);
    struct sense *senses = calloc(c->layer_count + 1, sizeof(*senses));
    double logs = 0;
    int status = senses ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory");

    for (uint32_t first = 0; status == LEGO_OK && first + batch <= all; first += batch) {
        if (first > 0 && first + batch > MIN_IMAGES)
            break;
        cal_take(c, first, batch);
        status = sense_batch(c, senses, diag);
    }
    cal_take(c, 0, all);
    for (uint32_t i = 0; status == LEGO_OK && i < c->layer_count; i++) {
        ret_sensitivity[i] = fmax(senses[i].change, 1e-20) / fmax(senses[i].energy, 1e-20);
        logs += portable_log(ret_sensitivity[i]);
    }
    const double mean = c->layer_count > 0 ? portable_exp(logs / c->layer_count) : 1;
    for (uint32_t i = 0; status == LEGO_OK && i < c->layer_count; i++)
        ret_sensitivity[i] /= mean;
    free(senses);
    return status;
}
