/*
 * Activations that exporters write as formulas:
 *
 *   HardSwish   x * clip(x + 3, 0, 6) / 6   or   x * hard_sigmoid(x; 1/6, 1/2)
 *   SiLU        x * sigmoid(x)
 *   Gelu        x * (erf(x / sqrt 2) + 1) / 2
 *
 * and the square that they write as Pow(x, 2). All others are products, written in any order and
 * grouping: so the tree of Mul and Div above a node is flattened into one number and its factors,
 * and these are looked at.
 */
#include "codec/import/passes.h"

#include <math.h>

#define MAX_FACTORS 3
#define MAX_INNER   16

struct product {
    double number;
    int32_t factors[MAX_FACTORS];
    size_t factor_count;
    struct lego_node *inner[MAX_INNER]; /* nodes that go when the whole is replaced */
    size_t inner_count;
};

static bool is_close(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b);
}

static bool is_product(const struct lego_node *node)
{
    return (node->op == LEGO_OP_Mul || node->op == LEGO_OP_Div) &&
           node->activation == LEGO_ACT_NONE;
}

/* The node that makes `value` for one user only, noted among those that go. */
static struct lego_node *take(const struct passes *passes, struct product *product, int32_t value)
{
    struct lego_node *node = passes_sole_producer(passes, value);
    if (!node || product->inner_count == MAX_INNER)
        return NULL;
    product->inner[product->inner_count++] = node;
    return node;
}

static bool flatten(const struct passes *passes, const struct lego_node *node,
                    struct product *product, int depth);

static bool add_factor(const struct passes *passes, int32_t value, struct product *product,
                       int depth)
{
    struct lego_node *producer = passes_sole_producer(passes, value);
    if (producer && is_product(producer) && depth < 4) {
        return take(passes, product, value) && flatten(passes, producer, product, depth + 1);
    }
    if (product->factor_count == MAX_FACTORS)
        return false;
    product->factors[product->factor_count++] = value;
    return true;
}

static bool flatten(const struct passes *passes, const struct lego_node *node,
                    struct product *product, int depth)
{
    for (uint32_t i = 0; i < 2; i++) {
        float number;
        if (passes_scalar(passes, node, i, &number))
            product->number *= node->op == LEGO_OP_Div && i == 1 ? 1 / (double)number : number;
        else if ((node->op == LEGO_OP_Div && i == 1) ||
                 !add_factor(passes, node->inputs[i], product, depth))
            return false;
    }
    return true;
}

/* `value` is op(operand) plus or times a number, seen from one user: the operand, -1 where not. */
static int32_t operand_and_number(const struct passes *passes, const struct lego_node *node,
                                  float *ret_number)
{
    if (passes_scalar(passes, node, 1, ret_number))
        return node->inputs[0];
    return passes_scalar(passes, node, 0, ret_number) ? node->inputs[1] : -1;
}

/* value = clip(x + 3, 0, 6) */
static bool is_relu6_shifted(const struct passes *passes, struct product *product, int32_t value,
                             int32_t x)
{
    float lo, hi, three;
    struct lego_node *clip = take(passes, product, value);
    if (!clip || clip->op != LEGO_OP_Clip || clip->input_count != 3 ||
        !passes_scalar(passes, clip, 1, &lo) || !passes_scalar(passes, clip, 2, &hi) || lo != 0 ||
        hi != 6)
        return false;
    struct lego_node *add = take(passes, product, clip->inputs[0]);
    return add && add->op == LEGO_OP_Add && add->activation == LEGO_ACT_NONE &&
           operand_and_number(passes, add, &three) == x && three == 3;
}

/* value = erf(x / sqrt 2) + 1 */
static bool is_erf_plus_one(const struct passes *passes, struct product *product, int32_t value,
                            int32_t x)
{
    float one, number;
    struct lego_node *add = take(passes, product, value);
    if (!add || add->op != LEGO_OP_Add || add->activation != LEGO_ACT_NONE)
        return false;
    int32_t sum = operand_and_number(passes, add, &one);
    struct lego_node *erf = sum < 0 || one != 1 ? NULL : take(passes, product, sum);
    if (!erf || erf->op != LEGO_OP_Erf)
        return false;
    struct lego_node *scale = take(passes, product, erf->inputs[0]);
    if (!scale || !is_product(scale) || operand_and_number(passes, scale, &number) != x)
        return false;
    if (scale->op == LEGO_OP_Div)
        return scale->inputs[0] == x && is_close(number, M_SQRT2);
    return is_close(number, M_SQRT1_2);
}

