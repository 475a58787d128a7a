/*
 * Bricks chosen one block of columns after the other, each for what it does to the layer's output,
 * with the error passed on to the columns that are still to come (GPTQ: Frantar et al.,
 * arXiv 2210.17323; with vectors: van Baalen et al., GPTVQ, arXiv 2402.15319).
 */
#ifndef LEGO_ENCODE_GPTQ_H
#define LEGO_ENCODE_GPTQ_H

#include "codec/encode/workers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GPTQ_MAX_STAGES 2

/* How weights are written. `levels` > 0: 1x1 bricks of evenly spaced levels, -levels to levels-1.
 */
struct gptq_format {
    const char *name;
    uint32_t rows, columns; /* of a brick: rows 1, 2, 4, 8; columns 1 to 16 */
    uint32_t entries;       /* of each stage's catalogue */
    uint32_t stages;        /* 1, or 2 that are added */
    int32_t levels;
};

/* One group's matrix, columns channel-major. */
struct gptq_problem {
    uint32_t rows, columns;
    const float *target;   /* [rows][columns] what the weights should be */
    const uint32_t *order; /* [columns] in which columns are quantised; blocks stay together */
    const float *u;        /* upper factor of the inverse second moment, in that order */
    const float *h;        /* [columns][columns] the second moment, in that order; gptq_descend */
};

/* Catalogues of a format, dequantised: [entries][rows * columns]; not for levels. */
struct gptq_catalogues {
    const float *stage[GPTQ_MAX_STAGES];
};

/* Where results go. Bricks count [row / brick rows][column / brick columns]. */
struct gptq_result {
    uint32_t *index[GPTQ_MAX_STAGES];
    float *compensated; /* [rows][columns] the weights as they were when their turn came */
    float *decoded;     /* [rows][columns] without the row scales */
    double distortion;  /* sum over rows of the expected squared output error */
};

/*
 * Solves a problem: weights ~ scale[row] * brick. Columns of the problem must be a multiple of the
 * brick's. The same bits for any number of threads. LEGO_E_NOMEM.
 */
int gptq_solve(const struct gptq_problem *problem, const struct gptq_format *format,
               const struct gptq_catalogues *catalogues, const float *scales,
               struct encode_workers *workers, struct gptq_result *result);

/*
 * Improves a solution: `passes` times over all bricks, each chosen again for what all the others
 * are by now (coordinate descent on the error that the second moment h measures). `result` holds
 * the indices and decoded bricks to begin with; `scales` may have changed since, and differ from
 * row to row. Needs problem->h, not u. LEGO_E_NOMEM.
 */
int gptq_descend(const struct gptq_problem *problem, const struct gptq_format *format,
                 const struct gptq_catalogues *catalogues, const float *scales, uint32_t passes,
                 struct encode_workers *workers, struct gptq_result *result);

#endif
