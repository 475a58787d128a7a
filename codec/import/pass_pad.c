/*
 * Channels of one number that exporters append by Concat (a padding that TFLite's converters write
 * as ConstantOfShape and Concat, say): Pad makes them, and nothing has to be stored.
 */
#include "codec/import/passes.h"

#include <string.h>

/* Smaller constants take no more bytes than what Pad needs to know. */
#define WORTH_BYTES 256

struct padding {
    int32_t x;             /* the input that is no constant */
    int64_t before, after; /* along the axis */
    float number;
    size_t bytes; /* of constants that go */
};

/* All elements are the same number, to the bit. */
static bool is_uniform(const struct lego_tensor *tensor)
{
    const char *data = tensor->data;
    return tensor->bytes >= sizeof(float) &&
           memcmp(data, data + sizeof(float), tensor->bytes - sizeof(float)) == 0;
}

/* The constant of one number that lies beside x, where the sizes are known to fit. */
static bool add_side(const struct lego_tensor *constant, const struct lego_shape *x, int64_t axis,
                     bool before, struct padding *padding)
{
    if (!is_uniform(constant) || constant->shape.rank != x->rank)
        return false;
    for (int d = 0; d < x->rank; d++)
        if (d != axis && x->dim[d] != constant->shape.dim[d])
            return false;
    float number = *(const float *)constant->data;
    if (padding->bytes > 0 && memcmp(&number, &padding->number, sizeof number) != 0)
        return false;
    padding->number = number;
    padding->bytes += constant->bytes;
    *(before ? &padding->before : &padding->after) += constant->shape.dim[axis];
    return true;
}

static bool find_padding(const struct passes *passes, const struct lego_node *node, int64_t *axis,
                         struct padding *padding)
{
    const struct lego_graph *graph = passes->graph;
    int32_t computed = -1;
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] < 0)
            return false;
        if (graph->values[node->inputs[i]].tensor >= 0)
            continue;
        if (computed >= 0)
            return false;
        computed = (int32_t)i;
    }
    if (computed < 0)
        return false;
    padding->x = node->inputs[computed];
    const struct lego_shape *x = &graph->values[padding->x].shape;
    *axis = lego_node_int(node, "axis", 0);
    *axis += *axis < 0 ? x->rank : 0;
    if (*axis < 0 || *axis >= x->rank)
        return false;
    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct lego_tensor *constant = passes_floats(passes, node, i);
        if ((int32_t)i != computed &&
            (!constant || !add_side(constant, x, *axis, (int32_t)i < computed, padding)))
            return false;
    }
    return padding->bytes >= WORTH_BYTES;
}

static int make_pad(struct passes *passes, struct lego_node *node, int64_t axis,
                    const struct padding *padding)
{
    const struct lego_shape scalar = {.rank = 0};
    int rank = passes->graph->values[padding->x].shape.rank;
    const struct lego_shape list = {.rank = 1, .dim = {2 * (int64_t)rank}};
    int64_t *pads = lego_arena_calloc(passes->graph->arena, 2 * (size_t)rank, sizeof *pads);
    float *number = lego_arena_calloc(passes->graph->arena, 1, sizeof *number);
    if (!pads || !number)
        return passes_no_memory(passes);
    pads[axis] = padding->before;
    pads[rank + axis] = padding->after;
    *number = padding->number;
    int32_t inputs[3] = {padding->x};
    inputs[1] = passes_add_constant(passes, node->name, "pads", LEGO_DTYPE_INT64, &list, pads);
    inputs[2] = inputs[1] < 0 ? inputs[1]
                              : passes_add_constant(passes, node->name, "value", LEGO_DTYPE_FLOAT32,
                                                    &scalar, number);
    return inputs[2] < 0 ? inputs[2] : passes_become(passes, node, LEGO_OP_Pad, 3, inputs);
}

int pass_pad(struct passes *passes)
{
    struct lego_graph *graph = passes->graph;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        struct lego_node *node = &graph->nodes[i];
        struct padding padding = {0};
        int64_t axis;
        if (node->op != LEGO_OP_Concat || !find_padding(passes, node, &axis, &padding))
            continue;
        int status = make_pad(passes, node, axis, &padding);
        if (status)
            return status;
    }
    return 0;
}
