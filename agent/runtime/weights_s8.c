#include "agent/runtime/weights_s8.h"
#include "agent/runtime/weights_low.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a block while they are still floats, and the middle and end of a byte's range. */
enum { PACK_NR = 8, MIDDLE = 64, LARGEST = 63 };

/* What it takes to bring one row over. */
struct packing {
    const struct kern_table *kernels;
    struct weights_s8 *weights;
    float *rows;    /* [PACK_NR][taps * channels] */
    uint8_t *bytes; /* [taps * channels] */
};

/* Integers of a row to their places. */
static void pack_bytes(const struct packing *p, uint32_t row)
{
    struct weights_s8 *weights = p->weights;
    const struct kern_gemm_s8_variant *v = &p->kernels->gemm_s8;
    int8_t *panel = weights->panels + row / v->nr * weights->block_bytes + row % v->nr * v->kg;
    const uint8_t *from = p->bytes;
    int32_t sum = 0;

    for (uint32_t tap = 0; tap < weights->taps; tap++) {
        for (uint32_t c = 0; c < weights->channels; c += v->kg, panel += (size_t)v->nr * v->kg) {
            uint32_t count = (uint32_t)lego_min_size(v->kg, weights->channels - c);
            for (uint32_t i = 0; i < count; i++) {
                panel[i] = (int8_t)(*from++ - MIDDLE);
                sum += panel[i];
            }
        }
    }
    weights->sum[row] = sum;
}

/* Rows [row, row + count) from a block of an fp32 panel. */
static void pack_block(void *context, uint32_t row, uint32_t count, const float *block)
{
    const struct packing *p = context;
    struct weights_s8 *weights = p->weights;
    size_t depth = (size_t)weights->taps * weights->channels;

    p->kernels->transpose_f32(depth, count, block, PACK_NR, p->rows, depth);
    for (uint32_t i = 0; i < count; i++) {
        struct kern_quantize_u7 q = {.rows = 1,
                                     .channels = depth,
                                     .x = p->rows + i * depth,
                                     .zero = MIDDLE,
                                     .out = p->bytes,
                                     .out_stride = depth};
        float range[2], largest;
        p->kernels->range_f32(depth, q.x, range);
        largest = range[1] > -range[0] ? range[1] : -range[0];
        q.inverse = (float)(LARGEST / (double)largest);
        if (isinf(q.inverse)) /* so small that it counts as nothing */
            largest = q.inverse = 0.0f;
        weights->scale[row + i] = largest / LARGEST;
        if (isnan(largest))
            memset(p->bytes, MIDDLE, depth);
        else
            p->kernels->quantize_u7(&q);
        pack_bytes(p, row + i);
    }
}

static int pack(const struct kern_table *kernels, const struct weights *from,
                struct weights_s8 *weights)
{
    const struct kern_gemm_s8_variant *v = &kernels->gemm_s8;
    size_t depth = (size_t)weights->taps * weights->channels;
    size_t blocks = lego_div_up(weights->rows, v->nr);
    struct packing p = {.kernels = kernels, .weights = weights};
    int status = LEGO_E_NOMEM;

    weights->block_bytes = (size_t)weights->taps * weights->padded * v->nr;
    weights->bytes = blocks * weights->block_bytes + weights->rows * 2 * sizeof(float);
    weights->panels = weights_zeroed(blocks, weights->block_bytes);
    weights->scale = weights_zeroed(weights->rows, sizeof(float));
    weights->sum = weights_zeroed(weights->rows, sizeof(int32_t));
    p.rows = weights_zeroed(depth, PACK_NR * sizeof(float));
    p.bytes = weights_zeroed(depth, 1);
    if (weights->panels && weights->scale && weights->sum && p.rows && p.bytes)
        status = weights_each_block(kernels, from, pack_block, &p);
    free(p.rows);
    free(p.bytes);
    return status;
}

