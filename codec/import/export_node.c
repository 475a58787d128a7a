/*
 * One node of the graph as one or more nodes of ONNX: fused forms are taken apart.
 */
#include "codec/import/export.h"

#include "codec/base/arena.h"
#include "codec/graph/flow.h"

#include <math.h>
#include <string.h>

/* Field numbers of NodeProto, AttributeProto and GraphProto. */
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_TYPE = 4, NODE_ATTRIBUTE = 5 };
enum {
    ATTR_NAME = 1,
    ATTR_F = 2,
    ATTR_I = 3,
    ATTR_S = 4,
    ATTR_T = 5,
    ATTR_FLOATS = 7,
    ATTR_INTS = 8,
    ATTR_STRINGS = 9,
    ATTR_TYPE = 20,
};
enum { GRAPH_NODE = 1, GRAPH_INITIALISER = 5 };

#define MAX_STEP_INPUTS 3

/* An ONNX node in the making. */
struct step {
    struct wire_out out;
};

static int no_memory(const struct exporter *exporter)
{
    return lego_fail(exporter->diag, LEGO_E_NOMEM, "out of memory writing the model");
}

/* Names of nodes are each other's business alone, but runtimes want every one of them once. */
static const char *node_name(struct exporter *exporter, const char *base)
{
    const char *name = base;
    for (unsigned i = 2; name && names_find(exporter->node_names, name) >= 0; i++)
        name = lego_arena_printf(exporter->scratch, "%s_%u", base, i);
    return name && names_set(exporter->node_names, name, 0) == 0 ? name : NULL;
}

static void begin(struct exporter *exporter, struct step *step, const char *type, const char *name)
{
    const char *own = node_name(exporter, name);
    *step = (struct step){0};
    step->out.failed = !own;
    wire_put_text(&step->out, NODE_TYPE, type);
    wire_put_text(&step->out, NODE_NAME, own ? own : name);
}

static void finish(struct exporter *exporter, struct step *step)
{
    exporter->nodes.failed |= step->out.failed;
    wire_put_bytes(&exporter->nodes, GRAPH_NODE, step->out.data, step->out.bytes);
    wire_out_clear(&step->out);
}

const char *export_fresh_name(struct exporter *exporter, const char *base)
{
    for (unsigned i = 0;; i++) {
        const char *name = lego_arena_printf(exporter->scratch, "%s.%u", base, i);
        if (!name || names_find(exporter->names, name) < 0)
            return name && names_set(exporter->names, name, 0) == 0 ? name : NULL;
    }
}

/* A scalar constant of the exported file; its name, NULL when out of memory. */
static const char *put_scalar(struct exporter *exporter, const char *base, float number)
{
    const struct lego_shape scalar = {.rank = 0};
    const char *name = export_fresh_name(exporter, base);
    struct wire_out tensor = {0};
    if (!name)
        return NULL;
    export_tensor_header(&tensor, name, LEGO_DTYPE_FLOAT32, &scalar, sizeof number);
    wire_put(&tensor, &number, sizeof number);
    wire_put_bytes(&exporter->constants, GRAPH_INITIALISER, tensor.data, tensor.bytes);
    exporter->constants.failed |= tensor.failed;
    wire_out_clear(&tensor);
    return name;
}

static void put_tensor(struct wire_out *attr, const struct lego_tensor *tensor)
{
    struct wire_out out = {0};
    export_tensor_header(&out, tensor->name, tensor->dtype, &tensor->shape, tensor->bytes);
    wire_put(&out, tensor->data, tensor->bytes);
    wire_put_bytes(attr, ATTR_T, out.data, out.bytes);
    attr->failed |= out.failed;
    wire_out_clear(&out);
}

