/*
 * Inside codec/graph: what the infer_* functions of operators.def work with.
 *
 * An infer function writes type and shape of every output of its node, and checks everything that
 * the evaluators rely on: ranks, types, attribute ranges, sizes that must agree. With all inputs
 * static and known, its outputs are static too; lego_eval_node infers again before it evaluates, so
 * an evaluator may trust shapes and attributes. Contents of index tensors are the evaluator's.
 */
#ifndef LEGO_GRAPH_INFER_NODE_H
#define LEGO_GRAPH_INFER_NODE_H

#include "codec/base/arith.h"
#include "codec/base/status.h"
#include "codec/graph/infer.h"

#define LEGO_MANY UINT32_MAX

/* Sets of element types, one bit each. */
#define INFER_TYPE(name) (1u << LEGO_DTYPE_##name)
enum infer_types {
    LEGO_TYPES_BOOL = INFER_TYPE(BOOL),
    LEGO_TYPES_INDEX = INFER_TYPE(INT32) | INFER_TYPE(INT64),
    LEGO_TYPES_BYTE = INFER_TYPE(INT8) | INFER_TYPE(UINT8),
    LEGO_TYPES_INTEGER = LEGO_TYPES_INDEX | LEGO_TYPES_BYTE | INFER_TYPE(INT16) |
                         INFER_TYPE(UINT16) | INFER_TYPE(UINT32) | INFER_TYPE(UINT64),
    LEGO_TYPES_FLOAT = INFER_TYPE(FLOAT32) | INFER_TYPE(FLOAT16) | INFER_TYPE(BFLOAT16),
    LEGO_TYPES_REAL = LEGO_TYPES_FLOAT | INFER_TYPE(FLOAT64),
    LEGO_TYPES_NUMBER = LEGO_TYPES_REAL | LEGO_TYPES_INTEGER,
    LEGO_TYPES_ANY = LEGO_TYPES_NUMBER | LEGO_TYPES_BOOL,
};

static inline bool infer_type_in(enum lego_dtype dtype, unsigned types)
{
    return (unsigned)dtype < 32 && (types >> dtype & 1u);
}

/* One element of a small integer tensor whose content is known in part. */
struct infer_elem {
    enum { INFER_OPEN, INFER_VALUE, INFER_SYMBOL } kind;
    int64_t value; /* the number, or the dimension code of a symbol (-1-k) */
};

struct infer_content {
    size_t count;
    struct infer_elem *elems;
};

struct infer_context {
    const struct lego_infer_io *io;
    const struct infer_content *const *contents; /* [input_count], each or all may be NULL */
    struct lego_diag *diag;
};

/* Infers with partly known contents; checks arity, the type of input 0 and fused forms first. */
int infer_one(const struct infer_context *c);

/* Arity and types of an operator, as operators.def has them. */
struct infer_rule {
    uint32_t inputs_min, inputs_max, outputs_min, outputs_max;
    unsigned types;
    int (*infer)(const struct infer_context *c);
};
const struct infer_rule *infer_rule(enum lego_op op);

