#include "agent/runtime/step_gemm.h"
#include "agent/runtime/step_gemv.h"

#include "codec/base/arith.h"

#include <math.h>
#include <string.h>

/* How well a variant uses the machine, beside the widest one, when nothing is padded. */
#define GEMM_NARROW_COST 1.3
#define GEMM_ROW_COST    3.0

/* Threads that have this many pixels each share them, and not the rows: what all of them decode is
 * little beside what they multiply, and a thread's outputs lie in its cache when it takes the same
 * pixels of the next step. */
#define GEMM_SHARED_PIXELS 64

/* Chunks of pixels for each thread, at most, and the share of a chunk by which threads end apart.
 */
#define GEMM_CHUNKS_EACH 8
#define GEMM_LATE_COST   0.1

/* Panels of weights for each of which inputs may be multiplied by gates again. */
#define GEMM_GATED_PANELS 2

/* One call of a step, shared by its threads. */
struct gemm_call {
    const struct plan_run *run;
    const struct gemm_detail *detail;
    const float *a, *add;
    const float *gate; /* NULL: the inputs are as they are */
    float *out;
    size_t out_pixel; /* whose outputs `out` (and `add`) begin with */
    uint32_t unit_tiles, units, chunks;
    /* Items that follow one another are units of one chunk; else chunks of one unit. */
    bool pixels_first;
    size_t chunk_pixels; /* a multiple of mr: blocks are the same for any number of threads */
    /* The unit whose panel each slot holds. */
    uint32_t held[WORKERS_MAX];
};

/* What a thread works on: `block_count` blocks from `first_row` on for pixels [pixel, end). */
struct gemm_part {
    float *decoded; /* where the first block of pixels decodes the panel; NULL: it is there */
    const float *panel;
    size_t block_elems;              /* of the panel */
    uint32_t first_row, block_count; /* whole tiles */
    size_t pixel, end;
    const struct weights_split *split;
    bool first_split, last_split;
    const float **pointers;
    float *edge, *block, *gated;
};

const struct kern_gemm_variant *gemm_choose(const struct kern_table *kernels, uint32_t rows,
                                            size_t pixels)
{
    const struct kern_gemm_variant *variants[3] = {&kernels->gemm_f32, &kernels->gemm_f32_narrow,
                                                   &kernels->gemm_f32_row};
    const double cost[3] = {1.0, GEMM_NARROW_COST, GEMM_ROW_COST};
    const struct kern_gemm_variant *best = NULL;
    double best_work = INFINITY;

    for (int i = 0; i < 3; i++) {
        double m = (double)lego_div_up(pixels, variants[i]->mr) * variants[i]->mr;
        double n = (double)lego_div_up(rows, variants[i]->nr) * variants[i]->nr;
        if (m * n * cost[i] < best_work) {
            best_work = m * n * cost[i];
            best = variants[i];
        }
    }
    return best;
}

/* Pixels [pixel, pixel + m) times their gates, and pointers to these. */
static void gemm_gated(const struct gemm_call *call, const struct gemm_part *part, size_t pixel,
                       uint32_t m)
{
    const struct gemm_detail *detail = call->detail;
    const uint32_t channels = detail->weights->channels;

    for (uint32_t i = 0; i < detail->variant->mr; i++) {
        size_t at = pixel + i;
        part->pointers[i] = part->gated + (size_t)(i < m ? i : m - 1) * channels;
        if (i < m)
            call->run->kernels->mul_f32(channels, call->a + (ptrdiff_t)at * detail->a_stride,
                                        call->gate + at / detail->gated_pixels * channels, 1,
                                        part->gated + (size_t)i * channels, -INFINITY, INFINITY);
    }
}

/* Pointers for pixels [pixel, pixel + m) and the channels that start at `channel`. */
static void gemm_pointers(const struct gemm_call *call, const struct gemm_part *part, size_t pixel,
                          uint32_t m, uint32_t channel)
{
    const struct gemm_detail *detail = call->detail;
    uint32_t mr = detail->variant->mr;
    const float *a = call->a + channel;

    if (call->gate) {
        gemm_gated(call, part, pixel, m);
        return;
    }
    switch (detail->source) {
    case GEMM_ROWS:
        for (uint32_t i = 0; i < mr; i++)
            part->pointers[i] = a + (ptrdiff_t)(pixel + (i < m ? i : m - 1)) * detail->a_stride;
        break;
    case GEMM_WINDOW:
        window_pointers(&detail->window, a, call->run->zeros, pixel, m, mr, part->pointers);
        break;
    case GEMM_WINDOW_ROWS:
        window_row_pointers(&detail->window, a, call->run->zeros, part->edge, pixel, m, mr,
                            part->pointers);
        break;
    }
}

