#include "codec/encode/gptq.h"
#include "codec/base/arith.h"
#include "codec/base/status.h"
#include "codec/encode/linear.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS  32 /* of a task at most: a multiple of every brick's rows */
#define FEW_ROWS    8  /* of a task where there are not many */
#define LATER       64 /* columns after which errors are passed on to all that follow */
#define MAX_COLUMNS 16
#define MAX_DIM     128
#define MAX_ENTRIES 256
#define BEST_FIRST  12 /* entries of the first stage that are tried with all of the second */

/* What all tasks share. */
struct solver {
    const struct kern_table *kernels;
    const struct gptq_problem *problem;
    const struct gptq_format *format;
    const struct gptq_catalogues *catalogues;
    const float *scales;
    struct gptq_result *result;
    uint32_t dim, blocks, passes, chunk_rows;
    /* [blocks][columns][columns], upper: A with A A^T the moment of a block's columns, given the
       earlier ones (inverse of the block of U) or, in descent, given all others. */
    float *whitening;
    float *tables; /* [blocks or 1][stages][dim][entries]: whitened catalogues, entries last */
    size_t table_elems;
    double *sums; /* [tasks] */
    bool failed;
};

static const float *block_table(const struct solver *s, uint32_t block, uint32_t stage)
{
    const size_t which = s->format->columns > 1 ? block : 0;

    return s->tables + (which * s->format->stages + stage) * s->table_elems;
}

/* a = inverse of the C x C block of U on the diagonal at `at`. */
static void invert_block(const float *u, size_t n, size_t at, uint32_t columns, float *a)
{
    memset(a, 0, (size_t)columns * columns * sizeof(*a));
    for (uint32_t c = 0; c < columns; c++) {
        a[c * columns + c] = 1 / u[(at + c) * n + at + c];
        for (uint32_t r = c; r-- > 0;) {
            float sum = 0;

            for (uint32_t m = r; m < c; m++)
                sum += a[r * columns + m] * u[(at + m) * n + at + c];
            a[r * columns + c] = -sum * a[c * columns + c];
        }
    }
}

/* x A for one row of a brick. */
static void whiten_row(const float *x, const float *a, uint32_t columns, float *ret)
{
    for (uint32_t c = 0; c < columns; c++) {
        float sum = 0;

        for (uint32_t r = 0; r <= c; r++)
            sum += x[r] * a[r * columns + c];
        ret[c] = sum;
    }
}

/* a: upper, a a^T = the C x C block of H on the diagonal at `at`. */
static void factor_block(const float *h, size_t n, size_t at, uint32_t columns, float *a)
{
    memset(a, 0, (size_t)columns * columns * sizeof(*a));
    for (uint32_t c = columns; c-- > 0;) {
        for (uint32_t r = c + 1; r-- > 0;) {
            float sum = h[(at + r) * n + at + c];

            for (uint32_t m = c + 1; m < columns; m++)
                sum -= a[r * columns + m] * a[c * columns + m];
            a[r * columns + c] = r == c ? sqrtf(fmaxf(sum, FLT_MIN)) : sum / a[c * columns + c];
        }
    }
}

static void make_table(void *context, size_t block)
{
    struct solver *s = context;
    const struct gptq_format *f = s->format;
    float *a = s->whitening + block * f->columns * f->columns;

    if (s->passes > 0)
        factor_block(s->problem->h, s->problem->columns, block * f->columns, f->columns, a);
    else
        invert_block(s->problem->u, s->problem->columns, block * f->columns, f->columns, a);
    if (f->levels > 0 || (f->columns == 1 && block > 0))
        return;
    for (uint32_t stage = 0; stage < f->stages; stage++) {
        float *table = (float *)block_table(s, (uint32_t)block, stage);

        for (uint32_t k = 0; k < f->entries; k++) {
            const float *entry = s->catalogues->stage[stage] + (size_t)k * s->dim;
            float whitened[MAX_DIM];

            for (uint32_t r = 0; r < f->rows; r++) {
                if (f->columns > 1)
                    whiten_row(entry + r * f->columns, a, f->columns, whitened + r * f->columns);
                else
                    whitened[r] = entry[r]; /* one factor for all: it changes no choice */
            }
            for (uint32_t d = 0; d < s->dim; d++)
                table[(size_t)d * f->entries + k] = whitened[d];
        }
    }
}

/* Distances from a stage's entries, and the nearest of these; `importance` of each component, NULL:
 * all alike. */
