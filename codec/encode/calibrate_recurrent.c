/*
 * RNN, GRU and LSTM in calibration: what their two matrices see, and running them with the
 * student's. W sees X at every step; R sees the states before each step, which depend on both. So W
 * is quantised first, and R for the states that the new W leads to.
 */
#include "codec/encode/calibrate_internal.h"
#include "codec/encode/linear.h"

#include <stdlib.h>
#include <string.h>

#define BIAS 3 /* input B of the node */

/* The bias may be changed where it is a constant, and is not added where there is none. */
bool layer_describe_recurrent(const struct lego_graph *graph, uint32_t n, uint32_t input,
                              const struct encode_weight *weight, uint32_t index,
                              struct layer *ret_layer)
{
    const struct lego_node *node = &graph->nodes[n];
    const struct lego_value *x = &graph->values[node->inputs[0]];
    const struct lego_tensor *bias = lego_node_constant(graph, node, BIAS);
    const uint32_t kinds = lego_recurrent_kinds(node);
    struct layer layer = {.node = n,
                          .weight = index,
                          .input = input,
                          .groups = input == 1 ? 1 : weight->groups * (kinds > 1 ? 3 : 1),
                          .rows = weight->rows,
                          .columns = weight->columns,
                          .taps = 1,
                          .directions = weight->groups,
                          .kinds = kinds,
                          .bias = bias ? node->inputs[BIAS] : -1,
                          .residual = -1,
                          .pooled = -1};

    if (!weight->recurrent || kinds == 0 || x->shape.rank != 3 || x->dtype != LEGO_DTYPE_FLOAT32 ||
        !lego_shape_is_static(&x->shape))
        return false;
    layer.positions = (uint32_t)(x->shape.dim[0] * x->shape.dim[1]);
    layer.group_rows = layer.rows / layer.groups;
    layer.can_bias = bias && bias->dtype == LEGO_DTYPE_FLOAT32 &&
                     bias->bytes == 2 * (size_t)layer.rows * sizeof(float);
    if (layer.positions == 0)
        return false;
    *ret_layer = layer;
    return true;
}

void cal_operands_close(struct cal_operands *operands)
{
    for (uint32_t i = 0; i < CAL_REPLACED; i++)
        free(operands->data[i]);
    *operands = (struct cal_operands){0};
}

/* The constant B of the node, with what the layer's rows are corrected by. */
static bool correct_bias(const struct calibration *c, const struct cal_layer *layer,
                         struct cal_operands *operands)
{
    const struct layer *l = &layer->layer;
    const struct lego_tensor *bias = &c->graph->tensors[c->graph->values[l->bias].tensor];

    if (!operands->data[BIAS]) {
        operands->data[BIAS] = malloc(bias->bytes);
        if (!operands->data[BIAS])
            return false;
        memcpy(operands->data[BIAS], bias->data, bias->bytes);
    }
    for (uint32_t row = 0; row < l->rows; row++)
        operands->data[BIAS][layer_bias_index(l, row)] += layer->student_offset[row];
    return true;
}

int cal_operands_open(const struct calibration *c, uint32_t node, bool student,
                      struct cal_operands *ret_operands, struct lego_diag *diag)
{
    bool enough = true;

    *ret_operands = (struct cal_operands){0};
    for (uint32_t i = c->recurrent_of[node];
         student && enough && i < c->layer_count && c->layers[i].layer.node == node; i++) {
        const struct cal_layer *layer = &c->layers[i];
        const struct layer *l = &layer->layer;
        float *weights = NULL;

        if (!layer->student_t)
            continue;
        weights = malloc((size_t)l->rows * l->columns * sizeof(*weights));
        ret_operands->data[l->input] = weights;
        enough = weights && (!l->can_bias || correct_bias(c, layer, ret_operands));
        if (weights)
            cal_transpose_back(l, layer->student_t, weights);
    }
    if (enough)
        return LEGO_OK;
    cal_operands_close(ret_operands);
    return lego_fail(diag, LEGO_E_NOMEM, "out of memory for the weights of '%s'",
                     c->graph->nodes[node].name);
}

/* Gathering what a layer sees at places of all examples. */
struct gathering {
    struct calibration *c;
    const struct layer *layer;
    const struct cal_operands *operands;
    const uint32_t *places; /* [images][per_image] */
    uint32_t per_image;
    bool student;
    float *to; /* [images][per_image][cal_seen_elems] */
    int status;
    struct lego_diag diag;
};

size_t cal_seen_elems(const struct layer *layer)
{
    return layer->input == 1 ? layer->columns
                             : (size_t)layer->columns * layer->directions * layer->kinds;
}

size_t cal_seen_by(const struct layer *layer, uint32_t group)
{
    if (layer->input == 1)
        return 0;
    if (layer->kinds == 1)
        return (size_t)group * layer->columns;
    return (size_t)(group / 3 * 2 + (group % 3 == 2)) * layer->columns;
}

/* A place behind the end of a short sequence stands for one before it. */
static uint32_t seen_place(const struct gathering *g, size_t image, uint32_t place)
{
    const struct lego_node *node = &g->c->graph->nodes[g->layer->node];
    const struct lego_shape *x = &g->c->graph->values[node->inputs[0]].shape;
    const bool batch_first = lego_node_int(node, "layout", 0) != 0;
    const uint32_t inner = (uint32_t)x->dim[1], outer_at = place / inner, inner_at = place % inner;

    if (node->input_count <= 4 || node->inputs[4] < 0)
        return place;
    const int32_t *lengths = cal_value_array(g->c, node->inputs[4], image, g->student).data;
    const int32_t length = lengths[batch_first ? outer_at : inner_at];
    if (length <= 0)
        return place;
    return batch_first ? outer_at * inner + inner_at % (uint32_t)length
                       : outer_at % (uint32_t)length * inner + inner_at;
}

