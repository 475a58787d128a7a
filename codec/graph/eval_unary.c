/*
 * Elementwise operators of one input, and the fused activations.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

#define CHUNK 256

typedef void (*unary_real_fn)(size_t n, double *x, double a, double b);
typedef void (*unary_int_fn)(size_t n, int64_t *x, double a, double b);

#define UNARY_REAL(name, expression)                                 \
    static void real_##name(size_t n, double *x, double a, double b) \
    {                                                                \
        (void)a;                                                     \
        (void)b;                                                     \
        for (size_t i = 0; i < n; i++) {                             \
            double v = x[i];                                         \
            x[i] = (expression);                                     \
        }                                                            \
    }
#define UNARY_INT(name, expression)                                  \
    static void int_##name(size_t n, int64_t *x, double a, double b) \
    {                                                                \
        (void)a;                                                     \
        (void)b;                                                     \
        for (size_t i = 0; i < n; i++) {                             \
            int64_t v = x[i];                                        \
            x[i] = (expression);                                     \
        }                                                            \
    }

static double sigmoid(double v)
{
    if (v >= 0)
        return 1 / (1 + exp(-v));
    double e = exp(v);
    return e / (1 + e);
}

static double softplus(double v)
{
    return fmax(v, 0) + log1p(exp(-fabs(v)));
}

/* fmin and fmax would swallow a NaN. */
static double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

static double gelu_tanh(double v)
{
    return 0.5 * v * (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
}

static int64_t shrink(int64_t v, double bias, double limit)
{
    double x = (double)v;
    return x < -limit ? eval_real_to_int(x + bias) : x > limit ? eval_real_to_int(x - bias) : 0;
}

UNARY_REAL(Relu, v < 0 ? 0 : v)
UNARY_REAL(Abs, fabs(v))
UNARY_REAL(Neg, -v)
UNARY_REAL(Sign, isnan(v) ? v : (double)((v > 0) - (v < 0)))
UNARY_REAL(LeakyRelu, v < 0 ? a * v : v)
UNARY_REAL(Elu, v < 0 ? a * expm1(v) : v)
UNARY_REAL(Selu, v > 0 ? b * v : b * a * expm1(v))
UNARY_REAL(Celu, v < 0 ? a * expm1(v / a) : v)
UNARY_REAL(ThresholdedRelu, v > a ? v : 0)
UNARY_REAL(HardSigmoid, clamp(a *v + b, 0, 1))
UNARY_REAL(HardSwish, v *clamp(v / 6 + 0.5, 0, 1))
UNARY_REAL(Mish, v *tanh(softplus(v)))
UNARY_REAL(Gelu, 0.5 * v * (1 + erf(v * 0.70710678118654752)))
UNARY_REAL(GeluTanh, gelu_tanh(v))
UNARY_REAL(Softplus, softplus(v))
UNARY_REAL(Softsign, v / (1 + fabs(v)))
UNARY_REAL(Sigmoid, sigmoid(v))
UNARY_REAL(Tanh, tanh(v))
UNARY_REAL(Erf, erf(v))
UNARY_REAL(Ceil, ceil(v))
UNARY_REAL(Floor, floor(v))
UNARY_REAL(Round, nearbyint(v))
UNARY_REAL(Sqrt, sqrt(v))
UNARY_REAL(Exp, exp(v))
UNARY_REAL(Log, log(v))
UNARY_REAL(Reciprocal, 1 / v)
UNARY_REAL(Sin, sin(v))
UNARY_REAL(Cos, cos(v))
UNARY_REAL(Tan, tan(v))
UNARY_REAL(Asin, asin(v))
UNARY_REAL(Acos, acos(v))
UNARY_REAL(Atan, atan(v))
UNARY_REAL(Sinh, sinh(v))
UNARY_REAL(Cosh, cosh(v))
UNARY_REAL(Asinh, asinh(v))
UNARY_REAL(Acosh, acosh(v))
UNARY_REAL(Atanh, atanh(v))
UNARY_REAL(Shrink, v<-b ? v + a : v> b ? v - a : 0)
UNARY_REAL(IsNaN, (double)isnan(v))
UNARY_REAL(IsInf, (double)(isinf(v) && (v < 0 ? a != 0 : b != 0)))
UNARY_REAL(Silu, v *sigmoid(v))
UNARY_REAL(Clamp, clamp(v, a, b))

UNARY_INT(Relu, v < 0 ? 0 : v)
UNARY_INT(Abs, v < 0 ? (int64_t)(0 - (uint64_t)v) : v)
UNARY_INT(Neg, (int64_t)(0 - (uint64_t)v))
UNARY_INT(Sign, (v > 0) - (v < 0))
UNARY_INT(Shrink, shrink(v, a, b))
UNARY_INT(BitwiseNot, ~v)
UNARY_INT(Not, !v)

/* Functions by operator, and the attributes that are their parameters a and b. */
struct unary {
    unary_real_fn real;
    unary_int_fn integer;
    const char *a_name, *b_name;
    float a, b; /* defaults */
};

static const struct unary table[LEGO_OP_COUNT] = {
#define REAL(name)      [LEGO_OP_##name] = {real_##name, NULL, NULL, NULL, 0, 0}
#define REAL_A(name, a) [LEGO_OP_##name] = {real_##name, NULL, "alpha", NULL, a, 0}
#define BOTH(name)      [LEGO_OP_##name] = {real_##name, int_##name, NULL, NULL, 0, 0}
#define INTEGER(name)   [LEGO_OP_##name] = {NULL, int_##name, NULL, NULL, 0, 0}
    BOTH(Relu),
    BOTH(Abs),
    BOTH(Neg),
    BOTH(Sign),
    REAL_A(LeakyRelu, 0.01f),
    REAL_A(Elu, 1),
    REAL_A(Celu, 1),
    REAL_A(ThresholdedRelu, 1),
    [LEGO_OP_Selu] = {real_Selu, NULL, "alpha", "gamma", 1.67326319217681884765625f,
                      1.05070102214813232421875f},
    [LEGO_OP_HardSigmoid] = {real_HardSigmoid, NULL, "alpha", "beta", 0.2f, 0.5f},
    [LEGO_OP_Shrink] = {real_Shrink, int_Shrink, "bias", "lambd", 0, 0.5f},
    REAL(HardSwish),
    REAL(Mish),
    REAL(Gelu),
    REAL(Softplus),
    REAL(Softsign),
    REAL(Sigmoid),
    REAL(Tanh),
    REAL(Erf),
    REAL(Ceil),
    REAL(Floor),
    REAL(Round),
    REAL(Sqrt),
    REAL(Exp),
    REAL(Log),
    REAL(Reciprocal),
    REAL(Sin),
    REAL(Cos),
    REAL(Tan),
    REAL(Asin),
    REAL(Acos),
    REAL(Atan),
    REAL(Sinh),
    REAL(Cosh),
    REAL(Asinh),
    REAL(Acosh),
    REAL(Atanh),
    REAL(IsNaN),
    REAL(IsInf),
    INTEGER(BitwiseNot),
    INTEGER(Not),
};

static void map_real(const struct lego_array *x, struct lego_array *out, unary_real_fn map,
                     double a, double b)
{
    double chunk[CHUNK];
    size_t count = eval_elems(out);
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = lego_min_size(CHUNK, count - at);
        eval_load_real(x, (int64_t)at, 1, n, chunk);
        map(n, chunk, a, b);
        eval_store_real(out, at, n, chunk);
    }
}

