/*
 * Upgrades from opsets 1 to 8, the first years of ONNX: broadcasting by attributes, shapes and
 * types as attributes, hints for memory planning.
 */
#include "codec/import/upgrade.h"

#include <string.h>
#include <strings.h>

int upgrade_consumed_inputs(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_remove_attr(draft, "consumed_inputs");
    return 0;
}

static int rank_of(const struct import_builder *builder, int32_t value)
{
    return value < 0 ? LEGO_RANK_UNKNOWN : builder->graph->values[value].shape.rank;
}

/* B with as many dimensions of 1 behind its own as A has behind those that B stands beside: the
 * sizes of A from there on, each compared with itself, are that many ones. */
static int align_second(struct import_builder *builder, struct import_draft *draft, int64_t axis)
{
    int rank = rank_of(builder, draft->inputs[1]);
    if (rank == LEGO_RANK_UNKNOWN)
        return upgrade_refuse(builder, draft,
                              "broadcasting from an axis, of an input whose rank is not stated; "
                              "convert the model to opset 7");
    const struct lego_attr start = {
        .name = "start", .type = LEGO_ATTR_INT, .i = axis + (int64_t)rank};
    const struct lego_attr to = {.name = "to", .type = LEGO_ATTR_INT, .i = LEGO_DTYPE_INT64};
    const struct lego_attr first = {.name = "axis", .type = LEGO_ATTR_INT, .i = 0};
    int32_t rest = upgrade_emit(builder, draft, LEGO_OP_Shape, 1, draft->inputs, 1, &start);
    if (rest < 0)
        return rest;
    int32_t equal =
        upgrade_emit(builder, draft, LEGO_OP_Equal, 2, (int32_t[]){rest, rest}, 0, NULL);
    if (equal < 0)
        return equal;
    int32_t ones = upgrade_emit(builder, draft, LEGO_OP_Cast, 1, &equal, 1, &to);
    if (ones < 0)
        return ones;
    int32_t own = upgrade_emit(builder, draft, LEGO_OP_Shape, 1, &draft->inputs[1], 0, NULL);
    if (own < 0)
        return own;
    int32_t shape =
        upgrade_emit(builder, draft, LEGO_OP_Concat, 2, (int32_t[]){own, ones}, 1, &first);
    if (shape < 0)
        return shape;
    int32_t aligned = upgrade_emit(builder, draft, LEGO_OP_Reshape, 2,
                                   (int32_t[]){draft->inputs[1], shape}, 0, NULL);
    if (aligned < 0)
        return aligned;
    draft->inputs[1] = aligned;
    return 0;
}

/* Without an axis B's dimensions are A's last ones, as in all broadcasting since. */
int upgrade_axis_broadcast(struct import_builder *builder, struct import_draft *draft)
{
    int64_t axis = draft_int(draft, "axis", -1);
    bool aligned = draft_int(draft, "broadcast", 0) != 0 && axis >= 0 && draft->input_count == 2;
    draft_remove_attr(draft, "axis");
    draft_remove_attr(draft, "broadcast");
    if (axis > LEGO_MAX_RANK)
        return upgrade_refuse(builder, draft, "an axis beyond every rank");
    return aligned ? align_second(builder, draft, axis) : 0;
}

/* A slope of one element serves all, any other has one for each channel (axis 1). */
int upgrade_prelu_channels(struct import_builder *builder, struct import_draft *draft)
{
    int32_t slope = draft->input_count == 2 ? draft->inputs[1] : -1;
    if (rank_of(builder, slope) != 1 || builder->graph->values[slope].shape.dim[0] == 1)
        return 0;
    return align_second(builder, draft, 1);
}

int upgrade_gemm_broadcast(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_remove_attr(draft, "broadcast");
    return 0;
}

/* With is_test = 0, statistics as further outputs are those of training. One output is that of
 * inference, whatever is_test says. */
