/*
 * Inference of If, Loop and Scan: of their subgraphs, in copies, so that a graph that many threads
 * read stays as it is.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/flow.h"
#include "codec/graph/fold.h"

#include <stdlib.h>
#include <string.h>

/* Contents that are given to a subgraph: shapes and the like. Larger ones would be folded at every
 * inference. */
#define MAX_CONTENT_ELEMS 64

/* What goes into a subgraph and what comes out. */
struct body_io {
    const struct lego_graph *graph;
    enum lego_dtype *in_dtypes, *out_dtypes;
    struct lego_shape *in_shapes, *out_shapes;
    const struct lego_array **contents; /* of inputs, NULL: not known */
    bool always_true;                   /* output 0 is known, and true */
    void *memory;
};

static void close_body(struct body_io *io)
{
    free(io->memory);
    io->memory = NULL;
}

/* All inputs open. */
static int open_body(const struct infer_context *c, const struct lego_graph *graph,
                     struct body_io *ret_io)
{
    size_t ins = graph->input_count + 1u, outs = graph->output_count + 1u;
    struct body_io io = {.graph = graph};
    char *at = io.memory =
        calloc(ins + outs, sizeof(*io.in_shapes) + sizeof(*io.contents) + sizeof(*io.in_dtypes));
    if (!at)
        return infer_fail(c, LEGO_E_NOMEM, "no memory for a subgraph");
    io.in_shapes = (struct lego_shape *)at;
    io.out_shapes = io.in_shapes + ins;
    io.contents = (const struct lego_array **)(io.out_shapes + outs);
    io.in_dtypes = (enum lego_dtype *)(io.contents + ins + outs);
    io.out_dtypes = io.in_dtypes + ins;
    for (size_t i = 0; i < ins; i++)
        io.in_shapes[i].rank = LEGO_RANK_UNKNOWN;
    *ret_io = io;
    return LEGO_OK;
}

/* Input `to` of a subgraph is input `from` of the node, the same at every run of the subgraph. */
static void pass_input(const struct infer_context *c, struct body_io *io, uint32_t to,
                       uint32_t from)
{
    size_t count;
    const struct lego_array *constant =
        infer_has(c, from) && c->io->constants ? c->io->constants[from] : NULL;
    io->in_dtypes[to] = infer_dtype(c, from);
    io->in_shapes[to] = *infer_input(c, from);
    if (constant && infer_type_in(constant->dtype, LEGO_TYPES_INDEX | LEGO_TYPES_BOOL) &&
        lego_shape_elems(&constant->shape, &count) == LEGO_OK && count <= MAX_CONTENT_ELEMS)
        io->contents[to] = constant;
}

/* Sets one input of a copy. */
static int set_input(struct lego_graph *made, const struct body_io *io, uint32_t index)
{
    struct lego_value *value = &made->values[made->inputs[index]];
    const struct lego_array *content = io->contents[index];
    if (io->in_dtypes[index] != LEGO_DTYPE_UNKNOWN)
        value->dtype = io->in_dtypes[index];
    value->shape = io->in_shapes[index];
    if (!content)
        return LEGO_OK;
    int32_t tensor = lego_graph_add_tensor(made, value->name, content->dtype, &content->shape);
    if (tensor < 0)
        return tensor;
    made->tensors[tensor].data = content->data;
    value->tensor = tensor;
    return LEGO_OK;
}

