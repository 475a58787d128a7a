/*
 * The mean over all pixels of each channel: GlobalAveragePool, and ReduceMean over those axes.
 *
 * Where a depthwise convolution makes a value that is large enough to leave the caches near a core,
 * it sums each row of pixels while that is there, and the mean is one of these sums. Which sums are
 * added up in which order never depends on the number of threads.
 */
#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <math.h>
#include <string.h>

/* What a task sums at once. */
#define MEAN_CHUNK_BYTES (64u << 10)
/* A value whose rows are worth summing while they are made. */
#define MEAN_LEAST_BYTES (64u << 10)

struct mean_detail {
    size_t batch, channels;
    size_t rows; /* of an image: its pixels, or sums of them */
    bool channels_last;
    float scale;               /* one over the pixels */
    size_t chunk_rows, chunks; /* channels last; chunks of an image */
};

struct mean_call {
    const struct kern_table *kernels;
    const struct mean_detail *detail;
    const float *x;
    float *out; /* of a chunk, or of a channel */
};

static void mean_chunk_task(void *context, uint32_t slot, size_t item)
{
    const struct mean_call *call = context;
    const struct mean_detail *detail = call->detail;
    size_t image = item / detail->chunks, first = item % detail->chunks * detail->chunk_rows;
    size_t rows = lego_min_size(detail->chunk_rows, detail->rows - first);

    (void)slot;
    call->kernels->colsum_f32(rows, detail->channels,
                              call->x + (image * detail->rows + first) * detail->channels,
                              detail->channels, call->out + item * detail->channels);
}

static void mean_channel_task(void *context, uint32_t slot, size_t item)
{
    const struct mean_call *call = context;
    const size_t pixels = call->detail->rows;

    (void)slot;
    call->out[item] = call->kernels->sum_f32(pixels, call->x + item * pixels);
}

static int mean_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct mean_detail *detail = step->detail;
    const struct kern_table *kernels = run->kernels;
    float *out = run_floats(run, step->outputs[0]);
    bool parts = detail->channels_last && detail->chunks > 1;
    size_t items = detail->batch * (detail->channels_last ? detail->chunks : detail->channels);
    struct mean_call call = {.kernels = kernels,
                             .detail = detail,
                             .x = run_floats(run, step->inputs[0]),
                             .out = parts ? (float *)run->shared : out};

    (void)diag;
    workers_run(run->workers, workers_worth(run->workers, items, step->work), items,
                detail->channels_last ? mean_chunk_task : mean_channel_task, &call);
    for (size_t n = 0; parts && n < detail->batch; n++)
        kernels->colsum_f32(detail->chunks, detail->channels,
                            call.out + n * detail->chunks * detail->channels, detail->channels,
                            out + n * detail->channels);
    kernels->mul_f32(detail->batch * detail->channels, out, &detail->scale, 0, out, -INFINITY,
                     INFINITY);
    return LEGO_OK;
}

/* True where the constant axes of a reduction are all of [2, rank). */
static bool reduces_pixels(const struct plan_builder *b, const struct lego_node *node, int rank)
{
    const struct lego_tensor *axes = lego_node_constant(b->graph, node, 1);
    bool seen[LEGO_MAX_RANK] = {false};

    if (!axes || axes->dtype != LEGO_DTYPE_INT64 || axes->coded || rank < 3 ||
        axes->bytes != (size_t)(rank - 2) * sizeof(int64_t))
        return false;
    for (int i = 0; i < rank - 2; i++) {
        int64_t axis;
        memcpy(&axis, (const char *)axes->data + (size_t)i * sizeof(axis), sizeof(axis));
        axis = axis < 0 ? axis + rank : axis;
        if (axis < 2 || axis >= rank || seen[axis])
            return false;
        seen[axis] = true;
    }
    return true;
}

bool plan_is_mean(const struct plan_builder *b, const struct lego_node *node)
{
    int rank = node->input_count && node->inputs[0] >= 0
                   ? b->graph->values[node->inputs[0]].shape.rank
                   : 0;

    return node->op == LEGO_OP_GlobalAveragePool
               ? rank >= 3
               : node->op == LEGO_OP_ReduceMean && reduces_pixels(b, node, rank);
}

int plan_find_means(struct plan_builder *b)
{
    struct lego_arena *memory = b->plan->memory;

    b->pooled = lego_arena_calloc(memory, b->graph->value_count + 1u, sizeof(*b->pooled));
    b->sums = lego_arena_calloc(memory, b->graph->value_count + 1u, sizeof(*b->sums));
    if (!b->pooled || !b->sums)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    memset(b->sums, -1, (b->graph->value_count + 1u) * sizeof(*b->sums));
    for (uint32_t n = 0; n < b->graph->node_count; n++)
        if (plan_is_mean(b, &b->graph->nodes[n]))
            b->pooled[b->graph->nodes[n].inputs[0]] = true;
    return LEGO_OK;
}

int32_t plan_row_sums(struct plan_builder *b, int32_t graph_value, size_t rows)
{
    const struct lego_shape *of = &b->graph->values[graph_value].shape;
    const struct lego_shape shape = {.rank = 2, .dim = {(int64_t)rows, of->dim[1]}};
    size_t elems;

    if (!b->pooled[graph_value] || lego_shape_elems(of, &elems) ||
        elems * sizeof(float) < MEAN_LEAST_BYTES)
        return -1;
    b->sums[graph_value] = plan_value_add(b, LEGO_DTYPE_FLOAT32, &shape, PLAN_PLAIN);
    return b->sums[graph_value];
}

int plan_mean(struct plan_builder *b, const struct lego_node *node)
{
    const struct lego_shape shape = b->graph->values[node->inputs[0]].shape;
    enum plan_layout layout = plan_native(b, node->inputs[0]);
    int32_t sums = b->sums[node->inputs[0]], x, out;
    size_t pixels = 1;
    struct mean_detail detail = {0};
    struct plan_step *step;

    if (!plan_is_mean(b, node) || plan_is_constant(b, node->inputs[0]))
        return PLAN_DECLINED;
    for (int i = 2; i < shape.rank; i++)
        pixels *= (size_t)shape.dim[i];
    if (!pixels)
        return PLAN_DECLINED;
    detail.batch = (size_t)shape.dim[0];
    detail.channels = (size_t)shape.dim[1];
    detail.channels_last = layout == PLAN_CHANNELS_LAST;
    detail.scale = 1.0f / (float)pixels;
    detail.rows = sums >= 0 ? (size_t)b->plan->values[sums].shape.dim[0] / detail.batch : pixels;
    detail.chunk_rows = lego_max_size(1, MEAN_CHUNK_BYTES / sizeof(float) / detail.channels);
    detail.chunks = lego_div_up(detail.rows, detail.chunk_rows);
    if (detail.channels_last && detail.chunks > 1)
        plan_need_shared(b, detail.batch * detail.chunks * detail.channels * sizeof(float));
    x = sums >= 0 ? sums : plan_operand(b, node->inputs[0], layout);
    out = x < 0 ? x : plan_output(b, node->outputs[0], layout);
    step = out < 0 ? NULL : plan_step_add(b, node, mean_run, sizeof(detail), &x, 1, &out, 1);
    if (!step)
        return out < 0 ? out : LEGO_E_NOMEM;
    *(struct mean_detail *)step->detail = detail;
    step->work = detail.batch * detail.rows * detail.channels;
    return LEGO_OK;
}
