#include "agent/runtime/step_gemm_s8.h"
#include "agent/runtime/step_gemm_low.h"

#include "codec/base/arith.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Fewer channels are mostly padding. */
#define S8_MIN_CHANNELS 8

/* The head of a quantised value (step_gemm_low.h); pixels outside are zero points. */
struct quantized {
    float scale;
    int32_t zero;
};

struct quantize_call {
    const struct plan_run *run;
    const struct low_bring *detail;
    const float *x;
    float (*ranges)[2]; /* of each chunk */
    struct quantized *head;
    uint8_t *out;
    float inverse;
};

struct gemm_s8_detail {
    struct low_product product;
    const struct weights_s8 *weights;
};

/* One call of a product: what low_call does not know. */
struct gemm_s8_call {
    const struct weights_s8 *weights;
    const float *bias;
    const float *scale; /* [rows] */
    int32_t zero;       /* of the inputs */
};

/* Rows that a task multiplies by, from the first on. */
struct gemm_s8_unit {
    const int8_t *panels;
    const int32_t *start;
};

static void range_task(void *context, uint32_t slot, size_t item)
{
    const struct quantize_call *call = context;
    size_t channels = call->detail->channels;

    (void)slot;
    call->run->kernels->range_f32(low_chunk_pixels(call->detail, item) * channels,
                                  call->x + item * call->detail->chunk_pixels * channels,
                                  call->ranges[item]);
}

static void quantize_task(void *context, uint32_t slot, size_t item)
{
    const struct quantize_call *call = context;
    const struct low_bring *detail = call->detail;
    size_t first = item * detail->chunk_pixels;
    struct kern_quantize_u7 q = {.rows = low_chunk_pixels(call->detail, item),
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
    const struct low_bring *detail = step->detail;
    char *out = run->address[step->outputs[0]];
    struct quantize_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .ranges = (float(*)[2])run->shared,
        .head = (struct quantized *)out,
        .out = (uint8_t *)out + low_pixels_at(detail->padded),
    };
    uint32_t slots = workers_worth(run->workers, detail->chunks, step->work);

    (void)diag;
    workers_run(run->workers, slots, detail->chunks, range_task, &call);
    quantize_scale(&call);
    memset(out + LOW_HEAD, call.head->zero, detail->padded);
    if (isnan(call.head->scale))
        memset(call.out, 0, detail->pixels * detail->padded);
    else
        workers_run(run->workers, slots, detail->chunks, quantize_task, &call);
    return LEGO_OK;
}

/* What gemm_s8_unit() lays out in a slot's scratch: the unit, starts, bytes to decode in, panels.
 */
static size_t gemm_s8_start_at(void)
{
    return (sizeof(struct gemm_s8_unit) + 63) / 64 * 64;
}

static size_t gemm_s8_bytes_at(const struct weights_s8 *weights)
{
    return gemm_s8_start_at() + (weights->rows * sizeof(int32_t) + 63) / 64 * 64;
}

static const void *gemm_s8_unit(const struct low_call *call, char *scratch, uint32_t row,
                                uint32_t end)
{
    const struct gemm_s8_call *s8 = call->detail;
    const struct weights_s8 *weights = s8->weights;
    struct gemm_s8_unit *unit = (struct gemm_s8_unit *)(void *)scratch;
    int32_t *start = (int32_t *)(void *)(scratch + gemm_s8_start_at());
    char *bytes = scratch + gemm_s8_bytes_at(weights);
    int8_t *panels = (int8_t *)bytes + weights_s8_scratch(weights);

    *unit = (struct gemm_s8_unit){panels, start};
    if (weights->coded)
        weights_s8_decode(call->run->kernels, weights, row, end, bytes, panels, start);
    else
        unit->panels = weights->panels + row / call->product->nr * weights->block_bytes;
    for (uint32_t r = 0; r < end - row; r++)
        start[r] = -s8->zero * (weights->coded ? start[r] : weights->sum[row + r]);
    return unit;
}

