/*
 * Writing graphs. Values get the file's numbers: inputs, captures, tensors, outputs of nodes.
 */
#include "codec/format/writer.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <string.h>

#define UNNUMBERED (-1)

struct graph_writer {
    struct writer *writer;
    const struct lego_graph *graph;
    LegoPb__Graph *message;
    int64_t *value_numbers;  /* of the graph's values */
    int64_t *tensor_numbers; /* of the graph's tensors, from the first tensor on */
    const char **names;      /* by number; NULL: not stored */
    size_t count;            /* numbers given */
    /* Packed forms of the attribute sets, to find equal ones. */
    ProtobufCBinaryData *sets;
};

/* Names that calibration wanted and inference does not, and that would be the file's larger half.
 */
static bool is_stripped(const struct lego_attr *attr)
{
    return strncmp(attr->name, "lego.bn_", 8) == 0;
}

static size_t number_value(struct graph_writer *self, int32_t value, bool named)
{
    self->value_numbers[value] = (int64_t)self->count;
    self->names[self->count] = named ? self->graph->values[value].name : NULL;
    return self->count++;
}

static int write_value_type(struct graph_writer *self, const struct lego_value *value,
                            LegoPb__Value **ret_message)
{
    LegoPb__Value *message = write_alloc(self->writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__value__init(message);
    message->has_dtype = value->dtype != LEGO_DTYPE_FLOAT32;
    message->dtype = value->dtype;
    message->has_rank_unknown = message->rank_unknown = value->shape.rank < 0;
    message->n_dims = value->shape.rank < 0 ? 0 : (size_t)value->shape.rank;
    message->dims = write_alloc(self->writer, message->n_dims, sizeof(*message->dims));
    if (!message->dims)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < message->n_dims; i++) {
        int64_t dim = value->shape.dim[i];
        message->dims[i] = dim >= 0 ? dim : dim == LEGO_DIM_UNKNOWN ? -1 : dim - 1;
    }
    *ret_message = message;
    return LEGO_OK;
}

static int write_inputs(struct graph_writer *self)
{
    const struct lego_graph *graph = self->graph;
    for (uint32_t i = 0; i < graph->input_count; i++) {
        LegoPb__Value *message;
        int status = write_value_type(self, &graph->values[graph->inputs[i]], &message);
        if (status != LEGO_OK)
            return status;
        self->message->inputs =
            write_append(self->writer, self->message->inputs, &self->message->n_inputs, message);
        if (!self->message->inputs)
            return LEGO_E_NOMEM;
        number_value(self, graph->inputs[i], true);
    }
    return LEGO_OK;
}

/* Calls `use` for each value that nodes read or the graph gives out, in order. */
static int each_use(struct graph_writer *self, int (*use)(struct graph_writer *self, int32_t value))
{
    const struct lego_graph *graph = self->graph;
    int status = LEGO_OK;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; status == LEGO_OK && i < node->input_count; i++) {
            if (node->inputs[i] >= 0)
                status = use(self, node->inputs[i]);
        }
    }
    for (uint32_t i = 0; status == LEGO_OK && i < graph->output_count; i++)
        status = use(self, graph->outputs[i]);
    return status;
}

/* A value that is no input, no constant and no node's output is one of a graph around. */
static int use_capture(struct graph_writer *self, int32_t value)
{
    if (self->value_numbers[value] != UNNUMBERED || self->graph->values[value].tensor >= 0)
        return LEGO_OK;
    int status = write_check_text(self->writer, self->graph->values[value].name);
    if (status != LEGO_OK)
        return status;
    number_value(self, value, false); /* the name goes into `captures` */
    self->message->captures =
        write_append(self->writer, self->message->captures, &self->message->n_captures,
                     (char *)(uintptr_t)self->graph->values[value].name);
    return self->message->captures ? LEGO_OK : LEGO_E_NOMEM;
}

