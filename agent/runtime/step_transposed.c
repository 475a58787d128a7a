/*
 * Transposed convolution: each phase of the output (window.h) is a plain convolution by the taps
 * that reach it, an implicit GEMM whose rows of outputs lie `stride` apart. All phases of a tile of
 * weights are computed from one panel.
 */
#include "agent/runtime/step_gemm.h"

#include "codec/base/arith.h"

#include <string.h>

#define TRANSPOSED_MAX_PHASES 4096

struct transposed_detail {
    struct gemm_detail gemm;           /* its window is the whole operator's */
    const struct window_phase *phases; /* [stride_y][stride_x] */
    size_t lines;                      /* rows of the output */
};

/* One call of a step, shared by its threads. */
struct transposed_call {
    const struct plan_run *run;
    const struct transposed_detail *detail;
    const float *x;
    float *out;
    uint32_t unit_tiles;
    size_t chunks;
    uint32_t held[WORKERS_MAX]; /* the unit whose panel each slot holds */
};

/* What a thread works on: some blocks of weight rows, for some lines. */
struct transposed_part {
    const float *panel;
    const float **pointers;
    uint32_t first_block, block_count;
};

/* All blocks of the part for `m` outputs of a phase from `pixel` on, which lie from `out` on. */
static void transposed_pixels(const struct transposed_call *call,
                              const struct transposed_part *part, const struct window_phase *phase,
                              size_t pixel, uint32_t m, float *out)
{
    const struct gemm_detail *gemm = &call->detail->gemm;
    const struct weights *weights = gemm->weights;
    const struct window *w = &phase->window;
    uint32_t group_rows = weights->rows / weights->groups, pointed = UINT32_MAX;
    struct kern_gemm_f32 args = {
        .m = m,
        .taps = w->kernel_height * w->kernel_width,
        .channels = weights->channels,
        .a = part->pointers,
        .c_stride = gemm->out_stride,
        .lo = gemm->lo,
        .hi = gemm->hi,
    };

    for (uint32_t b = 0; b < part->block_count; b++) {
        uint32_t row, n = weights_block_rows(weights, part->first_block + b, &row);
        uint32_t group = row / group_rows;
        if (!n)
            continue;
        if (group != pointed)
            window_pointers(w, call->x + (size_t)group * weights->channels, call->run->zeros, pixel,
                            m, gemm->variant->mr, part->pointers);
        pointed = group;
        args.n = n;
        args.panel = part->panel + b * weights->block_elems +
                     (size_t)phase->first_tap * weights->channels * weights->nr;
        args.bias = gemm->bias ? gemm->bias + row : NULL;
        args.c = out + row;
        gemm->variant->run(&args);
    }
}

/* Outputs of `line` in one of its phases, in equal groups of at most mr. */
static void transposed_phase(const struct transposed_call *call, const struct transposed_part *part,
                             const struct window_phase *phase, size_t line, float *out)
{
    const struct gemm_detail *gemm = &call->detail->gemm;
    const struct window *whole = &gemm->window, *w = &phase->window;
    size_t y = (line % whole->out_height - phase->first_y) / whole->stride_y;
    size_t pixel = (line / whole->out_height * w->out_height + y) * w->out_width;
    size_t count = w->out_width, groups = lego_div_up(count, gemm->variant->mr);

    out += phase->first_x * gemm->weights->rows;
    for (size_t i = 0; i < groups; i++) {
        size_t first = count * i / groups, end = count * (i + 1) / groups;
        transposed_pixels(call, part, phase, pixel + first, (uint32_t)(end - first),
                          out + (ptrdiff_t)first * gemm->out_stride);
    }
}

/* The part's weight rows of a whole line of the output that starts at `out`. */
static void transposed_activate(const struct gemm_detail *gemm, const struct transposed_part *part,
                                float *out)
{
    const struct weights *weights = gemm->weights;
    size_t pixels = gemm->window.out_width;
    uint32_t first, last, rows;

    weights_block_rows(weights, part->first_block, &first);
    rows = weights_block_rows(weights, part->first_block + part->block_count - 1, &last);
    rows = rows ? last + rows - first : weights->rows - first;
    if (rows == weights->rows) {
        gemm->activation(pixels * rows, out, out, gemm->act_lo, gemm->act_hi);
        return;
    }
    for (size_t i = 0; i < pixels; i++)
        gemm->activation(rows, out + i * weights->rows + first, out + i * weights->rows + first,
                         gemm->act_lo, gemm->act_hi);
}

