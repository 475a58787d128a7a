/*
 * y = scale * x + shift by channel, after a convolution or a Gemm: into its weights and bias.
 *
 * Where it comes from: BatchNormalization (Ioffe and Szegedy, arXiv 1502.03167, in inference), a
 * Mul by and an Add of constants. The arithmetic is in double, each result rounded once.
 */
#include "codec/import/passes.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct affine {
    size_t channels;
    double *scale, *shift; /* [channels] */
    bool scaled;           /* scale is not all ones */
};

/* A node that can take it: output channels, and where they lie in the weight. */
static size_t output_channels(const struct passes *passes, const struct lego_node *node)
{
    const struct lego_tensor *weight = passes_floats(passes, node, 1);
    if (!weight || weight->bytes == 0 || node->activation != LEGO_ACT_NONE || node->input_count > 3)
        return 0;
    const struct lego_shape *shape = &weight->shape;
    switch (node->op) {
    case LEGO_OP_Conv:
        return shape->rank >= 3 ? (size_t)shape->dim[0] : 0;
    case LEGO_OP_ConvTranspose: {
        int64_t group = lego_node_int(node, "group", 1), channels;
        if (shape->rank < 3 || group < 1 || shape->dim[0] % group != 0 ||
            !lego_mul_i64(shape->dim[1], group, &channels))
            return 0;
        return (size_t)channels;
    }
    case LEGO_OP_Gemm:
        return shape->rank == 2 ? (size_t)shape->dim[lego_node_int(node, "transB", 0) ? 0 : 1] : 0;
    default:
        return 0;
    }
}

/*
 * How output channels lie in a weight: in runs of elements that belong to one channel (OUTER,
 * GROUPED) or to one channel after the other (INNER).
 */
struct weight_walk {
    enum { OUTER, INNER, GROUPED } kind;
    size_t run;                             /* elements */
    size_t inputs_per_group, out_per_group; /* GROUPED */
};

static struct weight_walk walk_of(const struct lego_node *node, const struct lego_tensor *weight,
                                  size_t channels)
{
    size_t elems = weight->bytes / sizeof(float);
    if (node->op == LEGO_OP_Gemm && !lego_node_int(node, "transB", 0))
        return (struct weight_walk){.kind = INNER, .run = channels};
    if (node->op != LEGO_OP_ConvTranspose)
        return (struct weight_walk){.kind = OUTER, .run = elems / channels};
    size_t inputs = (size_t)weight->shape.dim[0], out = (size_t)weight->shape.dim[1];
    return (struct weight_walk){.kind = GROUPED,
                                .run = elems / (inputs * out),
                                .inputs_per_group =
                                    inputs / (size_t)lego_node_int(node, "group", 1),
                                .out_per_group = out};
}

/* The channel of the run that starts at element `i`, the first one of an INNER run. */
static size_t channel_of(const struct weight_walk *walk, size_t i)
{
    if (walk->kind == INNER)
        return 0;
    if (walk->kind == OUTER)
        return i / walk->run;
    size_t input = i / walk->run / walk->out_per_group;
    return input / walk->inputs_per_group * walk->out_per_group +
           i / walk->run % walk->out_per_group;
}

/* The weight's data where it may be written: in place if nobody else has it, else a copy under a
 * name of its own. NULL with *ret_status on failure. */
static float *writable_weight(struct passes *passes, struct lego_node *node, int *ret_status)
{
    struct lego_graph *graph = passes->graph;
    int32_t value = node->inputs[1], tensor = graph->values[value].tensor;
    bool shared = passes->uses[value] != 1 || passes->tensor_uses[tensor] != 1;
    const struct lego_tensor old = graph->tensors[tensor];
    if (!shared && !passes->shared && import_source_owns(passes->source, old.data))
        return (float *)(uintptr_t)old.data;
    float *data = import_source_copy(passes->source, old.bytes);
    if (!data) {
        *ret_status = passes_no_memory(passes);
        return NULL;
    }
    memcpy(data, old.data, old.bytes);
    if (!shared) {
        graph->tensors[tensor].data = data;
        return data;
    }
    int32_t copy =
        passes_add_constant(passes, old.name, node->name, LEGO_DTYPE_FLOAT32, &old.shape, data);
    if (copy < 0) {
        *ret_status = copy;
        return NULL;
    }
    passes_set_input(passes, node, 1, copy);
    return data;
}

static int scale_weight(struct passes *passes, struct lego_node *node, const struct affine *affine)
{
    int status = 0;
    if (!affine->scaled)
        return 0;
    float *data = writable_weight(passes, node, &status);
    if (!data)
        return status;
    const struct lego_tensor *weight = passes_floats(passes, node, 1);
    struct weight_walk walk = walk_of(node, weight, affine->channels);
    size_t elems = weight->bytes / sizeof(float);
    for (size_t i = 0; i < elems; i += walk.run) {
        size_t channel = channel_of(&walk, i), step = walk.kind == INNER;
        for (size_t k = 0; k < walk.run; k++)
            data[i + k] = (float)(data[i + k] * affine->scale[channel + k * step]);
    }
    return 0;
}