static int write_captures(struct graph_writer *self)
{
    /* Outputs of nodes have their numbers later; mark them for now. */
    const struct lego_graph *graph = self->graph;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].output_count; i++) {
            if (graph->nodes[n].outputs[i] >= 0)
                self->value_numbers[graph->nodes[n].outputs[i]] = 0;
        }
    }
    return each_use(self, use_capture);
}

static int use_tensor(struct graph_writer *self, int32_t index)
{
    LegoPb__Tensor *message = write_alloc(self->writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__tensor__init(message);
    self->tensor_numbers[index] = (int64_t)self->message->n_tensors;
    self->message->tensors =
        write_append(self->writer, self->message->tensors, &self->message->n_tensors, message);
    if (!self->message->tensors)
        return LEGO_E_NOMEM;
    return write_tensor(self->writer, &self->graph->tensors[index], FORMAT_KIND_DENSE, message);
}

static int use_constant(struct graph_writer *self, int32_t value)
{
    int32_t tensor = self->graph->values[value].tensor;
    if (tensor < 0 || self->value_numbers[value] != UNNUMBERED)
        return LEGO_OK;
    size_t first = self->message->n_inputs + self->message->n_captures;
    /* Values of one tensor become one value, unless subgraphs may ask for either name. */
    if (self->tensor_numbers[tensor] != UNNUMBERED && !self->writer->keep_names) {
        self->value_numbers[value] = (int64_t)first + self->tensor_numbers[tensor];
        return LEGO_OK;
    }
    bool named = self->writer->keep_names || !format_is_inline(&self->graph->tensors[tensor]);
    number_value(self, value, named);
    return use_tensor(self, tensor);
}

/* Tensors of attributes come last; their values are never read. */
static int write_attribute_tensors(struct graph_writer *self)
{
    const struct lego_graph *graph = self->graph;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].attr_count; i++) {
            const struct lego_attr *attr = &graph->nodes[n].attrs[i];
            if (attr->type != LEGO_ATTR_TENSOR || self->tensor_numbers[attr->tensor] != UNNUMBERED)
                continue;
            self->names[self->count++] = NULL;
            int status = use_tensor(self, attr->tensor);
            if (status != LEGO_OK)
                return status;
        }
    }
    return LEGO_OK;
}

static int write_strings(struct graph_writer *self, const struct lego_attr *attr,
                         LegoPb__Attribute *message)
{
    message->n_strings = attr->count;
    message->strings = write_alloc(self->writer, attr->count, sizeof(*message->strings));
    if (!message->strings)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < attr->count; i++) {
        message->strings[i].len = strlen(attr->strings[i]);
        message->strings[i].data = (uint8_t *)(uintptr_t)attr->strings[i];
    }
    return LEGO_OK;
}

static int add_subgraph(struct writer *writer, const struct lego_graph *graph,
                        LegoPb__Attribute *message)
{
    if (writer->graph_count >= FORMAT_MAX_GRAPHS)
        return lego_fail(writer->diag, LEGO_E_LIMIT, "more than %d subgraphs", FORMAT_MAX_GRAPHS);
    message->has_i = true;
    message->i = (int64_t)writer->graph_count;
    writer->graphs[writer->graph_count++] = graph;
    return LEGO_OK;
}

static int write_attribute(struct graph_writer *self, const struct lego_attr *attr,
                           LegoPb__Attribute *message)
{
    message->type = attr->type;
    switch (attr->type) {
    case LEGO_ATTR_FLOAT:
        message->has_f = true;
        message->f = attr->f;
        break;
    case LEGO_ATTR_INT:
        message->has_i = true;
        message->i = attr->i;
        break;
    case LEGO_ATTR_STRING:
        message->has_s = true;
        message->s.len = attr->count;
        message->s.data = (uint8_t *)(uintptr_t)attr->s;
        break;
    case LEGO_ATTR_TENSOR:
        message->has_i = true;
        message->i = self->tensor_numbers[attr->tensor];
        break;
    case LEGO_ATTR_FLOATS:
        message->n_floats = attr->count;
        message->floats = (float *)(uintptr_t)attr->floats;
        break;
    case LEGO_ATTR_INTS:
        message->n_ints = attr->count;
        message->ints = (int64_t *)(uintptr_t)attr->ints;
        break;
    case LEGO_ATTR_STRINGS:
        return write_strings(self, attr, message);
    case LEGO_ATTR_GRAPH:
        return add_subgraph(self->writer, attr->graph, message);
    }
    return LEGO_OK;
}

