/*
 * Shapes, constants and evaluation: what is known about a graph before it runs.
 *
 * Inference goes through the nodes in order, computes each output's type and shape (with symbols
 * where sizes are open) and folds what is constant. Shape arithmetic (Shape, Gather, Concat, ...
 * over int64) is followed element by element even where some elements are symbols, so that a
 * Reshape fed by such a chain gets its shape with a symbolic batch.
 *
 * Where nodes mean more than opset 21 says, besides the fused forms of graph.h:
 *   Softmax, LogSoftmax, Hardmax   the int attribute "lego.coerce_2d" = 1 is the meaning before
 *                                  opset 13: one row is all axes from `axis` on
 *   GroupNormalization             scale and bias may have one element a group (opset 18)
 *   MaxPool, AveragePool, LpPool   ceil_mode drops a window that would start behind the input
 * Dropout is the identity; in training mode a ratio but 0 is refused. fp16 and bfloat16 go through
 * fp32.
 */
#ifndef LEGO_GRAPH_INFER_H
#define LEGO_GRAPH_INFER_H

#include "codec/graph/graph.h"

/* An array in memory: a computed or constant tensor. `data` is dense, row-major, 64-byte aligned.
 */
struct lego_array {
    enum lego_dtype dtype;
    struct lego_shape shape; /* static */
    void *data;              /* NULL for zero elements */
};

/*
 * Infers types and shapes of all values, folds every node whose inputs are constants (whole
 * subgraphs, by evaluation; results over `LEGO_FOLD_MAX_BYTES` stay nodes unless all their inputs
 * die), and removes dead nodes, values and tensors. Renumbers.
 *
 * An optional output that nothing reads becomes -1. The graph must be sound (lego_graph_check);
 * on failure it stays sound, but types and shapes are written in part.
 *
 * Errors: LEGO_E_SHAPE, E_TYPE, E_FORMAT, E_INVALID, E_UNSUPPORTED, E_NOMEM, E_OVERFLOW, E_LIMIT;
 * the diag names node and operator.
 */
#define LEGO_FOLD_MAX_BYTES (16u << 20)
int lego_graph_infer(struct lego_graph *graph, struct lego_diag *diag);

/*
 * Makes a graph for given input shapes: a copy of `graph` (sharing names, attributes, constants and
 * coded weights: `graph` must outlive it) with `inputs[k]` as the shape of graph input k, inferred
 * and folded. The runtime plans on the result. LEGO_E_SHAPE where a shape contradicts the declared
 * one, with both named.
 */
int lego_graph_specialise(const struct lego_graph *graph, const struct lego_shape *inputs,
                          struct lego_graph **ret_graph, struct lego_diag *diag);

/*
 * The same for contents, too: known[k], where it is not NULL, is that of input k. What follows from
 * it is folded, Ifs are decided. It is copied; the input stays an input.
 */
int lego_graph_specialise_known(const struct lego_graph *graph, const struct lego_shape *inputs,
                                const struct lego_array *const *known,
                                struct lego_graph **ret_graph, struct lego_diag *diag);

/*
 * Marks the inputs that are worth knowing for lego_graph_specialise_known: integers or truth values
 * of one element, from which alone the condition of an If is computed. `ret_decides` has
 * graph->input_count entries. LEGO_E_NOMEM.
 */
int lego_graph_deciding_inputs(const struct lego_graph *graph, bool *ret_decides);

/*
 * Infers the outputs of one node. `shapes[i]`/`dtypes[i]` describe input i (rank LEGO_RANK_UNKNOWN:
 * absent or open); `constants[i]` is its content where that is known, else NULL.
 */
struct lego_infer_io {
    const struct lego_graph *graph;
    const struct lego_node *node;
    const enum lego_dtype *dtypes;
    const struct lego_shape *shapes;
    const struct lego_array *const *constants;
    enum lego_dtype *ret_dtypes;
    struct lego_shape *ret_shapes;
};
int lego_infer_node(const struct lego_infer_io *io, struct lego_diag *diag);

