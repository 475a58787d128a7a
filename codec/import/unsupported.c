/*
 * What a model asks for and the importer does not have: all of it, in one sentence.
 */
#include "codec/import/build.h"

#include <stdio.h>
#include <string.h>

/* Two lines of text grow at once: how often each operator is missing, and where. */
struct missing {
    uint64_t count;
    size_t used;
    char text[LEGO_DIAG_BYTES];
    int64_t opset;
};

static const char *text_of(const char *text)
{
    return text ? text : "";
}

__attribute__((format(printf, 2, 3))) static void add(struct missing *missing, const char *format,
                                                      ...)
{
    missing->count++;
    if (missing->used + 1 >= sizeof missing->text)
        return; /* lego_fail marks the cut */
    va_list args;
    va_start(args, format);
    int length = vsnprintf(missing->text + missing->used, sizeof missing->text - missing->used,
                           format, args);
    va_end(args);
    if (length > 0)
        missing->used += (size_t)length;
    if (missing->used >= sizeof missing->text)
        missing->used = sizeof missing->text - 1;
}

static void add_node(struct missing *missing, const Onnx__Node *node, const char *what)
{
    const char *domain = text_of(node->domain);
    const char *name = text_of(node->name);
    if (!*name && node->n_output > 0)
        name = text_of(node->output[0]);
    add(missing, "%s'%.200s' (%.100s%s%.100s, opset %lld)%s%s", missing->count ? ", " : "", name,
        strcmp(domain, "ai.onnx") == 0 ? "" : domain,
        *domain && strcmp(domain, "ai.onnx") != 0 ? "." : "", text_of(node->op_type),
        (long long)missing->opset, *what ? " " : "", what);
}

static bool is_standard(const Onnx__Node *node)
{
    const char *domain = text_of(node->domain);
    return !*domain || strcmp(domain, "ai.onnx") == 0;
}

/* True where the operator has a subgraph of that name. */
static bool has_subgraph(const Onnx__Node *node, const char *name)
{
    const char *const *names =
        is_standard(node) ? import_subgraphs(lego_op_from_name("", text_of(node->op_type))) : NULL;
    for (; names && *names; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

/* Why a node's attributes cannot be read, "" where they can. */
static const char *bad_attribute(const Onnx__Node *node)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__Attribute *attr = node->attribute[i];
        if ((attr->g && !has_subgraph(node, text_of(attr->name))) || attr->n_graphs)
            return "with a subgraph";
        if (attr->sparse_tensor || attr->n_sparse_tensors)
            return "with a sparse tensor";
        if (attr->tp || attr->n_type_protos || attr->n_tensors)
            return "with an attribute of a type that is not read";
        if (attr->ref_attr_name && *attr->ref_attr_name)
            return "with an attribute of a function";
    }
    return "";
}

static void check_graph(struct missing *missing, const Onnx__Graph *graph);

static void check_node(struct missing *missing, const Onnx__Node *node)
{
    const char *domain = text_of(node->domain), *type = text_of(node->op_type);
    bool constant = strcmp(type, "Constant") == 0 && is_standard(node);
    const char *bad = bad_attribute(node);
    if (*bad || (!constant && import_target_op(domain, type) == LEGO_OP_NONE))
        add_node(missing, node, bad);
    for (size_t i = 0; constant && i < node->n_attribute; i++)
        if (strncmp(text_of(node->attribute[i]->name), "value_string", 12) == 0)
            add_node(missing, node, "with text");
    for (size_t i = 0; !*bad && i < node->n_attribute; i++)
        if (node->attribute[i]->g)
            check_graph(missing, node->attribute[i]->g);
}

static void check_type(struct missing *missing, const Onnx__ValueInfo *info, const char *which)
{
    const Onnx__ValueType *type = info->type;
    const char *what = !type || type->tensor_type ? NULL
                       : type->sequence_type      ? "a sequence"
                       : type->map_type           ? "a map"
                       : type->optional_type      ? "optional"
                       : type->sparse_tensor_type ? "a sparse tensor"
                                                  : NULL;
    if (what)
        add(missing, "%s%s '%.200s' is %s", missing->count ? ", " : "", which, text_of(info->name),
            what);
    else if (type && type->tensor_type && type->tensor_type->has_elem_type &&
             type->tensor_type->elem_type != 0 &&
             lego_dtype_bytes((enum lego_dtype)type->tensor_type->elem_type) == 0)
        add(missing, "%s%s '%.200s' has element type %d%s", missing->count ? ", " : "", which,
            text_of(info->name), type->tensor_type->elem_type,
            type->tensor_type->elem_type == 8 ? " (text)" : "");
}

/* Subgraphs nest no deeper than SLIM_MAX_GRAPHS: the parser has seen to that. */
static void check_graph(struct missing *missing, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_input; i++)
        check_type(missing, graph->input[i], "input");
    for (size_t i = 0; i < graph->n_output; i++)
        check_type(missing, graph->output[i], "output");
    if (graph->n_sparse_initializer)
        add(missing, "%s%zu sparse initializers", missing->count ? ", " : "",
            graph->n_sparse_initializer);
    for (size_t i = 0; i < graph->n_node; i++)
        check_node(missing, graph->node[i]);
}

int import_check_supported(const Onnx__Graph *graph, int64_t opset, struct lego_diag *diag)
{
    struct missing missing = {.opset = opset};
    check_graph(&missing, graph);
    if (missing.count == 0)
        return 0;
    return lego_fail(diag, LEGO_E_UNSUPPORTED, "%llu not supported: %s",
                     (unsigned long long)missing.count, missing.text);
}
