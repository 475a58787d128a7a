/*
 * legonet inspect: what a .lego holds and where its bytes went.
 */
#include "agent/cli/commands.h"
#include "agent/cli/inspect_plan.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "codec/format/package.h"
#include "codec/format/trellis.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABELS_SHOWN 5

struct inspect_options {
    bool json, plan;
};

static const struct cli_option OPTIONS[] = {
    {.name = "json",
     .type = CLI_FLAG,
     .offset = offsetof(struct inspect_options, json),
     .help = "print JSON, with all labels"},
    {.name = "plan",
     .type = CLI_FLAG,
     .offset = offsetof(struct inspect_options, plan),
     .help =
         "show what the runtime makes of a .lego or an .onnx instead: its steps, those that only\n"
         "change a layout, its memory"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "inspect",
    .arguments = "FILE.lego",
    .about = "Shows what a .lego holds: sections, catalogues, layers with their bricks and bits a\n"
             "weight, bytes by kind, inputs and outputs, preprocessing, labels, metadata.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

/* Where the bytes of the file are. */
struct bytes_by_kind {
    uint64_t indices, catalogues, scales, dense, rest, total;
};

static uint64_t catalogue_bytes(const struct lego_catalogue *catalogue)
{
    return (uint64_t)catalogue->entries * catalogue->brick_rows * catalogue->brick_columns *
           lego_dtype_bytes(catalogue->dtype);
}

static uint64_t scale_bytes(const struct lego_coded *coded)
{
    if (coded->scale_kind == LEGO_SCALE_ROW)
        return (uint64_t)coded->rows * sizeof(uint16_t);
    if (coded->scale_kind == LEGO_SCALE_LOG)
        return ((uint64_t)coded->rows * 5 + 7) / 8 + sizeof(float);
    return coded->scale_kind == LEGO_SCALE_LAYER ? sizeof(float) : 0;
}

static uint64_t index_bytes(const struct lego_coded *coded)
{
    uint64_t bytes = coded->trellis ? coded->trellis->stream_bytes : 0;

    for (uint32_t i = 0; i < coded->stage_count; i++)
        bytes += coded->stages[i].stream_bytes;
    return bytes;
}

static double bits_per_weight(const struct lego_coded *coded)
{
    return 8.0 * (double)(index_bytes(coded) + scale_bytes(coded)) /
           ((double)coded->rows * coded->columns);
}

static struct bytes_by_kind count_bytes(const struct lego_package *package)
{
    struct bytes_by_kind bytes = {.total = package->file_bytes};
    uint64_t known;

    for (uint32_t i = 0; i < package->catalogue_count; i++)
        bytes.catalogues += catalogue_bytes(&package->catalogues[i]);
    for (uint32_t i = 0; i < package->graph->tensor_count; i++) {
        const struct lego_tensor *tensor = &package->graph->tensors[i];

        if (tensor->coded) {
            bytes.indices += index_bytes(tensor->coded);
            bytes.scales += scale_bytes(tensor->coded);
        } else {
            bytes.dense += tensor->bytes;
        }
    }
    known = bytes.indices + bytes.catalogues + bytes.scales + bytes.dense;
    bytes.rest = bytes.total > known ? bytes.total - known : 0;
    return bytes;
}

static const char *scale_name(enum lego_scale_kind kind)
{
    static const char *const names[] = {"none", "layer", "row", "log"};

    return names[kind];
}

static const char *compute_name(const struct lego_tensor *tensor)
{
    return tensor->integer ? "int8" : "fp32";
}

/* The operator of the first node that uses a tensor. */
static const char *used_by(const struct lego_graph *graph, uint32_t tensor)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++) {
            const int32_t value = graph->nodes[n].inputs[i];

            if (value >= 0 && graph->values[value].tensor == (int32_t)tensor)
                return lego_op_name(graph->nodes[n].op);
        }
    }
    return "-";
}

static void print_values(const struct lego_graph *graph, const char *what, const int32_t *values,
                         uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct lego_value *value = &graph->values[values[i]];
        char shape[128];

        printf("%-10s %s %s %s\n", what, value->name, lego_dtype_name(value->dtype),
               lego_shape_format(&value->shape, graph, shape, sizeof(shape)));
    }
}