/* Infers a copy with the inputs of `io`. Symbols are those of the graph around it. */
static int run_body(const struct infer_context *c, struct body_io *io, struct lego_diag *diag)
{
    struct lego_graph *made;
    if (lego_graph_copy(io->graph, &made) != LEGO_OK)
        return infer_fail(c, LEGO_E_NOMEM, "no memory for a subgraph");
    made->symbols = c->io->graph ? c->io->graph->symbols : NULL;
    made->symbol_count = c->io->graph ? c->io->graph->symbol_count : 0;
    for (uint32_t v = 0; v < made->value_count; v++) {
        if (made->values[v].tensor < 0)
            made->values[v].shape.rank = LEGO_RANK_UNKNOWN;
    }
    int status = LEGO_OK;
    for (uint32_t i = 0; i < made->input_count && status == LEGO_OK; i++)
        status = set_input(made, io, i);
    if (status == LEGO_OK)
        status = fold_run(made, diag);
    for (uint32_t i = 0; i < made->output_count && status == LEGO_OK; i++) {
        io->out_dtypes[i] = made->values[made->outputs[i]].dtype;
        io->out_shapes[i] = made->values[made->outputs[i]].shape;
    }
    if (status == LEGO_OK && made->output_count > 0) {
        int32_t tensor = made->values[made->outputs[0]].tensor;
        const struct lego_tensor *known = tensor < 0 ? NULL : &made->tensors[tensor];
        io->always_true = known && known->dtype == LEGO_DTYPE_BOOL && known->bytes == 1 &&
                          known->data && *(const uint8_t *)known->data != 0;
    }
    lego_graph_destroy(made);
    return status;
}

/* What is true of both shapes. */
static struct lego_shape common_shape(const struct lego_shape *a, const struct lego_shape *b)
{
    struct lego_shape shape = *a;
    if (a->rank != b->rank)
        shape.rank = LEGO_RANK_UNKNOWN;
    for (int d = 0; d < shape.rank; d++) {
        if (a->dim[d] != b->dim[d])
            shape.dim[d] = LEGO_DIM_UNKNOWN;
    }
    return shape;
}

/*
 * Both branches of an If. Exporters guard what would not work for some shapes ("if this axis is 1,
 * squeeze it"), so a branch that cannot be inferred is one that is not taken: it says nothing.
 */
static int infer_branches(const struct infer_context *c, struct body_io io[2])
{
    int status[2];
    struct lego_diag ignored = LEGO_DIAG_INIT;
    status[1] = run_body(c, &io[1], &ignored);
    status[0] = run_body(c, &io[0], status[1] == LEGO_OK ? &ignored : c->diag);
    if (status[0] == LEGO_E_NOMEM || (status[0] != LEGO_OK && status[1] != LEGO_OK))
        return status[0];
    if (status[1] == LEGO_E_NOMEM)
        return infer_fail(c, LEGO_E_NOMEM, "no memory for a subgraph");
    for (uint32_t i = 0; i < c->io->node->output_count; i++) {
        int good = status[1] == LEGO_OK ? 1 : 0;
        if (status[0] != LEGO_OK || status[1] != LEGO_OK) {
            infer_set_open(c, i, io[good].out_dtypes[i]);
            continue;
        }
        enum lego_dtype then = io[1].out_dtypes[i], other = io[0].out_dtypes[i];
        if (then != other && then != LEGO_DTYPE_UNKNOWN && other != LEGO_DTYPE_UNKNOWN)
            return infer_fail(c, LEGO_E_TYPE, "output %u is %s or %s", i, lego_dtype_name(then),
                              lego_dtype_name(other));
        struct lego_shape shape = common_shape(&io[1].out_shapes[i], &io[0].out_shapes[i]);
        infer_set(c, i, then != LEGO_DTYPE_UNKNOWN ? then : other, &shape);
    }
    return LEGO_OK;
}

int infer_if(const struct infer_context *c)
{
    struct flow_if flow;
    struct body_io io[2] = {0};
    int status = flow_read_if(c->io->node, &flow, c->diag);
    for (int k = 0; k < 2 && status == LEGO_OK; k++) {
        status = open_body(c, flow.branch[k], &io[k]);
        for (uint32_t i = 0; status == LEGO_OK && i < flow.branch[k]->input_count; i++)
            pass_input(c, &io[k], i, flow.first_input[k] + i);
    }
    struct infer_elem condition = infer_element(c, 0, 0);
    if (status == LEGO_OK && condition.kind == INFER_VALUE) {
        struct body_io *taken = &io[condition.value != 0];
        status = run_body(c, taken, c->diag);
        for (uint32_t i = 0; status == LEGO_OK && i < c->io->node->output_count; i++)
            infer_set(c, i, taken->out_dtypes[i], &taken->out_shapes[i]);
    } else if (status == LEGO_OK) {
        status = infer_branches(c, io);
    }
    close_body(&io[0]);
    close_body(&io[1]);
    return status;
}

