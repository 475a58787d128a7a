/*
 * Older forms of operators, brought to opset 21 by the table in upgrade.def. Each function changes
 * one draft: attributes become inputs, defaults that changed are written out.
 *
 * Source: the operator changelog of ONNX (Changelog.md and Operators.md of github.com/onnx/onnx).
 */
#include "codec/import/upgrade.h"
#include "codec/graph/infer.h"

#include <string.h>

#define ALWAYS INT64_MAX

int upgrade_refuse(struct import_builder *builder, const struct import_draft *draft,
                   const char *what)
{
    import_refuse(builder, "'%.200s' (%.100s, opset %lld): %s", draft->name, draft->type,
                  (long long)builder->opset, what);
    return 0;
}

void draft_set_input(struct import_draft *draft, uint32_t index, int32_t value)
{
    while (draft->input_count <= index)
        draft->inputs[draft->input_count++] = -1;
    draft->inputs[index] = value;
}

struct lego_attr *draft_set_attr(struct import_draft *draft, const char *name,
                                 enum lego_attr_type type)
{
    struct lego_attr *attr = draft_attr(draft, name);
    if (!attr)
        attr = &draft->attrs[draft->attr_count++];
    *attr = (struct lego_attr){.name = name, .type = type};
    return attr;
}

void draft_set_int(struct import_draft *draft, const char *name, int64_t value)
{
    draft_set_attr(draft, name, LEGO_ATTR_INT)->i = value;
}

void draft_set_float(struct import_draft *draft, const char *name, float value)
{
    draft_set_attr(draft, name, LEGO_ATTR_FLOAT)->f = value;
}

void draft_set_string(struct import_draft *draft, const char *name, const char *value)
{
    struct lego_attr *attr = draft_set_attr(draft, name, LEGO_ATTR_STRING);
    attr->s = value;
    attr->count = strlen(value);
}

const char *draft_string(const struct import_draft *draft, const char *name, const char *otherwise)
{
    const struct lego_attr *attr = draft_attr(draft, name);
    return attr && attr->type == LEGO_ATTR_STRING ? attr->s : otherwise;
}

int64_t draft_int(const struct import_draft *draft, const char *name, int64_t otherwise)
{
    const struct lego_attr *attr = draft_attr(draft, name);
    return attr && attr->type == LEGO_ATTR_INT ? attr->i : otherwise;
}

int upgrade_ints_to_input(struct import_builder *builder, struct import_draft *draft,
                          const char *name, uint32_t index)
{
    const struct lego_attr *attr = draft_attr(draft, name);
    if (!attr)
        return 0;
    if (attr->type != LEGO_ATTR_INTS && attr->type != LEGO_ATTR_INT)
        return upgrade_refuse(builder, draft, "an attribute that should be integers is not");
    bool one = attr->type == LEGO_ATTR_INT;
    struct lego_shape shape = {.rank = 1, .dim = {one ? 1 : (int64_t)attr->count}};
    int32_t value = import_make_constant(builder, draft, name, LEGO_DTYPE_INT64, &shape,
                                         one ? &attr->i : attr->ints);
    if (value < 0)
        return value;
    draft_set_input(draft, index, value);
    draft_remove_attr(draft, name);
    return 0;
}

float draft_float(const struct import_draft *draft, const char *name, float otherwise)
{
    const struct lego_attr *attr = draft_attr(draft, name);
    return attr && attr->type == LEGO_ATTR_FLOAT ? attr->f : otherwise;
}

static int emit(struct import_builder *builder, const struct import_draft *draft, enum lego_op op,
                uint32_t input_count, const int32_t *inputs, uint32_t attr_count,
                const struct lego_attr *attrs, int32_t output)
{
    int32_t index = lego_graph_add_node(builder->graph, builder->graph->values[output].name, op,
                                        input_count, 1, attr_count);
    if (index < 0)
        return lego_fail(builder->diag, index, "no room for node '%s'", draft->name);
    struct lego_node *node = &builder->graph->nodes[index];
    memcpy(node->inputs, inputs, input_count * sizeof *inputs);
    if (attr_count)
        memcpy(node->attrs, attrs, attr_count * sizeof *attrs);
    node->outputs[0] = output;
    return 0;
}

int32_t upgrade_emit(struct import_builder *builder, const struct import_draft *draft,
                     enum lego_op op, uint32_t input_count, const int32_t *inputs,
                     uint32_t attr_count, const struct lego_attr *attrs)
{
    int32_t output = import_make_value(builder, draft, lego_op_name(op));
    if (output < 0)
        return output;
    int status = emit(builder, draft, op, input_count, inputs, attr_count, attrs, output);
    return status ? status : output;
}

