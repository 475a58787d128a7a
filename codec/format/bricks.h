/*
 * A weight matrix cut into bricks: catalogues, indices, scales.
 *
 * The weight tensor is seen as a matrix [rows][columns]: rows are output channels, columns what one
 * output channel multiplies. How a tensor becomes that matrix is `enum lego_matrix_view`. Bricks
 * are `brick_rows` x `brick_columns` cuts of it, zero-padded at the lower and right edge. The
 * matrix is
 *
 *   W[r][c] = scale(r) * sum over stages s of catalogue_s[index_s(r / R, c' / C)][r % R][c' % C]
 *
 * with c' the stored position of column c (column_order, permutation) and catalogue entries
 * dequantised (entry * catalogue scale).
 *
 * Indices lie in tiles, so that a kernel walks them in order: a tile is `tile_rows` matrix rows (a
 * multiple of brick_rows) by all columns. In a tile the bricks go column by column, each column
 * from its upper brick to its lower; the last tile has only the brick rows that exist. Each tile
 * starts at a byte boundary of the stage's stream. Fixed-width indices are `index_bits` wide,
 * packed from the least significant bit of the first byte on.
 *
 * Or the weights are levels that a trellis chose and an entropy coder wrote: trellis.h. Tiles,
 * matrix and scales are the same.
 *
 * FORMAT.md has the bytes; this header has what the reader returns: const, validated, safe to use.
 */
#ifndef LEGO_FORMAT_BRICKS_H
#define LEGO_FORMAT_BRICKS_H

#include "codec/graph/graph.h"

#define LEGO_BRICK_MAX_SIDE        16
#define LEGO_CATALOGUE_MAX_ENTRIES 65536
#define LEGO_MAX_STAGES            4
#define LEGO_TILE_ROWS             32 /* what the writer uses unless brick_rows does not divide it */
#define LEGO_TILE_MAX_ROWS         256

enum lego_matrix_view {
    LEGO_VIEW_OUT_FIRST = 0, /* [O][everything else], the tensor's own order: Conv, Gemm transB=1 */
    LEGO_VIEW_OUT_LAST =
        1, /* rows = the last dimension (MatMul [K][N], Gemm transB=0): W' = tensor^T */
    LEGO_VIEW_TRANSPOSED_CONV = 2, /* ConvTranspose [I][O/g][k...]: rows = g*O/g, columns = I/g*k */
};

enum lego_column_order {
    LEGO_COLUMNS_CHANNEL_MAJOR =
        0,                      /* stored column = channel * taps + tap: the tensor's own order */
    LEGO_COLUMNS_TAP_MAJOR = 1, /* stored column = tap * channels + channel */
};

/* What 5 bits of LEGO_SCALE_LOG mean: exp((code - 16) / 40). */
#define LEGO_LOG_SCALES 32
extern const float lego_log_scale[LEGO_LOG_SCALES];

enum lego_scale_kind {
    LEGO_SCALE_NONE = 0,  /* scale(r) = 1 */
    LEGO_SCALE_LAYER = 1, /* one fp32 */
    LEGO_SCALE_ROW = 2,   /* one fp16 a row */
    LEGO_SCALE_LOG = 3,   /* layer_scale times one of lego_log_scale a row */
};

enum lego_index_coding {
    LEGO_INDEX_FIXED = 0, /* index_bits a brick */
    /* 1 and up: reserved */
};

struct lego_catalogue {
    uint32_t id;                        /* position in the file */
    enum lego_dtype dtype;              /* INT8, FLOAT16 or FLOAT32 */
    uint32_t brick_rows, brick_columns; /* 1 to 16 */
    uint32_t entries;                   /* 1 to 65,536 */
    float scale;                        /* what an INT8 entry is multiplied by; 1 otherwise */
    const void *data;                   /* [entries][brick_rows][brick_columns], 16-byte aligned */
};

struct lego_stage {
    const struct lego_catalogue *catalogue;
    enum lego_index_coding coding;
    uint32_t index_bits;   /* LEGO_INDEX_FIXED: 0 (one entry) to 16 */
    const uint8_t *stream; /* `stream_bytes` bytes, then 16 that are readable, whatever they hold */
    size_t stream_bytes;
    const uint64_t
        *tile_offsets; /* [tiles + 1] bytes from `stream`, ascending, NULL if tile_stride_bytes */
    size_t tile_stride_bytes; /* fixed-width: bytes from one (full) tile to the next */
};

struct lego_trellis; /* codec/format/trellis.h */