/* All states of one example, in the arena; NULL: the failure is noted. */
static const float *run_states(struct gathering *g, size_t image, struct lego_arena *scratch)
{
    const struct lego_node *node = &g->c->graph->nodes[g->layer->node];
    struct lego_array inputs[CAL_MAX_OPERANDS];
    const struct lego_array *pointers[CAL_MAX_OPERANDS];
    struct lego_diag diag = LEGO_DIAG_INIT;
    float *states = scratch ? lego_arena_calloc(scratch, g->layer->positions,
                                                cal_seen_elems(g->layer) * sizeof(*states))
                            : NULL;
    int status = LEGO_E_NOMEM;

    if (states) {
        cal_node_inputs(g->c, node, image, g->student, g->operands, inputs, pointers);
        status = lego_eval_recurrent_states(g->c->graph, node, pointers, states, scratch, &diag);
    }
    if (status == LEGO_OK)
        return states;
    cal_fail_once(&g->status, &g->diag, status, &diag);
    return NULL;
}

static void gather_example(void *context, size_t image)
{
    struct gathering *g = context;
    const struct lego_node *node = &g->c->graph->nodes[g->layer->node];
    const size_t elems = cal_seen_elems(g->layer);
    struct lego_arena *scratch = g->layer->input == 1 ? NULL : lego_arena_create(0);
    const float *seen = g->layer->input == 1
                            ? cal_value_array(g->c, node->inputs[0], image, g->student).data
                            : run_states(g, image, scratch);

    for (uint32_t i = 0; seen && i < g->per_image; i++) {
        const size_t sample = image * g->per_image + i;

        memcpy(g->to + sample * elems, seen + seen_place(g, image, g->places[sample]) * elems,
               elems * sizeof(*seen));
    }
    lego_arena_destroy(scratch);
}

int cal_gather(struct calibration *c, const struct layer *layer, const uint32_t *places,
               uint32_t per_image, bool student, float *ret_seen, struct lego_diag *diag)
{
    struct cal_operands operands;
    struct gathering g = {.c = c,
                          .layer = layer,
                          .operands = &operands,
                          .places = places,
                          .per_image = per_image,
                          .student = student,
                          .to = ret_seen};
    const int status = cal_operands_open(c, layer->node, student, &operands, diag);

    if (status != LEGO_OK)
        return status;
    encode_workers_run(c->workers, c->images, gather_example, &g);
    cal_operands_close(&operands);
    return g.status == LEGO_OK
               ? LEGO_OK
               : lego_fail(diag, g.status, "calibrating: %s", lego_diag_text(&g.diag, g.status));
}

/* Products with the teacher's weights. */
struct products {
    const struct calibration *c;
    const struct cal_layer *layer;
    const float *seen;
    uint32_t per_image;
    float *to; /* [images][per_image][rows] */
    uint32_t failed;
};

static void multiply_example(void *context, size_t image)
{
    struct products *p = context;
    const struct layer *l = &p->layer->layer;
    const size_t elems = cal_seen_elems(l), samples = p->per_image;
    const float *seen = p->seen + image * samples * elems;
    float *turned = malloc(l->columns * samples * sizeof(*turned));

    if (!turned) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (uint32_t group = 0; group < l->groups; group++) {
        const float *from = seen + cal_seen_by(l, group);

        for (size_t k = 0; k < l->columns; k++)
            for (size_t i = 0; i < samples; i++)
                turned[k * samples + i] = from[i * elems + k];
        linear_gemm(encode_workers_kernels(p->c->workers),
                    &(struct kern_gemm_exact_f32){
                        .m = samples,
                        .n = l->group_rows,
                        .depth = l->columns,
                        .a = turned,
                        .a_stride = samples,
                        .b = p->layer->teacher_t + (size_t)group * l->columns * l->group_rows,
                        .b_stride = l->group_rows,
                        .c = p->to + image * samples * l->rows + group * l->group_rows,
                        .c_stride = l->rows});
    }
    free(turned);
}

int cal_multiply(const struct calibration *c, const struct cal_layer *layer, const float *seen,
                 uint32_t per_image, float *ret_products)
{
    struct products p = {
        .c = c, .layer = layer, .seen = seen, .per_image = per_image, .to = ret_products};

    encode_workers_run(c->workers, c->images, multiply_example, &p);
    return p.failed ? LEGO_E_NOMEM : LEGO_OK;
}

int cal_allocate_outputs(struct calibration *c, uint32_t n, bool student, struct lego_diag *diag)
{
    const struct lego_node *node = &c->graph->nodes[n];
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < node->output_count; i++)
        if (node->outputs[i] >= 0)
            status = cal_allocate(c, node->outputs[i], student, diag);
    return status;
}

int cal_walk_recurrent(struct calibration *c, uint32_t n, calibrate_quantise quantise,
                       void *context, struct lego_diag *diag)
{
    const uint32_t first = c->recurrent_of[n];
    uint32_t end = first;
    int status = cal_allocate_outputs(c, n, false, diag);

    if (status == LEGO_OK && !c->alone)
        status = cal_run_node(c, n, false, diag);
    /* What another walk has left would change what R sees. */
    for (; end < c->layer_count && c->layers[end].layer.node == n; end++) {
        free(c->layers[end].student_t);
        c->layers[end].student_t = NULL;
    }
    for (uint32_t i = first; status == LEGO_OK && i < end; i++)
        status = cal_quantise_layer(c, &c->layers[i], NULL, quantise, context, diag);
    if (status == LEGO_OK && !c->alone)
        status = cal_allocate_outputs(c, n, true, diag);
    return status == LEGO_OK ? cal_run_node(c, n, true, diag) : status;
}
