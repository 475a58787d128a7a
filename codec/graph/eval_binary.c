/*
 * Elementwise operators of several inputs, with multidirectional broadcasting.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

#define CHUNK 256

/* Lines of the output with their offsets into broadcast inputs. */
struct walk {
    struct eval_odometer outer;
    int inputs;
    size_t lines, line_elems;
    int64_t (*strides)[LEGO_MAX_RANK]; /* [inputs], of the outer axes */
    int64_t *steps;                    /* [inputs], along a line */
    int64_t *offsets;                  /* [inputs], of the present line */
};

/* True when axes d and d+1 are one run in every input. */
static bool axes_join(const int64_t (*strides)[LEGO_MAX_RANK], int inputs, int d, int64_t next)
{
    for (int k = 0; k < inputs; k++) {
        if (strides[k][d] != strides[k][d + 1] * next)
            return false;
    }
    return true;
}

static int walk_begin(const struct eval_context *c, int inputs, struct walk *walk)
{
    const struct lego_shape *shape = &eval_out(c, 0)->shape;
    *walk = (struct walk){.inputs = inputs, .lines = 1, .line_elems = 1};
    walk->strides = eval_scratch(c, (size_t)inputs, sizeof(*walk->strides));
    walk->steps = eval_scratch(c, (size_t)inputs, sizeof(*walk->steps));
    walk->offsets = eval_scratch(c, (size_t)inputs, sizeof(*walk->offsets));
    if (!walk->strides || !walk->steps || !walk->offsets)
        return LEGO_E_NOMEM;
    for (int k = 0; k < inputs; k++)
        eval_broadcast_strides(&eval_in(c, (uint32_t)k)->shape, shape, walk->strides[k]);
    int last = shape->rank - 1;
    if (last >= 0) {
        walk->line_elems = (size_t)shape->dim[last];
        for (int k = 0; k < inputs; k++)
            walk->steps[k] = walk->strides[k][last];
    }
    while (last > 0 && axes_join((const int64_t(*)[LEGO_MAX_RANK])walk->strides, inputs, last - 1,
                                 shape->dim[last])) {
        last--;
        walk->line_elems *= (size_t)shape->dim[last];
    }
    walk->outer.rank = last < 0 ? 0 : last;
    for (int d = 0; d < walk->outer.rank; d++) {
        walk->outer.dims[d] = shape->dim[d];
        walk->lines *= (size_t)shape->dim[d];
    }
    return LEGO_OK;
}

static void walk_next(struct walk *walk)
{
    eval_advance(&walk->outer, walk->inputs, walk->offsets,
                 (const int64_t(*)[LEGO_MAX_RANK])walk->strides);
}

typedef void (*binary_real_fn)(size_t n, const double *x, const double *y, double *out);
/* False on a division by zero. `u64`: the values are uint64. */
typedef bool (*binary_int_fn)(size_t n, const int64_t *x, const int64_t *y, int64_t *out, bool u64);

#define BINARY_REAL(name, expression)                                                \
    static void real_##name(size_t n, const double *x, const double *y, double *out) \
    {                                                                                \
        for (size_t i = 0; i < n; i++) {                                             \
            double a = x[i], b = y[i];                                               \
            out[i] = (expression);                                                   \
        }                                                                            \
    }
#define BINARY_INT(name, expression)                                                             \
    static bool int_##name(size_t n, const int64_t *x, const int64_t *y, int64_t *out, bool u64) \
    {                                                                                            \
        (void)u64;                                                                               \
        for (size_t i = 0; i < n; i++) {                                                         \
            int64_t a = x[i], b = y[i];                                                          \
            out[i] = (int64_t)(expression);                                                      \
        }                                                                                        \
        return true;                                                                             \
    }
/* As above, for what fails on b == 0. */
#define BINARY_INT_DIV(name, expression)                                                         \
    static bool int_##name(size_t n, const int64_t *x, const int64_t *y, int64_t *out, bool u64) \
    {                                                                                            \
        for (size_t i = 0; i < n; i++) {                                                         \
            int64_t a = x[i], b = y[i];                                                          \
            if (b == 0)                                                                          \
                return false;                                                                    \
            out[i] = (int64_t)(expression);                                                      \
        }                                                                                        \
        return true;                                                                             \
    }

