#include "agent/runtime/step_expand.h"
#include "agent/runtime/step_depthwise.h"

#include "codec/base/arith.h"

#include <string.h>

/* A value between the two from this size on. One of 4.8 MB was measured to take 0.7 of the time so,
 * on two threads, one of 1.8 MB 1.3, as it stays in a large L3. */
#define EXPAND_LEAST_BYTES (2u << 20)
/* A band's rows; more where fewer would not do. */
#define EXPAND_BAND_BYTES (256u << 10)
/* Output rows of a task: the same for any number of threads. */
#define EXPAND_TASK_ROWS 14

struct expand_detail {
    struct gemm_detail expand;
    struct depthwise_detail depthwise;
    uint32_t held;  /* rows that the band has room for */
    uint32_t span;  /* rows that one output row reads */
    uint32_t tasks; /* of an image */
    size_t pointers_at, band_at;
};

/* One call of a step, shared by its threads. */
struct expand_call {
    const struct plan_run *run;
    const struct expand_detail *detail;
    const float *x;
    float *out;
    float *sums; /* of each row of pixels, NULL: not wanted */
};

/* Rows [low, high) of the first convolution's output, of one image, that a task holds. */
struct expand_band {
    uint32_t image, low, high;
    float *rows;
    bool decoded;
};

/* Makes the band hold rows [low, high). */
static void expand_rows(const struct expand_call *call, struct expand_band *band, char *scratch,
                        uint32_t low, uint32_t high)
{
    const struct window *w = &call->detail->depthwise.window;
    const size_t elems = (size_t)w->in_width * w->channels;
    const size_t first = (size_t)band->image * w->in_height;

    if (low < band->high)
        memmove(band->rows, band->rows + (low - band->low) * elems,
                (band->high - low) * elems * sizeof(float));
    else
        band->high = low;
    band->low = low;
    if (high <= band->high)
        return;
    gemm_band(call->run, &call->detail->expand, scratch, &band->decoded, call->x,
              (first + band->high) * w->in_width, (first + high) * w->in_width,
              band->rows + (band->high - low) * elems);
    band->high = high;
}

static void expand_task(void *context, uint32_t slot, size_t item)
{
    const struct expand_call *call = context;
    const struct expand_detail *detail = call->detail;
    const struct window *w = &detail->depthwise.window;
    char *scratch = run_slot(call->run, slot);
    struct expand_band band = {.image = (uint32_t)(item / detail->tasks),
                               .rows = (float *)(scratch + detail->band_at)};
    const float **pointers = (const float **)(scratch + detail->pointers_at);
    const uint32_t first = (uint32_t)(item % detail->tasks) * EXPAND_TASK_ROWS;
    const uint32_t last = (uint32_t)lego_min_size(first + EXPAND_TASK_ROWS, w->out_height);
    const uint32_t at_once = (detail->held - detail->span) / w->stride_y + 1;
    const size_t out_elems = (size_t)w->out_width * w->channels;

    for (uint32_t row = first, end; row < last; row = end) {
        struct window part = *w;
        end = (uint32_t)lego_min_size(row + at_once, last);
        const int64_t top = (int64_t)row * w->stride_y - w->pad_top;
        const int64_t bottom = (int64_t)(end - 1) * w->stride_y - w->pad_top + detail->span;
        const uint32_t low = top < 0 ? 0 : (uint32_t)lego_min_size((size_t)top, w->in_height);
        const uint32_t high =
            bottom < (int64_t)low ? low : (uint32_t)lego_min_size((size_t)bottom, w->in_height);

        expand_rows(call, &band, scratch, low, high);
        /* The band as an image of its own: what lies outside is what lies outside of the whole. */
        part.in_height = band.high - low;
        part.pad_top += (int32_t)low;
        for (uint32_t y = row; y < end; y++) {
            const size_t at = (size_t)band.image * w->out_height + y;
            depthwise_row(call->run, &detail->depthwise, &part, band.rows, 0, y, NULL, pointers,
                          call->out + at * out_elems,
                          call->sums ? call->sums + at * w->channels : NULL);
        }
    }
}

static int expand_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct expand_detail *detail = step->detail;
    const size_t tasks = (size_t)detail->depthwise.window.batch * detail->tasks;
    struct expand_call call = {
        .run = run,
        .detail = detail,
        .x = run_floats(run, step->inputs[0]),
        .out = run_floats(run, step->outputs[0]),
        .sums = step->output_count > 1 ? run_floats(run, step->outputs[1]) : NULL,
    };

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, tasks, step->work), tasks, expand_task,
                &call);
    return LEGO_OK;
}

/* Sizes of the band, and where a slot's scratch holds it. */
static void expand_scratch(struct plan_builder *b, struct expand_detail *detail)
{
    const struct window *w = &detail->depthwise.window;
    const size_t row_bytes = (size_t)w->in_width * w->channels * sizeof(float);
    size_t total = gemm_scratch(b, &detail->expand);

    detail->span = (w->kernel_height - 1) * w->dilation_y + 1;
    detail->held = (uint32_t)lego_max_size(
        detail->span, lego_min_size(EXPAND_BAND_BYTES / row_bytes, w->in_height));
    detail->tasks = (w->out_height + EXPAND_TASK_ROWS - 1) / EXPAND_TASK_ROWS;
    detail->pointers_at = total;
    total += (window_row_count(w) * sizeof(float *) + 63) & ~(size_t)63;
    detail->band_at = total;
    plan_need_slot(b, total + detail->held * row_bytes);
}

int expand_step(struct plan_builder *b, const struct lego_node *node, const struct lego_node *next,
                const struct gemm_detail *expand)
{
    struct expand_detail detail = {.expand = *expand};
    const struct window *w = &detail.depthwise.window;
    struct lego_node reader = *next;
    struct plan_step *step;
    int32_t a, outputs[2];
    int status;

    if (expand->pixels * (size_t)expand->out_stride * sizeof(float) < EXPAND_LEAST_BYTES)
        return PLAN_DECLINED;
    status = depthwise_describe(b, next, &detail.depthwise);
    if (status)
        return status;
    expand_scratch(b, &detail);
    if (!gemm_fits_panel(&detail.expand))
        return PLAN_DECLINED;
    gemm_finish(b, node, &detail.expand);
    plan_take_scale(b, &reader);
    depthwise_finish(b, &reader, &detail.depthwise);
    a = plan_operand(b, node->inputs[0], PLAN_CHANNELS_LAST);
    status = a < 0 ? a : depthwise_outputs(b, &reader, &detail.depthwise, outputs);
    if (status)
        return status;
    step =
        plan_step_add(b, node, expand_run, sizeof(detail), &a, 1, outputs, outputs[1] >= 0 ? 2 : 1);
    if (!step)
        return LEGO_E_NOMEM;
    memcpy(step->detail, &detail, sizeof(detail));
    step->op = "Conv, depthwise";
    step->macs = (uint64_t)expand->pixels * expand->weights->rows * expand->weights->channels +
                 (uint64_t)window_pixels(w) * w->channels * detail.depthwise.weights->taps;
    step->work = step->macs;
    b->taken[next - b->graph->nodes] = true;
    return LEGO_OK;
}
