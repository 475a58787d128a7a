/*
 * LayerNormalization (Ba, Kiros, Hinton, arXiv 1607.06450) that exporters of older opsets write as
 * its formula, over the last axis:
 *
 *   d = x - mean(x);  y = d / sqrt(mean(d^2) + epsilon) * gamma + beta
 *
 * d^2 is Pow(d, 2) or Mul(d, d), d may be computed twice, beta may be missing.
 */
#include "codec/import/passes.h"

#include "codec/base/arena.h"

#include <string.h>

#define MAX_INNER 12

struct norm {
    int32_t x, gamma, beta; /* -1: none */
    float epsilon;
    struct lego_node *root;             /* the last one */
    struct lego_node *inner[MAX_INNER]; /* nodes that go, users before what they use */
    size_t inner_count;
};

static struct lego_node *producer(const struct passes *passes, int32_t value, enum lego_op op)
{
    if (value < 0 || passes->producer[value] < 0 || passes->output[value])
        return NULL;
    struct lego_node *node = &passes->graph->nodes[passes->producer[value]];
    bool plain = node->op == op && node->activation == LEGO_ACT_NONE && node->output_count == 1;
    return plain ? node : NULL;
}

/* The node that makes a value for one user only. */
static struct lego_node *sole(const struct passes *passes, int32_t value, enum lego_op op)
{
    struct lego_node *node = producer(passes, value, op);
    return node && passes->uses[value] == 1 ? node : NULL;
}

static void take(struct norm *norm, struct lego_node *node)
{
    if (norm->inner_count < MAX_INNER)
        norm->inner[norm->inner_count++] = node;
}

/* True for the mean over the last axis, which stays as one of size 1. */
static bool is_row_mean(const struct passes *passes, const struct lego_node *node)
{
    const struct lego_graph *graph = passes->graph;
    const struct lego_tensor *axes = lego_node_constant(graph, node, 1);
    int rank = graph->values[node->inputs[0]].shape.rank;
    if (!axes || axes->dtype != LEGO_DTYPE_INT64 || axes->bytes != sizeof(int64_t) || rank < 1)
        return false;
    int64_t axis;
    memcpy(&axis, axes->data, sizeof axis);
    return (axis == -1 || axis == rank - 1) && lego_node_int(node, "keepdims", 1) == 1;
}

/* d = x - mean(x): its x, -1 where the node is something else. */
static int32_t centred_of(const struct passes *passes, const struct lego_node *sub)
{
    const struct lego_node *mean =
        sub ? producer(passes, sub->inputs[1], LEGO_OP_ReduceMean) : NULL;
    return mean && mean->inputs[0] == sub->inputs[0] && is_row_mean(passes, mean) ? sub->inputs[0]
                                                                                  : -1;
}

/* Takes a Sub whose value has no users but `users`, and its mean where nobody else has it. */
static bool take_centred(const struct passes *passes, struct norm *norm, struct lego_node *sub,
                         uint32_t users)
{
    if (passes->uses[sub->outputs[0]] != users)
        return false;
    take(norm, sub);
    struct lego_node *mean = producer(passes, sub->inputs[1], LEGO_OP_ReduceMean);
    for (size_t i = 0; i < norm->inner_count; i++)
        if (norm->inner[i] == mean)
            return true;
    take(norm, mean);
    return true;
}

/* The mean may have no users but the Subs that go. */
static bool means_go(const struct passes *passes, const struct norm *norm)
{
    for (size_t i = 0; i < norm->inner_count; i++) {
        uint32_t users = 0;
        if (norm->inner[i]->op != LEGO_OP_ReduceMean)
            continue;
        for (size_t k = 0; k < norm->inner_count; k++)
            for (uint32_t in = 0; in < norm->inner[k]->input_count; in++)
                users += norm->inner[k]->inputs[in] == norm->inner[i]->outputs[0];
        if (users != passes->uses[norm->inner[i]->outputs[0]])
            return false;
    }
    return true;
}

