/*
 * Writing graphs as ONNX: what export.c and export_node.c share.
 */
#ifndef LEGO_IMPORT_EXPORT_H
#define LEGO_IMPORT_EXPORT_H

#include "codec/graph/graph.h"
#include "codec/import/names.h"
#include "codec/import/wire_out.h"

/*
 * The opset of the file. 17 where every node has a form there, which all runtimes of the last years
 * read (and python3-onnx of Debian 12 checks); else 21, as the graph's semantics are.
 */
#define EXPORT_OPSET_COMMON 17
#define EXPORT_OPSET_NEWEST 21

struct exporter {
    const struct lego_graph *graph;
    int64_t opset;
    struct wire_out nodes;     /* GraphProto's nodes, each with its tag */
    struct wire_out constants; /* GraphProto's initialisers that are made here, with tags */
    struct lego_arena *scratch;
    struct names names;
    bool *used; /* [value_count]: constants that nodes really take */
    struct lego_diag *diag;
};

/* The lowest opset above that has every node. E_UNSUPPORTED where even the newest lacks one. */
int export_choose_opset(const struct lego_graph *graph, int64_t *ret_opset, struct lego_diag *diag);

/* Writes a node and, taken apart, what is fused to it. */
int export_node(struct exporter *exporter, const struct lego_node *node);

/* True where a Reduce operator's axes can be an attribute (before opset 18). */
bool export_is_reduce_18(enum lego_op op);

/* TensorProto's fields up to and including raw_data's header; `bytes` of data follow. */
void export_tensor_header(struct wire_out *out, const char *name, enum lego_dtype dtype,
                          const struct lego_shape *shape, size_t bytes);

#endif