static void map_int(const struct lego_array *x, struct lego_array *out, unary_int_fn map, double a,
                    double b)
{
    int64_t chunk[CHUNK];
    size_t count = eval_elems(out);
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = lego_min_size(CHUNK, count - at);
        eval_load_int(x, (int64_t)at, 1, n, chunk);
        map(n, chunk, a, b);
        eval_store_int(out, at, n, chunk);
    }
}

int eval_unary(const struct eval_context *c)
{
    const struct lego_node *node = c->node;
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    const struct unary *unary = &table[node->op];
    unary_real_fn real = unary->real;
    double a = unary->a_name ? (double)lego_node_float(node, unary->a_name, unary->a) : 0;
    double b = unary->b_name ? (double)lego_node_float(node, unary->b_name, unary->b) : 0;
    if (!out || eval_elems(out) == 0)
        return LEGO_OK;
    if (node->op == LEGO_OP_Gelu &&
        strcmp(lego_node_string(node, "approximate", "none"), "tanh") == 0)
        real = real_GeluTanh;
    if (node->op == LEGO_OP_IsInf) {
        a = (double)lego_node_int(node, "detect_negative", 1);
        b = (double)lego_node_int(node, "detect_positive", 1);
    }
    bool unsigned_64 = x->dtype == LEGO_DTYPE_UINT64;
    if (eval_is_real(x->dtype))
        map_real(x, out, real, a, b);
    else if (unsigned_64 && (node->op == LEGO_OP_Relu || node->op == LEGO_OP_Abs))
        memcpy(out->data, x->data, eval_elems(x) * sizeof(uint64_t));
    else
        map_int(x, out, unary->integer, a, b);
    return LEGO_OK;
}

