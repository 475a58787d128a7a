/*
 * Inference of one node: the table from operators.def and what all infer functions share.
 */
#include "codec/graph/infer_node.h"

#include "codec/graph/eval_node.h"

#include <stdio.h>
#include <string.h>

static const struct infer_rule rules[LEGO_OP_COUNT] = {
#define LEGO_OPERATOR(op, domain, imin, imax, omin, omax, infer, eval, types) \
    [LEGO_OP_##op] = {imin, imax, omin, omax, LEGO_TYPES_##types, infer_##infer},
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
};

const struct infer_rule *infer_rule(enum lego_op op)
{
    return &rules[op];
}

int infer_fail(const struct infer_context *c, int status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct lego_node *node = c->io->node;
    return lego_fail(c->diag, status, "node '%s' (%s): %s", node->name, lego_op_name(node->op),
                     text);
}

/* Activations and residuals only where graph.h says so. */
static int check_fused(const struct infer_context *c)
{
    const struct lego_node *node = c->io->node;
    if (node->activation == LEGO_ACT_NONE)
        return LEGO_OK;
    switch (node->op) {
    case LEGO_OP_Conv:
    case LEGO_OP_ConvTranspose:
    case LEGO_OP_Gemm:
    case LEGO_OP_MatMul:
    case LEGO_OP_Add:
    case LEGO_OP_Sub:
    case LEGO_OP_Mul:
    case LEGO_OP_Div:
        break;
    default:
        return infer_fail(c, LEGO_E_INVALID, "cannot have a fused activation");
    }
    if ((unsigned)node->activation > LEGO_ACT_GELU)
        return infer_fail(c, LEGO_E_INVALID, "unknown activation %u", (unsigned)node->activation);
    return infer_want_types(c, 0, LEGO_TYPES_FLOAT);
}

int infer_one(const struct infer_context *c)
{
    const struct lego_node *node = c->io->node;
    if (node->op <= LEGO_OP_NONE || node->op >= LEGO_OP_COUNT)
        return lego_fail(c->diag, LEGO_E_UNSUPPORTED, "node '%s': operator %d is not known",
                         node->name, (int)node->op);
    const struct infer_rule *rule = &rules[node->op];
    if (node->input_count < rule->inputs_min || node->input_count > rule->inputs_max)
        return infer_fail(c, LEGO_E_FORMAT, "%u inputs", node->input_count);
    if (node->output_count < rule->outputs_min || node->output_count > rule->outputs_max)
        return infer_fail(c, LEGO_E_FORMAT, "%u outputs", node->output_count);
    for (uint32_t i = 0; i < rule->inputs_min; i++) {
        if (!infer_has(c, i))
            return infer_fail(c, LEGO_E_FORMAT, "input %u is missing", i);
    }
    for (uint32_t i = 0; i < node->output_count; i++)
        infer_set_open(c, i, LEGO_DTYPE_UNKNOWN);
    int status = rule->inputs_min > 0 ? infer_want_types(c, 0, rule->types) : LEGO_OK;
    if (status == LEGO_OK)
        status = check_fused(c);
    return status == LEGO_OK ? rule->infer(c) : status;
}

int lego_infer_node(const struct lego_infer_io *io, struct lego_diag *diag)
{
    struct infer_context c = {.io = io, .diag = diag};
    return infer_one(&c);
}

bool infer_has(const struct infer_context *c, uint32_t input)
{
    return input < c->io->node->input_count && c->io->node->inputs[input] >= 0;
}

enum lego_dtype infer_dtype(const struct infer_context *c, uint32_t input)
{
    return infer_has(c, input) ? c->io->dtypes[input] : LEGO_DTYPE_UNKNOWN;
}

const struct lego_shape *infer_input(const struct infer_context *c, uint32_t input)
{
    static const struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    return infer_has(c, input) ? &c->io->shapes[input] : &open;
}

int infer_rank(const struct infer_context *c, uint32_t input)
{
    return infer_input(c, input)->rank;
}

void infer_set(const struct infer_context *c, uint32_t output, enum lego_dtype dtype,
               const struct lego_shape *shape)
{
    if (output >= c->io->node->output_count)
        return;
    c->io->ret_dtypes[output] = dtype;
    c->io->ret_shapes[output] = *shape;
}

void infer_set_open(const struct infer_context *c, uint32_t output, enum lego_dtype dtype)
{
    struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
    infer_set(c, output, dtype, &open);
}

int infer_want_types(const struct infer_context *c, uint32_t input, unsigned types)
{
    enum lego_dtype dtype = infer_dtype(c, input);
    if (dtype == LEGO_DTYPE_UNKNOWN || infer_type_in(dtype, types))
        return LEGO_OK;
    return infer_fail(c, LEGO_E_TYPE, "input %u may not be %s", input, lego_dtype_name(dtype));
}

int infer_want_same_type(const struct infer_context *c, uint32_t as, uint32_t first, uint32_t last)
{
    enum lego_dtype want = infer_dtype(c, as);
    for (uint32_t i = first; i <= last && i < c->io->node->input_count; i++) {
        enum lego_dtype have = infer_dtype(c, i);
        if (want != LEGO_DTYPE_UNKNOWN && have != LEGO_DTYPE_UNKNOWN && have != want)
            return infer_fail(c, LEGO_E_TYPE, "input %u is %s, not %s as input %u", i,
                              lego_dtype_name(have), lego_dtype_name(want), as);
    }
    return LEGO_OK;
}

int infer_want_rank(const struct infer_context *c, uint32_t input, int rank)
{
    int have = infer_rank(c, input);
    if (have == LEGO_RANK_UNKNOWN || have == rank)
        return LEGO_OK;
    return infer_fail(c, LEGO_E_SHAPE, "input %u has rank %d, not %d", input, have, rank);
}

int infer_want_vector(const struct infer_context *c, uint32_t input, int64_t count)
{
    const struct lego_shape *shape = infer_input(c, input);
    int64_t merged;
    if (shape->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    if (shape->rank == 1 && infer_dim_merge(shape->dim[0], count, &merged))
        return LEGO_OK;
    char text[128];
    return infer_fail(c, LEGO_E_SHAPE, "input %u is %s, expected [%lld]", input,
                      lego_shape_format(shape, c->io->graph, text, sizeof(text)), (long long)count);
}

struct lego_shape infer_open_shape(int rank)
{
    struct lego_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++)
        shape.dim[i] = LEGO_DIM_UNKNOWN;
    return shape;
}

bool infer_dim_merge(int64_t a, int64_t b, int64_t *ret_dim)
{
    if (a >= 0 && b >= 0 && a != b)
        return false;
    if (a >= 0 || b == LEGO_DIM_UNKNOWN)
        *ret_dim = a;
    else
        *ret_dim = b;
    return true;
}

bool infer_count(const struct infer_context *c, uint32_t input, size_t *ret_count)
{
    const struct lego_shape *shape = infer_input(c, input);
    return shape->rank != LEGO_RANK_UNKNOWN && lego_shape_elems(shape, ret_count) == LEGO_OK;
}

struct infer_elem infer_element(const struct infer_context *c, uint32_t input, size_t index)
{
    struct infer_elem open = {.kind = INFER_OPEN};
    if (!infer_has(c, input))
        return open;
    const struct lego_array *constant = c->io->constants ? c->io->constants[input] : NULL;
    if (constant) {
        size_t count;
        if (lego_shape_elems(&constant->shape, &count) != LEGO_OK || index >= count ||
            !infer_type_in(constant->dtype, LEGO_TYPES_INTEGER | LEGO_TYPES_BOOL))
            return open;
        return (struct infer_elem){INFER_VALUE, eval_get_int(constant, index)};
    }
    const struct infer_content *content = c->contents ? c->contents[input] : NULL;
    return content && index < content->count ? content->elems[index] : open;
}

int infer_ints(const struct infer_context *c, uint32_t input, size_t max, int64_t *ret_values,
               size_t *ret_count)
{
    size_t count;
    int status = infer_want_types(c, input, LEGO_TYPES_INDEX);
    if (status != LEGO_OK)
        return status;
    if (infer_rank(c, input) > 1)
        return infer_fail(c, LEGO_E_SHAPE, "input %u must be a vector", input);
    if (!infer_count(c, input, &count))
        return 0;
    if (count > max)
        return infer_fail(c, LEGO_E_LIMIT, "input %u has %zu elements, more than %zu", input, count,
                          max);
    for (size_t i = 0; i < count; i++) {
        struct infer_elem elem = infer_element(c, input, i);
        if (elem.kind != INFER_VALUE)
            return 0;
        ret_values[i] = elem.value;
    }
    *ret_count = count;
    return 1;
}

int infer_real(const struct infer_context *c, uint32_t input, size_t index, double *ret_value)
{
    const struct lego_array *constant =
        infer_has(c, input) && c->io->constants ? c->io->constants[input] : NULL;
    size_t count;
    if (constant && lego_shape_elems(&constant->shape, &count) == LEGO_OK && index < count) {
        *ret_value = eval_get_real(constant, index);
        return 1;
    }
    struct infer_elem elem = infer_element(c, input, index);
    if (elem.kind != INFER_VALUE)
        return 0;
    *ret_value = (double)elem.value;
    return 1;
}

int infer_axis(const struct infer_context *c, int64_t axis, int rank, int *ret_axis)
{
    if (axis < -rank || axis >= rank)
        return infer_fail(c, LEGO_E_INVALID, "axis %lld is outside rank %d", (long long)axis, rank);
    *ret_axis = (int)(axis < 0 ? axis + rank : axis);
    return LEGO_OK;
}

int infer_axes(const struct infer_context *c, const int64_t *axes, size_t count, int rank,
               unsigned *ret_mask)
{
    unsigned mask = 0;
    for (size_t i = 0; i < count; i++) {
        int axis, status = infer_axis(c, axes[i], rank, &axis);
        if (status != LEGO_OK)
            return status;
        if (mask >> axis & 1u)
            return infer_fail(c, LEGO_E_INVALID, "axis %d is given twice", axis);
        mask |= 1u << axis;
    }
    *ret_mask = mask;
    return LEGO_OK;
}

/* One dimension of a broadcast; false where the sizes do not fit. */
static bool broadcast_dim(int64_t a, int64_t b, int64_t *ret_dim)
{
    if (a == 1 || a == b)
        *ret_dim = b;
    else if (b == 1)
        *ret_dim = a;
    else if (a >= 0 && b >= 0)
        return false;
    else if (a >= 0 || b >= 0) /* an open size can only be 1 or the other one */
        *ret_dim = a >= 0 ? a : b;
    else
        *ret_dim = LEGO_DIM_UNKNOWN;
    return true;
}

int infer_broadcast(const struct infer_context *c, uint32_t first, uint32_t count,
                    struct lego_shape *ret_shape)
{
    struct lego_shape out = {.rank = 0};
    for (uint32_t i = first; i < first + count; i++) {
        const struct lego_shape *in = infer_input(c, i);
        if (in->rank == LEGO_RANK_UNKNOWN) {
            ret_shape->rank = LEGO_RANK_UNKNOWN;
            return LEGO_OK;
        }
        int rank = in->rank > out.rank ? in->rank : out.rank;
        struct lego_shape next = {.rank = rank};
        for (int d = 0; d < rank; d++) {
            int at_in = d - (rank - in->rank), at_out = d - (rank - out.rank);
            int64_t a = at_in >= 0 ? in->dim[at_in] : 1;
            int64_t b = at_out >= 0 ? out.dim[at_out] : 1;
            if (!broadcast_dim(b, a, &next.dim[d])) {
                char x[128], y[128];
                return infer_fail(c, LEGO_E_SHAPE, "input %u %s does not broadcast with %s", i,
                                  lego_shape_format(in, c->io->graph, x, sizeof(x)),
                                  lego_shape_format(&out, c->io->graph, y, sizeof(y)));
            }
        }
        out = next;
    }
    *ret_shape = out;
    return LEGO_OK;
}

int infer_int_in(const struct infer_context *c, const char *name, int64_t otherwise, int64_t min,
                 int64_t max, int64_t *ret_value)
{
    int64_t value = lego_node_int(c->io->node, name, otherwise);
    if (value < min || value > max)
        return infer_fail(c, LEGO_E_INVALID, "%s is %lld, not %lld to %lld", name, (long long)value,
                          (long long)min, (long long)max);
    *ret_value = value;
    return LEGO_OK;
}