/* INT64_MIN / -1 wraps. */
static int64_t divide(int64_t a, int64_t b, bool u64)
{
    if (u64)
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

/* Python's %: the sign of the divisor. */
static int64_t modulo(int64_t a, int64_t b, bool u64)
{
    if (u64)
        return (int64_t)((uint64_t)a % (uint64_t)b);
    int64_t rest = b == -1 ? 0 : a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static int64_t remainder_c(int64_t a, int64_t b, bool u64)
{
    if (u64)
        return (int64_t)((uint64_t)a % (uint64_t)b);
    return b == -1 ? 0 : a % b;
}

static int64_t power(int64_t base, int64_t exponent)
{
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
    uint64_t result = 1, square = (uint64_t)base;
    for (uint64_t e = (uint64_t)exponent; e > 0; e >>= 1) {
        if (e & 1)
            result *= square;
        square *= square;
    }
    return (int64_t)result;
}

static bool less(int64_t a, int64_t b, bool u64)
{
    return u64 ? (uint64_t)a < (uint64_t)b : a < b;
}

static uint64_t shift(uint64_t value, uint64_t by, bool left)
{
    return by >= 64 ? 0 : left ? value << by : value >> by;
}

/* NaN in, NaN out, as numpy.maximum. */
static double max_real(double a, double b)
{
    return isnan(a) || a > b ? a : b;
}

static double min_real(double a, double b)
{
    return isnan(a) || a < b ? a : b;
}

BINARY_REAL(Add, a + b)
BINARY_REAL(Sub, a - b)
BINARY_REAL(Mul, a *b)
BINARY_REAL(Div, a / b)
BINARY_REAL(Mod, fmod(a, b))
BINARY_REAL(Pow, pow(a, b))
BINARY_REAL(PRelu, a < 0 ? a * b : a)
BINARY_REAL(Equal, a == b)
BINARY_REAL(Greater, a > b)
BINARY_REAL(GreaterOrEqual, a >= b)
BINARY_REAL(Less, a < b)
BINARY_REAL(LessOrEqual, a <= b)
BINARY_REAL(Max, max_real(a, b))
BINARY_REAL(Min, min_real(a, b))

BINARY_INT(Add, (uint64_t)a + (uint64_t)b)
BINARY_INT(Sub, (uint64_t)a - (uint64_t)b)
BINARY_INT(Mul, (uint64_t)a *(uint64_t)b)
BINARY_INT_DIV(Div, divide(a, b, u64))
BINARY_INT_DIV(Mod, modulo(a, b, u64))
BINARY_INT_DIV(ModC, remainder_c(a, b, u64))
BINARY_INT(Pow, power(a, b))
BINARY_INT(PRelu, a < 0 && !u64 ? (int64_t)((uint64_t)a * (uint64_t)b) : a)
BINARY_INT(BitwiseAnd, a &b)
BINARY_INT(BitwiseOr, a | b)
BINARY_INT(BitwiseXor, a ^ b)
BINARY_INT(ShiftLeft, shift((uint64_t)a, (uint64_t)b, true))
BINARY_INT(ShiftRight, shift((uint64_t)a, (uint64_t)b, false))
BINARY_INT(And, a &&b)
BINARY_INT(Or, a || b)
BINARY_INT(Xor, !a != !b)
BINARY_INT(Equal, a == b)
BINARY_INT(Greater, less(b, a, u64))
BINARY_INT(GreaterOrEqual, !less(a, b, u64))
BINARY_INT(Less, less(a, b, u64))
BINARY_INT(LessOrEqual, !less(b, a, u64))
BINARY_INT(Max, less(a, b, u64) ? b : a)
BINARY_INT(Min, less(b, a, u64) ? b : a)

static const struct {
    binary_real_fn real;
    binary_int_fn integer;
} table[LEGO_OP_COUNT] = {
#define BOTH(name)    [LEGO_OP_##name] = {real_##name, int_##name}
#define INTEGER(name) [LEGO_OP_##name] = {NULL, int_##name}
    BOTH(Add),
    BOTH(Sub),
    BOTH(Mul),
    BOTH(Div),
    BOTH(Mod),
    BOTH(Pow),
    BOTH(PRelu),
    BOTH(Equal),
    BOTH(Greater),
    BOTH(GreaterOrEqual),
    BOTH(Less),
    BOTH(LessOrEqual),
    BOTH(Max),
    BOTH(Min),
    INTEGER(BitwiseAnd),
    INTEGER(BitwiseOr),
    INTEGER(BitwiseXor),
    INTEGER(And),
    INTEGER(Or),
    INTEGER(Xor),
    [LEGO_OP_Sum] = {real_Add, int_Add},
    [LEGO_OP_Mean] = {real_Add, int_Add},
    [LEGO_OP_BitShift] = {NULL, int_ShiftRight},
};

static int divided_by_zero(const struct eval_context *c)
{
    return eval_fail(c, LEGO_E_INVALID, "integer division by zero");
}

static int run_real(const struct eval_context *c, struct walk *walk, binary_real_fn map)
{
    double x[CHUNK], y[CHUNK];
    struct lego_array *out = eval_out(c, 0);
    for (size_t line = 0, at = 0; line < walk->lines; line++, walk_next(walk)) {
        for (size_t i = 0; i < walk->line_elems; i += CHUNK) {
            size_t n = lego_min_size(CHUNK, walk->line_elems - i);
            int64_t done = (int64_t)i;
            eval_load_real(eval_in(c, 0), walk->offsets[0] + done * walk->steps[0], walk->steps[0],
                           n, x);
            eval_load_real(eval_in(c, 1), walk->offsets[1] + done * walk->steps[1], walk->steps[1],
                           n, y);
            map(n, x, y, x);
            eval_activate_real(c->node, x, n);
            eval_store_real(out, at, n, x);
            at += n;
        }
    }
    return LEGO_OK;
}

static int run_int(const struct eval_context *c, struct walk *walk, binary_int_fn map)
{
    int64_t x[CHUNK], y[CHUNK];
    struct lego_array *out = eval_out(c, 0);
    bool u64 = eval_in(c, 0)->dtype == LEGO_DTYPE_UINT64;
    for (size_t line = 0, at = 0; line < walk->lines; line++, walk_next(walk)) {
        for (size_t i = 0; i < walk->line_elems; i += CHUNK) {
            size_t n = lego_min_size(CHUNK, walk->line_elems - i);
            int64_t done = (int64_t)i;
            eval_load_int(eval_in(c, 0), walk->offsets[0] + done * walk->steps[0], walk->steps[0],
                          n, x);
            eval_load_int(eval_in(c, 1), walk->offsets[1] + done * walk->steps[1], walk->steps[1],
                          n, y);
            if (!map(n, x, y, x, u64))
                return divided_by_zero(c);
            eval_store_int(out, at, n, x);
            at += n;
        }
    }
    return LEGO_OK;
}

int eval_binary(const struct eval_context *c)
{
    const struct lego_node *node = c->node;
    struct lego_array *out = eval_out(c, 0);
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    struct walk walk;
    int status = walk_begin(c, 2, &walk);
    if (status != LEGO_OK)
        return status;
    bool real = eval_is_real(eval_in(c, 0)->dtype) || eval_is_real(eval_in(c, 1)->dtype);
    if (real)
        return run_real(c, &walk, table[node->op].real);
    binary_int_fn map = table[node->op].integer;
    if (node->op == LEGO_OP_Mod && lego_node_int(node, "fmod", 0))
        map = int_ModC;
    if (node->op == LEGO_OP_BitShift &&
        strcmp(lego_node_string(node, "direction", "RIGHT"), "LEFT") == 0)
        map = int_ShiftLeft;
    return run_int(c, &walk, map);
}

static void variadic_real(const struct eval_context *c, const struct walk *walk, size_t from,
                          size_t n, double *sum)
{
    double y[CHUNK];
    for (int k = 0; k < walk->inputs; k++) {
        double *to = k == 0 ? sum : y;
        eval_load_real(eval_in(c, (uint32_t)k), walk->offsets[k] + (int64_t)from * walk->steps[k],
                       walk->steps[k], n, to);
        if (k > 0)
            table[c->node->op].real(n, sum, y, sum);
    }
    for (size_t i = 0; c->node->op == LEGO_OP_Mean && i < n; i++)
        sum[i] /= walk->inputs;
}

static void variadic_int(const struct eval_context *c, const struct walk *walk, size_t from,
                         size_t n, int64_t *sum)
{
    int64_t y[CHUNK];
    bool u64 = eval_in(c, 0)->dtype == LEGO_DTYPE_UINT64;
    for (int k = 0; k < walk->inputs; k++) {
        int64_t *to = k == 0 ? sum : y;
        eval_load_int(eval_in(c, (uint32_t)k), walk->offsets[k] + (int64_t)from * walk->steps[k],
                      walk->steps[k], n, to);
        if (k > 0)
            table[c->node->op].integer(n, sum, y, sum, u64);
    }
    for (size_t i = 0; c->node->op == LEGO_OP_Mean && i < n; i++)
        sum[i] = divide(sum[i], walk->inputs, u64);
}

int eval_variadic(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct walk walk;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int status = walk_begin(c, (int)c->node->input_count, &walk);
    if (status != LEGO_OK)
        return status;
    bool real = eval_is_real(out->dtype);
    for (size_t line = 0, at = 0; line < walk.lines; line++, walk_next(&walk)) {
        for (size_t i = 0; i < walk.line_elems; i += CHUNK) {
            size_t n = lego_min_size(CHUNK, walk.line_elems - i);
            double reals[CHUNK];
            int64_t ints[CHUNK];
            if (real) {
                variadic_real(c, &walk, i, n, reals);
                eval_store_real(out, at, n, reals);
            } else {
                variadic_int(c, &walk, i, n, ints);
                eval_store_int(out, at, n, ints);
            }
            at += n;
        }
    }
    return LEGO_OK;
}

int eval_where(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct walk walk;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    int status = walk_begin(c, 3, &walk);
    if (status != LEGO_OK)
        return status;
    size_t bytes = lego_dtype_bytes(out->dtype);
    char *to = out->data;
    for (size_t line = 0; line < walk.lines; line++, walk_next(&walk)) {
        const uint8_t *condition = (const uint8_t *)eval_in(c, 0)->data + walk.offsets[0];
        for (size_t i = 0; i < walk.line_elems; i++, to += bytes) {
            int pick = condition[(int64_t)i * walk.steps[0]] ? 1 : 2;
            int64_t from = walk.offsets[pick] + (int64_t)i * walk.steps[pick];
            memcpy(to, (const char *)eval_in(c, (uint32_t)pick)->data + (size_t)from * bytes,
                   bytes);
        }
    }
    return LEGO_OK;
}