/* Gemm's bias may be any shape that broadcasts; here it must go by columns. */
static bool bias_is_foldable(const struct passes *passes, const struct lego_node *node,
                             size_t channels)
{
    if (node->input_count < 3 || node->inputs[2] < 0)
        return true;
    const struct lego_tensor *bias = passes_floats(passes, node, 2);
    size_t elems = bias ? bias->bytes / sizeof(float) : 0;
    if (!bias || (elems != channels && elems != 1))
        return false;
    return bias->shape.rank <= 1 || elems == 1 ||
           bias->shape.dim[bias->shape.rank - 1] == (int64_t)channels;
}

static int set_bias(struct passes *passes, struct lego_node *node, const struct affine *affine)
{
    const struct lego_tensor *bias = node->input_count > 2 ? passes_floats(passes, node, 2) : NULL;
    double beta = node->op == LEGO_OP_Gemm ? lego_node_float(node, "beta", 1) : 1;
    float *data = import_source_copy(passes->source, affine->channels * sizeof(float));
    if (!data)
        return passes_no_memory(passes);
    for (size_t c = 0; c < affine->channels; c++) {
        const float *old = bias ? bias->data : NULL;
        double before = !old ? 0 : beta * old[bias->bytes == sizeof(float) ? 0 : c];
        data[c] = (float)(before * affine->scale[c] + affine->shift[c]);
    }
    struct lego_shape shape = {.rank = 1, .dim = {(int64_t)affine->channels}};
    int32_t value =
        passes_add_constant(passes, node->name, "bias", LEGO_DTYPE_FLOAT32, &shape, data);
    if (value < 0)
        return value;
    if (node->input_count < 3) {
        int32_t *inputs = lego_arena_calloc(passes->graph->arena, 3, sizeof *inputs);
        if (!inputs)
            return passes_no_memory(passes);
        memcpy(inputs, node->inputs, 2 * sizeof *inputs);
        inputs[2] = -1;
        node->inputs = inputs;
        node->input_count = 3;
    }
    passes_set_input(passes, node, 2, value);
    struct lego_attr *attr = (struct lego_attr *)(uintptr_t)lego_node_attr(node, "beta");
    if (attr && node->op == LEGO_OP_Gemm && attr->type == LEGO_ATTR_FLOAT)
        attr->f = 1;
    return 0;
}

/* Two more attributes on a convolution: what calibration wants to know of the BatchNormalization.
 */
static int keep_batch_norm(struct passes *passes, struct lego_node *node, const float *gamma,
                           const float *beta, size_t channels)
{
    struct lego_arena *arena = passes->graph->arena;
    struct lego_attr *attrs = lego_arena_calloc(arena, node->attr_count + 2, sizeof *attrs);
    float *scale = lego_arena_memdup(arena, gamma, channels * sizeof *scale);
    float *bias = lego_arena_memdup(arena, beta, channels * sizeof *bias);
    if (!attrs || !scale || !bias)
        return passes_no_memory(passes);
    if (lego_node_attr(node, "lego.bn_scale"))
        return 0; /* a second one in a row: the first says what the convolution's outputs were */
    if (node->attr_count)
        memcpy(attrs, node->attrs, node->attr_count * sizeof *attrs);
    attrs[node->attr_count] = (struct lego_attr){
        .name = "lego.bn_scale", .type = LEGO_ATTR_FLOATS, .floats = scale, .count = channels};
    attrs[node->attr_count + 1] = (struct lego_attr){
        .name = "lego.bn_bias", .type = LEGO_ATTR_FLOATS, .floats = bias, .count = channels};
    node->attrs = attrs;
    node->attr_count += 2;
    return 0;
}

/* BatchNormalization's four vectors as scale and shift; false where they are not all known. */
static bool affine_of_batch_norm(const struct passes *passes, const struct lego_node *node,
                                 struct affine *affine)
{
    const float *vector[4];
    if (lego_node_int(node, "training_mode", 0) != 0)
        return false; /* its statistics are the input's */
    for (uint32_t i = 0; i < 4; i++) {
        const struct lego_tensor *tensor = passes_floats(passes, node, i + 1);
        if (!tensor || tensor->bytes != affine->channels * sizeof(float))
            return false;
        vector[i] = tensor->data;
    }
    double epsilon = lego_node_float(node, "epsilon", 1e-5f);
    for (size_t c = 0; c < affine->channels; c++) {
        double variance = (double)vector[3][c] + epsilon;
        if (!(variance > 0))
            return false; /* what it computes is no number: leave that to the operator */
        affine->scale[c] = vector[0][c] / sqrt(variance);
        affine->shift[c] = vector[1][c] - vector[2][c] * affine->scale[c];
    }
    affine->scaled = true;
    return true;
}

