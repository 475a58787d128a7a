/*
 * The model graph: what the importer makes from ONNX, what a `.lego` holds, what the encoder
 * compresses and what the runtime plans and runs.
 *
 * Semantics: every node means what the operator of that name means in ONNX opset 21, the importer
 * brings older forms to that one (attributes that became inputs are inputs here). Beyond ONNX there
 * are the fused forms named beside `struct lego_node`. Weights are constants (`struct
 * lego_tensor`), either dense or coded as bricks (codec/format/bricks.h).
 *
 * Ownership: a graph owns one arena, and all that it points to lies there, but for dense tensor
 * data and coded streams, which may be borrowed from a mapping that `lego_graph_adopt` ties to the
 * graph. Threads: a graph may be read by many threads while nobody changes it.
 */
#ifndef LEGO_GRAPH_GRAPH_H
#define LEGO_GRAPH_GRAPH_H

#include "codec/base/arena.h"
#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEGO_MAX_RANK 8

/* Element types, with the numbers of ONNX TensorProto.DataType. */
enum lego_dtype {
    LEGO_DTYPE_UNKNOWN = 0,
    LEGO_DTYPE_FLOAT32 = 1,
    LEGO_DTYPE_UINT8 = 2,
    LEGO_DTYPE_INT8 = 3,
    LEGO_DTYPE_UINT16 = 4,
    LEGO_DTYPE_INT16 = 5,
    LEGO_DTYPE_INT32 = 6,
    LEGO_DTYPE_INT64 = 7,
    LEGO_DTYPE_BOOL = 9,
    LEGO_DTYPE_FLOAT16 = 10,
    LEGO_DTYPE_FLOAT64 = 11,
    LEGO_DTYPE_UINT32 = 12,
    LEGO_DTYPE_UINT64 = 13,
    LEGO_DTYPE_BFLOAT16 = 16,
};

/* Bytes of one element, 0 for a type that is none of the above. */
size_t lego_dtype_bytes(enum lego_dtype dtype);

/* "FP32", "INT64", ...: the Open Inference Protocol's name; "?" for none. Static. */
const char *lego_dtype_name(enum lego_dtype dtype);

/* The type of that Open Inference Protocol name, LEGO_DTYPE_UNKNOWN where there is none. */
enum lego_dtype lego_dtype_from_name(const char *name);

/*
 * A shape. dim[i] >= 0 is a size; LEGO_DIM_UNKNOWN a size that is known only when running; any
 * other negative value -1-k is symbol k of the graph (`symbols[k]`, "N"): equal symbols are equal
 * sizes.
 */
#define LEGO_DIM_UNKNOWN INT64_MIN

struct lego_shape {
    int rank; /* 0 to LEGO_MAX_RANK; LEGO_RANK_UNKNOWN where even the rank is open */
    int64_t dim[LEGO_MAX_RANK];
};

#define LEGO_RANK_UNKNOWN (-1)

/* Number of elements; LEGO_E_SHAPE where a dimension is not a size, LEGO_E_OVERFLOW past
 * SIZE_MAX/16. */
int lego_shape_elems(const struct lego_shape *shape, size_t *ret_elems);
bool lego_shape_is_static(const struct lego_shape *shape);
bool lego_shape_equal(const struct lego_shape *a, const struct lego_shape *b);
/* "[1,3,N,?]" into `buffer`; returns buffer. Symbols are named when `graph` is given. */
struct lego_graph;
const char *lego_shape_format(const struct lego_shape *shape, const struct lego_graph *graph,
                              char *buffer, size_t bytes);

struct lego_coded; /* codec/format/bricks.h */

/* A constant. */
struct lego_tensor {
    const char *name; /* the initialiser's name, or one made from the node's; never NULL */
    enum lego_dtype dtype;
    struct lego_shape shape; /* static */
    size_t bytes;            /* elements * element size */
    const void *data; /* dense, little-endian, row-major, aligned to the element; NULL if coded */
    const struct lego_coded *coded; /* the bricks, NULL if dense */
    bool integer; /* weights of a product that computes in integers (FORMAT.md, section 8b) */
};

