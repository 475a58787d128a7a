/* Gradients of a batch of examples through the nodes of a network, last node first. */
#include "codec/base/arith.h"
#include "codec/base/status.h"
#include "codec/encode/calibrate_match.h"
#include "codec/encode/linear.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INDEX (1u << 24) /* that a float holds exactly */

enum way {
    WAY_NONE,
    WAY_LAYER, /* a convolution or a product */
    WAY_ADD,   /* of equal shapes */
    WAY_KEEP,  /* the gradient passes where the output is the input: rectifiers */
    WAY_MOVE,  /* elements are moved, dropped, repeated; zeros come in */
    WAY_MOST,  /* of a window */
};

static enum way way_of(const struct match *m, uint32_t n)
{
    if (m->c->layer_of[n] != NO_LAYER)
        return WAY_LAYER;
    switch (m->c->graph->nodes[n].op) {
    case LEGO_OP_Add:
        return WAY_ADD;
    case LEGO_OP_Relu:
    case LEGO_OP_Clip:
        return WAY_KEEP;
    case LEGO_OP_Identity:
    case LEGO_OP_Reshape:
    case LEGO_OP_Flatten:
    case LEGO_OP_Squeeze:
    case LEGO_OP_Unsqueeze:
    case LEGO_OP_Transpose:
    case LEGO_OP_Slice:
    case LEGO_OP_Pad:
    case LEGO_OP_Concat:
    case LEGO_OP_DepthToSpace:
    case LEGO_OP_SpaceToDepth:
        return WAY_MOVE;
    case LEGO_OP_MaxPool:
        return WAY_MOST;
    default:
        return WAY_NONE;
    }
}

static size_t elems_of(const struct match *m, int32_t value)
{
    return m->c->values[value].bytes / sizeof(float);
}

static bool is_following(const struct match *m, int32_t value)
{
    return value >= 0 && m->follows[value];
}

static bool passes_activation(const struct lego_node *node)
{
    return node->activation == LEGO_ACT_NONE || node->activation == LEGO_ACT_CLAMP ||
           (node->activation == LEGO_ACT_LEAKY_RELU && node->act_lo > 0);
}

bool match_can_pass(const struct match *m, uint32_t n)
{
    const struct lego_node *node = &m->c->graph->nodes[n];
    const enum way way = way_of(m, n);

    if (way == WAY_NONE || node->output_count != 1 || !passes_activation(node))
        return false;
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (!is_following(m, node->inputs[i]))
            continue;
        if (m->c->graph->values[node->inputs[i]].dtype != LEGO_DTYPE_FLOAT32 ||
            elems_of(m, node->inputs[i]) >= MAX_INDEX)
            return false;
        if (way == WAY_ADD && elems_of(m, node->inputs[i]) != elems_of(m, node->outputs[0]))
            return false;
        if (way == WAY_LAYER && i == 2) /* a bias that is no constant */
            return false;
    }
    return true;
}

static struct lego_array values_of(const struct match *m, int32_t value, size_t image)
{
    return cal_value_array(m->c, value, image, false);
}

#define MAX_OPERANDS 16

/* Evaluates a node with input `moved` counting from 1 and what else follows the examples 0. */
static int count_moves(struct match *m, const struct lego_node *node, uint32_t moved,
                       uint32_t *ret_from, struct lego_diag *diag)
{
    const size_t elems = elems_of(m, node->outputs[0]);
    struct lego_arena *scratch = lego_arena_create(0);
    struct lego_array inputs[MAX_OPERANDS], output = values_of(m, node->outputs[0], 0);
    const struct lego_array *pointers[MAX_OPERANDS] = {0};
    float *counted = malloc(elems * sizeof(*counted));
    int status = scratch && counted ? LEGO_OK : LEGO_E_NOMEM;

    output.data = counted;
    for (uint32_t i = 0; status == LEGO_OK && i < node->input_count; i++) {
        if (node->inputs[i] < 0)
            continue;
        inputs[i] = values_of(m, node->inputs[i], 0);
        pointers[i] = &inputs[i];
        if (!is_following(m, node->inputs[i]))
            continue;
        const size_t count = elems_of(m, node->inputs[i]);
        float *numbers = lego_arena_calloc(scratch, count, sizeof(*numbers));
        for (size_t k = 0; numbers && i == moved && k < count; k++)
            numbers[k] = (float)(k + 1);
        inputs[i].data = numbers;
        status = numbers ? LEGO_OK : LEGO_E_NOMEM;
    }
    if (status == LEGO_OK)
        status = lego_eval_node(m->c->graph, node, pointers, &output, scratch, diag);
    for (size_t k = 0; status == LEGO_OK && k < elems; k++)
        ret_from[k] = counted[k] >= 1 && counted[k] < MAX_INDEX ? (uint32_t)counted[k] : 0;
    free(counted);
    lego_arena_destroy(scratch);
    return status;
}

