#include "agent/runtime/step_gemm_f16.h"
#include "agent/runtime/step_gemm_low.h"

#include "codec/base/arith.h"

#include <string.h>

/* Fewer channels are mostly padding. */
#define F16_MIN_CHANNELS 8

struct halve_call {
    const struct plan_run *run;
    const struct low_bring *detail;
    const float *x;
    uint16_t *out;
};

struct gemm_f16_detail {
    struct low_product product;
    const struct weights_f16 *weights;
};

static void halve_task(void *context, uint32_t slot, size_t item)
{
    const struct halve_call *call = context;
    const struct low_bring *detail = call->detail;
    const size_t first = item * detail->chunk_pixels;
    const struct kern_halve_f32 h = {
        .rows = low_chunk_pixels(detail, item),
        .channels = detail->channels,
        .x = call->x + first * detail->channels,
        .out = call->out + first * detail->padded,
        .out_stride = detail->padded,
    };

    (void)slot;
    call->run->kernels->halve_f32(&h);
}

static int halve_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct low_bring *detail = step->detail;
    const size_t pixel_bytes = detail->padded * sizeof(uint16_t);
    char *out = run->address[step->outputs[0]];
    struct halve_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .out = (uint16_t *)(void *)(out + low_pixels_at(pixel_bytes)),
    };

    (void)diag;
    memset(out + LOW_HEAD, 0, pixel_bytes);
    workers_run(run->workers, workers_worth(run->workers, detail->chunks, step->work),
                detail->chunks, halve_task, &call);
    return LEGO_OK;
}

static void gemm_f16_pixels(const struct low_call *call, const void *unit, const void *const *rows,
                            size_t pixel, uint32_t m, uint32_t row, uint32_t end)
{
    const struct weights_f16 *weights = call->detail;
    const struct gemm_detail *conv = &call->product->conv;
    const struct kern_gemm_f16_variant *v = &call->run->kernels->gemm_f16;
    const ptrdiff_t to = (ptrdiff_t)pixel * conv->out_stride;
    const size_t block_elems = weights->block_bytes / sizeof(uint16_t);
    struct kern_gemm_f16 args = {
        .m = m,
        .taps = weights->taps,
        .channels = weights->padded,
        .a = (const uint16_t *const *)rows,
        .c_stride = conv->out_stride,
        .add_stride = conv->out_stride,
        .lo = conv->lo,
        .hi = conv->hi,
    };

    (void)unit;
    for (uint32_t r = row; r < end; r += v->nr) {
        args.n = (uint32_t)lego_min_size(v->nr, end - r);
        args.panel = weights->panels + r / v->nr * block_elems;
        args.bias = conv->bias ? conv->bias + r : NULL;
        args.c = call->out + to + r;
        args.add = call->add ? call->add + to + r : NULL;
        v->run(&args);
    }
}

static int gemm_f16_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct gemm_f16_detail *detail = step->detail;
    struct low_call call = {
        .run = run,
        .product = &detail->product,
        .detail = detail->weights,
        .a = run->address[step->inputs[0]],
        .add = step->input_count > 1 ? run_floats(run, step->inputs[1]) : NULL,
        .out = run_floats(run, step->outputs[0]),
        .pixels = gemm_f16_pixels,
    };

    (void)diag;
    low_run(&call, step->work);
    return LEGO_OK;
}

bool gemm_f16_takes(const struct plan_builder *b, const struct lego_tensor *tensor, uint32_t groups,
                    size_t channels)
{
    return b->model->compute == LEGO_COMPUTE_FP16 && groups == 1 && channels >= F16_MIN_CHANNELS &&
           model_owns(b->model, tensor);
}

int gemm_f16_step(struct plan_builder *b, const struct lego_node *node,
                  const struct gemm_detail *conv, enum lego_matrix_view view, int32_t a,
                  int32_t add, int32_t out)
{
    const struct kern_gemm_f16_variant *v = &b->model->kernels.gemm_f16;
    struct gemm_f16_detail detail = {
        .product = {.conv = *conv, .mr = v->mr, .nr = v->nr, .tile_blocks = 1}};
    const struct weights_f16 *weights;
    struct plan_step *step;
    int status =
        model_weights_f16(b->model, lego_node_constant(b->graph, node, 1), view, &weights, b->diag);

    if (status)
        return status;
    detail.weights = weights;
    detail.product.rows = weights->rows;
    detail.product.channels = weights->channels;
    detail.product.taps = weights->taps;
    detail.product.pixel_bytes = weights->padded * sizeof(uint16_t);
    detail.product.block_bytes = weights->block_bytes;
    a = low_value(b, node, a, weights->channels, weights->padded, sizeof(uint16_t), halve_run,
                  "Halve");
    if (a < 0)
        return a;
    low_prepare(b, &detail.product);
    gemm_finish(b, node, &detail.product.conv);
    step = low_step(b, node, gemm_f16_run, &detail.product, &detail, sizeof(detail), a, add, out);
    return step ? LEGO_OK : LEGO_E_NOMEM;
}
