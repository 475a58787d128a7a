/*
 * Which constants of a graph are weights that can be coded as bricks, and how each is a matrix.
 */
#ifndef LEGO_ENCODE_WEIGHTS_H
#define LEGO_ENCODE_WEIGHTS_H

#include "codec/format/bricks.h"

struct encode_weight {
    int32_t tensor; /* in graph->tensors */
    const char *name;
    enum lego_matrix_view view;
    uint32_t groups; /* of a recurrent weight: its directions */
    bool recurrent;  /* W or R of an RNN, GRU or LSTM: rows are gates' outputs, taps 1 */
    uint32_t rows, columns, taps;
    const float *data; /* borrowed from the tensor, in its own order */
};

/*
 * Lists the dense fp32 weights of Conv, ConvTranspose, Gemm and MatMul (either side), RNN, GRU and
 * LSTM (W and R) and tables of Gather (axis 0), each tensor once, in the order in which nodes first
 * use them; those that calibration knows no layer for (tables, left sides, stacks of matrices)
 * from 4 KiB on; so where the nodes are in branches of an If that gets the weight as
 * an input. What anything else reads too (a Loop's body, a graph output), or what
 * two nodes see as different matrices, is not listed: it has to stay dense. `ret_weights` is
 * malloc'ed.
 *
 * Errors: E_FORMAT (NaN or infinite: the diag names tensor and element), E_SHAPE, E_OVERFLOW,
 * E_NOMEM. An empty list is no error.
 */
int encode_weights_find(const struct lego_graph *graph, struct encode_weight **ret_weights,
                        uint32_t *ret_count, struct lego_diag *diag);

/* Element of the tensor behind a matrix element whose column counts in `order`. */
size_t encode_weight_elem(const struct lego_graph *graph, const struct encode_weight *weight,
                          enum lego_column_order order, uint32_t row, uint32_t column);

#endif