int match_prepare_node(struct match *m, uint32_t n, struct lego_diag *diag)
{
    const struct lego_node *node = &m->c->graph->nodes[n];
    int status = LEGO_OK;

    if (way_of(m, n) != WAY_MOVE || m->moves[n])
        return LEGO_OK;
    if (node->input_count > MAX_OPERANDS)
        return lego_fail(diag, LEGO_E_LIMIT, "node '%s' has over %d inputs", node->name,
                         MAX_OPERANDS);
    m->moves[n] = calloc(MAX_OPERANDS, sizeof(*m->moves[n]));
    if (!m->moves[n])
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for node '%s'", node->name);
    for (uint32_t i = 0; status == LEGO_OK && i < node->input_count; i++) {
        if (!is_following(m, node->inputs[i]))
            continue;
        m->moves[n][i] = malloc(elems_of(m, node->outputs[0]) * sizeof(uint32_t));
        status = m->moves[n][i]
                     ? count_moves(m, node, i, m->moves[n][i], diag)
                     : lego_fail(diag, LEGO_E_NOMEM, "out of memory for node '%s'", node->name);
    }
    return status;
}

/* A node whose gradients are passed back, for all examples. */
struct passing {
    struct match *m;
    uint32_t node_index;
    const struct lego_node *node;
    uint32_t failed;
};

static float *gradient_of(const struct passing *p, int32_t value, size_t image)
{
    float *all = is_following(p->m, value) ? p->m->gradients[value] : NULL;

    return all ? all + image * elems_of(p->m, value) : NULL;
}

/* The output's gradient, in place, before the activation. */
static void undo_activation(const struct passing *p, size_t image)
{
    const struct lego_node *node = p->node;
    const float *out = values_of(p->m, node->outputs[0], image).data;
    float *g = gradient_of(p, node->outputs[0], image);
    const size_t elems = elems_of(p->m, node->outputs[0]);

    for (size_t i = 0; node->activation == LEGO_ACT_CLAMP && i < elems; i++)
        g[i] = out[i] > node->act_lo && out[i] < node->act_hi ? g[i] : 0;
    for (size_t i = 0; node->activation == LEGO_ACT_LEAKY_RELU && i < elems; i++)
        g[i] = out[i] < 0 ? g[i] * node->act_lo : g[i];
}

static void add_to(float *to, const float *from, size_t count)
{
    for (size_t i = 0; to && i < count; i++)
        to[i] += from[i];
}

/* What the layer's rows are asked for, added to the gradient of z. */
static void add_pull(const struct passing *p, const struct cal_layer *layer, size_t image, float *g)
{
    const struct layer *l = &layer->layer;
    const size_t index = (size_t)(layer - p->m->c->layers);
    const float *pull = p->m->pull[index];
    const float *z = p->m->z[index] + image * cal_layer_elems(l);

    for (uint32_t row = 0; pull && row < l->rows; row++) {
        for (uint32_t i = 0; i < l->positions; i++) {
            const size_t at = layer_output_index(l, row, i);
            g[at] += pull[2 * row] + pull[2 * row + 1] * z[at];
        }
    }
}

