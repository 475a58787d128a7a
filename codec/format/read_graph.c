/*
 * Reading graphs: values, names, attributes, nodes.
 *
 * Values are numbered in the file in one order (inputs, captures, tensors, outputs of nodes), and
 * are added to the graph in that order, so that a number in the file is an index in memory.
 */
#include "codec/format/reader.h"

#include "codec/base/status.h"

#include <stdio.h>
#include <string.h>

struct graph_reader {
    struct reader *reader;
    const LegoPb__Graph *message;
    struct lego_graph *graph;
    size_t index;
    size_t value_count;  /* of the file's numbering */
    const char **names;  /* [value_count], NULL where the file has none */
    size_t marker_bytes; /* '%'s before a made-up name: more than any stored name begins with */
};

/* A set of attributes that nodes share. */
struct attribute_set {
    struct lego_attr *items;
    uint32_t count;
    bool has_graph, used;
};

static int fail(const struct graph_reader *self, int status, const char *what, size_t which)
{
    return lego_fail(self->reader->diag, status, "graph %zu: %s %zu", self->index, what, which);
}

/* LEGO_OK, or the status that a negative result of lego_graph_add_* stands for, with a sentence. */
static int added(const struct graph_reader *self, int64_t result)
{
    if (result >= 0)
        return LEGO_OK;
    return lego_fail(self->reader->diag, (int)result, "graph %zu: %s", self->index,
                     lego_status_text((int)result));
}

static int check_text(const struct graph_reader *self, const char *text)
{
    if (format_is_utf8(text, strlen(text)))
        return LEGO_OK;
    return fail(self, LEGO_E_FORMAT, "a name that is not UTF-8, of bytes", strlen(text));
}

/* Counts what a graph's values will be, so that sizes are known before anything is made. */
static int count_values(struct graph_reader *self)
{
    const LegoPb__Graph *message = self->message;
    self->value_count = message->n_inputs + message->n_captures + message->n_tensors;
    for (size_t i = 0; i < message->n_nodes; i++) {
        const LegoPb__Node *node = message->nodes[i];
        size_t outputs = node->has_outputs ? node->outputs : 1;
        if (outputs > FORMAT_MAX_NODE_OUTPUTS || node->n_absent_outputs > outputs)
            return fail(self, LEGO_E_FORMAT, "outputs out of range at node", i);
        self->value_count += outputs - node->n_absent_outputs;
    }
    if (self->value_count > FORMAT_MAX_VALUES)
        return fail(self, LEGO_E_LIMIT, "too many values,", self->value_count);
    return LEGO_OK;
}

/*
 * Names are front-coded: each entry is a byte, how much it keeps of the last (not empty) name or of
 * the one before that, and the rest up to a NUL. An empty entry is no name. The list may stop
 * early.
 */
static int read_names(struct graph_reader *self)
{
    if (self->message->names.len == 0)
        return LEGO_OK;
    const uint8_t *at = self->message->names.data, *end = at + self->message->names.len;
    const char *last = "", *before = "";
    for (size_t number = 0; at < end; number++) {
        const char *previous = *at & FORMAT_SHARED_BEFORE ? before : last;
        size_t shared = *at++ & FORMAT_MAX_SHARED;
        const uint8_t *nul = memchr(at, 0, (size_t)(end - at));
        if (!nul || shared > strlen(previous) || number >= self->value_count)
            return fail(self, LEGO_E_FORMAT, "malformed list of names at value", number);
        size_t rest = (size_t)(nul - at), length = shared + rest;
        if (length > self->reader->names_left_bytes)
            return fail(self, LEGO_E_LIMIT, "too many bytes of names at value", number);
        self->reader->names_left_bytes -= length;
        if (length > 0) {
            char *name = lego_arena_calloc(self->graph->arena, length + 1, 1);
            if (!name)
                return read_nomem(self->reader);
            memcpy(name, previous, shared);
            memcpy(name + shared, at, rest);
            if (check_text(self, name) != LEGO_OK)
                return LEGO_E_FORMAT;
            self->names[number] = name;
            before = last;
            last = name;
        }
        at = nul + 1;
    }
    return LEGO_OK;
}

