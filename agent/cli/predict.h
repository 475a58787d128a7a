/*
 * What a compression costs, predicted without labels: the outputs of the coded model beside those
 * of the full weights, on examples that calibration has not seen.
 */
#ifndef LEGO_CLI_PREDICT_H
#define LEGO_CLI_PREDICT_H

#include "agent/runtime/legonet.h"
#include "codec/encode/examples.h"

struct prediction {
    uint32_t examples;
    bool classes;      /* one output of scores: drop, changed and divergence hold */
    double drop;       /* points of accuracy that would be lost if the full weights' probabilities
                          were true: the mean over all examples of what they give their own class less
                          what they give the coded model's, times 100 */
    double changed;    /* percent of examples whose class is another one */
    double divergence; /* mean KL(full || coded), nats */
    double error; /* RMS difference of all outputs over the RMS of the full weights', percent */
};

struct predict;

/* Runs `teacher` on the examples, which both stay the caller's, and keeps its outputs. */
int predict_create(struct lego_model *teacher, const struct encode_examples *examples,
                   uint32_t threads, struct predict **ret_predict, struct lego_diag *diag);
void predict_destroy(struct predict *predict);

/* Runs another model of the same inputs and outputs on them. */
int predict_measure(struct predict *predict, struct lego_model *model,
                    struct prediction *ret_prediction, struct lego_diag *diag);

#endif
