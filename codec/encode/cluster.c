#include "codec/encode/cluster.h"
#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/encode/kmeans.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_BRICKS  ((size_t)1 << 18)      /* training sees at most this many, or 4 an entry */
#define TRAINING_WORK  ((double)(1ull << 41)) /* multiply-adds that Lloyd may take by default */
#define MAX_ITERATIONS 50
#define MIN_ITERATIONS 8

/* The work on one group. */
struct group {
    const struct lego_graph *graph;
    struct cluster_layer *layers;
    uint32_t count;
    const struct cluster_options *options;
    struct encode_workers *workers;
    uint32_t dim; /* elements of a brick */
    size_t brick_count;
    float *bricks;    /* [brick_count][dim], scaled to magnitudes below 1 */
    uint32_t *index;  /* [brick_count] */
    float *centroids; /* [entries][dim], what the catalogue's entries are after dequantisation */
    uint32_t entries;
    int exponent; /* bricks * 2^exponent are in units of the (scaled) weights */
};

static float row_scale(const struct lego_coded *coded, uint32_t row)
{
    switch (coded->scale_kind) {
    case LEGO_SCALE_LAYER:
        return coded->layer_scale;
    case LEGO_SCALE_ROW:
        return lego_half_to_float(coded->row_scales[row]);
    default:
        return 1.0f;
    }
}

static float weight_at(const struct group *group, const struct cluster_layer *layer, uint32_t row,
                       uint32_t column)
{
    const struct encode_weight *weight = layer->weight;

    return weight
        ->data[encode_weight_elem(group->graph, weight, layer->coded.column_order, row, column)];
}

/* Calls visit for each brick of a layer in the order of its stream: tile, column, row. */
static void each_brick(const struct cluster_layer *layer, void *context,
                       void (*visit)(void *context, size_t brick, uint32_t row, uint32_t column))
{
    const struct lego_coded *coded = &layer->coded;
    size_t brick = layer->first_brick;

    for (uint32_t tile = 0; tile < lego_coded_tiles(coded); tile++) {
        const uint32_t high = lego_coded_tile_brick_rows(coded, tile);

        for (uint32_t bc = 0; bc < lego_coded_brick_columns(coded); bc++) {
            for (uint32_t br = 0; br < high; br++)
                visit(context, brick++, tile * coded->tile_rows + br * coded->brick_rows,
                      bc * coded->brick_columns);
        }
    }
}

static double row_energy(const struct group *group, const struct cluster_layer *layer, uint32_t row)
{
    double sum = 0;

    for (uint32_t c = 0; c < layer->coded.columns; c++) {
        const double w = weight_at(group, layer, row, c);
        sum += w * w;
    }
    return sum;
}

/* The root mean square as a scale; 1 where there is nothing to scale. */
static float rms_scale(double energy, double elems)
{
    const float rms = (float)sqrt(energy / elems);

    return rms >= FLT_MIN ? rms : 1.0f;
}

static void scale_layer(void *context, size_t index)
{
    struct group *group = context;
    struct cluster_layer *layer = &group->layers[index];
    struct lego_coded *coded = &layer->coded;
    uint16_t *halves = (uint16_t *)coded->row_scales;

    layer->energy = 0;
    for (uint32_t row = 0; row < coded->rows; row++) {
        const double energy = row_energy(group, layer, row);

        layer->energy += energy;
        if (halves) {
            const float scale = rms_scale(energy, coded->columns);
            const uint16_t half = lego_half_from_float(scale);
            halves[row] = half == 0 ? 0x0400 : half >= 0x7c00 ? 0x7bff : half;
        }
    }
    coded->layer_scale = rms_scale(layer->energy, (double)coded->rows * coded->columns);
    if (coded->scale_kind != LEGO_SCALE_LAYER)
        coded->layer_scale = 1.0f;
}