static void print_head(const struct lego_package *package, const char *path)
{
    const struct lego_graph *graph = package->graph;
    const struct bytes_by_kind bytes = count_bytes(package);
    const double ratio = (double)graph->original_bytes / (double)package->file_bytes;

    printf("%s: %" PRIu64 " bytes, %.2f times smaller than %" PRIu64 " (%.2f bits a weight, "
           "everything counted)\n\n",
           path, package->file_bytes, ratio, graph->original_bytes,
           graph->original_weights
               ? 8.0 * (double)package->file_bytes / (double)graph->original_weights
               : 0);
    for (uint32_t i = 0; i < package->metadata_count; i++)
        printf("%-10s %s\n", package->metadata[i].key, package->metadata[i].value);
    print_values(graph, "input", graph->inputs, graph->input_count);
    print_values(graph, "output", graph->outputs, graph->output_count);
    printf("%-10s %u nodes, %u constants\n", "graph", graph->node_count, graph->tensor_count);
    printf("%-10s indices %" PRIu64 ", catalogues %" PRIu64 ", scales %" PRIu64
           ", uncompressed constants %" PRIu64 ", the rest %" PRIu64 "\n",
           "bytes", bytes.indices, bytes.catalogues, bytes.scales, bytes.dense, bytes.rest);
}

static void print_companions(const struct lego_package *package)
{
    const struct lego_preprocess *p = &package->preprocess;
    const struct lego_selftest *test = &package->selftest;

    if (p->present)
        printf("%-10s %ux%u, %s, %s\n", "pictures", p->width, p->height, p->nhwc ? "NHWC" : "NCHW",
               p->channels == 1 ? "grey"
               : p->bgr         ? "BGR"
                                : "RGB");
    if (test->input_count > 0)
        printf("%-10s %u inputs, %u outputs, tolerance %g\n", "self-test", test->input_count,
               test->output_count, (double)test->tolerance);
    if (package->label_count > 0) {
        printf("%-10s %u:", "labels", package->label_count);
        for (uint32_t i = 0; i < package->label_count && i < LABELS_SHOWN; i++)
            printf(" %s%s", package->labels[i], i + 1 < package->label_count ? "," : "");
        printf("%s\n", package->label_count > LABELS_SHOWN ? " ..." : "");
    }
}

static void print_tables(const struct lego_package *package)
{
    const struct lego_graph *graph = package->graph;
    uint32_t count;
    const struct lego_section_info *sections = lego_package_sections(package, &count);

    printf("\n%-16s %12s %12s  %s\n", "SECTION", "OFFSET", "BYTES", "CHECKSUM");
    for (uint32_t i = 0; i < count; i++)
        printf("%-16s %12" PRIu64 " %12" PRIu64 "  %016" PRIx64 "\n", sections[i].name,
               sections[i].offset, sections[i].bytes, sections[i].checksum);
    printf("\n%-9s %-6s %7s %-5s %9s\n", "CATALOGUE", "BRICK", "ENTRIES", "TYPE", "BYTES");
    for (uint32_t i = 0; i < package->catalogue_count; i++) {
        const struct lego_catalogue *c = &package->catalogues[i];

        printf("%-9u %2ux%-3u %7u %-5s %9" PRIu64 "\n", i, c->brick_rows, c->brick_columns,
               c->entries, lego_dtype_name(c->dtype), catalogue_bytes(c));
    }
    printf("\n%-36s %-13s %11s %-6s %9s %9s %9s %6s %-6s %s\n", "LAYER", "OPERATOR", "MATRIX",
           "BRICK", "BRICKS", "CATALOGUE", "BYTES", "BITS/W", "SCALES", "COMPUTE");
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const struct lego_coded *coded = graph->tensors[i].coded;
        char matrix[32], brick[16], catalogue[16] = "-";

        if (!coded)
            continue;
        snprintf(brick, sizeof(brick), "%2ux%-3u", coded->brick_rows, coded->brick_columns);
        if (coded->trellis)
            snprintf(brick, sizeof(brick), "level");
        else
            snprintf(catalogue, sizeof(catalogue), "%u", coded->stages[0].catalogue->id);
        snprintf(matrix, sizeof(matrix), "%ux%u", coded->rows, coded->columns);
        printf("%-36s %-13s %11s %-6s %9" PRIu64 " %9s %9" PRIu64 " %6.2f %-6s %s\n",
               graph->tensors[i].name, used_by(graph, i), matrix, brick,
               (uint64_t)lego_coded_brick_rows(coded) * lego_coded_brick_columns(coded), catalogue,
               index_bytes(coded) + scale_bytes(coded), bits_per_weight(coded),
               scale_name(coded->scale_kind), compute_name(&graph->tensors[i]));
    }
}

static json_t *json_values(const struct lego_graph *graph, const int32_t *values, uint32_t count)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < count; i++) {
        const struct lego_value *value = &graph->values[values[i]];
        char shape[128];

        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:s}", "name", value->name, "type", lego_dtype_name(value->dtype),
                      "shape", lego_shape_format(&value->shape, graph, shape, sizeof(shape))));
    }
    return list;
}