/*
 * A constant operand that goes by channels: one element, or [C] at the place of the channels in the
 * output, all other dimensions 1. Returns its elements, 0 where it is another.
 */
static size_t by_channel(const struct lego_tensor *tensor, const struct lego_shape *output,
                         int channel_axis, size_t channels)
{
    size_t elems = tensor->bytes / sizeof(float);
    if (tensor->shape.rank > output->rank)
        return 0;
    if (elems == 1)
        return 1;
    int at = channel_axis - (output->rank - tensor->shape.rank);
    return at >= 0 && elems == channels && tensor->shape.dim[at] == (int64_t)channels ? elems : 0;
}

/* Mul and Add (Sub of a constant) of a constant; `index` is the constant's input. */
static bool affine_of_binary(const struct passes *passes, const struct lego_node *node,
                             uint32_t index, bool gemm, struct affine *affine)
{
    const struct lego_tensor *tensor = passes_floats(passes, node, index);
    const struct lego_shape *output = &passes->graph->values[node->inputs[1 - index]].shape;
    if (!tensor || output->rank < 2 || node->activation != LEGO_ACT_NONE)
        return false;
    size_t elems = by_channel(tensor, output, gemm ? output->rank - 1 : 1, affine->channels);
    if (elems == 0)
        return false;
    const float *data = tensor->data;
    for (size_t c = 0; c < affine->channels; c++) {
        double number = data[elems == 1 ? 0 : c];
        affine->scale[c] = node->op == LEGO_OP_Mul ? number : 1;
        affine->shift[c] = node->op == LEGO_OP_Mul ? 0 : node->op == LEGO_OP_Sub ? -number : number;
    }
    affine->scaled = node->op == LEGO_OP_Mul;
    return true;
}

/* Which input of `node` may be the convolution; -1 where the node is none of ours. */
static int data_input(const struct passes *passes, const struct lego_node *node)
{
    if (node->op == LEGO_OP_BatchNormalization)
        return node->output_count == 1 ? 0 : -1;
    if (node->op != LEGO_OP_Mul && node->op != LEGO_OP_Add && node->op != LEGO_OP_Sub)
        return -1;
    if (passes_floats(passes, node, 1))
        return 0;
    return node->op != LEGO_OP_Sub && passes_floats(passes, node, 0) ? 1 : -1;
}

/* MatMul of a matrix by a constant matrix is Gemm, which has a bias. */
static void matmul_to_gemm(const struct passes *passes, struct lego_node *node)
{
    const struct lego_tensor *weight = passes_floats(passes, node, 1);
    if (node->op == LEGO_OP_MatMul && weight && weight->shape.rank == 2 && node->inputs[0] >= 0 &&
        passes->graph->values[node->inputs[0]].shape.rank == 2)
        node->op = LEGO_OP_Gemm;
}

static int fold(struct passes *passes, struct lego_node *node, struct lego_node *target,
                const struct affine *affine)
{
    int status = scale_weight(passes, target, affine);
    if (!status)
        status = set_bias(passes, target, affine);
    if (!status && node->op == LEGO_OP_BatchNormalization && target->op == LEGO_OP_Conv)
        status = keep_batch_norm(passes, target, passes_floats(passes, node, 1)->data,
                                 passes_floats(passes, node, 2)->data, affine->channels);
    if (!status)
        passes_replace(passes, node, target);
    return status;
}

static int try_fold(struct passes *passes, struct lego_node *node)
{
    int index = data_input(passes, node);
    struct lego_node *target = index < 0 ? NULL : passes_sole_producer(passes, node->inputs[index]);
    if (!target || passes->graph->values[node->inputs[index]].dtype != LEGO_DTYPE_FLOAT32)
        return 0;
    enum lego_op before = target->op;
    matmul_to_gemm(passes, target);
    struct affine affine = {.channels = output_channels(passes, target)};
    int status = 0;
    if (affine.channels && bias_is_foldable(passes, target, affine.channels)) {
        affine.scale = calloc(affine.channels, sizeof *affine.scale);
        affine.shift = calloc(affine.channels, sizeof *affine.shift);
        if (!affine.scale || !affine.shift)
            status = passes_no_memory(passes);
        else if (node->op == LEGO_OP_BatchNormalization
                     ? affine_of_batch_norm(passes, node, &affine)
                     : affine_of_binary(passes, node, (uint32_t)(1 - index),
                                        target->op == LEGO_OP_Gemm, &affine))
            status = fold(passes, node, target, &affine);
        free(affine.scale);
        free(affine.shift);
    }
    if (target->op == LEGO_OP_Gemm && before == LEGO_OP_MatMul)
        target->op = before; /* nothing was folded: it stays what it was */
    return status;
}

int pass_affine(struct passes *passes)
{
    for (uint32_t i = 0; i < passes->graph->node_count; i++) {
        int status = try_fold(passes, &passes->graph->nodes[i]);
        if (status)
            return status;
    }
    return 0;
}
