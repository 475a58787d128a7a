/*
 * lego_graph_check: what every user of a graph may rely on.
 */
#include "codec/graph/graph.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_MAX_DEPTH 8 /* of subgraphs in subgraphs */

#define LEGO_MANY UINT32_MAX
static const struct {
    uint32_t inputs_min, inputs_max, outputs_min, outputs_max;
} arities[LEGO_OP_COUNT] = {
#define LEGO_OPERATOR(op, domain, inputs_min, inputs_max, outputs_min, outputs_max, ...) \
    [LEGO_OP_##op] = {inputs_min, inputs_max, outputs_min, outputs_max},
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
};

/* One graph under check, with those around it: a subgraph sees their values by name. */
struct check {
    const struct lego_graph *graph;
    const struct check *outer;
    unsigned depth;
    struct lego_diag *diag;
    const struct lego_value **by_name; /* sorted */
    bool *defined;                     /* [value_count] has its producer by now */
};

static int compare_names(const void *a, const void *b)
{
    const struct lego_value *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_key(const void *key, const void *element)
{
    const struct lego_value *const *value = element;
    return strcmp(key, (*value)->name);
}

static int fail_value(const struct check *check, uint32_t value, const char *what)
{
    return lego_fail(check->diag, LEGO_E_FORMAT, "value %u '%s': %s", value,
                     check->graph->values[value].name, what);
}

static bool shape_is_sound(const struct lego_shape *shape, uint32_t symbols)
{
    if (shape->rank == LEGO_RANK_UNKNOWN)
        return true;
    if (shape->rank < 0 || shape->rank > LEGO_MAX_RANK)
        return false;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dim[i];
        if (dim < 0 && dim != LEGO_DIM_UNKNOWN && (uint64_t)(-1 - dim) >= symbols)
            return false;
    }
    return true;
}

static int check_tensors(const struct check *check)
{
    const struct lego_graph *graph = check->graph;
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const struct lego_tensor *tensor = &graph->tensors[i];
        const char *name = tensor->name ? tensor->name : "?";
        size_t elems, bytes;
        if (!tensor->name)
            return lego_fail(check->diag, LEGO_E_FORMAT, "tensor %u has no name", i);
        if (tensor->shape.rank > LEGO_MAX_RANK || lego_shape_elems(&tensor->shape, &elems) != 0 ||
            lego_dtype_bytes(tensor->dtype) == 0)
            return lego_fail(check->diag, LEGO_E_FORMAT,
                             "tensor %u '%s': no valid type and static shape", i, name);
        if (!lego_mul_size(elems, lego_dtype_bytes(tensor->dtype), &bytes) ||
            bytes != tensor->bytes)
            return lego_fail(check->diag, LEGO_E_FORMAT,
                             "tensor %u '%s': %zu bytes do not match its shape", i, name,
                             tensor->bytes);
        if ((tensor->data && tensor->coded) || (!tensor->data && !tensor->coded && bytes > 0))
            return lego_fail(check->diag, LEGO_E_FORMAT,
                             "tensor %u '%s': must be either dense or coded", i, name);
    }
    return LEGO_OK;
}

static int check_value(const struct check *check, uint32_t index)
{
    const struct lego_graph *graph = check->graph;
    const struct lego_value *value = &graph->values[index];
    if (!value->name)
        return lego_fail(check->diag, LEGO_E_FORMAT, "value %u has no name", index);
    if (!shape_is_sound(&value->shape, graph->symbol_count))
        return fail_value(check, index, "malformed shape");
    if (value->dtype != LEGO_DTYPE_UNKNOWN && lego_dtype_bytes(value->dtype) == 0)
        return fail_value(check, index, "unknown element type");
    if (value->tensor < -1 || value->tensor >= (int64_t)graph->tensor_count)
        return fail_value(check, index, "its tensor does not exist");
    if (value->tensor >= 0) {
        const struct lego_tensor *tensor = &graph->tensors[value->tensor];
        if (tensor->dtype != value->dtype || !lego_shape_equal(&tensor->shape, &value->shape))
            return fail_value(check, index, "type or shape differs from its tensor's");
        check->defined[index] = true;
    }
    return LEGO_OK;
}

