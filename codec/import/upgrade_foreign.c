/*
 * Operators of other domains, as ONNX's own.
 *
 * Source: ContribOperators.md of github.com/microsoft/onnxruntime.
 */
#include "codec/import/upgrade.h"

#include <string.h>

int upgrade_gelu_erf(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft->attr_count = 0; /* it has none; ONNX's has `approximate` */
    return 0;
}

int upgrade_as_it_is(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    (void)draft;
    return 0;
}

static int too_few(struct import_builder *builder, const struct import_draft *draft)
{
    return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) has too few inputs", draft->name,
                     draft->type);
}

static bool has_inputs(const struct import_draft *draft, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= draft->input_count || draft->inputs[i] < 0)
            return false;
    return true;
}

static int32_t make_scalar(struct import_builder *builder, const struct import_draft *draft,
                           const char *what, float number)
{
    const struct lego_shape scalar = {.rank = 0};
    return import_make_constant(builder, draft, what, LEGO_DTYPE_FLOAT32, &scalar, &number);
}

/* x * sigmoid(alpha * x) */
int upgrade_quick_gelu(struct import_builder *builder, struct import_draft *draft)
{
    if (!has_inputs(draft, 1))
        return too_few(builder, draft);
    int32_t x = draft->inputs[0];
    int32_t value = make_scalar(builder, draft, "alpha", draft_float(draft, "alpha", 1.702f));
    if (value >= 0)
        value = upgrade_emit(builder, draft, LEGO_OP_Mul, 2, (int32_t[]){x, value}, 0, NULL);
    if (value >= 0)
        value = upgrade_emit(builder, draft, LEGO_OP_Sigmoid, 1, &value, 0, NULL);
    if (value < 0)
        return value;
    upgrade_become(draft, LEGO_OP_Mul, 2, (int32_t[]){x, value});
    return 0;
}

/* Gelu of x plus a bias: BiasGelu by erf, FastGelu by tanh and with an optional bias. */
int upgrade_bias_gelu(struct import_builder *builder, struct import_draft *draft)
{
    bool fast = strcmp(draft->type, "FastGelu") == 0;
    if (!has_inputs(draft, fast ? 1 : 2))
        return too_few(builder, draft);
    int32_t x = draft->inputs[0];
    if (has_inputs(draft, 2))
        x = upgrade_emit(builder, draft, LEGO_OP_Add, 2, draft->inputs, 0, NULL);
    if (x < 0)
        return x;
    upgrade_become(draft, LEGO_OP_Gelu, 1, &x);
    if (fast)
        draft_set_string(draft, "approximate", "tanh");
    return 0;
}

/* What a FusedConv or FusedGemm may apply; LEGO_OP_NONE for all others. */
static enum lego_op activation_op(const char *name)
{
    static const enum lego_op ops[] = {LEGO_OP_Relu,      LEGO_OP_Tanh, LEGO_OP_Sigmoid,
                                       LEGO_OP_LeakyRelu, LEGO_OP_Clip, LEGO_OP_HardSigmoid};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(name, lego_op_name(ops[i])) == 0)
            return ops[i];
    return LEGO_OP_NONE;
}

/* The parameters of a FusedConv's activation. */
static int set_parameters(struct import_builder *builder, struct import_draft *draft,
                          const struct lego_attr *params, const char *activation)
{
    const struct lego_shape scalar = {.rank = 0};
    size_t count = params && params->type == LEGO_ATTR_FLOATS ? params->count : 0;
    bool clip = draft->op == LEGO_OP_Clip;
    size_t want = clip || draft->op == LEGO_OP_HardSigmoid ? 2
                  : draft->op == LEGO_OP_LeakyRelu         ? 1
                                                           : 0;
    if (count < want)
        return lego_fail(builder->diag, LEGO_E_FORMAT,
                         "node '%s' (FusedConv): activation %s has %zu parameters", draft->name,
                         activation, count);
    for (size_t i = 0; i < want && !clip; i++)
        draft_set_float(draft, i ? "beta" : "alpha", params->floats[i]);
    for (size_t i = 0; i < want && clip; i++) {
        int32_t bound = import_make_constant(builder, draft, i ? "max" : "min", LEGO_DTYPE_FLOAT32,
                                             &scalar, &params->floats[i]);
        if (bound < 0)
            return bound;
        draft_set_input(draft, (uint32_t)i + 1, bound);
    }
    return 0;
}

/* Conv, a sum with a fourth input, an activation. */
int upgrade_fused_conv(struct import_builder *builder, struct import_draft *draft)
{
    const char *activation = draft_string(draft, "activation", "");
    const struct lego_attr *given = draft_attr(draft, "activation_params");
    const struct lego_attr params = given ? *given : (struct lego_attr){.name = ""};
    enum lego_op op = activation_op(activation);
    if (*activation && op == LEGO_OP_NONE)
        return upgrade_refuse(builder, draft, "an activation that is not read");
    draft_remove_attr(draft, "activation");
    draft_remove_attr(draft, "activation_params");
    if (draft->input_count < 2)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (FusedConv) has no weights",
                         draft->name);
    int32_t sum = draft->input_count > 3 ? draft->inputs[3] : -1;
    draft->input_count = draft->input_count > 3 ? 3 : draft->input_count;
    if (sum < 0 && op == LEGO_OP_NONE)
        return 0;
    int32_t value = upgrade_emit(builder, draft, LEGO_OP_Conv, draft->input_count, draft->inputs,
                                 draft->attr_count, draft->attrs);
    if (value >= 0 && sum >= 0 && op != LEGO_OP_NONE)
        value = upgrade_emit(builder, draft, LEGO_OP_Add, 2, (int32_t[]){value, sum}, 0, NULL);
    if (value < 0)
        return value;
    if (op == LEGO_OP_NONE) {
        upgrade_become(draft, LEGO_OP_Add, 2, (int32_t[]){value, sum});
        return 0;
    }
    upgrade_become(draft, op, 1, &value);
    return set_parameters(builder, draft, &params, activation);
}

