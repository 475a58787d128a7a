/*
 * Finding attention in a graph.
 */
#include "agent/runtime/attention.h"

#include <string.h>

/* Where it is looked for, and who makes each value: a node, or -1. */
struct search {
    struct plan_builder *b;
    int32_t *producer;
};

/* The nodes that become one step, beside the last product. */
#define ATTENTION_NODES 8

struct found {
    struct attention attention;
    const struct lego_node *nodes[ATTENTION_NODES];
    uint32_t count;
};

static const struct lego_shape *shape_of(const struct search *s, int32_t value)
{
    return &s->b->graph->values[value].shape;
}

/* The node that makes a value which nobody but one node reads, if its operator is `op`. */
static const struct lego_node *sole_producer(const struct search *s, int32_t value, enum lego_op op)
{
    const struct lego_node *node;

    if (s->producer[value] < 0 || s->b->uses[value] != 1)
        return NULL;
    node = &s->b->graph->nodes[s->producer[value]];
    return node->op == op && node->activation == LEGO_ACT_NONE ? node : NULL;
}

static const struct lego_node *sole_consumer(const struct search *s, int32_t value, enum lego_op op)
{
    const struct lego_node *node = &s->b->graph->nodes[s->b->consumer[value]];

    return s->b->uses[value] == 1 && node->op == op && node->activation == LEGO_ACT_NONE ? node
                                                                                         : NULL;
}

static bool is_computed(const struct search *s, int32_t value)
{
    return value >= 0 && !plan_is_constant(s->b, value) && plan_is_float(s->b, value) &&
           lego_shape_is_static(shape_of(s, value));
}

static void found_node(struct found *found, const struct lego_node *node)
{
    found->nodes[found->count++] = node;
}

static void plain_strides(const struct lego_shape *shape, ptrdiff_t *ret_strides)
{
    ptrdiff_t stride = 1;

    for (int i = shape->rank - 1; i >= 0; i--) {
        ret_strides[i] = stride;
        stride *= (ptrdiff_t)shape->dim[i];
    }
}

/* Dimension i of a Transpose's output is dimension perm[i] of its input. */
static bool transpose_perm(const struct lego_node *node, int rank, int64_t *ret_perm)
{
    size_t count;
    const int64_t *perm = lego_node_ints(node, "perm", &count);

    for (int i = 0; i < rank; i++)
        ret_perm[i] = perm ? perm[i] : rank - 1 - i;
    return !perm || count == (size_t)rank;
}

/* The value that an operand comes from, and its strides: behind a Transpose, but where the last
 * dimension has to lie together and would not. */
static void find_operand(const struct search *s, int32_t value, bool together, int index,
                         struct found *found)
{
    const struct lego_node *transpose = sole_producer(s, value, LEGO_OP_Transpose);
    ptrdiff_t strides[LEGO_MAX_RANK], *to = found->attention.stride[index];
    int rank = shape_of(s, value)->rank;
    int64_t perm[LEGO_MAX_RANK];

    found->attention.inputs[index] = value;
    plain_strides(shape_of(s, value), to);
    if (!transpose || !is_computed(s, transpose->inputs[0]) ||
        !transpose_perm(transpose, rank, perm) || (together && perm[rank - 1] != rank - 1))
        return;
    plain_strides(shape_of(s, transpose->inputs[0]), strides);
    for (int i = 0; i < rank; i++)
        to[i] = strides[perm[i]];
    found->attention.inputs[index] = transpose->inputs[0];
    found_node(found, transpose);
}