static uint32_t nearest(const struct solver *s, const float *x, const float *table,
                        const float *importance, float *ret_distance)
{
    const uint32_t entries = s->format->entries;
    uint32_t best = 0;

    if (!importance)
        return s->kernels->nearest_f32(s->dim, x, entries, table, entries, ret_distance);
    memset(ret_distance, 0, entries * sizeof(*ret_distance));
    for (uint32_t d = 0; d < s->dim; d++) {
        const float *row = table + (size_t)d * entries;

        for (uint32_t k = 0; k < entries; k++) {
            const float e = x[d] - row[k];
            ret_distance[k] += importance[d] * (e * e);
        }
    }
    for (uint32_t k = 1; k < entries; k++) {
        if (ret_distance[k] < ret_distance[best])
            best = k;
    }
    return best;
}

/* The entries with the BEST_FIRST smallest distances, nearest first, of equals the first. */
static uint32_t nearest_few(const float *distance, uint32_t entries, uint32_t *ret_index)
{
    uint32_t count = 0;

    for (uint32_t k = 0; k < entries; k++) {
        uint32_t at = count;

        if (count == BEST_FIRST && !(distance[k] < distance[ret_index[count - 1]]))
            continue;
        if (count < BEST_FIRST)
            count++;
        else
            at--;
        for (; at > 0 && distance[k] < distance[ret_index[at - 1]]; at--)
            ret_index[at] = ret_index[at - 1];
        ret_index[at] = k;
    }
    return count;
}

/* The best sum of two entries: the nearest of the first stage, each with all of the second. */
static void choose_two(const struct solver *s, uint32_t block, const float *x,
                       const float *importance, const float *distance, uint32_t *ret_index)
{
    const uint32_t entries = s->format->entries;
    const float *first = block_table(s, block, 0), *second = block_table(s, block, 1);
    float best = FLT_MAX, rest[MAX_DIM], other[MAX_ENTRIES];
    uint32_t few[BEST_FIRST];
    const uint32_t count = nearest_few(distance, entries, few);

    for (uint32_t trial = 0; trial < count; trial++) {
        const uint32_t k = few[trial];

        for (uint32_t d = 0; d < s->dim; d++)
            rest[d] = x[d] - first[(size_t)d * entries + k];
        const uint32_t m = nearest(s, rest, second, importance, other);
        if (other[m] < best) {
            best = other[m];
            ret_index[0] = k;
            ret_index[1] = m;
        }
    }
}

/* The nearest brick to whitened x [brick rows][columns] (already divided by the scales). */
static void choose(const struct solver *s, uint32_t block, const float *x, const float *importance,
                   uint32_t *ret_index)
{
    const struct gptq_format *f = s->format;
    float distance[MAX_ENTRIES];

    ret_index[0] = nearest(s, x, block_table(s, block, 0), importance, distance);
    if (f->stages == 2)
        choose_two(s, block, x, importance, distance, ret_index);
}

/* The brick that indices stand for. */
static void look_up(const struct solver *s, const uint32_t *index, float *ret_value)
{
    memcpy(ret_value, s->catalogues->stage[0] + (size_t)index[0] * s->dim,
           s->dim * sizeof(*ret_value));
    for (uint32_t d = 0; s->format->stages == 2 && d < s->dim; d++)
        ret_value[d] += s->catalogues->stage[1][(size_t)index[1] * s->dim + d];
}

static void choose_level(const struct solver *s, float w, uint32_t *ret_index, float *ret_value)
{
    const float limit = (float)s->format->levels;
    const float level = fminf(fmaxf(rintf(w), -limit), limit - 1);

    ret_index[0] = (uint32_t)((int32_t)level + s->format->levels);
    *ret_value = level;
}