int upgrade_emit_to(struct import_builder *builder, const struct import_draft *draft,
                    enum lego_op op, uint32_t input_count, const int32_t *inputs, int32_t output)
{
    return emit(builder, draft, op, input_count, inputs, 0, NULL, output);
}

void upgrade_become(struct import_draft *draft, enum lego_op op, uint32_t input_count,
                    const int32_t *inputs)
{
    draft->op = op;
    draft->input_count = 0;
    for (uint32_t i = 0; i < input_count; i++)
        draft_set_input(draft, i, inputs[i]);
    draft->attr_count = 0;
}

/* The element type of a draft's first input, where it is known before inference. */
static enum lego_dtype input_dtype(const struct import_builder *builder,
                                   const struct import_draft *draft)
{
    return draft->input_count > 0 && draft->inputs[0] >= 0
               ? builder->graph->values[draft->inputs[0]].dtype
               : LEGO_DTYPE_UNKNOWN;
}

/*
 * Puts a scalar of the first input's type at an input. The type is known for graph inputs and
 * constants; for computed values a CastLike would be needed, but operators of that age are used
 * with fp32 alone.
 */
static int scalar_to_input(struct import_builder *builder, struct import_draft *draft,
                           const char *name, float number, uint32_t index)
{
    const struct lego_shape scalar = {.rank = 0};
    double wide = number;
    bool is_double = input_dtype(builder, draft) == LEGO_DTYPE_FLOAT64;
    int32_t value = import_make_constant(
        builder, draft, name, is_double ? LEGO_DTYPE_FLOAT64 : LEGO_DTYPE_FLOAT32, &scalar,
        is_double ? (const void *)&wide : (const void *)&number);
    if (value < 0)
        return value;
    draft_set_input(draft, index, value);
    draft_remove_attr(draft, name);
    return 0;
}

static int float_to_input(struct import_builder *builder, struct import_draft *draft,
                          const char *name, uint32_t index)
{
    const struct lego_attr *attr = draft_attr(draft, name);
    if (!attr || attr->type != LEGO_ATTR_FLOAT)
        return 0;
    return scalar_to_input(builder, draft, name, attr->f, index);
}

int upgrade_batch_normalization(struct import_builder *builder, struct import_draft *draft)
{
    if (draft_int(draft, "training_mode", 0) != 0)
        return 0; /* the statistics of the input: the operator computes them */
    if (draft_int(draft, "spatial", 1) != 1)
        return upgrade_refuse(builder, draft, "statistics for each position (spatial=0)");
    if (draft->output_count > 1 && builder->opset >= 14)
        return upgrade_refuse(builder, draft, "more than one output outside of training");
    /* Before opset 14 the further outputs were there, but defined for training only. */
    draft->output_count = 1;
    draft_remove_attr(draft, "training_mode");
    draft_remove_attr(draft, "spatial");
    draft_remove_attr(draft, "momentum");
    return 0;
}

int upgrade_clip(struct import_builder *builder, struct import_draft *draft)
{
    int status = float_to_input(builder, draft, "min", 1);
    return status ? status : float_to_input(builder, draft, "max", 2);
}

static const struct lego_tensor *input_constant(const struct import_builder *builder,
                                                const struct import_draft *draft, uint32_t index)
{
    int32_t value = index < draft->input_count ? draft->inputs[index] : -1;
    int32_t tensor = value < 0 ? -1 : builder->graph->values[value].tensor;
    return tensor < 0 ? NULL : &builder->graph->tensors[tensor];
}

int upgrade_dropout(struct import_builder *builder, struct import_draft *draft)
{
    const struct lego_tensor *mode = input_constant(builder, draft, 2);
    const struct lego_tensor *ratio = input_constant(builder, draft, 1);
    if (draft->input_count > 2 && draft->inputs[2] >= 0 && !mode)
        return 0; /* known when running: then training of a ratio but 0 is refused */
    bool drops = !ratio || ratio->dtype != LEGO_DTYPE_FLOAT32 || ratio->bytes != sizeof(float) ||
                 *(const float *)ratio->data != 0;
    if (mode && (mode->bytes != 1 || *(const uint8_t *)mode->data != 0) && drops)
        return upgrade_refuse(builder, draft, "training mode; export the model for inference");
    draft->input_count = 1;
    if (draft->output_count > 1)
        return 0; /* somebody may want the mask: the operator makes it */
    draft->op = LEGO_OP_Identity;
    draft->attr_count = 0;
    return 0;
}

int upgrade_grid_sample(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    const char *mode = draft_string(draft, "mode", "bilinear");
    if (strcmp(mode, "bilinear") == 0)
        draft_set_string(draft, "mode", "linear");
    else if (strcmp(mode, "bicubic") == 0)
        draft_set_string(draft, "mode", "cubic");
    return 0;
}

