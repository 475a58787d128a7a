/*
 * Writing a package: checks, and the message around the graphs.
 */
#include "codec/format/writer.h"

#include "codec/base/status.h"

#include <string.h>

void *write_alloc(struct writer *writer, size_t count, size_t size)
{
    void *memory = lego_arena_calloc(writer->arena, count, size);
    if (!memory)
        lego_fail(writer->diag, LEGO_E_NOMEM, "out of memory while writing");
    return memory;
}

void *write_append(struct writer *writer, void *array, size_t *count, void *item)
{
    if (!item)
        return NULL;
    bool full = *count == 0 || (*count >= 4 && (*count & (*count - 1)) == 0);
    void **items = array;
    if (full) {
        items = write_alloc(writer, *count < 4 ? 4 : 2 * *count, sizeof(*items));
        if (!items)
            return NULL;
        if (*count > 0)
            memcpy(items, array, *count * sizeof(*items));
    }
    items[(*count)++] = item;
    return items;
}

int write_check_text(struct writer *writer, const char *text)
{
    if (format_is_utf8(text, strlen(text)))
        return LEGO_OK;
    return lego_fail(writer->diag, LEGO_E_INVALID, "a name or text is not UTF-8");
}

int write_string(struct writer *writer, const char *text, uint32_t *ret_number)
{
    LegoPb__Model *model = &writer->model;
    for (size_t i = 0; i < model->n_strings; i++) {
        if (strcmp(model->strings[i], text) == 0) {
            *ret_number = (uint32_t)i;
            return LEGO_OK;
        }
    }
    int status = write_check_text(writer, text);
    if (status != LEGO_OK)
        return status;
    *ret_number = (uint32_t)model->n_strings;
    model->strings =
        write_append(writer, model->strings, &model->n_strings, (char *)(uintptr_t)text);
    return model->strings ? LEGO_OK : LEGO_E_NOMEM;
}