static int check_values(struct check *check)
{
    const struct lego_graph *graph = check->graph;
    for (uint32_t i = 0; i < graph->value_count; i++) {
        int status = check_value(check, i);
        if (status != LEGO_OK)
            return status;
        check->by_name[i] = &graph->values[i];
    }
    if (graph->value_count > 0)
        qsort(check->by_name, graph->value_count, sizeof(*check->by_name), compare_names);
    for (uint32_t i = 1; i < graph->value_count; i++) {
        if (strcmp(check->by_name[i - 1]->name, check->by_name[i]->name) == 0)
            return lego_fail(check->diag, LEGO_E_FORMAT, "two values have the name '%s'",
                             check->by_name[i]->name);
    }
    return LEGO_OK;
}

static int check_inputs(struct check *check)
{
    const struct lego_graph *graph = check->graph;
    for (uint32_t i = 0; i < graph->input_count; i++) {
        int32_t value = graph->inputs[i];
        if (value < 0 || value >= (int64_t)graph->value_count)
            return lego_fail(check->diag, LEGO_E_FORMAT, "graph input %u is no value", i);
        if (check->defined[value])
            return fail_value(check, (uint32_t)value, "graph input is a constant or listed twice");
        check->defined[value] = true;
    }
    return LEGO_OK;
}

/* True where a value of that name is known in a graph around this one. */
static bool captured(const struct check *check, const char *name)
{
    for (const struct check *outer = check->outer; outer; outer = outer->outer) {
        const struct lego_value **found =
            outer->graph->value_count == 0
                ? NULL
                : bsearch(name, outer->by_name, outer->graph->value_count, sizeof(*outer->by_name),
                          compare_key);
        if (found && outer->defined[*found - outer->graph->values])
            return true;
    }
    return false;
}

static int fail_node(const struct check *check, const struct lego_node *node, const char *what,
                     uint32_t which)
{
    return lego_fail(check->diag, LEGO_E_FORMAT, "node %zu '%s' (%s): %s %u",
                     (size_t)(node - check->graph->nodes), node->name, lego_op_name(node->op), what,
                     which);
}

static int check_graph(struct check *check);

static int check_attr(const struct check *check, const struct lego_node *node, uint32_t index)
{
    const struct lego_attr *attr = &node->attrs[index];
    if (!attr->name || attr->type < LEGO_ATTR_FLOAT || attr->type > LEGO_ATTR_STRINGS)
        return fail_node(check, node, "malformed attribute", index);
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(node->attrs[i].name, attr->name) == 0)
            return fail_node(check, node, "the same name twice, attribute", index);
    }
    switch (attr->type) {
    case LEGO_ATTR_TENSOR:
        if (attr->tensor < 0 || attr->tensor >= (int64_t)check->graph->tensor_count)
            return fail_node(check, node, "no such tensor for attribute", index);
        break;
    case LEGO_ATTR_GRAPH:
        if (!attr->graph || check->depth + 1 >= CHECK_MAX_DEPTH)
            return fail_node(check, node, "no subgraph or too deep a one, attribute", index);
        return check_graph(&(struct check){
            .graph = attr->graph,
            .outer = check,
            .depth = check->depth + 1,
            .diag = check->diag,
        });
    case LEGO_ATTR_STRING:
        if (!attr->s)
            return fail_node(check, node, "malformed attribute", index);
        break;
    case LEGO_ATTR_FLOATS:
    case LEGO_ATTR_INTS:
    case LEGO_ATTR_STRINGS:
        if (attr->count > 0 && !attr->ints) /* all three pointers share their place */
            return fail_node(check, node, "malformed attribute", index);
        break;
    default:
        break;
    }
    return LEGO_OK;
}

