/* The quantiser: Viterbi down the columns of each tile, column after column. */
#include "codec/encode/trellis.h"
#include "codec/encode/trellis_math.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STATES    LEGO_TRELLIS_STATES
#define ROUNDS    3
#define REACH     2 /* levels around the nearest that may be chosen; 0 always may */
#define SMOOTH    0.3
#define COST_MOST 1e30f /* of a level: a column of them stays finite, whatever the weights are */

/* Everything that the tiles of one solution share. */
struct solver {
    const struct trellis_problem *problem;
    struct trellis_result *result;
    float *work;                   /* [rows][columns] in order: the targets, as errors arrive */
    struct trellis_counts *counts; /* [tiles] */
    double *distortion;            /* [tiles] */
    bool failed;
    float rate[LEGO_TRELLIS_MAX_CLASSES][2][TRELLIS_LEVELS]; /* price * bits */
};

/* The best way to each state so far, and how each row was reached. */
struct paths {
    float cost[STATES];
    struct {
        int8_t level[STATES];
        uint8_t from[STATES];
    } row[LEGO_TILE_MAX_ROWS];
};

static uint32_t classes_of(const struct trellis_problem *p)
{
    return p->rotation ? p->rotation->class_count : 1;
}

static uint32_t class_of(const struct trellis_problem *p, uint32_t column)
{
    return p->rotation ? p->rotation->classes[column % p->rotation->taps] : 0;
}

static float step_of(const struct trellis_problem *p, uint32_t row)
{
    return p->row_steps ? p->row_steps[row] : p->step;
}

static float diagonal(const struct trellis_problem *p, uint32_t row, uint32_t j)
{
    size_t n = p->columns, group = p->u ? row / (p->rows / p->groups) : 0;

    return p->u ? p->u[(group * n + j) * n + j] : 1.0f;
}

/* The cheapest even and odd level for a weight, in even (0) and odd (1) states. */
struct choice {
    float cost[2][2];
    int8_t level[2][2];
};

static void choose(const struct solver *s, float weight, float step, float importance,
                   uint32_t class, struct choice *ret_choice)
{
    const int32_t most = (int32_t)s->problem->most;
    const float scaled = weight / (2 * step);
    const int32_t near = fabsf(scaled) < (float)most ? (int32_t)lrintf(scaled)
                         : scaled > 0                ? most
                                                     : -most;
    int32_t low = (near > 0 ? 0 : near) - REACH, high = (near > 0 ? near : 0) + REACH;

    /* Between 0 and what is near, levels cost more than either. */
    low = low < -most ? -most : low;
    high = high > most ? most : high;
    for (int odd = 0; odd < 2; odd++) {
        ret_choice->cost[odd][0] = ret_choice->cost[odd][1] = FLT_MAX;
        for (int32_t k = low; k <= high; k++) {
            const float error = weight - step * (float)kern_trellis_value(k, (uint32_t)odd);
            const float sum =
                error * error * importance + s->rate[class][odd][k + LEGO_TRELLIS_MAX_LEVEL];
            const float cost = fminf(sum, COST_MOST);
            if (cost < ret_choice->cost[odd][k & 1]) {
                ret_choice->cost[odd][k & 1] = cost;
                ret_choice->level[odd][k & 1] = (int8_t)k;
            }
        }
    }
}

static void advance(struct paths *paths, uint32_t row, const struct choice *choice)
{
    float next[STATES];

    for (int i = 0; i < STATES; i++)
        next[i] = FLT_MAX;
    for (uint32_t from = 0; from < STATES; from++) {
        if (paths->cost[from] == FLT_MAX)
            continue;
        for (uint32_t parity = 0; parity < 2; parity++) {
            const uint32_t to = kern_trellis_next(from, (int32_t)parity);
            const float cost = paths->cost[from] + choice->cost[from & 1][parity];
            if (choice->cost[from & 1][parity] == FLT_MAX || cost >= next[to])
                continue;
            next[to] = cost;
            paths->row[row].level[to] = choice->level[from & 1][parity];
            paths->row[row].from[to] = (uint8_t)from;
        }
    }
    memcpy(paths->cost, next, sizeof(next));
}

