/*
 * Reading the GRAPH section: the message, and all that is not a graph.
 */
#include "codec/format/reader.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

/* A message's structs are larger than its bytes; a hostile one's by a factor of 100 and more. */
#define UNPACK_FACTOR      40
#define UNPACK_LEAST_BYTES ((size_t)1 << 20)
#define UNPACK_MOST_BYTES  ((size_t)128 << 20)

struct unpack_memory {
    struct lego_arena *arena;
    size_t limit_bytes;
    int status; /* why an allocation failed */
};

static void *unpack_alloc(void *context, size_t bytes)
{
    struct unpack_memory *memory = context;
    void *pointer = lego_arena_calloc(memory->arena, 1, bytes);
    if (!pointer)
        memory->status = bytes > memory->limit_bytes - lego_arena_used_bytes(memory->arena)
                             ? LEGO_E_LIMIT
                             : LEGO_E_NOMEM;
    return pointer;
}

/* The arena goes as a whole. */
static void unpack_free(void *context, void *pointer)
{
    (void)context;
    (void)pointer;
}

static int unpack(struct reader *reader, struct lego_arena *arena, size_t limit_bytes)
{
    const struct read_cursor *graph = &reader->cursors[FORMAT_KIND_GRAPH];
    struct unpack_memory memory = {arena, limit_bytes, LEGO_E_FORMAT};
    ProtobufCAllocator allocator = {
        .alloc = unpack_alloc, .free = unpack_free, .allocator_data = &memory};
    uint8_t *packed = lego_arena_calloc(reader->scratch, graph->bytes, 1);
    if (!packed)
        return read_nomem(reader);
    int status = read_copy(reader, graph->data, packed, graph->bytes);
    if (status != LEGO_OK)
        return status;
    reader->model = lego_pb__model__unpack(&allocator, graph->bytes, packed);
    if (!reader->model)
        return lego_fail(reader->diag, memory.status, "%s",
                         memory.status == LEGO_E_FORMAT  ? "malformed message"
                         : memory.status == LEGO_E_LIMIT ? "a message that needs too much memory"
                                                         : "out of memory");
    if (reader->model->n_graphs < 1 || reader->model->n_graphs > FORMAT_MAX_GRAPHS)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "%zu graphs", reader->model->n_graphs);
    return LEGO_OK;
}

/* A copy in the package's arena; NULL with the diag written. */
static const char *copy_text(struct reader *reader, const char *text, const char *what)
{
    if (!format_is_utf8(text, strlen(text))) {
        lego_fail(reader->diag, LEGO_E_FORMAT, "%s: not UTF-8", what);
        return NULL;
    }
    const char *copy = lego_arena_strdup(reader->self->package.graph->arena, text);
    if (!copy)
        read_nomem(reader);
    return copy;
}

static int text_status(const struct reader *reader, const char *text)
{
    if (text)
        return LEGO_OK;
    return reader->diag->status;
}

static int read_catalogue(struct reader *reader, uint32_t id, struct lego_catalogue *catalogue)
{
    const LegoPb__Catalogue *message = reader->model->catalogues[id];
    catalogue->id = id;
    catalogue->dtype = message->has_dtype ? message->dtype : LEGO_DTYPE_FLOAT32;
    catalogue->brick_rows = message->has_rows ? message->rows : 4;
    catalogue->brick_columns = message->has_columns ? message->columns : 4;
    catalogue->entries = message->entries;
    catalogue->scale = message->has_scale ? message->scale : 1.0f;
    if (catalogue->dtype != LEGO_DTYPE_FLOAT32 && catalogue->dtype != LEGO_DTYPE_FLOAT16 &&
        catalogue->dtype != LEGO_DTYPE_INT8)
        return lego_fail(reader->diag, LEGO_E_VERSION, "catalogue %u: element type %u", id,
                         (unsigned)catalogue->dtype);
    if (catalogue->brick_rows < 1 || catalogue->brick_rows > LEGO_BRICK_MAX_SIDE ||
        catalogue->brick_columns < 1 || catalogue->brick_columns > LEGO_BRICK_MAX_SIDE ||
        catalogue->entries < 1 || catalogue->entries > LEGO_CATALOGUE_MAX_ENTRIES)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "catalogue %u: %u entries of %ux%u bricks",
                         id, catalogue->entries, catalogue->brick_rows, catalogue->brick_columns);
    if (!isfinite(catalogue->scale) ||
        (catalogue->dtype != LEGO_DTYPE_INT8 && catalogue->scale != 1.0f))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "catalogue %u: scale %g", id,
                         (double)catalogue->scale);
    size_t bytes = format_catalogue_bytes(catalogue);
    return read_take(reader, FORMAT_KIND_CATALOGUES, bytes, format_align(bytes, 16),
                     &catalogue->data);
}

