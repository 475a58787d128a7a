#include "agent/runtime/weights_f16.h"
#include "agent/runtime/weights_low.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

/* What it takes to bring one block over. */
struct packing {
    const struct kern_table *kernels;
    struct weights_f16 *weights;
    uint32_t nr;
    uint16_t *halves; /* [taps * padded][nr] */
};

/* Rows [row, row + count) from a block [taps * channels][nr] of floats; channels beyond are 0. */
static void pack_block(void *context, uint32_t row, uint32_t count, const float *block)
{
    const struct packing *p = context;
    struct weights_f16 *weights = p->weights;
    const size_t depth = (size_t)weights->taps * weights->padded;
    const struct kern_halve_f32 h = {.rows = weights->taps,
                                     .channels = (size_t)weights->channels * p->nr,
                                     .x = block,
                                     .out = p->halves,
                                     .out_stride = (size_t)weights->padded * p->nr};

    p->kernels->halve_f32(&h);
    /* A tile's first row need not be a block's. */
    for (uint32_t i = 0; i < count; i++) {
        uint16_t *to = weights->panels + (row + i) / p->nr * depth * p->nr + (row + i) % p->nr;

        for (size_t k = 0; k < depth; k++)
            to[k * p->nr] = p->halves[k * p->nr + i];
    }
}

static int pack(const struct kern_table *kernels, const struct weights *from,
                struct weights_f16 *weights)
{
    struct packing p = {.kernels = kernels, .weights = weights, .nr = kernels->gemm_f16.nr};
    const size_t block_elems = (size_t)weights->taps * weights->padded * p.nr;
    const size_t blocks = lego_div_up(weights->rows, p.nr);
    int status = LEGO_E_NOMEM;

    weights->block_bytes = block_elems * sizeof(uint16_t);
    weights->bytes = blocks * weights->block_bytes;
    weights->panels = weights_zeroed(blocks, weights->block_bytes);
    p.halves = weights_zeroed(block_elems, sizeof(uint16_t));
    if (weights->panels && p.halves)
        status = weights_each_block(kernels, from, pack_block, &p);
    free(p.halves);
    return status;
}

int weights_f16_make(const struct kern_table *kernels, const struct lego_tensor *tensor,
                     enum lego_matrix_view view, const struct weights_catalogues *catalogues,
                     struct weights_f16 **ret_weights, struct lego_diag *diag)
{
    struct weights_key key = {.view = view, .groups = 1, .nr = kernels->gemm_f16.nr, .whole = true};
    struct weights_f16 *weights;
    struct weights *from;
    int status = weights_make(kernels, tensor, &key, catalogues, false, &from, diag);

    if (status)
        return status;
    weights = calloc(1, sizeof(*weights));
    if (weights) {
        weights->view = view;
        weights->rows = from->rows;
        weights->channels = from->channels;
        weights->taps = from->taps;
        weights->padded = (from->channels + KERN_F16_GROUP - 1) / KERN_F16_GROUP * KERN_F16_GROUP;
    }
    status = weights ? pack(kernels, from, weights) : LEGO_E_NOMEM;
    weights_destroy(from);
    if (status) {
        weights_f16_destroy(weights);
        return lego_fail(diag, status, "weights '%s' as halves", tensor->name);
    }
    *ret_weights = weights;
    return LEGO_OK;
}

void weights_f16_destroy(struct weights_f16 *weights)
{
    if (!weights)
        return;
    free(weights->panels);
    free(weights);
}
