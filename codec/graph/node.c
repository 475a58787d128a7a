/*
 * Operators and what is asked of a node: its constants and attributes.
 */
#include "codec/graph/graph.h"

#include <string.h>

static const struct {
    const char *name, *domain;
} operators[LEGO_OP_COUNT] = {
    [LEGO_OP_NONE] = {"?", ""},
#define LEGO_OPERATOR(op, domain, ...) [LEGO_OP_##op] = {#op, domain},
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
};

const char *lego_op_name(enum lego_op op)
{
    return (unsigned)op < LEGO_OP_COUNT ? operators[op].name : "?";
}

const char *lego_op_domain(enum lego_op op)
{
    return (unsigned)op < LEGO_OP_COUNT ? operators[op].domain : "";
}

enum lego_op lego_op_from_name(const char *domain, const char *name)
{
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    for (unsigned op = LEGO_OP_NONE + 1; op < LEGO_OP_COUNT; op++) {
        if (strcmp(operators[op].name, name) == 0 && strcmp(operators[op].domain, domain) == 0)
            return (enum lego_op)op;
    }
    return LEGO_OP_NONE;
}

const struct lego_tensor *lego_node_constant(const struct lego_graph *graph,
                                             const struct lego_node *node, uint32_t index)
{
    if (index >= node->input_count || node->inputs[index] < 0)
        return NULL;
    int32_t tensor = graph->values[node->inputs[index]].tensor;
    return tensor < 0 ? NULL : &graph->tensors[tensor];
}

const struct lego_attr *lego_node_attr(const struct lego_node *node, const char *name)
{
    for (uint32_t i = 0; i < node->attr_count; i++) {
        if (strcmp(node->attrs[i].name, name) == 0)
            return &node->attrs[i];
    }
    return NULL;
}

static const struct lego_attr *find_typed(const struct lego_node *node, const char *name,
                                          enum lego_attr_type type)
{
    const struct lego_attr *attr = lego_node_attr(node, name);
    return attr && attr->type == type ? attr : NULL;
}

int64_t lego_node_int(const struct lego_node *node, const char *name, int64_t otherwise)
{
    const struct lego_attr *attr = find_typed(node, name, LEGO_ATTR_INT);
    return attr ? attr->i : otherwise;
}

float lego_node_float(const struct lego_node *node, const char *name, float otherwise)
{
    const struct lego_attr *attr = find_typed(node, name, LEGO_ATTR_FLOAT);
    return attr ? attr->f : otherwise;
}

const char *lego_node_string(const struct lego_node *node, const char *name, const char *otherwise)
{
    const struct lego_attr *attr = find_typed(node, name, LEGO_ATTR_STRING);
    return attr ? attr->s : otherwise;
}

const int64_t *lego_node_ints(const struct lego_node *node, const char *name, size_t *ret_count)
{
    const struct lego_attr *attr = find_typed(node, name, LEGO_ATTR_INTS);
    *ret_count = attr ? attr->count : 0;
    return attr ? attr->ints : NULL;
}

const float *lego_node_floats(const struct lego_node *node, const char *name, size_t count)
{
    const struct lego_attr *attr = find_typed(node, name, LEGO_ATTR_FLOATS);
    return attr && attr->count == count ? attr->floats : NULL;
}