/* Gemm and an activation, whose parameters are attributes of the whole. */
int upgrade_fused_gemm(struct import_builder *builder, struct import_draft *draft)
{
    static const char *const names[] = {"activation", "activation_alpha", "activation_beta",
                                        "activation_gamma"};
    const char *activation = draft_string(draft, "activation", "");
    enum lego_op op = activation_op(activation);
    float alpha = draft_float(draft, "activation_alpha", op == LEGO_OP_LeakyRelu ? 0.01f : 0.2f);
    float beta = draft_float(draft, "activation_beta", 0.5f);
    if (*activation && (op == LEGO_OP_NONE || op == LEGO_OP_Clip))
        return upgrade_refuse(builder, draft, "an activation that is not read");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        draft_remove_attr(draft, names[i]);
    if (!*activation)
        return 0;
    int32_t value = upgrade_emit(builder, draft, LEGO_OP_Gemm, draft->input_count, draft->inputs,
                                 draft->attr_count, draft->attrs);
    if (value < 0)
        return value;
    upgrade_become(draft, op, 1, &value);
    if (op == LEGO_OP_LeakyRelu || op == LEGO_OP_HardSigmoid)
        draft_set_float(draft, "alpha", alpha);
    if (op == LEGO_OP_HardSigmoid)
        draft_set_float(draft, "beta", beta);
    return 0;
}

/* alpha * A B, the last two dimensions of either transposed. Ranks are not known yet: Einsum does
 * not ask for them. */
int upgrade_fused_matmul(struct import_builder *builder, struct import_draft *draft)
{
    static const char *const equations[2][2] = {{"...ij,...jk->...ik", "...ij,...kj->...ik"},
                                                {"...ji,...jk->...ik", "...ji,...kj->...ik"}};
    bool a = draft_int(draft, "transA", 0) != 0, b = draft_int(draft, "transB", 0) != 0;
    float alpha = draft_float(draft, "alpha", 1);
    if (!has_inputs(draft, 2))
        return too_few(builder, draft);
    if (draft_int(draft, "transBatchA", 0) || draft_int(draft, "transBatchB", 0))
        return upgrade_refuse(builder, draft, "a transposed batch");
    struct lego_attr equation = {.name = "equation", .type = LEGO_ATTR_STRING};
    equation.s = equations[a][b];
    equation.count = strlen(equation.s);
    enum lego_op op = a || b ? LEGO_OP_Einsum : LEGO_OP_MatMul;
    upgrade_become(draft, op, 2, (int32_t[]){draft->inputs[0], draft->inputs[1]});
    if (op == LEGO_OP_Einsum)
        draft_set_string(draft, equation.name, equation.s);
    if (alpha == 1)
        return 0;
    int32_t value =
        upgrade_emit(builder, draft, op, 2, draft->inputs, draft->attr_count, draft->attrs);
    int32_t scale = value < 0 ? value : make_scalar(builder, draft, "alpha", alpha);
    if (scale < 0)
        return scale;
    upgrade_become(draft, LEGO_OP_Mul, 2, (int32_t[]){value, scale});
    return 0;
}

/* Its second output, the inverse of the root mean square, is there for training. */
int upgrade_rms_norm(struct import_builder *builder, struct import_draft *draft)
{
    if (!has_inputs(draft, 2))
        return too_few(builder, draft);
    if (draft->output_count > 1)
        return upgrade_refuse(builder, draft, "more than one output");
    draft->op = LEGO_OP_RMSNormalization;
    return 0;
}

/*
 * LayerNormalization, or RMSNormalization without beta where the type is "Simplified", of
 * input + skip + bias. The fourth output is that sum; the second and third are for training.
 */
int upgrade_skip_layer_norm(struct import_builder *builder, struct import_draft *draft)
{
    bool simplified = strcmp(draft->type, "SkipSimplifiedLayerNormalization") == 0;
    float epsilon = draft_float(draft, "epsilon", 1e-12f);
    if (!has_inputs(draft, 3))
        return too_few(builder, draft);
    for (uint32_t i = 1; i < draft->output_count; i++)
        if (i != 3 && draft->outputs[i] >= 0)
            return upgrade_refuse(builder, draft, "statistics as outputs");
    uint32_t bias_at = simplified ? 3 : 4;
    int32_t gamma = draft->inputs[2];
    int32_t beta = !simplified && draft->input_count > 3 ? draft->inputs[3] : -1;
    int32_t bias = draft->input_count > bias_at ? draft->inputs[bias_at] : -1;
    int32_t sum_output = draft->output_count > 3 ? draft->outputs[3] : -1;
    int32_t sum = upgrade_emit(builder, draft, LEGO_OP_Add, 2, draft->inputs, 0, NULL);
    if (sum >= 0 && bias >= 0)
        sum = upgrade_emit(builder, draft, LEGO_OP_Add, 2, (int32_t[]){sum, bias}, 0, NULL);
    if (sum < 0)
        return sum;
    draft->output_count = 1;
    if (sum_output >= 0) {
        int status = upgrade_emit_to(builder, draft, LEGO_OP_Identity, 1, &sum, sum_output);
        if (status)
            return status;
    }
    upgrade_become(draft, simplified ? LEGO_OP_RMSNormalization : LEGO_OP_LayerNormalization, 2,
                   (int32_t[]){sum, gamma});
    if (beta >= 0)
        draft_set_input(draft, 2, beta);
    draft_set_int(draft, "axis", -1);
    draft_set_float(draft, "epsilon", epsilon);
    return 0;
}