static void gemm_taps(const struct gemm_detail *detail, const struct weights_split *split,
                      struct kern_gemm_f32 *args)
{
    args->taps = split->taps;
    args->channels = split->channels;
    if (detail->source == GEMM_WINDOW_ROWS) {
        args->taps = detail->window.kernel_height;
        args->channels = detail->window.kernel_width * split->channels;
    }
}

/* One block of a matrix whose blocks may hold rows of several groups: computes the block for each
 * group beside the output and copies the group's rows. */
static void gemm_straddling(const struct gemm_call *call, const struct gemm_part *part,
                            struct kern_gemm_f32 args, uint32_t row, uint32_t n, size_t pixel)
{
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t group_rows = weights->rows / weights->groups, nr = detail->variant->nr;

    for (uint32_t at = row; at < row + n;) {
        uint32_t group = at / group_rows;
        uint32_t end = (uint32_t)lego_min_size((size_t)(group + 1) * group_rows, row + n);
        gemm_pointers(call, part, pixel, args.m, group * weights->channels);
        args.n = end - row;
        args.c = part->block;
        args.c_stride = nr;
        args.bias = detail->bias ? detail->bias + row : NULL;
        args.add = NULL;
        args.lo = -INFINITY;
        args.hi = INFINITY;
        detail->variant->run(&args);
        for (uint32_t i = 0; i < args.m; i++) {
            ptrdiff_t to = (ptrdiff_t)(pixel - call->out_pixel + i) * detail->out_stride;
            for (uint32_t r = at; r < end; r++) {
                float value = part->block[i * nr + r - row];
                if (call->add)
                    value += call->add[to + r];
                value = value < detail->lo ? detail->lo : value;
                call->out[to + r] = value > detail->hi ? detail->hi : value;
            }
        }
        at = end;
    }
}

void gemm_activate_rows(const struct gemm_detail *detail, float *out, size_t pixel, uint32_t m,
                        uint32_t row, uint32_t rows)
{
    float *at = out + (ptrdiff_t)pixel * detail->out_stride + row;

    /* All rows there are, without gaps. */
    if (detail->out_stride == (ptrdiff_t)rows) {
        detail->activation((size_t)m * rows, at, at, detail->act_lo, detail->act_hi);
        return;
    }
    for (uint32_t i = 0; i < m; i++, at += detail->out_stride)
        detail->activation(rows, at, at, detail->act_lo, detail->act_hi);
}

static void gemm_activate(const struct gemm_call *call, const struct gemm_part *part, size_t pixel,
                          uint32_t m)
{
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t tiles = part->block_count / weights->tile_blocks;
    uint32_t rows = (uint32_t)lego_min_size((size_t)tiles * weights->tile_rows,
                                            weights->rows - part->first_row);

    gemm_activate_rows(detail, call->out, pixel - call->out_pixel, m, part->first_row, rows);
}

/* Block b of the part, whose panel is decoded meanwhile. */
static void gemm_bricks(const struct gemm_call *call, const struct gemm_part *part, uint32_t b,
                        const struct kern_gemm_f32 *args)
{
    const struct weights *weights = call->detail->weights;
    struct kern_gemm_bricks_f32 bricks = {.gemm = *args,
                                          .panel = part->decoded + b * part->block_elems};

    weights_block_bricks(weights, part->first_row / weights->tile_rows + b / weights->tile_blocks,
                         b % weights->tile_blocks, part->split, &bricks);
    call->run->kernels->gemm_bricks_f32.run(&bricks);
}

/* All blocks of the part for up to mr pixels; `args` says already what is the same for all. */
static void gemm_pixels(const struct gemm_call *call, const struct gemm_part *part,
                        struct kern_gemm_f32 *args, size_t pixel, uint32_t m)
{
    const bool decodes = part->decoded && pixel == part->pixel;
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t group_rows = weights->rows / weights->groups, pointed = UINT32_MAX;
    ptrdiff_t to = (ptrdiff_t)(pixel - call->out_pixel) * detail->out_stride;
    uint32_t tile_row = part->first_row, in_tile = 0;