enum lego_attr_type {
    LEGO_ATTR_FLOAT = 1,
    LEGO_ATTR_INT = 2,
    LEGO_ATTR_STRING = 3,
    LEGO_ATTR_TENSOR = 4, /* `tensor` indexes graph->tensors */
    LEGO_ATTR_GRAPH = 5,  /* `graph` is a subgraph; what it needs are its inputs */
    LEGO_ATTR_FLOATS = 6,
    LEGO_ATTR_INTS = 7,
    LEGO_ATTR_STRINGS = 8,
};

struct lego_attr {
    const char *name;
    enum lego_attr_type type;
    union {
        float f;
        int64_t i;
        const char *s;
        int32_t tensor;
        struct lego_graph *graph;
        const float *floats;
        const int64_t *ints;
        const char *const *strings;
    };
    size_t count; /* elements of floats, ints, strings; bytes of s without its NUL */
};

/* Every operator that the importer and the runtime know; operators.def is the list. */
enum lego_op {
    LEGO_OP_NONE = 0,
#define LEGO_OPERATOR(name, ...) LEGO_OP_##name,
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
    LEGO_OP_COUNT
};

/* "Conv"; "?" for none. Static. */
const char *lego_op_name(enum lego_op op);
/* The operator's ONNX domain, "" for ONNX's own. Static. */
const char *lego_op_domain(enum lego_op op);
/* The operator of that ONNX name in `domain` ("" or "ai.onnx" is ONNX's), LEGO_OP_NONE where
 * unknown. */
enum lego_op lego_op_from_name(const char *domain, const char *name);

/* An activation that a node applies to its (single) output before it is stored. */
enum lego_activation {
    LEGO_ACT_NONE = 0,
    LEGO_ACT_CLAMP = 1,      /* min(max(x, lo), hi): Relu is lo = 0, hi = +inf; Relu6 hi = 6 */
    LEGO_ACT_LEAKY_RELU = 2, /* x < 0 ? lo * x : x */
    LEGO_ACT_SIGMOID = 3,
    LEGO_ACT_TANH = 4,
    LEGO_ACT_HARD_SIGMOID = 5, /* min(max(lo * x + hi, 0), 1) */
    LEGO_ACT_HARD_SWISH = 6,   /* x * min(max(x / 6 + 0.5, 0), 1) */
    LEGO_ACT_SILU = 7,         /* x * sigmoid(x) */
    LEGO_ACT_GELU = 8,         /* x * (1 + erf(x / sqrt 2)) / 2 */
};

/*
 * A node. Inputs and outputs index graph->values, -1 is an absent optional one.
 *
 * Fused forms that ONNX does not have: Conv, ConvTranspose, Gemm, MatMul, Add, Sub, Mul and Div
 * apply `activation`. Conv (and only Conv) may have a fourth input: a tensor of the output's shape
 * that is added before the activation (the residual). A folded BatchNormalization is simply gone:
 * weight and bias have changed, and its gamma and beta, which calibration wants, are kept as the
 * attributes "lego.bn_scale" and "lego.bn_bias" (FLOATS, per output channel) of the Conv where they
 * were known.
 *
 * Subgraphs: what ONNX lets them see by name are inputs here, of the subgraph behind those that
 * ONNX gives it and of the node behind those that ONNX gives the node. If: the condition, then the
 * inputs of then_branch, then those of else_branch. Loop and Scan: the last "lego.captures" (INT,
 * default 0) inputs of the node are the last inputs of the body, the same in every iteration.
 */
struct lego_node {
    const char *name; /* never NULL; made up ("Conv_12") where the model gives none */
    enum lego_op op;
    uint32_t input_count, output_count, attr_count;
    int32_t *inputs;
    int32_t *outputs;
    struct lego_attr *attrs;
    enum lego_activation activation;
    float act_lo, act_hi;
};

