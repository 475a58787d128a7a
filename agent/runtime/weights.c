#include "agent/runtime/weights.h"
#include "agent/runtime/weights_low.h"
#include "agent/runtime/weights_split.h"
#include "agent/runtime/weights_trellis.h"
#include "agent/runtime/window.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"

#include <stdlib.h>
#include <string.h>

#define WEIGHTS_DEPTHWISE_NR 32
/* What a copy of catalogues may take: of the weights, one in so many. */
#define CATALOGUE_SHARE 32

static int weights_scales(struct weights *weights)
{
    const struct lego_coded *coded = weights->coded;
    float *scale;

    if (coded->scale_kind == LEGO_SCALE_NONE)
        return LEGO_OK;
    scale = lego_arena_calloc(weights->memory, weights->rows, sizeof(*scale));
    if (!scale)
        return LEGO_E_NOMEM;
    for (uint32_t row = 0; row < weights->rows; row++)
        scale[row] = lego_coded_row_scale(coded, row);
    weights->row_scale = scale;
    return LEGO_OK;
}

/*
 * Where all rows have one scale and the matrix is large beside its catalogues: these times that
 * scale, so that decoding copies and does not multiply. The same products, made once.
 */
static int weights_scale_catalogues(struct weights *weights)
{
    const struct lego_coded *coded = weights->coded;
    const size_t area = (size_t)coded->brick_rows * coded->brick_columns;
    size_t elems = 0, at = 0;
    float *scaled;

    for (uint32_t s = 0; s < coded->stage_count; s++)
        elems += area * coded->stages[s].catalogue->entries + WEIGHTS_CATALOGUE_TAIL;
    if (coded->scale_kind != LEGO_SCALE_LAYER || coded->trellis ||
        elems * CATALOGUE_SHARE > (size_t)weights->rows * weights->channels * weights->taps)
        return LEGO_OK;
    scaled = lego_arena_calloc(weights->memory, elems, sizeof(*scaled));
    if (!scaled)
        return LEGO_E_NOMEM;
    for (uint32_t s = 0; s < coded->stage_count; s++) {
        const size_t count = area * coded->stages[s].catalogue->entries;
        struct weights_catalogue *catalogue = &weights->catalogues[s];

        for (size_t i = 0; i < count; i++)
            scaled[at + i] = catalogue->entries[i] * weights->row_scale[0];
        catalogue->entries = scaled + at;
        catalogue->step *= weights->row_scale[0];
        at += count + WEIGHTS_CATALOGUE_TAIL;
    }
    weights->row_scale = NULL;
    return LEGO_OK;
}

/* What a kernel needs to know of stage `s` of a tile: `columns` columns from `first_column` on. */
static struct kern_brick_decode weights_bricks(const struct weights *weights, uint32_t tile,
                                               uint32_t s, uint32_t first_column, uint32_t columns)
{
    const struct lego_coded *coded = weights->coded;
    const struct lego_stage *stage = &coded->stages[s];
    uint32_t row = tile * weights->tile_rows, width = coded->brick_columns;
    uint32_t tile_brick_rows = lego_coded_tile_brick_rows(coded, tile);
    size_t stream_bytes;

    return (struct kern_brick_decode){
        .stream = lego_stage_tile(coded, stage, tile, &stream_bytes),
        .index_bits = stage->index_bits,
        .first_index = (uint64_t)(first_column / width) * tile_brick_rows,
        .brick_rows = coded->brick_rows,
        .brick_columns = width,
        .tile_brick_rows = tile_brick_rows,
        .tile_brick_columns = (columns + width - 1) / width,
        .rows = (uint32_t)lego_min_size(weights->rows - row, weights->tile_rows),
        .columns = columns,
        .catalogue = weights->catalogues[s].entries,
        .entries = stage->catalogue->entries,
        .catalogue_s8 = weights->catalogues[s].integers,
        .catalogue_step = weights->catalogues[s].step,
        .row_scale = weights->row_scale ? weights->row_scale + row : NULL,
        .accumulate = s > 0,
    };
}

