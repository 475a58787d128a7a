/*
 * Inside codec/graph: sliding windows over up to three spatial axes, always seen as three.
 */
#ifndef LEGO_GRAPH_EVAL_WINDOW_H
#define LEGO_GRAPH_EVAL_WINDOW_H

#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

struct eval_window {
    int64_t in[3], out[3]; /* depth, height, width; 1 where the tensor has no such axis */
    int64_t kernel[3], stride[3], dilation[3], begin[3], end[3];
    size_t in_elems, out_elems, kernel_elems; /* of one channel */
};

/* The window of a node over input `x` (kernel from the weights' shape, or NULL: kernel_shape). */
int eval_window(const struct eval_context *c, const struct lego_array *x,
                const struct lego_shape *weights, bool transposed, struct eval_window *ret_window);

/*
 * Positions `o` (from *ret_low, below *ret_high) of axis `d` with 0 <= o * stride - begin + tap *
 * dilation < size, o < limit.
 */
void eval_window_range(const struct eval_window *w, int d, int64_t tap, int64_t size, int64_t limit,
                       int64_t *ret_low, int64_t *ret_high);

#endif
