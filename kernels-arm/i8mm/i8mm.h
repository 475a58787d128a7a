/* What the matrix products of bytes of ARMv8.6 bring to the table. */
#ifndef LEGO_KERNELS_ARM_I8MM_I8MM_H
#define LEGO_KERNELS_ARM_I8MM_I8MM_H

#include "codec/kernels/kernels.h"

extern const struct kern_gemm_s8_variant kern_i8mm_gemm_s8;

#endif