/*
 * Before opset 21 scale and bias are by group: what InstanceNormalization does with the groups as
 * its channels.
 */
int upgrade_group_normalization(struct import_builder *builder, struct import_draft *draft)
{
    const struct lego_shape list = {.rank = 1, .dim = {3}};
    const int64_t grouped[] = {0, draft_int(draft, "num_groups", 1), -1};
    struct lego_attr epsilon = {.name = "epsilon", .type = LEGO_ATTR_FLOAT};
    epsilon.f = draft_float(draft, "epsilon", 1e-5f);
    if (draft->input_count != 3)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) has %u inputs, 3 are needed",
                         draft->name, draft->type, draft->input_count);
    int32_t x = draft->inputs[0];
    int32_t value = import_make_constant(builder, draft, "shape", LEGO_DTYPE_INT64, &list, grouped);
    if (value >= 0)
        value = upgrade_emit(builder, draft, LEGO_OP_Reshape, 2, (int32_t[]){x, value}, 0, NULL);
    if (value >= 0)
        value = upgrade_emit(builder, draft, LEGO_OP_InstanceNormalization, 3,
                             (int32_t[]){value, draft->inputs[1], draft->inputs[2]}, 1, &epsilon);
    int32_t shape = value < 0 ? value : upgrade_emit(builder, draft, LEGO_OP_Shape, 1, &x, 0, NULL);
    if (shape < 0)
        return shape;
    upgrade_become(draft, LEGO_OP_Reshape, 2, (int32_t[]){value, shape});
    return 0;
}

/*
 * Before opset 13 these work on a matrix: dimensions before `axis` are rows, the others one row's
 * elements. The attribute "lego.coerce_2d" says so.
 */
int upgrade_softmax(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_set_int(draft, "axis", draft_int(draft, "axis", 1));
    draft_set_int(draft, "lego.coerce_2d", 1);
    return 0;
}

int upgrade_pad(struct import_builder *builder, struct import_draft *draft)
{
    int status = upgrade_ints_to_input(builder, draft, "pads", 1);
    return status ? status : float_to_input(builder, draft, "value", 2);
}

int upgrade_axes(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_ints_to_input(builder, draft, "axes", 1);
}

/* Resize 10 and Upsample: x_in = x_out / scale. Input 1 holds the scales. */
static int resize_by_scales(struct import_builder *builder, struct import_draft *draft,
                            const char *nearest)
{
    if (draft->input_count != 2)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (%s) has no scales", draft->name,
                         draft->type);
    draft_set_input(draft, 2, draft->inputs[1]);
    draft->inputs[1] = -1;
    const char *mode = draft_string(draft, "mode", "nearest");
    draft_set_string(draft, "mode", strstr(mode, "linear") ? "linear" : mode);
    draft_set_string(draft, "coordinate_transformation_mode", "asymmetric");
    draft_set_string(draft, "nearest_mode", nearest);
    draft->op = LEGO_OP_Resize;
    return 0;
}

/*
 * The text of opset 10 leaves open how "nearest" rounds. Its test cases and the reference runtime
 * round down where the size grows and up where it shrinks.
 */
int upgrade_resize_10(struct import_builder *builder, struct import_draft *draft)
{
    const char *nearest = "floor";
    int32_t value = draft->input_count > 1 ? draft->inputs[1] : -1;
    int32_t tensor = value < 0 ? -1 : builder->graph->values[value].tensor;
    if (tensor >= 0 && builder->graph->tensors[tensor].dtype == LEGO_DTYPE_FLOAT32) {
        const float *scales = builder->graph->tensors[tensor].data;
        size_t count = builder->graph->tensors[tensor].bytes / sizeof *scales, up = 0, down = 0;
        for (size_t i = 0; i < count; i++) {
            up += scales[i] > 1;
            down += scales[i] < 1;
        }
        if (up > 0 && down > 0 && strcmp(draft_string(draft, "mode", "nearest"), "nearest") == 0)
            return upgrade_refuse(builder, draft,
                                  "nearest that grows one side and shrinks another");
        if (down > 0)
            nearest = "ceil";
    }
    return resize_by_scales(builder, draft, nearest);
}

int upgrade_resize_empty(struct import_builder *builder, struct import_draft *draft)
{
    for (uint32_t i = 1; i < draft->input_count; i++) {
        int32_t tensor =
            draft->inputs[i] < 0 ? -1 : builder->graph->values[draft->inputs[i]].tensor;
        if (tensor >= 0 && builder->graph->tensors[tensor].bytes == 0)
            draft->inputs[i] = -1;
    }
    return 0;
}

