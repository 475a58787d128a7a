/*
 * Masks: which class each pixel shows. Where the four pixels of the output around a point agree, so
 * does everything between them, as an interpolated number is a mean of theirs: only along borders
 * between classes is anything interpolated.
 */
#include "agent/results/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE 16384 /* of an output */

/* The output's pixels. */
struct field {
    const float *data;
    uint32_t width, height, total; /* classes, background included */
    size_t pixel_step, class_step;
};

static int find_field(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                      struct field *ret_field, struct lego_diag *diag)
{
    const struct head_tensor *tensor = head_find(head->scores.names[0], tensors, count);
    const struct lego_shape *shape = tensor ? &tensor->shape : NULL;
    int rank = shape ? shape->rank : 0;
    bool columns = head->columns && rank == 4;
    int64_t total = rank == 4 ? shape->dim[columns ? 1 : 3] : 1;
    if (rank < 3 || rank > 4)
        return lego_fail(diag, LEGO_E_SHAPE, "head \"%s\": output \"%s\" holds no rows of pixels",
                         head->name, head->scores.names[0]);
    int64_t height = shape->dim[columns ? 2 : 1], width = shape->dim[columns ? 3 : 2];
    if (height < 1 || width < 1 || total <= (int64_t)head->background || total > UINT16_MAX ||
        height > MAX_SIDE || width > MAX_SIDE)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "head \"%s\": output \"%s\" of %lldx%lld pixels and %lld classes, %u of "
                         "them background, makes no mask",
                         head->name, head->scores.names[0], (long long)width, (long long)height,
                         (long long)total, head->background);
    *ret_field = (struct field){.data = tensor->data,
                                .width = (uint32_t)width,
                                .height = (uint32_t)height,
                                .total = (uint32_t)total,
                                .pixel_step = columns ? 1 : (size_t)total,
                                .class_step = columns ? (size_t)width * (size_t)height : 1};
    return LEGO_OK;
}

int head_segment_size(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                      uint32_t *ret_width, uint32_t *ret_height, struct lego_diag *diag)
{
    struct field field = {0};
    int status = find_field(head, tensors, count, &field, diag);
    if (status != LEGO_OK)
        return status;
    *ret_width = field.width;
    *ret_height = field.height;
    return LEGO_OK;
}

/* Between which pixels of an axis of the output a mask's pixel lies, as offsets. */
struct between {
    size_t low, high;
    float weight; /* of the high one */
};

/* What a mask is made of. */
struct painter {
    struct field field;
    float limit;     /* of the only class: where it begins, before the activation */
    uint16_t *first; /* the winner of each pixel of the output */
    struct between *across, *down;
    float *edges; /* [2][total]: interpolated down, left and right of a cell */
    uint32_t background;
    uint32_t *runs;
    size_t run_count, run_room;
    uint64_t *areas; /* of each value */
};

static struct between place(double at, uint32_t size, size_t step)
{
    double middle = fmin(fmax(at * size - 0.5, 0), (double)size - 1);
    uint32_t low = (uint32_t)middle;
    uint32_t high = middle > low ? low + 1 : low;
    return (struct between){low * step, high * step, (float)(middle - low)};
}

/* The class that the numbers make, `step` floats apart; of one class whether it is it. */
static uint16_t winner_of(const struct painter *p, const float *numbers, size_t step)
{
    uint32_t best = 0;
    float top = -INFINITY;
    if (p->field.total == 1)
        return numbers[0] >= p->limit;
    for (uint32_t c = 0; c < p->field.total; c++) {
        bool more = numbers[c * step] > top;
        top = more ? numbers[c * step] : top;
        best = more ? c : best;
    }
    return (uint16_t)best;
}

static uint32_t value_of(const struct painter *p, uint16_t winner)
{
    if (p->field.total == 1)
        return winner;
    return winner < p->background ? 0 : winner - p->background + 1;
}

/* For one class all that is at least the limit is of it, whatever the threshold's side of 0. */
static float limit_of(const struct head *head)
{
    if (head->activation != HEAD_SIGMOID)
        return head->threshold;
    return logf(head->threshold / (1.0f - head->threshold));
}

static bool put(struct painter *p, uint32_t value, uint32_t length)
{
    p->areas[value] += length;
    if (p->run_count > 0 && p->runs[2 * p->run_count - 2] == value) {
        p->runs[2 * p->run_count - 1] += length;
        return true;
    }
    if (p->run_count == p->run_room) {
        size_t room = p->run_room ? 2 * p->run_room : 1024;
        uint32_t *larger = realloc(p->runs, room * 2 * sizeof(*larger));
        if (!larger)
            return false;
        p->runs = larger;
        p->run_room = room;
    }
    p->runs[2 * p->run_count] = value;
    p->runs[2 * p->run_count + 1] = length;
    p->run_count++;
    return true;
}

/* Infinities stay what they are. */
static float mean(float a, float b, float weight)
{
    return a == b ? a : a * (1.0f - weight) + b * weight;
}

/* The numbers at a column of the output, interpolated down. */
static void interpolate_down(const struct painter *p, const struct between *down, size_t column,
                             float *edge)
{
    const struct field *field = &p->field;
    const float *high = field->data + (down->low + column) * field->pixel_step;
    const float *low = field->data + (down->high + column) * field->pixel_step;
    for (uint32_t c = 0; c < field->total; c++) {
        float a = high[c * field->class_step], b = low[c * field->class_step];
        edge[c] = mean(a, b, down->weight);
    }
}

