/*
 * Inference of matrix products and recurrent layers.
 */
#include "codec/graph/infer_node.h"

#include <string.h>

int infer_gemm(const struct infer_context *c)
{
    const struct lego_shape *a = infer_input(c, 0), *b = infer_input(c, 1);
    int status = infer_want_same_type(c, 0, 1, 2);
    for (uint32_t i = 0; i < 2 && status == LEGO_OK; i++)
        status = infer_want_rank(c, i, 2);
    infer_set_open(c, 0, infer_dtype(c, 0));
    if (status != LEGO_OK)
        return status;
    bool at = lego_node_int(c->io->node, "transA", 0), bt = lego_node_int(c->io->node, "transB", 0);
    struct lego_shape out = infer_open_shape(2);
    int64_t k;
    if (a->rank != LEGO_RANK_UNKNOWN)
        out.dim[0] = a->dim[at];
    if (b->rank != LEGO_RANK_UNKNOWN)
        out.dim[1] = b->dim[!bt];
    if (a->rank != LEGO_RANK_UNKNOWN && b->rank != LEGO_RANK_UNKNOWN &&
        !infer_dim_merge(a->dim[!at], b->dim[bt], &k))
        return infer_fail(c, LEGO_E_SHAPE, "A has %lld columns, B has %lld rows",
                          (long long)a->dim[!at], (long long)b->dim[bt]);
    infer_set(c, 0, infer_dtype(c, 0), &out);
    const struct lego_shape *bias = infer_input(c, 2);
    if (bias->rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    bool fits = bias->rank <= 2;
    for (int d = 0; fits && d < bias->rank; d++) {
        int64_t have = bias->dim[d], want = out.dim[d + 2 - bias->rank];
        fits = have == 1 || have < 0 || want < 0 || have == want;
    }
    return fits ? LEGO_OK : infer_fail(c, LEGO_E_SHAPE, "C does not broadcast to A * B");
}

/* numpy.matmul: vectors are widened and their dimension dropped again. */
static int matmul_shape(const struct infer_context *c, uint32_t ai, uint32_t bi,
                        enum lego_dtype dtype)
{
    struct lego_shape a = *infer_input(c, ai), b = *infer_input(c, bi);
    infer_set_open(c, 0, dtype);
    if (a.rank == LEGO_RANK_UNKNOWN || b.rank == LEGO_RANK_UNKNOWN)
        return LEGO_OK;
    if (a.rank == 0 || b.rank == 0)
        return infer_fail(c, LEGO_E_SHAPE, "a scalar cannot be multiplied as a matrix");
    bool row = a.rank == 1, column = b.rank == 1;
    if (row)
        a = (struct lego_shape){.rank = 2, .dim = {1, a.dim[0]}};
    if (column)
        b = (struct lego_shape){.rank = 2, .dim = {b.dim[0], 1}};
    int64_t k;
    if (!infer_dim_merge(a.dim[a.rank - 1], b.dim[b.rank - 2], &k))
        return infer_fail(c, LEGO_E_SHAPE, "A has %lld columns, B has %lld rows",
                          (long long)a.dim[a.rank - 1], (long long)b.dim[b.rank - 2]);
    int rank = a.rank > b.rank ? a.rank : b.rank;
    struct lego_shape out = {.rank = 0};
    for (int d = 0; d < rank - 2; d++) {
        int da = d - (rank - a.rank), db = d - (rank - b.rank);
        int64_t x = da >= 0 ? a.dim[da] : 1, y = db >= 0 ? b.dim[db] : 1;
        if (x == 1 || x == y)
            out.dim[out.rank++] = y;
        else if (y == 1 || y < 0)
            out.dim[out.rank++] = x < 0 ? LEGO_DIM_UNKNOWN : x;
        else if (x < 0)
            out.dim[out.rank++] = y;
        else
            return infer_fail(c, LEGO_E_SHAPE, "batch dimensions %lld and %lld", (long long)x,
                              (long long)y);
        if (y == 1)
            out.dim[out.rank - 1] = x;
    }
    if (!row)
        out.dim[out.rank++] = a.dim[a.rank - 2];
    if (!column)
        out.dim[out.rank++] = b.dim[b.rank - 1];
    infer_set(c, 0, dtype, &out);
    return LEGO_OK;
}

int infer_matmul(const struct infer_context *c)
{
    int status = infer_want_same_type(c, 0, 1, 1);
    return status == LEGO_OK ? matmul_shape(c, 0, 1, infer_dtype(c, 0)) : status;
}

/* A zero point or scale: one number, or a vector along a known axis (which evaluation checks). */
static int want_quantum(const struct infer_context *c, uint32_t input)
{
    int rank = infer_rank(c, input);
    if (rank == LEGO_RANK_UNKNOWN || rank <= 1)
        return LEGO_OK;
    return infer_fail(c, LEGO_E_UNSUPPORTED, "input %u has rank %d; scalars and vectors only",
                      input, rank);
}

/* Checks that input `q` has one element or as many as the given row or column dimension. */
static int want_per_line(const struct infer_context *c, uint32_t q, int64_t lines)
{
    size_t count;
    int status = want_quantum(c, q);
    if (status != LEGO_OK || !infer_has(c, q) || !infer_count(c, q, &count) || lines < 0)
        return status;
    if (count == 1 || (int64_t)count == lines)
        return LEGO_OK;
    return infer_fail(c, LEGO_E_SHAPE, "input %u has %zu elements, not 1 or %lld", q, count,
                      (long long)lines);
}

static int64_t dim_from_end(const struct lego_shape *shape, int from_end)
{
    return shape->rank >= from_end ? shape->dim[shape->rank - from_end] : 1;
}

int infer_matmul_integer(const struct infer_context *c)
{
    int status = infer_want_types(c, 0, LEGO_TYPES_BYTE);
    if (status == LEGO_OK)
        status = infer_want_types(c, 1, LEGO_TYPES_BYTE);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 2, 2);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 1, 3, 3);
    if (status == LEGO_OK)
        status = want_per_line(c, 2, dim_from_end(infer_input(c, 0), 2));
    if (status == LEGO_OK)
        status = want_per_line(c, 3, dim_from_end(infer_input(c, 1), 1));
    return status == LEGO_OK ? matmul_shape(c, 0, 1, LEGO_DTYPE_INT32) : status;
}