/* Quantises one brick: w are the working weights of its rows at this block. */
static void take_brick(const struct solver *s, uint32_t block, uint32_t row, uint32_t rows,
                       const float *work, float *error)
{
    const struct gptq_format *f = s->format;
    const struct gptq_problem *p = s->problem;
    const uint32_t n = p->columns, at = block * f->columns, column = p->order[at];
    const size_t brick = (size_t)(row / f->rows) * (n / f->columns) + column / f->columns;
    float scaled[MAX_DIM] = {0}, value[MAX_DIM];
    uint32_t index[GPTQ_MAX_STAGES] = {0};

    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < f->columns; c++)
            scaled[r * f->columns + c] = work[(size_t)r * n + at + c] / s->scales[row + r];
    }
    if (f->levels > 0) {
        choose_level(s, scaled[0], index, value);
    } else {
        float x[MAX_DIM];

        for (uint32_t r = 0; r < f->rows; r++) {
            if (f->columns > 1)
                whiten_row(scaled + r * f->columns, s->whitening + block * f->columns * f->columns,
                           f->columns, x + r * f->columns);
            else
                x[r] = scaled[r];
        }
        choose(s, block, x, NULL, index);
        look_up(s, index, value);
    }
    for (uint32_t stage = 0; stage < f->stages; stage++)
        s->result->index[stage][brick] = index[stage];
    for (uint32_t r = 0; r < rows; r++) {
        float *compensated = s->result->compensated + (size_t)(row + r) * n + column;
        float *decoded = s->result->decoded + (size_t)(row + r) * n + column;
        float difference[MAX_COLUMNS];

        for (uint32_t c = 0; c < f->columns; c++) {
            const float v = value[r * f->columns + c];

            compensated[c] = scaled[r * f->columns + c];
            decoded[c] = v;
            difference[c] = work[(size_t)r * n + at + c] - v * s->scales[row + r];
        }
        whiten_row(difference, s->whitening + (size_t)block * f->columns * f->columns, f->columns,
                   error + r * f->columns);
    }
}

/* Quantises columns `at` to `end` of some rows; passes errors on within them and leaves all of
 * them, negated, in `errors` [end - at][CHUNK_ROWS]. Returns the sum of their squares. */
static double take_columns(const struct solver *s, uint32_t first, uint32_t rows, uint32_t at,
                           uint32_t end, float *work, float *errors)
{
    const struct gptq_problem *p = s->problem;
    const uint32_t n = p->columns, columns = s->format->columns;
    float error[CHUNK_ROWS * MAX_COLUMNS];
    double sum = 0;

    for (uint32_t block = at / columns; block < end / columns; block++) {
        for (uint32_t r = 0; r < rows; r += s->format->rows)
            take_brick(s, block, first + r, (uint32_t)lego_min_size(s->format->rows, rows - r),
                       work + (size_t)r * n, error + r * columns);
        for (uint32_t r = 0; r < rows; r++) {
            for (uint32_t c = 0; c < columns; c++) {
                const float e = error[r * columns + c];
                const float *u = p->u + (size_t)(block * columns + c) * n;
                float *w = work + (size_t)r * n;

                errors[(size_t)(block * columns + c - at) * CHUNK_ROWS + r] = -e;
                sum += (double)e * (double)e;
                for (uint32_t i = (block + 1) * columns; i < end; i++)
                    w[i] -= e * u[i];
            }
        }
    }
    return sum;
}

/* Some rows through all columns. */
static void solve_chunk(void *context, size_t chunk)
{
    struct solver *s = context;
    const struct gptq_problem *p = s->problem;
    const uint32_t n = p->columns, columns = s->format->columns;
    const uint32_t first = (uint32_t)chunk * s->chunk_rows, step = LATER / columns * columns;
    const uint32_t rows = (uint32_t)lego_min_size(s->chunk_rows, p->rows - first);
    float *work = malloc((size_t)rows * n * sizeof(float));
    float errors[LATER * CHUNK_ROWS];
    double sum = 0;

    if (!work) {
        __atomic_store_n(&s->failed, true, __ATOMIC_RELAXED);
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < n; i++)
            work[(size_t)r * n + i] = p->target[(size_t)(first + r) * n + p->order[i]];
    }
    for (uint32_t at = 0; at < n; at += step) {
        const uint32_t end = (uint32_t)lego_min_size(at + step, n);

        sum += take_columns(s, first, rows, at, end, work, errors);
        linear_gemm(s->kernels, &(struct kern_gemm_exact_f32){.m = rows,
                                                              .n = n - end,
                                                              .depth = end - at,
                                                              .a = errors,
                                                              .a_stride = CHUNK_ROWS,
                                                              .b = p->u + (size_t)at * n + end,
                                                              .b_stride = n,
                                                              .c = work + end,
                                                              .c_stride = n,
                                                              .accumulate = true});
    }
    s->sums[chunk] = sum;
    free(work);
}

/* Rows in descent: what is lacking, and what of that the inputs show. */
struct descent {
    uint32_t rows;
    float *lack; /* [rows][columns] target - decoded, in the problem's order */
    float *seen; /* [rows][columns] lack times H */
};

/* x A of the change that would mend a row of a brick best: y A^T = seen. */
static void mend_row(const float *seen, const float *a, uint32_t columns, float *ret_y)
{
    for (uint32_t j = columns; j-- > 0;) {
        float sum = seen[j];

        for (uint32_t c = j + 1; c < columns; c++)
            sum -= ret_y[c] * a[j * columns + c];
        ret_y[j] = sum / a[j * columns + j];
    }
}