/* The same for the output. */
static void find_output(const struct search *s, int32_t value, struct found *found)
{
    const struct lego_node *transpose = sole_consumer(s, value, LEGO_OP_Transpose);
    int rank = shape_of(s, value)->rank;
    ptrdiff_t strides[LEGO_MAX_RANK];
    int64_t perm[LEGO_MAX_RANK];

    found->attention.output = value;
    plain_strides(shape_of(s, value), found->attention.out_stride);
    if (!transpose || !transpose_perm(transpose, rank, perm) || perm[rank - 1] != rank - 1)
        return;
    plain_strides(shape_of(s, transpose->outputs[0]), strides);
    for (int i = 0; i < rank; i++)
        found->attention.out_stride[perm[i]] = strides[i];
    found->attention.output = transpose->outputs[0];
    found_node(found, transpose);
}

/* Goes from scores back over a Mul or Div by a number, if there is one. */
static int32_t find_scale(const struct search *s, int32_t scores, struct found *found)
{
    const struct lego_node *mul = sole_producer(s, scores, LEGO_OP_Mul);
    const struct lego_node *div = sole_producer(s, scores, LEGO_OP_Div);
    float scalar;

    found->attention.scale = 1.0f;
    for (int i = 0; mul && i < 2; i++)
        if (plan_scalar(s->b, mul->inputs[1 - i], &scalar) &&
            lego_shape_equal(shape_of(s, mul->inputs[i]), shape_of(s, scores))) {
            found->attention.scale = scalar;
            found_node(found, mul);
            return mul->inputs[i];
        }
    if (div && plan_scalar(s->b, div->inputs[1], &scalar) &&
        lego_shape_equal(shape_of(s, div->inputs[0]), shape_of(s, scores))) {
        found->attention.scale = 1.0f / scalar;
        found_node(found, div);
        return div->inputs[0];
    }
    return scores;
}

static bool makes_scores(const struct search *s, int32_t value)
{
    return sole_producer(s, value, LEGO_OP_MatMul) || sole_producer(s, value, LEGO_OP_Mul) ||
           sole_producer(s, value, LEGO_OP_Div);
}

/* Goes from scores back over the Add of a mask. */
static int32_t find_mask(const struct search *s, int32_t scores, struct found *found)
{
    const struct lego_node *add = sole_producer(s, scores, LEGO_OP_Add);
    const struct lego_shape *shape = shape_of(s, scores);

    found->attention.inputs[ATTENTION_MASK] = -1;
    for (int i = 0; add && i < 2; i++) {
        int32_t value = add->inputs[i], mask = add->inputs[1 - i];
        const struct lego_shape *of = mask < 0 ? NULL : shape_of(s, mask);
        ptrdiff_t strides[LEGO_MAX_RANK], *to = found->attention.stride[ATTENTION_MASK];
        if (value < 0 || !of || !makes_scores(s, value) || !plan_is_float(s->b, mask) ||
            !lego_shape_is_static(of) || !lego_shape_equal(shape_of(s, value), shape))
            continue;
        plain_strides(of, strides);
        for (int d = 0; d < shape->rank; d++) {
            int from = d - (shape->rank - of->rank);
            to[d] = from < 0 || of->dim[from] == 1 ? 0 : strides[from];
        }
        found->attention.inputs[ATTENTION_MASK] = mask;
        found_node(found, add);
        return value;
    }
    return scores;
}

/* Sizes from the scores and the two products' shapes; false where they do not go batch by batch. */
static bool find_sizes(const struct search *s, const struct lego_node *qk,
                       const struct lego_node *pv, struct attention *a)
{
    const struct lego_shape *scores = shape_of(s, pv->inputs[0]);
    const struct lego_shape *all[] = {shape_of(s, qk->inputs[0]), shape_of(s, qk->inputs[1]),
                                      shape_of(s, pv->inputs[1]), shape_of(s, pv->outputs[0])};

    a->rank = scores->rank;
    a->batch = 1;
    for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++)
        for (int i = 0; i < a->rank - 2; i++)
            if (all[k]->rank != a->rank || all[k]->dim[i] != scores->dim[i])
                return false;
    for (int i = 0; i < a->rank; i++)
        if (scores->dim[i] < 1 || scores->dim[i] > INT32_MAX / 64)
            return false;
    for (int i = 0; i < a->rank - 2; i++) {
        a->dim[i] = (size_t)scores->dim[i];
        a->batch *= a->dim[i];
    }
    a->rows = (size_t)scores->dim[a->rank - 2];
    a->columns = (size_t)scores->dim[a->rank - 1];
    a->depth = (size_t)all[0]->dim[a->rank - 1];
    a->width = (size_t)all[3]->dim[a->rank - 1];
    return a->depth >= 1 && a->depth <= INT32_MAX / 64 && a->width >= 1 &&
           a->width <= INT32_MAX / 64;
}

