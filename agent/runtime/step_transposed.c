/*
 * Transposed convolution: each phase of the output (window.h) is a plain convolution by the taps
 * that reach it, an implicit GEMM whose rows of outputs lie `stride` apart. All phases of a tile of
 * weights are computed from one panel.
 */
#include "agent/runtime/step_depthwise.h"
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

/*
 * Few outputs, and taps that never meet: all taps of a pixel are the rows of one product, which is
 * then spread over the output. `gemm` is that product, and its window the operator's.
 */
struct spread_call {
    const struct plan_run *run;
    const struct gemm_detail *gemm;
    const float *x;
    float *out;
    size_t lines, chunks;
};

/* The outputs [pixel][row][ky][kx] of a line of inputs to `stride_y` lines of the output. */
static void spread_line(const struct gemm_detail *gemm, const float *products, float *out)
{
    const struct window *w = &gemm->window;
    size_t all = gemm->weights->rows, taps = (size_t)w->stride_y * w->stride_x;
    size_t rows = all / taps;

    for (uint32_t y = 0; y < w->stride_y; y++)
        for (uint32_t x = 0; x < w->in_width; x++)
            for (uint32_t kx = 0; kx < w->stride_x; kx++)
                for (size_t row = 0; row < rows; row++)
                    *out++ = products[x * all + row * taps + y * w->stride_x + kx];
}

static void spread_task(void *context, uint32_t slot, size_t item)
{
    const struct spread_call *call = context;
    const struct gemm_detail *gemm = call->gemm;
    const struct weights *weights = gemm->weights;
    const struct window *w = &gemm->window;
    size_t line = call->lines * item / call->chunks, end = call->lines * (item + 1) / call->chunks;
    size_t out_elems = (size_t)w->in_width * weights->rows;
    char *scratch = run_slot(call->run, slot);
    const float **pointers = (const float **)(scratch + gemm->pointers_at);
    float *products = (float *)scratch;
    uint32_t mr = gemm->variant->mr;
    struct kern_gemm_f32 args = {.n = weights->rows,
                                 .taps = 1,
                                 .channels = weights->channels,
                                 .a = pointers,
                                 .panel = weights->panels,
                                 .bias = gemm->bias,
                                 .c_stride = gemm->out_stride,
                                 .lo = gemm->lo,
                                 .hi = gemm->hi};

    for (; line < end; line++) {
        const float *from = call->x + line * w->in_width * w->channels;
        float *out = call->out + line * out_elems;
        for (uint32_t x = 0; x < w->in_width; x += mr) {
            args.m = w->in_width - x < mr ? w->in_width - x : mr;
            for (uint32_t i = 0; i < mr; i++)
                pointers[i] = from + (size_t)(x + (i < args.m ? i : args.m - 1)) * w->channels;
            args.c = products + (size_t)x * weights->rows;
            gemm->variant->run(&args);
        }
        spread_line(gemm, products, out);
        if (gemm->activation)
            gemm->activation(out_elems, out, out, gemm->act_lo, gemm->act_hi);
    }
}

static int spread_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_detail *gemm = step->detail;
    size_t lines = (size_t)gemm->window.batch * gemm->window.in_height;
    uint32_t slots = workers_worth(run->workers, lines, step->work);
    struct spread_call call = {
        .run = run,
        .gemm = gemm,
        .x = run_floats(run, step->inputs[0]),
        .out = run_floats(run, step->outputs[0]),
        .lines = lines,
        .chunks = slots > 1 ? lego_min_size(lines, (size_t)3 * slots) : 1,
    };

    (void)diag;
    workers_run(run->workers, slots, call.chunks, spread_task, &call);
    return LEGO_OK;
}

static bool spread_fits(const struct plan_builder *b, const struct window *w, uint32_t groups,
                        uint32_t rows)
{
    return groups == 1 && w->kernel_height == w->stride_y && w->kernel_width == w->stride_x &&
           w->dilation_y == 1 && w->dilation_x == 1 && !w->pad_top && !w->pad_left &&
           w->out_height == (uint64_t)w->in_height * w->stride_y &&
           w->out_width == (uint64_t)w->in_width * w->stride_x &&
           (uint64_t)rows * w->kernel_height * w->kernel_width <= b->model->kernels.gemm_f32.nr;
}

/* The weights [channel][row][tap] as they lie: rows of (row, tap) that come last; and a bias for
 * each of them. */
