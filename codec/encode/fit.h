/*
 * The codec that keeps accuracy: bricks chosen under the second moment of each layer's inputs, by
 * calibration on synthetic examples, with the format of each layer chosen for a size.
 *
 *   1. Explore: one walk (calibrate.h) in which each layer is quantised in every format.
 *   2. Allocate: a format for each layer, the least expected error for the bytes there are.
 *   3. Refine: further walks with these formats, in which each layer's bricks are chosen once more
 *      after their scales (gptq_descend), and between which the catalogues are trained again on
 *      what was really quantised.
 */
#ifndef LEGO_ENCODE_FIT_H
#define LEGO_ENCODE_FIT_H

#include "codec/encode/calibrate.h"
#include "codec/encode/encode.h"
#include "codec/encode/gptq.h"
#include "codec/encode/session.h"

#define FIT_FORMATS 12

extern const struct gptq_format fit_formats[FIT_FORMATS];

/* True where a format has one scale for a layer, not one a row. */
bool fit_scales_layer(uint32_t format);

/* A format's catalogues, trained on weights over their layer's deviation. */
struct fit_catalogue {
    uint32_t entries;
    int8_t *data[GPTQ_MAX_STAGES];  /* [entries][dim]; NULL: not trained */
    float *values[GPTQ_MAX_STAGES]; /* the same, dequantised */
    float stage_scale[GPTQ_MAX_STAGES];
};

/* A weight and how it is coded at present. */
struct fit_layer {
    const struct encode_weight *weight;
    bool calibrated; /* the walk reaches it */
    bool edge;       /* the first or the last layer: evenly spaced levels only, where it is no
                        large part of the weights */
    uint32_t group_rows;
    float deviation; /* of the weights, as fp16 holds it: what catalogues are scaled by */
    double sensitivity;
    double distortion[FIT_FORMATS];
    uint64_t bytes[FIT_FORMATS];      /* indices and scales; UINT64_MAX: the format does not fit */
    uint32_t format;                  /* chosen */
    bool done;                        /* in this walk */
    uint32_t *index[GPTQ_MAX_STAGES]; /* [brick rows][brick columns] */
    float *scales;                    /* [rows], as they are stored: fp16, or equal for the layer */
    float *decoded;                   /* [rows][columns] as a reader decodes them */
    float *compensated;               /* [rows][columns], what the catalogues are trained on */
};

struct fit {
    struct lego_package *package;
    const struct encode_options *options;
    struct encode_session *session;
    struct encode_workers *workers;
    struct encode_weight *weights;
    uint32_t weight_count;
    struct fit_layer *layers;        /* [weight_count] */
    struct calibration *calibration; /* the session's */
    struct fit_catalogue catalogues[FIT_FORMATS];
    bool exploring;
    double explore_bits;  /* a weight: what the student of the exploring walk is made of */
    uint32_t step, steps; /* of progress */
    float **bias;         /* [calibrated layer] what is added to the bias */
};

/* What exploring found, which does not depend on the size that is asked for: kept in the session,
 * so that the next compression allocates at once. */
struct fit_exploration {
    struct fit_catalogue catalogues[FIT_FORMATS]; /* as trained on the plain weights */
    double (*distortion)[FIT_FORMATS];            /* [weight_count] */
};
void fit_exploration_destroy(struct fit_exploration *exploration);

/* fit_layer.c: quantises a layer in one format or, exploring, in all. A calibrate_quantise. */
int fit_quantise(void *context, const struct calibrate_stats *stats, float *ret_weights,
                 float *ret_bias, struct lego_diag *diag);
/* Quantises a weight that no walk reaches, by itself. */
int fit_quantise_alone(struct fit *fit, struct fit_layer *layer, struct lego_diag *diag);

/* fit_catalogue.c: trains the catalogues of all formats on the plain weights; trains those in use
 * again on the compensated ones. */
int fit_train(struct fit *fit, struct lego_diag *diag);
int fit_retrain(struct fit *fit, struct lego_diag *diag);
uint64_t fit_catalogue_bytes(uint32_t format);

/* fit_rate.c: chooses formats for at most `bytes` (indices, scales, catalogues). E_INVALID where
 * that is too few. */
int fit_allocate(struct fit *fit, uint64_t bytes, struct lego_diag *diag);

/* fit_store.c: makes the package's tensors coded, adds the bias changes. */
int fit_store(struct fit *fit, struct encode_report *report, struct lego_diag *diag);

/* Adds bias changes [layer][rows] to the layers' biases: as numbers that fp16 holds or, `levels`
 * not 0, as whole multiples, up to that, of an fp16 step. */
int fit_store_biases(struct lego_package *package, const struct calibration *calibration,
                     const struct encode_weight *weights, float *const *bias, int levels,
                     struct lego_diag *diag);

/* The bias that layer number `index` has in the package, NULL: none. */
const float *fit_old_bias(const struct lego_package *package, const struct calibration *calibration,
                          const struct encode_weight *weights, uint32_t index);

/* fit.c: the whole. */
int fit_package(struct lego_package *package, const struct encode_options *options,
                struct encode_session *session, struct encode_report *ret_report,
                struct lego_diag *diag);

#endif