int eval_cast(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    bool from_int = !eval_is_real(x->dtype), to_int = !eval_is_real(out->dtype);
    if (from_int && (to_int || x->dtype != LEGO_DTYPE_UINT64)) {
        int64_t chunk[CHUNK];
        size_t count = eval_elems(out);
        for (size_t at = 0; at < count; at += CHUNK) {
            size_t n = lego_min_size(CHUNK, count - at);
            eval_load_int(x, (int64_t)at, 1, n, chunk);
            eval_store_int(out, at, n, chunk);
        }
        return LEGO_OK;
    }
    double chunk[CHUNK];
    size_t count = eval_elems(out);
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = lego_min_size(CHUNK, count - at);
        eval_load_real(x, (int64_t)at, 1, n, chunk);
        eval_store_real(out, at, n, chunk);
    }
    return LEGO_OK;
}

int eval_clip(const struct eval_context *c)
{
    const struct lego_array *x = eval_in(c, 0), *low = eval_in(c, 1), *high = eval_in(c, 2);
    struct lego_array *out = eval_out(c, 0);
    if (!out)
        return LEGO_OK;
    if (eval_is_real(x->dtype)) {
        double a = low ? eval_get_real(low, 0) : -INFINITY;
        double b = high ? eval_get_real(high, 0) : INFINITY;
        /* where the bounds cross, the upper one wins */
        map_real(x, out, real_Clamp, a > b ? b : a, b);
        return LEGO_OK;
    }
    int64_t chunk[CHUNK];
    uint64_t flip = x->dtype == LEGO_DTYPE_UINT64 ? (uint64_t)1 << 63 : 0;
    int64_t a = low ? (int64_t)((uint64_t)eval_get_int(low, 0) ^ flip) : INT64_MIN;
    int64_t b = high ? (int64_t)((uint64_t)eval_get_int(high, 0) ^ flip) : INT64_MAX;
    size_t count = eval_elems(out);
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = lego_min_size(CHUNK, count - at);
        eval_load_int(x, (int64_t)at, 1, n, chunk);
        for (size_t i = 0; i < n; i++) {
            int64_t v = (int64_t)((uint64_t)chunk[i] ^ flip);
            v = v < a ? a : v;
            v = v > b ? b : v;
            chunk[i] = (int64_t)((uint64_t)v ^ flip);
        }
        eval_store_int(out, at, n, chunk);
    }
    return LEGO_OK;
}

int eval_copy(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    if (out && eval_elems(out) > 0)
        memcpy(out->data, eval_in(c, 0)->data, eval_elems(out) * lego_dtype_bytes(out->dtype));
    return LEGO_OK;
}

int eval_dropout(const struct eval_context *c)
{
    struct lego_array *mask = eval_out(c, 1);
    if (mask && eval_elems(mask) > 0)
        memset(mask->data, 1, eval_elems(mask));
    return eval_copy(c);
}

void eval_activate_real(const struct lego_node *node, double *values, size_t count)
{
    static const unary_real_fn maps[] = {
        [LEGO_ACT_CLAMP] = real_Clamp,
        [LEGO_ACT_LEAKY_RELU] = real_LeakyRelu,
        [LEGO_ACT_SIGMOID] = real_Sigmoid,
        [LEGO_ACT_TANH] = real_Tanh,
        [LEGO_ACT_HARD_SIGMOID] = real_HardSigmoid,
        [LEGO_ACT_HARD_SWISH] = real_HardSwish,
        [LEGO_ACT_SILU] = real_Silu,
        [LEGO_ACT_GELU] = real_Gelu,
    };
    if (node->activation == LEGO_ACT_NONE)
        return;
    /* as if the node before had stored them */
    for (size_t i = 0; i < count; i++)
        values[i] = (double)(float)values[i];
    maps[node->activation](count, values, (double)node->act_lo, (double)node->act_hi);
}

void eval_activate(const struct lego_node *node, float *values, size_t count)
{
    double chunk[CHUNK];
    if (node->activation == LEGO_ACT_NONE)
        return;
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = lego_min_size(CHUNK, count - at);
        for (size_t i = 0; i < n; i++)
            chunk[i] = (double)values[at + i];
        eval_activate_real(node, chunk, n);
        for (size_t i = 0; i < n; i++)
            values[at + i] = (float)chunk[i];
    }
}