    args->m = m;
    for (uint32_t b = 0; b < part->block_count; b++) {
        uint32_t row, n = weights_tile_block_rows(weights, tile_row, in_tile, &row), group = 0;
        if (++in_tile == weights->tile_blocks) {
            in_tile = 0;
            tile_row += weights->tile_rows;
        }
        if (!n)
            continue;
        if (weights->groups > 1)
            group = row / group_rows;
        args->panel = part->panel + b * part->block_elems;
        if (weights->groups > 1 && group != (row + n - 1) / group_rows) {
            gemm_straddling(call, part, *args, row, n, pixel);
            pointed = UINT32_MAX;
            continue;
        }
        if (group != pointed)
            gemm_pointers(call, part, pixel, m,
                          group * weights->channels + part->split->first_channel);
        pointed = group;
        args->n = n;
        args->bias = detail->bias ? detail->bias + row : NULL;
        args->c = call->out + to + row;
        args->add = call->add && part->last_split ? call->add + to + row : NULL;
        if (decodes)
            gemm_bricks(call, part, b, args);
        else
            detail->variant->run(args);
    }
    if (detail->activation && part->last_split)
        gemm_activate(call, part, pixel, m);
}

/* Equal groups of at most mr pixels: a short last one would cost what a whole one does. */
static void gemm_part_run(const struct gemm_call *call, const struct gemm_part *part)
{
    const struct gemm_detail *detail = call->detail;
    const size_t count = part->end - part->pixel;
    const size_t groups = lego_div_up(count, detail->variant->mr);
    const size_t each = groups ? count / groups : 0, more = count - each * groups;
    size_t pixel = part->pixel;
    struct kern_gemm_f32 args = {
        .a = part->pointers + (size_t)part->split->first_tap * detail->variant->mr,
        .c_stride = detail->out_stride,
        .add_stride = detail->out_stride,
        .accumulate = !part->first_split,
        .lo = part->last_split ? detail->lo : -INFINITY,
        .hi = part->last_split ? detail->hi : INFINITY,
    };

    gemm_taps(detail, part->split, &args);
    for (size_t i = 0; i < groups; i++) {
        const size_t m = each + (i < more);
        gemm_pixels(call, part, &args, pixel, (uint32_t)m);
        pixel += m;
    }
}

static void gemm_task(void *context, uint32_t slot, size_t item)
{
    struct gemm_call *call = context;
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t inner = call->pixels_first ? call->units : call->chunks;
    uint32_t outer_at = (uint32_t)(item / inner), inner_at = (uint32_t)(item % inner);
    uint32_t unit = call->pixels_first ? inner_at : outer_at;
    uint32_t chunk = call->pixels_first ? outer_at : inner_at;
    uint32_t first_block = unit * call->unit_tiles * weights->tile_blocks;
    char *scratch = run_slot(call->run, slot);
    float *panel = (float *)(scratch + detail->panel_at);
    struct gemm_part part = {
        .first_row = unit * call->unit_tiles * weights->tile_rows,
        .pixel = chunk * call->chunk_pixels,
        .pointers = (const float **)(scratch + detail->pointers_at),
        .edge = (float *)(scratch + detail->edge_at),
        .block = (float *)(scratch + detail->block_at),
        .gated = (float *)(scratch + detail->gated_at),
    };

    part.end = lego_min_size(part.pixel + call->chunk_pixels, detail->pixels);
    part.block_count = (uint32_t)lego_min_size((size_t)call->unit_tiles * weights->tile_blocks,
                                               weights_blocks(weights) - first_block);
    for (uint32_t s = 0; s < weights->split_count; s++) {
        part.split = &weights->splits[s];
        part.first_split = s == 0;
        part.last_split = s == weights->split_count - 1;
        part.block_elems = (size_t)part.split->taps * part.split->channels * weights->nr;
        part.panel = weights->panels ? weights->panels + first_block * weights->block_elems : panel;
        part.decoded = NULL;
        if (!weights->panels && (weights->split_count > 1 || call->held[slot] != unit)) {
            if (detail->bricks)
                part.decoded = panel;
            else
                weights_decode(call->run->kernels, weights, unit * call->unit_tiles,
                               call->unit_tiles, part.split, panel);
            call->held[slot] = unit;
        }
        gemm_part_run(call, &part);
    }
}

