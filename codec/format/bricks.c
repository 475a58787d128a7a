/*
 * Bricks without kernels: sizes, where elements lie, and decoding in portable C.
 */
#include "codec/format/bricks.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/format/trellis.h"

#include <string.h>

#define BRICK_MAX_ELEMS (LEGO_BRICK_MAX_SIDE * LEGO_BRICK_MAX_SIDE)

const float lego_log_scale[LEGO_LOG_SCALES] = {
    0x1.57343p-1f,  0x1.5fe462p-1f, 0x1.68ccep-1f,  0x1.71ef1ap-1f, 0x1.7b4c86p-1f, 0x1.84e6a4p-1f,
    0x1.8ebefap-1f, 0x1.98d71ep-1f, 0x1.a330aep-1f, 0x1.adcd5p-1f,  0x1.b8aeb8p-1f, 0x1.c3d6a2p-1f,
    0x1.cf46dap-1f, 0x1.db0132p-1f, 0x1.e7078cp-1f, 0x1.f35bd2p-1f, 0x1p+0f,        0x1.067b0ep+0f,
    0x1.0d201ap+0f, 0x1.13f038p+0f, 0x1.1aec7cp+0f, 0x1.221604p+0f, 0x1.296df8p+0f, 0x1.30f584p+0f,
    0x1.38addap+0f, 0x1.409838p+0f, 0x1.48b5e4p+0f, 0x1.510828p+0f, 0x1.599058p+0f, 0x1.624fd6p+0f,
    0x1.6b4802p+0f, 0x1.747a52p+0f,
};

static uint64_t dims_product(const struct lego_shape *shape, int first, int end)
{
    uint64_t product = 1;
    for (int i = first; i < end; i++)
        product *= (uint64_t)shape->dim[i];
    return product;
}

int lego_matrix_shape(const struct lego_shape *shape, enum lego_matrix_view view, uint32_t groups,
                      uint32_t *ret_rows, uint32_t *ret_columns, uint32_t *ret_taps)
{
    size_t elems;
    int status = lego_shape_elems(shape, &elems);
    if (status != LEGO_OK)
        return status;
    if (elems == 0 || groups == 0 || shape->rank < 1)
        return LEGO_E_SHAPE;

    /* No product below overflows: each divides elems, but for the rows and columns themselves. */
    uint64_t rows, columns, taps = shape->rank > 2 ? dims_product(shape, 2, shape->rank) : 1;
    switch (view) {
    case LEGO_VIEW_OUT_FIRST:
        rows = (uint64_t)shape->dim[0];
        columns = dims_product(shape, 1, shape->rank);
        if (rows % groups != 0)
            return LEGO_E_SHAPE;
        break;
    case LEGO_VIEW_OUT_LAST:
        if (shape->rank < 2 || groups != 1)
            return LEGO_E_SHAPE;
        rows = (uint64_t)shape->dim[shape->rank - 1];
        columns = dims_product(shape, 0, shape->rank - 1);
        taps = 1;
        break;
    case LEGO_VIEW_TRANSPOSED_CONV:
        if (shape->rank < 2 || (uint64_t)shape->dim[0] % groups != 0)
            return LEGO_E_SHAPE;
        if (__builtin_mul_overflow((uint64_t)shape->dim[1], groups, &rows))
            return LEGO_E_OVERFLOW;
        columns = (uint64_t)shape->dim[0] / groups * taps;
        break;
    default:
        return LEGO_E_SHAPE;
    }
    if (rows > UINT32_MAX || columns > UINT32_MAX)
        return LEGO_E_OVERFLOW;
    *ret_rows = (uint32_t)rows;
    *ret_columns = (uint32_t)columns;
    *ret_taps = (uint32_t)taps;
    return LEGO_OK;
}

size_t lego_matrix_elem(const struct lego_shape *shape, enum lego_matrix_view view, uint32_t groups,
                        uint32_t row, uint32_t column)
{
    switch (view) {
    case LEGO_VIEW_OUT_LAST:
        return (size_t)column * (size_t)shape->dim[shape->rank - 1] + row;
    case LEGO_VIEW_TRANSPOSED_CONV: {
        size_t taps = (size_t)dims_product(shape, 2, shape->rank);
        size_t group_rows = (size_t)shape->dim[1];
        size_t group_channels = (size_t)shape->dim[0] / groups;
        size_t channel = row / group_rows * group_channels + column / taps;
        return (channel * group_rows + row % group_rows) * taps + column % taps;
    }
    default:
        return (size_t)row * (size_t)dims_product(shape, 1, shape->rank) + column;
    }
}

uint32_t lego_coded_tile_brick_rows(const struct lego_coded *coded, uint32_t tile)
{
    uint32_t in_tile = coded->tile_rows / coded->brick_rows;
    uint32_t left = lego_coded_brick_rows(coded) - tile * in_tile;
    return left < in_tile ? left : in_tile;
}