/* Walks the best path back: levels and states of the tile's column number j. */
static void trace(const struct solver *s, const struct paths *paths, uint32_t first, uint32_t rows,
                  uint32_t j, struct trellis_counts *counts)
{
    const struct trellis_problem *p = s->problem;
    const uint32_t column = p->order ? p->order[j] : j, class = class_of(p, column);
    uint32_t state = 0;

    for (uint32_t i = 1; i < STATES; i++)
        if (paths->cost[i] < paths->cost[state])
            state = i;
    for (uint32_t row = rows; row-- > 0;) {
        const int32_t level = paths->row[row].level[state];
        const size_t at = (size_t)(first + row) * p->columns + column;
        state = paths->row[row].from[state];
        s->result->levels[at] = (int8_t)level;
        s->result->decoded[at] = step_of(p, first + row) * (float)kern_trellis_value(level, state);
        counts->count[class][state & 1][level + LEGO_TRELLIS_MAX_LEVEL]++;
    }
}

/* Passes the errors of column number j on to the columns behind it. */
static double feed_on(const struct solver *s, uint32_t first, uint32_t rows, uint32_t j)
{
    const struct trellis_problem *p = s->problem;
    const size_t n = p->columns, column = p->order ? p->order[j] : j;
    double distortion = 0;

    for (uint32_t row = first; row < first + rows; row++) {
        float *work = s->work + row * n;
        const float error = (work[j] - s->result->decoded[row * n + column]) / diagonal(p, row, j);

        distortion += (double)error * (double)error;
        if (!p->u)
            continue;
        const float *u = p->u + (row / (p->rows / p->groups) * n + j) * n;
        for (size_t t = j + 1; t < n; t++)
            work[t] -= error * u[t];
    }
    return distortion;
}

static void solve_tile(void *context, size_t tile)
{
    struct solver *s = context;
    const struct trellis_problem *p = s->problem;
    const uint32_t first = (uint32_t)tile * p->tile_rows;
    const uint32_t rows = (uint32_t)lego_min_size(p->tile_rows, p->rows - first);
    struct paths paths;
    double distortion = 0;

    memset(&s->counts[tile], 0, sizeof(s->counts[tile]));
    for (uint32_t j = 0; j < p->columns; j++) {
        const uint32_t class = class_of(p, p->order ? p->order[j] : j);

        for (int i = 0; i < STATES; i++)
            paths.cost[i] = i == 0 ? 0 : FLT_MAX;
        for (uint32_t row = 0; row < rows; row++) {
            const float inverse = 1.0f / diagonal(p, first + row, j);
            struct choice choice;

            choose(s, s->work[(size_t)(first + row) * p->columns + j], step_of(p, first + row),
                   inverse * inverse, class, &choice);
            advance(&paths, row, &choice);
        }
        trace(s, &paths, first, rows, j, &s->counts[tile]);
        distortion += feed_on(s, first, rows, j);
    }
    s->distortion[tile] = distortion;
}

/* Rates before anything is counted: two falling exponentials. */
static void guess_rates(struct solver *s)
{
    const struct trellis_problem *p = s->problem;
    double squares[LEGO_TRELLIS_MAX_CLASSES] = {0}, weights[LEGO_TRELLIS_MAX_CLASSES] = {0};

    for (size_t i = 0; i < (size_t)p->rows * p->columns; i++) {
        const uint32_t class = class_of(p, (uint32_t)(i % p->columns));
        const double steps = (double)p->target[i] / (double)step_of(p, (uint32_t)(i / p->columns));

        squares[class] += steps * steps;
        weights[class]++;
    }
    for (uint32_t c = 0; c < classes_of(p); c++) {
        const double deviation = sqrt(squares[c] / fmax(weights[c], 1));
        const double fall = 1.2 / fmax(deviation / 2, 0.3);
        /* sum of exp(-fall |k|), by trellis_log2's exactness: in bits, so that all machines agree
         */
        const double bits = fall * 1.4426950408889634;
        double sum = 0;
        for (int32_t k = -(int32_t)p->most; k <= (int32_t)p->most; k++)
            sum += trellis_exp2(-bits * abs(k));
        for (int32_t k = -(int32_t)p->most; k <= (int32_t)p->most; k++)
            for (int odd = 0; odd < 2; odd++)
                s->rate[c][odd][k + LEGO_TRELLIS_MAX_LEVEL] =
                    (float)(p->price * (bits * abs(k) + trellis_log2(sum)));
    }
}

