/*
 * Inside the runtime: a plan is a model made concrete for given input shapes: values with layouts
 * and places in one arena, and the steps in order. Immutable once made, shared by sessions.
 *
 * Values have the logical (ONNX) shape and one of two layouts: plain (row-major in the order of the
 * dimensions), or channels-last: [N, C, spatial...] lies as [N, spatial..., C].
 */
#ifndef LEGO_RUNTIME_PLAN_H
#define LEGO_RUNTIME_PLAN_H

#include "agent/runtime/model.h"
#include "agent/runtime/workers.h"
#include "codec/graph/infer.h"

enum plan_layout { PLAN_PLAIN = 0, PLAN_CHANNELS_LAST = 1, PLAN_LAYOUTS = 2 };

enum plan_storage {
    PLAN_ARENA = 0,    /* at `offset` of the session's arena */
    PLAN_INPUT = 1,    /* the caller's input `input` */
    PLAN_CONSTANT = 2, /* `constant` */
    PLAN_DYNAMIC = 3,  /* allocated while running: its size depends on the data */
};

struct plan_value {
    enum lego_dtype dtype;
    struct lego_shape shape;
    enum plan_layout layout;
    enum plan_storage storage;
    size_t bytes;
    int32_t alias;       /* lies in that value at alias_offset; -1: has a place of its own */
    size_t alias_offset; /* bytes */
    int32_t quantized;   /* the value that holds its integers or halves; -1: none */
    int32_t reuse;       /* a value whose place it may take over when that dies here; or -1 */
    const void *constant;
    uint32_t input;
    /* Of values with a place of their own, after planning: */
    size_t offset;
    uint32_t first_step, last_step;
};

/* What a step sees while it runs. */
struct plan_run {
    const struct plan *plan;
    const struct kern_table *kernels;
    struct workers *workers;
    uint32_t slots;                    /* of workers */
    void **address;                    /* of each plan value */
    char *shared;                      /* plan->shared_bytes of scratch, 64-byte aligned */
    char *slot;                        /* scratch of slot s at slot + s * plan->slot_bytes */
    const float *zeros;                /* plan->zero_elems */
    struct lego_array *dynamic;        /* of each plan value that is PLAN_DYNAMIC */
    struct lego_arena *dynamic_memory; /* what they point to, until the next run */
};

struct plan_step;
typedef int (*plan_step_fn)(const struct plan_step *step, struct plan_run *run,
                            struct lego_diag *diag);

struct plan_step {
    plan_step_fn run;
    const char *name, *op;
    uint64_t macs; /* multiply-accumulates, 0 where that is no measure */
    uint64_t work; /* for the decision to wake threads: about one multiply-accumulate each */
    uint32_t input_count, output_count;
    int32_t *inputs, *outputs; /* plan values; -1: absent */
    void *detail;
};

struct plan {
    struct plan *next;
    uint32_t references; /* by sessions; under the model's lock */
    struct lego_model *model;
    struct lego_graph *graph;
    struct lego_arena *memory;
    const struct lego_shape *input_shapes;
    const int64_t *decisions; /* of the inputs that decide Ifs, else 0; NULL: not known */
    struct plan_value *values;
    uint32_t value_count, value_capacity;
    struct plan_step *steps;
    uint32_t step_count, step_capacity;
    int32_t *inputs, *outputs; /* plan values of the graph's inputs and outputs (plain) */
    bool parallel;             /* some step is worth more than one thread */
    size_t arena_bytes, shared_bytes, slot_bytes, zero_elems;
    struct weights *weights; /* of constants that were folded for this plan */
    size_t weights_bytes;
    bool dynamic;   /* some value's size depends on the data */
    bool evaluated; /* some step is the reference evaluation: its time may depend on the data */
};

struct attention;
struct squeeze;

/* While a plan is made. */
struct plan_builder {
    struct plan *plan;
    struct lego_model *model;
    const struct lego_graph *graph;
    int32_t (*of)[PLAN_LAYOUTS]; /* the plan value of each graph value in each layout, or -1 */
    enum plan_layout *native;    /* the layout in which a graph value was made */
    uint32_t *uses, *consumer;   /* of each graph value: by nodes and as output; the last node */
    bool *taken;                 /* nodes that are planned with another one */
    bool *pooled;                /* graph values of which a node wants the mean over all pixels */
    int32_t *sums;               /* plan_row_sums of each graph value, or -1 */
    const struct attention **attention; /* of each node: what is planned in its place, or NULL */
    const struct squeeze **squeeze;     /* the same */
    const struct lego_node **waiting; /* of each graph value: plan_mul has left it to its reader */
    struct lego_diag *diag;
};

