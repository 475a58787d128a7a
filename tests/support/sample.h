/*
 * Small packages for tests, the same bytes every time: any brick, catalogue, scale and view, and
 * one with everything that a `.lego` can hold.
 */
#ifndef LEGO_TESTS_SUPPORT_SAMPLE_H
#define LEGO_TESTS_SUPPORT_SAMPLE_H

#include "codec/format/package.h"

/* One coded weight. Zeroed fields take the default that stands behind them. */
struct sample_matrix {
    struct lego_shape shape;            /* rank 0: [8][3][3][3] */
    uint32_t brick_rows, brick_columns; /* 4, 4 */
    uint32_t entries;                   /* 16 */
    enum lego_dtype dtype;              /* FLOAT32 */
    uint32_t stages;                    /* 1 */
    enum lego_matrix_view view;
    enum lego_column_order column_order;
    enum lego_scale_kind scale_kind;
    uint32_t groups;    /* 1 */
    uint32_t tile_rows; /* the default for the brick */
    bool permuted;
};

/* A package whose only node multiplies with that matrix; never NULL (aborts when out of memory). */
struct lego_package *sample_package(const struct sample_matrix *matrix);

/* A package with every feature at once. */
struct lego_package *sample_full(void);

/* What a sample's tensor decodes to, from the definition in FORMAT.md, element by element, without
 * any of the library's own address arithmetic. */
void sample_decode(const struct lego_tensor *tensor, float *ret_dense);

#endif
