/*
 * Small packages with a trellis-coded weight: any bytes are a stream, so streams are drawn.
 */
#ifndef LEGO_TESTS_SUPPORT_SAMPLE_TRELLIS_H
#define LEGO_TESTS_SUPPORT_SAMPLE_TRELLIS_H

#include "codec/format/trellis.h"
#include "tests/support/sample.h"

struct sample_trellis {
    struct lego_shape shape; /* rank 0: [40][3][3][3] */
    enum lego_matrix_view view;
    enum lego_scale_kind scale_kind; /* not NONE */
    uint32_t groups;                 /* 1 */
    uint32_t lanes;                  /* 4 */
    uint32_t tile_rows;              /* 32 */
    bool rotated;
};

/* A package whose only node multiplies with that matrix; aborts when out of memory. */
struct lego_package *sample_trellis_package(const struct sample_trellis *sample);

/* Makes `tensor` of the package trellis-coded; once a package. */
void sample_trellis_code(struct lego_package *package, int32_t tensor,
                         const struct sample_trellis *sample);

#endif
