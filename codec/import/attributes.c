/*
 * Attributes, and the tensors that they and the graph carry.
 */
#include "codec/base/arith.h"
#include "codec/import/build.h"
#include "codec/import/tensor.h"

#include <string.h>

/* More than any operator has; keeps the searches by name linear in the file. */
#define MAX_ATTRIBUTES 64

static int no_memory(struct import_builder *builder)
{
    return lego_fail(builder->diag, LEGO_E_NOMEM,
                     "the graph needs more memory than there is, or than its limit allows");
}

void import_count_original(struct lego_graph *graph, enum lego_dtype dtype, size_t elems)
{
    if (dtype != LEGO_DTYPE_FLOAT32 && dtype != LEGO_DTYPE_FLOAT16 && dtype != LEGO_DTYPE_FLOAT64 &&
        dtype != LEGO_DTYPE_BFLOAT16)
        return;
    graph->original_weights += elems;
    graph->original_bytes = 4 * graph->original_weights;
}

int32_t import_add_tensor(struct import_builder *builder, const Onnx__TensorRef *ref,
                          const char *name)
{
    struct import_tensor tensor;
    const void *data;
    int status = import_tensor_parse(builder->source->model.data + ref->offset, (size_t)ref->bytes,
                                     &tensor, builder->diag);
    if (!status)
        status = import_tensor_data(builder->source, &tensor, &data, builder->diag);
    if (status)
        return status;
    if (!name) {
        name =
            lego_arena_strndup(builder->scratch, tensor.name ? tensor.name : "", tensor.name_bytes);
        if (!name)
            return no_memory(builder);
    }
    int32_t index = lego_graph_add_tensor(builder->graph, name, tensor.dtype, &tensor.shape);
    if (index < 0)
        return no_memory(builder);
    builder->graph->tensors[index].data = data;
    import_count_original(builder->graph, tensor.dtype, tensor.elems);
    return index;
}

int32_t import_add_constant(struct import_builder *builder, const char *name, int32_t tensor)
{
    const struct lego_tensor *content = &builder->graph->tensors[tensor];
    int32_t value = lego_graph_add_value(builder->graph, name, content->dtype, &content->shape);
    if (value < 0)
        return no_memory(builder);
    int status = names_add(&builder->values, builder->graph->values[value].name, value);
    if (status == LEGO_E_EXISTS)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "two values have the name '%.200s'", name);
    if (status)
        return no_memory(builder);
    builder->graph->values[value].tensor = tensor;
    return value;
}

/* A name after `draft` and `what` that no value has yet; NULL when out of memory. */
static const char *made_up_name(struct import_builder *builder, const struct import_draft *draft,
                                const char *what)
{
    char *name = lego_arena_printf(builder->scratch, "%s.%s", draft->name, what);
    for (unsigned i = 2; name && names_find(&builder->values, name) >= 0; i++)
        name = lego_arena_printf(builder->scratch, "%s.%s.%u", draft->name, what, i);
    return name;
}

int32_t import_make_value(struct import_builder *builder, const struct import_draft *draft,
                          const char *what)
{
    static const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    const char *name = made_up_name(builder, draft, what);
    int32_t value =
        name ? lego_graph_add_value(builder->graph, name, LEGO_DTYPE_UNKNOWN, &open) : -1;
    if (value < 0 || names_add(&builder->values, builder->graph->values[value].name, value) != 0)
        return no_memory(builder);
    return value;
}

int32_t import_make_constant(struct import_builder *builder, const struct import_draft *draft,
                             const char *what, enum lego_dtype dtype,
                             const struct lego_shape *shape, const void *data)
{
    const char *name = made_up_name(builder, draft, what);
    if (!name)
        return no_memory(builder);
    int32_t tensor = lego_graph_add_tensor(builder->graph, name, dtype, shape);
    if (tensor < 0)
        return no_memory(builder);
    size_t bytes = builder->graph->tensors[tensor].bytes;
    void *copy = lego_arena_memdup(builder->graph->arena, data, bytes);
    if (!copy)
        return no_memory(builder);
    builder->graph->tensors[tensor].data = bytes ? copy : NULL;
    return import_add_constant(builder, name, tensor);
}

/* The type is missing in files of the oldest writers: what is there tells it. */
static enum lego_attr_type attr_type(const Onnx__Attribute *attr)
{
    if (attr->has_type && attr->type != 0)
        return (enum lego_attr_type)attr->type;
    return attr->has_f       ? LEGO_ATTR_FLOAT
           : attr->has_i     ? LEGO_ATTR_INT
           : attr->has_s     ? LEGO_ATTR_STRING
           : attr->t         ? LEGO_ATTR_TENSOR
           : attr->g         ? LEGO_ATTR_GRAPH
           : attr->n_floats  ? LEGO_ATTR_FLOATS
           : attr->n_strings ? LEGO_ATTR_STRINGS
                             : LEGO_ATTR_INTS;
}

