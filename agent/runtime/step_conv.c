/*
 * Convolution: decides which way a Conv goes (depthwise, Winograd's, or the implicit GEMM over
 * pixels, windows or rows of the kernel) and sets it up.
 */
#include "agent/runtime/squeeze.h"
#include "agent/runtime/step_expand.h"
#include "agent/runtime/step_gemm_f16.h"
#include "agent/runtime/step_gemm_s8.h"
#include "agent/runtime/step_winograd.h"

/* Below this many input channels a whole row of the kernel is one run of the GEMM's k. */
#define CONV_FEW_CHANNELS 8

/* The residual operand in channels-last: same shape as the output, computed or constant. */
static int32_t conv_add(struct plan_builder *b, const struct lego_node *node)
{
    int32_t value = node->input_count > 3 ? node->inputs[3] : -1;

    return value < 0 ? -1 : plan_operand(b, value, PLAN_CHANNELS_LAST);
}

static bool conv_is_ours(const struct plan_builder *b, const struct lego_node *node,
                         struct window *ret_window, uint32_t *ret_groups)
{
    const struct lego_tensor *weights = lego_node_constant(b->graph, node, 1);
    const struct lego_shape *input = &b->graph->values[node->inputs[0]].shape;
    int64_t groups = lego_node_int(node, "group", 1);
    int32_t add = node->input_count > 3 ? node->inputs[3] : -1;

    if (!weights || weights->dtype != LEGO_DTYPE_FLOAT32 || weights->shape.rank != input->rank ||
        groups < 1 || groups > weights->shape.dim[0] || weights->shape.dim[0] % groups ||
        (weights->coded && weights->coded->view != LEGO_VIEW_OUT_FIRST) ||
        (weights->coded && weights->coded->groups != groups))
        return false;
    if (add >= 0 &&
        !lego_shape_equal(&b->graph->values[add].shape, &b->graph->values[node->outputs[0]].shape))
        return false;
    *ret_groups = (uint32_t)groups;
    return window_make(node, input, &b->graph->values[node->outputs[0]].shape, &weights->shape,
                       ret_window);
}

/* Input, residual and output of the product, all channels-last. */
static int conv_values(struct plan_builder *b, const struct lego_node *node, int32_t *ret_a,
                       int32_t *ret_add, int32_t *ret_out)
{
    int32_t a = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    int32_t add = a < 0 ? -1 : conv_add(b, node), out;

    if (a < 0 || add < -1)
        return a < 0 ? a : add;
    out = plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (out < 0)
        return out;
    *ret_a = a;
    *ret_add = add;
    *ret_out = out;
    return LEGO_OK;
}

/* The product in halves, or in integers. */
static int conv_low(struct plan_builder *b, const struct lego_node *node, bool halves,
                    struct gemm_detail *detail)
{
    int32_t a, add, out;
    int status = conv_values(b, node, &a, &add, &out);

    if (status)
        return status;
    detail->source = window_is_pointwise(&detail->window) ? GEMM_ROWS : GEMM_WINDOW;
    return halves ? gemm_f16_step(b, node, detail, LEGO_VIEW_OUT_FIRST, a, add, out)
                  : gemm_s8_step(b, node, detail, LEGO_VIEW_OUT_FIRST, a, add, out);
}

/* The product of inputs that are multiplied by gates while they are read. */
static int conv_gated(struct plan_builder *b, const struct lego_node *node,
                      const struct gemm_detail *detail)
{
    int32_t a, gate, add, out;
    int status = plan_take_gate(b, node->inputs[0], &a, &gate);

    if (status)
        return status;
    add = conv_add(b, node);
    out = add < -1 ? add : plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    return out < 0 ? out
                   : gemm_gated_step(b, node, *detail, detail->pixels / detail->window.batch, a,
                                     gate, add, out);
}

