/*
 * Weights of one node as halves: panels for the GEMM in half precision (kern_gemm_f16), made once
 * from dense or coded weights.
 *
 * Threads: immutable once they are made.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_F16_H
#define LEGO_RUNTIME_WEIGHTS_F16_H

#include "agent/runtime/weights.h"

struct weights_f16 {
    struct weights_f16 *next;
    const void *source; /* as in weights_key */
    enum lego_matrix_view view;
    uint32_t rows, channels, taps;
    uint32_t padded; /* channels, rounded up to KERN_F16_GROUP */
    size_t block_bytes;
    uint16_t *panels; /* [block of nr rows][taps * padded][nr] */
    size_t bytes;
};

/*
 * Rounds `tensor` (one group, not depthwise) to halves; what is beyond 65504 becomes infinite.
 * Errors: E_NOMEM, E_OVERFLOW, E_SHAPE.
 */
int weights_f16_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                     enum lego_matrix_view view, const struct weights_catalogues *catalogues,
                     struct weights_f16 **ret_weights, struct lego_diag *diag);
void weights_f16_destroy(struct weights_f16 *weights);

#endif
