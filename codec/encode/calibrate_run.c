#include "codec/encode/calibrate_internal.h"
#include "codec/encode/portable.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Running one node for all examples. */
struct run {
    struct calibration *c;
    const struct lego_node *node;
    bool student;
    struct cal_operands operands;  /* cal_run_node */
    const struct cal_layer *layer; /* cal_linear, cal_finish */
    float *z;
    int status;
    struct lego_diag diag;
};

void cal_fail_once(int *held, struct lego_diag *held_diag, int status, const struct lego_diag *diag)
{
    int expected = LEGO_OK;

    if (__atomic_compare_exchange_n(held, &expected, status, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST))
        *held_diag = *diag;
}

struct lego_array cal_value_array(const struct calibration *c, int32_t value, size_t image,
                                  bool student)
{
    const struct lego_value *v = &c->graph->values[value];
    struct lego_array array = {.dtype = v->dtype, .shape = v->shape};

    if (v->tensor >= 0) {
        array.data = (void *)c->graph->tensors[v->tensor].data;
    } else {
        const struct cal_value *held = &c->values[value];
        array.data = (student ? held->student : held->teacher) + image * held->bytes;
    }
    return array;
}

void cal_node_inputs(const struct calibration *c, const struct lego_node *node, size_t image,
                     bool student, const struct cal_operands *operands, struct lego_array *inputs,
                     const struct lego_array **ret_pointers)
{
    for (uint32_t i = 0; i < node->input_count; i++) {
        ret_pointers[i] = NULL;
        if (node->inputs[i] < 0)
            continue;
        inputs[i] = cal_value_array(c, node->inputs[i], image, student);
        if (i < CAL_REPLACED && operands->data[i])
            inputs[i].data = operands->data[i];
        ret_pointers[i] = &inputs[i];
    }
}

static void run_example(void *context, size_t image)
{
    struct run *run = context;
    const struct lego_node *node = run->node;
    struct lego_array inputs[CAL_MAX_OPERANDS], outputs[CAL_MAX_OPERANDS] = {{0}};
    const struct lego_array *pointers[CAL_MAX_OPERANDS];
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_arena *scratch = lego_arena_create(0);
    int status = LEGO_E_NOMEM;

    cal_node_inputs(run->c, node, image, run->student, &run->operands, inputs, pointers);
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] >= 0)
            outputs[i] = cal_value_array(run->c, node->outputs[i], image, run->student);
    }
    if (scratch)
        status = lego_eval_node(run->c->graph, node, pointers, outputs, scratch, &diag);
    if (status != LEGO_OK)
        cal_fail_once(&run->status, &run->diag, status, &diag);
    lego_arena_destroy(scratch);
}

int cal_run_node(struct calibration *c, uint32_t node, bool student, struct lego_diag *diag)
{
    struct run run = {.c = c, .node = &c->graph->nodes[node], .student = student};

    if (run.node->input_count > CAL_MAX_OPERANDS || run.node->output_count > CAL_MAX_OPERANDS)
        return lego_fail(diag, LEGO_E_LIMIT, "node '%s' has over %d inputs or outputs",
                         run.node->name, CAL_MAX_OPERANDS);
    const int status = cal_operands_open(c, node, student, &run.operands, diag);
    if (status != LEGO_OK)
        return status;
    encode_workers_run(c->workers, c->images, run_example, &run);
    cal_operands_close(&run.operands);
    if (run.status != LEGO_OK)
        return lego_fail(diag, run.status, "calibrating: %s",
                         lego_diag_text(&run.diag, run.status));
    return LEGO_OK;
}

static void linear_example(void *context, size_t image)
{
    struct run *run = context;
    const struct layer *layer = &run->layer->layer;
    const struct lego_array input =
        cal_value_array(run->c, run->node->inputs[0], image, run->student);
    const float *weights =
        run->student && run->layer->student_t ? run->layer->student_t : run->layer->teacher_t;
    float *scratch = malloc(layer_scratch(layer) * sizeof(float));

    if (!scratch) {
        cal_fail_once(&run->status, &run->diag, LEGO_E_NOMEM, &(struct lego_diag)LEGO_DIAG_INIT);
        return;
    }
    layer_forward(layer, encode_workers_kernels(run->c->workers), weights, input.data, scratch,
                  run->z + image * cal_layer_elems(layer));
    free(scratch);
}

int cal_linear(struct calibration *c, const struct cal_layer *layer, bool student, float *z,
               struct lego_diag *diag)
{
    struct run run = {.c = c,
                      .node = &c->graph->nodes[layer->layer.node],
                      .student = student,
                      .layer = layer,
                      .z = z};

    encode_workers_run(c->workers, c->images, linear_example, &run);
    if (run.status != LEGO_OK)
        return lego_fail(diag, run.status, "out of memory for layer '%s'", run.node->name);
    return LEGO_OK;
}

static float activate(const struct lego_node *node, float x)
{
    const double wide = (double)x;

    switch (node->activation) {
    case LEGO_ACT_SIGMOID:
        return (float)(1 / (1 + portable_exp(-wide)));
    case LEGO_ACT_TANH:
        return (float)(1 - 2 / (1 + portable_exp(2 * wide)));
    case LEGO_ACT_HARD_SIGMOID:
        return fminf(fmaxf(node->act_lo * x + node->act_hi, 0), 1);
    case LEGO_ACT_HARD_SWISH:
        return x * fminf(fmaxf(x / 6 + 0.5f, 0), 1);
    case LEGO_ACT_SILU:
        return (float)(wide / (1 + portable_exp(-wide)));
    case LEGO_ACT_GELU:
        return (float)(wide * (1 + erf(wide * 0.7071067811865476)) / 2);
    default:
        return x;
    }
}

