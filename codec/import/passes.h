/*
 * Passes over an inferred graph: what runs faster and compresses better and means the same.
 */
#ifndef LEGO_IMPORT_PASSES_H
#define LEGO_IMPORT_PASSES_H

#include "codec/graph/graph.h"
#include "codec/import/source.h"

/*
 * Removes what does nothing, pads instead of storing paddings, folds BatchNormalization, scales and
 * biases into weights, fuses residual adds and activations (the fused forms of graph.h), and infers
 * again; the same in the branches of Ifs, whose weights move out. `source` holds weights that may
 * be changed in place, unless other graphs share them.
 */
int passes_run(struct lego_graph *graph, struct import_source *source, bool shared,
               struct lego_diag *diag);

/*
 * Brings a graph whose weights are halves to single precision (pass_half.c); its inputs and outputs
 * stay halves. Before passes_run; the graph is to be inferred again where *ret_changed.
 */
int pass_half(struct lego_graph *graph, struct import_source *source, bool *ret_changed,
              struct lego_diag *diag);

/* What the passes share: who makes and who uses each value. For the files pass_*.c alone. */
struct passes {
    struct lego_graph *graph;
    struct import_source *source;
    bool shared; /* other graphs read the same weights */
    struct lego_diag *diag;
    struct names names;
    struct lego_arena *scratch;
    uint32_t capacity;     /* values that the arrays have room for */
    int32_t *producer;     /* node that computes a value, -1 */
    int32_t *consumer;     /* the last node that uses it, -1 */
    uint32_t *uses;        /* inputs of nodes, and graph outputs */
    bool *output;          /* is a graph output */
    uint32_t *tensor_uses; /* values and attributes that name a tensor */
};

/* Counts everything again. */
int passes_index(struct passes *passes);

int pass_identity(struct passes *passes);   /* Identity, Cast to the same type, ... */
int pass_pad(struct passes *passes);        /* Concat with constants of one number */
int pass_norm(struct passes *passes);       /* LayerNormalization written as its formula */
int pass_affine(struct passes *passes);     /* BatchNormalization, Mul, Add into weights, bias */
int pass_residual(struct passes *passes);   /* Add into Conv's fourth input */
int pass_compose(struct passes *passes);    /* HardSwish, SiLU, Gelu, squares as formulas */
int pass_activation(struct passes *passes); /* activations into the node before them */

/* The branches of every If (pass_branch.c). */
int pass_branches(struct lego_graph *graph, struct import_source *source, bool *ret_changed,
                  struct lego_diag *diag);

/* The node that makes `value`, if nobody else may see the value: one use, no graph output. */
struct lego_node *passes_sole_producer(const struct passes *passes, int32_t value);

/*
 * The node `producer` takes the place of `node`, whose output it now computes: at `node`'s
 * position, because what else it uses by now may be computed just before.
 */
void passes_replace(struct passes *passes, struct lego_node *node, struct lego_node *producer);

/* Removes a node; its outputs must be unused. */
void passes_kill(struct passes *passes, struct lego_node *node);

/* Changes what an input of a node is; keeps the counts. */
void passes_set_input(struct passes *passes, struct lego_node *node, uint32_t index, int32_t value);

/* The node becomes another one without attributes, whose only output is what its first one was. */
int passes_become(struct passes *passes, struct lego_node *node, enum lego_op op,
                  uint32_t input_count, const int32_t *inputs);

/* Adds a constant of a fresh name ("<base>.<what>"); returns its value, or an error. `data` is
 * aligned and lives as long as the graph. */
int32_t passes_add_constant(struct passes *passes, const char *base, const char *what,
                            enum lego_dtype dtype, const struct lego_shape *shape,
                            const void *data);

/* A dense fp32 constant of a node's input, NULL where it is none. */
const struct lego_tensor *passes_floats(const struct passes *passes, const struct lego_node *node,
                                        uint32_t index);

/* True and the number where a node's input is a constant fp32 of one element. */
bool passes_scalar(const struct passes *passes, const struct lego_node *node, uint32_t index,
                   float *ret_number);

int passes_no_memory(struct passes *passes);

#endif