/* True where the Softmax over the last axis stands between two products of computed values. */
static bool find_around(const struct search *s, const struct lego_node *softmax,
                        struct found *found)
{
    const struct lego_node *qk, *pv = sole_consumer(s, softmax->outputs[0], LEGO_OP_MatMul);
    struct attention *a = &found->attention;
    int32_t scores = softmax->inputs[0];
    int rank = shape_of(s, scores)->rank;
    int64_t axis = lego_node_int(softmax, "axis", -1);

    *found = (struct found){.count = 0};
    if (!pv || rank < 2 || (axis != -1 && axis != rank - 1) || !is_computed(s, scores) ||
        lego_node_int(softmax, "lego.coerce_2d", 0) || pv->inputs[0] != softmax->outputs[0] ||
        !is_computed(s, pv->inputs[1]) || !lego_shape_is_static(shape_of(s, pv->outputs[0])))
        return false;
    found_node(found, softmax);
    scores = find_scale(s, find_mask(s, scores, found), found);
    qk = sole_producer(s, scores, LEGO_OP_MatMul);
    if (!qk || !is_computed(s, qk->inputs[0]) || !is_computed(s, qk->inputs[1]))
        return false;
    found_node(found, qk);
    a->node = pv;
    if (!find_sizes(s, qk, pv, a))
        return false;
    find_operand(s, qk->inputs[0], true, ATTENTION_Q, found);
    find_operand(s, qk->inputs[1], false, ATTENTION_K, found);
    find_operand(s, pv->inputs[1], false, ATTENTION_V, found);
    find_output(s, pv->outputs[0], found);
    return true;
}

/* No node can be part of two. */
static bool is_free(const struct plan_builder *b, const struct found *found)
{
    const struct lego_node *nodes = b->graph->nodes;

    for (uint32_t i = 0; i < found->count; i++)
        if (b->taken[found->nodes[i] - nodes] || b->attention[found->nodes[i] - nodes])
            return false;
    return !b->taken[found->attention.node - nodes];
}

int plan_find_attention(struct plan_builder *b)
{
    const struct lego_graph *graph = b->graph;
    struct lego_arena *memory = b->plan->memory;
    struct search s = {.b = b};

    s.producer = lego_arena_calloc(memory, graph->value_count + 1u, sizeof(*s.producer));
    b->attention = lego_arena_calloc(memory, graph->node_count + 1u, sizeof(*b->attention));
    if (!s.producer || !b->attention)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    memset(s.producer, -1, (graph->value_count + 1u) * sizeof(*s.producer));
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t i = 0; i < graph->nodes[n].output_count; i++)
            if (graph->nodes[n].outputs[i] >= 0)
                s.producer[graph->nodes[n].outputs[i]] = (int32_t)n;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct found found;
        if (graph->nodes[n].op != LEGO_OP_Softmax || !find_around(&s, &graph->nodes[n], &found) ||
            !is_free(b, &found))
            continue;
        b->attention[found.attention.node - graph->nodes] =
            lego_arena_memdup(memory, &found.attention, sizeof(found.attention));
        if (!b->attention[found.attention.node - graph->nodes])
            return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
        for (uint32_t i = 0; i < found.count; i++)
            b->taken[found.nodes[i] - graph->nodes] = true;
    }
    return LEGO_OK;
}
