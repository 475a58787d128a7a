/*
 * Entropy-coded trellis quantisation of a layer's matrix, and its serialisation.
 *
 * The quantiser is dependent quantisation with eight states (Schwarz et al., DCC 2019), chosen by
 * Viterbi down each column for error + price * bits, with the error passed on to the columns that
 * are still to come (GPTQ: Frantar et al., arXiv 2210.17323). Tiles are independent of each other,
 * which is what makes them decode, and be searched, in parallel.
 */
#ifndef LEGO_ENCODE_TRELLIS_H
#define LEGO_ENCODE_TRELLIS_H

#include "codec/encode/workers.h"
#include "codec/format/package.h"
#include "codec/format/trellis.h"

/* How often each level stands in even and odd states, by class: [class][odd][level + 120]. */
#define TRELLIS_LEVELS (2 * LEGO_TRELLIS_MAX_LEVEL + 1)
struct trellis_counts {
    uint32_t count[LEGO_TRELLIS_MAX_CLASSES][2][TRELLIS_LEVELS];
};

/* A matrix to quantise. Rows are all groups'; columns channel-major within the row's group. */
struct trellis_problem {
    uint32_t rows, columns, groups;
    uint32_t tile_rows;
    const float *target;   /* [rows][columns], rotated where `rotation` is not NULL */
    const uint32_t *order; /* [columns] in which columns are quantised; NULL: as they stand */
    const float *u;        /* [groups][columns][columns], in that order: H^-1 = U^T U; NULL: 1 */
    const struct lego_rotation *rotation; /* gives columns their classes; NULL: one class */
    float step;
    const float *row_steps; /* [rows] in place of `step`; NULL: it is all rows' */
    uint32_t most;          /* largest |level|: 1 to LEGO_TRELLIS_MAX_LEVEL */
    double price;           /* of a bit, in units of squared error over U's squared diagonal */
};

struct trellis_result {
    int8_t *levels; /* [rows][columns] */
    float *decoded; /* [rows][columns] level's worth, still rotated, without row scales */
    double distortion;
    double bits; /* of the levels, with tables of their own; tables not counted */
    struct trellis_counts counts;
};

/*
 * The step for a price (METHOD: step D): `gain` is .65 to .9, u as in the problem. With U NULL: 1.
 */
double trellis_step(const struct trellis_problem *problem, double gain);

/*
 * The least step with which the levels reach weights of this size: clipping the largest weight of
 * every row would cost more than all rounding.
 */
double trellis_least_step(const struct trellis_problem *problem, double largest);

/*
 * Solves: three rounds of quantising and counting, each with the rates that the last one's counts
 * give. `levels` and `decoded` are the caller's. The same result for any number of threads.
 * LEGO_E_NOMEM.
 */
int trellis_solve(const struct trellis_problem *problem, struct encode_workers *workers,
                  struct trellis_result *result);

/* The nearest 5-bit row scale. */
uint8_t trellis_scale_code(double scale);

/*
 * Finds the table that codes these counts in the fewest bits, which it returns.
 * `counts`: [TRELLIS_LEVELS].
 */
double trellis_table_fit(const uint32_t *counts, struct lego_trellis_table *ret_table);
/* Bits that a table takes for counts; INFINITY where it lacks a level. */
double trellis_table_bits(const struct lego_trellis_table *table, const uint32_t *counts);

/* A quantised layer, for trellis_store. Everything is copied but the rotation. */
struct trellis_layer {
    int32_t tensor; /* in the graph */
    enum lego_matrix_view view;
    uint32_t groups;
    uint32_t tile_rows;
    float step;
    const int8_t *levels;                 /* [rows][columns] */
    const uint8_t *row_codes;             /* [rows] times `step`, NULL: all 1 */
    const uint16_t *row_scales;           /* [rows] fp16, in place of step and codes; or NULL */
    const struct lego_rotation *rotation; /* one of the package's, NULL: none */
};

/*
 * Rows of a tile: 32, or more where a tile would otherwise be a few hundred bytes, each of which
 * has a state to keep.
 */
uint32_t trellis_tile_rows(uint32_t rows, uint32_t columns, double bits_per_weight);

/*
 * Makes the tensors of `count` layers coded: chooses the tables that layers share, lanes, and
 * writes the streams. What it makes lies in the graph's arena. The same result every time.
 * LEGO_E_NOMEM, LEGO_E_LIMIT.
 */
int trellis_store(struct lego_package *package, const struct trellis_layer *layers, uint32_t count,
                  struct encode_workers *workers, struct lego_diag *diag);

#endif
