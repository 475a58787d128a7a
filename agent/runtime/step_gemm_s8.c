#include "agent/runtime/step_gemm_s8.h"

#include "codec/base/arith.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Fewer channels are mostly padding. */
#define S8_MIN_CHANNELS 8

/* How a quantised value begins; behind it, 64-byte aligned each, a pixel of zero points and the
 * pixels. */
struct quantized {
    float scale;
    int32_t zero;
};
#define QUANTIZED_HEAD 64

struct quantize_detail {
    size_t pixels, channels, padded;
    size_t chunk_pixels, chunks;
};

struct quantize_call {
    const struct plan_run *run;
    const struct quantize_detail *detail;
    const float *x;
    float (*ranges)[2]; /* of each chunk */
    struct quantized *head;
    uint8_t *out;
    float inverse;
};

/* One call of a product, shared by its threads. */
struct gemm_s8_detail {
    const struct weights_s8 *weights;
    struct gemm_detail conv;
    struct window window; /* counts four bytes of a pixel as a float */
    uint32_t unit_blocks; /* at most: panels that fit L2 */
    size_t pointers_at, rows_at;
};

struct gemm_s8_call {
    const struct plan_run *run;
    const struct gemm_s8_detail *detail;
    const uint8_t *a, *outside;
    const float *add;
    float *out;
    const float *bias;
    const int32_t *start; /* [rows] */
    const float *scale;   /* [rows] */
    uint32_t unit_blocks;
    size_t chunks, chunk_pixels;
};

static size_t quantized_pixels_at(size_t padded)
{
    return QUANTIZED_HEAD + (padded + 63) / 64 * 64;
}

static size_t quantize_count(const struct quantize_call *call, size_t item)
{
    const struct quantize_detail *detail = call->detail;

    return lego_min_size(detail->chunk_pixels, detail->pixels - item * detail->chunk_pixels);
}

static void range_task(void *context, uint32_t slot, size_t item)
{
    const struct quantize_call *call = context;
    size_t channels = call->detail->channels;

    (void)slot;
    call->run->kernels->range_f32(quantize_count(call, item) * channels,
                                  call->x + item * call->detail->chunk_pixels * channels,
                                  call->ranges[item]);
}

static void quantize_task(void *context, uint32_t slot, size_t item)
{
    const struct quantize_call *call = context;
    const struct quantize_detail *detail = call->detail;
    size_t first = item * detail->chunk_pixels;
    struct kern_quantize_u7 q = {.rows = quantize_count(call, item),
                                 .channels = detail->channels,
                                 .x = call->x + first * detail->channels,
                                 .inverse = call->inverse,
                                 .zero = call->head->zero,
                                 .out = call->out + first * detail->padded,
                                 .out_stride = detail->padded};

    (void)slot;
    if (detail->padded == detail->channels) {
        q.channels = q.out_stride = q.rows * detail->channels;
        q.rows = 1;
    }
    call->run->kernels->quantize_u7(&q);
}

/* Scale and zero point from the chunks' ranges; 0 is always among the numbers that are exact. */
static void quantize_scale(struct quantize_call *call)
{
    double lo = 0.0, hi = 0.0, width;

    for (size_t i = 0; i < call->detail->chunks; i++) {
        const float *range = call->ranges[i];
        lo = range[0] < lo || isnan(range[0]) ? range[0] : lo;
        hi = range[1] > hi || isnan(range[1]) ? range[1] : hi;
    }
    width = hi - lo;
    *call->head = (struct quantized){.scale = (float)(width / KERN_U7_MAX)};
    call->inverse = 0.0f;
    if (width >= KERN_U7_MAX * (double)FLT_MIN) {
        call->inverse = (float)(KERN_U7_MAX / width);
        call->head->zero = (int32_t)lrint(-lo * (KERN_U7_MAX / width));
    }
}

static int quantize_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct quantize_detail *detail = step->detail;
    char *out = run->address[step->outputs[0]];
    struct quantize_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .ranges = (float(*)[2])run->shared,
        .head = (struct quantized *)out,
        .out = (uint8_t *)out + quantized_pixels_at(detail->padded),
    };
    uint32_t slots = workers_worth(run->workers, detail->chunks, step->work);

    (void)diag;
    workers_run(run->workers, slots, detail->chunks, range_task, &call);
    quantize_scale(&call);
    memset(out + QUANTIZED_HEAD, call.head->zero, detail->padded);
    if (isnan(call.head->scale))
        memset(call.out, 0, detail->pixels * detail->padded);
    else
        workers_run(run->workers, slots, detail->chunks, quantize_task, &call);
    return LEGO_OK;
}