/* sqrt(mean(d^2) + epsilon), by d's of the same x. */
static bool match_deviation(const struct passes *passes, struct norm *norm, int32_t value,
                            struct lego_node *sub)
{
    float two;
    struct lego_node *root = sole(passes, value, LEGO_OP_Sqrt);
    struct lego_node *sum = root ? sole(passes, root->inputs[0], LEGO_OP_Add) : NULL;
    if (!sum || !(passes_scalar(passes, sum, 1, &norm->epsilon) ||
                  passes_scalar(passes, sum, 0, &norm->epsilon)))
        return false;
    int32_t variance = sum->inputs[passes_scalar(passes, sum, 1, &norm->epsilon) ? 0 : 1];
    struct lego_node *mean = sole(passes, variance, LEGO_OP_ReduceMean);
    if (!mean || !is_row_mean(passes, mean))
        return false;
    struct lego_node *square = sole(passes, mean->inputs[0], LEGO_OP_Pow);
    bool power = square && passes_scalar(passes, square, 1, &two) && two == 2;
    if (!power) {
        square = sole(passes, mean->inputs[0], LEGO_OP_Mul);
        if (!square || square->inputs[0] != square->inputs[1])
            return false;
    }
    struct lego_node *other = producer(passes, square->inputs[0], LEGO_OP_Sub);
    if (!other || centred_of(passes, other) != norm->x)
        return false;
    take(norm, root);
    take(norm, sum);
    take(norm, mean);
    take(norm, square);
    uint32_t uses = power ? 1 : 2;
    if (other == sub)
        return take_centred(passes, norm, sub, uses + 1);
    return take_centred(passes, norm, other, uses) && take_centred(passes, norm, sub, 1);
}

/* The constant vector of one number for each element of a row. */
static bool is_row(const struct passes *passes, const struct lego_node *node, uint32_t index,
                   int64_t size)
{
    const struct lego_tensor *tensor = passes_floats(passes, node, index);
    return tensor && tensor->shape.rank == 1 && tensor->shape.dim[0] == size;
}

/* The one user of a node's value, where it is `op` with a row: the value of that row. */
static struct lego_node *next_with_row(const struct passes *passes, const struct lego_node *node,
                                       enum lego_op op, int64_t size, int32_t *ret_row)
{
    int32_t value = node->outputs[0];
    if (passes->uses[value] != 1 || passes->output[value] || passes->consumer[value] < 0)
        return NULL;
    struct lego_node *next = &passes->graph->nodes[passes->consumer[value]];
    if (next->op != op || next->activation != LEGO_ACT_NONE)
        return NULL;
    uint32_t row = next->inputs[0] == value ? 1 : 0;
    if (!is_row(passes, next, row, size))
        return NULL;
    *ret_row = next->inputs[row];
    return next;
}

static bool match(const struct passes *passes, struct lego_node *div, struct norm *norm)
{
    *norm = (struct norm){.gamma = -1, .beta = -1};
    struct lego_node *sub = producer(passes, div->inputs[0], LEGO_OP_Sub);
    norm->x = centred_of(passes, sub);
    if (norm->x < 0)
        return false;
    const struct lego_value *x = &passes->graph->values[norm->x];
    int64_t size = x->shape.rank > 0 ? x->shape.dim[x->shape.rank - 1] : -1;
    if (x->dtype != LEGO_DTYPE_FLOAT32 || size < 1)
        return false;
    struct lego_node *scale = next_with_row(passes, div, LEGO_OP_Mul, size, &norm->gamma);
    if (!scale)
        return false;
    struct lego_node *shift = next_with_row(passes, scale, LEGO_OP_Add, size, &norm->beta);
    norm->root = shift ? shift : scale;
    if (shift)
        take(norm, scale);
    take(norm, div);
    return match_deviation(passes, norm, div->inputs[1], sub) && norm->inner_count < MAX_INNER &&
           means_go(passes, norm);
}

/* Users go before what they use. */
static void kill_inner(struct passes *passes, const struct norm *norm)
{
    for (size_t round = 0; round < norm->inner_count; round++) {
        for (size_t i = 0; i < norm->inner_count; i++) {
            struct lego_node *node = norm->inner[i];
            if (node->op != LEGO_OP_NONE && passes->uses[node->outputs[0]] == 0)
                passes_kill(passes, node);
        }
    }
}

static int replace(struct passes *passes, const struct norm *norm)
{
    const int32_t inputs[] = {norm->x, norm->gamma, norm->beta};
    struct lego_attr *attrs = lego_arena_calloc(passes->graph->arena, 2, sizeof *attrs);
    if (!attrs)
        return passes_no_memory(passes);
    int status = passes_become(passes, norm->root, LEGO_OP_LayerNormalization,
                               norm->beta < 0 ? 2 : 3, inputs);
    if (status)
        return status;
    attrs[0] = (struct lego_attr){.name = "axis", .type = LEGO_ATTR_INT, .i = -1};
    attrs[1] = (struct lego_attr){.name = "epsilon", .type = LEGO_ATTR_FLOAT, .f = norm->epsilon};
    norm->root->attrs = attrs;
    norm->root->attr_count = 2;
    kill_inner(passes, norm);
    return 0;
}

int pass_norm(struct passes *passes)
{
    for (uint32_t i = 0; i < passes->graph->node_count; i++) {
        struct norm norm;
        struct lego_node *node = &passes->graph->nodes[i];
        if (node->op != LEGO_OP_Div || !match(passes, node, &norm))
            continue;
        int status = replace(passes, &norm);
        if (status)
            return status;
    }
    return 0;
}
