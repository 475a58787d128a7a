#include "agent/runtime/step_winograd.h"
#include "agent/runtime/cache.h"
#include "agent/runtime/winograd_parts.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* What the transformed inputs of a chunk of tiles may take; a larger image goes chunk by chunk. */
#define WINOGRAD_INPUT_BYTES (2u << 20)
/* A pass: channels whose transformed weights and tiles whose products lie in L2 together, of which
 * the weights take so many sixteenths, and no more bytes; steps of channels. */
#define WINOGRAD_PASS_SIXTEENTHS 9
#define WINOGRAD_PASS_BYTES      (640u << 10)
#define WINOGRAD_PASS_CHANNELS   16
#define WINOGRAD_PASS_TILES      48
/* What it costs, as in winograd_parts.h, for so few tiles that their weights are transformed where
 * they are used: for each of KERN_WINOGRAD_FEW, transform included. */
#define WINOGRAD_FEW_COST 2.0
/* Their weights go by parts of so many channels: with all in one panel, panel and inputs would push
 * one another out of L2. */
#define WINOGRAD_FEW_CHANNELS 128
/* Their inputs are transformed by blocks of so many, which L1 holds. */
#define WINOGRAD_FEW_BLOCK 64
/* Pieces of a part that threads transform which share it. */
#define WINOGRAD_PIECES 8

enum {
    IN = KERN_WINOGRAD_IN,
    OUT = KERN_WINOGRAD_OUT,
    POSITIONS = WINOGRAD_POSITIONS,
    PIXELS = OUT * OUT,
};

struct winograd_detail {
    struct gemm_detail conv;
    uint32_t tiles_x, tiles_y; /* of an image */
    size_t tiles;              /* of the batch */
    bool few;                  /* all in one part, weights transformed where they are used */
    size_t chunk_tiles;
    uint32_t pass_tiles, pass_channels;
    /* Floats from one position to the next: */
    size_t weights_stride, product_stride;
    /* Where in a slot's scratch: */
    size_t panel_at, weights_at, products_at;
};

/* One chunk of a step, shared by its threads. */
struct winograd_call {
    const struct plan_run *run;
    const struct winograd_detail *detail;
    const float *a, *add;
    float *out, *input;
    size_t first;   /* tile of the chunk */
    uint32_t units; /* tiles of weights */
    struct winograd_parts parts;
    atomic_bool ready[WINOGRAD_PARTS]; /* a part's inputs, where its units follow them at once */
    /* The tile of weights whose panel each slot holds. */
    uint32_t held[WORKERS_MAX];
};

/* Where a tile of outputs lies. */
struct winograd_place {
    size_t image;
    uint32_t y, x;
};

static size_t winograd_tiles(const struct window *w)
{
    return (size_t)w->batch * lego_div_up(w->out_height, OUT) * lego_div_up(w->out_width, OUT);
}

/* Whether its tiles are few and there is a kernel for that, not only its reference. */
static bool winograd_is_few(const struct kern_table *kernels, const struct window *w)
{
    return winograd_tiles(w) <= KERN_WINOGRAD_FEW &&
           strcmp(kernels->isa.winograd_few_f32, KERN_REFERENCE) != 0;
}

/* All work in multiply-accumulates; that of the direct method is 9 a pixel and pair of channels. */
static double winograd_work(const struct kern_table *kernels, const struct window *w, uint32_t rows)
{
    double tiles = (double)winograd_tiles(w), channels = w->channels;
    double product = winograd_is_few(kernels, w)
                         ? WINOGRAD_FEW_COST * KERN_WINOGRAD_FEW
                         : WINOGRAD_GEMM_COST * tiles + WINOGRAD_WEIGHTS_COST;

    return POSITIONS *
           (product * channels * rows + WINOGRAD_PIXEL_COST * tiles * (channels + rows));
}

