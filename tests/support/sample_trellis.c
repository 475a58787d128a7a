#include "tests/support/sample_trellis.h"

#include "codec/base/half.h"

#include <stdio.h>
#include <stdlib.h>

enum { TABLES = 4 };

static void *alloc(struct lego_package *package, size_t count, size_t size)
{
    void *memory = lego_arena_calloc(package->graph->arena, count, size);

    if (!memory) {
        fprintf(stderr, "sample: out of memory\n");
        abort();
    }
    return memory;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void add_tables(struct lego_package *package)
{
    static const uint8_t bytes[TABLES][4] = {
        {120, 100, 70, 15}, {140, 130, 66, 9}, {230, 20, 64, 3}, {250, 0, 0, 1}};

    package->trellis_tables = alloc(package, TABLES, sizeof(*package->trellis_tables));
    package->trellis_table_count = TABLES;
    for (int i = 0; i < TABLES; i++) {
        package->trellis_tables[i] = (struct lego_trellis_table){
            .zero = bytes[i][0], .ratio = bytes[i][1], .bend = bytes[i][2], .most = bytes[i][3]};
        if (!lego_trellis_table_fill(&package->trellis_tables[i]))
            abort();
    }
}

static void add_rotation(struct lego_package *package, uint32_t taps)
{
    uint16_t *matrix = alloc(package, (size_t)taps * taps, sizeof(*matrix));
    uint8_t *classes = alloc(package, taps, 1);

    for (uint32_t i = 0; i < taps * taps; i++)
        matrix[i] = lego_half_from_float((float)(i % 5) / 4.0f - 0.5f);
    for (uint32_t i = 0; i < taps; i++)
        classes[i] = i > 0;
    package->rotations = alloc(package, 1, sizeof(*package->rotations));
    package->rotation_count = 1;
    *package->rotations = (struct lego_rotation){
        .taps = taps, .class_count = 2, .matrix = matrix, .classes = classes};
}

static void add_scales(struct lego_package *package, struct lego_coded *coded)
{
    uint16_t *scales = alloc(package, coded->rows, sizeof(*scales));
    uint8_t *codes = alloc(package, coded->rows, 1);

    for (uint32_t r = 0; r < coded->rows; r++) {
        scales[r] = lego_half_from_float(0.5f + 0.25f * (float)(r % 7));
        codes[r] = (uint8_t)(r * 5 % LEGO_LOG_SCALES);
    }
    coded->layer_scale = coded->scale_kind == LEGO_SCALE_ROW ? 1.0f : 0.0625f;
    coded->row_scales = coded->scale_kind == LEGO_SCALE_ROW ? scales : NULL;
    coded->row_codes = coded->scale_kind == LEGO_SCALE_LOG ? codes : NULL;
}

static void add_stream(struct lego_package *package, const struct lego_coded *coded,
                       struct lego_trellis *trellis)
{
    uint32_t tiles = lego_coded_tiles(coded), state = 99;
    uint64_t *offsets = alloc(package, tiles + 1, sizeof(*offsets));

    for (uint32_t t = 0; t < tiles; t++)
        offsets[t + 1] = offsets[t] + 4 * trellis->lanes + 2 * (next_random(&state) % 100);
    uint8_t *stream = alloc(package, offsets[tiles], 1);
    for (uint64_t i = 0; i < offsets[tiles]; i++)
        stream[i] = (uint8_t)next_random(&state);
    trellis->tile_offsets = offsets;
    trellis->stream = stream;
    trellis->stream_bytes = offsets[tiles];
}

void sample_trellis_code(struct lego_package *package, int32_t tensor,
                         const struct sample_trellis *sample)
{
    struct lego_coded *coded = alloc(package, 1, sizeof(*coded));
    struct lego_trellis *trellis = alloc(package, 1, sizeof(*trellis));

    coded->trellis = trellis;
    coded->view = sample->view;
    coded->groups = sample->groups ? sample->groups : 1;
    coded->tile_rows = sample->tile_rows;
    coded->scale_kind = sample->scale_kind ? sample->scale_kind : LEGO_SCALE_LOG;
    if (lego_coded_layout(coded, &package->graph->tensors[tensor].shape))
        abort();
    trellis->lanes = sample->lanes ? sample->lanes : 4;
    add_tables(package);
    if (sample->rotated) {
        add_rotation(package, coded->taps);
        trellis->rotation = package->rotations;
    }
    for (uint32_t i = 0; i < TABLES; i++)
        trellis->tables[i / 2][i % 2] = &package->trellis_tables[i];
    add_scales(package, coded);
    add_stream(package, coded, trellis);
    package->graph->tensors[tensor].coded = coded;
}

struct lego_package *sample_trellis_package(const struct sample_trellis *sample)
{
    struct sample_matrix matrix = {.shape = sample->shape,
                                   .brick_rows = 1,
                                   .brick_columns = 1,
                                   .view = sample->view,
                                   .groups = sample->groups};

    if (!matrix.shape.rank)
        matrix.shape = (struct lego_shape){4, {40, 3, 3, 3}};
    struct lego_package *package = sample_package(&matrix);
    package->catalogue_count = 0;
    sample_trellis_code(package, 0, sample);
    return package;
}