static int spread_weights(struct plan_builder *b, const struct lego_node *node,
                          struct gemm_detail *gemm)
{
    const struct kern_table *kernels = &b->model->kernels;
    const struct lego_tensor *tensor = lego_node_constant(b->graph, node, 1);
    struct lego_tensor *view = lego_arena_memdup(b->plan->memory, tensor, sizeof(*tensor));
    uint32_t taps = gemm->window.kernel_height * gemm->window.kernel_width;
    int64_t rows = tensor->shape.dim[1] * taps;
    struct weights_key key = {.view = LEGO_VIEW_OUT_LAST, .groups = 1};
    float *bias = lego_arena_calloc(b->plan->memory, (size_t)rows, sizeof(*bias));
    const void *data;
    int status;

    if (!view || !bias)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    status = plan_constant_data(b, node->inputs[1], &data);
    if (status)
        return status;
    view->shape = (struct lego_shape){.rank = 2, .dim = {tensor->shape.dim[0], rows}};
    view->coded = NULL;
    view->data = data;
    for (int64_t r = 0; gemm->bias && r < rows; r++)
        bias[r] = gemm->bias[r / taps];
    gemm->bias = bias;
    gemm->variant =
        rows <= kernels->gemm_f32_narrow.nr ? &kernels->gemm_f32_narrow : &kernels->gemm_f32;
    gemm->out_stride = (ptrdiff_t)rows;
    key.nr = gemm->variant->nr;
    return plan_tensor_weights(b, view, key, &gemm->weights);
}

static int spread_step(struct plan_builder *b, const struct lego_node *node,
                       struct gemm_detail *gemm)
{
    const struct window *w = &gemm->window;
    struct plan_step *step;
    int32_t x, out;
    int status = spread_weights(b, node, gemm);

    if (status)
        return status;
    x = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    out = x < 0 ? x : plan_output(b, node->outputs[0], PLAN_CHANNELS_LAST);
    if (out < 0)
        return out;
    gemm->pointers_at =
        ((size_t)w->in_width * gemm->weights->rows * sizeof(float) + 63) & ~(size_t)63;
    plan_need_slot(b, gemm->pointers_at + gemm->variant->mr * sizeof(float *));
    gemm_finish(b, node, gemm);
    step = plan_step_add(b, node, spread_run, sizeof(*gemm), &x, 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, gemm, sizeof(*gemm));
    step->macs =
        (uint64_t)w->batch * w->in_height * w->in_width * gemm->weights->rows * w->channels;
    step->work = step->macs;
    return LEGO_OK;
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

static struct weights_key transposed_key(const struct window *w, uint32_t groups)
{
    return (struct weights_key){
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
}

static int transposed_step(struct plan_builder *b, const struct lego_node *node,
                           const struct gemm_detail *product, struct weights_key key)
{
    struct transposed_detail detail = {.gemm = *product};
    struct gemm_detail *gemm = &detail.gemm;
    const struct window *w = &gemm->window;
    uint32_t rows = (uint32_t)b->graph->values[node->outputs[0]].shape.dim[1];
    struct window_phase *phases =
        lego_arena_calloc(b->plan->memory, (size_t)w->stride_y * w->stride_x, sizeof(*phases));
    struct plan_step *step;
    int32_t x, out;
    int status;

    if (!phases)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    gemm->variant = gemm_choose(&b->model->kernels, rows / key.groups, window_pixels(w));
    gemm->out_stride = (ptrdiff_t)w->stride_x * rows;
    key.nr = gemm->variant->nr;
    status = plan_weights(b, node, 1, key, &gemm->weights);
    if (status)
        return status;
    if (transposed_straddles(gemm->weights))
        return PLAN_DECLINED;
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

int plan_conv_transpose(struct plan_builder *b, const struct lego_node *node)
{
    struct gemm_detail gemm = {0};
    const struct window *w = &gemm.window;
    uint32_t groups, rows = (uint32_t)b->graph->values[node->outputs[0]].shape.dim[1];
    struct weights_key key;
    int status;

    if (!transposed_is_ours(b, node, &gemm.window, &groups))
        return PLAN_DECLINED;
    status = plan_bias(b, node, 2, rows, &gemm.bias);
    if (status)
        return status;
    if (spread_fits(b, w, groups, rows))
        return spread_step(b, node, &gemm);
    key = transposed_key(w, groups);
    if (groups > 1 && groups == rows && groups == w->channels)
        return plan_depthwise_transposed(b, node, w, &key, gemm.bias);
    return transposed_step(b, node, &gemm, key);
}
