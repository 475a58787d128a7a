/* What the dot product instructions of ARMv8.2 bring to the table. */
#ifndef LEGO_KERNELS_ARM_DOTPROD_DOTPROD_H
#define LEGO_KERNELS_ARM_DOTPROD_DOTPROD_H

#include "codec/kernels/kernels.h"

extern const struct kern_brick_decode_s8_variant kern_dotprod_brick_decode_s8;
extern const struct kern_gemm_s8_variant kern_dotprod_gemm_s8;

#endif
