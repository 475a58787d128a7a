/* What AVX-512 VNNI brings to the table. */
#ifndef LEGO_KERNELS_X86_VNNI_VNNI_H
#define LEGO_KERNELS_X86_VNNI_VNNI_H

#include "codec/kernels/kernels.h"

extern const struct kern_gemm_s8_variant kern_vnni_gemm_s8;

#endif
