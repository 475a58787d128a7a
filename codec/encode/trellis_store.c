/* From levels to coded tensors: tables that layers share, lanes, streams. */
#include "codec/encode/trellis_stream.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_BITS 32   /* what a table costs */
#define MAX_TABLES 1024 /* of a model */
#define LANE_BYTES 512  /* of a tile for each lane: a lane costs about two bytes */
#define TILE_BYTES 512  /* a tile should have at least; it costs about four bytes */

/* One frequency table's worth of counts: a class of a layer, in even or odd states. */
struct group {
    const uint32_t *counts;
    struct lego_trellis_table own;
    uint32_t table; /* chosen */
    double bits;    /* with the chosen one */
};

struct store {
    struct lego_package *package;
    const struct trellis_layer *layers;
    uint32_t count;
    struct trellis_counts *counts; /* [count] */
    struct lego_coded *coded;      /* [count] */
    struct group *groups;
    uint32_t group_count, table_count;
    struct lego_trellis_table *tables; /* [MAX_TABLES] */
};

static const uint8_t one_class[1] = {0};

static uint32_t classes_of(const struct trellis_layer *layer)
{
    return layer->rotation ? layer->rotation->class_count : 1;
}

static struct trellis_tile tile_of(const struct trellis_layer *layer,
                                   const struct lego_coded *coded, uint32_t tile)
{
    const uint32_t first = tile * coded->tile_rows;

    return (struct trellis_tile){
        .levels = layer->levels + (size_t)first * coded->columns,
        .rows = (uint32_t)lego_min_size(coded->tile_rows, coded->rows - first),
        .columns = coded->columns,
        .taps = layer->rotation ? layer->rotation->taps : 1,
        .classes = layer->rotation ? layer->rotation->classes : one_class,
    };
}

uint32_t trellis_tile_rows(uint32_t rows, uint32_t columns, double bits_per_weight)
{
    uint32_t tile_rows = LEGO_TILE_ROWS;

    while (tile_rows < rows && tile_rows < LEGO_TILE_MAX_ROWS &&
           bits_per_weight * tile_rows * columns < 8 * TILE_BYTES)
        tile_rows *= 2;
    return tile_rows;
}

/* Matrix, scales and counts of one layer. */
static int store_matrix(struct store *s, uint32_t index, struct lego_diag *diag)
{
    static const struct lego_trellis unknown;
    const struct trellis_layer *layer = &s->layers[index];
    const struct lego_tensor *tensor = &s->package->graph->tensors[layer->tensor];
    struct lego_arena *arena = s->package->graph->arena;
    struct lego_coded *coded = &s->coded[index];

    coded->view = layer->view;
    coded->groups = layer->groups;
    coded->tile_rows = layer->tile_rows;
    coded->trellis = &unknown;
    coded->layer_scale = layer->step;
    const int status = lego_coded_layout(coded, &tensor->shape);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "weight '%s' is no matrix", tensor->name);
    coded->scale_kind = layer->row_scales  ? LEGO_SCALE_ROW
                        : layer->row_codes ? LEGO_SCALE_LOG
                                           : LEGO_SCALE_LAYER;
    if (layer->row_scales) {
        coded->row_scales =
            lego_arena_memdup(arena, layer->row_scales, coded->rows * sizeof(*coded->row_scales));
        if (!coded->row_scales)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for row scales");
    } else if (layer->row_codes) {
        coded->row_codes = lego_arena_memdup(arena, layer->row_codes, coded->rows);
        if (!coded->row_codes)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for row scales");
    }
    for (uint32_t t = 0; t < lego_coded_tiles(coded); t++) {
        const struct trellis_tile tile = tile_of(layer, coded, t);
        trellis_tile_count(&tile, &s->counts[index]);
    }
    return LEGO_OK;
}

static int list_groups(struct store *s)
{
    s->groups = calloc((size_t)s->count * 2 * LEGO_TRELLIS_MAX_CLASSES, sizeof(*s->groups));
    s->tables = calloc(MAX_TABLES, sizeof(*s->tables));
    if (!s->groups || !s->tables)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < s->count; i++)
        for (uint32_t k = 0; k < 2 * classes_of(&s->layers[i]); k++)
            s->groups[s->group_count++].counts = s->counts[i].count[k / 2][k % 2];
    for (uint32_t i = 0; i < s->group_count; i++)
        trellis_table_fit(s->groups[i].counts, &s->groups[i].own);
    return LEGO_OK;
}