static void weights_decode_tile(const struct kern_table *kernels, const struct weights *weights,
                                uint32_t tile, const struct weights_split *split, float *panel)
{
    if (weights->coded->trellis) {
        weights_trellis_tile(kernels, weights, tile, split, panel);
        return;
    }
    for (uint32_t s = 0; s < weights->coded->stage_count; s++) {
        for (uint32_t tap = 0; tap < (split->tap_columns ? split->taps : 1); tap++) {
            struct kern_brick_decode decode = weights_bricks(
                weights, tile, s, split->first_column + tap * split->tap_columns, split->columns);
            decode.column_k = split->column_k;
            decode.panel = panel + (size_t)tap * split->channels * weights->nr;
            decode.panel_nr = weights->nr;
            decode.panel_k = split->taps * split->channels;
            kernels->brick_decode(&decode);
        }
    }
}

bool weights_are_bricks(const struct weights *weights, const struct weights_split *split)
{
    const struct lego_coded *coded = weights->coded;

    return coded && !coded->trellis && weights->groups == 1 && coded->stage_count == 1 &&
           coded->stages[0].index_bits == 8 && coded->brick_rows == 4 &&
           coded->brick_columns == 1 && !split->column_k && !split->tap_columns &&
           weights->tile_rows % weights->nr == 0 && weights->rows % weights->nr == 0;
}

void weights_block_bricks(const struct weights *weights, uint32_t tile, uint32_t in_tile,
                          const struct weights_split *split, struct kern_gemm_bricks_f32 *args)
{
    const struct kern_brick_decode bricks =
        weights_bricks(weights, tile, 0, split->first_column, split->columns);

    args->index = bricks.stream + bricks.first_index + (size_t)in_tile * weights->nr / 4;
    args->index_step = bricks.tile_brick_rows;
    args->catalogue = bricks.catalogue;
    args->scale = bricks.row_scale ? bricks.row_scale + (size_t)in_tile * weights->nr : NULL;
}

bool weights_have_integers(const struct kern_table *kernels, const struct weights *weights)
{
    const uint32_t last = weights->tile_count - 1, columns = weights->channels * weights->taps;

    if (!weights->coded || weights->coded->trellis || weights->coded->stage_count != 1 ||
        weights->groups != 1)
        return false;
    const struct kern_brick_decode first = weights_bricks(weights, 0, 0, 0, columns);
    const struct kern_brick_decode end = weights_bricks(weights, last, 0, 0, columns);

    return kernels->brick_decode_s8.takes(&first) && kernels->brick_decode_s8.takes(&end);
}

void weights_decode_integers(const struct kern_table *kernels, const struct weights *weights,
                             uint32_t tile, struct kern_brick_decode_s8 *args)
{
    args->bricks = weights_bricks(weights, tile, 0, 0, weights->channels * weights->taps);
    kernels->brick_decode_s8.run(args);
}

bool weights_gemv_fixed(const struct kern_table *kernels, const struct weights *weights)
{
    const uint32_t columns = weights->channels * weights->taps;

    for (uint32_t s = 0; columns <= KERN_FIXED_COUNT && s < weights->coded->stage_count; s++) {
        const struct kern_brick_decode bricks = weights_bricks(weights, 0, s, 0, columns);

        if (kernels->brick_gemv_fixed.faster(&bricks))
            return true;
    }
    return false;
}

void weights_gemv(const struct kern_table *kernels, const struct weights *weights, uint32_t tile,
                  const struct weights_vector *x, float *ret_y)
{
    for (uint32_t s = 0; s < weights->coded->stage_count; s++) {
        const struct kern_brick_decode bricks =
            weights_bricks(weights, tile, s, 0, weights->channels * weights->taps);

        if (x->digits && kernels->brick_gemv_fixed.faster(&bricks))
            kernels->brick_gemv_fixed.run(
                &(struct kern_brick_gemv_fixed){bricks, x->digits, x->sum, x->scale, ret_y});
        else
            kernels->brick_gemv_f32(&(struct kern_brick_gemv_f32){bricks, x->x, ret_y});
    }
}