/* Bytes of `brick_rows` rows of fixed-width indices; false where they overflow. */
static bool tile_bytes(const struct lego_coded *coded, uint32_t brick_rows, uint32_t bits,
                       size_t *ret_bytes)
{
    size_t indices, total;
    if (!lego_mul_size(brick_rows, lego_coded_brick_columns(coded), &indices) ||
        !lego_mul_size(indices, bits, &total))
        return false;
    *ret_bytes = lego_div_up(total, 8);
    return true;
}

const uint8_t *lego_stage_tile(const struct lego_coded *coded, const struct lego_stage *stage,
                               uint32_t tile, size_t *ret_bytes)
{
    if (stage->tile_offsets) {
        uint64_t first = stage->tile_offsets[tile];
        *ret_bytes = (size_t)(stage->tile_offsets[tile + 1] - first);
        return stage->stream + first;
    }
    size_t first = tile * stage->tile_stride_bytes;
    bool last = tile + 1 == lego_coded_tiles(coded);
    *ret_bytes = last ? stage->stream_bytes - first : stage->tile_stride_bytes;
    return stage->stream + first;
}

static int layout_stage(const struct lego_coded *coded, struct lego_stage *stage)
{
    const struct lego_catalogue *catalogue = stage->catalogue;
    if (stage->coding != LEGO_INDEX_FIXED)
        return LEGO_E_VERSION;
    if (catalogue->brick_rows != coded->brick_rows ||
        catalogue->brick_columns != coded->brick_columns || catalogue->entries < 1 ||
        catalogue->entries > LEGO_CATALOGUE_MAX_ENTRIES)
        return LEGO_E_FORMAT;

    uint32_t bits = lego_index_bits(catalogue->entries);
    uint32_t tiles = lego_coded_tiles(coded);
    size_t stride, last, bytes;
    if (!tile_bytes(coded, lego_coded_tile_brick_rows(coded, 0), bits, &stride) ||
        !tile_bytes(coded, lego_coded_tile_brick_rows(coded, tiles - 1), bits, &last) ||
        !lego_mul_size(stride, tiles - 1, &bytes) || !lego_add_size(bytes, last, &bytes))
        return LEGO_E_OVERFLOW;
    stage->index_bits = bits;
    stage->tile_offsets = NULL;
    stage->tile_stride_bytes = stride;
    stage->stream_bytes = bytes;
    return LEGO_OK;
}

int lego_coded_layout(struct lego_coded *coded, const struct lego_shape *shape)
{
    static const struct lego_catalogue single = {.brick_rows = 1, .brick_columns = 1};
    if (coded->trellis ? coded->stage_count != 0
                       : coded->stage_count < 1 || coded->stage_count > LEGO_MAX_STAGES)
        return LEGO_E_FORMAT;
    const struct lego_catalogue *first = coded->trellis ? &single : coded->stages[0].catalogue;
    if (first->brick_rows < 1 || first->brick_rows > LEGO_BRICK_MAX_SIDE ||
        first->brick_columns < 1 || first->brick_columns > LEGO_BRICK_MAX_SIDE)
        return LEGO_E_FORMAT;
    uint32_t rows, columns, taps;
    int status = lego_matrix_shape(shape, coded->view, coded->groups, &rows, &columns, &taps);
    if (status != LEGO_OK)
        return status;
    /* Sizes are rounded up to whole bricks in 32 bits. */
    if (rows > UINT32_MAX - LEGO_TILE_MAX_ROWS || columns > UINT32_MAX - LEGO_TILE_MAX_ROWS)
        return LEGO_E_OVERFLOW;

    coded->rows = rows;
    coded->columns = columns;
    coded->taps = taps;
    coded->brick_rows = first->brick_rows;
    coded->brick_columns = first->brick_columns;
    if (coded->tile_rows == 0)
        coded->tile_rows = lego_default_tile_rows(coded->brick_rows);
    if (coded->tile_rows % coded->brick_rows != 0 || coded->tile_rows > LEGO_TILE_MAX_ROWS)
        return LEGO_E_FORMAT;
    for (uint32_t i = 0; status == LEGO_OK && i < coded->stage_count; i++)
        status = layout_stage(coded, &coded->stages[i]);
    return status;
}

