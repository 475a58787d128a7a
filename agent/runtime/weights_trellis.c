#include "agent/runtime/weights_trellis.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"

#include <stdlib.h>

#define SLOTS_ALIGN 64

int weights_slots_make(struct weights_catalogues *catalogues, const struct lego_package *package,
                       struct lego_diag *diag)
{
    uint32_t count = package->trellis_table_count;
    size_t bytes;

    if (!count)
        return LEGO_OK;
    if (!lego_mul_size(count, KERN_TRELLIS_SLOTS * sizeof(uint32_t), &bytes) ||
        !(catalogues->slots = aligned_alloc(SLOTS_ALIGN, bytes)))
        return lego_fail(diag, LEGO_E_NOMEM, "%u trellis tables", count);
    for (uint32_t i = 0; i < count; i++)
        lego_trellis_slots(&package->trellis_tables[i],
                           catalogues->slots + (size_t)i * KERN_TRELLIS_SLOTS);
    catalogues->tables = package->trellis_tables;
    catalogues->bytes += bytes;
    return LEGO_OK;
}

int weights_trellis_make(struct weights *weights, const struct weights_catalogues *catalogues)
{
    const struct lego_trellis *trellis = weights->coded->trellis;
    const struct lego_rotation *rotation = trellis->rotation;
    uint32_t taps = rotation ? rotation->taps : 1;
    uint32_t *table = lego_arena_calloc(weights->memory, 2 * (size_t)taps, sizeof(*table));
    float *matrix = lego_arena_calloc(weights->memory, (size_t)taps * taps, sizeof(*matrix));

    if (!table || !matrix)
        return LEGO_E_NOMEM;
    weights->slots = catalogues->slots;
    for (uint32_t i = 0; i < 2 * taps; i++) {
        uint32_t class = rotation ? rotation->classes[i / 2] : 0;
        size_t number = (size_t)(trellis->tables[class][i % 2] - catalogues->tables);
        table[i] = (uint32_t)(number * KERN_TRELLIS_SLOTS);
    }
    weights->table = table;
    if (!rotation)
        return LEGO_OK;
    for (uint32_t i = 0; i < taps * taps; i++)
        matrix[i] = lego_half_to_float(rotation->matrix[i]);
    weights->rotation = matrix;
    return LEGO_OK;
}

void weights_trellis_tile(const struct kern_table *kernels, const struct weights *weights,
                          uint32_t tile, const struct weights_split *split, float *panel)
{
    struct kern_trellis_decode decode;

    lego_trellis_tile(weights->coded, tile, &decode);
    decode.slots = weights->slots;
    decode.table = weights->table;
    decode.row_scale = weights->row_scale + (size_t)tile * weights->tile_rows;
    decode.rotation = weights->rotation;
    decode.column_k = split->column_k;
    decode.panel = panel;
    decode.panel_nr = weights->nr;
    decode.panel_k = split->taps * split->channels;
    kernels->trellis_decode(&decode);
}