static int read_catalogues(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    size_t count = reader->model->n_catalogues;
    if (count > FORMAT_MAX_CATALOGUES)
        return lego_fail(reader->diag, LEGO_E_LIMIT, "%zu catalogues", count);
    package->catalogues =
        lego_arena_calloc(package->graph->arena, count, sizeof(*package->catalogues));
    if (!package->catalogues)
        return read_nomem(reader);
    package->catalogue_count = (uint32_t)count;
    for (uint32_t i = 0; i < count; i++) {
        int status = read_catalogue(reader, i, &package->catalogues[i]);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static int read_labels(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    const ProtobufCBinaryData *bytes = &reader->model->labels;
    if (bytes->len == 0)
        return LEGO_OK;
    if (bytes->data[bytes->len - 1] != 0 || !format_is_utf8((char *)bytes->data, bytes->len))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "labels: not UTF-8 that ends in NUL");
    size_t count = 0;
    for (size_t i = 0; i < bytes->len; i++)
        count += bytes->data[i] == 0;
    if (count > FORMAT_MAX_LABELS)
        return lego_fail(reader->diag, LEGO_E_LIMIT, "%zu labels", count);

    const char *text = lego_arena_memdup(package->graph->arena, bytes->data, bytes->len);
    const char **labels = lego_arena_calloc(package->graph->arena, count, sizeof(*labels));
    if (!text || !labels)
        return read_nomem(reader);
    for (size_t i = 0; i < count; i++) {
        labels[i] = text;
        text += strlen(text) + 1;
    }
    package->labels = labels;
    package->label_count = (uint32_t)count;
    return LEGO_OK;
}

static int read_preprocess(struct reader *reader)
{
    const LegoPb__Preprocess *message = reader->model->preprocess;
    struct lego_preprocess *preprocess = &reader->self->package.preprocess;
    if (!message)
        return LEGO_OK;
    uint32_t channels = message->has_channels ? message->channels : 3;
    if (channels > 4 || message->n_mean != channels || message->n_std != channels)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "preprocessing: mean and std do not match %u channels", channels);
    *preprocess = (struct lego_preprocess){
        .present = true,
        .nhwc = message->nhwc,
        .channels = channels,
        .bgr = message->bgr,
        .width = message->width,
        .height = message->height,
        .scale = message->scale,
        .resize = (enum lego_resize)message->resize,
        .resize_side = message->resize_side,
        .pad_value = message->pad_value,
        .class_offset = message->class_offset,
    };
    memcpy(preprocess->mean, message->mean, channels * sizeof(float));
    memcpy(preprocess->std, message->std, channels * sizeof(float));
    const char *wrong = format_check_preprocess(preprocess);
    if (wrong)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "preprocessing: %s", wrong);
    if (!message->input)
        return LEGO_OK;
    preprocess->input = copy_text(reader, message->input, "preprocessing");
    return text_status(reader, preprocess->input);
}

