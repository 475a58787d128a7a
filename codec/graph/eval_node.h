/*
 * Inside codec/graph: what the eval_* functions of operators.def work with.
 *
 * An evaluator finds its outputs allocated with the shapes that inference gave, and everything
 * checked that depends on types, shapes and attributes. What depends on the contents of index
 * tensors it checks itself. Its only memory is `scratch`.
 *
 * Elementwise work goes in chunks through double (all floating types) or int64 (all others: uint64
 * as the same bits): for fp32 +, -, *, / and sqrt that gives the correctly rounded fp32 result.
 */
#ifndef LEGO_GRAPH_EVAL_NODE_H
#define LEGO_GRAPH_EVAL_NODE_H

#include "codec/base/arith.h"
#include "codec/base/status.h"
#include "codec/graph/flow.h"
#include "codec/graph/infer.h"

struct eval_context {
    const struct lego_graph *graph;
    const struct lego_node *node;
    const struct lego_array *const *inputs;
    struct lego_array *outputs;
    struct lego_arena *scratch;
    struct lego_diag *diag;
    struct flow_budget *budget; /* of the Loop or Scan around; NULL: none */
    float *states;              /* of lego_eval_recurrent_states; NULL: not wanted */
};

/* lego_eval_node_alloc and lego_graph_evaluate inside a Loop, Scan or If. */
int eval_node_within(const struct lego_graph *graph, const struct lego_node *node,
                     const struct lego_array *const *inputs, struct lego_array *ret_outputs,
                     struct lego_arena *arena, struct lego_arena *scratch,
                     struct flow_budget *budget, struct lego_diag *diag);
int eval_graph_within(const struct lego_graph *graph, const struct lego_array *inputs,
                      struct lego_array *ret_outputs, struct lego_arena *arena,
                      struct flow_budget *budget, struct lego_diag *diag);

/* An If, Loop or Scan: allocates the outputs that are there from `arena`. */
int eval_flow_alloc(const struct eval_context *c, struct lego_arena *arena,
                    struct lego_array *ret_outputs);

/* A zeroed array, 64-byte aligned; E_NOMEM, E_OVERFLOW without a sentence. */
int eval_new_array(struct lego_arena *arena, enum lego_dtype dtype, const struct lego_shape *shape,
                   struct lego_array *ret_array);

/* Fails with "node 'name' (Op): ..." */
int eval_fail(const struct eval_context *c, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Input and output, NULL where absent. */
const struct lego_array *eval_in(const struct eval_context *c, uint32_t input);
struct lego_array *eval_out(const struct eval_context *c, uint32_t output);

/* Elements of an array, which is known to be small enough. */
size_t eval_elems(const struct lego_array *array);
/* Product of dimensions `from` to `to` (without `to`). */
size_t eval_extent(const struct lego_shape *shape, int from, int to);
/* `count` zeroed elements; NULL with the diag written. Zero elements give a valid pointer. */
void *eval_scratch(const struct eval_context *c, size_t count, size_t size);
/* Elements of `array` as fp32 in scratch (or its own data where that is the type). */
const float *eval_floats(const struct eval_context *c, const struct lego_array *array);

static inline bool eval_is_real(enum lego_dtype dtype)
{
    return dtype == LEGO_DTYPE_FLOAT32 || dtype == LEGO_DTYPE_FLOAT16 ||
           dtype == LEGO_DTYPE_BFLOAT16 || dtype == LEGO_DTYPE_FLOAT64;
}

float eval_half_to_float(uint16_t half);
uint16_t eval_float_to_half(float value);

/* Towards zero, saturating; NaN is 0. */
int64_t eval_real_to_int(double value);

/* One element. */
int64_t eval_get_int(const struct lego_array *array, size_t index);
double eval_get_real(const struct lego_array *array, size_t index);

/* `count` elements from `offset` on, `step` elements apart, whatever the type. */
void eval_load_real(const struct lego_array *array, int64_t offset, int64_t step, size_t count,
                    double *out);
void eval_load_int(const struct lego_array *array, int64_t offset, int64_t step, size_t count,
                   int64_t *out);
/* Stores neighbours; integers saturate from doubles and wrap from int64; bool is != 0. */
void eval_store_real(struct lego_array *array, size_t offset, size_t count, const double *values);
void eval_store_int(struct lego_array *array, size_t offset, size_t count, const int64_t *values);

/* Row-major strides in elements. */
void eval_strides(const struct lego_shape *shape, int64_t *ret_strides);
/* Strides of `in` seen in the broadcast shape `out`: 0 where it repeats. */
void eval_broadcast_strides(const struct lego_shape *in, const struct lego_shape *out,
                            int64_t *ret_strides);

/* Counts through dims[0..rank) like an odometer, with offsets that follow strides. */
struct eval_odometer {
    int rank;
    int64_t dims[2 * LEGO_MAX_RANK], at[2 * LEGO_MAX_RANK];
};
/* Advances and adjusts offsets[k] by strides[k][]; false after the last position. */
bool eval_advance(struct eval_odometer *o, int count, int64_t *offsets,
                  const int64_t (*strides)[LEGO_MAX_RANK]);

/*
 * Copies dims[0..rank) elements of `bytes` from src to dst, both by strides in elements (negative
 * and zero ones are legal). Rank to 2 * LEGO_MAX_RANK.
 */
void eval_copy_strided(size_t bytes, int rank, const int64_t *dims, void *dst,
                       const int64_t *dst_strides, const void *src, const int64_t *src_strides);

/* Applies a node's fused activation to fp32 values in place. */
void eval_activate(const struct lego_node *node, float *values, size_t count);
void eval_activate_real(const struct lego_node *node, double *values, size_t count);

/* C[m][n] += A[m][k] * B[k][n] for row-major fp32. */
void eval_gemm_f32(size_t m, size_t n, size_t k, const float *a, size_t a_stride, const float *b,
                   size_t b_stride, float *c, size_t c_stride);

/* The node as inference sees it, for the infer_* helpers; without outputs to set. */
struct infer_context;
int eval_inference(const struct eval_context *c, struct lego_infer_io *ret_io,
                   struct infer_context *ret_infer);

#define LEGO_OPERATOR(op, domain, imin, imax, omin, omax, infer, eval, ...) \
    int eval_##eval(const struct eval_context *c);
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR

#endif
