/*
 * Kernels that take coded weights, bricks or levels, as they lie in a file: a part of kernels.h.
 */
#ifndef LEGO_KERNELS_CODED_H
#define LEGO_KERNELS_CODED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERN_CATALOGUE_S8 256 /* entries that a catalogue of integers has room for */

/*
 * Decodes bricks of one tile into an fp32 panel.
 *
 * The panel holds weights for GEMM: [row block of `panel_nr` rows][k of `panel_k`][panel_nr]:
 * matrix element (row r of the tile, stored column c) goes to
 *   panel[((r / nr) * panel_k + k(c)) * nr + r % nr]   with k(c) = column_k ? column_k[c] : c
 * Rows of the last row block beyond `rows` are padding: those that a brick covers get unspecified
 * values, those that none does are left alone (the caller zeroes them once); what a brick holds
 * beyond the last row block is dropped. So are columns beyond `columns`.
 */
struct kern_brick_decode {
    const uint8_t *stream; /* the tile's first byte; readable to 16 bytes past its last index */
    uint32_t index_bits;   /* 0 to 16; packed from the least significant bit on */
    uint64_t
        first_index; /* the first brick's (a multiple of tile_brick_rows); counts from stream */
    uint32_t brick_rows, brick_columns; /* 1 to 16 */
    uint32_t tile_brick_rows;           /* bricks in one column of the tile */
    uint32_t tile_brick_columns;        /* columns of bricks to decode from first_index on */
    uint32_t rows;                      /* matrix rows in this tile */
    uint32_t columns;                   /* matrix columns to decode: the last brick may stick out */
    const float *catalogue;     /* [entries][brick_columns][brick_rows]: dequantised, COLUMN-major,
                                   64-byte aligned, with 16 readable floats behind it */
    uint32_t entries;           /* every index is below it: the reader has checked */
    const int8_t *catalogue_s8; /* the same catalogue as integers, element by element:
                                   [brick_columns][brick_rows][KERN_CATALOGUE_S8], of which times
                                   catalogue_step is what `catalogue` holds, 0 behind the last
                                   entry, 64-byte aligned. NULL: it is none, or has more entries */
    float catalogue_step;
    const float *row_scale;   /* [rows], multiplies; NULL: 1 */
    const uint32_t *column_k; /* [columns] k of each stored column, NULL: k = column */
    bool accumulate;          /* add to the panel (second and later stages) instead of storing */
    float *panel;             /* 64-byte aligned */
    uint32_t panel_nr;        /* 8, 16 or 32 (any for the reference) */
    uint32_t panel_k;         /* k's of the panel: its row blocks are panel_k * panel_nr apart */
};

/* What kernels that look bytes up take: integers in bricks of 1, 2, 4 or 8 rows that fill a tile of
 * 32, with indices of one to eight bits that begin with a byte. */
static inline bool kern_bricks_are_bytes(const struct kern_brick_decode *d)
{
    const uint32_t rows = d->brick_rows;

    return d->catalogue_s8 && d->rows == 32 && d->tile_brick_rows * rows == 32 &&
           (rows == 1 || rows == 2 || rows == 4 || rows == 8) && d->index_bits &&
           d->index_bits <= 8 && d->first_index * d->index_bits % 8 == 0;
}

/*
 * Decodes all columns of a tile of bricks of integers to a panel of gemm_s8 as it is, without a
 * scale: for r < rows, k < depth, c = stored ? stored[k] : k
 *   panel[((r / nr * depth + k) / kg * nr + r % nr) * kg + k % kg] = integer(r, c)
 * and 0 where c is not below bricks.columns;
 *   sum[r] = the sum of row r's integers.
 * Rows of the last row block beyond `rows` get unspecified values. Of `bricks` catalogue,
 * row_scale, column_k, accumulate and the panel are not used.
 */
struct kern_brick_decode_s8 {
    struct kern_brick_decode bricks; /* with a catalogue of integers; first_index 0 */
    const uint32_t *stored;          /* [depth], NULL: k's lie in order */
    uint32_t depth, nr, kg;          /* depth: a multiple of kg; nr, kg: the table's gemm_s8's */
    int8_t *bytes; /* to work in, KERN_S8_BYTES(columns) of them, 64-byte aligned */
    int8_t *panel; /* 64-byte aligned */
    int32_t *sum;  /* [rows] */
};
#define KERN_S8_BYTES(columns) (((size_t)(columns) + 1025) / 2 * 64)

/*
 * A tile of bricks times a vector: y[r] = (accumulate ? y[r] : 0) + scale(r) * sum over c < columns
 * of element(r, c) * x[c], r < rows, with columns in the order in which they are stored. Of
 * `bricks` column_k and the panel are not used.
 */
struct kern_brick_gemv_f32 {
    struct kern_brick_decode bricks;
    const float *x; /* [columns] */
    float *y;       /* [rows] */
};

/*
 * Numbers in fixed point, as digits of eight bits for instructions that multiply bytes: for c <
 * count, v[c] = the integer nearest to x[c] * inverse, half to even,
 *   v[c] = sum over d < KERN_FIXED_DIGITS of 256^d * digit(c, d), digits from -128 to 127
 *   digits[(c / 8 * KERN_FIXED_DIGITS + d) * 8 + c % 8] = digit(c, d)
 * up to the next multiple of eight columns, where they are 0. Beside the largest of them numbers
 * are as exact as 32 bits are, and so are sums of their products.
 */
#define KERN_FIXED_DIGITS 4
#define KERN_FIXED_BLOCK  8             /* columns */
#define KERN_FIXED_MAX    2130706432.0f /* 127 * 2^24 */