static int compare_keys(const void *a, const void *b)
{
    const LegoPb__Metadata *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static int check_metadata_keys(struct reader *reader)
{
    size_t count = reader->model->n_metadata;
    LegoPb__Metadata **sorted =
        lego_arena_memdup(reader->scratch, reader->model->metadata, count * sizeof(*sorted));
    if (!sorted)
        return read_nomem(reader);
    qsort(sorted, count, sizeof(*sorted), compare_keys);
    for (size_t i = 0; i < count; i++) {
        if (!*sorted[i]->key || (i > 0 && strcmp(sorted[i - 1]->key, sorted[i]->key) == 0))
            return lego_fail(reader->diag, LEGO_E_FORMAT, "metadata: an empty or repeated key");
    }
    return LEGO_OK;
}

static int read_metadata(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    size_t count = reader->model->n_metadata;
    if (count == 0)
        return LEGO_OK;
    int status = check_metadata_keys(reader);
    if (status != LEGO_OK)
        return status;
    package->metadata = lego_arena_calloc(package->graph->arena, count, sizeof(*package->metadata));
    if (!package->metadata)
        return read_nomem(reader);
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        const LegoPb__Metadata *message = reader->model->metadata[i];
        struct lego_metadata_entry *entry = &package->metadata[i];
        entry->key = copy_text(reader, message->key, "metadata");
        entry->value = entry->key ? copy_text(reader, message->value, "metadata") : NULL;
        status = text_status(reader, entry->value);
    }
    package->metadata_count = (uint32_t)count;
    return status;
}

/* The value of that name among a graph's inputs or outputs, which a self-test tensor must match. */
static const struct lego_value *find_port(const struct lego_graph *graph, const int32_t *ports,
                                          uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(graph->values[ports[i]].name, name) == 0)
            return &graph->values[ports[i]];
    }
    return NULL;
}

static bool shape_fits(const struct lego_value *value, const struct lego_tensor *tensor)
{
    if (value->dtype != LEGO_DTYPE_UNKNOWN && value->dtype != tensor->dtype)
        return false;
    if (value->shape.rank == LEGO_RANK_UNKNOWN)
        return true;
    if (value->shape.rank != tensor->shape.rank)
        return false;
    for (int i = 0; i < tensor->shape.rank; i++) {
        if (value->shape.dim[i] >= 0 && value->shape.dim[i] != tensor->shape.dim[i])
            return false;
    }
    return true;
}

/* The numbers are made where they are wanted: opening a model does not wait for them. */
static int read_generated(struct reader *reader, const LegoPb__Tensor *message,
                          struct lego_tensor *tensor)
{
    int status = read_tensor_shape(reader, message, tensor);
    if (status == LEGO_OK && tensor->bytes > FORMAT_MAX_GENERATED_BYTES)
        status =
            lego_fail(reader->diag, LEGO_E_LIMIT, "a generated input of %zu bytes", tensor->bytes);
    return status;
}

static int read_selftest_tensors(struct reader *reader, LegoPb__SelfTestTensor *const *messages,
                                 size_t count, const int32_t *ports, uint32_t port_count,
                                 bool generated, struct lego_tensor **ret_tensors)
{
    struct lego_graph *graph = reader->self->package.graph;
    if (count > port_count)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "more tensors than the graph has");
    struct lego_tensor *tensors = lego_arena_calloc(graph->arena, count, sizeof(*tensors));
    if (!tensors)
        return read_nomem(reader);
    for (size_t i = 0; i < count; i++) {
        const LegoPb__SelfTestTensor *message = messages[i];
        const struct lego_value *port = find_port(graph, ports, port_count, message->name);
        if (!port || message->tensor->has_layout)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "tensor %zu matches no port", i);
        tensors[i].name = port->name;
        int status = generated
                         ? read_generated(reader, message->tensor, &tensors[i])
                         : read_tensor(reader, message->tensor, FORMAT_KIND_SELFTEST, &tensors[i]);
        if (status != LEGO_OK)
            return status;
        if (!shape_fits(port, &tensors[i]))
            return lego_fail(reader->diag, LEGO_E_FORMAT,
                             "tensor '%s' has not the graph's type and shape", port->name);
    }
    *ret_tensors = tensors;
    return LEGO_OK;
}