static int make_scales(struct group *group, struct lego_diag *diag)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct lego_coded *coded = &group->layers[i].coded;

        coded->scale_kind = group->options->scales;
        if (coded->scale_kind != LEGO_SCALE_ROW)
            continue;
        coded->row_scales = lego_arena_calloc(group->graph->arena, coded->rows, sizeof(uint16_t));
        if (!coded->row_scales)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %u scales", coded->rows);
    }
    encode_workers_run(group->workers, group->count, scale_layer, group);
    return LEGO_OK;
}

struct visit {
    struct group *group;
    struct cluster_layer *layer;
};

static void gather_brick(void *context, size_t brick, uint32_t row, uint32_t column)
{
    const struct visit *visit = context;
    const struct lego_coded *coded = &visit->layer->coded;
    float *out = visit->group->bricks + brick * visit->group->dim;

    for (uint32_t r = 0; r < coded->brick_rows && row + r < coded->rows; r++) {
        const float scale = row_scale(coded, row + r);

        for (uint32_t c = 0; c < coded->brick_columns && column + c < coded->columns; c++)
            out[r * coded->brick_columns + c] =
                weight_at(visit->group, visit->layer, row + r, column + c) / scale;
    }
}

static void gather_layer(void *context, size_t index)
{
    struct group *group = context;
    struct visit visit = {.group = group, .layer = &group->layers[index]};

    each_brick(visit.layer, &visit, gather_brick);
}

/* Multiplies all bricks by a power of two (exactly) so that no square overflows. */
static void normalise(struct group *group)
{
    const size_t elems = group->brick_count * group->dim;
    float largest = 0;

    for (size_t i = 0; i < elems; i++)
        largest = fmaxf(largest, fabsf(group->bricks[i]));
    frexpf(largest, &group->exponent);
    for (size_t i = 0; i < elems; i++)
        group->bricks[i] = ldexpf(group->bricks[i], -group->exponent);
}

static int gather(struct group *group, struct lego_diag *diag)
{
    size_t bricks = 0, bytes;

    for (uint32_t i = 0; i < group->count; i++) {
        const struct lego_coded *coded = &group->layers[i].coded;
        size_t here;

        group->layers[i].first_brick = bricks;
        if (!lego_mul_size(lego_coded_brick_rows(coded), lego_coded_brick_columns(coded), &here) ||
            !lego_add_size(bricks, here, &bricks))
            return lego_fail(diag, LEGO_E_OVERFLOW, "too many bricks");
    }
    if (bricks > UINT32_MAX || !lego_mul_size(bricks, group->dim * sizeof(float), &bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "too many bricks: %zu", bricks);
    group->brick_count = bricks;
    group->bricks = calloc(bricks, group->dim * sizeof(float));
    group->index = calloc(bricks, sizeof(*group->index));
    if (!group->bricks || !group->index)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %zu bricks", bricks);
    encode_workers_run(group->workers, group->count, gather_layer, group);
    normalise(group);
    return LEGO_OK;
}

static int train(struct group *group, struct lego_diag *diag)
{
    const uint32_t wanted = group->options->entries;
    struct encode_kmeans_options options = {
        .entries = wanted,
        .max_iterations = group->options->max_iterations,
        .max_vectors = lego_max_size(SAMPLE_BRICKS, (size_t)wanted * 4),
        .seed = group->options->seed,
    };
    struct encode_kmeans kmeans;

    if (options.max_iterations == 0) {
        const double vectors = (double)lego_min_size(options.max_vectors, group->brick_count);
        const double pays = TRAINING_WORK / (vectors * wanted * group->dim);

        options.max_iterations = pays >= MAX_ITERATIONS   ? MAX_ITERATIONS
                                 : pays <= MIN_ITERATIONS ? MIN_ITERATIONS
                                                          : (uint32_t)pays;
    }
    const int status = encode_kmeans_train(group->bricks, group->brick_count, group->dim, &options,
                                           group->workers, &kmeans);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "out of memory for a catalogue of %u bricks", wanted);
    group->centroids = kmeans.centroids;
    group->entries = kmeans.entries;
    return LEGO_OK;
}