/* The activation of `count` elements in place; the frequent ones in loops that compilers vectorise.
 */
static void activate_all(const struct lego_node *node, float *x, size_t count)
{
    const float lo = node->act_lo, hi = node->act_hi;

    switch (node->activation) {
    case LEGO_ACT_NONE:
        break;
    case LEGO_ACT_CLAMP:
        for (size_t i = 0; i < count; i++)
            x[i] = x[i] < lo ? lo : x[i] > hi ? hi : x[i];
        break;
    case LEGO_ACT_LEAKY_RELU:
        for (size_t i = 0; i < count; i++)
            x[i] = x[i] < 0 ? lo * x[i] : x[i];
        break;
    default:
        for (size_t i = 0; i < count; i++)
            x[i] = activate(node, x[i]);
    }
}

/* out = ratio * z + offset, each row's. */
static void scale_rows(const struct layer *l, const float *ratio, const float *offset,
                       const float *z, float *out)
{
    if (l->window) {
        for (uint32_t row = 0; row < l->rows; row++, z += l->positions, out += l->positions) {
            for (uint32_t p = 0; p < l->positions; p++)
                out[p] = ratio[row] * z[p] + offset[row];
        }
        return;
    }
    for (uint32_t p = 0; p < l->positions; p++, z += l->rows, out += l->rows) {
        for (uint32_t row = 0; row < l->rows; row++)
            out[row] = ratio[row] * z[row] + offset[row];
    }
}

static void finish_example(void *context, size_t image)
{
    struct run *run = context;
    const struct cal_layer *layer = run->layer;
    const struct layer *l = &layer->layer;
    const size_t elems = cal_layer_elems(l);
    float *out = cal_value_array(run->c, run->node->outputs[0], image, run->student).data;

    scale_rows(l, layer->ratio, run->student ? layer->student_offset : layer->offset,
               run->z + image * elems, out);
    if (l->residual >= 0) {
        const float *add = cal_value_array(run->c, l->residual, image, run->student).data;

        for (size_t i = 0; i < elems; i++)
            out[i] += add[i];
    }
    activate_all(run->node, out, elems);
}

void cal_finish(struct calibration *c, const struct cal_layer *layer, bool student, const float *z)
{
    struct run run = {.c = c,
                      .node = &c->graph->nodes[layer->layer.node],
                      .student = student,
                      .layer = layer,
                      .z = (float *)z};

    encode_workers_run(c->workers, c->images, finish_example, &run);
}

void cal_row_moments(const struct calibration *c, const struct layer *l, uint32_t row,
                     const float *z, double *ret_mean, double *ret_variance)
{
    const double count = (double)c->images * l->positions;
    double sum = 0, squares = 0;

    for (uint32_t image = 0; image < c->images; image++, z += cal_layer_elems(l)) {
        for (uint32_t p = 0; p < l->positions; p++) {
            const double x = (double)z[layer_output_index(l, row, p)];
            sum += x;
            squares += x * x;
        }
    }
    *ret_mean = sum / count;
    *ret_variance = squares / count - *ret_mean * *ret_mean;
}

/* Statistics of each row of the teacher's z. */
struct adapt {
    struct calibration *c;
    struct cal_layer *layer;
    const float *z, *bias, *scale, *shift;
};

static void adapt_row(void *context, size_t row)
{
    const struct adapt *a = context;
    double mean, variance;

    a->layer->ratio[row] = 1;
    a->layer->offset[row] = a->bias ? a->bias[row] : 0;
    if (!a->scale)
        return;
    cal_row_moments(a->c, &a->layer->layer, (uint32_t)row, a->z, &mean, &variance);
    const double spread = sqrt(fmax(variance, 1e-10));
    const double ratio = fmin(fmax(fabs((double)a->scale[row]) / spread, 0.2), 5);
    a->layer->ratio[row] = (float)ratio;
    a->layer->offset[row] = (float)((double)a->shift[row] - ratio * mean);
}

bool cal_statistics(const struct calibration *c, const struct cal_layer *layer,
                    const float **ret_scale, const float **ret_shift)
{
    const struct lego_node *node = &c->graph->nodes[layer->layer.node];

    *ret_scale = lego_node_floats(node, "lego.bn_scale", layer->layer.rows);
    *ret_shift = lego_node_floats(node, "lego.bn_bias", layer->layer.rows);
    return *ret_scale && *ret_shift;
}

void cal_adapt(struct calibration *c, struct cal_layer *layer, const float *z)
{
    struct adapt a = {.c = c, .layer = layer, .z = z};

    if (layer->layer.bias >= 0 && layer->layer.directions == 0)
        a.bias = c->graph->tensors[c->graph->values[layer->layer.bias].tensor].data;
    if (!cal_statistics(c, layer, &a.scale, &a.shift) || !c->adapts)
        a.scale = NULL;
    encode_workers_run(c->workers, layer->layer.rows, adapt_row, &a);
}

void cal_transpose(const struct layer *layer, const float *weights, float *ret_transposed)
{
    for (uint32_t row = 0; row < layer->rows; row++) {
        const uint32_t group = row / layer->group_rows, r = row % layer->group_rows;
        float *to = ret_transposed + (size_t)group * layer->columns * layer->group_rows + r;

        for (uint32_t column = 0; column < layer->columns; column++)
            to[(size_t)column * layer->group_rows] = weights[(size_t)row * layer->columns + column];
    }
}