/*
 * Along one axis of a Resize, output i = weight[0] * input index[0] + weight[1] * input index[1].
 * Writes the taps of `axis` for each of its `out` outputs, as the evaluation has them; where one
 * input is all, it is both, by a half each. False where an output takes more than that (cubic or
 * with antialiasing) or comes from outside, and where scales or sizes are no constants.
 */
struct lego_resize_tap {
    int64_t index[2]; /* from 0 to the axis's size less 1 */
    float weight[2];
};
bool lego_resize_taps(const struct lego_infer_io *io, int axis, int64_t out,
                      struct lego_resize_tap *ret_taps);

/*
 * Evaluates one node in portable C: the definition of every operator, for folding, for tests and
 * for those operators that the runtime has no fast path for. Honours the fused forms of graph.h.
 *
 * inputs[i] is NULL where absent. outputs[i] come with dtype, shape (as inferred) and writable
 * data that overlaps no input; an output whose value is -1 is ignored. The node is inferred again
 * with the inputs' contents, and shapes that differ from that are refused (LEGO_E_SHAPE), so that
 * no content can make it write past an output. Coded constants must not reach it (the runtime runs
 * those itself). `scratch` is an arena for temporaries, which the caller resets or destroys.
 * Reentrant.
 *
 * Errors: LEGO_E_SHAPE, E_TYPE, E_INVALID (attributes; integer division by 0; indices out of
 * range), E_UNSUPPORTED, E_OVERFLOW, E_LIMIT, E_NOMEM; the diag names node and operator.
 */
int lego_eval_node(const struct lego_graph *graph, const struct lego_node *node,
                   const struct lego_array *const *inputs, struct lego_array *outputs,
                   struct lego_arena *scratch, struct lego_diag *diag);

/*
 * The same where the shapes of the outputs depend on the contents of the inputs (NonZero,
 * NonMaxSuppression, Range, ...): allocates the outputs from `arena`, which owns them. Works for
 * every operator. ret_outputs[i] of an absent output is untouched; on failure all are.
 */
int lego_eval_node_alloc(const struct lego_graph *graph, const struct lego_node *node,
                         const struct lego_array *const *inputs, struct lego_array *ret_outputs,
                         struct lego_arena *arena, struct lego_arena *scratch,
                         struct lego_diag *diag);

/*
 * Evaluates a whole graph node by node with lego_eval_node_alloc: `inputs[k]` is graph input k,
 * ret_outputs[k] graph output k, which `arena` owns. Shapes may be open: contents decide. Slow and
 * simple: what a runtime is compared with. A graph with coded constants is refused
 * (LEGO_E_UNSUPPORTED); on failure ret_outputs are untouched.
 */
int lego_graph_evaluate(const struct lego_graph *graph, const struct lego_array *inputs,
                        struct lego_array *ret_outputs, struct lego_arena *arena,
                        struct lego_diag *diag);

/*
 * What the matrix R of an RNN, GRU or LSTM is multiplied by at each step. The kinds of it: 1, the
 * state h of the step before; 2 for a GRU with linear_before_reset = 0, whose last third of rows
 * sees the reset gate times h; 0 where the node is none of these.
 */
uint32_t lego_recurrent_kinds(const struct lego_node *node);

/*
 * Evaluates such a node of fp32 for these alone: ret_states [row of X][direction][kind][hidden],
 * rows of X being its first two axes as they lie (of steps and examples, or the other way round).
 * What is behind the end of a short sequence is left as it is. Otherwise as lego_eval_node.
 */
int lego_eval_recurrent_states(const struct lego_graph *graph, const struct lego_node *node,
                               const struct lego_array *const *inputs, float *ret_states,
                               struct lego_arena *scratch, struct lego_diag *diag);

/* True where lego_eval_node has the operator (for the importer's list of what is missing). */
bool lego_op_evaluates(enum lego_op op);

#endif