/* The largest magnitude of the centroids, in units of the weights. */
static float largest_entry(const struct group *group)
{
    float largest = 0;

    for (size_t i = 0; i < (size_t)group->entries * group->dim; i++)
        largest = fmaxf(largest, fabsf(group->centroids[i]));
    return ldexpf(largest, group->exponent);
}

/* Stores entry `to` from centroid `from` in the catalogue's type. */
static void store_entry(const struct group *group, struct lego_catalogue *catalogue, void *data,
                        uint32_t from, uint32_t to)
{
    const float *centroid = group->centroids + (size_t)from * group->dim;

    for (uint32_t j = 0; j < group->dim; j++) {
        const float value = ldexpf(centroid[j], group->exponent);
        const size_t at = (size_t)to * group->dim + j;

        if (catalogue->dtype == LEGO_DTYPE_INT8)
            ((int8_t *)data)[at] = (int8_t)lrintf(value / catalogue->scale);
        else if (catalogue->dtype == LEGO_DTYPE_FLOAT16)
            ((uint16_t *)data)[at] = lego_half_from_float(value);
        else
            ((float *)data)[at] = value;
    }
}

/* Replaces the centroids by what their entries in the catalogue are when a reader decodes them. */
static void dequantise(struct group *group, const struct lego_catalogue *catalogue)
{
    for (uint32_t k = 0; k < group->entries; k++) {
        float *centroid = group->centroids + (size_t)k * group->dim;

        lego_catalogue_entry(catalogue, k, centroid);
        for (uint32_t j = 0; j < group->dim; j++)
            centroid[j] = ldexpf(centroid[j], -group->exponent);
    }
}

static int quantise(struct group *group, struct lego_catalogue *catalogue, struct lego_diag *diag)
{
    const float largest = largest_entry(group);
    void *data = lego_arena_calloc(group->graph->arena, (size_t)group->entries * group->dim,
                                   lego_dtype_bytes(group->options->dtype));

    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a catalogue");
    catalogue->dtype = group->options->dtype;
    if (catalogue->dtype == LEGO_DTYPE_FLOAT16 && !(largest <= 65504.0f))
        return lego_fail(diag, LEGO_E_INVALID,
                         "weights up to %g do not fit an fp16 catalogue; use an fp32 one or scales",
                         (double)largest);
    catalogue->scale = 1.0f;
    if (catalogue->dtype == LEGO_DTYPE_INT8 && largest >= 127 * FLT_MIN)
        catalogue->scale = largest / 127.0f;
    catalogue->brick_rows = group->layers[0].coded.brick_rows;
    catalogue->brick_columns = group->layers[0].coded.brick_columns;
    catalogue->entries = group->entries;
    catalogue->data = data;
    for (uint32_t k = 0; k < group->entries; k++)
        store_entry(group, catalogue, data, k, k);
    dequantise(group, catalogue);
    return LEGO_OK;
}

/* Drops entries that no brick uses, keeping the order of the others. */
static int drop_unused(struct group *group, struct lego_catalogue *catalogue)
{
    const size_t entry_bytes = group->dim * lego_dtype_bytes(catalogue->dtype);
    uint32_t *place = calloc(group->entries, sizeof(*place));
    char *data = (char *)catalogue->data;
    uint32_t kept = 0;

    if (!place)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < group->brick_count; i++)
        place[group->index[i]] = 1;
    for (uint32_t k = 0; k < group->entries; k++) {
        if (!place[k])
            continue;
        memmove(data + kept * entry_bytes, data + k * entry_bytes, entry_bytes);
        memmove(group->centroids + (size_t)kept * group->dim,
                group->centroids + (size_t)k * group->dim, group->dim * sizeof(float));
        place[k] = kept++;
    }
    for (size_t i = 0; i < group->brick_count; i++)
        group->index[i] = place[group->index[i]];
    free(place);
    group->entries = catalogue->entries = kept;
    return LEGO_OK;
}