/* y A^-1 */
static void unwhiten_row(const float *y, const float *a, uint32_t columns, float *ret)
{
    for (uint32_t c = 0; c < columns; c++) {
        float sum = y[c];

        for (uint32_t r = 0; r < c; r++)
            sum -= ret[r] * a[r * columns + c];
        ret[c] = sum / a[c * columns + c];
    }
}

/* Takes the difference between two values of a row's brick into account. */
static void apply(const struct solver *s, uint32_t at, const float *change, float *lack,
                  float *seen)
{
    const uint32_t n = s->problem->columns;

    for (uint32_t c = 0; c < s->format->columns; c++) {
        const float *h = s->problem->h + (size_t)(at + c) * n;
        const float by = change[c];

        if (by == 0)
            continue;
        lack[at + c] -= by;
        for (uint32_t i = 0; i < n; i++)
            seen[i] -= by * h[i];
    }
}

/* How far whitened x is from the brick that two indices add up to. */
static float distance_to(const struct solver *s, uint32_t block, const float *x,
                         const float *importance, const uint32_t *index)
{
    const float *first = block_table(s, block, 0), *second = block_table(s, block, 1);
    const uint32_t entries = s->format->entries;
    float sum = 0;

    for (uint32_t d = 0; d < s->dim; d++) {
        const float e =
            x[d] - first[(size_t)d * entries + index[0]] - second[(size_t)d * entries + index[1]];
        sum += (importance ? importance[d] : 1) * (e * e);
    }
    return sum;
}

/* Chooses again; of two stages not all pairs are tried, so the present one may be the best. */
static void choose_again(const struct solver *s, uint32_t block, const float *x,
                         const float *importance, const uint32_t *now, uint32_t *ret_index)
{
    choose(s, block, x, importance, ret_index);
    if (s->format->stages == 2 && distance_to(s, block, x, importance, now) <=
                                      distance_to(s, block, x, importance, ret_index))
        memcpy(ret_index, now, 2 * sizeof(*now));
}

/* Chooses one brick again. */
static void improve_brick(const struct solver *s, uint32_t block, uint32_t first, uint32_t row,
                          uint32_t rows, struct descent *d)
{
    const struct gptq_format *f = s->format;
    const uint32_t n = s->problem->columns, at = block * f->columns;
    const uint32_t column = s->problem->order[at];
    const size_t brick = (size_t)((first + row) / f->rows) * (n / f->columns) + column / f->columns;
    const float *a = s->whitening + (size_t)block * f->columns * f->columns;
    float x[MAX_DIM] = {0}, importance[MAX_DIM] = {0}, value[MAX_DIM];
    uint32_t index[GPTQ_MAX_STAGES] = {0};

    for (uint32_t r = 0; r < rows; r++) {
        const float *now = s->result->decoded + (size_t)(first + row + r) * n + column;
        float *ideal = s->result->compensated + (size_t)(first + row + r) * n + column;
        const float scale = s->scales[first + row + r];
        float y[MAX_COLUMNS];

        mend_row(d->seen + (size_t)(row + r) * n + at, a, f->columns, y);
        unwhiten_row(y, a, f->columns, ideal);
        for (uint32_t c = 0; c < f->columns; c++) {
            ideal[c] = ideal[c] / scale + now[c];
            importance[r * f->columns + c] = scale * scale;
        }
        if (f->columns > 1)
            whiten_row(ideal, a, f->columns, x + r * f->columns);
        else
            x[r] = ideal[0];
    }
    if (f->levels > 0) {
        choose_level(s, x[0], index, value);
    } else {
        uint32_t now[GPTQ_MAX_STAGES] = {0};

        for (uint32_t stage = 0; stage < f->stages; stage++)
            now[stage] = s->result->index[stage][brick];
        choose_again(s, block, x, f->rows > 1 ? importance : NULL, now, index);
        look_up(s, index, value);
    }
    for (uint32_t stage = 0; stage < f->stages; stage++)
        s->result->index[stage][brick] = index[stage];
    for (uint32_t r = 0; r < rows; r++) {
        float *now = s->result->decoded + (size_t)(first + row + r) * n + column;
        float change[MAX_COLUMNS];

        for (uint32_t c = 0; c < f->columns; c++) {
            change[c] = (value[r * f->columns + c] - now[c]) * s->scales[first + row + r];
            now[c] = value[r * f->columns + c];
        }
        apply(s, at, change, d->lack + (size_t)(row + r) * n, d->seen + (size_t)(row + r) * n);
    }
}