bool winograd_wins(const struct kern_table *kernels, const struct window *w, uint32_t groups,
                   uint32_t rows)
{
    double direct = 9.0 * (double)window_pixels(w) * w->channels * rows;

    return kernels->cpu && groups == 1 && w->kernel_height == 3 && w->kernel_width == 3 &&
           w->stride_y == 1 && w->stride_x == 1 && w->dilation_y == 1 && w->dilation_x == 1 &&
           winograd_work(kernels, w, rows) < direct;
}

uint32_t winograd_part_channels(const struct kern_table *kernels, const struct window *w)
{
    return winograd_is_few(kernels, w) ? WINOGRAD_FEW_CHANNELS : 0;
}

const struct kern_gemm_variant *winograd_variant(const struct kern_table *kernels,
                                                 const struct window *w, uint32_t rows)
{
    return gemm_choose(kernels, rows, winograd_tiles(w));
}

static struct winograd_place winograd_place(const struct winograd_detail *d, size_t tile)
{
    size_t of_image = (size_t)d->tiles_x * d->tiles_y, in_image = tile % of_image;

    return (struct winograd_place){.image = tile / of_image,
                                   .y = (uint32_t)(in_image / d->tiles_x) * OUT,
                                   .x = (uint32_t)(in_image % d->tiles_x) * OUT};
}

/* The 36 pixels that a tile of outputs sees, from `channel` on. */
static void winograd_pixels(const struct winograd_call *call, size_t tile, uint32_t channel,
                            const float *ret_pointers[POSITIONS])
{
    const struct window *w = &call->detail->conv.window;
    struct winograd_place at = winograd_place(call->detail, tile);
    const float *image = call->a + at.image * w->in_height * w->in_width * w->channels + channel;

    for (int row = 0; row < IN; row++) {
        int64_t y = (int64_t)at.y + row - w->pad_top;
        for (int column = 0; column < IN; column++) {
            int64_t x = (int64_t)at.x + column - w->pad_left;
            bool inside = y >= 0 && y < w->in_height && x >= 0 && x < w->in_width;
            ret_pointers[row * IN + column] =
                inside ? image + ((size_t)y * w->in_width + (size_t)x) * w->channels
                       : call->run->zeros;
        }
    }
}

/* A block of channels of all tiles, which are few: transformed as all are, then with positions and
 * tiles side by side, as their kernel takes them. */
static void winograd_few_input_task(void *context, uint32_t slot, size_t item)
{
    const struct winograd_call *call = context;
    const struct winograd_detail *d = call->detail;
    const struct kern_table *kernels = call->run->kernels;
    const uint32_t channel = (uint32_t)item * WINOGRAD_FEW_BLOCK;
    const uint32_t channels =
        (uint32_t)lego_min_size(d->conv.window.channels - channel, WINOGRAD_FEW_BLOCK);
    float *block = (float *)((char *)run_slot(call->run, slot) + d->panel_at);
    const float *pointers[POSITIONS];

    for (size_t tile = 0; tile < KERN_WINOGRAD_FEW; tile++) {
        const struct kern_winograd_input_f32 args = {
            .a = pointers,
            .channels = channels,
            .out = block + tile * WINOGRAD_FEW_BLOCK,
            .out_stride = (size_t)KERN_WINOGRAD_FEW * WINOGRAD_FEW_BLOCK,
        };
        /* Tiles that are not there: the last again. */
        winograd_pixels(call, lego_min_size(tile, d->tiles - 1), channel, pointers);
        kernels->winograd_input_f32(&args);
    }
    kernels->transpose_f32((size_t)POSITIONS * KERN_WINOGRAD_FEW, channels, block,
                           WINOGRAD_FEW_BLOCK,
                           call->input + (size_t)channel * POSITIONS * KERN_WINOGRAD_FEW,
                           (size_t)POSITIONS * KERN_WINOGRAD_FEW);
}

