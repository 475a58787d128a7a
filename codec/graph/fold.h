/*
 * Inside codec/graph: one pass of inference and folding over a graph.
 */
#ifndef LEGO_GRAPH_FOLD_H
#define LEGO_GRAPH_FOLD_H

#include "codec/graph/infer_content.h"

/* What the pass knows of a value. */
struct fold_fact {
    struct lego_array array; /* the content, where `constant` */
    struct infer_content *content;
    uint32_t uses; /* by nodes that stay, by outputs and by subgraphs */
    bool constant;
    bool owned; /* array.data is ours to free */
};

struct fold_pass {
    struct lego_graph *graph;
    struct lego_diag *diag;
    struct lego_arena *arena; /* of contents and what lives as long as the pass */
    struct fold_fact *facts;  /* [value_count] */
    bool *removed;            /* [node_count] */
    size_t folded_bytes;      /* held by owned arrays now */
};

/* Infers and folds all nodes in order, makes tensors of what was folded and is used, compacts. */
int fold_run(struct lego_graph *graph, struct lego_diag *diag);

/* Removes nodes that nothing needs, then values and tensors; renumbers. */
int fold_compact(struct lego_graph *graph, struct lego_diag *diag);

#endif
