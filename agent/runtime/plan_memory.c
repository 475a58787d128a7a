/*
 * Lifetimes and the arena: every value with a place of its own gets an offset such that values
 * alive at the same time do not overlap. Largest first, each into the smallest gap that holds it
 * (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
 */
#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <stdlib.h>

#define PLACE_ALIGN 64

int32_t plan_root(const struct plan *plan, int32_t value, size_t *ret_offset)
{
    size_t offset = 0;

    while (plan->values[value].alias >= 0) {
        offset += plan->values[value].alias_offset;
        value = plan->values[value].alias;
    }
    if (ret_offset)
        *ret_offset = offset;
    return value;
}

static void value_touch(struct plan *plan, int32_t value, uint32_t step)
{
    struct plan_value *root;

    if (value < 0)
        return;
    root = &plan->values[plan_root(plan, value, NULL)];
    if (step < root->first_step)
        root->first_step = step;
    if (step > root->last_step || root->last_step == UINT32_MAX)
        root->last_step = step;
}

static void plan_lifetimes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->value_count; i++) {
        plan->values[i].first_step = UINT32_MAX;
        plan->values[i].last_step = UINT32_MAX; /* never used */
    }
    for (uint32_t s = 0; s < plan->step_count; s++) {
        const struct plan_step *step = &plan->steps[s];
        for (uint32_t i = 0; i < step->input_count; i++)
            value_touch(plan, step->inputs[i], s);
        for (uint32_t i = 0; i < step->output_count; i++)
            value_touch(plan, step->outputs[i], s);
    }
    for (uint32_t i = 0; i < plan->graph->output_count; i++)
        value_touch(plan, plan->outputs[i], plan->step_count); /* the caller reads it */
}

/* May `value`, an output of step `at`, take over the place of the value that it asked for? */
static bool value_may_reuse(const struct plan *plan, int32_t value, uint32_t at)
{
    const struct plan_value *wanting = &plan->values[value];
    const struct plan_step *step = &plan->steps[at];
    int32_t root = plan_root(plan, wanting->reuse, NULL);
    uint32_t users = 0;

    if (wanting->alias >= 0 || wanting->storage != PLAN_ARENA ||
        plan->values[root].storage != PLAN_ARENA || plan->values[root].last_step != at ||
        plan->values[wanting->reuse].bytes != wanting->bytes)
        return false;
    for (uint32_t i = 0; i < step->input_count; i++)
        if (step->inputs[i] >= 0 && plan_root(plan, step->inputs[i], NULL) == root)
            users++;
    return users == 1;
}

static void plan_reuse(struct plan *plan)
{
    for (uint32_t s = 0; s < plan->step_count; s++) {
        const struct plan_step *step = &plan->steps[s];
        for (uint32_t i = 0; i < step->output_count; i++) {
            struct plan_value *value =
                step->outputs[i] >= 0 ? &plan->values[step->outputs[i]] : NULL;
            if (!value || value->reuse < 0 || !value_may_reuse(plan, step->outputs[i], s))
                continue;
            /* The root itself: chains of reuse would have to be walked again for each value. */
            value->alias = plan_root(plan, value->reuse, &value->alias_offset);
            plan->values[value->alias].last_step = value->last_step;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const struct plan_value *x = *(struct plan_value *const *)a;
    const struct plan_value *y = *(struct plan_value *const *)b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

static bool lives_overlap(const struct plan_value *a, const struct plan_value *b)
{
    return a->first_step <= b->last_step && b->first_step <= a->last_step;
}

/*
 * The offset of the smallest gap for `value` among those already placed, which are kept sorted by
 * offset.
 */
static size_t place_one(struct plan_value *const *placed, uint32_t count,
                        const struct plan_value *value)
{
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;

    for (uint32_t i = 0; i < count; i++) {
        if (!lives_overlap(placed[i], value))
            continue;
        if (placed[i]->offset >= end && placed[i]->offset - end >= value->bytes &&
            placed[i]->offset - end < best_gap) {
            best = end;
            best_gap = placed[i]->offset - end;
        }
        end = lego_max_size(end, placed[i]->offset + placed[i]->bytes);
        end = (end + PLACE_ALIGN - 1) & ~(size_t)(PLACE_ALIGN - 1);
    }
    return best == SIZE_MAX ? end : best;
}

int plan_place(struct plan *plan, struct lego_diag *diag)
{
    struct plan_value **order = calloc((size_t)plan->value_count * 2 + 1, sizeof(*order));
    struct plan_value **placed = order + plan->value_count;
    uint32_t count = 0, done = 0;

    if (!order)
        return lego_fail(diag, LEGO_E_NOMEM, "planning the arena");
    plan_lifetimes(plan);
    plan_reuse(plan);
    for (uint32_t i = 0; i < plan->value_count; i++) {
        struct plan_value *value = &plan->values[i];
        if (value->alias < 0 && value->storage == PLAN_ARENA && value->last_step != UINT32_MAX)
            order[count++] = value;
    }
    qsort(order, count, sizeof(*order), by_size);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = done++;
        order[i]->offset = place_one(placed, at, order[i]);
        for (; at && placed[at - 1]->offset > order[i]->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = order[i];
        plan->arena_bytes = lego_max_size(plan->arena_bytes, order[i]->offset + order[i]->bytes);
    }
    free(order);
    plan->arena_bytes = (plan->arena_bytes + PLACE_ALIGN - 1) & ~(size_t)(PLACE_ALIGN - 1);
    return LEGO_OK;
}
