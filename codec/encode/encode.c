#include "codec/encode/encode.h"
#include "codec/encode/cluster.h"
#include "codec/encode/fit.h"
#include "codec/encode/small.h"
#include "codec/graph/infer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a constant more takes in a file's graph, squeezed. */
#define NEW_BIAS_BYTES 40

/* Options with every default in place. */
struct settings {
    uint32_t brick_rows, brick_columns;
    enum encode_scope scope;
    bool paper_view;
    struct cluster_options cluster;
};

static int check_side(const char *name, uint32_t side, struct lego_diag *diag)
{
    if (side >= 1 && side <= LEGO_BRICK_MAX_SIDE)
        return LEGO_OK;
    return lego_fail(diag, LEGO_E_INVALID, "brick %s: %u is not in 1 to %d", name, side,
                     LEGO_BRICK_MAX_SIDE);
}

/* Bits of an index for each weight up to which a catalogue of integers loses nothing that shows
 * beside what clustering loses: it is half as large, and faster to decode. */
#define INTEGER_BITS 4

static enum lego_dtype default_dtype(const struct settings *settings)
{
    const uint32_t bits = lego_index_bits(settings->cluster.entries);

    return bits <= INTEGER_BITS * settings->brick_rows * settings->brick_columns
               ? LEGO_DTYPE_INT8
               : LEGO_DTYPE_FLOAT16;
}

static int check_options(const struct encode_options *options, const struct settings *settings,
                         struct lego_diag *diag)
{
    const enum lego_dtype dtype = settings->cluster.dtype;
    int status = check_side("rows", settings->brick_rows, diag);

    if (status == LEGO_OK)
        status = check_side("columns", settings->brick_columns, diag);
    if (status != LEGO_OK)
        return status;
    if (settings->cluster.entries > LEGO_CATALOGUE_MAX_ENTRIES)
        return lego_fail(diag, LEGO_E_INVALID, "catalogue: %u entries are not in 1 to %d",
                         settings->cluster.entries, LEGO_CATALOGUE_MAX_ENTRIES);
    if (dtype != LEGO_DTYPE_FLOAT32 && dtype != LEGO_DTYPE_FLOAT16 && dtype != LEGO_DTYPE_INT8)
        return lego_fail(diag, LEGO_E_INVALID, "catalogue type %s is not FP32, FP16 or INT8",
                         lego_dtype_name(dtype));
    if (settings->cluster.scales > LEGO_SCALE_ROW || settings->scope > ENCODE_SCOPE_LAYER)
        return lego_fail(diag, LEGO_E_INVALID, "no such scales or scope");
    if (options->codec != ENCODE_CODEC_LEGONET)
        return LEGO_OK;
    if (settings->brick_rows != 4 || settings->brick_columns != 4 ||
        settings->scope != ENCODE_SCOPE_MODEL || settings->cluster.scales != LEGO_SCALE_NONE)
        return lego_fail(diag, LEGO_E_INVALID,
                         "the legonet codec has 4x4 bricks, one catalogue for the model and no "
                         "scales; use the bricks codec for others");
    return LEGO_OK;
}

static int settle(const struct encode_options *options, struct settings *ret_settings,
                  struct lego_diag *diag)
{
    const bool paper = options->codec == ENCODE_CODEC_LEGONET;
    const uint32_t side = paper ? 4 : 1;
    struct settings settings = {
        .brick_rows = options->brick_rows ? options->brick_rows : side,
        .brick_columns = options->brick_columns ? options->brick_columns : side,
        .scope = options->scope,
        .paper_view = paper,
        .cluster = {.entries = options->catalogue_entries ? options->catalogue_entries
                               : paper                    ? 32
                                                          : 16,
                    .max_iterations = options->max_iterations,
                    .dtype = options->catalogue_dtype,
                    .scales = options->scales,
                    .seed = options->seed},
    };

