/*
 * A weighted node as what it does to one example: a matrix that multiplies columns of its input.
 *
 * Output element (row, position) = sum over columns of W[row][column] * input(column, position):
 * positions are output pixels of a convolution, rows of the left factor of a Gemm or MatMul. A
 * transposed convolution is one whose columns are zeros where a tap falls between input pixels.
 * Columns count channel-major, as the tensor's own order, within the row's group.
 *
 * An RNN, GRU or LSTM is two layers: W, whose positions are the rows of X (steps of examples), and
 * R, which at the same positions sees the states before that step: groups are directions, or, where
 * a GRU's last gate sees something else than the others, the gates of each. What they see is
 * gathered by calibrate_recurrent.c.
 */
#ifndef LEGO_ENCODE_LAYER_H
#define LEGO_ENCODE_LAYER_H

#include "codec/encode/weights.h"
#include "codec/kernels/kernels.h"

struct layer {
    uint32_t node;               /* in the (specialised) graph */
    uint32_t weight;             /* in the list of encode_weight */
    uint32_t input;              /* of the node that the weight is: 1, or 2: R of a recurrent one */
    bool window;                 /* Conv or ConvTranspose; else Gemm or MatMul */
    bool transposed;             /* ConvTranspose: strides and dilation are of the output */
    uint32_t groups, group_rows; /* rows = groups * group_rows */
    uint32_t rows, columns, taps; /* columns of one group */
    uint32_t positions;
    uint32_t directions;                     /* recurrent: 1 or 2; 0: it is not */
    uint32_t kinds;                          /* recurrent: of what R sees (lego_recurrent_kinds) */
    uint32_t in_d, in_h, in_w, out_h, out_w; /* window: spatial sizes (2-D: depth 1; 1-D: height 1,
                                                too) */
    uint32_t k_d, k_h, k_w, stride_d, stride_h, stride_w, dilation_d, dilation_h, dilation_w;
    int32_t pad_front, pad_top, pad_left;
    int32_t bias;     /* value of the (constant) bias, -1: none */
    bool can_bias;    /* it may be changed, or added where there is none */
    int32_t residual; /* value that is added to the output before the activation, -1: none */
    int32_t pooled;   /* value whose mean over its places the input is, -1: no such (calibrate.c) */
};

/*
 * Describes node `node` of a graph with known shapes (a batch of one) whose input 1 is weight
 * number `index`, `weight`. False where this is no layer of the kind above (a convolution over more
 * than three axes, a transposed one of automatic padding, alpha or transA of a Gemm, a computed
 * bias): it can run, but not be calibrated. Recurrent nodes: layer_describe_recurrent.
 */
bool layer_describe(const struct lego_graph *graph, uint32_t node,
                    const struct encode_weight *weight, uint32_t index, struct layer *ret_layer);

/*
 * The same for an RNN, GRU or LSTM whose input `input`, 1 or 2, is the weight. False where X is no
 * fp32 of a known shape.
 */
bool layer_describe_recurrent(const struct lego_graph *graph, uint32_t node, uint32_t input,
                              const struct encode_weight *weight, uint32_t index,
                              struct layer *ret_layer);

/*
 * Gathers input columns of one group of one example at `count` neighbouring positions, k-major:
 * out[column * stride + i] for position first + i.
 */
void layer_columns(const struct layer *layer, const float *input, uint32_t group, uint32_t first,
                   uint32_t count, float *out, size_t stride);

/* The same at any positions, position by position: out[i][column] for position places[i]. */
void layer_samples(const struct layer *layer, const float *input, uint32_t group,
                   const uint32_t *places, uint32_t count, float *out);

/* Floats of scratch that layer_forward needs. */
size_t layer_scratch(const struct layer *layer);

/*
 * Runs one example: z[row][position] = W x, with `weights_t` [group][column][group_rows], the
 * matrix transposed. No bias, no activation.
 */
void layer_forward(const struct layer *layer, const struct kern_table *kernels,
                   const float *weights_t, const float *input, float *scratch, float *z);

/* Floats of scratch that layer_backward needs. */
size_t layer_back_scratch(const struct layer *layer);

/*
 * The other way, for one example: adds to `to`, the gradient of the input, what `gradient`, that of
 * z, makes of it: W^T gradient. `weights` [rows][columns].
 */
void layer_backward(const struct layer *layer, const struct kern_table *kernels,
                    const float *weights, const float *gradient, float *scratch, float *to);

/* Element of the node's bias that is a row's: of a recurrent node's B, [direction][2][gate rows].
 */
static inline size_t layer_bias_index(const struct layer *layer, uint32_t row)
{
    if (layer->directions == 0)
        return row;
    const size_t each = layer->rows / layer->directions;
    return (row / each * 2 + layer->input - 1) * each + row % each;
}

/* Index of z[row][position] in the node's output tensor. */
static inline size_t layer_output_index(const struct layer *layer, uint32_t row, uint32_t position)
{
    return layer->window ? (size_t)row * layer->positions + position
                         : (size_t)position * layer->rows + row;
}

#endif