int infer_qlinear_matmul(const struct infer_context *c)
{
    static const unsigned types[8] = {
        LEGO_TYPES_BYTE,     INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,     LEGO_TYPES_BYTE,
        INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,     INFER_TYPE(FLOAT32), LEGO_TYPES_BYTE,
    };
    int64_t rows = dim_from_end(infer_input(c, 0), 2), columns = dim_from_end(infer_input(c, 3), 1);
    const int64_t lines[8] = {-1, rows, rows, -1, columns, columns, 1, 1};
    for (uint32_t i = 0; i < 8; i++) {
        int status = infer_want_types(c, i, types[i]);
        if (status == LEGO_OK && lines[i] >= 0 && i != 0 && i != 3)
            status = want_per_line(c, i, lines[i]);
        if (status != LEGO_OK)
            return status;
    }
    return matmul_shape(c, 0, 3, infer_dtype(c, 7));
}

int infer_quantize(const struct infer_context *c)
{
    int64_t wanted = lego_node_int(c->io->node, "output_dtype", 0);
    enum lego_dtype dtype = infer_has(c, 2) ? infer_dtype(c, 2)
                            : wanted        ? (enum lego_dtype)wanted
                                            : LEGO_DTYPE_UINT8;
    int status = infer_want_types(c, 0, LEGO_TYPES_FLOAT | INFER_TYPE(INT32));
    if (status == LEGO_OK)
        status = infer_want_types(c, 1, LEGO_TYPES_FLOAT);
    if (dtype != LEGO_DTYPE_UNKNOWN &&
        !infer_type_in(dtype, LEGO_TYPES_BYTE | INFER_TYPE(INT16) | INFER_TYPE(UINT16)))
        return infer_fail(c, LEGO_E_UNSUPPORTED, "output type %d", (int)dtype);
    infer_set(c, 0, dtype, infer_input(c, 0));
    return status;
}

int infer_dequantize(const struct infer_context *c)
{
    int status = infer_want_types(c, 1, LEGO_TYPES_FLOAT);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 2, 2);
    infer_set(c, 0, infer_dtype(c, 1), infer_input(c, 0));
    return status;
}

int infer_dynamic_quantize(const struct infer_context *c)
{
    struct lego_shape scalar = {.rank = 0};
    infer_set(c, 0, LEGO_DTYPE_UINT8, infer_input(c, 0));
    infer_set(c, 1, LEGO_DTYPE_FLOAT32, &scalar);
    infer_set(c, 2, LEGO_DTYPE_UINT8, &scalar);
    return infer_want_types(c, 0, INFER_TYPE(FLOAT32));
}

