/*
 * Weights of one node as integers, with a scale for each row: weight = integer * scale[row]. Panels
 * for the integer GEMM (kern_gemm_s8) are made once from dense or coded weights, or, of bricks
 * whose catalogue is of integers, again and again from the indices: then they take no memory and
 * are exact.
 *
 * Threads: immutable once they are made.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_S8_H
#define LEGO_RUNTIME_WEIGHTS_S8_H

#include "agent/runtime/weights.h"

struct weights_s8 {
    struct weights_s8 *next;
    const void *source; /* as in weights_key */
    enum lego_matrix_view view;
    uint32_t rows, channels, taps;
    uint32_t padded; /* channels, rounded up to the kernel's kg */
    size_t block_bytes;
    int8_t *panels;        /* [block of nr rows][taps * padded / kg][nr][kg]; NULL: coded */
    float *scale;          /* [rows] */
    int32_t *sum;          /* [rows] of the integers of a row; NULL: coded */
    struct weights *coded; /* owned */
    uint32_t *stored; /* the stored column of each k of `coded`'s panels; NULL: they are in order */
    size_t bytes;
};

/*
 * With `resident` or where weights are not such bricks: rounds each row of `tensor` (one group, not
 * depthwise) to integers of +-63, the largest magnitude to 63; a row with an infinity or a NaN gets
 * NaN for a scale. Errors: E_NOMEM, E_OVERFLOW, E_SHAPE.
 */
int weights_s8_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                    enum lego_matrix_view view, const struct weights_catalogues *catalogues,
                    bool resident, struct weights_s8 **ret_weights, struct lego_diag *diag);
void weights_s8_destroy(struct weights_s8 *weights);

/* Bytes of `scratch` that decoding coded weights takes. */
size_t weights_s8_scratch(const struct weights_s8 *weights);

/* Panels of rows [row, end) of coded weights, whole tiles, and the sums of their integers. */
void weights_s8_decode(const struct kern_table *kernels, const struct weights_s8 *weights,
                       uint32_t row, uint32_t end, void *scratch, int8_t *panels, int32_t *sum);

#endif