static int read_selftest(struct reader *reader)
{
    const LegoPb__SelfTest *message = reader->model->selftest;
    struct lego_selftest *selftest = &reader->self->package.selftest;
    const struct lego_graph *graph = reader->self->package.graph;
    if (!message)
        return LEGO_OK;
    if (message->n_inputs != graph->input_count || message->n_outputs == 0 ||
        !isfinite(message->tolerance) || message->tolerance < 0.0f)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "self-test: not one tensor for each input, or no output or tolerance");
    selftest->generated = message->has_seed;
    selftest->seed = message->seed;
    selftest->tolerance = message->tolerance;
    int status = read_selftest_tensors(reader, message->inputs, message->n_inputs, graph->inputs,
                                       graph->input_count, message->has_seed, &selftest->inputs);
    if (status == LEGO_OK)
        status = read_selftest_tensors(reader, message->outputs, message->n_outputs, graph->outputs,
                                       graph->output_count, false, &selftest->outputs);
    if (status != LEGO_OK)
        return lego_diag_prefix(reader->diag, status, "self-test");
    selftest->input_count = (uint32_t)message->n_inputs;
    selftest->output_count = (uint32_t)message->n_outputs;
    return LEGO_OK;
}

static int read_graphs(struct reader *reader)
{
    const LegoPb__Model *model = reader->model;
    for (size_t i = 0; i < model->n_strings; i++) {
        if (!format_is_utf8(model->strings[i], strlen(model->strings[i])))
            return lego_fail(reader->diag, LEGO_E_FORMAT, "string %zu is not UTF-8", i);
    }
    reader->graphs = lego_arena_calloc(reader->scratch, model->n_graphs, sizeof(*reader->graphs));
    if (!reader->graphs)
        return read_nomem(reader);
    reader->graphs[0] = reader->self->package.graph;
    reader->names_left_bytes = FORMAT_MAX_NAMES_BYTES;
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < model->n_graphs; i++)
        status = read_graph(reader, i);
    if (status == LEGO_OK)
        status = lego_graph_check(reader->self->package.graph, reader->diag);
    return status;
}

static int read_parts(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    int status = read_catalogues(reader);
    if (status == LEGO_OK)
        status = read_trellis_parts(reader);
    if (status == LEGO_OK)
        status = read_graphs(reader);
    if (status == LEGO_OK)
        status = read_labels(reader);
    if (status == LEGO_OK)
        status = read_preprocess(reader);
    if (status == LEGO_OK)
        status = read_metadata(reader);
    if (status == LEGO_OK)
        status = read_selftest(reader);
    package->graph->original_bytes = reader->model->original_bytes;
    package->graph->original_weights = reader->model->original_weights;
    package->peak_bytes = reader->model->peak_bytes;
    return status;
}

int read_model(struct reader *reader)
{
    size_t bytes = reader->cursors[FORMAT_KIND_GRAPH].bytes;
    size_t budget = lego_min_size(UNPACK_LEAST_BYTES + UNPACK_FACTOR * bytes, UNPACK_MOST_BYTES);
    struct lego_arena *unpacked = lego_arena_create(budget);
    reader->scratch = lego_arena_create(UNPACK_MOST_BYTES);
    int status =
        unpacked && reader->scratch ? unpack(reader, unpacked, budget) : read_nomem(reader);
    if (status == LEGO_OK)
        status = read_parts(reader);
    lego_arena_destroy(reader->scratch);
    lego_arena_destroy(unpacked);
    reader->model = NULL;
    return status;
}