static int make_set(struct graph_writer *self, const struct lego_node *node,
                    LegoPb__Attributes **ret_set)
{
    LegoPb__Attributes *set = write_alloc(self->writer, 1, sizeof(*set));
    if (!set)
        return LEGO_E_NOMEM;
    lego_pb__attributes__init(set);
    for (uint32_t i = 0; i < node->attr_count; i++) {
        if (is_stripped(&node->attrs[i]))
            continue;
        LegoPb__Attribute *message = write_alloc(self->writer, 1, sizeof(*message));
        if (!message)
            return LEGO_E_NOMEM;
        lego_pb__attribute__init(message);
        set->items = write_append(self->writer, set->items, &set->n_items, message);
        int status = set->items ? LEGO_OK : LEGO_E_NOMEM;
        if (status == LEGO_OK)
            status = write_string(self->writer, node->attrs[i].name, &message->name);
        if (status == LEGO_OK)
            status = write_attribute(self, &node->attrs[i], message);
        if (status != LEGO_OK)
            return status;
    }
    if (set->n_items > FORMAT_MAX_NODE_ATTRIBUTES)
        return lego_fail(self->writer->diag, LEGO_E_LIMIT, "node '%s': more than %d attributes",
                         node->name, FORMAT_MAX_NODE_ATTRIBUTES);
    *ret_set = set;
    return LEGO_OK;
}

/* The number (from 1) of the set of a node's attributes, which other nodes may have, too; 0: none.
 */
static int write_attributes(struct graph_writer *self, const struct lego_node *node,
                            uint32_t *ret_number)
{
    LegoPb__Attributes *set = NULL;
    int status = make_set(self, node, &set);
    if (status != LEGO_OK || set->n_items == 0) {
        *ret_number = 0;
        return status;
    }
    size_t bytes = lego_pb__attributes__get_packed_size(set);
    uint8_t *packed = write_alloc(self->writer, bytes, 1);
    if (!packed)
        return LEGO_E_NOMEM;
    lego_pb__attributes__pack(set, packed);
    LegoPb__Graph *message = self->message;
    for (size_t i = 0; i < message->n_attributes; i++) {
        if (self->sets[i].len == bytes && memcmp(self->sets[i].data, packed, bytes) == 0) {
            *ret_number = (uint32_t)i + 1;
            return LEGO_OK;
        }
    }
    self->sets[message->n_attributes] = (ProtobufCBinaryData){bytes, packed};
    message->attributes =
        write_append(self->writer, message->attributes, &message->n_attributes, set);
    *ret_number = (uint32_t)message->n_attributes;
    return message->attributes ? LEGO_OK : LEGO_E_NOMEM;
}

static int write_operator(struct writer *writer, enum lego_op op, uint32_t *ret_number)
{
    const char *name = lego_op_name(op), *domain = lego_op_domain(op);
    if (*domain) {
        name = lego_arena_printf(writer->arena, "%s::%s", domain, name);
        if (!name)
            return lego_fail(writer->diag, LEGO_E_NOMEM, "out of memory");
    }
    return write_string(writer, name, ret_number);
}