static int read_strings(struct lego_arena *arena, const Onnx__Attribute *from, struct lego_attr *to)
{
    const char **strings = lego_arena_calloc(arena, from->n_strings, sizeof *strings);
    if (!strings)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < from->n_strings; i++) {
        const ProtobufCBinaryData *text = &from->strings[i]; /* empty: without data */
        strings[i] =
            lego_arena_strndup(arena, text->len ? (const char *)text->data : "", text->len);
        if (!strings[i])
            return LEGO_E_NOMEM;
    }
    to->strings = strings;
    to->count = from->n_strings;
    return 0;
}

static int read_list(struct lego_arena *arena, const Onnx__Attribute *from, struct lego_attr *to)
{
    bool floats = to->type == LEGO_ATTR_FLOATS;
    to->count = floats ? from->n_floats : from->n_ints;
    void *copy = floats ? lego_arena_memdup(arena, from->floats, to->count * sizeof(float))
                        : lego_arena_memdup(arena, from->ints, to->count * sizeof(int64_t));
    if (!copy)
        return LEGO_E_NOMEM;
    if (floats)
        to->floats = copy;
    else
        to->ints = copy;
    return 0;
}

static int read_attribute(struct import_builder *builder, struct import_draft *draft,
                          const Onnx__Attribute *from, struct lego_attr *to)
{
    struct lego_arena *arena = builder->graph->arena;
    to->name = lego_arena_strdup(arena, from->name ? from->name : "");
    to->type = attr_type(from);
    if (!to->name)
        return no_memory(builder);
    int status = 0;
    switch (to->type) {
    case LEGO_ATTR_FLOAT:
        to->f = from->f;
        break;
    case LEGO_ATTR_INT:
        to->i = from->i;
        break;
    case LEGO_ATTR_STRING:
        to->s =
            lego_arena_strndup(arena, from->s.data ? (const char *)from->s.data : "", from->s.len);
        to->count = from->s.len;
        status = to->s ? 0 : LEGO_E_NOMEM;
        break;
    case LEGO_ATTR_TENSOR:
        if (!from->t)
            return lego_fail(builder->diag, LEGO_E_FORMAT,
                             "node '%s': attribute '%s' has no tensor", draft->name, to->name);
        to->tensor = import_add_tensor(
            builder, from->t, lego_arena_printf(builder->scratch, "%s.%s", draft->name, to->name));
        if (to->tensor < 0)
            return to->tensor;
        break;
    case LEGO_ATTR_FLOATS:
    case LEGO_ATTR_INTS:
        status = read_list(arena, from, to);
        break;
    case LEGO_ATTR_STRINGS:
        status = read_strings(arena, from, to);
        break;
    case LEGO_ATTR_GRAPH:
        if (!from->g)
            return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s': attribute '%s' has no graph",
                             draft->name, to->name);
        return import_read_subgraph(builder, draft, to->name, from->g, &to->graph);
    default:
        return lego_fail(builder->diag, LEGO_E_UNSUPPORTED,
                         "node '%s' (%s): attribute '%s' has type %d, which is not supported",
                         draft->name, draft->type, to->name, (int)to->type);
    }
    return status ? no_memory(builder) : 0;
}

int import_read_attributes(struct import_builder *builder, const Onnx__Node *node,
                           struct import_draft *draft)
{
    if (node->n_attribute > MAX_ATTRIBUTES)
        return lego_fail(builder->diag, LEGO_E_LIMIT, "node '%s' (%s) has %zu attributes",
                         draft->name, draft->type, node->n_attribute);
    draft->attrs =
        lego_arena_calloc(builder->scratch, node->n_attribute + DRAFT_SPARE, sizeof *draft->attrs);
    if (!draft->attrs)
        return no_memory(builder);
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__Attribute *attr = node->attribute[i];
        if (draft_attr(draft, attr->name ? attr->name : ""))
            return lego_fail(builder->diag, LEGO_E_FORMAT,
                             "node '%s' (%s) has two attributes '%.200s'", draft->name, draft->type,
                             attr->name);
        int status = read_attribute(builder, draft, attr, &draft->attrs[draft->attr_count]);
        if (status)
            return status;
        draft->attr_count++;
    }
    return 0;
}

struct lego_attr *draft_attr(const struct import_draft *draft, const char *name)
{
    for (uint32_t i = 0; i < draft->attr_count; i++)
        if (strcmp(draft->attrs[i].name, name) == 0)
            return &draft->attrs[i];
    return NULL;
}

void draft_remove_attr(struct import_draft *draft, const char *name)
{
    struct lego_attr *attr = draft_attr(draft, name);
    if (attr)
        *attr = draft->attrs[--draft->attr_count];
}
