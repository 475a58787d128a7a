#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t plan_elems(const struct plan_value *value)
{
    size_t elems = 1;

    for (int i = 0; i < value->shape.rank; i++)
        elems *= (size_t)value->shape.dim[i];
    return elems;
}

void plan_physical(const struct plan_value *value, int64_t *ret_dims, int *ret_order)
{
    int rank = value->shape.rank, at = 0;
    bool last = value->layout == PLAN_CHANNELS_LAST;

    for (int i = 0; i < rank; i++)
        if (!last || i != 1)
            ret_order[at++] = i;
    if (last)
        ret_order[at++] = 1;
    for (int i = 0; i < rank; i++)
        ret_dims[i] = value->shape.dim[ret_order[i]];
}

static int values_grow(struct plan *plan)
{
    uint32_t capacity = plan->value_capacity ? 2 * plan->value_capacity : 64;
    struct plan_value *values = realloc(plan->values, capacity * sizeof(*values));

    if (!values)
        return LEGO_E_NOMEM;
    plan->values = values;
    plan->value_capacity = capacity;
    return LEGO_OK;
}

int32_t plan_value_add(struct plan_builder *b, enum lego_dtype dtype,
                       const struct lego_shape *shape, enum plan_layout layout)
{
    struct plan *plan = b->plan;
    struct plan_value value = {
        .dtype = dtype,
        .shape = *shape,
        .layout = shape->rank >= 3 ? layout : PLAN_PLAIN,
        .alias = -1,
        .quantized = -1,
        .reuse = -1,
    };
    size_t elems = 0;

    if (!lego_shape_is_static(shape)) {
        value.storage = PLAN_DYNAMIC;
        plan->dynamic = true;
    } else if (lego_shape_elems(shape, &elems) ||
               !lego_mul_size(elems, lego_dtype_bytes(dtype), &value.bytes)) {
        return lego_fail(b->diag, LEGO_E_OVERFLOW, "a value is too large");
    }
    if (plan->value_count == plan->value_capacity && values_grow(plan))
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    plan->values[plan->value_count] = value;
    return (int32_t)plan->value_count++;
}

int32_t plan_output(struct plan_builder *b, int32_t graph_value, enum plan_layout layout)
{
    const struct lego_value *of = &b->graph->values[graph_value];
    int32_t value = plan_value_add(b, of->dtype, &of->shape, layout);

    if (value < 0)
        return value;
    layout = b->plan->values[value].layout;
    b->of[graph_value][layout] = value;
    b->native[graph_value] = layout;
    return value;
}

/* True where both layouts are the same bytes. */
static bool layouts_agree(const struct lego_shape *shape)
{
    int64_t spatial = 1;

    if (shape->rank < 3 || shape->dim[1] == 1)
        return true;
    for (int i = 2; i < shape->rank; i++)
        spatial *= shape->dim[i];
    return spatial == 1;
}

int32_t plan_view(struct plan_builder *b, int32_t graph_value, int32_t of, size_t offset,
                  enum plan_layout layout)
{
    int32_t value = plan_output(b, graph_value, layout);

    if (value < 0)
        return value;
    b->plan->values[value].alias = of;
    b->plan->values[value].alias_offset = offset;
    return value;
}

int32_t plan_operand(struct plan_builder *b, int32_t graph_value, enum plan_layout layout)
{
    int32_t *of = b->of[graph_value], from, to;
    const struct plan_value *value;
    int status = plan_waiting(b, graph_value);

    if (status)
        return status;
    if (b->graph->values[graph_value].shape.rank < 3)
        layout = PLAN_PLAIN;
    if (of[layout] >= 0)
        return of[layout];
    from = of[!layout];
    value = &b->plan->values[from];
    to = plan_value_add(b, value->dtype, &value->shape, layout);
    if (to < 0)
        return to;
    value = &b->plan->values[from]; /* it may have moved */
    if (layouts_agree(&value->shape)) {
        b->plan->values[to].alias = from;
    } else {
        status = plan_convert(b, from, to);
        if (status)
            return status;
    }
    of[layout] = to;
    return to;
}

enum plan_layout plan_native(const struct plan_builder *b, int32_t graph_value)
{
    return b->native[graph_value];
}

bool plan_is_float(const struct plan_builder *b, int32_t graph_value)
{
    return b->graph->values[graph_value].dtype == LEGO_DTYPE_FLOAT32;
}

bool plan_is_constant(const struct plan_builder *b, int32_t graph_value)
{
    return b->graph->values[graph_value].tensor >= 0;
}

int plan_constant_data(struct plan_builder *b, int32_t graph_value, const void **ret_data)
{
    const struct lego_tensor *tensor = &b->graph->tensors[b->graph->values[graph_value].tensor];

    if (tensor->coded)
        return model_dense(b->model, tensor, ret_data, b->diag);
    *ret_data = tensor->data;
    return LEGO_OK;
}

bool plan_scalar(const struct plan_builder *b, int32_t graph_value, float *ret_scalar)
{
    const struct lego_graph *graph = b->graph;
    int32_t tensor = graph_value < 0 ? -1 : graph->values[graph_value].tensor;

    if (tensor < 0 || graph->tensors[tensor].coded || !plan_is_float(b, graph_value) ||
        graph->tensors[tensor].bytes != sizeof(*ret_scalar))
        return false;
    memcpy(ret_scalar, graph->tensors[tensor].data, sizeof(*ret_scalar));
    return true;
}