/* What group `i`'s own table would save if it were shared. */
static double gain_of(const struct store *s, uint32_t i)
{
    double gain = 0;

    for (uint32_t j = 0; j < s->group_count; j++) {
        const double bits = trellis_table_bits(&s->groups[i].own, s->groups[j].counts);
        if (bits < s->groups[j].bits)
            gain += s->groups[j].bits - bits;
    }
    return gain;
}

static void add_table(struct store *s, const struct lego_trellis_table *table)
{
    for (uint32_t j = 0; j < s->group_count; j++) {
        const double bits = trellis_table_bits(table, s->groups[j].counts);
        if (bits < s->groups[j].bits) {
            s->groups[j].bits = bits;
            s->groups[j].table = s->table_count;
        }
    }
    s->tables[s->table_count++] = *table;
}

/* A table for everything, then the groups' own ones that save most, while they save anything. */
static int choose_tables(struct store *s)
{
    struct lego_trellis_table table;
    uint32_t *all = calloc(TRELLIS_LEVELS, sizeof(*all));

    if (!all)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < s->group_count; i++) {
        s->groups[i].bits = INFINITY;
        for (uint32_t k = 0; k < TRELLIS_LEVELS; k++)
            all[k] += s->groups[i].counts[k];
    }
    trellis_table_fit(all, &table);
    free(all);
    add_table(s, &table);
    while (s->table_count < MAX_TABLES) {
        double most = TABLE_BITS;
        uint32_t best = s->group_count;
        for (uint32_t i = 0; i < s->group_count; i++) {
            const double gain = gain_of(s, i);
            if (gain > most) {
                most = gain;
                best = i;
            }
        }
        if (best == s->group_count)
            break;
        add_table(s, &s->groups[best].own);
    }
    return LEGO_OK;
}

/* Fits each table to the groups that chose it, and drops those that none did. */
static int refit_tables(struct store *s)
{
    uint32_t *sum = calloc(TRELLIS_LEVELS, sizeof(*sum)), kept = 0;

    if (!sum)
        return LEGO_E_NOMEM;
    for (uint32_t t = 0; t < s->table_count; t++) {
        bool used = false;
        memset(sum, 0, TRELLIS_LEVELS * sizeof(*sum));
        for (uint32_t i = 0; i < s->group_count; i++) {
            if (s->groups[i].table != t)
                continue;
            used = true;
            s->groups[i].table = kept;
            for (uint32_t k = 0; k < TRELLIS_LEVELS; k++)
                sum[k] += s->groups[i].counts[k];
        }
        if (used)
            trellis_table_fit(sum, &s->tables[kept++]);
    }
    s->table_count = kept;
    free(sum);
    return LEGO_OK;
}

/* As many lanes as their states' bytes are worth. */
static uint32_t lanes_for(const struct lego_coded *coded, double bits)
{
    const double bytes = bits / 8 / lego_coded_tiles(coded);
    uint32_t lanes = 1;

    while (lanes < KERN_TRELLIS_MAX_LANES && 2 * lanes <= coded->columns &&
           bytes >= 2.0 * lanes * LANE_BYTES)
        lanes *= 2;
    return lanes;
}

/* One layer's tiles, encoded side by side. */
struct encoding {
    const struct store *store;
    uint32_t layer;
    const struct lego_trellis *trellis;
    uint8_t **streams;
    size_t *bytes;
};

static void encode_tile(void *context, size_t index)
{
    const struct encoding *e = context;
    struct trellis_tile tile =
        tile_of(&e->store->layers[e->layer], &e->store->coded[e->layer], (uint32_t)index);

    tile.lanes = e->trellis->lanes;
    tile.tables = (const struct lego_trellis_table *(*)[2])e->trellis->tables;
    trellis_tile_encode(&tile, &e->streams[index], &e->bytes[index]);
}