/* The integers of plan value `value`, by a step that is added where there is none yet. */
static int32_t quantized(struct plan_builder *b, const struct lego_node *node, int32_t value,
                         uint32_t channels, uint32_t padded)
{
    size_t elems = plan_elems(&b->plan->values[value]);
    struct quantize_detail detail = {
        .pixels = elems / channels, .channels = channels, .padded = padded};
    struct lego_shape shape = {.rank = 1};
    struct plan_step *step;
    int32_t to = b->plan->values[value].quantized;

    if (to >= 0)
        return to;
    detail.chunk_pixels = lego_max_size(1, PLAN_CHUNK_ELEMS / channels);
    detail.chunks = lego_div_up(detail.pixels, detail.chunk_pixels);
    shape.dim[0] = (int64_t)(quantized_pixels_at(padded) + detail.pixels * padded);
    to = plan_value_add(b, LEGO_DTYPE_UINT8, &shape, PLAN_PLAIN);
    if (to < 0)
        return to;
    plan_need_shared(b, detail.chunks * sizeof(float[2]));
    step = plan_step_add(b, node, quantize_run, sizeof(detail), &value, 1, &to, 1);
    if (!step)
        return LEGO_E_NOMEM;
    step->op = "Quantize";
    step->work = 2 * elems;
    memcpy(step->detail, &detail, sizeof(detail));
    b->plan->values[value].quantized = to;
    return to;
}

/* Pointers for pixels [pixel, pixel + m). */
static void gemm_s8_pointers(const struct gemm_s8_call *call, size_t pixel, uint32_t m,
                             const float **pointers, const uint8_t **ret_rows)
{
    const struct gemm_s8_detail *detail = call->detail;
    uint32_t mr = call->run->kernels->gemm_s8.mr, padded = detail->weights->padded;

    if (detail->conv.source == GEMM_ROWS) {
        for (uint32_t i = 0; i < mr; i++)
            ret_rows[i] = call->a + (pixel + (i < m ? i : m - 1)) * padded;
        return;
    }
    window_pointers(&detail->window, (const float *)(const void *)call->a,
                    (const float *)(const void *)call->outside, pixel, m, mr, pointers);
    memcpy(ret_rows, pointers, (size_t)detail->weights->taps * mr * sizeof(*ret_rows));
}

/* Blocks of rows [row, end) for pixels [pixel, pixel + m). */
static void gemm_s8_pixels(const struct gemm_s8_call *call, const uint8_t *const *rows,
                           size_t pixel, uint32_t m, uint32_t row, uint32_t end)
{
    const struct weights_s8 *weights = call->detail->weights;
    const struct gemm_detail *conv = &call->detail->conv;
    const struct kern_gemm_s8_variant *v = &call->run->kernels->gemm_s8;
    ptrdiff_t to = (ptrdiff_t)pixel * conv->out_stride;
    struct kern_gemm_s8 args = {
        .m = m,
        .taps = weights->taps,
        .channels = weights->padded,
        .a = rows,
        .c_stride = conv->out_stride,
        .add_stride = conv->out_stride,
        .lo = conv->lo,
        .hi = conv->hi,
    };

    for (uint32_t r = row; r < end; r += v->nr) {
        args.n = (uint32_t)lego_min_size(v->nr, end - r);
        args.panel = weights->panels + r / v->nr * weights->block_bytes;
        args.start = call->start + r;
        args.scale = call->scale + r;
        args.bias = call->bias + r;
        args.c = call->out + to + r;
        args.add = call->add ? call->add + to + r : NULL;
        v->run(&args);
    }
    if (conv->activation)
        gemm_activate_rows(conv, call->out, pixel, m, row, end - row);
}

static void gemm_s8_task(void *context, uint32_t slot, size_t item)
{
    const struct gemm_s8_call *call = context;
    const struct gemm_s8_detail *detail = call->detail;
    const struct kern_gemm_s8_variant *v = &call->run->kernels->gemm_s8;
    char *scratch = run_slot(call->run, slot);
    const float **pointers = (const float **)(scratch + detail->pointers_at);
    const uint8_t **rows = (const uint8_t **)(scratch + detail->rows_at);
    uint32_t row = (uint32_t)(item / call->chunks) * call->unit_blocks * v->nr;
    uint32_t end =
        (uint32_t)lego_min_size(row + (size_t)call->unit_blocks * v->nr, detail->weights->rows);
    size_t pixel = item % call->chunks * call->chunk_pixels;
    size_t last = lego_min_size(pixel + call->chunk_pixels, detail->conv.pixels);

    for (; pixel < last; pixel += v->mr) {
        uint32_t m = (uint32_t)lego_min_size(v->mr, last - pixel);
        gemm_s8_pointers(call, pixel, m, pointers, rows);
        gemm_s8_pixels(call, rows, pixel, m, row, end);
    }
}