static void transposed_line(const struct transposed_call *call, const struct transposed_part *part,
                            size_t line)
{
    const struct gemm_detail *gemm = &call->detail->gemm;
    const struct window *w = &gemm->window;
    size_t y = line % w->out_height, phase_y = (y + (size_t)w->pad_top) % w->stride_y;
    const struct window_phase *phases = call->detail->phases + phase_y * w->stride_x;
    float *out = call->out + line * w->out_width * gemm->weights->rows;

    for (uint32_t i = 0; i < w->stride_x; i++)
        transposed_phase(call, part, &phases[i], line, out);
    if (gemm->activation)
        transposed_activate(gemm, part, out);
}

static void transposed_task(void *context, uint32_t slot, size_t item)
{
    struct transposed_call *call = context;
    const struct transposed_detail *detail = call->detail;
    const struct weights *weights = detail->gemm.weights;
    uint32_t unit = (uint32_t)(item / call->chunks), blocks = call->unit_tiles;
    size_t chunk = item % call->chunks, line = detail->lines * chunk / call->chunks;
    size_t end = detail->lines * (chunk + 1) / call->chunks;
    char *scratch = run_slot(call->run, slot);
    struct transposed_part part = {.pointers =
                                       (const float **)(scratch + detail->gemm.pointers_at)};

    blocks *= weights->tile_blocks;
    part.first_block = unit * blocks;
    part.block_count = (uint32_t)lego_min_size(blocks, weights_blocks(weights) - part.first_block);
    if (weights->panels) {
        part.panel = weights->panels + part.first_block * weights->block_elems;
    } else {
        float *panel = (float *)(scratch + detail->gemm.panel_at);
        if (call->held[slot] != unit)
            weights_decode(call->run->kernels, weights, unit * call->unit_tiles, call->unit_tiles,
                           weights->splits, panel);
        call->held[slot] = unit;
        part.panel = panel;
    }
    for (; line < end; line++)
        transposed_line(call, &part, line);
}

static int transposed_run(const struct plan_step *step, struct plan_run *run,
                          struct lego_diag *diag)
{
    const struct transposed_detail *detail = step->detail;
    const struct weights *weights = detail->gemm.weights;
    struct transposed_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .out = run_floats(run, step->outputs[0]),
        .unit_tiles = detail->gemm.unit_tiles,
    };
    uint32_t slots = workers_worth(run->workers, SIZE_MAX, step->work);
    uint32_t wanted = slots > 1 ? 3 * slots : 1;
    size_t units;

    (void)diag;
    memset(call.held, -1, sizeof(call.held));
    if (slots > 1 && !weights->panels)
        call.unit_tiles = (uint32_t)lego_max_size(
            1, lego_min_size(call.unit_tiles, weights->tile_count / wanted));
    units = lego_div_up(weights->tile_count, call.unit_tiles);
    call.chunks = lego_min_size(lego_div_up(wanted, units), detail->lines);
    workers_run(run->workers, slots, units * call.chunks, transposed_task, &call);
    return LEGO_OK;
}

static void transposed_scratch(struct plan_builder *b, struct gemm_detail *gemm)
{
    const struct weights *weights = gemm->weights;
    size_t tile_bytes = weights_tile_elems(weights) * sizeof(float), total = 0;

    gemm->unit_tiles = (uint32_t)lego_min_size(lego_max_size(1, WEIGHTS_PANEL_BYTES / tile_bytes),
                                               weights->tile_count);
    if (!weights->panels)
        total = (gemm->unit_tiles * tile_bytes + 63) & ~(size_t)63;
    gemm->pointers_at = total;
    plan_need_slot(b, total + (size_t)weights->taps * gemm->variant->mr * sizeof(float *));
    plan_need_zeros(b, weights->channels);
}