/* The model's lock is held. */
int plan_create(struct lego_model *model, const struct plan_key *key, struct plan **ret_plan,
                struct lego_diag *diag);
void plan_destroy(struct plan *plan);
bool plan_matches(const struct plan *plan, const struct plan_key *key);

/* Gives every value its place in the arena (plan_memory.c). */
int plan_place(struct plan *plan, struct lego_diag *diag);
/* The value in whose place `value` lies, and its offset there. */
int32_t plan_root(const struct plan *plan, int32_t value, size_t *ret_offset);

/* Values (plan_values.c). Each returns an index or a negative status with the diag written. */
int32_t plan_value_add(struct plan_builder *b, enum lego_dtype dtype,
                       const struct lego_shape *shape, enum plan_layout layout);
/* The output of the node being planned, in `layout` where the rank has channels. */
int32_t plan_output(struct plan_builder *b, int32_t graph_value, enum plan_layout layout);
/* `graph_value` in `layout`; adds the step that converts it where it has to be. */
int32_t plan_operand(struct plan_builder *b, int32_t graph_value, enum plan_layout layout);
/* Plans the Mul that waits to be read, if there is one; plan_operand does. */
int plan_waiting(struct plan_builder *b, int32_t graph_value);
/* Makes output `graph_value` a view of plan value `of`: the same bytes with another shape. */
int32_t plan_view(struct plan_builder *b, int32_t graph_value, int32_t of, size_t offset,
                  enum plan_layout layout);
/* The layout in which a computed value exists; PLAN_PLAIN for constants. */
enum plan_layout plan_native(const struct plan_builder *b, int32_t graph_value);
bool plan_is_float(const struct plan_builder *b, int32_t graph_value);
bool plan_is_constant(const struct plan_builder *b, int32_t graph_value);
/* A constant vector of fp32 (dense or decoded), NULL where it is none. */
int plan_constant_data(struct plan_builder *b, int32_t graph_value, const void **ret_data);

/* A dense constant of one fp32 element. */
bool plan_scalar(const struct plan_builder *b, int32_t graph_value, float *ret_scalar);

/* The bias of a node's input `index` as `rows` floats, NULL where it has none; declines what is
 * computed or of another size. */
int plan_bias(struct plan_builder *b, const struct lego_node *node, uint32_t index, uint32_t rows,
              const float **ret_bias);

/* Sizes of the dimensions in the order in which they lie in memory, and the dimension at each
 * place. */
void plan_physical(const struct plan_value *value, int64_t *ret_dims, int *ret_order);
size_t plan_elems(const struct plan_value *value);

/*
 * Adds a step with a zeroed detail of `detail_bytes`; NULL where out of memory (the diag says so).
 * Steps move when the next one is added: set all fields first.
 */
struct plan_step *plan_step_add(struct plan_builder *b, const struct lego_node *node,
                                plan_step_fn run, size_t detail_bytes, const int32_t *inputs,
                                uint32_t input_count, const int32_t *outputs,
                                uint32_t output_count);
void plan_need_slot(struct plan_builder *b, size_t bytes);
void plan_need_shared(struct plan_builder *b, size_t bytes);
void plan_need_zeros(struct plan_builder *b, size_t elems);

/*
 * What follows a product (plan_tail.c). plan_take_tail: `product`, the caller's copy of the node,
 * takes over outputs and activation of the Adds that it does; *ret_bias, *ret_add (a plan value)
 * say what they add, and are untouched where there is nothing.
 */
int plan_count_uses(struct plan_builder *b);
/* Lets `node`, the caller's copy, do the Add behind it, whatever shape the other operand has: graph
 * value *ret_other. False where there is none. */
bool plan_take_add(struct plan_builder *b, struct lego_node *node, int32_t *ret_other);
int plan_take_tail(struct plan_builder *b, struct lego_node *product, int64_t columns,
                   const float **ret_bias, int32_t *ret_add);