static enum gemm_source conv_source(const struct window *w, const struct weights *weights)
{
    if (window_is_pointwise(w))
        return GEMM_ROWS;
    if (w->channels < CONV_FEW_CHANNELS && weights->groups == 1 && weights->split_count == 1 &&
        w->dilation_x == 1 && w->kernel_width > 1)
        return GEMM_WINDOW_ROWS;
    return GEMM_WINDOW;
}

static bool conv_is_depthwise(const struct window *window, uint32_t groups, uint32_t rows)
{
    return groups > 1 && groups == rows && groups == window->channels;
}

static bool conv_has_residual(const struct lego_node *node)
{
    return node->input_count > 3 && node->inputs[3] >= 0;
}

/* The depthwise convolution of a picture that alone reads the node's output, both without a
 * residual; NULL: there is none. */
static const struct lego_node *conv_reader(const struct plan_builder *b,
                                           const struct lego_node *node)
{
    const int32_t value = node->outputs[0];
    const struct lego_node *next = &b->graph->nodes[b->consumer[value]];
    const struct lego_shape *shape = &b->graph->values[value].shape;
    struct window window;
    uint32_t groups;

    return b->uses[value] == 1 && next->op == LEGO_OP_Conv && next->inputs[0] == value &&
                   shape->rank == 4 && !conv_has_residual(node) && !conv_has_residual(next) &&
                   conv_is_ours(b, next, &window, &groups) &&
                   conv_is_depthwise(&window, groups,
                                     (uint32_t)b->graph->values[next->outputs[0]].shape.dim[1])
               ? next
               : NULL;
}

int plan_conv(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_node *next;
    struct gemm_detail detail = {0};
    struct weights_key key = {.view = LEGO_VIEW_OUT_FIRST};
    const struct lego_shape *shape = &b->graph->values[node->outputs[0]].shape;
    uint32_t rows = (uint32_t)shape->dim[1];
    int32_t a, add, out;
    int status;

    if (!conv_is_ours(b, node, &detail.window, &key.groups))
        return PLAN_DECLINED;
    if (conv_is_depthwise(&detail.window, key.groups, rows))
        return plan_depthwise(b, node);
    status = plan_bias(b, node, 2, rows, &detail.bias);
    if (status)
        return status;
    detail.pixels = window_pixels(&detail.window);
    detail.out_stride = rows;
    if (gemm_s8_takes(b, lego_node_constant(b->graph, node, 1), key.groups, detail.window.channels,
                      (size_t)detail.window.kernel_height * detail.window.kernel_width))
        return conv_low(b, node, false, &detail);
    if (gemm_f16_takes(b, lego_node_constant(b->graph, node, 1), key.groups,
                       detail.window.channels))
        return conv_low(b, node, true, &detail);
    key.whole = winograd_wins(&b->model->kernels, &detail.window, key.groups, rows);
    key.part_channels = key.whole ? winograd_part_channels(&b->model->kernels, &detail.window) : 0;
    detail.variant = key.whole ? winograd_variant(&b->model->kernels, &detail.window, rows)
                               : gemm_choose(&b->model->kernels, rows / key.groups, detail.pixels);
    key.nr = detail.variant->nr;
    status = plan_weights(b, node, 1, key, &detail.weights);
    if (status)
        return status;
    detail.source = conv_source(&detail.window, detail.weights);
    detail.a_stride = detail.window.channels;
    next = detail.source == GEMM_ROWS && key.groups == 1 ? conv_reader(b, node) : NULL;
    if (next) {
        status = expand_step(b, node, next, &detail);
        if (status != PLAN_DECLINED)
            return status;
    }
    if (!key.whole && b->waiting[node->inputs[0]] && gemm_takes_gates(&detail))
        return conv_gated(b, node, &detail);
    status = conv_values(b, node, &a, &add, &out);
    if (status)
        return status;
    return key.whole ? winograd_step(b, node, &detail, a, add, out)
                     : gemm_step(b, node, detail, a, add, out);
}
