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
    const char **renamed; /* of a subgraph: each value's name in the file; NULL: as in the graph */
    int64_t opset;
    struct wire_out nodes;     /* GraphProto's nodes, each with its tag */
    struct wire_out constants; /* GraphProto's initialisers that are made here, with tags */
    struct lego_arena *scratch;
    struct names *names;      /* of values, of all graphs of the file */
    struct names *node_names; /* of nodes, likewise */
    bool *used;               /* [value_count]: constants that nodes really take */
    struct lego_diag *diag;
};

/* The lowest opset above that has every node. E_UNSUPPORTED where even the newest lacks one. */
int export_choose_opset(const struct lego_graph *graph, int64_t *ret_opset, struct lego_diag *diag);

/* Writes a node and, taken apart, what is fused to it. */
int export_node(struct exporter *exporter, const struct lego_node *node);

/*
 * Writes the subgraphs of an If, Loop or Scan as attributes of NodeProto `node_out`. What is an
 * input of ours alone is seen by its name around, as ONNX has it (export_subgraph.c).
 */
int export_subgraphs(struct exporter *exporter, const struct lego_node *node,
                     struct wire_out *node_out);

/* How many inputs of such a node, and of its subgraphs, are ONNX's own. */
uint32_t export_own_inputs(const struct lego_node *node);

/* The name of a value in the file, "" for -1; notes that it is used. */
const char *export_value_name(const struct exporter *exporter, int32_t value);

/* A name that no value of the file has. NULL when out of memory. */
const char *export_fresh_name(struct exporter *exporter, const char *base);

/* A value's name and what is known of its type as field `field` of GraphProto `graph_out`. */
void export_value_info(struct wire_out *graph_out, uint32_t field, const struct exporter *exporter,
                       int32_t index);

/* All initialisers of a graph, with their data, as fields of GraphProto `out`. */
int export_weights(const struct exporter *exporter, struct wire_out *out);

/* True where a Reduce operator's axes can be an attribute (before opset 18). */
bool export_is_reduce_18(enum lego_op op);

/* TensorProto's fields up to and including raw_data's header; `bytes` of data follow. */
void export_tensor_header(struct wire_out *out, const char *name, enum lego_dtype dtype,
                          const struct lego_shape *shape, size_t bytes);

#endif