int plan_bias(struct plan_builder *b, const struct lego_node *node, uint32_t index, uint32_t rows,
              const float **ret_bias)
{
    int32_t value = node->input_count > index ? node->inputs[index] : -1;
    const void *data;
    int status;

    *ret_bias = NULL;
    if (value < 0)
        return LEGO_OK;
    if (!plan_is_constant(b, value) || b->graph->values[value].shape.rank != 1 ||
        b->graph->values[value].shape.dim[0] != rows)
        return PLAN_DECLINED;
    status = plan_constant_data(b, value, &data);
    *ret_bias = data;
    return status;
}

static int steps_grow(struct plan *plan)
{
    uint32_t capacity = plan->step_capacity ? 2 * plan->step_capacity : 64;
    struct plan_step *steps = realloc(plan->steps, capacity * sizeof(*steps));

    if (!steps)
        return LEGO_E_NOMEM;
    plan->steps = steps;
    plan->step_capacity = capacity;
    return LEGO_OK;
}

struct plan_step *plan_step_add(struct plan_builder *b, const struct lego_node *node,
                                plan_step_fn run, size_t detail_bytes, const int32_t *inputs,
                                uint32_t input_count, const int32_t *outputs, uint32_t output_count)
{
    struct plan *plan = b->plan;
    struct plan_step step = {
        .run = run,
        .name = node ? node->name : "layout",
        .op = node ? lego_op_name(node->op) : "Convert",
        .input_count = input_count,
        .output_count = output_count,
    };

    step.inputs = lego_arena_calloc(plan->memory, input_count + 1, sizeof(*inputs));
    step.outputs = lego_arena_calloc(plan->memory, output_count + 1, sizeof(*outputs));
    step.detail = lego_arena_calloc(plan->memory, 1, detail_bytes ? detail_bytes : 1);
    if (!step.inputs || !step.outputs || !step.detail ||
        (plan->step_count == plan->step_capacity && steps_grow(plan))) {
        lego_fail(b->diag, LEGO_E_NOMEM, "planning '%s'", step.name);
        return NULL;
    }
    if (input_count)
        memcpy(step.inputs, inputs, input_count * sizeof(*inputs));
    if (output_count)
        memcpy(step.outputs, outputs, output_count * sizeof(*outputs));
    for (uint32_t i = 0; i < output_count; i++)
        if (outputs[i] >= 0)
            step.work += plan->values[outputs[i]].bytes;
    plan->steps[plan->step_count] = step;
    return &plan->steps[plan->step_count++];
}

void plan_need_slot(struct plan_builder *b, size_t bytes)
{
    b->plan->slot_bytes = lego_max_size(b->plan->slot_bytes, (bytes + 63) & ~(size_t)63);
}

void plan_need_shared(struct plan_builder *b, size_t bytes)
{
    b->plan->shared_bytes = lego_max_size(b->plan->shared_bytes, (bytes + 63) & ~(size_t)63);
}

void plan_need_zeros(struct plan_builder *b, size_t elems)
{
    b->plan->zero_elems = lego_max_size(b->plan->zero_elems, (elems + 15) & ~(size_t)15);
}

int plan_tensor_weights(struct plan_builder *b, const struct lego_tensor *tensor,
                        struct weights_key key, const struct weights **ret_weights)
{
    struct weights *weights;
    int status;

    key.source = tensor->coded ? (const void *)tensor->coded : tensor->data;
    if (model_owns(b->model, tensor))
        return model_weights(b->model, tensor, &key, ret_weights, b->diag);
    status = weights_make(&b->model->kernels, tensor, &key, &b->model->catalogues,
                          b->model->resident == LEGO_RESIDENT_PANELS, &weights, b->diag);
    if (status)
        return status;
    weights->next = b->plan->weights;
    b->plan->weights = weights;
    b->plan->weights_bytes += weights->bytes;
    *ret_weights = weights;
    return LEGO_OK;
}

int plan_weights(struct plan_builder *b, const struct lego_node *node, uint32_t index,
                 struct weights_key key, const struct weights **ret_weights)
{
    return plan_tensor_weights(b, lego_node_constant(b->graph, node, index), key, ret_weights);
}

kern_unary_f32_fn plan_activation(const struct kern_table *kernels, const struct lego_node *node,
                                  float *ret_lo, float *ret_hi)
{
    *ret_lo = node->act_lo;
    *ret_hi = node->act_hi;
    switch (node->activation) {
    case LEGO_ACT_LEAKY_RELU:
        return kernels->leaky_relu_f32;
    case LEGO_ACT_SIGMOID:
        return kernels->sigmoid_f32;
    case LEGO_ACT_TANH:
        return kernels->tanh_f32;
    case LEGO_ACT_HARD_SIGMOID:
        return kernels->hard_sigmoid_f32;
    case LEGO_ACT_HARD_SWISH:
        return kernels->hard_swish_f32;
    case LEGO_ACT_SILU:
        return kernels->silu_f32;
    case LEGO_ACT_GELU:
        return kernels->gelu_f32;
    case LEGO_ACT_NONE:
    case LEGO_ACT_CLAMP:
        break;
    }
    return NULL;
}

void plan_clamp(const struct lego_node *node, float *ret_lo, float *ret_hi)
{
    bool clamp = node->activation == LEGO_ACT_CLAMP;

    *ret_lo = clamp ? node->act_lo : -INFINITY;
    *ret_hi = clamp ? node->act_hi : INFINITY;
}