static int name_outputs(struct graph_reader *self)
{
    for (size_t i = 0; i < self->message->n_outputs; i++) {
        const LegoPb__Output *output = self->message->outputs[i];
        if (output->value >= self->value_count)
            return fail(self, LEGO_E_FORMAT, "no value for output", i);
        if (!output->name || !*output->name)
            continue;
        if (self->names[output->value])
            return fail(self, LEGO_E_FORMAT, "a second name for output", i);
        if (check_text(self, output->name) != LEGO_OK)
            return LEGO_E_FORMAT;
        self->names[output->value] = lego_arena_strdup(self->graph->arena, output->name);
        if (!self->names[output->value])
            return read_nomem(self->reader);
    }
    return LEGO_OK;
}

static int name_captures(struct graph_reader *self)
{
    for (size_t i = 0; i < self->message->n_captures; i++) {
        size_t number = self->message->n_inputs + i;
        if (self->names[number])
            return fail(self, LEGO_E_FORMAT, "a second name for capture", i);
        if (check_text(self, self->message->captures[i]) != LEGO_OK)
            return LEGO_E_FORMAT;
        self->names[number] = lego_arena_strdup(self->graph->arena, self->message->captures[i]);
        if (!self->names[number])
            return read_nomem(self->reader);
    }
    return LEGO_OK;
}

/* Made-up names begin with more '%'s than any stored one, so they can not collide. */
static void choose_marker(struct graph_reader *self)
{
    for (size_t i = 0; i < self->value_count; i++) {
        size_t run = self->names[i] ? strspn(self->names[i], "%") : 0;
        if (run > self->marker_bytes)
            self->marker_bytes = run;
    }
    self->marker_bytes++;
}

static const char *name_of(struct graph_reader *self, size_t number)
{
    if (self->names[number])
        return self->names[number];
    const size_t digits = 20; /* of any size_t */
    char *name = lego_arena_calloc(self->reader->scratch, self->marker_bytes + digits + 1, 1);
    if (!name)
        return NULL;
    memset(name, '%', self->marker_bytes);
    snprintf(name + self->marker_bytes, digits + 1, "%zu", number);
    return name;
}

static int read_value_type(struct graph_reader *self, const LegoPb__Value *message,
                           enum lego_dtype *ret_dtype, struct lego_shape *ret_shape)
{
    enum lego_dtype dtype = message->has_dtype ? message->dtype : LEGO_DTYPE_FLOAT32;
    struct lego_shape shape = {.rank = LEGO_RANK_UNKNOWN};
    if (dtype != LEGO_DTYPE_UNKNOWN && lego_dtype_bytes(dtype) == 0)
        return fail(self, LEGO_E_FORMAT, "unknown element type", dtype);
    if (message->n_dims > LEGO_MAX_RANK)
        return fail(self, LEGO_E_FORMAT, "too high a rank,", message->n_dims);
    if (!message->rank_unknown)
        shape.rank = (int)message->n_dims;
    for (int i = 0; i < shape.rank; i++) {
        int64_t dim = message->dims[i];
        if (dim < -1 && (uint64_t)(-2 - dim) >= self->graph->symbol_count)
            return fail(self, LEGO_E_FORMAT, "no such symbol in dimension", (size_t)i);
        shape.dim[i] = dim >= 0 ? dim : dim == -1 ? LEGO_DIM_UNKNOWN : dim + 1;
    }
    *ret_dtype = dtype;
    *ret_shape = shape;
    return LEGO_OK;
}