struct kern_fixed_digits {
    size_t count; /* up to KERN_FIXED_COUNT */
    const float *x;
    float inverse; /* |x * inverse| <= KERN_FIXED_MAX, but for rounding */
    int8_t *digits;
    int32_t *sum; /* [KERN_FIXED_DIGITS], of all digits d: written */
};

/*
 * A tile of bricks of integers times such a vector: y[r] = (accumulate ? y[r] : 0) +
 *   scale * catalogue_step * row_scale(r) * sum over c < columns of integer(r, c) * v[place(c)]
 * r < rows. The sum is exact. Numbers lie together that the same column of bricks is for: place(c)
 * = c % brick_columns * blocks * 8 + c / brick_columns, with blocks = tile_brick_columns / 8,
 * rounded up; what no column has is 0. Of `bricks` catalogue, column_k and the panel are not used.
 */
#define KERN_FIXED_COUNT 65536 /* numbers: sums of products of bytes fit 32 bits */

struct kern_brick_gemv_fixed {
    struct kern_brick_decode bricks; /* with a catalogue of integers */
    const int8_t *digits;            /* of brick_columns * blocks * 8 numbers */
    const int32_t *sum;
    float scale;
    float *y; /* [rows] */
};

/*
 * The product of floats in two steps, for matrices with more bricks below each other than the
 * catalogue has entries, whose bricks have columns: what each entry makes of the columns of x that
 * a column of bricks sees is computed once, and bricks add it up. The first step, for j < columns,
 * e < entries, r < brick_rows: products[(j * entries + e) * brick_rows + r] = sum over c <
 * brick_columns of catalogue[(e * brick_columns + c) * brick_rows + r] * x[j * brick_columns + c]
 */
struct kern_brick_products_f32 {
    const float *catalogue; /* as kern_brick_decode's */
    uint32_t brick_rows;    /* a multiple of 4, up to 16 */
    uint32_t brick_columns; /* 1 to 16 */
    uint32_t entries;
    uint32_t columns; /* of bricks */
    const float *x;   /* [columns * brick_columns] */
    float *products;
};

/*
 * The second, for the `tile_brick_columns` columns of bricks of a tile, for r < tile_brick_rows *
 * brick_rows:
 *   sums[r] += sum over j of products[(j * entries + index(j, r / brick_rows)) * brick_rows +
 *                                     r % brick_rows]
 * Of `bricks` rows, columns, catalogue, row_scale, column_k, accumulate and the panel are not used.
 */
struct kern_brick_sums_f32 {
    struct kern_brick_decode bricks;
    const float *products;
    float *sums;
};

/*
 * Decodes one tile of entropy-coded trellis levels (FORMAT.md, section 8) into the same panel.
 *
 * The stream begins with the first state of each of `lanes` rANS decoders, 4 bytes each; then words
 * of 16 bits follow, which the decoders take in turn: in each row of each group of `lanes` columns
 * the lanes in order. Whatever the bytes are, nothing beyond `stream_bytes` is read and every level
 * is one that a table holds.
 *
 * A slot is level << 24 | frequency << 12 | (slot - the level's first slot). A column's table is
 * that of its tap (column % taps): table[2 * tap] in even states of the trellis,
 * table[2 * tap + 1] in odd ones, as offsets in `slots`.
 *
 * With a rotation, the columns (channel, tap) of a channel are coefficients:
 *   element(channel, tap) = sum over j of coefficient(channel, j) * rotation[j * taps + tap]
 * Rows of the last row block beyond `rows` become 0.
 */
#define KERN_TRELLIS_SLOTS     4096 /* of a table: probabilities are multiples of 1 / 4096 */
#define KERN_TRELLIS_MAX_LANES 32
#define KERN_TRELLIS_MAX_TAPS  25 /* with a rotation */

struct kern_trellis_decode {
    const uint8_t *stream;
    size_t stream_bytes; /* at least 4 * lanes */
    uint32_t lanes;      /* 1, 2, 4, 8, 16 or 32 */
    uint32_t rows;       /* matrix rows in this tile, 1 to 256 */
    uint32_t columns;    /* a multiple of taps */
    uint32_t taps;
    const uint32_t *slots;    /* tables of KERN_TRELLIS_SLOTS, 64-byte aligned */
    const uint32_t *table;    /* [taps][2] */
    const float *row_scale;   /* [rows] a level's worth, with the step */
    const float *rotation;    /* [taps][taps], NULL: none */
    const uint32_t *column_k; /* [columns], NULL: k = column */
    float *panel;             /* 64-byte aligned */
    uint32_t panel_nr;        /* a multiple of 8 (any for the reference) */
    uint32_t panel_k;
};

typedef void (*kern_brick_decode_fn)(const struct kern_brick_decode *args);
typedef void (*kern_brick_gemv_f32_fn)(const struct kern_brick_gemv_f32 *args);
typedef void (*kern_fixed_digits_fn)(const struct kern_fixed_digits *args);
typedef void (*kern_brick_products_f32_fn)(const struct kern_brick_products_f32 *args);
typedef void (*kern_brick_sums_f32_fn)(const struct kern_brick_sums_f32 *args);
typedef void (*kern_trellis_decode_fn)(const struct kern_trellis_decode *args);

/* `faster`: whether such bricks take less time than by brick_gemv_f32. */
struct kern_brick_gemv_fixed_variant {
    void (*run)(const struct kern_brick_gemv_fixed *args);
    bool (*faster)(const struct kern_brick_decode *bricks);
};

/* `takes`: whether it decodes such bricks so fast that integers need not stay in memory. */
struct kern_brick_decode_s8_variant {
    void (*run)(const struct kern_brick_decode_s8 *args);
    bool (*takes)(const struct kern_brick_decode *bricks);
};

#endif
