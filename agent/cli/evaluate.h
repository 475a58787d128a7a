/*
 * Runs a model over many examples on all cores: accuracy where they have labels, agreement where
 * there is a reference, which is another model of the same inputs and outputs.
 */
#ifndef LEGO_CLI_EVALUATE_H
#define LEGO_CLI_EVALUATE_H

#include "agent/cli/dataset.h"
#include "agent/runtime/legonet.h"

struct evaluate_options {
    const char *preprocess; /* a file instead of what the model says; NULL: none */
    uint64_t limit;         /* of examples; 0: all */
    uint32_t threads;       /* 0: one for each core */
};

struct evaluation {
    size_t images;       /* examples */
    bool labelled;       /* top1 and top5 hold */
    double top1, top5;   /* percent */
    bool compared;       /* the rest holds */
    bool classes;        /* the first output is a row of scores: agreement, divergence hold */
    double agreement;    /* percent of examples where both have the same class */
    double divergence;   /* mean KL(reference || model), nats */
    double output_error; /* RMS difference of all outputs over the reference's RMS */
    double seconds;
};

/*
 * Evaluates. `reference` may be NULL. The same numbers with any number of threads. Errors: E_SHAPE
 * and E_UNSUPPORTED (the model does not take such examples), what reading an example or running a
 * model reports.
 */
int evaluate_model(struct lego_model *model, struct lego_model *reference,
                   const struct dataset *dataset, const struct evaluate_options *options,
                   struct evaluation *ret_evaluation, struct lego_diag *diag);

#endif
