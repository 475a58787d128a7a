/*
 * --eval of compress and sweep: the accuracy of what was written, beside that of the full weights.
 */
#ifndef LEGO_CLI_MEASURE_H
#define LEGO_CLI_MEASURE_H

#include "agent/cli/html.h"

struct measure {
    struct dataset *dataset; /* NULL: nothing is measured */
    struct evaluation full;  /* of the full weights, where the data have labels */
    bool full_known;
};

/*
 * Opens labelled data, `path` NULL: none. A CIFAR-10 binary file; a CSV of labels (its pictures
 * relative to its folder); a folder with labels.csv in it, else one of tensors. Errors as
 * dataset.h's.
 */
int measure_open(struct measure *measure, const char *path, struct lego_diag *diag);
void measure_close(struct measure *measure);

/* Fills a point of the curve from a file that was written: its size, its prediction and, where
 * there are data, what it answers to them. */
int measure_point(struct measure *measure, const struct coder *coder, const struct coded *coded,
                  const char *file, struct html_point *ret_point, struct lego_diag *diag);

/* {"images", "top1", "top5", "full_top1", "agreement", "kl", "output_error"}; null without data. */
json_t *measure_json(const struct measure *measure, const struct html_point *point);

#endif
