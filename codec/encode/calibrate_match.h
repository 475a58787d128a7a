/*
 * Synthetic examples that fit the network: they are changed, by gradients, until what the
 * convolutions make of them has the mean and the deviation that each BatchNormalization had learnt
 * from real data (after Yin et al., "Dreaming to Distill", arXiv 1912.08795). It is what a network
 * tells of its data without any of it; no weight changes.
 */
#ifndef LEGO_ENCODE_CALIBRATE_MATCH_H
#define LEGO_ENCODE_CALIBRATE_MATCH_H

#include "codec/encode/calibrate_internal.h"

/* Of the part of a network that leads from the examples to its BatchNormalizations. */
struct match {
    struct calibration *c;
    uint32_t input;    /* value that is changed: the first graph input */
    bool *wanted;      /* [node_count] leads from the input to a BatchNormalization */
    bool *follows;     /* [value_count] depends on the input */
    float **gradients; /* [value_count] -> [images][elems]; NULL: none has arrived */
    float **weights;   /* [layer_count] -> [rows][columns]; NULL: not wanted */
    float **z;         /* [layer_count] -> [images][elems] of this iteration */
    float **pull;      /* [layer_count] -> [rows][2]: gradient = pull[0] + pull[1] z */
    uint32_t ***moves; /* [node_count][input_count] -> [output elems] 1 + from which; 0: none */
};

/* True where gradients can be passed back through the node (its kind, operands and shapes). */
bool match_can_pass(const struct match *match, uint32_t node);

/* Finds where a node that moves elements takes them from; needs the values of a forward run. */
int match_prepare_node(struct match *match, uint32_t node, struct lego_diag *diag);

/*
 * Adds to the gradients of a node's inputs what that of its output says, and, for a layer, what
 * `pull` asks of it. Frees the output's. LEGO_E_NOMEM, what evaluation says.
 */
int match_pass_back(struct match *match, uint32_t node, struct lego_diag *diag);

#endif
