/*
 * Attention as one step: softmax(scale * Q K^T + mask) V, out of the MatMul, Mul or Div, Add,
 * Softmax and MatMul that exporters write, with the Transposes around them. Scores exist for a few
 * rows at a time only (Dao et al.: "FlashAttention", NeurIPS 2022, has the idea; here a row's
 * scores are whole, so that its sums are those of the Softmax by itself).
 */
#ifndef LEGO_RUNTIME_ATTENTION_H
#define LEGO_RUNTIME_ATTENTION_H

#include "agent/runtime/plan.h"

enum attention_operand { ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_MASK, ATTENTION_INPUTS };

/*
 * What was found in the graph. Dimensions are those of the scores, [batch..., rows, columns], for
 * the batch; strides count elements of the plain value that the operand comes from, behind any
 * Transpose: of Q [batch..., rows, depth], K^T [batch..., depth, columns], V [batch..., columns,
 * width], the mask [batch..., rows, columns] (0 where it is broadcast), and of the output
 * [batch..., rows, width].
 */
struct attention {
    const struct lego_node *node;     /* the second product, which is planned as all of it */
    int32_t inputs[ATTENTION_INPUTS]; /* graph values; the mask's is -1 where there is none */
    int32_t output;                   /* graph value */
    float scale;                      /* 1: none */
    int rank;
    size_t batch, rows, columns, depth, width;
    size_t dim[LEGO_MAX_RANK]; /* of the batch: rank - 2 */
    ptrdiff_t stride[ATTENTION_INPUTS][LEGO_MAX_RANK], out_stride[LEGO_MAX_RANK];
};

/* Finds all attention of the graph before its nodes are planned: takes their nodes but the last
 * product's, and sets b->attention of that. */
int plan_find_attention(struct plan_builder *b);

/* Plans one of them, in the place of its last product. */
int plan_attention(struct plan_builder *b, const struct attention *attention);

#endif