static int read_inputs(struct graph_reader *self)
{
    for (size_t i = 0; i < self->message->n_inputs; i++) {
        enum lego_dtype dtype;
        struct lego_shape shape;
        int status = read_value_type(self, self->message->inputs[i], &dtype, &shape);
        const char *name = status == LEGO_OK ? name_of(self, i) : NULL;
        if (status == LEGO_OK && !name)
            status = read_nomem(self->reader);
        if (status == LEGO_OK)
            status = added(self, lego_graph_add_value(self->graph, name, dtype, &shape));
        if (status == LEGO_OK)
            status = added(self, lego_graph_add_input(self->graph, (int32_t)i));
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

/* Values whose type and shape the file leaves to inference. */
static int add_untyped(struct graph_reader *self, size_t number)
{
    const struct lego_shape unknown = {.rank = LEGO_RANK_UNKNOWN};
    const char *name = name_of(self, number);
    if (!name)
        return read_nomem(self->reader);
    return added(self, lego_graph_add_value(self->graph, name, LEGO_DTYPE_UNKNOWN, &unknown));
}

static int read_constants(struct graph_reader *self)
{
    size_t first = self->message->n_inputs + self->message->n_captures;
    for (size_t i = 0; i < self->message->n_tensors; i++) {
        const char *name = name_of(self, first + i);
        if (!name)
            return read_nomem(self->reader);
        struct lego_tensor tensor = {.name = name};
        int status =
            read_tensor(self->reader, self->message->tensors[i], FORMAT_KIND_DENSE, &tensor);
        if (status != LEGO_OK)
            return lego_diag_prefix(self->reader->diag, status, "graph %zu, tensor %zu '%s'",
                                    self->index, i, name);
        int32_t at = lego_graph_add_tensor(self->graph, name, tensor.dtype, &tensor.shape);
        int32_t value = lego_graph_add_value(self->graph, name, tensor.dtype, &tensor.shape);
        if (at < 0 || value < 0)
            return added(self, at < 0 ? at : value);
        self->graph->tensors[at].data = tensor.data;
        self->graph->tensors[at].coded = tensor.coded;
        self->graph->tensors[at].integer = tensor.integer;
        self->graph->values[value].tensor = at;
    }
    return LEGO_OK;
}

static int claim_graph(struct graph_reader *self, int64_t number, struct lego_graph **ret_graph)
{
    struct reader *reader = self->reader;
    /* Each subgraph has one parent, which comes before it: no cycles, no sharing, no explosion. */
    if (number <= (int64_t)self->index || (uint64_t)number >= reader->model->n_graphs ||
        reader->graphs[number])
        return fail(self, LEGO_E_FORMAT, "not one parent for subgraph", (size_t)number);
    struct lego_graph *child;
    int status = lego_graph_create(FORMAT_ARENA_BYTES, &child);
    if (status != LEGO_OK)
        return read_nomem(reader);
    status = lego_graph_adopt(self->graph, child, format_release_graph);
    if (status != LEGO_OK) {
        lego_graph_destroy(child);
        return read_nomem(reader);
    }
    reader->graphs[number] = child;
    *ret_graph = child;
    return LEGO_OK;
}

static int read_string(struct graph_reader *self, const ProtobufCBinaryData *data,
                       const char **ret_text)
{
    const char *text =
        lego_arena_strndup(self->graph->arena, data->len ? (char *)data->data : "", data->len);
    if (!text)
        return read_nomem(self->reader);
    *ret_text = text;
    return LEGO_OK;
}

static int read_strings(struct graph_reader *self, const LegoPb__Attribute *message,
                        struct lego_attr *attr)
{
    const char **strings =
        lego_arena_calloc(self->graph->arena, message->n_strings, sizeof(*strings));
    if (!strings)
        return read_nomem(self->reader);
    for (size_t i = 0; i < message->n_strings; i++) {
        int status = read_string(self, &message->strings[i], &strings[i]);
        if (status != LEGO_OK)
            return status;
    }
    attr->strings = strings;
    attr->count = message->n_strings;
    return LEGO_OK;
}

static int copy_array(struct graph_reader *self, const void *data, size_t count, size_t size,
                      struct lego_attr *attr)
{
    void *copy = lego_arena_memdup(self->graph->arena, data, count * size);
    if (!copy)
        return read_nomem(self->reader);
    attr->ints = copy; /* floats share the place */
    attr->count = count;
    return LEGO_OK;
}

static int read_attribute(struct graph_reader *self, const LegoPb__Attribute *message,
                          struct lego_attr *attr)
{
    if (message->name >= self->reader->model->n_strings)
        return fail(self, LEGO_E_FORMAT, "no such string for an attribute's name,", message->name);
    attr->name = lego_arena_strdup(self->graph->arena, self->reader->model->strings[message->name]);
    if (!attr->name)
        return read_nomem(self->reader);
    attr->type = (enum lego_attr_type)message->type;
    switch (attr->type) {
    case LEGO_ATTR_FLOAT:
        attr->f = message->f;
        return LEGO_OK;
    case LEGO_ATTR_INT:
        attr->i = message->i;
        return LEGO_OK;
    case LEGO_ATTR_STRING:
        attr->count = message->s.len;
        return read_string(self, &message->s, &attr->s);
    case LEGO_ATTR_TENSOR:
        if (message->i < 0 || (uint64_t)message->i >= self->graph->tensor_count)
            return fail(self, LEGO_E_FORMAT, "no such tensor for an attribute,",
                        (size_t)message->i);
        attr->tensor = (int32_t)message->i;
        return LEGO_OK;
    case LEGO_ATTR_GRAPH:
        return claim_graph(self, message->i, &attr->graph);
    case LEGO_ATTR_FLOATS:
        return copy_array(self, message->floats, message->n_floats, sizeof(float), attr);
    case LEGO_ATTR_INTS:
        return copy_array(self, message->ints, message->n_ints, sizeof(int64_t), attr);
    case LEGO_ATTR_STRINGS:
        return read_strings(self, message, attr);
    default:
        return fail(self, LEGO_E_FORMAT, "unknown type of attribute,", message->type);
    }
}

/* Each set of attributes is made once; nodes that share it share its arrays, too. */
static int read_attribute_sets(struct graph_reader *self, struct attribute_set *sets)
{
    for (size_t i = 0; i < self->message->n_attributes; i++) {
        const LegoPb__Attributes *message = self->message->attributes[i];
        if (message->n_items > FORMAT_MAX_NODE_ATTRIBUTES)
            return fail(self, LEGO_E_LIMIT, "too many attributes in set", i);
        struct attribute_set *set = &sets[i];
        set->count = (uint32_t)message->n_items;
        set->items = lego_arena_calloc(self->graph->arena, set->count, sizeof(*set->items));
        if (!set->items)
            return read_nomem(self->reader);
        for (uint32_t k = 0; k < set->count; k++) {
            int status = read_attribute(self, message->items[k], &set->items[k]);
            if (status != LEGO_OK)
                return status;
            set->has_graph |= set->items[k].type == LEGO_ATTR_GRAPH;
        }
    }
    return LEGO_OK;
}

static int read_operator(struct graph_reader *self, const LegoPb__Node *message,
                         enum lego_op *ret_op)
{
    const LegoPb__Model *model = self->reader->model;
    if (message->op >= model->n_strings)
        return fail(self, LEGO_E_FORMAT, "no such string for an operator,", message->op);
    const char *text = model->strings[message->op];
    const char *separator = strstr(text, "::");
    char domain[64] = "";
    if (separator && (size_t)(separator - text) < sizeof(domain))
        memcpy(domain, text, (size_t)(separator - text));
    enum lego_op op = lego_op_from_name(domain, separator ? separator + 2 : text);
    if (op == LEGO_OP_NONE)
        return lego_fail(self->reader->diag, LEGO_E_UNSUPPORTED,
                         "graph %zu: operator '%s' is not known here", self->index, text);
    *ret_op = op;
    return LEGO_OK;
}

/* A readable name costs the file nothing: what the node's weight is called, or operator and number.
 */
static const char *node_name(struct graph_reader *self, enum lego_op op, size_t index,
                             const LegoPb__Node *message)
{
    for (size_t i = 1; i < message->n_inputs; i++) {
        size_t number = (size_t)message->inputs[i] - 1; /* absent: past every value */
        if (number >= self->graph->value_count || self->graph->values[number].tensor < 0)
            continue;
        const char *name = self->names[number];
        if (!name)
            continue;
        const char *suffix = strrchr(name, '.');
        size_t stem = suffix && suffix > name ? (size_t)(suffix - name) : strlen(name);
        return lego_arena_strndup(self->reader->scratch, name, stem);
    }
    return lego_arena_printf(self->reader->scratch, "%s_%zu", lego_op_name(op), index);
}

static int fill_outputs(struct graph_reader *self, const LegoPb__Node *message,
                        struct lego_node *node, size_t *number)
{
    size_t absent = 0;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (absent < message->n_absent_outputs && message->absent_outputs[absent] == i) {
            absent++;
            continue;
        }
        node->outputs[i] = (int32_t)*number;
        int status = add_untyped(self, (*number)++);
        if (status != LEGO_OK)
            return status;
    }
    if (absent != message->n_absent_outputs)
        return lego_fail(self->reader->diag, LEGO_E_FORMAT,
                         "graph %zu, node '%s': malformed list of absent outputs", self->index,
                         node->name);
    return LEGO_OK;
}

static int read_node(struct graph_reader *self, size_t index, struct attribute_set *sets,
                     size_t *number)
{
    const LegoPb__Node *message = self->message->nodes[index];
    uint32_t outputs = message->has_outputs ? message->outputs : 1, attrs = 0;
    enum lego_op op = LEGO_OP_NONE;
    int status = read_operator(self, message, &op);
    if (status != LEGO_OK)
        return status;
    if (message->attributes > self->message->n_attributes)
        return fail(self, LEGO_E_FORMAT, "no such attributes at node", index);
    if (message->attributes > 0) {
        struct attribute_set *set = &sets[message->attributes - 1];
        if (set->has_graph && set->used)
            return fail(self, LEGO_E_FORMAT, "a subgraph that another has, too, at node", index);
        set->used = true;
        attrs = set->count;
    }
    const char *name = node_name(self, op, index, message);
    if (!name)
        return read_nomem(self->reader);
    int32_t at =
        lego_graph_add_node(self->graph, name, op, (uint32_t)message->n_inputs, outputs, attrs);
    if (at < 0)
        return added(self, at);

    struct lego_node *node = &self->graph->nodes[at];
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (message->inputs[i] > self->value_count)
            return fail(self, LEGO_E_FORMAT, "an input out of range at node", index);
        node->inputs[i] = (int32_t)message->inputs[i] - 1;
    }
    if (attrs > 0)
        memcpy(node->attrs, sets[message->attributes - 1].items, attrs * sizeof(*node->attrs));
    node->activation = (enum lego_activation)message->activation;
    node->act_lo = message->act_lo;
    node->act_hi = message->has_act_hi ? message->act_hi : INFINITY;
    if (node->activation == LEGO_ACT_NONE)
        node->act_lo = node->act_hi = 0.0f;
    return fill_outputs(self, message, node, number);
}