static void pass_layer(struct passing *p, size_t image)
{
    const struct calibration *c = p->m->c;
    const struct cal_layer *layer = &c->layers[c->layer_of[p->node_index]];
    const struct layer *l = &layer->layer;
    float *g = gradient_of(p, p->node->outputs[0], image);
    float *to = gradient_of(p, p->node->inputs[0], image);
    float *scratch = malloc(layer_back_scratch(l) * sizeof(*scratch));

    if (!scratch) {
        __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    if (l->residual >= 0)
        add_to(gradient_of(p, l->residual, image), g, cal_layer_elems(l));
    add_pull(p, layer, image, g);
    if (to)
        layer_backward(l, encode_workers_kernels(c->workers),
                       p->m->weights[c->layer_of[p->node_index]], g, scratch, to);
    free(scratch);
}

static void pass_kept(const struct passing *p, size_t image, const float *g)
{
    const float *in = values_of(p->m, p->node->inputs[0], image).data;
    const float *out = values_of(p->m, p->node->outputs[0], image).data;
    float *to = gradient_of(p, p->node->inputs[0], image);

    for (size_t i = 0; to && i < elems_of(p->m, p->node->outputs[0]); i++)
        to[i] += in[i] == out[i] ? g[i] : 0;
}

static void pass_moved(const struct passing *p, size_t image, const float *g)
{
    for (uint32_t k = 0; k < p->node->input_count; k++) {
        const uint32_t *from = p->m->moves[p->node_index][k];
        float *to = gradient_of(p, p->node->inputs[k], image);

        for (size_t i = 0; from && to && i < elems_of(p->m, p->node->outputs[0]); i++)
            if (from[i] > 0)
                to[from[i] - 1] += g[i];
    }
}

/* A maximum's gradient goes where the maximum is: MaxPool tells, asked for its second output. */
static int pass_most(const struct passing *p, size_t image, const float *g)
{
    const size_t elems = elems_of(p->m, p->node->outputs[0]);
    struct lego_arena *scratch = lego_arena_create(0);
    int64_t *from = malloc(elems * sizeof(*from));
    float *most = malloc(elems * sizeof(*most));
    const struct lego_array input = values_of(p->m, p->node->inputs[0], image);
    const struct lego_array *inputs[1] = {&input};
    struct lego_array outputs[2] = {values_of(p->m, p->node->outputs[0], image),
                                    values_of(p->m, p->node->outputs[0], image)};
    int32_t values[2] = {p->node->outputs[0], p->node->outputs[0]};
    struct lego_node node = *p->node;
    float *to = gradient_of(p, p->node->inputs[0], image);
    int status = scratch && from && most ? LEGO_OK : LEGO_E_NOMEM;

    node.outputs = values;
    node.output_count = 2;
    node.activation = LEGO_ACT_NONE;
    outputs[0].data = most;
    outputs[1].data = from;
    outputs[1].dtype = LEGO_DTYPE_INT64;
    if (status == LEGO_OK)
        status = lego_eval_node(p->m->c->graph, &node, inputs, outputs, scratch,
                                &(struct lego_diag)LEGO_DIAG_INIT);
    for (size_t i = 0; status == LEGO_OK && to && i < elems; i++)
        if (from[i] >= 0 && (size_t)from[i] < elems_of(p->m, p->node->inputs[0]))
            to[from[i]] += g[i];
    free(from);
    free(most);
    lego_arena_destroy(scratch);
    return status;
}

static void pass_example(void *context, size_t image)
{
    struct passing *p = context;
    const size_t elems = elems_of(p->m, p->node->outputs[0]);
    const float *g = gradient_of(p, p->node->outputs[0], image);

    undo_activation(p, image);
    switch (way_of(p->m, p->node_index)) {
    case WAY_LAYER:
        pass_layer(p, image);
        break;
    case WAY_ADD:
        add_to(gradient_of(p, p->node->inputs[0], image), g, elems);
        add_to(gradient_of(p, p->node->inputs[1], image), g, elems);
        break;
    case WAY_KEEP:
        pass_kept(p, image, g);
        break;
    case WAY_MOVE:
        pass_moved(p, image, g);
        break;
    default:
        if (pass_most(p, image, g) != LEGO_OK)
            __atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
    }
}

/* Gradients of 0 where none has arrived yet. */
static bool open_gradient(const struct match *m, int32_t value)
{
    if (!is_following(m, value) || m->gradients[value])
        return true;
    m->gradients[value] = calloc(elems_of(m, value) * m->c->images, sizeof(float));
    return m->gradients[value] != NULL;
}

int match_pass_back(struct match *m, uint32_t n, struct lego_diag *diag)
{
    const struct lego_node *node = &m->c->graph->nodes[n];
    struct passing p = {.m = m, .node_index = n, .node = node};
    bool enough = open_gradient(m, node->outputs[0]);

    for (uint32_t i = 0; enough && i < node->input_count; i++)
        enough = open_gradient(m, node->inputs[i]);
    if (enough)
        encode_workers_run(m->c->workers, m->c->images, pass_example, &p);
    free(m->gradients[node->outputs[0]]);
    m->gradients[node->outputs[0]] = NULL;
    if (!enough || p.failed)
        return lego_fail(diag, LEGO_E_NOMEM, "no gradients through node '%s'", node->name);
    return LEGO_OK;
}