/* Units of blocks and chunks of pixels: enough items for the threads. Returns how many. */
static size_t gemm_s8_cut(struct gemm_s8_call *call, uint32_t slots)
{
    const struct gemm_s8_detail *detail = call->detail;
    const struct kern_gemm_s8_variant *v = &call->run->kernels->gemm_s8;
    size_t pixels = lego_div_up(detail->conv.pixels, v->mr), wanted = slots > 1 ? 3 * slots : 1;
    size_t blocks = lego_div_up(detail->weights->rows, v->nr), units;

    call->unit_blocks = detail->unit_blocks;
    units = lego_div_up(blocks, call->unit_blocks);
    call->chunks = lego_min_size(lego_div_up(wanted, units), pixels);
    if (call->chunks * units < wanted) {
        call->unit_blocks = (uint32_t)lego_max_size(1, blocks * call->chunks / wanted);
        units = lego_div_up(blocks, call->unit_blocks);
    }
    call->chunk_pixels = lego_div_up(pixels, call->chunks) * v->mr;
    call->chunks = lego_div_up(detail->conv.pixels, call->chunk_pixels);
    return units * call->chunks;
}

static int gemm_s8_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_s8_detail *detail = step->detail;
    const struct weights_s8 *weights = detail->weights;
    const char *a = run->address[step->inputs[0]];
    const struct quantized *head = (const struct quantized *)a;
    float *scale = (float *)run->shared;
    int32_t *start = (int32_t *)(scale + weights->rows);
    struct gemm_s8_call call = {
        .run = run,
        .detail = detail,
        .a = (const uint8_t *)a + quantized_pixels_at(weights->padded),
        .outside = (const uint8_t *)a + QUANTIZED_HEAD,
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .bias = detail->conv.bias ? detail->conv.bias : run->zeros,
        .start = start,
        .scale = scale,
    };
    uint32_t slots = workers_worth(run->workers, SIZE_MAX, step->work);

    (void)diag;
    for (uint32_t r = 0; r < weights->rows; r++) {
        scale[r] = head->scale * weights->scale[r];
        start[r] = -head->zero * weights->sum[r];
    }
    workers_run(run->workers, slots, gemm_s8_cut(&call, slots), gemm_s8_task, &call);
    return LEGO_OK;
}

bool gemm_s8_takes(const struct plan_builder *b, const struct lego_tensor *tensor, uint32_t groups,
                   size_t channels, size_t taps)
{
    const struct lego_model *model = b->model;

    if (model->compute == LEGO_COMPUTE_FP32 ||
        (model->compute == LEGO_COMPUTE_AUTO && !tensor->integer))
        return false;
    return groups == 1 && channels >= S8_MIN_CHANNELS && model_owns(model, tensor) &&
           (channels + model->kernels.gemm_s8.kg) * taps <= KERN_S8_MAX_DEPTH;
}

static void gemm_s8_scratch(struct plan_builder *b, struct gemm_s8_detail *detail)
{
    const struct weights_s8 *weights = detail->weights;
    const struct kern_gemm_s8_variant *v = &b->model->kernels.gemm_s8;
    size_t bytes = (weights->taps * v->mr * sizeof(void *) + 63) & ~(size_t)63;

    detail->unit_blocks =
        (uint32_t)lego_max_size(1, WEIGHTS_PANEL_BYTES / lego_max_size(1, weights->block_bytes));
    detail->rows_at = bytes;
    plan_need_slot(b, 2 * bytes);
    plan_need_shared(b, weights->rows * (sizeof(float) + sizeof(int32_t)));
    if (!detail->conv.bias)
        plan_need_zeros(b, weights->rows);
}

int gemm_s8_step(struct plan_builder *b, const struct lego_node *node,
                 const struct gemm_detail *conv, enum lego_matrix_view view, int32_t a, int32_t add,
                 int32_t out)
{
    struct gemm_s8_detail detail = {.conv = *conv, .window = conv->window};
    int32_t inputs[2] = {a, add};
    struct plan_step *step;
    int status = model_weights_s8(b->model, lego_node_constant(b->graph, node, 1), view,
                                  &detail.weights, b->diag);

    if (status)
        return status;
    detail.window.channels = detail.weights->padded / sizeof(float);
    inputs[0] = quantized(b, node, a, detail.weights->channels, detail.weights->padded);
    if (inputs[0] < 0)
        return inputs[0];
    gemm_s8_scratch(b, &detail);
    gemm_finish(b, node, &detail.conv);
    step = plan_step_add(b, node, gemm_s8_run, sizeof(detail), inputs, add >= 0 ? 2 : 1, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->macs = (uint64_t)conv->pixels * detail.weights->rows * detail.weights->channels *
                 detail.weights->taps;
    step->work = step->macs / 2;
    if (add >= 0)
        b->plan->values[out].reuse = add;
    return LEGO_OK;
}
