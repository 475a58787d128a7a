/*
 * Which constant of a package holds a calibrated layer's bias, and what becomes of it
 * (fit_store.c).
 */
#ifndef LEGO_ENCODE_BIASES_H
#define LEGO_ENCODE_BIASES_H

#include "codec/encode/calibrate.h"

/* True where a layer's bias may be changed, and is not the one of the layer before it: W and R of a
 * recurrent node share B. */
bool bias_is_own(const struct calibration *calibration, uint32_t index);

/* Such a bias with the changes [layer][rows], rounded as fit_store_biases (fit.h) says; malloc'ed,
 * NULL when out of memory. */
float *bias_make(const struct lego_package *package, const struct calibration *calibration,
                 const struct encode_weight *weights, float *const *bias, int levels,
                 uint32_t index, size_t *ret_count);

#endif