/* Brings what is carried to what holds at every iteration; true where something changed. */
static bool widen_carried(const struct flow_body *flow, struct body_io *io, bool fully)
{
    bool changed = false;
    for (uint32_t i = 0; i < flow->carried; i++) {
        struct lego_shape *in = &io->in_shapes[flow->fixed + i];
        struct lego_shape next = common_shape(in, &io->out_shapes[flow->conditions + i]);
        if (lego_shape_equal(in, &next))
            continue;
        *in = next;
        if (fully)
            in->rank = LEGO_RANK_UNKNOWN;
        changed = true;
    }
    return changed;
}

/* Types and shapes that hold at every iteration, found in a few rounds. */
static int infer_iterations(const struct infer_context *c, const struct flow_body *flow,
                            struct body_io *io)
{
    for (int round = 0;; round++) {
        int status = run_body(c, io, c->diag);
        if (status != LEGO_OK)
            return status;
        for (uint32_t i = 0; i < flow->carried; i++) {
            enum lego_dtype in = io->in_dtypes[flow->fixed + i];
            enum lego_dtype out = io->out_dtypes[flow->conditions + i];
            if (in != out && in != LEGO_DTYPE_UNKNOWN && out != LEGO_DTYPE_UNKNOWN)
                return infer_fail(c, LEGO_E_TYPE, "what is carried as %s comes back as %s",
                                  lego_dtype_name(in), lego_dtype_name(out));
        }
        /* The third round begins with all that changes fully open: nothing is left to change but
           the rank of another, which the shapes of the second round did not touch. */
        if (!widen_carried(flow, io, round > 0))
            return LEGO_OK;
        if (round == 2) {
            for (uint32_t i = 0; i < flow->carried; i++)
                io->in_shapes[flow->fixed + i].rank = LEGO_RANK_UNKNOWN;
            return run_body(c, io, c->diag);
        }
    }
}

static void set_carried(const struct infer_context *c, const struct flow_body *flow,
                        const struct body_io *io)
{
    for (uint32_t i = 0; i < flow->carried; i++) {
        enum lego_dtype dtype = io->in_dtypes[flow->fixed + i];
        infer_set(c, i, dtype != LEGO_DTYPE_UNKNOWN ? dtype : io->out_dtypes[flow->conditions + i],
                  &io->in_shapes[flow->fixed + i]);
    }
}

/* One output that has all iterations of `io`'s on an axis. */
static int set_stacked(const struct infer_context *c, const struct flow_body *flow,
                       const struct body_io *io, uint32_t index, int64_t axis, int64_t count)
{
    const struct lego_shape *each = &io->out_shapes[flow->conditions + flow->carried + index];
    struct lego_shape shape = {.rank = LEGO_RANK_UNKNOWN};
    if (each->rank >= LEGO_MAX_RANK)
        return infer_fail(c, LEGO_E_LIMIT, "output %u has rank %d", flow->carried + index,
                          each->rank + 1);
    if (each->rank != LEGO_RANK_UNKNOWN) {
        int at, status = infer_axis(c, axis, each->rank + 1, &at);
        if (status != LEGO_OK)
            return status;
        shape.rank = each->rank + 1;
        for (int d = 0; d < shape.rank; d++)
            shape.dim[d] = d == at ? count : each->dim[d > at ? d - 1 : d];
    }
    infer_set(c, flow->carried + index, io->out_dtypes[flow->conditions + flow->carried + index],
              &shape);
    return LEGO_OK;
}