/* One stage: as many columns of bricks at once as have products that fit. */
static void weights_stage_sums(const struct kern_table *kernels, const struct weights *weights,
                               uint32_t s, uint32_t first, uint32_t count, const float *x,
                               float *products, float *sums)
{
    const struct lego_coded *coded = weights->coded;
    const uint32_t width = coded->brick_columns;
    struct kern_brick_products_f32 made = {
        .catalogue = weights->catalogues[s].entries,
        .brick_rows = coded->brick_rows,
        .brick_columns = width,
        .entries = coded->stages[s].catalogue->entries,
        .products = products,
    };
    const uint32_t at_once = (uint32_t)lego_max_size(
        1, WEIGHTS_PRODUCT_BYTES / (made.entries * made.brick_rows * sizeof(float)));

    for (uint32_t done = 0; done < count; done += made.columns) {
        made.columns = (uint32_t)lego_min_size(at_once, count - done);
        made.x = x + (size_t)(first + done) * width;
        kernels->brick_products_f32(&made);
        for (uint32_t tile = 0; tile < weights->tile_count; tile++) {
            const struct kern_brick_sums_f32 added = {
                .bricks =
                    weights_bricks(weights, tile, s, (first + done) * width, made.columns * width),
                .products = products,
                .sums = sums + (size_t)tile * weights->tile_rows,
            };
            kernels->brick_sums_f32(&added);
        }
    }
}

void weights_sums(const struct kern_table *kernels, const struct weights *weights, uint32_t first,
                  uint32_t count, const float *x, float *products, float *sums)
{
    for (uint32_t s = 0; s < weights->coded->stage_count; s++)
        weights_stage_sums(kernels, weights, s, first, count, x, products, sums);
}

/* The kernel leaves rows alone that no brick covers: what lies there would be multiplied, too, and
 * leftovers that happen to be subnormal make that a hundred times slower. */
static void weights_clear_padding(const struct weights *weights, uint32_t tile,
                                  const struct weights_split *split, float *panel)
{
    uint32_t row = tile * weights->tile_rows, nr = weights->nr;
    size_t rows = lego_min_size(weights->rows - row, weights->tile_rows);
    size_t block_elems = (size_t)split->taps * split->channels * nr;

    if (rows % nr)
        memset(panel + rows / nr * block_elems, 0, block_elems * sizeof(*panel));
}

void weights_decode(const struct kern_table *kernels, const struct weights *weights,
                    uint32_t first_tile, uint32_t tile_count, const struct weights_split *split,
                    float *panel)
{
    size_t tile_elems = (size_t)weights->tile_blocks * weights->nr * split->taps * split->channels;

    for (uint32_t i = 0; i < tile_count && first_tile + i < weights->tile_count; i++) {
        weights_clear_padding(weights, first_tile + i, split, panel + i * tile_elems);
        weights_decode_tile(kernels, weights, first_tile + i, split, panel + i * tile_elems);
    }
}

size_t weights_tile_elems(const struct weights *weights)
{
    return weights->block_elems * weights->tile_blocks;
}

/* To [taps][rows] with taps down the columns of the kernel; `tile` holds a tile's panel. */
static void weights_decode_depthwise(const struct kern_table *kernels,
                                     const struct weights *weights, float *tile, float *ret_weights)
{
    uint32_t nr = weights->nr, taps = weights->taps;

    for (uint32_t t = 0; t < weights->tile_count; t++) {
        weights_decode_tile(kernels, weights, t, weights->splits, tile);
        for (uint32_t b = 0; b < weights->tile_blocks; b++) {
            uint32_t row, rows = weights_block_rows(weights, t * weights->tile_blocks + b, &row);
            for (uint32_t tap = 0; rows && tap < taps; tap++)
                memcpy(ret_weights + (size_t)tap * weights->rows + row,
                       tile + ((size_t)b * taps + tap) * nr, rows * sizeof(float));
        }
    }
}

uint32_t weights_blocks(const struct weights *weights)
{
    return weights->tile_count * weights->tile_blocks;
}

uint32_t weights_block_rows(const struct weights *weights, uint32_t block, uint32_t *ret_row)
{
    return weights_tile_block_rows(weights, block / weights->tile_blocks * weights->tile_rows,
                                   block % weights->tile_blocks, ret_row);
}

