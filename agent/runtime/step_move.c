#include "agent/runtime/step_move.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

struct move_detail {
    const struct move_box *boxes;
    uint32_t count;
    bool filled;
    float fill;
    size_t out_elems;
};

struct move_call {
    const struct plan_run *run;
    const struct move_box *box;
    const float *from;
    float *to;
    int cut; /* the dimension that is cut in parts */
    size_t parts;
};

void move_strides(const struct plan_value *value, ptrdiff_t *ret_strides)
{
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    ptrdiff_t stride = 1;

    plan_physical(value, dims, order);
    for (int i = value->shape.rank - 1; i >= 0; i--) {
        ret_strides[order[i]] = stride;
        stride *= (ptrdiff_t)dims[i];
    }
}

struct move_box move_box_of(const struct plan_value *to)
{
    struct move_box box = {.rank = to->shape.rank};
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    ptrdiff_t strides[LEGO_MAX_RANK];

    plan_physical(to, dims, order);
    move_strides(to, strides);
    for (int i = 0; i < box.rank; i++) {
        box.dim[i] = (size_t)dims[i];
        box.to[i] = strides[order[i]];
    }
    return box;
}

/* Drops dimensions of one, joins those that both sides walk through in one stride. */
static void box_collapse(struct move_box *box)
{
    int kept = 0;

    for (int i = 0; i < box->rank; i++) {
        ptrdiff_t size = (ptrdiff_t)box->dim[i];
        if (size == 1)
            continue;
        if (kept && box->from[kept - 1] == box->from[i] * size &&
            box->to[kept - 1] == box->to[i] * size) {
            box->dim[kept - 1] *= (size_t)size;
            box->from[kept - 1] = box->from[i];
            box->to[kept - 1] = box->to[i];
            continue;
        }
        box->dim[kept] = (size_t)size;
        box->from[kept] = box->from[i];
        box->to[kept++] = box->to[i];
    }
    box->rank = kept;
}

/* The two innermost loops: a copy of rows, a transpose by kernel, or element by element. */
static void box_plane(const struct kern_table *kernels, const struct move_box *box,
                      const float *from, float *to)
{
    int a = box->rank - 2, b = box->rank - 1;
    size_t rows = a >= 0 ? box->dim[a] : 1, columns = b >= 0 ? box->dim[b] : 1;
    ptrdiff_t from_row = a >= 0 ? box->from[a] : 0, to_row = a >= 0 ? box->to[a] : 0;
    ptrdiff_t from_step = b >= 0 ? box->from[b] : 1, to_step = b >= 0 ? box->to[b] : 1;

    if (from_step == 1 && to_step == 1) {
        for (size_t r = 0; r < rows; r++, from += from_row, to += to_row)
            memcpy(to, from, columns * sizeof(*to));
        return;
    }
    if (from_row == 1 && to_step == 1 && from_step > 0 && to_row > 0) {
        kernels->transpose_f32(columns, rows, from, (size_t)from_step, to, (size_t)to_row);
        return;
    }
    for (size_t r = 0; r < rows; r++, from += from_row, to += to_row)
        for (size_t c = 0; c < columns; c++)
            to[(ptrdiff_t)c * to_step] = from[(ptrdiff_t)c * from_step];
}

static void box_move(const struct kern_table *kernels, const struct move_box *box,
                     const float *from, float *to)
{
    size_t index[LEGO_MAX_RANK] = {0};
    int outer = box->rank - 3;

    for (;;) {
        int i = outer;
        box_plane(kernels, box, from, to);
        for (; i >= 0; i--) {
            from += box->from[i];
            to += box->to[i];
            if (++index[i] < box->dim[i])
                break;
            from -= (ptrdiff_t)box->dim[i] * box->from[i];
            to -= (ptrdiff_t)box->dim[i] * box->to[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

static void move_task(void *context, uint32_t slot, size_t item)
{
    const struct move_call *call = context;
    struct move_box part = *call->box;
    size_t size = part.dim[call->cut], first = size * item / call->parts;

    (void)slot;
    part.dim[call->cut] = size * (item + 1) / call->parts - first;
    box_move(call->run->kernels, &part, call->from + (ptrdiff_t)first * part.from[call->cut],
             call->to + (ptrdiff_t)first * part.to[call->cut]);
}

static void move_box_run(const struct plan_run *run, const struct move_box *box, const float *from,
                         float *to)
{
    struct move_call call = {
        .run = run, .box = box, .from = from + box->from_at, .to = to + box->to_at};
    uint64_t elems = 1;

    for (int i = 0; i < box->rank; i++) {
        elems *= box->dim[i];
        if (box->dim[i] > box->dim[call.cut])
            call.cut = i;
    }
    call.parts = box->rank ? workers_worth(run->workers, box->dim[call.cut], 4 * elems) : 1;
    if (call.parts == 1)
        box_move(run->kernels, box, call.from, call.to);
    else
        workers_run(run->workers, (uint32_t)call.parts, call.parts, move_task, &call);
}

static int move_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct move_detail *detail = step->detail;
    const size_t filled = detail->filled ? detail->out_elems : 0;
    const float fill = detail->fill; /* which no store of what follows may change */
    float *out = run_floats(run, step->outputs[0]);

    (void)diag;
    for (size_t i = 0; i < filled; i++)
        out[i] = fill;
    for (uint32_t i = 0; i < detail->count; i++)
        move_box_run(run, &detail->boxes[i], run_floats(run, step->inputs[i]), out);
    return LEGO_OK;
}

static bool box_is_empty(const struct move_box *box)
{
    for (int i = 0; i < box->rank; i++)
        if (!box->dim[i])
            return true;
    return false;
}

int move_step(struct plan_builder *b, const struct lego_node *node, const int32_t *inputs,
              const struct move_box *boxes, uint32_t count, int32_t out, bool filled, float fill)
{
    struct lego_arena *memory = b->plan->memory;
    struct move_box *kept = lego_arena_calloc(memory, count + 1, sizeof(*kept));
    int32_t *kept_inputs = lego_arena_calloc(memory, count + 1, sizeof(*kept_inputs));
    struct move_detail *detail;
    struct plan_step *step;
    uint32_t n = 0;

    if (!kept || !kept_inputs)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    for (uint32_t i = 0; i < count; i++) {
        if (box_is_empty(&boxes[i]))
            continue;
        kept[n] = boxes[i];
        box_collapse(&kept[n]);
        kept_inputs[n++] = inputs[i];
    }
    step = plan_step_add(b, node, move_run, sizeof(*detail), kept_inputs, n, &out, 1);
    if (!step)
        return LEGO_E_NOMEM;
    detail = step->detail;
    *detail = (struct move_detail){.boxes = kept,
                                   .count = n,
                                   .filled = filled,
                                   .fill = fill,
                                   .out_elems = plan_elems(&b->plan->values[out])};
    return LEGO_OK;
}

int plan_convert(struct plan_builder *b, int32_t from, int32_t to)
{
    const struct plan_value *target = &b->plan->values[to];
    struct move_box box = move_box_of(target);
    int64_t dims[LEGO_MAX_RANK];
    int order[LEGO_MAX_RANK];
    ptrdiff_t strides[LEGO_MAX_RANK];

    plan_physical(target, dims, order);
    move_strides(&b->plan->values[from], strides);
    for (int i = 0; i < box.rank; i++)
        box.from[i] = strides[order[i]];
    return move_step(b, NULL, &from, &box, 1, to, false, 0.0f);
}