    if (options->codec != ENCODE_CODEC_LEGONET && options->codec != ENCODE_CODEC_BRICKS &&
        (options->codec != ENCODE_CODEC_SMALL || options->weight_bytes == 0))
        return lego_fail(diag, LEGO_E_INVALID, "there is no codec %d", (int)options->codec);
    if (settings.cluster.dtype == LEGO_DTYPE_UNKNOWN)
        settings.cluster.dtype = paper ? LEGO_DTYPE_FLOAT32 : default_dtype(&settings);
    const int status = check_options(options, &settings, diag);
    if (status == LEGO_OK)
        *ret_settings = settings;
    return status;
}

static enum lego_column_order choose_order(const struct settings *settings, uint32_t taps)
{
    const uint32_t columns = settings->brick_columns;

    if (settings->paper_view ||
        (taps > 1 && columns > 1 && (taps % columns == 0 || columns % taps == 0)))
        return LEGO_COLUMNS_CHANNEL_MAJOR;
    return LEGO_COLUMNS_TAP_MAJOR;
}

/* Everything of one encode_package call. */
struct job {
    struct lego_package *package;
    const struct encode_options *options;
    struct settings settings;
    struct encode_weight *weights;
    struct cluster_layer *layers; /* [count] */
    uint32_t count;
    struct lego_catalogue *catalogues;
    uint32_t catalogue_count;
    struct lego_coded *coded; /* [count], in the arena */
    struct encode_report report;
};

static void job_clear(struct job *job)
{
    free(job->weights);
    free(job->layers);
    encode_report_clear(&job->report);
}

static int lay_out(struct job *job, struct lego_diag *diag)
{
    const struct lego_graph *graph = job->package->graph;

    for (uint32_t i = 0; i < job->count; i++) {
        const struct encode_weight *weight = &job->weights[i];
        struct lego_coded *coded = &job->layers[i].coded;
        const struct lego_catalogue any = {.dtype = LEGO_DTYPE_FLOAT32,
                                           .brick_rows = job->settings.brick_rows,
                                           .brick_columns = job->settings.brick_columns,
                                           .entries = 1};

        job->layers[i].weight = weight;
        coded->view = weight->view;
        coded->groups = weight->groups;
        coded->column_order = choose_order(&job->settings, weight->taps);
        coded->stage_count = 1;
        coded->stages[0].catalogue = &any;
        const int status = lego_coded_layout(coded, &graph->tensors[weight->tensor].shape);
        coded->stages[0].catalogue = NULL;
        if (status != LEGO_OK)
            return lego_fail(diag, status, "weight '%s' cannot be cut into bricks: %s",
                             weight->name, lego_status_text(status));
    }
    return LEGO_OK;
}

static int prepare(struct job *job, struct lego_diag *diag)
{
    struct lego_arena *arena = job->package->graph->arena;
    int status = encode_weights_find(job->package->graph, &job->weights, &job->count, diag);

    if (status != LEGO_OK)
        return status;
    if (job->count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "the model has no weights to compress: no Conv, ConvTranspose, Gemm, "
                         "MatMul, RNN, GRU, LSTM or Gather with a constant fp32 matrix");
    job->catalogue_count = job->settings.scope == ENCODE_SCOPE_MODEL ? 1 : job->count;
    job->layers = calloc(job->count, sizeof(*job->layers));
    job->report.layers = calloc(job->count, sizeof(*job->report.layers));
    job->catalogues = lego_arena_calloc(arena, job->catalogue_count, sizeof(*job->catalogues));
    job->coded = lego_arena_calloc(arena, job->count, sizeof(*job->coded));
    if (!job->layers || !job->report.layers || !job->catalogues || !job->coded)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %u layers", job->count);
    job->report.layer_count = job->count;
    return lay_out(job, diag);
}

static void tell(const struct job *job, const char *layer, uint32_t done, const char *text)
{
    if (job->options->progress)
        job->options->progress(job->options->context, layer, done, job->count, text);
}