/* Transforms the inputs of tiles [tile, end) of a part. */
static void winograd_inputs(const struct winograd_call *call, const struct winograd_part *part,
                            size_t tile, size_t end)
{
    const uint32_t channels = call->detail->conv.window.channels;
    const float *pointers[POSITIONS];

    for (; tile < end; tile++) {
        struct kern_winograd_input_f32 args = {
            .a = pointers,
            .channels = channels,
            .out = call->input + part->at + tile * channels,
            .out_stride = part->stride,
        };
        winograd_pixels(call, call->first + part->first + tile, 0, pointers);
        call->run->kernels->winograd_input_f32(&args);
    }
}

/* A piece of the only part, or of one of few. */
static void winograd_input_task(void *context, uint32_t slot, size_t item)
{
    const struct winograd_call *call = context;
    const struct winograd_part part = winograd_part(&call->parts, item / WINOGRAD_PIECES);
    const size_t piece = item % WINOGRAD_PIECES;

    (void)slot;
    winograd_inputs(call, &part, part.tiles * piece / WINOGRAD_PIECES,
                    part.tiles * (piece + 1) / WINOGRAD_PIECES);
}

/* The products of `count` tiles from `tile` on with one block's transformed weights. */
static void winograd_multiply(const struct winograd_call *call, const struct winograd_part *part,
                              const float *weights, float *products, size_t tile, uint32_t count,
                              uint32_t channel, uint32_t channels, uint32_t n)
{
    const struct winograd_detail *d = call->detail;
    const struct kern_gemm_variant *variant = d->conv.variant;
    uint32_t nr = variant->nr, pitch = d->conv.window.channels;
    uint32_t groups = (uint32_t)lego_div_up(count, variant->mr), firsts[WINOGRAD_PASS_TILES + 1];
    const float *pointers[WINOGRAD_PASS_TILES + 1];
    struct kern_gemm_f32 args = {.n = n,
                                 .taps = 1,
                                 .channels = channels,
                                 .a = pointers,
                                 .c_stride = nr,
                                 .accumulate = channel > 0,
                                 .lo = -INFINITY,
                                 .hi = INFINITY};

    for (uint32_t i = 0; i <= groups; i++)
        firsts[i] = count * i / groups;
    for (uint32_t p = 0; p < POSITIONS; p++) {
        const float *input = call->input + part->at + p * part->stride + tile * pitch + channel;
        args.panel = weights + p * d->weights_stride;
        args.c = products + p * d->product_stride;
        for (uint32_t i = 0; i < groups; i++, args.c += (size_t)args.m * nr) {
            args.m = firsts[i + 1] - firsts[i];
            for (uint32_t j = 0; j < args.m; j++, input += pitch)
                pointers[j] = input;
            for (uint32_t j = args.m; j < variant->mr; j++)
                pointers[j] = pointers[j - 1];
            variant->run(&args);
        }
    }
}

/* One tile of outputs for rows [row, row + n). */
static void winograd_give(const struct winograd_call *call, const float *products, size_t tile,
                          uint32_t row, uint32_t n)
{
    const struct winograd_detail *d = call->detail;
    const struct window *w = &d->conv.window;
    struct winograd_place at = winograd_place(d, tile);
    float *out[PIXELS];
    const float *add[PIXELS];
    struct kern_winograd_output_f32 args = {.products = products,
                                            .product_stride = d->product_stride,
                                            .channels = n,
                                            .bias = d->conv.bias ? d->conv.bias + row : NULL,
                                            .out = out,
                                            .add = call->add ? add : NULL,
                                            .lo = d->conv.lo,
                                            .hi = d->conv.hi};

    for (uint32_t p = 0; p < PIXELS; p++) {
        uint32_t y = at.y + p / OUT, x = at.x + p % OUT;
        size_t pixel = (at.image * w->out_height + y) * w->out_width + x;
        size_t to = pixel * (size_t)d->conv.out_stride + row;
        bool inside = y < w->out_height && x < w->out_width;
        out[p] = inside ? call->out + to : NULL;
        add[p] = inside && call->add ? call->add + to : NULL;
    }
    call->run->kernels->winograd_output_f32(&args);
    for (uint32_t p = 0; d->conv.activation && p < PIXELS; p++)
        if (out[p])
            d->conv.activation(n, out[p], out[p], d->conv.act_lo, d->conv.act_hi);
}