/*
 * Blocks of pixels of a chunk, where there are as many chunks as one likes: so many that each slot
 * has the same number of blocks, and several chunks rather than one, by which a faster core helps a
 * slower one.
 */
static size_t gemm_chunk_blocks(size_t blocks, uint32_t slots)
{
    double least = INFINITY;
    size_t best = blocks;

    for (uint32_t each = 1; each <= GEMM_CHUNKS_EACH; each++) {
        const size_t chunk = lego_div_up(blocks, (size_t)slots * each);
        const double time = (double)(chunk * each) * (1 + GEMM_LATE_COST / each);
        if (time < least) {
            least = time;
            best = chunk;
        }
    }
    return best;
}

/* Cuts the work in units of tiles and chunks of pixels: enough items for the threads, decoding
 * nothing twice where there are few pixels. */
static void gemm_cut(struct gemm_call *call, uint32_t slots)
{
    const struct gemm_detail *detail = call->detail;
    const struct weights *weights = detail->weights;
    uint32_t mr = detail->variant->mr, wanted = slots > 1 ? 3 * slots : 1;
    size_t blocks = lego_div_up(detail->pixels, mr), chunk;

    /* Entropy-coded weights take longer to decode. */
    call->pixels_first = slots > 1 && (weights->panels || !weights->table) &&
                         detail->pixels >= (size_t)slots * GEMM_SHARED_PIXELS;
    call->unit_tiles = detail->unit_tiles;
    if (slots > 1 && !weights->panels && !call->pixels_first)
        call->unit_tiles = (uint32_t)lego_max_size(
            1, lego_min_size(call->unit_tiles, weights->tile_count / wanted));
    call->units = (uint32_t)lego_div_up(weights->tile_count, call->unit_tiles);
    if (slots > 1 && call->units == 1)
        chunk = gemm_chunk_blocks(blocks, slots);
    else if (call->pixels_first)
        chunk = lego_div_up(blocks, slots);
    else
        chunk = lego_div_up(blocks, lego_min_size(lego_div_up(wanted, call->units), blocks));
    call->chunk_pixels = chunk * mr;
    call->chunks = (uint32_t)lego_div_up(detail->pixels, call->chunk_pixels);
}

static int gemm_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_detail *detail = step->detail;
    struct gemm_call call = {
        .run = run,
        .detail = detail,
        .a = run_floats(run, step->inputs[0]),
        .add =
            step->input_count > 1 && step->inputs[1] >= 0 ? run_floats(run, step->inputs[1]) : NULL,
        .gate = step->input_count > 2 ? run_floats(run, step->inputs[2]) : NULL,
        .out = run_floats(run, step->outputs[0]),
    };
    uint32_t slots = workers_worth(run->workers, SIZE_MAX, step->work);

    (void)diag;
    memset(call.held, -1, sizeof(call.held));
    gemm_cut(&call, slots);
    workers_run(run->workers, slots, (size_t)call.units * call.chunks, gemm_task, &call);
    return LEGO_OK;
}

static size_t scratch_at(size_t *total, size_t bytes)
{
    size_t at = *total;

    *total = (at + bytes + 63) & ~(size_t)63;
    return at;
}

/* Whether the product's own kernel decodes, and not only its reference. Parts of the columns are
 * all of one kind. */
static bool gemm_takes_bricks(const struct kern_table *kernels, const struct gemm_detail *detail)
{
    return detail->variant == &kernels->gemm_f32 &&
           strcmp(kernels->isa.gemm_bricks_f32, KERN_REFERENCE) != 0 &&
           weights_are_bricks(detail->weights, detail->weights->splits);
}