/* Checks [directions, rows, columns] of an input, where known (-1: any). */
static int want_block(const struct infer_context *c, uint32_t input, int rank, const int64_t *dims)
{
    const struct lego_shape *shape = infer_input(c, input);
    int64_t merged;
    int status = infer_want_rank(c, input, rank);
    for (int d = 0; status == LEGO_OK && shape->rank != LEGO_RANK_UNKNOWN && d < rank; d++) {
        if (dims[d] >= 0 && !infer_dim_merge(shape->dim[d], dims[d], &merged))
            status = infer_fail(c, LEGO_E_SHAPE, "input %u has %lld in axis %d, not %lld", input,
                                (long long)shape->dim[d], d, (long long)dims[d]);
    }
    return status;
}

static int rnn_directions(const struct infer_context *c, int64_t *ret_count)
{
    const char *direction = lego_node_string(c->io->node, "direction", "forward");
    *ret_count = 1 + (strcmp(direction, "bidirectional") == 0);
    if (*ret_count == 1 && strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0)
        return infer_fail(c, LEGO_E_INVALID, "direction '%s' is not known", direction);
    return LEGO_OK;
}

static int rnn_inputs(const struct infer_context *c, int64_t gates, int64_t dirs, int64_t hidden)
{
    const struct lego_shape *x = infer_input(c, 0);
    bool batch_first = lego_node_int(c->io->node, "layout", 0) != 0;
    int64_t batch = x->rank == 3 ? x->dim[!batch_first] : -1;
    int64_t width = x->rank == 3 ? x->dim[2] : -1;
    const int64_t w[] = {dirs, gates * hidden, width}, r[] = {dirs, gates * hidden, hidden};
    const int64_t b[] = {dirs, 2 * gates * hidden}, p[] = {dirs, 3 * hidden};
    const int64_t states[] = {batch_first ? batch : dirs, batch_first ? dirs : batch, hidden};
    int status = want_block(c, 1, 3, w);
    if (status == LEGO_OK)
        status = want_block(c, 2, 3, r);
    if (status == LEGO_OK)
        status = want_block(c, 3, 2, b);
    if (status == LEGO_OK)
        status = want_block(c, 4, 1, &batch);
    if (status == LEGO_OK)
        status = infer_want_types(c, 4, INFER_TYPE(INT32));
    if (status == LEGO_OK)
        status = want_block(c, 5, 3, states);
    if (status == LEGO_OK)
        status = want_block(c, 6, 3, states);
    if (status == LEGO_OK)
        status = want_block(c, 7, 2, p);
    if (status == LEGO_OK)
        status = infer_want_same_type(c, 0, 1, 3);
    return status == LEGO_OK ? infer_want_same_type(c, 0, 5, 7) : status;
}

int infer_rnn(const struct infer_context *c)
{
    enum lego_op op = c->io->node->op;
    int64_t gates = op == LEGO_OP_LSTM ? 4 : op == LEGO_OP_GRU ? 3 : 1, dirs, hidden, layout;
    const struct lego_shape *x = infer_input(c, 0), *r = infer_input(c, 2);
    int64_t width = r->rank == 3 ? r->dim[2] : LEGO_DIM_UNKNOWN;
    for (uint32_t i = 0; i < 3; i++)
        infer_set_open(c, i, infer_dtype(c, 0));
    int status = rnn_directions(c, &dirs);
    if (status == LEGO_OK)
        status = infer_want_rank(c, 0, 3);
    if (status == LEGO_OK)
        status = infer_int_in(c, "layout", 0, 0, 1, &layout);
    if (status == LEGO_OK && !lego_node_attr(c->io->node, "hidden_size") && width < 0)
        return LEGO_OK;
    if (status == LEGO_OK)
        status = infer_int_in(c, "hidden_size", width, 1, INT32_MAX, &hidden);
    if (status == LEGO_OK)
        status = rnn_inputs(c, gates, dirs, hidden);
    if (status != LEGO_OK || x->rank == LEGO_RANK_UNKNOWN)
        return status;
    int64_t seq = x->dim[layout ? 1 : 0], batch = x->dim[layout ? 0 : 1];
    struct lego_shape y = {.rank = 4, .dim = {seq, dirs, batch, hidden}};
    struct lego_shape last = {.rank = 3, .dim = {dirs, batch, hidden}};
    if (layout) {
        y = (struct lego_shape){.rank = 4, .dim = {batch, seq, dirs, hidden}};
        last = (struct lego_shape){.rank = 3, .dim = {batch, dirs, hidden}};
    }
    infer_set(c, 0, infer_dtype(c, 0), &y);
    infer_set(c, 1, infer_dtype(c, 0), &last);
    infer_set(c, 2, infer_dtype(c, 0), &last);
    return LEGO_OK;
}