int upgrade_is_test(struct import_builder *builder, struct import_draft *draft)
{
    bool training = draft_int(draft, "is_test", 0) == 0 && draft->output_count > 1;
    draft_remove_attr(draft, "is_test");
    return training
               ? upgrade_refuse(builder, draft, "training mode; export the model for inference")
               : 0;
}

int upgrade_cast_text(struct import_builder *builder, struct import_draft *draft)
{
    static const struct {
        const char *text;
        enum lego_dtype dtype;
    } types[] = {
        {"FLOAT", LEGO_DTYPE_FLOAT32},   {"UINT8", LEGO_DTYPE_UINT8},
        {"INT8", LEGO_DTYPE_INT8},       {"UINT16", LEGO_DTYPE_UINT16},
        {"INT16", LEGO_DTYPE_INT16},     {"INT32", LEGO_DTYPE_INT32},
        {"INT64", LEGO_DTYPE_INT64},     {"BOOL", LEGO_DTYPE_BOOL},
        {"FLOAT16", LEGO_DTYPE_FLOAT16}, {"DOUBLE", LEGO_DTYPE_FLOAT64},
        {"UINT32", LEGO_DTYPE_UINT32},   {"UINT64", LEGO_DTYPE_UINT64},
    };
    const char *text = draft_string(draft, "to", NULL);
    for (size_t i = 0; text && i < sizeof types / sizeof *types; i++) {
        if (strcasecmp(text, types[i].text) != 0)
            continue;
        draft_set_int(draft, "to", types[i].dtype);
        return 0;
    }
    return text ? upgrade_refuse(builder, draft, "a conversion to a type that is not read") : 0;
}

int upgrade_concat_axis(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_set_int(draft, "axis", draft_int(draft, "axis", 1));
    return 0;
}

int upgrade_float_p(struct import_builder *builder, struct import_draft *draft)
{
    float p = draft_float(draft, "p", 2);
    if (!(p >= 1 && p < 1e6f) || p != (float)(int64_t)p)
        return upgrade_refuse(builder, draft, "a norm that is no whole number");
    draft_set_int(draft, "p", (int64_t)p);
    return 0;
}

int upgrade_paddings(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    struct lego_attr *attr = draft_attr(draft, "paddings");
    if (attr)
        attr->name = "pads";
    return 0;
}

int upgrade_reshape_attribute(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_ints_to_input(builder, draft, "shape", 1);
}

int upgrade_selu_defaults(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_set_float(draft, "alpha", draft_float(draft, "alpha", 1.6732f));
    draft_set_float(draft, "gamma", draft_float(draft, "gamma", 1.0507f));
    return 0;
}

int upgrade_tile_axis(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_refuse(builder, draft, "one axis and a count; convert the model to opset 6");
}

int upgrade_scan_8(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_refuse(builder, draft,
                          "batches of sequences; convert the model to opset 9 or later");
}

/* It only said whether the first output is there. */
int upgrade_output_sequence(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_remove_attr(draft, "output_sequence");
    return 0;
}

int upgrade_upsample_1(struct import_builder *builder, struct import_draft *draft)
{
    const struct lego_attr *height = draft_attr(draft, "height_scale");
    const struct lego_attr *width = draft_attr(draft, "width_scale");
    if (!height || !width || height->type != LEGO_ATTR_FLOAT || width->type != LEGO_ATTR_FLOAT)
        return 0; /* as in opset 7, or refused there */
    float *scales = lego_arena_calloc(builder->graph->arena, 4, sizeof *scales);
    if (!scales)
        return lego_fail(builder->diag, LEGO_E_NOMEM, "out of memory");
    scales[0] = scales[1] = 1;
    scales[2] = height->f;
    scales[3] = width->f;
    draft_remove_attr(draft, "height_scale");
    draft_remove_attr(draft, "width_scale");
    struct lego_attr *attr = draft_set_attr(draft, "scales", LEGO_ATTR_FLOATS);
    attr->floats = scales;
    attr->count = 4;
    if (strcmp(draft_string(draft, "mode", "nearest"), "bilinear") == 0)
        draft_set_string(draft, "mode", "linear");
    return 0;
}
