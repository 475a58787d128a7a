/*
 * From ONNX messages to a graph: names become indices, older forms become those of opset 21.
 */
#ifndef LEGO_IMPORT_BUILD_H
#define LEGO_IMPORT_BUILD_H

#include "codec/graph/graph.h"
#include "codec/import/import.h"
#include "codec/import/names.h"
#include "codec/import/source.h"

#include "onnx.pb-c.h"

#define IMPORT_OPSET_MIN 1
#define IMPORT_OPSET_MAX 21

/* Subgraphs of a whole model: as many as a `.lego` takes. */
#define IMPORT_MAX_SUBGRAPHS 1023

/* One graph in the making; a subgraph has a builder of its own, which knows the one around it. */
struct import_builder {
    struct import_builder *outer; /* NULL: the model's graph */
    int32_t *captured;            /* values of `outer` that are the last inputs here, in order */
    uint32_t captured_count, captured_capacity;
    uint32_t subgraph_count; /* of the model; counted in its graph's builder, as `refused` is */
    size_t limit_bytes;      /* of each graph's arena */
    struct lego_graph *graph;
    struct import_source *source;         /* adopted by the graph */
    struct lego_arena *scratch;           /* lives as long as the import */
    struct names values;                  /* name -> value */
    struct names symbols;                 /* dim_param -> symbol */
    int64_t opset;                        /* of the default domain */
    const struct import_options *options; /* NULL: none */
    uint32_t refused_count;               /* what is not supported, all of it in one ... */
    size_t refused_bytes;
    char refused[LEGO_DIAG_BYTES]; /* ... sentence */
    struct lego_diag *diag;
};

/*
 * A node on its way into the graph. Its arrays lie in the scratch arena, with room for what
 * upgrades add; names, texts and lists of attributes lie in the graph's arena already.
 */
#define DRAFT_SPARE 8

/* What a subgraph of a draft captures: values of the draft's graph. */
struct import_captures {
    const int32_t *values;
    uint32_t count;
};

struct import_draft {
    const char *name;
    const char *type; /* ONNX's operator name */
    const char *domain;
    enum lego_op op;
    int32_t *inputs, *outputs; /* values, -1: absent */
    uint32_t input_count, output_count;
    struct lego_attr *attrs;
    uint32_t attr_count;
    struct import_captures captures[2]; /* of its subgraphs, as import_subgraphs names them */
};

/* Builds the whole graph of a model (build.c). */
int import_build(struct import_builder *builder, const Onnx__Model *model);

/* Builds a graph's constants, inputs, nodes and outputs. */
int import_build_graph(struct import_builder *builder, const Onnx__Graph *graph);

/* The builder of the model's graph. */
struct import_builder *import_root(struct import_builder *builder);

/*
 * The operators with subgraphs (subgraph.c): which attributes, in the order in which their captured
 * values become inputs. NULL for all other operators.
 */
const char *const *import_subgraphs(enum lego_op op);

/* Reads the subgraph of a draft's attribute; the draft's graph owns it. */
int import_read_subgraph(struct import_builder *builder, struct import_draft *draft,
                         const char *attr, const Onnx__Graph *graph, struct lego_graph **ret_graph);

/* Makes a value of a graph around this one an input of this one, if there is one of that name. */
int import_capture(struct import_builder *builder, const char *name, bool *ret_found);

/* Adds what the subgraphs captured to the draft's inputs. */
int import_append_captures(struct import_builder *builder, struct import_draft *draft);

/*
 * Notes what can be seen without any work (unsupported.c): every node whose operator is not known,
 * every type that is no tensor. The import goes on without these nodes, to find the others whose
 * form is not supported, and then fails with all of them.
 */
void import_check_supported(struct import_builder *builder, const Onnx__Graph *graph);
bool import_node_supported(const Onnx__Node *node);

/* Adds to the sentence, or tells the caller of the import where that is full. */
__attribute__((format(printf, 2, 3))) void import_refuse(struct import_builder *builder,
                                                         const char *format, ...);
int import_fail_refused(struct import_builder *builder);

/* Reads a node's attributes into the draft (attributes.c). */
int import_read_attributes(struct import_builder *builder, const Onnx__Node *node,
                           struct import_draft *draft);

/* A constant from a tensor of the file: adds tensor and data, returns its index or an error. */
int32_t import_add_tensor(struct import_builder *builder, const Onnx__TensorRef *ref,
                          const char *name);

/* Adds a value that is constant; returns its index, or an error with the diag written. */
int32_t import_add_constant(struct import_builder *builder, const char *name, int32_t tensor);

/* A constant made here (`data` is copied), named after `draft` and `what`. Returns its value. */
int32_t import_make_constant(struct import_builder *builder, const struct import_draft *draft,
                             const char *what, enum lego_dtype dtype,
                             const struct lego_shape *shape, const void *data);

/* A value for the output of a node made here, named after `draft` and `what`; an error with the
 * diag written where there is no room. */
int32_t import_make_value(struct import_builder *builder, const struct import_draft *draft,
                          const char *what);

/* Notes a tensor in the graph's original_weights. */
void import_count_original(struct lego_graph *graph, enum lego_dtype dtype, size_t elems);

/* The operator that a node of that type and opset becomes; LEGO_OP_NONE where there is none. A
 * Constant, which becomes no node, is not asked about. */
enum lego_op import_target_op(const char *domain, const char *type);

/* Brings a draft of builder->opset to the form of opset 21 (upgrade.c). What cannot be brought
 * there is noted in builder->refused, and the import goes on to find the others. */
int import_upgrade(struct import_builder *builder, struct import_draft *draft);

/* Attributes of a draft, by name. */
struct lego_attr *draft_attr(const struct import_draft *draft, const char *name);
void draft_remove_attr(struct import_draft *draft, const char *name);

#endif