static void put_attr(const struct exporter *exporter, struct step *step,
                     const struct lego_attr *attr)
{
    struct wire_out out = {0};
    wire_put_text(&out, ATTR_NAME, attr->name);
    switch (attr->type) {
    case LEGO_ATTR_FLOAT:
        wire_put_float(&out, ATTR_F, attr->f);
        break;
    case LEGO_ATTR_INT:
        wire_put_int(&out, ATTR_I, attr->i);
        break;
    case LEGO_ATTR_STRING:
        wire_put_bytes(&out, ATTR_S, attr->s, attr->count);
        break;
    case LEGO_ATTR_TENSOR:
        put_tensor(&out, &exporter->graph->tensors[attr->tensor]);
        break;
    case LEGO_ATTR_FLOATS:
        for (size_t i = 0; i < attr->count; i++)
            wire_put_float(&out, ATTR_FLOATS, attr->floats[i]);
        break;
    case LEGO_ATTR_INTS:
        for (size_t i = 0; i < attr->count; i++)
            wire_put_int(&out, ATTR_INTS, attr->ints[i]);
        break;
    case LEGO_ATTR_STRINGS:
        for (size_t i = 0; i < attr->count; i++)
            wire_put_text(&out, ATTR_STRINGS, attr->strings[i]);
        break;
    case LEGO_ATTR_GRAPH: /* export_subgraphs writes it */
        break;
    }
    wire_put_int(&out, ATTR_TYPE, attr->type);
    wire_put_bytes(&step->out, NODE_ATTRIBUTE, out.data, out.bytes);
    step->out.failed |= out.failed;
    wire_out_clear(&out);
}

const char *export_value_name(const struct exporter *exporter, int32_t value)
{
    if (value < 0)
        return "";
    exporter->used[value] = true;
    return exporter->renamed ? exporter->renamed[value] : exporter->graph->values[value].name;
}

/* A node of up to three inputs and one output, without attributes. */
static void put_simple(struct exporter *exporter, const char *type, const char *output,
                       const char *a, const char *b, const char *c)
{
    const char *const inputs[MAX_STEP_INPUTS] = {a, b, c};
    struct step step;
    begin(exporter, &step, type, output);
    for (size_t i = 0; i < MAX_STEP_INPUTS && inputs[i]; i++)
        wire_put_text(&step.out, NODE_INPUT, inputs[i]);
    wire_put_text(&step.out, NODE_OUTPUT, output);
    finish(exporter, &step);
}

static void put_unary(struct exporter *exporter, const char *type, const char *input,
                      const char *output, const struct lego_attr *attrs, size_t count)
{
    struct step step;
    begin(exporter, &step, type, output);
    wire_put_text(&step.out, NODE_INPUT, input);
    wire_put_text(&step.out, NODE_OUTPUT, output);
    for (size_t i = 0; i < count; i++)
        put_attr(exporter, &step, &attrs[i]);
    finish(exporter, &step);
}

static int put_clamp(struct exporter *exporter, const char *input, const char *output, float lo,
                     float hi)
{
    if (lo == 0 && isinf(hi)) {
        put_simple(exporter, "Relu", output, input, NULL, NULL);
        return 0;
    }
    const char *low = isinf(lo) ? "" : put_scalar(exporter, output, lo);
    const char *high = isinf(hi) ? NULL : put_scalar(exporter, output, hi);
    if (!low || (!high && !isinf(hi)))
        return no_memory(exporter);
    put_simple(exporter, "Clip", output, input, !*low && !high ? NULL : low, high);
    return 0;
}

/* x * (1 + erf(x / sqrt 2)) / 2: the operator Gelu came only with opset 20. */
static int put_gelu(struct exporter *exporter, const char *input, const char *output)
{
    const char *names[7];
    for (size_t i = 0; i < 4; i++)
        names[i] = export_fresh_name(exporter, output);
    names[4] = put_scalar(exporter, output, (float)M_SQRT1_2);
    names[5] = put_scalar(exporter, output, 1);
    names[6] = put_scalar(exporter, output, 0.5f);
    for (size_t i = 0; i < 7; i++)
        if (!names[i])
            return no_memory(exporter);
    put_simple(exporter, "Mul", names[0], input, names[4], NULL);
    put_simple(exporter, "Erf", names[1], names[0], NULL, NULL);
    put_simple(exporter, "Add", names[2], names[1], names[5], NULL);
    put_simple(exporter, "Mul", names[3], input, names[2], NULL);
    put_simple(exporter, "Mul", output, names[3], names[6], NULL);
    return 0;
}