static void gemm_s8_pixels(const struct low_call *call, const void *unit, const void *const *rows,
                           size_t pixel, uint32_t m, uint32_t row, uint32_t end)
{
    const struct gemm_s8_unit *s8_unit = unit;
    const struct gemm_s8_call *s8 = call->detail;
    const struct weights_s8 *weights = s8->weights;
    const struct gemm_detail *conv = &call->product->conv;
    const struct kern_gemm_s8_variant *v = &call->run->kernels->gemm_s8;
    const ptrdiff_t to = (ptrdiff_t)pixel * conv->out_stride;
    struct kern_gemm_s8 args = {
        .m = m,
        .taps = weights->taps,
        .channels = weights->padded,
        .a = (const uint8_t *const *)rows,
        .c_stride = conv->out_stride,
        .add_stride = conv->out_stride,
        .lo = conv->lo,
        .hi = conv->hi,
    };

    for (uint32_t r = row; r < end; r += v->nr) {
        args.n = (uint32_t)lego_min_size(v->nr, end - r);
        args.panel = s8_unit->panels + (r - row) / v->nr * weights->block_bytes;
        args.start = s8_unit->start + (r - row);
        args.scale = s8->scale + r;
        args.bias = s8->bias + r;
        args.c = call->out + to + r;
        args.add = call->add ? call->add + to + r : NULL;
        v->run(&args);
    }
}

static int gemm_s8_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_s8_detail *detail = step->detail;
    const struct weights_s8 *weights = detail->weights;
    const char *a = run->address[step->inputs[0]];
    const struct quantized *head = (const struct quantized *)a;
    float *scale = (float *)run->shared;
    const struct gemm_s8_call s8 = {
        .weights = weights,
        .bias = detail->product.conv.bias ? detail->product.conv.bias : run->zeros,
        .scale = scale,
        .zero = head->zero,
    };
    struct low_call call = {
        .run = run,
        .product = &detail->product,
        .detail = &s8,
        .a = a,
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .unit = gemm_s8_unit,
        .pixels = gemm_s8_pixels,
    };

    (void)diag;
    for (uint32_t r = 0; r < weights->rows; r++)
        scale[r] = head->scale * weights->scale[r];
    low_run(&call, step->work);
    return LEGO_OK;
}

bool gemm_s8_takes(const struct plan_builder *b, const struct lego_tensor *tensor, uint32_t groups,
                   size_t channels, size_t taps)
{
    const struct lego_model *model = b->model;

    if (model->compute == LEGO_COMPUTE_FP32 || model->compute == LEGO_COMPUTE_FP16 ||
        (model->compute == LEGO_COMPUTE_AUTO && !tensor->integer))
        return false;
    return groups == 1 && channels >= S8_MIN_CHANNELS && model_owns(model, tensor) &&
           (channels + model->kernels.gemm_s8.kg) * taps <= KERN_S8_MAX_DEPTH;
}

int gemm_s8_step(struct plan_builder *b, const struct lego_node *node,
                 const struct gemm_detail *conv, enum lego_matrix_view view, int32_t a, int32_t add,
                 int32_t out)
{
    const struct kern_gemm_s8_variant *v = &b->model->kernels.gemm_s8;
    struct gemm_s8_detail detail = {.product = {.conv = *conv, .mr = v->mr, .nr = v->nr}};
    const struct weights_s8 *weights;
    struct plan_step *step;
    int status =
        model_weights_s8(b->model, lego_node_constant(b->graph, node, 1), view, &weights, b->diag);

    if (status)
        return status;
    detail.weights = weights;
    detail.product.rows = weights->rows;
    detail.product.channels = weights->channels;
    detail.product.taps = weights->taps;
    detail.product.pixel_bytes = weights->padded;
    detail.product.block_bytes = weights->block_bytes;
    detail.product.decoded = weights->coded;
    detail.product.tile_blocks = weights->coded ? weights->coded->tile_rows / v->nr : 1;
    detail.product.unit_bytes = gemm_s8_bytes_at(weights) + weights_s8_scratch(weights);
    /* The ranges of the chunks. */
    plan_need_shared(b, low_bring_of(b, a, weights->channels, weights->padded).chunks *
                            sizeof(float[2]));
    a = low_value(b, node, a, weights->channels, weights->padded, 1, quantize_run, "Quantize");
    if (a < 0)
        return a;
    low_prepare(b, &detail.product);
    plan_need_shared(b, weights->rows * sizeof(float));
    if (!conv->bias)
        plan_need_zeros(b, weights->rows);
    gemm_finish(b, node, &detail.product.conv);
    step = low_step(b, node, gemm_s8_run, &detail.product, &detail, sizeof(detail), a, add, out);
    return step ? LEGO_OK : LEGO_E_NOMEM;
}