/* Fails with "node 'name' (Op): ..." */
int infer_fail(const struct infer_context *c, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool infer_has(const struct infer_context *c, uint32_t input);
/* Type and shape of an input; UNKNOWN and an open shape where it is absent. */
enum lego_dtype infer_dtype(const struct infer_context *c, uint32_t input);
const struct lego_shape *infer_input(const struct infer_context *c, uint32_t input);
/* The rank, or LEGO_RANK_UNKNOWN. */
int infer_rank(const struct infer_context *c, uint32_t input);

void infer_set(const struct infer_context *c, uint32_t output, enum lego_dtype dtype,
               const struct lego_shape *shape);
/* Sets an output whose shape is not known at all. */
void infer_set_open(const struct infer_context *c, uint32_t output, enum lego_dtype dtype);

/* Checks that an input, where it is present and its type known, has one of `types`. */
int infer_want_types(const struct infer_context *c, uint32_t input, unsigned types);
/* Checks that inputs `first` to `last` have the type of input `as`, where known. */
int infer_want_same_type(const struct infer_context *c, uint32_t as, uint32_t first, uint32_t last);
/* Checks that an input, where present and its rank known, has that rank. */
int infer_want_rank(const struct infer_context *c, uint32_t input, int rank);
/* Checks that an input, where present and known, is a vector of `count` elements. */
int infer_want_vector(const struct infer_context *c, uint32_t input, int64_t count);

/* A shape of that rank with all dimensions open. */
struct lego_shape infer_open_shape(int rank);
/* Two sizes that must be equal: the one that says more; false where they contradict. */
bool infer_dim_merge(int64_t a, int64_t b, int64_t *ret_dim);
static inline bool infer_dim_known(int64_t dim)
{
    return dim >= 0;
}

/*
 * Element `index` of an input (flat), INFER_OPEN where it is not known. Integers and bools only.
 */
struct infer_elem infer_element(const struct infer_context *c, uint32_t input, size_t index);
/* Number of elements of an input, false where it is open. */
bool infer_count(const struct infer_context *c, uint32_t input, size_t *ret_count);
/*
 * All elements of an integer vector (or scalar) of at most `max`: 1 and the values where every one
 * is a known number, 0 where some are open, a negative status on a wrong type or too many.
 */
int infer_ints(const struct infer_context *c, uint32_t input, size_t max, int64_t *ret_values,
               size_t *ret_count);
/* A single number that may be floating: 1 known, 0 open. */
int infer_real(const struct infer_context *c, uint32_t input, size_t index, double *ret_value);

/* Brings an axis of -rank..rank-1 to 0..rank-1. */
int infer_axis(const struct infer_context *c, int64_t axis, int rank, int *ret_axis);
/* The same for a list without repeats, as a bit mask. */
int infer_axes(const struct infer_context *c, const int64_t *axes, size_t count, int rank,
               unsigned *ret_mask);

/* The shape that broadcasts all of `count` inputs from `first` on. */
int infer_broadcast(const struct infer_context *c, uint32_t first, uint32_t count,
                    struct lego_shape *ret_shape);

/* Checks an attribute's integer for a range. */
int infer_int_in(const struct infer_context *c, const char *name, int64_t otherwise, int64_t min,
                 int64_t max, int64_t *ret_value);

/*
 * Sliding windows of convolution and pooling over `axes` spatial dimensions.
 */
#define INFER_MAX_SPATIAL 3
struct infer_window {
    int axes;
    int64_t kernel[INFER_MAX_SPATIAL], stride[INFER_MAX_SPATIAL], dilation[INFER_MAX_SPATIAL];
    int64_t begin[INFER_MAX_SPATIAL], end[INFER_MAX_SPATIAL]; /* padding; 0 where in[] is open */
    int64_t out[INFER_MAX_SPATIAL];                           /* output sizes, maybe open */
};
/*
 * Reads kernel_shape (or `kernel` where that is not NULL), strides, dilations, pads, auto_pad and
 * ceil_mode of a node whose input has the shape [N, C, ...].
 */
int infer_window(const struct infer_context *c, const struct lego_shape *x, const int64_t *kernel,
                 struct infer_window *ret_window);
/* The same of a ConvTranspose: output_padding and output_shape too. */
int infer_transposed_window(const struct infer_context *c, const struct lego_shape *x,
                            const int64_t *kernel, struct infer_window *ret_window);

/* Slice of one axis with everything known: clamps as ONNX does. */
struct infer_slice {
    int64_t start, step, count;
};
struct infer_slice infer_slice_axis(int64_t size, int64_t start, int64_t end, int64_t step);

/* What Resize does to each axis: the scale, and the region of interest of tf_crop_and_resize. */
struct infer_resize {
    double scale[LEGO_MAX_RANK];
    double start[LEGO_MAX_RANK], end[LEGO_MAX_RANK];
    bool crop;
};
int infer_resize_plan(const struct infer_context *c, struct infer_resize *ret_plan,
                      struct lego_shape *ret_shape);

/* The axes that a Reduce operator reduces: 1 and a bit mask, 0 where open, or a status. */
int infer_reduce_mask(const struct infer_context *c, int rank, unsigned *ret_mask);
/* What Pad adds before and after each axis: 1 known (element by element), 0, or a status. */
int infer_pads(const struct infer_context *c, int rank, struct infer_elem *before,
               struct infer_elem *after);
/* 0 constant, 1 reflect, 2 edge, 3 wrap; -1: none of them. */
int infer_pad_mode(const struct lego_node *node);

/* How many boxes NonMaxSuppression keeps; defined beside its evaluator. */
int eval_nms_count(const struct infer_context *c, size_t *ret_count);

#define LEGO_OPERATOR(op, domain, imin, imax, omin, omax, infer, ...) \
    int infer_##infer(const struct infer_context *c);
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR

#endif