/*
 * HardSwish with a Mul and an Add of numbers behind it (the "learnable affine block" of PP-LCNetV3)
 * is one kernel: lo * hard_swish(x) + hi. Where `node`, the planner's copy, computes HardSwish, its
 * act_lo and act_hi become these numbers, 1 and 0 where there is nothing, and its output that of
 * the last node taken. plan_give_scale undoes it for a node that is declined.
 */
struct plan_scale {
    const struct lego_node *mul, *add; /* NULL: not taken */
};
struct plan_scale plan_take_scale(struct plan_builder *b, struct lego_node *node);
void plan_give_scale(struct plan_builder *b, const struct plan_scale *taken);

/* Means over all pixels (step_mean.c): whether a node is one; finds the values that have one. */
bool plan_is_mean(const struct plan_builder *b, const struct lego_node *node);
int plan_find_means(struct plan_builder *b);
/* For the step that makes `graph_value` in channels-last: a second output for the sums of each of
 * its `rows` rows of pixels, [rows][channels], the same number for each image. -1: nobody wants
 * them. */
int32_t plan_row_sums(struct plan_builder *b, int32_t graph_value, size_t rows);

/* The prepared weights of input `index` of a node. */
int plan_weights(struct plan_builder *b, const struct lego_node *node, uint32_t index,
                 struct weights_key key, const struct weights **ret_weights);

/* The same of a tensor that may be a view of the graph's. */
int plan_tensor_weights(struct plan_builder *b, const struct lego_tensor *tensor,
                        struct weights_key key, const struct weights **ret_weights);

/* Plans a node of the graph, which is not taken. */
int plan_node(struct plan_builder *b, const struct lego_node *node);

/*
 * Planners: each turns one node into steps. LEGO_OK, a negative status, or PLAN_DECLINED where the
 * node is none of its own: then the reference evaluation takes it.
 */
#define PLAN_DECLINED 1
typedef int (*plan_node_fn)(struct plan_builder *b, const struct lego_node *node);

int plan_conv(struct plan_builder *b, const struct lego_node *node);
int plan_conv_transpose(struct plan_builder *b, const struct lego_node *node);
int plan_depthwise(struct plan_builder *b, const struct lego_node *node);
int plan_gemm(struct plan_builder *b, const struct lego_node *node);
int plan_matmul(struct plan_builder *b, const struct lego_node *node);
int plan_pool(struct plan_builder *b, const struct lego_node *node);
int plan_unary(struct plan_builder *b, const struct lego_node *node);
int plan_binary(struct plan_builder *b, const struct lego_node *node);
int plan_mul(struct plan_builder *b, const struct lego_node *node); /* may wait for its reader */
int plan_softmax(struct plan_builder *b, const struct lego_node *node);
int plan_layer_norm(struct plan_builder *b, const struct lego_node *node);
int plan_mean(struct plan_builder *b, const struct lego_node *node);
int plan_reshape(struct plan_builder *b, const struct lego_node *node);
int plan_transpose(struct plan_builder *b, const struct lego_node *node);
int plan_concat(struct plan_builder *b, const struct lego_node *node);
int plan_slice(struct plan_builder *b, const struct lego_node *node);
int plan_split(struct plan_builder *b, const struct lego_node *node);
int plan_gather(struct plan_builder *b, const struct lego_node *node);
int plan_pad(struct plan_builder *b, const struct lego_node *node);
int plan_resize(struct plan_builder *b, const struct lego_node *node);
int plan_eval(struct plan_builder *b, const struct lego_node *node);

/* The step that brings a value from one layout to the other (step_move.c). */
int plan_convert(struct plan_builder *b, int32_t from, int32_t to);

/* The kernel for a node's activation that is no clamp, and its two numbers; NULL for none and for
 * clamps. The node is one that plan_take_scale has seen. */
kern_unary_f32_fn plan_activation(const struct kern_table *kernels, const struct lego_node *node,
                                  float *ret_lo, float *ret_hi);
/* The clamp that an activation is: -inf, inf where it is none. */
void plan_clamp(const struct lego_node *node, float *ret_lo, float *ret_hi);

/* Splits `elems` of an elementwise loop over the run's threads. */
#define PLAN_CHUNK_ELEMS 16384

static inline float *run_floats(const struct plan_run *run, int32_t value)
{
    return run->address[value];
}

static inline void *run_slot(const struct plan_run *run, uint32_t slot)
{
    return run->slot + slot * run->plan->slot_bytes;
}

#endif
