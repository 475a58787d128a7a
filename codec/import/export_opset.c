/*
 * Which opset a graph can be written in.
 */
#include "codec/import/export.h"

#include "codec/base/diag.h"

#include <string.h>

static bool has_attr(const struct lego_node *node, const char *name)
{
    return lego_node_attr(node, name) != NULL;
}

static bool is_string(const struct lego_node *node, const char *name, const char *value)
{
    return strcmp(lego_node_string(node, name, ""), value) == 0;
}

bool export_is_reduce_18(enum lego_op op)
{
    switch (op) {
    case LEGO_OP_ReduceL1:
    case LEGO_OP_ReduceL2:
    case LEGO_OP_ReduceLogSum:
    case LEGO_OP_ReduceLogSumExp:
    case LEGO_OP_ReduceMax:
    case LEGO_OP_ReduceMean:
    case LEGO_OP_ReduceMin:
    case LEGO_OP_ReduceProd:
    case LEGO_OP_ReduceSumSquare:
        return true;
    default:
        return false;
    }
}

static int rank_of(const struct lego_graph *graph, const struct lego_node *node, uint32_t input)
{
    return input < node->input_count && node->inputs[input] >= 0
               ? graph->values[node->inputs[input]].shape.rank
               : LEGO_RANK_UNKNOWN;
}

/* The axes must be written as an attribute: known, and no empty list that means "nothing". */
static bool reduce_needs_newest(const struct lego_graph *graph, const struct lego_node *node)
{
    if (node->input_count < 2 || node->inputs[1] < 0)
        return lego_node_int(node, "noop_with_empty_axes", 0) != 0;
    const struct lego_tensor *axes = lego_node_constant(graph, node, 1);
    return !axes || axes->dtype != LEGO_DTYPE_INT64 || axes->bytes == 0;
}

static bool split_needs_newest(const struct lego_graph *graph, const struct lego_node *node)
{
    if (node->input_count > 1 && node->inputs[1] >= 0)
        return false;
    /* Before opset 18 only equal parts: those that the shapes prove. */
    int64_t axis = lego_node_int(node, "axis", 0), size = -1;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            return true;
        const struct lego_shape *shape = &graph->values[node->outputs[i]].shape;
        int64_t at = axis < 0 ? axis + shape->rank : axis;
        if (at < 0 || at >= shape->rank || shape->dim[at] < 0 ||
            (size >= 0 && shape->dim[at] != size))
            return true;
        size = shape->dim[at];
    }
    return false;
}

static bool needs_newest(const struct lego_graph *graph, const struct lego_node *node)
{
    if (export_is_reduce_18(node->op))
        return reduce_needs_newest(graph, node);
    switch (node->op) {
    case LEGO_OP_Mish:
    case LEGO_OP_GroupNormalization:
    case LEGO_OP_BitwiseAnd:
    case LEGO_OP_BitwiseOr:
    case LEGO_OP_BitwiseXor:
    case LEGO_OP_BitwiseNot:
        return true;
    case LEGO_OP_Gelu:
        return is_string(node, "approximate", "tanh");
    case LEGO_OP_Pad:
        return node->input_count > 3 || is_string(node, "mode", "wrap");
    case LEGO_OP_Resize:
        return has_attr(node, "axes") || has_attr(node, "antialias") ||
               has_attr(node, "keep_aspect_ratio_policy") ||
               is_string(node, "coordinate_transformation_mode", "half_pixel_symmetric");
    case LEGO_OP_AveragePool:
    case LEGO_OP_LpPool:
        return has_attr(node, "dilations") ||
               (node->op == LEGO_OP_LpPool && has_attr(node, "ceil_mode"));
    case LEGO_OP_ScatterElements:
    case LEGO_OP_ScatterND:
        return is_string(node, "reduction", "max") || is_string(node, "reduction", "min");
    case LEGO_OP_Split:
        return split_needs_newest(graph, node);
    case LEGO_OP_GridSample:
        return rank_of(graph, node, 0) != 4;
    case LEGO_OP_QuantizeLinear:
    case LEGO_OP_DequantizeLinear:
        return has_attr(node, "block_size") || has_attr(node, "output_dtype");
    default:
        return false;
    }
}

int export_choose_opset(const struct lego_graph *graph, int64_t *ret_opset, struct lego_diag *diag)
{
    int64_t opset = EXPORT_OPSET_COMMON;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct lego_node *node = &graph->nodes[i];
        if (node->op == LEGO_OP_RMSNormalization)
            return lego_fail(diag, LEGO_E_UNSUPPORTED, "node '%s': ONNX opset %d has no %s",
                             node->name, EXPORT_OPSET_NEWEST, lego_op_name(node->op));
        if (needs_newest(graph, node))
            opset = EXPORT_OPSET_NEWEST;
        for (uint32_t a = 0; a < node->attr_count; a++) {
            int64_t inner = opset;
            int status = node->attrs[a].type == LEGO_ATTR_GRAPH
                             ? export_choose_opset(node->attrs[a].graph, &inner, diag)
                             : 0;
            if (status)
                return status;
            opset = inner > opset ? inner : opset;
        }
    }
    *ret_opset = opset;
    return 0;
}
