/* What the half-precision arithmetic of ARMv8.2 brings to the table. */
#ifndef LEGO_KERNELS_ARM_FP16_FP16_H
#define LEGO_KERNELS_ARM_FP16_FP16_H

#include "codec/kernels/kernels.h"

extern const struct kern_gemm_f16_variant kern_fp16_gemm_f16;

#endif