/* The products of all tiles, which are few, with a block's panel of a part of the channels. */
static void winograd_multiply_few(const struct winograd_call *call,
                                  const struct weights_split *split, const float *panel,
                                  float *products)
{
    const struct winograd_detail *d = call->detail;
    const uint32_t nr = d->conv.variant->nr;
    const struct kern_winograd_few_f32 args = {
        .tiles = (uint32_t)d->tiles,
        .channels = split->channels,
        .elems = nr,
        .accumulate = split->first_channel > 0,
        .input = call->input + (size_t)split->first_channel * POSITIONS * KERN_WINOGRAD_FEW,
        .taps = panel,
        .tap_stride = (size_t)split->channels * nr,
        .products = products,
        .product_stride = d->product_stride};

    call->run->kernels->winograd_few_f32(&args);
}

/* Gives all tiles, which are few, of one tile of weights. */
static void winograd_few_task(void *context, uint32_t slot, size_t item)
{
    const struct winograd_call *call = context;
    const struct winograd_detail *d = call->detail;
    const struct weights *weights = d->conv.weights;
    const uint32_t tile = (uint32_t)item, nr = d->conv.variant->nr;
    const size_t block_products = POSITIONS * d->product_stride;
    char *scratch = run_slot(call->run, slot);
    float *panel = (float *)(scratch + d->panel_at);
    float *products = (float *)(scratch + d->products_at);

    for (uint32_t s = 0; s < weights->split_count; s++) {
        const struct weights_split *split = &weights->splits[s];
        const size_t elems = (size_t)split->taps * split->channels * nr;
        const float *from = panel;
        if (weights->panels)
            from = weights->panels + tile * weights_tile_elems(weights);
        else
            weights_decode(call->run->kernels, weights, tile, 1, split, panel);
        for (uint32_t b = 0; b < weights->tile_blocks; b++)
            winograd_multiply_few(call, split, from + b * elems, products + b * block_products);
    }
    for (uint32_t b = 0; b < weights->tile_blocks; b++) {
        uint32_t row, n = weights_tile_block_rows(weights, tile * weights->tile_rows, b, &row);
        for (uint32_t t = 0; n && t < d->tiles; t++)
            winograd_give(call, products + b * block_products + (size_t)t * nr, t, row, n);
    }
}

/* One block of rows, whose panel holds [tap][channel][nr], for all tiles of the part. */
static void winograd_block(const struct winograd_call *call, const struct winograd_part *part,
                           const float *panel, char *scratch, uint32_t row, uint32_t n)
{
    const struct winograd_detail *d = call->detail;
    uint32_t channels = d->conv.window.channels, nr = d->conv.variant->nr, held = UINT32_MAX;
    float *weights = (float *)(scratch + d->weights_at);
    float *products = (float *)(scratch + d->products_at);

    for (size_t tile = 0; tile < part->tiles; tile += d->pass_tiles) {
        uint32_t count = (uint32_t)lego_min_size(part->tiles - tile, d->pass_tiles);
        for (uint32_t channel = 0; channel < channels; channel += d->pass_channels) {
            uint32_t k = (uint32_t)lego_min_size(channels - channel, d->pass_channels);
            struct kern_winograd_weights_f32 args = {.taps = panel + (size_t)channel * nr,
                                                     .elems = (size_t)k * nr,
                                                     .tap_stride = (size_t)channels * nr,
                                                     .out = weights,
                                                     .out_stride = d->weights_stride};
            if (held != channel)
                call->run->kernels->winograd_weights_f32(&args);
            held = channel;
            winograd_multiply(call, part, weights, products, tile, count, channel, k, n);
        }
        for (uint32_t t = 0; t < count; t++)
            winograd_give(call, products + (size_t)t * nr, call->first + part->first + tile + t,
                          row, n);
    }
}