size_t gemm_scratch(struct plan_builder *b, struct gemm_detail *detail)
{
    const struct weights *weights = detail->weights;
    const struct window *w = &detail->window;
    size_t total = 0, tile_bytes = 0, taps = weights->taps, edge = 0;

    for (uint32_t s = 0; s < weights->split_count; s++)
        tile_bytes = lego_max_size(tile_bytes, (size_t)weights->splits[s].taps *
                                                   weights->splits[s].channels * weights->nr *
                                                   weights->tile_blocks * sizeof(float));
    detail->bricks = gemm_takes_bricks(&b->model->kernels, detail);
    detail->unit_tiles = (uint32_t)lego_max_size(1, WEIGHTS_PANEL_BYTES / tile_bytes);
    detail->unit_tiles = (uint32_t)lego_min_size(detail->unit_tiles, weights->tile_count);
    if (!weights->panels)
        detail->panel_at = scratch_at(&total, detail->unit_tiles * tile_bytes);
    if (detail->source == GEMM_WINDOW_ROWS)
        edge = (size_t)w->kernel_height * detail->variant->mr * w->kernel_width * w->channels;
    detail->pointers_at = scratch_at(&total, taps * detail->variant->mr * sizeof(float *));
    detail->edge_at = scratch_at(&total, edge * sizeof(float));
    if (weights->groups > 1)
        detail->block_at =
            scratch_at(&total, (size_t)detail->variant->mr * detail->variant->nr * sizeof(float));
    if (detail->gated_pixels)
        detail->gated_at =
            scratch_at(&total, (size_t)detail->variant->mr * weights->channels * sizeof(float));
    plan_need_slot(b, total);
    if (detail->source != GEMM_ROWS)
        plan_need_zeros(b, (size_t)w->channels * w->kernel_width);
    return total;
}

bool gemm_fits_panel(const struct gemm_detail *detail)
{
    return detail->weights->split_count == 1 &&
           (detail->weights->panels || detail->unit_tiles >= detail->weights->tile_count);
}

void gemm_band(const struct plan_run *run, const struct gemm_detail *detail, char *scratch,
               bool *decoded, const float *a, size_t pixel, size_t end, float *out)
{
    const struct weights *weights = detail->weights;
    const struct gemm_call call = {
        .run = run, .detail = detail, .a = a, .out = out, .out_pixel = pixel};
    float *panel = (float *)(scratch + detail->panel_at);
    const struct gemm_part part = {
        .panel = weights->panels ? weights->panels : panel,
        .block_elems = weights->block_elems,
        .block_count = weights_blocks(weights),
        .pixel = pixel,
        .end = end,
        .split = weights->splits,
        .first_split = true,
        .last_split = true,
        .pointers = (const float **)(scratch + detail->pointers_at),
        .edge = (float *)(scratch + detail->edge_at),
        .block = (float *)(scratch + detail->block_at),
    };

    if (!weights->panels && !*decoded)
        weights_decode(run->kernels, weights, 0, weights->tile_count, weights->splits, panel);
    *decoded = true;
    gemm_part_run(&call, &part);
}

void gemm_finish(const struct plan_builder *b, const struct lego_node *node,
                 struct gemm_detail *detail)
{
    plan_clamp(node, &detail->lo, &detail->hi);
    detail->activation =
        plan_activation(&b->model->kernels, node, &detail->act_lo, &detail->act_hi);
}

int gemm_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
              int32_t a, int32_t add, int32_t out)
{
    if (gemv_takes(&b->model->kernels, &detail))
        return gemv_step(b, node, detail, a, add, out);
    return gemm_gated_step(b, node, detail, 0, a, -1, add, out);
}

bool gemm_takes_gates(const struct gemm_detail *detail)
{
    const struct weights *weights = detail->weights;

    return detail->source == GEMM_ROWS && weights->groups == 1 && weights->split_count == 1 &&
           detail->pixels > 1 &&
           (size_t)weights->rows * weights->channels * sizeof(float) <=
               (size_t)GEMM_GATED_PANELS * WEIGHTS_PANEL_BYTES;
}

int gemm_gated_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
                    size_t pixels, int32_t a, int32_t gate, int32_t add, int32_t out)
{
    int32_t inputs[3] = {a, add, gate};
    const struct weights *weights = detail.weights;
    struct plan_step *step;

    detail.gated_pixels = pixels;
    gemm_scratch(b, &detail);
    gemm_finish(b, node, &detail);
    step = plan_step_add(b, node, gemm_run, sizeof(detail), inputs,
                         gate >= 0  ? 3
                         : add >= 0 ? 2
                                    : 1,
                         &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->macs = (uint64_t)detail.pixels * weights->rows * weights->channels * weights->taps;
    step->work = step->macs;
    if (gate >= 0)
        step->op = "Mul, Conv";
    if (add >= 0 && weights->split_count == 1)
        b->plan->values[out].reuse = add;
    return LEGO_OK;
}
