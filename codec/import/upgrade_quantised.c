/*
 * Quantised operators of ONNX Runtime's domain: their operands are dequantised, the operator of
 * ONNX computes, its result is quantised. That is what they are defined as.
 *
 * Source: ContribOperators.md of github.com/microsoft/onnxruntime.
 */
#include "codec/import/upgrade.h"

#include <string.h>

static int32_t input(const struct import_draft *draft, uint32_t index)
{
    return index < draft->input_count ? draft->inputs[index] : -1;
}

/* A tensor, its scale and (optional) zero point, from input `first` on, as real numbers. */
static int32_t dequantise(struct import_builder *builder, const struct import_draft *draft,
                          uint32_t first)
{
    int32_t zero = input(draft, first + 2);
    if (input(draft, first) < 0 || input(draft, first + 1) < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) lacks input %u or its scale",
                         draft->name, draft->type, first);
    return upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, zero < 0 ? 2 : 3,
                        (int32_t[]){draft->inputs[first], draft->inputs[first + 1], zero}, 0, NULL);
}

/* The draft becomes the QuantizeLinear of `value` with the scale and zero point from `first` on. */
static int quantise(struct import_builder *builder, struct import_draft *draft, int32_t value,
                    uint32_t first)
{
    int32_t scale = input(draft, first), zero = input(draft, first + 1);
    if (value < 0)
        return value;
    if (scale < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) lacks its output's scale",
                         draft->name, draft->type);
    upgrade_become(draft, LEGO_OP_QuantizeLinear, zero < 0 ? 2 : 3,
                   (int32_t[]){value, scale, zero});
    return 0;
}

/* A, its scale and zero point; B, likewise; scale and zero point of the result. */
int upgrade_qlinear_binary(struct import_builder *builder, struct import_draft *draft)
{
    int32_t a = dequantise(builder, draft, 0);
    int32_t b = a < 0 ? a : dequantise(builder, draft, 3);
    int32_t value =
        b < 0 ? b : upgrade_emit(builder, draft, draft->op, 2, (int32_t[]){a, b}, 0, NULL);
    return quantise(builder, draft, value, 6);
}

/* X, its scale and zero point; scale and zero point of the result. Attributes are the operator's.
 */
int upgrade_qlinear_unary(struct import_builder *builder, struct import_draft *draft)
{
    if (draft_int(draft, "channels_last", 0))
        return upgrade_refuse(builder, draft, "channels that come last");
    draft_remove_attr(draft, "channels_last");
    int32_t x = dequantise(builder, draft, 0);
    int32_t value =
        x < 0 ? x : upgrade_emit(builder, draft, draft->op, 1, &x, draft->attr_count, draft->attrs);
    return quantise(builder, draft, value, 3);
}

/* Scale and zero point of the result, then each tensor with its own. */
int upgrade_qlinear_concat(struct import_builder *builder, struct import_draft *draft)
{
    uint32_t count = draft->input_count < 2 ? 0 : (draft->input_count - 2) / 3;
    if (count == 0 || draft->input_count != 2 + 3 * count)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) has %u inputs", draft->name,
                         draft->type, draft->input_count);
    int32_t *parts = lego_arena_calloc(builder->scratch, count, sizeof *parts);
    if (!parts)
        return lego_fail(builder->diag, LEGO_E_NOMEM, "no memory for node '%s'", draft->name);
    for (uint32_t i = 0; i < count; i++) {
        parts[i] = dequantise(builder, draft, 2 + 3 * i);
        if (parts[i] < 0)
            return parts[i];
    }
    return quantise(
        builder, draft,
        upgrade_emit(builder, draft, LEGO_OP_Concat, count, parts, draft->attr_count, draft->attrs),
        0);
}

/* The bias of a quantised Gemm counts in steps of scale(A) * scale(B). */
static int32_t dequantise_bias(struct import_builder *builder, const struct import_draft *draft)
{
    int32_t scale = upgrade_emit(builder, draft, LEGO_OP_Mul, 2,
                                 (int32_t[]){draft->inputs[1], draft->inputs[4]}, 0, NULL);
    struct lego_attr axis = {.name = "axis", .type = LEGO_ATTR_INT};
    axis.i = -1;
    return scale < 0 ? scale
                     : upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, 2,
                                    (int32_t[]){draft->inputs[6], scale}, 1, &axis);
}

/* A and B with scales and zero points, C, scale and zero point of the result: without these it is
 * real. */