/* One tile of weights for all tiles of the part. */
static void winograd_unit(struct winograd_call *call, const struct winograd_part *part,
                          uint32_t slot, uint32_t unit)
{
    const struct winograd_detail *d = call->detail;
    const struct weights *weights = d->conv.weights;
    char *scratch = run_slot(call->run, slot);
    const float *panel = (const float *)(scratch + d->panel_at);
    uint32_t row;

    if (weights->panels) {
        panel = weights->panels + unit * weights_tile_elems(weights);
    } else if (call->held[slot] != unit) {
        weights_decode(call->run->kernels, weights, unit, 1, weights->splits,
                       (float *)(scratch + d->panel_at));
        call->held[slot] = unit;
    }
    for (uint32_t b = 0; b < weights->tile_blocks; b++, panel += weights->block_elems) {
        uint32_t n = weights_tile_block_rows(weights, unit * weights->tile_rows, b, &row);
        if (n)
            winograd_block(call, part, panel, scratch, row, n);
    }
}

static void winograd_unit_task(void *context, uint32_t slot, size_t item)
{
    struct winograd_call *call = context;
    const struct winograd_part part = winograd_part(&call->parts, item / call->units);

    winograd_unit(call, &part, slot, (uint32_t)(item % call->units));
}

/* A part for each slot: its inputs, then its units, without the others in between. */
static void winograd_part_task(void *context, uint32_t slot, size_t item)
{
    struct winograd_call *call = context;
    const uint32_t of_part = (uint32_t)(item % (call->parts.units + 1));
    const size_t number = item / (call->parts.units + 1);
    const struct winograd_part part = winograd_part(&call->parts, number);

    if (of_part == 0) {
        winograd_inputs(call, &part, 0, part.tiles);
        atomic_store_explicit(&call->ready[number], true, memory_order_release);
    } else if (of_part <= part.units) {
        workers_wait(&call->ready[number]);
        winograd_unit(call, &part, slot, part.unit + of_part - 1);
    }
}

/* All tiles of a chunk. */
static void winograd_chunk(struct winograd_call *call, uint32_t slots)
{
    struct workers *workers = call->run->workers;
    const size_t parts = call->parts.count;

    if (parts == slots) {
        for (size_t i = 0; i < parts; i++)
            atomic_init(&call->ready[i], false);
        workers_run(workers, slots, parts * (call->parts.units + 1), winograd_part_task, call);
        return;
    }
    workers_run(workers, slots, parts * WINOGRAD_PIECES, winograd_input_task, call);
    workers_run(workers, slots, parts * call->units, winograd_unit_task, call);
}

static int winograd_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct winograd_detail *d = step->detail;
    struct winograd_call call = {
        .run = run,
        .detail = d,
        .a = run_floats(run, step->inputs[0]),
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .input = (float *)run->shared,
        .units = d->conv.weights->tile_count,
    };
    struct winograd_whole whole = {.units = call.units,
                                   .unit_rows = d->conv.weights->tile_rows,
                                   .channels = d->conv.window.channels,
                                   .elems = run->plan->shared_bytes / sizeof(float)};
    uint32_t slots = workers_worth(run->workers, SIZE_MAX, step->work);

    (void)diag;
    if (d->few) {
        workers_run(run->workers, slots, lego_div_up(d->conv.window.channels, WINOGRAD_FEW_BLOCK),
                    winograd_few_input_task, &call);
        workers_run(run->workers, slots, call.units, winograd_few_task, &call);
        return LEGO_OK;
    }
    memset(call.held, -1, sizeof(call.held));
    for (; call.first < d->tiles; call.first += whole.tiles) {
        whole.tiles = lego_min_size(d->tiles - call.first, d->chunk_tiles);
        call.parts = winograd_cut(&whole, slots);
        winograd_chunk(&call, slots);
    }
    return LEGO_OK;
}

/* Every pass but the first loads and stores all products again. */
static uint32_t winograd_pass_channels(uint32_t channels, size_t nr)
{
    size_t bytes = cache_l2_share() / 16 * WINOGRAD_PASS_SIXTEENTHS, most;

    most = lego_min_size(bytes, WINOGRAD_PASS_BYTES) / (POSITIONS * nr * sizeof(float));
    most = lego_max_size(most / WINOGRAD_PASS_CHANNELS, 1) * WINOGRAD_PASS_CHANNELS;
    return (uint32_t)lego_min_size(most, channels);
}