/* Puts the tiles' streams together; frees them. */
static int join(struct lego_arena *arena, struct encoding *e, uint32_t tiles,
                struct lego_trellis *trellis)
{
    uint64_t *offsets = lego_arena_calloc(arena, (size_t)tiles + 1, sizeof(*offsets));
    bool whole = offsets != NULL;

    for (uint32_t t = 0; t < tiles; t++) {
        whole = whole && e->streams[t];
        if (whole)
            offsets[t + 1] = offsets[t] + e->bytes[t];
    }
    uint8_t *stream = whole ? lego_arena_calloc(arena, offsets[tiles], 1) : NULL;
    for (uint32_t t = 0; t < tiles; t++) {
        if (stream)
            memcpy(stream + offsets[t], e->streams[t], e->bytes[t]);
        free(e->streams[t]);
    }
    if (!stream)
        return LEGO_E_NOMEM;
    trellis->stream = stream;
    trellis->stream_bytes = offsets[tiles];
    trellis->tile_offsets = offsets;
    return LEGO_OK;
}

static int store_stream(struct store *s, uint32_t index, const struct group *groups,
                        struct encode_workers *workers)
{
    struct lego_arena *arena = s->package->graph->arena;
    struct lego_coded *coded = &s->coded[index];
    const uint32_t tiles = lego_coded_tiles(coded), classes = classes_of(&s->layers[index]);
    struct lego_trellis *trellis = lego_arena_calloc(arena, 1, sizeof(*trellis));
    struct encoding e = {.store = s,
                         .layer = index,
                         .trellis = trellis,
                         .streams = calloc(tiles, sizeof(*e.streams)),
                         .bytes = calloc(tiles, sizeof(*e.bytes))};
    int status = LEGO_E_NOMEM;
    double bits = 0;

    if (trellis && e.streams && e.bytes) {
        trellis->rotation = s->layers[index].rotation;
        for (uint32_t k = 0; k < 2 * classes; k++) {
            trellis->tables[k / 2][k % 2] = &s->package->trellis_tables[groups[k].table];
            bits += trellis_table_bits(trellis->tables[k / 2][k % 2], groups[k].counts);
        }
        trellis->lanes = lanes_for(coded, bits);
        encode_workers_run(workers, tiles, encode_tile, &e);
        status = join(arena, &e, tiles, trellis);
        coded->trellis = trellis;
    }
    free(e.streams);
    free(e.bytes);
    return status;
}

static int store_all(struct store *s, struct encode_workers *workers, struct lego_diag *diag)
{
    struct lego_arena *arena = s->package->graph->arena;
    const struct group *groups;
    int status = LEGO_OK;

    for (uint32_t i = 0; status == LEGO_OK && i < s->count; i++)
        status = store_matrix(s, i, diag);
    if (status != LEGO_OK)
        return status;
    if (list_groups(s) != LEGO_OK || choose_tables(s) != LEGO_OK || refit_tables(s) != LEGO_OK)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for tables");
    struct lego_trellis_table *tables =
        lego_arena_memdup(arena, s->tables, s->table_count * sizeof(*tables));
    if (!tables)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for tables");
    s->package->trellis_tables = tables;
    s->package->trellis_table_count = s->table_count;
    groups = s->groups;
    for (uint32_t i = 0; i < s->count; i++) {
        if (store_stream(s, i, groups, workers) != LEGO_OK)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for streams");
        groups += 2 * classes_of(&s->layers[i]);
    }
    return LEGO_OK;
}

int trellis_store(struct lego_package *package, const struct trellis_layer *layers, uint32_t count,
                  struct encode_workers *workers, struct lego_diag *diag)
{
    struct store s = {.package = package, .layers = layers, .count = count};
    int status;

    s.counts = calloc(count ? count : 1, sizeof(*s.counts));
    s.coded = lego_arena_calloc(package->graph->arena, count, sizeof(*s.coded));
    status = s.counts && s.coded
                 ? store_all(&s, workers, diag)
                 : lego_fail(diag, LEGO_E_NOMEM, "out of memory for %u layers", count);
    for (uint32_t i = 0; status == LEGO_OK && i < count; i++) {
        package->graph->tensors[layers[i].tensor].coded = &s.coded[i];
        package->graph->tensors[layers[i].tensor].data = NULL;
    }
    free(s.counts);
    free(s.groups);
    free(s.tables);
    return status;
}