int upgrade_qgemm(struct import_builder *builder, struct import_draft *draft)
{
    struct lego_attr axis = {.name = "axis", .type = LEGO_ATTR_INT};
    axis.i = draft_int(draft, "transB", 0) ? 0 : 1; /* B's scales are by column of the product */
    int32_t inputs[3] = {dequantise(builder, draft, 0), -1, -1};
    int32_t zero = input(draft, 5);
    if (inputs[0] < 0)
        return inputs[0];
    if (input(draft, 3) < 0 || input(draft, 4) < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) lacks B or its scale",
                         draft->name, draft->type);
    inputs[1] = upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, zero < 0 ? 2 : 3,
                             (int32_t[]){draft->inputs[3], draft->inputs[4], zero}, 1, &axis);
    if (inputs[1] >= 0 && input(draft, 6) >= 0)
        inputs[2] = dequantise_bias(builder, draft);
    if (inputs[1] < 0 || (input(draft, 6) >= 0 && inputs[2] < 0))
        return inputs[1] < 0 ? inputs[1] : inputs[2];
    int32_t value = upgrade_emit(builder, draft, LEGO_OP_Gemm, inputs[2] < 0 ? 2 : 3, inputs,
                                 draft->attr_count, draft->attrs);
    if (input(draft, 7) >= 0)
        return quantise(builder, draft, value, 7);
    if (value < 0)
        return value;
    upgrade_become(draft, LEGO_OP_Identity, 1, &value);
    return 0;
}

/* The product of real a and b, and a bias where there is one, is the draft's. */
static int product(struct import_builder *builder, struct import_draft *draft, int32_t a, int32_t b,
                   int32_t bias)
{
    if (a < 0 || b < 0)
        return a < 0 ? a : b;
    if (bias < 0) {
        upgrade_become(draft, LEGO_OP_MatMul, 2, (int32_t[]){a, b});
        return 0;
    }
    int32_t value = upgrade_emit(builder, draft, LEGO_OP_MatMul, 2, (int32_t[]){a, b}, 0, NULL);
    if (value < 0)
        return value;
    upgrade_become(draft, LEGO_OP_Add, 2, (int32_t[]){value, bias});
    return 0;
}

/* B by column of the product, which is its last dimension. */
static int32_t dequantise_columns(struct import_builder *builder, const struct import_draft *draft,
                                  int32_t b, int32_t scale, int32_t zero)
{
    struct lego_attr axis = {.name = "axis", .type = LEGO_ATTR_INT};
    axis.i = -1;
    if (b < 0 || scale < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) lacks B or its scale",
                         draft->name, draft->type);
    return upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, zero < 0 ? 2 : 3,
                        (int32_t[]){b, scale, zero}, 1, &axis);
}

/* A, B, scale of A, scale of B, zero points of A and B, bias. */
int upgrade_matmul_integer_to_float(struct import_builder *builder, struct import_draft *draft)
{
    int32_t zero = input(draft, 4), a = input(draft, 0), scale = input(draft, 2);
    if (a < 0 || scale < 0)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) lacks A or its scale",
                         draft->name, draft->type);
    a = upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, zero < 0 ? 2 : 3,
                     (int32_t[]){a, scale, zero}, 0, NULL);
    int32_t b = a < 0 ? a
                      : dequantise_columns(builder, draft, input(draft, 1), input(draft, 3),
                                           input(draft, 5));
    return product(builder, draft, a, b, input(draft, 6));
}

/* Real values as their 8-bit quantisation has them, by the range that they happen to span. */
static int32_t requantise(struct import_builder *builder, const struct import_draft *draft,
                          int32_t value)
{
    int32_t parts[3]; /* quantised, scale, zero point */
    for (int i = 0; i < 3; i++) {
        parts[i] = import_make_value(builder, draft, "quantised");
        if (parts[i] < 0)
            return parts[i];
    }
    int32_t index = lego_graph_add_node(builder->graph, builder->graph->values[parts[0]].name,
                                        LEGO_OP_DynamicQuantizeLinear, 1, 3, 0);
    if (index < 0)
        return lego_fail(builder->diag, index, "no room for node '%s'", draft->name);
    builder->graph->nodes[index].inputs[0] = value;
    memcpy(builder->graph->nodes[index].outputs, parts, sizeof parts);
    return upgrade_emit(builder, draft, LEGO_OP_DequantizeLinear, 3, parts, 0, NULL);
}

/* Real A, which is quantised as it comes; B, its scale and zero point, bias. */
int upgrade_dynamic_quantize_matmul(struct import_builder *builder, struct import_draft *draft)
{
    int32_t b =
        dequantise_columns(builder, draft, input(draft, 1), input(draft, 2), input(draft, 3));
    int32_t a = b < 0 ? b : requantise(builder, draft, input(draft, 0));
    return product(builder, draft, a, b, input(draft, 4));
}