uint32_t lego_index_get(const uint8_t *tile, uint32_t index_bits, uint64_t position)
{
    uint64_t bit = position * index_bits;
    const uint8_t *at = tile + bit / 8;
    uint32_t shift = (uint32_t)(bit % 8);
    uint64_t word = 0;
    for (uint32_t i = 0; 8 * i < shift + index_bits; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return (uint32_t)(word >> shift & ((UINT64_C(1) << index_bits) - 1));
}

void lego_index_put(uint8_t *tile, uint32_t index_bits, uint64_t position, uint32_t index)
{
    uint64_t bit = position * index_bits;
    uint8_t *at = tile + bit / 8;
    uint32_t shift = (uint32_t)(bit % 8);
    uint64_t word = (uint64_t)index << shift;
    for (uint32_t i = 0; 8 * i < shift + index_bits; i++)
        at[i] |= (uint8_t)(word >> (8 * i));
}

void lego_catalogue_entry(const struct lego_catalogue *catalogue, uint32_t entry, float *ret_brick)
{
    size_t elems = (size_t)catalogue->brick_rows * catalogue->brick_columns;
    size_t first = entry * elems;
    switch (catalogue->dtype) {
    case LEGO_DTYPE_INT8:
        for (size_t i = 0; i < elems; i++)
            ret_brick[i] = (float)((const int8_t *)catalogue->data)[first + i] * catalogue->scale;
        break;
    case LEGO_DTYPE_FLOAT16:
        for (size_t i = 0; i < elems; i++)
            ret_brick[i] = lego_half_to_float(((const uint16_t *)catalogue->data)[first + i]);
        break;
    default:
        memcpy(ret_brick, (const float *)catalogue->data + first, elems * sizeof(float));
        break;
    }
}

/* The column of the tensor's own order that stands at stored position `stored`. */
static uint32_t source_column(const struct lego_coded *coded, uint32_t stored)
{
    uint32_t column = coded->permutation ? coded->permutation[stored] : stored;
    if (coded->column_order == LEGO_COLUMNS_CHANNEL_MAJOR)
        return column;
    uint32_t channels = coded->columns / coded->taps;
    return column % channels * coded->taps + column / channels;
}

float lego_coded_row_scale(const struct lego_coded *coded, uint32_t row)
{
    switch (coded->scale_kind) {
    case LEGO_SCALE_LAYER:
        return coded->layer_scale;
    case LEGO_SCALE_ROW:
        return lego_half_to_float(coded->row_scales[row]);
    case LEGO_SCALE_LOG:
        return coded->layer_scale * lego_log_scale[coded->row_codes[row]];
    default:
        return 1.0f;
    }
}

/* Sums all stages' bricks at brick (row, column) of the matrix. */
static void decode_brick(const struct lego_coded *coded, uint32_t row, uint32_t column,
                         float *ret_brick)
{
    size_t elems = (size_t)coded->brick_rows * coded->brick_columns;
    uint32_t in_tile = coded->tile_rows / coded->brick_rows;
    uint32_t tile = row / in_tile;
    uint64_t position = (uint64_t)column * lego_coded_tile_brick_rows(coded, tile) + row % in_tile;
    float entry[BRICK_MAX_ELEMS];
    for (uint32_t s = 0; s < coded->stage_count; s++) {
        const struct lego_stage *stage = &coded->stages[s];
        size_t bytes;
        const uint8_t *stream = lego_stage_tile(coded, stage, tile, &bytes);
        uint32_t index = lego_index_get(stream, stage->index_bits, position);
        lego_catalogue_entry(stage->catalogue, index, s == 0 ? ret_brick : entry);
        for (size_t i = 0; s > 0 && i < elems; i++)
            ret_brick[i] += entry[i];
    }
}

int lego_coded_decode(const struct lego_tensor *tensor, float *ret_dense, size_t elems,
                      struct lego_diag *diag)
{
    const struct lego_coded *coded = tensor->coded;
    if (!coded || (uint64_t)coded->rows * coded->columns != elems)
        return lego_fail(diag, LEGO_E_INVALID, "tensor '%s': not coded, or not of %zu elements",
                         tensor->name, elems);

    if (coded->trellis)
        return lego_trellis_decode(tensor, ret_dense, diag);
    uint32_t brick_rows = coded->brick_rows, brick_columns = coded->brick_columns;
    float brick[BRICK_MAX_ELEMS];
    for (uint32_t r0 = 0; r0 < coded->rows; r0 += brick_rows) {
        for (uint32_t c0 = 0; c0 < coded->columns; c0 += brick_columns) {
            decode_brick(coded, r0 / brick_rows, c0 / brick_columns, brick);
            uint32_t rows = (uint32_t)lego_min_size(brick_rows, coded->rows - r0);
            uint32_t columns = (uint32_t)lego_min_size(brick_columns, coded->columns - c0);
            for (uint32_t i = 0; i < rows * columns; i++) {
                uint32_t r = i / columns, c = i % columns;
                size_t at = lego_matrix_elem(&tensor->shape, coded->view, coded->groups, r0 + r,
                                             source_column(coded, c0 + c));
                ret_dense[at] = brick[r * brick_columns + c] * lego_coded_row_scale(coded, r0 + r);
            }
        }
    }
    return LEGO_OK;
}