static enum lego_activation recognise(const struct passes *passes, struct product *product,
                                      int32_t x, int32_t other)
{
    const struct lego_node *gate = passes_sole_producer(passes, other);
    if (!gate)
        return LEGO_ACT_NONE;
    switch (gate->op) {
    case LEGO_OP_Sigmoid:
        if (is_close(product->number, 1) && gate->inputs[0] == x && take(passes, product, other))
            return LEGO_ACT_SILU;
        break;
    case LEGO_OP_HardSigmoid:
        if (is_close(product->number, 1) && gate->inputs[0] == x &&
            is_close(lego_node_float(gate, "alpha", 0.2f), 1.0 / 6) &&
            lego_node_float(gate, "beta", 0.5f) == 0.5f && take(passes, product, other))
            return LEGO_ACT_HARD_SWISH;
        break;
    case LEGO_OP_Clip:
        if (is_close(product->number, 1.0 / 6) && is_relu6_shifted(passes, product, other, x))
            return LEGO_ACT_HARD_SWISH;
        break;
    case LEGO_OP_Add:
        if (is_close(product->number, 0.5) && is_erf_plus_one(passes, product, other, x))
            return LEGO_ACT_GELU;
        break;
    default:
        break;
    }
    return LEGO_ACT_NONE;
}

/* Both uses of x are in the formula: then what makes x can apply the activation. */
static struct lego_node *fusable_producer(const struct passes *passes, int32_t x)
{
    if (passes->producer[x] < 0 || passes->uses[x] != 2 || passes->output[x])
        return NULL;
    struct lego_node *node = &passes->graph->nodes[passes->producer[x]];
    bool takes = node->op == LEGO_OP_Conv || node->op == LEGO_OP_ConvTranspose ||
                 node->op == LEGO_OP_Gemm || node->op == LEGO_OP_MatMul ||
                 node->op == LEGO_OP_Add || node->op == LEGO_OP_Sub || node->op == LEGO_OP_Mul ||
                 node->op == LEGO_OP_Div;
    return takes && node->activation == LEGO_ACT_NONE && node->output_count == 1 ? node : NULL;
}

static int replace(struct passes *passes, struct lego_node *node, const struct product *product,
                   int32_t x, enum lego_activation kind)
{
    struct lego_node *producer = fusable_producer(passes, x);
    if (!producer && kind == LEGO_ACT_SILU)
        return 0;
    if (producer) {
        passes_replace(passes, node, producer);
        node->activation = kind;
    } else {
        /* A node of its own, where ONNX has the operator. */
        int status = passes_become(passes, node,
                                   kind == LEGO_ACT_GELU ? LEGO_OP_Gelu : LEGO_OP_HardSwish, 1, &x);
        if (status)
            return status;
    }
    for (size_t i = 0; i < product->inner_count; i++)
        passes_kill(passes, product->inner[i]);
    return 0;
}

static bool is_square(const struct passes *passes, const struct lego_node *node)
{
    float power;
    return node->op == LEGO_OP_Pow && passes_scalar(passes, node, 1, &power) && power == 2 &&
           passes->graph->values[node->inputs[0]].dtype == LEGO_DTYPE_FLOAT32;
}

int pass_compose(struct passes *passes)
{
    struct lego_graph *graph = passes->graph;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        struct lego_node *node = &graph->nodes[i];
        struct product flat = {.number = 1};
        if (is_square(passes, node)) {
            const int32_t both[] = {node->inputs[0], node->inputs[0]};
            int status = passes_become(passes, node, LEGO_OP_Mul, 2, both);
            if (status)
                return status;
            continue;
        }
        if (!is_product(node) || graph->values[node->outputs[0]].dtype != LEGO_DTYPE_FLOAT32 ||
            !flatten(passes, node, &flat, 0) || flat.factor_count != 2)
            continue;
        for (size_t k = 0; k < 2; k++) {
            struct product product = flat;
            int32_t x = flat.factors[k];
            enum lego_activation kind = recognise(passes, &product, x, flat.factors[1 - k]);
            if (kind == LEGO_ACT_NONE)
                continue;
            int status = replace(passes, node, &product, x, kind);
            if (status)
                return status;
            break;
        }
    }
    return 0;
}