static int put_activation(struct exporter *exporter, const struct lego_node *node,
                          const char *input, const char *output)
{
    struct lego_attr attrs[2] = {
        {.name = "alpha", .type = LEGO_ATTR_FLOAT, .f = node->act_lo},
        {.name = "beta", .type = LEGO_ATTR_FLOAT, .f = node->act_hi},
    };
    const char *gate;
    switch (node->activation) {
    case LEGO_ACT_CLAMP:
        return put_clamp(exporter, input, output, node->act_lo, node->act_hi);
    case LEGO_ACT_LEAKY_RELU:
        put_unary(exporter, "LeakyRelu", input, output, attrs, 1);
        return 0;
    case LEGO_ACT_SIGMOID:
        put_unary(exporter, "Sigmoid", input, output, NULL, 0);
        return 0;
    case LEGO_ACT_TANH:
        put_unary(exporter, "Tanh", input, output, NULL, 0);
        return 0;
    case LEGO_ACT_HARD_SIGMOID:
        put_unary(exporter, "HardSigmoid", input, output, attrs, 2);
        return 0;
    case LEGO_ACT_HARD_SWISH:
        put_unary(exporter, "HardSwish", input, output, NULL, 0);
        return 0;
    case LEGO_ACT_SILU:
        gate = export_fresh_name(exporter, output);
        if (!gate)
            return no_memory(exporter);
        put_unary(exporter, "Sigmoid", input, gate, NULL, 0);
        put_simple(exporter, "Mul", output, input, gate, NULL);
        return 0;
    case LEGO_ACT_GELU:
        return put_gelu(exporter, input, output);
    case LEGO_ACT_NONE:
        break;
    }
    return lego_fail(exporter->diag, LEGO_E_INTERNAL, "node '%s' has activation %d", node->name,
                     (int)node->activation);
}

/* Softmax on a matrix, as before opset 13: flattened, computed, brought back. */
static int put_coerced(struct exporter *exporter, const struct lego_node *node)
{
    const char *input = export_value_name(exporter, node->inputs[0]);
    const char *output = export_value_name(exporter, node->outputs[0]);
    const char *shape = export_fresh_name(exporter, output),
               *flat = export_fresh_name(exporter, output);
    const char *result = export_fresh_name(exporter, output);
    if (!shape || !flat || !result)
        return no_memory(exporter);
    struct lego_attr axis = {
        .name = "axis", .type = LEGO_ATTR_INT, .i = lego_node_int(node, "axis", 1)};
    put_simple(exporter, "Shape", shape, input, NULL, NULL);
    put_unary(exporter, "Flatten", input, flat, &axis, 1);
    axis.i = 1;
    put_unary(exporter, lego_op_name(node->op), flat, result, &axis, 1);
    put_simple(exporter, "Reshape", output, result, shape, NULL);
    return 0;
}

/* True where the attribute is ours, or has another form in the opset that is written. */
static bool drops_attr(const struct exporter *exporter, const struct lego_node *node,
                       const struct lego_attr *attr)
{
    if (strncmp(attr->name, "lego.", 5) == 0)
        return true;
    if (exporter->opset >= EXPORT_OPSET_NEWEST)
        return false;
    return (node->op == LEGO_OP_Split && strcmp(attr->name, "num_outputs") == 0) ||
           (export_is_reduce_18(node->op) && strcmp(attr->name, "noop_with_empty_axes") == 0);
}