/* Blocks of coded weights may hold rows of several groups, which see different inputs. */
static bool transposed_straddles(const struct weights *weights)
{
    uint32_t group_rows = weights->rows / weights->groups, row;

    for (uint32_t b = 0; b < weights_blocks(weights); b++) {
        uint32_t n = weights_block_rows(weights, b, &row);
        if (n && row / group_rows != (row + n - 1) / group_rows)
            return true;
    }
    return false;
}

static bool transposed_is_ours(const struct plan_builder *b, const struct lego_node *node,
                               struct window *ret_window, uint32_t *ret_groups)
{
    const struct lego_tensor *weights = lego_node_constant(b->graph, node, 1);
    const struct lego_shape *input = &b->graph->values[node->inputs[0]].shape;
    int64_t groups = lego_node_int(node, "group", 1);

    if (!weights || weights->dtype != LEGO_DTYPE_FLOAT32 || weights->shape.rank != input->rank ||
        groups < 1 || weights->shape.dim[0] < 1 || weights->shape.dim[0] % groups ||
        (weights->coded &&
         (weights->coded->view != LEGO_VIEW_TRANSPOSED_CONV || weights->coded->groups != groups)) ||
        !window_make_transposed(node, input, &b->graph->values[node->outputs[0]].shape,
                                &weights->shape, ret_window))
        return false;
    *ret_groups = (uint32_t)groups;
    return (uint64_t)ret_window->stride_y * ret_window->stride_x <= TRANSPOSED_MAX_PHASES;
}

static int transposed_weights(struct plan_builder *b, const struct lego_node *node, uint32_t groups,
                              struct gemm_detail *gemm)
{
    const struct window *w = &gemm->window;
    struct weights_key key = {
        .view = LEGO_VIEW_TRANSPOSED_CONV,
        .groups = groups,
        .whole = true,
        .kernel_height = w->kernel_height,
        .kernel_width = w->kernel_width,
        .stride_y = w->stride_y,
        .stride_x = w->stride_x,
        .dilation_y = w->dilation_y,
        .dilation_x = w->dilation_x,
    };
    uint32_t rows = (uint32_t)b->graph->values[node->outputs[0]].shape.dim[1];

    gemm->variant = gemm_choose(&b->model->kernels, rows / groups, window_pixels(w));
    key.nr = gemm->variant->nr;
    gemm->out_stride = (ptrdiff_t)w->stride_x * rows;
    return plan_weights(b, node, 1, key, &gemm->weights);
}

int plan_conv_transpose(struct plan_builder *b, const struct lego_node *node)
{
    struct transposed_detail detail = {0};
    struct gemm_detail *gemm = &detail.gemm;
    const struct window *w = &gemm->window;
    struct window_phase *phases;
    struct plan_step *step;
    uint32_t groups;
    int32_t x, out;
    int status;

    if (!transposed_is_ours(b, node, &gemm->window, &groups))
        return PLAN_DECLINED;
    status = plan_bias(b, node, 2, (uint32_t)b->graph->values[node->outputs[0]].shape.dim[1],
                       &gemm->bias);
    if (!status)
        status = transposed_weights(b, node, groups, gemm);
    if (!status && transposed_straddles(gemm->weights))
        return PLAN_DECLINED;
    if (status)
        return status;
    phases = lego_arena_calloc(b->plan->memory, (size_t)w->stride_y * w->stride_x, sizeof(*phases));
    if (!phases)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    window_phases(w, phases);
    detail.phases = phases;
    detail.lines = (size_t)w->batch * w->out_height;
    x = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    out = x < 0 ? x : plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (out < 0)
        return out;
    transposed_scratch(b, gemm);
    gemm_finish(b, node, gemm);
    step = plan_step_add(b, node, transposed_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    *(struct transposed_detail *)step->detail = detail;
    step->macs = (uint64_t)w->batch * w->in_height * w->in_width * gemm->weights->rows *
                 gemm->weights->channels * gemm->weights->taps;
    step->work = step->macs;
    return LEGO_OK;
}
