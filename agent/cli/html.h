/*
 * The report of compress and sweep as one self-contained HTML page: no script, nothing from
 * elsewhere, light and dark as the reader's system is.
 */
#ifndef LEGO_CLI_HTML_H
#define LEGO_CLI_HTML_H

#include "agent/cli/coder.h"
#include "agent/cli/evaluate.h"

/* A point of the curve: a file that was asked for. */
struct html_point {
    double asked; /* ratio; 0: as it came */
    bool made;
    char why[256]; /* not made: the reason */
    uint64_t bytes;
    double ratio, seconds;
    bool predicted, evaluated;
    struct prediction prediction;
    struct evaluation evaluation;
};

struct html_report {
    const char *model; /* its path; names are escaped here */
    const struct coder *coder;
    const struct coded *coded; /* whose layers and catalogues are shown; NULL: none */
    const struct html_point *points;
    size_t point_count;
    bool full_evaluated;
    struct evaluation full; /* of the full weights on the same data */
};

/* Writes the page, replacing `path` at once when all is written. E_IO and other errors of files. */
int html_write(const struct html_report *report, const char *path, struct lego_diag *diag);

#endif