static int write_catalogue(struct writer *writer, const struct lego_catalogue *catalogue)
{
    if ((catalogue->dtype != LEGO_DTYPE_INT8 && catalogue->dtype != LEGO_DTYPE_FLOAT16 &&
         catalogue->dtype != LEGO_DTYPE_FLOAT32) ||
        catalogue->brick_rows < 1 || catalogue->brick_rows > LEGO_BRICK_MAX_SIDE ||
        catalogue->brick_columns < 1 || catalogue->brick_columns > LEGO_BRICK_MAX_SIDE ||
        catalogue->entries < 1 || catalogue->entries > LEGO_CATALOGUE_MAX_ENTRIES ||
        !isfinite(catalogue->scale) || !catalogue->data ||
        (catalogue->dtype != LEGO_DTYPE_INT8 && catalogue->scale != 1.0f))
        return lego_fail(writer->diag, LEGO_E_INVALID,
                         "catalogue %td: its type, bricks, entries, scale or data are out of range",
                         catalogue - writer->package->catalogues);
    LegoPb__Catalogue *message = write_alloc(writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__catalogue__init(message);
    message->has_dtype = catalogue->dtype != LEGO_DTYPE_FLOAT32;
    message->dtype = catalogue->dtype;
    message->has_rows = catalogue->brick_rows != 4;
    message->rows = catalogue->brick_rows;
    message->has_columns = catalogue->brick_columns != 4;
    message->columns = catalogue->brick_columns;
    message->entries = catalogue->entries;
    message->has_scale = catalogue->scale != 1.0f;
    message->scale = catalogue->scale;
    LegoPb__Model *model = &writer->model;
    model->catalogues = write_append(writer, model->catalogues, &model->n_catalogues, message);
    if (!model->catalogues)
        return LEGO_E_NOMEM;
    size_t bytes = format_catalogue_bytes(catalogue);
    return write_add_part(writer, FORMAT_KIND_CATALOGUES, catalogue->data, bytes,
                          format_align(bytes, 16), false);
}

static int write_labels(struct writer *writer)
{
    const struct lego_package *package = writer->package;
    size_t bytes = 0;
    if (package->label_count > FORMAT_MAX_LABELS)
        return lego_fail(writer->diag, LEGO_E_LIMIT, "%u labels", package->label_count);
    for (uint32_t i = 0; i < package->label_count; i++)
        bytes += strlen(package->labels[i]) + 1;
    char *at = write_alloc(writer, bytes, 1);
    if (!at)
        return LEGO_E_NOMEM;
    writer->model.labels.data = (uint8_t *)at;
    writer->model.labels.len = bytes;
    writer->model.has_labels = bytes > 0;
    for (uint32_t i = 0; i < package->label_count; i++) {
        int status = write_check_text(writer, package->labels[i]);
        if (status != LEGO_OK)
            return status;
        at = stpcpy(at, package->labels[i]) + 1;
    }
    return LEGO_OK;
}

static int write_preprocess(struct writer *writer)
{
    const struct lego_preprocess *preprocess = &writer->package->preprocess;
    if (!preprocess->present)
        return LEGO_OK;
    const char *wrong = format_check_preprocess(preprocess);
    if (wrong)
        return lego_fail(writer->diag, LEGO_E_INVALID, "preprocessing: %s", wrong);
    LegoPb__Preprocess *message = write_alloc(writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__preprocess__init(message);
    message->has_nhwc = message->nhwc = preprocess->nhwc;
    message->has_channels = preprocess->channels != 3;
    message->channels = preprocess->channels;
    message->has_bgr = message->bgr = preprocess->bgr;
    message->width = preprocess->width;
    message->height = preprocess->height;
    message->scale = preprocess->scale;
    message->n_mean = message->n_std = preprocess->channels;
    message->mean = (float *)(uintptr_t)preprocess->mean;
    message->std = (float *)(uintptr_t)preprocess->std;
    message->has_resize = preprocess->resize != LEGO_RESIZE_STRETCH;
    message->resize = preprocess->resize;
    message->has_resize_side = preprocess->resize_side != 0;
    message->resize_side = preprocess->resize_side;
    message->has_pad_value = preprocess->pad_value != 0.0f;
    message->pad_value = preprocess->pad_value;
    message->has_class_offset = preprocess->class_offset != 0;
    message->class_offset = preprocess->class_offset;
    message->input = (char *)(uintptr_t)preprocess->input;
    writer->model.preprocess = message;
    return preprocess->input ? write_check_text(writer, preprocess->input) : LEGO_OK;
}

static int write_metadata(struct writer *writer)
{
    const struct lego_package *package = writer->package;
    LegoPb__Model *model = &writer->model;
    for (uint32_t i = 0; i < package->metadata_count; i++) {
        const struct lego_metadata_entry *entry = &package->metadata[i];
        LegoPb__Metadata *message = write_alloc(writer, 1, sizeof(*message));
        if (!message)
            return LEGO_E_NOMEM;
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(package->metadata[k].key, entry->key) == 0)
                return lego_fail(writer->diag, LEGO_E_INVALID, "metadata key '%s' stands twice",
                                 entry->key);
        }
        lego_pb__metadata__init(message);
        message->key = (char *)(uintptr_t)entry->key;
        message->value = (char *)(uintptr_t)entry->value;
        model->metadata = write_append(writer, model->metadata, &model->n_metadata, message);
        int status = model->metadata ? write_check_text(writer, entry->key) : LEGO_E_NOMEM;
        if (status == LEGO_OK)
            status = write_check_text(writer, entry->value);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

/* A generated input goes without its data, if that is what the generator makes. */
static int check_generated(struct writer *writer, const struct lego_tensor *tensor, uint32_t input)
{
    if (tensor->bytes > FORMAT_MAX_GENERATED_BYTES)
        return lego_fail(writer->diag, LEGO_E_LIMIT,
                         "self-test input '%s' is too large to generate", tensor->name);
    void *expected = write_alloc(writer, 1, tensor->bytes);
    if (!expected)
        return LEGO_E_NOMEM;
    lego_selftest_fill(writer->package->selftest.seed, input, tensor, expected);
    if (tensor->data && memcmp(tensor->data, expected, tensor->bytes) != 0)
        return lego_fail(writer->diag, LEGO_E_INVALID,
                         "self-test input '%s' is not what its seed generates", tensor->name);
    return LEGO_OK;
}

static int write_selftest_tensor(struct writer *writer, const struct lego_tensor *tensor,
                                 bool generated, uint32_t index,
                                 LegoPb__SelfTestTensor **ret_message)
{
    LegoPb__SelfTestTensor *message = write_alloc(writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__self_test_tensor__init(message);
    message->name = (char *)(uintptr_t)tensor->name;
    message->tensor = write_alloc(writer, 1, sizeof(*message->tensor));
    if (!message->tensor)
        return LEGO_E_NOMEM;
    lego_pb__tensor__init(message->tensor);
    *ret_message = message;
    int status = write_check_text(writer, tensor->name);
    if (status != LEGO_OK)
        return status;
    if (!generated)
        return write_tensor(writer, tensor, FORMAT_KIND_SELFTEST, message->tensor);
    write_tensor_shape(writer, tensor, message->tensor);
    return check_generated(writer, tensor, index);
}

static int write_selftest(struct writer *writer)
{
    const struct lego_selftest *selftest = &writer->package->selftest;
    int status = LEGO_OK;
    if (selftest->input_count == 0)
        return LEGO_OK;
    LegoPb__SelfTest *message = write_alloc(writer, 1, sizeof(*message));
    if (!message)
        return LEGO_E_NOMEM;
    lego_pb__self_test__init(message);
    writer->model.selftest = message;
    message->tolerance = selftest->tolerance;
    message->has_seed = selftest->generated;
    message->seed = selftest->seed;
    for (uint32_t i = 0; status == LEGO_OK && i < selftest->input_count; i++) {
        LegoPb__SelfTestTensor *tensor = NULL;
        status =
            write_selftest_tensor(writer, &selftest->inputs[i], selftest->generated, i, &tensor);
        message->inputs = write_append(writer, message->inputs, &message->n_inputs, tensor);
        status = status == LEGO_OK && !message->inputs ? LEGO_E_NOMEM : status;
    }
    for (uint32_t i = 0; status == LEGO_OK && i < selftest->output_count; i++) {
        LegoPb__SelfTestTensor *tensor = NULL;
        status = write_selftest_tensor(writer, &selftest->outputs[i], false, i, &tensor);
        message->outputs = write_append(writer, message->outputs, &message->n_outputs, tensor);
        status = status == LEGO_OK && !message->outputs ? LEGO_E_NOMEM : status;
    }
    return status;
}

static bool has_subgraph(const struct lego_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].attr_count; i++) {
            if (graph->nodes[n].attrs[i].type == LEGO_ATTR_GRAPH)
                return true;
        }
    }
    return false;
}

