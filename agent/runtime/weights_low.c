#include "agent/runtime/weights_low.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

void *weights_zeroed(size_t count, size_t size)
{
    size_t bytes;
    void *memory;

    if (!lego_mul_size(count, size, &bytes) || !lego_align_up(bytes, ALIGN, &bytes))
        return NULL;
    bytes = bytes ? bytes : ALIGN;
    memory = aligned_alloc(ALIGN, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

int weights_each_block(const struct kern_table *kernels, const struct weights *weights,
                       weights_block_fn block, void *context)
{
    float *decoded = NULL;

    if (!weights->panels) {
        decoded = weights_zeroed(weights_tile_elems(weights), sizeof(float));
        if (!decoded)
            return LEGO_E_NOMEM;
    }
    for (uint32_t tile = 0; tile < weights->tile_count; tile++) {
        const uint32_t first = tile * weights->tile_blocks;
        const float *panel = decoded;

        if (weights->panels)
            panel = weights->panels + (size_t)first * weights->block_elems;
        else
            weights_decode(kernels, weights, tile, 1, weights->splits, decoded);
        for (uint32_t b = 0; b < weights->tile_blocks; b++) {
            uint32_t row, count = weights_block_rows(weights, first + b, &row);

            if (count)
                block(context, row, count, panel + b * weights->block_elems);
        }
    }
    free(decoded);
    return LEGO_OK;
}
