/*
 * What one example's outputs say: whether the class is right, and how far they are from those of
 * another model (the same network with its full weights).
 */
#ifndef LEGO_CLI_SCORE_H
#define LEGO_CLI_SCORE_H

#include "agent/runtime/legonet.h"

struct score {
    bool top1, top5;   /* the example's class has the largest score, one of the five */
    bool agrees;       /* both models' largest scores are of the same class */
    double divergence; /* KL(reference || model) of the classes' distributions, nats */
    double loss;       /* the reference's probability of its own class less that of the model's */
    double error, energy; /* sums over all outputs of (a - b)^2, b^2; b the reference's */
};

/* One example's rows of scores: the first output without the classes that come before class 0. */
struct score_row {
    const float *scores;
    size_t classes;
};

/*
 * The row of example `index` of `batch` in an output. E_SHAPE where it is not one row of FP32
 * scores an example with more than `offset` of them.
 */
int score_find_row(const struct lego_io *output, size_t batch, size_t index, size_t offset,
                   struct score_row *ret_row, struct lego_diag *diag);

/* How many classes come before `right`: those that score more, or as much with a lower number. */
size_t score_rank(const struct score_row *row, size_t right);

/*
 * Fills agrees, divergence and loss. Rows that are distributions already (none negative, a sum of
 * 1) are taken as they are, others go through a softmax.
 */
void score_compare_rows(const struct score_row *row, const struct score_row *reference,
                        struct score *score);

/*
 * Adds one output's share of example `index` of `batch` to error and energy; other types than FP32
 * count nothing. E_SHAPE where the two do not match.
 */
int score_compare_outputs(const struct lego_io *output, const struct lego_io *reference,
                          size_t batch, size_t index, struct score *score, struct lego_diag *diag);

#endif