/* Floats of a tile of weights, decoded part by part; the first part is the largest. */
static size_t winograd_panel_elems(const struct weights *weights)
{
    return weights->panels ? 0
                           : (size_t)weights->tile_blocks * weights->nr * weights->taps *
                                 weights->splits[0].channels;
}

/* What few tiles need of memory. */
static void winograd_few_scratch(struct plan_builder *b, struct winograd_detail *d)
{
    const struct weights *weights = d->conv.weights;
    const uint32_t channels = d->conv.window.channels;
    const size_t input = (size_t)POSITIONS * KERN_WINOGRAD_FEW;

    d->product_stride = (size_t)KERN_WINOGRAD_FEW * weights->nr + WINOGRAD_PAD;
    d->panel_at = weights->tile_blocks * POSITIONS * d->product_stride * sizeof(float);
    plan_need_slot(b, d->panel_at + sizeof(float) * lego_max_size(winograd_panel_elems(weights),
                                                                  input * WINOGRAD_FEW_BLOCK));
    plan_need_shared(b, input * channels * sizeof(float));
    plan_need_zeros(b, channels);
}

/* Sizes of chunks and passes, and what they need of memory. */
static void winograd_scratch(struct plan_builder *b, struct winograd_detail *d)
{
    uint32_t channels = d->conv.window.channels, mr = d->conv.variant->mr;
    size_t at = 0, nr = d->conv.variant->nr, most, chunks;

    most = WINOGRAD_INPUT_BYTES / (POSITIONS * sizeof(float) * channels) / mr * mr;
    chunks = lego_div_up(d->tiles, lego_max_size(most, mr));
    d->chunk_tiles = lego_div_up(lego_div_up(d->tiles, chunks), mr) * mr;
    d->pass_tiles = (uint32_t)lego_min_size(WINOGRAD_PASS_TILES / mr * mr, d->chunk_tiles);
    d->pass_channels = winograd_pass_channels(channels, nr);
    d->weights_stride = d->pass_channels * nr + WINOGRAD_PAD;
    d->product_stride = d->pass_tiles * nr + WINOGRAD_PAD;
    d->weights_at = at;
    at += POSITIONS * d->weights_stride * sizeof(float);
    d->products_at = at;
    at += POSITIONS * d->product_stride * sizeof(float);
    d->panel_at = at;
    plan_need_slot(b, at + winograd_panel_elems(d->conv.weights) * sizeof(float));
    plan_need_shared(b, winograd_room(d->chunk_tiles, channels) * sizeof(float));
    plan_need_zeros(b, channels);
}

int winograd_step(struct plan_builder *b, const struct lego_node *node,
                  const struct gemm_detail *conv, int32_t a, int32_t add, int32_t out)
{
    int32_t inputs[2] = {a, add};
    const struct window *w = &conv->window;
    struct winograd_detail d = {
        .conv = *conv,
        .tiles_x = (uint32_t)lego_div_up(w->out_width, OUT),
        .tiles_y = (uint32_t)lego_div_up(w->out_height, OUT),
        .tiles = winograd_tiles(w),
    };
    struct plan_step *step;

    d.few = winograd_is_few(&b->model->kernels, w);
    if (d.few)
        winograd_few_scratch(b, &d);
    else
        winograd_scratch(b, &d);
    gemm_finish(b, node, &d.conv);
    step = plan_step_add(b, node, winograd_run, sizeof(d), inputs, add >= 0 ? 2 : 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &d, sizeof(d));
    step->macs = (uint64_t)conv->pixels * conv->weights->rows * w->channels * 9;
    step->work = (uint64_t)winograd_work(&b->model->kernels, w, conv->weights->rows);
    if (add >= 0)
        b->plan->values[out].reuse = add;
    return LEGO_OK;
}
