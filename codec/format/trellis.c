/*
 * Frequency tables of the trellis coder, and decoding without the runtime.
 */
#include "codec/format/trellis.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/kernels/ref/ref.h"

#include <stdlib.h>
#include <string.h>

#define DECODE_NR 32

bool lego_trellis_table_fill(struct lego_trellis_table *table)
{
    uint64_t weight[LEGO_TRELLIS_MAX_LEVEL + 1], sum = 0, at = UINT64_C(1) << 32;
    /* Squares: fine steps where a curve is nearly flat. */
    int64_t fall = 255 - table->ratio, bend = (int64_t)table->bend - 64;
    uint64_t ratio = (uint64_t)(65536 - fall * fall);
    uint64_t change = (uint64_t)(65536 - bend * (bend < 0 ? -bend : bend));
    uint32_t most = table->most;

    if (most < 1 || most > LEGO_TRELLIS_MAX_LEVEL)
        return false;
    for (uint32_t k = 1; k <= most; k++) {
        weight[k] = at;
        sum += at;
        at = at * ratio >> 16;
        ratio = ratio * change >> 16;
        if (ratio > 65536)
            ratio = 65536;
    }
    /* Every level has a slot; the rest goes to 0 and, by weight, to pairs of the others. */
    uint32_t rest = KERN_TRELLIS_SLOTS - (2 * most + 1);
    uint32_t pairs = (rest - (rest * table->zero >> 8)) / 2, left = rest;
    for (uint32_t k = 1; k <= most; k++) {
        uint32_t share = (uint32_t)(pairs * weight[k] / sum);
        table->frequency[k] = (uint16_t)(1 + share);
        left -= 2 * share;
    }
    table->frequency[0] = (uint16_t)(1 + left);
    memset(table->frequency + most + 1, 0,
           (LEGO_TRELLIS_MAX_LEVEL - most) * sizeof(table->frequency[0]));
    return true;
}

uint32_t lego_trellis_first_slot(const struct lego_trellis_table *table, int32_t level)
{
    uint32_t magnitude = (uint32_t)(level < 0 ? -level : level), slot = 0;

    if (magnitude == 0)
        return 0;
    slot = table->frequency[0];
    for (uint32_t k = 1; k < magnitude; k++)
        slot += 2u * table->frequency[k];
    return level > 0 ? slot : slot + table->frequency[magnitude];
}

void lego_trellis_slots(const struct lego_trellis_table *table, uint32_t *ret_slots)
{
    uint32_t *slot = ret_slots;

    for (uint32_t i = 0; i <= 2u * table->most; i++) {
        int32_t level = i & 1 ? (int32_t)(i + 1) / 2 : -(int32_t)(i / 2);
        uint32_t frequency = table->frequency[(i + 1) / 2];
        for (uint32_t j = 0; j < frequency; j++)
            *slot++ = (uint32_t)level << 24 | frequency << 12 | j;
    }
}

static bool lanes_are_sound(uint32_t lanes)
{
    return lanes >= 1 && lanes <= KERN_TRELLIS_MAX_LANES && (lanes & (lanes - 1)) == 0;
}

bool lego_trellis_is_sound(const struct lego_coded *coded)
{
    const struct lego_trellis *trellis = coded->trellis;
    uint32_t tiles = lego_coded_tiles(coded);

    if (!lanes_are_sound(trellis->lanes) || coded->permutation || coded->stage_count ||
        coded->scale_kind == LEGO_SCALE_NONE || coded->column_order != LEGO_COLUMNS_CHANNEL_MAJOR ||
        (trellis->rotation && trellis->rotation->taps != coded->taps))
        return false;
    for (uint32_t i = 0; i < lego_trellis_classes(trellis); i++)
        if (!trellis->tables[i][0] || !trellis->tables[i][1])
            return false;
    if (!trellis->tile_offsets || trellis->tile_offsets[0] != 0 ||
        trellis->tile_offsets[tiles] != trellis->stream_bytes)
        return false;
    for (uint32_t i = 0; i < tiles; i++)
        if (trellis->tile_offsets[i + 1] < trellis->tile_offsets[i] ||
            trellis->tile_offsets[i + 1] - trellis->tile_offsets[i] < 4 * trellis->lanes ||
            trellis->tile_offsets[i + 1] % 2)
            return false;
    return true;
}

