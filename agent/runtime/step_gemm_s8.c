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
    const int32_t *start; /* [rows] */
    const float *scale;   /* [rows] */
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

static void gemm_s8_pixels(const struct low_call *call, const void *const *rows, size_t pixel,
                           uint32_t m, uint32_t row, uint32_t end)
{
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
        args.panel = weights->panels + r / v->nr * weights->block_bytes;
        args.start = s8->start + r;
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
    int32_t *start = (int32_t *)(scale + weights->rows);
    const struct gemm_s8_call s8 = {
        .weights = weights,
        .bias = detail->product.conv.bias ? detail->product.conv.bias : run->zeros,
        .start = start,
        .scale = scale,
    };
    struct low_call call = {
        .run = run,
        .product = &detail->product,
        .detail = &s8,
        .a = a,
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .pixels = gemm_s8_pixels,
    };

    (void)diag;
    for (uint32_t r = 0; r < weights->rows; r++) {
        scale[r] = head->scale * weights->scale[r];
        start[r] = -head->zero * weights->sum[r];
    }
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
    /* The ranges of the chunks. */
    plan_need_shared(b, low_bring_of(b, a, weights->channels, weights->padded).chunks *
                            sizeof(float[2]));
    a = low_value(b, node, a, weights->channels, weights->padded, 1, quantize_run, "Quantize");
    if (a < 0)
        return a;
    low_prepare(b, &detail.product);
    plan_need_shared(b, weights->rows * (sizeof(float) + sizeof(int32_t)));
    if (!conv->bias)
        plan_need_zeros(b, weights->rows);
    gemm_finish(b, node, &detail.product.conv);
    step = low_step(b, node, gemm_s8_run, &detail.product, &detail, sizeof(detail), a, add, out);
    return step ? LEGO_OK : LEGO_E_NOMEM;
}