/* Packs a tile of a transposed convolution's [channel][row][tap] into `pack`'s panel. */
static void weights_pack_transposed(const struct kern_table *kernels, const struct weights *weights,
                                    uint32_t row, const float *source, struct kern_panel_pack pack)
{
    uint32_t group_rows = weights->rows / weights->groups, taps = weights->taps;
    const float *from =
        source +
        ((size_t)(row / group_rows) * weights->channels * group_rows + row % group_rows) * taps;
    float *panel = pack.panel;

    pack.taps = 1;
    pack.row_stride = (ptrdiff_t)taps;
    pack.channel_stride = (ptrdiff_t)group_rows * (ptrdiff_t)taps;
    for (uint32_t tap = 0; tap < taps; tap++) {
        pack.source = from + tap;
        pack.panel = panel + (size_t)weights->tap_at[tap] * weights->channels * weights->nr;
        kernels->panel_pack(&pack);
    }
}

/* Packs dense weights, tile by tile. */
static int weights_pack(const struct kern_table *kernels, struct weights *weights,
                        const float *source)
{
    bool out_last = weights->key.view == LEGO_VIEW_OUT_LAST;
    size_t tile_elems = weights_tile_elems(weights), elems;
    float *panels;

    if (!lego_mul_size(tile_elems, weights->tile_count, &elems) ||
        !(panels = weights_zeroed(elems, sizeof(float))))
        return LEGO_E_NOMEM;
    for (uint32_t tile = 0; tile < weights->tile_count; tile++) {
        uint32_t row = tile * weights->tile_rows;
        ptrdiff_t row_stride = out_last ? 1 : (ptrdiff_t)weights->channels * weights->taps;
        struct kern_panel_pack pack = {
            .source = source + (ptrdiff_t)row * row_stride,
            .rows = lego_min_size(weights->tile_rows, weights->rows - row),
            .channels = weights->channels,
            .taps = weights->taps,
            .row_stride = row_stride,
            .channel_stride = out_last ? (ptrdiff_t)weights->rows : (ptrdiff_t)weights->taps,
            .tap_stride = 1,
            .panel = panels + tile * tile_elems,
            .panel_nr = weights->nr,
            .panel_k = weights->channels * weights->taps,
        };
        if (weights->key.view == LEGO_VIEW_TRANSPOSED_CONV)
            weights_pack_transposed(kernels, weights, row, source, pack);
        else
            kernels->panel_pack(&pack);
    }
    weights->panels = weights->panel_memory = panels;
    weights->bytes += elems * sizeof(float);
    return LEGO_OK;
}

static int weights_pack_depthwise(struct weights *weights, const float *source)
{
    uint32_t height = weights->key.kernel_height, width = weights->key.kernel_width;
    size_t elems = (size_t)weights->rows * weights->taps;
    float *panels = weights_zeroed(elems, sizeof(float));

    if (!panels)
        return LEGO_E_NOMEM;
    for (uint32_t row = 0; row < weights->rows; row++)
        for (uint32_t tap = 0; tap < weights->taps; tap++) {
            uint32_t at = tap % width * height + tap / width;
            at = weights->tap_at ? weights->tap_at[tap] : at;
            panels[(size_t)at * weights->rows + row] = source[(size_t)row * weights->taps + tap];
        }
    weights->panels = weights->panel_memory = panels;
    weights->bytes += elems * sizeof(float);
    return LEGO_OK;
}

/* Decodes all tiles of coded weights into panels that stay. */
static int weights_make_resident(const struct kern_table *kernels, struct weights *weights)
{
    size_t elems = weights_tile_elems(weights) * weights->tile_count;
    size_t tile_elems = weights_tile_elems(weights);
    float *panels, *tile;

    if (weights->key.nr) {
        if (!(panels = weights_zeroed(elems, sizeof(float))))
            return LEGO_E_NOMEM;
        weights_decode(kernels, weights, 0, weights->tile_count, weights->splits, panels);
    } else {
        elems = (size_t)weights->taps * weights->rows;
        panels = weights_zeroed(elems, sizeof(float));
        tile = weights_zeroed(tile_elems, sizeof(float));
        if (panels && tile)
            weights_decode_depthwise(kernels, weights, tile, panels);
        free(tile);
        if (!panels || !tile) {
            free(panels);
            return LEGO_E_NOMEM;
        }
    }
    weights->panels = weights->panel_memory = panels;
    weights->bytes += elems * sizeof(float);
    return LEGO_OK;
}

