#include "agent/runtime/step_gemm_low.h"

#include "codec/base/arith.h"

#include <string.h>

/* Pixels for which it is worth decoding weights: that takes as long as multiplying them by a few.
 */
#define LOW_DECODED_PIXELS 128

struct low_bring low_bring_of(const struct plan_builder *b, int32_t value, uint32_t channels,
                              uint32_t padded)
{
    struct low_bring bring = {.pixels = plan_elems(&b->plan->values[value]) / channels,
                              .channels = channels,
                              .padded = padded};

    bring.chunk_pixels = lego_max_size(1, PLAN_CHUNK_ELEMS / channels);
    bring.chunks = lego_div_up(bring.pixels, bring.chunk_pixels);
    return bring;
}

int32_t low_value(struct plan_builder *b, const struct lego_node *node, int32_t value,
                  uint32_t channels, uint32_t padded, size_t elem_bytes, plan_step_fn run,
                  const char *op)
{
    const struct low_bring bring = low_bring_of(b, value, channels, padded);
    const size_t pixel_bytes = padded * elem_bytes;
    struct lego_shape shape = {.rank = 1};
    struct plan_step *step;
    int32_t to = b->plan->values[value].quantized;

    if (to >= 0)
        return to;
    shape.dim[0] = (int64_t)(low_pixels_at(pixel_bytes) + bring.pixels * pixel_bytes);
    to = plan_value_add(b, LEGO_DTYPE_UINT8, &shape, PLAN_PLAIN);
    if (to < 0)
        return to;
    step = plan_step_add(b, node, run, sizeof(bring), &value, 1, &to, 1);
    if (!step)
        return LEGO_E_NOMEM;
    step->op = op;
    step->work = 2 * bring.pixels * channels;
    memcpy(step->detail, &bring, sizeof(bring));
    b->plan->values[value].quantized = to;
    return to;
}

/* Pointers for pixels [pixel, pixel + m). */
static void low_pointers(const struct low_call *call, size_t pixel, uint32_t m,
                         const float **pointers, const void **ret_rows)
{
    const struct low_product *product = call->product;
    const char *pixels = call->a + low_pixels_at(product->pixel_bytes);
    const uint32_t mr = product->mr;

    if (product->conv.source == GEMM_ROWS) {
        for (uint32_t i = 0; i < mr; i++)
            ret_rows[i] = pixels + (pixel + (i < m ? i : m - 1)) * product->pixel_bytes;
        return;
    }
    window_pointers(&product->window, (const float *)(const void *)pixels,
                    (const float *)(const void *)(call->a + LOW_HEAD), pixel, m, mr, pointers);
    memcpy(ret_rows, pointers, (size_t)product->taps * mr * sizeof(*ret_rows));
}

static void low_task(void *context, uint32_t slot, size_t item)
{
    const struct low_call *call = context;
    const struct low_product *product = call->product;
    char *scratch = run_slot(call->run, slot);
    const float **pointers = (const float **)(scratch + product->pointers_at);
    const void **rows = (const void **)(scratch + product->rows_at);
    const uint32_t unit = call->unit_blocks * product->nr;
    const uint32_t row = (uint32_t)(item / call->chunks) * unit;
    const uint32_t end = (uint32_t)lego_min_size((size_t)row + unit, product->rows);
    size_t pixel = item % call->chunks * call->chunk_pixels;
    const size_t last = lego_min_size(pixel + call->chunk_pixels, product->conv.pixels);
    const void *decoded =
        call->unit ? call->unit(call, scratch + product->unit_at, row, end) : NULL;

    for (; pixel < last; pixel += product->mr) {
        const uint32_t m = (uint32_t)lego_min_size(product->mr, last - pixel);

        low_pointers(call, pixel, m, pointers, rows);
        call->pixels(call, decoded, rows, pixel, m, row, end);
        if (product->conv.activation)
            gemm_activate_rows(&product->conv, call->out, pixel, m, row, end - row);
    }
}

/* Whole tiles of `blocks`, at least one. */
static uint32_t low_whole_tiles(const struct low_product *product, size_t blocks)
{
    const uint32_t tile = product->tile_blocks;

    return (uint32_t)lego_max_size(tile, blocks / tile * tile);
}

/* Units of blocks and chunks of pixels: enough items for the threads. Returns how many. */
static size_t low_cut(struct low_call *call, uint32_t slots)
{
    const struct low_product *product = call->product;
    const size_t pixels = lego_div_up(product->conv.pixels, product->mr);
    const size_t blocks = lego_div_up(product->rows, product->nr),
                 wanted = slots > 1 ? 3 * slots : 1;
    size_t units;

    call->unit_blocks = product->unit_blocks;
    units = lego_div_up(blocks, call->unit_blocks);
    call->chunks = lego_min_size(lego_div_up(wanted, units), pixels);
    if (product->decoded) /* once for each chunk */
        call->chunks = lego_min_size(call->chunks,
                                     lego_max_size(1, product->conv.pixels / LOW_DECODED_PIXELS));
    if (call->chunks * units < wanted) {
        call->unit_blocks = low_whole_tiles(product, blocks * call->chunks / wanted);
        units = lego_div_up(blocks, call->unit_blocks);
    }
    call->chunk_pixels = lego_div_up(pixels, call->chunks) * product->mr;
    call->chunks = lego_div_up(product->conv.pixels, call->chunk_pixels);
    return units * call->chunks;
}

void low_run(struct low_call *call, uint64_t work)
{
    const uint32_t slots = workers_worth(call->run->workers, SIZE_MAX, work);

    workers_run(call->run->workers, slots, low_cut(call, slots), low_task, call);
}

void low_prepare(struct plan_builder *b, struct low_product *product)
{
    const size_t bytes = (product->taps * product->mr * sizeof(void *) + 63) & ~(size_t)63;
    size_t unit = product->unit_bytes;

    product->unit_blocks =
        low_whole_tiles(product, WEIGHTS_PANEL_BYTES / lego_max_size(1, product->block_bytes));
    if (product->decoded)
        unit += product->unit_blocks * product->block_bytes;
    product->window = product->conv.window;
    product->window.channels = product->pixel_bytes / sizeof(float);
    product->rows_at = bytes;
    product->unit_at = 2 * bytes;
    plan_need_slot(b, 2 * bytes + unit);
}

struct plan_step *low_step(struct plan_builder *b, const struct lego_node *node, plan_step_fn run,
                           const struct low_product *product, const void *detail,
                           size_t detail_bytes, int32_t a, int32_t add, int32_t out)
{
    const int32_t inputs[2] = {a, add};
    struct plan_step *step =
        plan_step_add(b, node, run, detail_bytes, inputs, add >= 0 ? 2 : 1, &out, 1);

    if (!step)
        return NULL;
    memcpy(step->detail, detail, detail_bytes);
    step->macs = (uint64_t)product->conv.pixels * product->rows * product->channels * product->taps;
    step->work = step->macs / 2;
    if (add >= 0)
        b->plan->values[out].reuse = add;
    return step;
}