int upgrade_roi_align(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    draft_set_string(draft, "coordinate_transformation_mode", "output_half_pixel");
    return 0;
}

int upgrade_slice(struct import_builder *builder, struct import_draft *draft)
{
    int status = upgrade_ints_to_input(builder, draft, "starts", 1);
    if (!status)
        status = upgrade_ints_to_input(builder, draft, "ends", 2);
    return status ? status : upgrade_ints_to_input(builder, draft, "axes", 3);
}

int upgrade_split(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_ints_to_input(builder, draft, "split", 1);
}

int upgrade_split_evenly(struct import_builder *builder, struct import_draft *draft)
{
    (void)builder;
    if (draft->input_count < 2 && !draft_attr(draft, "num_outputs"))
        draft_set_int(draft, "num_outputs", draft->output_count);
    return 0;
}

int upgrade_top_k(struct import_builder *builder, struct import_draft *draft)
{
    return upgrade_ints_to_input(builder, draft, "k", 1);
}

int upgrade_upsample_7(struct import_builder *builder, struct import_draft *draft)
{
    const struct lego_attr *attr = draft_attr(draft, "scales");
    if (!attr || attr->type != LEGO_ATTR_FLOATS)
        return lego_fail(builder->diag, LEGO_E_FORMAT, "node '%s' (Upsample) has no scales",
                         draft->name);
    struct lego_shape shape = {.rank = 1, .dim = {(int64_t)attr->count}};
    int32_t value =
        import_make_constant(builder, draft, "scales", LEGO_DTYPE_FLOAT32, &shape, attr->floats);
    if (value < 0)
        return value;
    draft_remove_attr(draft, "scales");
    draft_set_input(draft, 1, value);
    return 0;
}

int upgrade_upsample(struct import_builder *builder, struct import_draft *draft)
{
    return resize_by_scales(builder, draft, "floor");
}

static const struct {
    const char *type;
    int64_t below;
    int (*upgrade)(struct import_builder *builder, struct import_draft *draft);
} upgrades[] = {
#define IMPORT_UPGRADE(type, below, function) {#type, below, upgrade_##function},
#define IMPORT_FOREIGN(domain, type, op, function)
#include "codec/import/upgrade.def"
#undef IMPORT_FOREIGN
#undef IMPORT_UPGRADE
};

static const struct foreign {
    const char *domain, *type;
    enum lego_op op;
    int (*upgrade)(struct import_builder *builder, struct import_draft *draft);
} foreigners[] = {
#define IMPORT_UPGRADE(type, below, function)
#define IMPORT_FOREIGN(domain, type, op, function) \
    {domain, #type, LEGO_OP_##op, upgrade_##function},
#include "codec/import/upgrade.def"
#undef IMPORT_FOREIGN
#undef IMPORT_UPGRADE
};

static const struct foreign *find_foreign(const char *domain, const char *type)
{
    for (size_t i = 0; i < sizeof foreigners / sizeof *foreigners; i++)
        if (strcmp(domain, foreigners[i].domain) == 0 && strcmp(type, foreigners[i].type) == 0)
            return &foreigners[i];
    return NULL;
}

/* Operators that have another name in opset 21. */
static const struct {
    const char *from, *to;
} renamed[] = {{"Upsample", "Resize"}, {"Scatter", "ScatterElements"}};

enum lego_op import_target_op(const char *domain, const char *type)
{
    if (!*domain || strcmp(domain, "ai.onnx") == 0)
        for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
            if (strcmp(type, renamed[i].from) == 0)
                type = renamed[i].to;
    const struct foreign *foreign = find_foreign(domain, type);
    enum lego_op op = foreign ? foreign->op : lego_op_from_name(domain, type);
    return op != LEGO_OP_NONE && lego_op_evaluates(op) ? op : LEGO_OP_NONE;
}

int import_upgrade(struct import_builder *builder, struct import_draft *draft)
{
    const struct foreign *foreign = find_foreign(draft->domain, draft->type);
    if (foreign)
        return foreign->upgrade(builder, draft);
    for (size_t i = 0; i < sizeof upgrades / sizeof *upgrades; i++) {
        bool any = strcmp(upgrades[i].type, "ANY") == 0;
        if (builder->opset >= upgrades[i].below ||
            (!any && strcmp(draft->type, upgrades[i].type) != 0))
            continue;
        int status = upgrades[i].upgrade(builder, draft);
        if (status)
            return status;
    }
    while (draft->input_count > 0 && draft->inputs[draft->input_count - 1] < 0)
        draft->input_count--;
    return 0;
}