static void describe_layer(struct job *job, uint32_t index)
{
    const struct cluster_layer *layer = &job->layers[index];
    const struct lego_coded *coded = &layer->coded;
    struct encode_layer *entry = &job->report.layers[index];
    char text[160];

    entry->name = layer->weight->name;
    snprintf(entry->format, sizeof(entry->format), "%ux%u/%u",
             coded->stages[0].catalogue->brick_rows, coded->stages[0].catalogue->brick_columns,
             coded->stages[0].catalogue->entries);
    entry->weights = (uint64_t)coded->rows * coded->columns;
    entry->bytes = coded->stages[0].stream_bytes;
    if (coded->scale_kind == LEGO_SCALE_LAYER)
        entry->bytes += sizeof(float);
    else if (coded->scale_kind == LEGO_SCALE_ROW)
        entry->bytes += coded->rows * sizeof(uint16_t);
    entry->bits_per_weight = 8.0 * (double)entry->bytes / (double)entry->weights;
    entry->mse = layer->energy > 0 ? layer->error / layer->energy : 0;
    job->report.weights += entry->weights;
    job->report.bytes += entry->bytes;
    snprintf(text, sizeof(text), "%ux%u, %u entries, %.2f bits a weight, error %.3g", coded->rows,
             coded->columns, coded->stages[0].catalogue->entries, entry->bits_per_weight,
             entry->mse);
    tell(job, entry->name, index + 1, text);
}

static int encode_groups(struct job *job, struct encode_workers *workers, struct lego_diag *diag)
{
    const uint32_t each = job->count / job->catalogue_count;

    for (uint32_t g = 0; g < job->catalogue_count; g++) {
        struct lego_catalogue *catalogue = &job->catalogues[g];

        catalogue->id = g;
        if (each > 1)
            tell(job, NULL, 0, "training the catalogue");
        const int status = cluster_group(job->package->graph, job->layers + (size_t)g * each, each,
                                         &job->settings.cluster, workers, catalogue, diag);
        if (status != LEGO_OK)
            return status;
        for (uint32_t i = 0; i < each; i++)
            describe_layer(job, g * each + i);
        job->report.catalogue_bytes += (uint64_t)catalogue->entries * catalogue->brick_rows *
                                       catalogue->brick_columns *
                                       lego_dtype_bytes(catalogue->dtype);
    }
    job->report.bytes += job->report.catalogue_bytes;
    return LEGO_OK;
}

/* Drops the attributes that only an encoder has a use for. */
static void drop_hints(struct lego_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct lego_node *node = &graph->nodes[n];
        uint32_t kept = 0;

        for (uint32_t a = 0; a < node->attr_count; a++) {
            if (strncmp(node->attrs[a].name, "lego.bn_", 8) != 0)
                node->attrs[kept++] = node->attrs[a];
        }
        node->attr_count = kept;
    }
}

static void commit(struct job *job)
{
    struct lego_graph *graph = job->package->graph;

    for (uint32_t i = 0; i < job->count; i++) {
        struct lego_tensor *tensor = &graph->tensors[job->weights[i].tensor];

        job->coded[i] = job->layers[i].coded;
        tensor->coded = &job->coded[i];
        tensor->data = NULL;
    }
    job->package->catalogues = job->catalogues;
    job->package->catalogue_count = job->catalogue_count;
    drop_hints(graph);
}

/* Fits bricks to a size. */
static int encode_fitted(struct lego_package *package, const struct encode_options *options,
                         struct encode_report *ret_report, struct lego_diag *diag)
{
    struct encode_session *session = options->session;
    struct encode_report report;
    int status = LEGO_OK;