/* Pixels [from, to) of a row, between the same two columns of the output. */
static bool paint_border(struct painter *p, const struct between *down, uint32_t from, uint32_t to)
{
    uint32_t total = p->field.total;
    float *left = p->edges, *right = left + total, *between = right + total;
    interpolate_down(p, down, p->across[from].low, left);
    interpolate_down(p, down, p->across[from].high, right);
    for (uint32_t x = from; x < to; x++) {
        float weight = p->across[x].weight;
        for (uint32_t c = 0; c < total; c++)
            between[c] = mean(left[c], right[c], weight);
        if (!put(p, value_of(p, winner_of(p, between, 1)), 1))
            return false;
    }
    return true;
}

static bool paint_row(struct painter *p, const struct between *down, uint32_t width)
{
    const uint16_t *above = p->first + down->low, *below = p->first + down->high;
    for (uint32_t x = 0, end; x < width; x = end) {
        const struct between *cell = &p->across[x];
        for (end = x + 1;
             end < width && p->across[end].low == cell->low && p->across[end].high == cell->high;
             end++)
            ;
        uint16_t winner = above[cell->low];
        bool same = winner == above[cell->high] && winner == below[cell->low] &&
                    winner == below[cell->high];
        if (same ? !put(p, value_of(p, winner), end - x) : !paint_border(p, down, x, end))
            return false;
    }
    return true;
}

/* By the other way round where the mask lies across the output. */
static void lay_out(struct painter *p, const struct head_sampling *s, bool turned)
{
    const struct field *field = &p->field;
    for (uint32_t x = 0; x < s->width; x++)
        p->across[x] = turned ? place(s->v[0] * (x + 0.5) + s->v[2], field->height, field->width)
                              : place(s->u[0] * (x + 0.5) + s->u[2], field->width, 1);
    for (uint32_t y = 0; y < s->height; y++)
        p->down[y] = turned ? place(s->u[1] * (y + 0.5) + s->u[2], field->width, 1)
                            : place(s->v[1] * (y + 0.5) + s->v[2], field->height, field->width);
    for (size_t i = 0; i < (size_t)field->width * field->height; i++)
        p->first[i] = winner_of(p, field->data + i * field->pixel_step, field->class_step);
}

static int paint(struct painter *p, const struct head *head, const struct head_sampling *s,
                 struct lego_diag *diag)
{
    bool good = true;
    lay_out(p, s, s->u[0] == 0);
    for (uint32_t y = 0; good && y < s->height && p->run_count <= HEADS_MAX_RUNS; y++)
        good = paint_row(p, &p->down[y], s->width);
    if (!good)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a mask of %ux%u", s->width, s->height);
    if (p->run_count > HEADS_MAX_RUNS)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "head \"%s\": a mask of %ux%u has over %u runs: ask for a smaller one "
                         "(max_mask_side)",
                         head->name, s->width, s->height, HEADS_MAX_RUNS);
    return LEGO_OK;
}

/* The larger first, the lower index first among equals. */
static int compare(const void *left, const void *right)
{
    const struct head_class *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int keep(const struct painter *p, uint64_t pixels, struct lego_arena *arena,
                struct head_mask *ret_mask, struct lego_diag *diag)
{
    uint32_t values = p->field.total - p->background + 1, count = 0;
    struct head_class *classes = lego_arena_calloc(arena, values, sizeof(*classes));
    const uint32_t *runs = lego_arena_memdup(arena, p->runs, p->run_count * 2 * sizeof(*p->runs));
    if (!classes || !runs)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a mask of %zu runs", p->run_count);
    for (uint32_t value = 1; value < values; value++)
        if (p->areas[value] > 0)
            classes[count++] = (struct head_class){
                .index = value - 1, .score = (float)((double)p->areas[value] / (double)pixels)};
    qsort(classes, count, sizeof(*classes), compare);
    *ret_mask = (struct head_mask){(uint32_t)p->run_count, runs, count, classes};
    return LEGO_OK;
}

int head_segment(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                 const struct head_sampling *sampling, struct lego_arena *arena,
                 struct head_mask *ret_mask, struct lego_diag *diag)
{
    struct painter p = {.limit = limit_of(head), .background = head->background};
    int status = find_field(head, tensors, count, &p.field, diag);
    if (status != LEGO_OK)
        return status;
    size_t pixels = (size_t)p.field.width * p.field.height;
    p.first = malloc(pixels * sizeof(*p.first));
    p.across = malloc(sampling->width * sizeof(*p.across));
    p.down = malloc(sampling->height * sizeof(*p.down));
    p.edges = malloc((size_t)p.field.total * 3 * sizeof(*p.edges));
    p.areas = calloc((size_t)p.field.total + 1, sizeof(*p.areas));
    if (!p.first || !p.across || !p.down || !p.edges || !p.areas)
        status = lego_fail(diag, LEGO_E_NOMEM, "no memory for a mask of %ux%u", sampling->width,
                           sampling->height);
    if (status == LEGO_OK)
        status = paint(&p, head, sampling, diag);
    if (status == LEGO_OK)
        status = keep(&p, (uint64_t)sampling->width * sampling->height, arena, ret_mask, diag);
    free(p.first);
    free(p.across);
    free(p.down);
    free(p.edges);
    free(p.areas);
    free(p.runs);
    return status;
}