static int read_outputs(struct graph_reader *self)
{
    size_t computed =
        self->message->n_inputs + self->message->n_captures + self->message->n_tensors;
    for (size_t i = 0; i < self->message->n_outputs; i++) {
        const LegoPb__Output *output = self->message->outputs[i];
        if (output->type && output->value < computed)
            return fail(self, LEGO_E_FORMAT, "a type where there is one already, output", i);
        struct lego_value *value = &self->graph->values[output->value];
        int status = LEGO_OK;
        if (output->type)
            status = read_value_type(self, output->type, &value->dtype, &value->shape);
        if (status == LEGO_OK)
            status = added(self, lego_graph_add_output(self->graph, (int32_t)output->value));
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static int read_head(struct graph_reader *self)
{
    const char *name = self->message->name ? self->message->name : "";
    self->graph->name = lego_arena_strdup(self->graph->arena, name);
    if (!self->graph->name)
        return read_nomem(self->reader);
    int status = check_text(self, name);
    for (size_t i = 0; status == LEGO_OK && i < self->message->n_symbols; i++) {
        status = check_text(self, self->message->symbols[i]);
        if (status == LEGO_OK)
            status = added(self, lego_graph_add_symbol(self->graph, self->message->symbols[i]));
        if (status == LEGO_OK && self->graph->symbol_count != i + 1)
            status = fail(self, LEGO_E_FORMAT, "a repeated name of symbol", i);
    }
    if (status == LEGO_OK)
        status = read_names(self);
    if (status == LEGO_OK)
        status = name_captures(self);
    if (status == LEGO_OK)
        status = name_outputs(self);
    if (status == LEGO_OK)
        choose_marker(self);
    return status;
}

static int read_nodes(struct graph_reader *self)
{
    struct attribute_set *sets =
        lego_arena_calloc(self->reader->scratch, self->message->n_attributes, sizeof(*sets));
    if (!sets)
        return read_nomem(self->reader);
    int status = read_attribute_sets(self, sets);
    size_t number = self->graph->value_count;
    for (size_t i = 0; status == LEGO_OK && i < self->message->n_nodes; i++)
        status = read_node(self, i, sets, &number);
    return status;
}

int read_graph(struct reader *reader, size_t index)
{
    struct graph_reader self = {
        .reader = reader,
        .message = reader->model->graphs[index],
        .graph = reader->graphs[index],
        .index = index,
    };
    if (!self.graph)
        return fail(&self, LEGO_E_FORMAT, "no parent for subgraph", index);
    if (self.message->n_symbols > FORMAT_MAX_SYMBOLS)
        return fail(&self, LEGO_E_LIMIT, "too many symbols,", self.message->n_symbols);
    int status = count_values(&self);
    if (status != LEGO_OK)
        return status;
    self.names = lego_arena_calloc(reader->scratch, self.value_count, sizeof(*self.names));
    if (!self.names)
        return read_nomem(reader);

    status = read_head(&self);
    if (status == LEGO_OK)
        status = read_inputs(&self);
    for (size_t i = 0; status == LEGO_OK && i < self.message->n_captures; i++)
        status = add_untyped(&self, self.message->n_inputs + i);
    if (status == LEGO_OK)
        status = read_constants(&self);
    if (status == LEGO_OK)
        status = read_nodes(&self);
    if (status == LEGO_OK)
        status = read_outputs(&self);
    return status;
}