static int write_graphs(struct writer *writer)
{
    writer->graphs = write_alloc(writer, FORMAT_MAX_GRAPHS, sizeof(*writer->graphs));
    if (!writer->graphs)
        return LEGO_E_NOMEM;
    writer->graphs[0] = writer->package->graph;
    writer->graph_count = 1;
    writer->keep_names = has_subgraph(writer->package->graph);
    writer->names_left_bytes = FORMAT_MAX_NAMES_BYTES;
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < writer->graph_count; i++)
        status = write_graph(writer, i);
    return status;
}

static int write_graph_section(struct writer *writer)
{
    size_t bytes = lego_pb__model__get_packed_size(&writer->model);
    if (bytes > FORMAT_MAX_GRAPH_BYTES)
        return lego_fail(writer->diag, LEGO_E_LIMIT, "the graph takes %zu bytes, more than %u",
                         bytes, FORMAT_MAX_GRAPH_BYTES);
    uint8_t *packed = write_alloc(writer, bytes, 1);
    if (!packed)
        return LEGO_E_NOMEM;
    lego_pb__model__pack(&writer->model, packed);
    return write_add_part(writer, FORMAT_KIND_GRAPH, packed, bytes, 1, false);
}

int write_model(struct writer *writer)
{
    const struct lego_package *package = writer->package;
    LegoPb__Model *model = &writer->model;
    lego_pb__model__init(model);
    model->has_original_bytes = package->graph->original_bytes != 0;
    model->original_bytes = package->graph->original_bytes;
    model->has_original_weights = package->graph->original_weights != 0;
    model->original_weights = package->graph->original_weights;
    model->has_peak_bytes = package->peak_bytes != 0;
    model->peak_bytes = package->peak_bytes;

    int status = lego_graph_check(package->graph, writer->diag);
    if (status == LEGO_OK && package->catalogue_count > FORMAT_MAX_CATALOGUES)
        status = lego_fail(writer->diag, LEGO_E_LIMIT, "%u catalogues", package->catalogue_count);
    for (uint32_t i = 0; status == LEGO_OK && i < package->catalogue_count; i++)
        status = write_catalogue(writer, &package->catalogues[i]);
    if (status == LEGO_OK)
        status = write_trellis_parts(writer);
    if (status == LEGO_OK)
        status = write_graphs(writer);
    if (status == LEGO_OK)
        status = write_labels(writer);
    if (status == LEGO_OK)
        status = write_preprocess(writer);
    if (status == LEGO_OK)
        status = write_metadata(writer);
    if (status == LEGO_OK)
        status = write_selftest(writer);
    if (status == LEGO_OK && package->signature_bytes > FORMAT_MAX_SIGNATURE_BYTES)
        status = lego_fail(writer->diag, LEGO_E_LIMIT, "a signature of %zu bytes",
                           package->signature_bytes);
    if (status == LEGO_OK)
        status = write_add_part(writer, FORMAT_KIND_SIGNATURE, package->signature,
                                package->signature_bytes, 1, false);
    if (status == LEGO_OK && writer->sections[FORMAT_KIND_INDICES].count > 0)
        writer->sections[FORMAT_KIND_INDICES].tail_bytes = LEGO_STREAM_TAIL_BYTES;
    if (status == LEGO_OK)
        status = write_graph_section(writer);
    return status == LEGO_OK && package->squeeze ? write_squeeze(writer) : status;
}