static void write_activation(const struct lego_node *node, LegoPb__Node *message)
{
    if (node->activation == LEGO_ACT_NONE)
        return;
    message->has_activation = true;
    message->activation = node->activation;
    /* Bits count, so that -0 and NaN come back as they were. */
    static const float zero = 0.0f, infinity = INFINITY;
    message->act_lo = node->act_lo;
    message->has_act_lo = memcmp(&node->act_lo, &zero, sizeof(zero)) != 0;
    message->act_hi = node->act_hi;
    message->has_act_hi = memcmp(&node->act_hi, &infinity, sizeof(infinity)) != 0;
}

static int write_node_outputs(struct graph_writer *self, const struct lego_node *node,
                              LegoPb__Node *message)
{
    if (node->output_count > FORMAT_MAX_NODE_OUTPUTS)
        return lego_fail(self->writer->diag, LEGO_E_LIMIT, "node '%s': more than %d outputs",
                         node->name, FORMAT_MAX_NODE_OUTPUTS);
    message->has_outputs = node->output_count != 1;
    message->outputs = node->output_count;
    message->absent_outputs =
        write_alloc(self->writer, node->output_count, sizeof(*message->absent_outputs));
    if (!message->absent_outputs)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            message->absent_outputs[message->n_absent_outputs++] = i;
        else
            number_value(self, node->outputs[i], self->writer->keep_names);
    }
    return LEGO_OK;
}

static int write_node(struct graph_writer *self, const struct lego_node *node)
{
    LegoPb__Node *message = write_alloc(self->writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__node__init(message);
    self->message->nodes =
        write_append(self->writer, self->message->nodes, &self->message->n_nodes, message);
    message->inputs = write_alloc(self->writer, node->input_count, sizeof(*message->inputs));
    if (!self->message->nodes || !message->inputs)
        return LEGO_E_NOMEM;
    message->n_inputs = node->input_count;
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= 0)
            message->inputs[i] = (uint32_t)self->value_numbers[node->inputs[i]] + 1;
    }
    int status = write_operator(self->writer, node->op, &message->op);
    if (status == LEGO_OK)
        status = write_attributes(self, node, &message->attributes);
    message->has_attributes = message->attributes != 0;
    write_activation(node, message);
    return status == LEGO_OK ? write_node_outputs(self, node, message) : status;
}

