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

/* Makes the draft a node of one input and `op`; its first output stays. */
static void become(struct import_draft *draft, enum lego_op op, int32_t input)
{
    draft->op = op;
    draft->inputs[0] = input;
    draft->input_count = 1;
    draft->attr_count = 0;
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
    static const enum lego_op activations[] = {LEGO_OP_Relu,    LEGO_OP_Tanh,
                                               LEGO_OP_Sigmoid, LEGO_OP_LeakyRelu,
                                               LEGO_OP_Clip,    LEGO_OP_HardSigmoid};
    const char *activation = draft_string(draft, "activation", "");
    const struct lego_attr *given = draft_attr(draft, "activation_params");
    const struct lego_attr params = given ? *given : (struct lego_attr){.name = ""};
    enum lego_op op = LEGO_OP_NONE;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activation, lego_op_name(activations[i])) == 0)
            op = activations[i];
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
        become(draft, LEGO_OP_Add, value);
        draft_set_input(draft, 1, sum);
        return 0;
    }
    become(draft, op, value);
    return set_parameters(builder, draft, &params, activation);
}

/* LayerNormalization of input + skip + bias. Its statistics and the sum cannot be outputs. */
int upgrade_skip_layer_norm(struct import_builder *builder, struct import_draft *draft)
{
    float epsilon = draft_float(draft, "epsilon", 1e-12f);
    if (draft->input_count < 3 || draft->inputs[0] < 0 || draft->inputs[1] < 0 ||
        draft->inputs[2] < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT,
                         "node '%s' (SkipLayerNormalization) has too few inputs", draft->name);
    if (draft->output_count > 1)
        return upgrade_refuse(builder, draft, "more than one output");
    int32_t gamma = draft->inputs[2], beta = draft->input_count > 3 ? draft->inputs[3] : -1;
    int32_t bias = draft->input_count > 4 ? draft->inputs[4] : -1;
    int32_t sum = upgrade_emit(builder, draft, LEGO_OP_Add, 2, draft->inputs, 0, NULL);
    if (sum >= 0 && bias >= 0)
        sum = upgrade_emit(builder, draft, LEGO_OP_Add, 2, (int32_t[]){sum, bias}, 0, NULL);
    if (sum < 0)
        return sum;
    become(draft, LEGO_OP_LayerNormalization, sum);
    draft_set_input(draft, 1, gamma);
    if (beta >= 0)
        draft_set_input(draft, 2, beta);
    draft_set_int(draft, "axis", -1);
    draft_set_float(draft, "epsilon", epsilon);
    return 0;
}