struct lego_value {
    const char *name; /* unique in the graph, never NULL */
    enum lego_dtype dtype;
    struct lego_shape shape;
    int32_t tensor; /* constant: index into graph->tensors; else -1 */
};

/*
 * The graph. Nodes are in topological order, every value has one producer (a node, a graph input or
 * a tensor). All arrays grow by the lego_graph_add_* functions and may move when they do.
 */
struct lego_graph {
    struct lego_arena *arena;
    const char *name;
    uint32_t value_count, node_count, tensor_count, input_count, output_count, symbol_count;
    struct lego_value *values;
    struct lego_node *nodes;
    struct lego_tensor *tensors;
    int32_t *inputs;  /* values without constants, in the model's order */
    int32_t *outputs; /* values */
    const char **symbols;
    uint64_t original_bytes;   /* 4 * elements of every floating-point constant of the ONNX model */
    uint64_t original_weights; /* the same, in elements */
};

/* Makes an empty graph whose arena is bounded by `limit_bytes` (0: not). */
int lego_graph_create(size_t limit_bytes, struct lego_graph **ret_graph);

/* Makes a copy that shares the data of constants, texts, and subgraphs with the graph, which has to
 * live longer. LEGO_E_NOMEM. */
int lego_graph_copy(const struct lego_graph *graph, struct lego_graph **ret_copy);

/* Frees the graph, its arena and what it adopted; NULL is ignored. */
void lego_graph_destroy(struct lego_graph *graph);

/* Ties an outside resource to the graph: release(resource) runs once, when the graph is destroyed.
 */
int lego_graph_adopt(struct lego_graph *graph, void *resource, void (*release)(void *resource));

/* Each appends a zeroed element (copying the name) and returns its index, or LEGO_E_NOMEM/E_LIMIT.
 */
int32_t lego_graph_add_value(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                             const struct lego_shape *shape);
int32_t lego_graph_add_tensor(struct lego_graph *graph, const char *name, enum lego_dtype dtype,
                              const struct lego_shape *shape);
int32_t lego_graph_add_node(struct lego_graph *graph, const char *name, enum lego_op op,
                            uint32_t input_count, uint32_t output_count, uint32_t attr_count);
int32_t lego_graph_add_symbol(struct lego_graph *graph, const char *name); /* finds or appends */
int lego_graph_add_input(struct lego_graph *graph, int32_t value);
int lego_graph_add_output(struct lego_graph *graph, int32_t value);

/* The value of that name, -1 where there is none (linear search: not for hot paths). */
int32_t lego_graph_find_value(const struct lego_graph *graph, const char *name);

/* The constant behind input `index` of a node, NULL where it is absent or computed. */
const struct lego_tensor *lego_node_constant(const struct lego_graph *graph,
                                             const struct lego_node *node, uint32_t index);

/* Attributes: the value, or the default where the node has none of that name and type. */
const struct lego_attr *lego_node_attr(const struct lego_node *node, const char *name);
int64_t lego_node_int(const struct lego_node *node, const char *name, int64_t otherwise);
float lego_node_float(const struct lego_node *node, const char *name, float otherwise);
const char *lego_node_string(const struct lego_node *node, const char *name, const char *otherwise);
/* Returns the ints and their count, NULL and 0 where there are none. */
const int64_t *lego_node_ints(const struct lego_node *node, const char *name, size_t *ret_count);
/* The floats of an attribute that has exactly `count` of them, else NULL. */
const float *lego_node_floats(const struct lego_node *node, const char *name, size_t count);

/*
 * Checks everything that holds for a sound graph: indices in range, one producer a value,
 * topological order, unique names, arities as operators.def says, static constants with the right
 * byte count. Errors: LEGO_E_FORMAT, with the node named.
 */
int lego_graph_check(const struct lego_graph *graph, struct lego_diag *diag);

#endif
