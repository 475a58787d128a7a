/*
 * A package as an ONNX model. The file's small parts are put together in memory, weights are
 * decoded and written one after the other.
 */
#include "codec/import/export.h"

#include "codec/base/arena.h"
#include "codec/base/arith.h"
#include "codec/base/file_out.h"
#include "codec/format/bricks.h"
#include "codec/import/import.h"
#include "codec/import/tensor.h"

#include <stdlib.h>
#include <string.h>

enum { MODEL_IR = 1, MODEL_PRODUCER = 2, MODEL_GRAPH = 7, MODEL_OPSET = 8 };
enum { GRAPH_NAME = 2, GRAPH_INITIALISER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

void export_tensor_header(struct wire_out *out, const char *name, enum lego_dtype dtype,
                          const struct lego_shape *shape, size_t bytes)
{
    for (int i = 0; i < shape->rank; i++)
        wire_put_int(out, TENSOR_DIMS, shape->dim[i]);
    wire_put_int(out, TENSOR_DATA_TYPE, dtype);
    wire_put_text(out, TENSOR_NAME, name);
    wire_put_header(out, TENSOR_RAW, bytes);
}

/* ValueInfoProto{name = 1, type = 2{tensor_type = 1{elem_type = 1, shape = 2{dim = 1{...}}}}} */
void export_value_info(struct wire_out *graph_out, uint32_t field, const struct exporter *exporter,
                       int32_t index)
{
    const struct lego_graph *graph = exporter->graph;
    const struct lego_value *value = &graph->values[index];
    struct wire_out shape = {0}, tensor = {0}, type = {0}, info = {0};
    for (int i = 0; i < value->shape.rank; i++) {
        struct wire_out dim = {0};
        int64_t size = value->shape.dim[i];
        if (size >= 0)
            wire_put_int(&dim, 1, size);
        else if (size != LEGO_DIM_UNKNOWN)
            wire_put_text(&dim, 2, graph->symbols[-1 - size]);
        wire_put_bytes(&shape, 1, dim.data, dim.bytes);
        shape.failed |= dim.failed;
        wire_out_clear(&dim);
    }
    wire_put_int(&tensor, 1, value->dtype);
    if (value->shape.rank != LEGO_RANK_UNKNOWN)
        wire_put_bytes(&tensor, 2, shape.data, shape.bytes);
    wire_put_bytes(&type, 1, tensor.data, tensor.bytes);
    wire_put_text(&info, 1, export_value_name(exporter, index));
    if (value->dtype != LEGO_DTYPE_UNKNOWN) /* a subgraph need not say */
        wire_put_bytes(&info, 2, type.data, type.bytes);
    wire_put_bytes(graph_out, field, info.data, info.bytes);
    graph_out->failed |= shape.failed || tensor.failed || type.failed || info.failed;
    wire_out_clear(&shape);
    wire_out_clear(&tensor);
    wire_out_clear(&type);
    wire_out_clear(&info);
}

/* Coded weights come out as fp32, others as they are. */
static void weight_form(const struct lego_tensor *tensor, enum lego_dtype *ret_dtype,
                        size_t *ret_bytes)
{
    *ret_dtype = tensor->coded ? LEGO_DTYPE_FLOAT32 : tensor->dtype;
    *ret_bytes = tensor->bytes / lego_dtype_bytes(tensor->dtype) * lego_dtype_bytes(*ret_dtype);
}

/* Everything of a constant's TensorProto but the data. */
static void put_weight_header(struct wire_out *out, const char *name,
                              const struct lego_tensor *tensor)
{
    enum lego_dtype dtype;
    size_t bytes;
    weight_form(tensor, &dtype, &bytes);
    struct wire_out message = {0};
    export_tensor_header(&message, name, dtype, &tensor->shape, bytes);
    wire_put_header(out, GRAPH_INITIALISER, message.bytes + bytes);
    wire_put(out, message.data, message.bytes);
    out->failed |= message.failed;
    wire_out_clear(&message);
}

static int write_weight(struct file_out *file, const struct lego_tensor *tensor,
                        struct lego_diag *diag)
{
    if (!tensor->coded) {
        file_out_write(file, tensor->data, tensor->bytes);
        return 0;
    }
    enum lego_dtype dtype;
    size_t bytes;
    weight_form(tensor, &dtype, &bytes);
    float *dense = malloc(bytes ? bytes : 1);
    if (!dense)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory decoding '%s'", tensor->name);
    int status = lego_coded_decode(tensor, dense, bytes / sizeof *dense, diag);
    if (!status)
        file_out_write(file, dense, bytes);
    free(dense);
    return status;
}

/* The constant of value `index` that the file needs, NULL for a computed or unused one. */
static const struct lego_tensor *needed_weight(const struct exporter *exporter, uint32_t index)
{
    const struct lego_value *value = &exporter->graph->values[index];
    return exporter->used[index] && value->tensor >= 0 ? &exporter->graph->tensors[value->tensor]
                                                       : NULL;
}

static int write_weights(const struct exporter *exporter, struct file_out *file)
{
    for (uint32_t i = 0; i < exporter->graph->value_count; i++) {
        const struct lego_tensor *tensor = needed_weight(exporter, i);
        if (!tensor)
            continue;
        struct wire_out header = {0};
        put_weight_header(&header, export_value_name(exporter, (int32_t)i), tensor);
        int status = header.failed ? lego_fail(exporter->diag, LEGO_E_NOMEM, "out of memory") : 0;
        file_out_write(file, header.data, header.bytes);
        wire_out_clear(&header);
        if (!status)
            status = write_weight(file, tensor, exporter->diag);
        if (status)
            return status;
    }
    return 0;
}

int export_weights(const struct exporter *exporter, struct wire_out *out)
{
    for (uint32_t i = 0; i < exporter->graph->value_count; i++) {
        const struct lego_tensor *tensor = needed_weight(exporter, i);
        if (!tensor)
            continue;
        if (tensor->coded)
            return lego_fail(exporter->diag, LEGO_E_UNSUPPORTED,
                             "'%s': coded weights of a subgraph cannot be written", tensor->name);
        put_weight_header(out, export_value_name(exporter, (int32_t)i), tensor);
        wire_put(out, tensor->data, tensor->bytes);
    }
    return 0;
}

/* Bytes that write_weights will write. */
static int count_weights(const struct exporter *exporter, size_t *ret_bytes)
{
    size_t total = 0;
    for (uint32_t i = 0; i < exporter->graph->value_count; i++) {
        const struct lego_tensor *tensor = needed_weight(exporter, i);
        if (!tensor)
            continue;
        enum lego_dtype dtype;
        size_t bytes;
        struct wire_out header = {0};
        weight_form(tensor, &dtype, &bytes);
        put_weight_header(&header, export_value_name(exporter, (int32_t)i), tensor);
        bool ok = !header.failed && lego_add_size(total, header.bytes, &total) &&
                  lego_add_size(total, bytes, &total);
        wire_out_clear(&header);
        if (!ok)
            return lego_fail(exporter->diag, LEGO_E_NOMEM, "out of memory");
    }
    *ret_bytes = total;
    return 0;
}

/* The graph but for the weights, and the model around it. */
static int put_frame(struct exporter *exporter, struct wire_out *model)
{
    const struct lego_graph *graph = exporter->graph;
    struct wire_out head = {0}, opset = {0};
    size_t weights = 0, total = 0;
    wire_put_text(&head, GRAPH_NAME, *graph->name ? graph->name : "graph");
    for (uint32_t i = 0; i < graph->input_count; i++)
        export_value_info(&head, GRAPH_INPUT, exporter, graph->inputs[i]);
    for (uint32_t i = 0; i < graph->output_count; i++)
        export_value_info(&head, GRAPH_OUTPUT, exporter, graph->outputs[i]);
    int status = count_weights(exporter, &weights);
    if (!status && (!lego_add_size(head.bytes + exporter->nodes.bytes + exporter->constants.bytes,
                                   weights, &total) ||
                    total > INT32_MAX - 4096))
        status = lego_fail(exporter->diag, LEGO_E_LIMIT,
                           "the model would have %zu bytes of weights; protobuf, and so an ONNX "
                           "file, ends at 2 GiB",
                           weights);
    if (!status) {
        wire_put_int(model, MODEL_IR, exporter->opset >= EXPORT_OPSET_NEWEST ? 10 : 8);
        wire_put_text(model, MODEL_PRODUCER, "legonet");
        wire_put_text(&opset, 1, "");
        wire_put_int(&opset, 2, exporter->opset);
        wire_put_bytes(model, MODEL_OPSET, opset.data, opset.bytes);
        wire_put_header(model, MODEL_GRAPH, total);
        wire_put(model, exporter->nodes.data, exporter->nodes.bytes);
        wire_put(model, head.data, head.bytes);
        wire_put(model, exporter->constants.data, exporter->constants.bytes);
        if (model->failed || head.failed || opset.failed || exporter->nodes.failed ||
            exporter->constants.failed)
            status = lego_fail(exporter->diag, LEGO_E_NOMEM, "out of memory");
    }
    wire_out_clear(&head);
    wire_out_clear(&opset);
    return status;
}

static int write_file(struct exporter *exporter, const char *path)
{
    struct wire_out model = {0};
    struct file_out file;
    int status = put_frame(exporter, &model);
    if (!status)
        status = file_out_open(&file, path, exporter->diag);
    if (!status) {
        file_out_write(&file, model.data, model.bytes);
        status = file_out_close(&file, write_weights(exporter, &file), exporter->diag);
    }
    wire_out_clear(&model);
    return status;
}

static int export_graph(struct exporter *exporter, const char *path)
{
    const struct lego_graph *graph = exporter->graph;
    exporter->used = lego_arena_calloc(exporter->scratch, graph->value_count, sizeof(bool));
    int status = exporter->used ? 0 : LEGO_E_NOMEM;
    for (uint32_t i = 0; !status && i < graph->value_count; i++)
        status = names_set(exporter->names, graph->values[i].name, (int32_t)i);
    if (status)
        return lego_fail(exporter->diag, status, "out of memory");
    for (uint32_t i = 0; i < graph->output_count; i++)
        exporter->used[graph->outputs[i]] = true;
    for (uint32_t i = 0; !status && i < graph->node_count; i++)
        status = export_node(exporter, &graph->nodes[i]);
    return status ? status : write_file(exporter, path);
}

int export_onnx(const struct lego_package *package, const char *path, struct lego_diag *diag)
{
    struct names names = {0}, node_names = {0};
    struct exporter exporter = {
        .graph = package->graph, .names = &names, .node_names = &node_names, .diag = diag};
    int status = export_choose_opset(package->graph, &exporter.opset, diag);
    if (status)
        return status;
    exporter.scratch = lego_arena_create(0);
    status = exporter.scratch ? export_graph(&exporter, path)
                              : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    wire_out_clear(&exporter.nodes);
    wire_out_clear(&exporter.constants);
    names_clear(&names);
    names_clear(&node_names);
    lego_arena_destroy(exporter.scratch);
    return status;
}
