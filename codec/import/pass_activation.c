/*
 * Activations and residual adds become part of the node before them (the fused forms of graph.h).
 */
#include "codec/import/passes.h"

#include "codec/base/arena.h"

#include <math.h>
#include <string.h>

struct activation {
    enum lego_activation kind;
    float lo, hi;
};

static bool is_float32(const struct passes *passes, int32_t value)
{
    return value >= 0 && passes->graph->values[value].dtype == LEGO_DTYPE_FLOAT32;
}

/* A bound of Clip: the default where it is absent, false where it is not constant. */
static bool clip_bound(const struct passes *passes, const struct lego_node *node, uint32_t index,
                       float otherwise, float *ret_bound)
{
    if (index >= node->input_count || node->inputs[index] < 0) {
        *ret_bound = otherwise;
        return true;
    }
    return passes_scalar(passes, node, index, ret_bound);
}

static bool activation_of(const struct passes *passes, const struct lego_node *node,
                          struct activation *ret)
{
    *ret = (struct activation){0};
    switch (node->op) {
    case LEGO_OP_Relu:
        *ret = (struct activation){LEGO_ACT_CLAMP, 0, INFINITY};
        return true;
    case LEGO_OP_Clip:
        ret->kind = LEGO_ACT_CLAMP;
        return clip_bound(passes, node, 1, -INFINITY, &ret->lo) &&
               clip_bound(passes, node, 2, INFINITY, &ret->hi);
    case LEGO_OP_LeakyRelu:
        *ret = (struct activation){LEGO_ACT_LEAKY_RELU, lego_node_float(node, "alpha", 0.01f), 0};
        return true;
    case LEGO_OP_Sigmoid:
        ret->kind = LEGO_ACT_SIGMOID;
        return true;
    case LEGO_OP_Tanh:
        ret->kind = LEGO_ACT_TANH;
        return true;
    case LEGO_OP_HardSigmoid:
        *ret = (struct activation){LEGO_ACT_HARD_SIGMOID, lego_node_float(node, "alpha", 0.2f),
                                   lego_node_float(node, "beta", 0.5f)};
        return true;
    case LEGO_OP_HardSwish:
        ret->kind = LEGO_ACT_HARD_SWISH;
        return true;
    case LEGO_OP_Gelu:
        ret->kind = LEGO_ACT_GELU;
        return strcmp(lego_node_string(node, "approximate", "none"), "none") == 0;
    default:
        return false;
    }
}

/* True where a node may apply an activation and has none yet. */
static bool takes_activation(const struct lego_node *node)
{
    static const enum lego_op fusable[] = {
        LEGO_OP_Conv, LEGO_OP_ConvTranspose, LEGO_OP_Gemm, LEGO_OP_MatMul,
        LEGO_OP_Add,  LEGO_OP_Sub,           LEGO_OP_Mul,  LEGO_OP_Div};
    for (size_t i = 0; i < sizeof fusable / sizeof *fusable; i++)
        if (node->op == fusable[i])
            return node->activation == LEGO_ACT_NONE && node->output_count == 1;
    return false;
}

int pass_activation(struct passes *passes)
{
    for (uint32_t i = 0; i < passes->graph->node_count; i++) {
        struct lego_node *node = &passes->graph->nodes[i];
        struct activation activation;
        if (!activation_of(passes, node, &activation) || !is_float32(passes, node->inputs[0]))
            continue;
        struct lego_node *producer = passes_sole_producer(passes, node->inputs[0]);
        if (!producer || !takes_activation(producer))
            continue;
        passes_replace(passes, node, producer);
        node->activation = activation.kind;
        node->act_lo = activation.lo;
        node->act_hi = activation.hi;
    }
    return 0;
}

/* True where both have the same shape whatever the symbols stand for. */
static bool surely_equal(const struct lego_shape *a, const struct lego_shape *b)
{
    if (a->rank == LEGO_RANK_UNKNOWN || !lego_shape_equal(a, b))
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] == LEGO_DIM_UNKNOWN)
            return false;
    return true;
}

/* The convolution behind operand `index` of an Add that can add the other operand itself. */
static struct lego_node *residual_target(const struct passes *passes, const struct lego_node *node,
                                         uint32_t index)
{
    const struct lego_value *values = passes->graph->values;
    int32_t mine = node->inputs[index], other = node->inputs[1 - index];
    struct lego_node *conv = passes_sole_producer(passes, mine);
    if (!conv || conv->op != LEGO_OP_Conv || conv->input_count > 3 ||
        conv->activation != LEGO_ACT_NONE || values[other].tensor >= 0 ||
        !is_float32(passes, mine) || !is_float32(passes, other) ||
        !surely_equal(&values[mine].shape, &values[other].shape))
        return NULL;
    return conv;
}

static int fuse_residual(struct passes *passes, struct lego_node *node, struct lego_node *conv,
                         int32_t other)
{
    int32_t *inputs = lego_arena_calloc(passes->graph->arena, 4, sizeof *inputs);
    if (!inputs)
        return passes_no_memory(passes);
    inputs[2] = inputs[3] = -1;
    memcpy(inputs, conv->inputs, conv->input_count * sizeof *inputs);
    conv->inputs = inputs;
    conv->input_count = 4;
    /* At the Add's place in the order, where the other operand is known. */
    passes_replace(passes, node, conv);
    passes_set_input(passes, node, 3, other);
    return 0;
}

int pass_residual(struct passes *passes)
{
    for (uint32_t i = 0; i < passes->graph->node_count; i++) {
        struct lego_node *node = &passes->graph->nodes[i];
        if (node->op != LEGO_OP_Add || node->activation != LEGO_ACT_NONE)
            continue;
        struct lego_node *first = residual_target(passes, node, 0);
        struct lego_node *second = residual_target(passes, node, 1);
        /* Of two, the later one: its partner's memory is in use anyway. */
        struct lego_node *conv = first > second ? first : second;
        if (!conv)
            continue;
        int status = fuse_residual(passes, node, conv, node->inputs[conv == first ? 1 : 0]);
        if (status)
            return status;
    }
    return 0;
}