static int weights_make_coded(const struct kern_table *kernels, struct weights *weights,
                              const struct weights_catalogues *catalogues, bool resident)
{
    const struct lego_coded *coded = weights->coded;

    weights->tile_rows = coded->tile_rows;
    weights->tile_count = lego_coded_tiles(coded);
    weights->tile_blocks = (coded->tile_rows + weights->nr - 1) / weights->nr;
    for (uint32_t s = 0; s < coded->stage_count; s++) {
        const struct weights_catalogue *catalogue =
            weights_catalogue_find(catalogues, coded->stages[s].catalogue);
        if (!catalogue)
            return LEGO_E_FORMAT;
        weights->catalogues[s] = *catalogue;
    }
    if (weights_scales(weights) || weights_scale_catalogues(weights))
        return LEGO_E_NOMEM;
    if (coded->trellis && weights_trellis_make(weights, catalogues))
        return LEGO_E_NOMEM;
    resident = resident || !weights->key.nr;
    if (resident ? weights_split_none(weights) : weights_split_columns(weights))
        return LEGO_E_NOMEM;
    return resident ? weights_make_resident(kernels, weights) : LEGO_OK;
}

static int weights_make_dense(const struct kern_table *kernels, struct weights *weights,
                              const float *source)
{
    /* A tile is a group, so that none straddles two; without groups one block. */
    weights->tile_rows = weights->groups > 1 ? weights->rows / weights->groups : weights->nr;
    weights->tile_count = (uint32_t)lego_div_up(weights->rows, weights->tile_rows);
    weights->tile_blocks = (weights->tile_rows + weights->nr - 1) / weights->nr;
    if (weights_split_none(weights))
        return LEGO_E_NOMEM;
    return weights->key.nr ? weights_pack(kernels, weights, source)
                           : weights_pack_depthwise(weights, source);
}

/* The taps of a transposed convolution, phase by phase. */
static int weights_order_taps(struct weights *weights)
{
    const struct weights_key *key = &weights->key;
    const struct window window = {
        .kernel_height = key->kernel_height,
        .kernel_width = key->kernel_width,
        .stride_y = key->stride_y,
        .stride_x = key->stride_x,
        .dilation_y = key->dilation_y,
        .dilation_x = key->dilation_x,
    };
    uint32_t *at;

    if (key->view != LEGO_VIEW_TRANSPOSED_CONV)
        return LEGO_OK;
    at = lego_arena_calloc(weights->memory, weights->taps, sizeof(*at));
    if (!at)
        return LEGO_E_NOMEM;
    window_phase_taps(&window, !key->nr, at);
    weights->tap_at = at;
    return LEGO_OK;
}

int weights_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                 const struct weights_key *key, const struct weights_catalogues *catalogues,
                 bool resident, struct weights **ret_weights, struct lego_diag *diag)
{
    struct weights *weights = calloc(1, sizeof(*weights));
    uint32_t columns;
    int status;

    if (!weights || !(weights->memory = lego_arena_create(0))) {
        free(weights);
        return lego_fail(diag, LEGO_E_NOMEM, "weights '%s'", tensor->name);
    }
    weights->key = *key;
    weights->groups = key->groups;
    weights->nr = key->nr ? key->nr : WEIGHTS_DEPTHWISE_NR;
    weights->coded = tensor->coded;
    status = lego_matrix_shape(&tensor->shape, key->view, key->groups, &weights->rows, &columns,
                               &weights->taps);
    if (status) {
        status = lego_fail(diag, status, "weights '%s' are no matrix", tensor->name);
    } else {
        weights->channels = columns / weights->taps;
        weights->block_elems = (size_t)columns * weights->nr;
        status = weights_order_taps(weights);
        if (!status)
            status = tensor->coded ? weights_make_coded(kernels, weights, catalogues, resident)
                                   : weights_make_dense(kernels, weights, tensor->data);
        if (status)
            status = lego_fail(diag, status, "weights '%s'", tensor->name);
    }
    if (status) {
        weights_destroy(weights);
        return status;
    }
    weights->bytes += lego_arena_used_bytes(weights->memory);
    *ret_weights = weights;
    return LEGO_OK;
}

void weights_destroy(struct weights *weights)
{
    if (!weights)
        return;
    free(weights->panel_memory);
    lego_arena_destroy(weights->memory);
    free(weights);
}
