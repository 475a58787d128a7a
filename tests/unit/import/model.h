/*
 * ONNX models built in a test, byte by byte as the format says; and graphs run node by node.
 */
#ifndef LEGO_TESTS_IMPORT_MODEL_H
#define LEGO_TESTS_IMPORT_MODEL_H

#include "codec/format/package.h"
#include "codec/graph/infer.h"
#include "codec/import/import.h"
#include "codec/import/wire_out.h"

#include <check.h>

struct model {
    struct wire_out graph, node;
    int64_t opset;
    void *bytes; /* the finished file: valid until model_free */
    size_t byte_count;
};

void model_open(struct model *model, int64_t opset);
void model_free(struct model *model);

/* "1,3,N,?": sizes, symbols, open ones; "" is a scalar. */
void model_input(struct model *model, const char *name, enum lego_dtype dtype, const char *dims);
void model_output(struct model *model, const char *name);

/* Initialisers. Floats are pseudo-random of the given spread where `data` is NULL. */
void model_floats(struct model *model, const char *name, const char *dims, const float *data);
void model_ints(struct model *model, const char *name, const char *dims, const int64_t *data);
void model_positive(struct model *model, const char *name, const char *dims);

/* A TensorProto with raw_data; content of any kind. */
void put_tensor(struct wire_out *out, const char *name, enum lego_dtype dtype, const char *dims,
                const void *data, size_t bytes);

/* A node: begin, attributes, end. `inputs` and `outputs` are separated by commas. */
void node_begin(struct model *model, const char *type, const char *inputs, const char *outputs);
void node_int(struct model *model, const char *name, int64_t value);
void node_ints(struct model *model, const char *name, size_t count, const int64_t *values);
void node_float(struct model *model, const char *name, float value);
void node_floats(struct model *model, const char *name, size_t count, const float *values);
void node_string(struct model *model, const char *name, const char *value);
void node_tensor(struct model *model, const char *name, enum lego_dtype dtype, const char *dims,
                 const void *data, size_t bytes);
/* A subgraph, made as a model is; frees it. */
void node_graph(struct model *model, const char *name, struct model *subgraph);
void node_domain(struct model *model, const char *domain);
void node_end(struct model *model);

/* A node without attributes. */
void model_node(struct model *model, const char *type, const char *inputs, const char *outputs);

/* Puts the file together; its bytes lie at an odd address, as real tensors do. */
void model_finish(struct model *model);

/* Finishes and imports; fails the test where that fails. */
struct lego_package *model_import(struct model *model, bool keep_graph);

/* Finishes and imports what must be refused with `status`; the sentence must contain `word`. */
void model_refused(struct model *model, int status, const char *word);

/* Nodes of an operator. */
unsigned count_nodes(const struct lego_graph *graph, enum lego_op op);
const struct lego_node *find_node(const struct lego_graph *graph, enum lego_op op);

/*
 * Runs a graph whose inputs are static, by lego_eval_node_alloc. `arena` owns the results; the test
 * fails where a node does.
 */
void run_graph(const struct lego_graph *graph, const struct lego_array *inputs,
               struct lego_array *ret_outputs, struct lego_arena *arena);

/* Imports the model twice, as it is and with all passes, runs both on the same random inputs
 * (symbols are 2) and fails where they differ by more than 1e-5 of the largest output. Returns the
 * package with all passes. */
struct lego_package *model_compare(struct model *model);

#endif