/* Opset 17 names GridSample's modes otherwise. */
static struct lego_attr renamed_mode(const struct lego_attr *attr)
{
    struct lego_attr renamed = *attr;
    if (attr->type == LEGO_ATTR_STRING && strcmp(attr->name, "mode") == 0) {
        renamed.s = strcmp(attr->s, "linear") == 0  ? "bilinear"
                    : strcmp(attr->s, "cubic") == 0 ? "bicubic"
                                                    : attr->s;
        renamed.count = strlen(renamed.s);
    }
    return renamed;
}

static void put_attrs(const struct exporter *exporter, const struct lego_node *node,
                      struct step *step)
{
    bool old = exporter->opset < EXPORT_OPSET_NEWEST;
    for (uint32_t i = 0; i < node->attr_count; i++) {
        struct lego_attr attr = node->attrs[i];
        if (attr.type == LEGO_ATTR_GRAPH || drops_attr(exporter, node, &attr))
            continue;
        if (old && node->op == LEGO_OP_GridSample)
            attr = renamed_mode(&attr);
        put_attr(exporter, step, &attr);
    }
    const struct lego_tensor *axes =
        old && export_is_reduce_18(node->op) ? lego_node_constant(exporter->graph, node, 1) : NULL;
    if (axes)
        put_attr(exporter, step,
                 &(struct lego_attr){.name = "axes",
                                     .type = LEGO_ATTR_INTS,
                                     .ints = axes->data,
                                     .count = axes->bytes / sizeof(int64_t)});
}

/* The node itself; what is fused to it reads `first` (its own output if nothing is). */
static int put_bare(struct exporter *exporter, const struct lego_node *node, const char *first)
{
    bool axes_as_attr = exporter->opset < EXPORT_OPSET_NEWEST && export_is_reduce_18(node->op);
    uint32_t inputs = node->input_count;
    if ((node->op == LEGO_OP_Conv && inputs > 3) || axes_as_attr)
        inputs = axes_as_attr ? 1 : 3;
    if (flow_is(node->op))
        inputs = export_own_inputs(node);
    while (inputs > 0 && node->inputs[inputs - 1] < 0)
        inputs--;
    struct step step;
    begin(exporter, &step, lego_op_name(node->op), node->name);
    for (uint32_t i = 0; i < inputs; i++)
        wire_put_text(&step.out, NODE_INPUT, export_value_name(exporter, node->inputs[i]));
    for (uint32_t i = 0; i < node->output_count; i++)
        wire_put_text(&step.out, NODE_OUTPUT,
                      i == 0 ? first : export_value_name(exporter, node->outputs[i]));
    put_attrs(exporter, node, &step);
    int status = flow_is(node->op) ? export_subgraphs(exporter, node, &step.out) : 0;
    finish(exporter, &step);
    return status;
}

int export_node(struct exporter *exporter, const struct lego_node *node)
{
    if (lego_node_int(node, "lego.coerce_2d", 0))
        return put_coerced(exporter, node);
    const char *output = export_value_name(exporter, node->outputs[0]);
    if (node->op == LEGO_OP_Gelu && exporter->opset < EXPORT_OPSET_NEWEST)
        return put_gelu(exporter, export_value_name(exporter, node->inputs[0]), output);
    bool residual = node->op == LEGO_OP_Conv && node->input_count > 3 && node->inputs[3] >= 0;
    bool active = node->activation != LEGO_ACT_NONE;
    const char *first = residual || active ? export_fresh_name(exporter, output) : output;
    const char *sum = residual && active ? export_fresh_name(exporter, output)
                      : residual         ? output
                                         : first;
    if (!first || !sum)
        return no_memory(exporter);
    int status = put_bare(exporter, node, first);
    if (status)
        return status;
    if (residual)
        put_simple(exporter, "Add", sum, first, export_value_name(exporter, node->inputs[3]), NULL);
    return active ? put_activation(exporter, node, sum, output) : 0;
}