static int write_output(struct graph_writer *self, int32_t value)
{
    LegoPb__Output *message = write_alloc(self->writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__output__init(message);
    size_t number = (size_t)self->value_numbers[value];
    size_t computed =
        self->message->n_inputs + self->message->n_captures + self->message->n_tensors;
    message->value = (uint32_t)number;
    int status = write_check_text(self->writer, self->graph->values[value].name);
    if (status != LEGO_OK)
        return status;
    bool repeated = false;
    for (size_t i = 0; i < self->message->n_outputs; i++)
        repeated |= self->message->outputs[i]->value == message->value;
    if (!self->names[number] && !repeated &&
        (number < self->message->n_inputs ||
         number >= self->message->n_inputs + self->message->n_captures))
        message->name = (char *)(uintptr_t)self->graph->values[value].name;
    self->message->outputs =
        write_append(self->writer, self->message->outputs, &self->message->n_outputs, message);
    if (!self->message->outputs)
        return LEGO_E_NOMEM;
    if (number < computed || repeated)
        return LEGO_OK;
    return write_value_type(self, &self->graph->values[value], &message->type);
}

static size_t shared_bytes(const char *name, const char *earlier)
{
    size_t shared = 0;
    while (shared < FORMAT_MAX_SHARED && name[shared] && name[shared] == earlier[shared])
        shared++;
    return shared;
}

/*
 * Front coding: how much of an earlier name is kept, then the rest and a NUL. Weights and biases
 * alternate and are often named in two manners, hence the choice of two earlier names.
 */
static int write_names(struct graph_writer *self)
{
    size_t stored = self->count, bytes = 0;
    while (stored > 0 && !self->names[stored - 1])
        stored--;
    for (size_t i = 0; i < stored; i++)
        bytes += 2 + (self->names[i] ? strlen(self->names[i]) : 0);
    if (bytes > self->writer->names_left_bytes)
        return lego_fail(self->writer->diag, LEGO_E_LIMIT, "too many bytes of names");
    self->writer->names_left_bytes -= bytes;
    uint8_t *at = write_alloc(self->writer, bytes, 1);
    if (!at)
        return LEGO_E_NOMEM;
    self->message->names.data = at;
    const char *last = "", *before = "";
    for (size_t i = 0; i < stored; i++) {
        const char *name = self->names[i] ? self->names[i] : "";
        int status = write_check_text(self->writer, name);
        if (status != LEGO_OK)
            return status;
        size_t shared = shared_bytes(name, last), of_before = shared_bytes(name, before);
        *at++ = (uint8_t)(of_before > shared ? of_before | FORMAT_SHARED_BEFORE : shared);
        shared = lego_max_size(shared, of_before);
        size_t rest = strlen(name) - shared;
        memcpy(at, name + shared, rest + 1);
        at += rest + 1;
        before = *name ? last : before;
        last = *name ? name : last;
    }
    self->message->names.len = (size_t)(at - self->message->names.data);
    self->message->has_names = self->message->names.len > 0;
    return LEGO_OK;
}

static int write_parts(struct graph_writer *self)
{
    const struct lego_graph *graph = self->graph;
    LegoPb__Graph *message = self->message;
    message->name = *graph->name ? (char *)(uintptr_t)graph->name : NULL;
    message->symbols = (char **)(uintptr_t)graph->symbols;
    message->n_symbols = graph->symbol_count;
    if (graph->symbol_count > FORMAT_MAX_SYMBOLS)
        return lego_fail(self->writer->diag, LEGO_E_LIMIT, "%u symbols", graph->symbol_count);

    int status = write_check_text(self->writer, graph->name);
    for (uint32_t i = 0; status == LEGO_OK && i < graph->symbol_count; i++)
        status = write_check_text(self->writer, graph->symbols[i]);
    if (status == LEGO_OK)
        status = write_inputs(self);
    if (status == LEGO_OK)
        status = write_captures(self);
    if (status == LEGO_OK)
        status = each_use(self, use_constant);
    if (status == LEGO_OK)
        status = write_attribute_tensors(self);
    for (uint32_t i = 0; status == LEGO_OK && i < graph->node_count; i++)
        status = write_node(self, &graph->nodes[i]);
    for (uint32_t i = 0; status == LEGO_OK && i < graph->output_count; i++)
        status = write_output(self, graph->outputs[i]);
    if (status == LEGO_OK)
        status = write_names(self);
    return status;
}

int write_graph(struct writer *writer, size_t index)
{
    struct graph_writer self = {.writer = writer, .graph = writer->graphs[index]};
    const struct lego_graph *graph = self.graph;
    self.message = write_alloc(writer, 1, sizeof(*self.message));
    self.value_numbers = write_alloc(writer, graph->value_count, sizeof(*self.value_numbers));
    self.tensor_numbers = write_alloc(writer, graph->tensor_count, sizeof(*self.tensor_numbers));
    self.names =
        write_alloc(writer, (size_t)graph->value_count + graph->tensor_count, sizeof(*self.names));
    self.sets = write_alloc(writer, graph->node_count, sizeof(*self.sets));
    if (!self.message || !self.value_numbers || !self.tensor_numbers || !self.names || !self.sets)
        return LEGO_E_NOMEM;
    lego_pb__graph__init(self.message);
    for (uint32_t i = 0; i < graph->value_count; i++)
        self.value_numbers[i] = UNNUMBERED;
    for (uint32_t i = 0; i < graph->tensor_count; i++)
        self.tensor_numbers[i] = UNNUMBERED;
    writer->model.graphs =
        write_append(writer, writer->model.graphs, &writer->model.n_graphs, self.message);
    if (!writer->model.graphs)
        return LEGO_E_NOMEM;
    return write_parts(&self);
}