/* How often a Loop runs: it is told, and no condition ends it before. */
static int64_t trip_count(const struct infer_context *c, const struct body_io *io)
{
    struct infer_elem trips = infer_element(c, 0, 0), condition = infer_element(c, 1, 0);
    bool begins = !infer_has(c, 1) || (condition.kind == INFER_VALUE && condition.value != 0);
    if (infer_has(c, 1) && condition.kind == INFER_VALUE && condition.value == 0)
        return 0;
    if (!infer_has(c, 0) || trips.kind != INFER_VALUE || !begins || !io->always_true)
        return LEGO_DIM_UNKNOWN;
    return trips.value > 0 ? trips.value : 0;
}

int infer_loop(const struct infer_context *c)
{
    static uint8_t yes = 1;
    const struct lego_array running = {.dtype = LEGO_DTYPE_BOOL, .data = &yes};
    struct flow_body flow;
    struct body_io io = {0};
    int status = infer_want_types(c, 0, INFER_TYPE(INT64));
    if (status == LEGO_OK)
        status = infer_want_types(c, 1, LEGO_TYPES_BOOL);
    if (status == LEGO_OK)
        status = flow_read_body(c->io->node, &flow, c->diag);
    if (status == LEGO_OK)
        status = open_body(c, flow.body, &io);
    if (status != LEGO_OK)
        return status;
    io.in_dtypes[0] = LEGO_DTYPE_INT64;
    io.in_dtypes[1] = LEGO_DTYPE_BOOL;
    io.in_shapes[0].rank = io.in_shapes[1].rank = 0;
    io.contents[1] = &running; /* the body runs only then */
    for (uint32_t i = 2; i < flow.body->input_count; i++) {
        pass_input(c, &io, i, i);
        if (i < 2 + flow.carried)
            io.contents[i] = NULL;
    }
    status = infer_iterations(c, &flow, &io);
    if (status == LEGO_OK)
        set_carried(c, &flow, &io);
    for (uint32_t i = 0; i < flow.stacked && status == LEGO_OK; i++)
        status = set_stacked(c, &flow, &io, i, 0, trip_count(c, &io));
    close_body(&io);
    return status;
}

/* Input `index` of a Scan's body is one slice of the node's; all have the same length. */
static int slice_input(const struct infer_context *c, const struct flow_body *flow,
                       struct body_io *io, uint32_t index, int64_t *length)
{
    uint32_t input = flow->carried + index;
    struct lego_shape *shape = &io->in_shapes[input];
    int axis;
    *shape = *infer_input(c, input);
    io->in_dtypes[input] = infer_dtype(c, input);
    if (shape->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    int status =
        infer_axis(c, flow_axis(c->io->node, "scan_input_axes", index), shape->rank, &axis);
    if (status != LEGO_OK)
        return status;
    if (!infer_dim_merge(*length, shape->dim[axis], length))
        return infer_fail(c, LEGO_E_SHAPE, "sequences of %lld and %lld elements",
                          (long long)*length, (long long)shape->dim[axis]);
    for (int d = axis; d + 1 < shape->rank; d++)
        shape->dim[d] = shape->dim[d + 1];
    shape->rank--;
    return LEGO_OK;
}

int infer_scan(const struct infer_context *c)
{
    struct flow_body flow;
    struct body_io io = {0};
    int64_t length = LEGO_DIM_UNKNOWN;
    int status = flow_read_body(c->io->node, &flow, c->diag);
    if (status == LEGO_OK)
        status = open_body(c, flow.body, &io);
    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 0; i < flow.body->input_count; i++) {
        pass_input(c, &io, i, i);
        if (i < flow.carried + flow.scanned)
            io.contents[i] = NULL;
    }
    for (uint32_t i = 0; i < flow.scanned && status == LEGO_OK; i++)
        status = slice_input(c, &flow, &io, i, &length);
    if (status == LEGO_OK)
        status = infer_iterations(c, &flow, &io);
    if (status == LEGO_OK)
        set_carried(c, &flow, &io);
    for (uint32_t i = 0; i < flow.stacked && status == LEGO_OK; i++)
        status =
            set_stacked(c, &flow, &io, i, flow_axis(c->io->node, "scan_output_axes", i), length);
    close_body(&io);
    return status;
}
