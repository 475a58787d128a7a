/*
 * What several compressions of one network share: threads, examples, calibration, sensitivity, and
 * what the bricks codec found out about its formats.
 */
#ifndef LEGO_ENCODE_SESSION_H
#define LEGO_ENCODE_SESSION_H

#include "codec/encode/calibrate.h"
#include "codec/encode/encode.h"

struct fit_exploration;

struct encode_session {
    struct encode_workers *workers;
    struct encode_weight *weights; /* of the package that it was made for */
    uint32_t weight_count;
    struct encode_synthetic *synthetic; /* NULL: the examples are the caller's */
    bool matched; /* the synthetic ones, to what BatchNormalizations had learnt */
    struct calibration *calibration;
    bool alike;                       /* all sensitivities are 1 */
    double *sensitivity;              /* [layers of calibration]; NULL: not measured yet */
    struct fit_exploration *explored; /* NULL: not yet */
};

/* The layers' sensitivities (calibrate.h), measured at the first call. */
int encode_session_sensitivity(struct encode_session *session, const double **ret_sensitivity,
                               struct lego_diag *diag);

#endif
