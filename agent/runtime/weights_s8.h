/*
 * Weights of one node as integers: panels for the integer GEMM (kern_gemm_s8), made once from
 * dense or coded weights, with a scale for each row: weight = integer * scale[row].
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
    int8_t *panels; /* [block of nr rows][taps * padded / kg][nr][kg] */
    float *scale;   /* [rows] */
    int32_t *sum;   /* [rows] of the integers of a row */
    size_t bytes;
};

/*
 * Rounds each row of `tensor` (one group, not depthwise) to integers of +-63, the largest magnitude
 * to 63; a row with an infinity or a NaN gets NaN for a scale. Errors: E_NOMEM, E_OVERFLOW,
 * E_SHAPE.
 */
int weights_s8_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                    enum lego_matrix_view view, const struct weights_catalogues *catalogues,
                    struct weights_s8 **ret_weights, struct lego_diag *diag);
void weights_s8_destroy(struct weights_s8 *weights);

#endif