    if (!session)
        status = encode_session_create(package, NULL, options, &session, diag);
    if (status == LEGO_OK)
        status = options->codec == ENCODE_CODEC_SMALL
                     ? small_package(package, options, session, &report, diag)
                     : fit_package(package, options, session, &report, diag);
    if (!options->session)
        encode_session_destroy(session);
    if (status != LEGO_OK)
        return status;
    drop_hints(package->graph);
    if (ret_report)
        *ret_report = report;
    else
        encode_report_clear(&report);
    return LEGO_OK;
}

int encode_package(struct lego_package *package, const struct encode_options *options,
                   struct encode_report *ret_report, struct lego_diag *diag)
{
    struct job job = {.package = package, .options = options};
    struct encode_workers *workers = NULL;
    int status = settle(options, &job.settings, diag);

    if (status == LEGO_OK && package->catalogue_count > 0)
        status = lego_fail(diag, LEGO_E_UNSUPPORTED, "the model is compressed already");
    if (status == LEGO_OK && options->weight_bytes > 0 && options->codec != ENCODE_CODEC_LEGONET)
        return encode_fitted(package, options, ret_report, diag);
    if (status == LEGO_OK)
        status = prepare(&job, diag);
    if (status == LEGO_OK) {
        workers = encode_workers_create(options->threads, options->kernels);
        status = workers ? encode_groups(&job, workers, diag)
                         : lego_fail(diag, LEGO_E_NOMEM, "out of memory for threads");
    }
    if (status == LEGO_OK) {
        commit(&job);
        if (ret_report) {
            *ret_report = job.report;
            job.report = (struct encode_report){0};
        }
    }
    encode_workers_destroy(workers);
    job_clear(&job);
    return status;
}

/* A recurrent node's B, which calibration may change; NULL: there is none. */
static const struct lego_tensor *recurrent_bias(const struct lego_graph *graph,
                                                const struct lego_node *node)
{
    const struct lego_tensor *weight = lego_node_constant(graph, node, 1);

    return lego_recurrent_kinds(node) > 0 && weight && weight->dtype == LEGO_DTYPE_FLOAT32
               ? lego_node_constant(graph, node, 3)
               : NULL;
}

/* Layers that calibration may give a bias: their outputs, 0 where the node is none. */
static int64_t bias_rows(const struct lego_graph *graph, const struct lego_node *node)
{
    const bool transposed = node->op == LEGO_OP_ConvTranspose;
    const struct lego_tensor *weight;

    if (node->op != LEGO_OP_Conv && !transposed && node->op != LEGO_OP_Gemm)
        return 0;
    weight = lego_node_constant(graph, node, 1);
    if (!weight || weight->dtype != LEGO_DTYPE_FLOAT32 || weight->shape.rank < 2)
        return 0;
    if (node->op == LEGO_OP_Gemm)
        return weight->shape.dim[lego_node_int(node, "transB", 0) ? 0 : 1];
    return transposed ? weight->shape.dim[1] * lego_node_int(node, "group", 1)
                      : weight->shape.dim[0];
}

int64_t encode_bias_change(const struct lego_package *package)
{
    const struct lego_graph *graph = package->graph;
    int64_t change = 0;

    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        const int64_t rows = bias_rows(graph, node);
        const bool has = node->input_count > 2 && node->inputs[2] >= 0;
        const struct lego_tensor *bias = has ? lego_node_constant(graph, node, 2) : NULL;
        const struct lego_tensor *recurrent = recurrent_bias(graph, node);

        if (recurrent)
            change -= (int64_t)(recurrent->bytes / 2);
        if (rows > 0 && !has)
            change += rows * (int64_t)sizeof(uint16_t) + NEW_BIAS_BYTES;
        else if (rows > 0 && bias && bias->dtype == LEGO_DTYPE_FLOAT32 && bias->shape.rank == 1)
            change -= (int64_t)(bias->bytes / 2);
    }
    return change;
}

void encode_report_clear(struct encode_report *report)
{
    free(report->layers);
    *report = (struct encode_report){0};
}
