/*
 * Weights of one node made ready for the kernels: packed panels of dense weights, or what it takes
 * to decode tiles of coded ones into a panel.
 *
 * A panel holds row blocks of `nr` matrix rows: [block][k][nr] with k = tap * channels + channel.
 * Blocks are counted through the whole matrix: `tile_blocks` for each tile, also for the last one,
 * whose blocks past the end are empty (weights_block_rows returns 0).
 *
 * Threads: immutable once they are made.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_H
#define LEGO_RUNTIME_WEIGHTS_H

#include "agent/runtime/weights_catalogues.h"

#include "codec/base/diag.h"
#include "codec/kernels/kernels.h"

/* Panels are kept at most this large where they can be cut: they have to stay in a core's L2. */
#define WEIGHTS_PANEL_BYTES (256u << 10)

/* What identifies prepared weights: the constant and how a node uses it. */
struct weights_key {
    const void *source; /* the tensor's data or coded */
    enum lego_matrix_view view;
    uint32_t groups;
    uint32_t nr; /* rows of a block; 0: depthwise, [tap][rows] */
    bool whole;  /* columns are not split: all k's in one panel */
    uint32_t
        part_channels; /* with `whole`: all taps of so many channels, where that can be; 0: not */
    uint32_t kernel_height, kernel_width; /* depthwise: taps go down the columns; else 1 x taps */
    /* LEGO_VIEW_TRANSPOSED_CONV: with the kernel, the phases by which taps lie (window.h). */
    uint32_t stride_y, stride_x, dilation_y, dilation_x;
};

/* A part of the columns: the panels of huge matrices are decoded and used part by part. */
struct weights_split {
    uint32_t first_column, columns; /* as stored */
    uint32_t first_tap, taps;
    uint32_t first_channel, channels;
    uint32_t tap_columns;     /* from one tap's to the next's, as stored; 0: columns lie together */
    const uint32_t *column_k; /* NULL: as stored */
};

struct weights {
    struct weights *next;
    struct weights_key key;
    uint32_t rows, channels, taps; /* rows of all groups, channels of one */
    uint32_t groups;
    uint32_t nr;
    uint32_t tile_rows, tile_count, tile_blocks;
    size_t block_elems;  /* taps * channels * nr */
    const float *panels; /* all blocks; depthwise: [taps][rows]; NULL: decode */
    const struct lego_coded *coded;
    struct weights_catalogue catalogues[LEGO_MAX_STAGES]; /* borrowed from the model */
    const float *row_scale;                               /* NULL: 1 */
    const uint32_t *slots;  /* of trellis tables, borrowed from the model */
    const uint32_t *table;  /* [taps][2] offsets in slots */
    const float *rotation;  /* NULL: none */
    const uint32_t *tap_at; /* where each tap lies in the panel; NULL: in order */
    uint32_t split_count;
    const struct weights_split *splits;
    struct lego_arena *memory;
    void *panel_memory;
    size_t bytes; /* private memory that this holds */
};

/*
 * Prepares `tensor` for `key`. With `resident`, coded weights are decoded into panels now.
 * Depthwise weights are few and always resident. Errors: E_NOMEM, E_OVERFLOW, E_SHAPE.
 */
int weights_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                 const struct weights_key *key, const struct weights_catalogues *catalogues,
                 bool resident, struct weights **ret_weights, struct lego_diag *diag);
void weights_destroy(struct weights *weights);

/* Blocks of the whole matrix, and the first row and the number of rows of one. */
uint32_t weights_blocks(const struct weights *weights);
uint32_t weights_block_rows(const struct weights *weights, uint32_t block, uint32_t *ret_row);

/* The same for block `in_tile` of the tile whose first row is `tile_row`: without divisions, of
 * which small layers would have one for a few multiplications. */
static inline uint32_t weights_tile_block_rows(const struct weights *weights, uint32_t tile_row,
                                               uint32_t in_tile, uint32_t *ret_row)
{
    uint32_t lane = in_tile * weights->nr, left = weights->rows - tile_row;
    uint32_t rows = left < weights->tile_rows ? left : weights->tile_rows;

    *ret_row = tile_row + lane;
    if (lane >= rows)
        return 0;
    return rows - lane < weights->nr ? rows - lane : weights->nr;
}

/*
 * Decodes `tile_count` tiles (those that exist) from `first_tile` on, columns of `split`, into
 * `panel`: [tile][block][split->taps * split->channels][nr].
 */
void weights_decode(const struct kern_table *kernels, const struct weights *weights,
                    uint32_t first_tile, uint32_t tile_count, const struct weights_split *split,
                    float *panel);

/* Whether kern_gemm_bricks_f32 can decode the panels of `split` while it multiplies, and what it
 * needs to know of block `in_tile` of a tile for that. */
bool weights_are_bricks(const struct weights *weights, const struct weights_split *split);
void weights_block_bricks(const struct weights *weights, uint32_t tile, uint32_t in_tile,
                          const struct weights_split *split, struct kern_gemm_bricks_f32 *args);

/*
 * The integers that coded weights are made of, for kern_brick_decode_s8: whether all tiles can be
 * decoded so (one stage of bricks, in one group), and tile `tile` by `args`, whose bricks this
 * fills in. What they are worth: weights->catalogues[0].step times the row's scale.
 */
bool weights_have_integers(const struct kern_table *kernels, const struct weights *weights);
void weights_decode_integers(const struct kern_table *kernels, const struct weights *weights,
                             uint32_t tile, struct kern_brick_decode_s8 *args);

/* A vector that is multiplied, in the order of the stored columns. */
struct weights_vector {
    const float *x;
    const int8_t *digits; /* the same in fixed point, in kern_brick_gemv_fixed's order; NULL: not */
    int32_t sum[KERN_FIXED_DIGITS];
    float scale; /* of a number in fixed point */
};

/* Whether it is worth having in fixed point. */
bool weights_gemv_fixed(const struct kern_table *kernels, const struct weights *weights);

/* Rows of one tile of bricks times `x`, into `ret_y`. One group, no entropy coding. */
void weights_gemv(const struct kern_table *kernels, const struct weights *weights, uint32_t tile,
                  const struct weights_vector *x, float *ret_y);

/*
 * The same by partial products (kern_brick_products_f32): what the columns of bricks [first, first
 * + count) of all stages add to `sums`, [tile_count * tile_rows], without the rows' scales. `x` is
 * padded to whole bricks. `products` takes WEIGHTS_PRODUCT_BYTES.
 */
#define WEIGHTS_PRODUCT_BYTES (32u << 10)
void weights_sums(const struct kern_table *kernels, const struct weights *weights, uint32_t first,
                  uint32_t count, const float *x, float *products, float *sums);

size_t weights_tile_elems(const struct weights *weights);

#endif