/* Where stored columns do not lie as the panel's k's do: which of them each k is. */
static int map_columns(struct weights_s8 *weights)
{
    const struct weights *coded = weights->coded;
    const uint32_t *column_k = coded->splits[0].column_k;
    const uint32_t depth = weights->taps * weights->padded;

    if (!column_k && weights->padded == weights->channels)
        return LEGO_OK;
    weights->stored = weights_zeroed(depth, sizeof(*weights->stored));
    if (!weights->stored)
        return LEGO_E_NOMEM;
    memset(weights->stored, 0xff, depth * sizeof(*weights->stored));
    for (uint32_t c = 0; c < weights->taps * weights->channels; c++) {
        const uint32_t k = column_k ? column_k[c] : c, tap = k / weights->channels;
        weights->stored[tap * weights->padded + k % weights->channels] = c;
    }
    weights->bytes += depth * sizeof(*weights->stored);
    return LEGO_OK;
}

/* Weights that stay coded; `from` is theirs. */
static int keep(const struct kern_table *kernels, struct weights *from, struct weights_s8 *weights)
{
    weights->coded = from;
    weights->block_bytes = (size_t)weights->taps * weights->padded * kernels->gemm_s8.nr;
    weights->scale = weights_zeroed(weights->rows, sizeof(float));
    if (!weights->scale)
        return LEGO_E_NOMEM;
    for (uint32_t r = 0; r < weights->rows; r++)
        weights->scale[r] =
            from->catalogues[0].step * (from->row_scale ? from->row_scale[r] : 1.0f);
    weights->bytes = from->bytes + weights->rows * sizeof(float);
    return map_columns(weights);
}

size_t weights_s8_scratch(const struct weights_s8 *weights)
{
    return weights->coded ? KERN_S8_BYTES(weights->taps * weights->channels) : 0;
}

void weights_s8_decode(const struct kern_table *kernels, const struct weights_s8 *weights,
                       uint32_t row, uint32_t end, void *scratch, int8_t *panels, int32_t *sum)
{
    const uint32_t rows = weights->coded->tile_rows;
    struct kern_brick_decode_s8 args = {
        .stored = weights->stored,
        .depth = weights->taps * weights->padded,
        .nr = kernels->gemm_s8.nr,
        .kg = kernels->gemm_s8.kg,
        .bytes = scratch,
        .panel = panels,
        .sum = sum,
    };

    for (uint32_t tile = row / rows; tile * rows < end; tile++) {
        weights_decode_integers(kernels, weights->coded, tile, &args);
        args.panel += rows / args.nr * weights->block_bytes;
        args.sum += rows;
    }
}

int weights_s8_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                    enum lego_matrix_view view, const struct weights_catalogues *catalogues,
                    bool resident, struct weights_s8 **ret_weights, struct lego_diag *diag)
{
    struct weights_key key = {.view = view, .groups = 1, .nr = PACK_NR, .whole = true};
    struct weights_s8 *weights;
    struct weights *from;
    int status = weights_make(kernels, tensor, &key, catalogues, false, &from, diag);

    if (status)
        return status;
    weights = calloc(1, sizeof(*weights));
    if (weights) {
        uint32_t kg = kernels->gemm_s8.kg;
        weights->view = view;
        weights->rows = from->rows;
        weights->channels = from->channels;
        weights->taps = from->taps;
        weights->padded = (from->channels + kg - 1) / kg * kg;
    }
    if (!weights)
        status = LEGO_E_NOMEM;
    else if (!resident && weights_have_integers(kernels, from))
        status = keep(kernels, from, weights);
    else
        status = pack(kernels, from, weights);
    if (!weights || !weights->coded)
        weights_destroy(from);
    if (status) {
        weights_s8_destroy(weights);
        return lego_fail(diag, status, "weights '%s' as integers", tensor->name);
    }
    *ret_weights = weights;
    return LEGO_OK;
}

void weights_s8_destroy(struct weights_s8 *weights)
{
    if (!weights)
        return;
    free(weights->panels);
    free(weights->scale);
    free(weights->sum);
    free(weights->stored);
    weights_destroy(weights->coded);
    free(weights);
}