void lego_trellis_tile(const struct lego_coded *coded, uint32_t tile,
                       struct kern_trellis_decode *ret_decode)
{
    const struct lego_trellis *trellis = coded->trellis;
    uint64_t first = trellis->tile_offsets[tile];
    uint32_t left = coded->rows - tile * coded->tile_rows;

    *ret_decode = (struct kern_trellis_decode){
        .stream = trellis->stream + first,
        .stream_bytes = (size_t)(trellis->tile_offsets[tile + 1] - first),
        .lanes = trellis->lanes,
        .rows = left < coded->tile_rows ? left : coded->tile_rows,
        .columns = coded->columns,
        .taps = trellis->rotation ? coded->taps : 1,
    };
}

/* Everything that decoding one tensor needs. */
struct decoder {
    uint32_t slots[2 * LEGO_TRELLIS_MAX_CLASSES][KERN_TRELLIS_SLOTS];
    uint32_t table[KERN_TRELLIS_MAX_TAPS * 2];
    float rotation[KERN_TRELLIS_MAX_TAPS * KERN_TRELLIS_MAX_TAPS];
    float scale[LEGO_TILE_MAX_ROWS];
    float *panel;
};

static void decoder_open(struct decoder *decoder, const struct lego_trellis *trellis)
{
    const struct lego_rotation *rotation = trellis->rotation;
    uint32_t taps = rotation ? rotation->taps : 1;

    for (uint32_t i = 0; i < 2 * lego_trellis_classes(trellis); i++)
        lego_trellis_slots(trellis->tables[i / 2][i % 2], decoder->slots[i]);
    for (uint32_t i = 0; i < 2 * taps; i++)
        decoder->table[i] =
            (rotation ? 2u * rotation->classes[i / 2] + i % 2 : i) * KERN_TRELLIS_SLOTS;
    for (uint32_t i = 0; rotation && i < taps * taps; i++)
        decoder->rotation[i] = lego_half_to_float(rotation->matrix[i]);
}

static void decode_tile(struct decoder *decoder, const struct lego_tensor *tensor, uint32_t tile,
                        float *dense)
{
    const struct lego_coded *coded = tensor->coded;
    struct kern_trellis_decode decode;
    uint32_t row = tile * coded->tile_rows;

    lego_trellis_tile(coded, tile, &decode);
    for (uint32_t i = 0; i < decode.rows; i++)
        decoder->scale[i] = lego_coded_row_scale(coded, row + i);
    decode.slots = decoder->slots[0];
    decode.table = decoder->table;
    decode.row_scale = decoder->scale;
    decode.rotation = coded->trellis->rotation ? decoder->rotation : NULL;
    decode.panel = decoder->panel;
    decode.panel_nr = DECODE_NR;
    decode.panel_k = coded->columns;
    kern_ref_trellis_decode(&decode);
    for (uint32_t i = 0; i < decode.rows; i++)
        for (uint32_t c = 0; c < coded->columns; c++)
            dense[lego_matrix_elem(&tensor->shape, coded->view, coded->groups, row + i, c)] =
                decoder->panel[((size_t)(i / DECODE_NR) * coded->columns + c) * DECODE_NR +
                               i % DECODE_NR];
}

int lego_trellis_decode(const struct lego_tensor *tensor, float *ret_dense, struct lego_diag *diag)
{
    const struct lego_coded *coded = tensor->coded;
    size_t blocks = lego_div_up(coded->tile_rows, DECODE_NR), elems, bytes;
    struct decoder *decoder = malloc(sizeof(*decoder));

    if (decoder)
        decoder->panel = lego_mul_size(blocks * DECODE_NR, coded->columns, &elems) &&
                                 lego_mul_size(elems, sizeof(float), &bytes)
                             ? malloc(bytes)
                             : NULL;
    if (!decoder || !decoder->panel) {
        free(decoder);
        return lego_fail(diag, LEGO_E_NOMEM, "tensor '%s': a tile of %u columns", tensor->name,
                         coded->columns);
    }
    decoder_open(decoder, coded->trellis);
    for (uint32_t tile = 0; tile < lego_coded_tiles(coded); tile++)
        decode_tile(decoder, tensor, tile, ret_dense);
    free(decoder->panel);
    free(decoder);
    return LEGO_OK;
}
