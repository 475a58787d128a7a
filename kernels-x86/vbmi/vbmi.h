/* What AVX-512 VBMI brings to the table. */
#ifndef LEGO_KERNELS_X86_VBMI_VBMI_H
#define LEGO_KERNELS_X86_VBMI_VBMI_H

#include "codec/kernels/kernels.h"

extern const struct kern_brick_decode_s8_variant kern_vbmi_brick_decode_s8;
extern const kern_fixed_digits_fn kern_vbmi_fixed_digits;
extern const struct kern_brick_gemv_fixed_variant kern_vbmi_brick_gemv_fixed;
extern const kern_brick_decode_fn kern_vbmi_brick_decode;

#endif