static void count_rates(struct solver *s)
{
    const struct trellis_problem *p = s->problem;
    const uint32_t levels = 2 * p->most + 1;

    for (uint32_t c = 0; c < classes_of(p); c++) {
        for (int odd = 0; odd < 2; odd++) {
            const uint32_t *count = s->result->counts.count[c][odd];
            double total = SMOOTH * levels;
            for (int i = 0; i < TRELLIS_LEVELS; i++)
                total += count[i];
            for (int i = 0; i < TRELLIS_LEVELS; i++)
                s->rate[c][odd][i] =
                    (float)(p->price * (trellis_log2(total) - trellis_log2(count[i] + SMOOTH)));
        }
    }
}

static void add_up(struct solver *s, size_t tiles)
{
    struct trellis_result *r = s->result;
    uint32_t *sum = &r->counts.count[0][0][0];

    memset(&r->counts, 0, sizeof(r->counts));
    r->distortion = 0;
    for (size_t t = 0; t < tiles; t++) {
        const uint32_t *part = &s->counts[t].count[0][0][0];
        for (size_t i = 0; i < sizeof(r->counts) / sizeof(*sum); i++)
            sum[i] += part[i];
        r->distortion += s->distortion[t];
    }
}

static void load_work(const struct solver *s)
{
    const struct trellis_problem *p = s->problem;

    for (size_t row = 0; row < p->rows; row++)
        for (size_t j = 0; j < p->columns; j++)
            s->work[row * p->columns + j] =
                p->target[row * p->columns + (p->order ? p->order[j] : j)];
}

int trellis_solve(const struct trellis_problem *problem, struct encode_workers *workers,
                  struct trellis_result *result)
{
    const size_t tiles = lego_div_up(problem->rows, problem->tile_rows);
    struct solver *s = calloc(1, sizeof(*s));
    int status = LEGO_E_NOMEM;

    if (!s)
        return status;
    *s = (struct solver){.problem = problem, .result = result};
    s->work = malloc((size_t)problem->rows * problem->columns * sizeof(*s->work));
    s->counts = malloc(tiles * sizeof(*s->counts));
    s->distortion = malloc(tiles * sizeof(*s->distortion));
    if (s->work && s->counts && s->distortion) {
        guess_rates(s);
        for (int round = 0; round < ROUNDS; round++) {
            if (round > 0)
                count_rates(s);
            load_work(s);
            encode_workers_run(workers, tiles, solve_tile, s);
            add_up(s, tiles);
        }
        result->bits = 0;
        for (uint32_t i = 0; i < 2 * classes_of(problem); i++) {
            struct lego_trellis_table table;
            result->bits += trellis_table_fit(result->counts.count[i / 2][i % 2], &table);
        }
        status = LEGO_OK;
    }
    free(s->work);
    free(s->counts);
    free(s->distortion);
    free(s);
    return status;
}

double trellis_step(const struct trellis_problem *problem, double gain)
{
    const size_t n = problem->columns;
    double sum = 0;

    for (uint32_t g = 0; problem->u && g < problem->groups; g++)
        for (size_t j = 0; j < n; j++)
            sum -= 2 * trellis_log2((double)problem->u[(g * n + j) * n + j]);
    const double importance = trellis_exp2(sum / ((double)problem->groups * (double)n));
    const double step = sqrt(6 * problem->price / (0.6931471805599453 * importance));
    return fmax(gain * step, 1e-30);
}

double trellis_least_step(const struct trellis_problem *problem, double largest)
{
    return 1.02 * largest / (2.0 * problem->most);
}

uint8_t trellis_scale_code(double scale)
{
    uint8_t best = 0;

    for (uint8_t i = 1; i < LEGO_LOG_SCALES; i++)
        if (fabs((double)lego_log_scale[i] - scale) < fabs((double)lego_log_scale[best] - scale))
            best = i;
    return best;
}