struct lego_coded {
    enum lego_matrix_view view;
    enum lego_column_order column_order;
    uint32_t rows, columns; /* of the matrix, without padding */
    uint32_t groups; /* convolution groups; a column never crosses one, rows are all groups' */
    uint32_t taps;   /* kernel elements: columns = channels a group * taps */
    uint32_t brick_rows, brick_columns; /* the same in every stage */
    uint32_t tile_rows;
    const struct lego_trellis *trellis; /* NULL: bricks. Else no stages, bricks of 1x1 */
    uint32_t stage_count;
    struct lego_stage stages[LEGO_MAX_STAGES];
    enum lego_scale_kind scale_kind;
    float layer_scale;
    const uint16_t *row_scales;  /* [rows] fp16, LEGO_SCALE_ROW only */
    const uint8_t *row_codes;    /* [rows] below LEGO_LOG_SCALES, LEGO_SCALE_LOG only */
    const uint32_t *permutation; /* stored column -> column in column_order, NULL: identity */
};

/* Bits of a fixed-width index below `entries` (at least 1): 0 to 16 for a catalogue. */
static inline uint32_t lego_index_bits(uint32_t entries)
{
    return entries <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(entries - 1);
}

/* Rows of a tile for bricks of that height: LEGO_TILE_ROWS or the next multiple below it. */
static inline uint32_t lego_default_tile_rows(uint32_t brick_rows)
{
    return LEGO_TILE_ROWS / brick_rows * brick_rows;
}

/* Bytes that must be readable behind a stream. */
#define LEGO_STREAM_TAIL_BYTES 16

/*
 * Completes a coded matrix of a tensor of `shape`, of which view, column_order, groups and each
 * stage's catalogue and coding are set (stages >= 1): fills rows, columns, taps, brick_rows,
 * brick_columns, tile_rows (where 0), and each stage's index_bits, tile_stride_bytes and
 * stream_bytes (fixed-width coding). Errors: LEGO_E_SHAPE, LEGO_E_OVERFLOW; LEGO_E_FORMAT where the
 * parts do not fit together; LEGO_E_VERSION for a coding that this library does not know.
 */
int lego_coded_layout(struct lego_coded *coded, const struct lego_shape *shape);

/* Index number `position` of a fixed-width tile that starts at `tile`; widths 0 to 32. */
uint32_t lego_index_get(const uint8_t *tile, uint32_t index_bits, uint64_t position);

/* Stores it; the bits must have been zero. Does not write beyond the index's last byte. */
void lego_index_put(uint8_t *tile, uint32_t index_bits, uint64_t position, uint32_t index);

/* What row `row` is multiplied by. */
float lego_coded_row_scale(const struct lego_coded *coded, uint32_t row);

/* Derived sizes, all computed with overflow checks by the reader when the file is opened. */
static inline uint32_t lego_coded_brick_rows(const struct lego_coded *coded)
{
    return (coded->rows + coded->brick_rows - 1) / coded->brick_rows;
}

static inline uint32_t lego_coded_brick_columns(const struct lego_coded *coded)
{
    return (coded->columns + coded->brick_columns - 1) / coded->brick_columns;
}

static inline uint32_t lego_coded_tiles(const struct lego_coded *coded)
{
    return (coded->rows + coded->tile_rows - 1) / coded->tile_rows;
}

/* Brick rows of tile `tile`: tile_rows / brick_rows but for the last. */
uint32_t lego_coded_tile_brick_rows(const struct lego_coded *coded, uint32_t tile);

/* First byte of a tile in a stage's stream, and its length. */
const uint8_t *lego_stage_tile(const struct lego_coded *coded, const struct lego_stage *stage,
                               uint32_t tile, size_t *ret_bytes);

/*
 * How a constant of `shape` becomes a matrix under `view` for a node with `groups`: rows, columns
 * and taps. LEGO_E_SHAPE where it cannot, LEGO_E_OVERFLOW where rows or columns pass UINT32_MAX.
 */
int lego_matrix_shape(const struct lego_shape *shape, enum lego_matrix_view view, uint32_t groups,
                      uint32_t *ret_rows, uint32_t *ret_columns, uint32_t *ret_taps);

/* Element index in the dense tensor of matrix element (row, column in channel-major order). */
size_t lego_matrix_elem(const struct lego_shape *shape, enum lego_matrix_view view, uint32_t groups,
                        uint32_t row, uint32_t column);

/* Dequantises entry `entry` of a catalogue to fp32, row-major [brick_rows][brick_columns]. */
void lego_catalogue_entry(const struct lego_catalogue *catalogue, uint32_t entry, float *ret_brick);

/*
 * Decodes a whole coded tensor to dense fp32 in the tensor's own order (`elems` of them): for
 * export and for checks. The runtime never does this: it decodes tiles by kernel.
 */
int lego_coded_decode(const struct lego_tensor *tensor, float *ret_dense, size_t elems,
                      struct lego_diag *diag);

#endif
