/*
 * The smallest files: every weight as trellis levels behind an entropy coder, quantised layer by
 * layer under calibration; a search over the price of a bit meets the size. Below about one bit a
 * weight the taps of kernels are first rotated by the eigenvectors of their second moment.
 */
#ifndef LEGO_ENCODE_SMALL_H
#define LEGO_ENCODE_SMALL_H

#include "codec/encode/calibrate.h"
#include "codec/encode/encode.h"
#include "codec/encode/session.h"
#include "codec/encode/trellis.h"

/* A weight and how it is coded at present. */
struct small_layer {
    const struct encode_weight *weight;
    bool last;          /* the last layer: little is known of its inputs */
    double sensitivity; /* squared change of the outputs a squared change of this layer's */
    const struct lego_rotation *rotation; /* NULL: none */
    float *rotation_matrix;               /* [taps][taps] of it */
    uint32_t tile_rows;
    float step;
    int8_t *levels;       /* [rows][columns]; NULL: not yet in this walk */
    uint8_t *codes;       /* [rows] of scales times `step` */
    uint16_t *row_scales; /* [rows] fp16 in place of both, where `uneven` */
    bool uneven;          /* no one step suits all rows */
    float *decoded;       /* [rows][columns] as a reader decodes them */
    double bits;
};

/* What quantising needs beside the layer. */
struct small_settings {
    const struct lego_graph *graph;
    struct encode_workers *workers;
    const float
        *old_bias; /* of the layer, NULL: none, or a recurrent layer's, which it is a part of */
    double price, gain;
    double ridge;    /* of the mean moment, where the targets pull at the weights */
    int bias_levels; /* of small_round */
};

/*
 * Quantises a layer; `stats` NULL: by itself, all inputs alike. Results replace those in the layer;
 * ret_bias [rows] is the bias change, NULL without stats. LEGO_E_NOMEM, LEGO_E_INVALID.
 */
int small_quantise(const struct small_settings *settings, struct small_layer *layer,
                   const struct calibrate_stats *stats, float *ret_bias);

/*
 * Makes the package's rotation, of the taps that most weights' kernels have, and gives it to the
 * layers [count] that have them. LEGO_E_NOMEM.
 */
int small_rotate(struct lego_package *package, const struct encode_weight *weights, uint32_t count,
                 struct small_layer *layers);

/* Rounds values to whole multiples, up to `levels` (127, 63, 31 or 15), of one fp16 step; levels 0:
 * to what fp16 holds. */
void small_round(float *values, uint32_t count, int levels);

/* As fit_package (fit.h), for ENCODE_CODEC_SMALL. */
int small_package(struct lego_package *package, const struct encode_options *options,
                  struct encode_session *session, struct encode_report *ret_report,
                  struct lego_diag *diag);

#endif