static bool takes_activation(enum lego_op op)
{
    switch (op) {
    case LEGO_OP_Conv:
    case LEGO_OP_ConvTranspose:
    case LEGO_OP_Gemm:
    case LEGO_OP_MatMul:
    case LEGO_OP_Add:
    case LEGO_OP_Sub:
    case LEGO_OP_Mul:
    case LEGO_OP_Div:
        return true;
    default:
        return false;
    }
}

static int check_node_form(const struct check *check, const struct lego_node *node)
{
    if (!node->name || node->op <= LEGO_OP_NONE || node->op >= LEGO_OP_COUNT)
        return lego_fail(check->diag, LEGO_E_FORMAT, "node %zu has no name or no known operator",
                         (size_t)(node - check->graph->nodes));
    if (node->input_count < arities[node->op].inputs_min ||
        node->input_count > arities[node->op].inputs_max)
        return fail_node(check, node, "wrong number of inputs,", node->input_count);
    if (node->output_count < arities[node->op].outputs_min ||
        node->output_count > arities[node->op].outputs_max)
        return fail_node(check, node, "wrong number of outputs,", node->output_count);
    if (node->activation < LEGO_ACT_NONE || node->activation > LEGO_ACT_GELU ||
        (node->activation != LEGO_ACT_NONE && !takes_activation(node->op)))
        return fail_node(check, node, "cannot have activation", (uint32_t)node->activation);
    return LEGO_OK;
}

static int check_node(struct check *check, const struct lego_node *node)
{
    const struct lego_graph *graph = check->graph;
    int status = check_node_form(check, node);
    for (uint32_t i = 0; status == LEGO_OK && i < node->input_count; i++) {
        int32_t value = node->inputs[i];
        if (value == -1 && i >= arities[node->op].inputs_min)
            continue;
        if (value < 0 || value >= (int64_t)graph->value_count)
            status = fail_node(check, node, "no value at input", i);
        else if (!check->defined[value] && !captured(check, graph->values[value].name))
            status = fail_node(check, node, "used before it is computed: input", i);
    }
    for (uint32_t i = 0; status == LEGO_OK && i < node->attr_count; i++)
        status = check_attr(check, node, i);
    for (uint32_t i = 0; status == LEGO_OK && i < node->output_count; i++) {
        int32_t value = node->outputs[i];
        if (value == -1)
            continue;
        if (value < 0 || value >= (int64_t)graph->value_count)
            status = fail_node(check, node, "no value at output", i);
        else if (check->defined[value])
            status = fail_node(check, node, "a second producer for output", i);
        else
            check->defined[value] = true;
    }
    return status;
}

static int check_outputs(const struct check *check)
{
    const struct lego_graph *graph = check->graph;
    for (uint32_t i = 0; i < graph->output_count; i++) {
        int32_t value = graph->outputs[i];
        if (value < 0 || value >= (int64_t)graph->value_count)
            return lego_fail(check->diag, LEGO_E_FORMAT, "graph output %u is no value", i);
        if (!check->defined[value] && !captured(check, graph->values[value].name))
            return fail_value(check, (uint32_t)value, "graph output that nothing computes");
    }
    return LEGO_OK;
}

static int check_graph(struct check *check)
{
    const struct lego_graph *graph = check->graph;
    check->by_name = calloc((size_t)graph->value_count + 1, sizeof(*check->by_name));
    check->defined = calloc((size_t)graph->value_count + 1, sizeof(*check->defined));
    int status = LEGO_OK;
    if (!check->by_name || !check->defined)
        status = lego_fail(check->diag, LEGO_E_NOMEM, "out of memory while checking the graph");
    if (status == LEGO_OK)
        status = check_tensors(check);
    if (status == LEGO_OK)
        status = check_values(check);
    if (status == LEGO_OK)
        status = check_inputs(check);
    for (uint32_t i = 0; status == LEGO_OK && i < graph->node_count; i++)
        status = check_node(check, &graph->nodes[i]);
    if (status == LEGO_OK)
        status = check_outputs(check);
    free(check->by_name);
    free(check->defined);
    return status;
}

int lego_graph_check(const struct lego_graph *graph, struct lego_diag *diag)
{
    return check_graph(&(struct check){.graph = graph, .diag = diag});
}