static void measure_brick(void *context, size_t brick, uint32_t row, uint32_t column)
{
    const struct visit *visit = context;
    const struct lego_coded *coded = &visit->layer->coded;
    const uint32_t dim = visit->group->dim;
    const float *centroid = visit->group->centroids + (size_t)visit->group->index[brick] * dim;

    for (uint32_t r = 0; r < coded->brick_rows && row + r < coded->rows; r++) {
        const float scale = row_scale(coded, row + r);

        for (uint32_t c = 0; c < coded->brick_columns && column + c < coded->columns; c++) {
            const float entry =
                ldexpf(centroid[r * coded->brick_columns + c], visit->group->exponent);
            const double e = (double)weight_at(visit->group, visit->layer, row + r, column + c) -
                             (double)(entry * scale);
            visit->layer->error += e * e;
        }
    }
}

/* Packs a layer's indices into its stream and measures what coding lost. */
static void pack_layer(void *context, size_t index)
{
    struct group *group = context;
    struct cluster_layer *layer = &group->layers[index];
    const struct lego_coded *coded = &layer->coded;
    const struct lego_stage *stage = &coded->stages[0];
    struct visit visit = {.group = group, .layer = layer};
    const uint32_t *next = group->index + layer->first_brick;

    for (uint32_t tile = 0; tile < lego_coded_tiles(coded); tile++) {
        const size_t indices =
            (size_t)lego_coded_tile_brick_rows(coded, tile) * lego_coded_brick_columns(coded);
        uint8_t *bytes = (uint8_t *)stage->stream + tile * stage->tile_stride_bytes;

        for (size_t i = 0; i < indices && stage->index_bits > 0; i++)
            lego_index_put(bytes, stage->index_bits, i, next[i]);
        next += indices;
    }
    layer->error = 0;
    each_brick(layer, &visit, measure_brick);
}

static int pack(struct group *group, struct lego_catalogue *catalogue, struct lego_diag *diag)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct cluster_layer *layer = &group->layers[i];
        struct lego_stage *stage = &layer->coded.stages[0];

        *stage = (struct lego_stage){.catalogue = catalogue, .coding = LEGO_INDEX_FIXED};
        const int status =
            lego_coded_layout(&layer->coded, &group->graph->tensors[layer->weight->tensor].shape);
        if (status != LEGO_OK)
            return lego_fail(diag, status, "weight '%s': %s", layer->weight->name,
                             lego_status_text(status));
        stage->stream =
            lego_arena_calloc(group->graph->arena, stage->stream_bytes + LEGO_STREAM_TAIL_BYTES, 1);
        if (!stage->stream)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %zu bytes of indices",
                             stage->stream_bytes);
    }
    encode_workers_run(group->workers, group->count, pack_layer, group);
    return LEGO_OK;
}

int cluster_group(const struct lego_graph *graph, struct cluster_layer *layers, uint32_t count,
                  const struct cluster_options *options, struct encode_workers *workers,
                  struct lego_catalogue *catalogue, struct lego_diag *diag)
{
    struct group group = {.graph = graph,
                          .layers = layers,
                          .count = count,
                          .options = options,
                          .workers = workers,
                          .dim = layers[0].coded.brick_rows * layers[0].coded.brick_columns};
    int status = make_scales(&group, diag);

    if (status == LEGO_OK)
        status = gather(&group, diag);
    if (status == LEGO_OK)
        status = train(&group, diag);
    if (status == LEGO_OK)
        status = quantise(&group, catalogue, diag);
    if (status == LEGO_OK)
        status = encode_kmeans_assign(group.bricks, group.brick_count, group.dim, group.centroids,
                                      group.entries, workers, group.index, NULL);
    if (status == LEGO_OK)
        status = drop_unused(&group, catalogue);
    if (status == LEGO_OK)
        status = pack(&group, catalogue, diag);
    free(group.bricks);
    free(group.index);
    free(group.centroids);
    return status;
}
