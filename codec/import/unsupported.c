/*
 * What a model asks for and the importer does not have: all of it, in one sentence.
 */
#include "codec/import/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of one thing that is not supported: names are cut before. */
#define MAX_TEXT 1024

static const char *text_of(const char *text)
{
    return text ? text : "";
}

void import_refuse(struct import_builder *builder, const char *format, ...)
{
    struct import_builder *root = import_root(builder);
    char text[MAX_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t room = sizeof root->refused - root->refused_bytes;
    int length = snprintf(root->refused + root->refused_bytes, room, "%s%s",
                          root->refused_count ? "; " : "", text);
    root->refused_count++;
    if (length > 0 && (size_t)length < room) {
        root->refused_bytes += (size_t)length;
        return;
    }
    root->refused_bytes = sizeof root->refused - 1; /* lego_fail marks the cut */
    if (root->options && root->options->refused)
        root->options->refused(root->options->refused_context, text);
}

int import_fail_refused(struct import_builder *builder)
{
    return lego_fail(builder->diag, LEGO_E_UNSUPPORTED, "%u not supported: %s",
                     builder->refused_count, builder->refused);
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

static void refuse_node(struct import_builder *builder, const Onnx__Node *node, const char *what)
{
    const char *domain = is_standard(node) ? "" : node->domain;
    const char *name = text_of(node->name);
    if (!*name && node->n_output > 0)
        name = text_of(node->output[0]);
    import_refuse(builder, "'%.200s' (%.100s%s%.100s, opset %lld)%s%s", name, domain,
                  *domain ? "." : "", text_of(node->op_type), (long long)builder->opset,
                  *what ? " " : "", what);
}

/* Why a node is not supported whatever its opset; NULL where it is. */
static const char *bad_node(const Onnx__Node *node)
{
    const char *domain = text_of(node->domain), *type = text_of(node->op_type);
    bool constant = strcmp(type, "Constant") == 0 && is_standard(node);
    const char *bad = bad_attribute(node);
    if (*bad || (!constant && import_target_op(domain, type) == LEGO_OP_NONE))
        return bad;
    for (size_t i = 0; constant && i < node->n_attribute; i++)
        if (strncmp(text_of(node->attribute[i]->name), "value_string", 12) == 0)
            return "with text";
    return NULL;
}

bool import_node_supported(const Onnx__Node *node)
{
    return bad_node(node) == NULL;
}

static void check_node(struct import_builder *builder, const Onnx__Node *node)
{
    const char *bad = bad_node(node);
    if (bad) {
        refuse_node(builder, node, bad);
        return;
    }
    for (size_t i = 0; i < node->n_attribute; i++)
        if (node->attribute[i]->g)
            import_check_supported(builder, node->attribute[i]->g);
}

static void check_type(struct import_builder *builder, const Onnx__ValueInfo *info,
                       const char *which)
{
    const Onnx__ValueType *type = info->type;
    const char *what = !type || type->tensor_type ? NULL
                       : type->sequence_type      ? "a sequence"
                       : type->map_type           ? "a map"
                       : type->optional_type      ? "optional"
                       : type->sparse_tensor_type ? "a sparse tensor"
                                                  : NULL;
    if (what)
        import_refuse(builder, "%s '%.200s' is %s", which, text_of(info->name), what);
    else if (type && type->tensor_type && type->tensor_type->has_elem_type &&
             type->tensor_type->elem_type != 0 &&
             lego_dtype_bytes((enum lego_dtype)type->tensor_type->elem_type) == 0)
        import_refuse(builder, "%s '%.200s' has element type %d%s", which, text_of(info->name),
                      type->tensor_type->elem_type,
                      type->tensor_type->elem_type == 8 ? " (text)" : "");
}

/* Subgraphs nest no deeper than SLIM_MAX_GRAPHS: the parser has seen to that. */
void import_check_supported(struct import_builder *builder, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_input; i++)
        check_type(builder, graph->input[i], "input");
    for (size_t i = 0; i < graph->n_output; i++)
        check_type(builder, graph->output[i], "output");
    if (graph->n_sparse_initializer)
        import_refuse(builder, "%zu sparse initializers", graph->n_sparse_initializer);
    for (size_t i = 0; i < graph->n_node; i++)
        check_node(builder, graph->node[i]);
}