/* What rows lack at first. */
static void open_descent(const struct solver *s, uint32_t first, struct descent *d)
{
    const struct gptq_problem *p = s->problem;
    const uint32_t n = p->columns;

    memset(d->seen, 0, (size_t)d->rows * n * sizeof(*d->seen));
    for (uint32_t r = 0; r < d->rows; r++) {
        float *lack = d->lack + (size_t)r * n, *seen = d->seen + (size_t)r * n;

        for (uint32_t i = 0; i < n; i++) {
            const size_t at = (size_t)(first + r) * n + p->order[i];

            lack[i] = p->target[at] - s->result->decoded[at] * s->scales[first + r];
            for (uint32_t k = 0; k < n; k++)
                seen[k] += lack[i] * p->h[(size_t)i * n + k];
        }
    }
}

static void descend_chunk(void *context, size_t chunk)
{
    struct solver *s = context;
    const uint32_t n = s->problem->columns, first = (uint32_t)chunk * s->chunk_rows;
    struct descent d = {.rows = (uint32_t)lego_min_size(s->chunk_rows, s->problem->rows - first)};
    const size_t elems = (size_t)d.rows * n;
    double sum = 0;

    d.lack = malloc(2 * elems * sizeof(*d.lack));
    d.seen = d.lack + elems;
    if (!d.lack) {
        __atomic_store_n(&s->failed, true, __ATOMIC_RELAXED);
        return;
    }
    open_descent(s, first, &d);
    for (uint32_t pass = 0; pass < s->passes; pass++)
        for (uint32_t block = 0; block < s->blocks; block++)
            for (uint32_t r = 0; r < d.rows; r += s->format->rows)
                improve_brick(s, block, first, r,
                              (uint32_t)lego_min_size(s->format->rows, d.rows - r), &d);
    for (size_t i = 0; i < elems; i++)
        sum += (double)d.lack[i] * (double)d.seen[i];
    s->sums[chunk] = sum;
    free(d.lack);
}

/* Tables, then a task for each chunk of rows. */
static int run(struct solver *s, struct encode_workers *workers,
               void (*task)(void *context, size_t chunk))
{
    const struct gptq_format *f = s->format;
    s->kernels = encode_workers_kernels(workers);
    s->chunk_rows = s->problem->rows < 4 * CHUNK_ROWS ? FEW_ROWS : CHUNK_ROWS;
    const size_t chunks = lego_div_up(s->problem->rows, s->chunk_rows);
    const size_t tables = f->columns > 1 ? s->blocks : 1;

    s->table_elems = (size_t)s->dim * f->entries;
    s->whitening = malloc((size_t)s->blocks * f->columns * f->columns * sizeof(float));
    s->tables = malloc((f->levels > 0 ? 1 : tables * f->stages * s->table_elems) * sizeof(float));
    s->sums = calloc(chunks, sizeof(*s->sums));
    s->failed = !s->whitening || !s->tables || !s->sums;
    if (!s->failed) {
        encode_workers_run(workers, s->blocks, make_table, s);
        encode_workers_run(workers, chunks, task, s);
        s->result->distortion = 0;
        for (size_t i = 0; i < chunks; i++)
            s->result->distortion += s->sums[i];
    }
    free(s->whitening);
    free(s->tables);
    free(s->sums);
    return s->failed ? LEGO_E_NOMEM : LEGO_OK;
}

int gptq_solve(const struct gptq_problem *problem, const struct gptq_format *format,
               const struct gptq_catalogues *catalogues, const float *scales,
               struct encode_workers *workers, struct gptq_result *result)
{
    struct solver s = {.problem = problem,
                       .format = format,
                       .catalogues = catalogues,
                       .scales = scales,
                       .result = result,
                       .dim = format->rows * format->columns,
                       .blocks = problem->columns / format->columns};

    return run(&s, workers, solve_chunk);
}

int gptq_descend(const struct gptq_problem *problem, const struct gptq_format *format,
                 const struct gptq_catalogues *catalogues, const float *scales, uint32_t passes,
                 struct encode_workers *workers, struct gptq_result *result)
{
    struct solver s = {.problem = problem,
                       .format = format,
                       .catalogues = catalogues,
                       .scales = scales,
                       .result = result,
                       .passes = passes,
                       .dim = format->rows * format->columns,
                       .blocks = problem->columns / format->columns};

    return run(&s, workers, descend_chunk);
}