static json_t *json_sections(const struct lego_package *package)
{
    uint32_t count;
    const struct lego_section_info *sections = lego_package_sections(package, &count);
    json_t *list = json_array();

    for (uint32_t i = 0; i < count; i++) {
        char checksum[32];

        snprintf(checksum, sizeof(checksum), "%016" PRIx64, sections[i].checksum);
        json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:s}", "name", sections[i].name,
                                              "offset", (json_int_t)sections[i].offset, "bytes",
                                              (json_int_t)sections[i].bytes, "checksum", checksum));
    }
    return list;
}

static json_t *json_catalogues(const struct lego_package *package)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < package->catalogue_count; i++) {
        const struct lego_catalogue *c = &package->catalogues[i];

        json_array_append_new(
            list, json_pack("{s:I,s:I,s:I,s:s,s:I}", "brick_rows", (json_int_t)c->brick_rows,
                            "brick_columns", (json_int_t)c->brick_columns, "entries",
                            (json_int_t)c->entries, "type", lego_dtype_name(c->dtype), "bytes",
                            (json_int_t)catalogue_bytes(c)));
    }
    return list;
}

static json_t *json_layers(const struct lego_package *package)
{
    const struct lego_graph *graph = package->graph;
    json_t *list = json_array();

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const struct lego_coded *coded = graph->tensors[i].coded;

        if (!coded)
            continue;
        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:I,s:o,s:s,s:s,s:s}", "name",
                      graph->tensors[i].name, "coding", coded->trellis ? "trellis" : "bricks",
                      "operator", used_by(graph, i), "rows", (json_int_t)coded->rows, "columns",
                      (json_int_t)coded->columns, "brick_rows", (json_int_t)coded->brick_rows,
                      "brick_columns", (json_int_t)coded->brick_columns, "stages",
                      (json_int_t)coded->stage_count, "catalogue",
                      coded->trellis ? json_null()
                                     : json_integer((json_int_t)coded->stages[0].catalogue->id),
                      "bytes", (json_int_t)(index_bytes(coded) + scale_bytes(coded)),
                      "bits_per_weight", cli_json_real(bits_per_weight(coded)), "scales",
                      scale_name(coded->scale_kind), "columns_order",
                      coded->column_order == LEGO_COLUMNS_TAP_MAJOR ? "tap-major" : "channel-major",
                      "compute", compute_name(&graph->tensors[i])));
    }
    return list;
}

static json_t *json_texts(const struct lego_package *package, bool metadata)
{
    json_t *root = metadata ? json_object() : json_array();

    for (uint32_t i = 0; metadata && i < package->metadata_count; i++)
        json_object_set_new(root, package->metadata[i].key,
                            json_string(package->metadata[i].value));
    for (uint32_t i = 0; !metadata && i < package->label_count; i++)
        json_array_append_new(root, json_string(package->labels[i]));
    return root;
}

static int print_json(const struct lego_package *package)
{
    const struct lego_graph *graph = package->graph;
    const struct bytes_by_kind bytes = count_bytes(package);
    json_t *kinds =
        json_pack("{s:I,s:I,s:I,s:I,s:I}", "indices", (json_int_t)bytes.indices, "catalogues",
                  (json_int_t)bytes.catalogues, "scales", (json_int_t)bytes.scales, "dense",
                  (json_int_t)bytes.dense, "rest", (json_int_t)bytes.rest);

    return cli_print_json(
        SPEC.command,
        json_pack(
            "{s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b}", "file_bytes",
            (json_int_t)package->file_bytes, "original_bytes", (json_int_t)graph->original_bytes,
            "ratio", cli_json_real((double)graph->original_bytes / (double)package->file_bytes),
            "bits_per_weight",
            cli_json_real(8.0 * (double)package->file_bytes / (double)graph->original_weights),
            "bytes", kinds, "metadata", json_texts(package, true), "inputs",
            json_values(graph, graph->inputs, graph->input_count), "outputs",
            json_values(graph, graph->outputs, graph->output_count), "sections",
            json_sections(package), "catalogues", json_catalogues(package), "layers",
            json_layers(package), "labels", json_texts(package, false), "preprocess",
            package->preprocess.present, "selftest", package->selftest.input_count > 0));
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect_options options = {0};
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list files;
    int code = cli_parse(&SPEC, argc, argv, &options, &files);

    if (code != CLI_GO_ON)
        return code;
    if (options.plan) {
        code = cli_inspect_plan(files.items[0], options.json);
        cli_list_clear(&files);
        return code;
    }
    const int status = lego_package_open(files.items[0], LEGO_VERIFY_STRUCTURE, &package, &diag);
    if (status != LEGO_OK) {
        code = cli_fail_diag(SPEC.command, status, &diag);
    } else if (options.json) {
        code = print_json(package);
    } else {
        print_head(package, files.items[0]);
        print_companions(package);
        print_tables(package);
        code = cli_finish(SPEC.command, CLI_DONE);
    }
    lego_package_destroy(package);
    cli_list_clear(&files);
    return code;
}
